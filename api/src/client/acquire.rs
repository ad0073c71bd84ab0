//! Acquiring: from the first call to a held lease, or to one that is given up.
//!
//! ```text
//!   nothing ──call──> doubt ──answered: waiting──> lease in the queue ──answered: held──> Held
//!      ^                │                             │   ^ │
//!      └── no effect ───┘                  cut, 503 ──┘   └─┘ the same call, the same key
//! ```
//! Until the caller has a [`Held`], it is known at every instant what may have been left behind at
//! the nodes: nothing, a lease with its id, or one that only the key can find. Giving up takes care
//! of exactly that.

use std::time::{Duration, Instant};

use reqwest::Method;

use super::attempt::{Answer, Call, Cause, Share, Trouble};
use super::error::Unavailable;
use super::held::{Held, settle};
use super::nodes::{group_subject, subject_of};
use super::retry::{self, Tries};
use super::{Client, ClientError};
use crate::lease::{AcquireRequest, Lease, LeaseState, Load, ReleaseRequest};
use crate::path;

/// How long a waiting acquire goes on beyond its own wait.
const WAIT_GRACE: Duration = Duration::from_secs(5);
/// The longest that a call in the queue is held open. A place that nobody asks for is kept for 15
/// s: two nodes may hang for as long as an attempt takes, and the third is asked in time.
const HOLD_MAX: Duration = Duration::from_secs(5);
/// The shortest time from one call in the queue to the next, where the server does not hold them
/// open.
const POLL_MIN: Duration = Duration::from_millis(50);
/// The longest such time; a place that nobody asks for is kept for 15 s.
const POLL_MAX: Duration = Duration::from_secs(1);
/// With less time than this left, an answer that the lease is still in the queue is the last one.
const LAST_POLL: Duration = Duration::from_secs(1);
/// How long giving up may take.
const GIVE_UP_MAX: Duration = Duration::from_secs(5);

/// One acquire, until its lease is held or given up.
///
/// A caller that may be interrupted drops the future of [`Acquisition::hold`] and awaits
/// [`Acquisition::give_up`]. Dropping the acquisition itself gives up in the background, as best it
/// can.
#[derive(Debug)]
pub struct Acquisition {
    ask: Ask,
    left: Left,
    /// The attempts since a node has decided.
    tries: Tries,
    /// When it gives up in the queue.
    wait_until: Instant,
}

/// What is asked for.
#[derive(Debug, Clone)]
struct Ask {
    client: Client,
    resource: String,
    path: String,
    subject: Option<String>,
    key: String,
    request: AcquireRequest,
}

/// What an acquire may have left behind at the nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Left {
    Nothing,
    /// A call was sent, and its outcome is unknown: the key finds it.
    Doubt,
    /// A lease, in the queue or held.
    Lease(String),
}

/// A lease that was granted.
#[derive(Debug)]
struct Granted {
    lease: Lease,
    /// When the attempt was sent that was answered with it.
    sent: Instant,
}

impl Client {
    /// An acquire in steps. Its time begins now.
    #[must_use]
    pub fn acquisition(&self, resource: &str, request: &AcquireRequest, key: &str) -> Acquisition {
        let path = format!("/v1/resources/{}/acquire", path::segment(resource));
        let now = Instant::now();
        Acquisition {
            ask: Ask {
                client: self.clone(),
                resource: resource.to_owned(),
                subject: subject_of(&path),
                path,
                key: key.to_owned(),
                request: request.clone(),
            },
            left: Left::Nothing,
            tries: self.first_tries(Duration::from_millis(request.wait_ms)),
            wait_until: now + Duration::from_millis(request.wait_ms) + WAIT_GRACE,
        }
    }
}

impl Acquisition {
    /// Acquires, waits in the queue as long as the request says, and holds the lease from then on.
    /// `on_wait` is told each time that the lease is still in the queue. Needs a tokio runtime.
    ///
    /// A request with `hold_ms` 0 asks again after the server's estimate, but at least 50 ms and at
    /// most 1 s. No call is held open for more than 5 s, so that a place outlives nodes that
    /// hang.
    ///
    /// # Errors
    /// The server's refusal, that the wait ran out, or that no node answered. There may be
    /// something to give up then.
    pub async fn hold(&mut self, on_wait: impl FnMut(&Lease)) -> Result<Held, ClientError> {
        let Granted { lease, sent } = self.grant(on_wait).await?;
        let trusted_until = settle(&self.ask.client, &self.ask.request, &lease, sent).await?;

        self.left = Left::Nothing;
        Ok(Held::start(&self.ask.client, &self.ask.request, lease, trusted_until))
    }

