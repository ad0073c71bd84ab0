//! The cluster view, and the calls that form a cluster and change its members.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The cluster as the asked node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClusterView {
    /// The cluster's name.
    pub name: String,
    /// Its id, made when it was formed; `null` while the asked node is not part of it.
    pub cluster_id: Option<String>,
    /// The asked node.
    pub node: u64,
    /// Its regions by name.
    pub regions: BTreeMap<String, RegionView>,
    /// The groups that the asked node is in, by name: that of its region, and `global`.
    pub groups: BTreeMap<String, GroupView>,
    /// The changes of members that are under way, as the asked node knows.
    #[serde(default)]
    pub changes: Vec<ChangeView>,
    /// The nodes that the asked node founds the cluster with; `null` once the cluster is formed,
    /// and on nodes that join one.
    #[serde(default)]
    pub founding: Option<Founding>,
    /// The longest round trip between two regions that the asked node was started with, in
    /// milliseconds.
    #[serde(default)]
    pub round_trip_ms: u64,
}

/// A change of members that is under way. The leaders of the groups carry it out by themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangeView {
    /// What is done.
    pub kind: ChangeKind,
    /// The node that it is about.
    pub node: u64,
    /// The node whose place it takes.
    pub replaces: Option<u64>,
    /// What the change waits for, when the asked node carries it out.
    pub progress: Option<String>,
}

/// What a change of members does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// The cluster is being formed.
    Found,
    /// A node joins.
    Add,
    /// A node takes the place of another.
    Replace,
    /// A node leaves.
    Remove,
}

/// A region.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RegionView {
    /// Whether the asked node can reach it: another region when one of its nodes answers, its own
    /// when the region's group has a leader.
    pub reachable: bool,
    /// How long a node there takes to answer over the peer link, in milliseconds; `null` for the
    /// asked node's own region, and when none does.
    pub round_trip_ms: Option<u64>,
    /// Its nodes, in the order of their ids.
    pub nodes: Vec<NodeView>,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeView {
    /// Its id.
    pub id: u64,
    /// Its region.
    pub region: String,
    /// Where others reach it over HTTP: `http://`, a DNS name, an IPv4 or an `[IPv6]` address, and a port.
    pub http: String,
    /// Where other nodes reach it: the same without `http://`. A node that is alone does not listen there.
    pub peer: String,
}

/// What a node is in its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It leads.
    Leader,
    /// It votes, and follows.
    Follower,
    /// It asks for votes.
    Candidate,
    /// It has the log and no vote.
    Learner,
    /// The group has stopped on it.
    Stopped,
}

/// A group, as the asked node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GroupView {
    /// What the asked node is in it.
    pub role: Role,
    /// The node that leads it, when one is known.
    pub leader: Option<u64>,
    /// The term of its leader.
    pub term: u64,
    /// Who votes.
    pub voters: Vec<u64>,
    /// Whether that is committed, and no change of the voters is half way.
    #[serde(default)]
    pub settled: bool,
    /// Who follows without a vote.
    pub learners: Vec<u64>,
    /// Index of the last entry in the asked node's log.
    pub last_log_index: u64,
    /// Index of the last entry that the asked node applied.
    pub applied_index: u64,
    /// How many committed entries the asked node has still to apply.
    pub lag: u64,
    /// What the asked node can do. So far all versions can do the same: 1.
    pub feature_level: u32,
    /// A hash of the asked node's state at `applied_index`: equal on all nodes at the same index.
    pub digest: String,
    /// On the leader: how far the other members are.
    pub followers: BTreeMap<u64, FollowerView>,
}

/// How far another member is, as the leader knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FollowerView {
    /// The last entry that it is known to have.
    pub matched_index: Option<u64>,
    /// Entries that it does not have.
    pub lag: u64,
}

/// All nodes of the cluster, and what each says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodesView {
    /// In the order of their ids.
    pub items: Vec<NodeStanding>,
}

