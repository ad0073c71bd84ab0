//! Records: the state as keyed values, the way a checkpoint and a snapshot carry it.
//!
//! `kinds!` is given the one table of the kinds of records. What is done to all of them (hash,
//! carry, drain, load, count) is a loop over that table: each kind lies on a shelf (`shelf.rs`),
//! and nothing else tells one from another. Ids are never used twice, so a key that is gone stays
//! gone. Everything that is not in a record (queues, timers, indexes) is derived from the records
//! when they are loaded.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::collections::paged::Paged;
use crate::model::level::Features;
use crate::model::name::RequestId;
use crate::model::outcome::Reply;
use crate::model::time::LogTime;
use crate::state::changes::{ChangeTracker, Next, Tracked};
use crate::state::claim::{Catalog, Claim};
use crate::state::defect::{Defect, Inconsistent};
use crate::state::lease::LeaseRecord;
use crate::state::resource::{Resource, ResourceRecord};
use crate::state::shelf::{Shelf, WrongKind};

/// Takes the table of kinds: `Kind(id of its records, if it has several) holds Type on shelf`. The
/// order is that of the keys, and part of what is hashed: a new kind comes last.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident $(($id:ident: $number:ty))? holds $value:ident on $shelf:ident;)+) => {
        /// The key of a record.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum RecordKey {
            $($(#[$doc])* $kind $(($number))?,)+
        }

        /// The value of a record.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Record {
            $(#[doc = concat!("Of [`RecordKey::", stringify!($kind), "`].")] $kind($value),)+
        }

        /// A kind of records, in the order of their keys.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Kind {
            $($kind,)+
        }

        impl Kind {
            const ALL: &[Self] = &[$(Self::$kind),+];

            /// The key of a record of this kind. Of a kind with one record, that record has the id 0.
            fn key(self, id: u64) -> RecordKey {
                match self {
                    $(Self::$kind => RecordKey::$kind $((<$number>::from(id)))?,)+
                }
            }
        }

        impl RecordKey {
            fn kind(self) -> Kind {
                match self {
                    $(Self::$kind { .. } => Kind::$kind,)+
                }
            }

            /// The id of the record; 0 for that of a kind with one record.
            pub(crate) fn id(self) -> u64 {
                match self {
                    $(Self::$kind $(($id))? => kinds!(@id $($id)?),)+
                }
            }
        }

        impl Records {
            fn shelf(&self, kind: Kind) -> &dyn Shelf {
                match kind {
                    $(Kind::$kind => &self.$shelf,)+
                }
            }

            fn shelf_mut(&mut self, kind: Kind) -> (&mut dyn Shelf, &mut RecordChanges) {
                let shelf: &mut dyn Shelf = match kind {
                    $(Kind::$kind => &mut self.$shelf,)+
                };
                (shelf, &mut self.changes)
            }
        }

        $(impl From<$value> for Record {
            fn from(value: $value) -> Self {
                Self::$kind(value)
            }
        }

        impl TryFrom<Record> for $value {
            type Error = WrongKind;
            fn try_from(record: Record) -> Result<Self, WrongKind> {
                if let Record::$kind(value) = record { Ok(value) } else { Err(WrongKind) }
            }
        })+
    };
    (@id) => { 0 };
    (@id $id:ident) => { $id };
}

kinds! {
    /// The one record of the group's time and counters.
    Meta holds Meta on meta;
    /// A resource.
    Resource(id: u64) holds ResourceRecord on resources;
    /// A lease in any stage.
    Lease(seq: u64) holds LeaseRecord on leases;
    /// A remembered change of a resource.
    RememberedRequest(id: u64) holds RememberedRequest on remembered;
    /// The one record of the catalog's counters. Not there before it is needed.
    Catalog holds Catalog on catalog;
    /// A name that is claimed, or was.
    Claim(id: u64) holds Claim on claims;
    /// The one record of the feature level. Not there before it is raised.
    Features holds Features on features;
}

/// The tracker of all records.
pub(crate) type RecordChanges = ChangeTracker<RecordKey, Record>;

/// All records of a group. They are edited through `changes` only.
#[derive(Debug)]
pub(crate) struct Records {
    pub meta: Tracked<Meta>,
    pub resources: Paged<Resource>,
    pub leases: Paged<Tracked<LeaseRecord>>,
    pub remembered: BTreeMap<u64, Tracked<RememberedRequest>>,
    pub catalog: Option<Tracked<Catalog>>,
    pub claims: Paged<Tracked<Claim>>,
    pub features: Option<Tracked<Features>>,
    pub changes: RecordChanges,
}

