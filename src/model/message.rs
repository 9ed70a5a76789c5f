//! Messages.

use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    ids::{ChannelId, MessageId},
    model::{BinaryContent, user::User},
};

/// A message as the API, STOMP and Kafka carry it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// Identifier.
    pub id: MessageId,
    /// When it was accepted; never before an earlier message of the channel.
    #[serde(with = "super::instant")]
    pub created_at: OffsetDateTime,
    /// When its content last changed; `created_at` until then.
    #[serde(with = "super::instant")]
    pub updated_at: OffsetDateTime,
    /// Text.
    pub content: String,
    /// Channel.
    pub channel_id: ChannelId,
    /// Null when the account is gone.
    pub author: Option<User>,
    /// Its files, in the order in which they were sent.
    pub attachments: Vec<BinaryContent>,
    /// Position in its channel: 1, 2, 3 …
    pub seq: i64,
    /// The identifier its sender made up, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_message_id: Option<Uuid>,
}

/// A valid text of a message: 1 to 2,000 characters.
#[derive(Clone, Debug)]
pub struct MessageText(String);

impl MessageText {
    /// The longest text, in characters (Unicode scalar values).
    pub const LONGEST: usize = 2_000;

    /// # Errors
    /// The rule, as the field's complaint.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.trim().is_empty() {
            Err("must not be empty")
        } else {
            Self::parse_beside_files(text)
        }
    }

    /// The text of a message with attachments, which may be empty.
    ///
    /// # Errors
    /// The rule, as the field's complaint.
    pub fn parse_beside_files(text: &str) -> Result<Self, &'static str> {
        // A character takes at most 4 bytes: a text far too long is not counted.
        if text.len() > 4 * Self::LONGEST || text.chars().count() > Self::LONGEST {
            Err("must be at most 2000 characters")
        } else if text.contains('\0') {
            // PostgreSQL's text cannot hold it.
            Err("must not contain the character U+0000")
        } else {
            Ok(Self(text.to_owned()))
        }
    }

    /// The text.
    pub fn into_string(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_counted_in_characters_not_in_bytes() {
        assert!(MessageText::parse(&"😀".repeat(2_000)).is_ok());
        assert!(MessageText::parse(&"a".repeat(2_001)).is_err());
    }

    #[test]
    fn a_text_that_the_database_cannot_hold_is_refused() {
        assert!(MessageText::parse("a\0b").is_err());
        assert!(MessageText::parse("  \n ").is_err());
    }
}
