//! A lease that looks after itself while it is held.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::acquire::nothing_used;
use super::error::Unavailable;
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
/// For so long beyond the time of a lease its release is tried: then it has ended by itself.
const RELEASE_GRACE: Duration = Duration::from_secs(1);

/// A held lease: extended in the background, released at the end.
///
/// It is lost when the server says so, or when no extend was answered in time; the time counts from
/// when the attempt was sent that was answered, so this side always stops trusting the lease before
/// the server does.
#[derive(Debug)]
pub struct Held {
    client: Client,
    lease: Lease,
    unused: ReleaseRequest,
    /// Until when the lease may be trusted; none once it is lost.
    trusted_until: watch::Receiver<Option<Instant>>,
    extending: JoinHandle<()>,
    released: bool,
}

impl Client {
    /// Acquires as [`Client::acquire`] does, and holds the lease until it is released or dropped.
    /// Needs a tokio runtime.
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

/// Until when a granted lease may be trusted. After a call that was held open little may be left of
/// that, since nobody here knows when in that time it was granted: a new deadline makes it certain.
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
    let error = match tokio::time::timeout(budget, client.extend_within(budget, &lease.id, &extend))
        .await
    {
        Ok(Ok((lease, sent))) if lease.state == LeaseState::Held => {
            return Ok(sent + trusted(&lease));
        }
        Ok(Err(error)) => error,
        Ok(Ok(_)) | Err(_) => {
            let why = "the lease was granted, and could not be confirmed in time";
            ClientError::Unavailable(Unavailable::silent(false, why, client.nodes.all()))
        }
    };
    if error.is_end_of_lease() || trusted_until <= Instant::now() {
        Err(error)
    } else {
        Ok(trusted_until)
    }
}

async fn extend_for_ever(
    client: Client,
    lease: Lease,
    request: ExtendRequest,
    mut trusted_until: Instant,
    trust: watch::Sender<Option<Instant>>,
) {
    loop {
        let left = trusted_until.saturating_duration_since(Instant::now());
        tokio::time::sleep((left / EXTEND_AFTER).max(PAUSE_MIN).min(left)).await;

        let left = trusted_until.saturating_duration_since(Instant::now());
        match tokio::time::timeout(left, client.extend_within(left, &lease.id, &request)).await {
            Ok(Ok((lease, sent))) if lease.state == LeaseState::Held => {
                trusted_until = sent + trusted(&lease);
                trust.send_replace(Some(trusted_until));
            }
            // Whatever else was in the way, there may be time for another try.
            Ok(Err(error)) if !left.is_zero() && !error.is_end_of_lease() => {}
            Ok(Ok(_) | Err(_)) | Err(_) => {
                trust.send_replace(None);
                return;
            }
        }
    }
}

impl Held {
    /// Begins to extend a lease that was granted.
    pub(super) fn start(
        client: &Client,
        request: &AcquireRequest,
        lease: Lease,
        trusted_until: Instant,
    ) -> Self {
        let (trust, trusted) = watch::channel(Some(trusted_until));
        let extend = ExtendRequest { ttl_ms: request.ttl_ms };
        let extending = tokio::spawn(extend_for_ever(
            client.clone(),
            lease.clone(),
            extend,
            trusted_until,
            trust,
        ));

        let unused = nothing_used(&request.load);
        Self {
            client: client.clone(),
            lease,
            unused,
            trusted_until: trusted,
            extending,
            released: false,
        }
    }

    /// The lease as it was granted.
    #[must_use]
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// True once the lease may no longer be trusted.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.trusted_until.borrow().is_none()
    }

    /// Resolves once the lease may no longer be trusted.
    pub async fn lost(&mut self) {
        // The sender ends only after it has said so, or with this.
        let _ = self.trusted_until.wait_for(Option::is_none).await;
    }

    /// Gives the lease back.
    ///
    /// # Errors
    /// The server's refusal, or that no node answered: it then ends when its time runs out.
    pub async fn release(mut self, request: &ReleaseRequest) -> Result<Released, ClientError> {
        self.extending.abort();
        self.released = true;
        self.client.release_within(self.release_budget(), &self.lease.id, request).await
    }

    fn release_budget(&self) -> Duration {
        let trusted_until = *self.trusted_until.borrow();
        let left = trusted_until
            .map(|until| until.saturating_duration_since(Instant::now()))
            .unwrap_or_default();
        self.client.patience.min(left + RELEASE_GRACE)
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
        let (client, id, budget) =
            (self.client.clone(), self.lease.id.clone(), self.release_budget());
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // Nobody is left to be told; the lease ends by itself when its time runs out.
            runtime.spawn(async move {
                drop(client.release_within(budget, &id, &ReleaseRequest::default()).await)
            });
        }
    }
}
