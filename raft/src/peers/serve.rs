//! The called side: hands requests and streams of other nodes to their groups.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use bytes::{Buf, Bytes};
use futures::future::BoxFuture;
use futures::stream;
use futures::{FutureExt, StreamExt};
use parking_lot::Mutex;
use ratequeue_link::CallRefused;
use tokio::sync::{mpsc, oneshot};

use super::{ALONE, END, ITEM, NODE, SESSION_SHIFT, Shared};
use crate::caps;
use crate::group::Group;
use crate::node::NodeId;
use crate::transport::Lane;

/// A stream that comes in.
pub(super) struct Incoming {
    number: u64,
    frames: mpsc::Sender<(Bytes, Option<oneshot::Sender<Bytes>>)>,
    answers: Answers,
}

/// Who waits for the group's answers, in the order of the frames; `None` once the stream has ended.
type Answers = Arc<Mutex<Option<VecDeque<oneshot::Sender<Bytes>>>>>;

/// What other nodes may ask of this one. It does not keep the groups alive.
pub(super) struct Service(pub Weak<Shared>);

impl ratequeue_link::Service for Service {
    fn handle(
        &self,
        from: NodeId,
        lane: Lane,
        group: &str,
        mut request: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, CallRefused>> {
        let refuse = |why: &str| std::future::ready(Err(CallRefused(why.to_owned()))).boxed();
        let Some(shared) = self.0.upgrade() else { return refuse("this node is stopping") };
        if group == NODE {
            return match (lane, shared.calls.get().and_then(Weak::upgrade)) {
                (Lane::Control, _) => std::future::ready(Ok(Bytes::new())).boxed(),
                (Lane::Call, Some(calls)) => calls.handle(from, request),
                (Lane::Call | Lane::Log | Lane::Bulk | Lane::Forward, _) => {
                    refuse("this node takes no such calls")
                }
            };
        }

        let Some(found) = shared.groups.read().get(group).cloned() else {
            return refuse(&format!("group {group} is not open here"));
        };

        let Ok(kind) = request.try_get_u8() else { return refuse("an empty request") };
        if kind == ALONE {
            return if lane == Lane::Forward {
                async move { found.receive_forwarded(request).await }.boxed()
            } else {
                async move { Ok(found.receive(request).await) }.boxed()
            };
        }

        let Ok(number) = request.try_get_u64_le() else {
            return refuse("a stream without its number");
        };

        match kind {
            ITEM => shared.item(from, lane, &found, number, request),
            END => shared.end(from, lane, &found, number),
            _ => refuse("a request of an unknown kind"),
        }
    }
}

impl Shared {
    /// Takes a frame of a stream, the first of which opens it. What must be in order is done when
    /// this returns.
    fn item(
        &self,
        from: NodeId,
        lane: Lane,
        group: &Group,
        number: u64,
        frame: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, CallRefused>> {
        let refuse = |why: &str| std::future::ready(Err(CallRefused(why.to_owned()))).boxed();
        let mut incoming = self.incoming.lock();
        let key = (from, lane, group.name().to_owned());
        let known = incoming.get(&key).map(|stream| stream.number);

        if known.is_some_and(|known| {
            known > number && known >> SESSION_SHIFT == number >> SESSION_SHIFT
        }) {
            return refuse("a newer stream has taken the place of this one");
        }

        if known != Some(number) {
            incoming.insert(key.clone(), open(group, lane, number));
        }

        let Some(stream) = incoming.get(&key) else { return refuse("the stream is gone") };
        let (answer, answered) = oneshot::channel();
        let taken = if lane == Lane::Bulk {
            stream.frames.try_send((frame, Some(answer)))
        } else {
            match &mut *stream.answers.lock() {
                Some(answers) => answers.push_back(answer),
                None => return refuse("the stream has ended"),
            }
            stream.frames.try_send((frame, None))
        };

        if taken.is_err() {
            incoming.remove(&key);
            return refuse("the stream has ended, or is too far ahead");
        }

        async move { answered.await.map_err(|_gone| CallRefused("the stream has ended".to_owned())) }.boxed()
    }

    /// Ends a stream; on the bulk lane this is what the answer comes to.
    fn end(
        &self,
        from: NodeId,
        lane: Lane,
        group: &Group,
        number: u64,
    ) -> BoxFuture<'static, Result<Bytes, CallRefused>> {
        let mut incoming = self.incoming.lock();
        let key = (from, lane, group.name().to_owned());
        if incoming.get(&key).is_none_or(|stream| stream.number != number) {
            return std::future::ready(Ok(Bytes::new())).boxed();
        }

        let Some(stream) = incoming.remove(&key) else {
            return std::future::ready(Ok(Bytes::new())).boxed();
        };

        drop(incoming);
        if lane != Lane::Bulk {
            return std::future::ready(Ok(Bytes::new())).boxed();
        }

        let (answer, answered) = oneshot::channel();
        match &mut *stream.answers.lock() {
            Some(answers) => answers.push_back(answer),
            None => {
                return std::future::ready(Err(CallRefused("the stream has ended".to_owned())))
                    .boxed();
            }
        }

        async move { answered.await.map_err(|_gone| CallRefused("the stream was given up".to_owned())) }.boxed()
    }
}

/// Gives a stream to its group; what the group answers goes to whoever waits, in order.
fn open(group: &Group, lane: Lane, number: u64) -> Incoming {
    let (frames, coming) =
        mpsc::channel::<(Bytes, Option<oneshot::Sender<Bytes>>)>(caps::STREAM_FRAMES_MAX);
    let coming = stream::unfold(coming, |mut coming| async {
        let (frame, taken) = coming.recv().await?;
        // The sender may have given up.
        taken.map(|taken| taken.send(Bytes::new()));
        Some((frame, coming))
    });

    let mut said = group.receive_stream(lane, coming.boxed());
    let answers: Answers = Arc::new(Mutex::new(Some(VecDeque::new())));
    let waiting = Arc::clone(&answers);

    tokio::spawn(async move {
        while let Some(frame) = said.next().await {
            let next = waiting.lock().as_mut().and_then(VecDeque::pop_front);
            match next {
                Some(next) => drop(next.send(frame)),
                // On the bulk lane a refusal can come before the end: whoever asks next learns that
                // it is over.
                None => break,
            }
        }
        // Drops whoever still waits, who are told that the stream has ended.
        *waiting.lock() = None;
    });
    Incoming { number, frames, answers }
}
