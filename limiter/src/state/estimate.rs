//! What stands in the way of a load, and when it may get its turn.

use crate::caps;
use crate::model::level::Level;
use crate::model::load::Load;
use crate::model::outcome::Blocked;
use crate::model::spec::Cost;
use crate::model::time::LogTime;
use crate::state::resource::Resource;

/// What stands in the way of a load, as a newcomer or as the lease `seq`.
pub(crate) fn blocked(
    resource: &Resource,
    load: &Load,
    priority: u8,
    seq: Option<u64>,
    now: LogTime,
    level: Level,
) -> Blocked {
    let limits = resource.limits.iter().filter(|limit| !limit.fits(limit.needed(load, level), now));
    let mut violated: Vec<_> = limits.map(|limit| Some(limit.name.clone())).collect();
    if violated.is_empty() {
        violated.push(None);
    }
    Blocked { violated, retry_after_ms: estimate_ms(resource, load, priority, seq, now, level) }
}

/// When a load may get its turn: what is before it in the queue, and itself, must have fit under
/// every rate. At least 1 ms.
pub(crate) fn estimate_ms(
    resource: &Resource,
    load: &Load,
    priority: u8,
    seq: Option<u64>,
    now: LogTime,
    level: Level,
) -> u64 {
    let ahead = resource.live.queue.ahead(priority, seq.unwrap_or(u64::MAX));
    let mut estimate_ms = 1;
    for limit in &resource.limits {
        let cost_ahead = match limit.spec.cost {
            Cost::One => u128::from(ahead.count),
            // Of a dimension the queue knows only the sum of all: later than it will be, rather
            // than too early.
            Cost::Load | Cost::Dimension(_) => ahead.load,
        };
        let needed = cost_ahead.saturating_add(u128::from(limit.needed(load, level)));
        let fits_ms = limit
            .fits_in_us(needed, now)
            .map_or(caps::RETRY_AFTER_CONCURRENCY_MS, |us| us.div_ceil(1000));
        estimate_ms = estimate_ms.max(fits_ms);
    }

    estimate_ms.min(caps::DURATION_MS_MAX)
}
