//! A request to a SockJS endpoint.

use std::{sync::Arc, time::Duration};

use bytes::{Buf, Bytes};
use futures_util::{Stream, StreamExt, stream::BoxStream};
use http::{
    HeaderName, HeaderValue, Method, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use hyper::upgrade::OnUpgrade;
use parking_lot::Mutex;
use tokio::time::timeout;
use warp::reply::Response;

use crate::http::head::Head;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=UTF-8");

/// One request.
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) head: Arc<Head>,
    pub(super) upgrade: Option<OnUpgrade>,
    // Never locked: the mutex only makes the request `Sync`, so that futures which borrow it are `Send`.
    pub(super) body: Mutex<BoxStream<'static, Result<Bytes, warp::Error>>>,
}

/// Why a body could not be read.
pub(super) enum NoBody {
    TooLarge,
    TooSlow,
    Broken,
}

impl Request {
    pub(super) fn new(
        method: Method,
        head: Arc<Head>,
        upgrade: Option<OnUpgrade>,
        body: impl Stream<Item = Result<impl Buf, warp::Error>> + Send + 'static,
    ) -> Self {
        let body = body
            .map(|item| item.map(|mut chunk| chunk.copy_to_bytes(chunk.remaining())))
            .boxed();
        Self {
            method,
            head,
            upgrade,
            body: Mutex::new(body),
        }
    }

    /// A header's value, if it is text.
    pub(super) fn header(&self, name: HeaderName) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }

    /// The first query parameter that has one of these names.
    pub(super) fn parameter(&self, names: &[&str]) -> Option<String> {
        let query = self.head.query.as_deref().unwrap_or_default();
        field(query.as_bytes(), names)
    }

    pub(super) async fn body(&mut self, most: usize, within: Duration) -> Result<Vec<u8>, NoBody> {
        let length = self.header(CONTENT_LENGTH).map(str::parse::<usize>);
        if length.is_some_and(|length| length.is_ok_and(|length| length > most)) {
            return Err(NoBody::TooLarge);
        }
        let body = self.body.get_mut();
        let read = async {
            let mut whole = Vec::new();
            while let Some(chunk) = body.next().await {
                let chunk = chunk.map_err(|_| NoBody::Broken)?;
                if whole.len() + chunk.len() > most {
                    return Err(NoBody::TooLarge);
                }
                whole.extend_from_slice(&chunk);
            }
            Ok(whole)
        };
        timeout(within, read).await.unwrap_or(Err(NoBody::TooSlow))
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

/// A plain-text response. Even an empty one has a content type: without it Firefox parses the answer as XML.
pub(super) fn plain(status: StatusCode, text: &'static str) -> Response {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    with_type(response, TEXT)
}

pub(super) fn with_type(mut response: Response, content_type: HeaderValue) -> Response {
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
