//! The regions of the cluster as this node knows them: who is in them, and whether they can be
//! reached.
//!
//! Every node is a member of the global group, as a voter or a learner, and the address of a member
//! says where the node is, how it is called, and in which region: `PEER HTTP REGION`, and what is
//! under way with it (`crate::ops`). So the membership of the global group is the address book,
//! replicated to every node. Addresses of nodes are resolved here, the same for HTTP and the peer
//! link:
//!
//! ```text
//!   this node       what it tells of itself: its flags, the environment, its file, in this order (`cli/addresses.rs`)
//!   another node    what the book says, which is what that node told (`ops/address.rs`); before it is in the book, the file
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;
use ratequeue_api::cluster::{NodeView, UnreachedNode};
use ratequeue_raft::{Address, Group, NodeId, Peers};
use tokio::sync::watch;

use crate::config::ClusterFile;

/// How often the other regions are asked whether they are there.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// How soon all are asked again when one did not answer.
const PING_AGAIN: Duration = Duration::from_millis(250);
/// How long a call waits for a region that did not answer last time: it may just have come back.
const LOST_PATIENCE: Duration = Duration::from_millis(300);
/// A node that takes longer to say that it is there does not count as being there.
const PING_LIMIT: Duration = Duration::from_secs(1);
/// How often a node is looked for at an address before it counts as not being there.
const REACH_ATTEMPTS: u32 = 2;
/// Pause between two such attempts.
const REACH_PAUSE: Duration = Duration::from_millis(200);
/// Interval at which addresses, and which regions there are, are looked up.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The regions of the cluster.
#[derive(Debug)]
pub struct Regions {
    own: NodeView,
    file: ClusterFile,
    global: Group,
    /// `None` in a cluster of one node.
    peers: Option<Peers>,
    contacts: watch::Sender<BTreeMap<String, Contact>>,
}

/// How another region was reached last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contact {
    /// The node to call first.
    pub via: Option<NodeId>,
    /// How long that took to answer.
    pub round_trip: Option<Duration>,
    /// Those that did not answer when they were asked last.
    pub missed: BTreeSet<NodeId>,
    /// Those that did not answer twice in a row: a single answer may be late.
    pub silent: BTreeSet<NodeId>,
    /// All are silent.
    pub lost: bool,
}

impl Contact {
    /// The contact after these nodes were asked: each with how long it took to answer, if it did.
    fn after(&self, answers: &[(NodeId, Option<Duration>)]) -> Self {
        let answered: BTreeMap<NodeId, Duration> =
            answers.iter().filter_map(|(id, took)| took.map(|took| (*id, took))).collect();
        let missed: BTreeSet<NodeId> =
            answers.iter().filter(|(_, took)| took.is_none()).map(|(id, _)| *id).collect();
        let silent: BTreeSet<NodeId> = missed.intersection(&self.missed).copied().collect();

        // The same as before, for its connections are open; else the nearest.
        let nearest = answered.iter().min_by_key(|(_, took)| **took).map(|(id, _)| *id);
        let before = |is: &dyn Fn(&NodeId) -> bool| self.via.filter(|id| is(id));
        let via = before(&|id| answered.contains_key(id))
            .or(nearest)
            .or(before(&|id| !silent.contains(id)));
        Self {
            via,
            round_trip: via.and_then(|id| answered.get(&id).copied()),
            lost: silent.len() == answers.len(),
            missed,
            silent,
        }
    }
}

/// A node as the address book keeps it.
pub fn address(node: &NodeView) -> Address {
    Address(format!("{} {} {}", node.peer, node.http, node.region))
}

/// A node as the address book has it.
pub fn parse(id: NodeId, address: &Address) -> Option<NodeView> {
    let mut words = address.0.split(' ').map(str::to_owned);
    let (peer, http, region) = (words.next()?, words.next()?, words.next()?);
    Some(NodeView { id, region, http, peer })
}

fn views(nodes: &BTreeMap<NodeId, Address>) -> BTreeMap<NodeId, NodeView> {
    nodes.iter().filter_map(|(id, address)| Some((*id, parse(*id, address)?))).collect()
}

