//! What must hold of the state after every step, and what it shows.

use ratequeue_limiter::{Applied, LeaseId, LogTime, Phase};

use crate::compare::life;
use crate::history::KnownLease;
use crate::run::{Run, ensure};
use crate::steps::translate::resource_name;
use crate::steps::{Command, Kind, Step};

impl Run {
    pub fn check_history(&mut self, applied: &Applied) -> Result<(), String> {
        let known = |id: LeaseId| {
            let lease = &self.model.leases[self.ids.iter().position(|other| *other == id).unwrap()];
            KnownLease {
                priority: lease.acquire.priority,
                deadline: LogTime(lease.deadline),
                until: LogTime(lease.until),
                claim_until: lease.claim_until.map(LogTime),
                may_be_overtaken: lease.passed_over,
            }
        };
        self.history.record(self.state.now(), &applied.events, known)
    }

    /// Held cost is within the quota, or on its way down after the limit was lowered.
    pub fn check_concurrency(&mut self, step: &Step) -> Result<(), String> {
        let changed =
            step.commands.iter().any(|c| matches!(c, Command::Put { .. } | Command::Patch { .. }));
        for id in 0..self.model.resources.len() {
            let name = resource_name(self.model.resources[id].name);
            if self.model.resources[id].deleted {
                continue;
            }
            let usage = self.state.usage(&name, self.state.now()).ok_or("the resource is gone")?;
            for limit in usage.limits.iter().filter(|limit| limit.window_ms.is_none()) {
                let (key, _) = self.model.resources[id]
                    .limits
                    .get_key_value(limit.name.as_str())
                    .ok_or("no limit")?;
                let excess = self.excess.entry((id, key)).or_insert(0);
                let most = limit.quota.max(if changed { u64::MAX } else { *excess });
                ensure(limit.used <= most, || {
                    format!("{} holds {} of {}", limit.name, limit.used, limit.quota)
                })?;
                *excess = limit.used;
            }
        }

        Ok(())
    }

    pub fn check_views(&self) -> Result<(), String> {
        let now = self.state.now();
        for (lease, id) in self.model.leases.iter().zip(&self.ids) {
            let Some(view) = self.state.lease(*id, now) else {
                ensure(lease.forgotten, || format!("{id} is forgotten, but {lease:?}"))?;
                continue;
            };
            let same = !lease.forgotten && lease.life == life(view.state());
            ensure(same, || format!("{id} is {:?}, but should be {:?}", view.state(), lease.life))?;
            let timer = match &view.phase {
                Phase::Waiting(place) => {
                    place.waits_until.0 == lease.until && place.retry_after_ms >= 1
                }
                Phase::Held(grant) => grant.deadline.0 == lease.deadline,
                Phase::Ended(_) => true,
            };
            ensure(timer, || format!("{id} has other times than {lease:?}: {:?}", view.phase))?;
        }

        (0..self.model.resources.len()).try_for_each(|id| self.check_resource(id))
    }

    fn check_resource(&self, id: usize) -> Result<(), String> {
        let (now, resource) = (self.state.now(), &self.model.resources[id]);
        let name = resource_name(resource.name);
        if resource.deleted {
            return Ok(());
        }

        let usage = self.state.usage(&name, now).ok_or("the resource is gone")?;
        for limit in &usage.limits {
            let tracked = &resource.limits[limit.name.as_str()];
            let held = match tracked.spec.kind {
                Kind::Concurrency => self.model.held_cost(id, limit.name.as_str()),
                Kind::Window | Kind::Bucket => 0,
            };
            let used = tracked.used(held, now.0);
            ensure(limit.used == used, || {
                format!("{} uses {}, should be {used}", limit.name, limit.used)
            })?;
        }

        let queue: Vec<_> = self.model.queue(id).into_iter().map(|lease| self.ids[lease]).collect();
        let views = self.state.waiting(&name, None, 1000, now).ok_or("the resource is gone")?;
        ensure(views.iter().map(|view| view.id).eq(queue.iter().copied()), || {
            format!("the queue is not {queue:?}")
        })?;

        for (view, position) in views.iter().zip(1..) {
            let right = matches!(&view.phase, Phase::Waiting(place) if place.position == position);
            ensure(right, || format!("{} is not at place {position}", view.id))?;
        }

        Ok(())
    }
}
