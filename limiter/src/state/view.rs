//! Reads: what the state shows. None of them can enter the log.

use crate::model::lease_id::LeaseId;
use crate::model::level::Level;
use crate::model::name::{LimitName, RequestId, ResourceName};
use crate::model::outcome::{
    End, Grant, LeaseState, LeaseView, LiveLeases, Phase, Place, QueueHead, Refusal, ResourceUsage,
    ResourceView,
};
use crate::model::time::LogTime;
use crate::state::State;
use crate::state::estimate::estimate_ms;
use crate::state::lease::{LeaseRecord, LeaseStage};
use crate::state::resource::Resource;

/// How the end of a lease corrected its charges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Corrections<'a> {
    /// Given back.
    pub refunded: &'a [(LimitName, u64)],
    /// Charged on top.
    pub debited: &'a [(LimitName, u64)],
}

impl State {
    /// A resource by name. O(log n).
    #[must_use]
    pub fn resource(&self, name: &ResourceName) -> Option<ResourceView> {
        let id = self.find_resource(name)?;
        self.records.resources.get(id).map(|resource| resource.view())
    }

    /// Whether there is a resource of this name. O(1) on average.
    #[must_use]
    pub fn has_resource(&self, name: &ResourceName) -> bool {
        self.find_resource(name).is_some()
    }