impl Regions {
    /// The regions as the node `own` knows them, which tells of itself what is in it.
    pub fn new(own: NodeView, file: ClusterFile, global: Group, peers: Option<Peers>) -> Self {
        Self { own, file, global, peers, contacts: watch::Sender::default() }
    }

    /// Every node of the cluster, as the latest entry of the global group's log has it: whom to
    /// talk to. That entry may be taken back; what is decided for good asks
    /// [`Regions::members`].
    pub fn nodes(&self) -> BTreeMap<NodeId, NodeView> {
        let mut nodes = self.or_of_file(views(&self.global.addresses()));
        if let Some(own) = nodes.get_mut(&self.own.id) {
            own.clone_from(&self.own);
        }
        nodes
    }

    /// The members of the global group that this node has applied; none before it is formed.
    fn members(&self) -> BTreeMap<NodeId, NodeView> {
        views(&self.global.members_applied())
    }

    /// Before the cluster is formed its nodes are those of the file.
    fn or_of_file(&self, nodes: BTreeMap<NodeId, NodeView>) -> BTreeMap<NodeId, NodeView> {
        if nodes.is_empty() {
            self.file.views().map(|node| (node.id, node)).collect()
        } else {
            nodes
        }
    }

    /// Where a node answers HTTP.
    pub fn url_of(&self, node: NodeId) -> Option<String> {
        if node == self.own.id {
            return Some(self.own.http.clone());
        }
        let known = self.global.address_of(node);
        let known = known.and_then(|address| address.0.split(' ').nth(1).map(str::to_owned));
        known.or_else(|| self.file.node(node).map(|(region, node)| node.view(region).http))
    }

    /// The names of all regions.
    pub fn names(&self) -> BTreeSet<String> {
        self.nodes()
            .into_values()
            .map(|node| node.region)
            .chain([self.own.region.clone()])
            .collect()
    }

    /// Whether there is a region of this name: one that was taken out is gone only once that is
    /// applied here.
    pub fn has(&self, region: &str) -> bool {
        self.own.region == region
            || self.or_of_file(self.members()).values().any(|node| node.region == region)
    }

    /// All regions but this node's.
    pub fn others(&self) -> BTreeSet<String> {
        let mut names = self.names();
        names.remove(&self.own.region);
        names
    }

    /// The nodes of a region, the one to call first at the front, and those that were silent at the
    /// end.
    pub fn nodes_of(&self, region: &str) -> Vec<NodeView> {
        let contact = self.contact(region);
        let mut nodes: Vec<NodeView> =
            self.nodes().into_values().filter(|node| node.region == region).collect();
        nodes.sort_by_key(|node| (contact.via != Some(node.id), contact.silent.contains(&node.id)));
        nodes
    }

    /// How a region was reached last. One that was never asked counts as reachable.
    pub fn contact(&self, region: &str) -> Contact {
        self.contacts.borrow().get(region).cloned().unwrap_or_default()
    }

    /// Resolves when a node of another region is silent.
    pub async fn silent(&self, region: &str, node: NodeId) {
        let is_silent = |contact: &Contact| contact.silent.contains(&node);
        let mut contacts = self.contacts.subscribe();
        // The sender lives as long as this, so it ends with a value.
        let _ = contacts.wait_for(|contacts| contacts.get(region).is_some_and(is_silent)).await;
    }

    /// Whether a region can be reached, or can be again in a moment.
    pub async fn is_reachable(&self, region: &str) -> bool {
        if !self.contact(region).lost {
            return true;
        }
        let is_back = |contacts: &BTreeMap<String, Contact>| {
            contacts.get(region).is_none_or(|contact| !contact.lost)
        };
        let mut contacts = self.contacts.subscribe();
        tokio::time::timeout(LOST_PATIENCE, contacts.wait_for(is_back)).await.is_ok()
    }

    /// The link to the other nodes.
    pub fn peers(&self) -> Option<&Peers> {
        self.peers.as_ref()
    }

