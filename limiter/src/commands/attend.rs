//! Attend: another call asks for a lease from now on.

use crate::model::command::Attend;
use crate::model::outcome::{Outcome, Reply};
use crate::state::{Entry, State};

impl State {
    pub(crate) fn attend(&mut self, entry: &mut Entry, attend: Attend) -> Outcome {
        let (seq, id) = self.find_lease(entry, attend.lease)?;
        self.call_for(entry, seq, attend.call)?;
        self.settle_now(entry, id)?;
        self.reschedule(id);
        self.lease_reply(seq, entry.now).map(Reply::Attended)
    }
}
