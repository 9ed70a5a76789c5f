//! Search in messages.

use std::collections::HashMap;
use utoipa::ToSchema;

use serde::Serialize;
use tokio::time::{Duration, Instant};

use crate::{
    app::App,
    model::{Message, search::Query},
    problem::Problem,
    store::{
        Db,
        search::{Filter, block_of, block_times, candidates, last_number, visible_messages},
    },
};

/// Candidates of one statement. More than a page, because some do not have the text.
const BATCH: i64 = 128;
/// Blocks of one statement, after the first ones had too few candidates.
const MAX_BLOCKS: i64 = 64;
/// After this time a search returns the messages that it has found, and a cursor to continue.
const TIME_BUDGET: Duration = Duration::from_secs(1);

/// A found message.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Found {
    /// The message.
    pub message: Message,
    /// Places of the query in its content: ranges of characters (Unicode scalar values), the end excluded.
    #[schema(value_type = Vec<[usize; 2]>)]
    pub highlights: Vec<(usize, usize)>,
}

/// Found messages, and the number after which to continue.
pub type FoundPage = (Vec<Found>, Option<i64>);

/// Searches for messages, newest first, at most `size`, after the number `cursor` of an earlier page.
///
/// # Errors
/// PostgreSQL fails.
pub async fn search(
    app: &App,
    query: Option<&Query>,
    filter: &Filter,
    cursor: Option<i64>,
    size: usize,
) -> Result<FoundPage, Problem> {
    let db = &app.db;
    let deadline = Instant::now() + TIME_BUDGET;
    let last = last_number(db).await?;
    let mut before = cursor.map_or(last + 1, |cursor| cursor.clamp(0, last + 1));
    let (oldest, newest) = block_range(db, filter, last).await?;
    let mut block = block_of(before - 1).min(newest);
    let (mut width, mut found) = (1, Vec::new());
    while block >= oldest && found.len() <= size && Instant::now() < deadline {
        let from = oldest.max(block - width + 1);
        let batch = candidates(db, from..=block, filter, before, BATCH).await?;
        let is_full = i64::try_from(batch.len()).unwrap_or(BATCH) >= BATCH;
        if let Some(last) = batch.last().filter(|_| is_full) {
            before = last.number;
            block = block_of(before);
        } else {
            block = from - 1;
            width = MAX_BLOCKS.min(width * 2);
        }
        found.extend(batch.into_iter().filter_map(|candidate| {
            let highlights = match query {
                Some(query) => query.find(&candidate.content)?,
                None => Vec::new(),
            };
            Some((candidate.number, candidate.id, highlights))
        }));
    }
    // The cursor is the number of the last message of the page, or that of the last candidate when the time is over.
    let next = if found.len() > size {
        found.truncate(size);
        found.last().map(|(number, ..)| *number)
    } else {
        (block >= oldest).then(|| before.min((block + 1) * crate::store::search::BLOCK))
    };
    let ids: Vec<_> = found.iter().map(|(_, id, _)| *id).collect();
    let messages = visible_messages(db, filter.reader, &ids).await?;
    let mut messages: HashMap<_, _> = messages
        .into_iter()
        .map(|message| (message.id, message))
        .collect();
    let content = found.into_iter().filter_map(|(_, id, highlights)| {
        let message = messages.remove(&id)?;
        Some(Found {
            message,
            highlights,
        })
    });
    Ok((content.collect(), next))
}

/// The oldest and the newest block that may have messages of the filter's time.
///
/// Messages of several nodes may be some seconds out of order, so the blocks beside the range belong to it.
async fn block_range(db: &Db, filter: &Filter, last: i64) -> Result<(i64, i64), Problem> {
    let all = (0, block_of(last));
    if filter.before.is_none() && filter.after.is_none() {
        return Ok(all);
    }
    let times = block_times(db, last).await?;
    let oldest = filter.after.and_then(|after| {
        let earlier = times.iter().rev().find(|(_, at)| *at < after);
        earlier.map(|(block, _)| block - 1)
    });
    let newest = filter.before.and_then(|before| {
        let later = times.iter().find(|(_, at)| *at >= before);
        later.map(|(block, _)| *block)
    });
    Ok((
        oldest.unwrap_or(all.0).max(all.0),
        newest.unwrap_or(all.1).min(all.1),
    ))
}
