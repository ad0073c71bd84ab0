//! When time alone changes something: the order of due work.

use crate::caps;
use crate::collections::paged::Paged;
use crate::model::level::Level;
use crate::model::time::LogTime;
use crate::state::State;
use crate::state::changes::Tracked;
use crate::state::lease::LeaseRecord;
use crate::state::resource::Resource;

impl State {
    /// The earliest log time at which time alone changes something; `None` when nothing will. O(log
    /// n).
    #[must_use]
    pub fn next_due(&self) -> Option<LogTime> {
        // What is left over is due since the beginning of time.
        let left_over = self.indexes.left_over.first().map(|_| LogTime(0));
        left_over.or_else(|| self.indexes.due.first().map(|(at, _)| *at))
    }

    /// The log time at which the oldest of what is remembered may be forgotten. That is no reason
    /// for an entry of its own, unless room is scarce.
    #[must_use]
    pub fn next_forgotten(&self) -> Option<LogTime> {
        let lease = self.indexes.ended.first().map(|(at, _)| at);
        let change = self.records.remembered.first_key_value().map(|(_, change)| change.at);
        lease.into_iter().chain(change).min().map(|at| at.after_us(caps::REMEMBERED_US_MIN))
    }

    /// Brings the place of a resource in the order of due work up to date. One that is gone has
    /// none.
    pub(crate) fn reschedule(&mut self, id: u64) {
        let level = self.level();
        let Some(resource) = self.records.resources.get_mut(id) else { return };
        if resource.is_left_over() {
            self.indexes.left_over.insert(id);
        } else {
            self.indexes.left_over.remove(&id);
        }

        let due = due_of(resource, &self.records.leases, level);
        if due == resource.due {
            return;
        }
        if let Some(old) = resource.due {
            self.indexes.due.remove(&(old, id));
        }
        if let Some(new) = due {
            self.indexes.due.insert((new, id));
        }
        resource.due = due;
    }

    /// The same for all resources: after loading, and when other rules count from now on.
    pub(crate) fn reschedule_all(&mut self) {
        for id in self.records.resources.iter().map(|(id, _)| id).collect::<Vec<_>>() {
            self.reschedule(id);
        }
    }
}

/// When time alone changes something in a resource, beside work that is left over.
fn due_of(
    resource: &Resource,
    leases: &Paged<Tracked<LeaseRecord>>,
    level: Level,
) -> Option<LogTime> {
    // Before work was shared, left-over work had its place among what is due, the first one.
    if resource.is_left_over() && !level.shares_work() {
        return Some(LogTime(0));
    }
    if resource.deleted {
        return None;
    }

    let timer = resource.live.timers.first().map(|(at, _)| *at);
    let head = resource.live.queue.head().and_then(|seq| leases.get(seq));
    match (timer, head.and_then(|lease| resource.fits_at(&lease.load, level))) {
        (Some(timer), Some(head)) => Some(timer.min(head)),
        (timer, head) => timer.or(head),
    }
}
