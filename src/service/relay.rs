//! Calls of the API that are relayed to another region, and what other nodes ask of this one.
//!
//! ```text
//!  a node of us-east-1                                     a node of eu-west-1
//!    http > service > relay ── the call's bytes ══════════> RelayService > http > service
//!                           <─ verdict, the reply's bytes ═
//! ```
//! A call is relayed once: where it arrives it is decided, or answered with
//! [`Verdict::WrongRegion`]. It carries its idempotency key, so that it may be repeated at another
//! node of the region. When the caller leaves, the link tells the other node, whose handler is
//! dropped too.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use ratequeue_api::caps::HOLD_MS_MAX;
use ratequeue_raft::{CallRefused, Calls, NodeId};
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

use crate::node::peer_calls::{
    ApiCall, ApiReply, Lost, NODES_TRIED_MAX, PeerAnswer, PeerCall, Verdict,
};
use crate::node::regions::Regions;

/// How long a node may take to answer: the longest that a call is held open, and some more.
pub const ANSWER_WITHIN: Duration = Duration::from_millis(HOLD_MS_MAX + 15_000);

/// The reply of another region to a call that was relayed to it.
#[derive(Debug)]
pub struct RelayReply {
    pub verdict: Verdict,
    /// How long its way was: what it says of the time that a lease has left is as old.
    pub way: Duration,
    pub reply: ApiReply,
}

/// Why a call that was relayed has no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayError {
    /// Nothing happened: no node of the region can be reached.
    Unreachable,
    /// A node was lost before it answered.
    Unknown,
    /// Nothing happened: the resource does not live there.
    WrongRegion,
}

/// Relays a call to a region, to one node after the other until one answers.
///
/// # Errors
/// [`RelayError`] says whether anything may have happened.
pub async fn relay(
    regions: &Regions,
    region: &str,
    call: ApiCall,
) -> Result<RelayReply, RelayError> {
    if !regions.is_reachable(region).await {
        return Err(RelayError::Unreachable);
    }
    let Ok(frame) = PeerCall::Relay(call).encode() else { return Err(RelayError::Unreachable) };

    let mut lost = RelayError::Unreachable;
    let mut refused = None;
    for node in regions.nodes_of(region).into_iter().take(NODES_TRIED_MAX) {
        let asked = Instant::now();
        let answer = match regions.exchange(&node, frame.clone(), ANSWER_WITHIN).await {
            Ok(PeerAnswer::Relayed(answer)) => answer,
            Err(Lost::Unreachable) => continue,
            Ok(_) | Err(Lost::Unknown) => {
                lost = RelayError::Unknown;
                continue;
            }
        };

        let way = asked.elapsed().saturating_sub(Duration::from_micros(answer.handled_us));
        let reply = RelayReply { verdict: answer.verdict, way, reply: answer.reply };
        match answer.verdict {
            Verdict::WrongRegion if lost == RelayError::Unreachable => {
                return Err(RelayError::WrongRegion);
            }
            Verdict::WrongRegion => {}
            // Another node of the region may be better off. What may have happened stays so,
            // whatever the next one says.
            Verdict::Unavailable { no_effect } => {
                if !no_effect {
                    lost = RelayError::Unknown;
                }
                refused = Some(reply);
            }
            Verdict::Done | Verdict::NotFound | Verdict::Refused | Verdict::StorageFull => {
                return Ok(reply);
            }
        }
    }
    match refused {
        Some(reply) if lost == RelayError::Unreachable => Ok(reply),
        Some(_) | None => Err(lost),
    }
}

/// Answers what other nodes ask.
pub trait PeerHandler: Send + Sync + 'static {
    /// The answer. The future is dropped when the caller has gone.
    fn handle(&self, call: PeerCall) -> BoxFuture<'static, PeerAnswer>;
}

/// Takes the calls of other nodes from the link: each is handled in a task of its own, on the
/// threads of the clients' calls. The link has its threads for itself.
pub struct RelayService {
    handler: Arc<dyn PeerHandler>,
    runtime: Handle,
}

impl RelayService {
    /// Must be called on the runtime that is to answer.
    pub fn new(handler: Arc<dyn PeerHandler>) -> Self {
        Self { handler, runtime: Handle::current() }
    }
}

