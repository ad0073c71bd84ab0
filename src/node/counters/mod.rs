//! What a node remembers of what it did: counters, and the last 10 seconds of each active resource.
//! Not replicated.
//!
//! ```text
//!   activity.rs     one resource: its counters, its last seconds, how busy it is
//!   histogram.rs    how long its grants waited
//!   activities.rs   those of a group: how many are remembered, and which the metrics list
//!   series.rs       how a resource stood and what it did, second by second
//!   ranges.rs       series as they are asked for
//!   render.rs       the metrics as text
//! ```

mod activities;
mod activity;
mod histogram;
mod ranges;
mod render;
pub mod series;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use metrics::{describe_histogram, histogram};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use parking_lot::Mutex;
use ratequeue_limiter::{Event, EventKind, LeaseState, ResourceName};
use ratequeue_raft::{EventBatch, EventsError, Group, Happening, Witness};

use activities::{Activities, LISTED_MAX};
use activity::{Counts, RECENT_S};
pub use activity::{Recent, ratio};

use crate::node::aside::PIECE;
use crate::node::regions::Regions;
pub use ranges::{RangeQuery, SortBy};

/// Upper bounds of the buckets of waiting times, in seconds.
const WAIT_BUCKETS_S: [f64; 12] =
    [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 120.0];
/// Events that are counted before the next ones are read.
const EVENTS_AT_ONCE: usize = 1_024;
/// How long after its end a second is sampled: what happened in it has been counted by then.
const SAMPLED_AFTER: Duration = Duration::from_millis(250);
/// How long nothing must have happened for everything to be old.
const QUIET: Duration = Duration::from_secs(RECENT_S + 1);

/// How long a text of the metrics is given to whoever asks.
const TEXT_FRESH: Duration = Duration::from_secs(1);

/// What the metrics show of a node's part in its cluster.
#[derive(Debug)]
pub struct Sources<'a> {
    pub groups: [&'a Group; 2],
    pub regions: &'a Regions,
    /// Its checkpoints could not be opened, and were moved aside.
    pub moved_aside: bool,
}

/// What a node remembers of what it did.
#[derive(Debug)]
pub struct Stats {
    start: Instant,
    /// The same in milliseconds since 1970. It is read once: all buckets are told by it, each time
    /// alike.
    start_ms: u64,
    /// By group.
    activities: Mutex<BTreeMap<String, Activities>>,
    waits: Waits,
    /// Seconds of which there is a bucket: all before this one.
    sampled: AtomicU64,
    /// The last text of the metrics, and when it was made.
    text: Mutex<Option<(Instant, Bytes)>>,
}

/// How long granted leases waited, over all resources.
struct Waits {
    histogram: metrics::Histogram,
    handle: PrometheusHandle,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            start_ms: unix_ms(),
            activities: Mutex::default(),
            waits: Waits::default(),
            sampled: AtomicU64::new(0),
            text: Mutex::default(),
        }
    }
}

/// The wall clock, in milliseconds since 1970. To be shown, never to be decided by.
fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

impl Default for Waits {
    fn default() -> Self {
        let builder = PrometheusBuilder::new();
        // The one error is an empty list of buckets.
        let builder = builder.set_buckets(&WAIT_BUCKETS_S).unwrap_or_default();
        let recorder = builder.build_recorder();
        let histogram = metrics::with_local_recorder(&recorder, || {
            describe_histogram!(
                "ratequeue_acquire_wait_seconds",
                "How long granted leases waited in the queue."
            );
            histogram!("ratequeue_acquire_wait_seconds")
        });
        Self { histogram, handle: recorder.handle() }
    }
}

impl fmt::Debug for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waits").finish_non_exhaustive()
    }
}

impl Stats {
    /// Counts what a group tells, until it ends.
    pub async fn follow(&self, group: &Group) {
        let mut events = group.events(None);
        let name = group.name();
        loop {
            let read = tokio::select! {
                read = events.next(EVENTS_AT_ONCE) => read,
                // Once, and not again before something happens: an idle node sleeps.
                () = tokio::time::sleep(QUIET), if self.of(name, |activities| activities.has_recent) => {
                    self.of(name, |activities| activities.forget_old(self.second()));
                    continue;
                }
            };
            match read {
                Ok(batches) => batches.iter().for_each(|batch| self.take(name, batch)),
                Err(EventsError::Gap(_)) => self.of(name, |activities| activities.gaps += 1),
                Err(EventsError::Ended) => return,
            }
        }
    }

    /// Samples how the resources of these groups stand, each second.
    pub async fn sample(&self, groups: [&Group; 2]) {
        loop {
            let sampled = self.sampled.load(Ordering::Relaxed);
            let due = self.start + Duration::from_secs(sampled + 1) + SAMPLED_AFTER;
            tokio::time::sleep_until(due.into()).await;
            for group in groups {
                self.sample_group(group, sampled);
            }
            self.sampled.store(sampled + 1, Ordering::Relaxed);
        }
    }

