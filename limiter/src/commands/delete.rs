//! Delete: frees the name of a resource, ends its waiting leases, and forgets its held ones.

use crate::model::command::DeleteResource;
use crate::model::event::EventKind;
use crate::model::outcome::{Outcome, Refusal, Reply};
use crate::state::defect::Defect;
use crate::state::records::RecordKey;
use crate::state::{Entry, State};

impl State {
    pub(crate) fn delete(&mut self, entry: &mut Entry, delete: DeleteResource) -> Outcome {
        let body = delete.body();
        if let Some(answer) = self.answered(&delete.request, body)? {
            return answer;
        }
        let found = self.find_resource(&delete.resource);
        let id = found.ok_or(Refusal::ResourceNotFound)?;
        self.check_condition(found, delete.condition)?;

        let Some(resource) = self.records.resources.get_mut(id) else {
            return Err(Defect::new("a name belongs to a resource that is gone").into());
        };
        debug_assert!(!resource.deleted, "a deleted resource has no name");
        self.records.changes.edit(RecordKey::Resource(id), &mut resource.record).deleted = true;
        self.indexes.names.remove(&delete.resource);
        self.indexes.name_index.remove(self.indexes.name_index.hash(delete.resource.as_str()), id);
        entry.emit(resource, EventKind::Deleted);

        self.reschedule(id);
        self.settle_now(entry, id)?;
        Ok(self.remember(entry, delete.request, body, Reply::Deleted))
    }
}
