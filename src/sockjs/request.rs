//! Requests to a SockJS endpoint, and their text responses.

use std::{sync::Arc, time::Duration};

use bytes::{Buf, Bytes};
use futures_util::Stream;
use http::{HeaderName, HeaderValue, Method, StatusCode, header::CONTENT_TYPE};
use warp::reply::Response;

use crate::http::{
    body::{BodyError, BodyLimits, RequestBody},
    head::Head,
};

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=UTF-8");

/// A request to a SockJS endpoint.
pub(super) struct SockJsRequest {
    pub(super) method: Method,
    pub(super) head: Arc<Head>,
    body: RequestBody,
}

impl SockJsRequest {
    pub(super) fn new(
        method: Method,
        head: Arc<Head>,
        body: impl Stream<Item = Result<impl Buf, warp::Error>> + Send + 'static,
    ) -> Self {
        Self {
            method,
            head,
            body: RequestBody::new(body),
        }
    }

    /// The first value of a header, if it is text.
    pub(super) fn header(&self, name: HeaderName) -> Option<&str> {
        self.head.header(name)
    }

    /// The first query parameter that has one of these names.
    pub(super) fn parameter(&self, names: &[&str]) -> Option<String> {
        let query = self.head.query.as_deref().unwrap_or_default();
        field(query.as_bytes(), names)
    }

    /// Reads a body of at most `max_bytes` within `timeout`.
    pub(super) async fn body(
        &mut self,
        max_bytes: usize,
        timeout: Duration,
    ) -> Result<Bytes, BodyError> {
        let limits = BodyLimits {
            bytes: max_bytes,
            total: timeout,
            idle: timeout,
        };
        self.body.read(&self.head, limits).await
    }
}

/// The first form field that has one of these names.
pub(super) fn field(form: &[u8], names: &[&str]) -> Option<String> {
    let fields: Vec<(String, String)> = serde_urlencoded::from_bytes(form).ok()?;
    fields
        .into_iter()
        .find(|(name, _)| names.contains(&name.as_str()))
        .map(|(_, value)| value)
}

/// A plain-text response. An empty response has a content type too, because otherwise Firefox parses it as XML.
pub(super) fn plain(status: StatusCode, text: &'static str) -> Response {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    with_type(response, TEXT)
}

pub(super) fn with_type(mut response: Response, content_type: HeaderValue) -> Response {
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
