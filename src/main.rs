//! RateQueue: a replicated rate limiter that is also a waiting line. The server and its command line.
//!
//! ```text
//!   cli/     what the user types, one file a command
//!   http/    what callers send: handlers that translate
//!   stats/   what a node remembers of what it did, and the metrics
//!   node.rs     a node: its data folder, its two groups
//!   catalog.rs  where a resource lives; claiming its name
//!   aside.rs    reads that are long: one at a time, on a thread of their own
//!   ops/     changes of members, carried out by the leaders
//!   regions.rs  who is in which region, and whether it can be reached
//!   calls.rs    calls that are passed on to another region
//!   descriptors.rs  how many files and connections the process may have
//! ```
//!
//! No rule of limits lives here: calls become commands, the group decides them, and outcomes become answers.

mod aside;
mod calls;
mod catalog;
mod cli;
mod config;
mod descriptors;
mod exit;
mod http;
mod node;
mod ops;
mod regions;
mod stats;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run() {
        Ok(exit) => exit.into(),
        Err(failed) => {
            eprintln!("ratequeue: {}", failed.text);
            failed.exit.into()
        }
    }
}
