//! `ratequeue cluster add-node`, `remove-node` and `replace-node`.
//!
//! A node is in two groups: a voter of its region's, and a member of the global one, where it votes if the cluster file's rule
//! says so. The region's group comes first: it needs no other region.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::time::Instant;

use clap::Args;
use ratequeue_api::ErrorCode;
use ratequeue_api::cluster::{
    AddLearnersRequest, AdoptRequest, ChangeVotersRequest, FormRequest, NodeView, RemoveMemberRequest,
    TransferLeaderRequest,
};

use super::{Asked, File, LOOK_PAUSE, is_formed, region_of};
use crate::catalog::GLOBAL;
use crate::cli::{failed, print};
use crate::config::ClusterFile;
use crate::exit::{Exit, Failed};

/// A learner that lacks at most this many entries has caught up: the rest comes while it is made a voter.
const LAG_MAX: u64 = 100;
/// How long catching up may stand still.
const STALLED_AFTER: std::time::Duration = std::time::Duration::from_secs(60);

/// Adds a node: it catches up first, then votes
#[derive(Debug, Args)]
pub struct AddNode {
    /// The new node; it is in the file, and running
    #[arg(long, value_name = "N")]
    id: u64,
    #[command(flatten)]
    file: File,
}

/// Removes a node
#[derive(Debug, Args)]
pub struct RemoveNode {
    /// Which node
    #[arg(long, value_name = "N")]
    id: u64,
    #[command(flatten)]
    file: File,
}

/// Puts a new node in the place of one that is lost
#[derive(Debug, Args)]
pub struct ReplaceNode {
    /// The node that is lost
    #[arg(long, value_name = "OLD")]
    id: u64,
    /// The new node; it is in the file, and running
    #[arg(long, value_name = "NEW")]
    with: u64,
    #[command(flatten)]
    file: File,
}

/// A cluster whose members are changed.
struct Change<'a> {
    place: &'a File,
    file: &'a ClusterFile,
}

impl AddNode {
    pub async fn run(self) -> Result<Exit, Failed> {
        let file = self.file.read()?;
        let region = region_of(&file, self.id)?;
        let change = Change { place: &self.file, file: &file };
        change.refuse_old_file(None).await?;
        let new = change.adopt(self.id).await?;
        if is_formed(&self.file.ask(&file).await?, &region) {
            change.add_learner(&region, &new).await?;
            change.voters(&region, &[self.id].into(), &BTreeSet::new(), false).await?;
        } else {
            change.first_of_region(&region, &new).await?;
        }
        change.join_global(&new, None).await?;
        print(&format!("node {} votes in group {region} now\n", self.id));
        Ok(Exit::Done)
    }
}

impl RemoveNode {
    pub async fn run(self) -> Result<Exit, Failed> {
        let file = self.file.read()?;
        let region = region_of(&file, self.id)?;
        let change = Change { place: &self.file, file: &file };
        change.refuse_old_file(None).await?;
        if change.is_lost(&region).await? {
            change.leave_global(self.id).await?;
            print(&format!("region {region} does not answer: node {} is out of group global\n", self.id));
            return Ok(Exit::Done);
        }
        let leader = self.file.leader(&file, &region).await?;
        let rest: BTreeSet<u64> = voters(&leader, &region).into_iter().filter(|id| *id != self.id).collect();
        let votes = rest.len() < voters(&leader, &region).len();
        if votes {
            change.check_quorum(&region, &rest, self.id).await?;
            change.led_by_another(&region, self.id).await?;
            change.voters(&region, &BTreeSet::new(), &[self.id].into(), false).await?;
        }
        let was_member = change.leave_global(self.id).await?;
        print(&if votes || was_member {
            format!("node {} is no longer in group {region}: stop it\n", self.id)
        } else {
            format!("node {} does not vote in group {region}\n", self.id)
        });
        Ok(Exit::Done)
    }
}

