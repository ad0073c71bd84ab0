//! The metrics as Prometheus text: counters as they were counted, gauges as they are now.

use std::collections::BTreeMap;

use metrics::{counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::PrometheusBuilder;
use ratequeue_limiter::{ResourceName, ResourceUsage};
use ratequeue_raft::Group;

use super::activities::LISTED_MAX;
use super::activity::{Counts, ratio, shown};
use super::{Sources, Stats};
use crate::node::aside::PIECE;
use crate::node::regions::Regions;

/// Stands for all resources that are not listed. No resource can have this name.
const OTHER: &str = "(other)";

/// The resources that are not listed.
#[derive(Default)]
struct Others {
    resources: u64,
    waiting: u64,
    held: u64,
}

impl Stats {
    /// Everything as Prometheus text. It takes a while, in which nothing is locked for long.
    ///
    /// All but the waits is put into a recorder of its own each time, so that what is gone does not
    /// linger.
    pub(super) fn render(&self, sources: Option<&Sources<'_>>) -> String {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            describe_counter!(
                "ratequeue_events_missed_total",
                "Batches of events that were not counted."
            );
            counter!("ratequeue_events_missed_total").absolute(self.gaps());

            let Some(sources) = sources else { return };
            for group in sources.groups {
                let leads = group.leader() == Some(group.node());
                let (chosen, unlisted) = self.choose(group.name());
                render_resources(group, &chosen, leads);
                render_counters(OTHER, &unlisted);
                render_group(group, leads);
            }
            render_regions(sources.regions);

            let text = "Damaged checkpoints that this start moved aside.";
            describe_counter!("ratequeue_state_moved_aside_total", text);
            counter!("ratequeue_state_moved_aside_total").absolute(u64::from(sources.moved_aside));
        });
        recorder.handle().render() + &self.waits.handle.render()
    }
}

/// Sets the counters of the chosen resources; where the group is led also their gauges, and those
/// of others as far as there is room.
fn render_resources(group: &Group, chosen: &BTreeMap<ResourceName, Counts>, leads: bool) {
    let mut names: Vec<ResourceName> = chosen.keys().cloned().collect();
    if leads {
        let others = fill_up(group, &mut names, chosen);
        describe_gauge!(
            "ratequeue_metrics_resources_left_out",
            "Resources of the group that these metrics do not list."
        );
        gauge!("ratequeue_metrics_resources_left_out", "group" => group.name().to_owned())
            .set(shown(others.resources));
        // Both groups of a node have others, and add up.
        gauge!("ratequeue_queue_depth", "resource" => OTHER).increment(shown(others.waiting));
        gauge!("ratequeue_held", "resource" => OTHER).increment(shown(others.held));
    }

    for names in names.chunks(PIECE) {
        let usages: Vec<_> =
            group.read(|state, now| names.iter().map(|name| state.usage(name, now)).collect());
        for (name, usage) in names.iter().zip(usages) {
            // One that was deleted meanwhile has none.
            let Some(usage) = usage else { continue };
            if leads {
                render_gauges(name, &usage);
            }
            if let Some(counts) = chosen.get(name) {
                render_counters(name.as_str(), counts);
            }
        }
    }
}

/// Adds the first resources that are not listed, as far as there is room, and sums up the rest.
fn fill_up(
    group: &Group,
    names: &mut Vec<ResourceName>,
    chosen: &BTreeMap<ResourceName, Counts>,
) -> Others {
    let mut others = Others::default();
    let mut after = None;
    loop {
        let piece = group.read(|state, _| state.live_leases(after.as_ref(), PIECE));
        let Some(last) = piece.last() else { return others };
        after = Some(last.resource.clone());

        for live in piece.into_iter().filter(|live| !chosen.contains_key(&live.resource)) {
            if names.len() < LISTED_MAX {
                names.push(live.resource);
            } else {
                others.resources += 1;
                others.waiting += live.waiting;
                others.held += live.held;
            }
        }
    }
}

