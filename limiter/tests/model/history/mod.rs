//! What must hold on the recorded history of any run, whoever says what should have happened.

use std::collections::BTreeMap;

use ratequeue_limiter::{Event, EventKind, LeaseId, LeaseState, LogTime, ResourceName};

/// What is known of a lease without asking the core.
#[derive(Debug, Clone, Copy)]
pub struct KnownLease {
    pub priority: u8,
    pub deadline: LogTime,
    pub until: LogTime,
    /// By when it had to be claimed.
    pub claim_until: Option<LogTime>,
    /// Its caller was away, and its queue waits for no claims.
    pub may_be_overtaken: bool,
}

#[derive(Debug, Clone)]
struct Seen {
    resource: ResourceName,
    priority: u8,
    state: LeaseState,
}

/// The history so far.
#[derive(Debug, Default)]
pub struct History {
    now: LogTime,
    token: u64,
    leases: BTreeMap<LeaseId, Seen>,
}

fn ensure(holds: bool, text: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(text()) }
}

impl History {
    /// Takes the events of an entry in. `known` tells what was asked for with a lease.
    pub fn record(
        &mut self,
        now: LogTime,
        events: &[Event],
        known: impl Fn(LeaseId) -> KnownLease,
    ) -> Result<(), String> {
        ensure(now >= self.now, || format!("log time went back from {} to {now}", self.now))?;
        self.now = now;
        for event in events {
            match event.kind {
                EventKind::Queued { lease, .. } => self.queued(event, lease, known(lease))?,
                EventKind::Granted { lease, fencing_token, .. } => {
                    ensure(fencing_token > self.token, || {
                        format!("token {fencing_token} after {}", self.token)
                    })?;
                    self.token = fencing_token;
                    self.granted(event, lease, &known)?;
                }
                EventKind::Ended { lease, state, .. } => self.ended(lease, state, known(lease))?,
                EventKind::Deleted => self.deleted(&event.resource),
                EventKind::Refused { .. } | EventKind::LimitsChanged { .. } => {}
            }
            self.counted(event, &known)?;
        }

        Ok(())
    }

    /// What an event says of the queue and the holders after it. A lease that is passed over
    /// does not count as waiting.
    fn counted(&self, event: &Event, of: &impl Fn(LeaseId) -> KnownLease) -> Result<(), String> {
        let Some(standing) = event.standing else { return Ok(()) };
        let (mut waiting, mut held) = (0..=0, 0);
        for (lease, seen) in &self.leases {
            match seen.state {
                _ if seen.resource != event.resource => {}
                LeaseState::Waiting => {
                    let counts = u64::from(!of(*lease).may_be_overtaken);
                    waiting = waiting.start() + counts..=waiting.end() + 1;
                }
                LeaseState::Held => held += 1,
                _ => {}
            }
        }

        let fits = waiting.contains(&standing.queue_depth) && standing.held == held;
        ensure(fits, || format!("{waiting:?} wait and {held} hold after {event:?}"))
    }

    fn begin(&mut self, event: &Event, lease: LeaseId, known: KnownLease, state: LeaseState) {
        let seen = Seen { resource: event.resource.clone(), priority: known.priority, state };
        self.leases.insert(lease, seen);
    }

    fn queued(&mut self, event: &Event, lease: LeaseId, known: KnownLease) -> Result<(), String> {
        ensure(!self.leases.contains_key(&lease), || format!("{lease} joined the queue again"))?;
        ensure(self.leases.keys().all(|other| other.seq < lease.seq), || {
            format!("{lease} is not a new number")
        })?;
        self.begin(event, lease, known, LeaseState::Waiting);
        Ok(())
    }

    /// Nobody of the same or a higher priority who came before may still wait.
    fn granted(
        &mut self,
        event: &Event,
        lease: LeaseId,
        of: &impl Fn(LeaseId) -> KnownLease,
    ) -> Result<(), String> {
        let known = of(lease);
        let before = self.leases.get(&lease).map(|seen| seen.state);
        ensure(before.is_none_or(|state| state == LeaseState::Waiting), || {
            format!("{lease} was {before:?}")
        })?;
        let mine = (known.priority, lease.seq);
        let overtaken = self.leases.iter().find(|(other, seen)| {
            let before = seen.resource == event.resource && (seen.priority, other.seq) < mine;
            seen.state == LeaseState::Waiting && before && !of(**other).may_be_overtaken
        });
        ensure(overtaken.is_none(), || format!("{lease} overtook {overtaken:?}"))?;
        self.begin(event, lease, known, LeaseState::Held);
        Ok(())
    }

    fn ended(
        &mut self,
        lease: LeaseId,
        state: LeaseState,
        known: KnownLease,
    ) -> Result<(), String> {
        let now = self.now;
        let Some(seen) = self.leases.get_mut(&lease) else {
            return Err(format!("{lease} ended before it began"));
        };

        let fitting = match state {
            LeaseState::Released => seen.state == LeaseState::Held,
            LeaseState::Expired => seen.state == LeaseState::Held && now >= known.deadline,
            LeaseState::Lapsed => {
                seen.state == LeaseState::Held
                    && known.claim_until.is_some_and(|at| now >= at && at < known.deadline)
            }
            LeaseState::TimedOut => seen.state == LeaseState::Waiting && now >= known.until,
            LeaseState::Cancelled | LeaseState::Rejected => seen.state == LeaseState::Waiting,
            LeaseState::Waiting | LeaseState::Held => false,
        };

        ensure(fitting, || {
            format!("{lease} was {:?} and is {state:?} at {now}, {known:?}", seen.state)
        })?;
        seen.state = state;
        Ok(())
    }

    /// The held leases of a deleted resource are forgotten without an event of their own.
    fn deleted(&mut self, resource: &ResourceName) {
        self.leases.retain(|_, seen| seen.resource != *resource || seen.state != LeaseState::Held);
    }
}
