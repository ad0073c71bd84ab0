//! The metrics as Prometheus text: counters as they were counted, gauges as they are now.

use std::collections::BTreeMap;

use metrics::{counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::PrometheusBuilder;
use ratequeue_limiter::{ResourceName, ResourceUsage};
use ratequeue_raft::Group;

use super::Stats;
use super::activity::{Counts, ratio, shown};
use crate::node::Member;
use crate::regions::Regions;

/// Resources of a group that are listed in the metrics.
const METRIC_RESOURCES_MAX: usize = 1_000;

impl Stats {
    /// Everything as Prometheus text.
    ///
    /// All but the waits is put into a recorder of its own each time, so that what is gone does not linger.
    pub fn render(&self, member: Option<&Member>) -> String {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            describe_counter!("ratequeue_events_missed_total", "Batches of events that were not counted.");
            counter!("ratequeue_events_missed_total").absolute(self.missed());

            let Some(member) = member else { return };
            for group in member.groups() {
                let chosen = self.choose(group.name(), METRIC_RESOURCES_MAX);
                render_resources(group, &chosen);
                render_group(group);
            }
            render_regions(&member.regions);

            let text = "Damaged checkpoints that this start moved aside.";
            describe_counter!("ratequeue_state_moved_aside_total", text);
            counter!("ratequeue_state_moved_aside_total").absolute(u64::from(member.moved_aside));
        });
        recorder.handle().render() + &self.waits.handle.render()
    }
}

/// Sets the counters and gauges of the chosen resources, and the gauges of others as far as there is room.
fn render_resources(group: &Group, chosen: &BTreeMap<ResourceName, Counts>) {
    describe_gauge!("ratequeue_metrics_resources_left_out", "Resources of the group that these metrics do not list.");
    let (usages, resources) = usages(group, chosen);
    let left_out = resources.saturating_sub(usages.len());
    let left_out = shown(u64::try_from(left_out).unwrap_or(u64::MAX));
    gauge!("ratequeue_metrics_resources_left_out", "group" => group.name().to_owned()).set(left_out);

    for (name, usage) in &usages {
        render_gauges(name, usage);
        if let Some(total) = chosen.get(name) {
            render_counters(name, total);
        }
    }
}

/// How the resources stand that are listed, and how many the group has. Never more than the maximum are looked at.
fn usages(group: &Group, chosen: &BTreeMap<ResourceName, Counts>) -> (Vec<(ResourceName, ResourceUsage)>, usize) {
    let room = METRIC_RESOURCES_MAX.saturating_sub(chosen.len());
    group.read(|state, now| {
        // Among so many are at least `room` that are not chosen, if there are so many at all.
        let first = if room == 0 { Vec::new() } else { state.resources(None, METRIC_RESOURCES_MAX) };
        let others = first.into_iter().map(|view| view.name).filter(|name| !chosen.contains_key(name)).take(room);

        let names = chosen.keys().cloned().chain(others);
        let usages = names.filter_map(|name| state.usage(&name, now).map(|usage| (name, usage)));
        (usages.collect(), state.resources_len())
    })
}

/// Sets the counters of a resource to what was counted.
fn render_counters(name: &ResourceName, total: &Counts) {
    describe_counter!("ratequeue_acquires_total", "Leases by how they went on, and acquires that were refused.");
    describe_counter!("ratequeue_leases_ended_total", "Held leases by how they ended.");
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

/// Sets the gauges of a resource to how it stands.
fn render_gauges(name: &ResourceName, usage: &ResourceUsage) {
    describe_gauge!("ratequeue_queue_depth", "Leases in line.");
    describe_gauge!("ratequeue_held", "Leases held.");
    describe_gauge!("ratequeue_utilization_ratio", "What is in use of the most that a limit admits at once.");
    gauge!("ratequeue_queue_depth", "resource" => name.to_string()).set(shown(usage.queue_depth));
    gauge!("ratequeue_held", "resource" => name.to_string()).set(shown(usage.held));
    for limit in &usage.limits {
        let labels = [("resource", name.to_string()), ("limit", limit.name.to_string())];
        gauge!("ratequeue_utilization_ratio", &labels).set(ratio(limit.used, limit.capacity));
    }
}

/// Sets gauges to how the group stands.
fn render_group(group: &Group) {
    let (resources, leases, forgotten) =
        group.read(|state, _now| (state.resources_len() as u64, state.leases_live() as u64, state.forgotten_early()));
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
