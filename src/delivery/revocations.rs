//! Reads recent revocations from the outbox, so that each one takes effect within 1 s on every node, whatever Kafka does.
//!
//! Kafka usually carries a revocation to every node within milliseconds. But the producer of the node that revokes, or the consumer of
//! the node that must act, may be the part that does not work, and neither knows it at once.

use std::time::Duration;

use tracing::debug;

use crate::{
    delivery::repair::Repairer,
    model::Control,
    problem::{Problem, chain},
    store::{channels, outbox},
};

/// Interval between two reads. With the delay of a read it must stay below 1 s.
const INTERVAL: Duration = Duration::from_millis(500);

/// Applies the revocations in the outbox. Runs until it is dropped.
pub async fn run(repairer: Repairer) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        if !repairer.delivery.is_empty()
            && let Err(error) = apply_recent(&repairer).await
        {
            debug!(error = %chain(&error), "reading revocations failed");
        }
    }
}

/// Applies each recent revocation once more. Those that Kafka has carried change nothing.
async fn apply_recent(repairer: &Repairer) -> Result<(), Problem> {
    let delivery = &repairer.delivery;
    let recent = outbox::recent_controls(&repairer.db).await?;
    let mut removed = Vec::new();
    for control in recent {
        match control {
            Control::MembershipLost {
                user_id,
                channel_id,
            } => removed.push((channel_id, user_id)),
            // Sessions and channels do not come back. Of a user, only sessions that have ended are closed.
            Control::SessionRevoked { .. }
            | Control::UserRevoked { .. }
            | Control::ChannelDeleted { .. } => delivery.apply(&control),
        }
    }
    if removed.is_empty() {
        return Ok(());
    }
    let members = delivery.hub.private_members();
    removed.retain(|removed| members.contains(removed));
    if removed.is_empty() {
        return Ok(());
    }
    // A user may participate again since.
    for (channel_id, user_id) in channels::lost_memberships(&repairer.db, &removed).await? {
        delivery.apply(&Control::MembershipLost {
            user_id,
            channel_id,
        });
    }
    Ok(())
}
