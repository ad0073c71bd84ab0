//! The data folder: whose it is, and that only one process uses it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::caps;
use crate::file::{create_dir_durable, sync_parent, write_whole};
use crate::group::GroupName;
use crate::keys;

/// The layout of the data folder that this version writes.
pub const FORMAT: u32 = 1;

/// Who a node is. Written once, when the node is made part of a cluster; never changed afterwards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// Layout of the data folder; [`FORMAT`] in this version.
    pub format: u32,
    /// The cluster's unique id.
    pub cluster_id: String,
    /// The cluster's name, for people.
    pub cluster_name: String,
    /// The node's number, given by the cluster and never used twice in it.
    pub node: u64,
    /// The region the node is in.
    pub region: String,
    /// Tells apart two data folders that were ever made for the same node.
    pub incarnation: u64,
}

/// What stands in `identity.json`. The checksum is there because one changed digit would make this
/// another node.
#[derive(Serialize, Deserialize)]
struct IdentityFile {
    identity: Identity,
    crc32c: String,
}

/// What stands in `founding.json`. The text is opaque to this crate.
#[derive(Serialize, Deserialize)]
struct FoundingFile {
    founding: String,
    crc32c: String,
}

/// Only what is needed to know whether the rest can be read.
#[derive(Deserialize)]
struct FormatProbe {
    identity: FormatField,
}

#[derive(Deserialize)]
struct FormatField {
    format: u32,
}

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder holds something else.
    #[error(
        "{path} is not a RateQueue data folder: it has no {file} but holds '{entry}'. Give an empty folder or the right one",
        path = path.display(), file = keys::FILE_IDENTITY
    )]
    Foreign {
        /// The folder.
        path: PathBuf,
        /// Something found in it.
        entry: String,
    },
    /// The folder belongs to another node or cluster.
    #[error(
        "{path} belongs to another node: its {field} is '{found}', expected '{expected}'. Give this node's own folder, or an empty one for a new node",
        path = path.display()
    )]
    OtherOwner {
        /// The folder.
        path: PathBuf,
        /// Which part of the identity differs.
        field: &'static str,
        /// What stands in the folder.
        found: String,
        /// What this node expected.
        expected: String,
    },
    /// Another process uses the folder.
    #[error("{path} is in use by another process{}. Stop that process first", holder_text(.holder), path = path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
        /// Process id of the holder, when it could be read.
        holder: Option<u32>,
    },
    /// A newer version wrote the folder.
    #[error("{path} has format {found}, this version of RateQueue reads up to {FORMAT}. Start the newer version", path = path.display())]
    NewerFormat {
        /// The folder.
        path: PathBuf,
        /// The format found.
        found: u32,
    },
    /// The identity is missing from a used folder, or cannot be trusted.
    #[error(
        "{path} cannot be trusted: {detail}. This node must not vote any more: replace it with `ratequeue cluster replace-node`",
        path = path.display()
    )]
    Damaged {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// The system refused a file operation.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl OpenError {
    /// Whether starting again cannot help, because the folder itself is the trouble: everything but
    /// [`OpenError::Io`].
    pub fn needs_operator(&self) -> bool {
        !matches!(self, Self::Io { .. })
    }
}

fn holder_text(holder: &Option<u32>) -> String {
    holder.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

/// An open data folder. It is locked for as long as this value lives.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    identity: Mutex<Option<Identity>>,
    /// Held for its lock only.
    _lock: File,
}

impl DataDir {
    /// Opens and locks the folder, and makes it if it is missing.
    ///
    /// # Errors
    /// Any [`OpenError`] but [`OpenError::OtherOwner`]. A folder that is refused is left as it was.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, OpenError> {
        let path = path.as_ref().to_path_buf();
        let io = |source| io_error(&path, source);
        create_dir_durable(&path).map_err(io)?;
        // Looked at before the lock file is made: a foreign folder gets nothing of ours.
        refuse_foreign(&path)?;
        let lock = lock(&path)?;
        let identity = read_identity(&path)?;
        Ok(Self { path, identity: Mutex::new(identity), _lock: lock })
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Who the folder belongs to; `None` while it is new.
    pub fn identity(&self) -> Option<Identity> {
        self.identity.lock().clone()
    }

