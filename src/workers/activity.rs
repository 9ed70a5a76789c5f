//! Delivers the activity of channels, once a second.

use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::{
    app::App, ids::ChannelId, problem::Problem, store::channels, tasks::LogOnce,
    workers::wait_until_prepared,
};

/// Interval of the events. An event has a channel at most once.
const INTERVAL: Duration = Duration::from_secs(1);
/// Rounds after an outage of Kafka that look for active channels in the store.
const ROUNDS_AFTER_OUTAGE: u32 = 10;

/// Delivers the activity of each second. Runs until it is dropped.
pub async fn run(app: Arc<App>) {
    wait_until_prepared(&app).await;
    let (mut rounds, mut log) = (0_u32, LogOnce::default());
    let mut delivered = HashMap::new();
    loop {
        tokio::time::sleep(INTERVAL).await;
        rounds = if app.kafka.is_stable() {
            rounds.saturating_sub(1)
        } else {
            ROUNDS_AFTER_OUTAGE
        };
        log.check(
            deliver_changes(&app, rounds > 0, &mut delivered).await,
            "reading the activity of channels failed",
        );
    }
}

/// Delivers changes since the last call. With `search`, the store tells which channels have changed since those `delivered` by it.
async fn deliver_changes(
    app: &App,
    search: bool,
    delivered: &mut HashMap<ChannelId, i64>,
) -> Result<(), Problem> {
    let activity = &app.delivery.activity;
    let (users, noted) = activity.take();
    let mut active = noted.clone();
    if users.is_empty() {
        return Ok(());
    }
    if search {
        active.extend(channels::recently_active(&app.db).await?);
    }
    if active.is_empty() {
        return Ok(());
    }
    let active: Vec<ChannelId> = active.into_iter().collect();
    let mut changes = channels::activity(&app.db, &active, &users).await?;
    let newest = changes
        .iter()
        .map(|(channel, _)| (channel.channel_id, channel.last_seq));
    let before = std::mem::replace(delivered, newest.collect());
    changes.retain(|(channel, _)| {
        let id = channel.channel_id;
        noted.contains(&id) || before.get(&id) != Some(&channel.last_seq)
    });
    activity.deliver(&changes).await;
    Ok(())
}
