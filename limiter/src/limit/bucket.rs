//! Token bucket, kept as the queue it is the mirror of.
//!
//! The generic cell rate algorithm (ITU-T I.371, "virtual scheduling") sees a token bucket as a
//! queue of fluid that drains at the refill rate: an arrival is admitted when the backlog it leaves
//! behind is at most the burst. Amounts are scaled by the window in microseconds, so that the drain
//! in one microsecond is the quota, a whole number, and nothing is rounded.
//!
//! Head and tail are positions in that fluid. A charge remembers the tail it left (its *mark*),
//! which tells later how much of it has not drained yet. Only that part can be given back: it has
//! not bought anybody's tokens so far, so the history without it is one that the bucket would have
//! admitted too.

use serde::{Deserialize, Serialize};

use crate::model::time::LogTime;

/// The rates of a token bucket, with its burst filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BucketRates {
    pub quota: u64,
    pub window_us: u64,
    pub burst: u64,
}

impl BucketRates {
    fn scaled(self, amount: u64) -> u128 {
        u128::from(amount) * u128::from(self.window_us)
    }
}

/// The state of a token bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Bucket {
    /// Up to where it has drained, scaled.
    head: u128,
    /// Up to where it was charged, scaled. Never below `head`.
    tail: u128,
    /// When `head` was right.
    at: LogTime,
}

impl Bucket {
    fn head_at(&self, rates: BucketRates, now: LogTime) -> u128 {
        let drained = u128::from(rates.quota) * u128::from(now.since_us(self.at));
        self.head.saturating_add(drained).min(self.tail)
    }

    fn backlog(&self, rates: BucketRates, now: LogTime) -> u128 {
        self.tail - self.head_at(rates, now)
    }

    /// Lets time pass. Must come before a change of the rates.
    pub fn drain(&mut self, rates: BucketRates, now: LogTime) {
        self.head = self.head_at(rates, now);
        self.at = self.at.max(now);
    }

    /// The earliest instant at which a cost of `cost`, at most the burst, fits. It may lie in the
    /// past.
    pub fn fits_at(&self, rates: BucketRates, cost: u64) -> LogTime {
        self.at.after_us(self.fits_in_us(rates, u128::from(cost), self.at))
    }

    /// Microseconds from `now` until the backlog leaves room for `amount`, which may be more than
    /// the burst.
    pub fn fits_in_us(&self, rates: BucketRates, amount: u128, now: LogTime) -> u64 {
        let needed = self
            .backlog(rates, now)
            .saturating_add(amount.saturating_mul(u128::from(rates.window_us)));
        let excess = needed.saturating_sub(rates.scaled(rates.burst));
        u64::try_from(excess.div_ceil(u128::from(rates.quota.max(1)))).unwrap_or(u64::MAX)
    }

    pub fn fits(&self, rates: BucketRates, cost: u64, now: LogTime) -> bool {
        self.backlog(rates, now) + rates.scaled(cost) <= rates.scaled(rates.burst)
    }

    /// Charges `cost` and returns its mark.
    pub fn charge(&mut self, rates: BucketRates, cost: u64, now: LogTime) -> u128 {
        self.drain(rates, now);
        self.tail = self.tail.saturating_add(rates.scaled(cost));
        self.tail
    }

    /// Gives up to `amount` of a charge of `charged` back; returns how much.
    pub fn refund(
        &mut self,
        rates: BucketRates,
        charged: u64,
        mark: u128,
        amount: u64,
        now: LogTime,
    ) -> u64 {
        self.drain(rates, now);
        let left = mark.saturating_sub(self.head).min(rates.scaled(charged))
            / u128::from(rates.window_us.max(1));
        let amount = amount.min(u64::try_from(left).unwrap_or(u64::MAX));
        if mark == self.tail {
            // Nothing lies behind it: the queue just becomes shorter.
            self.tail = self.tail.saturating_sub(rates.scaled(amount)).max(self.head);
        } else {
            // All that lies behind it moves up. Their marks stay, so the head moves towards them
            // instead: nobody's charge looks less drained than it is, and one that lies
            // before this may look more drained.
            self.head = self.head.saturating_add(rates.scaled(amount)).min(self.tail);
        }
        amount
    }

