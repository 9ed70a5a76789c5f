//! Reads recent events without a position from the outbox, because no gap reveals one that Kafka does not carry.
//!
//! Revocations are read all the time, so that each one takes effect within 1 s on every node: the producer of the node that revokes,
//! or the consumer of the node that must act, may be the part that does not work, and neither knows it at once. Changes of messages
//! are read while Kafka is not known to work; a node drops those that it has delivered, and earlier ones that Kafka carries later.

use std::{collections::HashSet, time::Duration};

use tracing::debug;

use crate::{
    delivery::repair::Repairer,
    ids::EventId,
    model::Control,
    problem::{Problem, chain},
    store::{channels, outbox},
};

/// Interval between two reads. With the delay of a read it must stay below 1 s.
const INTERVAL: Duration = Duration::from_millis(500);
/// Reads of changes after Kafka works again. A consumer that starts anew reads from the end.
const READS_AFTER_OUTAGE: u32 = 10;

/// Reads recent events and delivers them. Runs until it is dropped.
pub async fn run(repairer: Repairer) {
    let (mut reads, mut delivered) = (0, HashSet::new());
    loop {
        tokio::time::sleep(INTERVAL).await;
        if repairer.delivery.is_empty() {
            continue;
        }
        if let Err(error) = apply_revocations(&repairer).await {
            debug!(error = %chain(&error), "reading revocations failed");
        }
        if !repairer.kafka.is_stable() {
            reads = READS_AFTER_OUTAGE;
        } else if reads > 0 {
            reads -= 1;
            if reads == 0 {
                repairer.delivery.hub.forget_early_changes();
                continue;
            }
        } else {
            continue;
        }
        match deliver_changes(&repairer, &delivered).await {
            Ok(read) => delivered = read,
            Err(error) => debug!(error = %chain(&error), "reading changes of messages failed"),
        }
    }
}

/// Applies each recent revocation once more. Those that Kafka has carried change nothing.
async fn apply_revocations(repairer: &Repairer) -> Result<(), Problem> {
    let delivery = &repairer.delivery;
    let mut removed = Vec::new();
    for control in outbox::recent_controls(&repairer.db).await? {
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
    let checked_at = delivery.hub.tick();
    for (channel, user) in channels::lost_memberships(&repairer.db, &removed).await? {
        delivery.hub.end_membership(channel, user, checked_at);
    }
    Ok(())
}

/// Delivers recent changes of messages in the channels with subscribers, except those of the last read. Returns those of this read.
async fn deliver_changes(
    repairer: &Repairer,
    delivered: &HashSet<EventId>,
) -> Result<HashSet<EventId>, Problem> {
    let mut read = HashSet::new();
    let channels = repairer.delivery.hub.channels();
    if channels.is_empty() {
        return Ok(read);
    }
    for event in outbox::recent_changes(&repairer.db, &channels).await? {
        read.insert(event.id);
        if !delivered.contains(&event.id) {
            repairer.delivery.dispatch_early(event);
        }
    }
    Ok(read)
}
