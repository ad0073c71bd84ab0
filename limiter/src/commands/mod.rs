//! Applies a log entry: time first, then its commands in order. One file a command; each calls
//! `lease/`, never another command.

pub(crate) mod acquire;
pub(crate) mod attend;
pub(crate) mod change;
pub(crate) mod claim;
pub(crate) mod delete;
pub(crate) mod detach;
pub(crate) mod extend;
pub(crate) mod keepalive;
pub(crate) mod patch;
pub(crate) mod put;
pub(crate) mod raise;
pub(crate) mod release;
#[cfg(test)]
mod tests;
pub(crate) mod tick;

use crate::caps;
use crate::model::command::{Command, NO_CALL};
use crate::model::event::Event;
use crate::model::outcome::{Outcome, Refusal, Reply};
use crate::model::time::LogTime;
use crate::state::records::RecordKey;
use crate::state::{Entry, State};

/// What applying one entry came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// One for each command, in order.
    pub outcomes: Vec<Outcome>,
    /// What happened, in order. Only the leader's shell may act on it.
    pub events: Vec<Event>,
}

impl State {
    /// Applies one log entry: time first, then its commands in order.
    ///
    /// Total and deterministic: the same entries give the same state and outcomes on every replica.
    /// `index` is the entry's log index and `stamp` its log time; a stamp that lies behind the
    /// state's own time counts as that time. O(log n) a command, plus a bounded amount of due
    /// work an entry.
    pub fn apply(&mut self, index: u64, stamp: LogTime, commands: Vec<Command>) -> Applied {
        let now = self.records.meta.now.max(stamp);
        if now > self.records.meta.now {
            self.records.changes.edit(RecordKey::Meta, &mut self.records.meta).now = now;
        }

        let mut entry = Entry {
            index,
            now,
            events: Vec::new(),
            work_left: caps::WORK_PER_ENTRY_MAX,
            defects: 0,
        };
        self.pass_time(&mut entry);
        let outcomes: Vec<_> =
            commands.into_iter().map(|command| self.decide(&mut entry, command)).collect();
        debug_assert!(
            entry.work_left <= caps::WORK_PER_ENTRY_MAX,
            "an entry gets no more work than it may have"
        );

        // Whatever is to be remembered has an event, so an entry forgets as much as it adds, and
        // more.
        if let Err(defect) = self.forget_old(now, entry.events.len()) {
            entry.note(defect);
        }
        let refused =
            outcomes.iter().filter(|outcome| matches!(outcome, Err(Refusal::Internal(_))));
        self.defects += entry.defects + refused.count() as u64;
        if self.records.changes.stale_len() > caps::STALE_RECORDS_MAX {
            self.records.rehash();
        }
        Applied { outcomes, events: entry.events }
    }

    fn decide(&mut self, entry: &mut Entry, command: Command) -> Outcome {
        command.validate()?;
        match command {
            Command::PutResource(put) => self.put(entry, put),
            Command::PatchResource(patch) => self.patch(entry, patch),
            Command::DeleteResource(delete) => self.delete(entry, delete),
            Command::Acquire(acquire) => self.acquire(entry, acquire, NO_CALL),
            Command::Release(release) => self.release(entry, &release),
            Command::Extend(extend) => self.extend(entry, &extend),
            Command::Keepalive(keepalive) => self.keepalive(entry, &keepalive),
            Command::Tick => Ok(Reply::Noted),
            Command::Claim(claim) => self.claim_name(entry, claim),
            Command::Unclaim(unclaim) => self.unclaim_name(entry, &unclaim),
            Command::Fence(fence) => self.fence_claims(&fence),
            Command::PutClaimed(put) => self.put_claimed(entry, put),
            Command::RaiseLevel(level) => Ok(self.raise_level(level)),
            Command::Call(call) => self.acquire(entry, call.acquire, call.call),
            Command::Attend(attend) => self.attend(entry, attend),
            Command::Detach(detach) => self.detach(entry, &detach),
        }
    }
}