    fn sample_group(&self, group: &Group, second: u64) {
        let names: Vec<ResourceName> = self.of(group.name(), |activities| {
            if second.is_multiple_of(RECENT_S) {
                activities.follow_busiest(second);
            }
            activities.series.keys().cloned().collect()
        });

        for piece in names.chunks(PIECE) {
            let usages: Vec<_> =
                group.read(|state, now| piece.iter().map(|name| state.usage(name, now)).collect());
            self.of(group.name(), |activities| {
                for (name, usage) in piece.iter().zip(usages) {
                    match usage {
                        Some(usage) => activities.sample(name, second, &usage),
                        None => activities.remove(name),
                    }
                }
            });
        }
        self.of(group.name(), |activities| activities.sample_total(second));
    }

    /// Full seconds since the start.
    fn second(&self) -> u64 {
        self.start.elapsed().as_secs()
    }

    /// The second of an instant; the first one for what was before the start.
    fn second_of(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.start).as_secs()
    }

    /// Does something with the activities of a group.
    fn of<T>(&self, group: &str, act: impl FnOnce(&mut Activities) -> T) -> T {
        let mut groups = self.activities.lock();
        if let Some(activities) = groups.get_mut(group) {
            return act(activities);
        }
        act(groups.entry(group.to_owned()).or_default())
    }

    fn take(&self, group: &str, batch: &EventBatch) {
        let Happening::Events(events) = &batch.what else {
            let is_new = batch.witness != Witness::Replay;
            return self.of(group, |activities| activities.leader_changes += u64::from(is_new));
        };
        let is_counted = match batch.witness {
            // It was there before the start.
            Witness::Replay => return,
            // Each event is counted on one node, so that the counters of all nodes add up.
            Witness::Follower => false,
            Witness::Leader => true,
        };

        // What comes after the bucket of its second was made counts in the next one.
        let second = self.second_of(batch.at).max(self.sampled.load(Ordering::Relaxed));
        self.of(group, |activities| {
            for event in events {
                self.count(activities, event, second, is_counted);
            }
            activities.has_recent = true;
            activities.forget_old(second);
        });
        // Samples pile up in the histogram until somebody sorts them into its buckets.
        self.waits.handle.run_upkeep();
    }

    fn count(&self, activities: &mut Activities, event: &Event, second: u64, is_counted: bool) {
        if matches!(event.kind, EventKind::Deleted) {
            return activities.remove(&event.resource);
        }
        // What an operator does is no activity of callers. The line of a deleted resource ends
        // after it, which brings nothing back.
        let begins_nothing = matches!(
            event.kind,
            EventKind::LimitsChanged { .. } | EventKind::Ended { state: LeaseState::Rejected, .. }
        );
        if !begins_nothing {
            activities.add(&event.resource, second);
        }
        let mut count = |count: fn(&mut Counts)| {
            activities.count(&event.resource, second, is_counted, count);
        };

        match &event.kind {
            EventKind::Granted { waited_us, .. } => {
                count(|counts| counts.granted += 1);
                if is_counted {
                    self.waits.histogram.record(ratio(*waited_us, 1_000_000));
                }
                activities.waited(&event.resource, second, waited_us / 1000);
            }
            EventKind::Ended { state, .. } => match state {
                LeaseState::Released => count(|counts| counts.released += 1),
                LeaseState::Expired => count(|counts| counts.expired += 1),
                LeaseState::Cancelled => count(|counts| counts.cancelled += 1),
                LeaseState::TimedOut => count(|counts| counts.timed_out += 1),
                LeaseState::Rejected => count(|counts| counts.rejected += 1),
                LeaseState::Lapsed => count(|counts| counts.lapsed += 1),
                LeaseState::Waiting | LeaseState::Held => {}
            },
            EventKind::Refused { .. } => count(|counts| counts.refused += 1),
            EventKind::Queued { .. } => {}
            EventKind::LimitsChanged { .. } | EventKind::Deleted => return,
        }
        activities.busy(&event.resource, second);
    }

    /// How many leaders a group has got while this node was there.
    pub fn leader_changes(&self, group: &str) -> u64 {
        self.of(group, |activities| activities.leader_changes)
    }

    /// How long the node has been there.
    pub fn uptime(&self) -> Duration {
        self.start.elapsed()
    }

    /// The last 10 seconds of a resource of a group.
    pub fn recent(&self, group: &str, name: &ResourceName) -> Recent {
        let second = self.second();
        self.of(group, |activities| {
            activities.get(name).map(|activity| activity.recent(second)).unwrap_or_default()
        })
    }

    /// How often events came faster than they could be counted, or were passed over by a
    /// snapshot.
    fn gaps(&self) -> u64 {
        self.activities.lock().values().map(|activities| activities.gaps).sum()
    }

    /// The resources of a group that the metrics list with what was counted of each, and what was
    /// counted of the others.
    fn choose(&self, group: &str) -> (BTreeMap<ResourceName, Counts>, Counts) {
        let second = self.second();
        self.of(group, |activities| (activities.choose(LISTED_MAX, second), activities.unlisted))
    }

    /// The metrics as Prometheus text, or those of a moment ago: one text serves all who scrape at
    /// a time. It takes a while.
    pub fn text(&self, sources: Option<&Sources<'_>>) -> Bytes {
        let last = self.text.lock().clone();
        if let Some((made, text)) = last
            && made.elapsed() < TEXT_FRESH
        {
            return text;
        }
        let text = Bytes::from(self.render(sources));
        *self.text.lock() = Some((Instant::now(), text.clone()));
        text
    }
}
