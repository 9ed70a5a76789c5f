//! What a handler may take from its request, in the order in which it should be taken: the caller first, the body last, so
//! that nothing is read from those who may not write.

use std::{sync::Arc, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream::BoxStream};
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE};
use hyper::upgrade::OnUpgrade;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use warp::{Filter, filters::BoxedFilter};

use crate::{
    app::App,
    model::{Role, from_json},
    ops,
    problem::Problem,
    server::Head,
    token::{Caller, Refused},
};

/// A JSON body, or the JSON part of a multipart one, at most. A message of 2,000 characters takes 24,000 bytes when each is
/// escaped twice over.
const JSON_BYTES: usize = 64 * 1024;
/// A body that brings nothing for this long is given up.
const CHUNK_WITHIN: Duration = Duration::from_secs(10);
/// A JSON body must be there as a whole within this time, so that it cannot trickle.
const JSON_WITHIN: Duration = Duration::from_secs(30);
/// Parts of a multipart body: the JSON and ten files, and as many that we do not know.
const PARTS: usize = 22;

/// One request.
pub struct Request {
    /// The node.
    pub app: Arc<App>,
    /// What came before the body.
    pub head: Arc<Head>,
    // Never locked: it only makes a shared reference to the request something that tasks may hold.
    body: Mutex<BoxStream<'static, Result<Bytes, warp::Error>>>,
    upgrade: Option<OnUpgrade>,
}

/// Takes a request apart.
pub(super) fn filter(app: &Arc<App>) -> BoxedFilter<(Request,)> {
    let app = app.clone();
    warp::ext::get::<Arc<Head>>()
        .and(warp::ext::optional::<OnUpgrade>())
        .and(warp::body::stream())
        .map(move |head, upgrade, body| Request {
            app: app.clone(),
            head,
            body: Mutex::new(chunks(body).boxed()),
            upgrade,
        })
        .boxed()
}

fn chunks(
    body: impl Stream<Item = Result<impl Buf, warp::Error>> + Send + 'static,
) -> impl Stream<Item = Result<Bytes, warp::Error>> + Send {
    body.map(|chunk| chunk.map(|mut chunk| chunk.copy_to_bytes(chunk.remaining())))
}

