//! Watching: how a resource stands, whether the node is ready, the metrics.

use std::sync::Arc;

use bytes::Bytes;
use ratequeue_api::series::{ResourceSeries, StatsSeries};
use ratequeue_limiter::{QueueHead, ResourceName, ResourceUsage};
use ratequeue_raft::Group;

use super::error::{Cause, ServiceError};
use super::router::{CallKind, Router};
use super::{Answered, Decided, Incoming, Service};
use crate::node::Node;
use crate::node::counters::series::COARSE_STEP_S;
use crate::node::counters::{RangeQuery, Recent, Sources};

/// How a resource stands, and what it did in the last 10 s, as this node sees it.
#[derive(Debug)]
pub struct ResourceStanding {
    pub usage: ResourceUsage,
    /// The first in the queue.
    pub head: Option<QueueHead>,
    pub recent: Recent,
}

/// Which series are asked for, and from when on.
#[derive(Debug, Clone)]
pub struct SeriesQuery {
    pub range: RangeQuery,
    /// Of this region, or the global group; of both groups of this node when absent.
    pub region: Option<String>,
    /// Only buckets that end later, in milliseconds since 1970.
    pub after_ms: Option<u64>,
}

impl Service {
    /// How resources stood and what they did, over time.
    ///
    /// # Errors
    /// When there is no such region, it cannot be reached, or too many lists wait.
    pub async fn series(
        &self,
        query: SeriesQuery,
        call: &Incoming,
    ) -> Result<Answered<StatsSeries>, ServiceError> {
        let member = self.node.joined_member()?;
        let both = member.groups().map(Group::clone).to_vec();
        let read = async |groups: Vec<Group>| {
            let (node, query) = (Arc::clone(&self.node), query.clone());
            let read = move || series_of(&node, &groups, query);
            Ok::<_, ServiceError>(self.node.lists.run(read).await?)
        };

        let Some(region) = &query.region else {
            let (value, group) = (read(both).await?, member.region.clone());
            return Ok(Answered::Here(Decided { value, group, index: None }));
        };
        member.check_region(region)?;
        let router = Router::new(&self.node, call, CallKind::Read)?;
        router.by_lease(region, async |group: Group| Ok((read(vec![group]).await?, None))).await
    }

    /// How a resource stands.
    ///
    /// # Errors
    /// When there is none.
    pub async fn standing(
        &self,
        name: &ResourceName,
        call: &Incoming,
    ) -> Result<Answered<ResourceStanding>, ServiceError> {
        let router = Router::new(&self.node, call, CallKind::Read)?;
        let read = async |group: Group| {
            let (usage, head) =
                group.read(|state, now| (state.usage(name, now), state.queue_head(name, now)));
            let usage = usage.ok_or_else(|| ServiceError::resource_not_found(name))?;
            let recent = self.node.stats.recent(group.name(), name);
            Ok((ResourceStanding { usage, head, recent }, None))
        };
        router.by_resource(name, read).await
    }

    /// Whether the node is in touch with a quorum of its group, and caught up.
    ///
    /// # Errors
    /// Why it is not.
    pub async fn ready(&self) -> Result<(), ServiceError> {
        if self.node.is_leaving() {
            return Err(Cause::ShuttingDown.into());
        }
        Ok(self.node.joined_member()?.region.read_barrier().await?)
    }

    /// The metrics as Prometheus text, at most a second old.
    ///
    /// # Errors
    /// When too many wait for it.
    pub async fn metrics(&self) -> Result<Bytes, ServiceError> {
        let node = Arc::clone(&self.node);
        let text = self.node.scrapes.run(move || {
            let sources = node.member().map(|member| Sources {
                groups: member.groups(),
                regions: &member.regions,
                moved_aside: member.moved_aside,
            });
            node.stats.text(sources.as_ref())
        });
        Ok(text.await?)
    }
}

/// The series of these groups, and those of all of their resources together.
fn series_of(node: &Node, groups: &[Group], query: SeriesQuery) -> StatsSeries {
    let SeriesQuery { mut range, region: _, after_ms } = query;
    let end = node.stats.range_end(range.coarse);
    let end_ms = node.stats.second_ms(end);
    let step_ms = if range.coarse { COARSE_STEP_S * 1_000 } else { 1_000 };
    if let Some(after_ms) = after_ms {
        let new = end_ms.saturating_sub(after_ms).div_ceil(step_ms);
        range.buckets = range.buckets.min(usize::try_from(new).unwrap_or(usize::MAX));
    }

    let since_ms = node.stats.second_ms(0);
    let mut all = StatsSeries { step_ms, end_ms, since_ms, ..StatsSeries::default() };
    for group in groups {
        all.index.insert(group.name().to_owned(), group.applied_index().unwrap_or_default());
        let (resources, total) = node.stats.range(group.name(), &range);
        all.resources.extend(resources);
        add(&mut all.total, total);
    }
    all
}

/// Adds what another group did. Of two waits the longer one counts.
fn add(sum: &mut ResourceSeries, other: ResourceSeries) {
    type Row = Vec<Option<u32>>;
    let merge = |sum: &mut Row, other: Row, with: fn(u32, u32) -> u32| {
        if sum.is_empty() {
            *sum = other;
            return;
        }

        for (mine, its) in sum.iter_mut().zip(other) {
            *mine = match (*mine, its) {
                (Some(mine), Some(its)) => Some(with(mine, its)),
                (mine, its) => mine.or(its),
            };
        }
    };

    merge(&mut sum.queue_depth, other.queue_depth, u32::saturating_add);
    merge(&mut sum.held, other.held, u32::saturating_add);
    merge(&mut sum.granted, other.granted, u32::saturating_add);
    merge(&mut sum.released, other.released, u32::saturating_add);
    merge(&mut sum.rejected, other.rejected, u32::saturating_add);
    merge(&mut sum.expired, other.expired, u32::saturating_add);
    merge(&mut sum.wait_p50_ms, other.wait_p50_ms, u32::max);
    merge(&mut sum.wait_p99_ms, other.wait_p99_ms, u32::max);
}
