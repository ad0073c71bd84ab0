//! The signals that end a command.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::{Exit, Failed};

/// A signal that asks the program to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// SIGINT, from Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

impl Ending {
    /// 128 and the signal's number, as shells say it.
    pub fn code(self) -> u8 {
        match self {
            Self::Interrupt => 130,
            Self::Terminate => 143,
        }
    }

    /// The end of a command that was interrupted.
    pub fn exit(self) -> Exit {
        Exit::Code(self.code())
    }
}

/// The handlers of SIGINT and SIGTERM. From when they are installed on, neither signal ends the program by itself.
#[derive(Debug)]
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Installs the handlers.
    pub fn install() -> Result<Self, Failed> {
        let cannot = |error: std::io::Error| Failed::new(Exit::Failed, format!("no signal handler: {error}"));
        let interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
        let terminate = signal(SignalKind::terminate()).map_err(cannot)?;
        Ok(Self { interrupt, terminate })
    }

    /// Waits for the next signal. Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> Ending {
        tokio::select! {
            _ = self.interrupt.recv() => Ending::Interrupt,
            _ = self.terminate.recv() => Ending::Terminate,
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
