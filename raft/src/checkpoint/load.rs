//! Opening: from which checkpoint the state goes on, and whether log and checkpoint meet.

use ratequeue_limiter::{LEVEL_MAX, LogTime};
use ratequeue_storage::{
    GroupName, Header, LogError, LogId, LogState, LogStore, ReadLimit, Slot, SlotError, StateStore,
};

use crate::caps;
use crate::checkpoint::table::{Checkpoint, SlotTable};
use crate::error::OpenError;
use crate::format::batch;
use crate::format::membership::{self, BadMembership};
use crate::format::record::StateSink;
use crate::health;
use crate::replica::Machine;

/// What opening found.
pub(crate) struct Loaded {
    pub machine: Machine,
    pub slots: SlotTable,
    /// From where log time goes on.
    pub time: LogTime,
}

/// A state that cannot be put together from what this node has.
pub(crate) struct Missing {
    /// The log begins after this entry.
    pub purged: LogId,
    pub detail: String,
}

/// A log that lacks entries of which the effect is in a checkpoint.
#[derive(Debug, thiserror::Error)]
#[error(
    "the log {}, but entries up to {applied} were applied: it was cut or removed. If the group has other nodes, \
     replace this one with `ratequeue cluster replace-node`; a node that is alone needs its backup",
    .last.map_or_else(|| "is empty".to_owned(), |last| format!("ends at {last}"))
)]
struct CutLog {
    last: Option<u64>,
    applied: u64,
}

/// Why a whole slot is not used.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error(transparent)]
    Slot(#[from] SlotError),
    #[error(transparent)]
    Membership(#[from] BadMembership),
    #[error("it ends before {next}, and the log begins at {first}")]
    TooOld { next: u64, first: u64 },
}

/// Reads the newest slot that is whole and meets the log. Without one the state begins empty, if
/// the log begins at its very start. Blocks.
pub(crate) fn load(
    store: &StateStore,
    group: &GroupName,
    log: &LogStore,
) -> Result<Result<Loaded, Missing>, OpenError> {
    let state = log.state();
    let headers = store.slots(group);
    let mut candidates: Vec<(Slot, Header)> = Slot::ALL
        .into_iter()
        .zip(headers)
        .filter_map(|(slot, header)| header.map(|header| (slot, header)))
        .collect();

    candidates.sort_by_key(|(_, header)| std::cmp::Reverse(header.sequence));
    check_reach(&state, &candidates).map_err(|error| OpenError::of_damage(group, &error))?;
    let tried = candidates.len();

    for (slot, header) in &candidates {
        match load_slot(store, group, *slot, &state) {
            Ok(machine) if machine.state.feature_level() > LEVEL_MAX => {
                let detail = health::outdated(machine.state.feature_level());
                return Err(OpenError::Outdated { group: group.to_string(), detail });
            }
            Ok(machine) => {
                let newest = Checkpoint { slot: *slot, header: header.clone() };
                return finish(log, machine, Some(newest), group).map(Ok);
            }
            Err(error) => {
                tracing::error!(%group, %slot, sequence = header.sequence, reason = %error, "a checkpoint is not used");
            }
        }
    }

    if let Some(purged) = state.purged {
        let detail = format!(
            "no checkpoint can be read ({tried} found), and the log begins at {} only. If the group has other nodes, replace \
             this one with `ratequeue cluster replace-node`; a node that is alone needs its backup",
            state.first_index()
        );
        return Ok(Err(Missing { purged, detail }));
    }

    if tried > 0 {
        tracing::error!(%group, "no checkpoint can be read; the state is rebuilt from the log");
    }

    finish(log, Machine::default(), None, group).map(Ok)
}

/// A log that does not reach to a checkpoint that was made from it has lost entries that were
/// acknowledged, and votes.
fn check_reach(log: &LogState, checkpoints: &[(Slot, Header)]) -> Result<(), CutLog> {
    let last = log.last.map(|last| last.index);
    for (_, header) in checkpoints {
        let applied = header.applied.map(|applied| applied.index);
        if applied.is_some() && (log.created || (!header.received && last < applied)) {
            return Err(CutLog { last, applied: applied.unwrap_or_default() });
        }
    }
    Ok(())
}

/// The state of a slot.
fn load_slot(
    store: &StateStore,
    group: &GroupName,
    slot: Slot,
    log: &LogState,
) -> Result<Machine, Unusable> {
    let mut sink = StateSink::default();
    let header = store.read_slot(group, slot, &mut sink)?;
    let next = header.applied.map_or(0, |applied| applied.index.saturating_add(1));
    if next < log.first_index() {
        return Err(Unusable::TooOld { next, first: log.first_index() });
    }
    let state = sink.finish()?;
    let membership = membership::decode_stored(&header.membership)?;
    Ok(Machine { state, applied: header.applied, membership })
}

fn finish(
    log: &LogStore,
    machine: Machine,
    newest: Option<Checkpoint>,
    group: &GroupName,
) -> Result<Loaded, OpenError> {
    let time = continue_from(log, &machine, group)?;
    // The other slot was not read, so nothing is known of it.
    let slots = SlotTable::loaded(newest, &machine.state);
    Ok(Loaded { machine, slots, time })
}

/// Has the log go on from a state, which may be from elsewhere: what contradicts it is dropped.
/// Returns from where log time goes on. Blocks.
pub(crate) fn continue_from(
    log: &LogStore,
    machine: &Machine,
    group: &GroupName,
) -> Result<LogTime, OpenError> {
    drop_conflicting(log, machine.applied)
        .map_err(|error| OpenError::of_log(group.as_str(), &error))?;
    let stamp = last_stamp(log).map_err(|error| OpenError::of_damage(group, &error))?;
    Ok(machine.state.now().max(stamp.unwrap_or_default()))
}

/// Drops what the log has at its end from a leader whose successors have gone another way, as a
/// state from another node shows. It was never committed: whoever leads in a later term has all
/// that was.
fn drop_conflicting(log: &LogStore, applied: Option<LogId>) -> Result<(), LogError> {
    let state = log.state();
    let (Some(last), Some(applied)) = (state.last, applied) else { return Ok(()) };
    if last >= applied || last.index < applied.index {
        return Ok(());
    }
    log.truncate_after(state.purged.max(state.committed).map(|keep| keep.index))?;
    log.sync()
}

/// The stamp of the last entry of commands in the log.
fn last_stamp(log: &LogStore) -> Result<Option<LogTime>, LogError> {
    let state = log.state();
    let step = u64::try_from(caps::READ_ENTRIES_MAX).unwrap_or(1);
    let limit = ReadLimit { entries_max: caps::READ_ENTRIES_MAX, bytes_max: usize::MAX };
    let mut end = state.next_index();

    while end > state.first_index() {
        let start = end.saturating_sub(step).max(state.first_index());
        let entries = log.read_bounded(start..end, limit)?;
        for entry in entries.iter().rev() {
            if let Ok(batch) = batch::decode(&entry.payload) {
                return Ok(Some(batch.stamp));
            }
        }
        end = start;
    }

    Ok(None)
}
