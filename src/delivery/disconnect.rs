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
