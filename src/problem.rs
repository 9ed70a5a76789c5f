//! Errors that a client sees, and their mapping to the API's error body and to the STOMP ERROR frame.
//!
//! [`Problem`] is a closed list, so that a client can handle every code.

use std::{borrow::Cow, error::Error, time::Duration};

use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::ids::{ChannelId, FileId, MessageId, NotificationId, ReadStatusId, SessionId, UserId};

/// A part of the system that a request may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependency {
    /// PostgreSQL.
    Postgres,
    /// Redis.
    Redis,
    /// The storage of files.
    Files,
    /// This node: its queues are full, or it drains.
    Node,
}

/// A resource that does not exist, or that the caller may not see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// No such user.
    User(UserId),
    /// No such channel, or a private one that the caller is not in.
    Channel(ChannelId),
    /// No such message, or one in a channel that the caller may not read.
    Message(MessageId),
    /// No such file, one that is not attached to anything, or one that the caller may not read.
    File(FileId),
    /// No such read status.
    ReadStatus(ReadStatusId),
    /// No such notification, or another user's.
    Notification(NotificationId),
    /// No such session, or another user's.
    Session(SessionId),
    /// No such path.
    Path,
}

/// An error that a client sees. `Display` is its message for people and contains no internals.
#[derive(Debug, Error)]
pub enum Problem {
    /// The request is well-formed and has invalid values; one entry for each field.
    #[error("The request has invalid values.")]
    Invalid(Map<String, Value>),
    /// The request cannot be parsed.
    #[error("{0}")]
    Malformed(Cow<'static, str>),
    /// The token is missing, malformed, expired or revoked.
    #[error("A valid access token is required.")]
    Unauthenticated,
    /// The username is unknown or the password is wrong. The client must not learn which.
    #[error("The username or the password is wrong.")]
    WrongCredentials,
    /// The refresh cookie is missing, unknown, expired or was used before.
    ///
    /// The value says why, if that is known.
    #[error("The session has ended; sign in again.")]
    SessionEnded(Value),
    /// The CSRF header does not repeat the CSRF cookie.
    #[error("The X-XSRF-TOKEN header must repeat the XSRF-TOKEN cookie.")]
    CsrfMismatch,
    /// A change needs the password, or a login of the last minutes.
    #[error("The current password is required.")]
    ReauthenticationRequired,
    /// The authenticated user may not do this.
    #[error("{0}")]
    Forbidden(&'static str),
    /// The resource does not exist, or the caller may not see it.
    #[error("{}", .0.sentence())]
    NotFound(Resource),
    /// The path does not have this method.
    #[error("The method is not allowed here; allowed: {allow}.")]
    MethodNotAllowed {
        /// Value of the `Allow` header.
        allow: String,
    },
    /// Another user has this username.
    #[error("This username is taken.")]
    UsernameTaken,
    /// Another user has this email address.
    #[error("This email address is taken.")]
    EmailTaken,
    /// Nobody could manage users and roles any more.
    #[error("The last administrator can be neither deleted nor given another role.")]
    LastAdmin,
    /// This user and channel already have a read status.
    #[error("There is a read status for this user and channel already.")]
    ReadStatusExists,
    /// A message has the maximum number of different emoji.
    #[error("There are 20 different reactions to this message already.")]
    TooManyReactions,
    /// A private channel has no description, and a conversation of two no name.
    #[error("Only the name of a private channel of three or more can be changed.")]
    PrivateChannelUnchangeable,
    /// Every user is in a public channel, so nobody can leave it or be added.
    #[error("A public channel has no participants to change.")]
    NotPrivate,
    /// A conversation of two stays one.
    #[error("Nobody can be added to a conversation of two.")]
    NoGroup,
    /// The body exceeds a limit.
    #[error("The body is larger than {limit_bytes} bytes.")]
    TooLarge {
        /// The limit in bytes.
        limit_bytes: usize,
    },
    /// The content type of the body is not supported.
    #[error("The content type must be {expected}.")]
    UnsupportedMediaType {
        /// The supported type.
        expected: &'static str,
    },
    /// The body is compressed.
    #[error("The body must not be compressed.")]
    UnsupportedContentEncoding,
    /// The file has another entity tag than the request demands.
    #[error("The file is not the one that the request names.")]
    PreconditionFailed,
    /// The request's target is too long.
    #[error("The request's address is too long.")]
    UriTooLong,
    /// The request's headers are too many or too large.
    #[error("The request's headers are too large.")]
    HeadersTooLarge,
    /// The body has a transfer encoding besides chunked.
    #[error("The transfer encoding is not supported.")]
    UnsupportedTransferEncoding,
    /// The requested range starts after the end of the file.
    #[error("The file has only {size} bytes.")]
    RangeNotSatisfiable {
        /// The file's size in bytes, for `Content-Range`.
        size: u64,
    },
    /// The body did not arrive in time.
    #[error("The request's body did not arrive in time.")]
    RequestTimeout,
    /// The client exceeded a rate limit.
    #[error("Too many requests; try again later.")]
    TooMany {
        /// Time until the next attempt may succeed.
        retry_after: Duration,
    },
    /// The account, or the account of another user that the request names, has used up a quota.
    #[error("A quota of the account is used up.")]
    QuotaExceeded {
        /// Name of the quota, in camel case.
        quota: &'static str,
        /// The limit.
        limit: u64,
        /// The other user whose quota is used up.
        user: Option<UserId>,
    },
    /// A part of the system that the request needs is down.
    #[error("A part of the service is unavailable; try again in a moment.")]
    Unavailable(Dependency, #[source] Option<Box<dyn Error + Send + Sync>>),
    /// This node cannot serve; with the state of each part.
    #[error("This node is not ready.")]
    NotReady(Value),
    /// A bug or a broken store. Only the log has the source.
    #[error("Something went wrong on our side.")]
    Internal(#[source] Box<dyn Error + Send + Sync>),
}

impl Resource {
    fn sentence(self) -> &'static str {
        match self {
            Self::User(_) => "There is no such user.",
            Self::Channel(_) => "There is no such channel.",
            Self::Message(_) => "There is no such message.",
            Self::File(_) => "There is no such file.",
            Self::ReadStatus(_) => "There is no such read status.",
            Self::Notification(_) => "There is no such notification.",
            Self::Session(_) => "There is no such session.",
            Self::Path => "There is nothing at this path.",
        }
    }
}

impl Problem {
    /// One invalid field.
    pub fn invalid(field: &str, why: &str) -> Self {
        Self::Invalid(Map::from_iter([(field.to_owned(), Value::from(why))]))
    }

    /// An error of the server.
    pub fn internal(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Internal(source.into())
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Self::Invalid(_)
            | Self::Malformed(_)
            | Self::PrivateChannelUnchangeable
            | Self::NotPrivate
            | Self::NoGroup => 400,
            Self::Unauthenticated | Self::WrongCredentials | Self::SessionEnded(_) => 401,
            Self::CsrfMismatch
            | Self::ReauthenticationRequired
            | Self::Forbidden(_)
            | Self::QuotaExceeded { .. } => 403,
            Self::NotFound(_) => 404,
            Self::MethodNotAllowed { .. } => 405,
            Self::RequestTimeout => 408,
            Self::UsernameTaken
            | Self::EmailTaken
            | Self::LastAdmin
            | Self::ReadStatusExists
            | Self::TooManyReactions => 409,
            Self::PreconditionFailed => 412,
            Self::TooLarge { .. } => 413,
            Self::UriTooLong => 414,
            Self::UnsupportedMediaType { .. } | Self::UnsupportedContentEncoding => 415,
            Self::RangeNotSatisfiable { .. } => 416,
            Self::TooMany { .. } => 429,
            Self::HeadersTooLarge => 431,
            Self::Internal(_) => 500,
            Self::UnsupportedTransferEncoding => 501,
            Self::Unavailable(..) | Self::NotReady(_) => 503,
        }
    }

    /// The machine-readable code: the API's `code`, and the `code` header of a STOMP ERROR.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "INVALID_INPUT",
            Self::Malformed(_) => "MALFORMED_REQUEST",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::WrongCredentials => "WRONG_CREDENTIALS",
            Self::SessionEnded(_) => "SESSION_ENDED",
            Self::CsrfMismatch => "CSRF_MISMATCH",
            Self::ReauthenticationRequired => "REAUTHENTICATION_REQUIRED",
            Self::Forbidden(_) => "FORBIDDEN",
            Self::NotFound(Resource::User(_)) => "USER_NOT_FOUND",
            Self::NotFound(Resource::Channel(_)) => "CHANNEL_NOT_FOUND",
            Self::NotFound(Resource::Message(_)) => "MESSAGE_NOT_FOUND",
            Self::NotFound(Resource::File(_)) => "BINARY_CONTENT_NOT_FOUND",
            Self::NotFound(Resource::ReadStatus(_)) => "READ_STATUS_NOT_FOUND",
            Self::NotFound(Resource::Notification(_)) => "NOTIFICATION_NOT_FOUND",
            Self::NotFound(Resource::Session(_)) => "SESSION_NOT_FOUND",
            Self::NotFound(Resource::Path) => "PATH_NOT_FOUND",
            Self::MethodNotAllowed { .. } => "METHOD_NOT_ALLOWED",
            Self::UsernameTaken => "USERNAME_TAKEN",
            Self::EmailTaken => "EMAIL_TAKEN",
            Self::LastAdmin => "LAST_ADMIN",
            Self::ReadStatusExists => "READ_STATUS_EXISTS",
            Self::TooManyReactions => "TOO_MANY_REACTIONS",
            Self::PrivateChannelUnchangeable => "PRIVATE_CHANNEL_UNCHANGEABLE",
            Self::NotPrivate => "CHANNEL_NOT_PRIVATE",
            Self::NoGroup => "CHANNEL_NOT_A_GROUP",
            Self::TooLarge { .. } => "PAYLOAD_TOO_LARGE",
            Self::UnsupportedMediaType { .. } => "UNSUPPORTED_MEDIA_TYPE",
            Self::UnsupportedContentEncoding => "UNSUPPORTED_CONTENT_ENCODING",
            Self::PreconditionFailed => "PRECONDITION_FAILED",
            Self::UriTooLong => "URI_TOO_LONG",
            Self::HeadersTooLarge => "HEADERS_TOO_LARGE",
            Self::UnsupportedTransferEncoding => "NOT_IMPLEMENTED",
            Self::RangeNotSatisfiable { .. } => "RANGE_NOT_SATISFIABLE",
            Self::RequestTimeout => "REQUEST_TIMEOUT",
            Self::TooMany { .. } => "TOO_MANY_REQUESTS",
            Self::QuotaExceeded { .. } => "QUOTA_EXCEEDED",
            Self::Unavailable(..) => "SERVICE_UNAVAILABLE",
            Self::NotReady(_) => "NOT_READY",
            Self::Internal(_) => "INTERNAL_ERROR",
        }
    }

