//! Forwarding: a command, or a question how far to read, goes to the leader wherever it is.
//!
//! ```text
//!  submit --this node leads--> proposer
//!        |                                  ^
//!        +--another leads--> Lane::Forward -+   once: the leader does not pass it on
//! ```
//! A command can be given to the leader more than once: an acquire and a change of a resource carry
//! a request id, a release, an extend, a keepalive, and every step by which a name is claimed and
//! given back mean the same when they come again. So an answer that was lost is asked for again, of
//! whoever leads then, until the caller's deadline; only then is the outcome unknown.
//!
//! A call that waits in the queue does not wait at the leader but here, on this node's copy of the
//! queue: the loss of the leader takes nothing from it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use ratequeue_codec::{self as codec, schema};
use ratequeue_limiter::{Command, LEVEL_CALLERS, LEVEL_FIRST, LeaseId};
use ratequeue_link::CallRefused;
use serde::{Deserialize, Serialize};

use crate::caps;
use crate::error::SubmitError;
use crate::group::handle::Group;
use crate::group::look::Looked;
use crate::node::NodeId;
use crate::propose::proposal::Applied;
use crate::time_left;
use crate::transport::{Lane, Target, TransportError};

/// What a node asks of the leader.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Question {
    /// To decide a command.
    Submit(Box<Command>),
    /// Up to which log index everything was acknowledged.
    ReadIndex,
    /// How a lease is.
    Look(LeaseId),
    /// Whether there is room on its disk.
    Room,
}

impl Question {
    /// The feature level that the question needs: nodes of a group of a lower one could not read
    /// it.
    pub(super) fn level(&self) -> u32 {
        match self {
            Self::Submit(command) => command.level(),
            Self::ReadIndex => LEVEL_FIRST,
            Self::Look(_) | Self::Room => LEVEL_CALLERS,
        }
    }
}

/// What the leader answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Submitted(Box<Result<Applied, SubmitError>>),
    ReadIndex(Result<u64, SubmitError>),
    Looked(Box<Result<Looked, SubmitError>>),
    Room(bool),
}

/// What has gone wrong so far, and how long more is tried.
pub(super) struct Patience {
    since: Instant,
    /// A try was lost: it may have happened.
    unknown: bool,
    without_leader: Duration,
    without_quorum: Duration,
    without_answer: Duration,
}

impl Patience {
    /// Whether to try again after this error; what to answer otherwise.
    pub(super) fn after(&mut self, error: SubmitError) -> Result<(), SubmitError> {
        let limit = match error {
            SubmitError::UnknownOutcome => {
                self.unknown = true;
                self.without_answer
            }
            SubmitError::NotLeader { .. } | SubmitError::NoQuorum if self.unknown => {
                self.without_answer
            }
            // Said by a leader, who has waited for its quorum.
            SubmitError::NoQuorum => self.without_leader.min(self.without_quorum),
            SubmitError::NotLeader { .. } => self.without_leader,
            SubmitError::ShuttingDown
            | SubmitError::Overloaded
            | SubmitError::StorageFull
            | SubmitError::FeatureNotEnabled { .. } => Duration::ZERO,
        };

        if self.since.elapsed() < limit {
            return Ok(());
        }

        if self.unknown {
            return Err(SubmitError::UnknownOutcome);
        }

        let leaderless = matches!(error, SubmitError::NotLeader { .. });
        Err(if leaderless { SubmitError::NoQuorum } else { error })
    }
}

impl Group {
    /// As [`Group::submit_local`], but wherever the leader is, and again when an answer was lost.
    /// The command is then applied on the leader; here it may be a moment later.
    ///
    /// # Errors
    /// As [`Group::submit_local`], without [`SubmitError::NotLeader`]: no leader is
    /// [`SubmitError::NoQuorum`].
    pub async fn submit(&self, command: Command) -> Result<Applied, SubmitError> {
        let mut patience = self.patience();
        loop {
            let result = match self.leader() {
                // One that does not know the level could not even read it.
                Some(leader) if leader != self.node() && command.level() > self.level() => {
                    Err(SubmitError::FeatureNotEnabled { behind: None })
                }
                Some(leader) if leader != self.node() => self.submit_to(leader, &command).await,
                Some(_) | None => self.submit_local(command.clone()).await,
            };
            match result {
                Ok(applied) => return Ok(applied),
                Err(error) => patience.after(error)?,
            }
            self.pause().await;
        }
    }

