//! Retry policy: after which failures a call is repeated, where, how soon, and what is known of it
//! then.
//!
//! The rules are those of the table in `sdk/conformance`, which is run against every client.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rand::RngExt;

use super::attempt::{Answer, Call, Cause, Share, Trouble};
use super::error::Unavailable;
use super::{Client, ClientError};

/// The first pause before a call is repeated; it doubles, and is spread by chance.
const PAUSE_MIN: Duration = Duration::from_millis(20);
/// The longest pause before a call is repeated.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// A call in the queue that was cut after at least this time was cut because it was quiet, and is
/// repeated at once.
const QUIET_MIN: Duration = Duration::from_millis(500);
/// The shortest time for which a call is held open after one was cut.
const HOLD_MIN: Duration = Duration::from_secs(1);
/// The longest that an attempt may take beyond the time for which it is held open.
const TRY_MAX: Duration = Duration::from_secs(4);
/// What an attempt is given even of little time.
const TRY_MIN: Duration = Duration::from_millis(200);
/// With less time than this left, nobody is asked any more.
const LAST_TRY_MIN: Duration = Duration::from_millis(50);
/// How long a node may take that alone can do what it is asked for.
const ONE_NODE_MAX: Duration = Duration::from_secs(10);

/// Which node is asked next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    Same,
    /// Another one about this subject.
    Other,
    /// Another one about everything: this one is silent.
    Silent,
}

/// Decides whether a call is repeated after an attempt that failed so, and at which node.
pub(super) fn repeat_at(cause: Cause, lived: Duration, is_queued: bool) -> Option<Node> {
    match cause {
        Cause::Cut | Cause::Gateway if is_queued && lived >= QUIET_MIN => Some(Node::Same),
        Cause::NotConnected | Cause::TimedOut | Cause::Cut => Some(Node::Silent),
        Cause::Gateway | Cause::Passing { .. } => Some(Node::Other),
        Cause::Final { .. } => None,
    }
}

/// How long the next call is held open, after one was cut that had lived so long: short enough to
/// be answered before the next cut. One that was cut at once says nothing about how long calls may
/// be quiet.
pub(super) fn hold_after_cut(hold: Duration, lived: Duration) -> Duration {
    if lived < QUIET_MIN { hold } else { hold.min((lived * 3 / 4).max(HOLD_MIN)) }
}

/// How long one attempt may take of the time that is left. Never all of it, but for the last one.
fn try_timeout(share: Share, hold: Duration, left: Duration) -> Duration {
    let part = match share {
        Share::Half => left / 2,
        Share::Third => left / 3,
        Share::OneNode => return ONE_NODE_MAX,
    };
    (hold + part.clamp(TRY_MIN, TRY_MAX)).min(left.max(LAST_TRY_MIN))
}

/// Pauses that double up to a maximum, each spread by half of itself.
#[derive(Debug)]
struct Backoff(Duration);

impl Backoff {
    fn pause(&mut self) -> Duration {
        let pause = self.0.mul_f64(rand::rng().random_range(0.5..1.5));
        self.0 = (self.0 * 2).min(PAUSE_MAX);
        pause
    }
}

/// The attempts of one call so far.
#[derive(Debug)]
pub(super) struct Tries {
    until: Instant,
    backoff: Backoff,
    asked: BTreeSet<String>,
    /// False for good once one of them may have had an effect.
    no_effect: bool,
    /// What the last attempt came to that had time for an answer.
    why: Option<ClientError>,
    /// True while no node could even be connected to.
    is_alone: bool,
    haste: Option<Haste>,
}

/// What a dead node may cost.
#[derive(Debug, Clone, Copy)]
struct Haste {
    /// An attempt, while there is a node that was not asked.
    attempt: Duration,
    /// Until then a node is looked for that can be connected to.
    until: Instant,
    nodes: usize,
}

impl Tries {
    pub fn new(until: Instant) -> Self {
        let asked = BTreeSet::new();
        Self {
            until,
            backoff: Backoff(PAUSE_MIN),
            asked,
            no_effect: true,
            why: None,
            is_alone: true,
            haste: None,
        }
    }

