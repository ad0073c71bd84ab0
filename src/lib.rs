//! RateQueue: a replicated rate limiter that is also a queue. The server and its command line.
//!
//! ```text
//!   config.rs   the file that describes a cluster
//!   audit/      what the log of a stopped node decided, and whether every bound held
//!   node/       what runs: a node, its data folder, its two groups, the regions, the catalog, its counters
//!   ops/        changes of members, carried out by the leaders
//!   service/    the application: what a call does, whoever asks for it
//!   http/       what callers send: handlers that translate
//!   run.rs      a node at work, from the first connection to a clean stop
//!   cli/        what the user types, one file a command
//! ```
//!
//! No rule of limits lives here: calls become commands, the group decides them, and outcomes become
//! answers.

mod audit;
mod cli;
mod config;
mod http;
mod node;
mod ops;
pub mod run;
mod service;

use std::process::ExitCode;

/// The program: does what its command line says.
#[must_use]
pub fn main() -> ExitCode {
    match cli::run() {
        Ok(exit) => exit.into(),
        Err(failed) => {
            eprintln!("ratequeue: {}", failed.text);
            failed.exit.into()
        }
    }
}
