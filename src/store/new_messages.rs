//! New messages: the statement that stores a group of them.

use serde::Serialize;
use sqlx::{FromRow, Row, postgres::PgRow, types::Json};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    ids::{ChannelId, EventId, FileId, MessageId, UserId},
    model::{BinaryContent, Reply, User},
    problem::Problem,
    store::{
        Db,
        messages::{Original, original},
        users,
    },
};

/// A message to store.
#[derive(Clone, Copy, Debug)]
pub struct NewMessage<'a> {
    /// Its id.
    pub id: MessageId,
    /// Channel.
    pub channel: ChannelId,
    /// Author.
    pub author: UserId,
    /// Text.
    pub content: &'a str,
    /// The client's identifier.
    pub client_id: Option<Uuid>,
    /// The message of the channel that this one replies to.
    pub reply_to: Option<MessageId>,
    /// The users whom the text mentions.
    pub mentions: &'a [UserId],
    /// Files, whose bytes are stored already.
    pub attachments: &'a [BinaryContent],
    /// The id of its event.
    pub event: EventId,
    /// The id of the job that inserts its notifications.
    pub job: EventId,
}

/// What became of a message.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It is stored.
    New(Box<Stored>),
    /// The author stored this message with the same `clientMessageId` before.
    Repeated(MessageId),
    /// The author stored this message with the same `clientMessageId` before, and it is deleted.
    Deleted(MessageId),
    /// The author does not exist.
    NoAuthor,
    /// The channel does not exist, or is invisible to the author.
    NoChannel,
    /// The message that it replies to is not in the channel.
    NoOriginal,
}

/// A message that was stored.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its author.
    pub author: User,
    /// Its position.
    pub seq: i64,
    /// When it was created. Not before the message at the position before it.
    pub created_at: OffsetDateTime,
    /// The message that it replies to.
    pub reply_to: Option<Reply>,
    /// The outbox row of its event.
    pub event_row: i64,
    /// The outbox row of its job; none when it notifies nobody.
    pub job_row: Option<i64>,
}

/// Stores messages, with their attachments, mentions and events, and moves the positions of their channels, in a transaction of one
/// statement. The answers have the order of the messages.
///
/// No two of the messages may have the same author and `client_id`.
///
/// # Errors
/// PostgreSQL fails. Then all messages are stored or none. A `client_id` that another node stores at the same time fails the statement.
pub async fn insert(db: &Db, messages: &[NewMessage<'_>]) -> Result<Vec<Outcome>, Problem> {
    const SQL: &str = concat!(
        "select p.outcome, p.message_id, p.seq, p.at, p.reply_seq, p.event_row, p.job_row, case when r.id is not null then ",
        original!(),
        " end as original, ",
        users::columns!(),
        " from post_messages($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) p \
         left join messages r on r.id = p.reply_id left join users u on u.id = p.author_id",
        users::picture!(),
        "order by p.number"
    );
    let ids = |of: fn(&NewMessage<'_>) -> Uuid| messages.iter().map(of).collect::<Vec<_>>();
    let contents: Vec<&str> = messages.iter().map(|message| message.content).collect();
    let client_ids: Vec<_> = messages.iter().map(|message| message.client_id).collect();
    let replies: Vec<_> = messages.iter().map(|message| message.reply_to).collect();
    let mentions = messages.iter().map(|message| uuid_array(message.mentions));
    let rows = sqlx::query(SQL)
        .bind(ids(|message| message.id.0))
        .bind(ids(|message| message.channel.0))
        .bind(ids(|message| message.author.0))
        .bind(contents)
        .bind(client_ids)
        .bind(replies)
        .bind(mentions.collect::<Vec<_>>())
        .bind(ids(|message| message.event.0))
        .bind(ids(|message| message.job.0))
        .bind(files(messages).map(Json))
        .fetch_all(db)
        .await?;
    let outcomes = rows.iter().zip(messages);
    let outcomes: Result<Vec<Outcome>, sqlx::Error> = outcomes
        .map(|(row, message)| outcome(row, message))
        .collect();
    Ok(outcomes?)
}

/// A row of `files`.
#[derive(Serialize)]
struct File<'a> {
    post: usize,
    position: usize,
    id: FileId,
    name: &'a str,
    size: i64,
    r#type: &'a str,
}

/// The attachments of the messages, which have the numbers 1, 2, 3 …; none when there are none.
fn files<'a>(messages: &[NewMessage<'a>]) -> Option<Vec<File<'a>>> {
    let files = (1..).zip(messages).flat_map(|(post, message)| {
        let files = message.attachments.iter().enumerate();
        files.map(move |(position, file)| File {
            post,
            position,
            id: file.id,
            name: &file.file_name,
            size: file.size,
            r#type: &file.content_type,
        })
    });
    let files: Vec<File<'a>> = files.collect();
    (!files.is_empty()).then_some(files)
}

fn outcome(row: &PgRow, message: &NewMessage<'_>) -> Result<Outcome, sqlx::Error> {
    let id = row.try_get("message_id")?;
    Ok(match row.try_get("outcome")? {
        "NEW" => {
            let original: Option<Json<Original>> = row.try_get("original")?;
            let original = original.map(|Json(original)| original);
            let seq: Option<i64> = row.try_get("reply_seq")?;
            let reply = message.reply_to.zip(seq);
            Outcome::New(Box::new(Stored {
                author: User::from_row(row)?,
                seq: row.try_get("seq")?,
                created_at: row.try_get("at")?,
                reply_to: reply.map(|(id, seq)| Original::reply(original, id, seq)),
                event_row: row.try_get("event_row")?,
                job_row: row.try_get("job_row")?,
            }))
        }
        "STORED" => Outcome::Repeated(id),
        "DELETED" => Outcome::Deleted(id),
        "NO_AUTHOR" => Outcome::NoAuthor,
        "NO_CHANNEL" => Outcome::NoChannel,
        "NO_ORIGINAL" => Outcome::NoOriginal,
        other => {
            return Err(sqlx::Error::Decode(
                format!("unknown outcome {other}").into(),
            ));
        }
    })
}

/// An array of ids as PostgreSQL writes it, or none when there are none. `unnest` would flatten an array of arrays.
fn uuid_array(users: &[UserId]) -> Option<String> {
    let ids: Vec<String> = users.iter().map(ToString::to_string).collect();
    (!ids.is_empty()).then(|| format!("{{{}}}", ids.join(",")))
}
