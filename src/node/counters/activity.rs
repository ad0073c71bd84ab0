//! The activity of one resource: counters, its last seconds, and how busy it is.

use std::collections::VecDeque;

use ratequeue_api::watch::{Percentiles, Throughput};

use super::histogram::Histogram;

/// Over how many seconds rates and percentiles are taken.
pub(super) const RECENT_S: u64 = 10;
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

impl Counts {
    /// Counts everything that another one has counted.
    pub(super) fn add(&mut self, other: &Self) {
        self.granted += other.granted;
        self.released += other.released;
        self.expired += other.expired;
        self.cancelled += other.cancelled;
        self.timed_out += other.timed_out;
        self.rejected += other.rejected;
        self.lapsed += other.lapsed;
        self.refused += other.refused;
    }

    /// Acquires that were not granted, but for those that were given up: what the API calls
    /// rejected.
    pub(super) fn turned_away(&self) -> u64 {
        self.rejected + self.refused + self.timed_out
    }
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
    /// What happened while it was listed.
    pub(super) shown: Counts,
    pub(super) busy: Busy,
    /// The metrics list it.
    pub(super) listed: bool,
    /// The last seconds, by second since the start; at most [`RECENT_S`].
    seconds: VecDeque<(u64, Second)>,
}

/// What happened to a resource in a second, or in several.
#[derive(Debug, Default)]
pub(super) struct Second {
    pub(super) counts: Counts,
    pub(super) waits: Histogram,
}

impl Second {
    /// Takes in what happened in another one.
    pub(super) fn add(&mut self, other: &Self) {
        self.counts.add(&other.counts);
        self.waits.add(&other.waits);
    }
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
        u32::try_from(halvings)
            .ok()
            .and_then(|halvings| self.weight.checked_shr(halvings))
            .unwrap_or_default()
    }
}

impl Activity {
    pub(super) fn new(listed: bool) -> Self {
        Self { listed, ..Self::default() }
    }

    /// Counts it among the last seconds.
    pub(super) fn count(&mut self, second: u64, count: impl Fn(&mut Counts)) {
        self.add(second, |now| count(&mut now.counts));
    }

    pub(super) fn waited(&mut self, second: u64, ms: u64) {
        self.add(second, |now| now.waits.record(ms));
    }

    fn add(&mut self, second: u64, add: impl FnOnce(&mut Second)) {
        self.forget_before(second);
        match self.seconds.back_mut() {
            Some((last, now)) if *last == second => add(now),
            _ => {
                let mut now = Second::default();
                add(&mut now);
                self.seconds.push_back((second, now));
            }
        }
    }

    /// What happened in a second that is recent; nothing, if nothing did.
    pub(super) fn of_second(&self, second: u64) -> Option<&Second> {
        self.seconds.iter().find(|(at, _)| *at == second).map(|(_, happened)| happened)
    }

    /// Drops what is too old to be recent at `second`.
    fn forget_before(&mut self, second: u64) {
        while self.seconds.front().is_some_and(|(at, _)| at + RECENT_S <= second) {
            self.seconds.pop_front();
        }
    }

    /// Drops what is too old, and gives back its memory. Says whether anything recent is left.
    pub(super) fn forget_old(&mut self, second: u64) -> bool {
        self.forget_before(second);
        self.seconds.shrink_to_fit();
        !self.seconds.is_empty()
    }

    pub(super) fn recent(&self, second: u64) -> Recent {
        let mut sum = Second::default();
        let recent = self.seconds.iter().filter(|(at, _)| at + RECENT_S > second);
        recent.for_each(|(_, happened)| sum.add(happened));
        let Second { counts, waits } = sum;

        let per_s = |n: u64| ratio(n, RECENT_S);
        Recent {
            throughput: Throughput {
                granted_per_s: per_s(counts.granted),
                released_per_s: per_s(counts.released),
                rejected_per_s: per_s(counts.turned_away()),
            },
            wait_ms: waits
                .percentile(50)
                .zip(waits.percentile(90))
                .zip(waits.percentile(99))
                .map(|((p50, p90), p99)| Percentiles { p50, p90, p99 }),
        }
    }
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
    fn only_the_last_ten_seconds_count() {
        let mut activity = Activity::default();
        for second in 0..30 {
            activity.count(second, |counts| counts.granted += 2);
            activity.waited(second, second);
        }
        let recent = activity.recent(29);
        assert!((recent.throughput.granted_per_s - 2.0).abs() < 1e-9);
        assert_eq!(recent.wait_ms.map(|wait| wait.p50), Some(25));
        assert!(activity.recent(60).wait_ms.is_none());
        assert!(activity.seconds.len() <= 10);
    }

    #[test]
    fn what_is_old_is_given_back_once_nothing_happens_any_more() {
        let mut activity = Activity::default();
        (0..10_000).for_each(|ms| activity.waited(5, ms));
        assert!(activity.forget_old(5 + RECENT_S - 1), "the waits are recent still");
        assert!(!activity.forget_old(5 + RECENT_S));
        assert_eq!(activity.seconds.capacity(), 0);
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
