//! The checkpoint counts whole or not at all.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod sink;

use std::fs;
use std::time::Duration;

use ratequeue_storage::keys::{KIND_LEASE, KIND_META, KIND_RESOURCE, RECORD_KEY_BYTES};
use ratequeue_storage::{
    GroupName, Header, LogId, Slot, SlotError, SpaceProbe, StateError, StateOptions, StateStore,
};
use sink::{Sink, fill, group, header, open, value};

#[test]
fn slots_take_turns_and_survive_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let mut slot = Slot::Zero;
    for sequence in 1..=6 {
        let (store, opened) = open(dir.path());
        assert_eq!((opened.recovered, opened.moved_aside), (sequence > 1, None));
        let found = store.slots(&group()).map(|header| header.map_or(0, |header| header.sequence));
        let mut newest = found;
        newest.sort_unstable();
        assert_eq!(newest, [sequence.max(2) - 2, sequence - 1]);
        fill(&store, slot, sequence, 700);
        let mut sink = Sink::default();
        assert_eq!(store.read_slot(&group(), slot, &mut sink).unwrap(), sink.header(sequence));
        assert_eq!(sink.records.len(), 700);
        slot = slot.other();
    }
}

#[test]
fn a_record_that_stays_need_not_be_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    fill(&store, Slot::Zero, 1, 1_000);
    let mut sink = Sink::default();
    store.read_slot(&group(), Slot::Zero, &mut sink).unwrap();

    let mut writer = store.begin(&group(), Slot::Zero).unwrap();
    writer.delete(KIND_LEASE, 3).unwrap();
    writer.delete(KIND_LEASE, 999_999).unwrap();
    writer.put(KIND_LEASE, 7, &value(1_234_567, 40)).unwrap();
    sink.records.remove(&(KIND_LEASE, 3)).unwrap();
    sink.records.insert((KIND_LEASE, 7), value(1_234_567, 40)).unwrap();
    writer.commit(&sink.header(3)).unwrap();

    let mut again = Sink::default();
    assert_eq!(store.read_slot(&group(), Slot::Zero, &mut again).unwrap(), sink.header(3));
    assert_eq!(again.records, sink.records);
}

#[test]
fn what_was_not_finished_is_never_built_upon() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    fill(&store, Slot::Zero, 1, 600);
    let mut writer = store.begin(&group(), Slot::Zero).unwrap();
    writer.put(KIND_LEASE, 7, &value(1_234_567, 40)).unwrap();
    drop(writer);
    // A writer that believes that the records of before are there.
    let mut writer = store.begin(&group(), Slot::Zero).unwrap();
    writer.put(KIND_LEASE, 8, &value(1_234_567, 40)).unwrap();
    let refused = writer.commit(&Header { records: 600, ..Sink::default().header(2) }).unwrap_err();
    assert!(matches!(refused, StateError::Incomplete { records: 1, expected: 600 }), "{refused}");
    assert_eq!(store.header(&group(), Slot::Zero), Err(SlotError::Empty));
}

#[test]
fn a_writer_counts_what_it_does_and_not_how_often() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut sink = fill(&store, Slot::Zero, 1, 600);
    let mut writer = store.begin(&group(), Slot::Zero).unwrap();
    for _ in 0..3 {
        writer.delete(KIND_LEASE, 3).unwrap();
        writer.put(KIND_LEASE, 5_000, &value(5_000, 100)).unwrap();
        (0..300).for_each(|id| writer.delete(KIND_LEASE, 10_000 + id).unwrap());
    }
    sink.records.remove(&(KIND_LEASE, 3)).unwrap();
    sink.records.insert((KIND_LEASE, 5_000), value(5_000, 100));
    let bytes = |store: &StateStore| store.slot_bytes(&group(), Slot::Zero);
    assert_eq!(bytes(&store), None, "it is being written");
    writer.commit(&sink.header(2)).unwrap();

    let values: usize = sink.records.values().map(|value| value.len() + RECORD_KEY_BYTES).sum();
    assert_eq!(bytes(&store), Some(u64::try_from(values).unwrap()));
    let store = {
        drop(store);
        open(dir.path()).0
    };
    assert_eq!(bytes(&store), None, "it was not read");
    store.read_slot(&group(), Slot::Zero, &mut Sink::default()).unwrap();
    assert_eq!(bytes(&store), Some(u64::try_from(values).unwrap()));
}

#[test]
fn a_writer_gives_up_before_the_disk_is_full_and_begins_anew_when_there_is_room() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    let dir = tempfile::tempdir().unwrap();
    let free = Arc::new(AtomicU64::new(u64::MAX));
    let space = SpaceProbe::new({
        let free = Arc::clone(&free);
        move |_| Ok(free.load(Ordering::SeqCst))
    });
    let options = StateOptions { pause: Duration::ZERO, space, ..StateOptions::default() };
    let (store, _) = StateStore::open(dir.path().join("state"), options).unwrap();
    fill(&store, Slot::One, 1, 300);
    let mut writer = store.begin_empty(&group(), Slot::Zero).unwrap();
    free.store(1_000_000, Ordering::SeqCst);
    let error = (0..300).find_map(|id| writer.put(KIND_LEASE, id, &value(id, 10)).err()).unwrap();
    assert!(error.is_storage_full() && !error.is_final(), "{error}");
    drop(writer);
    assert!(store.begin(&group(), Slot::Zero).unwrap_err().is_storage_full());
    free.store(u64::MAX, Ordering::SeqCst);
    fill(&store, Slot::Zero, 2, 300);
    store.read_slot(&group(), Slot::Zero, &mut Sink::default()).unwrap();
    store.read_slot(&group(), Slot::One, &mut Sink::default()).unwrap();
}

