//! Completes accepted uploads, and deletes files that no row refers to.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;
use tracing::{debug, info, warn};
use uuid::Uuid;

use crate::{
    app::App,
    blobs::MIN_UPLOAD_RATE,
    crash::Point,
    ids::{FileId, MessageId},
    metrics::Outcome,
    model::{BinaryContent, Event, NotificationKind, UploadStatus, file::Picture},
    ops::commit,
    problem::{Problem, chain},
    store::{
        self, Transaction,
        channels::Audience,
        files::WaitingFile,
        notifications::{self, NewNotification},
    },
    tasks::{LogOnce, jittered},
    thumbnails::{self, ThumbnailError},
    workers::{POLL_INTERVAL, wait_until_prepared},
};

/// Tries to publish a file.
const MAX_TRIES: i16 = 3;
/// Delay after the first failure; five times as long after the second.
const RETRY_DELAY: Duration = Duration::from_secs(2);
/// Limit for the move of one try. The storage may still complete the move after it.
const TRY_TIMEOUT: Duration = Duration::from_secs(5);
/// A try that has not ended after this time died with its node, and the next one begins. Longer than a move and the
/// transaction after it.
const LEASE: Duration = Duration::from_secs(15);
/// Limit for reading a picture, and making and storing its thumbnails.
const THUMBNAILS_TIMEOUT: Duration = Duration::from_secs(15);
/// The lease of a picture.
const PICTURE_LEASE: Duration = Duration::from_secs(30);
/// A move that is still running in the storage after this time has failed.
const MOVE_TIMEOUT: Duration = Duration::from_mins(10);
/// Interval at which a node deletes files that no row refers to.
const ORPHANS_INTERVAL: Duration = Duration::from_secs(5);
/// Files deleted in one transaction.
const ORPHAN_BATCH: i64 = 20;
/// Interval at which a node deletes abandoned uploads in `incoming/`.
const INCOMING_INTERVAL: Duration = Duration::from_mins(10);
/// An upload in `incoming/` without a row is abandoned when it is older than this and than any request that may still run.
const ABANDONED_AFTER: Duration = Duration::from_hours(1);
/// Abandoned uploads deleted in one round.
const ABANDONED_BATCH: usize = 500;

/// Publishes accepted files, including those of other nodes: pictures that are decoded, or other files, which so do not wait for
/// pictures. Runs until it is dropped; another node continues its work.
pub async fn complete(app: Arc<App>, is_decoded: bool) {
    wait_until_prepared(&app).await;
    let mut log = LogOnce::default();
    loop {
        let completed = async || complete_one(&app, is_decoded).await;
        while log.check(completed().await, "completing uploads failed") == Some(true) {}
        tokio::select! {
            () = app.blobs.accepted(is_decoded) => {}
            () = sleep(jittered(POLL_INTERVAL)) => {}
        }
    }
}

/// Tries to publish one file. False when none is due.
async fn complete_one(app: &App, is_decoded: bool) -> Result<bool, Problem> {
    let lease = if is_decoded { PICTURE_LEASE } else { LEASE };
    let Some(waiting) = store::files::begin_try(&app.db, is_decoded, lease).await? else {
        return Ok(false);
    };
    let (id, size, tries) = (waiting.file.id, waiting.file.size, waiting.tries);
    let published = tokio::time::timeout(TRY_TIMEOUT, app.blobs.publish(id, size)).await;
    let error = match published {
        Ok(Ok(())) => {
            Point::FilePublished.pass();
            let picture = if is_decoded {
                thumbnails(app, &waiting.file).await
            } else {
                None
            };
            finish(app, &waiting, UploadStatus::Success, picture).await?;
            return Ok(true);
        }
        Ok(Err(problem)) => chain(&problem),
        Err(elapsed) => elapsed.to_string(),
    };
    if tries < MAX_TRIES {
        warn!(file.id = %id, tries, error, "publishing a file failed; retrying");
        let factor = if tries == 1 { 1 } else { 5 };
        store::files::try_again(&app.db, id, tries, RETRY_DELAY * factor).await?;
        return Ok(true);
    }
    warn!(file.id = %id, tries, error, "publishing a file failed for the last time");
    if finish(app, &waiting, UploadStatus::Failed, None).await? {
        app.blobs.discard(vec![id]);
    }
    Ok(true)
}

/// Makes and stores the thumbnails of a published picture. `None` when that fails: the picture is complete without them.
async fn thumbnails(app: &App, file: &BinaryContent) -> Option<Picture> {
    let size = u64::try_from(file.size).ok()?;
    if size == 0 || size > thumbnails::MAX_SIZE {
        return None;
    }
    let made = async {
        let bytes = app.blobs.read(file.id, file.size, 0..size).await?;
        let made = match thumbnails::make(&app.config.program, bytes).await {
            Ok(made) => made,
            Err(error @ ThumbnailError::Undecodable) => {
                debug!(file.id = %file.id, "{error}");
                return Ok(None);
            }
            Err(error) => return Err(Problem::internal(error)),
        };
        app.blobs.put_thumbnails(file.id, &made).await?;
        Ok(Some(made.picture))
    };
    let made = tokio::time::timeout(THUMBNAILS_TIMEOUT, made).await;
    made.unwrap_or_else(|late| Err(Problem::internal(late)))
        .inspect_err(|problem| warn!(file.id = %file.id, error = %chain(problem), "making thumbnails failed"))
        .ok()
        .flatten()
}

