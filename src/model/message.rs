//! Messages and their text.

use bytes::Bytes;
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    ids::{ChannelId, MessageId, UserId},
    model::{BinaryContent, Reaction, text, user::User},
    problem::Problem,
};

/// A message, as in the API, STOMP and Kafka.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// Identifier.
    pub id: MessageId,
    /// When the node accepted it; not before an earlier message of the channel.
    #[serde(with = "super::instant")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: OffsetDateTime,
    /// When the text was last changed; `created_at` if it never was.
    #[serde(with = "super::instant")]
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: OffsetDateTime,
    /// Text.
    pub content: String,
    /// Channel.
    pub channel_id: ChannelId,
    /// Null when the account is deleted.
    #[schema(required)]
    pub author: Option<User>,
    /// Files, in the client's order.
    pub attachments: Vec<BinaryContent>,
    /// Position in its channel: 1, 2, 3 …
    pub seq: i64,
    /// The message that this one replies to.
    #[schema(required)]
    pub reply_to: Option<Reply>,
    /// The users whom the text mentions and to whom the channel was visible then.
    pub mentions: Vec<UserId>,
    /// Reactions, one for each emoji, in the order of their first use.
    pub reactions: Vec<Reaction>,
    /// The client's identifier of the message, if it sent one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_message_id: Option<Uuid>,
}

impl Message {
    /// The message as JSON, serialised once for the author, Kafka and every subscriber.
    ///
    /// # Errors
    /// [`Problem::Internal`].
    pub fn to_json(&self) -> Result<Bytes, Problem> {
        let json = serde_json::to_vec(self).map_err(Problem::internal)?;
        Ok(json.into())
    }
}

/// The message that another message replies to, as it was when the reply was read.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Reply {
    /// Identifier.
    pub id: MessageId,
    /// Position in the channel.
    pub seq: i64,
    /// Null when the account or the message is deleted.
    #[schema(required)]
    pub author: Option<User>,
    /// The beginning of the text, or of the names of the files. Null when the message is deleted.
    #[schema(required)]
    pub excerpt: Option<String>,
    /// Whether the message is deleted.
    pub deleted: bool,
}

/// Maximum length of an excerpt in characters (Unicode scalar values).
pub const MAX_EXCERPT_LEN: usize = 200;

/// The beginning of a text. An ellipsis takes the place of the rest.
pub fn excerpt(text: &str) -> String {
    let mut excerpt: String = text.chars().take(MAX_EXCERPT_LEN).collect();
    if excerpt.len() < text.len() {
        excerpt.push('…');
    }
    excerpt
}

/// A valid text of a message: 1 to 2,000 characters, or none beside files.
#[derive(Clone, Debug)]
pub struct MessageText(String);

impl MessageText {
    /// Maximum length in characters (Unicode scalar values) of the composed form (NFC).
    pub const MAX_LEN: usize = 2_000;

    /// Validates the text of a message without files.
    ///
    /// # Errors
    /// The rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if text.trim().is_empty() {
            Err("must not be empty")
        } else {
            Self::parse_beside_files(text)
        }
    }

    /// Validates the text of a message with files, which may be empty.
    ///
    /// # Errors
    /// The rule that the text breaks.
    pub fn parse_beside_files(text: &str) -> Result<Self, &'static str> {
        // The text is stored as sent: NFC would replace characters that look different, such as Han variants.
        if !text::fits(text, Self::MAX_LEN) {
            Err("must be at most 2000 characters")
        } else if text.contains('\0') {
            // PostgreSQL's type text cannot store it.
            Err("must not contain the character U+0000")
        } else {
            Ok(Self(text.to_owned()))
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
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
    fn text_length_is_counted_in_characters() {
        assert!(MessageText::parse(&"😀".repeat(2_000)).is_ok());
        assert!(MessageText::parse(&"a".repeat(2_001)).is_err());
    }

    #[test]
    fn a_decomposed_text_is_counted_composed_and_kept_as_sent() {
        let sent = "\u{1100}\u{1161}\u{11a8}".repeat(2_000);
        let text = MessageText::parse(&sent).expect("2,000 characters");
        assert_eq!(text.into_string(), sent);
        assert!(MessageText::parse(&"e\u{301}".repeat(2_001)).is_err());
    }

    #[test]
    fn an_excerpt_ends_with_an_ellipsis_when_the_text_goes_on() {
        let text = "가".repeat(MAX_EXCERPT_LEN);
        assert_eq!(excerpt(&text), text);
        assert_eq!(excerpt(&format!("{text}나")), format!("{text}…"));
    }

    #[test]
    fn empty_text_and_text_with_nul_are_rejected() {
        assert!(MessageText::parse("a\0b").is_err());
        assert!(MessageText::parse("  \n ").is_err());
    }
}