    /// The same, at so many nodes: with less time for one of them while there is another, and for
    /// finding one at all.
    pub fn hasty(self, attempt: Duration, until: Instant, nodes: usize) -> Self {
        Self { haste: Some(Haste { attempt, until, nodes }), ..self }
    }

    /// How long the next attempt may take.
    pub fn timeout(&self, call: &Call<'_>) -> Duration {
        let timeout = try_timeout(
            call.share,
            call.hold,
            self.until.saturating_duration_since(Instant::now()),
        );
        match self.haste {
            Some(haste) if self.asked.len() + 1 < haste.nodes => {
                timeout.min(call.hold + haste.attempt)
            }
            Some(_) | None => timeout,
        }
    }

    /// When it is given up: sooner while there is no node at all.
    fn give_up_at(&self) -> Instant {
        match self.haste {
            Some(haste) if self.is_alone && self.asked.len() >= haste.nodes => {
                haste.until.min(self.until)
            }
            Some(_) | None => self.until,
        }
    }

    /// Waits until the call may be repeated.
    ///
    /// # Errors
    /// What stays, or [`ClientError::Unavailable`] when there is no time for another attempt.
    pub async fn again(
        &mut self,
        client: &Client,
        call: &Call<'_>,
        url: &str,
        trouble: Trouble,
    ) -> Result<(), ClientError> {
        let Some(node) = repeat_at(trouble.cause, trouble.lived, call.is_queued) else {
            return Err(trouble.error);
        };
        self.no_effect &= trouble.cause.no_effect();
        self.is_alone &= trouble.cause == Cause::NotConnected;
        let had_no_time = trouble.cause == Cause::TimedOut && trouble.lived < TRY_MIN;
        if !had_no_time || self.why.is_none() {
            self.why = Some(trouble.error);
        }
        self.asked.insert(url.to_owned());

        let subject = call.subject.as_deref();
        match node {
            Node::Same => self.backoff = Backoff(PAUSE_MIN),
            Node::Other => client.nodes.move_on(subject, url),
            Node::Silent => client.nodes.silent(url),
        }

        let left = self.give_up_at().saturating_duration_since(Instant::now());
        if left <= LAST_TRY_MIN {
            return Err(self.unavailable(client));
        }
        let pause = if self.is_at_once(client, node, trouble.cause) {
            Duration::ZERO
        } else {
            self.backoff.pause()
        };
        tokio::time::sleep(pause.min(left - LAST_TRY_MIN)).await;
        Ok(())
    }

    fn unavailable(&self, client: &Client) -> ClientError {
        let all = client.nodes.all();
        ClientError::Unavailable(match &self.why {
            Some(why) => Unavailable::new(self.no_effect, why, all),
            None => Unavailable::silent(self.no_effect, "no node was asked", all),
        })
    }

    /// A place in the queue is kept for who comes back. And where nothing happened, a node that was
    /// not asked yet may know better, but not if there is too much to do for all.
    fn is_at_once(&self, client: &Client, node: Node, cause: Cause) -> bool {
        let is_busy = matches!(cause, Cause::Passing { is_busy: true, .. });
        node == Node::Same
            || (cause.no_effect() && !is_busy && self.asked.len() < client.nodes.len())
    }
}

