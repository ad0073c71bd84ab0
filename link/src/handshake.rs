//! Who talks to whom: checked on both sides before the first call.
//!
//! ```text
//! caller                                   callee
//!   hello: who I am, whom I want   ──────>   checks, or refuses
//!   checks, or refuses             <──────   welcome: who I am, your session number back
//!   confirm: your session number   ──────>   only now is the caller believed
//!   requests                       ──────>
//! ```

use std::io;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::caps;
use super::frame::{self, FrameReader, Frames};
use super::greeting::{
    Greeting, Message, Refusal, RefusalCode, WIRE_MAX, WIRE_MIN, decode, encode,
};
use super::lane::Lane;
use super::registry::PeerRegistry;
use super::stream::{Sink, Source};

/// Who this node is.
#[derive(Debug, Clone)]
pub(crate) struct LocalNode {
    pub(crate) cluster: String,
    pub(crate) node: u64,
    pub(crate) incarnation: u64,
    pub(crate) feature_level: u32,
}

/// A connection whose two ends know each other.
#[derive(Debug)]
pub(crate) struct Greeted {
    pub(crate) reader: FrameReader<Source>,
    pub(crate) sink: Sink,
    /// The number that frames to the other side carry.
    pub(crate) session: u64,
    pub(crate) lane: Lane,
    pub(crate) peer: Greeting,
    /// From the hello to the welcome; nothing on the callee's side.
    pub(crate) rtt: Duration,
    /// Its place among the accepted connections; nothing on the caller's side.
    pub(crate) serial: u64,
}

/// Why two ends did not come to know each other.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the connection was closed during the handshake")]
    Closed,
    #[error("the first bytes are not a handshake")]
    NotOurs,
    #[error("the handshake took too long")]
    TimedOut,
    /// This side refuses.
    #[error("refused the peer: {0}")]
    Refusing(Refusal),
    /// The other side refuses.
    #[error("refused by the peer: {0}")]
    Refused(Refusal),
}

/// Greets the node that was dialled. The token is cancelled when a newer incarnation of that node
/// appears.
pub(crate) async fn client_handshake(
    halves: (Source, Sink),
    me: &LocalNode,
    to: u64,
    lane: Lane,
    known: &PeerRegistry,
) -> Result<(Greeted, CancellationToken), HandshakeError> {
    let (source, mut sink) = halves;
    let mut frames = frame::frames(source, caps::HANDSHAKE_BYTES_MAX);
    let session = rand::random();
    let began = Instant::now();
    let peer = hello(&mut frames, &mut sink, me, to, lane, session).await?;
    let rtt = began.elapsed();

    let current = match known.seen(peer.from, peer.incarnation) {
        Ok(current) => current,
        Err(refusal) => return Err(refuse(&mut sink, refusal).await),
    };
    sink.write_all(&encode(&Message::Confirm { echo: peer.session })).await?;
    let reader = FrameReader::new(frames, lane.caps().frame_bytes_max, session);
    Ok((Greeted { reader, sink, session: peer.session, lane, peer, rtt, serial: 0 }, current))
}

/// Looks whether the node that was dialled is the one that is meant, and goes away. It never
/// confirms, so the other side admits no connection, and those that the two have are not touched.
pub(crate) async fn probe(
    halves: (Source, Sink),
    me: &LocalNode,
    to: u64,
) -> Result<(), HandshakeError> {
    let (source, mut sink) = halves;
    let mut frames = frame::frames(source, caps::HANDSHAKE_BYTES_MAX);
    hello(&mut frames, &mut sink, me, to, Lane::Control, rand::random()).await.map(drop)
}

/// Says hello, and checks who welcomes this node. Whoever is not the one that is meant is told so.
async fn hello(
    frames: &mut Frames<Source>,
    sink: &mut Sink,
    me: &LocalNode,
    to: u64,
    lane: Lane,
    session: u64,
) -> Result<Greeting, HandshakeError> {
    let hello = greeting(me, to, lane.code(), session, 0, (WIRE_MIN, WIRE_MAX));
    sink.write_all(&encode(&Message::Hello(hello))).await?;

    let refusal = match receive(frames, sink).await? {
        Message::Welcome(peer) => match check_welcome(me, to, lane, session, &peer) {
            Ok(()) => return Ok(peer),
            Err(refusal) => refusal,
        },
        Message::Refusal(refusal) => return Err(HandshakeError::Refused(refusal)),
        Message::Hello(_) | Message::Confirm { .. } => out_of_turn(),
    };
    Err(refuse(sink, refusal).await)
}

