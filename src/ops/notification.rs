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
        match store::notifications::sweep(&app.db, REMEMBERED_FOR).await {
            Ok(0) => {}
            Ok(forgotten) => info!(forgotten, "forgot old notifications"),
            Err(error) => warn!(error = %chain(&error), "old notifications cannot be forgotten"),
        }
    }
}
