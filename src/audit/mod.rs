//! The audit of a stopped node: what its log decided, and whether every bound held.
//!
//! ```text
//!   decision.rs   what an entry decided, as it is shown
//!   limit.rs      one limit: what it admitted, counted anew
//! ```
//! The decisions come from the log ([`ratequeue_raft::Replay`]). What they add up to is counted
//! here by other code than the limiter's, from grants, ends and corrections alone. What was charged
//! before the checkpoint that the log goes on from is not known: a rate is counted from there on;
//! leases that were held there are.

mod decision;
mod limit;

use std::collections::{BTreeMap, HashMap};

use ratequeue_limiter::{
    LeaseId, Load, LogTime, Phase, ResourceName, ResourceSpec, State, caps as core_caps,
};
use ratequeue_raft::Replayed;
use serde::Serialize;

pub use decision::{Decision, DecisionKind};
use limit::{Count, Judged};

/// Breaches that are named one by one; further ones are counted.
const BREACHES_NAMED_MAX: usize = 100;

/// What the log of one group came to.
#[derive(Debug, Default)]
pub struct Audit {
    group: String,
    resources: BTreeMap<ResourceName, Audited>,
    /// Of resources that were deleted, or created again.
    gone: Vec<Report>,
    breaches: Vec<Breach>,
    breaches_len: u64,
    decisions: u64,
    fencing_token: u64,
}

/// A resource under audit.
#[derive(Debug)]
struct Audited {
    spec: ResourceSpec,
    limits: BTreeMap<String, Count>,
    held: HashMap<LeaseId, Held>,
    grants: u64,
    held_most: u64,
}

#[derive(Debug)]
struct Held {
    load: Load,
    granted: LogTime,
}

/// What one limit admitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The resource.
    pub resource: String,
    /// The limit.
    pub limit: String,
    /// `concurrency`, `sliding_window` or `token_bucket`.
    pub rule: &'static str,
    /// Leases that were granted.
    pub grants: u64,
    /// Leases that were held at once, at most.
    pub held_most: u64,
    /// Units at most: held at once; in any window; or admitted beyond what had refilled.
    pub most: u64,
    /// What `most` may be: the highest that was in force, the quota or the burst.
    pub bound: u64,
    /// The entry that reached `most`.
    pub at_index: u64,
    /// Grants, or refunds, that broke the bound that was in force.
    pub breaches: u64,
}

/// A bound that did not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Breach {
    /// The entry.
    pub index: u64,
    /// The resource.
    pub resource: String,
    /// The limit; `None` when it is about fencing tokens.
    pub limit: Option<String>,
    /// What happened.
    pub detail: String,
}

impl Audit {
    /// The audit of a group's log that goes on from this state.
    #[must_use]
    pub fn new(group: &str, state: &State) -> Self {
        let mut audit = Self { group: group.to_owned(), ..Self::default() };
        let mut after: Option<ResourceName> = None;
        loop {
            let page = state.resources(after.as_ref(), core_caps::WORK_PER_COMMAND_MAX);
            let Some(last) = page.last() else { return audit };
            after = Some(last.name.clone());
            for view in page {
                let mut audited = Audited::new(view.spec);
                audited.limits.values_mut().for_each(Count::resume);
                audited.hold_those_of(state, &view.name);
                audit.resources.insert(view.name, audited);
            }
        }
    }

    /// Takes an entry into account; `state` is the state after it.
    pub fn observe(&mut self, replayed: &Replayed, state: &State) -> Vec<Decision> {
        let decisions = Decision::all(&self.group, replayed, state);
        let mut changes: HashMap<&ResourceName, u32> = HashMap::new();
        for decision in &decisions {
            if let DecisionKind::LimitsChanged { .. } = decision.kind {
                *changes.entry(&decision.resource).or_default() += 1;
            }
        }

        for decision in &decisions {
            self.decisions += 1;
            // Between two changes in one entry the limits are not known.
            let is_judged = changes.get(&decision.resource).is_none_or(|changes| *changes < 2);
            self.take(decision, state, is_judged);
        }
        decisions
    }

    fn take(&mut self, decision: &Decision, state: &State, is_judged: bool) {
        let (name, at) = (&decision.resource, LogTime(decision.time_us));
        match &decision.kind {
            DecisionKind::LimitsChanged { .. } => {
                if let Some(view) = state.resource(name) {
                    let audited = self.resources.entry(name.clone());
                    let audited = audited.or_insert_with(|| Audited::new(view.spec.clone()));
                    audited.change(view.spec, at, is_judged);
                }
            }
            DecisionKind::Deleted => self.forget(name),
            DecisionKind::Granted { id, fencing_token, load, .. } => {
                let before = self.fencing_token;
                if *fencing_token <= before {
                    let detail = format!("the fencing token {fencing_token} follows {before}");
                    self.breach(decision, None, detail);
                }
                self.fencing_token = before.max(*fencing_token);
                let Some(load) = load else { return };
                let broken = self
                    .resources
                    .get_mut(name)
                    .map(|audited| audited.grant(*id, load.clone(), decision.index, at, is_judged));
                self.break_all(decision, broken);
            }
            DecisionKind::Ended { id, refunded, debited, .. } => {
                let broken = self
                    .resources
                    .get_mut(name)
                    .map(|audited| audited.end(*id, refunded, debited, at));
                self.break_all(decision, broken);
            }
            DecisionKind::Queued { .. } | DecisionKind::Refused { .. } => {}
        }
    }

