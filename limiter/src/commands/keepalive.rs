//! Keepalive: somebody still waits for these leases.

use crate::caps;
use crate::model::command::Keepalive;
use crate::model::outcome::{Outcome, Reply};
use crate::state::{Entry, State};

impl State {
    pub(crate) fn keepalive(&mut self, entry: &mut Entry, keepalive: &Keepalive) -> Outcome {
        for lease in keepalive.leases.iter().take(caps::KEEPALIVE_LEASES_MAX) {
            let found = self.records.leases.get(lease.seq).filter(|found| found.tag == lease.tag);
            let Some(id) = found.map(|found| found.resource) else { continue };
            self.keep_alive(entry.now, lease.seq)?;
            self.reschedule(id);
        }
        Ok(Reply::Noted)
    }
}
