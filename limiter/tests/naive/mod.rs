//! The plainest model of the contract: plain vectors, no index, no schedule, and no code of the
//! core.
//!
//! It says what each command must come to and what must happen to every lease. It has no bound on
//! its work; the steps are few enough that the core's bounds are not reached.

pub mod limit;

use std::collections::BTreeMap;

use crate::steps::{Acquire, Change, Command, Condition, Cost, Kind, Limit, Load, Spec, TrueUp};
use limit::{Charged, Tracked, capacity, cost};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseStage {
    Waiting,
    Held,
    Released,
    Expired,
    Cancelled,
    TimedOut,
    Rejected,
    Lapsed,
}

/// Whether the caller of a lease is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    Attached,
    Detached,
    PassedOver,
}

/// What a command comes to, without numbers that are estimates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Waiting(usize),
    Held(usize),
    LimitExceeded(Vec<String>),
    QueueFull(Vec<String>),
    WaitTimeout,
    LoadExceeds(String),
    DimensionNeeded(String),
    Conflict,
    NoResource,
    NoLease,
    Expired,
    NotHeld(LeaseStage),
    Ended(LeaseStage),
    ResourceDeleted,
    Released { life: LeaseStage, refunded: Vec<(String, u64)>, debited: Vec<(String, u64)> },
    Extended(usize),
    Attended(usize, LeaseStage),
    Put { created: bool, version: u64 },
    Patched { version: u64 },
    Deleted,
    WrongVersion(Option<u64>),
    Invalid,
    Noted,
}

/// What happens to a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happens {
    Queued,
    Granted,
    Ends(LeaseStage),
}

#[derive(Debug, Clone)]
pub struct Lease {
    pub acquire: Acquire,
    pub resource: usize,
    pub life: LeaseStage,
    pub until: u64,
    pub alive_until: u64,
    pub ttl_ms: u64,
    pub deadline: u64,
    call: u64,
    pub presence: Presence,
    /// It was passed over once.
    pub passed_over: bool,
    pub claim_until: Option<u64>,
    charges: BTreeMap<&'static str, Charged>,
    /// Why a waiting lease ended, as its request is answered.
    why: Option<Answer>,
    released: Option<Answer>,
    ended_at: u64,
    pub forgotten: bool,
}

#[derive(Debug)]
pub struct Resource {
    pub name: &'static str,
    pub spec: Spec,
    pub limits: BTreeMap<&'static str, Tracked>,
    pub version: u64,
    pub deleted: bool,
}

#[derive(Debug)]
struct RememberedRequest {
    request: u64,
    command: Command,
    answer: Answer,
    at: u64,
}

#[derive(Debug, Default)]
pub struct Model {
    pub level: u32,
    pub now: u64,
    pub leases: Vec<Lease>,
    pub resources: Vec<Resource>,
    memos: Vec<RememberedRequest>,
    limits_made: u64,
    /// The leases that requests stood for when the entry began: what a release in it speaks of.
    pub targets: BTreeMap<u64, usize>,
    /// What happened in the entry under way: resource, lease, what.
    pub events: Vec<(usize, usize, Happens)>,
}

impl Model {
    pub fn at_level(level: u32) -> Self {
        Self { level, ..Self::default() }
    }

    pub fn begin(&mut self, stamp: u64) {
        self.now = self.now.max(stamp);
        self.events.clear();
        for id in 0..self.resources.len() {
            self.settle(id);
        }
    }

    /// Forgets what is old, at the end of an entry, at most `budget` records.
    pub fn end(&mut self, budget: usize) {
        for _ in 0..budget {
            let lease = (0..self.leases.len())
                .filter(|id| self.is_over(*id))
                .min_by_key(|id| self.leases[*id].ended_at);
            let memo = (!self.memos.is_empty()).then_some(0);
            let lease_at = lease.map(|id| self.leases[id].ended_at);
            let memo_at = memo.map(|id| self.memos[id].at);

            let old = |at: u64| at + 60_000_000 <= self.now;
            match (lease_at, memo_at) {
                (Some(at), other) if other.is_none_or(|other| at <= other) && old(at) => {
                    self.leases[lease.unwrap()].forgotten = true;
                }
                (other, Some(at)) if other.is_none_or(|other| at < other) && old(at) => {
                    _ = self.memos.remove(0)
                }
                _ => return,
            }
        }
    }

    fn is_over(&self, id: usize) -> bool {
        let lease = &self.leases[id];
        !lease.forgotten && !matches!(lease.life, LeaseStage::Waiting | LeaseStage::Held)
    }

    pub fn find(&self, name: &str) -> Option<usize> {
        self.resources.iter().position(|resource| resource.name == name && !resource.deleted)
    }

