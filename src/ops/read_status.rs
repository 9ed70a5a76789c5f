//! Read statuses, and the event by which the user's other devices learn how far the user has read.

use time::OffsetDateTime;

use crate::{
    app::App,
    crash::Point,
    ids::{ChannelId, EventId, ReadStatusId, UserId},
    model::{Event, NotificationLevel, ReadStatus},
    problem::Problem,
    store::{
        outbox::OutboxRow,
        read_statuses::{self, Changes, Written},
    },
    traces,
};

/// Creates a read status.
///
/// # Errors
/// As [`read_statuses::insert`].
pub async fn create(
    app: &App,
    user: UserId,
    channel: ChannelId,
    last_read_at: OffsetDateTime,
    level: Option<NotificationLevel>,
) -> Result<ReadStatus, Problem> {
    let event = EventId::new();
    let written = read_statuses::insert(&app.db, user, channel, last_read_at, level, event).await?;
    Ok(publish(app, event, written))
}

/// Changes a read status.
///
/// # Errors
/// As [`read_statuses::update`].
pub async fn update(
    app: &App,
    id: ReadStatusId,
    owner: UserId,
    changes: Changes,
) -> Result<ReadStatus, Problem> {
    let event = EventId::new();
    let written = read_statuses::update(&app.db, id, owner, changes, event).await?;
    Ok(publish(app, event, written))
}

/// Publishes the event of a position that has moved forward. Does not wait.
fn publish(app: &App, event: EventId, Written { status, event_row }: Written) -> ReadStatus {
    Point::ChangeCommitted.pass();
    if let Some(row) = event_row {
        let mut event = Event::read_status_updated(event, &status);
        event.trace = traces::current();
        app.outbox.publish(vec![OutboxRow::new(row, event)]);
    }
    Point::ChangePublished.pass();
    status
}
