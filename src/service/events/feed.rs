//! The events of one group, for one caller: from its journal here, or asked for in another region.

use std::sync::Arc;
use std::time::Duration;

use ratequeue_api::event::Event;
use ratequeue_raft::{EventReader, EventsError, Group, SubmitError};
use tokio::time::sleep;

use super::Place;
use super::shown;
use crate::node::event_calls::{EventFilter, EventsCall, EventsPage};
use crate::node::peer_calls::{PeerAnswer, PeerCall};
use crate::node::{Member, Node};
use crate::service::error::{Cause, ServiceError};

/// Events that a feed reads at once.
pub const EVENTS_AT_ONCE: usize = 512;
/// Pause of a feed after it has told something, in which more gathers.
const REST: Duration = Duration::from_millis(50);
/// How long another region holds a question for events open.
const HOLD: Duration = Duration::from_secs(10);
/// How long the answer may take beyond that.
const WAY: Duration = Duration::from_secs(5);

/// A reader of a group's events after a log index, and where it begins if it cannot begin there.
pub async fn open(
    group: &Group,
    after: Option<u64>,
) -> Result<(EventReader, Option<u64>), SubmitError> {
    let is_ahead = |after: u64| after > group.applied_index().unwrap_or_default();
    if after.is_some_and(is_ahead) {
        // This node lags behind the one that told it, or it was told of another log.
        group.read_barrier().await?;
    }
    match after {
        Some(after) if is_ahead(after) => {
            let reader = group.events(None);
            let first_index = reader.position() + 1;
            Ok((reader, Some(first_index)))
        }
        Some(_) | None => Ok((group.events(after), None)),
    }
}

/// The events of one group, for one caller.
pub struct Feed {
    pub group: String,
    source: Source,
    filter: Arc<EventFilter>,
    /// The caller knows what the entry with this index did up to this ordinal.
    known: (u64, u32),
    /// Where it begins, if it cannot begin where it should.
    gap: Option<u64>,
    /// It has told something, or waited for it: what it misses from now on, it misses because its
    /// reader is slow.
    has_begun: bool,
    rest: bool,
}

enum Source {
    Here { group: Group, reader: EventReader },
    Elsewhere { node: Arc<Node>, after: u64 },
}

/// What a feed comes to next.
pub enum Next {
    Events(Vec<Event>),
    Gap(u64),
    Lagged,
    Ended,
}

impl Feed {
    pub async fn open(
        node: &Arc<Node>,
        member: &Member,
        group: String,
        place: Option<&Place>,
        filter: &Arc<EventFilter>,
    ) -> Result<Self, ServiceError> {
        // The entry is read again: its later events are not known.
        let after = place.map(|place| place.index.saturating_sub(1));
        let (source, gap) = match member.group_of(&group) {
            Some(here) => {
                let (reader, gap) = open(here, after).await?;
                (Source::Here { group: here.clone(), reader }, gap)
            }
            None => {
                let page = ask(node, &group, after, filter, Duration::ZERO).await;
                let page = page.ok_or_else(|| Cause::RegionUnreachable(group.clone()))?;
                let after = after.filter(|_| page.gap.is_none()).unwrap_or(page.after);
                (Source::Elsewhere { node: Arc::clone(node), after }, page.gap)
            }
        };
        let known = place.map_or((0, 0), |place| (place.index, place.ordinal));
        let filter = Arc::clone(filter);
        Ok(Self { group, source, filter, known, gap, has_begun: false, rest: false })
    }

    pub fn position(&self) -> u64 {
        match &self.source {
            Source::Here { reader, .. } => reader.position(),
            Source::Elsewhere { after, .. } => *after,
        }
    }

    pub async fn next(&mut self) -> Next {
        if let Some(first_index) = self.gap.take() {
            return Next::Gap(first_index);
        }
        loop {
            if std::mem::take(&mut self.rest) {
                sleep(REST).await;
            }
            let events = match self.read().await {
                Next::Events(events) => events,
                Next::Gap(_) if self.has_begun => return Next::Lagged,
                other @ (Next::Gap(_) | Next::Lagged | Next::Ended) => return other,
            };
            self.has_begun = true;

            let events: Vec<_> =
                events.into_iter().filter(|e| (e.log_index, e.ordinal) > self.known).collect();
            self.rest = events.len() < EVENTS_AT_ONCE;
            if !events.is_empty() {
                return Next::Events(events);
            }
        }
    }

    async fn read(&mut self) -> Next {
        match &mut self.source {
            Source::Here { group, reader } => match reader.next(EVENTS_AT_ONCE).await {
                Ok(batches) => Next::Events(shown::all(group, &batches, &self.filter)),
                Err(EventsError::Gap(gap)) => Next::Gap(gap.first_index),
                Err(EventsError::Ended) => Next::Ended,
            },
            Source::Elsewhere { node, after } => {
                let Some(page) = ask(node, &self.group, Some(*after), &self.filter, HOLD).await
                else {
                    return Next::Ended;
                };
                *after = page.after;
                page.gap.map_or(Next::Events(page.events), Next::Gap)
            }
        }
    }
}

/// Asks another region for what follows a log index, or for where its log is.
async fn ask(
    node: &Node,
    region: &str,
    after: Option<u64>,
    filter: &EventFilter,
    hold: Duration,
) -> Option<EventsPage> {
    let (group, filter) = (region.to_owned(), filter.clone());
    let hold_ms = u64::try_from(hold.as_millis()).unwrap_or(u64::MAX);
    let call = PeerCall::Events(EventsCall { group, after, filter, hold_ms });
    let regions = &node.member()?.regions;
    match regions.call_region(region, &call, hold + WAY).await {
        Ok(PeerAnswer::Events(page)) => Some(page),
        Ok(_) | Err(_) => None,
    }
}