impl Calls for RelayService {
    fn handle(
        &self,
        _from: NodeId,
        frame: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, CallRefused>> {
        let handler = Arc::clone(&self.handler);
        let handling = self.runtime.spawn(async move {
            let call = PeerCall::decode(&frame).map_err(|error| CallRefused(error.to_string()))?;
            let answer = handler.handle(call).await;

            answer.encode().or_else(|error| {
                tracing::warn!(%error, "the answer to a node has no frame");
                failed()
            })
        });
        let handling = AbortOnDropHandle::new(handling);

        async move {
            match handling.await {
                Ok(answer) => answer,
                // A refusal of the link would say that nothing has happened.
                Err(error) => {
                    tracing::error!(%error, "a call of another node has failed");
                    failed()
                }
            }
        }
        .boxed()
    }
}

/// The frame of a call that broke off.
fn failed() -> Result<Bytes, CallRefused> {
    PeerAnswer::Failed.encode().map_err(|error| CallRefused(error.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::{Barrier, mpsc};

    use futures::future::join;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// Handles every call with this function.
    struct With<F>(F);

    impl<F, A> PeerHandler for With<F>
    where
        F: Fn() -> A + Send + Sync + 'static,
        A: Future<Output = PeerAnswer> + Send + 'static,
    {
        fn handle(&self, _call: PeerCall) -> BoxFuture<'static, PeerAnswer> {
            (self.0)().boxed()
        }
    }

    fn service<F, A>(handle: F) -> RelayService
    where
        F: Fn() -> A + Send + Sync + 'static,
        A: Future<Output = PeerAnswer> + Send + 'static,
    {
        RelayService::new(Arc::new(With(handle)))
    }

    fn frame() -> Bytes {
        PeerCall::View.encode().unwrap()
    }

    fn answer_of(frame: Result<Bytes, CallRefused>) -> PeerAnswer {
        PeerAnswer::decode(&frame.unwrap()).unwrap()
    }

    /// Both are polled by one task, as the link polls them. Each blocks its thread until the other
    /// is there too.
    #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
    async fn a_call_that_blocks_its_thread_does_not_stop_another() {
        let barrier = Arc::new(Barrier::new(2));
        let service = service(move || {
            let (met, meets) = mpsc::channel();
            let barrier = Arc::clone(&barrier);
            std::thread::spawn(move || (barrier.wait(), met.send(())));
            let has_met = meets.recv_timeout(PATIENCE).is_ok();
            async move { PeerAnswer::Exists(has_met) }
        });
        let (one, two) = join(service.handle(1, frame()), service.handle(1, frame())).await;
        assert_eq!(
            [answer_of(one), answer_of(two)],
            [PeerAnswer::Exists(true), PeerAnswer::Exists(true)]
        );
    }

    #[tokio::test]
    async fn a_panic_ends_one_call_and_leaves_its_outcome_unknown() {
        let dies = std::sync::atomic::AtomicBool::new(true);
        let service = service(move || {
            let dies = dies.swap(false, std::sync::atomic::Ordering::Relaxed);
            async move {
                assert!(!dies, "it dies");
                PeerAnswer::GivenBack
            }
        });
        assert_eq!(answer_of(service.handle(1, frame()).await), PeerAnswer::Failed);
        assert_eq!(answer_of(service.handle(1, frame()).await), PeerAnswer::GivenBack);
        assert!(service.handle(1, Bytes::from_static(b"no call")).await.is_err());
    }

    #[tokio::test]
    async fn a_call_whose_caller_leaves_is_dropped() {
        let (dropped, is_dropped) = tokio::sync::oneshot::channel::<()>();
        let dropped = Arc::new(parking_lot::Mutex::new(Some(dropped)));
        let (begun, mut begins) = tokio::sync::mpsc::channel(1);

        let service = service(move || {
            let (guard, begun) = (dropped.lock().take(), begun.clone());
            async move {
                begun.send(()).await.unwrap();
                std::future::pending::<()>().await;
                drop(guard);
                PeerAnswer::GivenBack
            }
        });

        let handling = service.handle(1, frame());
        let leaving = async { begins.recv().await.unwrap() };
        tokio::select! {
            _ = handling => panic!("it does not end"),
            () = leaving => {}
        }

        assert!(tokio::time::timeout(PATIENCE, is_dropped).await.unwrap().is_err());
    }
}
