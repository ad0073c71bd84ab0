//! State from another node, for a group whose own checkpoints are damaged and whose log no longer
//! reaches back.
//!
//! The log of such a node is whole: its votes and entries count, and only what they add up to is
//! missing. So it does not join anew. Before it takes part it asks the other nodes for a
//! checkpoint, page by page, writes it into a slot like a snapshot, verifies it whole, and goes on
//! from there with its own log.
//!
//! ```text
//!  this node                               another node of the group
//!    page after nothing        ──────>     makes a checkpoint, answers with its header and the first records
//!    page after the last one   ──────>     the next records of the same checkpoint, or that it is gone: from the start
//! ```

use std::sync::Arc;

use ratequeue_storage::{LogId, Record};

use crate::caps;
use crate::checkpoint::error::CheckpointError;
use crate::checkpoint::slots::{Incoming, Slots};
use crate::checkpoint::table::Checkpoint;
use crate::consensus::error::SnapshotError;
use crate::consensus::snapshot;
use crate::format::membership;
use crate::format::page::{Page, PageRequest};
use crate::format::wire::{Request, Response};
use crate::node::{Address, NodeId};
use crate::replica::{Machine, Replica};
use crate::transport::{Lane, Target, Transport};

/// Answers with a page of a checkpoint. Whoever begins has one made when none reaches far enough,
/// and asks again when it is there: that may take longer than an answer.
pub(crate) async fn answer(
    replica: &Arc<Replica>,
    slots: &Arc<Slots>,
    asked: PageRequest,
) -> Result<Page, SnapshotError> {
    let reaches = |checkpoint: Checkpoint| {
        checkpoint.header.applied.is_some_and(|applied| applied.index >= asked.reach)
    };
    if asked.sequence == 0 && !slots.newest().is_some_and(reaches) {
        let replica = Arc::clone(replica);
        // Its outcome shows in the slots.
        tokio::spawn(async move { drop(replica.checkpoints.request().await) });
        return Err(SnapshotError::BeingMade);
    }
    let slots = Arc::clone(slots);
    let read = tokio::task::spawn_blocking(move || read_page(&slots, asked));
    read.await?
}

fn read_page(slots: &Arc<Slots>, asked: PageRequest) -> Result<Page, SnapshotError> {
    let found =
        if asked.sequence == 0 { slots.newest() } else { slots.of_sequence(asked.sequence) };
    let found = found.ok_or(SnapshotError::Gone(asked.sequence))?;
    let sequence = found.header.sequence;
    let _pin = slots.pin(found.slot);

    let page = slots.store().page(
        slots.group(),
        found.slot,
        asked.after,
        caps::SNAPSHOT_CHUNK_RECORDS_MAX,
    );

    // What does not fit into the frame is asked for next.
    let mut chunks = snapshot::chunked(page?).into_iter();
    let records = chunks.next().unwrap_or_default();
    let header = snapshot::encode_header(slots.group(), &found.header)?;
    Ok(Page { sequence, header, records })
}

/// Where a missing state may be found.
pub(crate) struct Sources {
    pub nodes: Vec<(NodeId, Address)>,
    pub transport: Arc<dyn Transport>,
    /// The state must reach to this entry, after which the log goes on.
    pub purged: LogId,
}

impl Sources {
    /// Asks one node after the other, again and again, until one has given its state. It is in a
    /// slot then, durably.
    ///
    /// # Errors
    /// The feature level of the state, when this version does not know it.
    pub async fn fetch(&self, slots: &Arc<Slots>) -> Result<Machine, u32> {
        let group = slots.group();
        tracing::error!(%group, "the state is damaged, and the log does not reach back: it is asked for at the other nodes");

        loop {
            for (node, address) in &self.nodes {
                let target =
                    Target { group: group.to_string(), node: *node, address: address.clone() };
                match self.fetch_from(&target, slots).await {
                    Ok(machine) => {
                        tracing::info!(%group, node, applied = ?machine.applied, "the state was rebuilt");
                        return Ok(machine);
                    }
                    Err(SnapshotError::Checkpoint(CheckpointError::Outdated(level))) => {
                        return Err(level);
                    }
                    Err(error) => {
                        tracing::warn!(%group, node, why = %error, "no state from this node")
                    }
                }
            }
            tokio::time::sleep(caps::FETCH_PAUSE).await;
        }
    }

    async fn fetch_from(
        &self,
        target: &Target,
        slots: &Arc<Slots>,
    ) -> Result<Machine, SnapshotError> {
        let reach = self.purged.index;
        let first = self.ask(target, PageRequest { sequence: 0, reach, after: None }).await?;
        let promised = snapshot::decode_header(slots.group(), &first.header)?;
        if promised.applied < Some(self.purged) {
            let (applied, purged) = (promised.applied, self.purged);
            return Err(SnapshotError::TooShort { applied, purged });
        }

        let mut incoming = blocking(Arc::clone(slots), |slots| slots.receive()).await?;
        let mut page = first;
        while let Some(last) = page.records.last() {
            let asked =
                PageRequest { sequence: page.sequence, reach, after: Some((last.kind, last.id)) };
            incoming = blocking((incoming, page.records), |(incoming, records)| {
                put_all(incoming, records)
            })
            .await?;
            page = self.ask(target, asked).await?;
        }
        let (header, state, guard) = blocking((incoming, promised), |(incoming, promised)| {
            incoming.finish(&promised)?.commit()
        })
        .await?;
        drop(guard);
        let membership = membership::decode_stored(&header.membership)?;
        Ok(Machine { state, applied: header.applied, membership })
    }

    async fn ask(&self, target: &Target, asked: PageRequest) -> Result<Page, SnapshotError> {
        let frame = Request::Page(asked).encode()?;
        let call = self.transport.call(target, Lane::Bulk, frame);
        let answer = tokio::time::timeout(caps::PEER_CALL_TIMEOUT, call).await;
        match Response::decode(answer.map_err(|_late| SnapshotError::NoAnswer)??)? {
            Response::Page(page) => Ok(page),
            Response::Refused(why) => Err(SnapshotError::Refused(why)),
            Response::Vote(_)
            | Response::Append(_)
            | Response::TransferLeader(_)
            | Response::Snapshot(_) => Err(SnapshotError::OtherAnswer),
        }
    }
}

fn put_all(mut incoming: Incoming, records: Vec<Record>) -> Result<Incoming, CheckpointError> {
    for record in records {
        incoming.record(record.kind, record.id, &record.value)?;
    }
    Ok(incoming)
}

/// Runs what blocks aside.
async fn blocking<A: Send + 'static, T: Send + 'static>(
    argument: A,
    run: impl FnOnce(A) -> Result<T, CheckpointError> + Send + 'static,
) -> Result<T, SnapshotError> {
    Ok(tokio::task::spawn_blocking(move || run(argument)).await??)
}
