//! The command line, against real nodes.
//!
//! ```text
//!   acquire.rs     running a command under a lease         interrupted.rs  ... and 200 signals at random instants
//!   resources.rs   limits as files                         look.rs         stats, leases, one resource
//!   audit.rs       what a stopped node decided
//!   errors.rs      no node, no such thing, wrong words     shell.rs        help, exit codes, completions
//! ```
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod acquire;
mod audit;
mod errors;
#[path = "../harness/mod.rs"]
mod harness;
mod interrupted;
mod look;
mod resources;
mod shell;

use std::process::{Output, Stdio};

use harness::{Client, Node, concurrency, program, run};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Child;

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// It ended with this code; gives what it printed.
#[track_caller]
pub fn ended(output: &Output, code: i32) -> String {
    assert_eq!(
        output.status.code(),
        Some(code),
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Runs the program against a node.
pub async fn against(client: &Client, args: &[&str]) -> Output {
    run(args, &[("RATEQUEUE_URL", &client.url())]).await
}

/// Runs the program against a node, with this on its standard input.
pub async fn fed(client: &Client, args: &[&str], input: &str) -> Output {
    let mut command = program();
    command.args(args).env("RATEQUEUE_URL", client.url());
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    child.wait_with_output().await.unwrap()
}

/// It ended with this code and said these words to standard error; all that it said there.
#[track_caller]
pub fn said(output: &Output, code: i32, words: &[&str]) -> String {
    ended(output, code);
    let said = text(&output.stderr);
    for word in words {
        assert!(said.contains(word), "it must say {word:?}, and says: {said}");
    }
    said
}

pub fn signal(child: &Child, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, signal).unwrap();
}

/// A node with a resource `r` of one slot.
pub async fn node() -> Node {
    let node = Node::start().await;
    node.client.create("r", concurrency(1)).await;
    node
}

pub async fn held(client: &Client) -> Value {
    client.stats("r").await["held"].clone()
}
