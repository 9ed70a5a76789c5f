//! Positions in the SSE history, and the SSE event id that carries them.

use std::fmt;

use bytes::Bytes;

use crate::{ids::UserId, model::event::EVERYONE};

/// A log of the SSE history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventLog {
    /// Events for everyone.
    All,
    /// Events for one user.
    User(UserId),
}

impl EventLog {
    /// The log of an event's key.
    pub fn of_key(key: &str) -> Option<Self> {
        if key == EVERYONE {
            Some(Self::All)
        } else {
            key.parse().ok().map(Self::User)
        }
    }

    pub(super) fn key(self) -> String {
        match self {
            Self::All => "sse:all".to_owned(),
            Self::User(user) => format!("sse:user:{user}"),
        }
    }

    /// Key of the event ids of the log's entries. The braces put it into the hash slot of the log.
    pub(super) fn seen_key(self) -> String {
        format!("sse:seen:{{{}}}", self.key())
    }
}

/// A position in a log: after entry `n` of an epoch. With `n` 0 the log had no entries at the time `epoch`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Start of the epoch, in milliseconds since 1970.
    pub epoch: u64,
    /// Number of the entry.
    pub n: u64,
}

impl Position {
    /// The position right before this one. Before the first entry of a log it is the lowest position.
    #[must_use]
    pub fn previous(self) -> Self {
        if self.n <= 1 {
            Self::default()
        } else {
            Self {
                n: self.n - 1,
                ..self
            }
        }
    }

    /// Parses Redis' form, `1700000000000-17`.
    pub fn parse(text: &str) -> Option<Self> {
        let (epoch, n) = text.split_once('-')?;
        Some(Self {
            epoch: epoch.parse().ok()?,
            n: n.parse().ok()?,
        })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.n)
    }
}

/// The id of an SSE event, `3k2-17.9f1-204.c5x`: positions in the user's own log and in the common log, and a tag of the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Last bits of the user's id. The logs of two users may begin in the same millisecond; without the tag, the position of one
    /// would be valid for the other.
    owner_tag: u64,
    /// In `sse:user:{userId}`.
    pub user: Position,
    /// In `sse:all`.
    pub all: Position,
}

impl Cursor {
    /// Bits of the user's id in a cursor. They distinguish only users whose logs began in the same millisecond.
    const OWNER_TAG: u64 = (1 << 20) - 1;

    /// A user's cursor.
    pub fn of(owner: UserId, user: Position, all: Position) -> Self {
        Self {
            owner_tag: owner.0.as_u64_pair().1 & Self::OWNER_TAG,
            user,
            all,
        }
    }

    /// Parses an event id; `None` unless it was made for this user.
    pub fn parse(text: &str, owner: UserId) -> Option<Self> {
        let position = |text: &str| {
            let (epoch, n) = text.split_once('-')?;
            Some(Position {
                epoch: parse_base36(epoch)?,
                n: parse_base36(n)?,
            })
        };
        let (user, rest) = text.split_once('.')?;
        let (all, tag) = rest.split_once('.')?;
        let cursor = Self::of(owner, position(user)?, position(all)?);
        (parse_base36(tag)? == cursor.owner_tag).then_some(cursor)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, end) in [
            (self.user.epoch, "-"),
            (self.user.n, "."),
            (self.all.epoch, "-"),
            (self.all.n, "."),
            (self.owner_tag, ""),
        ] {
            write_base36(f, number)?;
            f.write_str(end)?;
        }
        Ok(())
    }
}

fn write_base36(f: &mut fmt::Formatter<'_>, mut number: u64) -> fmt::Result {
    let mut digits = [0u8; 13];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] =
            b"0123456789abcdefghijklmnopqrstuvwxyz"[usize::try_from(number % 36).unwrap_or(0)];
        number /= 36;
        if number == 0 {
            break;
        }
    }
    f.write_str(std::str::from_utf8(&digits[at..]).unwrap_or_default())
}

/// Accepts lower-case digits only; the standard library would accept a `+` too.
fn parse_base36(text: &str) -> Option<u64> {
    let ok = !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || b.is_ascii_lowercase());
    ok.then(|| u64::from_str_radix(text, 36).ok()).flatten()
}

/// An event of a log.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Position.
    pub at: Position,
    /// Name of the SSE event.
    pub name: String,
    /// Data of the SSE event: JSON in one line.
    pub data: Bytes,
}

/// Why a replay would be incomplete; the `reason` of a `resync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayGap {
    /// The log no longer has the entries after the position.
    Expired,
    /// More entries than a replay may have.
    TooFar,
    /// An invalid position, or a position in data that Redis has lost.
    Unknown,
}

impl ReplayGap {
    /// The `reason` in a `resync` event.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::TooFar => "too_far",
            Self::Unknown => "unknown",
        }
    }
}