    /// As [`Group::read_barrier_local`], but wherever the leader is: afterwards this node has
    /// applied what was acknowledged before.
    ///
    /// # Errors
    /// As [`Group::read_barrier_local`], without [`SubmitError::NotLeader`]: no leader is
    /// [`SubmitError::NoQuorum`].
    pub async fn read_barrier(&self) -> Result<(), SubmitError> {
        let mut patience = self.patience();
        loop {
            let result = match self.leader() {
                Some(leader) if leader != self.node() => match self.read_index_of(leader).await {
                    Ok(index) => self.wait_applied(index).await,
                    Err(error) => Err(error),
                },
                Some(_) | None => self.read_barrier_local().await,
            };
            match result {
                Ok(()) => return Ok(()),
                // A read changes nothing, however it was lost.
                Err(SubmitError::UnknownOutcome) => {
                    patience.after(SubmitError::NotLeader { leader: None })?
                }
                Err(error) => patience.after(error)?,
            }
            self.pause().await;
        }
    }

    /// Another voter that answers and has room on its disk.
    pub(crate) async fn voter_with_room(&self) -> Option<NodeId> {
        if self.level() < Question::Room.level() {
            return None;
        }
        let answering = self.answered_within(self.timing().election_max);
        for voter in self.status().voters.into_keys().filter(|voter| answering.contains(voter)) {
            if voter != self.node()
                && matches!(self.ask(voter, &Question::Room).await, Ok(Answer::Room(true)))
            {
                return Some(voter);
            }
        }
        None
    }

    pub(super) fn patience(&self) -> Patience {
        let election = self.timing().election_max;
        // A leader that was there a moment ago is worth waiting for; where none has been for long,
        // nobody else should wait.
        let leaderless =
            (election * caps::LEADERLESS_ELECTIONS).saturating_sub(self.leaderless_for());
        Patience {
            since: Instant::now(),
            unknown: false,
            without_leader: leaderless.min(election * 2),
            without_quorum: election / 2,
            without_answer: caps::UNKNOWN_PATIENCE.max(election * caps::UNKNOWN_PATIENCE_ELECTIONS),
        }
    }

    /// A moment, or until somebody else leads.
    pub(super) async fn pause(&self) {
        let mut roles = self.roles();
        tokio::select! {
            _ = roles.changed() => {}
            () = tokio::time::sleep(caps::RETRY_PAUSE) => {}
        }
    }

    /// Longer than the leader may take to answer, and the way there and back: what it says for
    /// certain is not to be taken for lost.
    fn forward_timeout(&self) -> Duration {
        let timing = self.timing();
        let answer = timing.election_max * 2
            + caps::SUBMIT_GRACE
            + timing.round_trip * 2
            + caps::SUBMIT_GRACE;
        caps::FORWARD_TIMEOUT.max(answer)
    }

    async fn submit_to(&self, leader: NodeId, command: &Command) -> Result<Applied, SubmitError> {
        let asked = Instant::now();
        match self.ask(leader, &Question::Submit(Box::new(command.clone()))).await? {
            Answer::Submitted(result) => match *result {
                // A leader that is being stopped hands over, and the next one is asked.
                Err(SubmitError::ShuttingDown) => Err(SubmitError::NotLeader { leader: None }),
                Err(error) => Err(error),
                Ok(mut applied) => {
                    time_left::take_off(&mut applied.outcome, asked.elapsed());
                    Ok(applied)
                }
            },
            Answer::ReadIndex(_) | Answer::Looked(_) | Answer::Room(_) => {
                Err(SubmitError::UnknownOutcome)
            }
        }
    }

    pub(super) async fn read_index_of(&self, leader: NodeId) -> Result<u64, SubmitError> {
        match self.ask(leader, &Question::ReadIndex).await? {
            Answer::ReadIndex(Err(SubmitError::ShuttingDown)) => {
                Err(SubmitError::NotLeader { leader: None })
            }
            Answer::ReadIndex(result) => result,
            Answer::Submitted(_) | Answer::Looked(_) | Answer::Room(_) => {
                Err(SubmitError::UnknownOutcome)
            }
        }
    }

    pub(super) async fn ask(
        &self,
        leader: NodeId,
        question: &Question,
    ) -> Result<Answer, SubmitError> {
        let answer = self.call_leader(leader, question).await?;
        match &answer {
            Answer::Submitted(result) => self.note_answer(result.as_ref().as_ref().err()),
            Answer::ReadIndex(result) => self.note_answer(result.as_ref().err()),
            Answer::Looked(result) => self.note_answer(result.as_ref().as_ref().err()),
            Answer::Room(_) => {}
        }
        Ok(answer)
    }

