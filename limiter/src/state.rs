//! The state of one group: its records, and what is derived from them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use crate::caps;
use crate::catalog::PastIndex;
use crate::changes::{Changes, Extent, Next, NotCut, Period, Slot};
use crate::command::{Command, NO_CALL};
use crate::ended::EndedLeases;
use crate::event::Event;
use crate::index::Index;
use crate::level::{Features, LEVEL_FIRST, Level};
use crate::limit::Fit;
use crate::live::LiveLeases;
use crate::loader::Loader;
use crate::name::{RequestId, ResourceName};
use crate::outcome::{Outcome, Reply};
use crate::paged::Paged;
use crate::record::{Catalog, Claim, LeaseRecord, Life, Memo, Meta, Record, RecordKey, ResourceRecord};
use crate::time::LogTime;

/// The state of one group. It changes by [`State::apply`] only.
#[derive(Debug)]
pub struct State {
    pub(crate) meta: Slot<Meta>,
    pub(crate) resources: Paged<Resource>,
    pub(crate) leases: Paged<Slot<LeaseRecord>>,
    pub(crate) memos: BTreeMap<u64, Slot<Memo>>,
    pub(crate) catalog: Option<Slot<Catalog>>,
    pub(crate) claims: Paged<Slot<Claim>>,
    pub(crate) features: Option<Slot<Features>>,
    pub(crate) changes: Changes,
    /// Claims in name order, without those that were given back.
    pub(crate) claimed: BTreeMap<ResourceName, u64>,
    /// Claims that were given back and are still remembered, by name and by when.
    pub(crate) past: PastIndex,
    /// Resources in name order, without deleted ones.
    pub(crate) names: BTreeMap<ResourceName, u64>,
    /// The same by hash, for the path of every acquire.
    pub(crate) name_index: Index,
    /// Leases and memos by request id: an even number is twice a lease's, an odd one twice a memo's plus one.
    pub(crate) requests: Index,
    /// The resources in which time alone changes something, by when.
    pub(crate) due: BTreeSet<(LogTime, u64)>,
    /// The resources in which work is left over: deleted ones, and those whose line is to be searched.
    pub(crate) left_over: BTreeSet<u64>,
    /// Ended leases in the order in which they are forgotten.
    pub(crate) ended: EndedLeases,
    /// Bytes of all that is remembered, about.
    pub(crate) remembered_bytes: u64,
}

/// A resource in memory: its record, and what is derived.
#[derive(Debug)]
pub(crate) struct Resource {
    pub slot: Slot<ResourceRecord>,
    pub live: LiveLeases,
    /// What stands for it in `State::due`.
    pub due: Option<LogTime>,
}

impl Resource {
    pub fn new(slot: Slot<ResourceRecord>) -> Self {
        Self { slot, live: LiveLeases::default(), due: None }
    }

    /// True when there is something to do here without anybody asking.
    pub fn is_due(&self, now: LogTime) -> bool {
        self.is_left_over() || self.due.is_some_and(|due| due <= now)
    }

    /// True when work was left over here because there was too much of it.
    pub fn is_left_over(&self) -> bool {
        self.deleted || self.sweep.is_some()
    }
}

impl Deref for Resource {
    type Target = ResourceRecord;
    fn deref(&self) -> &ResourceRecord {
        &self.slot
    }
}

/// What applying one entry came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// One for each command, in order.
    pub outcomes: Vec<Outcome>,
    /// What happened, in order. Only the leader's shell may act on it.
    pub events: Vec<Event>,
}

/// A checkpoint that was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Records in the state.
    pub records: u64,
    /// Their digest.
    pub digest: u64,
    /// The period that it began: a slot that holds it lacks what changes from then on.
    pub period: Period,
}

/// Records that do not fit together: the stored state is damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("stored records do not fit together: {0}")]
pub struct Inconsistent(pub String);

/// What is the same for all commands of one entry.
#[derive(Debug)]
pub(crate) struct Entry {
    pub index: u64,
    pub now: LogTime,
    pub events: Vec<Event>,
    /// Leases that the entry may still expire, time out, grant or end beyond those that its commands speak of.
    pub work_left: usize,
}

impl Default for State {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    /// An empty state at the beginning of log time.
    #[must_use]
    pub fn new() -> Self {
        Self::seeded(0)
    }

