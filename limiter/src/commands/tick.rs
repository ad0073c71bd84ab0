//! Tick: lets time pass. Every entry does, before its commands are decided; a tick is one that does
//! nothing else. Bounded work at a time.

use crate::caps;
use crate::state::{Entry, State};

impl State {
    /// Does what time has made due and what is left over, a bounded amount of it. Half of the
    /// entry's budget is for that; the commands have the rest.
    pub(crate) fn pass_time(&mut self, entry: &mut Entry) {
        if !self.level().shares_work() {
            // What is left over is due since the beginning of time.
            self.run_timed(entry, caps::DUE_WORK_PER_ENTRY_MAX);
            return;
        }

        let share = entry.work_left / 2;
        // Neither waits for the other: what is left over may take as much time as it likes, at half
        // the speed.
        let for_timed = if self.indexes.left_over.is_empty() { share } else { share / 2 };
        let timed = for_timed - self.run_timed(entry, for_timed);
        let left = self.finish_left_over(entry, share - timed);
        entry.work_left = entry.work_left - share + left;
    }

    /// Does what time has made due, in that order; returns what is left of the budget.
    fn run_timed(&mut self, entry: &mut Entry, mut budget: usize) -> usize {
        while let Some((at, id)) = self.indexes.due.first().copied() {
            if at > entry.now || budget == 0 {
                break;
            }
            // Every visit costs, so that a resource with nothing to do cannot be visited for ever.
            budget = self.visit(entry, id, budget).saturating_sub(1);
        }
        budget
    }

    /// Goes on with what is left over, in so many resources at a time, each with an equal part of
    /// the budget; returns what is left of it.
    fn finish_left_over(&mut self, entry: &mut Entry, mut budget: usize) -> usize {
        let parts = self.indexes.left_over.len().clamp(1, caps::LEFT_OVER_SHARED_MAX);
        let part = budget.div_ceil(parts);
        for _ in 0..parts {
            let mut next = self.indexes.left_over.first().copied();
            while let Some(id) = next.filter(|_| budget > 0) {
                let given = part.min(budget);
                budget = (budget - given + self.visit(entry, id, given)).saturating_sub(1);
                next = self.indexes.left_over.range(id + 1..).next().copied();
            }
        }
        budget
    }

    /// Settles a resource that nobody asks for; returns what is left of the budget.
    fn visit(&mut self, entry: &mut Entry, id: u64, budget: usize) -> usize {
        self.settle(entry, id, budget).unwrap_or_else(|defect| {
            entry.note(defect);
            budget
        })
    }
}
