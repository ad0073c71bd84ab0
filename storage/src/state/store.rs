//! [`StateStore`]: the slots of all groups.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use super::StateError;
use super::db::{Db, FILE_DB, io_error};
use super::slot::Slot;
use super::writer::{Base, SlotWriter};
use crate::caps;
use crate::file::sync_parent;
use crate::group::GroupName;
use crate::keys;
use crate::space::SpaceProbe;

/// How the store is kept. The defaults are right outside of tests.
#[derive(Debug, Clone)]
pub struct StateOptions {
    /// sled's page cache, in bytes.
    pub cache_bytes: u64,
    /// Pause after each batch of a writer.
    pub pause: Duration,
    /// Tells how much room is left; a writer gives up before it is gone.
    pub space: SpaceProbe,
}

impl Default for StateOptions {
    fn default() -> Self {
        Self {
            cache_bytes: caps::STATE_CACHE_BYTES_MAX,
            pause: caps::STATE_BATCH_PAUSE,
            space: SpaceProbe::default(),
        }
    }
}

/// What opening found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Whether there was a state that could be opened. Whether it is whole is seen by reading it.
    pub recovered: bool,
    /// Where a state was moved that could not be opened.
    pub moved_aside: Option<PathBuf>,
}

/// The checkpoints of all groups. A cheap handle: clones share the store.
#[derive(Clone)]
pub struct StateStore {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) dir: PathBuf,
    pub(super) options: StateOptions,
    /// Shared by everybody who uses sled, taken for writing to sync, replace or close it.
    pub(super) current: RwLock<Current>,
    /// Trees that are being written.
    pub(super) writing: Mutex<BTreeSet<String>>,
    /// Bytes of the records, with their keys, of the trees that are known to be whole.
    pub(super) whole: Mutex<BTreeMap<String, u64>>,
    /// A write has failed: sled refuses everything until it is opened again.
    pub(super) broken: AtomicBool,
    /// Counts the times that the state was begun anew.
    replaced: AtomicU64,
}

pub(super) struct Current {
    /// `None` once closed.
    pub(super) db: Option<Db>,
    /// Counts the times that sled was opened again, so that writers of an earlier one notice.
    pub(super) generation: u64,
    /// The first failed fsync.
    pub(super) failed: Option<String>,
}

impl Current {
    pub(super) fn usable(&self, generation: u64) -> Result<&Db, StateError> {
        match (&self.failed, &self.db) {
            (Some(failed), _) => Err(StateError::Failed(failed.clone())),
            (None, Some(db)) if self.generation == generation => Ok(db),
            (None, _) => Err(StateError::Gone),
        }
    }

    /// Makes all durable. A failed fsync is remembered: what it did not report as written may be
    /// lost, and a second one would not say so.
    pub(super) fn sync(&mut self, generation: u64) -> Result<(), StateError> {
        self.usable(generation)?;
        let Some(db) = self.db.as_mut() else { return Err(StateError::Gone) };
        db.flush()?;
        db.sync_files().map_err(|error| {
            if matches!(error, StateError::NoDescriptors { .. }) {
                // A file that could not be opened was not synced, and no fsync has failed.
                return error;
            }
            self.failed = Some(error.to_string());
            StateError::Failed(error.to_string())
        })
    }
}

impl Inner {
    /// What sled's file takes on the disk.
    pub(super) fn disk_bytes(&self) -> u64 {
        let file = fs::metadata(self.dir.join(FILE_DB));
        // In units of 512 bytes, whatever the file system.
        file.map_or(0, |file| file.blocks().saturating_mul(512))
    }

    /// Opens sled again if a write has failed. Whoever writes or reads another slot meanwhile has
    /// to begin anew.
    fn mend(&self) -> Result<(), StateError> {
        if !self.broken.load(Ordering::SeqCst) {
            return Ok(());
        }
        let mut current = self.current.write();
        if let Some(failed) = &current.failed {
            return Err(StateError::Failed(failed.clone()));
        }
        current.generation = current.generation.saturating_add(1);
        current.db = None;
        current.db = Some(Db::open(&self.dir, self.options.cache_bytes)?);
        self.broken.store(false, Ordering::SeqCst);
        tracing::info!("the checkpoints were opened again after a write had failed");
        Ok(())
    }
}

