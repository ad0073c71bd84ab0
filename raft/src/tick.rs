//! The tasks that let time pass: ticks when something is due, and keepalives for the calls that wait here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ratequeue_limiter::{Command, Keepalive, caps as core_caps};
use tokio::sync::{mpsc, oneshot, watch};

use crate::caps;
use crate::group::WeakGroup;
use crate::proposal::Submitted;
use crate::replica::Replica;
use crate::role::Role;

/// A way to submit for the group's own tasks.
#[derive(Clone)]
pub(crate) struct OwnCommands {
    pub queue: mpsc::WeakSender<Submitted>,
}

impl OwnCommands {
    /// Whether it was applied. `None` when the group is gone.
    async fn submit(&self, command: Command) -> Option<bool> {
        let queue = self.queue.upgrade()?;
        let (answer, answered) = oneshot::channel();
        queue.send(Submitted { command, answer, since: Instant::now() }).await.ok()?;
        drop(queue);
        Some(matches!(answered.await, Ok(Ok(_))))
    }
}

/// Submits a tick whenever the state says that something is due, while this node leads. Asleep otherwise.
pub(crate) async fn tick(replica: Arc<Replica>, commands: OwnCommands) {
    let mut roles = replica.roles.subscribe();
    while wait_to_lead(&mut roles).await {
        // What is due at the beginning of time is work that is left over.
        let wait = replica.due.arm().map(|at| Duration::from_micros(at.since_us(replica.clock.now())));
        if wait != Some(Duration::ZERO) {
            let sleep = async {
                match wait {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleep => {}
                () = replica.due.earlier() => {}
                _ = roles.changed() => {}
            }
            continue;
        }
        match commands.submit(Command::Tick).await {
            None => return,
            Some(true) => {}
            Some(false) => tokio::time::sleep(caps::RETRY_PAUSE).await,
        }
    }
}

/// Says every few seconds, to whoever leads, that somebody still waits for the leases to which calls are attached here.
pub(crate) async fn keep_alive(replica: Arc<Replica>, group: WeakGroup) {
    loop {
        replica.attachments.any().await;
        for leases in replica.attachments.take_alive().chunks(core_caps::KEEPALIVE_LEASES_MAX) {
            let leases = replica.read(|state, _| leases.iter().copied().filter(|id| state.is_waiting(*id)).collect());
            if Vec::is_empty(&leases) {
                continue;
            }
            let Some(group) = group.upgrade() else { return };
            // What was not taken comes again next time; a place outlives two of them.
            let _ = group.submit_anywhere(Command::Keepalive(Keepalive { leases })).await;
        }
        tokio::time::sleep(caps::KEEPALIVE_INTERVAL).await;
    }
}

/// False when the group is gone.
async fn wait_to_lead(roles: &mut watch::Receiver<Role>) -> bool {
    roles.wait_for(|role| role.leading.is_some()).await.is_ok()
}
