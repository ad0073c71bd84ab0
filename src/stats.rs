//! What a node remembers of what it did: counters, and the last 10 seconds of each active resource. Not replicated.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use parking_lot::Mutex;
use ratequeue_api::watch::{Percentiles, Throughput};
use ratequeue_limiter::{EventKind, LeaseState, ResourceName};
use ratequeue_raft::{EventBatch, Group};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::node::Member;
use crate::regions::Regions;

/// Resources of which activity is remembered. When there are more, those that were idle longest are forgotten.
const RESOURCES_MAX: usize = 10_000;
/// Resources that are listed in the metrics.
const METRIC_RESOURCES_MAX: usize = 1_000;
/// Grants of one resource whose waits are remembered, the latest.
const WAITS_MAX: usize = 4_096;
/// Over how many seconds rates and percentiles are taken.
const RECENT_S: u64 = 10;
/// Upper bounds of the buckets of waiting times, in seconds.
const WAIT_BUCKETS_S: [f64; 12] = [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 120.0];

/// What a node remembers of what it did.
#[derive(Debug)]
pub struct Stats {
    start: Instant,
    activities: Mutex<Activities>,
    waits: Waits,
}

#[derive(Debug, Default)]
struct Activities {
    by_resource: BTreeMap<ResourceName, Activity>,
    /// Batches of events that came faster than they could be counted.
    missed: u64,
}

/// What is counted of acquires, by how they ended.
#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    granted: u64,
    released: u64,
    expired: u64,
    cancelled: u64,
    timed_out: u64,
    rejected: u64,
    lapsed: u64,
    refused: u64,
}

#[derive(Debug, Default)]
struct Activity {
    total: Counts,
    /// The last seconds, by second since the start.
    seconds: VecDeque<(u64, Counts)>,
    /// The waits of the latest grants: second, milliseconds.
    waits: VecDeque<(u64, u64)>,
    last_s: u64,
}

/// How long granted leases waited, over all resources.
struct Waits {
    histogram: metrics::Histogram,
    handle: PrometheusHandle,
}

/// The last 10 seconds of a resource.
#[derive(Debug, Default)]
pub struct Recent {
    pub throughput: Throughput,
    pub wait_ms: Option<Percentiles>,
}

impl Default for Stats {
    fn default() -> Self {
        Self { start: Instant::now(), activities: Mutex::default(), waits: Waits::default() }
    }
}

impl Default for Waits {
    fn default() -> Self {
        let builder = PrometheusBuilder::new();
        // The one error is an empty list of buckets.
        let builder = builder.set_buckets(&WAIT_BUCKETS_S).unwrap_or_default();
        let recorder = builder.build_recorder();
        let histogram = metrics::with_local_recorder(&recorder, || {
            describe_histogram!("ratequeue_acquire_wait_seconds", "How long granted leases waited in line.");
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

impl Activity {
    fn count(&mut self, second: u64, count: impl Fn(&mut Counts)) {
        count(&mut self.total);
        self.last_s = second;
        match self.seconds.back_mut() {
            Some((last, counts)) if *last == second => count(counts),
            _ => {
                let mut counts = Counts::default();
                count(&mut counts);
                self.seconds.push_back((second, counts));
            }
        }
        while self.seconds.front().is_some_and(|(old, _)| old + RECENT_S < second) {
            self.seconds.pop_front();
        }
    }

    fn waited(&mut self, second: u64, ms: u64) {
        if self.waits.len() >= WAITS_MAX {
            self.waits.pop_front();
        }
        self.waits.push_back((second, ms));
    }

    fn recent(&self, second: u64) -> Recent {
        let recent = |at: u64| at + RECENT_S > second;
        let mut sum = Counts::default();
        for (_, counts) in self.seconds.iter().filter(|(at, _)| recent(*at)) {
            sum.granted += counts.granted;
            sum.released += counts.released;
            sum.rejected += counts.rejected + counts.refused + counts.timed_out;
        }
        let per_s = |n: u64| ratio(n, RECENT_S);
        let mut waits: Vec<u64> = self.waits.iter().filter(|(at, _)| recent(*at)).map(|(_, ms)| *ms).collect();
        waits.sort_unstable();
        Recent {
            throughput: Throughput {
                granted_per_s: per_s(sum.granted),
                released_per_s: per_s(sum.released),
                rejected_per_s: per_s(sum.rejected),
            },
            wait_ms: percentile(&waits, 50)
                .zip(percentile(&waits, 90))
                .zip(percentile(&waits, 99))
                .map(|((p50, p90), p99)| Percentiles { p50, p90, p99 }),
        }
    }
}

/// The smallest value that `percent` of 100 are at most.
fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// A number for people to look at.
fn shown(n: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "shown, never decided on")]
    let n = n as f64;
    n
}

/// A quotient for people to look at.
pub fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { shown(part) / shown(whole) }
}

impl Stats {
    /// Counts what the group tells, until it ends.
    pub async fn follow(&self, mut events: Receiver<Arc<EventBatch>>) {
        loop {
            match events.recv().await {
                Ok(batch) => self.take(&batch),
                Err(RecvError::Lagged(missed)) => self.activities.lock().missed += missed,
                Err(RecvError::Closed) => return,
            }
        }
    }

