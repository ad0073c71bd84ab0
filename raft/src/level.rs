//! Raising the feature level: once every member of the group has said, in the handshake of the peer link, that it can follow
//! the next one.

use std::collections::BTreeSet;
use std::sync::Arc;

use openraft::async_runtime::WatchReceiver;
use ratequeue_limiter::{Command, LEVEL_MAX};

use crate::caps;
use crate::group::Raft;
use crate::node::NodeId;
use crate::replica::Replica;
use crate::tick::{OwnCommands, wait_to_lead};
use crate::transport::Transport;

/// The level that all members can follow, and one of those that can follow no more. A member that was never met can follow
/// none. `None` while this node has not applied the last membership in its log, be it the first one: who the members are is
/// not known.
pub(crate) fn followed_by_all(
    raft: &Raft,
    replica: &Replica,
    transport: &dyn Transport,
) -> Option<(u32, Option<NodeId>)> {
    let last = *raft.metrics().borrow_watched().membership_config.log_id();
    let members: BTreeSet<NodeId> = {
        let machine = replica.machine.read();
        if last.is_none() || *machine.membership.log_id() != last {
            return None;
        }
        machine.membership.membership().nodes().map(|(id, _)| *id).collect()
    };
    let others = members.into_iter().filter(|node| *node != replica.node);
    let levels = others.map(|node| (transport.feature_level(node).unwrap_or_default(), node));
    Some(match levels.min() {
        Some((level, node)) if level < LEVEL_MAX => (level, Some(node)),
        Some(_) | None => (LEVEL_MAX, None),
    })
}

/// Raises the level as far as all members can follow, while this node leads. Ends once there is no higher one.
pub(crate) async fn raise(raft: Raft, replica: Arc<Replica>, transport: Arc<dyn Transport>, commands: OwnCommands) {
    let mut roles = replica.roles.subscribe();
    while replica.level() < LEVEL_MAX && wait_to_lead(&mut roles).await {
        let Some((level, _)) = followed_by_all(&raft, &replica, &*transport) else {
            tokio::time::sleep(caps::RETRY_PAUSE).await;
            continue;
        };
        if level <= replica.level() {
            tokio::time::sleep(caps::LEVEL_INTERVAL).await;
            continue;
        }
        match commands.submit(Command::RaiseLevel(level)).await {
            None => return,
            Some(true) => tracing::info!(group = replica.group, level, "feature level"),
            Some(false) => tokio::time::sleep(caps::RETRY_PAUSE).await,
        }
    }
}