impl StateStore {
    /// Opens the checkpoints in `dir`. When sled cannot open them, the folder is moved aside and a
    /// new one begun: the log, or the other nodes, have it all.
    ///
    /// # Errors
    /// [`StateError`] when not even a new one can be opened (no space, no permission).
    pub fn open(
        dir: impl AsRef<Path>,
        options: StateOptions,
    ) -> Result<(Self, Opened), StateError> {
        let dir = dir.as_ref().to_path_buf();
        let (db, moved_aside) = match Db::open(&dir, options.cache_bytes) {
            Ok(db) => (db, None),
            Err(error) if is_damage(&error) => {
                let aside = rename_aside(&dir, &error.to_string())?;
                (Db::open(&dir, options.cache_bytes)?, Some(aside))
            }
            Err(error) => return Err(error),
        };

        let opened = Opened { recovered: db.was_recovered(), moved_aside };
        let inner = Inner {
            dir,
            options,
            current: RwLock::new(Current { db: Some(db), generation: 0, failed: None }),
            writing: Mutex::new(BTreeSet::new()),
            whole: Mutex::new(BTreeMap::new()),
            broken: AtomicBool::new(false),
            replaced: AtomicU64::new(0),
        };

        Ok((Self { inner: Arc::new(inner) }, opened))
    }

    /// Bytes of the records of a slot, with their keys, of one that was not read about; `None`
    /// before the other was read, and while it is not whole.
    pub fn slot_bytes(&self, group: &GroupName, slot: Slot) -> Option<u64> {
        self.inner.whole.lock().get(&keys::tree_name(group, slot)).copied()
    }

    /// What the file of the checkpoints has on the disk and does not need, about: what slots held
    /// that are not whole any more. It never becomes free space, but the next checkpoint is
    /// written there.
    pub fn unused_bytes(&self) -> u64 {
        let records =
            self.inner.whole.lock().values().fold(0, |sum: u64, bytes| sum.saturating_add(*bytes));
        let used = records
            .saturating_mul(caps::STATE_BYTES_FACTOR)
            .saturating_add(caps::STATE_EMPTY_BYTES);
        self.inner.disk_bytes().saturating_sub(used)
    }

    /// Begins to write a slot on top of the finished checkpoint that it holds, so that only those
    /// records have to be put or deleted that have changed since. Its header is gone, durably,
    /// when this returns. A slot without a finished checkpoint is emptied first.
    ///
    /// # Errors
    /// [`StateError::Busy`] while another writer has the slot, else what sled or the system says.
    pub fn begin(&self, group: &GroupName, slot: Slot) -> Result<SlotWriter, StateError> {
        self.inner.mend()?;
        SlotWriter::begin(self, keys::tree_name(group, slot), Base::Finished)
    }

    /// Begins to write a slot from nothing: all that it holds is removed, in bounded steps, its
    /// header first.
    ///
    /// # Errors
    /// As [`StateStore::begin`].
    pub fn begin_empty(&self, group: &GroupName, slot: Slot) -> Result<SlotWriter, StateError> {
        let begin = || {
            self.inner.mend()?;
            SlotWriter::begin(self, keys::tree_name(group, slot), Base::Nothing)
        };
        let begun = begin();
        if !matches!(begun, Err(StateError::Sled(_))) {
            return begun;
        }

        // A write that failed before is behind this one. It is not behind a second, with sled
        // opened anew and room on the disk: there is damage that sled does not get over.
        self.inner.broken.store(true, Ordering::SeqCst);
        let generation = self.generation().saturating_add(1);
        begin().map_err(|error| {
            if let StateError::Sled(detail) = error {
                StateError::Damaged { generation, detail }
            } else {
                error
            }
        })
    }

    /// Which store this is: it counts up whenever sled was opened again or replaced.
    pub fn generation(&self) -> u64 {
        self.inner.current.read().generation
    }

    /// Whether there is a writer of one of the group's slots.
    pub fn is_written(&self, group: &GroupName) -> bool {
        let writing = self.inner.writing.lock();
        Slot::ALL.into_iter().any(|slot| writing.contains(&keys::tree_name(group, slot)))
    }

