//! Commands on resources: put, patch, delete, each carried out once.

use std::collections::BTreeMap;

use super::limit::Tracked;
use super::{Answer, LeaseStage, Model, Presence, RememberedRequest, Resource};
use crate::steps::{Change, Command, Condition, Kind, Spec, TrueUp};

impl Model {
    pub(super) fn change_once(&mut self, request: u64, command: &Command) -> Answer {
        if let Some(memo) = self.memos.iter().find(|memo| memo.request == request) {
            return if memo.command == *command { memo.answer.clone() } else { Answer::Conflict };
        }

        if self.of_request(request).is_some() {
            return Answer::Conflict;
        }

        let answer = self.change(command);
        if matches!(answer, Answer::Put { .. } | Answer::Patched { .. } | Answer::Deleted) {
            self.memos.push(RememberedRequest {
                request,
                command: command.clone(),
                answer: answer.clone(),
                at: self.now,
            });
        }

        answer
    }

    fn change(&mut self, command: &Command) -> Answer {
        match command {
            Command::Put { resource, spec, condition, .. } => {
                let found = self.find(resource);
                if let Some(wrong) = self.wrong_version(found, *condition) {
                    return wrong;
                }
                if let Some(id) = found
                    && self.level > 1
                    && self.resources[id].spec == *spec
                {
                    return Answer::Put { created: false, version: self.resources[id].version };
                }
                let id = found.unwrap_or_else(|| {
                    let (limits, spec) = (BTreeMap::new(), spec.clone());
                    self.resources.push(Resource {
                        name: resource,
                        spec,
                        limits,
                        version: 0,
                        deleted: false,
                    });
                    self.resources.len() - 1
                });
                self.respec(id, spec.clone());
                Answer::Put { created: found.is_none(), version: self.resources[id].version }
            }
            Command::Patch { resource, limit, change, condition, .. } => {
                let Some(id) = self.find(resource) else { return Answer::NoResource };
                if let Some(wrong) = self.wrong_version(Some(id), *condition) {
                    return wrong;
                }
                let mut spec = self.resources[id].spec.clone();
                if !patched(&mut spec, limit, change) {
                    return Answer::Invalid;
                }
                self.respec(id, spec);
                Answer::Patched { version: self.resources[id].version }
            }
            Command::Delete { resource, .. } => {
                let Some(id) = self.find(resource) else { return Answer::NoResource };
                let aside = self.places(id, |presence| presence == Presence::PassedOver);
                for lease in self.queue(id).into_iter().chain(aside) {
                    self.end_lease(lease, LeaseStage::Rejected, Some(Answer::ResourceDeleted));
                }
                self.resources[id].deleted = true;
                for lease in self
                    .leases
                    .iter_mut()
                    .filter(|lease| lease.resource == id && lease.life == LeaseStage::Held)
                {
                    lease.forgotten = true;
                }
                Answer::Deleted
            }
            Command::Acquire(..)
            | Command::Attend { .. }
            | Command::Detach { .. }
            | Command::Release { .. }
            | Command::Extend { .. }
            | Command::Keepalive { .. }
            | Command::Tick => unreachable!("not a change"),
        }
    }

    fn wrong_version(&self, found: Option<usize>, condition: Condition) -> Option<Answer> {
        let version = found.map(|id| self.resources[id].version);
        let right = match condition {
            Condition::Any => true,
            Condition::Absent => version.is_none(),
            Condition::Version(wanted) => version == Some(wanted),
        };
        (!right).then_some(Answer::WrongVersion(version))
    }

    fn respec(&mut self, id: usize, spec: Spec) {
        let resource = &mut self.resources[id];
        resource.limits.retain(|name, _| spec.limits.contains_key(name));
        for (name, limit) in &spec.limits {
            if let Some(known) = resource.limits.get_mut(name) {
                known.respec(limit.clone(), self.now);
            } else {
                self.limits_made += 1;
                resource
                    .limits
                    .insert(name, Tracked::new(limit.clone(), self.limits_made, self.now));
            }
        }

        resource.spec = spec;
        resource.version += 1;
        for lease in self.queue(id) {
            if let Some(why) = self.impossible(id, &self.leases[lease].acquire.load) {
                self.end_lease(lease, LeaseStage::Rejected, Some(why));
            }
        }

        self.turns(id);
    }
}

/// Applies a patch; false when the result makes no sense.
fn patched(spec: &mut Spec, name: &'static str, change: &Change) -> bool {
    if let Change::ClaimMs(claim_ms) = change {
        spec.claim_ms = claim_ms.unwrap_or(5_000);
        return true;
    }

    let known = spec.limits.get_mut(name);
    match (known, change) {
        (_, Change::Remove) => _ = spec.limits.remove(name),
        (_, Change::ClaimMs(_)) => unreachable!("done above"),
        (None, Change::Add(limit)) => _ = spec.limits.insert(name, limit.clone()),
        (None, _) => return false,
        (Some(known), Change::Add(limit)) => *known = limit.clone(),
        (Some(known), Change::Quota(quota)) => known.quota = *quota,
        (Some(known), Change::Cost(cost)) => known.cost = *cost,
        (Some(known), Change::Window(window_ms)) => {
            known.window_ms = *window_ms;
            return known.kind != Kind::Concurrency;
        }
        (Some(known), Change::Burst(burst)) => {
            known.burst = *burst;
            return burst.is_none() || known.kind == Kind::Bucket;
        }
    }

    debug_assert!(
        spec.limits
            .values()
            .all(|limit| limit.kind != Kind::Concurrency || limit.true_up == TrueUp::Both)
    );
    !spec.limits.is_empty()
}