/// Receives the greeting of a node that dialled us. The caller is only believed once this returns.
pub(crate) async fn server_handshake(
    halves: (Source, Sink),
    me: &LocalNode,
    known: &PeerRegistry,
) -> Result<Greeted, HandshakeError> {
    let (source, mut sink) = halves;
    let mut frames = frame::frames(source, caps::HANDSHAKE_BYTES_MAX);
    let verdict = match receive(&mut frames, &mut sink).await? {
        Message::Hello(peer) => check_hello(me, &peer)
            .and_then(|lane| known.check(peer.from, peer.incarnation).map(|serial| (lane, serial)))
            .map(|(lane, serial)| (peer, lane, serial)),
        Message::Refusal(refusal) => return Err(HandshakeError::Refused(refusal)),
        Message::Welcome(_) | Message::Confirm { .. } => Err(out_of_turn()),
    };

    let (peer, lane, serial) = match verdict {
        Ok(verdict) => verdict,
        Err(refusal) => return Err(refuse(&mut sink, refusal).await),
    };

    let session = rand::random();
    let wire = peer.wire_max.min(WIRE_MAX);
    let answer = greeting(me, peer.from, lane.code(), session, peer.session, (wire, wire));
    sink.write_all(&encode(&Message::Welcome(answer))).await?;

    match receive(&mut frames, &mut sink).await? {
        Message::Confirm { echo } if echo == session => {}
        Message::Refusal(refusal) => return Err(HandshakeError::Refused(refusal)),
        Message::Confirm { .. } | Message::Hello(_) | Message::Welcome(_) => {
            return Err(refuse(&mut sink, out_of_turn()).await);
        }
    }

    let reader = FrameReader::new(frames, lane.caps().frame_bytes_max, session);
    Ok(Greeted { reader, sink, session: peer.session, lane, peer, rtt: Duration::ZERO, serial })
}

fn greeting(
    me: &LocalNode,
    to: u64,
    lane: u8,
    session: u64,
    echo: u64,
    wire: (u16, u16),
) -> Greeting {
    let (wire_min, wire_max) = wire;
    Greeting {
        wire_min,
        wire_max,
        from: me.node,
        to,
        incarnation: me.incarnation,
        feature_level: me.feature_level,
        lane,
        session,
        echo,
        cluster: me.cluster.clone(),
    }
}

async fn receive(frames: &mut Frames<Source>, sink: &mut Sink) -> Result<Message, HandshakeError> {
    match frames.next().await {
        None => Err(HandshakeError::Closed),
        Some(Ok(bytes)) => match decode(bytes.freeze()) {
            Ok(message) => Ok(message),
            Err(refusal) => Err(refuse(sink, refusal).await),
        },
        Some(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
            Err(HandshakeError::NotOurs)
        }
        Some(Err(error)) => Err(HandshakeError::Io(error)),
    }
}

/// Tells the other side why, as far as it listens.
async fn refuse(sink: &mut Sink, refusal: Refusal) -> HandshakeError {
    let bytes: Bytes = encode(&Message::Refusal(refusal.clone()));
    let sent = async { sink.write_all(&bytes).await.and(sink.shutdown().await) };
    match sent.await {
        Ok(()) => HandshakeError::Refusing(refusal),
        Err(error) => HandshakeError::Io(error),
    }
}

fn check_hello(me: &LocalNode, peer: &Greeting) -> Result<Lane, Refusal> {
    check_cluster(me, peer)?;
    if peer.to != me.node {
        let reason =
            format!("wrong node at this address: this is node {}, not {}", me.node, peer.to);
        return Err(Refusal::new(RefusalCode::Node, reason));
    }
    if peer.from == me.node {
        let reason = format!("node {} calls itself, or a second node has its number", me.node);
        return Err(Refusal::new(RefusalCode::Node, reason));
    }
    let unknown = || Refusal::new(RefusalCode::Malformed, format!("unknown lane {}", peer.lane));
    Lane::from_code(peer.lane).ok_or_else(unknown)
}

fn check_welcome(
    me: &LocalNode,
    to: u64,
    lane: Lane,
    session: u64,
    peer: &Greeting,
) -> Result<(), Refusal> {
    check_cluster(me, peer)?;
    if peer.from != to || peer.to != me.node {
        let reason =
            format!("node {} welcomes node {}, but {} called {to}", peer.from, peer.to, me.node);
        return Err(Refusal::new(RefusalCode::Node, reason));
    }
    if peer.echo != session || peer.lane != lane.code() {
        return Err(Refusal::new(RefusalCode::Malformed, "the welcome belongs to another hello"));
    }
    Ok(())
}

fn check_cluster(me: &LocalNode, peer: &Greeting) -> Result<(), Refusal> {
    if peer.cluster == me.cluster {
        return Ok(());
    }
    let reason = format!(
        "node {} belongs to another cluster: '{}', not '{}'",
        peer.from, peer.cluster, me.cluster
    );
    Err(Refusal::new(RefusalCode::Cluster, reason))
}

fn out_of_turn() -> Refusal {
    Refusal::new(RefusalCode::Malformed, "a message of the handshake came out of turn")
}
