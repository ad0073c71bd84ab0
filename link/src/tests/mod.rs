//! The link against itself, and against hand-made peers that misbehave. Real sockets on the
//! loopback.

mod calls;
mod damage;
mod ends;
mod limits;
mod names;
mod raw;
mod refusals;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::{
    CallError, CallRefused, LaneState, Link, LinkOptions, ListenAddress, NodeId, NotSent, Service,
};

pub(super) use super::Lane;

/// No wait of a test is longer.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);
pub(super) const GROUP: &str = "eu-west-1";

pub(super) struct Ask {
    pub(super) from: NodeId,
    pub(super) lane: Lane,
    pub(super) group: String,
    pub(super) request: Bytes,
}

pub(super) type Reply = BoxFuture<'static, Result<Bytes, CallRefused>>;

struct FnService<F>(F);

impl<F: Fn(Ask) -> Reply + Send + Sync + 'static> Service for FnService<F> {
    fn handle(&self, from: NodeId, lane: Lane, group: &str, request: Bytes) -> Reply {
        self.0(Ask { from, lane, group: group.to_owned(), request })
    }
}

pub(super) fn service(handle: impl Fn(Ask) -> Reply + Send + Sync + 'static) -> Arc<dyn Service> {
    Arc::new(FnService(handle))
}

pub(super) fn echo() -> Arc<dyn Service> {
    service(|ask| async move { Ok(ask.request) }.boxed())
}

/// Never answers; reports each request, and the end of each future.
pub(super) fn silent()
-> (Arc<dyn Service>, mpsc::UnboundedReceiver<Bytes>, mpsc::UnboundedReceiver<Bytes>) {
    let (came, coming) = mpsc::unbounded_channel();
    let (went, going) = mpsc::unbounded_channel();
    let silent = service(move |ask| {
        came.send(ask.request.clone()).unwrap();
        let gone = Gone(went.clone(), ask.request);
        async move {
            let _gone = gone;
            std::future::pending().await
        }
        .boxed()
    });
    (silent, coming, going)
}

struct Gone(mpsc::UnboundedSender<Bytes>, Bytes);

impl Drop for Gone {
    fn drop(&mut self) {
        let _ = self.0.send(self.1.clone());
    }
}

pub(super) fn local(port: u16) -> ListenAddress {
    ListenAddress::At((Ipv4Addr::LOCALHOST, port).into())
}

pub(super) fn options(node: NodeId) -> LinkOptions {
    LinkOptions {
        cluster_id: "c-1".to_owned(),
        node,
        incarnation: 1,
        feature_level: 3,
        listen: local(0),
    }
}

pub(super) async fn start(node: NodeId, service: Arc<dyn Service>) -> Link {
    Link::start(options(node), service).await.unwrap()
}

/// Node 1, which may call node 2.
pub(super) async fn pair(service: Arc<dyn Service>) -> (Link, Link) {
    let (one, two) = (start(1, echo()).await, start(2, service).await);
    one.set_peer(2, two.address().to_string());
    (one, two)
}

pub(super) async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.expect("the deadline passed")
}

/// Polls until `holds`.
pub(super) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < DEADLINE, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub(super) async fn call(link: &Link, lane: Lane, text: &'static str) -> Result<Bytes, CallError> {
    within(link.call(2, lane, GROUP, Bytes::from_static(text.as_bytes()), DEADLINE)).await
}

/// Calls until an answer comes.
pub(super) async fn call_until_answered(link: &Link, lane: Lane) {
    let began = Instant::now();
    while call(link, lane, "again").await.is_err() {
        assert!(began.elapsed() < DEADLINE, "no answer: {:?}", link.peers());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub(super) fn lane_state(link: &Link, lane: Lane) -> LaneState {
    link.peers()[0].lanes.iter().find(|status| status.lane == lane).unwrap().state
}

/// Calls, expects that there is no connection, and gives the reason.
pub(super) async fn down_reason(link: &Link, lane: Lane) -> String {
    match call(link, lane, "x").await {
        Err(CallError::NotSent(NotSent::Down(reason))) => reason,
        other => panic!("expected a peer that is down, got {other:?}"),
    }
}
