//! The listening side: accepts connections, has each shake hands within bounds, serves it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::caps;
use super::handshake::{Greeted, HandshakeError, server_handshake};
use super::listen::Listeners;
use super::shared::Shared;
use super::{serve, stream};

/// Accepts until the link is shut down.
pub(crate) async fn run(shared: Arc<Shared>, listeners: Listeners) {
    let ungreeted = Arc::new(Ungreeted::default());
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            accepted = listeners.accept() => accepted,
        };
        match accepted {
            Ok((tcp, from)) => {
                let place = ungreeted.enter();
                shared.spawn(connection(Arc::clone(&shared), tcp, from, place));
            }
            Err(error) => {
                shared.warn(&format_args!("cannot accept a connection: {error}"));
                sleep(caps::ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(shared: Arc<Shared>, tcp: TcpStream, from: SocketAddr, place: Place) {
    let greeted = tokio::select! {
        biased;
        () = shared.stop.cancelled() => return,
        () = place.evicted.cancelled() => Err(HandshakeError::TimedOut),
        greeted = handshake(&shared, tcp) => greeted,
    };
    drop(place);
    match greeted {
        Ok(greeted) => admit(&shared, greeted, from).await,
        // Somebody looked whether the port is open.
        Err(HandshakeError::Closed) => debug!(%from, "closed without a greeting"),
        Err(error) => shared.warn(&format_args!("no connection from {from}: {error}")),
    }
}

async fn handshake(shared: &Shared, tcp: TcpStream) -> Result<Greeted, HandshakeError> {
    let greeted =
        async { server_handshake(stream::secure(tcp).await?, &shared.me, &shared.known).await };
    timeout(caps::HANDSHAKE_TIME_MAX, greeted).await.map_err(|_| HandshakeError::TimedOut)?
}

async fn admit(shared: &Shared, greeted: Greeted, from: SocketAddr) {
    let (node, lane) = (greeted.peer.from, greeted.lane);
    let admission = match shared.known.admit(node, greeted.peer.incarnation, lane, greeted.serial) {
        Ok(admission) => admission,
        Err(refusal) => {
            return shared
                .warn(&format_args!("no {lane} lane from node {node} at {from}: {refusal}"));
        }
    };

    admission.turn().await;
    match serve::run(greeted, &admission, Arc::clone(&shared.service)).await {
        Some(error) if error.is_violation() => {
            shared
                .warn(&format_args!("closed the {lane} lane from node {node} at {from}: {error}"));
        }
        Some(error) => debug!(node, %lane, %error, "lane from a peer broke"),
        None => debug!(node, %lane, "lane from a peer was closed"),
    }
}

/// The connections that have not greeted yet. Whoever is slow makes room for whoever comes: an
/// honest greeting takes milliseconds.
#[derive(Debug, Default)]
struct Ungreeted {
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    serial: u64,
    taken: BTreeMap<u64, CancellationToken>,
}

#[derive(Debug)]
struct Place {
    ungreeted: Arc<Ungreeted>,
    serial: u64,
    evicted: CancellationToken,
}

impl Ungreeted {
    fn enter(self: &Arc<Self>) -> Place {
        let evicted = CancellationToken::new();
        let mut places = self.places.lock();
        while places.taken.len() >= caps::UNGREETED_MAX {
            let Some((_, oldest)) = places.taken.pop_first() else { break };
            oldest.cancel();
        }
        places.serial += 1;
        let serial = places.serial;
        places.taken.insert(serial, evicted.clone());
        Place { ungreeted: Arc::clone(self), serial, evicted }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.ungreeted.places.lock().taken.remove(&self.serial);
    }
}
