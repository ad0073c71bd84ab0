//! Callers that acquire, hold and release as fast as they may, and what they saw.
//!
//! Time is the callers' own: a lease is held from the moment its answer has come to the moment its
//! release is sent, so that nothing the servers believe can hide an excess.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::RngExt;
use ratequeue_api::client::Client;
use ratequeue_api::lease::LeaseState;
use ratequeue_api::{AcquireRequest, ReleaseRequest};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::cluster::PATIENCE;
use crate::harness::eventually;

/// How long a caller waits in the queue.
const WAIT_MS: u64 = 60_000;
/// Pause between two looks at what was granted.
const PAUSE: Duration = Duration::from_millis(100);
/// Callers that share one client, as the threads of one process would.
const CALLERS_A_CLIENT: usize = 8;

/// The limits of the resource under load.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub slots: u64,
    pub rate: u64,
    pub window: Duration,
}

impl Limits {
    pub fn json(&self) -> Value {
        let window_ms = u64::try_from(self.window.as_millis()).unwrap();
        json!({
            "slots": {"kind": "concurrency", "quota": self.slots},
            "rate": {"kind": "rate", "quota": self.rate, "window_ms": window_ms, "cost": "one"},
        })
    }
}

/// One lease that was granted.
#[derive(Debug, Clone)]
pub struct Grant {
    pub lease: String,
    pub token: u64,
    pub log_index: u64,
    /// Between these two it was granted.
    pub sent: Instant,
    pub came: Instant,
}

#[derive(Debug, Default)]
struct Seen {
    grants: Mutex<Vec<Grant>>,
    failures: Mutex<Vec<String>>,
    held: AtomicU64,
    held_max: AtomicU64,
}

/// Callers at work.
#[derive(Debug)]
pub struct Load {
    seen: Arc<Seen>,
    stop: Arc<AtomicBool>,
    callers: JoinSet<()>,
}

/// What the callers saw, in the order in which the answers came.
#[derive(Debug)]
pub struct Story {
    pub grants: Vec<Grant>,
    pub failures: Vec<String>,
    pub held_max: u64,
}

impl Load {
    /// So many callers of this resource, whose clients know these URLs.
    pub fn start(urls: &str, resource: &str, callers: usize) -> Self {
        let mut load = Self { seen: Arc::default(), stop: Arc::default(), callers: JoinSet::new() };
        load.more(urls, resource, callers);
        load
    }

    /// More callers, which may know other URLs.
    pub fn more(&mut self, urls: &str, resource: &str, callers: usize) {
        for nth in 0..callers.div_ceil(CALLERS_A_CLIENT) {
            let client = Arc::new(Client::new(urls, None, PATIENCE).unwrap());
            for _ in nth * CALLERS_A_CLIENT..callers.min((nth + 1) * CALLERS_A_CLIENT) {
                let (seen, stop) = (Arc::clone(&self.seen), Arc::clone(&self.stop));
                self.callers.spawn(caller(Arc::clone(&client), resource.to_owned(), seen, stop));
            }
        }
    }

    /// Waits until so many more leases were granted to calls that are made from now on.
    pub async fn goes_on(&self, count: usize) {
        let since = Instant::now();
        eventually("calls are granted", || async {
            let grants = self.seen.grants.lock();
            let fresh = grants.iter().rev().take_while(|grant| grant.came > since);
            (fresh.filter(|grant| grant.sent > since).count() >= count).then_some(())
        })
        .await;
    }

