//! Files: whose they are and how far they have come. Their bytes are in [`crate::blobs`].

use std::time::Duration;

use sqlx::{PgConnection, PgPool, Row, postgres::PgRow};

use crate::{
    ids::{FileId, MessageId, UserId},
    model::{BinaryContent, Message, UploadStatus},
    problem::Problem,
    store::visibility::visible,
};

impl sqlx::FromRow<'_, PgRow> for BinaryContent {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.try_get("file_id")?,
            file_name: row.try_get("file_name")?,
            size: row.try_get("file_size")?,
            content_type: row.try_get("file_type")?,
            upload_status: row.try_get("file_status")?,
        })
    }
}

/// The columns of a [`BinaryContent`], of the table that is called `f`.
macro_rules! columns {
    () => {
        "f.id as file_id, f.file_name, f.size as file_size, f.content_type as file_type, f.status as file_status"
    };
}

pub(super) use columns;

/// Writes the attachments of new messages, whose rows are written in the same transaction.
///
/// # Errors
/// The database's.
pub async fn attach<'a>(
    db: &mut PgConnection,
    messages: impl Iterator<Item = &'a Message>,
) -> Result<(), Problem> {
    const SQL: &str = "insert into binary_contents (id, uploader_id, message_id, position, file_name, size, content_type, status, next_try_at) \
                       select n.*, 'WAITING', clock_timestamp() \
                       from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::smallint[], $5::text[], $6::bigint[], $7::text[]) as n";
    let files: Vec<(&Message, i16, &BinaryContent)> = messages
        .flat_map(|message| {
            let files = (0..).zip(&message.attachments);
            files.map(move |(position, file)| (message, position, file))
        })
        .collect();
    if files.is_empty() {
        return Ok(());
    }
    let uploader = |message: &Message| message.author.as_ref().map(|author| author.id);
    sqlx::query(SQL)
        .bind(files.iter().map(|f| f.2.id).collect::<Vec<_>>())
        .bind(files.iter().map(|f| uploader(f.0)).collect::<Vec<_>>())
        .bind(files.iter().map(|f| f.0.id).collect::<Vec<_>>())
        .bind(files.iter().map(|f| f.1).collect::<Vec<_>>())
        .bind(
            files
                .iter()
                .map(|f| f.2.file_name.as_str())
                .collect::<Vec<_>>(),
        )
        .bind(files.iter().map(|f| f.2.size).collect::<Vec<_>>())
        .bind(
            files
                .iter()
                .map(|f| f.2.content_type.as_str())
                .collect::<Vec<_>>(),
        )
        .execute(db)
        .await?;
    Ok(())
}

