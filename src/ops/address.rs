//! A node's own addresses: each node tells them to the address book, and those of no other.
//!
//! A node that is started with other addresses than the book has for it is found by the others
//! through their connections to it alone, so it says where it is: to the leader of the global
//! group, which looks for it there and writes it down.

use std::time::Duration;

use ratequeue_api::cluster::ChangeRequest;
use ratequeue_raft::NodeId;

use super::book::AddressBook;
use super::{Refused, admit};
use crate::node::peer_calls::{PeerCall, PeerError};
use crate::node::{Member, Node};

/// How long the leader may take to look for this node and to write down where it is.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// Pause between two looks at the book.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// Why the address book has another address of this node.
#[derive(Debug, thiserror::Error)]
enum TellError {
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("node {0}, which leads group global, is not in the book")]
    LeaderUnknown(NodeId),
    #[error(transparent)]
    Peer(#[from] PeerError),
}

/// Tells the address book where this node is, whenever it says otherwise. For as long as the node
/// runs.
pub async fn tell(node: &Node) {
    let member = node.joined().await;
    let mut said = None;
    loop {
        let refused = tell_once(node, member).await.err().map(|error| error.to_string());
        if let Some(why) = refused.as_ref().filter(|why| said.as_ref() != Some(*why)) {
            let own = &node.options.own;
            tracing::warn!(
                http = own.http,
                peer = own.peer,
                why,
                "the address book has another address of this node"
            );
        }

        said = refused;
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

async fn tell_once(node: &Node, member: &Member) -> Result<(), TellError> {
    let own = &node.options.own;
    let group = &member.global;
    if AddressBook::of(&group.members_applied()).get(own.id).is_none_or(|entry| entry.node == *own)
    {
        return Ok(());
    }

    let request = ChangeRequest::Move { node: own.clone() };
    // Without a leader nobody can be told, and that is not about the address.
    let Some(leader) = group.leader() else { return Ok(()) };
    if leader == own.id {
        return admit(node, member, &request).await.map(drop).map_err(TellError::from);
    }
    let nodes = member.regions.nodes();
    let leader = nodes.get(&leader).ok_or(TellError::LeaderUnknown(leader))?;
    member.regions.call_node(leader, &PeerCall::Change(request), ANSWER_WITHIN).await?;
    Ok(())
}
