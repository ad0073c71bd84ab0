//! `ratequeue acquire`: runs a command while holding a lease.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use ratequeue_api::client::{Acquisition, Client, ClientError, Held};
use ratequeue_api::{AcquireRequest, Lease, Load, ReleaseRequest, Released};
use tokio::process::{Child, Command};

use super::completions::resource_names;
use super::signals::{Ending, Signals};
use super::{Server, duration, failed, resource_name};
use crate::cli::exit::{self, Exit, Failed};

/// A time to live that is shorter than asked for by more than this was lowered, and did not only
/// pass on the way.
const SHORTENED_BY_MS: u64 = 5_000;

/// Acquires, runs a command while holding the lease, and releases.
///
/// The command finds RATEQUEUE_LEASE_ID and RATEQUEUE_FENCING_TOKEN in its environment. When the
/// lease is lost it is ended: with SIGTERM, and SIGKILL if it goes on for longer than --grace.
/// SIGTERM and SIGHUP are passed on to it; before it runs, they and Ctrl-C give up the place in the
/// queue.
#[derive(Debug, Args)]
#[command(after_help = exit::acquire_help())]
pub struct Acquire {
    /// The resource
    #[arg(value_parser = resource_name, add = resource_names())]
    resource: String,
    /// How much: a number, or one for each dimension: input=1200,output=800
    #[arg(long, default_value = "1", value_parser = parse_load, value_name = "N")]
    load: Load,
    /// How long to wait in the queue: 250ms, 5s, 2m, 1h
    #[arg(long, default_value = "0", value_parser = duration::parse, value_name = "TIME")]
    wait: Duration,
    /// 0 (first) to 9 (last)
    #[arg(long, default_value = "5", value_parser = clap::value_parser!(u64).range(0..=9))]
    priority: u64,
    /// Time to live of the lease; it is extended while the command runs
    #[arg(long, value_parser = duration::parse, value_name = "TIME")]
    ttl: Option<Duration>,
    /// What happens to the command when the lease is lost, and somebody else may work under the
    /// next one
    #[arg(long, value_enum, default_value_t = OnLost::Stop, value_name = "WHAT")]
    on_lost: OnLost,
    /// How long a command may take to end after SIGTERM, when the lease is lost
    #[arg(long, default_value = "10s", value_parser = duration::parse, value_name = "TIME")]
    grace: Duration,
    /// Says nothing while it waits, only why it fails
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    server: Server,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

/// What happens to a command whose lease is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnLost {
    /// It is ended
    Stop,
    /// It runs on
    Run,
}

/// A text that is no load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("give a whole number, or dimensions like input=1200,output=800")]
pub struct InvalidLoad;

pub fn parse_load(text: &str) -> Result<Load, InvalidLoad> {
    if let Ok(n) = text.parse() {
        return Ok(Load::One(n));
    }
    let pair = |part: &str| {
        let (name, n) = part.split_once('=')?;
        Some((name.to_owned(), n.parse().ok()?))
    };
    let map: Option<BTreeMap<String, u64>> = text.split(',').map(pair).collect();
    map.map(Load::Map).ok_or(InvalidLoad)
}

impl Acquire {
    pub async fn run(self) -> Result<Exit, Failed> {
        // Before the first call: nobody is to be left in the queue by a signal.
        let mut signals = Signals::install()?;
        let client = self.server.client()?;
        let mut held = match self.wait_in_queue(&client, &mut signals).await? {
            Turn::Held(held) => held,
            Turn::GivenUp(ending) => return Ok(ending.exit()),
        };

        if let Some(ending) = signals.pending().await {
            report_release(held.release_unused().await);
            return Ok(ending.exit());
        }
        if held.is_lost() {
            report_release(held.release_unused().await);
            return Err(Failed::new(
                Exit::LeaseLost,
                "the lease was lost before the command could be run",
            ));
        }
        self.say_if_shortened(held.lease());
        let child = match self.spawn(&held) {
            Ok(child) => child,
            Err(error) => {
                report_release(held.release_unused().await);
                return Err(error);
            }
        };

        let outcome = self.run_holding(child, &mut held, &mut signals).await;
        let is_lost = held.is_lost();
        let released = held.release(&ReleaseRequest::default()).await;
        if !is_lost {
            report_release(released);
        }
        outcome
    }

    fn request(&self) -> AcquireRequest {
        AcquireRequest {
            load: self.load.clone(),
            wait_ms: duration::ms(self.wait),
            priority: self.priority,
            ttl_ms: self.ttl.map(duration::ms),
            ..AcquireRequest::default()
        }
    }

