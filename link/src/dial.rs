//! The calling side of a lane: connects, writes requests, reads answers, connects again.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::error::{CallError, ProbeError};
use super::frame::{Batch, Frame, FrameError, FrameReader, Kind};
use super::greeting::cut;
use super::handshake::{Greeted, HandshakeError, client_handshake, probe as probe_handshake};
use super::lane::Lane;
use super::queue::{CallQueue, Outgoing};
use super::shared::{Peer, Shared};
use super::status::PeerInfo;
use super::stream::{Dialing, Sink, Source};
use super::{NodeId, caps};

/// Serves a lane until nobody wants it any more, or the peer is removed.
pub(crate) async fn run(shared: Arc<Shared>, peer: Arc<Peer>, lane: Lane) {
    tokio::select! {
        biased;
        () = peer.close.cancelled() => {
            let (waiting, sent) = shared.closing_reasons();
            peer.queues.get(lane).close(&waiting, &sent);
        }
        () = keep(&shared, &peer, lane) => {}
    }
}

async fn keep(shared: &Shared, peer: &Peer, lane: Lane) {
    let queue = peer.queues.get(lane);
    let mut failures: u32 = 0;

    loop {
        let reason = match connect(shared, peer, lane).await {
            Ok((greeted, current)) => {
                queue.connected(greeted.rtt);
                let began = Instant::now();
                let error = drive(greeted, &current, queue).await;
                failures = if began.elapsed() >= caps::STABLE_AFTER {
                    0
                } else {
                    failures.saturating_add(1)
                };
                if error.is_violation() {
                    shared.warn(&format_args!(
                        "closed the {lane} lane to node {}: {error}",
                        peer.node
                    ));
                }
                error.to_string()
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                if matches!(
                    error,
                    HandshakeError::Refused(_)
                        | HandshakeError::Refusing(_)
                        | HandshakeError::NotOurs
                ) {
                    shared.warn(&format_args!(
                        "no {lane} lane to node {} at {}: {error}",
                        peer.node, peer.address
                    ));
                }
                error.to_string()
            }
        };

        debug!(node = peer.node, %lane, reason, failures, "lane is not connected");
        if !queue.failed(&reason, failures > 0) {
            return;
        }
        if failures > 0 {
            sleep(backoff(failures)).await;
            if !queue.wanted() {
                return;
            }
        }
    }
}

/// Doubles with each failure in a row, and is cut by up to half at random, so that nodes do not
/// call in step.
fn backoff(failures: u32) -> Duration {
    let doubled =
        caps::BACKOFF_MIN.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    doubled.min(caps::BACKOFF_MAX).mul_f64(rand::rng().random_range(0.5..=1.0))
}

/// Tries the addresses of the peer, until one of them greets as the peer.
async fn connect(
    shared: &Shared,
    peer: &Peer,
    lane: Lane,
) -> Result<(Greeted, CancellationToken), HandshakeError> {
    let greet_at = |halves| client_handshake(halves, &shared.me, peer.node, lane, &shared.known);
    let (greeted, current) = first_that_greets(&peer.address, greet_at).await?;
    let Greeted { peer: said, .. } = &greeted;
    *peer.met.lock() =
        Some(PeerInfo { incarnation: said.incarnation, feature_level: said.feature_level });
    Ok((greeted, current))
}

/// Looks whether a node is there at `address`, on a connection of its own.
pub(crate) async fn probe(shared: &Shared, node: NodeId, address: &str) -> Result<(), ProbeError> {
    first_that_greets(address, |halves| probe_handshake(halves, &shared.me, node))
        .await
        .map_err(ProbeError)
}

/// What the greeting comes to at the first address where it succeeds. Otherwise why it failed: what
/// another node says who has that address now tells more than a connection that did not come about.
async fn first_that_greets<T, G: Future<Output = Result<T, HandshakeError>>>(
    places: &str,
    greet_at: impl Fn((Source, Sink)) -> G,
) -> Result<T, HandshakeError> {
    let mut dialing = Dialing::to(places).await?;
    let mut failed: Option<HandshakeError> = None;
    while let Some(halves) = dialing.next().await {
        let greeted = match halves {
            Ok(halves) => timeout(caps::HANDSHAKE_TIME_MAX, greet_at(halves))
                .await
                .unwrap_or(Err(HandshakeError::TimedOut)),
            Err(error) => Err(error.into()),
        };
        match greeted {
            Ok(greeted) => return Ok(greeted),
            Err(error) if failed.is_none() || !matches!(error, HandshakeError::Io(_)) => {
                failed = Some(error)
            }
            Err(_) => {}
        }
    }

    Err(failed.unwrap_or(HandshakeError::TimedOut))
}

/// Uses a connection until it ends, and says why.
async fn drive(greeted: Greeted, current: &CancellationToken, queue: &CallQueue) -> FrameError {
    let Greeted { mut reader, mut sink, session, .. } = greeted;
    // Both loops in one task: an answer and the next request never wait for another task to be
    // woken.
    tokio::select! {
        biased;
        () = current.cancelled() => FrameError::Io(io::Error::other("a newer incarnation of the peer appeared")),
        error = read_answers(&mut reader, queue) => error,
        error = write_requests(&mut sink, session, queue) => error,
    }
}

async fn read_answers(reader: &mut FrameReader<Source>, queue: &CallQueue) -> FrameError {
    let mut frames = 0;
    loop {
        match reader.next().await {
            Ok(None) => return FrameError::Io(io::Error::other("the peer closed it")),
            Err(error) => return error,
            Ok(Some(frame)) => {
                if let Err(error) = answer(frame, queue) {
                    return error;
                }
            }
        }
        frames += 1;
        if frames % caps::FRAMES_A_TURN == 0 {
            tokio::task::yield_now().await;
        }
    }
}

fn answer(frame: Frame, queue: &CallQueue) -> Result<(), FrameError> {
    let Frame { kind, call, body } = frame;
    let outcome = match kind {
        Kind::Answer => Ok(body),
        Kind::Refusal => {
            let reason = cut(&String::from_utf8_lossy(&body), caps::REASON_BYTES_MAX).to_owned();
            Err(CallError::Refused { reason })
        }
        Kind::Request | Kind::Cancel => {
            return Err(FrameError::Protocol("the callee sent what only a caller sends"));
        }
    };

    if queue.settle(call, outcome) {
        return Ok(());
    }

    Err(FrameError::Protocol("an answer came to a call that was never made"))
}

async fn write_requests(sink: &mut Sink, session: u64, queue: &CallQueue) -> FrameError {
    let mut batch = Batch::new(session);
    let mut taken = Vec::new();

    loop {
        queue.take(&mut taken);
        if taken.is_empty() {
            queue.wake.notified().await;
            continue;
        }

        for outgoing in taken.drain(..) {
            match outgoing {
                Outgoing::Cancel(call) => batch.push(Kind::Cancel, call, &[], bytes::Bytes::new()),
                Outgoing::Request(request) => {
                    let (prefix, len) = request.prefix();
                    batch.push(
                        Kind::Request,
                        request.call,
                        prefix.get(..len).unwrap_or_default(),
                        request.payload,
                    );
                }
            }
        }

        batch.seal();
        if let Err(error) = sink.write_all_buf(&mut batch).await {
            return FrameError::Io(error);
        }
    }
}
