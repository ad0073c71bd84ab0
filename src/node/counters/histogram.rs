//! A histogram of waiting times that is as small as what it has seen is uniform.
//!
//! Values below 16 ms have a bucket each; above, each doubling has 8. A percentile is the highest
//! value of its bucket, so it is at most an eighth too high, and never too low. Only buckets that
//! are in use take memory, 8 bytes each: the waits of one resource are mostly alike. (Histograms of
//! libraries have all their buckets at once, some KiB each, and here may be 100,000.)

/// log2 of the buckets of a doubling.
const STEPS_LOG2: u32 = 3;
/// Below this each value has a bucket of its own.
const EXACT_BELOW: u32 = 1 << (STEPS_LOG2 + 1);

/// How many values were seen, by bucket.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    /// In the order of the buckets. At most 240, as many as 32 bits have.
    buckets: Vec<(u8, u32)>,
}

/// The bucket of a value. Those above 49 days count as 49 days.
fn bucket(ms: u64) -> u8 {
    let ms = u32::try_from(ms).unwrap_or(u32::MAX);
    let doublings = ms.checked_ilog2().unwrap_or_default().saturating_sub(STEPS_LOG2);
    let bucket = (doublings << STEPS_LOG2) + (ms >> doublings);
    u8::try_from(bucket).unwrap_or(u8::MAX)
}

/// The highest value of a bucket.
fn highest(bucket: u8) -> u64 {
    let bucket = u32::from(bucket);
    if bucket < EXACT_BELOW {
        return u64::from(bucket);
    }
    let doublings = (bucket >> STEPS_LOG2) - 1;
    let step = bucket - (doublings << STEPS_LOG2);
    (u64::from(step + 1) << doublings) - 1
}

impl Histogram {
    pub(super) fn record(&mut self, ms: u64) {
        self.count(bucket(ms), 1);
    }

    /// Counts everything that another one has seen.
    pub(super) fn add(&mut self, other: &Self) {
        other.buckets.iter().for_each(|(bucket, n)| self.count(*bucket, *n));
    }

    fn count(&mut self, bucket: u8, n: u32) {
        match self.buckets.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            Ok(at) => {
                if let Some((_, count)) = self.buckets.get_mut(at) {
                    *count = count.saturating_add(n);
                }
            }
            Err(at) => self.buckets.insert(at, (bucket, n)),
        }
        debug_assert!(self.buckets.is_sorted(), "buckets are found by a binary search");
    }

    /// The value that `percent` of 100 are at most.
    pub(super) fn percentile(&self, percent: u64) -> Option<u64> {
        let total: u64 = self.buckets.iter().map(|(_, n)| u64::from(*n)).sum();
        let rank = (total * percent).div_ceil(100).max(1);
        let mut below = 0;
        let found = self.buckets.iter().find(|(_, n)| {
            below += u64::from(*n);
            below >= rank
        });
        found.map(|(bucket, _)| highest(*bucket))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_one_another_without_a_gap() {
        let mut last = None;
        for value in 0..100_000_u64 {
            let now = bucket(value);
            assert!(last.is_none_or(|last| now == last || now == last + 1), "{value}");
            assert!(
                highest(now) >= value && highest(now) - value <= value / 8,
                "{value}: {}",
                highest(now)
            );
            last = Some(now);
        }
        assert_eq!(bucket(u64::MAX), 239);
        assert_eq!(highest(239), u64::from(u32::MAX));
    }

    #[test]
    fn percentiles_are_at_most_an_eighth_too_high() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(50), None);
        histogram.record(7);
        assert_eq!(histogram.percentile(99), Some(7));
        (1..=1_000).for_each(|ms| histogram.record(ms));
        assert_eq!(
            [50, 90, 99].map(|percent| histogram.percentile(percent)),
            [Some(511), Some(959), Some(1_023)]
        );
    }

    #[test]
    fn memory_does_not_grow_with_what_is_recorded() {
        let mut histogram = Histogram::default();
        (0..1_000_000).for_each(|n| histogram.record(n * n));
        assert!(histogram.buckets.len() <= 240, "{}", histogram.buckets.len());
        assert_eq!(size_of::<(u8, u32)>(), 8);
    }
}