    /// Waits until so many leases were granted to calls that were made since then. As long as it
    /// goes on, it may take its time.
    pub async fn has_granted(&self, since: Instant, count: usize) {
        let granted =
            || self.seen.grants.lock().iter().rev().take_while(|grant| grant.came > since).count();
        let mut before = 0;
        while before < count {
            before = eventually("calls are granted", || async {
                Some(granted()).filter(|now| *now > before)
            })
            .await;
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Ends the load: every call that is under way is answered first.
    pub async fn stop(mut self) -> Story {
        self.stop.store(true, Ordering::SeqCst);
        while let Some(ended) = self.callers.join_next().await {
            ended.unwrap();
        }
        Story {
            grants: std::mem::take(&mut self.seen.grants.lock()),
            failures: std::mem::take(&mut self.seen.failures.lock()),
            held_max: self.seen.held_max.load(Ordering::SeqCst),
        }
    }
}

async fn caller(client: Arc<Client>, resource: String, seen: Arc<Seen>, stop: Arc<AtomicBool>) {
    let request = AcquireRequest { wait_ms: WAIT_MS, ..AcquireRequest::default() };
    while !stop.load(Ordering::SeqCst) {
        let sent = Instant::now();
        let lease = match client.acquire(&resource, &request, &Client::new_key(), |_| {}).await {
            Ok(lease) if lease.state == LeaseState::Held => lease,
            Ok(lease) => {
                seen.failed(format!("acquire came to {lease:?}"));
                continue;
            }
            Err(error) => {
                seen.failed(format!("acquire, begun {:?} ago: {error}", sent.elapsed()));
                continue;
            }
        };
        let grant = Grant {
            lease: lease.id.clone(),
            token: lease.fencing_token.unwrap(),
            log_index: lease.log_index.unwrap(),
            sent,
            came: Instant::now(),
        };
        seen.took(grant);
        let hold = Duration::from_micros(rand::rng().random_range(1_000..5_000));
        tokio::time::sleep(hold).await;
        seen.gives();
        if let Err(error) = client.release(&lease.id, &ReleaseRequest::default()).await {
            seen.failed(format!(
                "release of {}, begun {:?} after its acquire: {error}",
                lease.id,
                sent.elapsed()
            ));
        }
    }
}

impl Seen {
    fn took(&self, grant: Grant) {
        let held = self.held.fetch_add(1, Ordering::SeqCst) + 1;
        self.held_max.fetch_max(held, Ordering::SeqCst);
        self.grants.lock().push(grant);
    }

    fn gives(&self) {
        self.held.fetch_sub(1, Ordering::SeqCst);
    }

    fn failed(&self, what: String) {
        self.failures.lock().push(what);
    }
}

impl Story {
    /// No call failed.
    pub fn nothing_failed(&self) {
        let (some, all) = (self.failures.iter().take(5).collect::<Vec<_>>(), self.failures.len());
        assert!(
            self.failures.is_empty(),
            "{all} calls failed, {} were granted: {some:#?}",
            self.grants.len()
        );
    }

    /// The grants of both, of one resource. How much the two held at once together is not known.
    pub fn and(mut self, other: Self) -> Self {
        self.grants.extend(other.grants);
        self.held_max = self.held_max.max(other.held_max);
        self
    }

    /// No limit was exceeded, by the callers' clocks, and fencing tokens rise in the order of the
    /// log.
    pub fn kept(&self, limits: Limits) {
        assert!(self.held_max <= limits.slots, "{} leases were held at once", self.held_max);
        let most = self.most_within(limits.window);
        assert!(
            most <= usize::try_from(limits.rate).unwrap(),
            "{most} leases were granted in {:?}",
            limits.window
        );
        let mut order: Vec<_> =
            self.grants.iter().map(|grant| (grant.log_index, grant.token)).collect();
        order.sort_unstable();
        for pair in order.windows(2) {
            assert!(pair[0].1 < pair[1].1, "fencing tokens do not rise: (index, token) {pair:?}");
        }
    }

    /// The most leases that were granted for certain in a window of this length: asked for and
    /// answered within it.
    fn most_within(&self, window: Duration) -> usize {
        let mut by_sent: Vec<_> =
            self.grants.iter().map(|grant| (grant.sent, grant.came)).collect();
        by_sent.sort_unstable();
        let within = |(nth, (begin, _)): (usize, &(Instant, Instant))| {
            let sent = by_sent[nth..].iter().take_while(|(sent, _)| *sent <= *begin + window);
            sent.filter(|(_, came)| *came <= *begin + window).count()
        };
        by_sent.iter().enumerate().map(within).max().unwrap_or_default()
    }

    /// The longest time without a grant that reaches into this interval.
    pub fn longest_gap(&self, from: Instant, to: Instant) -> Duration {
        let pairs = self.grants.windows(2).map(|pair| (pair[0].came, pair[1].came));
        let reaching = pairs.filter(|(begin, end)| *end > from && *begin < to);
        reaching.map(|(begin, end)| end - begin).max().unwrap_or_default()
    }
}

/// The middle of some durations.
pub fn median(durations: &[Duration]) -> Duration {
    let mut sorted = durations.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}
