//! The plainest model of the contract: plain vectors, no index, no schedule, and no code of the
//! core.
//!
//! It says what each command must come to and what must happen to every lease. It has no bound on
//! its work; the steps are few enough that the core's bounds are not reached.

mod changes;
mod leases;
pub mod limit;
mod turns;

use std::collections::BTreeMap;

use crate::steps::{Acquire, Command, Cost, Limit, Load, Spec};
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
}
