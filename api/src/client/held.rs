//! A lease that looks after itself while it is held.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::acquire::nothing_used;
use super::{Client, ClientError};
use crate::lease::{AcquireRequest, ExtendRequest, Lease, LeaseState, ReleaseRequest, Released};

/// A lease is extended when this part of its time has passed.
const EXTEND_AFTER: u32 = 3;
/// Tries are at least this far apart.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// What is taken off the time that the server gives.
const MARGIN: Duration = Duration::from_millis(50);
/// Clocks differ by less than one part in this.
const DRIFT: u32 = 2_500;
/// The margin is at most this part of the time.
const MARGIN_PART_MAX: u32 = 4;
/// How long a lease that cannot be trusted yet may take to be confirmed.
const CONFIRM_MAX: Duration = Duration::from_secs(1);

/// A held lease: extended in the background, released at the end.
///
/// It is lost when the server says so, or when no extend was answered in time; the time counts from when the attempt was sent
/// that was answered, so this side always stops trusting the lease before the server does.
#[derive(Debug)]
pub struct Held {
    client: Client,
    lease: Lease,
    unused: ReleaseRequest,
    lost: watch::Receiver<bool>,
    extending: JoinHandle<()>,
    released: bool,
}

impl Client {
    /// Acquires as [`Client::acquire`] does, and holds the lease until it is released or dropped. Needs a tokio runtime.
    ///
    /// # Errors
    /// The server's refusal, that the wait ran out, or that no node answered.
    pub async fn hold(
        &self,
        resource: &str,
        request: &AcquireRequest,
        key: &str,
        on_wait: impl FnMut(&Lease),
    ) -> Result<Held, ClientError> {
        let mut acquisition = self.acquisition(resource, request, key);
        match acquisition.hold(on_wait).await {
            Ok(held) => Ok(held),
            Err(error) => {
                // The caller learns why it failed. What cannot be given up ends by itself.
                let _ = acquisition.give_up().await;
                Err(error)
            }
        }
    }
}

/// How long a lease may be trusted from the time its call was sent.
fn trusted(lease: &Lease) -> Duration {
    let whole = Duration::from_millis(lease.expires_in_ms.unwrap_or_default());
    whole.saturating_sub((MARGIN + whole / DRIFT).min(whole / MARGIN_PART_MAX))
}

/// Until when a granted lease may be trusted. After a call that was held open little may be left of that, since nobody here
/// knows when in that time it was granted: a new deadline makes it certain.
pub(super) async fn settle(
    client: &Client,
    request: &AcquireRequest,
    lease: &Lease,
    sent: Instant,
) -> Result<Instant, ClientError> {
    let trusted_until = sent + trusted(lease);
    let left = trusted_until.saturating_duration_since(Instant::now());
    if left >= trusted(lease) / EXTEND_AFTER {
        return Ok(trusted_until);
    }

    let extend = ExtendRequest { ttl_ms: request.ttl_ms };
    let budget = (left / 2).max(CONFIRM_MAX);
    let error = match tokio::time::timeout(budget, client.extend_within(budget, &lease.id, &extend)).await {
        Ok(Ok((lease, sent))) if lease.state == LeaseState::Held => return Ok(sent + trusted(&lease)),
        Ok(Err(error)) => error,
        Ok(Ok(_)) | Err(_) => {
            let why = "the lease was granted, and could not be confirmed in time";
            ClientError::Unreachable(why.to_owned(), client.nodes.all())
        }
    };
    if error.is_end_of_lease() || trusted_until <= Instant::now() { Err(error) } else { Ok(trusted_until) }
}

async fn extend_for_ever(
    client: Client,
    lease: Lease,
    request: ExtendRequest,
    mut trusted_until: Instant,
    lose: watch::Sender<bool>,
) {
    loop {
        let left = trusted_until.saturating_duration_since(Instant::now());
        tokio::time::sleep((left / EXTEND_AFTER).max(PAUSE_MIN).min(left)).await;

        let left = trusted_until.saturating_duration_since(Instant::now());
        match tokio::time::timeout(left, client.extend_within(left, &lease.id, &request)).await {
            Ok(Ok((lease, sent))) if lease.state == LeaseState::Held => trusted_until = sent + trusted(&lease),
            // Whatever else was in the way, there may be time for another try.
            Ok(Err(error)) if !left.is_zero() && !error.is_end_of_lease() => {}
            Ok(Ok(_) | Err(_)) | Err(_) => {
                lose.send_replace(true);
                return;
            }
        }
    }
}

impl Held {
    /// Begins to extend a lease that was granted.
    pub(super) fn start(client: &Client, request: &AcquireRequest, lease: Lease, trusted_until: Instant) -> Self {
        let (lose, lost) = watch::channel(false);
        let extend = ExtendRequest { ttl_ms: request.ttl_ms };
        let extending = tokio::spawn(extend_for_ever(client.clone(), lease.clone(), extend, trusted_until, lose));
        let unused = nothing_used(&request.load);
        Self { client: client.clone(), lease, unused, lost, extending, released: false }
    }

    /// The lease as it was granted.
    #[must_use]
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// True once the lease may no longer be trusted.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        *self.lost.borrow()
    }

    /// Resolves once the lease may no longer be trusted.
    pub async fn lost(&mut self) {
        // The sender ends only after it has said so, or with this.
        let _ = self.lost.wait_for(|lost| *lost).await;
    }

    /// Gives the lease back.
    ///
    /// # Errors
    /// The server's refusal, or that no node answered: it then ends when its time runs out.
    pub async fn release(mut self, request: &ReleaseRequest) -> Result<Released, ClientError> {
        self.extending.abort();
        self.released = true;
        self.client.release(&self.lease.id, request).await
    }

    /// Gives the lease back without having worked under it.
    ///
    /// # Errors
    /// As for [`Held::release`].
    pub async fn release_unused(self) -> Result<Released, ClientError> {
        let unused = self.unused.clone();
        self.release(&unused).await
    }
}

impl Drop for Held {
    /// Gives the lease back in the background, as best it can.
    fn drop(&mut self) {
        self.extending.abort();
        if self.released || self.is_lost() {
            return;
        }
        let (client, id) = (self.client.clone(), self.lease.id.clone());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // Nobody is left to be told; the lease ends by itself when its time runs out.
            runtime.spawn(async move { drop(client.release(&id, &ReleaseRequest::default()).await) });
        }
    }
}
