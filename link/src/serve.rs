//! The called side of a lane: reads requests in order, has them handled, writes answers as they
//! come.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::StreamExt;
use futures::future::{AbortHandle, Abortable, Aborted, BoxFuture};
use futures::stream::FuturesUnordered;
use tokio::io::AsyncWriteExt;

use super::caps;
use super::frame::{Batch, Frame, FrameError, FrameReader, Kind, body_bytes_max, split_request};
use super::greeting::cut;
use super::handshake::Greeted;
use super::lane::Lane;
use super::outbox::{Answer, Outbox};
use super::registry::Admission;
use super::stream::{Sink, Source};
use super::{CallRefused, NodeId, Service};

/// Serves a connection until it ends; `None` when the other side closed it, or this side did so in
/// good order. All requests that are being handled are dropped then.
pub(crate) async fn run(
    greeted: Greeted,
    admission: &Admission,
    service: Arc<dyn Service>,
) -> Option<FrameError> {
    let Greeted { mut reader, mut sink, session, lane, peer, .. } = greeted;
    let outbox = Outbox::default();
    let mut serving = Serving::new(peer.from, lane, service, &outbox);
    // Both loops in one task: an answer that is ready at once is written without waking another
    // one.
    tokio::select! {
        biased;
        () = admission.closing() => None,
        ended = serving.run(&mut reader) => ended.err(),
        error = write_answers(&mut sink, session, &outbox) => Some(FrameError::Io(error)),
    }
}

async fn write_answers(sink: &mut Sink, session: u64, outbox: &Outbox) -> std::io::Error {
    let mut batch = Batch::new(session);
    let mut taken = Vec::new();
    loop {
        outbox.take(&mut taken);
        if taken.is_empty() {
            outbox.wake.notified().await;
            continue;
        }
        for Answer { call, kind, body } in taken.drain(..) {
            batch.push(kind, call, &[], body);
        }
        batch.seal();
        if let Err(error) = sink.write_all_buf(&mut batch).await {
            return error;
        }
    }
}

struct Waiting {
    call: u64,
    group: Bytes,
    payload: Bytes,
}

struct Serving<'a> {
    from: NodeId,
    lane: Lane,
    service: Arc<dyn Service>,
    outbox: &'a Outbox,
    backlog: VecDeque<Waiting>,
    backlog_bytes: usize,
    running: FuturesUnordered<Running>,
    aborts: HashMap<u64, AbortHandle>,
    /// Number of the last request.
    last: u64,
}

impl<'a> Serving<'a> {
    fn new(from: NodeId, lane: Lane, service: Arc<dyn Service>, outbox: &'a Outbox) -> Self {
        Self {
            from,
            lane,
            service,
            outbox,
            backlog: VecDeque::new(),
            backlog_bytes: 0,
            running: FuturesUnordered::new(),
            aborts: HashMap::new(),
            last: 0,
        }
    }

    async fn run(&mut self, reader: &mut FrameReader<Source>) -> Result<(), FrameError> {
        let caps = self.lane.caps();
        let mut frames: u32 = 0;

        loop {
            self.begin();
            // An honest caller never fills it: see `LaneCaps`. At the limit a cancellation can
            // still be read.
            let room =
                self.backlog.len() <= caps.calls_max && self.backlog_bytes <= caps.open_bytes_max;
            tokio::select! {
                biased;
                Some((call, result)) = self.running.next(), if !self.running.is_empty() => self.finish(call, result),
                frame = reader.next(), if room => {
                    let Some(frame) = frame? else { return Ok(()) };
                    self.receive(frame)?;
                    frames = frames.wrapping_add(1);
                }
                // Without room something is in the backlog, so one of the branches is always open.
                () = self.outbox.freed.notified(), if !self.backlog.is_empty() => {}
            }

            if frames >= caps::FRAMES_A_TURN {
                frames = 0;
                tokio::task::yield_now().await;
            }
        }
    }

    /// Hands requests to the service, in order, as long as it may have more of them. An answer
    /// counts until it is taken to be written, so that a caller that does not read its answers
    /// cannot pile them up here.
    fn begin(&mut self) {
        let concurrency = self.lane.caps().concurrency;
        while self.outbox.room(self.running.len(), concurrency) {
            let Some(Waiting { call, group, payload }) = self.backlog.pop_front() else { return };
            self.backlog_bytes = self.backlog_bytes.saturating_sub(payload.len());
            // It was checked when it came.
            let group = std::str::from_utf8(&group).unwrap_or_default();
            let handling = self.service.handle(self.from, self.lane, group, payload);
            let (abort, registration) = AbortHandle::new_pair();
            self.aborts.insert(call, abort);
            self.running.push(Running { call, handling: Abortable::new(handling, registration) });
        }
    }

    fn receive(&mut self, frame: Frame) -> Result<(), FrameError> {
        let Frame { kind, call, body } = frame;
        match kind {
            Kind::Request => {
                if call <= self.last {
                    return Err(FrameError::Protocol("the number of a call does not rise"));
                }
                self.last = call;
                let (group, payload) = split_request(body)?;
                debug_assert!(
                    self.backlog.back().is_none_or(|last| last.call < call),
                    "the backlog is in the order of the calls"
                );
                self.backlog_bytes += payload.len();
                self.backlog.push_back(Waiting { call, group, payload });
                Ok(())
            }
            Kind::Cancel => {
                self.cancel(call);
                Ok(())
            }
            Kind::Answer | Kind::Refusal => {
                Err(FrameError::Protocol("the caller sent what only a callee sends"))
            }
        }
    }

    fn cancel(&mut self, call: u64) {
        if let Some(abort) = self.aborts.remove(&call) {
            abort.abort();
        } else if let Ok(at) = self.backlog.binary_search_by_key(&call, |waiting| waiting.call) {
            let bytes = self.backlog.remove(at).map_or(0, |waiting| waiting.payload.len());
            self.backlog_bytes = self.backlog_bytes.saturating_sub(bytes);
        }
    }

    fn finish(&mut self, call: u64, result: Result<Result<Bytes, CallRefused>, Aborted>) {
        self.aborts.remove(&call);
        let bytes_max = body_bytes_max(self.lane.caps().frame_bytes_max, 0);
        let answer = match result {
            // Nobody waits for it.
            Err(Aborted) => return,
            Ok(Ok(body)) if body.len() <= bytes_max => Answer { call, kind: Kind::Answer, body },
            Ok(Ok(body)) => refusal(
                call,
                &format!("the answer has {} bytes, {bytes_max} are allowed", body.len()),
            ),
            Ok(Err(CallRefused(reason))) => refusal(call, &reason),
        };
        self.outbox.push(answer);
    }
}

fn refusal(call: u64, reason: &str) -> Answer {
    let body = Bytes::copy_from_slice(cut(reason, caps::REASON_BYTES_MAX).as_bytes());
    Answer { call, kind: Kind::Refusal, body }
}

/// A request in the hands of the service.
struct Running {
    call: u64,
    handling: Abortable<BoxFuture<'static, Result<Bytes, CallRefused>>>,
}

impl Future for Running {
    type Output = (u64, Result<Result<Bytes, CallRefused>, Aborted>);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let result = ready!(Pin::new(&mut self.handling).poll(context));
        Poll::Ready((self.call, result))
    }
}
