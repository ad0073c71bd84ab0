//! The state machine, as openraft wants it.

use std::io;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use ratequeue_limiter::{Command, LEVEL_MAX};
use ratequeue_storage::{Header, LogId, LogStore};
use tokio::sync::watch;

use crate::checkpoint::error::CheckpointError;
use crate::checkpoint::slots::Slots;
use crate::consensus::snapshot::SnapshotData;
use crate::format::batch::{self, EntryBatch};
use crate::format::membership;
use crate::format::types::{
    Outcomes, Payload, RaftLogId, Snapshot, SnapshotMeta, StoredMembership, Types, raft_id,
    stored_id,
};
use crate::health::{self, Health};
use crate::replica::{Machine, Replica};

/// openraft's handle of a group.
pub(crate) type Raft = openraft::Raft<Types, Applier>;

/// Applies entries to the replica and speaks of its checkpoints as openraft's snapshots.
pub(crate) struct Applier {
    replica: Arc<Replica>,
    slots: Arc<Slots>,
    log: LogStore,
    health: watch::Sender<Health>,
}

impl Applier {
    pub fn new(
        replica: Arc<Replica>,
        slots: Arc<Slots>,
        log: LogStore,
        health: watch::Sender<Health>,
    ) -> Self {
        Self { replica, slots, log, health }
    }

    /// Nothing of a higher level than this version knows is applied.
    fn check_level(&self, batch: &EntryBatch) -> io::Result<()> {
        let raised = batch.commands.iter().filter_map(|command| {
            let Command::RaiseLevel(level) = command else { return None };
            Some(*level)
        });
        let Some(level) = raised.max().filter(|level| *level > LEVEL_MAX) else { return Ok(()) };
        Err(self.outdated(level))
    }

    /// Ends the group.
    fn outdated(&self, level: u32) -> io::Error {
        let detail = health::outdated(level);
        health::end(&self.health, Health::Outdated(detail.clone()));
        io::Error::new(io::ErrorKind::Unsupported, detail)
    }

    fn apply_one(&self, id: &RaftLogId, payload: Payload) -> io::Result<Outcomes> {
        let stored = stored_id(id);
        match payload {
            EntryPayload::Normal(data) => {
                let batch =
                    batch::decode(&data.bytes).map_err(|error| unreadable(stored, &error))?;
                self.check_level(&batch)?;
                let outcomes = self.replica.apply(stored, batch);
                // Only now: a checkpoint that is cut in between has the entry, and at worst one
                // more follows it.
                self.replica.checkpoints.record(data.bytes.len());
                Ok(Outcomes(outcomes))
            }
            EntryPayload::Blank => {
                self.replica.apply_other(stored, None);
                Ok(Outcomes::default())
            }
            EntryPayload::Membership(membership) => {
                let membership = StoredMembership::new(Some(*id), membership);
                self.replica.apply_other(stored, Some(membership));
                self.replica.checkpoints.record(0);
                Ok(Outcomes::default())
            }
        }
    }
}

fn unreadable(id: LogId, error: &dyn std::error::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("entry {id} cannot be applied: {error}"))
}

impl RaftStateMachine<Types> for Applier {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<RaftLogId>, StoredMembership), io::Error> {
        let machine = self.replica.machine.read();
        Ok((machine.applied.map(raft_id), machine.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            let outcomes = self.apply_one(&entry.log_id, entry.payload)?;
            if let Some(responder) = responder {
                responder.send(outcomes);
            }
        }
        Ok(())
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Builder> {
        let builder = Builder {
            replica: Arc::clone(&self.replica),
            slots: Arc::clone(&self.slots),
            anew: force,
        };
        (force || self.slots.newest().is_some()).then_some(builder)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder { replica: Arc::clone(&self.replica), slots: Arc::clone(&self.slots), anew: true }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotData,
    ) -> Result<(), io::Error> {
        let (slots, log) = (Arc::clone(&self.slots), self.log.clone());
        let installing = tokio::task::spawn_blocking(move || {
            // Entries that contradict the snapshot were truncated. Were they back after a crash,
            // with the snapshot in place, log and checkpoint would not fit together any
            // more.
            log.sync()?;
            Ok::<_, io::Error>(snapshot.install(&slots))
        });

        let (header, state, writing) = match installing.await.map_err(io::Error::other)?? {
            Ok(installed) => installed,
            Err(CheckpointError::Outdated(level)) => return Err(self.outdated(level)),
            Err(error) => return Err(io::Error::other(error)),
        };

        if header.applied.map(raft_id) != meta.last_log_id {
            let text =
                format!("the snapshot ends at {:?}, not at {:?}", header.applied, meta.last_log_id);
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }

        let group = &self.replica.group;
        tracing::info!(group, applied = ?header.applied, records = header.records, "snapshot installed");
        let membership = meta.last_membership.clone();
        let before = self.replica.replace(Machine { state, applied: header.applied, membership });
        drop(writing);

        // A large state takes its time to be taken apart.
        drop(tokio::task::spawn_blocking(move || drop(before)));
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<SnapshotData>>, io::Error> {
        current_snapshot(&self.slots)
    }
}

fn current_snapshot(slots: &Arc<Slots>) -> io::Result<Option<Snapshot<SnapshotData>>> {
    let Some(newest) = slots.newest() else { return Ok(None) };
    let meta = snapshot_meta(&newest.header)?;
    Ok(Some(Snapshot { meta, snapshot: SnapshotData::stored(Arc::clone(slots), newest) }))
}

pub(crate) fn snapshot_meta(header: &Header) -> io::Result<SnapshotMeta> {
    let last_membership =
        membership::decode_stored(&header.membership).map_err(io::Error::other)?;
    Ok(SnapshotMeta { last_log_id: header.applied.map(raft_id), last_membership })
}

/// Makes openraft's "snapshot": the newest checkpoint, as it is or made anew.
pub(crate) struct Builder {
    replica: Arc<Replica>,
    slots: Arc<Slots>,
    anew: bool,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<Snapshot<SnapshotData>, io::Error> {
        if self.anew {
            self.replica.checkpoints.request().await.map_err(io::Error::other)?;
        }
        current_snapshot(&self.slots)?.ok_or_else(|| io::Error::other("there is no checkpoint"))
    }
}
