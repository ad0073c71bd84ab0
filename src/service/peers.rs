//! Dispatches calls from other nodes to the service.

use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::Service;
use super::error::ServiceError;
use super::relay::PeerHandler;
use crate::node::peer_calls::{ApiCall, ApiReply, PeerAnswer, PeerCall, RelayAnswer, Verdict};

/// Answers calls of the API in the bytes of their callers, as if they had come to this node.
pub trait ApiHandler: Send + Sync + 'static {
    /// The reply, and what it means. The future is dropped when the caller has gone.
    fn handle(&self, call: ApiCall) -> BoxFuture<'static, (Verdict, ApiReply)>;
}

/// Answers other nodes: relayed calls of the API by `api`, all others by the service itself.
pub fn peer_handler(service: Service, api: impl ApiHandler) -> Arc<dyn PeerHandler> {
    Arc::new(Answers { service, api: Arc::new(api) })
}

struct Answers<A> {
    service: Service,
    api: Arc<A>,
}

impl<A: ApiHandler> PeerHandler for Answers<A> {
    fn handle(&self, call: PeerCall) -> BoxFuture<'static, PeerAnswer> {
        let (service, api) = (self.service.clone(), Arc::clone(&self.api));
        async move {
            let answer = match call {
                PeerCall::Relay(call) => Ok(PeerAnswer::Relayed(relayed(&*api, call).await)),
                PeerCall::Report => Ok(PeerAnswer::Report(service.report().await)),
                PeerCall::View => Ok(PeerAnswer::View(service.cluster().await)),
                PeerCall::Change(request) => {
                    service.change_members(request).await.map(PeerAnswer::Change)
                }
                PeerCall::GiveBack(name) => {
                    service.give_back(&name).await.map(|()| PeerAnswer::GivenBack)
                }
                PeerCall::Exists(name) => service.exists(&name).await.map(PeerAnswer::Exists),
                PeerCall::Events(call) => service.events_page(call).await.map(PeerAnswer::Events),
                PeerCall::Resources { after, max } => {
                    service.list_region(after, max).await.map(PeerAnswer::Resources)
                }
            };
            answer.unwrap_or_else(|error: ServiceError| PeerAnswer::Refused(error.to_string()))
        }
        .boxed()
    }
}

async fn relayed(api: &impl ApiHandler, call: ApiCall) -> RelayAnswer {
    let since = Instant::now();
    let (verdict, reply) = api.handle(call).await;
    let handled_us = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
    RelayAnswer { verdict, handled_us, reply }
}
