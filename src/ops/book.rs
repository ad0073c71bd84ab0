//! The address book, and the changes that are recorded in it.
//!
//! An address is `PEER HTTP REGION`, which each node tells of itself (`address.rs`). While a member
//! comes or goes a fourth word says so, and versions that do not know it pass over it:
//!
//! | word | the member |
//! |---|---|
//! | `founding` | votes in a cluster that is being formed |
//! | `joining`, `joining,4` | is given its votes; those of node 4, which leaves |
//! | `leaving` with `,gone` and `,shrink` | loses its votes; its region is gone; fewer losses may be tolerated afterwards |

use std::collections::{BTreeMap, BTreeSet};

use ratequeue_api::cluster::NodeView;
use ratequeue_raft::{Address, NodeId};

use crate::node::regions::{address, parse};

/// A change of a member that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The cluster is being formed.
    Founding,
    /// It joins.
    Joining {
        /// The node whose place it takes.
        replaces: Option<NodeId>,
    },
    /// It leaves.
    Leaving {
        /// Its region is lost or given up: nobody is left there to take its vote.
        gone: bool,
        /// The groups may tolerate the loss of fewer nodes afterwards.
        shrink: bool,
    },
}

/// A member as the book has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub node: NodeView,
    pub change: Option<Change>,
}

/// The members of the cluster, and what is under way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressBook(BTreeMap<NodeId, Entry>);

impl Change {
    fn parse(word: &str) -> Option<Self> {
        let mut parts = word.split(',');
        let change = match parts.next()? {
            "founding" => Self::Founding,
            "joining" => Self::Joining { replaces: parts.next().and_then(|id| id.parse().ok()) },
            "leaving" => {
                let flags: BTreeSet<&str> = parts.collect();
                Self::Leaving { gone: flags.contains("gone"), shrink: flags.contains("shrink") }
            }
            _ => return None,
        };
        Some(change)
    }

    fn word(self) -> String {
        match self {
            Self::Founding => "founding".to_owned(),
            Self::Joining { replaces: None } => "joining".to_owned(),
            Self::Joining { replaces: Some(id) } => format!("joining,{id}"),
            Self::Leaving { gone, shrink } => {
                let flags =
                    [(gone, ",gone"), (shrink, ",shrink")].into_iter().filter(|(set, _)| *set);
                flags.fold("leaving".to_owned(), |word, (_, flag)| word + flag)
            }
        }
    }
}

impl Entry {
    /// A member of which nothing is under way.
    pub fn settled(node: NodeView) -> Self {
        Self { node, change: None }
    }

    /// The member as the book keeps it.
    pub fn address(&self) -> Address {
        let mut address = address(&self.node);
        if let Some(change) = self.change {
            address.0 += " ";
            address.0 += &change.word();
        }
        address
    }
}

/// The address of a member that is found elsewhere from now on. What is under way with it stays,
/// whatever it is.
pub fn moved(from: &Address, to: &NodeView) -> Address {
    let rest = from.0.splitn(4, ' ').nth(3).map(|rest| format!(" {rest}")).unwrap_or_default();
    Address(address(to).0 + &rest)
}

impl AddressBook {
    /// The book that these members of the global group make.
    pub fn of(members: &BTreeMap<NodeId, Address>) -> Self {
        let entry = |(id, address): (&NodeId, &Address)| {
            let node = parse(*id, address)?;
            let change = address.0.split(' ').nth(3).and_then(Change::parse);
            Some((*id, Entry { node, change }))
        };
        Self(members.iter().filter_map(entry).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get(&self, id: NodeId) -> Option<&Entry> {
        self.0.get(&id)
    }

    pub fn nodes(&self) -> impl Iterator<Item = &NodeView> {
        self.0.values().map(|entry| &entry.node)
    }

    /// The members of a region.
    pub fn region(&self, region: &str) -> BTreeSet<NodeId> {
        self.nodes().filter(|node| node.region == region).map(|node| node.id).collect()
    }

    /// The book without a member.
    pub fn without(&self, id: NodeId) -> Self {
        Self(
            self.0
                .iter()
                .filter(|(other, _)| **other != id)
                .map(|(id, entry)| (*id, entry.clone()))
                .collect(),
        )
    }

    /// What is under way, in the order of the nodes.
    pub fn changes(&self) -> impl Iterator<Item = (NodeId, Change)> {
        self.0.iter().filter_map(|(id, entry)| Some((*id, entry.change?)))
    }

    /// Whether the cluster is still being formed.
    pub fn is_founding(&self) -> bool {
        self.changes().any(|(_, change)| change == Change::Founding)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn node() -> NodeView {
        NodeView {
            id: 7,
            region: "eu".to_owned(),
            http: "http://h:1".to_owned(),
            peer: "p:2".to_owned(),
        }
    }

    /// Nodes of other versions read these words.
    #[test]
    fn a_change_is_the_fourth_word_of_an_address() {
        let leaving = |gone, shrink| Change::Leaving { gone, shrink };
        for (change, word) in [
            (None, ""),
            (Some(Change::Founding), " founding"),
            (Some(Change::Joining { replaces: None }), " joining"),
            (Some(Change::Joining { replaces: Some(4) }), " joining,4"),
            (Some(leaving(false, false)), " leaving"),
            (Some(leaving(true, false)), " leaving,gone"),
            (Some(leaving(false, true)), " leaving,shrink"),
            (Some(leaving(true, true)), " leaving,gone,shrink"),
        ] {
            let entry = Entry { node: node(), change };
            assert_eq!(entry.address().0, format!("p:2 http://h:1 eu{word}"));
            assert_eq!(AddressBook::of(&[(7, entry.address())].into()).get(7), Some(&entry));
        }
    }

    #[test]
    fn what_is_under_way_stays_when_a_node_moves() {
        let elsewhere =
            NodeView { http: "http://i:1".to_owned(), peer: "q:2".to_owned(), ..node() };
        for word in ["", " joining,4", " leaving,gone,shrink", " sleeping at night"] {
            let from = Address(format!("p:2 http://h:1 eu{word}"));
            assert_eq!(moved(&from, &elsewhere).0, format!("q:2 http://i:1 eu{word}"));
        }
    }

    #[test]
    fn a_word_of_a_later_version_is_passed_over() {
        let book = AddressBook::of(&[(7, Address::from("p:2 http://h:1 eu sleeping"))].into());
        assert_eq!(book.get(7), Some(&Entry::settled(node())));
    }
}
