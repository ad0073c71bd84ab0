//! How the process ends: the exit codes, and the table of them that `--help` shows.

use std::process::ExitCode;

use crate::config::FileError;

/// How the process ends. 0 also after SIGTERM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It did what it was told to.
    Done,
    /// It failed.
    Failed,
    /// It was used or configured wrongly.
    Usage,
    /// A node refused what was asked for.
    Refused,
    /// No node decided it.
    Unavailable,
    /// The API key is missing, unknown, or does not allow it.
    NotAllowed,
    /// The wait ran out.
    WaitRanOut,
    /// The lease was lost while the command ran under it.
    LeaseLost,
    /// The data folder is damaged, foreign or locked.
    Data,
    /// The exit code of a command that was run, or one in its place.
    Code(u8),
}

/// The exit code of `ratequeue acquire` for a command that cannot be run, as shells say it.
pub const CANNOT_RUN: Exit = Exit::Code(126);
/// The exit code of `ratequeue acquire` for a command that is not found, as shells say it.
pub const NOT_FOUND: Exit = Exit::Code(127);

/// The exit codes of all commands but `acquire`.
const CODES: [(&str, &str); 4] = [
    ("0", "done; also after SIGTERM and Ctrl-C"),
    ("1", "failed: refused, or nobody answered, or part of it failed"),
    ("2", "used or configured wrongly"),
    ("78", "the data folder is damaged, foreign, locked or too new: starting again does not help"),
];

/// The exit codes of `acquire`, which must not be taken for those of the command that it runs.
/// Those from 64 to 77 have the numbers and meanings of sysexits.h, as far as it has them.
const ACQUIRE_CODES: [(&str, &str); 11] = [
    ("64", "used or configured wrongly"),
    ("65", "a node refused it: there is no such resource, or the load is too large"),
    ("69", "no node decided it: none answers, or none has a quorum"),
    ("70", "failed for another reason"),
    ("75", "the wait ran out, or nothing was free and it did not want to wait"),
    ("76", "the lease was lost, and the command was ended for that, or not run"),
    ("77", "the API key is missing, unknown, or does not allow it"),
    ("126", "the command cannot be run"),
    ("127", "the command is not found"),
    (
        "128+N",
        "signal N ended the command, or came before it ran: 129 SIGHUP, 130 Ctrl-C, 143 SIGTERM",
    ),
    ("others", "the exit code of the command"),
];

impl Exit {
    fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed | Self::Refused | Self::Unavailable | Self::NotAllowed => 1,
            Self::Usage => 2,
            Self::WaitRanOut => 75,
            Self::LeaseLost => 76,
            Self::Data => 78,
            Self::Code(code) => code,
        }
    }

    /// The same end, with a code of its own beside those of the command that `acquire` runs.
    pub fn beside_a_command(self) -> Self {
        match self {
            Self::Usage => Self::Code(64),
            Self::Refused => Self::Code(65),
            Self::Unavailable => Self::Code(69),
            Self::Failed => Self::Code(70),
            Self::NotAllowed => Self::Code(77),
            Self::Done | Self::WaitRanOut | Self::LeaseLost | Self::Data | Self::Code(_) => self,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The exit codes, as `ratequeue --help` shows them.
pub fn help() -> String {
    section(&CODES) + "\n`ratequeue acquire --help` shows its own."
}

/// The exit codes of `acquire`, as its `--help` shows them.
pub fn acquire_help() -> String {
    section(&ACQUIRE_CODES)
}

fn section(codes: &[(&str, &str)]) -> String {
    let lines = codes.iter().map(|(code, meaning)| format!("\n  {code:<6}  {meaning}"));
    format!("Exit codes:{}", lines.collect::<String>())
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

    /// The same failure, with another exit code beside those of the command that `acquire` runs.
    pub fn beside_a_command(self) -> Self {
        Self { exit: self.exit.beside_a_command(), ..self }
    }
}

impl From<FileError> for Failed {
    fn from(error: FileError) -> Self {
        Self::new(Exit::Usage, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_is_in_the_table_of_its_command() {
        let is_in = |table: &[(&str, &str)], exit: Exit| {
            table.iter().any(|(code, _)| *code == exit.code().to_string())
        };

        for exit in [
            Exit::Done,
            Exit::Failed,
            Exit::Usage,
            Exit::Refused,
            Exit::Unavailable,
            Exit::NotAllowed,
            Exit::Data,
        ] {
            assert!(is_in(&CODES, exit), "{exit:?}");
        }

        for exit in [
            Exit::Failed,
            Exit::Usage,
            Exit::Refused,
            Exit::Unavailable,
            Exit::NotAllowed,
            Exit::WaitRanOut,
            Exit::LeaseLost,
            CANNOT_RUN,
            NOT_FOUND,
        ] {
            let beside = exit.beside_a_command();
            assert!(is_in(&ACQUIRE_CODES, beside) && beside.code() >= 64, "{exit:?}");
        }
    }
}
