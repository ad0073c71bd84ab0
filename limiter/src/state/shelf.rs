//! Shelves: where the records of one kind lie, and what is done to the records of every kind alike.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::collections::paged::Paged;
use crate::state::changes::Tracked;
use crate::state::records::{Meta, Record, RecordChanges, RecordKey};
use crate::state::resource::{Resource, ResourceRecord};

/// A record that does not belong to its key.
#[derive(Debug)]
pub struct WrongKind;

/// The records of one kind, whatever they are.
pub(crate) trait Shelf {
    fn len(&self) -> usize;
    /// The first id at or after this one that has a record.
    fn id_from(&self, from: u64) -> Option<u64>;
    fn record(&self, id: u64) -> Option<Record>;
    /// Takes a stored record in; true when its key had one.
    fn load(
        &mut self,
        key: RecordKey,
        record: Record,
        changes: &mut RecordChanges,
    ) -> Result<bool, WrongKind>;
    fn rehash(&mut self, key: RecordKey, changes: &mut RecordChanges);
    /// The record of an id that a checkpoint drains: `None` when it is gone, and none in it when it
    /// was carried before.
    fn carry(&mut self, id: u64, changes: &RecordChanges) -> Option<Option<Record>>;
}

/// The value of a record of some kind.
trait Value: Clone + Serialize + Into<Record> + TryFrom<Record, Error = WrongKind> {}

impl<T: Clone + Serialize + Into<Record> + TryFrom<Record, Error = WrongKind>> Value for T {}

/// Where the records of one kind lie.
trait Container {
    type Value: Value;

    fn len(&self) -> usize;
    fn id_from(&self, from: u64) -> Option<u64>;
    fn at(&self, id: u64) -> Option<&Tracked<Self::Value>>;
    fn at_mut(&mut self, id: u64) -> Option<&mut Tracked<Self::Value>>;
    /// Puts a record in; true when there was one.
    fn put(&mut self, id: u64, record: Tracked<Self::Value>) -> bool;
}

impl<C: Container> Shelf for C {
    fn len(&self) -> usize {
        Container::len(self)
    }

    fn id_from(&self, from: u64) -> Option<u64> {
        Container::id_from(self, from)
    }

    fn record(&self, id: u64) -> Option<Record> {
        self.at(id).map(|record| (**record).clone().into())
    }

    fn load(
        &mut self,
        key: RecordKey,
        record: Record,
        changes: &mut RecordChanges,
    ) -> Result<bool, WrongKind> {
        let value = C::Value::try_from(record)?;
        Ok(self.put(key.id(), changes.load(key, value)))
    }

    fn rehash(&mut self, key: RecordKey, changes: &mut RecordChanges) {
        if let Some(record) = self.at_mut(key.id()) {
            changes.rehash(key, record);
        }
    }

    fn carry(&mut self, id: u64, changes: &RecordChanges) -> Option<Option<Record>> {
        self.at_mut(id).map(|record| changes.carry(record))
    }
}

impl<T: Value> Container for Paged<Tracked<T>> {
    type Value = T;

    fn len(&self) -> usize {
        Self::len(self)
    }

    fn id_from(&self, from: u64) -> Option<u64> {
        self.first_from(from)
    }

    fn at(&self, id: u64) -> Option<&Tracked<T>> {
        self.get(id)
    }

    fn at_mut(&mut self, id: u64) -> Option<&mut Tracked<T>> {
        self.get_mut(id)
    }

    fn put(&mut self, id: u64, record: Tracked<T>) -> bool {
        self.insert(id, record).is_some()
    }
}

impl Container for Paged<Resource> {
    type Value = ResourceRecord;

    fn len(&self) -> usize {
        Self::len(self)
    }

    fn id_from(&self, from: u64) -> Option<u64> {
        self.first_from(from)
    }

    fn at(&self, id: u64) -> Option<&Tracked<ResourceRecord>> {
        self.get(id).map(|resource| &resource.record)
    }

    fn at_mut(&mut self, id: u64) -> Option<&mut Tracked<ResourceRecord>> {
        self.get_mut(id).map(|resource| &mut resource.record)
    }

    fn put(&mut self, id: u64, record: Tracked<ResourceRecord>) -> bool {
        self.insert(id, record.into()).is_some()
    }
}

impl<T: Value> Container for BTreeMap<u64, Tracked<T>> {
    type Value = T;

    fn len(&self) -> usize {
        Self::len(self)
    }

    fn id_from(&self, from: u64) -> Option<u64> {
        self.range(from..).next().map(|(id, _)| *id)
    }

    fn at(&self, id: u64) -> Option<&Tracked<T>> {
        self.get(&id)
    }

    fn at_mut(&mut self, id: u64) -> Option<&mut Tracked<T>> {
        self.get_mut(&id)
    }

    fn put(&mut self, id: u64, record: Tracked<T>) -> bool {
        self.insert(id, record).is_some()
    }
}

impl<T: Value> Container for Option<Tracked<T>> {
    type Value = T;

    fn len(&self) -> usize {
        usize::from(self.is_some())
    }

    fn id_from(&self, from: u64) -> Option<u64> {
        (from == 0 && self.is_some()).then_some(0)
    }

    fn at(&self, id: u64) -> Option<&Tracked<T>> {
        self.as_ref().filter(|_| id == 0)
    }

    fn at_mut(&mut self, id: u64) -> Option<&mut Tracked<T>> {
        self.as_mut().filter(|_| id == 0)
    }

    fn put(&mut self, _: u64, record: Tracked<T>) -> bool {
        self.replace(record).is_some()
    }
}

/// There is always one. Before it is loaded it is absent.
impl Container for Tracked<Meta> {
    type Value = Meta;

    fn len(&self) -> usize {
        1
    }

    fn id_from(&self, from: u64) -> Option<u64> {
        (from == 0).then_some(0)
    }

    fn at(&self, id: u64) -> Option<&Tracked<Meta>> {
        (id == 0).then_some(self)
    }

    fn at_mut(&mut self, id: u64) -> Option<&mut Tracked<Meta>> {
        (id == 0).then_some(self)
    }

    fn put(&mut self, _: u64, record: Tracked<Meta>) -> bool {
        let was_there = !self.is_absent();
        *self = record;
        was_there
    }
}
