//! Why and how the server closes a connection.

/// How a link ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disconnect {
    /// The peer is gone or hopeless: nothing more is written.
    Gone,
    /// It is to be closed, see [`Link::close`].
    Close {
        /// Code.
        code: u16,
        /// Reason.
        reason: &'static str,
    },
}

impl Disconnect {
    /// To be closed so.
    pub fn close(code: u16, reason: &'static str) -> Self {
        Self::Close { code, reason }
    }
}

impl From<CloseReason> for Disconnect {
    fn from(close_reason: CloseReason) -> Self {
        match close_reason {
            // The code that other servers of this kind use.
            CloseReason::Slow => Self::close(4500, "The connection fell behind."),
            CloseReason::TooMany => Self::close(1008, "Too many connections."),
            CloseReason::Draining => Self::close(1001, "The node is leaving."),
            CloseReason::Revoked => Self::close(1008, "The session has ended."),
        }
    }
}

/// Why the server ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// It fell behind.
    Slow,
    /// The session or account has ended.
    Revoked,
    /// A newer connection of the user took its place.
    TooMany,
    /// The node is leaving.
    Draining,
}
