//! A lease that looks after itself while it is held.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Client, ClientError};
use crate::error::ErrorCode;
use crate::lease::{AcquireRequest, ExtendRequest, Lease, ReleaseRequest, Released};

/// A lease is extended when this part of its time has passed.
const EXTEND_AFTER: u32 = 3;
/// Tries are at least this far apart.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// What is taken off the time that the server gives, for clocks of unequal speed.
const MARGIN: Duration = Duration::from_millis(50);

/// A held lease: extended in the background, released at the end.
///
/// It is lost when the server says so, or when no extend was answered in time; the time counts from before the request was
/// sent, so this side always stops trusting it before the server does.
#[derive(Debug)]
pub struct Held {
    client: Client,
    lease: Lease,
    lost: watch::Receiver<bool>,
    extending: JoinHandle<()>,
    released: bool,
}

impl Client {
    /// Acquires as [`Client::acquire`] does, and holds the lease until it is released or dropped. Needs a tokio runtime.
    ///
    /// # Errors
    /// The server's refusal, or that no node answered.
    pub async fn hold(
        &self,
        resource: &str,
        request: &AcquireRequest,
        key: &str,
        on_wait: impl FnMut(&Lease),
    ) -> Result<Held, ClientError> {
        let lease = self.acquire(resource, request, key, on_wait).await?;
        // The answer has travelled for some time; the next extend sets the deadline right.
        let trusted_until = Instant::now() + trusted(&lease);
        let (lose, lost) = watch::channel(false);
        let extend = ExtendRequest { ttl_ms: request.ttl_ms };
        let extending = tokio::spawn(extend_for_ever(self.clone(), lease.clone(), extend, trusted_until, lose));
        Ok(Held { client: self.clone(), lease, lost, extending, released: false })
    }
}

/// How long a lease may be trusted from the time its request was sent.
fn trusted(lease: &Lease) -> Duration {
    Duration::from_millis(lease.expires_in_ms.unwrap_or_default()).saturating_sub(MARGIN)
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
        tokio::time::sleep((left / EXTEND_AFTER).max(PAUSE_MIN)).await;
        let sent = Instant::now();
        let left = trusted_until.saturating_duration_since(sent);
        match tokio::time::timeout(left, client.extend(&lease.id, &request)).await {
            Ok(Ok(lease)) => trusted_until = sent + trusted(&lease),
            // Whatever else was in the way, there may be time for another try.
            Ok(Err(error)) if !left.is_zero() && !is_over(&error) => {}
            Ok(Err(_)) | Err(_) => {
                lose.send_replace(true);
                return;
            }
        }
    }
}

/// True when the server says that the lease is no longer held.
fn is_over(error: &ClientError) -> bool {
    use ErrorCode::{LeaseEnded, LeaseExpired, LeaseNotFound, LeaseNotHeld, ResourceDeleted};
    matches!(error.code(), Some(LeaseEnded | LeaseExpired | LeaseNotFound | LeaseNotHeld | ResourceDeleted))
}

impl Held {
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