    /// Removes all of a slot.
    ///
    /// # Errors
    /// As [`StateStore::begin`].
    pub fn wipe(&self, group: &GroupName, slot: Slot) -> Result<(), StateError> {
        self.begin_empty(group, slot).map(drop)
    }

    /// Moves the whole state aside and begins a new one, for when a slot cannot be written any
    /// more. Returns where it is now; nothing happens, and `None` is returned, when the store is
    /// not that of this generation any more: somebody else was faster.
    ///
    /// The slots of all groups are empty then. [`StateStore::replaced`] tells the others.
    ///
    /// # Errors
    /// When it cannot be renamed, or the new one not be opened; the store is then closed.
    pub fn move_aside(&self, generation: u64, reason: &str) -> Result<Option<PathBuf>, StateError> {
        let mut current = self.inner.current.write();
        if current.generation != generation {
            return Ok(None);
        }
        self.inner.replaced.fetch_add(1, Ordering::SeqCst);
        current.generation = current.generation.saturating_add(1);
        current.db = None;
        let aside = rename_aside(&self.inner.dir, reason)?;
        current.db = Some(Db::open(&self.inner.dir, self.inner.options.cache_bytes)?);
        current.failed = None;
        self.inner.whole.lock().clear();
        self.inner.broken.store(false, Ordering::SeqCst);
        Ok(Some(aside))
    }

    /// How often the state was moved aside and begun anew: what was in a slot before is gone. Waits
    /// for nothing.
    pub fn replaced(&self) -> u64 {
        self.inner.replaced.load(Ordering::SeqCst)
    }

    /// Free bytes on the file system of the checkpoints.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn free_bytes(&self) -> io::Result<u64> {
        self.inner.options.space.free_bytes(&self.inner.dir)
    }

    /// Free bytes on the file system of another folder of this node.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn free_bytes_at(&self, dir: &Path) -> io::Result<u64> {
        self.inner.options.space.free_bytes(dir)
    }

    /// Closes sled. Later calls fail.
    pub fn close(&self) {
        self.inner.current.write().db = None;
    }
}

impl fmt::Debug for StateStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateStore").field("dir", &self.inner.dir).finish_non_exhaustive()
    }
}

/// What a record with a value of so many bytes counts.
pub(super) fn record_bytes(value: usize) -> u64 {
    u64::try_from(value.saturating_add(keys::RECORD_KEY_BYTES)).unwrap_or(u64::MAX)
}

/// Whether a new folder could help: not when the system refuses us, or the disk is full.
fn is_damage(error: &StateError) -> bool {
    match error {
        StateError::Sled(_) | StateError::Damaged { .. } => true,
        StateError::Io { what, kind, .. } => {
            use io::ErrorKind::{InvalidData, NotADirectory, UnexpectedEof};
            *what == "sled"
                && [InvalidData, NotADirectory, UnexpectedEof, io::ErrorKind::NotFound]
                    .contains(kind)
        }
        StateError::Failed(_)
        | StateError::Refused { .. }
        | StateError::NoDescriptors { .. }
        | StateError::Busy(_)
        | StateError::Gone
        | StateError::NoSpace { .. }
        | StateError::Incomplete { .. } => false,
    }
}

fn rename_aside(dir: &Path, reason: &str) -> Result<PathBuf, StateError> {
    let io = |error: io::Error| io_error("moving the state aside", &error);
    let parent = dir.parent().unwrap_or(Path::new("."));
    for n in 1..=caps::STATE_DAMAGED_KEPT_MAX {
        let aside = parent.join(format!("{}{n}", keys::DIR_STATE_DAMAGED));
        if aside.try_exists().map_err(io)? {
            continue;
        }
        fs::rename(dir, &aside).map_err(io)?;
        sync_parent(dir).map_err(io)?;
        tracing::error!(
            reason,
            moved_to = %aside.display(),
            "the checkpoint is damaged: moved aside, it will be rebuilt from the log or from another node"
        );
        return Ok(aside);
    }

    let full = io::Error::other(format!(
        "there are {} damaged states already",
        caps::STATE_DAMAGED_KEPT_MAX
    ));
    Err(io(full))
}
