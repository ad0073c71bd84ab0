//! Acquire: asks for a lease, and is granted, put in line, or refused.

use std::collections::BTreeSet;

use crate::caps;
use crate::changes::Slot;
use crate::command::{Acquire, NO_CALL, metadata_fits};
use crate::event::EventKind;
use crate::index;
use crate::lease_id::LeaseId;
use crate::level::Level;
use crate::load::Load;
use crate::outcome::{Blocked, LeaseState, Outcome, Refusal, Reply};
use crate::paged::Paged;
use crate::record::{Caller, LeaseRecord, Life, Presence, RecordKey};
use crate::spec::Cost;
use crate::state::{Entry, Remembered, Resource, State};
use crate::time::LogTime;

impl State {
    /// Decides an acquire, made by a call that has a number, or by one that has none ([`NO_CALL`]).
    pub(crate) fn acquire(&mut self, entry: &mut Entry, acquire: Acquire, call: u64) -> Outcome {
        check_bounds(&acquire)?;
        let body = acquire.body();
        match self.recall(&acquire.request) {
            Some(Remembered::Lease(seq)) => return self.acquire_again(entry, seq, body, call),
            Some(Remembered::Memo(_)) => return Err(Refusal::IdempotencyConflict),
            None => {}
        }
        let id = self.find_resource(&acquire.resource).ok_or(Refusal::ResourceNotFound)?;
        self.settle_due(entry, id);
        let live = self.leases.len() - self.ended.len();
        let Some(resource) = self.resources.get(id) else { return Err(Refusal::ResourceNotFound) };
        let granted = match check_now(resource, &acquire, entry.now, self.level()) {
            Ok(_) if live >= caps::LEASES_LIVE_MAX => Err(Refusal::TooManyLeases),
            other => other,
        };
        let granted = match granted {
            Ok(granted) => granted,
            Err(refusal) => {
                let load = acquire.load.total();
                entry.emit(&acquire.resource, EventKind::Refused { load });
                return Err(refusal);
            }
        };
        let seq = self.admit(entry, id, acquire, body, call);
        if granted {
            self.grant(entry, id, seq);
        } else {
            self.enqueue(entry, id, seq);
        }
        self.reschedule(id);
        self.lease_reply(seq, entry.now).map(Reply::Acquired)
    }

    /// The same request again: the same lease, in whatever state it is now.
    fn acquire_again(&mut self, entry: &mut Entry, seq: u64, body: u64, call: u64) -> Outcome {
        let Some(lease) = self.leases.get(seq) else { return Err(Refusal::LeaseNotFound) };
        if lease.body != body {
            return Err(Refusal::IdempotencyConflict);
        }
        let resource = lease.resource;
        self.settle_due(entry, resource);
        self.end_overdue(entry, seq);
        self.call_for(entry, seq, call);
        if call != NO_CALL {
            // It may have been passed over until now.
            self.settle_now(entry, resource);
        }
        self.reschedule(resource);
        let Some(lease) = self.leases.get(seq) else { return Err(Refusal::LeaseNotFound) };
        match &lease.life {
            Life::Waiting { .. } | Life::Held(_) => self.lease_reply(seq, entry.now).map(Reply::Acquired),
            Life::Ended(end) => Err(match (&end.state, &end.refusal) {
                (LeaseState::TimedOut | LeaseState::Rejected, Some(refusal)) => {
                    self.shown_refusal(lease, refusal, entry.now)
                }
                (state, _) => Refusal::LeaseEnded(*state),
            }),
        }
    }

    /// Makes the lease. It is to be granted or put in line next.
    fn admit(&mut self, entry: &mut Entry, id: u64, acquire: Acquire, body: u64, call: u64) -> u64 {
        let meta = self.changes.edit(RecordKey::Meta, &mut self.meta);
        meta.leases_made += 1;
        let seq = meta.leases_made;
        let Some(resource) = self.resources.get(id) else { return seq };
        let request_hash = index::hash(acquire.request.as_str());
        let ttl_ms = acquire.ttl_ms.unwrap_or(resource.lease.default_ttl_ms).min(resource.lease.max_ttl_ms);
        let wait_ms = acquire.wait_ms.min(resource.queue.max_wait_ms);
        let lease = LeaseRecord {
            tag: tag(request_hash, seq),
            resource: id,
            resource_name: resource.name.clone(),
            request: acquire.request,
            body,
            load: acquire.load,
            priority: acquire.priority,
            ttl_ms,
            metadata: acquire.metadata,
            arrived: entry.now,
            life: Life::Waiting {
                until: entry.now.after_ms(wait_ms),
                alive_until: entry.now.after_us(caps::KEEPALIVE_US),
            },
            caller: Caller::of_call(call),
        };
        self.requests.insert(self.requests.hash(lease.request.as_str()), Remembered::Lease(seq).number());
        self.leases.insert(seq, self.changes.create(RecordKey::Lease(seq), lease));
        seq
    }