    /// The API's `details`: values that a client can act on, or `{}`.
    pub fn details(&self) -> Value {
        match self {
            Self::Invalid(fields) => Value::Object(fields.clone()),
            Self::NotFound(Resource::User(id)) => json!({ "userId": id }),
            Self::NotFound(Resource::Channel(id)) => json!({ "channelId": id }),
            Self::NotFound(Resource::Message(id)) => json!({ "messageId": id }),
            Self::NotFound(Resource::File(id)) => json!({ "binaryContentId": id }),
            Self::NotFound(Resource::ReadStatus(id)) => json!({ "readStatusId": id }),
            Self::NotFound(Resource::Notification(id)) => json!({ "notificationId": id }),
            Self::NotFound(Resource::Session(id)) => json!({ "sessionId": id }),
            Self::TooLarge { limit_bytes } => json!({ "limitBytes": limit_bytes }),
            Self::RangeNotSatisfiable { size } => json!({ "size": size }),
            Self::QuotaExceeded {
                quota,
                limit,
                user: Some(user),
            } => json!({ "quota": quota, "limit": limit, "userId": user }),
            Self::QuotaExceeded { quota, limit, .. } => json!({ "quota": quota, "limit": limit }),
            Self::NotReady(states) => states.clone(),
            Self::SessionEnded(reason @ Value::Object(_)) => reason.clone(),
            _ => json!({}),
        }
    }

