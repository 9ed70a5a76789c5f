//! The index of messages for search.
//!
//! `message_terms` has the terms of each message under a number, in the order of the messages. Numbers belong to blocks, and a key of
//! the index is a term in a block. So a search reads the index from the newest block to the oldest and ends when it has found enough;
//! a term that millions of messages have costs no more than one block. New messages insert keys at the end of the index.

use time::OffsetDateTime;

use crate::{
    ids::{ChannelId, MessageId, UserId},
    model::{
        Message,
        search::{Term, terms},
    },
    problem::Problem,
    store::{Db, Transaction, messages::select, visibility::visible},
};

/// Numbers of a block.
pub const BLOCK: i64 = 1 << 14;
/// Advisory lock of the transaction that indexes messages: numbers have the order of the messages.
const INDEX_LOCK: i64 = 0x4449_5343_5345_4152;

/// The block of a number.
pub fn block_of(number: i64) -> i64 {
    number / BLOCK
}

/// The array of the terms' keys in a block, as PostgreSQL writes it.
fn keys(block: i64, terms: impl IntoIterator<Item = Term>) -> String {
    let mut array = String::from("{");
    for term in terms {
        if array.len() > 1 {
            array.push(',');
        }
        let key = (block << Term::BITS) | term.hash();
        array.push_str(&key.to_string());
    }
    array.push('}');
    array
}

/// Whether messages wait to be indexed.
///
/// # Errors
/// PostgreSQL fails.
pub async fn is_behind(db: &Db) -> Result<bool, Problem> {
    Ok(
        sqlx::query_scalar("select exists (select from unindexed_messages)")
            .fetch_one(db)
            .await?,
    )
}

#[derive(sqlx::FromRow)]
struct Unindexed {
    id: MessageId,
    channel_id: ChannelId,
    author_id: Option<UserId>,
    content: String,
    has_files: bool,
    number: Option<i64>,
}

/// Indexes the oldest messages that wait, at most `limit`. Returns their number, and 0 while another node indexes.
///
/// # Errors
/// PostgreSQL fails.
pub async fn index(db: &mut Transaction, limit: i64) -> Result<usize, Problem> {
    const TAKE: &str = "delete from unindexed_messages where message_id in \
                        (select message_id from unindexed_messages order by message_id limit $1 for update skip locked) returning message_id";
    const READ: &str = "select m.id, m.channel_id, m.author_id, m.content, t.number, \
                        exists (select from binary_contents f where f.message_id = m.id) as has_files \
                        from messages m left join message_terms t on t.message_id = m.id \
                        where m.id = any($1) order by m.id for key share of m";
    const WRITE: &str = "insert into message_terms (number, message_id, terms) \
                         select number, id, terms::bigint[] from unnest($1::bigint[], $2::uuid[], $3::text[]) as n (number, id, terms) \
                         on conflict (message_id) do update set terms = excluded.terms";
    let is_mine: bool = sqlx::query_scalar("select pg_try_advisory_xact_lock($1)")
        .bind(INDEX_LOCK)
        .fetch_one(&mut *db)
        .await?;
    if !is_mine {
        return Ok(0);
    }
    let taken: Vec<MessageId> = sqlx::query_scalar(TAKE)
        .bind(limit)
        .fetch_all(&mut *db)
        .await?;
    // Read after the deletion: a later edit queues the message again. The lock keeps the messages from being deleted.
    let messages: Vec<Unindexed> = sqlx::query_as(READ)
        .bind(&taken)
        .fetch_all(&mut *db)
        .await?;
    let mut last = last_number(&mut *db).await?;
    let (mut numbers, mut arrays) = (Vec::new(), Vec::new());
    for message in &messages {
        let number = message.number.unwrap_or_else(|| {
            last += 1;
            last
        });
        let mut all = terms(&message.content);
        all.insert(Term::channel(message.channel_id));
        all.extend(message.author_id.map(Term::author));
        all.extend(message.has_files.then(Term::file));
        numbers.push(number);
        arrays.push(keys(block_of(number), all));
    }
    sqlx::query(WRITE)
        .bind(numbers)
        .bind(
            messages
                .iter()
                .map(|message| message.id)
                .collect::<Vec<_>>(),
        )
        .bind(arrays)
        .execute(db)
        .await?;
    Ok(taken.len())
}

