//! Requests for a change of members: checked by the leader of the global group, and recorded in the
//! address book.

use std::collections::BTreeSet;

use ratequeue_api::cluster::{ChangeAnswer, ChangeRequest, ClusterView, NodeView};
use ratequeue_raft::NodeId;

use super::book::{AddressBook, Change, Entry, moved};
use super::survey::{RegionReport, ask, ask_all};
use super::{Refused, checks, global, global_voters};
use crate::config::GLOBAL;
use crate::node::{Member, Node};

/// Checks a request and records it; says how far it is. Repeating it does nothing, so that whoever
/// waits asks again.
///
/// # Errors
/// [`Refused`] says why it is not made. Only the leader of the global group can tell:
/// [`Refused::Submit`] otherwise.
pub async fn admit(
    node: &Node,
    member: &Member,
    request: &ChangeRequest,
) -> Result<ChangeAnswer, Refused> {
    let _one_at_a_time = node.changes.admitting.lock().await;
    member.global.read_barrier_local().await?;
    let book = AddressBook::of(&member.global.members_applied());
    let admission = Admission { node, member, book };
    let admitted = match request {
        ChangeRequest::Add { node } => admission.add(node).await,
        ChangeRequest::Replace { node, with } => admission.replace(*node, with).await,
        ChangeRequest::Remove { node, shrink } => admission.remove(*node, *shrink).await,
        ChangeRequest::Move { node } => admission.relocate(node).await,
        ChangeRequest::Rebalance {} => admission.rebalance().await,
    };
    match admitted {
        Err(waits @ Refused::Unsettled(_)) => Ok(goes_on(waits.to_string())),
        other => other,
    }
}

/// A request, and what it is checked against.
struct Admission<'a> {
    node: &'a Node,
    member: &'a Member,
    book: AddressBook,
}

fn done(text: String) -> ChangeAnswer {
    ChangeAnswer { done: true, progress: text }
}

fn goes_on(text: impl Into<String>) -> ChangeAnswer {
    ChangeAnswer { done: false, progress: text.into() }
}