impl ReplaceNode {
    pub async fn run(self) -> Result<Exit, Failed> {
        let file = self.file.read()?;
        let region = region_of(&file, self.with)?;
        if self.id == self.with {
            let text = "a node id is never used twice: give the new node another id, and put it into the file";
            return Err(Failed::new(Exit::Usage, text));
        }
        let change = Change { place: &self.file, file: &file };
        change.refuse_old_file(Some(self.id)).await?;
        let leader = self.file.leader(&file, &region).await?;
        let known = voters(&leader, &region);
        if !known.contains(&self.id) && !known.contains(&self.with) {
            let text = format!("node {} does not vote in group {region}: use add-node for the new one", self.id);
            return Err(Failed::new(Exit::Failed, text));
        }
        if known.contains(&self.id) && known.contains(&self.with) {
            let text = format!(
                "node {} votes in group {region} itself: to go on without node {}, use remove-node",
                self.with, self.id
            );
            return Err(Failed::new(Exit::Usage, text));
        }
        let rest = known.iter().copied().filter(|id| *id != self.id).chain([self.with]).collect();
        change.check_quorum(&region, &rest, self.id).await?;
        let new = change.adopt(self.with).await?;
        change.add_learner(&region, &new).await?;
        change.voters(&region, &[self.with].into(), &[self.id].into(), false).await?;
        change.join_global(&new, Some(self.id)).await?;
        change.leave_global(self.id).await?;
        print(&format!("node {} has taken the place of node {} in group {region}\n", self.with, self.id));
        Ok(Exit::Done)
    }
}

fn fail(text: String) -> Failed {
    Failed::new(Exit::Failed, text)
}

fn voters(asked: &Asked, group: &str) -> BTreeSet<u64> {
    asked.group(group).map(|group| group.voters.iter().copied().collect()).unwrap_or_default()
}

fn members(asked: &Asked, group: &str) -> BTreeSet<u64> {
    let group = asked.group(group);
    group.map(|group| group.voters.iter().chain(&group.learners).copied().collect()).unwrap_or_default()
}

