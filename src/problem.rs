//! Everything that can go wrong in a way that a caller sees, with one mapping to the API's error body.
//!
//! [`Problem`] is closed on purpose: HTTP and STOMP both answer from this list, and a client can be written against it.

use std::{borrow::Cow, error::Error, time::Duration};

use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::ids::{ChannelId, FileId, MessageId, NotificationId, ReadStatusId, UserId};

/// The parts of the system that a request may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependency {
    /// PostgreSQL.
    Postgres,
    /// Redis.
    Redis,
    /// The object storage of files.
    Files,
    /// This node itself: too much work is waiting, or it is leaving.
    Node,
}

/// What was asked for and is not there, or may not be seen by the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
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
    /// No such path.
    Path,
}

/// A failure that a caller can see. `Display` is the sentence for people; it names no internals.
#[derive(Debug, Error)]
pub enum Problem {
    /// The input has the right form and wrong values; one entry for each field.
    #[error("The request has invalid values.")]
    Invalid(Map<String, Value>),
    /// The request cannot be understood at all.
    #[error("{0}")]
    Malformed(Cow<'static, str>),
    /// No token, or one that is malformed, expired or revoked.
    #[error("A valid access token is required.")]
    Unauthenticated,
    /// Login with an unknown username or a wrong password; on purpose not said which.
    #[error("The username or the password is wrong.")]
    WrongCredentials,
    /// The refresh cookie is missing, unknown, expired or was used before.
    #[error("The session has ended; sign in again.")]
    SessionEnded,
    /// The CSRF header does not repeat the CSRF cookie.
    #[error("The X-XSRF-TOKEN header must repeat the XSRF-TOKEN cookie.")]
    CsrfMismatch,
    /// A known user who may not do this.
    #[error("{0}")]
    Forbidden(&'static str),
    /// Not there, or not for the caller's eyes.
    #[error("{}", .0.sentence())]
    NotFound(Missing),
    /// The path is known, the method is not; `allow` is the header's value.
    #[error("The method is not allowed here; allowed: {allow}.")]
    MethodNotAllowed {
        /// Value of the `Allow` header.
        allow: String,
    },
    /// Somebody has this username.
    #[error("This username is taken.")]
    UsernameTaken,
    /// Somebody has this email address.
    #[error("This email address is taken.")]
    EmailTaken,
    /// There is one already for this user and channel.
    #[error("There is a read status for this user and channel already.")]
    ReadStatusExists,
    /// A private channel has no name or description to change.
    #[error("A private channel cannot be changed.")]
    PrivateChannelUnchangeable,
    /// Everybody is in a public channel, so nobody can leave it.
    #[error("A public channel has no participants to remove.")]
    NotPrivate,
    /// The body is larger than this many bytes.
    #[error("The body is larger than {limit_bytes} bytes.")]
    TooLarge {
        /// The limit that was passed, in bytes.
        limit_bytes: usize,
    },
    /// The body is not of the type this call takes.
    #[error("The content type must be {expected}.")]
    UnsupportedMediaType {
        /// The type that is taken here.
        expected: &'static str,
    },
    /// The range that is asked for lies behind the end of the file.
    #[error("The file has only {size} bytes.")]
    RangeNotSatisfiable {
        /// The file's size in bytes, for `Content-Range`.
        size: i64,
    },
    /// The body stopped coming.
    #[error("The request's body did not arrive in time.")]
    RequestTimeout,
    /// Too many tries.
    #[error("Too many requests; try again later.")]
    TooMany {
        /// How long to wait before the next try.
        retry_after: Duration,
    },
    /// A part of the system that this needs is away for now.
    #[error("A part of the service is unavailable; try again in a moment.")]
    Unavailable(Dependency, #[source] Option<Box<dyn Error + Send + Sync>>),
    /// This node cannot serve; the state of each part.
    #[error("This node is not ready.")]
    NotReady(Value),
    /// A bug or a broken store. The source goes to the log and nowhere else.
    #[error("Something went wrong on our side.")]
    Internal(#[source] Box<dyn Error + Send + Sync>),
}

impl Missing {
    fn sentence(self) -> &'static str {
        match self {
            Self::User(_) => "There is no such user.",
            Self::Channel(_) => "There is no such channel.",
            Self::Message(_) => "There is no such message.",
            Self::File(_) => "There is no such file.",
            Self::ReadStatus(_) => "There is no such read status.",
            Self::Notification(_) => "There is no such notification.",
            Self::Path => "There is nothing at this path.",
        }
    }
}

impl Problem {
    /// One invalid field.
    pub fn invalid(field: &str, why: &str) -> Self {
        Self::Invalid(Map::from_iter([(field.to_owned(), Value::from(why))]))
    }

    /// A failure that is nobody's fault but ours.
    pub fn internal(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Internal(source.into())
    }

    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Self::Invalid(_)
            | Self::Malformed(_)
            | Self::PrivateChannelUnchangeable
            | Self::NotPrivate => 400,
            Self::Unauthenticated | Self::WrongCredentials | Self::SessionEnded => 401,
            Self::CsrfMismatch | Self::Forbidden(_) => 403,
            Self::NotFound(_) => 404,
            Self::MethodNotAllowed { .. } => 405,
            Self::RequestTimeout => 408,
            Self::UsernameTaken | Self::EmailTaken | Self::ReadStatusExists => 409,
            Self::TooLarge { .. } => 413,
            Self::UnsupportedMediaType { .. } => 415,
            Self::RangeNotSatisfiable { .. } => 416,
            Self::TooMany { .. } => 429,
            Self::Internal(_) => 500,
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
            Self::SessionEnded => "SESSION_ENDED",
            Self::CsrfMismatch => "CSRF_MISMATCH",
            Self::Forbidden(_) => "FORBIDDEN",
            Self::NotFound(Missing::User(_)) => "USER_NOT_FOUND",
            Self::NotFound(Missing::Channel(_)) => "CHANNEL_NOT_FOUND",
            Self::NotFound(Missing::Message(_)) => "MESSAGE_NOT_FOUND",
            Self::NotFound(Missing::File(_)) => "BINARY_CONTENT_NOT_FOUND",
            Self::NotFound(Missing::ReadStatus(_)) => "READ_STATUS_NOT_FOUND",
            Self::NotFound(Missing::Notification(_)) => "NOTIFICATION_NOT_FOUND",
            Self::NotFound(Missing::Path) => "PATH_NOT_FOUND",
            Self::MethodNotAllowed { .. } => "METHOD_NOT_ALLOWED",
            Self::UsernameTaken => "USERNAME_TAKEN",
            Self::EmailTaken => "EMAIL_TAKEN",
            Self::ReadStatusExists => "READ_STATUS_EXISTS",
            Self::PrivateChannelUnchangeable => "PRIVATE_CHANNEL_UNCHANGEABLE",
            Self::NotPrivate => "CHANNEL_NOT_PRIVATE",
            Self::TooLarge { .. } => "PAYLOAD_TOO_LARGE",
            Self::UnsupportedMediaType { .. } => "UNSUPPORTED_MEDIA_TYPE",
            Self::RangeNotSatisfiable { .. } => "RANGE_NOT_SATISFIABLE",
            Self::RequestTimeout => "REQUEST_TIMEOUT",
            Self::TooMany { .. } => "TOO_MANY_REQUESTS",
            Self::Unavailable(..) => "SERVICE_UNAVAILABLE",
            Self::NotReady(_) => "NOT_READY",
            Self::Internal(_) => "INTERNAL_ERROR",
        }
    }

    /// The API's `details`: what the client can act on, `{}` when there is nothing to say.
    pub fn details(&self) -> Value {
        match self {
            Self::Invalid(fields) => Value::Object(fields.clone()),
            Self::NotFound(Missing::User(id)) => json!({ "userId": id }),
            Self::NotFound(Missing::Channel(id)) => json!({ "channelId": id }),
            Self::NotFound(Missing::Message(id)) => json!({ "messageId": id }),
            Self::NotFound(Missing::File(id)) => json!({ "binaryContentId": id }),
            Self::NotFound(Missing::ReadStatus(id)) => json!({ "readStatusId": id }),
            Self::NotFound(Missing::Notification(id)) => json!({ "notificationId": id }),
            Self::TooLarge { limit_bytes } => json!({ "limitBytes": limit_bytes }),
            Self::RangeNotSatisfiable { size } => json!({ "size": size }),
            Self::NotReady(states) => states.clone(),
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

    /// Seconds for `Retry-After`, where one belongs.
    pub fn retry_after_seconds(&self) -> Option<u64> {
        match self {
            Self::TooMany { retry_after } => Some(retry_after.as_secs().max(1)),
            Self::Unavailable(..) | Self::NotReady(_) => Some(2),
            _ => None,
        }
    }

    /// Whether somebody should look at it, rather than the caller.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::Internal(_) | Self::Unavailable(..))
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        let away = match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => true,
            // Class 57: stopping or starting, or a statement that took too long; class 53: no resources; 08: connection; 40: a deadlock;
            // 55P03: a lock that did not come; 25P03, 25006: an idle transaction ended, a standby.
            sqlx::Error::Database(db) => db.code().is_some_and(|code| {
                ["57", "53", "08", "40"]
                    .iter()
                    .any(|class| code.starts_with(class))
                    || ["55P03", "25P03", "25006"].contains(&code.as_ref())
            }),
            _ => false,
        };
        if away {
            Self::Unavailable(Dependency::Postgres, Some(error.into()))
        } else {
            Self::Internal(error.into())
        }
    }
}

impl From<redis::RedisError> for Problem {
    fn from(error: redis::RedisError) -> Self {
        // A script's own mistake or a wrong type is a bug; everything else (refused, timed out, loading, read-only replica,
        // out of memory) passes when Redis is well again.
        match error.kind() {
            redis::ErrorKind::UnexpectedReturnType | redis::ErrorKind::InvalidClientConfig => {
                Self::Internal(error.into())
            }
            _ => Self::Unavailable(Dependency::Redis, Some(error.into())),
        }
    }
}

/// The whole chain of an error, for a log line.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
