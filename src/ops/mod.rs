//! Operations: changes of the stored data with their events, for HTTP and STOMP alike.

pub mod account;
pub mod channel;
pub mod message;
pub mod notification;
pub mod read_status;
pub mod search;
pub mod session;

use crate::{
    app::App,
    crash::Point,
    model::Event,
    problem::Problem,
    store::{Transaction, outbox},
};

/// Inserts the events of a change, commits the transaction, and publishes the events.
///
/// # Errors
/// PostgreSQL fails. If it failed before the commit, nothing has changed.
pub(crate) async fn commit(
    app: &App,
    mut transaction: Transaction,
    events: Vec<Event>,
) -> Result<(), Problem> {
    let stored = outbox::insert(&mut transaction, events).await?;
    transaction.commit().await?;
    Point::ChangeCommitted.pass();
    app.outbox.publish(stored);
    Point::ChangePublished.pass();
    Ok(())
}