impl Records {
    /// The records of a group at the beginning of log time.
    pub fn new() -> Self {
        let mut changes = RecordChanges::default();
        let meta = changes.create(RecordKey::Meta, Meta::default());
        Self { meta, ..Self::unloaded(changes) }
    }

    /// No records: all are still to be loaded, the group's own too.
    pub fn unloaded(changes: RecordChanges) -> Self {
        Self {
            meta: Tracked::absent(Meta::default()),
            resources: Paged::default(),
            leases: Paged::default(),
            remembered: BTreeMap::new(),
            catalog: None,
            claims: Paged::default(),
            features: None,
            changes,
        }
    }

    pub fn len(&self) -> usize {
        Kind::ALL.iter().map(|kind| self.shelf(*kind).len()).sum()
    }

    /// Takes a stored record in; true when its key had one.
    pub fn load(&mut self, key: RecordKey, record: Record) -> Result<bool, Inconsistent> {
        let (shelf, changes) = self.shelf_mut(key.kind());
        shelf
            .load(key, record, changes)
            .map_err(|WrongKind| Inconsistent(format!("the record of {key:?} is of another kind")))
    }

    /// Takes the hashes of all records that have changed.
    pub fn rehash(&mut self) {
        while let Some(key) = self.changes.pop_stale() {
            let (shelf, changes) = self.shelf_mut(key.kind());
            shelf.rehash(key, changes);
        }
        debug_assert_eq!(self.changes.stale_len(), 0, "all hashes are fresh");
    }

    /// All records, in key order.
    pub fn iter(&self) -> impl Iterator<Item = (RecordKey, Record)> {
        let keys = std::iter::successors(self.key_after(None), |key| self.key_after(Some(*key)));
        keys.filter_map(|key| self.shelf(key.kind()).record(key.id()).map(|record| (key, record)))
    }

    /// The first key after this one; the first of all without one. O(log n).
    fn key_after(&self, key: Option<RecordKey>) -> Option<RecordKey> {
        let first_of =
            |kind: Kind, from: u64| self.shelf(kind).id_from(from).map(|id| kind.key(id));
        let Some(key) = key else { return Kind::ALL.iter().find_map(|kind| first_of(*kind, 0)) };

        let same = key.id().checked_add(1).and_then(|from| first_of(key.kind(), from));
        let mut later = Kind::ALL.iter().filter(|kind| **kind > key.kind());
        same.or_else(|| later.find_map(|kind| first_of(*kind, 0)))
    }

    /// Hands out about `max` records of the checkpoint that was cut; false when there are no more.
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

            let (shelf, changes) = self.shelf_mut(key.kind());
            match shelf.carry(key.id(), changes) {
                Some(Some(record)) => out.push((key, Some(record))),
                Some(None) => {}
                None if changes.was_gone(key) => out.push((key, None)),
                None => {}
            }
        }
        !self.changes.finish()
    }

    /// A resource that must be there.
    pub fn resource(&self, id: u64) -> Result<&Resource, Defect> {
        self.resources.get(id).ok_or_else(|| Defect::new("a resource is gone that has leases"))
    }

    /// A lease that must be there.
    pub fn lease(&self, seq: u64) -> Result<&LeaseRecord, Defect> {
        self.leases
            .get(seq)
            .map(|lease| &**lease)
            .ok_or_else(|| Defect::new("a lease is gone that is listed"))
    }

    /// A live lease with its resource, both to be edited.
    pub fn lease_mut(&mut self, seq: u64) -> Result<EditLease<'_>, Defect> {
        let Some(lease) = self.leases.get_mut(seq) else {
            return Err(Defect::new("a lease is gone that is listed"));
        };
        let Some(resource) = self.resources.get_mut(lease.resource) else {
            return Err(Defect::new("a resource is gone that has leases"));
        };
        Ok(EditLease { lease, resource, meta: &mut self.meta, changes: &mut self.changes })
    }
}

/// What a transition of a lease edits.
pub(crate) struct EditLease<'a> {
    pub lease: &'a mut Tracked<LeaseRecord>,
    pub resource: &'a mut Resource,
    pub meta: &'a mut Tracked<Meta>,
    pub changes: &'a mut RecordChanges,
}

/// The group's time and counters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Log time of the last applied entry.
    pub(crate) now: LogTime,
    pub(crate) leases_made: u64,
    pub(crate) resources_made: u64,
    pub(crate) requests_remembered: u64,
    pub(crate) fencing_token: u64,
    /// Ended leases and changes that were forgotten early, because there were too many.
    pub(crate) forgotten_early: u64,
}

/// A remembered change of a resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RememberedRequest {
    pub(crate) request: RequestId,
    pub(crate) body: u64,
    pub(crate) at: LogTime,
    pub(crate) reply: Reply,
}
