//! An SSE client that exposes every field of the stream.

use std::time::Duration;

use futures_util::{StreamExt, stream::BoxStream};
use reqwest::Method;
use serde_json::Value;

use super::{SOON, Visitor};

/// A dispatched event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SseEvent {
    /// Value of the `id` field.
    pub id: String,
    /// Value of the `event` field; `message` without that field.
    pub name: String,
    /// Value of the `data` field.
    pub data: String,
}

impl SseEvent {
    /// The data as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// An open stream.
pub struct Sse {
    body: BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    text: String,
    /// Headers of the response.
    pub headers: reqwest::header::HeaderMap,
    /// Id of the last event, which a client sends when it reconnects.
    pub last_id: String,
    /// Number of comments received.
    pub comments: usize,
    /// Last `retry` field: the delay before a reconnect, in milliseconds.
    pub retry_ms: u32,
}

impl Sse {
    /// Opens a stream with the visitor's credentials and the `Last-Event-ID`.
    pub async fn open(visitor: &Visitor, last_id: Option<&str>) -> Self {
        let request = visitor
            .request(Method::GET, "/api/sse")
            .header("accept", "text/event-stream");
        Self::open_with(match last_id {
            Some(id) => request.header("last-event-id", id),
            None => request,
        })
        .await
    }

    /// Opens a stream with the last event id in the query, like polyfills.
    pub async fn open_by_query(visitor: &Visitor, last_id: &str) -> Self {
        Self::open_with(
            visitor
                .request(Method::GET, "/api/sse")
                .query(&[("lastEventId", last_id)]),
        )
        .await
    }

    /// Sends the request and expects a stream.
    pub async fn open_with(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.expect("the node answers");
        assert_eq!(response.status(), 200, "{response:?}");
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let headers = response.headers().clone();
        Self {
            body: response.bytes_stream().boxed(),
            text: String::new(),
            headers,
            last_id: String::new(),
            comments: 0,
            retry_ms: 0,
        }
    }

    /// The next event; `None` at the end of the stream.
    ///
    /// Panics at an empty line that ends no event: several client libraries dispatch an event there.
    pub async fn next(&mut self) -> Option<SseEvent> {
        let mut event = SseEvent {
            id: String::new(),
            name: "message".to_owned(),
            data: String::new(),
        };
        let mut has_data = false;
        loop {
            while let Some((line, rest)) = self.text.split_once('\n') {
                let (line, rest) = (line.to_owned(), rest.to_owned());
                self.text = rest;
                if line.is_empty() {
                    assert!(has_data, "an empty line without an event");
                    event.id.clone_into(&mut self.last_id);
                    return Some(event);
                }
                match line.split_once(':').unwrap_or((&line, "")) {
                    ("", _) => self.comments += 1,
                    ("id", value) => value.clone_into(&mut event.id),
                    ("event", value) => value.clone_into(&mut event.name),
                    ("data", value) => {
                        event.data.push_str(value);
                        has_data = true;
                    }
                    ("retry", value) => self.retry_ms = value.parse().expect("milliseconds"),
                    _ => panic!("an unknown field: {line:?}"),
                }
            }
            match tokio::time::timeout(SOON, self.body.next())
                .await
                .expect("the stream sends data in time")
            {
                Some(Ok(piece)) => self
                    .text
                    .push_str(std::str::from_utf8(&piece).expect("UTF-8")),
                Some(Err(_)) | None => return None,
            }
        }
    }

    /// The next event, which must have that name.
    ///
    /// Skips `users.refresh`, which presence changes send at any time.
    pub async fn expect(&mut self, name: &str) -> SseEvent {
        let event = self
            .next_but_presence()
            .await
            .unwrap_or_else(|| panic!("the stream ended before {name}"));
        assert_eq!(event.name, name, "{event:?}");
        event
    }

    /// The next event that is not `users.refresh`.
    pub async fn next_but_presence(&mut self) -> Option<SseEvent> {
        loop {
            let event = self.next().await?;
            if event.name != "users.refresh" {
                return Some(event);
            }
        }
    }

    /// The next event with that name whose `key` is `id`. Skips other events.
    pub async fn expect_about(&mut self, name: &str, key: &str, id: &str) -> SseEvent {
        loop {
            let event = self
                .next()
                .await
                .unwrap_or_else(|| panic!("the stream ended before {name}"));
            if event.name == name && event.json()[key] == id {
                return event;
            }
        }
    }

    /// Panics if an event other than `users.refresh` arrives within `time`.
    pub async fn expect_nothing(&mut self, time: Duration) {
        if let Ok(event) = tokio::time::timeout(time, self.next_but_presence()).await {
            panic!("unexpected event: {event:?}");
        }
    }
}