impl Change<'_> {
    /// Gives and takes votes, in one step.
    async fn voters(&self, group: &str, add: &BTreeSet<u64>, remove: &BTreeSet<u64>, keep: bool) -> Result<(), Failed> {
        let ids = |ids: &BTreeSet<u64>| ids.iter().copied().collect();
        let request = ChangeVotersRequest { group: group.to_owned(), add: ids(add), remove: ids(remove), keep };
        self.place.at_leader(self.file, group, async |leader| leader.change_voters(&request).await).await
    }

    /// Makes these the voters of the global group, of which now others vote; those follow.
    async fn global_voters(&self, now: &BTreeSet<u64>, wanted: &BTreeSet<u64>) -> Result<(), Failed> {
        // Also when nothing changes: so a change that broke off half way is finished.
        self.voters(GLOBAL, &(wanted - now), &(now - wanted), true).await
    }

    async fn remove_learner(&self, id: u64) -> Result<(), Failed> {
        let request = RemoveMemberRequest { group: GLOBAL.to_owned(), node: id };
        self.place.at_leader(self.file, GLOBAL, async |leader| leader.remove_member(&request).await).await
    }

    /// Who votes in the global group follows from the file: one that lacks members would take their votes away.
    async fn refuse_old_file(&self, gone: Option<u64>) -> Result<(), Failed> {
        let all = self.place.ask(self.file).await?;
        let newest = all.iter().max_by_key(|asked| asked.group(GLOBAL).map(|group| (group.term, group.last_log_index)));
        let members = newest.map(|asked| members(asked, GLOBAL)).unwrap_or_default();
        let known: BTreeSet<u64> = self.file.ids().into_iter().chain(gone).collect();
        let missing: Vec<_> = members.difference(&known).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let text = format!(
            "the file lacks nodes {missing:?}, which are members of the cluster: use a file that has all of them"
        );
        Err(Failed::new(Exit::Usage, text))
    }

    /// Whether no node of a region answers.
    async fn is_lost(&self, region: &str) -> Result<bool, Failed> {
        let all = self.place.ask(self.file).await?;
        Ok(all.iter().filter(|asked| asked.node.region == region).all(|asked| asked.view.is_err()))
    }

    /// Forms the group of a new region of its first node. The global group says whether it is the first: a region whose nodes are
    /// silent is not new, and a second group of it would grant everything twice.
    async fn first_of_region(&self, region: &str, new: &NodeView) -> Result<(), Failed> {
        self.refuse_other_nodes(region, new).await?;
        self.add_learner(GLOBAL, new).await?;
        let client = self.asked(new.id).await?.client;
        let request = FormRequest { group: region.to_owned(), voters: vec![new.clone()] };
        let formed = client.form(&request).await;
        // The node itself looks once more: another one may have come at the same moment. What is refused leaves nothing behind.
        if formed.as_ref().is_err_and(|error| error.code() == Some(ErrorCode::BadRequest)) {
            self.remove_learner(new.id).await?;
        }
        formed.map_err(failed)?;
        self.place.leader(self.file, region).await.map(drop)
    }

    async fn refuse_other_nodes(&self, region: &str, new: &NodeView) -> Result<(), Failed> {
        let leader = self.place.leader(self.file, GLOBAL).await?;
        let known = leader.view.as_ref().ok().and_then(|view| view.regions.get(region));
        let known = known.map(|region| region.nodes.iter().map(|node| node.id).collect()).unwrap_or_default();
        let members = members(&leader, GLOBAL);
        let others: Vec<_> = members.intersection(&known).filter(|id| **id != new.id).collect();
        if others.is_empty() {
            return Ok(());
        }
        Err(fail(format!(
            "region {region} has nodes already ({others:?}), and its group has no leader: bring them back, then repeat this"
        )))
    }

    async fn asked(&self, id: u64) -> Result<Asked, Failed> {
        let all = self.place.ask(self.file).await?;
        let asked = all.into_iter().find(|asked| asked.node.id == id);
        asked.ok_or_else(|| fail(format!("the file has no node {id}")))
    }

    /// Makes a node part of the cluster.
    async fn adopt(&self, id: u64) -> Result<NodeView, Failed> {
        let all = self.place.ask(self.file).await?;
        let new =
            all.iter().find(|asked| asked.node.id == id).ok_or_else(|| fail(format!("the file has no node {id}")))?;
        if let Err(why) = &new.view {
            return Err(fail(format!("node {id} does not answer: start it first. {why}")));
        }
        let mut others = all.iter().filter(|asked| asked.node.id != id);
        let formed = others.clone().find(|asked| asked.is_formed());
        let Some(formed) = formed else {
            return Err(fail("there is no cluster to add it to: run `ratequeue cluster init`".to_owned()));
        };
        let cluster_id = formed.cluster_id().unwrap_or_default().to_owned();
        let votes = others.any(|asked| voters(asked, &new.node.region).contains(&id));
        if votes && new.cluster_id().is_none() {
            return Err(fail(format!(
                "node {id} votes already, but the node that answers under this id is empty. A node that lost its data cannot \
                 come back: give the new one another id and run `ratequeue cluster replace-node --id {id} --with NEW`"
            )));
        }
        let (name, reach) = (self.file.name.clone(), Vec::new());
        let request = AdoptRequest { name, cluster_id: cluster_id.clone(), node: id, reach };
        let answer = new.client.adopt(&request).await.map_err(failed)?;
        if answer.cluster_id != cluster_id {
            let text = format!("node {id} belongs to another cluster ({}): give it an empty folder", answer.cluster_id);
            return Err(fail(text));
        }
        Ok(new.node.clone())
    }

    /// Makes a node a member of a group, without a vote unless it has one, and waits until it has caught up.
    async fn add_learner(&self, group: &str, new: &NodeView) -> Result<(), Failed> {
        let request = AddLearnersRequest { group: group.to_owned(), nodes: vec![new.clone()] };
        self.place.at_leader(self.file, group, async |leader| leader.add_learners(&request).await).await?;
        let leader = self.place.leader(self.file, group).await?;
        if voters(&leader, group).contains(&new.id) {
            return Ok(());
        }
        self.catch_up(group, new.id).await
    }

    async fn catch_up(&self, group: &str, id: u64) -> Result<(), Failed> {
        let (mut best, mut moved) = (u64::MAX, Instant::now());
        loop {
            let leader = self.place.leader(self.file, group).await?;
            let follower = leader.group(group).and_then(|group| group.followers.get(&id));
            let known = follower.filter(|follower| follower.matched_index.is_some());
            if let Some(lag) = known.map(|follower| follower.lag) {
                if lag <= LAG_MAX {
                    return Ok(());
                }
                if lag < best {
                    (best, moved) = (lag, Instant::now());
                    if std::io::stderr().is_terminal() {
                        eprintln!("ratequeue: node {id} is {lag} entries behind in group {group}");
                    }
                }
            }
            if moved.elapsed() > STALLED_AFTER {
                return Err(fail(format!(
                    "node {id} does not catch up in group {group}: look at its log, and at that of the leader, node {}, which must \
                     have been started with a file of several nodes. It is a learner now; repeat this to go on",
                    leader.node.id
                )));
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// Makes a node a member of the global group, and the voters of it what the file's rule says, without `gone`.
    async fn join_global(&self, new: &NodeView, gone: Option<u64>) -> Result<(), Failed> {
        self.add_learner(GLOBAL, new).await?;
        let leader = self.place.leader(self.file, GLOBAL).await?;
        let members = members(&leader, GLOBAL).into_iter().filter(|id| Some(*id) != gone).collect();
        let wanted = self.file.global_voters(&members);
        if wanted.is_empty() {
            return Ok(());
        }
        self.global_voters(&voters(&leader, GLOBAL), &wanted).await
    }

    /// Takes leadership of a group from a node.
    async fn led_by_another(&self, group: &str, id: u64) -> Result<(), Failed> {
        let leader = self.place.leader(self.file, group).await?;
        if leader.node.id == id {
            let request = TransferLeaderRequest { group: group.to_owned(), to: None };
            let moved = leader.client.transfer_leader(&request).await.map(drop);
            // It led no longer, which is what is wanted.
            return moved
                .or_else(|error| if error.code() == Some(ErrorCode::NoQuorum) { Ok(()) } else { Err(failed(error)) });
        }
        Ok(())
    }

    /// Takes a node out of the global group; false when it was not in it.
    async fn leave_global(&self, id: u64) -> Result<bool, Failed> {
        let leader = self.place.leader(self.file, GLOBAL).await?;
        let before = members(&leader, GLOBAL);
        if !before.contains(&id) {
            return Ok(false);
        }
        if voters(&leader, GLOBAL).contains(&id) {
            let wanted = self.file.global_voters(&before.into_iter().filter(|other| *other != id).collect());
            self.check_quorum(GLOBAL, &wanted, id).await?;
            self.led_by_another(GLOBAL, id).await?;
            self.global_voters(&voters(&leader, GLOBAL), &wanted).await?;
        }
        self.remove_learner(id).await?;
        Ok(true)
    }

    /// Refuses what would leave the group without a majority of nodes that answer.
    async fn check_quorum(&self, group: &str, rest: &BTreeSet<u64>, removed: u64) -> Result<(), Failed> {
        if rest.is_empty() {
            return Err(fail(format!("node {removed} is the only voter: it cannot be removed")));
        }
        let asked = self.place.ask(self.file).await?;
        let knows_leader = |asked: &&Asked| asked.group(group).is_some_and(|group| group.leader.is_some());
        let healthy = asked.iter().filter(|asked| rest.contains(&asked.node.id)).filter(knows_leader).count();
        if healthy * 2 > rest.len() {
            return Ok(());
        }
        Err(fail(format!(
            "without node {removed} only {healthy} of the {} voters {rest:?} of group {group} would be healthy, which is no \
             majority: bring one back, or replace one that is lost, before this",
            rest.len()
        )))
    }
}