    /// Up to `max` resources in name order, from the first one after `after` on.
    #[must_use]
    pub fn resources(&self, after: Option<&ResourceName>, max: usize) -> Vec<ResourceView> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        let ids = self
            .indexes
            .names
            .range::<ResourceName, _>((from, Unbounded))
            .take(max)
            .map(|(_, id)| id);
        ids.filter_map(|id| self.records.resources.get(*id))
            .map(|resource| resource.view())
            .collect()
    }

    /// How many leases up to `max` resources have, in name order, from the first one after `after`
    /// on. O(1) each.
    #[must_use]
    pub fn live_leases(&self, after: Option<&ResourceName>, max: usize) -> Vec<LiveLeases> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        let resources = self.indexes.names.range::<ResourceName, _>((from, Unbounded)).take(max);
        let live =
            resources.filter_map(|(name, id)| Some((name, &self.records.resources.get(*id)?.live)));
        live.map(|(name, live)| LiveLeases {
            resource: name.clone(),
            waiting: live.queue.total().count,
            held: u64::try_from(live.held.len()).unwrap_or(u64::MAX),
        })
        .collect()
    }

    /// Number of resources.
    #[must_use]
    pub fn resources_len(&self) -> usize {
        self.indexes.names.len()
    }

    /// Number of waiting and held leases.
    #[must_use]
    pub fn leases_live(&self) -> usize {
        self.records.leases.len() - self.indexes.ended.len()
    }

    /// Ended leases and changes of resources that were forgotten before their time because there
    /// were too many.
    #[must_use]
    pub fn forgotten_early(&self) -> u64 {
        self.records.meta.forgotten_early
    }

    fn lease_record(&self, id: LeaseId) -> Option<&LeaseRecord> {
        let lease = self.records.leases.get(id.seq)?;
        (lease.tag == id.tag).then_some(lease)
    }

    /// A lease in whatever part of its life it is, as of log time `at`. O(log n). A held lease of a
    /// deleted resource is not found.
    #[must_use]
    pub fn lease(&self, id: LeaseId, at: LogTime) -> Option<LeaseView> {
        let lease = self.lease_record(id)?;
        let deleted =
            self.records.resources.get(lease.resource).is_none_or(|resource| resource.deleted);
        if deleted && matches!(lease.stage, LeaseStage::Held(_)) {
            return None;
        }
        self.lease_view(id.seq, lease, at)
    }

    /// True while a lease is in the queue. O(log n).
    #[must_use]
    pub fn is_waiting(&self, id: LeaseId) -> bool {
        self.lease_record(id).is_some_and(LeaseRecord::is_waiting)
    }

    /// The waiting leases among up to `max` leases from the one numbered `from` on, and the number
    /// to go on from; `None` after the last. O(`max`).
    #[must_use]
    pub fn waiting_from(&self, from: u64, max: usize) -> (Vec<LeaseId>, Option<u64>) {
        let mut waiting = Vec::new();
        let mut next = self.records.leases.first_from(from);
        for _ in 0..max {
            let Some(seq) = next else { break };
            if let Some(lease) = self.records.leases.get(seq).filter(|lease| lease.is_waiting()) {
                waiting.push(LeaseId { seq, tag: lease.tag });
            }
            next = self.records.leases.first_from(seq + 1);
        }
        (waiting, next)
    }

    /// The key of the acquire that made a lease. O(log n).
    #[must_use]
    pub fn request(&self, id: LeaseId) -> Option<&RequestId> {
        self.lease_record(id).map(|lease| &lease.request)
    }

    /// What the end of a lease gave back and what it charged on top, without zeros, in name order;
    /// `None` while it has not ended. O(log n).
    #[must_use]
    pub fn corrections(&self, id: LeaseId) -> Option<Corrections<'_>> {
        let lease = self.lease_record(id)?;
        let LeaseStage::Ended(ended) = &lease.stage else { return None };
        Some(Corrections { refunded: &ended.refunded, debited: &ended.debited })
    }

    /// How a resource stands at log time `at`. O(limits).
    #[must_use]
    pub fn usage(&self, name: &ResourceName, at: LogTime) -> Option<ResourceUsage> {
        let resource = self.records.resources.get(self.find_resource(name)?)?;
        let at = at.max(self.now());
        let total = resource.live.queue.total();

        let oldest = resource
            .live
            .queue
            .oldest()
            .filter_map(|seq| self.records.leases.get(seq))
            .map(|lease| lease.arrived)
            .min();

        Some(ResourceUsage {
            queue_depth: total.count,
            queue_load: u64::try_from(total.load).unwrap_or(u64::MAX),
            oldest_wait_ms: oldest.map_or(0, |arrived| at.since_us(arrived) / 1000),
            held: u64::try_from(resource.live.held.len()).unwrap_or(u64::MAX),
            limits: resource.limits.iter().map(|limit| limit.view(at)).collect(),
        })
    }

    /// The first in the queue of a resource, and what it waits for at log time `at`; `None` when
    /// nobody waits. O(log n + limits).
    #[must_use]
    pub fn queue_head(&self, name: &ResourceName, at: LogTime) -> Option<QueueHead> {
        let resource = self.records.resources.get(self.find_resource(name)?)?;
        let seq = resource.live.queue.head()?;
        let lease = self.records.leases.get(seq)?;
        let (at, level) = (at.max(self.now()), self.level());

        let needs = resource.limits.iter().map(|limit| (limit, limit.needed(&lease.load, level)));
        let violated = needs.clone().filter(|(limit, needed)| !limit.fits(*needed, at));
        let fits_at = resource.fits_at(&lease.load, level);
        Some(QueueHead {
            lease: LeaseId { seq, tag: lease.tag },
            load: lease.load.clone(),
            priority: lease.priority,
            waited_ms: at.since_us(lease.arrived) / 1000,
            violated: violated.map(|(limit, _)| limit.name.clone()).collect(),
            needs: needs
                .filter(|(_, needed)| *needed > 0)
                .map(|(limit, needed)| (limit.name.clone(), needed))
                .collect(),
            fits_in_ms: fits_at.map(|fits_at| fits_at.in_ms(at)),
        })
    }

    /// Up to `max` waiting leases of a resource in the order of the queue, from the first one after
    /// `after` on. `None` when there is no such resource. O(log n) each.
    #[must_use]
    pub fn waiting(
        &self,
        name: &ResourceName,
        after: Option<(u8, u64)>,
        max: usize,
        at: LogTime,
    ) -> Option<Vec<LeaseView>> {
        let resource = self.records.resources.get(self.find_resource(name)?)?;
        let mut place = after.map_or((0, 0), |(priority, seq)| (priority, seq.saturating_add(1)));
        let mut views = Vec::new();
        while views.len() < max {
            let Some((priority, seq)) = resource.live.queue.at_or_after(place.0, place.1) else {
                break;
            };
            views.extend(
                self.records.leases.get(seq).and_then(|lease| self.lease_view(seq, lease, at)),
            );
            place = (priority, seq.saturating_add(1));
        }
        Some(views)
    }

    /// Up to `max` held leases of a resource in the order in which they arrived, from the first one
    /// after `after` on. `None` when there is no such resource. O(log n) each.
    #[must_use]
    pub fn held(
        &self,
        name: &ResourceName,
        after: Option<u64>,
        max: usize,
        at: LogTime,
    ) -> Option<Vec<LeaseView>> {
        let resource = self.records.resources.get(self.find_resource(name)?)?;
        let from = after.map_or(0, |seq| seq.saturating_add(1));
        let seqs = resource.live.held.range(from..).take(max);
        Some(
            seqs.filter_map(|seq| self.lease_view(*seq, self.records.leases.get(*seq)?, at))
                .collect(),
        )
    }

    /// What is to be known about a lease before it is said to be held: the call that came last, and
    /// whether it is claimed.
    #[must_use]
    pub fn caller(&self, lease: LeaseId) -> Option<(u64, bool)> {
        let found = self.records.leases.get(lease.seq).filter(|found| found.tag == lease.tag)?;
        Some((found.caller.call, found.caller.claim_until.is_none()))
    }

    pub(crate) fn lease_reply(&self, seq: u64, now: LogTime) -> Result<LeaseView, Refusal> {
        let lease = self.records.leases.get(seq).ok_or(Refusal::LeaseNotFound)?;
        self.lease_view(seq, lease, now).ok_or(Refusal::LeaseNotFound)
    }

    /// Why a lease has ended, with the estimate that is not kept: when a newcomer with its load
    /// might get its turn.
    pub(crate) fn shown_refusal(
        &self,
        lease: &LeaseRecord,
        refusal: &Refusal,
        at: LogTime,
    ) -> Refusal {
        let mut refusal = refusal.clone();
        if let Refusal::WaitTimeout(blocked) = &mut refusal
            && blocked.retry_after_ms == 0
        {
            let resource =
                self.records.resources.get(lease.resource).filter(|resource| !resource.deleted);
            let estimate = |resource| {
                estimate_ms(
                    resource,
                    &lease.load,
                    lease.priority,
                    None,
                    at.max(self.now()),
                    self.level(),
                )
            };
            blocked.retry_after_ms = resource.map_or(1, estimate);
        }

        refusal
    }

    fn lease_view(&self, seq: u64, lease: &LeaseRecord, at: LogTime) -> Option<LeaseView> {
        let at = at.max(self.now());
        let phase = match &lease.stage {
            LeaseStage::Waiting { until, .. } => Phase::Waiting(place(
                self.records.resources.get(lease.resource)?,
                seq,
                lease,
                *until,
                at,
                self.level(),
            )),
            LeaseStage::Held(holding) => Phase::Held(Grant {
                fencing_token: holding.fencing_token,
                charged: holding
                    .charges
                    .iter()
                    .filter(|c| c.amount > 0)
                    .map(|c| (c.limit.clone(), c.amount))
                    .collect(),
                deadline: holding.deadline,
                expires_in_ms: holding.deadline.since_us(at) / 1000,
                waited_ms: holding.granted.since_us(lease.arrived) / 1000,
                log_index: holding.log_index,
            }),
            LeaseStage::Ended(end) => Phase::Ended(End {
                state: end.state,
                ended_index: end.log_index,
                refusal: end.refusal.as_ref().map(|refusal| self.shown_refusal(lease, refusal, at)),
                fencing_token: end.fencing_token,
            }),
        };

        Some(LeaseView {
            id: LeaseId { seq, tag: lease.tag },
            resource: lease.resource_name.clone(),
            phase,
            load: lease.load.clone(),
            priority: lease.priority,
            metadata: lease.metadata.clone(),
        })
    }
}

fn place(
    resource: &Resource,
    seq: u64,
    lease: &LeaseRecord,
    until: LogTime,
    at: LogTime,
    level: Level,
) -> Place {
    let ahead = resource.live.queue.ahead(lease.priority, seq);
    Place {
        position: ahead.count + 1,
        load_ahead: u64::try_from(ahead.load).unwrap_or(u64::MAX),
        retry_after_ms: estimate_ms(resource, &lease.load, lease.priority, Some(seq), at, level),
        waits_until: until,
    }
}

impl LeaseView {
    /// Where in its life it is.
    #[must_use]
    pub fn state(&self) -> LeaseState {
        match &self.phase {
            Phase::Waiting(_) => LeaseState::Waiting,
            Phase::Held(_) => LeaseState::Held,
            Phase::Ended(end) => end.state,
        }
    }
}
