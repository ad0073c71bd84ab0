//! Retry policy: after which failures a call is repeated, where, and how soon.

use std::time::{Duration, Instant};

use rand::Rng;

use super::attempt::{Answer, Call, Cause, Trouble};
use super::{Client, ClientError};
use crate::error::ErrorCode;

/// The first pause before a call is repeated; it doubles, and is spread by chance.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// The longest pause before a call is repeated.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// A call in line that was cut after at least this time was cut because it was quiet, and is repeated at once.
const QUIET_MIN: Duration = Duration::from_millis(500);
/// The shortest time for which a call is held open after one was cut.
const HOLD_MIN: Duration = Duration::from_secs(1);

/// What a call is for, as far as its repetition depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To have something new decided.
    Decision,
    /// To extend or end a lease that is there.
    Upkeep,
    /// To wait in line: the lease has its place, and the call may be held open.
    Wait,
}

/// Which node is asked next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    Same,
    /// Another one about this subject.
    Other,
    /// Another one about everything: this one is silent.
    Silent,
}

/// How a call is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Repeat {
    pub node: Node,
    pub at_once: bool,
}

/// Decides whether a call is repeated after an attempt that failed, and how.
pub(super) fn repeat(purpose: Purpose, cause: Cause, lived: Duration) -> Option<Repeat> {
    use ErrorCode::{NoQuorum, ShuttingDown, StorageFull, TooManyRequests, UnknownOutcome};

    match cause {
        Cause::Cut if purpose == Purpose::Wait && lived >= QUIET_MIN => {
            Some(Repeat { node: Node::Same, at_once: true })
        }
        Cause::NotConnected | Cause::TimedOut | Cause::Cut => Some(Repeat { node: Node::Silent, at_once: false }),
        Cause::Refused(code) => {
            let is_passing = matches!(code, NoQuorum | UnknownOutcome | ShuttingDown)
                // A lease that is there stays, whatever keeps new ones out.
                || (purpose != Purpose::Decision && matches!(code, TooManyRequests | StorageFull));
            is_passing.then_some(Repeat { node: Node::Other, at_once: false })
        }
        Cause::Invalid => None,
    }
}

/// How long the next call is held open, after one was cut that had lived so long: short enough to be answered before the
/// next cut. One that was cut at once says nothing about how long calls may be quiet.
pub(super) fn hold_after_cut(hold: Duration, lived: Duration) -> Duration {
    if lived < QUIET_MIN { hold } else { hold.min((lived * 3 / 4).max(HOLD_MIN)) }
}

/// Pauses that double up to a maximum, each spread by half of itself.
#[derive(Debug)]
pub(super) struct Backoff(Duration);

impl Backoff {
    pub fn new() -> Self {
        Self(PAUSE_MIN)
    }

    pub fn pause(&mut self) -> Duration {
        let pause = self.0.mul_f64(rand::rng().random_range(0.5..1.5));
        self.0 = (self.0 * 2).min(PAUSE_MAX);
        pause
    }
}

impl Client {
    /// Makes attempts at one node after the other until one is answered for good, or the time is up.
    pub(super) async fn tries(&self, call: &Call<'_>, deadline: Instant) -> Result<Answer, ClientError> {
        let mut backoff = Backoff::new();
        loop {
            let url = self.nodes.first(call.subject.as_deref());
            let trouble = match self.attempt(call, &url).await {
                Ok(answer) => return Ok(answer),
                Err(trouble) => trouble,
            };

            let Some(repeat) = repeat(call.purpose, trouble.cause, trouble.lived) else {
                return Err(trouble.error);
            };
            self.turn(call.subject.as_deref(), &url, repeat.node);
            self.pause(&mut backoff, repeat, deadline, trouble).await?;
        }
    }

    /// Asks another node next, where the last attempt says so.
    pub(super) fn turn(&self, subject: Option<&str>, url: &str, node: Node) {
        match node {
            Node::Same => {}
            Node::Other => self.nodes.move_on(subject, url),
            Node::Silent => self.nodes.silent(url),
        }
    }

    /// Waits before the next attempt; fails with the trouble of the last one if there is no time for another.
    pub(super) async fn pause(
        &self,
        backoff: &mut Backoff,
        repeat: Repeat,
        deadline: Instant,
        trouble: Trouble,
    ) -> Result<(), ClientError> {
        let pause = if repeat.at_once { Duration::ZERO } else { backoff.pause() };
        if Instant::now() + pause >= deadline {
            return Err(trouble.error);
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_repeated_as_the_table_says() {
        let (short, long) = (Duration::from_millis(10), Duration::from_secs(5));
        let silent = Some(Repeat { node: Node::Silent, at_once: false });
        let other = Some(Repeat { node: Node::Other, at_once: false });
        let again = Some(Repeat { node: Node::Same, at_once: true });

        // cause, after; for a decision, for upkeep, to wait
        let mut table = vec![
            (Cause::NotConnected, short, silent, silent, silent),
            (Cause::NotConnected, long, silent, silent, silent),
            (Cause::TimedOut, long, silent, silent, silent),
            (Cause::Cut, short, silent, silent, silent),
            (Cause::Cut, long, silent, silent, again),
            (Cause::Invalid, short, None, None, None),
        ];
        for &code in ErrorCode::ALL {
            use ErrorCode::{NoQuorum, ShuttingDown, StorageFull, TooManyRequests, UnknownOutcome};
            let is_passing = [NoQuorum, UnknownOutcome, ShuttingDown].contains(&code);
            let keeps_new_ones_out = [TooManyRequests, StorageFull].contains(&code);
            let decision = if is_passing { other } else { None };
            let other_purposes = if keeps_new_ones_out { other } else { decision };
            table.push((Cause::Refused(code), long, decision, other_purposes, other_purposes));
        }

        for (cause, lived, decision, upkeep, wait) in table {
            for (purpose, expected) in [(Purpose::Decision, decision), (Purpose::Upkeep, upkeep), (Purpose::Wait, wait)]
            {
                assert_eq!(repeat(purpose, cause, lived), expected, "{purpose:?}: {cause:?} after {lived:?}");
            }
        }
    }

    #[test]
    fn a_cut_makes_the_next_hold_shorter_and_never_longer() {
        let ms = Duration::from_millis;
        for (hold, lived, next) in [
            (30_000, 10_000, 7_500),
            (30_000, 600, 1_000),
            (30_000, 400, 30_000),
            (7_500, 20_000, 7_500),
            (200, 600, 200),
        ] {
            assert_eq!(hold_after_cut(ms(hold), ms(lived)), ms(next), "{hold}, {lived}");
        }
    }

    #[test]
    fn pauses_double_up_to_a_second() {
        let mut backoff = Backoff::new();
        for nth in 0..12 {
            let whole = (PAUSE_MIN * (1 << nth)).min(PAUSE_MAX);
            let pause = backoff.pause();
            assert!(pause >= whole / 2 && pause <= whole * 3 / 2, "pause {nth}: {pause:?}");
        }
    }
}