    /// The same, with a seed for what is derived from the records: a number of this process's own, so that nobody can choose
    /// names that are slow to find.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        let mut changes = Changes::default();
        let meta = changes.create(RecordKey::Meta, Meta::default());
        Self::with(changes, meta, seed)
    }

    /// An empty state of a feature level, as if the first entry had raised it.
    #[must_use]
    pub fn at_level(level: u32) -> Self {
        let mut state = Self::new();
        state.raise_level(level);
        state
    }

    pub(crate) fn with(changes: Changes, meta: Slot<Meta>, seed: u64) -> Self {
        Self {
            meta,
            resources: Paged::default(),
            leases: Paged::default(),
            memos: BTreeMap::new(),
            catalog: None,
            claims: Paged::default(),
            features: None,
            changes,
            claimed: BTreeMap::new(),
            past: PastIndex::default(),
            names: BTreeMap::new(),
            name_index: Index::seeded(seed),
            requests: Index::seeded(seed),
            due: BTreeSet::new(),
            left_over: BTreeSet::new(),
            ended: EndedLeases::default(),
            remembered_bytes: 0,
        }
    }

    /// Applies one log entry: time first, then its commands in order.
    ///
    /// Total and deterministic: the same entries give the same state and outcomes on every replica. `index` is the entry's
    /// log index and `stamp` its log time; a stamp that lies behind the state's own time counts as that time.
    /// O(log n) a command, plus a bounded amount of due work an entry.
    pub fn apply(&mut self, index: u64, stamp: LogTime, commands: Vec<Command>) -> Applied {
        let now = self.meta.now.max(stamp);
        if now > self.meta.now {
            self.changes.edit(RecordKey::Meta, &mut self.meta).now = now;
        }
        let mut entry = Entry { index, now, events: Vec::new(), work_left: caps::WORK_PER_ENTRY_MAX };
        self.run_due(&mut entry);
        let outcomes = commands.into_iter().map(|command| self.decide(&mut entry, command)).collect();
        // Whatever is to be remembered has an event, so an entry forgets as much as it adds, and more.
        self.forget(now, entry.events.len());
        if self.changes.stale_len() > caps::STALE_RECORDS_MAX {
            self.rehash();
        }
        Applied { outcomes, events: entry.events }
    }

    fn decide(&mut self, entry: &mut Entry, command: Command) -> Outcome {
        match command {
            Command::PutResource(put) => self.put_resource(entry, put),
            Command::PatchResource(patch) => self.patch_resource(entry, patch),
            Command::DeleteResource(delete) => self.delete_resource(entry, delete),
            Command::Acquire(acquire) => self.acquire(entry, acquire, NO_CALL),
            Command::Release(release) => self.release(entry, release),
            Command::Extend(extend) => self.extend(entry, &extend),
            Command::Keepalive(keepalive) => self.keepalive(entry, &keepalive),
            Command::Tick => Ok(Reply::Noted),
            Command::Claim(claim) => self.claim_name(entry, claim),
            Command::Unclaim(unclaim) => self.unclaim_name(entry, &unclaim),
            Command::Fence(fence) => self.fence_claims(&fence),
            Command::PutClaimed(put) => self.put_claimed(entry, put),
            Command::RaiseLevel(level) => {
                self.raise_level(level);
                Ok(Reply::Level(self.level().0))
            }
            Command::Call(call) => self.acquire(entry, call.acquire, call.call),
            Command::Attend(attend) => self.attend(entry, attend),
            Command::Detach(detach) => self.detach(entry, &detach),
        }
    }

    /// The feature level: which rules count.
    #[must_use]
    pub fn feature_level(&self) -> u32 {
        self.level().0
    }

    pub(crate) fn level(&self) -> Level {
        Level(self.features.as_ref().map_or(LEVEL_FIRST, |features| features.level))
    }

    fn raise_level(&mut self, level: u32) {
        if level <= self.level().0 {
            return;
        }
        let changes = &mut self.changes;
        let slot = self.features.get_or_insert_with(|| changes.create(RecordKey::Features, Features::default()));
        changes.edit(RecordKey::Features, slot).level = level;

        // Time changes something in them by other rules now.
        for id in self.resources.iter().map(|(id, _)| id).collect::<Vec<_>>() {
            self.reschedule(id);
        }
    }

    /// Log time of the last applied entry.
    #[must_use]
    pub fn now(&self) -> LogTime {
        self.meta.now
    }

    /// The earliest log time at which time alone changes something; `None` when nothing will. O(log n).
    #[must_use]
    pub fn next_due(&self) -> Option<LogTime> {
        // What is left over is due since the beginning of time.
        let left_over = self.left_over.first().map(|_| LogTime(0));
        left_over.or_else(|| self.due.first().map(|(at, _)| *at))
    }

    /// The log time at which the oldest of what is remembered may be forgotten. That is no reason for an entry of its own,
    /// unless room is scarce.
    #[must_use]
    pub fn next_forgotten(&self) -> Option<LogTime> {
        let lease = self.ended.first().map(|(at, _)| at);
        let memo = self.memos.first_key_value().map(|(_, memo)| memo.at);
        lease.into_iter().chain(memo).min().map(|at| at.after_us(caps::REMEMBERED_US_MIN))
    }

    pub(crate) fn find_resource(&self, name: &ResourceName) -> Option<u64> {
        let is = |id: u64| self.resources.get(id).is_some_and(|resource| resource.name == *name);
        self.name_index.find(self.name_index.hash(name.as_str()), is)
    }

    /// What this request id stands for.
    pub(crate) fn find_request(&self, request: &RequestId) -> Option<Remembered> {
        let is = |number: u64| match Remembered::from_number(number) {
            Remembered::Lease(seq) => self.leases.get(seq).is_some_and(|lease| lease.request == *request),
            Remembered::Memo(id) => self.memos.get(&id).is_some_and(|memo| memo.request == *request),
        };
        self.requests.find(self.requests.hash(request.as_str()), is).map(Remembered::from_number)
    }

    /// What this request id stands for. The held leases of a deleted resource are forgotten, also those that are left over
    /// because there were too many.
    pub(crate) fn recall(&mut self, request: &RequestId) -> Option<Remembered> {
        let found = self.find_request(request)?;
        let Remembered::Lease(seq) = found else { return Some(found) };
        let lease = self.leases.get(seq)?;
        let id = lease.resource;
        if matches!(lease.life, Life::Held(_)) && self.resources.get(id).is_some_and(|resource| resource.deleted) {
            self.forget_held(id, seq);
            return None;
        }
        Some(found)
    }

    /// Brings the place of a resource in the order of due work up to date.
    pub(crate) fn reschedule(&mut self, id: u64) {
        let level = self.level();
        let Some(resource) = self.resources.get_mut(id) else { return };
        if resource.is_left_over() {
            self.left_over.insert(id);
        } else {
            self.left_over.remove(&id);
        }
        let due = due_of(resource, &self.leases, level);
        if due == resource.due {
            return;
        }
        if let Some(old) = resource.due {
            self.due.remove(&(old, id));
        }
        if let Some(new) = due {
            self.due.insert((new, id));
        }
        resource.due = due;
    }

    /// An order-independent hash over all records: equal on all replicas that applied the same entries.
    pub fn digest(&mut self) -> u64 {
        self.rehash();
        self.changes.digest()
    }

    /// Records in the state.
    #[must_use]
    pub fn records(&self) -> u64 {
        let catalog = usize::from(self.catalog.is_some()) + self.claims.len() + usize::from(self.features.is_some());
        let records = 1 + self.resources.len() + self.leases.len() + self.memos.len() + catalog;
        u64::try_from(records).unwrap_or(u64::MAX)
    }

    fn rehash(&mut self) {
        while let Some(key) = self.changes.pop_stale() {
            match key {
                RecordKey::Meta => self.changes.rehash(key, &mut self.meta),
                RecordKey::Resource(id) => {
                    if let Some(resource) = self.resources.get_mut(id) {
                        self.changes.rehash(key, &mut resource.slot);
                    }
                }
                RecordKey::Lease(seq) => {
                    if let Some(lease) = self.leases.get_mut(seq) {
                        self.changes.rehash(key, lease);
                    }
                }
                RecordKey::Memo(id) => {
                    if let Some(memo) = self.memos.get_mut(&id) {
                        self.changes.rehash(key, memo);
                    }
                }
                RecordKey::Catalog => {
                    if let Some(catalog) = &mut self.catalog {
                        self.changes.rehash(key, catalog);
                    }
                }
                RecordKey::Claim(id) => {
                    if let Some(claim) = self.claims.get_mut(id) {
                        self.changes.rehash(key, claim);
                    }
                }
                RecordKey::Features => {
                    if let Some(features) = &mut self.features {
                        self.changes.rehash(key, features);
                    }
                }
            }
        }
    }

    /// The period that runs now. A slot that holds the state as it is now, for which it is loaded or has just been cut, lacks
    /// what changes in it and later.
    #[must_use]
    pub fn period(&self) -> Period {
        self.changes.period()
    }

    /// Cuts a checkpoint of the state as it is now, to be carried away by [`State::drain`]. Its cost does not depend on the
    /// size of the state.
    ///
    /// # Errors
    /// [`NotCut`] while the last one is being drained, or when the changes since that period are not remembered.
    pub fn freeze(&mut self, extent: Extent) -> Result<Cut, NotCut> {
        let (records, digest) = (self.records(), self.digest());
        let period = self.changes.freeze(extent)?;
        Ok(Cut { records, digest, period })
    }

    /// Gives up the checkpoint that is being drained, if there is one.
    pub fn abandon(&mut self) {
        self.changes.abandon();
    }

    /// Hands out about `max` records of the checkpoint that was cut, each at most once: as they were then, and `None` for
    /// those that were gone. A record that a slot has never seen may be among the gone. False when there are no more.
    pub fn drain(&mut self, max: usize, out: &mut Vec<(RecordKey, Option<Record>)>) -> bool {
        out.append(&mut self.changes.take_aside());
        for _ in 0..max {
            let key = match self.changes.next_frozen() {
                Some(Next::Key(key)) => key,
                Some(Next::After(key)) => {
                    let next = self.key_after(key);
                    self.changes.passed(next);
                    let Some(next) = next else { break };
                    next
                }
                None => break,
            };
            match self.carry(key) {
                Some(Some(record)) => out.push((key, Some(record))),
                Some(None) => {}
                None if self.changes.was_gone(key) => out.push((key, None)),
                None => {}
            }
        }
        !self.changes.finish()
    }

    /// The first key after this one; the first of all without one. O(log n).
    fn key_after(&self, key: Option<RecordKey>) -> Option<RecordKey> {
        use RecordKey::{Catalog, Claim, Features, Lease, Memo, Meta, Resource};
        let past = |id: u64| id.saturating_add(1);
        let resource = |from: u64| self.resources.first_from(from).map(Resource);
        let lease = |from: u64| self.leases.first_from(from).map(Lease);
        let memo = |from: u64| self.memos.range(from..).next().map(|(id, _)| Memo(*id));
        let catalog = || self.catalog.as_ref().map(|_| Catalog);
        let claim = |from: u64| self.claims.first_from(from).map(Claim);

        let features = || self.features.as_ref().map(|_| Features);

        let after_catalog = || claim(0).or_else(features);
        let after_memos = || catalog().or_else(after_catalog);
        let after_leases = || memo(0).or_else(after_memos);
        let after_resources = || lease(0).or_else(after_leases);
        match key {
            None => Some(Meta),
            Some(Meta) => resource(0).or_else(after_resources),
            Some(Resource(id)) => resource(past(id)).or_else(after_resources),
            Some(Lease(seq)) => lease(past(seq)).or_else(after_leases),
            Some(Memo(id)) => memo(past(id)).or_else(after_memos),
            Some(Catalog) => after_catalog(),
            Some(Claim(id)) => claim(past(id)).or_else(features),
            Some(Features) => None,
        }
    }

    /// The record of a key that a checkpoint drains: `None` when it is gone, and none in it when it was carried before.
    fn carry(&mut self, key: RecordKey) -> Option<Option<Record>> {
        let changes = &self.changes;
        match key {
            RecordKey::Meta => Some(changes.carry(&mut self.meta)),
            RecordKey::Resource(id) => self.resources.get_mut(id).map(|resource| changes.carry(&mut resource.slot)),
            RecordKey::Lease(seq) => self.leases.get_mut(seq).map(|slot| changes.carry(slot)),
            RecordKey::Memo(id) => self.memos.get_mut(&id).map(|slot| changes.carry(slot)),
            RecordKey::Catalog => self.catalog.as_mut().map(|slot| changes.carry(slot)),
            RecordKey::Claim(id) => self.claims.get_mut(id).map(|slot| changes.carry(slot)),
            RecordKey::Features => self.features.as_mut().map(|slot| changes.carry(slot)),
        }
    }

    fn record(&self, key: RecordKey) -> Option<Record> {
        match key {
            RecordKey::Meta => Some(Record::Meta((*self.meta).clone())),
            RecordKey::Resource(id) => self.resources.get(id).map(|r| Record::Resource((*r.slot).clone())),
            RecordKey::Lease(seq) => self.leases.get(seq).map(|lease| Record::Lease((**lease).clone())),
            RecordKey::Memo(id) => self.memos.get(&id).map(|memo| Record::Memo((**memo).clone())),
            RecordKey::Catalog => self.catalog.as_ref().map(|catalog| Record::Catalog((**catalog).clone())),
            RecordKey::Claim(id) => self.claims.get(id).map(|claim| Record::Claim((**claim).clone())),
            RecordKey::Features => self.features.as_ref().map(|features| Record::Features((**features).clone())),
        }
    }

    /// All records, in key order. For tests and small states; a checkpoint drains instead.
    pub fn to_records(&self) -> impl Iterator<Item = (RecordKey, Record)> {
        let keys = std::iter::once(RecordKey::Meta)
            .chain(self.resources.iter().map(|(id, _)| RecordKey::Resource(id)))
            .chain(self.leases.iter().map(|(seq, _)| RecordKey::Lease(seq)))
            .chain(self.memos.keys().copied().map(RecordKey::Memo))
            .chain(self.catalog.iter().map(|_| RecordKey::Catalog))
            .chain(self.claims.iter().map(|(id, _)| RecordKey::Claim(id)))
            .chain(self.features.iter().map(|_| RecordKey::Features));
        keys.filter_map(|key| self.record(key).map(|record| (key, record)))
    }

    /// Puts a state together from its records, in any order.
    ///
    /// # Errors
    /// [`Inconsistent`] when a record does not belong to its key, appears twice, or refers to one that is missing.
    pub fn from_records(records: impl IntoIterator<Item = (RecordKey, Record)>) -> Result<Self, Inconsistent> {
        let mut loader = Loader::default();
        for (key, record) in records {
            loader.record(key, record)?;
        }
        loader.finish()
    }
}

