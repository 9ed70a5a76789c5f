//! Deletes the rows of deleted channels, accounts and messages in batches.
//!
//! The transaction of a deletion records it in `pending_deletions`, so another node continues the work of a node that dies.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use crate::{
    app::App,
    crash::Point,
    ids::{ChannelId, MessageId, UserId},
    ops::{commit, notification},
    problem::Problem,
    store::{
        messages,
        purge::{self, Kind},
        reactions,
    },
    tasks::{LogOnce, jittered},
    workers::{POLL_INTERVAL, wait_until_prepared},
};

/// Rows of one kind deleted in one transaction, which takes some tens of milliseconds.
const BATCH: i64 = 2_000;
/// The same, where each row causes an event.
const EVENT_BATCH: i64 = 500;
/// Deletions that get one batch each in a round, so that a large one does not delay small ones.
const DELETIONS_PER_ROUND: i64 = 100;

/// Interval at which the identifiers of messages that were deleted long ago are forgotten.
const FORGET_INTERVAL: Duration = Duration::from_mins(10);

/// Purges all recorded deletions. Runs until it is dropped; another node continues its work.
pub async fn sweep(app: Arc<App>) {
    wait_until_prepared(&app).await;
    let mut log = LogOnce::default();
    let mut forgotten_at = Instant::now();
    loop {
        sleep(jittered(POLL_INTERVAL)).await;
        if forgotten_at.elapsed() > FORGET_INTERVAL {
            forgotten_at = Instant::now();
            let forgotten = messages::forget_deleted(&app.db).await;
            log.check(forgotten, "forgetting deleted messages failed");
        }
        while log.check(purge_round(&app).await, "purge failed") == Some(true) {}
    }
}

/// Purges one batch of each deletion. True when rows are left. A deletion that fails does not stop the others.
async fn purge_round(app: &App) -> Result<bool, Problem> {
    let (mut more, mut failed) = (false, None);
    for number in purge::list(&app.db, DELETIONS_PER_ROUND).await? {
        let began = Instant::now();
        match purge_batch(app, number).await {
            Ok(left) => more |= left,
            Err(problem) => failed = Some(problem),
        }
        // Half of the time is left to requests that wait for the database.
        sleep(began.elapsed()).await;
    }
    match failed {
        Some(problem) => Err(problem),
        None => Ok(more),
    }
}

/// Purges one batch. True when rows of the deletion are left; false when none are, or another node has it.
async fn purge_batch(app: &App, number: i64) -> Result<bool, Problem> {
    let mut transaction = app.db.begin().await?;
    let Some((kind, id)) = purge::claim(&mut transaction, number).await? else {
        return Ok(false);
    };
    let (events, all) = match kind {
        Kind::Channel => {
            let all = purge::purge_channel(&mut transaction, ChannelId(id), BATCH).await?;
            (Vec::new(), all)
        }
        Kind::User => {
            let all = purge::purge_user(&mut transaction, UserId(id), BATCH).await?;
            (Vec::new(), all)
        }
        Kind::Message => {
            let message = MessageId(id);
            let (events, all) =
                notification::delete_of(&mut transaction, message, EVENT_BATCH).await?;
            let reactions = reactions::delete_of(&mut transaction, message, BATCH).await?;
            (events, all && reactions)
        }
    };
    if all {
        purge::finish(&mut transaction, number).await?;
    }
    Point::PurgeWritten.pass();
    commit(app, transaction, events).await?;
    Ok(!all)
}
