//! The calls of one lane of one peer: what waits to be written, and what waits for an answer.
//!
//! A call enters synchronously, so the order in which calls are made is the order in which they are
//! written. From the moment the writer takes it, its fate is unknown until an answer comes; before
//! that it is certain that nothing happened.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::caps;
use super::error::{CallError, Lost, NotSent};
use super::lane::Lane;
use super::status::{LaneState, LaneStatus};

type Outcome = Result<Bytes, CallError>;

#[derive(Debug)]
pub(crate) struct CallQueue {
    lane: Lane,
    /// Something waits to be written.
    pub(crate) wake: Notify,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    /// Number of the next call; never used twice.
    next: u64,
    /// Their numbers rise.
    queue: VecDeque<Request>,
    /// The other side must hear of these.
    cancels: VecDeque<u64>,
    calls: HashMap<u64, Open>,
    /// Bytes of the requests of all `calls`.
    open_bytes: usize,
    called_at: Instant,
    error: Option<String>,
    rtt: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    /// No connection, because nobody called lately.
    Idle,
    /// The first attempt in a row is under way: calls wait for it.
    Connecting,
    Connected,
    /// The last attempt failed; the next one comes by itself. Calls fail at once.
    Down,
    Closed(NotSent),
}

#[derive(Debug)]
struct Open {
    answer: oneshot::Sender<Outcome>,
    sent: bool,
    bytes: usize,
}

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) call: u64,
    pub(crate) group: Box<str>,
    pub(crate) payload: Bytes,
}

impl Request {
    /// What stands in front of the payload, and how much of it counts.
    pub(crate) fn prefix(&self) -> ([u8; 1 + caps::GROUP_NAME_BYTES_MAX], usize) {
        let mut prefix = [0; 1 + caps::GROUP_NAME_BYTES_MAX];
        let len = u8::try_from(self.group.len()).unwrap_or(u8::MAX);
        for (to, from) in prefix.iter_mut().zip(std::iter::once(&len).chain(self.group.as_bytes()))
        {
            *to = *from;
        }
        (prefix, 1 + self.group.len())
    }
}

/// What the writer takes.
#[derive(Debug)]
pub(crate) enum Outgoing {
    Cancel(u64),
    Request(Request),
}

/// A call that entered. Dropping it cancels the call.
#[derive(Debug)]
pub(crate) struct Ticket {
    queue: Arc<CallQueue>,
    call: u64,
    open: bool,
}

/// What [`CallQueue::enter`] gives.
#[derive(Debug)]
pub(crate) struct Entered {
    pub(crate) ticket: Ticket,
    pub(crate) answer: oneshot::Receiver<Outcome>,
    /// The caller must start the lane's task.
    pub(crate) start: bool,
}

impl CallQueue {
    pub(crate) fn new(lane: Lane) -> Self {
        let state = State {
            phase: Phase::Idle,
            next: 1,
            queue: VecDeque::new(),
            cancels: VecDeque::new(),
            calls: HashMap::new(),
            open_bytes: 0,
            called_at: Instant::now(),
            error: None,
            rtt: None,
        };
        Self { lane, wake: Notify::new(), state: Mutex::new(state) }
    }

    /// Adds a call at the end.
    pub(crate) fn enter(self: &Arc<Self>, group: &str, payload: Bytes) -> Result<Entered, NotSent> {
        let caps = self.lane.caps();
        let mut state = self.state.lock();
        state.called_at = Instant::now();

        let start = match &state.phase {
            Phase::Idle => true,
            Phase::Connecting | Phase::Connected => false,
            Phase::Down => return Err(NotSent::Down(state.error.clone().unwrap_or_default())),
            Phase::Closed(reason) => return Err(reason.clone()),
        };

        let bytes = payload.len();
        if state.calls.len() >= caps.calls_max || state.open_bytes + bytes > caps.open_bytes_max {
            return Err(NotSent::QueueFull);
        }

        if start {
            state.phase = Phase::Connecting;
        }

        let call = state.next;
        state.next += 1;
        state.open_bytes += bytes;
        state.queue.push_back(Request { call, group: group.into(), payload });
        let (sender, answer) = oneshot::channel();
        state.calls.insert(call, Open { answer: sender, sent: false, bytes });

        drop(state);
        self.wake.notify_one();
        Ok(Entered { ticket: Ticket { queue: Arc::clone(self), call, open: true }, answer, start })
    }

    /// Moves what fits into one write to `taken`. From here on the requests count as sent.
    pub(crate) fn take(&self, taken: &mut Vec<Outgoing>) {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        // All of them, and first: the other side then never has more open calls than this one.
        taken.extend(state.cancels.drain(..).map(Outgoing::Cancel));
        let mut bytes = 0;
        while bytes < caps::WRITE_BATCH_BYTES {
            let Some(request) = state.queue.pop_front() else { break };
            bytes += request.payload.len();
            if let Some(open) = state.calls.get_mut(&request.call) {
                open.sent = true;
            }
            taken.push(Outgoing::Request(request));
        }
    }