impl Admission<'_> {
    async fn add(&self, new: &NodeView) -> Result<ChangeAnswer, Refused> {
        let change = Change::Joining { replaces: None };
        let Some(entry) = self.book.get(new.id) else {
            if let Some(waits) = self.other_change(new.id) {
                return Ok(waits);
            }
            self.check_new(new).await?;
            return self.record(new.clone(), change).await;
        };
        self.refuse_other_region(new, &entry.node.region)?;
        if matches!(entry.change, Some(Change::Joining { .. })) {
            return Ok(self.progress());
        }
        if let Some(waits) = self.other_change(new.id) {
            return Ok(waits);
        }

        let report = RegionReport::of(self.node, &self.book, &new.region).await;
        let votes = report.group().is_some_and(|group| group.voters.contains(&new.id));
        if entry.change.is_some() || (report.group().is_some() && !votes) {
            self.check_reach(new).await?;
            return self.record(new.clone(), change).await;
        }
        if entry.node != *new {
            self.check_reach(new).await?;
            let moved = Entry::settled(new.clone());
            self.member.global.add_learners([(new.id, moved.address())].into()).await?;
        }
        Ok(done(format!("node {} votes in group {} now", new.id, new.region)))
    }

    async fn replace(&self, old: NodeId, new: &NodeView) -> Result<ChangeAnswer, Refused> {
        if old == new.id {
            return Err(Refused::SameId);
        }
        let region = new.region.clone();
        if self.book.get(new.id).and_then(|entry| entry.change)
            == Some(Change::Joining { replaces: Some(old) })
        {
            return Ok(self.progress());
        }
        if let Some(waits) = self.other_change(new.id) {
            return Ok(waits);
        }

        let report = RegionReport::of(self.node, &self.book, &region).await;
        if checks::takes_place(&self.book, &report, old, new.id)? {
            return Ok(done(format!(
                "node {} has taken the place of node {old} in group {region}",
                new.id
            )));
        }
        match self.book.get(new.id) {
            Some(entry) => self.refuse_other_region(new, &entry.node.region)?,
            None => self.check_new(new).await?,
        }
        self.record(new.clone(), Change::Joining { replaces: Some(old) }).await
    }

    async fn remove(&self, id: NodeId, shrink: bool) -> Result<ChangeAnswer, Refused> {
        let Some(entry) = self.book.get(id) else {
            return Ok(done(format!("node {id} is no member of the cluster")));
        };
        if matches!(entry.change, Some(Change::Leaving { .. })) {
            return Ok(self.progress());
        }
        if let Some(waits) = self.other_change(id) {
            return Ok(waits);
        }

        let report = RegionReport::of(self.node, &self.book, &entry.node.region).await;
        let has_names = self.member.has_names(&entry.node.region);
        let gone = checks::leaves_region(&self.book, entry, &report, has_names, shrink)?;
        self.check_leaves_global(id, shrink).await?;
        self.record(entry.node.clone(), Change::Leaving { gone, shrink }).await
    }

    /// What is under way with the member goes on.
    async fn relocate(&self, to: &NodeView) -> Result<ChangeAnswer, Refused> {
        let is_there =
            |text: &str| done(format!("node {} {text} at {}, peer {}", to.id, to.http, to.peer));
        let entry = self.book.get(to.id).ok_or(Refused::NoMember(to.id))?;
        self.refuse_other_region(to, &entry.node.region)?;
        if entry.node == *to {
            return Ok(is_there("is"));
        }
        if to.id != self.node.options.id {
            self.check_reach(to).await?;
        }

        let _one_at_a_time = self.node.changes.writing.lock().await;
        let group = &self.member.global;
        group.read_barrier_local().await?;
        let members = group.members_applied();
        let from = members.get(&to.id).ok_or(Refused::NoMember(to.id))?;
        group.set_address(to.id, moved(from, to)).await?;
        tracing::info!(node = to.id, http = to.http, peer = to.peer, "a member has moved");
        Ok(is_there("is now"))
    }

    async fn rebalance(&self) -> Result<ChangeAnswer, Refused> {
        if self.book.changes().next().is_some() {
            return Ok(self.progress());
        }
        if let Some(progress) =
            global::give_votes(self.node, self.member, &self.book, None, false).await?
        {
            return Ok(goes_on(progress));
        }
        let voters: Vec<NodeId> = self.member.global.status().voters.into_keys().collect();
        Ok(done(format!("nodes {voters:?} vote in group {GLOBAL}")))
    }

    /// Has the change that this is about to wait for, when another one is under way.
    fn other_change(&self, id: NodeId) -> Option<ChangeAnswer> {
        let (other, _) = self.book.changes().find(|(other, _)| *other != id)?;
        let progress = self.progress().progress;
        Some(goes_on(format!("the change of node {other} comes first: {progress}")))
    }

    fn progress(&self) -> ChangeAnswer {
        goes_on(self.node.changes.progress().unwrap_or_else(|| "it is under way".to_owned()))
    }

    async fn record(&self, node: NodeView, change: Change) -> Result<ChangeAnswer, Refused> {
        let entry = Entry { node, change: Some(change) };
        self.member.global.add_learners([(entry.node.id, entry.address())].into()).await?;
        Ok(goes_on("it is recorded"))
    }

    /// A node that is no member yet can be one.
    async fn check_new(&self, new: &NodeView) -> Result<(), Refused> {
        let report = RegionReport::of(self.node, &self.book, &new.region).await;
        checks::joins_region(&self.book, new, &report, self.member.has_names(&new.region))?;

        self.check_reach(new).await?;
        let view = ask(self.node, new).await.map_err(|why| unreached(new, why.to_string()))?;
        self.refuse_other_region(new, &region_of(&view, new.id))?;
        self.check_timing(view).await
    }

    fn refuse_other_region(&self, new: &NodeView, theirs: &str) -> Result<(), Refused> {
        if new.region == theirs {
            return Ok(());
        }
        Err(Refused::OtherRegion {
            node: new.id,
            theirs: theirs.to_owned(),
            ours: new.region.clone(),
        })
    }

    async fn check_reach(&self, new: &NodeView) -> Result<(), Refused> {
        let nodes = [new.clone()];
        let unreached_nodes = self.member.regions.unreached(self.node.options.id, &nodes).await;
        unreached_nodes
            .into_iter()
            .next()
            .map_or(Ok(()), |missed| Err(unreached(new, missed.reason)))
    }

    /// All members elect the leader of the global group within the same times. Those that are
    /// silent cannot be asked.
    async fn check_timing(&self, new: ClusterView) -> Result<(), Refused> {
        let ours = new_timing(self.node);
        let members = ask_all(self.node, self.book.nodes()).await;
        let views = members.into_iter().filter_map(|(_, view)| view.ok()).chain([new]);
        let others: Vec<ClusterView> = views.filter(|view| view.round_trip_ms != ours).collect();
        let Some(first) = others.first() else { return Ok(()) };
        Err(Refused::OtherTiming {
            nodes: others.iter().map(|view| view.node).collect(),
            theirs: first.round_trip_ms,
            ours,
        })
    }

    /// The global group can go on without a node.
    async fn check_leaves_global(&self, id: NodeId, shrink: bool) -> Result<(), Refused> {
        let status = self.member.global.status();
        let is_settled = status.is_settled();
        let now: BTreeSet<NodeId> = status.voters.into_keys().collect();
        if !now.contains(&id) {
            return Ok(());
        }

        let rest = self.book.without(id);
        let wanted =
            global_voters(rest.nodes(), self.node.options.cluster.global.voters_per_region);
        let voters =
            ask_all(self.node, rest.nodes().filter(|node| wanted.contains(&node.id))).await;

        let knows = |view: &ClusterView| {
            view.groups.get(GLOBAL).is_some_and(|group| group.leader.is_some())
        };

        let healthy = voters
            .iter()
            .filter(|(_, view)| view.as_ref().is_ok_and(knows))
            .map(|(node, _)| node.id);

        checks::leaves_global(id, &now, is_settled, &wanted, &healthy.collect(), shrink)
    }
}

fn unreached(node: &NodeView, why: String) -> Refused {
    Refused::Unreached { node: node.id, peer: node.peer.clone(), why }
}

/// The region of a node, by its own file.
fn region_of(view: &ClusterView, id: NodeId) -> String {
    let own = view.groups.keys().find(|group| *group != GLOBAL);
    let listed =
        view.regions.iter().find(|(_, region)| region.nodes.iter().any(|node| node.id == id));
    own.or(listed.map(|(region, _)| region)).cloned().unwrap_or_default()
}

fn new_timing(node: &Node) -> u64 {
    u64::try_from(node.options.cluster.round_trip().as_millis()).unwrap_or(u64::MAX)
}
