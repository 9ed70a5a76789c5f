//! Conditions that the simulation can remove, to prove that it notices when one is missing.

/// A condition of the delivery; the simulation runs with each of them removed.
#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// An event that was delivered before is dropped.
    Duplicates,
    /// An event is held back while an earlier one is missing.
    Gaps,
    /// Early events are held back until they are next.
    EarlyOrder,
    /// A repair skips the positions that the store does not have.
    Through,
    /// A subscription does not move the position of a started sequence.
    Start,
    /// A full page of a repair ends at its last message.
    Page,
    /// A subscriber does not get messages from before the subscription.
    After,
    /// A removed user's pending subscription is refused.
    Removed,
    /// The connection of a removed user who has subscribed since the check is closed.
    AddedSince,
    /// The first event of a new epoch is a gap.
    Epoch,
    /// A stream does not write an event twice.
    Written,
    /// A stream reads the events between its first read and its subscription.
    Recent,
}

#[cfg(test)]
impl Check {
    pub(super) const ALL: [Self; 12] = [
        Self::Duplicates,
        Self::Gaps,
        Self::EarlyOrder,
        Self::Through,
        Self::Start,
        Self::Page,
        Self::After,
        Self::Removed,
        Self::AddedSince,
        Self::Epoch,
        Self::Written,
        Self::Recent,
    ];
}

#[cfg(test)]
thread_local! {
    /// The check that is removed on this thread.
    pub(super) static REMOVED: std::cell::Cell<Option<Check>> = const { std::cell::Cell::new(None) };
}

/// Evaluates a condition, which is a [`Check`] with this name.
#[cfg(not(test))]
macro_rules! check {
    ($name:ident, $condition:expr) => {
        std::convert::identity($condition)
    };
}

/// Evaluates a condition. False while the [`Check`] with this name is removed.
#[cfg(test)]
macro_rules! check {
    ($name:ident, $condition:expr) => {{
        use crate::delivery::check::{Check, REMOVED};
        REMOVED.get() != Some(Check::$name) && $condition
    }};
}

pub(super) use check;
