//! A node's own addresses: each node tells them to the address book, and those of no other.
//!
//! A node that is started with other addresses than the book has for it is found by the others through their connections to it
//! alone, so it says where it is: to the leader of the global group, which looks for it there and writes it down.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, Method, header};
use ratequeue_api::cluster::ChangeRequest;

use super::admit;
use super::book::Book;
use crate::calls::{self, Call};
use crate::node::{Member, Node};

/// How long the leader may take to look for this node and to write down where it is.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// Pause between two looks at the book.
const LOOK_PAUSE: Duration = Duration::from_secs(1);

/// Tells the address book where this node is, whenever it says otherwise. For as long as the node runs.
pub async fn tell(node: &Node) {
    let member = node.joined().await;
    let mut said = None;
    loop {
        let told = tell_once(node, member).await;
        if let Err(why) = &told
            && said.as_ref() != Some(why)
        {
            let own = &node.options.own;
            tracing::warn!(http = own.http, peer = own.peer, why, "the address book has another address of this node");
        }
        said = told.err();
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

async fn tell_once(node: &Node, member: &Member) -> Result<(), String> {
    let own = &node.options.own;
    let group = &member.global;
    if Book::of(&group.members_applied()).get(own.id).is_none_or(|entry| entry.node == *own) {
        return Ok(());
    }

    let request = ChangeRequest::Move { node: own.clone() };
    // Without a leader nobody can be told, and that is not about the address.
    let Some(leader) = group.leader() else { return Ok(()) };
    if leader == own.id {
        return admit(node, member, &request).await.map(drop).map_err(|refused| refused.to_string());
    }
    let nodes = member.regions.nodes();
    let leader =
        nodes.get(&leader).ok_or_else(|| format!("node {leader}, which leads group global, is not in the book"))?;
    let body = serde_json::to_vec(&request).map_err(|error| error.to_string())?;
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    let call = Call::new(&Method::POST, "/v1/cluster/changes", &headers, &body);
    calls::ask_node(&member.regions, leader, &call, ANSWER_WITHIN).await.map(drop)
}