/// What a request id stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remembered {
    Lease(u64),
    Memo(u64),
}

impl Remembered {
    pub fn number(self) -> u64 {
        match self {
            Self::Lease(seq) => seq << 1,
            Self::Memo(id) => id << 1 | 1,
        }
    }

    fn from_number(number: u64) -> Self {
        if number & 1 == 0 { Self::Lease(number >> 1) } else { Self::Memo(number >> 1) }
    }
}

/// When time alone changes something in a resource, beside work that is left over.
fn due_of(resource: &Resource, leases: &Paged<Slot<LeaseRecord>>, level: Level) -> Option<LogTime> {
    // Before work was shared, left-over work had its place among what is due, the first one.
    if resource.is_left_over() && !level.shares_work() {
        return Some(LogTime(0));
    }
    if resource.deleted {
        return None;
    }
    let timer = resource.live.timers.first().map(|(at, _)| *at);
    let head = resource
        .live
        .line
        .head()
        .and_then(|seq| leases.get(seq))
        .and_then(|lease| head_fits_at(resource, lease, level));
    match (timer, head) {
        (Some(timer), Some(head)) => Some(timer.min(head)),
        (timer, head) => timer.or(head),
    }
}

/// When the head of a line fits if nothing else happens; `None` when only a release makes it fit.
fn head_fits_at(resource: &ResourceRecord, head: &LeaseRecord, level: Level) -> Option<LogTime> {
    let mut latest = LogTime(0);
    for limit in &resource.limits {
        match limit.fit(limit.needed(&head.load, level)) {
            Fit::At(at) => latest = latest.max(at),
            Fit::OnRelease => return None,
        }
    }
    Some(latest)
}
