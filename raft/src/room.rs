//! A leader without room on its disk hands over to a voter that has some: only its own group would stand still for it.

use std::sync::Arc;

use crate::caps;
use crate::group::WeakGroup;
use crate::replica::Replica;
use crate::space::{Room, Space};
use crate::tick::wait_to_lead;

/// Looks now and then, while this node leads, and hands over.
pub(crate) async fn hand_over(replica: Arc<Replica>, space: Arc<Space>, group: WeakGroup) {
    let mut roles = replica.roles.subscribe();
    while wait_to_lead(&mut roles).await {
        let pause = match group.upgrade() {
            None => return,
            Some(group) if group.status().voters.len() > 1 && space.room() < Room::Enough => {
                if let Some(to) = group.voter_with_room().await {
                    tracing::warn!(group = replica.group, to, "leadership is handed over for want of room");
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
