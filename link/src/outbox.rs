//! Answers on their way to the caller.

use std::collections::VecDeque;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::caps;
use super::frame::Kind;

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) call: u64,
    pub(crate) kind: Kind,
    pub(crate) body: Bytes,
}

/// Between the loop that has requests handled and the loop that writes. Both run in one task: the
/// lock is never waited for.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// An answer waits.
    pub(crate) wake: Notify,
    /// Answers were taken.
    pub(crate) freed: Notify,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    answers: VecDeque<Answer>,
    bytes: usize,
}

impl Outbox {
    pub(crate) fn push(&self, answer: Answer) {
        let mut waiting = self.waiting.lock();
        waiting.bytes += answer.body.len();
        waiting.answers.push_back(answer);
        drop(waiting);
        self.wake.notify_one();
    }

    /// Moves what fits into one write to `taken`.
    pub(crate) fn take(&self, taken: &mut Vec<Answer>) {
        let mut waiting = self.waiting.lock();
        let mut bytes = 0;
        while bytes < caps::WRITE_BATCH_BYTES {
            let Some(answer) = waiting.answers.pop_front() else { break };
            bytes += answer.body.len();
            taken.push(answer);
        }
        debug_assert!(waiting.bytes >= bytes, "more answers are taken than were put in");
        waiting.bytes = waiting.bytes.saturating_sub(bytes);
        debug_assert!(!waiting.answers.is_empty() || waiting.bytes == 0, "bytes of no answer");
        drop(waiting);
        if !taken.is_empty() {
            self.freed.notify_one();
        }
    }

    /// Whether another request may be begun while `running` are being handled.
    pub(crate) fn room(&self, running: usize, concurrency: usize) -> bool {
        let waiting = self.waiting.lock();
        running + waiting.answers.len() < concurrency && waiting.bytes < caps::ANSWER_BYTES_MAX
    }
}
