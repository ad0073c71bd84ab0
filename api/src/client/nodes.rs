//! The nodes that a client knows, and which of them is asked first about what.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Subjects whose leaders are remembered. Forgetting one costs a call that is passed on, no more.
const SUBJECTS_MAX: usize = 1_024;
/// For so long a node that did not answer is not taken for a leader, whoever says so.
const SUSPECT_FOR: Duration = Duration::from_secs(2);

/// The nodes of a cluster. A *subject* is a resource, or the group of a lease: each may have its
/// leader in another region, so the leader that an answer names is kept for what that answer was
/// about. What is not known yet goes to the first node that works: any node answers any call.
#[derive(Debug)]
pub(super) struct Nodes {
    urls: Vec<String>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Place in the list of the node that works.
    works: usize,
    leaders: BTreeMap<String, usize>,
    /// Subjects in the order in which they became known.
    order: VecDeque<String>,
    /// Until when nodes that did not answer are suspect.
    suspect: BTreeMap<usize, Instant>,
}

/// What a path is about: a resource by its name, or a lease by its group; nothing of the rest.
pub(super) fn subject_of(path: &str) -> Option<String> {
    let path = path.split('?').next().unwrap_or_default();
    let mut parts = path.split('/').skip(1);
    match (parts.next(), parts.next(), parts.next()) {
        (Some("v1"), Some("resources"), Some(name)) if !name.is_empty() => {
            Some(format!("resource {name}"))
        }
        (Some("v1"), Some("leases"), Some(id)) => {
            id.rsplit_once('.').map(|(group, _)| group_subject(group))
        }
        _ => None,
    }
}

/// The subject of the leases of a group.
pub(super) fn group_subject(group: &str) -> String {
    format!("group {group}")
}

impl Nodes {
    pub fn new(urls: Vec<String>) -> Self {
        Self { urls, state: Mutex::default() }
    }

    pub fn len(&self) -> usize {
        self.urls.len()
    }

    pub fn urls(&self) -> &[String] {
        &self.urls
    }

    pub fn all(&self) -> String {
        self.urls.join(",")
    }

    /// The node to ask first.
    pub fn first(&self, subject: Option<&str>) -> String {
        let at = self.state.lock().map(|state| state.at(subject)).unwrap_or_default();
        self.urls.get(at).cloned().unwrap_or_default()
    }

    /// Asks the leader first about this from now on, if it is one of these nodes and did answer
    /// lately.
    pub fn prefer(&self, subject: &str, leader: &str) {
        let at = self.urls.iter().position(|url| url == leader.trim_end_matches('/'));
        if let (Some(at), Ok(mut state)) = (at, self.state.lock())
            && state.suspect.get(&at).is_none_or(|until| Instant::now() >= *until)
        {
            state.keep(subject, at);
        }
    }

    pub fn answered(&self, url: &str) {
        let at = self.urls.iter().position(|other| other == url);
        if let (Some(at), Ok(mut state)) = (at, self.state.lock()) {
            state.suspect.remove(&at);
        }
    }

    /// Asks the node after this one first, unless an answer has just named another.
    pub fn move_on(&self, subject: Option<&str>, url: &str) {
        let Ok(mut state) = self.state.lock() else { return };
        let Some(at) = self.urls.iter().position(|other| other == url) else { return };
        let next = (at + 1) % self.urls.len().max(1);
        if state.at(subject) != at {
            return;
        }
        match subject {
            Some(subject) => state.keep(subject, next),
            None => state.works = next,
        }
    }

    /// A node did not answer: another is asked about all that it led, so that one call finds out
    /// and not each.
    pub fn silent(&self, url: &str) {
        let Ok(mut state) = self.state.lock() else { return };
        let Some(at) = self.urls.iter().position(|other| other == url) else { return };
        let next = (at + 1) % self.urls.len().max(1);
        state.suspect.insert(at, Instant::now() + SUSPECT_FOR);
        state
            .leaders
            .values_mut()
            .filter(|leader| **leader == at)
            .for_each(|leader| *leader = next);
        if state.works == at {
            state.works = next;
        }
    }
}

impl State {
    fn at(&self, subject: Option<&str>) -> usize {
        subject.and_then(|subject| self.leaders.get(subject)).copied().unwrap_or(self.works)
    }

    fn keep(&mut self, subject: &str, at: usize) {
        if let Some(leader) = self.leaders.get_mut(subject) {
            *leader = at;
            return;
        }
        if self.order.len() >= SUBJECTS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.leaders.remove(&oldest);
        }
        self.order.push_back(subject.to_owned());
        self.leaders.insert(subject.to_owned(), at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes() -> Nodes {
        Nodes::new(vec!["http://a".to_owned(), "http://b".to_owned(), "http://c".to_owned()])
    }

    #[test]
    fn each_subject_has_its_own_leader() {
        let nodes = nodes();
        nodes.prefer("resource x", "http://b/");
        nodes.prefer("resource y", "http://c");
        nodes.prefer("resource z", "http://not-ours");
        assert_eq!(nodes.first(Some("resource x")), "http://b");
        assert_eq!(nodes.first(Some("resource y")), "http://c");
        assert_eq!(nodes.first(Some("resource z")), "http://a");
        assert_eq!(nodes.first(None), "http://a");
    }

    #[test]
    fn a_silent_node_is_left_by_all_it_led() {
        let nodes = nodes();
        nodes.prefer("resource x", "http://a");
        nodes.silent("http://a");
        assert_eq!(
            (nodes.first(Some("resource x")), nodes.first(None)),
            ("http://b".to_owned(), "http://b".to_owned())
        );
        nodes.move_on(Some("resource x"), "http://a");
        assert_eq!(nodes.first(Some("resource x")), "http://b", "another was named meanwhile");
        nodes.move_on(Some("resource x"), "http://b");
        assert_eq!(nodes.first(Some("resource x")), "http://c");
    }

    #[test]
    fn a_silent_node_is_no_leader_for_a_while_whoever_says_so() {
        let nodes = nodes();
        nodes.silent("http://a");
        nodes.prefer("resource x", "http://a");
        assert_eq!(nodes.first(Some("resource x")), "http://b");
        nodes.answered("http://a");
        nodes.prefer("resource x", "http://a");
        assert_eq!(nodes.first(Some("resource x")), "http://a");
    }

    #[test]
    fn paths_say_what_they_are_about() {
        assert_eq!(subject_of("/v1/resources/a/acquire").as_deref(), Some("resource a"));
        assert_eq!(subject_of("/v1/resources/a?x=1").as_deref(), Some("resource a"));
        assert_eq!(
            subject_of("/v1/leases/eu-west-1.0000/release").as_deref(),
            Some("group eu-west-1")
        );
        assert_eq!(subject_of("/v1/resources?limit=3"), None);
        assert_eq!(subject_of("/v1/cluster"), None);
    }

    #[test]
    fn the_subjects_are_bounded() {
        let nodes = nodes();
        for n in 0..=SUBJECTS_MAX {
            nodes.prefer(&format!("resource {n}"), "http://b");
        }
        assert_eq!(nodes.first(Some("resource 0")), "http://a");
        assert_eq!(nodes.first(Some("resource 1")), "http://b");
    }
}
