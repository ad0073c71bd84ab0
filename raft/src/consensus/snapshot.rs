//! Snapshots: a checkpoint of the leader, streamed to a follower that is too far behind for the
//! log.
//!
//! ```text
//!  leader: newest slot --pages--> begin | chunk 0 | chunk 1 | ... | end --> follower: spare slot, verified whole
//!                                                                                      |
//!                                               openraft: install --> header written, state switched
//! ```
//! The follower's own state and newest slot stay in use until the last moment. The leader's slot is
//! not overwritten while it is read. Every frame carries a checksum, every record another, and
//! number and digest are compared at the end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use ratequeue_codec::{self as codec, schema};
use ratequeue_limiter::State;
use ratequeue_storage::{GroupName, Header, LogId, Record, RecordSink, SlotError};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::caps;
use crate::checkpoint::error::CheckpointError;
use crate::checkpoint::slots::{Incoming, Pin, Received, SlotWriteGuard, Slots};
use crate::checkpoint::table::Checkpoint;
use crate::consensus::error::SnapshotError;
use crate::format::types::RaftVote;
use crate::format::wire::{Piece, Response};
use crate::transport::{self, Lane, Target, Transport};

/// A snapshot that can be read, or installed.
pub(crate) enum SnapshotData {
    /// A whole slot of this process, to be read. It is not overwritten as long as this exists.
    Stored { slots: Arc<Slots>, checkpoint: Checkpoint, _pin: Pin },
    /// What has come from the leader, in the spare slot, to be switched to.
    Received(Box<Received>),
}

/// What a snapshot promises.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SnapshotHeader {
    group: String,
    applied: Option<LogId>,
    membership: Vec<u8>,
    records: u64,
    digest: u64,
}

impl SnapshotData {
    pub fn stored(slots: Arc<Slots>, checkpoint: Checkpoint) -> Self {
        let pin = slots.pin(checkpoint.slot);
        Self::Stored { slots, checkpoint, _pin: pin }
    }

    /// Makes it the newest checkpoint of `into`. Blocks. No checkpoint is made until the last part
    /// of the result is dropped.
    pub fn install(
        self,
        into: &Arc<Slots>,
    ) -> Result<(Header, State, SlotWriteGuard), CheckpointError> {
        match self {
            Self::Received(received) => received.commit(),
            Self::Stored { slots, checkpoint, _pin } => {
                let mut copy = Copy { incoming: into.receive()?, failed: None };
                let read = slots.store().read_slot(slots.group(), checkpoint.slot, &mut copy);
                match copy.failed {
                    Some(error) => Err(error),
                    None => copy.incoming.finish(&read?)?.commit(),
                }
            }
        }
    }
}

/// Copies a slot of one store into the spare slot of another.
struct Copy {
    incoming: Incoming,
    failed: Option<CheckpointError>,
}

impl RecordSink for Copy {
    fn record(&mut self, kind: u8, id: u64, value: &[u8]) -> Result<(), SlotError> {
        self.incoming.record(kind, id, value).map_err(|error| {
            let text = error.to_string();
            self.failed = Some(error);
            SlotError::Sink(text)
        })
    }

    fn digest(&mut self) -> u64 {
        self.incoming.digest()
    }
}

/// What a checkpoint promises to another node.
pub(crate) fn encode_header(group: &GroupName, header: &Header) -> Result<Bytes, SnapshotError> {
    let Header { applied, membership, records, digest, sequence: _, received: _ } = header.clone();
    let header = SnapshotHeader { group: group.to_string(), applied, membership, records, digest };
    Ok(codec::encode(schema::SNAPSHOT, &header)?.into())
}

/// What another node's checkpoint of this group promises.
pub(crate) fn decode_header(group: &GroupName, header: &[u8]) -> Result<Header, SnapshotError> {
    let header: SnapshotHeader = codec::decode(schema::SNAPSHOT, header)?;
    if header.group != group.as_str() {
        return Err(SnapshotError::OtherGroup(header.group));
    }
    let SnapshotHeader { group: _, applied, membership, records, digest } = header;
    Ok(Header { applied, membership, records, digest, sequence: 0, received: true })
}

/// Sends a stored snapshot and returns the answer.
pub(crate) async fn send(
    vote: RaftVote,
    data: SnapshotData,
    target: &Target,
    transport: &dyn Transport,
) -> Result<Response, SnapshotError> {
    let SnapshotData::Stored { slots, checkpoint, _pin } = data else {
        return Err(SnapshotError::NotStored);
    };

    let (frames, taken) = mpsc::channel(caps::SNAPSHOT_CHUNKS_WAITING_MAX);
    let sent = Arc::new(Taken::default());

    // Ends when all is sent, or when the transport drops its end.
    let reading =
        tokio::task::spawn_blocking(move || read_pieces(vote, &slots, &checkpoint, &frames));
    let opening = transport.stream(target, Lane::Bulk, sent.counted(transport::frames(taken)));
    let mut responses = opening.await?;

    let answer = tokio::select! {
        answer = responses.next() => match answer {
            Some(Ok(frame)) => Response::decode(frame).map_err(SnapshotError::from),
            Some(Err(error)) => Err(error.into()),
            None => Err(SnapshotError::NoAnswer),
        },
        () = sent.stuck() => Err(SnapshotError::Stuck),
    };

    drop(responses);
    match reading.await {
        // What went wrong here is the better reason, if both sides have one.
        Ok(Err(why)) if answer.is_err() => Err(why),
        _ => answer,
    }
}

