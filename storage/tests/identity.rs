//! A data folder has one owner for life, and one process at a time.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::fs;
use std::path::Path;

use ratequeue_storage::{DataDir, FORMAT, GroupName, Identity, OpenError};

fn identity() -> Identity {
    Identity {
        format: FORMAT,
        cluster_id: "5f2c".into(),
        cluster_name: "demo".into(),
        node: 3,
        region: "eu-west-1".into(),
        incarnation: 1,
    }
}

fn owned(dir: &Path) {
    DataDir::open(dir).unwrap().write_identity(&identity()).unwrap();
}

#[test]
fn is_written_once_and_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made/on/the/way");
    let data = DataDir::open(&path).unwrap();
    assert_eq!(data.identity(), None);
    assert!(matches!(data.check(&identity()), Err(OpenError::Damaged { .. })));
    data.write_identity(&identity()).unwrap();

    data.write_identity(&identity()).unwrap();
    drop(data);
    let data = DataDir::open(&path).unwrap();
    assert_eq!(data.identity(), Some(identity()));
    data.check(&identity()).unwrap();
    let group = GroupName::new("global").unwrap();

    assert_eq!(data.log_dir(&group), path.join("log/global"));
    assert_eq!(data.state_dir(), path.join("state"));
    assert!(data.free_bytes().unwrap() > 0);
    assert!(!path.join("identity.tmp").exists());
}

#[test]
fn another_owner_is_refused_and_named() {
    let dir = tempfile::tempdir().unwrap();
    owned(dir.path());
    let data = DataDir::open(dir.path()).unwrap();

    let others = [
        ("cluster id", Identity { cluster_id: "x".into(), ..identity() }),
        ("node id", Identity { node: 4, ..identity() }),
        ("region", Identity { region: "x".into(), ..identity() }),
        ("incarnation", Identity { incarnation: 2, ..identity() }),
    ];

    for (name, other) in others {
        for result in [data.check(&other), data.write_identity(&other)] {
            let error = result.unwrap_err();
            assert!(
                matches!(&error, OpenError::OtherOwner { field, .. } if *field == name),
                "{error}"
            );
        }
    }

    assert_eq!(data.identity(), Some(identity()));
}

#[test]
fn a_foreign_folder_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("holiday.jpg"), "x").unwrap();
    let error = DataDir::open(dir.path()).unwrap_err();
    assert!(
        matches!(&error, OpenError::Foreign { entry, .. } if entry == "holiday.jpg"),
        "{error}"
    );
    assert!(error.needs_operator());
    assert!(error.to_string().contains("not a RateQueue data folder"), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_fresh_volume_is_not_foreign() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("lost+found")).unwrap();
    owned(dir.path());
}

#[test]
fn a_file_is_not_a_folder() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    fs::write(&path, "x").unwrap();
    let error = DataDir::open(&path).unwrap_err();
    assert!(matches!(error, OpenError::Io { .. }) && !error.needs_operator(), "{error}");
}

#[test]
fn every_change_of_the_identity_file_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    owned(dir.path());
    let path = dir.path().join("identity.json");
    let text = fs::read(&path).unwrap();

    for at in 0..text.len() {
        for bit in 0..8 {
            let mut damaged = text.clone();
            damaged[at] ^= 1 << bit;
            fs::write(&path, damaged).unwrap();
            match DataDir::open(dir.path()) {
                Err(OpenError::Damaged { .. } | OpenError::NewerFormat { .. }) => {}
                // White space between the parts has no meaning.
                Ok(data) => assert_eq!(data.identity(), Some(identity()), "bit {bit} of byte {at}"),
                Err(error) => panic!("bit {bit} of byte {at}: {error}"),
            }
        }
        fs::write(&path, &text[..at]).unwrap();
        let cut = DataDir::open(dir.path());
        assert!(
            matches!(cut, Err(OpenError::Damaged { .. })) || at == text.len() - 1,
            "cut at {at}"
        );
    }
}

#[test]
fn a_missing_identity_beside_a_log_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    owned(dir.path());
    fs::create_dir(dir.path().join("log")).unwrap();
    fs::remove_file(dir.path().join("identity.json")).unwrap();
    let error = DataDir::open(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::Damaged { .. }) && error.needs_operator(), "{error}");
}

#[test]
fn a_newer_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let text = r#"{"identity": {"format": 2, "colour": "red"}, "crc32c": "?"}"#;
    fs::write(dir.path().join("identity.json"), text).unwrap();
    let error = DataDir::open(dir.path()).unwrap_err();
    assert!(matches!(error, OpenError::NewerFormat { found: 2, .. }), "{error}");
}

#[test]
fn a_second_opening_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let first = DataDir::open(dir.path()).unwrap();
    let error = DataDir::open(dir.path()).unwrap_err();
    assert!(
        matches!(error, OpenError::Locked { holder: Some(pid), .. } if pid == std::process::id())
    );
    drop(first);
    DataDir::open(dir.path()).unwrap();
}

#[test]
fn the_founding_is_kept_replaced_and_forgotten_and_a_change_of_it_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let open = || DataDir::open(dir.path()).unwrap();
    assert_eq!(open().founding().unwrap(), None);
    for text in ["{\"nodes\":[1]}", "{\"nodes\":[1,2]}"] {
        // It comes before the identity, and the folder of a start that got no further is still a
        // new one.
        open().write_founding(Some(text)).unwrap();
        let data = open();
        assert_eq!((data.identity(), data.founding().unwrap().as_deref()), (None, Some(text)));
    }

    let path = dir.path().join("founding.json");
    let changed = fs::read_to_string(&path).unwrap().replace("1,2", "1,3");
    fs::write(&path, changed).unwrap();
    let error = open().founding().unwrap_err();
    assert!(
        matches!(&error, OpenError::Damaged { detail, .. } if detail.contains("checksum")),
        "{error}"
    );
    open().write_founding(None).unwrap();
    open().write_founding(None).unwrap();
    assert_eq!(open().founding().unwrap(), None);
}
