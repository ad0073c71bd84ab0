//! Founding a cluster: its nodes form its groups by themselves, once all of them agree on what it
//! is.
//!
//! ```text
//!  adopt                every node is given the cluster's id and the content of the cluster file, and keeps both
//!  agree                each asks all others, over the peer link, whether they keep the same
//!  form a region        the lowest id of it, once all agree
//!  form the global one  the lowest id of its voters, once every region has a leader
//!  complete             the leader of the global group adds all nodes, and with that the cluster is formed
//! ```
//! Every step is repeated until it is done, so that any node may stop in between. A node that keeps
//! no founding, as one that was adopted to join a cluster, never forms anything here.

use std::collections::BTreeMap;
use std::sync::Arc;

use ratequeue_api::cluster::{ClusterView, Founding, NodeView};
use ratequeue_raft::{Address, NodeId};

use super::book::{AddressBook, Change, Entry};
use super::survey::ask_all;
use super::{Refused, global_voters};
use crate::config::{ClusterFile, GLOBAL};
use crate::node::peer_calls::PeerError;
use crate::node::regions::address;
use crate::node::{Member, Node};

/// What the nodes of a cluster file have to agree on.
pub fn of_file(file: &ClusterFile) -> Founding {
    let mut nodes: Vec<NodeView> = file.views().collect();
    nodes.sort_by_key(|node| node.id);
    let round_trip_ms = u64::try_from(file.round_trip().as_millis()).unwrap_or(u64::MAX);
    Founding { nodes, voters_per_region: file.global.voters_per_region, round_trip_ms }
}

/// Makes a node part of a cluster, to found it or to join it; says of which it is part.
///
/// # Errors
/// [`Refused::NotFounded`] says what does not fit.
pub async fn adopt(
    node: &Arc<Node>,
    cluster_id: &str,
    founding: Option<&Founding>,
) -> Result<String, Refused> {
    let _one_at_a_time = node.changes.admitting.lock().await;
    let groups = node.member().map(Member::groups).into_iter().flatten();
    let is_formed = groups.into_iter().any(|group| !group.status().voters.is_empty());
    if !is_formed {
        let (known, own) = (node.founding(), of_file(&node.options.cluster));
        check(node.member().is_some(), known.as_ref(), &own, founding)?;
        let is_new = node.member().is_none();
        if founding.is_some() || is_new {
            node.set_founding(founding).map_err(|error| Refused::NotFounded(error.to_string()))?;
        }
    } else {
        check_begun(node.founds().as_ref(), founding)?;
    }
    node.join(cluster_id)
        .await
        .map_err(|error| Refused::NotFounded(format!("this node cannot join: {error}")))
}

/// A node of which nothing is formed founds only what it was started for, and never a cluster that
/// it was adopted to join.
pub(super) fn check(
    is_adopted: bool,
    known: Option<&Founding>,
    own: &Founding,
    founding: Option<&Founding>,
) -> Result<(), Refused> {
    let refused = |text: String| Err(Refused::NotFounded(text));
    match founding {
        Some(_) if is_adopted && known.is_none() => refused(
            "this node was adopted to join a cluster, and cannot found one: give it an empty data folder".to_owned(),
        ),
        None if is_adopted && known.is_some() => refused(
            "this node is to found its cluster: repeat `ratequeue cluster init`, or give it an empty data folder"
                .to_owned(),
        ),
        Some(founding) => match difference(own, founding) {
            Some(text) => refused(format!("this node was started with another cluster file: {text}")),
            None => Ok(()),
        },
        None => Ok(()),
    }
}

/// A node that has formed the group of its region already founds the same cluster to the end.
pub(super) fn check_begun(
    begun: Option<&Founding>,
    founding: Option<&Founding>,
) -> Result<(), Refused> {
    let (Some(begun), Some(founding)) = (begun, founding) else { return Ok(()) };
    match difference(begun, founding) {
        Some(text) => Err(Refused::NotFounded(format!(
            "this node has begun to found its cluster with another file: {text}. Start all nodes with that file and repeat              `ratequeue cluster init`, or give every node an empty data folder"
        ))),
        None => Ok(()),
    }
}

/// The first thing in which two foundings differ, in words.
fn difference(ours: &Founding, theirs: &Founding) -> Option<String> {
    let by_id = |founding: &Founding| -> BTreeMap<NodeId, NodeView> {
        founding.nodes.iter().map(|node| (node.id, node.clone())).collect()
    };

    let (here, there) = (by_id(ours), by_id(theirs));
    let text = |node: Option<&NodeView>| {
        let of = |node: &NodeView| {
            format!("in region {} at {}, peer {}", node.region, node.http, node.peer)
        };
        node.map_or_else(|| "absent".to_owned(), of)
    };

    let ids = here.keys().chain(there.keys());
    let differs = ids.copied().find(|id| here.get(id) != there.get(id));
    if let Some(id) = differs {
        return Some(format!(
            "there node {id} is {}, here it is {}",
            text(there.get(&id)),
            text(here.get(&id))
        ));
    }

    if ours.voters_per_region != theirs.voters_per_region {
        return Some("global.voters_per_region differs".to_owned());
    }

    let differs = ours.round_trip_ms != theirs.round_trip_ms;
    differs.then(|| "global.round_trip_ms differs".to_owned())
}