    fn enqueue(&mut self, entry: &mut Entry, id: u64, seq: u64) {
        let (Some(resource), Some(lease)) = (self.resources.get_mut(id), self.leases.get(seq)) else { return };
        let load = lease.load.total();
        resource.live.line.push(lease.priority, seq, load);
        resource.live.timers.extend(lease.timer().map(|at| (at, seq)));
        entry.emit(&resource.slot.name, EventKind::Queued { lease: LeaseId { seq, tag: lease.tag }, load });
    }

    /// Says that somebody still asks for a lease, or did until now, if it waits. The caller reschedules its resource.
    pub(crate) fn keep_alive(&mut self, now: LogTime, seq: u64) {
        let Some(lease) = self.leases.get_mut(seq) else { return };
        let Life::Waiting { alive_until, .. } = &lease.life else { return };
        let next = now.after_us(caps::KEEPALIVE_US);
        let before = lease.timer();
        // What is overdue, and only left over because there was too much of it, is not revived.
        if next == *alive_until || before.is_some_and(|at| at <= now) {
            return;
        }
        if let Life::Waiting { alive_until, .. } = &mut self.changes.edit(RecordKey::Lease(seq), lease).life {
            *alive_until = next;
        }
        let after = lease.timer();
        if before != after
            && let Some(resource) = self.resources.get_mut(lease.resource)
        {
            before.map(|at| resource.live.timers.remove(&(at, seq)));
            resource.live.timers.extend(after.map(|at| (at, seq)));
        }
    }

    /// Charges a new or waiting lease to all limits and makes it held. They must all fit.
    pub(crate) fn grant(&mut self, entry: &mut Entry, id: u64, seq: u64) {
        let (Some(resource), Some(slot)) = (self.resources.get_mut(id), self.leases.get_mut(seq)) else { return };
        let meta = self.changes.edit(RecordKey::Meta, &mut self.meta);
        meta.fencing_token += 1;
        let fencing_token = meta.fencing_token;
        let before = slot.timer();
        let lease = self.changes.edit(RecordKey::Lease(seq), slot);
        let limits = &mut self.changes.edit(RecordKey::Resource(id), &mut resource.slot).limits;
        let charges = limits.iter_mut().map(|limit| limit.charge(limit.cost(&lease.load), entry.now)).collect();
        let deadline = entry.now.after_ms(lease.ttl_ms);
        lease.life = Life::Held(crate::record::Holding {
            fencing_token,
            granted: entry.now,
            deadline,
            log_index: entry.index,
            charges,
        });
        resource.live.line.remove(lease.priority, seq);
        resource.live.held.insert(seq);
        if lease.caller.presence != Presence::Attached {
            let claim_until = Some(entry.now.after_ms(resource.slot.queue.claim_ms));
            lease.caller = Caller { presence: Presence::Attached, claim_until, ..lease.caller };
        }
        before.map(|at| resource.live.timers.remove(&(at, seq)));
        resource.live.timers.extend(lease.timer().map(|at| (at, seq)));
        let (load, waited_us) = (lease.load.total(), entry.now.since_us(lease.arrived));
        let lease = LeaseId { seq, tag: lease.tag };
        entry.emit(&resource.slot.name, EventKind::Granted { lease, load, fencing_token, waited_us });
    }
}

