//! Channels, their names and descriptions.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::{ids::ChannelId, model::user::User};

/// The type of a channel, which decides to whom it is visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::Type)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[sqlx(rename_all = "SCREAMING_SNAKE_CASE", type_name = "text")]
pub enum ChannelKind {
    /// Visible to every signed-in user.
    Public,
    /// Visible to its participants only.
    Private,
}

/// A channel, as in the API.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Channel {
    /// Identifier.
    pub id: ChannelId,
    /// Null for a private channel.
    pub name: Option<String>,
    /// Null for a private channel.
    pub description: Option<String>,
    /// Public or private.
    #[serde(rename = "type")]
    pub kind: ChannelKind,
    /// Empty for a public channel.
    pub participants: Vec<User>,
    /// When the newest message was created; without messages, when the channel was.
    #[serde(with = "super::instant")]
    pub last_message_at: OffsetDateTime,
}

/// Validates the name of a public channel.
///
/// # Errors
/// The rule that the name breaks.
pub fn name(text: &str) -> Result<String, &'static str> {
    let ok = (1..=100).contains(&text.chars().count())
        && !text.trim().is_empty()
        && !text.chars().any(char::is_control);
    if ok {
        Ok(text.to_owned())
    } else {
        Err("must be 1 to 100 characters, not only space, without control characters")
    }
}

/// Validates the description of a public channel.
///
/// Line breaks and tabs are the only control characters allowed.
///
/// # Errors
/// The rule that the description breaks.
pub fn description(text: &str) -> Result<String, &'static str> {
    let ok = text.chars().count() <= 500
        && !text
            .chars()
            .any(|c| c.is_control() && c != '\n' && c != '\r' && c != '\t');
    if ok {
        Ok(text.to_owned())
    } else {
        Err("must be at most 500 characters without control characters")
    }
}
