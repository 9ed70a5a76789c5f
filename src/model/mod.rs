//! The data of the API: types, validation and JSON. No IO.

pub mod channel;
pub mod event;
pub mod fields;
pub mod file;
mod json;
pub mod mention;
pub mod message;
pub mod notification;
pub mod reaction;
pub mod read_status;
pub mod search;
pub mod text;
pub mod trace_parent;
pub mod user;

pub use channel::{Channel, ChannelActivity, ChannelKind};
pub use event::{Control, Event, Topic};
pub use fields::{Field, Validate};
pub use file::{BinaryContent, UploadStatus};
pub use json::from_json;
pub use message::{Message, MessageText, Reply};
pub use notification::{Notification, NotificationKind, NotificationReason};
pub use reaction::{Emoji, Reaction};
pub use read_status::{NotificationLevel, ReadStatus};
pub use trace_parent::TraceParent;
pub use user::{Email, FirstAdmin, NewPassword, Role, User, Username};

/// Instants in JSON: RFC 3339, UTC, with at most microseconds.
pub mod instant {
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _, ser::Error as _};
    use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};

    /// Parses an RFC 3339 instant with any offset.
    ///
    /// Truncates it to microseconds, PostgreSQL's resolution.
    pub fn parse(text: &str) -> Option<OffsetDateTime> {
        let instant = OffsetDateTime::parse(text, &Rfc3339)
            .ok()?
            .checked_to_offset(UtcOffset::UTC)?;
        // RFC 3339 has years of four digits.
        (0..=9999)
            .contains(&instant.year())
            .then(|| truncate(instant))
    }

    /// Truncates an instant to microseconds.
    pub fn truncate(instant: OffsetDateTime) -> OffsetDateTime {
        let micros = instant.microsecond();
        instant.replace_microsecond(micros).unwrap_or(instant)
    }

    /// Formats an instant for JSON.
    pub fn format(instant: OffsetDateTime) -> String {
        truncate(instant.to_offset(UtcOffset::UTC))
            .format(&Rfc3339)
            .unwrap_or_default()
    }

    /// For `#[serde(with)]`.
    ///
    /// # Errors
    /// The year has more than four digits, which no stored instant has.
    pub fn serialize<S: Serializer>(
        instant: &OffsetDateTime,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let text = truncate(instant.to_offset(UtcOffset::UTC))
            .format(&Rfc3339)
            .map_err(S::Error::custom)?;
        serializer.serialize_str(&text)
    }

    /// For `#[serde(with)]`.
    ///
    /// # Errors
    /// The text is not an RFC 3339 instant.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<OffsetDateTime, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        parse(&text)
            .ok_or_else(|| D::Error::custom("must be an instant like 2026-01-31T09:15:02.123456Z"))
    }
}