    /// The lease that a request stands for now.
    pub fn of_request(&self, request: u64) -> Option<usize> {
        self.leases.iter().position(|lease| lease.acquire.request == request && !lease.forgotten)
    }

    /// Who waits for a turn, in order.
    pub fn queue(&self, resource: usize) -> Vec<usize> {
        self.places(resource, |presence| presence != Presence::PassedOver)
    }

    fn places(&self, resource: usize, has: impl Fn(Presence) -> bool) -> Vec<usize> {
        let mut queue: Vec<usize> = (0..self.leases.len())
            .filter(|id| {
                self.leases[*id].resource == resource
                    && self.leases[*id].life == LeaseStage::Waiting
            })
            .filter(|id| has(self.leases[*id].presence))
            .collect();
        queue.sort_by_key(|id| (self.leases[*id].acquire.priority, *id));
        queue
    }

    /// What the held leases cost under a limit.
    pub fn held_cost(&self, resource: usize, name: &str) -> u64 {
        let spec = &self.resources[resource].limits[name].spec;
        let held = self.leases.iter().filter(|lease| {
            lease.resource == resource && lease.life == LeaseStage::Held && !lease.forgotten
        });
        held.map(|lease| cost(spec, &lease.acquire.load)).sum()
    }

    /// The limits that do not allow a load now.
    fn blocking(&self, id: usize, load: &Load) -> Vec<String> {
        let limits = self.resources[id].limits.iter();
        let blocking = limits.filter(|(name, limit)| {
            !limit.fits(self.needed(&limit.spec, load), self.held_cost(id, name), self.now)
        });
        blocking.map(|(name, _)| (*name).to_owned()).collect()
    }

    /// What must be free: of a load of 0 one unit, which is not charged.
    fn needed(&self, limit: &Limit, load: &Load) -> u64 {
        let cost = cost(limit, load);
        if self.level > 1 { cost.max(1) } else { cost }
    }

    fn impossible(&self, id: usize, load: &Load) -> Option<Answer> {
        let limits = &self.resources[id].limits;
        let dimension = limits.iter().find(|(_, limit)| limit.spec.cost == Cost::DimensionA);
        if let (Load::Scalar(_), Some((name, _))) = (load, dimension) {
            return Some(Answer::DimensionNeeded((*name).to_owned()));
        }
        let exceeded =
            limits.iter().find(|(_, limit)| cost(&limit.spec, load) > capacity(&limit.spec));
        exceeded.map(|(name, _)| Answer::LoadExceeds((*name).to_owned()))
    }

    fn end_lease(&mut self, lease: usize, life: LeaseStage, why: Option<Answer>) {
        let now = self.now;
        let ended = &mut self.leases[lease];
        ended.life = life;
        ended.why = why;
        ended.ended_at = now;
        self.events.push((ended.resource, lease, Happens::Ends(life)));
    }

    fn grant(&mut self, lease: usize) {
        let granted = &mut self.leases[lease];
        granted.life = LeaseStage::Held;
        granted.deadline = self.now + granted.ttl_ms * 1000;
        let resource = granted.resource;
        if granted.presence != Presence::Attached {
            granted.presence = Presence::Attached;
            granted.claim_until = Some(self.now + self.resources[resource].spec.claim_ms * 1000);
        }
        for (name, limit) in &mut self.resources[resource].limits {
            let charge = limit.charge(lease, cost(&limit.spec, &granted.acquire.load), self.now);
            granted.charges.insert(name, charge);
        }
        self.events.push((resource, lease, Happens::Granted));
    }

    /// What time has done to a resource, and then the turns of its queue.
    fn settle(&mut self, id: usize) {
        let now = self.now;
        let timer = |lease: &Lease| match lease.life {
            LeaseStage::Waiting => lease.until.min(lease.alive_until),
            LeaseStage::Held => lease.deadline.min(lease.claim_until.unwrap_or(u64::MAX)),
            LeaseStage::Released
            | LeaseStage::Expired
            | LeaseStage::Cancelled
            | LeaseStage::TimedOut
            | LeaseStage::Rejected
            | LeaseStage::Lapsed => u64::MAX,
        };

        let mut due: Vec<usize> = (0..self.leases.len())
            .filter(|lease| {
                let lease = &self.leases[*lease];
                lease.resource == id && !lease.forgotten && timer(lease) <= now
            })
            .collect();

        due.sort_by_key(|lease| (timer(&self.leases[*lease]), *lease));
        for lease in due {
            match self.leases[lease].life {
                LeaseStage::Held
                    if self.leases[lease]
                        .claim_until
                        .is_some_and(|at| at < self.leases[lease].deadline) =>
                {
                    self.lapse(lease);
                }
                LeaseStage::Held => self.end_lease(lease, LeaseStage::Expired, None),
                _ if self.leases[lease].until <= self.leases[lease].alive_until => {
                    self.end_lease(lease, LeaseStage::TimedOut, Some(Answer::WaitTimeout));
                }
                _ => self.end_lease(lease, LeaseStage::Cancelled, None),
            }
        }

        self.turns(id);
    }

