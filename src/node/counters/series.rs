//! How a resource stood and what it did, second by second: a bucket each second for 15 minutes, and
//! one each ten seconds for 6 hours. Not replicated.

use std::collections::VecDeque;

use ratequeue_limiter::{LimitName, ResourceUsage};

use super::activity::{RECENT_S, Second};

/// Seconds of which there is a bucket each.
pub const FINE_S: u64 = 15 * 60;
/// Seconds of a coarse bucket.
pub const COARSE_STEP_S: u64 = RECENT_S;
/// Seconds that the coarse buckets reach back.
pub const COARSE_S: u64 = 6 * 3_600;
/// What stands for a number that is not known.
const NONE: u32 = u32::MAX;

/// How a resource stood at the end of a bucket, and what it did in it.
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    pub queue_depth: u32,
    pub held: u32,
    pub granted: u32,
    pub released: u32,
    pub rejected: u32,
    pub expired: u32,
    wait_p50_ms: u32,
    wait_p99_ms: u32,
}

fn short(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(NONE - 1).min(NONE - 1)
}

impl Bucket {
    pub fn wait_p50_ms(&self) -> Option<u32> {
        (self.wait_p50_ms != NONE).then_some(self.wait_p50_ms)
    }

    pub fn wait_p99_ms(&self) -> Option<u32> {
        (self.wait_p99_ms != NONE).then_some(self.wait_p99_ms)
    }

    fn new(usage: &ResourceUsage, Second { counts, waits }: &Second) -> Self {
        let percentile = |percent| waits.percentile(percent).map_or(NONE, short);
        Self {
            queue_depth: short(usage.queue_depth),
            held: short(usage.held),
            granted: short(counts.granted),
            released: short(counts.released),
            rejected: short(counts.turned_away()),
            expired: short(counts.expired),
            wait_p50_ms: percentile(50),
            wait_p99_ms: percentile(99),
        }
    }
}

/// Buckets of one length, the newest last.
#[derive(Debug, Default)]
pub struct Track {
    pub buckets: VecDeque<Bucket>,
    /// Of each limit, by bucket: thousandths of its capacity in use. Those of a limit that came
    /// later are fewer.
    pub utilization: Vec<(LimitName, VecDeque<u16>)>,
}

impl Track {
    fn push(&mut self, max: u64, bucket: Bucket, usage: &ResourceUsage) {
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        if self.buckets.len() >= max {
            self.buckets.pop_front();
        }
        self.buckets.push_back(bucket);

        self.utilization.retain(|(name, _)| usage.limits.iter().any(|limit| limit.name == *name));
        for limit in &usage.limits {
            let known = self.utilization.iter_mut().find(|(name, _)| *name == limit.name);
            let permille = thousandths(limit.used, limit.capacity);
            match known {
                Some((_, row)) => {
                    if row.len() >= max {
                        row.pop_front();
                    }
                    row.push_back(permille);
                }
                None => self.utilization.push((limit.name.clone(), [permille].into())),
            }
        }
    }
}

/// A quotient in thousandths, rounded up; at most 65.
fn thousandths(part: u64, whole: u64) -> u16 {
    let quotient = (u128::from(part) * 1_000).div_ceil(u128::from(whole.max(1)));
    u16::try_from(quotient).unwrap_or(u16::MAX)
}

/// The series of one resource.
#[derive(Debug, Default)]
pub struct Series {
    pub fine: Track,
    pub coarse: Track,
    /// What happened since the last coarse bucket.
    since_coarse: Second,
}

impl Series {
    /// Adds the bucket of a second that is over: how the resource stands after it, and what
    /// happened in it, if anything.
    pub(super) fn add(&mut self, second: u64, usage: &ResourceUsage, happened: Option<&Second>) {
        let quiet = Second::default();
        let happened = happened.unwrap_or(&quiet);
        self.fine.push(FINE_S, Bucket::new(usage, happened), usage);
        self.since_coarse.add(happened);

        if (second + 1).is_multiple_of(COARSE_STEP_S) {
            let happened = std::mem::take(&mut self.since_coarse);
            self.coarse.push(COARSE_S / COARSE_STEP_S, Bucket::new(usage, &happened), usage);
        }
    }
}

#[cfg(test)]
mod tests {
    use ratequeue_limiter::LimitUsage;

    use super::*;

    fn usage(depth: u64, used: u64) -> ResourceUsage {
        let name = LimitName::new("tpm").unwrap();
        let limit = LimitUsage {
            name,
            quota: 10,
            capacity: 10,
            window_ms: None,
            used,
            remaining: 10 - used,
            next_in_ms: None,
        };
        ResourceUsage {
            queue_depth: depth,
            queue_load: 0,
            oldest_wait_ms: 0,
            held: 1,
            limits: vec![limit],
        }
    }

    #[test]
    fn seconds_add_up_to_coarse_buckets_and_old_ones_go() {
        let mut series = Series::default();
        for second in 0..COARSE_S + 100 {
            let mut happened = Second::default();
            happened.counts.granted = 2;
            happened.waits.record(second % 10);
            series.add(second, &usage(second, 4), Some(&happened));
        }
        assert_eq!(series.fine.buckets.len() as u64, FINE_S);
        assert_eq!(series.coarse.buckets.len() as u64, COARSE_S / COARSE_STEP_S);
        let (fine, coarse) =
            (series.fine.buckets.back().unwrap(), series.coarse.buckets.back().unwrap());
        assert_eq!((fine.granted, coarse.granted), (2, 20));
        assert_eq!((fine.queue_depth, coarse.queue_depth), (21_699, 21_699));
        assert_eq!((fine.wait_p50_ms(), coarse.wait_p50_ms()), (Some(9), Some(4)));
        assert_eq!(series.fine.utilization[0].1.back(), Some(&400));
        assert_eq!(series.fine.utilization[0].1.len() as u64, FINE_S);
    }

    #[test]
    fn a_limit_that_goes_takes_its_row_and_what_is_unknown_is_none() {
        let mut series = Series::default();
        series.add(0, &usage(0, 1), None);
        assert_eq!(series.fine.buckets[0].wait_p99_ms(), None);
        let bare = ResourceUsage { limits: Vec::new(), ..usage(0, 1) };
        series.add(1, &bare, None);
        assert!(series.fine.utilization.is_empty());
        assert_eq!(thousandths(1, 3), 334);
        assert_eq!(thousandths(u64::MAX, 1), u16::MAX);
        assert_eq!(size_of::<Bucket>(), 32);
    }
}