/// A node, and what it says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeStanding {
    /// Its id.
    pub node: u64,
    /// Its region.
    pub region: String,
    /// Where it answers HTTP.
    pub http: String,
    /// Where other nodes reach it.
    pub peer: String,
    /// Whether it has answered the asked node within 2 s.
    pub reachable: bool,
    /// Why it has not.
    pub error: Option<String>,
    /// What it says of itself.
    pub report: Option<NodeReport>,
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeReport {
    /// Its version.
    pub version: String,
    /// How long it has been there, in milliseconds.
    pub uptime_ms: u64,
    /// Whether it is in touch with a quorum of its region's group, and caught up.
    pub ready: bool,
    /// The highest feature level that it can follow.
    pub feature_level_max: u32,
    /// Its disk; `null` before it is part of a cluster, or when that cannot be read.
    pub disk: Option<DiskView>,
    /// Its groups by name.
    pub groups: BTreeMap<String, GroupReport>,
}

/// The disk of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DiskView {
    /// Free bytes.
    pub free_bytes: u64,
    /// Free bytes that are kept for the log and the next checkpoint.
    pub reserve_bytes: u64,
    /// How much room is left.
    pub room: RoomView,
}

/// How much room a disk has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RoomView {
    /// Nothing may be written any more.
    Gone,
    /// Only what ends leases.
    Scarce,
    /// Nothing new is taken on.
    Low,
    /// Everything.
    Enough,
}

/// A group, as one of its nodes sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GroupReport {
    /// How it stands.
    #[serde(flatten)]
    pub view: GroupView,
    /// Leaders that it got while the node was there.
    pub leader_changes: u64,
    /// Bytes of its log on the disk of the node.
    pub log_bytes: u64,
    /// Bytes that the next checkpoint has, without what is around each record.
    pub checkpoint_bytes: u64,
}

/// Makes an empty node part of a cluster, and has it look for others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AdoptRequest {
    /// The cluster's name.
    pub name: String,
    /// The cluster's id: 32 hexadecimal digits.
    pub cluster_id: String,
    /// Which node this is meant for.
    pub node: u64,
    /// Its region.
    pub region: String,
    /// The nodes that it founds the cluster with. When absent it joins a cluster, and never founds
    /// one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub founding: Option<Founding>,
    /// Nodes that it looks for at their peer addresses, once it is part of the cluster. None when
    /// absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reach: Vec<NodeView>,
}

/// What the nodes that found a cluster have to agree on: the content of their cluster files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Founding {
    /// All nodes, in the order of their ids.
    pub nodes: Vec<NodeView>,
    /// How many nodes of each region vote in the global group, when the file says so.
    pub voters_per_region: Option<u32>,
    /// The longest round trip between two regions, in milliseconds.
    pub round_trip_ms: u64,
}

/// Which cluster a node is part of, now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdoptAnswer {
    /// The id that was asked for, or that of the cluster that came first.
    pub cluster_id: String,
    /// The nodes that it was to look for and that do not answer it as nodes of this cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreached: Vec<UnreachedNode>,
}

/// A node that does not answer another at its peer address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnreachedNode {
    /// Its id.
    pub id: u64,
    /// The address.
    pub peer: String,
    /// Who answered instead, or that nobody did.
    pub reason: String,
}

/// Asks for a change of members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "change", rename_all = "snake_case", deny_unknown_fields)]
pub enum ChangeRequest {
    /// Adds a node to its region and to the global group. Of a member it changes the addresses.
    Add {
        /// The node. It runs, and was adopted.
        node: NodeView,
    },
    /// Puts a new node in the place of a member.
    Replace {
        /// The member.
        node: u64,
        /// The new node. It runs, and was adopted.
        with: NodeView,
    },
    /// Takes a member out.
    Remove {
        /// The member.
        node: u64,
        /// A group may tolerate the loss of fewer nodes afterwards, and a region that is lost be
        /// given up with all that lives there.
        #[serde(default)]
        shrink: bool,
    },
    /// Gives a member other addresses, at which it answers already. Every node asks for this
    /// itself, when it is started with other addresses than the address book has for it.
    Move {
        /// The member, as it is to be found from now on.
        node: NodeView,
    },
    /// Gives the votes of the global group to the members that should have them.
    Rebalance {},
}

/// How far a change of members is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangeAnswer {
    /// It is done. Otherwise it goes on by itself; the same request tells how far it is.
    pub done: bool,
    /// What it waits for, or what has come of it.
    pub progress: String,
}

/// Hands leadership over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TransferLeaderRequest {
    /// Which group.
    pub group: String,
    /// To which voter; to the one that has most of the log when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
}

/// Who leads now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TransferLeaderAnswer {
    /// Which group.
    pub group: String,
    /// The node that leads it.
    pub leader: u64,
}