    /// Nobody has claimed it: what it was charged is given back as far as it counts.
    fn lapse(&mut self, lease: usize) {
        let id = self.leases[lease].resource;
        for (name, limit) in &mut self.resources[id].limits {
            if let Some(charge) =
                self.leases[lease].charges.get(name).filter(|charge| charge.uid == limit.uid)
            {
                limit.give_back(lease, charge, self.now);
            }
        }
        self.end_lease(lease, LeaseStage::Lapsed, None);
    }

    /// Another call has come for a lease.
    fn call_for(&mut self, lease: usize, call: u64) {
        self.keep_alive(Some(lease));
        if !matches!(self.leases[lease].life, LeaseStage::Waiting | LeaseStage::Held) {
            return;
        }

        let id = self.leases[lease].resource;
        let held = matches!(self.leases[lease].life, LeaseStage::Held);
        let claimed = self.leases[lease].claim_until.take().is_none();
        let was = std::mem::replace(&mut self.leases[lease].presence, Presence::Attached);

        // A lease that is held and claimed may be another caller's: the end of a further call says
        // nothing of that one.
        if held && claimed && self.leases[lease].call != call {
            self.leases[lease].call = 0;
        } else if call != 0 || was != Presence::Attached || !claimed {
            self.leases[lease].call = call;
        }

        if was == Presence::PassedOver
            && let Some(why) = self.impossible(id, &self.leases[lease].acquire.load)
        {
            self.end_lease(lease, LeaseStage::Rejected, Some(why));
        }

        self.turns(id);
    }

    /// A call for a lease has ended without an answer.
    fn detach(&mut self, lease: usize) {
        let id = self.leases[lease].resource;
        let claim_ms = self.resources[id].spec.claim_ms;
        let detached = &mut self.leases[lease];

        match detached.life {
            LeaseStage::Waiting if detached.presence == Presence::Attached => {
                detached.presence =
                    if claim_ms == 0 { Presence::PassedOver } else { Presence::Detached };
                detached.passed_over |= claim_ms == 0;
                detached.alive_until = self.now + 15_000_000;
            }
            LeaseStage::Held if detached.claim_until.is_none() => {
                detached.claim_until = Some(self.now + claim_ms * 1000);
                if claim_ms == 0 {
                    self.lapse(lease);
                }
            }
            _ => {}
        }

        self.turns(id);
    }

    fn turns(&mut self, id: usize) {
        if self.resources[id].deleted {
            return;
        }

        for lease in self.queue(id) {
            if self.leases[lease].presence == Presence::Detached
                && self.resources[id].spec.claim_ms == 0
            {
                self.leases[lease].presence = Presence::PassedOver;
                self.leases[lease].passed_over = true;
                continue;
            }
            if !self.blocking(id, &self.leases[lease].acquire.load).is_empty() {
                return;
            }
            self.grant(lease);
        }
    }

    pub fn decide(&mut self, command: &Command) -> Answer {
        match command {
            Command::Acquire(acquire, call) => self.acquire(acquire, *call),
            Command::Attend { request, call } => {
                let Some(lease) = self.target(*request) else { return Answer::NoLease };
                self.call_for(lease, *call);
                Answer::Attended(lease, self.leases[lease].life)
            }
            Command::Detach { calls, for_good } => {
                for (request, call) in calls {
                    let Some(lease) = self.target(*request) else { continue };
                    let is_last = *call != 0 && self.leases[lease].call == *call;
                    if *for_good && is_last {
                        self.release(*request, None);
                    } else if is_last {
                        self.detach(lease);
                    }
                }
                Answer::Noted
            }
            Command::Release { request, used } => self.release(*request, used.as_ref()),
            Command::Extend { request, ttl_ms } => self.extend(*request, *ttl_ms),
            Command::Keepalive { requests } => {
                for request in requests {
                    self.keep_alive(self.target(*request));
                }
                Answer::Noted
            }
            Command::Tick => Answer::Noted,
            Command::Put { request, .. }
            | Command::Patch { request, .. }
            | Command::Delete { request, .. } => self.change_once(*request, command),
        }
    }

    fn target(&self, request: u64) -> Option<usize> {
        self.targets.get(&request).copied().filter(|lease| !self.leases[*lease].forgotten)
    }

    fn keep_alive(&mut self, lease: Option<usize>) {
        if let Some(lease) = lease.filter(|lease| self.leases[*lease].life == LeaseStage::Waiting) {
            self.leases[lease].alive_until = self.now + 15_000_000;
        }
    }