    /// Those of these nodes that do not answer this one at their peer addresses. Where it calls
    /// them otherwise does not matter.
    pub async fn unreached(&self, own: NodeId, nodes: &[NodeView]) -> Vec<UnreachedNode> {
        let looks = nodes.iter().filter(|node| node.id != own).map(|node| self.look_for(node));
        join_all(looks).await.into_iter().flatten().collect()
    }

    async fn look_for(&self, node: &NodeView) -> Option<UnreachedNode> {
        let unreached =
            |reason: String| Some(UnreachedNode { id: node.id, peer: node.peer.clone(), reason });
        let Some(peers) = &self.peers else {
            return unreached(
                "the node that looks for it was started with a file of one node".to_owned(),
            );
        };

        let mut attempt = 1;
        loop {
            match peers.probe(node.id, &node.peer).await {
                Ok(()) => return None,
                Err(error) if attempt >= REACH_ATTEMPTS => return unreached(error.to_string()),
                Err(_) => attempt += 1,
            }
            tokio::time::sleep(REACH_PAUSE).await;
        }
    }

    /// Asks the other regions again and again whether they are there.
    pub async fn watch(&self) {
        let Some(peers) = &self.peers else { return std::future::pending().await };
        loop {
            peers.set_addresses(
                self.nodes()
                    .into_iter()
                    .map(|(id, node)| (id, address(&self.findable(node))))
                    .collect(),
            );
            let others = self.others();
            let asked = others
                .iter()
                .map(|region| async { (region.clone(), self.ask(peers, region).await) });
            let found: BTreeMap<String, Contact> = join_all(asked).await.into_iter().collect();
            for (region, contact) in &found {
                if contact.lost != self.contact(region).lost {
                    tracing::warn!(region, reachable = !contact.lost, "another region");
                }
            }
            let missed = found.values().any(|contact| contact.lost || !contact.missed.is_empty());
            self.contacts.send_replace(found);
            let pause = match (others.is_empty(), missed) {
                (true, _) => LOOK_INTERVAL,
                (false, true) => PING_AGAIN,
                (false, false) => PING_INTERVAL,
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// The node with the address of this node's file beside the one of the book, if they differ:
    /// nodes that were all moved at once find each other by their files, and can write the new
    /// addresses into the book only then.
    fn findable(&self, mut node: NodeView) -> NodeView {
        if let Some((_, of_file)) = self.file.node(node.id)
            && of_file.peer.to_string() != node.peer
        {
            node.peer = format!("{},{}", node.peer, of_file.peer);
        }
        node
    }

    async fn ask(&self, peers: &Peers, region: &str) -> Contact {
        let asked = self.nodes_of(region).into_iter().map(|node| async move {
            (node.id, peers.ping(node.id, &address(&node), PING_LIMIT).await.ok())
        });
        let answers = join_all(asked).await;
        self.contact(region).after(&answers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_three_words() {
        let node = NodeView {
            id: 7,
            region: "eu".to_owned(),
            http: "http://h:1".to_owned(),
            peer: "p:2".to_owned(),
        };
        assert_eq!(address(&node).0, "p:2 http://h:1 eu");
        assert_eq!(parse(7, &address(&node)), Some(node));
        assert_eq!(parse(7, &Address::from("p:2 http://h:1")), None);
    }

    #[test]
    fn one_answer_that_is_late_makes_no_node_silent() {
        let near = Some(Duration::from_millis(1));
        let well = Contact::default().after(&[(1, near), (2, near)]);
        assert_eq!((well.via, well.lost, well.missed.len()), (Some(1), false, 0));

        let late = well.after(&[(1, None), (2, None)]);
        assert_eq!(
            (late.via, late.lost, late.silent.len()),
            (Some(1), false, 0),
            "calls in flight go on"
        );
        let back = late.after(&[(1, near), (2, None)]);
        assert_eq!((back.via, back.lost, back.silent), (Some(1), false, BTreeSet::from([2])));
        let gone = late.after(&[(1, None), (2, None)]);
        assert_eq!((gone.via, gone.lost, gone.silent), (None, true, BTreeSet::from([1, 2])));
    }
}
