//! A lease after its acquire: look, release, extend; and the lists of who waits and who holds.

use std::time::Duration;

use ratequeue_limiter::{
    Command, Extend, LeaseId, LeaseView, Phase, Release, Released, Reply, ResourceName,
};
use ratequeue_raft::Group;

use super::acquire::wait;
use super::error::ServiceError;
use super::router::{CallKind, Router, decided};
use super::unanswered::Unanswered;
use super::{Answered, Incoming, Service};
use crate::node::Node;
use crate::node::aside::PIECE;

/// Which leases a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListState {
    /// Those in the queue, in its order.
    Waiting,
    /// Those that are held, in the order of their acquires.
    Held,
}

/// Where a page of leases begins: after this lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseCursor {
    Held(Option<u64>),
    Waiting(Option<(u8, u64)>),
}

/// Query for one page of a resource's leases.
#[derive(Debug, Clone)]
pub struct LeaseQuery {
    pub resource: ResourceName,
    /// Only those in this state.
    pub state: Option<ListState>,
    pub from: LeaseCursor,
    /// Leases on the page.
    pub max: usize,
}

/// Leases of a resource, the held ones first.
#[derive(Debug)]
pub struct LeasePage {
    pub leases: Vec<LeaseView>,
    /// Where the next page begins, if there is one.
    pub next: Option<LeaseCursor>,
}

impl LeaseCursor {
    fn after(last: &LeaseView) -> Self {
        match last.phase {
            Phase::Waiting(_) => Self::Waiting(Some((last.priority, last.id.seq))),
            Phase::Held(_) | Phase::Ended(_) => Self::Held(Some(last.id.seq)),
        }
    }
}

impl Service {
    /// A lease in whatever state it is, as soon as it is no longer waiting, or after `hold`.
    ///
    /// # Errors
    /// When there is none, or it is forgotten.
    pub async fn look(
        &self,
        group: &str,
        lease: LeaseId,
        hold: Duration,
        call: &Incoming,
    ) -> Result<Answered<LeaseView>, ServiceError> {
        let node = &*self.node;
        let router = Router::new(node, call, CallKind::Read)?;
        let look = async |group: Group| {
            // Whoever has the id can come back.
            let glances = hold.is_zero();
            let mut unanswered =
                if glances { Unanswered::glance(&group) } else { Unanswered::new(&group, true) };
            let view = look_unanswered(node, &group, lease, &mut unanswered, hold).await?;
            unanswered.answered();
            Ok((view, None))
        };
        router.by_lease(group, look).await
    }

    /// Gives a held lease back, or a place in the queue up.
    ///
    /// # Errors
    /// When there is none, or it has ended otherwise.
    pub async fn release(
        &self,
        group: &str,
        release: &Release,
        call: &Incoming,
    ) -> Result<Answered<Released>, ServiceError> {
        let router = Router::new(&self.node, call, CallKind::Change)?;
        let handle = async |group: Group| {
            let (reply, index) = decided(group.submit(Command::Release(release.clone())).await?)?;
            let Reply::Released(released) = reply else {
                return Err(ServiceError::contradiction());
            };
            Ok((released, index))
        };
        router.by_lease(group, handle).await
    }

    /// Gives a held lease a new deadline.
    ///
    /// # Errors
    /// When it is not held.
    pub async fn extend(
        &self,
        group: &str,
        extend: &Extend,
        call: &Incoming,
    ) -> Result<Answered<LeaseView>, ServiceError> {
        let router = Router::new(&self.node, call, CallKind::Change)?;
        let handle = async |group: Group| {
            let (reply, index) = decided(group.submit(Command::Extend(extend.clone())).await?)?;
            let Reply::Extended(view) = reply else { return Err(ServiceError::contradiction()) };
            Ok((view, index))
        };
        router.by_lease(group, handle).await
    }

    /// Who holds a resource, and who waits for it, in order. `show` makes the answer of the page,
    /// where the page is read.
    ///
    /// # Errors
    /// When there is no such resource, or too many lists wait.
    pub async fn list_leases<T, S>(
        &self,
        query: &LeaseQuery,
        call: &Incoming,
        show: S,
    ) -> Result<Answered<T>, ServiceError>
    where
        T: Send + 'static,
        S: Fn(LeasePage, &str) -> T + Clone + Send + 'static,
    {
        let router = Router::new(&self.node, call, CallKind::Read)?;
        let read = async |group: Group| {
            let (wanted, show) = (query.clone(), show.clone());
            let read = move || page(&group, &wanted).map(|page| show(page, group.name()));
            let shown = self.node.lists.run(read).await?;
            Ok((shown.ok_or_else(|| ServiceError::resource_not_found(&query.resource))?, None))
        };
        router.by_resource(&query.resource, read).await
    }
}

async fn look_unanswered(
    node: &Node,
    group: &Group,
    lease: LeaseId,
    unanswered: &mut Unanswered,
    hold: Duration,
) -> Result<LeaseView, ServiceError> {
    let looked = group.look(lease).await?;
    let has_to_claim = unanswered.has_to_claim(&looked);
    let now = looked.view.ok_or_else(ServiceError::lease_not_found)?;

    match now.phase {
        Phase::Waiting(_) => {
            let (attended, index) = unanswered.attend(lease).await?;
            match attended {
                Some(view) if !matches!(view.phase, Phase::Waiting(_)) => Ok(view),
                view => wait(node, group, unanswered, view.unwrap_or(now), index, hold).await,
            }
        }
        Phase::Held(_) if has_to_claim => match unanswered.attend(lease).await {
            Ok((attended, _)) => Ok(attended.unwrap_or(now)),
            // A full disk takes no claim. What is claimed already can be told all the same.
            Err(error) if looked.claimed && error.is_storage_full() => Ok(now),
            Err(error) => Err(error),
        },
        Phase::Held(_) | Phase::Ended(_) => Ok(now),
    }
}

/// A page of the leases of a resource, read in pieces; `None` when there is no such resource.
fn page(group: &Group, query: &LeaseQuery) -> Option<LeasePage> {
    let LeaseQuery { resource, state: only, from, max } = query;
    let mut leases: Vec<LeaseView> = Vec::new();
    let mut at = *from;
    // One more than the page has says whether there is another page.
    while leases.len() <= *max {
        let room = PIECE.min(max + 1 - leases.len());
        let piece = group.read(|state, now| match at {
            LeaseCursor::Held(after) => state.held(resource, after, room, now),
            LeaseCursor::Waiting(after) => state.waiting(resource, after, room, now),
        })?;
        at = match (piece.last(), at) {
            (Some(last), _) => LeaseCursor::after(last),
            (None, LeaseCursor::Held(_)) if only.is_none() => LeaseCursor::Waiting(None),
            (None, LeaseCursor::Held(_) | LeaseCursor::Waiting(_)) => break,
        };
        leases.extend(piece);
    }

    let more = leases.len() > *max;
    leases.truncate(*max);
    let next = leases.last().filter(|_| more).map(LeaseCursor::after);
    Some(LeasePage { leases, next })
}