/// Which frames of a snapshot have been taken by the transport.
#[derive(Debug, Default)]
struct Taken {
    frames: AtomicU64,
    all: AtomicBool,
}

impl Taken {
    /// The same frames, counted as they are taken.
    fn counted(self: &Arc<Self>, frames: BoxStream<'static, Bytes>) -> BoxStream<'static, Bytes> {
        let (each, end) = (Arc::clone(self), Arc::clone(self));
        let counted = frames.inspect(move |_| _ = each.frames.fetch_add(1, Ordering::Relaxed));
        let ended = futures::stream::poll_fn(move |_| {
            end.all.store(true, Ordering::Relaxed);
            Poll::Ready(None)
        });
        counted.chain(ended).boxed()
    }

    /// Resolves when none was taken for long: a peer that hangs may neither answer nor fail. Once
    /// it has them all, it installs the snapshot, which takes its time.
    async fn stuck(&self) {
        let (mut seen, mut since) = (0, Instant::now());
        loop {
            tokio::time::sleep(caps::SNAPSHOT_STUCK / 10).await;
            let taken = self.frames.load(Ordering::Relaxed);
            if taken != seen || self.all.load(Ordering::Relaxed) {
                (seen, since) = (taken, Instant::now());
            }
            if since.elapsed() >= caps::SNAPSHOT_STUCK {
                return;
            }
        }
    }
}

fn read_pieces(
    vote: RaftVote,
    slots: &Slots,
    checkpoint: &Checkpoint,
    frames: &mpsc::Sender<Bytes>,
) -> Result<(), SnapshotError> {
    let send =
        |piece: &Piece| frames.blocking_send(piece.encode()).map_err(|_gone| SnapshotError::Ended);

    let header = encode_header(slots.group(), &checkpoint.header)?;
    send(&Piece::Begin { vote, header })?;
    let (mut after, mut chunks) = (None, 0_u64);

    loop {
        let page = slots.store().page(
            slots.group(),
            checkpoint.slot,
            after,
            caps::SNAPSHOT_CHUNK_RECORDS_MAX,
        );
        let records = page?;
        let Some(last) = records.last() else { break };
        after = Some((last.kind, last.id));
        for records in chunked(records) {
            send(&Piece::Chunk { number: chunks, records })?;
            chunks = chunks.saturating_add(1);
        }
    }

    send(&Piece::End { chunks })
}

/// The records in the same order, in chunks that fit into a frame.
pub(crate) fn chunked(records: Vec<Record>) -> Vec<Vec<Record>> {
    let (mut chunks, mut bytes) = (Vec::new(), usize::MAX);
    for record in records {
        bytes = bytes.saturating_add(record.value.len());
        if bytes > caps::SNAPSHOT_CHUNK_BYTES_MAX {
            bytes = record.value.len();
            chunks.push(Vec::new());
        }
        if let Some(chunk) = chunks.last_mut() {
            chunk.push(record);
        }
    }
    chunks
}

/// A snapshot that has come whole, and the vote of the leader that sent it.
pub(crate) struct Arrived {
    pub vote: RaftVote,
    pub header: Header,
    pub received: Received,
}

/// Takes a snapshot into the spare slot.
pub(crate) async fn receive(
    slots: Arc<Slots>,
    mut frames: BoxStream<'static, Bytes>,
) -> Result<Arrived, SnapshotError> {
    let (pieces, taken) = mpsc::channel(caps::SNAPSHOT_CHUNKS_WAITING_MAX);
    let writing = tokio::task::spawn_blocking(move || write_pieces(&slots, taken));
    while let Some(frame) = frames.next().await {
        // Once the writer has gone it has its reasons.
        if pieces.send(frame).await.is_err() {
            break;
        }
    }
    drop(pieces);
    writing.await?
}

fn write_pieces(
    slots: &Arc<Slots>,
    mut frames: mpsc::Receiver<Bytes>,
) -> Result<Arrived, SnapshotError> {
    let mut next = || {
        let frame = frames.blocking_recv().ok_or(SnapshotError::Cut)?;
        Piece::decode(frame).map_err(SnapshotError::from)
    };

    let Piece::Begin { vote, header } = next()? else {
        return Err(SnapshotError::NoBeginning);
    };

    let promised = decode_header(slots.group(), &header)?;
    let mut incoming = slots.receive()?;
    let mut expected = 0_u64;

    loop {
        match next()? {
            Piece::Chunk { number, records } if number == expected => {
                expected = expected.saturating_add(1);
                for record in records {
                    incoming.record(record.kind, record.id, &record.value)?;
                }
            }
            Piece::End { chunks } if chunks == expected => break,
            Piece::Begin { .. } | Piece::Chunk { .. } | Piece::End { .. } => {
                return Err(SnapshotError::NoChunk(expected));
            }
        }
    }

    let received = incoming.finish(&promised)?;
    Ok(Arrived { vote, header: promised, received })
}