    fn take(&self, batch: &EventBatch) {
        let second = self.start.elapsed().as_secs();
        let mut activities = self.activities.lock();
        let by_resource = &mut activities.by_resource;
        for event in &batch.events {
            if matches!(event.kind, EventKind::Deleted) {
                by_resource.remove(&event.resource);
                continue;
            }
            // The line of a deleted resource ends after it, which brings nothing back.
            let late = matches!(event.kind, EventKind::Ended { state: LeaseState::Rejected, .. });
            if !late && !by_resource.contains_key(&event.resource) {
                make_room(by_resource);
                by_resource.insert(event.resource.clone(), Activity::default());
            }
            let Some(activity) = by_resource.get_mut(&event.resource) else { continue };
            match &event.kind {
                EventKind::Granted { waited_us, .. } => {
                    activity.count(second, |counts| counts.granted += 1);
                    activity.waited(second, waited_us / 1000);
                    self.waits.histogram.record(ratio(*waited_us, 1_000_000));
                }
                EventKind::Ended { state, .. } => activity.count(second, |counts| match state {
                    LeaseState::Released => counts.released += 1,
                    LeaseState::Expired => counts.expired += 1,
                    LeaseState::Cancelled => counts.cancelled += 1,
                    LeaseState::TimedOut => counts.timed_out += 1,
                    LeaseState::Rejected => counts.rejected += 1,
                    LeaseState::Lapsed => counts.lapsed += 1,
                    LeaseState::Waiting | LeaseState::Held => {}
                }),
                EventKind::Refused { .. } => activity.count(second, |counts| counts.refused += 1),
                EventKind::Queued { .. } | EventKind::LimitsChanged { .. } | EventKind::Deleted => {}
            }
        }
        // Samples pile up in the histogram until somebody sorts them into its buckets.
        self.waits.handle.run_upkeep();
    }

    /// The last 10 seconds of a resource.
    pub fn recent(&self, name: &ResourceName) -> Recent {
        let second = self.start.elapsed().as_secs();
        self.activities.lock().by_resource.get(name).map(|activity| activity.recent(second)).unwrap_or_default()
    }

    /// Everything as Prometheus text: counters as they were counted, gauges as they are now.
    ///
    /// All but the waits is put into a recorder of its own each time, so that what is gone does not linger.
    pub fn render(&self, member: Option<&Member>) -> String {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            render_counters(&self.activities.lock());
            if let Some(member) = member {
                member.groups().into_iter().for_each(render_gauges);
                render_regions(&member.regions);
                describe_counter!(
                    "ratequeue_state_moved_aside_total",
                    "Damaged checkpoints that this start moved aside."
                );
                counter!("ratequeue_state_moved_aside_total").absolute(u64::from(member.moved_aside));
            }
        });
        recorder.handle().render() + &self.waits.handle.render()
    }
}

/// Forgets the half that was idle longest, once there are too many; so it happens rarely.
fn make_room(by_resource: &mut BTreeMap<ResourceName, Activity>) {
    if by_resource.len() < RESOURCES_MAX {
        return;
    }
    let mut seconds: Vec<u64> = by_resource.values().map(|activity| activity.last_s).collect();
    seconds.sort_unstable();
    let median = seconds.get(seconds.len() / 2).copied().unwrap_or_default();
    let mut excess = by_resource.len() / 2;
    by_resource.retain(|_, activity| {
        let forget = excess > 0 && activity.last_s <= median;
        excess -= usize::from(forget);
        !forget
    });
}

