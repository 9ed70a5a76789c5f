//! Notifications: creation, dismissal and sweep.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tracing::{info, warn};

use crate::{
    app::App,
    ids::{EventId, MessageId, NotificationId, UserId},
    model::{Event, NotificationKind, message::excerpt},
    ops::commit,
    problem::{Problem, chain},
    store::{
        self, Transaction,
        notifications::{NewNotification, NotifiedMessage},
    },
    tasks::jittered,
};

/// Receivers in one transaction.
///
/// The bound keeps it short in a channel with many receivers.
const RECEIVER_BATCH: usize = 500;
/// How long dismissed notifications stay.
///
/// Longer than Kafka keeps a job, which is a week (see `kafka.rs`).
const DISMISSED_RETENTION: Duration = Duration::from_hours(8 * 24);
/// Rows that one statement of the sweep deletes, far below its timeout.
const SWEEP_BATCH: i64 = 2_000;
/// Time between two sweeps of dismissed notifications.
const SWEEP_INTERVAL: Duration = Duration::from_hours(1);

/// Runs unfinished jobs: inserts the notifications of new messages.
///
/// Each user with notifications on for the channel gets one, and so do users whom the message addresses and who want these
/// notifications, except the author and users to whom the channel is invisible. A job that
/// runs again inserts no second one. A deleted message causes none.
///
/// # Errors
/// PostgreSQL fails. Some jobs may be finished then; the caller may run all of them again.
pub async fn notify(app: &App, jobs: &[(EventId, MessageId)]) -> Result<(), Problem> {
    let ids: Vec<EventId> = jobs.iter().map(|(job, _)| *job).collect();
    let left = store::outbox::jobs_left(&app.db, &ids).await?;
    let mut jobs: VecDeque<_> = jobs
        .iter()
        .filter(|(job, _)| left.contains(job))
        .copied()
        .collect();
    let mut after = None;
    while !jobs.is_empty() {
        after = notify_page(app, &mut jobs, after).await?;
    }
    Ok(())
}

/// Notifies the next page of receivers in one transaction.
///
/// The transaction also finishes their jobs, and finished jobs leave the list.
///
/// The page starts after the receiver `after` of the first job's message. Returns the last notified receiver of the job that is then
/// the first. So the work of a node that dies or loses its partitions is not repeated.
async fn notify_page(
    app: &App,
    jobs: &mut VecDeque<(EventId, MessageId)>,
    mut after: Option<UserId>,
) -> Result<Option<UserId>, Problem> {
    let mut transaction = app.db.begin().await?;
    let (mut new, mut done) = (Vec::new(), Vec::new());
    for (job, message) in jobs.iter() {
        let room = RECEIVER_BATCH.saturating_sub(new.len());
        if room == 0 {
            break;
        }
        let message =
            store::notifications::message_for_notification(&mut transaction, *message).await?;
        if let Some(message) = message {
            let limit = i64::try_from(room).unwrap_or(i64::MAX);
            let receivers =
                store::notifications::receivers(&mut transaction, &message, after, limit).await?;
            new.extend(receivers.iter().map(|to| notification(&message, *to)));
            if after.is_none() {
                let addressed =
                    store::notifications::addressed_receivers(&mut transaction, &message).await?;
                new.extend(addressed.iter().map(|to| notification(&message, *to)));
            }
            if receivers.len() == room {
                after = receivers.last().copied();
                break;
            }
        }
        done.push(*job);
        after = None;
    }
    let events = store::notifications::insert(&mut transaction, &new).await?;
    store::outbox::jobs_done(&mut transaction, &done).await?;
    transaction.commit().await?;
    app.outbox.publish(events);
    jobs.drain(..done.len());
    Ok(after)
}

fn notification(message: &NotifiedMessage, receiver: UserId) -> NewNotification {
    let author = message.author.as_deref().unwrap_or("A deleted user");
    let title = match &message.channel_name {
        Some(name) => format!("{author} (#{name})"),
        None => author.to_owned(),
    };
    NewNotification {
        receiver,
        kind: NotificationKind::NewMessage,
        cause: message.message.0,
        title,
        content: excerpt(&message.content),
        target: Some(message.channel.0),
        reason: Some(message.reason(receiver)),
    }
}

/// Dismisses a notification, in all tabs of its receiver.
///
/// # Errors
/// Not found, also when another user is the receiver; PostgreSQL fails.
pub async fn delete(app: &App, id: NotificationId, receiver: UserId) -> Result<(), Problem> {
    let mut transaction = app.db.begin().await?;
    store::notifications::dismiss(&mut transaction, id, receiver).await?;
    let event = Event::notification_deleted(receiver, id);
    commit(app, transaction, vec![event]).await
}

/// Deletes notifications of a deleted message, at most `limit`.
///
/// Returns their events, and whether none are left.
///
/// # Errors
/// PostgreSQL fails.
pub async fn delete_of(
    db: &mut Transaction,
    message: MessageId,
    limit: i64,
) -> Result<(Vec<Event>, bool), Problem> {
    let deleted = store::notifications::delete_of(db, message, limit).await?;
    let all = i64::try_from(deleted.len()).unwrap_or(limit) < limit;
    let shown = deleted.into_iter().filter(|(_, _, shown)| *shown);
    let events = shown.map(|(receiver, id, _)| Event::notification_deleted(receiver, id));
    Ok((events.collect(), all))
}

/// Deletes old dismissed notifications once an hour. Runs until it is dropped.
pub async fn sweep(app: Arc<App>) {
    loop {
        tokio::time::sleep(jittered(SWEEP_INTERVAL)).await;
        let mut deleted = 0;
        loop {
            match store::notifications::sweep(&app.db, DISMISSED_RETENTION, SWEEP_BATCH).await {
                Ok(0) => break,
                Ok(some) => deleted += some,
                Err(error) => {
                    warn!(error = %chain(&error), "notification sweep failed");
                    break;
                }
            }
        }
        if deleted > 0 {
            info!(deleted, "deleted dismissed notifications");
        }
    }
}