/// Sets the counters of a resource to what was counted.
fn render_counters(name: &str, counts: &Counts) {
    describe_counter!(
        "ratequeue_acquires_total",
        "Leases by how they went on, and acquires that were refused."
    );

    describe_counter!("ratequeue_leases_ended_total", "Held leases by how they ended.");
    for (metric, outcome, n) in [
        ("ratequeue_acquires_total", "granted", counts.granted),
        ("ratequeue_acquires_total", "refused", counts.refused),
        ("ratequeue_acquires_total", "timed_out", counts.timed_out),
        ("ratequeue_acquires_total", "rejected", counts.rejected),
        ("ratequeue_acquires_total", "cancelled", counts.cancelled),
        ("ratequeue_leases_ended_total", "released", counts.released),
        ("ratequeue_leases_ended_total", "expired", counts.expired),
        ("ratequeue_leases_ended_total", "lapsed", counts.lapsed),
    ] {
        // Both groups of a node have others, and add up.
        counter!(metric, "resource" => name.to_owned(), "outcome" => outcome).increment(n);
    }
}

/// Sets the gauges of a resource to how it stands.
fn render_gauges(name: &ResourceName, usage: &ResourceUsage) {
    describe_gauge!("ratequeue_queue_depth", "Leases in the queue.");
    describe_gauge!("ratequeue_held", "Leases held.");
    describe_gauge!(
        "ratequeue_utilization_ratio",
        "What is in use of the most that a limit admits at once."
    );
    gauge!("ratequeue_queue_depth", "resource" => name.to_string()).set(shown(usage.queue_depth));
    gauge!("ratequeue_held", "resource" => name.to_string()).set(shown(usage.held));
    for limit in &usage.limits {
        let labels = [("resource", name.to_string()), ("limit", limit.name.to_string())];
        gauge!("ratequeue_utilization_ratio", &labels).set(ratio(limit.used, limit.capacity));
    }
}

/// Sets gauges to how the group stands. What its state says is the same on all nodes, so the leader
/// says it.
fn render_group(group: &Group, leads: bool) {
    let status = group.status();
    for (name, help, n) in [
        (
            "ratequeue_log_last_index",
            "Index of the last log entry.",
            status.last_log_index.unwrap_or_default(),
        ),
        (
            "ratequeue_log_applied_index",
            "Index of the last applied log entry.",
            status.applied.unwrap_or_default(),
        ),
        ("ratequeue_leader", "1 on the node that leads the group.", u64::from(leads)),
    ] {
        describe_gauge!(name, help);
        gauge!(name, "group" => group.name().to_owned()).set(shown(n));
    }
    describe_counter!(
        "ratequeue_defects_total",
        "Contradictions that this node has met in the state of the group."
    );
    let defects = group.read(|state, _now| state.defects());
    counter!("ratequeue_defects_total", "group" => group.name().to_owned()).absolute(defects);
    if !leads {
        return;
    }

    let (resources, leases, forgotten) = group.read(|state, _now| {
        (state.resources_len() as u64, state.leases_live() as u64, state.forgotten_early())
    });
    describe_gauge!("ratequeue_resources", "Resources of the group.");
    gauge!("ratequeue_resources", "group" => group.name().to_owned()).set(shown(resources));
    describe_gauge!("ratequeue_leases_live", "Waiting and held leases of the group.");
    gauge!("ratequeue_leases_live", "group" => group.name().to_owned()).set(shown(leases));
    describe_counter!(
        "ratequeue_forgotten_early_total",
        "Ended leases forgotten before their time, for want of room."
    );
    counter!("ratequeue_forgotten_early_total", "group" => group.name().to_owned())
        .absolute(forgotten);
}

/// Sets gauges to how the other regions were reached last.
fn render_regions(regions: &Regions) {
    describe_gauge!(
        "ratequeue_region_reachable",
        "1 while a node of the other region answers this one."
    );

    describe_gauge!(
        "ratequeue_region_round_trip_seconds",
        "How long a node of the other region took to answer last."
    );

    for region in regions.others() {
        let contact = regions.contact(&region);
        gauge!("ratequeue_region_reachable", "region" => region.clone())
            .set(shown(u64::from(contact.via.is_some())));
        if let Some(took) = contact.round_trip {
            gauge!("ratequeue_region_round_trip_seconds", "region" => region)
                .set(took.as_secs_f64());
        }
    }
}
