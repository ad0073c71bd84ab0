//! Looks at a lease: as whoever leads sees it, which is true everywhere.

use std::time::Instant;

use ratequeue_limiter::{LeaseId, LeaseView, NO_CALL};
use serde::{Deserialize, Serialize};

use crate::error::SubmitError;
use crate::group::forward::{Answer, Question};
use crate::group::handle::Group;
use crate::node::NodeId;
use crate::time_left;

/// A lease as its leader sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Looked {
    /// `None` when there is none, or it is forgotten. What it says of the time left counts from
    /// now.
    pub view: Option<LeaseView>,
    /// The number of the call that came for it last, if one is known.
    pub call: u64,
    /// False while it is held and still has to be claimed.
    pub claimed: bool,
}

impl Group {
    /// A lease as whoever leads sees it: what it says is true now, everywhere. What this node has
    /// applied does not matter.
    ///
    /// # Errors
    /// As [`Group::read_barrier`].
    pub async fn look(&self, lease: LeaseId) -> Result<Looked, SubmitError> {
        let mut patience = self.patience();
        loop {
            let result = match self.leader() {
                Some(leader) if leader != self.node() => self.look_at(leader, lease).await,
                Some(_) | None => self.look_here(lease).await,
            };
            match result {
                Ok(looked) => return Ok(looked),
                // A look changes nothing, however it was lost.
                Err(SubmitError::UnknownOutcome) => {
                    patience.after(SubmitError::NotLeader { leader: None })?
                }
                Err(error) => patience.after(error)?,
            }
            self.pause().await;
        }
    }

    /// On the leader.
    pub(super) async fn look_here(&self, lease: LeaseId) -> Result<Looked, SubmitError> {
        self.read_barrier_local().await?;
        Ok(self.looked(lease))
    }

    async fn look_at(&self, leader: NodeId, lease: LeaseId) -> Result<Looked, SubmitError> {
        let question = Question::Look(lease);
        if self.level() < question.level() {
            // A leader of before does not know the question.
            let index = self.read_index_of(leader).await?;
            self.wait_applied(index).await?;
            return Ok(self.looked(lease));
        }

        let asked = Instant::now();
        match self.ask(leader, &question).await? {
            Answer::Looked(result) => match *result {
                Err(SubmitError::ShuttingDown) => Err(SubmitError::NotLeader { leader: None }),
                Err(error) => Err(error),
                Ok(mut looked) => {
                    looked
                        .view
                        .iter_mut()
                        .for_each(|view| time_left::take_off_view(view, asked.elapsed()));
                    Ok(looked)
                }
            },
            Answer::Submitted(_) | Answer::ReadIndex(_) | Answer::Room(_) => {
                Err(SubmitError::UnknownOutcome)
            }
        }
    }

    fn looked(&self, lease: LeaseId) -> Looked {
        self.read(|state, now| {
            let (call, claimed) = state.caller(lease).unwrap_or((NO_CALL, true));
            Looked { view: state.lease(lease, now), call, claimed }
        })
    }
}
