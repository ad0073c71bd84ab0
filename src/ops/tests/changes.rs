//! Requests, as the leader of the global group admits them, and the steps that the leaders take. In
//! the order of `admit.rs`, `region.rs` and `global.rs`, which ask and wait between the same
//! decisions.

use std::collections::BTreeSet;

use rand::RngExt;
use ratequeue_api::cluster::{GroupView, NodeView};
use ratequeue_raft::{NodeId, VoterChange};

use super::super::book::{AddressBook, Change, Entry};
use super::super::{checks, global, global_voters, next_voters, region};
use super::cluster::{Cluster, Group};

impl Cluster {
    fn record(&mut self, node: NodeView, change: Option<Change>) {
        let entry = Entry { node, change };
        self.members.insert(entry.node.id, entry.address());
        if !self.global.all_voters().contains(&entry.node.id) {
            self.global.learners.insert(entry.node.id);
        }
    }

    /// Whether a request about this node can be recorded now.
    fn takes_requests(&self, about: NodeId) -> bool {
        let book = self.book();
        let is_other = book.changes().any(|(id, _)| id != about);
        self.global.leader.is_some() && !is_other
    }

    pub fn add(&mut self, new: &NodeView) -> bool {
        let (book, report) = (self.book(), self.report(&new.region));
        let has_names = self.names.contains(&new.region);
        let may = self.takes_requests(new.id) && self.alive.contains(&new.id);
        if !may {
            return false;
        }

        if let Some(entry) = book.get(new.id) {
            // Taken back, or without a vote since one was taken back that was to replace it.
            let joins = matches!(entry.change, Some(Change::Joining { .. }));
            let votes = |group: &GroupView| group.voters.contains(&new.id);
            let lacks_vote = report.group().is_some_and(|group| !votes(group));
            let is_news = !joins && (entry.change.is_some() || lacks_vote);
            if is_news {
                self.record(new.clone(), Some(Change::Joining { replaces: None }));
            }
            return is_news;
        }

        if checks::joins_region(&book, new, &report, has_names).is_err() {
            return false;
        }
        self.record(new.clone(), Some(Change::Joining { replaces: None }));
        true
    }

    pub fn replace(&mut self, old: NodeId, new: &NodeView) -> bool {
        let (book, report) = (self.book(), self.report(&new.region));
        let may = self.takes_requests(new.id) && self.alive.contains(&new.id) && old != new.id;
        if !may || !checks::takes_place(&book, &report, old, new.id).is_ok_and(|done| !done) {
            return false;
        }
        let has_names = self.names.contains(&new.region);
        if book.get(new.id).is_none()
            && checks::joins_region(&book, new, &report, has_names).is_err()
        {
            return false;
        }
        self.record(new.clone(), Some(Change::Joining { replaces: Some(old) }));
        true
    }

    pub fn remove(&mut self, id: NodeId, shrink: bool) -> bool {
        let book = self.book();
        let Some(entry) = book.get(id).filter(|_| self.takes_requests(id)) else { return false };
        if matches!(entry.change, Some(Change::Leaving { .. })) {
            return false;
        }
        let region = &entry.node.region;
        let (report, has_names) = (self.report(region), self.names.contains(region));
        let Ok(gone) = checks::leaves_region(&book, entry, &report, has_names, shrink) else {
            return false;
        };

        let now = self.global.all_voters();
        if now.contains(&id) {
            let wanted = global_voters(book.without(id).nodes(), self.per_region);
            let is_settled = self.global.before.is_none();
            if checks::leaves_global(id, &now, is_settled, &wanted, &self.alive, shrink).is_err() {
                return false;
            }
        }
        let change = Change::Leaving { gone, shrink };
        self.record(entry.node.clone(), Some(change));
        if shrink {
            self.global.floor = 0;
            if let Some(group) = self.regions.get_mut(region) {
                group.floor = 0;
            }
        }
        true
    }

    /// A change of voters. The leader may die in the middle of it.
    fn change_voters(&mut self, name: &str, change: &VoterChange, may_die: bool) -> bool {
        let (alive, dies) = (self.alive.clone(), may_die && self.random.random_ratio(1, 4));
        let group = self.group(name);
        if group.begin(change, &alive).is_err() {
            return false;
        }
        if !dies {
            group.finish();
            return true;
        }
        let leader = group.leader;
        self.alive.retain(|id| Some(*id) != leader);
        self.elect();
        false
    }