    /// Gives up what was got: a place in the queue, or a lease that nobody works under. Takes 5 s
    /// at most.
    ///
    /// # Errors
    /// The server's refusal, or that no node answered: what is left ends by itself then.
    pub async fn give_up(&mut self) -> Result<(), ClientError> {
        let outcome = self.ask.give_up(&self.left).await;
        self.left = Left::Nothing;
        outcome
    }

    /// Acquires, and gives up what is left when that fails.
    pub(super) async fn finish(
        mut self,
        on_wait: impl FnMut(&Lease),
    ) -> Result<Lease, ClientError> {
        match self.grant(on_wait).await {
            Ok(granted) => {
                self.left = Left::Nothing;
                Ok(granted.lease)
            }
            Err(error) => {
                // The caller learns why it failed. What cannot be given up ends by itself.
                let _ = self.give_up().await;
                Err(error)
            }
        }
    }

    async fn grant(&mut self, mut on_wait: impl FnMut(&Lease)) -> Result<Granted, ClientError> {
        // The first call is not held open, so that a caller that must wait learns its place at
        // once.
        let mut hold = Duration::ZERO;
        let mut hold_max = Duration::from_millis(self.ask.request.hold_ms).min(HOLD_MAX);

        loop {
            let url = self.ask.client.nodes.first(self.ask.subject.as_deref());
            let answer = match self.poll(&url, hold).await {
                Ok(answer) => answer,
                Err(trouble) => {
                    if matches!(trouble.cause, Cause::Cut | Cause::Gateway) && !hold.is_zero() {
                        hold_max = retry::hold_after_cut(hold_max, trouble.lived);
                        hold = hold_max;
                    }
                    if trouble.cause == Cause::TimedOut {
                        // It may be its turn: the next node says so at once.
                        hold = Duration::ZERO;
                    }
                    self.recover(&url, trouble).await?;
                    continue;
                }
            };

            let lease = self.read(&answer)?;
            if lease.state == LeaseState::Held {
                return Ok(Granted { lease, sent: answer.sent });
            }
            if Instant::now() + LAST_POLL >= self.wait_until {
                return Err(self.wait_over("it is still in the queue"));
            }

            on_wait(&lease);
            let is_to_be_held = hold.is_zero() && !hold_max.is_zero();
            if !is_to_be_held {
                tokio::time::sleep(poll_every(&lease).saturating_sub(answer.sent.elapsed())).await;
            }
            hold = hold_max;
            self.tries = Tries::new(self.wait_until);
        }
    }

    /// Sends the acquire once, and keeps account of what that may leave behind.
    async fn poll(&mut self, url: &str, hold: Duration) -> Result<Answer, Trouble> {
        let call = self.ask.call(hold, self.is_queued())?;
        let timeout = self.tries.timeout(&call);

        let is_first = self.left == Left::Nothing;
        if is_first {
            // Also if this future is dropped before the answer.
            self.left = Left::Doubt;
        }
        let outcome = self.ask.client.attempt(&call, url, timeout).await;
        if is_first && outcome.as_ref().is_err_and(|trouble| trouble.cause.no_effect()) {
            self.left = Left::Nothing;
        }
        outcome
    }

    /// Waits until the call may be repeated, or fails.
    async fn recover(&mut self, url: &str, trouble: Trouble) -> Result<(), ClientError> {
        let call = self.ask.call(Duration::ZERO, self.is_queued())?;
        let again = self.tries.again(&self.ask.client, &call, url, trouble).await;

        again.map_err(|mut error| {
            if let ClientError::Unavailable(unavailable) = &mut error {
                // A place in the queue is an effect, whatever the last attempts came to.
                unavailable.no_effect &= self.left == Left::Nothing;
            } else if error.is_end_of_acquire() {
                self.left = Left::Nothing;
            }
            error
        })
    }

