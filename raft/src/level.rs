//! Raising the feature level: once every member of the group has said, in the handshake of the peer link, that it can follow
//! the next one.

use std::collections::BTreeSet;
use std::sync::Arc;

use ratequeue_limiter::{Command, LEVEL_MAX};

use crate::caps;
use crate::node::NodeId;
use crate::replica::Replica;
use crate::tick::{OwnCommands, wait_to_lead};
use crate::transport::Transport;

/// The level that all members can follow, and one of those that can follow no more. A member that was never met can follow
/// none.
pub(crate) fn followed_by_all(replica: &Replica, transport: &dyn Transport) -> (u32, Option<NodeId>) {
    let members: BTreeSet<NodeId> = {
        let machine = replica.machine.read();
        machine.membership.membership().nodes().map(|(id, _)| *id).collect()
    };
    let others = members.into_iter().filter(|node| *node != replica.node);
    let levels = others.map(|node| (transport.feature_level(node).unwrap_or_default(), node));
    match levels.min() {
        Some((level, node)) if level < LEVEL_MAX => (level, Some(node)),
        Some(_) | None => (LEVEL_MAX, None),
    }
}

/// Raises the level as far as all members can follow, while this node leads. Ends once there is no higher one.
pub(crate) async fn raise(replica: Arc<Replica>, transport: Arc<dyn Transport>, commands: OwnCommands) {
    let mut roles = replica.roles.subscribe();
    while replica.level() < LEVEL_MAX && wait_to_lead(&mut roles).await {
        let (level, _) = followed_by_all(&replica, &*transport);
        if level > replica.level() {
            match commands.submit(Command::RaiseLevel(level)).await {
                None => return,
                Some(true) => tracing::info!(group = replica.group, level, "feature level"),
                Some(false) => {}
            }
            tokio::time::sleep(caps::RETRY_PAUSE).await;
        } else {
            tokio::time::sleep(caps::LEVEL_INTERVAL).await;
        }
    }
}
