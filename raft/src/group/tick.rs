//! The tasks that let time pass: ticks when something is due, keepalives for the calls that wait
//! here, and one for every place in the queue when a new leader begins.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use ratequeue_limiter::{Command, Keepalive, LeaseId, State, caps as core_caps};
use tokio::sync::{mpsc, oneshot, watch};

use crate::caps;
use crate::group::handle::WeakGroup;
use crate::propose::proposal::Submitted;
use crate::propose::space::{Room, Space};
use crate::replica::Replica;
use crate::replica::role::Role;

/// A way to submit for the group's own tasks.
#[derive(Clone)]
pub(crate) struct OwnCommands {
    pub queue: mpsc::WeakSender<Submitted>,
}

impl OwnCommands {
    /// Whether it was applied. `None` when the group is gone.
    pub async fn submit(&self, command: Command) -> Option<bool> {
        let queue = self.queue.upgrade()?;
        let (answer, answered) = oneshot::channel();
        queue.send(Submitted { command, answer, since: Instant::now() }).await.ok()?;
        drop(queue);
        Some(matches!(answered.await, Ok(Ok(_))))
    }
}

/// Submits a tick whenever the state says that something is due, while this node leads. Asleep
/// otherwise.
pub(crate) async fn tick(replica: Arc<Replica>, space: Arc<Space>, commands: OwnCommands) {
    let mut roles = replica.roles.subscribe();
    while wait_to_lead(&mut roles).await {
        // What is due at the beginning of time is work that is left over.
        let wait =
            replica.due.arm().map(|at| Duration::from_micros(at.since_us(replica.clock.now())));
        let forget = forget_in(&replica, &space);
        let wait = wait.into_iter().chain(forget).min();
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

/// When a tick is to let the group forget, though nothing is due: while there is no room for a
/// checkpoint of all that it remembers, and the log cannot be purged for want of one.
fn forget_in(replica: &Replica, space: &Space) -> Option<Duration> {
    if space.room() == Room::Enough {
        return None;
    }
    let at = replica.machine.read().state.next_forgotten()?;
    Some(Duration::from_micros(at.since_us(replica.clock.now())).max(caps::FORGET_INTERVAL))
}

/// Says every few seconds, to whoever leads, that somebody still waits for the leases to which
/// calls are attached here.
pub(crate) async fn keep_alive(replica: Arc<Replica>, group: WeakGroup) {
    loop {
        replica.attachments.any().await;
        let next = tokio::time::Instant::now() + caps::KEEPALIVE_INTERVAL;
        let Some(group) = group.upgrade() else { return };
        let alive = replica.attachments.take_alive();
        let chunks = alive.chunks(core_caps::KEEPALIVE_LEASES_MAX);

        // Side by side: with many calls and a leader far away, one after the other would come too
        // late for the last.
        let said = futures::stream::iter(chunks).for_each_concurrent(
            caps::KEEPALIVES_AT_ONCE,
            |leases| async {
                let waits = |state: &State| {
                    leases.iter().copied().filter(|id| state.is_waiting(*id)).collect()
                };
                let leases: Vec<LeaseId> = replica.read(|state, _| waits(state));
                if !leases.is_empty() {
                    // What was not taken comes again next time; a place outlives two of them.
                    let _ = group.submit(Command::Keepalive(Keepalive { leases })).await;
                }
            },
        );

        said.await;
        drop(group);
        tokio::time::sleep_until(next).await;
    }
}

/// Keeps every place in the queue once more, soon after this node has become the leader. While
/// there was no leader nobody could show that he is there, and the calls that were attached at the
/// last one have to find another node: all of them have the whole time for it from then on.
pub(crate) async fn keep_all(replica: Arc<Replica>, commands: OwnCommands) {
    let mut roles = replica.roles.subscribe();
    let mut kept = None;
    loop {
        let is_new = |role: &Role| role.leading.is_some() && role.leading != kept;
        let Ok(leading) = roles.wait_for(is_new).await.map(|role| role.leading) else { return };
        kept = leading;

        // Callers come back at once, and have the node to themselves. Places have 10 s left at
        // least.
        tokio::time::sleep(caps::KEEP_ALL_AFTER).await;
        let mut from = Some(0);
        while let Some(start) = from
            && roles.borrow().leading == leading
        {
            let (leases, next) =
                replica.read(|state, _| state.waiting_from(start, core_caps::KEEPALIVE_LEASES_MAX));
            let submitted = match leases.is_empty() {
                true => Some(true),
                false => commands.submit(Command::Keepalive(Keepalive { leases })).await,
            };
            match submitted {
                None => return,
                Some(true) => from = next,
                Some(false) => tokio::time::sleep(caps::RETRY_PAUSE).await,
            }
        }
    }
}

/// False when the group is gone.
pub(crate) async fn wait_to_lead(roles: &mut watch::Receiver<Role>) -> bool {
    roles.wait_for(|role| role.leading.is_some()).await.is_ok()
}
