//! Running out of file descriptors: the process, or the machine, has as many open as it may. Unlike
//! a failed write it says nothing about what is on the disk, and it ends by itself.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::io::Errno;

use crate::caps;

/// Whether an operation failed because there was no descriptor left.
#[must_use]
pub fn is_out_of_descriptors(error: &io::Error) -> bool {
    let out = [Errno::MFILE, Errno::NFILE];
    error.raw_os_error().is_some_and(|code| out.iter().any(|errno| errno.raw_os_error() == code))
}

/// Makes sure that descriptors can be had, by having some for a moment.
pub(crate) fn check(dir: &Path) -> io::Result<()> {
    let spare: io::Result<Vec<File>> =
        (0..caps::DESCRIPTORS_SPARE).map(|_| File::open(dir)).collect();
    spare.map(drop)
}
