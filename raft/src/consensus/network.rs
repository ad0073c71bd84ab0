//! The network, as openraft wants it, over a [`Transport`].

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::Fuse;
use futures::{Stream, StreamExt};
use openraft::base::{BoxFuture, BoxStream as RaftStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError,
    StreamAppendResult, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::caps;
use crate::consensus::abstention::Abstention;
use crate::consensus::snapshot::{self, SnapshotData};
use crate::format::types::{RaftVote, Snapshot, Types};
use crate::format::wire::{Request, Response};
use crate::node::{Address, NodeId};
use crate::transport::{self, Lane, Responses, Target, Transport, TransportError};

type Append = AppendEntriesRequest<Types>;
type AppendItem = Result<StreamAppendResult<Types>, RPCError<Types>>;

/// Makes the connections of one group.
pub(crate) struct Network {
    pub group: String,
    pub transport: Arc<dyn Transport>,
    /// A stream of appends in which nothing moves for so long is given up.
    pub patience: Duration,
    /// Until when this node asks for no votes.
    pub abstention: Abstention,
}

/// One node of the group, as another sees it.
pub(crate) struct Peer {
    target: Target,
    transport: Arc<dyn Transport>,
    patience: Duration,
    abstention: Abstention,
    /// For heartbeats: each is sent by itself, past the entries.
    heartbeats: bool,
}

impl Network {
    fn peer(&self, node: NodeId, address: &Address, heartbeats: bool) -> Peer {
        let target = Target { group: self.group.clone(), node, address: address.clone() };
        Peer {
            target,
            transport: Arc::clone(&self.transport),
            patience: self.patience,
            abstention: self.abstention,
            heartbeats,
        }
    }
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: NodeId, node: &Address) -> Peer {
        self.peer(target, node, false)
    }

    async fn new_heartbeat_client(&mut self, target: NodeId, node: &Address) -> Peer {
        self.peer(target, node, true)
    }
}

fn rpc_error(error: TransportError) -> RPCError<Types> {
    match error {
        TransportError::Unreachable(why) => RPCError::Unreachable(Unreachable::from_string(why)),
        TransportError::Broken(why) => broken(why),
        TransportError::Overloaded => broken("too many calls wait"),
    }
}

fn broken(why: impl ToString) -> RPCError<Types> {
    RPCError::Network(NetworkError::from_string(why))
}

fn unexpected(response: &Response) -> RPCError<Types> {
    match response {
        // The other group is not open, or has stopped: to be tried again after a pause.
        Response::Refused(why) => RPCError::Unreachable(Unreachable::from_string(why)),
        Response::Vote(_)
        | Response::Append(_)
        | Response::TransferLeader(_)
        | Response::Snapshot(_)
        | Response::Page(_) => broken("an answer to another question"),
    }
}

impl Peer {
    async fn call(&self, request: Request, limit: Duration) -> Result<Response, RPCError<Types>> {
        let frame = request.encode().map_err(broken)?;
        let answer = self.transport.call(&self.target, Lane::Control, frame);
        match tokio::time::timeout(limit, answer).await {
            Ok(Ok(frame)) => Response::decode(frame).map_err(broken),
            Ok(Err(error)) => Err(rpc_error(error)),
            Err(_) => Err(broken(format!("no answer within {limit:?}"))),
        }
    }

    async fn call_append(&self, append: Append, limit: Duration) -> AppendItem {
        let response = self.call(Request::Append(append), limit).await?;
        if let Response::Append(result) = response {
            Ok(result)
        } else {
            Err(unexpected(&response))
        }
    }

    async fn call_vote(
        &self,
        request: Request,
        option: &RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let agreed = matches!(&request, Request::Vote(vote) | Request::PreVote(vote) if vote.leadership_transfer);
        if let Some(left) = self.abstention.left().filter(|_| !agreed) {
            tokio::time::sleep(left).await;
        }
        let response = self.call(request, option.hard_ttl()).await?;
        if let Response::Vote(vote) = response { Ok(vote) } else { Err(unexpected(&response)) }
    }
}

