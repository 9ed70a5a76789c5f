//! What a handler may take from its request, in the order in which it should be taken: the caller first, the body last, so
//! that nothing is read from those who may not write.

use std::{sync::Arc, time::Duration};

use bytes::{Buf, Bytes, BytesMut};
use cookie::Cookie;
use futures_util::{Stream, StreamExt, stream::BoxStream};
use headers::{Authorization, ContentLength, HeaderMapExt, authorization::Bearer};
use http::{
    HeaderMap,
    header::{CONTENT_TYPE, COOKIE},
};
use hyper::upgrade::OnUpgrade;
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use warp::{Filter, filters::BoxedFilter};

use crate::{
    app::App,
    auth::tokens::{Caller, TokenError},
    http::head::Head,
    ids::{SessionId, UserId},
    model::{Role, from_json},
    problem::Problem,
};

/// A JSON body, or the JSON part of a multipart one, at most. A message of 2,000 characters takes 24,000 bytes when each is
/// escaped twice over.
pub(super) const JSON_BYTES: usize = 64 * 1024;
/// A body that brings nothing for this long is given up.
pub(super) const CHUNK_TIMEOUT: Duration = Duration::from_secs(10);
/// A JSON body must be there as a whole within this time, so that it cannot trickle.
const JSON_TIMEOUT: Duration = Duration::from_secs(30);

/// The cookie that holds the refresh token.
pub const REFRESH_COOKIE: &str = "REFRESH-TOKEN";

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
pub fn filter(app: &Arc<App>) -> BoxedFilter<(Request,)> {
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

    /// The bearer token (RFC 6750 §2.1).
    pub fn bearer(&self) -> Option<Authorization<Bearer>> {
        self.head.headers.typed_get()
    }

    /// The first value of a cookie that is not empty.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        cookie(&self.head.headers, name)
    }

    /// Who calls.
    ///
    /// # Errors
    /// [`Problem::Unauthenticated`], or [`Problem::Unavailable`] without Redis.
    pub async fn caller(&self) -> Result<Caller, Problem> {
        crate::auth::authenticate(
            &self.app.tokens,
            &self.app.sessions,
            self.bearer().ok_or(Problem::Unauthenticated)?.token(),
        )
        .await
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
    pub fn claims(&self) -> Result<Caller, Option<TokenError>> {
        self.app
            .tokens
            .check(self.bearer().ok_or(None)?.token())
            .map_err(Some)
    }

    /// Whose session the refresh cookie belongs to, for clients that cannot change their header. Beside a token, which has
    /// merely expired then, it must be the same user's: of two people nobody knows who is meant.
    ///
    /// # Errors
    /// [`Problem::Unauthenticated`], or [`Problem::Unavailable`] without Redis.
    pub async fn cookie_holder(
        &self,
        expired: Option<&Caller>,
    ) -> Result<(UserId, SessionId), Problem> {
        let token = self
            .cookie(REFRESH_COOKIE)
            .ok_or(Problem::Unauthenticated)?;
        let holder = self.app.sessions.holder(token).await?;
        holder
            .filter(|(user, _)| expired.is_none_or(|caller| caller.id == *user))
            .ok_or(Problem::Unauthenticated)
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
        let body = tokio::time::timeout(JSON_TIMEOUT, self.collect(JSON_BYTES))
            .await
            .map_err(|_| Problem::RequestTimeout)??;
        from_json(&body)
    }

    /// The length that the head announces.
    pub fn announced(&self) -> Option<u64> {
        self.head
            .headers
            .typed_get()
            .map(|ContentLength(length)| length)
    }

    /// The body, as it comes.
    pub(super) fn into_body(self) -> BoxStream<'static, Result<Bytes, warp::Error>> {
        self.body.into_inner()
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
        // Refused before it is read, where its length is announced.
        if self
            .announced()
            .is_some_and(|length| length > limit_bytes as u64)
        {
            return Err(too_large);
        }
        let mut body = BytesMut::new();
        loop {
            match tokio::time::timeout(CHUNK_TIMEOUT, self.body.get_mut().next()).await {
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

/// The first value of a cookie that is not empty.
///
/// Not by `headers::Cookie`: it takes quotation marks as brackets, so that one in another application's cookie would hide
/// every cookie behind it. In RFC 6265 §5.2 a semicolon always ends a cookie.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(COOKIE).iter();
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(Cookie::split_parse)
        .filter_map(Result::ok)
        .filter(|cookie| cookie.name() == name)
        .filter_map(|cookie| cookie.value_raw())
        .find(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header::AUTHORIZATION};

    use super::*;

    #[test]
    fn a_cookie_is_found_among_others() {
        for (lines, expected) in [
            (&["a=1"][..], Some("1")),
            (&["b=2; a=1"], Some("1")),
            (&["b=2;a=1;c"], Some("1")),
            (&["b=2", "a=1"], Some("1")),
            (&["a=; a=1; a=3"], Some("1")),
            (&["a=x=y"], Some("x=y")),
            (&["b=\"; a=1"], Some("1")),
            (&["b=\"x; a=1; c=y\""], Some("1")),
            (&["=1; ;; a=1"], Some("1")),
            (&["a="], None),
            (&["a"], None),
            (&["A=1; aa=1; b=a=1"], None),
            (&[], None),
        ] {
            let headers = lines
                .iter()
                .map(|line| (COOKIE, HeaderValue::from_static(line)))
                .collect();
            assert_eq!(cookie(&headers, "a"), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_bearer_token_is_taken_from_its_own_scheme_only() {
        for (value, expected) in [
            ("Bearer abc", Some("abc")),
            ("bearer abc", Some("abc")),
            ("BEARER  abc", Some("abc")),
            ("Bearer", None),
            ("Bearerabc", None),
            ("Basic abc", None),
            ("abc", None),
        ] {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(value))]);
            let bearer: Option<Authorization<Bearer>> = headers.typed_get();
            assert_eq!(
                bearer.as_ref().map(Authorization::token),
                expected,
                "{value}"
            );
        }
    }
}
