//! Series as they are asked for: of which resources, over which time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use ratequeue_api::series::ResourceSeries;
use ratequeue_limiter::ResourceName;

use super::Stats;
use super::series::{Bucket, COARSE_STEP_S, Series, Track};

/// Which series are asked for.
#[derive(Debug, Clone)]
pub struct RangeQuery {
    /// Of these resources; the first ones in the order of `sort` when empty.
    pub names: BTreeSet<ResourceName>,
    pub sort: SortBy,
    /// Resources at most.
    pub max: usize,
    /// Coarse buckets instead of fine ones.
    pub coarse: bool,
    /// Buckets at most.
    pub buckets: usize,
}

/// What comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SortBy {
    QueueDepth,
    Held,
    Granted,
    Rejected,
    Utilization,
    Name,
}

impl SortBy {
    /// How high a resource stands, by what it did in the last coarse bucket and how it is.
    fn rank(self, series: &Series) -> u64 {
        let last = series.fine.buckets.iter().rev();
        let mut last = last.take(usize::try_from(COARSE_STEP_S).unwrap_or(usize::MAX));
        let newest = series.fine.buckets.back();
        let utilization = series.fine.utilization.iter().filter_map(|(_, row)| row.back());
        match self {
            Self::QueueDepth => newest.map_or(0, |bucket| u64::from(bucket.queue_depth)),
            Self::Held => newest.map_or(0, |bucket| u64::from(bucket.held)),
            Self::Granted => last.by_ref().map(|bucket| u64::from(bucket.granted)).sum(),
            Self::Rejected => last.by_ref().map(|bucket| u64::from(bucket.rejected)).sum(),
            Self::Utilization => utilization.copied().max().map_or(0, u64::from),
            Self::Name => 0,
        }
    }
}

impl Stats {
    /// When the last bucket ended that a range may have, in seconds since the start.
    pub fn range_end(&self, coarse: bool) -> u64 {
        let sampled = self.sampled.load(std::sync::atomic::Ordering::Relaxed);
        if coarse { sampled / COARSE_STEP_S * COARSE_STEP_S } else { sampled }
    }

    /// When a second began, in milliseconds since 1970.
    pub fn second_ms(&self, second: u64) -> u64 {
        self.start_ms.saturating_add(second.saturating_mul(1_000))
    }

    /// The series of a group that are asked for, and those of all of its resources together.
    pub fn range(
        &self,
        group: &str,
        query: &RangeQuery,
    ) -> (BTreeMap<String, ResourceSeries>, ResourceSeries) {
        self.of(group, |activities| {
            let all = activities.series.iter();
            let mut chosen: Vec<(&ResourceName, &Series)> = all
                .filter(|(name, _)| query.names.is_empty() || query.names.contains(*name))
                .collect();
            chosen.sort_by_cached_key(|(name, series)| {
                (Reverse(query.sort.rank(series)), (*name).clone())
            });
            chosen.truncate(query.max);

            let shown = chosen.into_iter().map(|(name, series)| {
                let shown = show(query, series);
                (name.to_string(), ResourceSeries { group: Some(group.to_owned()), ..shown })
            });
            (shown.collect(), show(query, &activities.total_series))
        })
    }
}

fn show(query: &RangeQuery, series: &Series) -> ResourceSeries {
    let track: &Track = if query.coarse { &series.coarse } else { &series.fine };
    let column = |of: fn(&Bucket) -> Option<u32>| -> Vec<Option<u32>> {
        last(query.buckets, track.buckets.iter().map(of))
    };
    let rows = track.utilization.iter().map(|(limit, row)| {
        let parts = row.iter().map(|permille| Some(f64::from(*permille) / 1_000.0));
        (limit.to_string(), last(query.buckets, parts))
    });

    ResourceSeries {
        group: None,
        queue_depth: column(|bucket| Some(bucket.queue_depth)),
        held: column(|bucket| Some(bucket.held)),
        granted: column(|bucket| Some(bucket.granted)),
        released: column(|bucket| Some(bucket.released)),
        rejected: column(|bucket| Some(bucket.rejected)),
        expired: column(|bucket| Some(bucket.expired)),
        wait_p50_ms: column(Bucket::wait_p50_ms),
        wait_p99_ms: column(Bucket::wait_p99_ms),
        utilization: rows.collect(),
    }
}

/// The last `len` values, after as many that are not known as are missing.
fn last<T>(
    len: usize,
    values: impl DoubleEndedIterator<Item = Option<T>> + ExactSizeIterator,
) -> Vec<Option<T>> {
    let (have, mut row) = (values.len(), Vec::with_capacity(len));
    row.extend((have..len).map(|_| None));
    row.extend(values.skip(have.saturating_sub(len)));
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_in_front() {
        let row = |len, values: &[u32]| last(len, values.iter().map(|value| Some(*value)));
        assert_eq!(row(3, &[1]), [None, None, Some(1)]);
        assert_eq!(row(2, &[1, 2, 3]), [Some(2), Some(3)]);
        assert_eq!(row(0, &[1]), []);
    }
}
