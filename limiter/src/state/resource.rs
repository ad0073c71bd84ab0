//! A resource: its record, and what of it is derived and lies beside the record, so that a decision
//! finds both in one look-up.

use std::ops::Deref;

use serde::{Deserialize, Serialize};

use crate::collections::live::LiveLeases;
use crate::limit::{Fit, Limit};
use crate::model::level::Level;
use crate::model::load::Load;
use crate::model::name::ResourceName;
use crate::model::outcome::{Refusal, ResourceView};
use crate::model::spec::{Cost, LeaseSpec, QueueSpec, ResourceSpec};
use crate::model::time::LogTime;
use crate::state::changes::Tracked;

/// A resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceRecord {
    pub(crate) name: ResourceName,
    pub(crate) version: u64,
    pub(crate) effective_index: u64,
    /// In name order.
    pub(crate) limits: Vec<Limit>,
    pub(crate) limits_made: u32,
    pub(crate) queue: QueueSpec,
    pub(crate) lease: LeaseSpec,
    /// From here on the queue is still to be searched for leases that a change of the limits has
    /// made impossible.
    pub(crate) sweep: Option<(u8, u64)>,
    /// Its name is free again; its leases are being ended.
    pub(crate) deleted: bool,
}

impl ResourceRecord {
    pub(crate) fn spec(&self) -> ResourceSpec {
        let limits =
            self.limits.iter().map(|limit| (limit.name.clone(), limit.spec.clone())).collect();
        ResourceSpec { limits, queue: self.queue, lease: self.lease }
    }

    pub(crate) fn view(&self) -> ResourceView {
        ResourceView {
            name: self.name.clone(),
            spec: self.spec(),
            version: self.version,
            effective_index: self.effective_index,
        }
    }

    /// Why this load can never be admitted: a limit that cannot judge it, or one that it exceeds.
    pub(crate) fn impossible(&self, load: &Load) -> Option<Refusal> {
        let scalar = matches!(load, Load::Scalar(_));
        for limit in &self.limits {
            if let (true, Cost::Dimension(dimension)) = (scalar, &limit.spec.cost) {
                return Some(Refusal::DimensionNeeded {
                    limit: limit.name.clone(),
                    dimension: dimension.clone(),
                });
            }
        }

        let (limit, cost) = self
            .limits
            .iter()
            .map(|limit| (limit, limit.cost(load)))
            .find(|(limit, cost)| *cost > limit.spec.rule.capacity())?;
        let capacity = limit.spec.rule.capacity();
        Some(Refusal::LoadExceedsCapacity { limit: limit.name.clone(), cost, capacity })
    }

    pub(crate) fn fits(&self, load: &Load, now: LogTime, level: Level) -> bool {
        self.limits.iter().all(|limit| limit.fits(limit.needed(load, level), now))
    }

    /// When a load fits if nothing else happens; `None` when only a release makes it fit.
    pub(crate) fn fits_at(&self, load: &Load, level: Level) -> Option<LogTime> {
        let mut latest = LogTime(0);
        for limit in &self.limits {
            match limit.fit(limit.needed(load, level)) {
                Fit::At(at) => latest = latest.max(at),
                Fit::OnRelease => return None,
            }
        }
        Some(latest)
    }
}

/// A resource in memory: its record, and what is derived.
#[derive(Debug)]
pub(crate) struct Resource {
    pub record: Tracked<ResourceRecord>,
    pub live: LiveLeases,
    /// What stands for it in `Indexes::due`.
    pub due: Option<LogTime>,
}

impl Resource {
    /// True when there is something to do here without anybody asking.
    pub fn is_due(&self, now: LogTime) -> bool {
        self.is_left_over() || self.due.is_some_and(|due| due <= now)
    }

    /// True when work was left over here because there was too much of it.
    pub fn is_left_over(&self) -> bool {
        self.deleted || self.sweep.is_some()
    }
}

impl From<Tracked<ResourceRecord>> for Resource {
    fn from(record: Tracked<ResourceRecord>) -> Self {
        Self { record, live: LiveLeases::default(), due: None }
    }
}

impl Deref for Resource {
    type Target = ResourceRecord;
    fn deref(&self) -> &ResourceRecord {
        &self.record
    }
}