impl RaftNetworkV2<Types> for Peer {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        rpc: Append,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let result = self.call_append(rpc, option.hard_ttl()).await?;
        Ok(match result {
            Ok(matching) => AppendEntriesResponse::PartialSuccess(matching),
            Err(StreamAppendError::Conflict(_)) => AppendEntriesResponse::Conflict,
            Err(StreamAppendError::HigherVote(vote)) => AppendEntriesResponse::HigherVote(vote),
        })
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<RaftStream<'s, AppendItem>, RPCError<Types>>>
    where
        S: Stream<Item = Append> + OptionalSend + Unpin + 'static,
    {
        if self.heartbeats {
            let limit = option.hard_ttl();
            let peer = &*self;
            let answers = input.then(move |append| peer.call_append(append, limit));
            let answers: RaftStream<'s, AppendItem> = Box::pin(answers);
            return Box::pin(std::future::ready(Ok(answers)));
        }

        Box::pin(async move {
            let (frames, taken) = mpsc::channel(caps::APPENDS_WAITING_MAX);
            let opening = self.transport.stream(&self.target, Lane::Log, transport::frames(taken));
            let responses = match tokio::time::timeout(self.patience, opening).await {
                Ok(responses) => responses.map_err(rpc_error)?,
                Err(_) => {
                    return Err(RPCError::Unreachable(Unreachable::from_string(
                        "it takes too long to connect",
                    )));
                }
            };
            let exchange = Exchange {
                appends: input.fuse(),
                frames: Some(frames),
                ready: None,
                responses: Some(responses),
                owed: 0,
                moved: Instant::now(),
                patience: self.patience,
            };
            let answers: RaftStream<'s, AppendItem> =
                Box::pin(futures::stream::unfold(exchange, Exchange::next));
            Ok(answers)
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.call_vote(Request::Vote(rpc), &option).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.call_vote(Request::PreVote(rpc), &option).await
    }

    async fn transfer_leader(
        &mut self,
        rpc: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let response = self.call(Request::TransferLeader(rpc), option.hard_ttl()).await?;
        if let Response::TransferLeader(Ok(())) = response {
            Ok(Ok(()))
        } else {
            Err(unexpected(&response))
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: RaftVote,
        snapshot: Snapshot<SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let sending = snapshot::send(vote, snapshot.snapshot, &self.target, &*self.transport);
        let answer = tokio::select! {
            closed = cancel => return Err(StreamingError::Closed(closed)),
            answer = tokio::time::timeout(caps::SNAPSHOT_SEND, sending) => answer,
        };
        match answer {
            Ok(Ok(Response::Snapshot(vote))) => Ok(SnapshotResponse::new(vote)),
            Ok(Ok(other)) => Err(unexpected(&other).into()),
            // With a pause in any case: a snapshot is expensive to begin with.
            Ok(Err(why)) => Err(StreamingError::Unreachable(Unreachable::from_string(why))),
            Err(_) => Err(StreamingError::Unreachable(Unreachable::from_string(
                "the snapshot takes too long",
            ))),
        }
    }
}

/// A stream of appends and its answers. openraft's stream of appends holds a lock that it needs
/// again as soon as the answers have ended, so it is kept here, and dropped with the answers,
/// whatever the transport does with the frames.
struct Exchange<S> {
    appends: Fuse<S>,
    /// `None` once all appends are on their way.
    frames: Option<mpsc::Sender<Bytes>>,
    ready: Option<Bytes>,
    /// `None` after the last answer.
    responses: Option<Responses>,
    owed: u64,
    moved: Instant,
    patience: Duration,
}

enum Step {
    Answer(Option<Result<Bytes, TransportError>>),
    Append(Option<Append>),
    Sent,
    Stuck,
}

impl<S: Stream<Item = Append> + Unpin> Exchange<S> {
    async fn next(mut self) -> Option<(AppendItem, Self)> {
        loop {
            let answer = match self.step().await? {
                Step::Answer(None) => return None,
                Step::Answer(Some(Ok(frame))) => {
                    self.owed = self.owed.saturating_sub(1);
                    match Response::decode(frame) {
                        Ok(Response::Append(result)) => Ok(result),
                        Ok(other) => Err(unexpected(&other)),
                        Err(error) => Err(broken(error)),
                    }
                }
                Step::Answer(Some(Err(error))) => Err(rpc_error(error)),
                Step::Append(Some(append)) => match Request::Append(append).encode() {
                    Ok(frame) => {
                        self.ready = Some(frame);
                        continue;
                    }
                    Err(error) => Err(broken(error)),
                },
                Step::Append(None) => {
                    self.frames = None;
                    continue;
                }
                Step::Sent => continue,
                Step::Stuck => Err(broken("no answers")),
            };

            self.moved = Instant::now();
            if !matches!(answer, Ok(Ok(_))) {
                self.responses = None;
            }

            return Some((answer, self));
        }
    }

    /// Whatever comes first.
    async fn step(&mut self) -> Option<Step> {
        let responses = self.responses.as_mut()?;
        let frames = self.frames.as_ref();
        let has_frame = self.ready.is_some();

        let room = async {
            match frames {
                Some(frames) if has_frame => frames.reserve().await,
                _ => std::future::pending().await,
            }
        };

        tokio::select! {
            biased;
            answer = responses.next() => Some(Step::Answer(answer)),
            permit = room => {
                match (permit, self.ready.take()) {
                    (Ok(permit), Some(frame)) => {
                        permit.send(frame);
                        if self.owed == 0 {
                            self.moved = Instant::now();
                        }
                        self.owed = self.owed.saturating_add(1);
                        Some(Step::Sent)
                    }
                    // The transport takes no more; its answers tell why.
                    _ => Some(Step::Append(None)),
                }
            }
            append = self.appends.next(), if self.frames.is_some() && !has_frame => Some(Step::Append(append)),
            () = tokio::time::sleep_until(self.moved + self.patience), if self.owed > 0 => Some(Step::Stuck),
        }
    }
}
