//! How the process ends.

use std::process::ExitCode;

/// How the process ends. 0 also after SIGTERM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It did what it was told to.
    Done,
    /// It failed.
    Failed,
    /// It was used or configured wrongly.
    Usage,
    /// The wait ran out.
    WaitRanOut,
    /// The lease was lost while the command ran under it.
    LeaseLost,
    /// The data folder is damaged, foreign or locked.
    Data,
    /// The exit code of a command that was run.
    Code(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::WaitRanOut => 75,
            Exit::LeaseLost => 76,
            Exit::Data => 78,
            Exit::Code(code) => code,
        })
    }
}

/// A failure with its exit code and what to tell the user.
#[derive(Debug)]
pub struct Failed {
    pub exit: Exit,
    pub text: String,
}

impl Failed {
    pub fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self { exit, text: text.into() }
    }
}
