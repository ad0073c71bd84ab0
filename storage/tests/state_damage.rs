//! Every damage to sled's files is noticed: what reads as whole is what was written.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod sink;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ratequeue_storage::Slot;
use sink::{Sink, fill, group, open};

/// A state after some checkpoints, and what each of them held.
struct Template {
    dir: tempfile::TempDir,
    history: BTreeMap<u64, Sink>,
}

fn template() -> Template {
    let dir = tempfile::tempdir().unwrap();
    let mut history = BTreeMap::new();
    let mut slot = Slot::Zero;
    for sequence in 1..=4 {
        let (store, _) = open(dir.path());
        history.insert(sequence, fill(&store, slot, sequence, 3_000));
        slot = slot.other();
    }
    Template { dir, history }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// What opening a damaged state came to.
#[derive(Debug, Default)]
struct Outcomes {
    whole: u32,
    older: u32,
    noticed: u32,
    moved_aside: u32,
}

impl Template {
    /// Damages a copy of the file with `damage`, opens it, and checks that nothing is believed that
    /// was never written.
    fn check(
        &self,
        file: &Path,
        what: &str,
        outcomes: &mut Outcomes,
        damage: impl FnOnce(&mut Vec<u8>),
    ) {
        let dir = tempfile::tempdir().unwrap();
        copy(&self.dir.path().join("state"), &dir.path().join("state"));
        let path = dir.path().join("state").join(file);
        let mut bytes = fs::read(&path).unwrap();
        damage(&mut bytes);
        fs::write(&path, bytes).unwrap();

        let (store, opened) = open(dir.path());
        outcomes.moved_aside += u32::from(opened.moved_aside.is_some());
        for slot in Slot::ALL {
            let mut sink = Sink::default();
            let Ok(header) = store.read_slot(&group(), slot, &mut sink) else {
                outcomes.noticed += 1;
                continue;
            };
            assert_eq!(
                self.history[&header.sequence], sink,
                "{what}: slot {slot} is not what was written"
            );
            let newest = if slot == Slot::Zero { 3 } else { 4 };
            if header.sequence == newest { outcomes.whole += 1 } else { outcomes.older += 1 }
        }

        // And it can be used again: at the latest after it was moved aside.
        if store.wipe(&group(), Slot::Zero).is_err() {
            store.move_aside(store.generation(), what).unwrap();
        }

        let again = fill(&store, Slot::Zero, 5, 100);
        let mut sink = Sink::default();
        store.read_slot(&group(), Slot::Zero, &mut sink).unwrap();
        assert_eq!(sink, again, "{what}");
    }

    fn files(&self) -> Vec<(PathBuf, usize)> {
        let state = self.dir.path().join("state");
        let mut files = Vec::new();
        for entry in fs::read_dir(&state).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                let len = usize::try_from(entry.metadata().unwrap().len()).unwrap();
                files.push((PathBuf::from(entry.file_name()), len));
            }
        }
        files.sort();
        files
    }
}

/// Places spread over a file, the same in every run.
fn places(len: usize, count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |n| (n * len / count + n * 7_919 % 1_000) % len)
}

#[test]
fn what_reads_as_whole_is_what_was_written() {
    let template = template();
    let mut outcomes = Outcomes::default();
    template.check(Path::new("db"), "no damage", &mut outcomes, |_| {});
    assert_eq!((outcomes.whole, outcomes.noticed), (2, 0), "{outcomes:?}");

    for (file, len) in template.files() {
        let count = if len > 10_000 { 20 } else { 6 };
        let name = file.display();
        for at in places(len, count) {
            template.check(
                &file,
                &format!("{name}: bit flipped at {at}"),
                &mut outcomes,
                |bytes| bytes[at] ^= 0x10,
            );
            template.check(&file, &format!("{name}: cut at {at}"), &mut outcomes, |bytes| {
                bytes.truncate(at)
            });
            template.check(&file, &format!("{name}: zeros at {at}"), &mut outcomes, |bytes| {
                let end = len.min(at + 4_096);
                bytes[at..end].fill(0);
            });
        }
    }

    // Damage that changes nothing proves nothing: much of it has to be seen.
    assert!(outcomes.noticed > 40, "{outcomes:?}");
    println!("{outcomes:?}");
}
