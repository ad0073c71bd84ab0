//! The activity of one resource: counters, its last seconds, and how busy it is.

use std::collections::VecDeque;

use ratequeue_api::watch::{Percentiles, Throughput};

/// Over how many seconds rates and percentiles are taken.
pub(super) const RECENT_S: u64 = 10;
/// Grants of one resource whose waits are remembered, the latest.
const WAITS_MAX: usize = 4_096;
/// Seconds in which business halves.
const BUSY_HALVED_S: u64 = 60;
/// Business of one event: it is remembered for as many halvings as this has bits.
const BUSY_UNIT: u64 = 1 << 10;

/// Acquires by how they ended.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Counts {
    pub(super) granted: u64,
    pub(super) released: u64,
    pub(super) expired: u64,
    pub(super) cancelled: u64,
    pub(super) timed_out: u64,
    pub(super) rejected: u64,
    pub(super) lapsed: u64,
    pub(super) refused: u64,
}

/// Business: a number that every event raises, and that halves again and again.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Busy {
    weight: u64,
    /// Which period of [`BUSY_HALVED_S`] seconds `weight` is of.
    period: u64,
}

/// The activity of a resource.
#[derive(Debug, Default)]
pub(super) struct Activity {
    pub(super) total: Counts,
    pub(super) busy: Busy,
    /// It was in the last choice for the metrics.
    pub(super) listed: bool,
    /// The last seconds, by second since the start.
    seconds: VecDeque<(u64, Counts)>,
    /// The waits of the latest grants: second, milliseconds.
    waits: VecDeque<(u64, u64)>,
}

/// The last 10 seconds of a resource.
#[derive(Debug, Default)]
pub struct Recent {
    pub throughput: Throughput,
    pub wait_ms: Option<Percentiles>,
}

impl Busy {
    /// Counts an event.
    pub(super) fn add(&mut self, second: u64) {
        self.weight = self.at(second).saturating_add(BUSY_UNIT);
        self.period = second / BUSY_HALVED_S;
    }

    /// How busy it is; 0 when nothing has happened for a while.
    pub(super) fn at(self, second: u64) -> u64 {
        let halvings = (second / BUSY_HALVED_S).saturating_sub(self.period);
        u32::try_from(halvings).ok().and_then(|halvings| self.weight.checked_shr(halvings)).unwrap_or_default()
    }
}

impl Activity {
    pub(super) fn count(&mut self, second: u64, count: impl Fn(&mut Counts)) {
        self.forget_before(second);
        count(&mut self.total);

        match self.seconds.back_mut() {
            Some((last, counts)) if *last == second => count(counts),
            _ => {
                let mut counts = Counts::default();
                count(&mut counts);
                self.seconds.push_back((second, counts));
            }
        }
    }

    pub(super) fn waited(&mut self, second: u64, ms: u64) {
        self.forget_before(second);
        if self.waits.len() >= WAITS_MAX {
            self.waits.pop_front();
        }
        self.waits.push_back((second, ms));
    }

    /// Drops what is too old to be recent at `second`.
    fn forget_before(&mut self, second: u64) {
        let is_old = |at: u64| at + RECENT_S <= second;
        while self.seconds.front().is_some_and(|(at, _)| is_old(*at)) {
            self.seconds.pop_front();
        }
        while self.waits.front().is_some_and(|(at, _)| is_old(*at)) {
            self.waits.pop_front();
        }
    }

    /// Drops what is too old, and gives back its memory. Says whether anything recent is left.
    pub(super) fn forget_old(&mut self, second: u64) -> bool {
        self.forget_before(second);
        self.seconds.shrink_to_fit();
        self.waits.shrink_to_fit();
        !self.seconds.is_empty() || !self.waits.is_empty()
    }

    pub(super) fn recent(&self, second: u64) -> Recent {
        let recent = |at: u64| at + RECENT_S > second;
        let mut sum = Counts::default();
        for (_, counts) in self.seconds.iter().filter(|(at, _)| recent(*at)) {
            sum.granted += counts.granted;
            sum.released += counts.released;
            sum.rejected += counts.rejected + counts.refused + counts.timed_out;
        }

        let per_s = |n: u64| ratio(n, RECENT_S);
        let mut waits: Vec<u64> = self.waits.iter().filter(|(at, _)| recent(*at)).map(|(_, ms)| *ms).collect();
        waits.sort_unstable();
        Recent {
            throughput: Throughput {
                granted_per_s: per_s(sum.granted),
                released_per_s: per_s(sum.released),
                rejected_per_s: per_s(sum.rejected),
            },
            wait_ms: percentile(&waits, 50)
                .zip(percentile(&waits, 90))
                .zip(percentile(&waits, 99))
                .map(|((p50, p90), p99)| Percentiles { p50, p90, p99 }),
        }
    }
}

/// The smallest value that `percent` of 100 are at most.
fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// A number for people to look at.
pub(super) fn shown(n: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "shown, never decided on")]
    let n = n as f64;
    n
}

/// A quotient for people to look at.
pub fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { shown(part) / shown(whole) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_seen() {
        assert_eq!(percentile(&[], 50), None);
        assert_eq!(percentile(&[7], 99), Some(7));
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!(percentile(&hundred, 50), Some(50));
        assert_eq!(percentile(&hundred, 99), Some(99));
    }

    #[test]
    fn only_the_last_ten_seconds_count() {
        let mut activity = Activity::default();
        for second in 0..30 {
            activity.count(second, |counts| counts.granted += 2);
            activity.waited(second, second);
        }
        let recent = activity.recent(29);
        assert!((recent.throughput.granted_per_s - 2.0).abs() < 1e-9);
        assert_eq!(recent.wait_ms.map(|wait| wait.p50), Some(24));
        assert!(activity.recent(60).wait_ms.is_none());
        assert!(activity.seconds.len() <= 12);
        assert!(activity.waits.len() <= 12, "{} waits are kept", activity.waits.len());
    }

    #[test]
    fn what_is_old_is_given_back_once_nothing_happens_any_more() {
        let mut activity = Activity::default();
        (0..10_000).for_each(|ms| activity.waited(5, ms));
        assert_eq!(activity.waits.len(), WAITS_MAX);
        assert!(activity.forget_old(5 + RECENT_S - 1), "the waits are recent still");
        assert!(!activity.forget_old(5 + RECENT_S));
        assert_eq!(activity.waits.capacity(), 0);
    }

    #[test]
    fn business_halves_and_is_forgotten() {
        let mut busy = Busy::default();
        (0..600).for_each(|second| busy.add(second));
        let before = busy.at(599);
        assert_eq!(busy.at(599 + BUSY_HALVED_S), before / 2);
        // Sixty events a minute come to twice as many.
        assert!((119..=120).contains(&(before / BUSY_UNIT)), "{}", before / BUSY_UNIT);
        assert_eq!(busy.at(u64::MAX), 0);
    }
}
