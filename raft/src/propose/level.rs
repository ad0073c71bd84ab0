//! What feature level all members of the group can follow.

use std::collections::BTreeSet;

use openraft::async_runtime::WatchReceiver;
use ratequeue_limiter::LEVEL_MAX;

use crate::consensus::state_machine::Raft;
use crate::node::NodeId;
use crate::replica::Replica;
use crate::transport::Transport;

/// The level that all members can follow, and one of those that can follow no more. A member that
/// was never met can follow none. `None` while this node has not applied the last membership in its
/// log, be it the first one: who the members are is not known.
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