/// The highest number, or 0.
///
/// # Errors
/// PostgreSQL fails.
pub async fn last_number(db: impl sqlx::PgExecutor<'_>) -> Result<i64, Problem> {
    Ok(
        sqlx::query_scalar("select coalesce(max(number), 0) from message_terms")
            .fetch_one(db)
            .await?,
    )
}

/// The block of each number that is the first of its block, with the time of its message, up to the number `last`.
///
/// # Errors
/// PostgreSQL fails.
pub async fn block_times(db: &Db, last: i64) -> Result<Vec<(i64, OffsetDateTime)>, Problem> {
    const SQL: &str = "select first / $2, m.created_at from generate_series(0::bigint, $1, $2) as first cross join lateral \
                       (select message_id from message_terms where number >= first order by number limit 1) t \
                       join messages m on m.id = t.message_id order by 1";
    Ok(sqlx::query_as(SQL)
        .bind(last)
        .bind(BLOCK)
        .fetch_all(db)
        .await?)
}

/// The messages to find, besides their texts.
#[derive(Clone, Debug)]
pub struct Filter {
    /// The user to whom they are visible.
    pub reader: UserId,
    /// Terms that they have.
    pub terms: Vec<Term>,
    /// Their author. The index has the authors of deleted accounts too.
    pub author: Option<UserId>,
    /// Created before this instant.
    pub before: Option<OffsetDateTime>,
    /// Created at this instant or later.
    pub after: Option<OffsetDateTime>,
}

/// A message that has all terms.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Candidate {
    /// Its number.
    pub number: i64,
    /// The message.
    pub id: MessageId,
    /// Its text.
    pub content: String,
}

/// Messages of some blocks that are visible to the reader and have all terms, by falling number below `before`, at most `limit`.
///
/// # Errors
/// PostgreSQL fails.
pub async fn candidates(
    db: &Db,
    blocks: std::ops::RangeInclusive<i64>,
    filter: &Filter,
    before: i64,
    limit: i64,
) -> Result<Vec<Candidate>, Problem> {
    // With `+ 0`, PostgreSQL reads the index of the terms and not the one of the numbers: it knows nothing of how frequent the terms
    // are. The innermost rows are sorted before the joins, so that a block ends at its limit.
    const SQL: &str = concat!(
        "select found.number, found.id, found.content from unnest($1::text[]) as block (keys) cross join lateral ( \
           select t.number, m.id, m.content from ( \
             select number + 0 as number, message_id from message_terms \
             where terms @> block.keys::bigint[] and number + 0 < $2 order by number + 0 desc \
           ) t join messages m on m.id = t.message_id join channels c on c.id = m.channel_id \
           where m.created_at < coalesce($4::timestamptz, 'infinity') and m.created_at >= coalesce($5::timestamptz, '-infinity') \
           and ($7::uuid is null or m.author_id = $7) and ",
        visible!("c", "$6", seq: "m.seq"),
        " order by t.number desc limit $3 \
         ) found order by found.number desc limit $3"
    );
    let arrays: Vec<String> = blocks
        .rev()
        .map(|block| keys(block, filter.terms.iter().copied()))
        .collect();
    Ok(sqlx::query_as(SQL)
        .bind(arrays)
        .bind(before)
        .bind(limit)
        .bind(filter.before)
        .bind(filter.after)
        .bind(filter.reader)
        .bind(filter.author)
        .fetch_all(db)
        .await?)
}

/// The messages among `ids` that are visible to a user.
///
/// # Errors
/// PostgreSQL fails.
pub async fn visible_messages(
    db: &Db,
    reader: UserId,
    ids: &[MessageId],
) -> Result<Vec<Message>, Problem> {
    const SQL: &str = select!(
        "where m.id = any($1) and exists (select from channels c where c.id = m.channel_id and ",
        visible!("c", "$2", seq: "m.seq"),
        ")"
    );
    Ok(sqlx::query_as(SQL)
        .bind(ids)
        .bind(reader)
        .fetch_all(db)
        .await?)
}
