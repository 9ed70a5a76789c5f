//! Responses: JSON, no content, and the error body of the API.

use std::error::Error;

use bytes::Bytes;
use futures_util::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use headers::{ContentRange, HeaderMapExt};
use http::{
    HeaderValue, StatusCode,
    header::{ACCEPT, ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use tracing::{debug, error, warn};
use utoipa::ToSchema;
use warp::reply::Response;

use crate::{
    model::instant,
    problem::{Problem, chain},
};

/// The body of every error.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ErrorBody {
    #[serde(with = "instant")]
    #[schema(value_type = String, format = DateTime)]
    timestamp: OffsetDateTime,
    /// The kind of error, for programs.
    code: &'static str,
    /// One sentence for people.
    message: String,
    /// Values that a client can act on, such as each invalid field with what is wrong with it; or empty.
    #[schema(value_type = Object)]
    details: Value,
    /// The code in camel case.
    exception_type: String,
    /// The HTTP status.
    status: u16,
}

/// A response with the API's error body. Logs the error.
pub fn problem(problem: &Problem) -> Response {
    match problem {
        Problem::Internal(_) => error!(error = %chain(problem), "request failed"),
        Problem::Unavailable(dependency, _) => {
            warn!(error = %chain(problem), ?dependency, "request failed: store unavailable");
        }
        _ => debug!(code = problem.code(), "request rejected"),
    }
    let body = ErrorBody {
        timestamp: OffsetDateTime::now_utc(),
        code: problem.code(),
        message: problem.to_string(),
        details: problem.details(),
        exception_type: problem.exception_type(),
        status: problem.status(),
    };
    let mut response = json_bytes(
        StatusCode::from_u16(problem.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        serde_json::to_vec(&body).unwrap_or_default(),
    );
    if let Some(seconds) = problem.retry_after_seconds() {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    if response.status() == StatusCode::UNAUTHORIZED {
        // RFC 9110 §15.5.2. Browsers open no dialog for this scheme.
        let headers = response.headers_mut();
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    // RFC 9110 §15.5.16: the response says what the node would accept.
    match problem {
        Problem::UnsupportedMediaType { expected } => {
            let headers = response.headers_mut();
            headers.insert(ACCEPT, HeaderValue::from_static(expected));
        }
        Problem::UnsupportedContentEncoding => {
            let headers = response.headers_mut();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        _ => {}
    }
    if let Problem::RangeNotSatisfiable { size } = problem {
        response
            .headers_mut()
            .typed_insert(ContentRange::unsatisfied_bytes(*size));
    }
    if let Problem::MethodNotAllowed { allow } = problem
        && let Ok(allow) = HeaderValue::from_str(allow)
    {
        response.headers_mut().insert(ALLOW, allow);
    }
    response
}

/// A JSON response.
pub fn json(status: StatusCode, body: &impl Serialize) -> Result<Response, Problem> {
    Ok(json_bytes(
        status,
        serde_json::to_vec(body).map_err(Problem::internal)?,
    ))
}

/// A response with a JSON text.
pub fn json_bytes(status: StatusCode, body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(body.into().into());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(
        http::header::CACHE_CONTROL,
        HeaderValue::from_static("no-store"),
    );
    response
}

/// A response with a JSON text that is sent in chunks. An error of the stream cuts the connection.
pub fn json_stream(
    chunks: impl Stream<Item = Result<Bytes, Problem>> + Send + 'static,
) -> Response {
    let mut response = json_bytes(StatusCode::OK, Bytes::new());
    *response.body_mut() = stream(chunks.boxed()).into_body();
    response
}

/// A response whose body is sent in chunks. An error of the stream cuts the connection.
pub fn stream<E>(chunks: BoxStream<'static, Result<Bytes, E>>) -> Response
where
    E: Into<Box<dyn Error + Send + Sync>> + Send + 'static,
{
    // Never locked. warp needs a stream that is Sync, which the chunks are not.
    let mut chunks = Mutex::new(chunks);
    let chunks = stream::poll_fn(move |context| chunks.get_mut().poll_next_unpin(context));
    warp::Reply::into_response(warp::reply::stream(chunks))
}

/// A 204 response.
pub fn no_content() -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