    /// The lease in an answer. From now on its group is asked about where its resource is.
    fn read(&mut self, answer: &Answer) -> Result<Lease, ClientError> {
        let lease: Lease = answer.read()?;
        self.ask.prefer_group_of(&lease);
        if lease.state == LeaseState::Held || lease.state == LeaseState::Waiting {
            self.left = Left::Lease(lease.id.clone());
            return Ok(lease);
        }

        self.left = Left::Nothing;
        let state =
            format!("an acquire was answered with a lease that is over ({:?})", lease.state);
        Err(ClientError::Foreign(self.ask.client.nodes.all(), state))
    }

    fn is_queued(&self) -> bool {
        matches!(self.left, Left::Lease(_))
    }

    fn wait_over(&self, why: &str) -> ClientError {
        ClientError::WaitOver(format!("{} was not granted in time: {why}", self.ask.resource))
    }
}

impl Drop for Acquisition {
    fn drop(&mut self) {
        if self.left == Left::Nothing {
            return;
        }
        let (ask, left) = (self.ask.clone(), std::mem::replace(&mut self.left, Left::Nothing));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // Nobody is left to be told; what remains ends by itself.
            runtime.spawn(async move { drop(ask.give_up(&left).await) });
        }
    }
}

impl Ask {
    fn call(&self, hold: Duration, is_queued: bool) -> Result<Call<'_>, ClientError> {
        let hold_ms = u64::try_from(hold.as_millis()).unwrap_or(self.request.hold_ms);
        let request = AcquireRequest { hold_ms, ..self.request.clone() };
        let call = Call::new(Method::POST, &self.path, &self.key, Some(&request), Share::Half)?;
        Ok(Call { hold, is_queued, ..call })
    }

    fn prefer_group_of(&self, lease: &Lease) {
        let nodes = &self.client.nodes;
        if let Some((group, _)) = lease.id.rsplit_once('.') {
            nodes.prefer(&group_subject(group), &nodes.first(self.subject.as_deref()));
        }
    }

    async fn give_up(&self, left: &Left) -> Result<(), ClientError> {
        let giving_up = async {
            let id = match left {
                Left::Nothing => None,
                Left::Doubt => self.find().await?,
                Left::Lease(id) => Some(id.clone()),
            };
            let Some(id) = id else { return Ok(()) };

            match self
                .client
                .release_within(GIVE_UP_MAX, &id, &nothing_used(&self.request.load))
                .await
            {
                Err(error) if !error.is_end_of_lease() => Err(error),
                Ok(_) | Err(_) => Ok(()),
            }
        };

        let outcome = tokio::time::timeout(GIVE_UP_MAX, giving_up).await;
        outcome.unwrap_or_else(|_| {
            let why = format!("no answer in {} s", GIVE_UP_MAX.as_secs());
            Err(ClientError::Unavailable(Unavailable::silent(false, why, self.client.nodes.all())))
        })
    }

    /// Finds the lease that the key has got. The call is the acquire again: there is no other way
    /// to ask for a key.
    async fn find(&self) -> Result<Option<String>, ClientError> {
        let call = self.call(Duration::ZERO, false)?;
        let answer = match self.client.tries(&call, Tries::new(Instant::now() + GIVE_UP_MAX)).await
        {
            Ok(answer) => answer,
            Err(error) if error.is_end_of_acquire() => return Ok(None),
            Err(error) => return Err(error),
        };

        let lease: Lease = answer.read()?;
        self.prefer_group_of(&lease);
        Ok(Some(lease.id))
    }
}

/// What a lease used that was never worked under, in the form of its load.
pub(super) fn nothing_used(load: &Load) -> ReleaseRequest {
    let used = match load {
        Load::One(_) => Load::One(0),
        Load::Map(loads) => {
            Load::Map(loads.keys().map(|dimension| (dimension.clone(), 0)).collect())
        }
    };
    ReleaseRequest { used: Some(used) }
}

/// How long after a call in the queue the next one is sent.
fn poll_every(lease: &Lease) -> Duration {
    Duration::from_millis(lease.retry_after_ms.unwrap_or_default()).clamp(POLL_MIN, POLL_MAX)
}
