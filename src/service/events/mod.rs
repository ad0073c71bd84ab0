//! Events as they happen, in the groups of this node and in those of other regions.
//!
//! ```text
//!   journal of a group here ── EventReader ──────────────┐
//!                                                        ├─ feed ──┐
//!   journal in another region ── PeerCall::Events, held ─┘         ├─> one stream, for one caller
//!                                                          feed ───┘
//! ```
//! ```text
//!   feed.rs    the events of one group        shown.rs   an event as callers see it
//! ```
//! A stream keeps its place in each journal and what it tells next, and no more: who is slow falls
//! out of the journal, and is told so.

mod feed;
mod shown;

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;

use futures::stream::{self, BoxStream, SelectAll};
use futures::{Stream, StreamExt};
use ratequeue_api::event::{Event, EventKind, EventsGap, EventsLagged, EventsReady};
use ratequeue_limiter::ResourceName;
use ratequeue_raft::EventsError;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Duration, Instant, timeout_at};

use super::Service;
use super::error::{Cause, ServiceError};
use crate::node::event_calls::{EventFilter, EventsCall, EventsPage};
use crate::node::{Member, Node};
use feed::{EVENTS_AT_ONCE, Feed, Next};

/// Which events a caller wants.
#[derive(Debug, Clone, Default)]
pub struct EventQuery {
    /// Of these resources; all when empty.
    pub resources: BTreeSet<ResourceName>,
    /// Of these kinds; all when empty.
    pub kinds: BTreeSet<EventKind>,
    /// Of this region, or the global group; of both groups of this node when absent.
    pub region: Option<String>,
    /// From these places on; from now on in groups without one.
    pub resume: Vec<Place>,
}

/// A place in the log of a group: the event with this ordinal, or the beginning of the entry (0).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub group: String,
    pub index: u64,
    pub ordinal: u32,
}

/// What a stream tells next.
#[derive(Debug)]
pub enum Told {
    Ready(EventsReady),
    Events(Vec<Event>),
    Gap(EventsGap),
    /// The last that it tells.
    Lagged(EventsLagged),
}

/// A stream of events. It ends when the node stops, its reader has lagged, or a region is lost.
pub type EventStream = Pin<Box<dyn Stream<Item = Told> + Send>>;

impl Service {
    /// The events that a caller wants, as they happen.
    ///
    /// # Errors
    /// When a resource or the region is not there, it cannot be reached, or too many read already.
    pub async fn events(&self, query: EventQuery) -> Result<EventStream, ServiceError> {
        let member = self.node.joined_member()?;
        let seat = Arc::clone(&self.node.event_streams).try_acquire_owned();
        let seat = seat.map_err(|_none| Cause::TooManyStreams)?;

        let filter = Arc::new(EventFilter { resources: query.resources, kinds: query.kinds });
        let mut feeds = Vec::new();
        for placement in placements(member, &filter.resources, query.region).await? {
            let place = query.resume.iter().find(|place| place.group == placement);
            feeds.push(Feed::open(&self.node, member, placement, place, &filter).await?);
        }
        Ok(stream_of(Arc::clone(&self.node), seat, feeds))
    }

    /// A page of the events of a group of this node, for a node of another region.
    ///
    /// # Errors
    /// When this node is not in the group, or cannot reach its leader.
    pub async fn events_page(&self, call: EventsCall) -> Result<EventsPage, ServiceError> {
        let member = self.node.joined_member()?;
        let group = member.group_of(&call.group).ok_or(Cause::WrongRegion)?;
        let (mut reader, gap) = feed::open(group, call.after).await?;
        let mut page = EventsPage { events: Vec::new(), after: reader.position(), gap };
        if call.after.is_none() || gap.is_some() {
            return Ok(page);
        }

        let until = Instant::now() + Duration::from_millis(call.hold_ms);
        while page.events.is_empty() {
            match timeout_at(until, reader.next(EVENTS_AT_ONCE)).await {
                Ok(Ok(batches)) => page.events = shown::all(group, &batches, &call.filter),
                Ok(Err(EventsError::Gap(gap))) => {
                    page.gap = Some(gap.first_index);
                    break;
                }
                Ok(Err(EventsError::Ended)) => return Err(Cause::ShuttingDown.into()),
                Err(_elapsed) => break,
            }
        }
        page.after = reader.position();
        Ok(page)
    }
}

/// The placements whose events are asked for.
async fn placements(
    member: &Member,
    resources: &BTreeSet<ResourceName>,
    region: Option<String>,
) -> Result<BTreeSet<String>, ServiceError> {
    if let Some(wanted) = region {
        member.check_region(&wanted)?;
        return Ok([wanted].into());
    }

    let mut placements = BTreeSet::new();
    for name in resources {
        let home = match member.locate(name) {
            Some(home) => Some(home),
            None => member.locate_linearizable(name).await?,
        };
        let home = home.ok_or_else(|| ServiceError::resource_not_found(name))?;
        placements.insert(home.placement);
    }
    if resources.is_empty() {
        placements.extend(member.groups().map(|group| group.name().to_owned()));
    }
    Ok(placements)
}

/// One stream of several feeds.
fn stream_of(node: Arc<Node>, seat: OwnedSemaphorePermit, feeds: Vec<Feed>) -> EventStream {
    let at: BTreeMap<_, _> =
        feeds.iter().map(|feed| (feed.group.clone(), feed.position())).collect();
    let told: SelectAll<BoxStream<'static, Option<Told>>> =
        stream::select_all(feeds.into_iter().map(|feed| told_by(feed).boxed()));

    let ready = stream::once(async { Some(Told::Ready(EventsReady { at })) });
    // The first feed that ends, ends them all: its reader is to come back.
    let told = ready.chain(told).take_while(|told| std::future::ready(told.is_some()));
    let told = told.filter_map(std::future::ready);
    let stopping = async move { node.stopping().await };
    told.take_until(Box::pin(stopping))
        .map(move |told| {
            // It is given back when the stream ends.
            let _seat = &seat;
            told
        })
        .boxed()
}

/// What a feed tells; `None` when it ends.
fn told_by(feed: Feed) -> impl Stream<Item = Option<Told>> + Send {
    stream::unfold(Some((feed, false)), async |state| {
        let (mut feed, is_over) = state?;
        if is_over {
            return Some((None, None));
        }
        let group = feed.group.clone();
        Some(match feed.next().await {
            Next::Events(events) => (Some(Told::Events(events)), Some((feed, false))),
            Next::Gap(first_index) => {
                (Some(Told::Gap(EventsGap { group, first_index })), Some((feed, false)))
            }
            Next::Lagged => (Some(Told::Lagged(EventsLagged { group })), Some((feed, true))),
            Next::Ended => (None, None),
        })
    })
}