/// What a writer has left in the file that gave up never becomes free. Where it has taken the last
/// of the disk, the next checkpoint has to be written right there, or there is never one again.
#[test]
fn a_slot_is_written_into_what_the_file_has_unused() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    const MIB: u64 = 1024 * 1024;

    let dir = tempfile::tempdir().unwrap();
    let free = Arc::new(AtomicU64::new(u64::MAX));
    let told = Arc::clone(&free);
    let space = SpaceProbe::new(move |_| Ok(told.load(Ordering::SeqCst)));
    let options = StateOptions { pause: Duration::ZERO, space, ..StateOptions::default() };
    let (store, _) = StateStore::open(dir.path().join("state"), options).unwrap();
    assert_eq!(store.unused_bytes(), 0);
    let mut writer = store.begin_empty(&group(), Slot::Zero).unwrap();
    (0..40_000).for_each(|id| writer.put(KIND_LEASE, id, &value(id, 1_000)).unwrap());
    drop(writer);
    assert!(store.unused_bytes() > 20 * MIB, "{}", store.unused_bytes());

    free.store(20 * MIB, Ordering::SeqCst);
    fill(&store, Slot::Zero, 1, 600);
    store.read_slot(&group(), Slot::Zero, &mut Sink::default()).unwrap();
    free.store(11 * MIB, Ordering::SeqCst);
    assert!(store.begin(&group(), Slot::Zero).is_err_and(|error| error.is_storage_full()));
}

#[test]
fn a_slot_that_was_not_finished_never_counts() {
    for finish in ["dropped", "restarted", "one step only"] {
        let dir = tempfile::tempdir().unwrap();
        let (store, _) = open(dir.path());
        fill(&store, Slot::Zero, 1, 600);
        fill(&store, Slot::One, 2, 600);
        let mut writer = store.begin(&group(), Slot::Zero).unwrap();
        if finish != "one step only" {
            (0..400).for_each(|id| writer.put(KIND_LEASE, id, &value(id + 1, 10)).unwrap());
        }

        drop(writer);
        let store = if finish == "restarted" {
            drop(store);
            open(dir.path()).0
        } else {
            store
        };

        let slots = store.slots(&group());
        assert_eq!(slots[0], None, "{finish}");
        assert_eq!(
            store.read_slot(&group(), Slot::Zero, &mut Sink::default()),
            Err(SlotError::Empty)
        );

        let mut other = Sink::default();
        let header = store.read_slot(&group(), Slot::One, &mut other).unwrap();
        assert_eq!((header.sequence, other.records.len()), (2, 600));
    }
}

#[test]
fn a_header_that_does_not_fit_its_records_is_a_mismatch() {
    let dir = tempfile::tempdir().unwrap();

    let (store, _) = open(dir.path());
    for (records, digest) in [(1, 0), (2, 1), (0, 0)] {
        let mut sink = Sink::default();
        let mut writer = store.begin(&group(), Slot::Zero).unwrap();
        for id in 0..2 {
            writer.put(KIND_META, id, &value(id, 5)).unwrap();
            sink.records.insert((KIND_META, id), value(id, 5));
        }
        let right = sink.header(1);
        let committed = writer.commit(&Header { records, digest: right.digest ^ digest, ..right });
        if records != 2 {
            let refused = committed.unwrap_err();
            assert!(matches!(refused, StateError::Incomplete { records: 2, .. }), "{refused}");
            assert_eq!(store.header(&group(), Slot::Zero), Err(SlotError::Empty));
            continue;
        }
        committed.unwrap();
        let error = store.read_slot(&group(), Slot::Zero, &mut Sink::default()).unwrap_err();
        assert!(matches!(error, SlotError::Mismatch { records: 2, .. }), "{error}");
    }
}

#[test]
fn groups_and_slots_do_not_mix() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    fill(&store, Slot::Zero, 1, 10);
    fill(&store, Slot::One, 2, 20);
    let other = GroupName::new("eu").unwrap();
    assert_eq!(store.slots(&other), [None, None]);

    assert_eq!(store.header(&other, Slot::One), Err(SlotError::Empty));
    store.wipe(&other, Slot::One).unwrap();
    store.wipe(&group(), Slot::Zero).unwrap();
    let slots = store.slots(&group()).map(|header| header.map(|header| header.records));
    assert_eq!(slots, [None, Some(20)]);
    let mut writer = store.begin(&group(), Slot::Zero).unwrap();

    writer.put(KIND_META, 1, &value(1, 1)).unwrap();
    let records = [((KIND_META, 1), value(1, 1))].into();
    writer.commit(&Sink { records }.header(3)).unwrap();
    store.read_slot(&group(), Slot::Zero, &mut Sink::default()).unwrap();
}

