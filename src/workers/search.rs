//! Indexes new and changed messages for search, one node at a time.
//!
//! Not in the transaction of a message: its terms take longer to insert than the message itself.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use crate::{
    app::App,
    problem::Problem,
    store::search,
    tasks::{LogOnce, jittered},
    workers::wait_until_prepared,
};

/// Interval at which a node looks for messages to index. Found messages are at most this old, plus the time of a batch.
const INTERVAL: Duration = Duration::from_millis(500);
/// Messages indexed in one transaction, which takes some tens of milliseconds.
const BATCH: i64 = 200;

/// Indexes messages. Runs until it is dropped; another node continues its work.
pub async fn index(app: Arc<App>) {
    wait_until_prepared(&app).await;
    let mut log = LogOnce::default();
    loop {
        sleep(jittered(INTERVAL)).await;
        while log.check(index_batch(&app).await, "indexing messages failed") == Some(true) {}
    }
}

/// Indexes a batch. True when messages may be left.
async fn index_batch(app: &App) -> Result<bool, Problem> {
    if !search::is_behind(&app.db).await? {
        return Ok(false);
    }
    let mut transaction = app.db.begin().await?;
    let indexed = search::index(&mut transaction, BATCH).await?;
    transaction.commit().await?;
    Ok(i64::try_from(indexed).unwrap_or(BATCH) >= BATCH)
}
