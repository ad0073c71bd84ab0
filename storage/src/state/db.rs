//! sled, opened, read and synced with the care it needs.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use super::StateError;
use crate::caps;
use crate::descriptors::is_out_of_descriptors;
use crate::file::{create_dir_durable, sync_dir, sync_parent};

/// sled's log, where all records are.
pub(super) const FILE_DB: &str = "db";
/// Folder of pages that are too large for the log.
const DIR_BLOBS: &str = "blobs";

/// One open sled, and what is needed to make it durable.
pub(super) struct Db {
    /// `None` only while this is dropped.
    sled: Option<sled::Db>,
    dir: PathBuf,
    /// A handle of our own on sled's file: an fsync through any handle covers the whole file.
    file: File,
    /// Blobs that were synced already; a blob is written once and never changed.
    blobs: BTreeSet<std::ffi::OsString>,
}

impl Db {
    pub(super) fn open(dir: &Path, cache_bytes: u64) -> Result<Self, StateError> {
        create_dir_durable(dir).map_err(|error| io_error("making the folder", &error))?;
        let config = sled::Config::new()
            .path(dir)
            .cache_capacity(cache_bytes)
            .mode(sled::Mode::LowSpace)
            // Flushed by us, at the end of a checkpoint; a timer would only add writes.
            .flush_every_ms(None);

        let sled = open_sled(&config)?;
        let file = File::open(dir.join(FILE_DB))
            .map_err(|error| io_error("opening sled's file", &error))?;
        let mut db =
            Self { sled: Some(sled), dir: dir.to_path_buf(), file, blobs: BTreeSet::new() };

        // Opening makes files, and may cut sled's log: both must be on the disk before anything
        // builds on them.
        db.sync()?;
        sync_parent(dir).map_err(|error| io_error("syncing the data folder", &error))?;
        Ok(db)
    }

    pub(super) fn tree(&self, name: &str) -> Result<sled::Tree, StateError> {
        let sled = self.sled()?;
        guarded(|| sled.open_tree(name))
    }

    /// The tree, if there is one. Does not make it.
    pub(super) fn existing_tree(&self, name: &str) -> Result<Option<sled::Tree>, StateError> {
        let exists = self.sled()?.tree_names().iter().any(|tree| tree == name.as_bytes());
        if exists { self.tree(name).map(Some) } else { Ok(None) }
    }

    pub(super) fn was_recovered(&self) -> bool {
        self.sled.as_ref().is_some_and(|sled| sled.was_recovered())
    }

    /// Returns when all that was written is on the disk.
    pub(super) fn sync(&mut self) -> Result<(), StateError> {
        self.flush()?;
        self.sync_files()
    }

    /// Has sled write what it holds back. It only starts the writing (`sync_file_range`, no
    /// barrier), and does not look at blobs and folders at all.
    pub(super) fn flush(&self) -> Result<(), StateError> {
        let sled = self.sled()?;
        guarded(|| sled.flush()).map(drop)
    }

    /// Makes durable what was written.
    pub(super) fn sync_files(&mut self) -> Result<(), StateError> {
        self.sync_blobs().map_err(|error| io_error("syncing blobs", &error))?;
        self.file.sync_data().map_err(|error| io_error("syncing sled's file", &error))?;
        self.sync_folder().map_err(|error| io_error("syncing the folder", &error))
    }

    fn sled(&self) -> Result<&sled::Db, StateError> {
        self.sled.as_ref().ok_or(StateError::Gone)
    }

    fn sync_blobs(&mut self) -> io::Result<()> {
        let dir = self.dir.join(DIR_BLOBS);
        let mut present = BTreeSet::new();
        for entry in fs::read_dir(&dir)? {
            let name = entry?.file_name();
            if !self.blobs.contains(&name) {
                match File::open(dir.join(&name)) {
                    Ok(file) => file.sync_all()?,
                    // sled's garbage collection was faster; nothing points to it any more.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                }
            }
            present.insert(name);
        }

        if present != self.blobs {
            sync_dir(&dir)?;
            self.blobs = present;
        }

        Ok(())
    }

    /// sled syncs its snapshot files, but not their names, and never its settings file.
    fn sync_folder(&self) -> io::Result<()> {
        match File::open(self.dir.join("conf")) {
            Ok(file) => file.sync_all()?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        sync_dir(&self.dir)
    }
}

impl Drop for Db {
    /// sled flushes when it is dropped, and panics when that fails. What matters was synced before.
    fn drop(&mut self) {
        let sled = self.sled.take();
        if catch_unwind(AssertUnwindSafe(|| drop(sled))).is_err() {
            tracing::warn!("sled panicked while it was closed");
        }
    }
}

/// sled gives its file lock back some time after it was dropped, from a thread of its own. The data
/// folder's lock is ours already, so a locked file only means: not yet.
fn open_sled(config: &sled::Config) -> Result<sled::Db, StateError> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        match guarded(|| config.open()) {
            Err(StateError::Io { detail, .. })
                if detail.contains("could not acquire lock")
                    && attempt < caps::STATE_OPEN_ATTEMPTS_MAX =>
            {
                std::thread::sleep(caps::STATE_OPEN_RETRY);
            }
            other => return other,
        }
    }
}

/// Runs a call of sled, which panics on some kinds of damage.
pub(super) fn guarded<T>(call: impl FnOnce() -> sled::Result<T>) -> Result<T, StateError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        // An unreadable sector is damage, like any other: not something that a later start could
        // get around.
        Ok(Err(sled::Error::Io(error)))
            if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) =>
        {
            Err(StateError::Sled(error.to_string()))
        }
        Ok(Err(sled::Error::Io(error))) => Err(io_error("sled", &error)),
        Ok(Err(error)) => Err(StateError::Sled(error.to_string())),
        Err(_panic) => Err(StateError::Sled("it panicked".to_string())),
    }
}

pub(super) fn io_error(what: &'static str, error: &io::Error) -> StateError {
    if is_out_of_descriptors(error) {
        return StateError::NoDescriptors { what, detail: error.to_string() };
    }
    StateError::Io { what, kind: error.kind(), detail: error.to_string() }
}
