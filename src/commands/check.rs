//! `discodeit check`: compares what the tables say with each other and with the stored files.

use std::{collections::HashMap, io::Write};

use futures_util::TryStreamExt;
use sqlx::{ConnectOptions, Connection, Executor, PgConnection};

use crate::{
    blobs::{Blobs, STORED, THUMBNAILS, stored_path, thumbnail_path},
    commands::CommandError,
    config::Config,
    ids::FileId,
    store,
    tasks::Tasks,
    thumbnails::WIDTHS,
};

/// Ids that are shown of one finding.
const MAX_SHOWN: usize = 10;

/// What must not be, and the statement that finds the ids of the rows.
const CHECKS: [(&str, &str); 7] = [
    (
        "channels whose newest message is after their last position",
        "select id::text from channels c where last_seq < (select max(seq) from messages where channel_id = c.id)",
    ),
    (
        "messages of a channel that neither exists nor is being purged",
        "select id::text from messages m where not exists (select from channels c where c.id = m.channel_id) \
         and not exists (select from pending_deletions d where d.kind = 'CHANNEL' and d.id = m.channel_id)",
    ),
    (
        "messages of an author who neither exists nor is being purged",
        "select id::text from messages m where author_id is not null and not exists (select from users u where u.id = m.author_id) \
         and not exists (select from pending_deletions d where d.kind = 'USER' and d.id = m.author_id)",
    ),
    (
        "replies whose original has another position",
        "select m.id::text from messages m join messages r on r.id = m.reply_to_id \
         where (r.channel_id, r.seq) <> (m.channel_id, m.reply_to_seq)",
    ),
    (
        "read positions after the channel's last message",
        "select r.id::text from read_statuses r join channels c on c.id = r.channel_id where r.last_read_seq > c.last_seq",
    ),
    (
        "messages that search does not find and no node will index",
        "select m.id::text from messages m where not exists (select from message_terms t where t.message_id = m.id) \
         and not exists (select from unindexed_messages n where n.message_id = m.id)",
    ),
    (
        "events that no node has published for 5 minutes",
        "select event_id::text from outbox where sent_at is null and created_at < clock_timestamp() - interval '5 minutes'",
    ),
];

/// Runs the checks and writes a line for each. True when nothing was found.
///
/// Reads one state of the tables, and then the storage. A file that is uploaded or deleted meanwhile may be reported.
///
/// # Errors
/// See [`CommandError`].
pub async fn run(config: &Config, mut output: impl Write) -> Result<bool, CommandError> {
    let options = store::options("DATABASE_URL", &config.database_url);
    let mut db = options.map_err(CommandError::Setting)?.connect().await?;
    // A check reads whole tables.
    db.execute("set statement_timeout = 0; set idle_in_transaction_session_timeout = 0")
        .await?;
    db.execute("begin transaction isolation level repeatable read read only")
        .await?;
    let mut sound = true;
    for (what, statement) in CHECKS {
        let found: Vec<String> = sqlx::query_scalar(statement).fetch_all(&mut db).await?;
        sound &= found.is_empty();
        report(&mut output, what, &found)?;
    }
    for (what, found) in check_files(config, &mut db).await? {
        sound &= found.is_empty();
        report(&mut output, what, &found)?;
    }
    db.close().await?;
    Ok(sound)
}

fn report(output: &mut impl Write, what: &str, found: &[String]) -> Result<(), std::io::Error> {
    if found.is_empty() {
        return writeln!(output, "ok      no {what}");
    }
    let shown = found.iter().take(MAX_SHOWN).map(String::as_str);
    let shown = shown.collect::<Vec<_>>().join(" ");
    let more = if found.len() > MAX_SHOWN { " …" } else { "" };
    writeln!(output, "FOUND   {} {what}: {shown}{more}", found.len())
}

/// Compares the rows of files with the storage.
async fn check_files(
    config: &Config,
    db: &mut PgConnection,
) -> Result<[(&'static str, Vec<String>); 4], CommandError> {
    const SQL: &str =
        "select id, size, width is not null from binary_contents where status = 'SUCCESS'";
    // Rows that were committed after the state that the transaction reads must not be missing below.
    const LATER: &str = "select exists (select from binary_contents where id = $1)";
    let blobs = Blobs::open(config, &Tasks::new()).map_err(CommandError::Setting)?;
    let mut stored: HashMap<String, u64> = HashMap::new();
    for folder in [STORED, THUMBNAILS] {
        let mut objects = blobs.list(folder);
        while let Some((path, size)) = objects.try_next().await? {
            stored.insert(path, size);
        }
    }
    let (mut missing, mut other_size, mut no_thumbnails) = (Vec::new(), Vec::new(), Vec::new());
    let mut rows = sqlx::query_as::<_, (FileId, i64, bool)>(SQL).fetch(&mut *db);
    while let Some((id, size, has_thumbnails)) = rows.try_next().await? {
        match stored.remove(stored_path(id).as_ref()) {
            None => missing.push(id.to_string()),
            Some(bytes) if u64::try_from(size) != Ok(bytes) => other_size.push(id.to_string()),
            Some(_) => {}
        }
        let thumbnails = WIDTHS.map(|width| stored.remove(thumbnail_path(id, width).as_ref()));
        if has_thumbnails && thumbnails.contains(&None) {
            no_thumbnails.push(id.to_string());
        }
    }
    drop(rows);
    db.execute("commit").await?;
    let mut unknown = Vec::new();
    for path in stored.into_keys() {
        let name = path.rsplit('/').next().unwrap_or_default();
        let id = name.get(..36).and_then(|id| id.parse::<FileId>().ok());
        let is_known = match id {
            Some(id) => {
                sqlx::query_scalar(LATER)
                    .bind(id)
                    .fetch_one(&mut *db)
                    .await?
            }
            None => false,
        };
        if !is_known {
            unknown.push(path);
        }
    }
    unknown.sort_unstable();
    Ok([
        ("files whose bytes are missing", missing),
        ("files whose bytes have another size", other_size),
        ("pictures whose thumbnails are missing", no_thumbnails),
        ("stored objects without a row", unknown),
    ])
}