    /// Makes the folder belong to `identity`, durably. Writing the same identity again does
    /// nothing.
    ///
    /// # Errors
    /// [`OpenError::OtherOwner`] when it already belongs to another, [`OpenError::Io`] when it
    /// cannot be written.
    pub fn write_identity(&self, identity: &Identity) -> Result<(), OpenError> {
        let mut current = self.identity.lock();
        if let Some(current) = current.as_ref() {
            return compare(&self.path, current, identity);
        }
        let path = self.path.join(keys::FILE_IDENTITY);
        let text = identity_text(identity).map_err(|error| io_error(&path, error.into()))?;
        write_whole(&path, &text).map_err(|source| io_error(&path, source))?;
        *current = Some(identity.clone());
        Ok(())
    }

    /// Checks that the folder belongs to `expected`.
    ///
    /// # Errors
    /// [`OpenError::OtherOwner`] naming the first field that differs, [`OpenError::Damaged`] when
    /// there is no identity.
    pub fn check(&self, expected: &Identity) -> Result<(), OpenError> {
        match self.identity.lock().as_ref() {
            Some(found) => compare(&self.path, found, expected),
            None => Err(damaged(&self.path, "it has no identity yet")),
        }
    }

    /// The text that was written by [`DataDir::write_founding`] last; `None` when none was.
    ///
    /// # Errors
    /// [`OpenError::Damaged`] when it was changed since, [`OpenError::Io`] when it cannot be read.
    pub fn founding(&self) -> Result<Option<String>, OpenError> {
        let path = self.path.join(keys::FILE_FOUNDING);
        let Some(bytes) = read_small(&path, caps::FOUNDING_BYTES_MAX)? else { return Ok(None) };

        let unreadable =
            |error: serde_json::Error| damaged(&path, &format!("it cannot be read ({error})"));
        let stored: FoundingFile = serde_json::from_slice(&bytes).map_err(unreadable)?;
        if checksum_text(stored.founding.as_bytes()) != stored.crc32c {
            return Err(damaged(&path, "it was changed: its checksum does not fit"));
        }
        Ok(Some(stored.founding))
    }

    /// Records durably which nodes this one founds a cluster with, or that it founds none.
    ///
    /// # Errors
    /// [`OpenError::Io`] when it cannot be written.
    pub fn write_founding(&self, text: Option<&str>) -> Result<(), OpenError> {
        let path = self.path.join(keys::FILE_FOUNDING);
        let io = |source| io_error(&path, source);
        let Some(text) = text else {
            return match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io(error)),
                _ => sync_parent(&path).map_err(io),
            };
        };

        let stored =
            FoundingFile { founding: text.to_owned(), crc32c: checksum_text(text.as_bytes()) };
        let mut bytes = serde_json::to_vec_pretty(&stored).map_err(|error| io(error.into()))?;
        bytes.push(b'\n');
        write_whole(&path, &bytes).map_err(io)
    }

    /// The folder of a group's log. It is made when the log is opened, which must not be before the
    /// identity was written: a log without an identity is damage.
    pub fn log_dir(&self, group: &GroupName) -> PathBuf {
        self.path.join(keys::DIR_LOG).join(group.as_str())
    }

    /// The folder of the checkpoints. It is made when the state is opened.
    pub fn state_dir(&self) -> PathBuf {
        self.path.join(keys::DIR_STATE)
    }

    /// Free bytes on the folder's file system.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn free_bytes(&self) -> io::Result<u64> {
        crate::space::free_bytes(&self.path)
    }
}

fn refuse_foreign(path: &Path) -> Result<(), OpenError> {
    let io = |source| io_error(path, source);
    if path.join(keys::FILE_IDENTITY).try_exists().map_err(io)? {
        return Ok(());
    }

    for entry in fs::read_dir(path).map_err(io)? {
        let name = entry.map_err(io)?.file_name().to_string_lossy().into_owned();
        match name.as_str() {
            // Left by a start that got no further; `lost+found` stands in every fresh volume.
            keys::FILE_LOCK
            | keys::FILE_FOUNDING
            | "founding.tmp"
            | "identity.tmp"
            | "lost+found" => {}
            keys::DIR_LOG | keys::DIR_STATE => {
                let detail = format!("'{name}' is there, but {} is missing", keys::FILE_IDENTITY);
                return Err(damaged(path, &detail));
            }
            _ => {
                return Err(OpenError::Foreign { path: path.to_path_buf(), entry: name });
            }
        }
    }

    Ok(())
}

