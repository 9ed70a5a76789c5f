//! Background work of a node.

pub mod activity;
pub mod files;
pub mod notify;
pub mod purge;
pub mod search;

use std::time::Duration;

use tokio::time::sleep;

use crate::{app::App, tasks::jittered};

/// Interval at which a node looks for work that is due or that a dead node has left.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Waits until the database is prepared.
async fn wait_until_prepared(app: &App) {
    while !app.is_prepared() {
        sleep(jittered(POLL_INTERVAL)).await;
    }
}
