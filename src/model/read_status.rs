//! Read statuses, one for each user and channel.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

use crate::ids::{ChannelId, ReadStatusId, UserId};

/// The new messages of a channel that notify a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::Type, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[sqlx(rename_all = "SCREAMING_SNAKE_CASE", type_name = "text")]
pub enum NotificationLevel {
    /// All messages.
    All,
    /// Messages that mention the user or reply to the user.
    Mentions,
    /// None.
    None,
}

/// How far a user has read a channel, as in the API.
#[derive(Clone, Debug, Serialize, sqlx::FromRow, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReadStatus {
    /// Identifier.
    pub id: ReadStatusId,
    /// User.
    pub user_id: UserId,
    /// Channel.
    pub channel_id: ChannelId,
    /// The user has read messages up to this instant.
    #[serde(with = "super::instant")]
    #[schema(value_type = String, format = DateTime)]
    pub last_read_at: OffsetDateTime,
    /// Whether all new messages notify the user.
    pub notification_enabled: bool,
    /// The user has read messages up to this position.
    pub last_read_seq: i64,
    /// The new messages that notify the user.
    pub notification_level: NotificationLevel,
    /// Number of later messages that mention the user, at most 1,000.
    pub mentions: i64,
    /// Number of later positions whose messages are deleted. 0 when 100 or more later messages exist.
    ///
    /// So the number of unread messages, if it is less than 100, is `lastSeq - lastReadSeq - unreadDeleted`.
    pub unread_deleted: i64,
}