    /// The API's `exceptionType`: the code in camel case.
    pub fn exception_type(&self) -> String {
        let words = self.code().split('_');
        words
            .flat_map(|word| {
                word.chars()
                    .take(1)
                    .chain(word.chars().skip(1).flat_map(char::to_lowercase))
            })
            .collect()
    }

    /// Seconds for `Retry-After`, for errors that a retry can resolve.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        match self {
            // Rounded up: a retry one moment early is refused again.
            Self::TooMany { retry_after } => {
                let seconds = retry_after.as_millis().div_ceil(1_000).max(1);
                Some(u64::try_from(seconds).unwrap_or(u64::MAX))
            }
            Self::Unavailable(..) | Self::NotReady(_) => Some(2),
            _ => None,
        }
    }

    /// Whether the server is at fault rather than the client.
    pub fn is_server_error(&self) -> bool {
        matches!(self, Self::Internal(_) | Self::Unavailable(..))
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        let is_unavailable = match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            // The server closed a new connection before it agreed to TLS.
            | sqlx::Error::Protocol(_)
            | sqlx::Error::Tls(_) => true,
            // Class 57: shutdown, startup or statement timeout; class 53: no resources; class 08: connection; class 40:
            // deadlock; 55P03: lock timeout; 25P03: idle transaction ended; 25006: read-only standby.
            sqlx::Error::Database(db) => db.code().is_some_and(|code| {
                ["57", "53", "08", "40"]
                    .iter()
                    .any(|class| code.starts_with(class))
                    || ["55P03", "25P03", "25006"].contains(&code.as_ref())
            }),
            _ => false,
        };
        if is_unavailable {
            Self::Unavailable(Dependency::Postgres, Some(error.into()))
        } else {
            Self::Internal(error.into())
        }
    }
}