    /// Hands over the answer to a call. `false` when that call was never sent: the other side is
    /// confused.
    #[must_use]
    pub(crate) fn settle(&self, call: u64, outcome: Outcome) -> bool {
        let mut state = self.state.lock();
        let open = match state.calls.get(&call) {
            Some(open) if open.sent => state.remove(call),
            Some(_) => return false,
            // Cancelled in the meantime.
            None => return call != 0 && call < state.next,
        };
        drop(state);
        if let Some(open) = open {
            // A caller that is just leaving does not listen any more.
            let _ = open.answer.send(outcome);
        }
        true
    }

    /// Notes that there is a connection.
    pub(crate) fn connected(&self, rtt: Duration) {
        let mut state = self.state.lock();
        if !matches!(state.phase, Phase::Closed(_)) {
            state.phase = Phase::Connected;
        }
        state.rtt = Some(rtt);
        state.error = None;
    }

    /// Notes that there is no connection any more, or still none: what was sent is lost, and when
    /// the peer is `down`, what waits is not sent. Returns whether to go on connecting.
    pub(crate) fn failed(&self, reason: &str, down: bool) -> bool {
        let mut state = self.state.lock();
        state.error = Some(reason.to_owned());
        state.fail(true, &CallError::Lost(Lost::Broken(reason.to_owned())));
        if down {
            state.fail(false, &CallError::NotSent(NotSent::Down(reason.to_owned())));
        }
        state.go_on(if down { Phase::Down } else { Phase::Connecting })
    }

    /// Whether to connect again, after the pause that followed a failed attempt.
    pub(crate) fn wanted(&self) -> bool {
        self.state.lock().go_on(Phase::Down)
    }

    /// Ends the lane for good.
    pub(crate) fn close(&self, waiting: &NotSent, sent: &Lost) {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Closed(_)) {
            return;
        }
        state.phase = Phase::Closed(waiting.clone());
        state.fail(true, &CallError::Lost(sent.clone()));
        state.fail(false, &CallError::NotSent(waiting.clone()));
    }

    pub(crate) fn status(&self) -> LaneStatus {
        let state = self.state.lock();
        let phase = match state.phase {
            Phase::Idle | Phase::Closed(_) => LaneState::Idle,
            Phase::Connecting => LaneState::Connecting,
            Phase::Connected => LaneState::Connected,
            Phase::Down => LaneState::Down,
        };
        LaneStatus {
            lane: self.lane,
            state: phase,
            calls_open: state.calls.len(),
            rtt: state.rtt,
            error: state.error.clone(),
        }
    }

    /// Takes a call back. `None` when its answer is there already, otherwise whether it was sent.
    fn cancel(&self, call: u64) -> Option<bool> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        let open = state.remove(call)?;
        if open.sent {
            state.cancels.push_back(call);
            drop(guard);
            self.wake.notify_one();
        } else if let Ok(at) = state.queue.binary_search_by_key(&call, |request| request.call) {
            state.queue.remove(at);
        }
        Some(open.sent)
    }
}

impl State {
    fn remove(&mut self, call: u64) -> Option<Open> {
        let open = self.calls.remove(&call)?;
        self.open_bytes = self.open_bytes.saturating_sub(open.bytes);
        Some(open)
    }

    /// Ends all calls that were sent, or all that were not.
    fn fail(&mut self, sent: bool, error: &CallError) {
        if sent {
            self.cancels.clear();
        } else {
            self.queue.clear();
        }
        for (_, open) in self.calls.extract_if(|_, open| open.sent == sent) {
            self.open_bytes = self.open_bytes.saturating_sub(open.bytes);
            // A caller that is just leaving does not listen any more.
            let _ = open.answer.send(Err(error.clone()));
        }
    }

    fn go_on(&mut self, phase: Phase) -> bool {
        if matches!(self.phase, Phase::Closed(_)) {
            return false;
        }
        let wanted = !self.calls.is_empty() || self.called_at.elapsed() < caps::DEMAND_WINDOW;
        self.phase = if wanted { phase } else { Phase::Idle };
        wanted
    }
}

impl Ticket {
    /// The call has its answer.
    pub(crate) fn answered(mut self) {
        self.open = false;
    }

    /// The time ran out. `None` when the answer is there after all.
    pub(crate) fn expire(mut self) -> Option<CallError> {
        self.open = false;
        let sent = self.queue.cancel(self.call)?;
        Some(if sent {
            CallError::Lost(Lost::TimedOut)
        } else {
            CallError::NotSent(NotSent::TimedOut)
        })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.open {
            self.queue.cancel(self.call);
        }
    }
}
