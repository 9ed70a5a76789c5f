//! Files: their owners and their upload status. [`crate::blobs`] stores the bytes.

use std::time::Duration;

use sqlx::{Row, postgres::PgRow};

use crate::{
    ids::{FileId, MessageId, UserId},
    model::{
        BinaryContent, UploadStatus,
        file::{DECODED_TYPES, Picture},
    },
    problem::Problem,
    store::{Db, Transaction, visibility::visible},
};

impl sqlx::FromRow<'_, PgRow> for BinaryContent {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        let size = (row.try_get("file_width")?, row.try_get("file_height")?);
        let picture = match size {
            (Some(width), Some(height)) => Some(Picture {
                width,
                height,
                thumbnail: true,
            }),
            _ => None,
        };
        Ok(Self {
            id: row.try_get("file_id")?,
            file_name: row.try_get("file_name")?,
            size: row.try_get("file_size")?,
            content_type: row.try_get("file_type")?,
            upload_status: row.try_get("file_status")?,
            picture,
        })
    }
}

/// The columns of a [`BinaryContent`], from the table with the alias `f`.
macro_rules! columns {
    () => {
        "f.id as file_id, f.file_name, f.size as file_size, f.content_type as file_type, f.status as file_status, \
         f.width as file_width, f.height as file_height"
    };
}

pub(super) use columns;

/// A [`BinaryContent`] as JSON, from the table with this alias.
macro_rules! json {
    ($f:literal) => {
        concat!(
            "json_build_object('id', ",
            $f,
            ".id, 'fileName', ",
            $f,
            ".file_name, 'size', ",
            $f,
            ".size, 'contentType', ",
            $f,
            ".content_type, 'uploadStatus', ",
            $f,
            ".status, 'width', ",
            $f,
            ".width, 'height', ",
            $f,
            ".height, 'thumbnail', ",
            $f,
            ".width is not null)"
        )
    };
}

pub(super) use json;

/// Detaches a user's picture; the sweep deletes it. False if there is none.
///
/// # Errors
/// PostgreSQL fails.
pub async fn remove_picture(db: &mut Transaction, user: UserId) -> Result<bool, Problem> {
    let result = sqlx::query("update binary_contents set picture_of = null where picture_of = $1")
        .bind(user)
        .execute(db)
        .await?;
    Ok(result.rows_affected() > 0)
}

/// Replaces a user's profile picture. The earlier picture becomes an orphan.
///
/// The caller has locked or inserted the user's row.
///
/// # Errors
/// PostgreSQL fails.
pub async fn set_picture(
    db: &mut Transaction,
    user: UserId,
    uploader: UserId,
    file: &BinaryContent,
) -> Result<(), Problem> {
    const SQL: &str = "insert into binary_contents (id, uploader_id, picture_of, position, file_name, size, content_type, status, next_try_at) \
                       values ($1, $2, $3, 0, $4, $5, $6, 'WAITING', clock_timestamp())";
    remove_picture(db, user).await?;
    sqlx::query(SQL)
        .bind(file.id)
        .bind(uploader)
        .bind(user)
        .bind(&file.file_name)
        .bind(file.size)
        .bind(&file.content_type)
        .execute(db)
        .await?;
    Ok(())
}

/// The files among `ids` that a user may read.
///
/// These are profile pictures, and attachments in channels that are visible to the user.
///
/// # Errors
/// PostgreSQL fails.
pub async fn readable(
    db: &Db,
    ids: &[FileId],
    reader: UserId,
) -> Result<Vec<BinaryContent>, Problem> {
    const SQL: &str = concat!(
        "select ",
        columns!(),
        " from binary_contents f \
         left join messages m on m.id = f.message_id left join channels c on c.id = m.channel_id \
         where f.id = any($1) and (f.picture_of is not null or ",
        visible!("c", "$2", seq: "m.seq"),
        ")"
    );
    Ok(sqlx::query_as(SQL)
        .bind(ids)
        .bind(reader)
        .fetch_all(db)
        .await?)
}

/// Bytes that a file counts as at least in `STORAGE_PER_USER`, so that a quota of bytes also limits the number of files.
pub const MIN_STORED_BYTES: u64 = 64 * 1024;

/// The size of all files that a user has uploaded; each counts as [`MIN_STORED_BYTES`] at least.
///
/// PostgreSQL reads it from an index.
///
/// # Errors
/// PostgreSQL fails.
pub async fn stored_bytes(db: &Db, uploader: UserId) -> Result<u64, Problem> {
    const SQL: &str = "select coalesce(sum(greatest(size, $2)), 0)::bigint from binary_contents where uploader_id = $1";
    let bytes: i64 = sqlx::query_scalar(SQL)
        .bind(uploader)
        .bind(i64::try_from(MIN_STORED_BYTES).map_err(Problem::internal)?)
        .fetch_one(db)
        .await?;
    u64::try_from(bytes).map_err(Problem::internal)
}