    fn note_answer(&self, error: Option<&SubmitError>) {
        match error {
            None => self.record_quorum(true),
            Some(SubmitError::NoQuorum) => self.record_quorum(false),
            Some(_) => {}
        }
    }

    async fn call_leader(
        &self,
        leader: NodeId,
        question: &Question,
    ) -> Result<Answer, SubmitError> {
        let Some(address) = self.address_of(leader) else {
            return Err(SubmitError::NotLeader { leader: Some(leader) });
        };

        let frame = codec::encode(schema::FORWARD_QUESTION, question)
            .map_err(|_too_large| SubmitError::Overloaded)?;
        let to = Target { group: self.name().to_owned(), node: leader, address };
        let call = self.transport().call(&to, Lane::Forward, frame.into());
        let mut roles = self.roles();
        let deposed = roles.wait_for(|role| role.leader.is_some_and(|other| other != leader));

        let answered = tokio::select! {
            answered = tokio::time::timeout(self.forward_timeout(), call) => answered,
            // One that stands still, or is cut off, need not be waited for: whoever leads now knows what it has decided.
            _ = deposed => return Err(SubmitError::UnknownOutcome),
        };

        let answer = match answered {
            Ok(Ok(answer)) => answer,
            Ok(Err(TransportError::Unreachable(_))) => {
                return Err(SubmitError::NotLeader { leader: Some(leader) });
            }
            Ok(Err(TransportError::Overloaded)) => return Err(SubmitError::Overloaded),
            Ok(Err(TransportError::Broken(_))) | Err(_) => return Err(SubmitError::UnknownOutcome),
        };

        codec::decode(schema::FORWARD_ANSWER, &answer).map_err(|error| {
            tracing::warn!(group = self.name(), leader, %error, "the leader's answer cannot be read");
            SubmitError::UnknownOutcome
        })
    }

    /// Answers a question that another node of the group forwarded. Only the leader decides;
    /// nothing is passed on again.
    ///
    /// # Errors
    /// When the frame is no question, so that nothing has happened.
    pub async fn receive_forwarded(&self, frame: Bytes) -> Result<Bytes, CallRefused> {
        let question = codec::decode(schema::FORWARD_QUESTION, &frame)
            .map_err(|error| CallRefused(error.to_string()))?;
        let answer = match question {
            Question::Submit(command) => {
                Answer::Submitted(Box::new(self.submit_local(*command).await))
            }
            Question::ReadIndex => Answer::ReadIndex(
                self.read_barrier_local().await.map(|()| self.applied_index().unwrap_or_default()),
            ),
            Question::Look(lease) => Answer::Looked(Box::new(self.look_here(lease).await)),
            Question::Room => Answer::Room(self.has_room()),
        };

        // It may have been decided: an answer that cannot be sent is no refusal.
        let encoded = codec::encode(schema::FORWARD_ANSWER, &answer).or_else(|_too_large| {
            codec::encode(
                schema::FORWARD_ANSWER,
                &Answer::Submitted(Box::new(Err(SubmitError::UnknownOutcome))),
            )
        });
        encoded.map(Bytes::from).map_err(|error| CallRefused(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn patience() -> Patience {
        Patience {
            since: Instant::now(),
            unknown: false,
            without_leader: Duration::ZERO,
            without_quorum: Duration::ZERO,
            without_answer: Duration::from_secs(4),
        }
    }

    #[test]
    fn what_was_lost_once_stays_unknown() {
        let mut patience = patience();
        assert_eq!(patience.after(SubmitError::UnknownOutcome), Ok(()));
        assert_eq!(patience.after(SubmitError::NoQuorum), Ok(()));
        assert_eq!(patience.after(SubmitError::Overloaded), Err(SubmitError::UnknownOutcome));
    }

    #[test]
    fn no_leader_means_no_quorum() {
        let error = patience().after(SubmitError::NotLeader { leader: None });
        assert_eq!(error, Err(SubmitError::NoQuorum));
        assert_eq!(patience().after(SubmitError::StorageFull), Err(SubmitError::StorageFull));
    }

    /// To be changed only together with a new schema ordinal.
    #[test]
    fn has_its_golden_bytes() {
        let hex =
            |bytes: Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let question =
            codec::encode(schema::FORWARD_QUESTION, &Question::Submit(Box::new(Command::Tick)))
                .unwrap();
        let answer =
            codec::encode(schema::FORWARD_ANSWER, &Answer::ReadIndex(Err(SubmitError::NoQuorum)))
                .unwrap();
        assert_eq!(hex(question), "5251010a02000000887381480007");
        assert_eq!(hex(answer), "5251010b030000003623abb7010100");
    }
}
