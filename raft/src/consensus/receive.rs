//! What a node does with the frames of another.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, StreamAppendError, StreamAppendResult,
};

use crate::checkpoint::slots::Slots;
use crate::consensus::abstention::Abstention;
use crate::consensus::error::SnapshotError;
use crate::consensus::fetch;
use crate::consensus::snapshot::{self, SnapshotData};
use crate::consensus::state_machine;
use crate::consensus::state_machine::Raft;
use crate::format::types::{Snapshot, Types};
use crate::format::wire::{Request, Response};
use crate::replica::Replica;

/// Answers one frame.
pub(crate) async fn one(
    raft: &Raft,
    replica: &Arc<Replica>,
    slots: &Arc<Slots>,
    abstention: Abstention,
    frame: Bytes,
) -> Bytes {
    let response = match Request::decode(frame) {
        Ok(Request::Page(asked)) => fetch::answer(replica, slots, asked)
            .await
            .map_or_else(|error| Response::Refused(error.to_string()), Response::Page),
        Ok(Request::Vote(vote) | Request::PreVote(vote))
            if abstention.left().is_some() && !vote.leadership_transfer =>
        {
            Response::Refused("this node has just started, and does not vote yet".to_owned())
        }
        Ok(request) => answer(raft, request).await,
        Err(error) => Response::Refused(error.to_string()),
    };
    note_leader(replica, &response);
    response.encode()
}

/// Only appends of the leader that this node follows are taken.
fn note_leader(replica: &Replica, response: &Response) {
    if matches!(response, Response::Append(Ok(_))) {
        replica.leader_contact.record_contact();
    }
}

async fn answer(raft: &Raft, request: Request) -> Response {
    let answered = match request {
        Request::Vote(vote) => {
            raft.vote(vote).await.map(Response::Vote).map_err(|error| error.to_string())
        }
        Request::PreVote(vote) => {
            raft.pre_vote(vote).await.map(Response::Vote).map_err(|error| error.to_string())
        }
        Request::Append(append) => {
            let last = append.entries.last().map(|entry| entry.log_id).or(append.prev_log_id);
            let prev = append.prev_log_id;
            match raft.append_entries(append).await {
                Ok(AppendEntriesResponse::Success) => Ok(Response::Append(Ok(last))),
                Ok(AppendEntriesResponse::PartialSuccess(matching)) => {
                    Ok(Response::Append(Ok(matching)))
                }
                Ok(AppendEntriesResponse::HigherVote(vote)) => {
                    Ok(Response::Append(Err(StreamAppendError::HigherVote(vote))))
                }
                Ok(AppendEntriesResponse::Conflict) => match prev {
                    Some(prev) => Ok(Response::Append(Err(StreamAppendError::Conflict(prev)))),
                    None => Err("a conflict at the very start of the log".to_owned()),
                },
                Err(error) => Err(error.to_string()),
            }
        }
        Request::TransferLeader(transfer) => raft
            .handle_transfer_leader(transfer)
            .await
            .map(Response::of_transfer)
            .map_err(|error| error.to_string()),
        Request::Page(_) => Err("this is not for the consensus core".to_owned()),
    };

    answered.unwrap_or_else(Response::Refused)
}

/// Answers a stream of appends, in order. It ends with the first frame that is not one, or cannot
/// be appended.
pub(crate) fn appends(
    raft: &Raft,
    replica: Arc<Replica>,
    frames: BoxStream<'static, Bytes>,
) -> BoxStream<'static, Bytes> {
    let appends = frames
        .map(to_append)
        .take_while(|append| std::future::ready(append.is_some()))
        .filter_map(std::future::ready);
    // Polling openraft's stream again after its end would panic.
    let results = raft.stream_append(appends).fuse();
    Box::pin(results.map(move |result| {
        let response = to_response(result);
        note_leader(&replica, &response);
        response.encode()
    }))
}

fn to_append(frame: Bytes) -> Option<AppendEntriesRequest<Types>> {
    match Request::decode(frame) {
        Ok(Request::Append(append)) => Some(append),
        Ok(
            Request::Vote(_) | Request::PreVote(_) | Request::TransferLeader(_) | Request::Page(_),
        ) => None,
        Err(error) => {
            tracing::warn!(%error, "a frame of appends");
            None
        }
    }
}

fn to_response(result: Result<StreamAppendResult<Types>, impl ToString>) -> Response {
    result.map_or_else(|error| Response::Refused(error.to_string()), Response::Append)
}

/// Takes a snapshot and answers once, when it is installed or refused.
pub(crate) fn snapshot(
    raft: Raft,
    slots: Arc<Slots>,
    frames: BoxStream<'static, Bytes>,
) -> BoxStream<'static, Bytes> {
    let answer = async move {
        let response = install(&raft, slots, frames).await.unwrap_or_else(|error| {
            tracing::warn!(why = %error, "a snapshot was refused");
            Response::Refused(error.to_string())
        });
        response.encode()
    };
    Box::pin(futures::stream::once(answer))
}

async fn install(
    raft: &Raft,
    slots: Arc<Slots>,
    frames: BoxStream<'static, Bytes>,
) -> Result<Response, SnapshotError> {
    let arrived = snapshot::receive(slots, frames).await?;
    let meta = state_machine::snapshot_meta(&arrived.header)?;
    let data = SnapshotData::Received(Box::new(arrived.received));
    let installed =
        raft.install_full_snapshot(arrived.vote, Snapshot { meta, snapshot: data }).await;
    let installed = installed.map_err(|error| SnapshotError::NotInstalled(error.to_string()))?;
    Ok(Response::Snapshot(installed.vote))
}
