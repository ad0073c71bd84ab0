//! Put: creates or replaces a resource, under a claim of its name or without one.

use crate::commands::change::answer_of;
use crate::model::command::{PutClaimed, PutResource};
use crate::model::outcome::{Outcome, Refusal, Reply};
use crate::state::records::RecordKey;
use crate::state::{Entry, State};

impl State {
    pub(crate) fn put(&mut self, entry: &mut Entry, put: PutResource) -> Outcome {
        let body = put.body();
        if let Some(answer) = self.answered(&put.request, body)? {
            return answer;
        }
        let found = self.find_resource(&put.resource);
        self.check_condition(found, put.condition)?;
        put.spec.validate().map_err(Refusal::InvalidResource)?;

        let created = found.is_none();
        let id = match found {
            Some(id) => id,
            None => self.create_resource(entry, put.resource)?,
        };
        let is_identical = !created
            && self.level().keeps_identical()
            && self.records.resource(id)?.spec() == put.spec;
        if !is_identical {
            self.change_resource(entry, id, &put.spec)?;
        }
        let reply = Reply::Put { created, resource: answer_of(self.records.resource(id)?) };
        Ok(self.remember(entry, put.request, body, reply))
    }

    /// A put that may create its resource only under a claim that is not fenced. A claim of 0 never
    /// is: it only replaces.
    pub(crate) fn put_claimed(&mut self, entry: &mut Entry, claimed: PutClaimed) -> Outcome {
        let PutClaimed { put, claim, fencing_token } = claimed;
        let creates =
            self.find_resource(&put.resource).is_none() && self.recall(&put.request)?.is_none();
        if creates && claim <= self.fence() {
            return Err(Refusal::ClaimOutdated { fence: self.fence() });
        }

        let outcome = self.put(entry, put);
        let created = matches!(&outcome, Ok(Reply::Put { created: true, .. }));
        if created && fencing_token > self.records.meta.fencing_token {
            self.records.changes.edit(RecordKey::Meta, &mut self.records.meta).fencing_token =
                fencing_token;
        }
        outcome
    }
}