impl Request {
    /// A header's value, if it is text.
    pub fn header(&self, name: impl http::header::AsHeaderName) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }

    /// The bearer token.
    pub fn bearer(&self) -> Option<&str> {
        let (scheme, token) = self.header(AUTHORIZATION)?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    }

    /// A cookie's value.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let pairs = self
            .head
            .headers
            .get_all(COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'));
        pairs
            .filter_map(|pair| pair.trim().split_once('='))
            .find(|(key, value)| *key == name && !value.is_empty())
            .map(|(_, value)| value)
    }

    /// Who calls.
    ///
    /// # Errors
    /// [`Problem::Unauthenticated`], or [`Problem::Unavailable`] without Redis.
    pub async fn caller(&self) -> Result<Caller, Problem> {
        ops::account::caller(&self.app, self.bearer().ok_or(Problem::Unauthenticated)?).await
    }

    /// Who calls, if their role is at least this one.
    ///
    /// # Errors
    /// As [`Self::caller`], and [`Problem::Forbidden`].
    pub async fn caller_with(&self, role: Role) -> Result<Caller, Problem> {
        let caller = self.caller().await?;
        if caller.role >= role {
            Ok(caller)
        } else {
            Err(Problem::Forbidden("Your role does not allow this."))
        }
    }

    /// What the bearer token alone says, without asking whether its session lives.
    ///
    /// # Errors
    /// Why it was refused; `None` when there is no token.
    pub fn claims(&self) -> Result<Caller, Option<Refused>> {
        self.app
            .tokens
            .check(self.bearer().ok_or(None)?)
            .map_err(Some)
    }

    /// The query.
    ///
    /// # Errors
    /// [`Problem::Malformed`] when a parameter is missing or has no such form.
    pub fn query<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        serde_urlencoded::from_str(self.head.query.as_deref().unwrap_or_default())
            .map_err(|error| Problem::Malformed(format!("The query is invalid: {error}.").into()))
    }

    /// Takes the connection over, if the client asks for it.
    pub fn take_upgrade(&mut self) -> Option<OnUpgrade> {
        self.upgrade.take()
    }

    /// A JSON body.
    ///
    /// # Errors
    /// 415, 413, 408 or 400.
    pub async fn json<T: DeserializeOwned>(mut self) -> Result<T, Problem> {
        if self.media_type() != "application/json" {
            return Err(Problem::UnsupportedMediaType {
                expected: "application/json",
            });
        }
        let body = tokio::time::timeout(JSON_WITHIN, self.collect(JSON_BYTES))
            .await
            .map_err(|_| Problem::RequestTimeout)??;
        from_json(&body)
    }

    /// The JSON part of that name of a multipart body (RFC 7578), with or without a content type of its own, in any place.
    ///
    /// # Errors
    /// 415, 413, 408, or 400, also for a part that brings a file: this version stores none, and dropping it unsaid would
    /// lose it.
    pub async fn multipart_json<T: DeserializeOwned>(
        self,
        name: &'static str,
        file: &'static str,
    ) -> Result<T, Problem> {
        let boundary = self
            .header(CONTENT_TYPE)
            .and_then(|value| multer::parse_boundary(value).ok());
        let boundary = boundary.ok_or(Problem::UnsupportedMediaType {
            expected: "multipart/form-data",
        })?;
        let limits = multer::SizeLimit::new()
            .whole_stream(4 * JSON_BYTES as u64)
            .per_field(JSON_BYTES as u64);
        let constraints = multer::Constraints::new().size_limit(limits);
        let mut parts =
            multer::Multipart::with_constraints(self.body.into_inner(), boundary, constraints);
        let read = async {
            let mut json = None;
            for _ in 0..PARTS {
                let Some(part) = parts
                    .next_field()
                    .await
                    .map_err(|error| multipart_problem(&error))?
                else {
                    break;
                };
                let (is_json, is_file) = (part.name() == Some(name), part.name() == Some(file));
                let body = part
                    .bytes()
                    .await
                    .map_err(|error| multipart_problem(&error))?;
                if is_json {
                    json = Some(body);
                } else if is_file && !body.is_empty() {
                    // An empty part is what a browser makes of a file input without a file.
                    return Err(Problem::invalid(
                        file,
                        "files are not supported by this version",
                    ));
                }
            }
            json.ok_or_else(|| Problem::invalid(name, "this part is missing"))
        };
        let body = tokio::time::timeout(JSON_WITHIN, read)
            .await
            .map_err(|_| Problem::RequestTimeout)??;
        from_json(&body)
    }

    /// The content type without parameters, in lower case.
    fn media_type(&self) -> String {
        let value = self.header(CONTENT_TYPE).unwrap_or_default();
        value
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase()
    }

    async fn collect(&mut self, limit_bytes: usize) -> Result<Bytes, Problem> {
        let too_large = Problem::TooLarge { limit_bytes };
        // Refused before it is read, where it is announced.
        let announced = self
            .header(http::header::CONTENT_LENGTH)
            .and_then(|length| length.parse::<u64>().ok());
        if announced.is_some_and(|length| length > limit_bytes as u64) {
            return Err(too_large);
        }
        let mut body = BytesMut::new();
        loop {
            match tokio::time::timeout(CHUNK_WITHIN, self.body.get_mut().next()).await {
                Err(_) => return Err(Problem::RequestTimeout),
                Ok(None) => return Ok(body.freeze()),
                Ok(Some(Err(_))) => return Err(Problem::Malformed("The body ended early.".into())),
                Ok(Some(Ok(chunk))) if body.len() + chunk.len() > limit_bytes => {
                    drop(chunk);
                    return Err(too_large);
                }
                Ok(Some(Ok(chunk))) => body.extend_from_slice(&chunk),
            }
        }
    }
}

fn multipart_problem(error: &multer::Error) -> Problem {
    match error {
        multer::Error::FieldSizeExceeded { limit, .. }
        | multer::Error::StreamSizeExceeded { limit } => Problem::TooLarge {
            limit_bytes: usize::try_from(*limit).unwrap_or(usize::MAX),
        },
        _ => Problem::Malformed("The multipart body is invalid.".into()),
    }
}