impl Client {
    /// Makes attempts at one node after the other until one is answered for good, or the time is
    /// up.
    pub(super) async fn tries(
        &self,
        call: &Call<'_>,
        mut tries: Tries,
    ) -> Result<Answer, ClientError> {
        loop {
            let url = self.nodes.first(call.subject.as_deref());
            match self.attempt(call, &url, tries.timeout(call)).await {
                Ok(answer) => return Ok(answer),
                Err(trouble) => tries.again(self, call, &url, trouble).await?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{ErrorCode, Problem};

    #[test]
    fn a_call_is_repeated_as_the_table_says() {
        let (short, long) = (Duration::from_millis(10), Duration::from_secs(5));
        let (same, other, silent) = (Some(Node::Same), Some(Node::Other), Some(Node::Silent));

        // cause, after; for anything, for a call in the queue
        let mut table = vec![
            (Cause::NotConnected, short, silent, silent),
            (Cause::NotConnected, long, silent, silent),
            (Cause::TimedOut, long, silent, silent),
            (Cause::Cut, short, silent, silent),
            (Cause::Cut, long, silent, same),
            (Cause::Gateway, short, other, other),
            (Cause::Gateway, long, other, same),
            (Cause::Final { no_effect: true }, short, None, None),
        ];
        for &code in ErrorCode::ALL {
            let cause = Cause::of_problem(&Problem::new(code, "d"));
            let repeated = if code.status() >= 500 || code == ErrorCode::TooManyRequests {
                other
            } else {
                None
            };
            assert_eq!(cause.no_effect(), code.no_effect(), "{code:?}");
            table.push((cause, long, repeated, repeated));
        }

        for (cause, lived, anything, in_queue) in table {
            assert_eq!(repeat_at(cause, lived, false), anything, "{cause:?} after {lived:?}");
            assert_eq!(
                repeat_at(cause, lived, true),
                in_queue,
                "in the queue: {cause:?} after {lived:?}"
            );
        }
    }

    /// Whatever comes after it: all sequences of three attempts.
    #[tokio::test]
    async fn an_attempt_that_may_have_had_an_effect_is_not_forgotten() {
        let passing = |no_effect| Cause::Passing { no_effect, is_busy: false };
        let causes =
            [Cause::NotConnected, Cause::TimedOut, Cause::Gateway, passing(true), passing(false)];
        let url = "http://127.0.0.1:1";
        let client = Client::new(url, None, Duration::from_secs(5)).unwrap();
        let call =
            Call::new::<()>(reqwest::Method::POST, "/v1/x", "key", None, Share::Half).unwrap();

        for first in causes {
            for second in causes {
                for third in causes {
                    let mut tries = Tries::new(Instant::now() + Duration::from_secs(5));
                    let mut outcome = Ok(());
                    for (nth, cause) in [first, second, third].into_iter().enumerate() {
                        if nth == 2 {
                            tries.until = Instant::now();
                        }
                        // So that a pause is no more than the least there is.
                        tries.backoff = Backoff(Duration::ZERO);
                        let error = ClientError::Configuration("an attempt".to_owned());
                        let trouble = Trouble { cause, lived: Duration::ZERO, error };
                        outcome = tries.again(&client, &call, url, trouble).await;
                    }

                    let Err(ClientError::Unavailable(why)) = outcome else { panic!("{outcome:?}") };
                    let none = [first, second, third].iter().all(|cause| cause.no_effect());
                    assert_eq!(why.no_effect, none, "{first:?}, {second:?}, {third:?}");
                }
            }
        }
    }

    #[test]
    fn an_attempt_never_takes_the_whole_time() {
        let ms = Duration::from_millis;
        for (share, hold, left, timeout) in [
            (Share::Half, 0, 10_000, 4_000),
            (Share::Half, 0, 4_000, 2_000),
            (Share::Half, 0, 300, 200),
            (Share::Half, 0, 10, 50),
            (Share::Half, 5_000, 60_000, 9_000),
            (Share::Third, 0, 6_000, 2_000),
            (Share::OneNode, 0, 2_000, 10_000),
        ] {
            assert_eq!(
                try_timeout(share, ms(hold), ms(left)),
                ms(timeout),
                "{share:?}, {hold}, {left}"
            );
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
        let mut backoff = Backoff(PAUSE_MIN);
        for nth in 0..12 {
            let whole = (PAUSE_MIN * (1 << nth)).min(PAUSE_MAX);
            let pause = backoff.pause();
            assert!(pause >= whole / 2 && pause <= whole * 3 / 2, "pause {nth}: {pause:?}");
        }
    }
}