/// Gives a user another profile picture. The one before is nobody's from then on. The user's row is locked, or new.
///
/// # Errors
/// The database's.
pub async fn set_picture(
    db: &mut PgConnection,
    user: UserId,
    uploader: UserId,
    file: &BinaryContent,
) -> Result<(), Problem> {
    const SQL: &str = "insert into binary_contents (id, uploader_id, picture_of, position, file_name, size, content_type, status, next_try_at) \
                       values ($1, $2, $3, 0, $4, $5, $6, 'WAITING', clock_timestamp())";
    sqlx::query("update binary_contents set picture_of = null where picture_of = $1")
        .bind(user)
        .execute(&mut *db)
        .await?;
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

/// Those of these files that the user may read: every profile picture, and what is attached in channels that they may read.
///
/// # Errors
/// The database's.
pub async fn readable(
    db: &PgPool,
    ids: &[FileId],
    reader: UserId,
) -> Result<Vec<BinaryContent>, Problem> {
    const SQL: &str = concat!(
        "select ",
        columns!(),
        " from binary_contents f \
         left join messages m on m.id = f.message_id left join channels c on c.id = m.channel_id \
         where f.id = any($1) and (f.picture_of is not null or ",
        visible!("c", "$2"),
        ")"
    );
    Ok(sqlx::query_as(SQL)
        .bind(ids)
        .bind(reader)
        .fetch_all(db)
        .await?)
}

/// A file whose turn it is to be made ready.
#[derive(sqlx::FromRow)]
pub struct Waiting {
    /// As it was accepted.
    #[sqlx(flatten)]
    pub file: BinaryContent,
    /// Who sent it; none when the account is gone.
    pub uploader_id: Option<UserId>,
    /// What it is attached to; none for a profile picture.
    pub message_id: Option<MessageId>,
    /// Tries that have begun, this one among them: it tells this try from a later one.
    pub tries: i16,
}

/// The file that has waited longest, with its next try begun: nobody else begins one for that long. Nothing is locked, so that
/// nobody waits for the storage's sake.
///
/// # Errors
/// The database's.
pub async fn begin_try(db: &PgPool, lease: Duration) -> Result<Option<Waiting>, Problem> {
    const SQL: &str = concat!(
        "update binary_contents f set tries = tries + 1, next_try_at = clock_timestamp() + make_interval(secs => $1) \
         where id = (select id from binary_contents where status = 'WAITING' and next_try_at <= clock_timestamp() \
         and (message_id is not null or picture_of is not null) order by next_try_at limit 1 for update skip locked) \
         returning ",
        columns!(),
        ", f.uploader_id, f.message_id, f.tries"
    );
    Ok(sqlx::query_as(SQL)
        .bind(lease.as_secs_f64())
        .fetch_optional(db)
        .await?)
}

/// Says that a try has failed, and when the next one is due. Nothing happens when another try has begun meanwhile.
///
/// # Errors
/// The database's.
pub async fn try_again(
    db: &PgPool,
    id: FileId,
    tries: i16,
    after: Duration,
) -> Result<(), Problem> {
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

/// Says how it ended. False when another try has begun or ended meanwhile, or the file is gone: then it is not for this one to
/// say.
///
/// # Errors
/// The database's.
pub async fn finish(
    db: &mut PgConnection,
    id: FileId,
    tries: i16,
    status: UploadStatus,
) -> Result<bool, Problem> {
    const SQL: &str = "update binary_contents set status = $3 where id = $1 and tries = $2 and status = 'WAITING'";
    let finished = sqlx::query(SQL)
        .bind(id)
        .bind(tries)
        .bind(status)
        .execute(db)
        .await?;
    Ok(finished.rows_affected() > 0)
}

/// Files that nothing refers to any more, taken until the transaction ends. One whose last try did not succeed is left alone for
/// `late` longer: its move may have been given up here and still be done by the storage, and its bytes would stay for ever
/// if nothing knew of them.
///
/// # Errors
/// The database's.
pub async fn take_orphans(
    db: &mut PgConnection,
    late: Duration,
    most: i64,
) -> Result<Vec<FileId>, Problem> {
    const SQL: &str = "select id from binary_contents where message_id is null and picture_of is null \
                       and (status = 'SUCCESS' or tries = 0 or next_try_at < clock_timestamp() - make_interval(secs => $1)) \
                       order by id limit $2 for update skip locked";
    Ok(sqlx::query_scalar(SQL)
        .bind(late.as_secs_f64())
        .bind(most)
        .fetch_all(db)
        .await?)
}

/// Deletes rows.
///
/// # Errors
/// The database's.
pub async fn delete(db: &mut PgConnection, ids: &[FileId]) -> Result<(), Problem> {
    sqlx::query("delete from binary_contents where id = any($1)")
        .bind(ids)
        .execute(db)
        .await?;
    Ok(())
}

/// Those of these files whose bytes in `incoming/` are still needed.
///
/// # Errors
/// The database's.
pub async fn waiting_among(db: &PgPool, ids: &[FileId]) -> Result<Vec<FileId>, Problem> {
    const SQL: &str = "select id from binary_contents where id = any($1) and status = 'WAITING'";
    Ok(sqlx::query_scalar(SQL).bind(ids).fetch_all(db).await?)
}
