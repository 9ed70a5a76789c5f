//! What the system does: changes with their events, used by HTTP and STOMP alike.

pub mod account;
pub mod channel;
pub mod message;
pub mod notification;
pub mod session;

use sqlx::{Postgres, Transaction};

use crate::{app::App, model::Event, problem::Problem, store::outbox};

/// Writes the events beside their cause, commits, and publishes them.
///
/// # Errors
/// The database's; then nothing has happened.
pub(crate) async fn commit(
    app: &App,
    mut transaction: Transaction<'static, Postgres>,
    events: Vec<Event>,
) -> Result<(), Problem> {
    let stored = outbox::insert(&mut transaction, events).await?;
    transaction.commit().await?;
    app.outbox.publish(stored);
    Ok(())
}
