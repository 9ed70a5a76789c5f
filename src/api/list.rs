//! Lists of rows: one page when the client asks for `limit` or `cursor`, else the whole list.
//!
//! A whole list is read in batches while the client takes it: memory holds one batch, and no connection to PostgreSQL waits for
//! a slow client.

use std::{fmt::Display, str::FromStr, sync::Arc, time::Duration};
use utoipa::ToSchema;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::{Instant, timeout_at},
};
use tracing::warn;
use warp::reply::Response;

use crate::{
    app::App,
    http::{
        reply::{json, json_bytes, json_stream},
        request::Request,
    },
    ids::UserId,
    problem::{Problem, chain},
    rate_limit::clients::{Client, LIST_COST},
};

/// Maximum rows of a page.
const MAX_PAGE: usize = 100;
/// Rows of a page without `limit`.
const DEFAULT_PAGE: usize = 50;
/// Time for a client to take a whole list.
const LIST_TIMEOUT: Duration = Duration::from_mins(1);

/// The parameters of a page; without them, the answer is the whole list.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// Rows of the page; 50 with a cursor only.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 100)]
    limit: Option<String>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
}

/// A page, in the form of a page of messages.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Page<T> {
    pub(super) content: Vec<T>,
    /// The `cursor` of the next page; null at the end.
    #[schema(required)]
    pub(super) next_cursor: Option<String>,
    /// Maximum rows of the page.
    pub(super) size: usize,
    pub(super) has_next: bool,
    /// Always null.
    #[schema(required)]
    pub(super) total_elements: Option<u64>,
}

/// A whole list, or a page when the request has `limit` or `cursor`.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "describes an answer in the API's document")]
pub(super) enum ListBody<T> {
    Whole(Vec<T>),
    Page(Page<T>),
}

/// The rows of a list with their keys, in order.
type Rows<K, T> = Result<Vec<(K, T)>, Problem>;

/// Reads rows after a key, at most as many as the number says.
type Read<K, T> = Box<dyn Fn(Option<K>, i64) -> BoxFuture<'static, Rows<K, T>> + Send>;

/// How the rows of a list are read.
pub(super) struct List<K, T> {
    read: Read<K, T>,
    /// Rows that a whole list reads at once.
    batch: usize,
    /// Maximum rows of a whole list.
    most: usize,
}

