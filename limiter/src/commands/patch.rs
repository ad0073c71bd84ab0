//! Patch: changes a resource.

use crate::commands::change::answer_of;
use crate::model::command::PatchResource;
use crate::model::outcome::{Outcome, Refusal, Reply};
use crate::state::{Entry, State};

impl State {
    pub(crate) fn patch(&mut self, entry: &mut Entry, patch: PatchResource) -> Outcome {
        let body = patch.body();
        if let Some(answer) = self.answered(&patch.request, body)? {
            return answer;
        }
        let found = self.find_resource(&patch.resource);
        let id = found.ok_or(Refusal::ResourceNotFound)?;
        self.check_condition(found, patch.condition)?;

        let spec = self
            .records
            .resource(id)?
            .spec()
            .patched(&patch.patch)
            .map_err(Refusal::InvalidResource)?;
        self.change_resource(entry, id, &spec)?;
        let reply = Reply::Patched(answer_of(self.records.resource(id)?));
        Ok(self.remember(entry, patch.request, body, reply))
    }
}
