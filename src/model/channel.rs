//! Channels.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::{ids::ChannelId, model::user::User};

/// Who may read a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::Type)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[sqlx(rename_all = "SCREAMING_SNAKE_CASE", type_name = "text")]
pub enum ChannelKind {
    /// Every signed-in user.
    Public,
    /// Its participants, and nobody else hears of it.
    Private,
}

/// A channel as the API shows it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Channel {
    /// Identifier.
    pub id: ChannelId,
    /// Null for a private one.
    pub name: Option<String>,
    /// Null for a private one.
    pub description: Option<String>,
    /// Public or private.
    #[serde(rename = "type")]
    pub kind: ChannelKind,
    /// Empty for a public one.
    pub participants: Vec<User>,
    /// The newest message's instant, else the channel's own.
    #[serde(with = "super::instant")]
    pub last_message_at: OffsetDateTime,
}

/// A public channel's valid name.
///
/// # Errors
/// The rule, as the field's complaint.
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

/// A public channel's valid description. Lines may break; other control characters may not be there.
///
/// # Errors
/// The rule, as the field's complaint.
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