    fn acquire(&mut self, acquire: &Acquire, call: u64) -> Answer {
        if let Some(lease) = self.of_request(acquire.request) {
            if self.leases[lease].acquire != *acquire {
                return Answer::Conflict;
            }
            self.call_for(lease, call);
            return match self.leases[lease].life {
                LeaseStage::Waiting => Answer::Waiting(lease),
                LeaseStage::Held => Answer::Held(lease),
                ended => self.leases[lease].why.clone().unwrap_or(Answer::Ended(ended)),
            };
        }

        if self.memos.iter().any(|memo| memo.request == acquire.request) {
            return Answer::Conflict;
        }

        let Some(id) = self.find(acquire.resource) else { return Answer::NoResource };
        if let Some(answer) = self.impossible(id, &acquire.load) {
            return answer;
        }

        let queue = self.queue(id);
        let behind =
            queue.iter().any(|lease| self.leases[*lease].acquire.priority <= acquire.priority);
        let mut blocking = self.blocking(id, &acquire.load);
        let granted = !behind && blocking.is_empty();
        let spec = &self.resources[id].spec;

        let wait_ms = acquire.wait_ms.min(spec.max_wait_ms);
        let aside = self.places(id, |presence| presence == Presence::PassedOver).len();
        if !granted && (wait_ms == 0 || queue.len() + aside >= spec.max_waiting as usize) {
            if blocking.is_empty() {
                blocking.push("queue".to_owned());
            }
            return if wait_ms == 0 {
                Answer::LimitExceeded(blocking)
            } else {
                Answer::QueueFull(blocking)
            };
        }

        let lease = self.leases.len();
        self.leases.push(Lease {
            acquire: acquire.clone(),
            resource: id,
            life: LeaseStage::Waiting,
            until: self.now + wait_ms * 1000,
            alive_until: self.now + 15_000_000,
            ttl_ms: acquire.ttl_ms.unwrap_or(spec.default_ttl_ms).min(spec.max_ttl_ms),
            deadline: 0,
            call,
            presence: Presence::Attached,
            passed_over: false,
            claim_until: None,
            charges: BTreeMap::new(),
            why: None,
            released: None,
            ended_at: 0,
            forgotten: false,
        });

        if granted {
            self.grant(lease);
            return Answer::Held(lease);
        }

        self.events.push((id, lease, Happens::Queued));
        Answer::Waiting(lease)
    }

    fn release(&mut self, request: u64, used: Option<&Load>) -> Answer {
        let Some(lease) = self.target(request) else { return Answer::NoLease };
        let id = self.leases[lease].resource;
        let (mut refunded, mut debited) = (Vec::new(), Vec::new());

        let life = match self.leases[lease].life {
            LeaseStage::Waiting => LeaseStage::Cancelled,
            LeaseStage::Held => {
                for (name, limit) in &mut self.resources[id].limits {
                    let charge = self.leases[lease]
                        .charges
                        .get(name)
                        .filter(|charge| charge.uid == limit.uid);
                    let (Some(charge), Some(used)) = (charge, used) else { continue };
                    let (back, owed) = limit.true_up(lease, charge, used, self.now);
                    refunded.extend((back > 0).then(|| ((*name).to_owned(), back)));
                    debited.extend((owed > 0).then(|| ((*name).to_owned(), owed)));
                }
                LeaseStage::Released
            }
            LeaseStage::Expired => return Answer::Expired,
            // Cancelled by silence, released or given up: the answer stays the same.
            LeaseStage::Released | LeaseStage::Cancelled => {
                let cancelled = Answer::Released { life: LeaseStage::Cancelled, refunded, debited };
                return self.leases[lease].released.clone().unwrap_or(cancelled);
            }
            ended @ (LeaseStage::TimedOut | LeaseStage::Rejected | LeaseStage::Lapsed) => {
                return Answer::Ended(ended);
            }
        };

        let answer = Answer::Released { life, refunded, debited };
        self.end_lease(lease, life, None);
        self.leases[lease].released = Some(answer.clone());
        self.turns(id);
        answer
    }

    fn extend(&mut self, request: u64, ttl_ms: Option<u64>) -> Answer {
        let Some(lease) = self.target(request) else { return Answer::NoLease };
        match self.leases[lease].life {
            LeaseStage::Held => {
                let spec = &self.resources[self.leases[lease].resource].spec;
                let ttl_ms = ttl_ms.unwrap_or(spec.default_ttl_ms).min(spec.max_ttl_ms);
                self.leases[lease].deadline = self.now + ttl_ms * 1000;
                self.leases[lease].claim_until = None;
                self.leases[lease].call = 0;
                self.leases[lease].presence = Presence::Attached;
                Answer::Extended(lease)
            }
            LeaseStage::Expired => Answer::Expired,
            other => Answer::NotHeld(other),
        }
    }

    fn change_once(&mut self, request: u64, command: &Command) -> Answer {
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