/// A file whose upload a worker completes.
#[derive(sqlx::FromRow)]
pub struct WaitingFile {
    /// The file.
    #[sqlx(flatten)]
    pub file: BinaryContent,
    /// The user who sent it; none when the account is deleted.
    pub uploader_id: Option<UserId>,
    /// The message it is attached to; none for a profile picture.
    pub message_id: Option<MessageId>,
    /// Number of this try, counted from 1. It differs from the number of any later try.
    pub tries: i16,
}

/// Begins the next try of the file that is due longest, of those that are decoded or of the others.
///
/// No other worker begins a try of it before `lease` has passed.
///
/// A lease instead of a row lock: other transactions do not wait while the storage works.
///
/// # Errors
/// PostgreSQL fails.
pub async fn begin_try(
    db: &Db,
    is_decoded: bool,
    lease: Duration,
) -> Result<Option<WaitingFile>, Problem> {
    const SQL: &str = concat!(
        "update binary_contents f set tries = tries + 1, next_try_at = clock_timestamp() + make_interval(secs => $1) \
         where id = (select id from binary_contents where status = 'WAITING' and next_try_at <= clock_timestamp() \
         and (content_type = any($2)) = $3 and (message_id is not null or picture_of is not null) order by next_try_at limit 1 for update skip locked) \
         returning ",
        columns!(),
        ", f.uploader_id, f.message_id, f.tries"
    );
    Ok(sqlx::query_as(SQL)
        .bind(lease.as_secs_f64())
        .bind(DECODED_TYPES)
        .bind(is_decoded)
        .fetch_optional(db)
        .await?)
}

/// Schedules the next try after a failed one.
///
/// Does nothing when another try has begun meanwhile.
///
/// # Errors
/// PostgreSQL fails.
pub async fn try_again(db: &Db, id: FileId, tries: i16, after: Duration) -> Result<(), Problem> {
    const SQL: &str = "update binary_contents set next_try_at = clock_timestamp() + make_interval(secs => $3) \
                       where id = $1 and tries = $2 and status = 'WAITING'";
    sqlx::query(SQL)
        .bind(id)
        .bind(tries)
        .bind(after.as_secs_f64())
        .execute(db)
        .await?;
    Ok(())
}

/// Stores the final status.
///
/// False when another try has begun or ended meanwhile, or the file is deleted; then nothing changes.
///
/// # Errors
/// PostgreSQL fails.
pub async fn finish(
    db: &mut Transaction,
    id: FileId,
    tries: i16,
    status: UploadStatus,
    picture: Option<Picture>,
) -> Result<bool, Problem> {
    const SQL: &str = "update binary_contents set status = $3, width = $4, height = $5 where id = $1 and tries = $2 and status = 'WAITING'";
    let finished = sqlx::query(SQL)
        .bind(id)
        .bind(tries)
        .bind(status)
        .bind(picture.map(|picture| picture.width))
        .bind(picture.map(|picture| picture.height))
        .execute(db)
        .await?;
    Ok(finished.rows_affected() > 0)
}

/// Locks files that belong to no message and no user until the transaction ends, at most `limit`. Says of each whether it may have
/// thumbnails.
///
/// Leaves a file whose last try did not succeed for `grace` longer: the storage may still finish a move that timed out here, and
/// without the row, nothing would delete its bytes.
///
/// # Errors
/// PostgreSQL fails.
pub async fn take_orphans(
    db: &mut Transaction,
    grace: Duration,
    limit: i64,
) -> Result<Vec<(FileId, bool)>, Problem> {
    const SQL: &str = "select id, content_type = any($3) from binary_contents where message_id is null and picture_of is null \
                       and (status = 'SUCCESS' or tries = 0 or next_try_at < clock_timestamp() - make_interval(secs => $1)) \
                       order by id limit $2 for update skip locked";
    Ok(sqlx::query_as(SQL)
        .bind(grace.as_secs_f64())
        .bind(limit)
        .bind(DECODED_TYPES)
        .fetch_all(db)
        .await?)
}

/// Deletes the rows of files.
///
/// # Errors
/// PostgreSQL fails.
pub async fn delete(db: &mut Transaction, ids: &[FileId]) -> Result<(), Problem> {
    sqlx::query("delete from binary_contents where id = any($1)")
        .bind(ids)
        .execute(db)
        .await?;
    Ok(())
}

/// The files among `ids` whose bytes in `incoming/` are still needed.
///
/// # Errors
/// PostgreSQL fails.
pub async fn waiting_among(db: &Db, ids: &[FileId]) -> Result<Vec<FileId>, Problem> {
    const SQL: &str = "select id from binary_contents where id = any($1) and status = 'WAITING'";
    Ok(sqlx::query_scalar(SQL).bind(ids).fetch_all(db).await?)
}
