//! Notifications.

use std::{sync::Arc, time::Duration};

use tracing::{info, warn};

use super::commit;
use crate::{
    app::App,
    ids::{EventId, MessageId, NotificationId, UserId},
    model::{Event, NotificationKind},
    problem::{Problem, chain},
    store::{
        self,
        notifications::{Concerned, New},
    },
};

/// Receivers served by one transaction: it stays short however many want to hear of a channel.
const RECEIVERS_AT_ONCE: i64 = 500;
/// The longest excerpt of a message, in characters.
const EXCERPT: usize = 200;
/// What was dismissed is remembered for longer than a job may come again: a week, see `bus.rs`.
const REMEMBERED_FOR: Duration = Duration::from_hours(8 * 24);
/// Rows forgotten in one statement, which is far from its time limit with so many.
const FORGOTTEN_AT_ONCE: i64 = 2_000;
/// How often what need not be remembered is forgotten.
const SWEEP_EVERY: Duration = Duration::from_hours(1);

/// Does these jobs, unless they have been done: writes the notifications of the new messages.
///
/// # Errors
/// The database's; then some may have been written, and doing it again does no harm.
pub async fn notify(app: &App, jobs: &[(EventId, MessageId)]) -> Result<(), Problem> {
    let ids: Vec<EventId> = jobs.iter().map(|(job, _)| *job).collect();
    let left = store::outbox::jobs_left(&app.db, &ids).await?;
    let messages: Vec<MessageId> = jobs
        .iter()
        .filter(|(job, _)| left.contains(job))
        .map(|(_, message)| *message)
        .collect();
    if !messages.is_empty() {
        notify_of(app, &messages).await?;
        store::outbox::jobs_done(&app.db, &ids).await?;
    }
    Ok(())
}

/// Writes the notifications of these new messages: one for each user, other than the author, who has turned them on for the
/// channel and may read it. Doing it again writes nothing; of a message that is gone nobody is told.
///
/// # Errors
/// The database's; then some may have been written.
pub async fn notify_of(app: &App, messages: &[MessageId]) -> Result<(), Problem> {
    let mut after = None;
    loop {
        let mut transaction = app.db.begin().await?;
        let concerned =
            store::notifications::concerned(&mut transaction, messages, after, RECEIVERS_AT_ONCE)
                .await?;
        let new: Vec<New> = concerned.iter().map(notification).collect();
        let events = store::notifications::insert(&mut transaction, &new).await?;
        transaction.commit().await?;
        app.outbox.publish(events);
        match concerned.last() {
            Some(last) => after = Some((last.message, last.receiver)),
            None => return Ok(()),
        }
        if i64::try_from(concerned.len()).unwrap_or(RECEIVERS_AT_ONCE) < RECEIVERS_AT_ONCE {
            return Ok(());
        }
    }
}

fn notification(concerned: &Concerned) -> New {
    let author = concerned.author.as_deref().unwrap_or("A deleted user");
    let title = match &concerned.channel_name {
        Some(name) => format!("{author} (#{name})"),
        None => author.to_owned(),
    };
    let mut content: String = concerned.content.chars().take(EXCERPT).collect();
    if content.len() < concerned.content.len() {
        content.push('…');
    }
    New {
        receiver: concerned.receiver,
        kind: NotificationKind::NewMessage,
        cause: concerned.message.0,
        title,
        content,
        target: Some(concerned.channel.0),
    }
}

/// Takes a notification out of its receiver's list, in every tab.
///
/// # Errors
/// Not found, also when it is another user's; the database's.
pub async fn delete(app: &App, id: NotificationId, receiver: UserId) -> Result<(), Problem> {
    let mut transaction = app.db.begin().await?;
    store::notifications::dismiss(&mut transaction, id, receiver).await?;
    let event = Event::notification_deleted(receiver, id);
    commit(app, transaction, vec![event]).await
}

/// Forgets what nobody can see or need any more, once an hour. Runs until it is dropped.
pub async fn sweep(app: Arc<App>) {
    loop {
        // Nodes that start together do not sweep together.
        tokio::time::sleep(SWEEP_EVERY.mul_f64(rand::random_range(0.8..1.2))).await;
        let mut forgotten = 0;
        loop {
            match store::notifications::sweep(&app.db, REMEMBERED_FOR, FORGOTTEN_AT_ONCE).await {
                Ok(0) => break,
                Ok(some) => forgotten += some,
                Err(error) => {
                    warn!(error = %chain(&error), "old notifications cannot be forgotten");
                    break;
                }
            }
        }
        if forgotten > 0 {
            info!(forgotten, "forgot old notifications");
        }
    }
}
/// Deletes notifications of a message that is gone, `most` at most. Returns the events that tell of it, and whether that
/// were all.
///
/// # Errors
/// The database's.
pub(super) async fn delete_of(
    db: &mut sqlx::PgConnection,
    message: MessageId,
    most: i64,
) -> Result<(Vec<Event>, bool), Problem> {
    let gone = store::notifications::delete_of(db, message, most).await?;
    let all = i64::try_from(gone.len()).unwrap_or(most) < most;
    let seen = gone.into_iter().filter(|(_, _, seen)| *seen);
    let events = seen.map(|(receiver, id, _)| Event::notification_deleted(receiver, id));
    Ok((events.collect(), all))
}