    fn break_all(&mut self, decision: &Decision, broken: Option<Vec<(String, String)>>) {
        for (limit, detail) in broken.into_iter().flatten() {
            self.breach(decision, Some(limit), detail);
        }
    }

    fn breach(&mut self, decision: &Decision, limit: Option<String>, detail: String) {
        self.breaches_len += 1;
        if self.breaches.len() < BREACHES_NAMED_MAX {
            let resource = decision.resource.to_string();
            self.breaches.push(Breach { index: decision.index, resource, limit, detail });
        }
    }

    fn forget(&mut self, name: &ResourceName) {
        if let Some(audited) = self.resources.remove(name) {
            self.gone.extend(audited.reports(name));
        }
    }

    /// Decisions that were looked at.
    #[must_use]
    pub fn decisions(&self) -> u64 {
        self.decisions
    }

    /// What each limit admitted, by resource and limit; those that are gone at the end.
    #[must_use]
    pub fn reports(&self) -> Vec<Report> {
        let living = self.resources.iter().flat_map(|(name, audited)| audited.reports(name));
        living.chain(self.gone.iter().cloned()).collect()
    }

    /// How many bounds did not hold, and the first of them.
    #[must_use]
    pub fn breaches(&self) -> (u64, &[Breach]) {
        (self.breaches_len, &self.breaches)
    }
}

impl Audited {
    fn new(spec: ResourceSpec) -> Self {
        let limits = spec.limits.iter();
        let limits = limits.map(|(name, limit)| (name.to_string(), Count::new(limit.rule)));
        Self { limits: limits.collect(), spec, held: HashMap::new(), grants: 0, held_most: 0 }
    }

    /// Counts the leases that are held before the first entry.
    fn hold_those_of(&mut self, state: &State, name: &ResourceName) {
        let mut after = None;
        loop {
            let page = state.held(name, after, core_caps::WORK_PER_COMMAND_MAX, state.now());
            let page = page.unwrap_or_default();
            let Some(last) = page.last() else { break };
            after = Some(last.id.seq);
            for view in page {
                if let Phase::Held(_) = view.phase {
                    // When it was granted does not matter: what rates were charged is not known.
                    self.held.insert(view.id, Held { load: view.load, granted: LogTime(0) });
                }
            }
        }
        self.hold_again();
    }

    /// Counts what is held under each concurrency limit from the beginning.
    fn hold_again(&mut self) {
        for (name, limit) in &self.spec.limits {
            let held = self.held.values().map(|held| held.load.cost(&limit.cost));
            if let Some(count) = self.limits.get_mut(name.as_str()) {
                count.hold(held.fold(0, u64::saturating_add));
            }
        }
        self.held_most = self.held_most.max(self.held.len() as u64);
    }

    fn change(&mut self, spec: ResourceSpec, at: LogTime, is_known: bool) {
        self.limits.retain(|name, _| spec.limits.keys().any(|kept| kept.as_str() == name));
        for (name, limit) in &spec.limits {
            match self.limits.get_mut(name.as_str()) {
                Some(count) => count.change(limit.rule, at, is_known),
                None => drop(self.limits.insert(name.to_string(), Count::new(limit.rule))),
            }
        }
        self.spec = spec;
        self.hold_again();
    }

    fn grant(
        &mut self,
        id: LeaseId,
        load: Load,
        index: u64,
        at: LogTime,
        is_judged: bool,
    ) -> Vec<(String, String)> {
        self.grants += 1;
        let mut broken = Vec::new();
        for (name, limit) in &self.spec.limits {
            let Some(count) = self.limits.get_mut(name.as_str()) else { continue };
            let cost = load.cost(&limit.cost);
            if let Judged::Broken(detail) = count.charge(id, cost, index, at, is_judged) {
                broken.push((name.to_string(), detail));
            }
        }
        self.held.insert(id, Held { load, granted: at });
        self.held_most = self.held_most.max(self.held.len() as u64);
        broken
    }

    fn end(
        &mut self,
        id: LeaseId,
        refunded: &BTreeMap<String, u64>,
        debited: &BTreeMap<String, u64>,
        at: LogTime,
    ) -> Vec<(String, String)> {
        let Some(held) = self.held.remove(&id) else { return Vec::new() };
        let mut broken = Vec::new();
        for (name, limit) in &self.spec.limits {
            let Some(count) = self.limits.get_mut(name.as_str()) else { continue };
            count.release(held.load.cost(&limit.cost));
            if let Some(amount) = refunded.get(name.as_str())
                && let Judged::Broken(detail) = count.refund(id, held.granted, *amount, at)
            {
                broken.push((name.to_string(), detail));
            }
            if let Some(amount) = debited.get(name.as_str()) {
                count.debit(id, *amount, at);
            }
        }
        broken
    }

    fn reports(&self, resource: &ResourceName) -> Vec<Report> {
        let report = |(limit, count): (&String, &Count)| Report {
            resource: resource.to_string(),
            limit: limit.clone(),
            rule: count.rule(),
            grants: self.grants,
            held_most: self.held_most,
            most: count.most().units,
            bound: count.most().bound,
            at_index: count.most().index,
            breaches: count.most().breaches,
        };
        self.limits.iter().map(report).collect()
    }
}

#[cfg(test)]
mod tests;
