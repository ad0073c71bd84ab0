//! The signals that end a command.

use rustix::process::{Pid, Signal as Number, kill_process};
use tokio::process::Child;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::exit::{Exit, Failed};

/// A signal that asks the program to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// SIGHUP: the terminal or the connection is gone.
    Hangup,
    /// SIGINT, from Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl Ending {
    /// 128 and the signal's number, as shells say it.
    pub fn code(self) -> u8 {
        match self {
            Self::Hangup => 129,
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }

    /// The end of a command that was interrupted.
    pub fn exit(self) -> Exit {
        Exit::Code(self.code())
    }

    /// Passes the signal on to a process that we started.
    pub fn pass_on(self, child: &Child) {
        let number = match self {
            Self::Hangup => Number::HUP,
            Self::Interrupt => Number::INT,
            Self::Terminate => Number::TERM,
        };
        let Some(id) = child.id() else { return };
        let sent =
            i32::try_from(id).ok().and_then(Pid::from_raw).map(|pid| kill_process(pid, number));
        if let Some(Err(error)) = sent {
            eprintln!("ratequeue: the signal could not be passed on to process {id}: {error}");
        }
    }
}

/// The handlers of SIGHUP, SIGINT and SIGTERM. From when they are installed on, none ends the
/// program by itself.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// None under `nohup`: the program is to outlive its terminal.
    hangup: Option<Signal>,
}

impl Signals {
    /// Installs the handlers.
    pub fn install() -> Result<Self, Failed> {
        let install = |kind| {
            signal(kind)
                .map_err(|error| Failed::new(Exit::Failed, format!("no signal handler: {error}")))
        };
        let hangup = if is_hangup_ignored() { None } else { Some(install(SignalKind::hangup())?) };
        let interrupt = install(SignalKind::interrupt())?;
        let terminate = install(SignalKind::terminate())?;
        Ok(Self { interrupt, terminate, hangup })
    }

    /// Waits for the next signal. Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> Ending {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.interrupt.recv() => Ending::Interrupt,
            _ = self.terminate.recv() => Ending::Terminate,
            _ = hangup => Ending::Hangup,
        }
    }

    /// A signal that has come already.
    pub async fn pending(&mut self) -> Option<Ending> {
        tokio::select! {
            biased;
            ending = self.next() => Some(ending),
            // Lets the runtime look at what the operating system has for it.
            () = tokio::task::yield_now() => None,
        }
    }
}

/// Whether SIGHUP was ignored when the program began. A handler would undo that.
fn is_hangup_ignored() -> bool {
    const HANGUP: u64 = 1;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & HANGUP != 0)
}