/// Takes the next step towards the cluster that this node founds; says what it waits for.
pub async fn step(node: &Node, member: &Member) -> Result<Option<String>, Refused> {
    let Some(founding) = node.founds() else { return Ok(None) };
    let own = node.options.id;
    let views = match agreement(&founding, ask_all(node, &founding.nodes).await) {
        Ok(views) => views,
        Err(waits) => return Ok(Some(waits.to_string())),
    };
    let (name, group) = (member.region.name(), &member.region);
    if group.status().voters.is_empty()
        && let Some(here) = region_to_form(&founding, own, name, &views)
    {
        group.form(here.into_iter().map(|node| (node.id, address(node))).collect()).await?;
    }

    if member.global.status().voters.is_empty() && forms_global(&founding, own, &views) {
        let waiting: Vec<u64> =
            views.iter().filter(|view| !has_leader(view)).map(|view| view.node).collect();
        if !waiting.is_empty() {
            return Ok(Some(format!("nodes {waiting:?} have no leader in their regions yet")));
        }
        let voters = global_voters(&founding.nodes, founding.voters_per_region);
        let voters = founding.nodes.iter().filter(|node| voters.contains(&node.id));
        let entry = |node: &NodeView| Entry { node: node.clone(), change: Some(Change::Founding) };
        member.global.form(voters.map(|node| (node.id, entry(node).address())).collect()).await?;
    }
    Ok(Some("the groups are being formed".to_owned()))
}

/// The voters of the group of a region, on the node that has to form it: the lowest id of it.
pub(super) fn region_to_form<'a>(
    founding: &'a Founding,
    own: NodeId,
    region: &str,
    views: &[ClusterView],
) -> Option<Vec<&'a NodeView>> {
    let here: Vec<_> = founding.nodes.iter().filter(|node| node.region == region).collect();
    let is_first = here.first().is_some_and(|first| first.id == own);
    (is_first && !is_formed(views, region)).then_some(here)
}

/// Whether this node has to form the global group: the lowest id of its voters.
pub(super) fn forms_global(founding: &Founding, own: NodeId, views: &[ClusterView]) -> bool {
    let voters = global_voters(&founding.nodes, founding.voters_per_region);
    voters.first() == Some(&own) && !is_formed(views, GLOBAL)
}

fn is_formed(views: &[ClusterView], group: &str) -> bool {
    views.iter().any(|view| has_voters(view, group))
}

/// What the nodes of a cluster do not agree on yet.
#[derive(Debug, thiserror::Error)]
pub(super) enum Disagreement {
    #[error("node {node} does not answer: {why}")]
    Silent {
        node: NodeId,
        #[source]
        why: PeerError,
    },
    #[error("node {node} founds another cluster: {difference}")]
    OtherCluster { node: NodeId, difference: String },
    #[error("node {0} was adopted to join, not to found")]
    Joins(NodeId),
    #[error(
        "node {0} is in a formed cluster, with other voters: give this node an empty data folder, then run `ratequeue cluster \
         add-node`"
    )]
    Formed(NodeId),
}

/// The views of all nodes, once they all keep the same founding.
pub(super) fn agreement(
    founding: &Founding,
    asked: Vec<(NodeView, Result<ClusterView, PeerError>)>,
) -> Result<Vec<ClusterView>, Disagreement> {
    let mut views = Vec::new();
    for (node, view) in asked {
        let view = view.map_err(|why| Disagreement::Silent { node: node.id, why })?;
        match &view.founding {
            Some(theirs) => {
                if let Some(difference) = difference(founding, theirs) {
                    return Err(Disagreement::OtherCluster { node: node.id, difference });
                }
            }
            // It has heard of the formed cluster before this node has.
            None if has_voters(&view, GLOBAL) => {
                let theirs = view.groups.get(GLOBAL).map(|group| &group.voters);
                let ours = global_voters(&founding.nodes, founding.voters_per_region);
                if theirs.is_none_or(|theirs| !ours.iter().eq(theirs)) {
                    return Err(Disagreement::Formed(node.id));
                }
            }
            None => return Err(Disagreement::Joins(node.id)),
        }
        views.push(view);
    }

    Ok(views)
}

fn has_voters(view: &ClusterView, group: &str) -> bool {
    view.groups.get(group).is_some_and(|group| !group.voters.is_empty())
}

/// Whether the group of a node's region has a leader that it knows.
pub(super) fn has_leader(view: &ClusterView) -> bool {
    let mut own = view.groups.iter().filter(|(name, _)| *name != GLOBAL);
    own.any(|(_, group)| group.leader.is_some() && group.settled)
}

/// Adds the nodes that have no vote in the global group, and with that ends the founding. On the
/// leader of that group.
pub async fn complete(
    node: &Node,
    member: &Member,
    book: &AddressBook,
) -> Result<Option<String>, Refused> {
    let nodes = node.founding().map(|founding| founding.nodes).unwrap_or_default();
    let missing = nodes.iter().filter(|node| book.get(node.id).is_none());
    let missing: BTreeMap<NodeId, Address> = missing.map(|node| (node.id, address(node))).collect();
    if !missing.is_empty() {
        member.global.add_learners(missing).await?;
    }

    let founders = book.changes().filter_map(|(id, _)| book.get(id));
    let settled =
        founders.map(|entry| (entry.node.id, Entry::settled(entry.node.clone()).address()));
    member.global.add_learners(settled.collect()).await?;
    Ok(None)
}