/// Records the outcome and publishes its events. False when another try has recorded one.
async fn finish(
    app: &App,
    waiting: &WaitingFile,
    status: UploadStatus,
    picture: Option<Picture>,
) -> Result<bool, Problem> {
    let (id, tries) = (waiting.file.id, waiting.tries);
    let mut transaction = app.db.begin().await?;
    if !store::files::finish(&mut transaction, id, tries, status, picture).await? {
        return Ok(false);
    }
    let notified = match waiting.uploader_id {
        Some(uploader) if status == UploadStatus::Failed => {
            let failed = NewNotification {
                receiver: uploader,
                kind: NotificationKind::AsyncFailed,
                cause: id.0,
                title: "A file could not be stored".to_owned(),
                content: format!(
                    "“{}” was not stored. Please send it again.",
                    waiting.file.file_name
                ),
                target: None::<Uuid>,
                reason: None,
            };
            notifications::insert(&mut transaction, &[failed]).await?
        }
        _ => Vec::new(),
    };
    let file = BinaryContent {
        upload_status: status,
        picture,
        ..waiting.file.clone()
    };
    let events = events(&mut transaction, waiting.message_id, &file).await?;
    commit(app, transaction, events).await?;
    let outcome = match status {
        UploadStatus::Success => "stored",
        _ => "failed",
    };
    app.metrics.files.get_or_create(&Outcome { outcome }).inc();
    app.outbox.publish(notified);
    Ok(true)
}

/// The events that announce the outcome.
async fn events(
    db: &mut Transaction,
    message: Option<MessageId>,
    file: &BinaryContent,
) -> Result<Vec<Event>, Problem> {
    let Some(message) = message else {
        return Ok(vec![Event::picture_status(file)]);
    };
    Ok(match store::channels::audience(db, message).await? {
        Audience::Everyone => vec![Event::attachment_status(None, file)],
        Audience::Participants(users) => users
            .into_iter()
            .map(|reader| Event::attachment_status(Some(reader), file))
            .collect(),
    })
}

/// Age at which an upload without a row is abandoned. Allows storage as much time again as the slowest client.
fn abandoned_after(max_request_size: u64) -> Duration {
    ABANDONED_AFTER + 2 * Duration::from_secs(max_request_size / MIN_UPLOAD_RATE)
}

/// Deletes files that no row refers to, and abandoned uploads. Runs until it is dropped.
pub async fn sweep(app: Arc<App>) {
    wait_until_prepared(&app).await;
    tokio::join!(
        async {
            let mut log = LogOnce::default();
            loop {
                sleep(jittered(ORPHANS_INTERVAL)).await;
                while log.check(
                    sweep_orphans(&app).await,
                    "deleting unreferenced files failed",
                ) == Some(true)
                {}
            }
        },
        async {
            let mut log = LogOnce::default();
            loop {
                sleep(jittered(INCOMING_INTERVAL)).await;
                let age = abandoned_after(app.config.max_request_size);
                let swept = sweep_incoming(&app, age).await;
                if let Some(deleted @ 1..) = log.check(swept, "deleting abandoned uploads failed") {
                    info!(deleted, "deleted abandoned uploads");
                }
            }
        }
    );
}

/// Deletes a batch of files that no row refers to. The bytes go first, so that none are left without a row. True when there
/// may be more.
async fn sweep_orphans(app: &App) -> Result<bool, Problem> {
    let mut transaction = app.db.begin().await?;
    let orphans = store::files::take_orphans(&mut transaction, MOVE_TIMEOUT, ORPHAN_BATCH).await?;
    if orphans.is_empty() {
        return Ok(false);
    }
    for (id, _) in orphans.iter().filter(|(_, has_thumbnails)| *has_thumbnails) {
        app.blobs.delete_thumbnails(*id).await?;
    }
    let orphans: Vec<FileId> = orphans.into_iter().map(|(id, _)| id).collect();
    app.blobs.delete(&orphans).await?;
    store::files::delete(&mut transaction, &orphans).await?;
    transaction.commit().await?;
    debug!(files = orphans.len(), "deleted unreferenced files");
    Ok(i64::try_from(orphans.len()).unwrap_or(ORPHAN_BATCH) == ORPHAN_BATCH)
}

/// Deletes the uploads in `incoming/` that are older than `age` and have no unfinished row. Returns their number.
///
/// # Errors
/// The database's or the storage's.
pub async fn sweep_incoming(app: &App, age: Duration) -> Result<usize, Problem> {
    let unfinished = app.blobs.delete_unfinished(age).await?;
    let found = app.blobs.old_incoming(age, ABANDONED_BATCH).await?;
    let needed = store::files::waiting_among(&app.db, &found).await?;
    let abandoned: Vec<FileId> = found
        .into_iter()
        .filter(|id| !needed.contains(id))
        .collect();
    for id in &abandoned {
        app.blobs.delete_incoming(*id).await?;
    }
    Ok(unfinished + abandoned.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_of_the_slowest_client_is_not_abandoned() {
        const MIB: u64 = 1024 * 1024;
        for size in [1, 50 * MIB, 1024 * MIB] {
            let client = Duration::from_secs(30 + size / MIN_UPLOAD_RATE);
            assert!(abandoned_after(size) > client * 2, "{size}");
        }
    }
}