/// Whether the acquire is granted at once (true) or joins the line (false).
fn check_now(resource: &Resource, acquire: &Acquire, now: LogTime, level: Level) -> Result<bool, Refusal> {
    if let Some(refusal) = resource.impossible(&acquire.load) {
        return Err(refusal);
    }
    let behind = resource.live.line.blocks(acquire.priority);
    if !behind && resource.fits(&acquire.load, now, level) {
        return Ok(true);
    }
    let line = &resource.live.line;
    let full = line.total().count + line.aside() as u64 >= u64::from(resource.queue.max_waiting);
    if acquire.wait_ms.min(resource.queue.max_wait_ms) == 0 {
        return Err(Refusal::LimitExceeded(blocked(resource, &acquire.load, acquire.priority, None, now, level)));
    }
    if full {
        return Err(Refusal::QueueFull(blocked(resource, &acquire.load, acquire.priority, None, now, level)));
    }
    Ok(false)
}

/// What stands in the way of a load, as a newcomer or as the lease `seq`.
pub(crate) fn blocked(
    resource: &Resource,
    load: &Load,
    priority: u8,
    seq: Option<u64>,
    now: LogTime,
    level: Level,
) -> Blocked {
    let limits = resource.limits.iter().filter(|limit| !limit.fits(limit.needed(load, level), now));
    let mut violated: Vec<_> = limits.map(|limit| Some(limit.name.clone())).collect();
    if violated.is_empty() {
        violated.push(None);
    }
    Blocked { violated, retry_after_ms: estimate_ms(resource, load, priority, seq, now, level) }
}

/// When a load may get its turn: what is before it in line, and itself, must have fit under every rate. At least 1 ms.
pub(crate) fn estimate_ms(
    resource: &Resource,
    load: &Load,
    priority: u8,
    seq: Option<u64>,
    now: LogTime,
    level: Level,
) -> u64 {
    let ahead = resource.live.line.ahead(priority, seq.unwrap_or(u64::MAX));
    let mut estimate_ms = 1;
    for limit in &resource.limits {
        let cost_ahead = match limit.spec.cost {
            Cost::One => u128::from(ahead.count),
            // Of a dimension the line knows only the sum of all: later than it will be, rather than too early.
            Cost::Load | Cost::Dimension(_) => ahead.load,
        };
        let needed = cost_ahead.saturating_add(u128::from(limit.needed(load, level)));
        let fits_ms = limit.fits_in_us(needed, now).map_or(caps::RETRY_AFTER_CONCURRENCY_MS, |us| us.div_ceil(1000));
        estimate_ms = estimate_ms.max(fits_ms);
    }
    estimate_ms.min(caps::DURATION_MS_MAX)
}

fn check_bounds(acquire: &Acquire) -> Result<(), Refusal> {
    let malformed = |text: &str| Err(Refusal::Malformed(text.to_owned()));
    if let Err(bad) = acquire.load.validate() {
        return malformed(&bad.to_string());
    }
    if acquire.priority > caps::PRIORITY_MAX {
        return malformed("priority must be 0 to 9");
    }
    if acquire.wait_ms > caps::DURATION_MS_MAX {
        return malformed("wait_ms must be 0 to 2678400000 (31 days)");
    }
    check_ttl(acquire.ttl_ms)?;
    if !metadata_fits(&acquire.metadata) {
        return malformed("metadata must be at most 16 pairs and 1024 bytes");
    }
    Ok(())
}

pub(crate) fn check_ttl(ttl_ms: Option<u64>) -> Result<(), Refusal> {
    if ttl_ms.is_none_or(|ttl| (1..=caps::DURATION_MS_MAX).contains(&ttl)) {
        Ok(())
    } else {
        Err(Refusal::Malformed("ttl_ms must be 1 to 2678400000 (31 days)".to_owned()))
    }
}

/// A tag that cannot be told from the number alone; the request id is its caller's.
fn tag(request_hash: u64, seq: u64) -> u32 {
    let mixed = request_hash ^ seq.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    u32::try_from(mixed >> 32).unwrap_or(0)
}

/// The cost that the held leases of a resource have under `cost`, summed up. O(held): for changes of limits only.
pub(crate) fn held_cost(held: &BTreeSet<u64>, leases: &Paged<Slot<LeaseRecord>>, cost: &Cost) -> u64 {
    let costs = held.iter().filter_map(|seq| leases.get(*seq)).map(|lease| lease.load.cost(cost));
    costs.fold(0, u64::saturating_add)
}
