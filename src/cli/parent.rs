//! A node of `cluster up` ends with it, however that ends.

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

use crate::cli::exit::{Exit, Failed};

/// Has the kernel send SIGTERM to this process when the one that started it is gone.
pub fn end_with(parent: u32) -> Result<(), Failed> {
    set_parent_process_death_signal(Some(Signal::TERM)).map_err(|error| {
        Failed::new(Exit::Failed, format!("the parent process cannot be watched: {error}"))
    })?;

    // It may have ended before that.
    let is_there = i32::try_from(parent).ok().and_then(Pid::from_raw) == getppid();
    if is_there {
        Ok(())
    } else {
        Err(Failed::new(Exit::Failed, format!("process {parent}, which started it, is gone")))
    }
}