impl From<redis::RedisError> for Problem {
    fn from(error: redis::RedisError) -> Self {
        // A wrong type or setting is a bug. Everything else passes when Redis recovers: connection refused, timeout,
        // loading, read-only replica, out of memory.
        match error.kind() {
            redis::ErrorKind::UnexpectedReturnType | redis::ErrorKind::InvalidClientConfig => {
                Self::Internal(error.into())
            }
            _ => Self::Unavailable(Dependency::Redis, Some(error.into())),
        }
    }
}

/// An error and its sources, joined by colons for a log line. Some errors repeat their source.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_says_each_cause_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("{0}")]
        struct Failure(&'static str, #[source] Option<Box<Failure>>);
        let cause = Failure("refused", None);
        let repeating = Failure("cannot connect: refused", Some(Box::new(cause)));
        let error = Failure("no answer", Some(Box::new(repeating)));
        assert_eq!(chain(&error), "no answer: cannot connect: refused");
    }

    #[test]
    fn a_connection_that_fails_before_tls_is_an_outage() {
        for error in [
            sqlx::Error::Protocol("unexpected response from SSLRequest: 0x00".to_owned()),
            sqlx::Error::Tls("the certificate is not valid".into()),
        ] {
            assert_eq!(Problem::from(error).status(), 503);
        }
        assert_eq!(Problem::from(sqlx::Error::RowNotFound).status(), 500);
    }
}
