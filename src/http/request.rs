//! A request and its extractors.
//!
//! A handler extracts the caller first and the body last, so that the node reads no body from a caller who may not send it.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use headers::{Authorization, HeaderMapExt, authorization::Bearer};
use http::{
    Method,
    header::{AsHeaderName, CONTENT_TYPE},
};
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;
use tokio::sync::OwnedSemaphorePermit;
use warp::{Filter, filters::BoxedFilter};

use crate::{
    app::App,
    auth::tokens::{Caller, TokenError},
    http::{
        body::{BodyError, BodyLimits, BodyStream, RequestBody},
        head::Head,
    },
    ids::{SessionId, UserId},
    model::{Role, from_json},
    problem::Problem,
    rate_limit::clients::{CHANGE_COST, Client, READ_COST},
};

/// Maximum length of a JSON body, and of the JSON part of a multipart body. A message of 2,000 characters takes 24,000
/// bytes when every character is escaped as two `\u` sequences.
pub(super) const MAX_JSON_BYTES: usize = 64 * 1024;
/// Timeout of each chunk of a body.
pub(super) const CHUNK_TIMEOUT: Duration = Duration::from_secs(10);

const JSON_LIMITS: BodyLimits = BodyLimits {
    bytes: MAX_JSON_BYTES,
    total: Duration::from_secs(30),
    idle: CHUNK_TIMEOUT,
};

/// The name of the cookie that holds the refresh token.
///
/// With TLS it has the prefix `__Host-`: a page of a sibling domain, or a network without TLS, cannot set a cookie of this name.
/// Scripts cannot read the cookie, so no client knows its name.
pub fn refresh_cookie_name(is_secure: bool) -> &'static str {
    if is_secure {
        "__Host-REFRESH-TOKEN"
    } else {
        "REFRESH-TOKEN"
    }
}

/// A request to the API.
pub struct Request {
    /// The node that serves the request.
    pub app: Arc<App>,
    /// Method.
    pub method: Method,
    /// Headers, query and client address.
    pub head: Arc<Head>,
    body: RequestBody,
    /// The turn of a request whose caller is known. It ends with the request.
    turn: OnceLock<OwnedSemaphorePermit>,
}

/// The filter that extracts a [`Request`].
pub fn filter(app: &Arc<App>) -> BoxedFilter<(Request,)> {
    let app = app.clone();
    warp::method()
        .and(warp::ext::get::<Arc<Head>>())
        .and(warp::body::stream())
        .map(move |method, head, body| Request {
            app: app.clone(),
            method,
            head,
            body: RequestBody::new(body),
            turn: OnceLock::new(),
        })
        .boxed()
}

impl Request {
    /// The first value of a header, if it is text.
    pub fn header(&self, name: impl AsHeaderName) -> Option<&str> {
        self.head.header(name)
    }

