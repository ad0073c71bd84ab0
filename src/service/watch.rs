//! Watching: how a resource stands, whether the node is ready, the metrics.

use std::sync::Arc;

use bytes::Bytes;
use ratequeue_limiter::{ResourceName, ResourceUsage};
use ratequeue_raft::Group;

use super::error::{Cause, ServiceError};
use super::router::{CallKind, Router};
use super::{Answered, Incoming, Service};
use crate::node::counters::{Recent, Sources};

/// How a resource stands, and what it did in the last 10 s, as this node sees it.
#[derive(Debug)]
pub struct ResourceStanding {
    pub usage: ResourceUsage,
    pub recent: Recent,
}

impl Service {
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
            let usage = group.read(|state, now| state.usage(name, now));
            let usage = usage.ok_or_else(|| ServiceError::resource_not_found(name))?;
            let recent = self.node.stats.recent(group.name(), name);
            Ok((ResourceStanding { usage, recent }, None))
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
