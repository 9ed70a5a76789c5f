//! What deleted channels, accounts and messages have left behind, cleared in batches. It is noted in the transaction of the
//! deletion, so a node that dies leaves it to the others.

use std::sync::Arc;

use tokio::time::Instant;

use crate::{
    app::App,
    ids::{ChannelId, MessageId, UserId},
    ops::{commit, notification},
    problem::Problem,
    store::{
        self,
        purge::{self, Kind},
    },
    workers::{LOOK_INTERVAL, pause, prepared, tell_once},
};

/// Rows of one kind in one transaction: some tens of milliseconds.
const AT_ONCE: i64 = 2_000;
/// The same, where each row has an event to be told.
const TOLD_AT_ONCE: i64 = 500;
/// Deletions that are cleared in turn, so that a large one does not keep small ones waiting.
const IN_TURN: i64 = 100;

/// Clears what there is to clear. Runs until it is dropped; where it is cut, the next node goes on.
pub async fn sweep(app: Arc<App>) {
    prepared(&app).await;
    let mut told = false;
    loop {
        pause(LOOK_INTERVAL).await;
        while tell_once(
            turn(&app).await,
            &mut told,
            "what is deleted cannot be cleared away",
        ) == Some(true)
        {}
    }
}

/// One batch of each deletion. True when something was cleared and more is left. One that cannot be cleared does not keep the
/// others from it.
async fn turn(app: &App) -> Result<bool, Problem> {
    let (mut more, mut failed) = (false, None);
    for number in purge::list(&app.db, IN_TURN).await? {
        let began = Instant::now();
        match clear(app, number).await {
            Ok(left) => more |= left,
            Err(problem) => failed = Some(problem),
        }
        // As long again is left to those who wait for the database.
        tokio::time::sleep(began.elapsed()).await;
    }
    match failed {
        Some(problem) => Err(problem),
        None => Ok(more),
    }
}

/// One batch. True when more is left; false as well when another node is at it.
async fn clear(app: &App, number: i64) -> Result<bool, Problem> {
    let mut transaction = store::begin(&app.db).await?;
    let Some((kind, id)) = purge::take(&mut transaction, number).await? else {
        return Ok(false);
    };
    let (events, all) = match kind {
        Kind::Channel => {
            let all = purge::clear_channel(&mut transaction, ChannelId(id), AT_ONCE).await?;
            (Vec::new(), all)
        }
        Kind::User => {
            let all = purge::clear_user(&mut transaction, UserId(id), AT_ONCE).await?;
            (Vec::new(), all)
        }
        Kind::Message => {
            notification::delete_of(&mut transaction, MessageId(id), TOLD_AT_ONCE).await?
        }
    };
    if all {
        purge::done(&mut transaction, number).await?;
    }
    commit(app, transaction, events).await?;
    Ok(!all)
}