    /// Charges up to `amount` of debt, as long as no more than a burst and a quota is owed; returns
    /// how much.
    pub fn debit(&mut self, rates: BucketRates, amount: u64, now: LogTime) -> u64 {
        let most = rates.scaled(rates.burst) + rates.scaled(rates.quota);
        let room =
            most.saturating_sub(self.backlog(rates, now)) / u128::from(rates.window_us.max(1));
        let amount = amount.min(u64::try_from(room).unwrap_or(u64::MAX));
        self.charge(rates, amount, now);
        amount
    }

    /// Units in use, rounded up.
    pub fn used(&self, rates: BucketRates, now: LogTime) -> u64 {
        let used = self.backlog(rates, now).div_ceil(u128::from(rates.window_us.max(1)));
        u64::try_from(used).unwrap_or(u64::MAX)
    }

    /// Microseconds until one unit less is in use; `None` when none is.
    pub fn next_unit_in_us(&self, rates: BucketRates, now: LogTime) -> Option<u64> {
        let backlog = self.backlog(rates, now);
        let above = backlog.checked_sub(1)? % u128::from(rates.window_us.max(1)) + 1;
        u64::try_from(above.div_ceil(u128::from(rates.quota.max(1)))).ok()
    }

    /// The same backlog, in units of another window, rounded up. Marks of the old scale mean
    /// nothing here.
    pub fn rescaled(&self, from_window_us: u64, to_window_us: u64, now: LogTime) -> Self {
        let (from, to) = (u128::from(from_window_us.max(1)), u128::from(to_window_us));
        let backlog = self.tail - self.head;
        let scaled = (backlog / from) * to + ((backlog % from) * to).div_ceil(from);
        Self { head: 0, tail: scaled, at: self.at.max(now) }
    }

    /// A bucket in which `used` units are in use.
    pub fn holding(rates: BucketRates, used: u64, now: LogTime) -> Self {
        Self { head: 0, tail: rates.scaled(used), at: now }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: BucketRates = BucketRates { quota: 100, window_us: 60_000_000, burst: 100 };

    #[test]
    fn a_drained_charge_is_not_given_back() {
        let mut bucket = Bucket::default();
        let mark = bucket.charge(RATES, 100, LogTime(0));
        bucket.charge(RATES, 98, LogTime(59_000_000));
        // 98.3 of the first charge have drained by now: 1 whole unit is left to give back.
        assert_eq!(bucket.refund(RATES, 100, mark, 100, LogTime(59_000_000)), 1);
    }

    #[test]
    fn a_charge_at_the_tail_of_a_long_queue_is_given_back_whole() {
        let mut bucket = Bucket::default();
        bucket.charge(RATES, 90, LogTime(0));
        let mark = bucket.charge(RATES, 10, LogTime(0));
        assert_eq!(bucket.refund(RATES, 10, mark, 7, LogTime(30_000_000)), 7);
        assert_eq!(bucket.used(RATES, LogTime(30_000_000)), 43);
    }

    #[test]
    fn two_charges_are_given_back_whole_in_any_order() {
        for order in [[0, 1], [1, 0]] {
            let mut bucket = Bucket::default();
            let marks =
                [bucket.charge(RATES, 50, LogTime(0)), bucket.charge(RATES, 50, LogTime(0))];
            for which in order {
                assert_eq!(bucket.refund(RATES, 50, marks[which], 50, LogTime(0)), 50);
            }
            assert_eq!(bucket.used(RATES, LogTime(0)), 0);
        }
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let rates = BucketRates { quota: 1 << 53, window_us: 31 * 86_400_000_000, burst: 1 << 53 };
        let mut bucket = Bucket::default();
        bucket.charge(rates, 1 << 53, LogTime(0));
        assert!(!bucket.fits(rates, 1, LogTime(0)));
        assert_eq!(bucket.debit(rates, 1 << 53, LogTime(0)), 1 << 53);
        assert_eq!(bucket.debit(rates, 1, LogTime(0)), 0);
        let slow = BucketRates { quota: 1, ..rates };
        assert!(bucket.fits_at(slow, 1 << 53).0 > 1 << 60);
        assert_eq!(
            bucket
                .rescaled(rates.window_us, 1000, LogTime(5))
                .used(BucketRates { window_us: 1000, ..rates }, LogTime(5)),
            1 << 54
        );
    }
}
