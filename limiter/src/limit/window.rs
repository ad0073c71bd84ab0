//! Sliding window, counted in segments.
//!
//! The window is cut into 64 segments. A charge counts from the segment it fell into until the
//! *whole* segment has left the window, so no window of any alignment ever admits more than the
//! quota; the price is that a unit may come back up to 1/64 of the window late. Empty segments are
//! not kept.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::caps::SEGMENTS_PER_WINDOW;
use crate::model::time::LogTime;

/// The rates of a sliding window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WindowRates {
    pub quota: u64,
    pub window_us: u64,
}

impl WindowRates {
    fn width_us(self) -> u64 {
        self.window_us.div_ceil(SEGMENTS_PER_WINDOW).max(1)
    }

    fn segment(self, at: LogTime) -> u64 {
        at.0 / self.width_us()
    }

    /// When the last charge that `segment` can hold has left the window.
    fn leaves_at(self, segment: u64) -> LogTime {
        LogTime(segment.saturating_add(1).saturating_mul(self.width_us())).after_us(self.window_us)
    }
}

/// The state of a sliding window: what was charged in each segment that may still count, oldest
/// first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Window {
    segments: VecDeque<(u64, u64)>,
}

impl Window {
    fn expire(&mut self, rates: WindowRates, now: LogTime) {
        while self.segments.front().is_some_and(|(segment, _)| rates.leaves_at(*segment) <= now) {
            self.segments.pop_front();
        }
        if self.segments.is_empty() {
            self.segments.shrink_to_fit();
        }
    }

    fn counting(&self, rates: WindowRates, now: LogTime) -> impl Iterator<Item = (u64, u64)> {
        self.segments
            .iter()
            .copied()
            .skip_while(move |(segment, _)| rates.leaves_at(*segment) <= now)
    }

    /// Units in use.
    pub fn used(&self, rates: WindowRates, now: LogTime) -> u64 {
        self.counting(rates, now).fold(0, |sum, (_, n)| sum.saturating_add(n))
    }

    pub fn fits(&self, rates: WindowRates, cost: u64, now: LogTime) -> bool {
        self.used(rates, now).saturating_add(cost) <= rates.quota
    }

    /// The earliest instant at which a cost of `cost`, at most the quota, fits. It may lie in the
    /// past.
    pub fn fits_at(&self, rates: WindowRates, cost: u64) -> LogTime {
        let mut used = self.used(rates, LogTime(0));
        let mut at = LogTime(0);
        for (segment, n) in &self.segments {
            if used.saturating_add(cost) <= rates.quota {
                break;
            }
            used = used.saturating_sub(*n);
            at = rates.leaves_at(*segment);
        }
        at
    }

    /// About how many microseconds from `now` it takes until `amount`, which may be more than the
    /// quota, has fit.
    pub fn fits_in_us(&self, rates: WindowRates, amount: u128, now: LogTime) -> u64 {
        let quota = u128::from(rates.quota.max(1));
        let rounds = amount.saturating_sub(1) / quota;
        let rest = u64::try_from(amount - rounds * quota).unwrap_or(rates.quota);
        let rounds_us = u64::try_from(rounds).unwrap_or(u64::MAX).saturating_mul(rates.window_us);
        self.fits_at(rates, rest).since_us(now).saturating_add(rounds_us)
    }

    /// Charges `cost` and returns its mark: the segment it counts in.
    pub fn charge(&mut self, rates: WindowRates, cost: u64, now: LogTime) -> u128 {
        self.expire(rates, now);
        let segment = rates.segment(now);
        if cost > 0 {
            match self.segments.back_mut() {
                Some((last, n)) if *last >= segment => *n = n.saturating_add(cost),
                _ => self.segments.push_back((segment, cost)),
            }
        }
        u128::from(segment)
    }

    /// Gives up to `amount` of the charge with this mark back, while its segment counts; returns
    /// how much.
    pub fn refund(&mut self, rates: WindowRates, mark: u128, amount: u64, now: LogTime) -> u64 {
        self.expire(rates, now);
        let Some(found) =
            self.segments.iter().position(|(segment, _)| u128::from(*segment) == mark)
        else {
            return 0;
        };
        let Some((_, n)) = self.segments.get_mut(found) else { return 0 };
        let amount = amount.min(*n);
        *n -= amount;
        if *n == 0 {
            self.segments.remove(found);
        }
        amount
    }

    /// Charges up to `amount` of debt, as long as no more than two quotas are in use; returns how
    /// much.
    pub fn debit(&mut self, rates: WindowRates, amount: u64, now: LogTime) -> u64 {
        let room = rates.quota.saturating_mul(2).saturating_sub(self.used(rates, now));
        let amount = amount.min(room);
        self.charge(rates, amount, now);
        amount
    }

    /// Microseconds until fewer units are in use; `None` when none is.
    pub fn next_unit_in_us(&self, rates: WindowRates, now: LogTime) -> Option<u64> {
        self.counting(rates, now).next().map(|(segment, _)| rates.leaves_at(segment).since_us(now))
    }

    /// The same charges under another window, each as late as it can have been. What the old window
    /// had already let go stays gone; marks of the old segments mean nothing here.
    pub fn rescaled(&self, from: WindowRates, to: WindowRates, now: LogTime) -> Self {
        let mut next = Self::default();
        for (segment, n) in self.counting(from, now) {
            let end = LogTime(
                segment.saturating_add(1).saturating_mul(from.width_us()).saturating_sub(1),
            );
            next.charge_late(to, n, end.min(now), now);
        }
        next
    }

    fn charge_late(&mut self, rates: WindowRates, cost: u64, at: LogTime, now: LogTime) {
        if rates.leaves_at(rates.segment(at)) > now {
            self.charge(rates, cost, at);
        }
    }

    /// A window in which `used` units are in use.
    pub fn holding(rates: WindowRates, used: u64, now: LogTime) -> Self {
        let mut window = Self::default();
        window.charge(rates, used, now);
        window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: WindowRates = WindowRates { quota: 10, window_us: 64_000 };

    #[test]
    fn a_unit_comes_back_when_its_whole_segment_has_left() {
        let mut window = Window::default();
        window.charge(RATES, 10, LogTime(500));
        assert_eq!(window.fits_at(RATES, 1), LogTime(65_000));
        assert!(!window.fits(RATES, 1, LogTime(64_999)));
        assert!(window.fits(RATES, 10, LogTime(65_000)));
    }

    #[test]
    fn a_longer_window_keeps_what_still_counts() {
        let mut window = Window::default();
        window.charge(RATES, 4, LogTime(500));
        window.charge(RATES, 3, LogTime(30_000));
        let wide = WindowRates { quota: 10, window_us: 640_000 };
        let rescaled = window.rescaled(RATES, wide, LogTime(40_000));
        assert_eq!(rescaled.used(wide, LogTime(40_000)), 7);
        assert_eq!(rescaled.used(wide, LogTime(2_000_000)), 0);
    }

    #[test]
    fn refunds_find_their_segment_only() {
        let mut window = Window::default();
        let mark = window.charge(RATES, 4, LogTime(500));
        window.charge(RATES, 3, LogTime(5_000));
        assert_eq!(window.refund(RATES, mark, 2, LogTime(6_000)), 2);
        assert_eq!(window.used(RATES, LogTime(6_000)), 5);
        assert_eq!(window.refund(RATES, mark, 2, LogTime(65_000)), 0);
    }
}