    /// The leader of a region takes its next step; true when it took one.
    pub fn step_region(&mut self, name: &str, may_die: bool) -> bool {
        let book = self.book();
        let Some(group) = self.regions.get(name).filter(|group| !group.voters.is_empty()) else {
            return self.form_first(name, &book);
        };

        let Some(leader) = group.leader else { return false };
        match region::next(&group.standing(), &book) {
            None => false,
            Some(region::Step::FinishVoters) => {
                self.group(name).finish();
                true
            }
            // What is recorded is read anew, from the leader of the global group.
            Some(_) if self.global.leader.is_none() => false,
            Some(region::Step::Join(entry, replaces)) => {
                let id = entry.node.id;
                if !self.alive.contains(&id) {
                    return false;
                }
                let remove: BTreeSet<_> = replaces
                    .into_iter()
                    .filter(|old| self.regions[name].voters.contains(old))
                    .collect();
                let change = VoterChange { add: [id].into(), remove, ..VoterChange::default() };
                let done = self.change_voters(name, &change, may_die);
                if let (true, Some(old)) = (done, replaces) {
                    self.group(name).learners.remove(&old);
                }
                done
            }
            Some(region::Step::Leave(id, shrink)) => {
                self.leave_region(name, leader, id, shrink, may_die)
            }
        }
    }

    fn leave_region(
        &mut self,
        name: &str,
        leader: NodeId,
        id: NodeId,
        shrink: bool,
        may_die: bool,
    ) -> bool {
        if id == leader {
            let others = self.regions[name].voters.intersection(&self.alive);
            let next = others.copied().find(|other| *other != id);
            self.group(name).leader = next.or(Some(leader));
            return next.is_some();
        }
        if self.regions[name].voters.contains(&id) {
            let change = VoterChange { remove: [id].into(), shrink, ..VoterChange::default() };
            return self.change_voters(name, &change, may_die);
        }
        self.group(name).learners.remove(&id)
    }

    /// The first node of a new region forms its group.
    fn form_first(&mut self, name: &str, book: &AddressBook) -> bool {
        let first = book.region(name).into_iter().find(|id| region::is_first(*id, name, book));
        let Some(first) = first.filter(|id| self.alive.contains(id)) else { return false };
        if self.global.leader.is_none() || self.names.contains(name) {
            return false;
        }
        let group = Group { name: name.to_owned(), voters: [first].into(), ..Group::default() };
        self.regions.insert(name.to_owned(), group);
        self.elect();
        true
    }

    /// The leader of the global group takes its next step; true when it took one.
    pub fn step_global(&mut self, may_die: bool) -> bool {
        if self.global.leader.is_none() {
            return false;
        }

        let book = self.book();
        match global::next(self.global.before.is_some(), &book) {
            None | Some(global::Step::Complete) => false,
            Some(global::Step::FinishVoters) => {
                self.global.finish();
                true
            }
            Some(global::Step::Join(entry, replaces)) => {
                let id = entry.node.id;
                let joined = |group: &Group| {
                    let voters = group.all_voters();
                    voters.contains(&id) && replaces.is_none_or(|old| !voters.contains(&old))
                };
                if !self.region_has(entry, joined) || !self.alive.contains(&id) {
                    return false;
                }
                let rest = replaces.map_or_else(|| book.clone(), |old| book.without(old));
                if !self.give_votes(&rest, replaces, false, may_die) {
                    return false;
                }
                if let Some(old) = replaces {
                    self.forget(old);
                }
                self.record(entry.node.clone(), None);
                true
            }
            Some(global::Step::Leave { entry, gone, shrink }) => {
                let id = entry.node.id;
                let left = |group: &Group| {
                    !group.all_voters().contains(&id) && !group.learners.contains(&id)
                };
                if !gone && !self.region_has(entry, left) {
                    return false;
                }
                if !self.give_votes(&book.without(id), Some(id), shrink, may_die) {
                    return false;
                }
                self.forget(id);
                true
            }
        }
    }

    fn region_has(&self, entry: &Entry, is_done: impl Fn(&Group) -> bool) -> bool {
        let group = self.regions.get(&entry.node.region);
        group
            .is_some_and(|group| group.leader.is_some() && group.before.is_none() && is_done(group))
    }

    /// True when nothing is left to do there.
    fn give_votes(
        &mut self,
        book: &AddressBook,
        without: Option<NodeId>,
        shrink: bool,
        may_die: bool,
    ) -> bool {
        let now = self.global.all_voters();
        let Some(wanted) = next_voters(&now, book.nodes(), self.per_region, without) else {
            return true;
        };
        if self.global.leader.is_some_and(|leader| !wanted.contains(&leader)) {
            let mut candidates = wanted.intersection(&now).peekable();
            if candidates.peek().is_some() {
                let next = candidates.find(|id| self.alive.contains(id)).copied();
                self.global.leader = next.or(self.global.leader);
                return false;
            }
        }
        let (add, remove) = (&wanted - &now, &now - &wanted);
        let change = VoterChange { add, remove, keep: true, shrink };
        self.change_voters(crate::config::GLOBAL, &change, may_die)
    }

    fn forget(&mut self, id: NodeId) {
        assert!(!self.global.all_voters().contains(&id), "node {id} votes and is to be forgotten");
        self.global.learners.remove(&id);
        self.members.remove(&id);
    }
}