    /// Acquires, until the lease is held or a signal comes. Nothing is left behind when it is not
    /// held.
    async fn wait_in_queue(&self, client: &Client, signals: &mut Signals) -> Result<Turn, Failed> {
        let mut acquisition =
            client.acquisition(&self.resource, &self.request(), &Client::new_key());
        let mut is_told = false;
        let on_wait = |lease: &Lease| {
            if !is_told && !self.quiet {
                is_told = true;
                let position = lease.position.unwrap_or_default();
                eprintln!(
                    "ratequeue: waiting for {}, number {position} in the queue",
                    self.resource
                );
            }
        };

        let outcome = tokio::select! {
            // A signal that comes in the same moment as the grant counts.
            biased;
            ending = signals.next() => Ok(Turn::GivenUp(ending)),
            held = acquisition.hold(on_wait) => held.map(|held| Turn::Held(Box::new(held))),
        };
        if !matches!(outcome, Ok(Turn::Held(_))) {
            give_up(&mut acquisition).await;
        }
        outcome.map_err(failed)
    }

    /// Waits for the command to end, and ends it when the lease is lost.
    async fn run_holding(
        &self,
        mut child: Child,
        held: &mut Held,
        signals: &mut Signals,
    ) -> Result<Exit, Failed> {
        let mut is_lost = false;
        let mut kill_at = None;

        loop {
            tokio::select! {
                status = child.wait() => {
                    let status = status.map_err(|error| Failed::new(Exit::Failed, error.to_string()))?;
                    return Ok(if kill_at.is_some() { Exit::LeaseLost } else { Exit::Code(exit_code(status)) });
                }
                () = held.lost(), if !is_lost => {
                    is_lost = true;
                    if self.on_lost == OnLost::Stop {
                        eprintln!("ratequeue: the lease is lost, the command is ended");
                        Ending::Terminate.pass_on(&child);
                        kill_at = Some(Instant::now() + self.grace);
                    } else {
                        eprintln!("ratequeue: the lease is lost while the command still runs");
                    }
                }
                () = until(kill_at) => {
                    child.start_kill().map_err(|error| Failed::new(Exit::Failed, error.to_string()))?;
                    child.wait().await.map_err(|error| Failed::new(Exit::Failed, error.to_string()))?;
                    return Ok(Exit::LeaseLost);
                }
                ending = signals.next() => match ending {
                    Ending::Terminate | Ending::Hangup => ending.pass_on(&child),
                    // The terminal sends it to the command too.
                    Ending::Interrupt => {}
                }
            }
        }
    }

    fn spawn(&self, held: &Held) -> Result<Child, Failed> {
        let (program, arguments) =
            self.command.split_first().ok_or_else(|| Failed::new(Exit::Usage, "no command"))?;
        Command::new(program)
            .args(arguments)
            .env("RATEQUEUE_LEASE_ID", &held.lease().id)
            .env(
                "RATEQUEUE_FENCING_TOKEN",
                held.lease().fencing_token.unwrap_or_default().to_string(),
            )
            .spawn()
            .map_err(|error| {
                let exit = if error.kind() == ErrorKind::NotFound {
                    exit::NOT_FOUND
                } else {
                    exit::CANNOT_RUN
                };
                Failed::new(exit, format!("{program} cannot be run: {error}"))
            })
    }

    /// The server lowers a time to live to the resource's maximum.
    fn say_if_shortened(&self, lease: &Lease) {
        let (Some(asked), Some(got)) = (self.ttl.map(duration::ms), lease.expires_in_ms) else {
            return;
        };
        if !self.quiet && got.saturating_add(SHORTENED_BY_MS) < asked {
            let (got, asked) = (got.div_ceil(1_000), duration::show(asked));
            eprintln!(
                "ratequeue: the lease has a time to live of {got} s, not {asked}: {} allows no more. It is extended while the \
                 command runs",
                self.resource
            );
        }
    }
}

/// How the wait in the queue ended.
#[derive(Debug)]
enum Turn {
    Held(Box<Held>),
    GivenUp(Ending),
}

async fn give_up(acquisition: &mut Acquisition) {
    if let Err(error) = acquisition.give_up().await {
        eprintln!(
            "ratequeue: the place in the queue could not be given up, it ends by itself: {error}"
        );
    }
}

fn report_release(released: Result<Released, ClientError>) {
    if let Err(error) = released {
        eprintln!(
            "ratequeue: the lease could not be released, it ends when its time runs out: {error}"
        );
    }
}

/// Returns at this instant, if there is one.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// The exit code of a command; 128 and the signal's number for one that a signal ended, as shells
/// say it.
fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    u8::try_from(code & 255).unwrap_or(1)
}
