//! Files after they were accepted: made ready to be downloaded, or given up, and deleted when nobody refers to them.

use std::{sync::Arc, time::Duration};

use tracing::{debug, info, warn};
use uuid::Uuid;

use crate::{
    app::App,
    blobs::MIN_UPLOAD_RATE,
    ids::FileId,
    model::{BinaryContent, Event, NotificationKind, UploadStatus},
    ops::commit,
    problem::{Problem, chain},
    store::{
        self,
        files::Waiting,
        notifications::{self, New},
    },
    workers::{LOOK_INTERVAL, pause, prepared, tell_once},
};

/// Tries to make a file ready, the first at once.
const TRIES: i16 = 3;
/// After the first failure; five times as long after the second.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// A try that takes longer is given up, though the storage may still be at it.
const TRY_TIMEOUT: Duration = Duration::from_secs(5);
/// A try that has not ended by then has died with its node, and the next one begins. Longer than a try and the transaction
/// after it.
const LEASE: Duration = Duration::from_secs(15);
/// No storage is at a move for this long.
const MOVED_TIMEOUT: Duration = Duration::from_mins(10);
/// How often each node looks for files that nothing refers to.
const ORPHANS_INTERVAL: Duration = Duration::from_secs(5);
/// Of those, at once: one transaction.
const ORPHANS_AT_ONCE: i64 = 20;
/// How often each node looks for what requests have left in `incoming/`.
const INCOMING_INTERVAL: Duration = Duration::from_mins(10);
/// What in `incoming/` is older than this, and than any request that may still be under way, and belongs to no row is nobody's.
const ABANDONED_AFTER: Duration = Duration::from_hours(1);
/// Of those, at once.
const ABANDONED_AT_ONCE: usize = 500;

/// Makes accepted files ready, those of other nodes too. Runs until it is dropped; where it is cut, the next node goes on.
pub async fn complete(app: Arc<App>) {
    prepared(&app).await;
    let mut told = false;
    loop {
        while tell_once(
            complete_one(&app).await,
            &mut told,
            "accepted files cannot be looked at",
        ) == Some(true)
        {}
        tokio::select! {
            () = app.files.accepted() => {}
            () = pause(LOOK_INTERVAL) => {}
        }
    }
}

/// False when no file waits.
async fn complete_one(app: &App) -> Result<bool, Problem> {
    let Some(waiting) = store::files::begin_try(&app.db, LEASE).await? else {
        return Ok(false);
    };
    let (id, size, tries) = (waiting.file.id, waiting.file.size, waiting.tries);
    let published = tokio::time::timeout(TRY_TIMEOUT, app.files.publish(id, size)).await;
    let error = match published {
        Ok(Ok(())) => {
            ended(app, &waiting, UploadStatus::Success).await?;
            return Ok(true);
        }
        Ok(Err(problem)) => chain(&problem),
        Err(late) => late.to_string(),
    };
    if tries < TRIES {
        warn!(file.id = %id, tries, error, "an accepted file cannot be made ready yet");
        let factor = if tries == 1 { 1 } else { 5 };
        store::files::try_again(&app.db, id, tries, FIRST_PAUSE * factor).await?;
        return Ok(true);
    }
    warn!(file.id = %id, tries, error, "an accepted file is given up");
    if ended(app, &waiting, UploadStatus::Failed).await? {
        app.files.discard(vec![id]);
    }
    Ok(true)
}

/// Says how it ended, to everybody concerned, unless another try has. False if so.
async fn ended(app: &App, waiting: &Waiting, status: UploadStatus) -> Result<bool, Problem> {
    let (id, tries) = (waiting.file.id, waiting.tries);
    let mut transaction = store::begin(&app.db).await?;
    if !store::files::finish(&mut transaction, id, tries, status).await? {
        return Ok(false);
    }
    let told = match waiting.uploader_id {
        Some(uploader) if status == UploadStatus::Failed => {
            let failed = New {
                receiver: uploader,
                kind: NotificationKind::AsyncFailed,
                cause: id.0,
                title: "A file could not be stored".to_owned(),
                content: format!(
                    "“{}” was not stored. Please send it again.",
                    waiting.file.file_name
                ),
                target: None::<Uuid>,
            };
            notifications::insert(&mut transaction, &[failed]).await?
        }
        _ => Vec::new(),
    };
    let events = events(&mut transaction, waiting, status).await?;
    commit(app, transaction, events).await?;
    app.outbox.publish(told);
    Ok(true)
}

