//! One proposed entry and the callers that wait for it. Every caller is answered exactly once,
//! whatever happens.

use std::sync::Arc;
use std::time::Instant;

use openraft::errors::{ClientWriteError, ForwardReason, ForwardToLeader};
use openraft::raft::ClientWriteResult;
use parking_lot::Mutex;
use ratequeue_limiter::{Command, Outcome};
use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::error::SubmitError;
use crate::format::types::{Completion, Types};
use crate::node::NodeId;

/// A command that was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The log index of its entry.
    pub index: u64,
    /// What it came to.
    pub outcome: Outcome,
}

pub(crate) type Answer = oneshot::Sender<Result<Applied, SubmitError>>;

/// A command on its way to the proposer.
pub(crate) struct Submitted {
    pub command: Command,
    pub answer: Answer,
    /// Since when it waits.
    pub since: Instant,
}

impl Submitted {
    pub fn refuse(self, error: SubmitError) {
        // The caller may have gone.
        let _ = self.answer.send(Err(error));
    }
}

/// The callers of one entry, shared by the proposer and the completion. Whoever comes first
/// answers.
#[derive(Clone)]
pub(crate) struct Callers {
    answers: Arc<Mutex<Option<Vec<Answer>>>>,
    /// When the entry was proposed.
    pub since: Instant,
}

impl Callers {
    pub fn new(answers: Vec<Answer>, since: Instant) -> Self {
        Self { answers: Arc::new(Mutex::new(Some(answers))), since }
    }

    /// Whether all have their answers.
    pub fn answered(&self) -> bool {
        self.answers.lock().is_none()
    }

    pub fn refuse(&self, error: SubmitError) {
        for answer in self.take() {
            let _ = answer.send(Err(error));
        }
    }

    fn accept(&self, index: u64, outcomes: Vec<Outcome>) {
        let mut answers = self.take().into_iter();
        for (outcome, answer) in outcomes.into_iter().zip(answers.by_ref()) {
            let _ = answer.send(Ok(Applied { index, outcome }));
        }
        // One outcome for each command: nobody is left, unless the core broke its word.
        for answer in answers {
            let _ = answer.send(Err(SubmitError::UnknownOutcome));
        }
    }

    fn take(&self) -> Vec<Answer> {
        self.answers.lock().take().unwrap_or_default()
    }
}

/// Ends a proposal; when dropped without a word, as unknown. The permit is given back at the end.
struct Pending {
    callers: Callers,
    _in_flight: OwnedSemaphorePermit,
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.callers.refuse(SubmitError::UnknownOutcome);
    }
}

/// What openraft calls when the entry was applied, or will not be known.
pub(crate) fn completion(
    callers: Callers,
    in_flight: OwnedSemaphorePermit,
    node: NodeId,
) -> Completion<ClientWriteResult<Types>> {
    let pending = Pending { callers, _in_flight: in_flight };
    Completion::new(move |result: ClientWriteResult<Types>| match result {
        Ok(response) => pending.callers.accept(response.log_id.index, response.data.0),
        Err(error) => pending.callers.refuse(submit_error(error, node)),
    })
}

fn submit_error(error: ClientWriteError<Types>, node: NodeId) -> SubmitError {
    match error {
        ClientWriteError::ForwardToLeader(forward) => not_leader(&forward, node),
        // The entry was in a log once. Another node may have it, and commit it.
        ClientWriteError::LogEntryDiscarded(_)
        | ClientWriteError::ChangeMembershipError(_)
        | ClientWriteError::PreconditionFailed(_) => SubmitError::UnknownOutcome,
    }
}

pub(crate) fn not_leader(forward: &ForwardToLeader<Types>, node: NodeId) -> SubmitError {
    match forward.reason {
        ForwardReason::LeaseExpired => SubmitError::NoQuorum,
        ForwardReason::NotLeader | ForwardReason::LeadershipTransfer => {
            SubmitError::NotLeader { leader: forward.leader_id.filter(|leader| *leader != node) }
        }
    }
}
