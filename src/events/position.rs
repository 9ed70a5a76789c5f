//! Positions in the SSE history and their wire form, the SSE event id.

use std::fmt;

use bytes::Bytes;

use crate::{ids::UserId, model::event::EVERYONE};

/// One of the two kinds of streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventLog {
    /// Events for everyone.
    All,
    /// Events for one user.
    User(UserId),
}

impl EventLog {
    /// The stream of an event's key.
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

    /// The event ids of the stream's last entries. The braces put it into its stream's hash slot.
    pub(super) fn seen_key(self) -> String {
        format!("sse:seen:{{{}}}", self.key())
    }
}

/// A place in one stream: behind its entry `n` of that epoch. `n` 0 is a stream without entries, seen at that time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Milliseconds since 1970.
    pub epoch: u64,
    /// Entry.
    pub n: u64,
}

impl Position {
    /// The position right before this one in the log. Before a stream's first entry everything is.
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

/// An event's id on the encoding: the positions in the user's own stream and in the common one, and whose it is:
/// `3k2-17.9f1-204.c5x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The end of the user's id: two users' streams may begin in the same millisecond, and then one's position would pass
    /// for the other's.
    whose: u64,
    /// In `sse:user:{userId}`.
    pub user: Position,
    /// In `sse:all`.
    pub all: Position,
}

impl Cursor {
    /// Bits of a user's id in a cursor. They only tell apart those whose streams began in the same millisecond.
    const WHOSE: u64 = (1 << 20) - 1;

    /// A user's cursor.
    pub fn of(owner: UserId, user: Position, all: Position) -> Self {
        Self {
            whose: owner.0.as_u64_pair().1 & Self::WHOSE,
            user,
            all,
        }
    }

    /// Parses the wire form; `None` for anything we have not made for that user.
    pub fn parse(text: &str, owner: UserId) -> Option<Self> {
        let position = |text: &str| {
            let (epoch, n) = text.split_once('-')?;
            Some(Position {
                epoch: parse_base36(epoch)?,
                n: parse_base36(n)?,
            })
        };
        let (user, rest) = text.split_once('.')?;
        let (all, whose) = rest.split_once('.')?;
        let cursor = Self::of(owner, position(user)?, position(all)?);
        (parse_base36(whose)? == cursor.whose).then_some(cursor)
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, end) in [
            (self.user.epoch, "-"),
            (self.user.n, "."),
            (self.all.epoch, "-"),
            (self.all.n, "."),
            (self.whose, ""),
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

/// Lower-case digits only, and no `+`, which the standard library would take.
fn parse_base36(text: &str) -> Option<u64> {
    let ok = !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_digit() || b.is_ascii_lowercase());
    ok.then(|| u64::from_str_radix(text, 36).ok()).flatten()
}

/// One event of a stream.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Where it stands.
    pub at: Position,
    /// The SSE event's name.
    pub name: String,
    /// The SSE event's data, JSON in one line.
    pub data: Bytes,
}

/// Why a replay cannot be complete; the `reason` of a `resync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplayGap {
    /// The history no longer reaches back that far.
    Expired,
    /// More than a replay may bring.
    TooFar,
    /// A position we have not given out, or one from data that Redis has lost.
    Unknown,
}

impl ReplayGap {
    /// The wire form.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::TooFar => "too_far",
            Self::Unknown => "unknown",
        }
    }
}
