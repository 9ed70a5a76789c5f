//! Channels, their names and descriptions.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::{
    ids::ChannelId,
    model::{text, user::User},
};

/// The type of a channel, which decides to whom it is visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::Type, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[sqlx(rename_all = "SCREAMING_SNAKE_CASE", type_name = "text")]
pub enum ChannelKind {
    /// Visible to every signed-in user.
    Public,
    /// Visible to its participants only.
    Private,
}

/// A channel, as in the API.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Channel {
    /// Identifier.
    pub id: ChannelId,
    /// Null for most private channels.
    #[schema(required)]
    pub name: Option<String>,
    /// Null for a private channel.
    #[schema(required)]
    pub description: Option<String>,
    /// Public or private.
    #[serde(rename = "type")]
    pub kind: ChannelKind,
    /// Empty for a public channel.
    pub participants: Vec<User>,
    /// When the newest message was created; without messages, when the channel was.
    #[serde(with = "super::instant")]
    #[schema(value_type = String, format = DateTime)]
    pub last_message_at: OffsetDateTime,
    /// The position of the newest message, or 0.
    pub last_seq: i64,
    /// Whether participants who are added later to a private channel see the messages from before.
    pub with_history: bool,
}

/// The newest message of a channel, as in the events of the activity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, sqlx::FromRow)]
#[serde(rename_all = "camelCase")]
pub struct ChannelActivity {
    /// The channel.
    pub channel_id: ChannelId,
    /// The position of its newest message, or 0.
    pub last_seq: i64,
    /// When the newest message was created; without messages, when the channel was.
    #[serde(with = "super::instant")]
    pub last_message_at: OffsetDateTime,
}

/// Maximum length of a channel's name in characters (Unicode scalar values) of its composed form.
const MAX_NAME_LEN: usize = 100;
/// Maximum length of a channel's description in characters (Unicode scalar values) of its composed form.
const MAX_DESCRIPTION_LEN: usize = 500;

/// Validates the name of a channel and composes it (NFC).
///
/// # Errors
/// The rule that the name breaks.
pub fn name(sent: &str) -> Result<String, &'static str> {
    let name = text::composed(sent);
    if name.trim().is_empty() || !text::fits(&name, MAX_NAME_LEN) {
        Err("must be 1 to 100 characters, not only space")
    } else if text::is_visible(&name) {
        Ok(name)
    } else {
        Err("must not contain control characters or invisible characters")
    }
}

/// Validates the description of a public channel and composes it (NFC).
///
/// Line breaks and tabs are the only control characters allowed.
///
/// # Errors
/// The rule that the description breaks.
pub fn description(sent: &str) -> Result<String, &'static str> {
    let description = text::composed(sent);
    let ok = text::fits(&description, MAX_DESCRIPTION_LEN)
        && !description
            .chars()
            .any(|c| c.is_control() && c != '\n' && c != '\r' && c != '\t');
    if ok {
        Ok(description)
    } else {
        Err("must be at most 500 characters without control characters")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_composed_and_visible() {
        let decomposed = "\u{1100}\u{1161}\u{11a8}".repeat(100);
        assert_eq!(name(&decomposed), Ok("각".repeat(100)));
        assert_eq!(name("잡담 💬️"), Ok("잡담 💬️".to_owned()));
        for hidden in [
            "",
            "  ",
            "\u{3164}",
            "\u{2800}\u{2800}",
            "general\u{200b}",
            "a\u{202e}b",
        ] {
            assert!(name(hidden).is_err(), "{hidden:?}");
        }
        assert!(name(&"a".repeat(101)).is_err());
    }

    #[test]
    fn descriptions_are_counted_composed() {
        let decomposed = "e\u{301}".repeat(500);
        assert_eq!(description(&decomposed), Ok("é".repeat(500)));
        assert!(description(&"a".repeat(501)).is_err());
    }
}