    /// The first value of a cookie that is not empty.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        self.head.cookie(name)
    }

    /// The refresh token in the session's cookie, which only pages of this origin may use.
    ///
    /// # Errors
    /// [`Problem::Forbidden`] for a page of another origin.
    pub fn refresh_cookie(&self) -> Result<Option<&str>, Problem> {
        let name = refresh_cookie_name(self.app.config.cookie_secure);
        let token = self.cookie(name);
        if token.is_some() && !self.head.is_same_origin() {
            return Err(Problem::Forbidden(
                "A page of another origin may not use the session's cookie.",
            ));
        }
        Ok(token)
    }

    /// The bearer token (RFC 6750 §2.1).
    pub fn bearer(&self) -> Option<Authorization<Bearer>> {
        self.head.headers.typed_get()
    }

    /// Whether the method is HEAD.
    pub fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }

    /// The authenticated caller, after [`Self::admit`].
    ///
    /// # Errors
    /// [`Problem::Unauthenticated`], [`Problem::TooMany`], or [`Problem::Unavailable`] without Redis.
    pub async fn caller(&self) -> Result<Caller, Problem> {
        let cost = if self.method.is_safe() {
            READ_COST
        } else {
            CHANGE_COST
        };
        let caller = self.authenticate().await?;
        self.admit(caller.id, cost).await?;
        Ok(caller)
    }

    /// The authenticated author of a message, which has a rate of its own, shared with STOMP.
    ///
    /// # Errors
    /// As [`Self::caller`].
    pub async fn author(&self) -> Result<Caller, Problem> {
        let caller = self.authenticate().await?;
        self.app.limits.spend_message(caller.id)?;
        self.wait_for_turn(caller.id).await?;
        Ok(caller)
    }

    /// Takes the tokens of a user's request, and waits for its turn among the user's other requests.
    ///
    /// # Errors
    /// [`Problem::TooMany`]
    pub async fn admit(&self, user: UserId, cost: f64) -> Result<(), Problem> {
        self.app.limits.spend(Client::User(user), cost)?;
        self.wait_for_turn(user).await
    }

    async fn wait_for_turn(&self, user: UserId) -> Result<(), Problem> {
        if self.turn.get().is_none() {
            let turn = self.app.limits.turn(user).await?;
            // Fails never: nothing else sets the turn of this request.
            drop(self.turn.set(turn));
        }
        Ok(())
    }

    async fn authenticate(&self) -> Result<Caller, Problem> {
        crate::auth::authenticate(
            &self.app.tokens,
            &self.app.sessions,
            self.bearer().ok_or(Problem::Unauthenticated)?.token(),
        )
        .await
    }

    /// The authenticated caller, if the role is at least `role`.
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

    /// The caller in the bearer token, which may belong to a session that has ended.
    ///
    /// # Errors
    /// Why the token is rejected; `None` when there is no token.
    pub fn claims(&self) -> Result<Caller, Option<TokenError>> {
        self.app
            .tokens
            .check(self.bearer().ok_or(None)?.token())
            .map_err(Some)
    }

    /// The user and the session of the refresh cookie, for clients that cannot change their `Authorization` header.
    ///
    /// Beside an expired access token the cookie must belong to the same user: with two users the request is ambiguous.
    ///
    /// # Errors
    /// [`Problem::Unauthenticated`], [`Problem::Forbidden`] for a page of another origin, or [`Problem::Unavailable`] without
    /// Redis.
    pub async fn cookie_session(
        &self,
        expired: Option<&Caller>,
    ) -> Result<(UserId, SessionId), Problem> {
        let token = self.refresh_cookie()?.ok_or(Problem::Unauthenticated)?;
        let found = self.app.sessions.find_by_token(token).await?;
        found
            .filter(|(user, _)| expired.is_none_or(|caller| caller.id == *user))
            .ok_or(Problem::Unauthenticated)
    }

    /// The query's parameters.
    ///
    /// # Errors
    /// [`Problem::Invalid`] when a parameter cannot be parsed, or [`Problem::Malformed`] when one is missing.
    pub fn query<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let query = self.head.query.as_deref().unwrap_or_default();
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        let parsed = serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(pairs));
        parsed.map_err(|error| match error.path().iter().next() {
            Some(Segment::Map { key }) => Problem::invalid(key, "has a wrong form"),
            _ => Problem::Malformed(format!("The query is invalid: {}.", error.inner()).into()),
        })
    }

    /// Takes the body as a stream of chunks.
    pub(super) fn take_body(&mut self) -> BodyStream {
        self.body.take_stream()
    }

    /// Reads a JSON body.
    ///
    /// # Errors
    /// 415, 413, 408 or 400.
    pub async fn json<T: DeserializeOwned>(&mut self) -> Result<T, Problem> {
        if self.media_type() != "application/json" {
            return Err(Problem::UnsupportedMediaType {
                expected: "application/json",
            });
        }
        match self.body.read(&self.head, JSON_LIMITS).await {
            Ok(body) => from_json(&body),
            Err(BodyError::TooLarge) => Err(Problem::TooLarge {
                limit_bytes: MAX_JSON_BYTES,
            }),
            Err(BodyError::Timeout) => Err(Problem::RequestTimeout),
            Err(BodyError::EndedEarly) => Err(Problem::Malformed("The body ended early.".into())),
        }
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
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};

    use super::*;

    #[test]
    fn only_the_bearer_scheme_has_a_bearer_token() {
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
