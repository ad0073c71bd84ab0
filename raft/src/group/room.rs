//! What a node does about a disk that is nearly full: it has its log purged, and a leader hands
//! over to a voter that has room, as only its own group would stand still for it.

use std::sync::Arc;

use ratequeue_storage::{LogStore, caps::LOG_CHUNK_BYTES_MAX};

use crate::caps;
use crate::group::handle::WeakGroup;
use crate::group::tick::wait_to_lead;
use crate::propose::space::{Room, Space};
use crate::replica::Replica;

/// Looks now and then, and has checkpoints made as long as the log has files that could be purged
/// after them, or the reserve has room for them. Otherwise the log or the reserve might keep the
/// disk full: for a minute or two, or, since nothing new is written, for good.
pub(crate) async fn shorten_log(replica: Arc<Replica>, space: Arc<Space>, log: LogStore) {
    loop {
        tokio::time::sleep(caps::ROOM_INTERVAL).await;
        // The last file is the one that is written to.
        let has_closed_files =
            usize::try_from(log.disk_bytes()).is_ok_and(|bytes| bytes > LOG_CHUNK_BYTES_MAX);
        if space.room() < Room::Enough && (has_closed_files || space.lacking_bytes() > 0) {
            replica.checkpoints.hurry();
        }
    }
}

/// Looks now and then, while this node leads, and hands over.
pub(crate) async fn hand_over(replica: Arc<Replica>, space: Arc<Space>, group: WeakGroup) {
    let mut roles = replica.roles.subscribe();
    while wait_to_lead(&mut roles).await {
        let pause = match group.upgrade() {
            None => return,
            Some(group) if group.status().voters.len() > 1 && space.room() < Room::Enough => {
                if let Some(to) = group.voter_with_room().await {
                    tracing::warn!(
                        group = replica.group,
                        to,
                        "leadership is handed over for want of room"
                    );
                    // Whoever leads after it looks for itself.
                    let _ = group.hand_over(Some(to)).await;
                }
                caps::ROOM_PAUSE
            }
            Some(_) => caps::ROOM_INTERVAL,
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = roles.changed() => {}
        }
    }
}
