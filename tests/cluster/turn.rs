//! Who may use the machine: what measures time has it alone, everything else shares it.
//!
//! The lock is a file, so that it holds between processes too.

use std::fs::File;
use std::path::Path;

/// A turn on this machine. It ends when it is dropped.
#[derive(Debug)]
pub struct Turn(#[allow(dead_code)] File);

impl Turn {
    /// No other test of several nodes runs meanwhile.
    pub fn alone() -> Self {
        let file = file();
        file.lock().unwrap();
        Self(file)
    }

    /// Others may run, but none that wants to be alone.
    pub fn shared() -> Self {
        let file = file();
        file.lock_shared().unwrap();
        Self(file)
    }
}

fn file() -> File {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cluster.lock");
    File::options().create(true).truncate(false).write(true).open(path).unwrap()
}