#[test]
fn pages_have_all_records_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let whole = fill(&store, Slot::One, 1, 95);

    for size in [1, 7, 95, 10_000] {
        let (mut after, mut records) = (None, Vec::new());
        loop {
            let page = store.page(&group(), Slot::One, after, size).unwrap();
            let Some(last) = page.last() else { break };
            assert!(page.len() <= size);
            after = Some((last.kind, last.id));
            records.extend(page.into_iter().map(|record| ((record.kind, record.id), record.value)));
        }
        assert_eq!(records, whole.records.clone().into_iter().collect::<Vec<_>>());
    }

    assert_eq!(store.page(&group(), Slot::Zero, None, 10), Err(SlotError::Empty));
}

#[test]
fn what_could_not_be_read_again_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut writer = store.begin(&group(), Slot::Zero).unwrap();

    let refused = [
        writer.put(9, 1, &value(1, 1)),
        writer.put(0, 0, &value(1, 1)),
        writer.put(KIND_RESOURCE, 1, b"no envelope"),
        writer.put(KIND_RESOURCE, 1, &vec![0; 70_000]),
    ];

    for result in refused {
        assert!(matches!(result, Err(StateError::Refused { .. })), "{result:?}");
    }

    let busy = store.begin(&group(), Slot::Zero).unwrap_err();
    assert!(matches!(busy, StateError::Busy(_)), "{busy}");
    let membership = vec![0; 33_000];
    let result = writer.commit(&Header { membership, ..Sink::default().header(1) });
    assert!(matches!(result, Err(StateError::Refused { .. })), "{result:?}");
    assert_eq!(store.slots(&group()), [None, None]);
    store.begin(&group(), Slot::Zero).unwrap().commit(&Sink::default().header(1)).unwrap();
}

#[test]
fn a_sink_can_refuse() {
    struct Refusing;
    impl ratequeue_storage::RecordSink for Refusing {
        fn record(&mut self, _: u8, id: u64, _: &[u8]) -> Result<(), SlotError> {
            if id == 5 { Err(SlotError::Sink("five".into())) } else { Ok(()) }
        }
        fn digest(&mut self) -> u64 {
            unreachable!("reading has ended before")
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    fill(&store, Slot::Zero, 1, 10);
    let error = store.read_slot(&group(), Slot::Zero, &mut Refusing).unwrap_err();
    assert_eq!(error, SlotError::Sink("five".into()));
}

#[test]
fn a_state_that_is_moved_aside_is_kept_and_its_writers_end() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    fill(&store, Slot::Zero, 1, 300);

    for n in 1..=2 {
        let mut writer = store.begin(&group(), Slot::One).unwrap();
        writer.put(KIND_META, 1, &value(1, 1)).unwrap();
        let aside = store.move_aside(store.generation(), "a test").unwrap().unwrap();
        assert_eq!(store.move_aside(0, "by another who was slower").unwrap(), None);
        assert_eq!(aside, dir.path().join(format!("state.damaged-{n}")));
        assert!(aside.join("db").exists());
        assert!(matches!(writer.commit(&header(1)), Err(StateError::Gone)));
        assert_eq!(store.slots(&group()), [None, None]);
    }

    fill(&store, Slot::One, 1, 300);
    drop(store);
    let (store, opened) = open(dir.path());
    assert!(opened.recovered);
    store.read_slot(&group(), Slot::One, &mut Sink::default()).unwrap();
    store.close();

    let closed = store.read_slot(&group(), Slot::One, &mut Sink::default());
    assert!(matches!(closed, Err(SlotError::Sled(_))));
    assert!(matches!(store.begin(&group(), Slot::One), Err(StateError::Gone)));
}

#[test]
fn a_state_that_does_not_open_is_moved_aside() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    fill(&store, Slot::Zero, 1, 300);
    drop(store);
    let conf = dir.path().join("state/conf");
    fs::write(&conf, "segment_size: 42\nuse_compression: maybe\nversion: 0.0\n????").unwrap();
    let (store, opened) = open(dir.path());
    assert!(!opened.recovered);
    assert_eq!(opened.moved_aside, Some(dir.path().join("state.damaged-1")));
    assert_eq!(store.slots(&group()), [None, None]);
    fill(&store, Slot::Zero, 1, 300);
}

#[test]
fn large_records_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path());
    let mut sink = Sink::default();
    let mut writer = store.begin(&group(), Slot::Zero).unwrap();

    for id in 0..200 {
        let value = value(id, 60_000);
        writer.put(KIND_RESOURCE, id, &value).unwrap();
        sink.records.insert((KIND_RESOURCE, id), value);
    }

    writer.commit(&Header { applied: None::<LogId>, ..sink.header(1) }).unwrap();
    drop(store);
    let (store, _) = open(dir.path());
    let mut again = Sink::default();
    store.read_slot(&group(), Slot::Zero, &mut again).unwrap();
    assert_eq!(again.records, sink.records);
}
