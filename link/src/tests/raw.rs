//! A peer that does by hand what a link does, and what it never would.

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::super::frame::{Batch, Kind};
use super::super::greeting::{Greeting, Message, WIRE_MAX, WIRE_MIN, decode, encode};
use super::{GROUP, Ipv4Addr, Lane, Link, within};

pub(super) struct Raw {
    pub(super) stream: TcpStream,
    /// What frames to the other side carry.
    pub(super) session: u64,
}

pub(super) fn greeting(from: u64, to: u64, lane: Lane) -> Greeting {
    Greeting {
        wire_min: WIRE_MIN,
        wire_max: WIRE_MAX,
        from,
        to,
        incarnation: 1,
        feature_level: 0,
        lane: lane.code(),
        session: 77,
        echo: 0,
        cluster: "c-1".to_owned(),
    }
}

impl Raw {
    pub(super) async fn open(link: &Link) -> Self {
        Self { stream: TcpStream::connect(link.address()).await.unwrap(), session: 0 }
    }

    /// Connects to node 2 as `from` and greets.
    pub(super) async fn greeted(link: &Link, from: u64, lane: Lane) -> Self {
        let mut raw = Self::open(link).await;
        let Message::Welcome(welcome) = raw.exchange(greeting(from, 2, lane)).await else {
            panic!("not welcome")
        };
        raw.session = welcome.session;
        raw.send(&encode(&Message::Confirm { echo: raw.session })).await;
        raw
    }

    /// Waits for a caller on `listener` and welcomes it as node 2.
    pub(super) async fn accept(listener: &TcpListener) -> Self {
        let (stream, _) = within(listener.accept()).await.unwrap();
        let mut raw = Self { stream, session: 0 };
        let Message::Hello(hello) = raw.message().await else { panic!("no hello") };
        raw.session = hello.session;
        let mut welcome = greeting(2, hello.from, Lane::Control);
        welcome.lane = hello.lane;
        welcome.echo = hello.session;
        raw.send(&encode(&Message::Welcome(welcome))).await;
        assert_eq!(raw.message().await, Message::Confirm { echo: 77 });
        raw
    }

    pub(super) async fn exchange(&mut self, hello: Greeting) -> Message {
        self.send(&encode(&Message::Hello(hello))).await;
        self.message().await
    }

    pub(super) async fn message(&mut self) -> Message {
        decode(self.piece().await).unwrap()
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        within(self.stream.write_all(bytes)).await.unwrap();
    }

    /// What stands behind the next length.
    pub(super) async fn piece(&mut self) -> Bytes {
        let len = within(self.stream.read_u32_le()).await.unwrap();
        let mut bytes = vec![0; len as usize];
        within(self.stream.read_exact(&mut bytes)).await.unwrap();
        bytes.into()
    }

    /// Waits until the other side has closed the connection.
    pub(super) async fn closed(&mut self) {
        let mut rest = [0; 4096];
        while within(self.stream.read(&mut rest)).await.is_ok_and(|read| read > 0) {}
    }
}

pub(super) async fn listener() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap()
}

/// The bytes of requests with the numbers 1, 2, ... for the given session.
pub(super) fn requests(session: u64, payloads: &[&'static str]) -> Vec<u8> {
    let prefix = [&[u8::try_from(GROUP.len()).unwrap()], GROUP.as_bytes()].concat();
    let mut batch = Batch::new(session);
    for (call, payload) in (1..).zip(payloads) {
        batch.push(Kind::Request, call, &prefix, Bytes::from_static(payload.as_bytes()));
    }
    written(batch)
}

pub(super) fn written(mut batch: Batch) -> Vec<u8> {
    batch.seal();
    let mut bytes = BytesMut::new();
    while batch.has_remaining() {
        let chunk = batch.chunk().to_vec();
        bytes.extend_from_slice(&chunk);
        batch.advance(chunk.len());
    }
    bytes.to_vec()
}
