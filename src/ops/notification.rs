//! Notifications.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tracing::{info, warn};

use crate::{
    app::App,
    ids::{EventId, MessageId, NotificationId, UserId},
    model::{Event, NotificationKind},
    ops::commit,
    problem::{Problem, chain},
    store::{
        self,
        notifications::{New, Told},
    },
    tasks::jittered,
};

/// Receivers served by one transaction: it stays short however many want to hear of a channel.
const RECEIVERS_AT_ONCE: usize = 500;
/// The longest excerpt of a message, in characters.
const EXCERPT: usize = 200;
/// What was dismissed is remembered for longer than a job may come again: a week, see `kafka.rs`.
const REMEMBERED_FOR: Duration = Duration::from_hours(8 * 24);
/// Rows forgotten in one statement, which is far from its time limit with so many.
const FORGOTTEN_AT_ONCE: i64 = 2_000;
/// How often what need not be remembered is forgotten.
const SWEEP_INTERVAL: Duration = Duration::from_hours(1);

/// Does these jobs, unless they have been done: writes the notifications of the new messages. One for each user, other than the
/// author, who has turned them on for the channel and may read it. Doing it again writes nothing; of a message that is gone
/// nobody is told.
///
/// # Errors
/// The database's; then some may have been done, and doing them again does no harm.
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
        after = page(app, &mut jobs, after).await?;
    }
    Ok(())
}

/// Serves the next receivers, those of the first message behind `after`, in one transaction, and takes the jobs that are done
/// with it from the list: so what a node has done stays done, even when it dies or its share of the jobs goes to another.
/// Returns how far it has come with the message that is then the first.
async fn page(
    app: &App,
    jobs: &mut VecDeque<(EventId, MessageId)>,
    mut after: Option<UserId>,
) -> Result<Option<UserId>, Problem> {
    let mut transaction = store::begin(&app.db).await?;
    let (mut new, mut done) = (Vec::new(), Vec::new());
    for (job, message) in jobs.iter() {
        let room = RECEIVERS_AT_ONCE.saturating_sub(new.len());
        if room == 0 {
            break;
        }
        if let Some(told) = store::notifications::told_of(&mut transaction, *message).await? {
            let most = i64::try_from(room).unwrap_or(i64::MAX);
            let receivers =
                store::notifications::receivers(&mut transaction, &told, after, most).await?;
            new.extend(receivers.iter().map(|to| notification(&told, *to)));
            if receivers.len() == room {
                after = receivers.last().copied();
                break;
            }
        }
        done.push(*job);
        after = None;
    }
    let events = store::notifications::insert(&mut transaction, &new).await?;
    store::outbox::jobs_done(&mut *transaction, &done).await?;
    transaction.commit().await?;
    app.outbox.publish(events);
    jobs.drain(..done.len());
    Ok(after)
}

fn notification(told: &Told, receiver: UserId) -> New {
    let author = told.author.as_deref().unwrap_or("A deleted user");
    let title = match &told.channel_name {
        Some(name) => format!("{author} (#{name})"),
        None => author.to_owned(),
    };
    let mut content: String = told.content.chars().take(EXCERPT).collect();
    if content.len() < told.content.len() {
        content.push('…');
    }
    New {
        receiver,
        kind: NotificationKind::NewMessage,
        cause: told.message.0,
        title,
        content,
        target: Some(told.channel.0),
    }
}

/// Takes a notification out of its receiver's list, in every tab.
///
/// # Errors
/// Not found, also when it is another user's; the database's.
pub async fn delete(app: &App, id: NotificationId, receiver: UserId) -> Result<(), Problem> {
    let mut transaction = store::begin(&app.db).await?;
    store::notifications::dismiss(&mut transaction, id, receiver).await?;
    let event = Event::notification_deleted(receiver, id);
    commit(app, transaction, vec![event]).await
}

/// Deletes notifications of a message that is gone, `most` at most. Returns the events that tell of it, and whether that
/// were all.
///
/// # Errors
/// The database's.
pub async fn delete_of(
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

/// Forgets what nobody can see or need any more, once an hour. Runs until it is dropped.
pub async fn sweep(app: Arc<App>) {
    loop {
        tokio::time::sleep(jittered(SWEEP_INTERVAL)).await;
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
