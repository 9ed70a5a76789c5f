//! Background work of a node.

pub mod files;
pub mod notify;
pub mod purge;

use std::time::Duration;

use tracing::warn;

use crate::{
    app::App,
    problem::{Problem, chain},
};

/// How often each node looks for files that another one left, and for those whose next try is due.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Nodes that start together do not look together.
pub(super) async fn pause(time: Duration) {
    tokio::time::sleep(time.mul_f64(rand::random_range(0.8..1.2))).await;
}

/// Waits until the database is prepared.
pub(super) async fn prepared(app: &App) {
    while !app.is_prepared() {
        pause(LOOK_INTERVAL).await;
    }
}

/// Logs a failure when it begins, not each time.
pub(super) fn tell_once<T>(
    result: Result<T, Problem>,
    told: &mut bool,
    what: &'static str,
) -> Option<T> {
    match result {
        Ok(value) => {
            *told = false;
            Some(value)
        }
        Err(error) => {
            if !*told {
                warn!(error = %chain(&error), "{what}");
                *told = true;
            }
            None
        }
    }
}
