//! Why and how the server closes a connection.

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disconnect {
    /// The peer is gone or has stalled; nothing more is written.
    Gone,
    /// The server sends a close frame.
    Close {
        /// Close code of the WebSocket protocol.
        code: u16,
        /// Close reason.
        reason: &'static str,
    },
}

impl Disconnect {
    /// A close with this code and reason.
    pub fn close(code: u16, reason: &'static str) -> Self {
        Self::Close { code, reason }
    }
}

impl From<CloseReason> for Disconnect {
    fn from(close_reason: CloseReason) -> Self {
        match close_reason {
            // Private use (RFC 6455 §7.4.2).
            CloseReason::Slow => Self::close(4500, "The connection fell behind."),
            CloseReason::TooMany => Self::close(1008, "Too many connections."),
            CloseReason::Draining => Self::close(1001, "The node is leaving."),
            CloseReason::Revoked => Self::close(1008, "The session has ended."),
            // "Try again later" (IANA's registry of close codes).
            CloseReason::Unverified => {
                Self::close(1013, "The access to a channel cannot be checked.")
            }
        }
    }
}

impl Disconnect {
    /// A name for the metrics. A client may choose any code, so it has a name only if the protocol or the node defines it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Close { code, .. } => match code {
                1000 => "normal",
                1001 => "going_away",
                1002 => "protocol_error",
                1003 | 1007 => "invalid_data",
                1008 => "policy",
                1009 => "too_large",
                1011 => "internal_error",
                1013 => "try_again_later",
                4500 => "slow",
                _ => "other",
            },
        }
    }
}

/// Why the server closes a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client reads too slowly.
    Slow,
    /// The session or account has ended.
    Revoked,
    /// The user may have lost a channel, and the store does not say. The client connects and subscribes again.
    Unverified,
    /// The user has too many connections.
    TooMany,
    /// The node is draining.
    Draining,
}

impl CloseReason {
    /// A name for the metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Revoked => "revoked",
            Self::Unverified => "unverified",
            Self::TooMany => "too_many",
            Self::Draining => "draining",
        }
    }
}
