//! Raising the feature level: once every member of the group has said, in the handshake of the peer
//! link, that it can follow the next one.

use std::sync::Arc;

use ratequeue_limiter::{Command, LEVEL_MAX};

use crate::caps;
use crate::consensus::state_machine::Raft;
use crate::group::tick::{OwnCommands, wait_to_lead};
use crate::propose::level;
use crate::replica::Replica;
use crate::transport::Transport;

/// Raises the level as far as all members can follow, while this node leads. Ends once there is no
/// higher one.
pub(crate) async fn raise(
    raft: Raft,
    replica: Arc<Replica>,
    transport: Arc<dyn Transport>,
    commands: OwnCommands,
) {
    let mut roles = replica.roles.subscribe();
    while replica.level() < LEVEL_MAX && wait_to_lead(&mut roles).await {
        let Some((level, _)) = level::followed_by_all(&raft, &replica, &*transport) else {
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
