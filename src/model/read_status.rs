//! Read statuses, one for each user and channel.

use serde::Serialize;
use time::OffsetDateTime;

use crate::ids::{ChannelId, ReadStatusId, UserId};

/// How far a user has read a channel, as in the API.
#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
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
    pub last_read_at: OffsetDateTime,
    /// Whether new messages notify the user.
    pub notification_enabled: bool,
}