/// The events that tell how it ended.
async fn events(
    db: &mut sqlx::PgConnection,
    waiting: &Waiting,
    status: UploadStatus,
) -> Result<Vec<Event>, Problem> {
    let file = BinaryContent {
        upload_status: status,
        ..waiting.file.clone()
    };
    let Some(message) = waiting.message_id else {
        return Ok(vec![Event::picture_status(&file)]);
    };
    Ok(match store::files::readers(db, message).await? {
        None => vec![Event::attachment_status(None, &file)],
        Some(participants) => participants
            .into_iter()
            .map(|reader| Event::attachment_status(Some(reader), &file))
            .collect(),
    })
}

/// The storage may take as long again as the client: it is slower when each of its steps takes nearly all its time.
fn abandoned_after(max_request_size: u64) -> Duration {
    ABANDONED_AFTER + 2 * Duration::from_secs(max_request_size / MIN_UPLOAD_RATE)
}

/// Deletes files that nothing refers to, and what requests have left behind. Runs until it is dropped.
pub async fn sweep(app: Arc<App>) {
    prepared(&app).await;
    tokio::join!(
        async {
            let mut told = false;
            loop {
                pause(ORPHANS_INTERVAL).await;
                while tell_once(
                    sweep_orphans(&app).await,
                    &mut told,
                    "files that nothing refers to cannot be deleted",
                ) == Some(true)
                {}
            }
        },
        async {
            let mut told = false;
            loop {
                pause(INCOMING_INTERVAL).await;
                let swept =
                    sweep_incoming(&app, abandoned_after(app.config.max_request_size)).await;
                if let Some(deleted @ 1..) =
                    tell_once(swept, &mut told, "abandoned uploads cannot be deleted")
                {
                    info!(deleted, "deleted abandoned uploads");
                }
            }
        }
    );
}

/// Deletes some files that nothing refers to: the bytes first, so that no bytes are left without a row. True when there may
/// be more.
///
/// # Errors
/// The database's or the storage's; then they are deleted later.
async fn sweep_orphans(app: &App) -> Result<bool, Problem> {
    let mut transaction = store::begin(&app.db).await?;
    let orphans =
        store::files::take_orphans(&mut transaction, MOVED_TIMEOUT, ORPHANS_AT_ONCE).await?;
    if orphans.is_empty() {
        return Ok(false);
    }
    app.files.delete(&orphans).await?;
    store::files::delete(&mut transaction, &orphans).await?;
    transaction.commit().await?;
    debug!(
        files = orphans.len(),
        "deleted files that nothing refers to"
    );
    Ok(i64::try_from(orphans.len()).unwrap_or(ORPHANS_AT_ONCE) == ORPHANS_AT_ONCE)
}

/// Deletes what requests have left in `incoming/` longer than `age` ago and no row waits for. Returns how many.
///
/// # Errors
/// The database's or the storage's.
pub async fn sweep_incoming(app: &App, age: Duration) -> Result<usize, Problem> {
    let unfinished = app.files.delete_unfinished(age).await?;
    let found = app.files.old_incoming(age, ABANDONED_AT_ONCE).await?;
    let needed = store::files::waiting_among(&app.db, &found).await?;
    let abandoned: Vec<FileId> = found
        .into_iter()
        .filter(|id| !needed.contains(id))
        .collect();
    for id in &abandoned {
        app.files.delete_incoming(*id).await?;
    }
    Ok(unfinished + abandoned.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_slowest_request_has_brought_is_not_abandoned() {
        const MIB: u64 = 1024 * 1024;
        for size in [1, 50 * MIB, 1024 * MIB] {
            let client = Duration::from_secs(30 + size / MIN_UPLOAD_RATE);
            assert!(abandoned_after(size) > client * 2, "{size}");
        }
    }
}