/// Sets counters to what was counted.
fn render_counters(activities: &Activities) {
    describe_counter!("ratequeue_acquires_total", "Leases by how they went on, and acquires that were refused.");
    describe_counter!("ratequeue_leases_ended_total", "Held leases by how they ended.");
    describe_counter!("ratequeue_events_missed_total", "Batches of events that were not counted.");
    for (name, activity) in activities.by_resource.iter().take(METRIC_RESOURCES_MAX) {
        let total = &activity.total;
        for (metric, outcome, n) in [
            ("ratequeue_acquires_total", "granted", total.granted),
            ("ratequeue_acquires_total", "refused", total.refused),
            ("ratequeue_acquires_total", "timed_out", total.timed_out),
            ("ratequeue_acquires_total", "rejected", total.rejected),
            ("ratequeue_acquires_total", "cancelled", total.cancelled),
            ("ratequeue_leases_ended_total", "released", total.released),
            ("ratequeue_leases_ended_total", "expired", total.expired),
            ("ratequeue_leases_ended_total", "lapsed", total.lapsed),
        ] {
            counter!(metric, "resource" => name.to_string(), "outcome" => outcome).absolute(n);
        }
    }
    counter!("ratequeue_events_missed_total").absolute(activities.missed);
}

/// Sets gauges to how the resources and the group stand.
fn render_gauges(group: &Group) {
    describe_gauge!("ratequeue_queue_depth", "Leases in line.");
    describe_gauge!("ratequeue_held", "Leases held.");
    describe_gauge!("ratequeue_utilization_ratio", "What is in use of the most that a limit admits at once.");
    let (usages, resources, leases, forgotten) = group.read(|state, now| {
        let views = state.resources(None, METRIC_RESOURCES_MAX);
        let usages: Vec<_> =
            views.into_iter().filter_map(|view| Some((state.usage(&view.name, now)?, view.name))).collect();
        (usages, state.resources_len() as u64, state.leases_live() as u64, state.forgotten_early())
    });
    for (usage, name) in &usages {
        gauge!("ratequeue_queue_depth", "resource" => name.to_string()).set(shown(usage.queue_depth));
        gauge!("ratequeue_held", "resource" => name.to_string()).set(shown(usage.held));
        for limit in &usage.limits {
            let labels = [("resource", name.to_string()), ("limit", limit.name.to_string())];
            gauge!("ratequeue_utilization_ratio", &labels).set(ratio(limit.used, limit.capacity));
        }
    }
    let status = group.status();
    for (name, help, n) in [
        ("ratequeue_resources", "Resources of the group.", resources),
        ("ratequeue_leases_live", "Waiting and held leases of the group.", leases),
        ("ratequeue_log_last_index", "Index of the last log entry.", status.last_log_index.unwrap_or_default()),
        ("ratequeue_log_applied_index", "Index of the last applied log entry.", status.applied.unwrap_or_default()),
        ("ratequeue_leader", "1 on the node that leads the group.", u64::from(group.leader() == Some(group.node()))),
    ] {
        describe_gauge!(name, help);
        gauge!(name, "group" => group.name().to_owned()).set(shown(n));
    }
    describe_counter!("ratequeue_forgotten_early_total", "Ended leases forgotten before their time, for want of room.");
    counter!("ratequeue_forgotten_early_total", "group" => group.name().to_owned()).absolute(forgotten);
}

/// Sets gauges to how the other regions were reached last.
fn render_regions(regions: &Regions) {
    describe_gauge!("ratequeue_region_reachable", "1 while a node of the other region answers this one.");
    describe_gauge!("ratequeue_region_round_trip_seconds", "How long a node of the other region took to answer last.");
    for region in regions.others() {
        let contact = regions.contact(&region);
        gauge!("ratequeue_region_reachable", "region" => region.clone()).set(shown(u64::from(contact.via.is_some())));
        if let Some(took) = contact.round_trip {
            gauge!("ratequeue_region_round_trip_seconds", "region" => region).set(took.as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_seen() {
        assert_eq!(percentile(&[], 50), None);
        assert_eq!(percentile(&[7], 99), Some(7));
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!(percentile(&hundred, 50), Some(50));
        assert_eq!(percentile(&hundred, 99), Some(99));
    }

    #[test]
    fn only_the_last_ten_seconds_count() {
        let mut activity = Activity::default();
        for second in 0..30 {
            activity.count(second, |counts| counts.granted += 2);
            activity.waited(second, second);
        }
        let recent = activity.recent(29);
        assert!((recent.throughput.granted_per_s - 2.0).abs() < 1e-9);
        assert_eq!(recent.wait_ms.map(|wait| wait.p50), Some(24));
        assert!(activity.recent(60).wait_ms.is_none());
        assert!(activity.seconds.len() <= 12);
    }
}
