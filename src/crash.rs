//! Points between the steps of a write at which a test ends the process, as a crash would.
//!
//! They are compiled in with the feature `crash-points` only, and the process ends at the one that `CRASH_AT` names. The integration
//! tests end a node at each of them and check the promises on another node.

/// A point at which the process may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// A group of messages is committed, and no event is published.
    MessageCommitted,
    /// The events of a group of messages are sent, and its senders have no answer.
    MessagePublished,
    /// Another change is committed, and no event is published.
    ChangeCommitted,
    /// Another change is committed, its events are sent, and its caller has no answer.
    ChangePublished,
    /// An SSE event is in no history yet.
    HistoryPending,
    /// An SSE event is in the history, and not sent to Kafka.
    HistoryAppended,
    /// Kafka has acknowledged an event, whose row is still in the outbox.
    EventAcknowledged,
    /// The rows of acknowledged events are deleted.
    EventDeleted,
    /// A sweep has claimed rows of the outbox.
    SweepClaimed,
    /// A sweep has published rows of the outbox, and they are still there.
    SweepPublished,
    /// Jobs have arrived and are not done.
    JobReceived,
    /// Jobs are done, and their offset is not committed.
    JobDone,
    /// The bytes of a file are in the storage, and its row is not written.
    FileStaged,
    /// The bytes of a file are published, and its row still waits for that.
    FilePublished,
    /// A batch of a deletion is purged and not committed.
    PurgeWritten,
    /// The sessions of a user are revoked, and the change that revokes them is not committed.
    SessionsRevoked,
}

impl Point {
    /// All points.
    pub const ALL: [Self; 16] = [
        Self::MessageCommitted,
        Self::MessagePublished,
        Self::ChangeCommitted,
        Self::ChangePublished,
        Self::HistoryPending,
        Self::HistoryAppended,
        Self::EventAcknowledged,
        Self::EventDeleted,
        Self::SweepClaimed,
        Self::SweepPublished,
        Self::JobReceived,
        Self::JobDone,
        Self::FileStaged,
        Self::FilePublished,
        Self::PurgeWritten,
        Self::SessionsRevoked,
    ];

    /// Ends the process, without any cleanup, if this point is armed.
    #[inline]
    pub fn pass(self) {
        #[cfg(feature = "crash-points")]
        if ARMED.get() == Some(&self) {
            std::process::abort();
        }
    }
}

#[cfg(feature = "crash-points")]
static ARMED: std::sync::OnceLock<Point> = std::sync::OnceLock::new();

/// Arms the point with this name.
#[cfg(feature = "crash-points")]
pub fn arm(name: &str) {
    let found = Point::ALL
        .into_iter()
        .find(|point| format!("{point:?}") == name);
    let point = found.unwrap_or_else(|| panic!("there is no crash point {name}"));
    ARMED.get_or_init(|| point);
}
