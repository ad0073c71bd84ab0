//! `ratequeue acquire`: runs a command while holding a lease.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use clap::Args;
use ratequeue_api::client::{Client, ClientError, Held};
use ratequeue_api::{AcquireRequest, ErrorCode, Load, ReleaseRequest};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use super::{Server, duration, pass_on, resource_name};
use crate::exit::{Exit, Failed};

/// Acquires, runs a command while holding the lease, and releases.
///
/// Exits with the exit code of the command, or 75 when the wait ran out. The command finds RATEQUEUE_LEASE_ID and
/// RATEQUEUE_FENCING_TOKEN in its environment.
#[derive(Debug, Args)]
pub struct Acquire {
    /// The resource
    #[arg(value_parser = resource_name)]
    resource: String,
    /// How much: a number, or one for each dimension: input=1200,output=800
    #[arg(long, default_value = "1", value_parser = parse_load, value_name = "N")]
    load: Load,
    /// How long to wait in line: 250ms, 5s, 2m, 1h
    #[arg(long, default_value = "0", value_parser = duration::parse, value_name = "TIME")]
    wait: Duration,
    /// 0 (first) to 9 (last)
    #[arg(long, default_value = "5", value_parser = clap::value_parser!(u64).range(0..=9))]
    priority: u64,
    /// Time to live of the lease; it is extended while the command runs
    #[arg(long, value_parser = duration::parse, value_name = "TIME")]
    ttl: Option<Duration>,
    #[command(flatten)]
    server: Server,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

fn parse_load(text: &str) -> Result<Load, String> {
    if let Ok(n) = text.parse() {
        return Ok(Load::One(n));
    }
    let pair = |part: &str| {
        let (name, n) = part.split_once('=')?;
        Some((name.to_owned(), n.parse().ok()?))
    };
    let map: Option<BTreeMap<String, u64>> = text.split(',').map(pair).collect();
    map.map(Load::Map).ok_or_else(|| "give a whole number, or dimensions like input=1200,output=800".to_owned())
}

impl Acquire {
    pub async fn run(self) -> Result<Exit, Failed> {
        let client = self.server.client()?;
        let request = AcquireRequest {
            load: self.load.clone(),
            wait_ms: duration::ms(self.wait),
            priority: self.priority,
            ttl_ms: self.ttl.map(duration::ms),
            ..AcquireRequest::default()
        };
        let Some(mut held) = self.wait_in_line(&client, &request).await? else { return Ok(Exit::Code(130)) };
        let outcome = self.run_holding(&mut held).await;
        if let Err(error) = held.release(&ReleaseRequest::default()).await {
            eprintln!("ratequeue: the lease could not be released, it ends when its time runs out: {error}");
        }
        outcome.map(|status| Exit::Code(exit_code(status)))
    }

    /// Acquires; `None` when the user gave up.
    async fn wait_in_line(&self, client: &Client, request: &AcquireRequest) -> Result<Option<Held>, Failed> {
        let mut place = None;
        let key = Client::new_key();
        let acquiring = client.hold(&self.resource, request, &key, |lease| {
            if place.is_none() {
                let position = lease.position.unwrap_or_default();
                eprintln!("ratequeue: waiting for {}, number {position} in line", self.resource);
            }
            place = Some(lease.id.clone());
        });
        let interrupted = tokio::select! {
            held = acquiring => return held.map(Some).map_err(|error| refused(&error)),
            interrupted = tokio::signal::ctrl_c() => interrupted,
        };
        interrupted.map_err(|error| Failed::new(Exit::Failed, error.to_string()))?;
        if let Some(place) = place {
            // Best effort: a place that nobody asks for ends by itself.
            let _ = client.release(&place, &ReleaseRequest::default()).await;
        }
        Ok(None)
    }

    async fn run_holding(&self, held: &mut Held) -> Result<ExitStatus, Failed> {
        let (program, arguments) = self.command.split_first().ok_or_else(|| Failed::new(Exit::Usage, "no command"))?;
        let mut child = Command::new(program)
            .args(arguments)
            .env("RATEQUEUE_LEASE_ID", &held.lease().id)
            .env("RATEQUEUE_FENCING_TOKEN", held.lease().fencing_token.unwrap_or_default().to_string())
            .spawn()
            .map_err(|error| Failed::new(Exit::Failed, format!("{program} cannot be run: {error}")))?;
        let cannot = |error: std::io::Error| Failed::new(Exit::Failed, error.to_string());
        let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
        let mut lost = false;
        loop {
            tokio::select! {
                status = child.wait() => return status.map_err(cannot),
                () = held.lost(), if !lost => {
                    lost = true;
                    eprintln!("ratequeue: the lease is lost while the command still runs");
                }
                _ = terminate.recv() => pass_on(&child, "TERM"),
                // The terminal sends it to the command too.
                _ = interrupt.recv() => {}
            }
        }
    }
}

fn refused(error: &ClientError) -> Failed {
    match error.code() {
        Some(ErrorCode::WaitTimeout | ErrorCode::LimitExceeded | ErrorCode::QueueFull) => {
            Failed::new(Exit::WaitRanOut, error.to_string())
        }
        _ => Failed::new(Exit::Failed, error.to_string()),
    }
}

/// The exit code of a command; 128 and the signal's number for one that a signal ended, as shells say it.
fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code & 255).unwrap_or(1)
}