fn lock(dir: &Path) -> Result<File, OpenError> {
    let path = dir.join(keys::FILE_LOCK);
    let io = |source| io_error(&path, source);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(io)?;

    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Only for the message, so it may fail.
            let _ = (&file).take(32).read_to_string(&mut holder);
            return Err(OpenError::Locked {
                path: dir.to_path_buf(),
                holder: holder.trim().parse().ok(),
            });
        }
        Err(TryLockError::Error(source)) => return Err(io(source)),
    }

    file.set_len(0).map_err(io)?;
    writeln!(file, "{}", std::process::id()).map_err(io)?;
    Ok(file)
}

/// The bytes of a file, as far as the limit; `None` when there is no such file.
fn read_small(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, OpenError> {
    let io = |source| io_error(path, source);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    let mut bytes = Vec::new();
    file.take(limit).read_to_end(&mut bytes).map_err(io)?;
    Ok(Some(bytes))
}

fn read_identity(dir: &Path) -> Result<Option<Identity>, OpenError> {
    let path = dir.join(keys::FILE_IDENTITY);
    let Some(bytes) = read_small(&path, caps::IDENTITY_BYTES_MAX)? else { return Ok(None) };

    // The format first: of a newer one only this field is known to be where we look for it.
    let unreadable =
        |error: serde_json::Error| damaged(&path, &format!("it cannot be read ({error})"));
    let probe: FormatProbe = serde_json::from_slice(&bytes).map_err(unreadable)?;

    if probe.identity.format > FORMAT {
        return Err(OpenError::NewerFormat {
            path: dir.to_path_buf(),
            found: probe.identity.format,
        });
    }

    let stored: IdentityFile = serde_json::from_slice(&bytes).map_err(unreadable)?;
    let checksum = checksum(&stored.identity).map_err(unreadable)?;
    if checksum != stored.crc32c {
        return Err(damaged(&path, "it was changed: its checksum does not fit"));
    }

    Ok(Some(stored.identity))
}

fn identity_text(identity: &Identity) -> Result<Vec<u8>, serde_json::Error> {
    let mut text = serde_json::to_vec_pretty(&IdentityFile {
        identity: identity.clone(),
        crc32c: checksum(identity)?,
    })?;
    text.push(b'\n');
    Ok(text)
}

/// Over the compact JSON of the identity, so that the layout of the file does not matter.
fn checksum(identity: &Identity) -> Result<String, serde_json::Error> {
    Ok(checksum_text(&serde_json::to_vec(identity)?))
}

fn checksum_text(bytes: &[u8]) -> String {
    format!("{:08x}", crc32c::crc32c(bytes))
}

fn compare(path: &Path, found: &Identity, expected: &Identity) -> Result<(), OpenError> {
    let fields = [
        ("cluster id", found.cluster_id.clone(), expected.cluster_id.clone()),
        ("cluster name", found.cluster_name.clone(), expected.cluster_name.clone()),
        ("node id", found.node.to_string(), expected.node.to_string()),
        ("region", found.region.clone(), expected.region.clone()),
        ("incarnation", found.incarnation.to_string(), expected.incarnation.to_string()),
        ("format", found.format.to_string(), expected.format.to_string()),
    ];
    match fields.into_iter().find(|(_, found, expected)| found != expected) {
        None => Ok(()),
        Some((field, found, expected)) => {
            Err(OpenError::OtherOwner { path: path.to_path_buf(), field, found, expected })
        }
    }
}

fn damaged(path: &Path, detail: &str) -> OpenError {
    OpenError::Damaged { path: path.to_path_buf(), detail: detail.to_string() }
}

fn io_error(path: &Path, source: io::Error) -> OpenError {
    OpenError::Io { path: path.to_path_buf(), source }
}