impl<K, T> List<K, T>
where
    K: Display + FromStr + Send + 'static,
    T: Serialize + Send + 'static,
{
    /// A list of which the whole reads `batch` rows at once. `read` gets the key of the last row before, and the number of rows.
    pub(super) fn new<F, Fut>(app: &Arc<App>, batch: usize, read: F) -> Self
    where
        F: Fn(Arc<App>, Option<K>, i64) -> Fut + Send + 'static,
        Fut: Future<Output = Rows<K, T>> + Send + 'static,
    {
        let app = app.clone();
        Self {
            read: Box::new(move |after, limit| read(app.clone(), after, limit).boxed()),
            batch,
            most: usize::MAX,
        }
    }

    /// Ends the whole list after `most` rows.
    pub(super) fn at_most(self, most: usize) -> Self {
        Self { most, ..self }
    }

    /// Answers a request for the list. The key of a page's last row is the page's `nextCursor`.
    ///
    /// # Errors
    /// An invalid `limit` or `cursor`, [`Problem::TooMany`], or PostgreSQL fails.
    pub(super) async fn respond(
        self,
        request: &Request,
        caller: UserId,
    ) -> Result<Response, Problem> {
        let query: PageQuery = request.query()?;
        // A form sends an empty parameter for a field without a value.
        let given = |text: Option<String>| text.filter(|text| !text.is_empty());
        let (limit, cursor) = (given(query.limit), given(query.cursor));
        if limit.is_some() || cursor.is_some() {
            self.page(limit, cursor).await
        } else {
            self.whole(request, caller).await
        }
    }

    async fn page(
        self,
        limit: Option<String>,
        cursor: Option<String>,
    ) -> Result<Response, Problem> {
        let size = limit
            .map_or(Some(DEFAULT_PAGE), |limit| limit.parse().ok())
            .filter(|size| (1..=MAX_PAGE).contains(size))
            .ok_or_else(|| Problem::invalid("limit", "must be 1 to 100"))?;
        let bad_cursor = |_| Problem::invalid("cursor", "must be a cursor of an earlier page");
        let after = cursor
            .map(|text| text.parse().map_err(bad_cursor))
            .transpose()?;
        // One more row than the page holds shows whether there is a next page.
        let mut rows = (self.read)(after, rows_as_i64(size + 1)).await?;
        let has_next = rows.len() > size;
        rows.truncate(size);
        let last = rows.last().filter(|_| has_next);
        let next_cursor = last.map(|(key, _)| key.to_string());
        json(
            StatusCode::OK,
            &Page {
                content: rows.into_iter().map(|(_, row)| row).collect(),
                next_cursor,
                size,
                has_next,
                total_elements: None,
            },
        )
    }

    async fn whole(self, request: &Request, caller: UserId) -> Result<Response, Problem> {
        let limits = &request.app.limits;
        limits.spend(Client::User(caller), LIST_COST)?;
        let permit = limits.list(caller).await?;
        let mut walk = Walk {
            rest: self.most,
            list: self,
            after: None,
            state: State::Start,
            _permit: permit,
        };
        // The first batch before the response, so that an error has its status.
        let first = walk.next().await?;
        if walk.state == State::End {
            return Ok(json_bytes(StatusCode::OK, first));
        }
        let (sender, batches) = mpsc::channel(1);
        // A task: dropping a query that has begun would return a connection to the pool with the answer still to come.
        request.app.tasks.spawn("list", walk.send(sender));
        let rest = stream::unfold(Some(batches), async |batches| {
            let mut batches = batches?;
            Some(match batches.recv().await {
                Some(Batch { text, last }) => (Ok(text), (!last).then_some(batches)),
                // Cuts the connection, so that the client sees that the list is not complete.
                None => (Err(Problem::RequestTimeout), None),
            })
        });
        let first = stream::once(async { Ok(first) });
        Ok(json_stream(first.chain(rest)))
    }
}

fn rows_as_i64(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    Middle,
    End,
}

/// The text of some rows.
struct Batch {
    text: Bytes,
    /// Whether the list ends with these rows.
    last: bool,
}

/// A whole list that is being sent.
struct Walk<K, T> {
    list: List<K, T>,
    after: Option<K>,
    /// Rows that may still follow.
    rest: usize,
    state: State,
    /// Ends with the list.
    _permit: OwnedSemaphorePermit,
}

impl<K, T: Serialize> Walk<K, T> {
    /// Sends the batches after the first until the list, the time or the client ends.
    async fn send(mut self, sender: mpsc::Sender<Batch>) {
        let deadline = Instant::now() + LIST_TIMEOUT;
        while self.state != State::End {
            // The next batch is read when the client has taken the one before.
            let Ok(Ok(place)) = timeout_at(deadline, sender.reserve()).await else {
                return;
            };
            match self.next().await {
                Ok(text) => place.send(Batch {
                    text,
                    last: self.state == State::End,
                }),
                Err(problem) => {
                    warn!(error = %chain(&problem), "a list ended early");
                    return;
                }
            }
        }
    }

    /// The text of the next batch.
    async fn next(&mut self) -> Result<Bytes, Problem> {
        let batch = self.list.batch.min(self.rest);
        let rows = (self.list.read)(self.after.take(), rows_as_i64(batch)).await?;
        let mut text = Vec::new();
        for (_, row) in &rows {
            let first = self.state == State::Start;
            text.push(if first { b'[' } else { b',' });
            self.state = State::Middle;
            serde_json::to_writer(&mut text, row).map_err(Problem::internal)?;
        }
        self.rest -= rows.len();
        if rows.len() < batch || self.rest == 0 {
            text.extend_from_slice(if self.state == State::Start {
                b"[]"
            } else {
                b"]"
            });
            self.state = State::End;
        }
        self.after = rows.into_iter().next_back().map(|(key, _)| key);
        Ok(text.into())
    }
}
