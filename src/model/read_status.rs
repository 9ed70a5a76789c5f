//! Read statuses.

use serde::Serialize;
use time::OffsetDateTime;

use crate::ids::{ChannelId, ReadStatusId, UserId};

/// What a user has read of a channel, as the API shows it.
#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
#[serde(rename_all = "camelCase")]
pub struct ReadStatus {
    /// Identifier.
    pub id: ReadStatusId,
    /// Whose.
    pub user_id: UserId,
    /// Of which channel.
    pub channel_id: ChannelId,
    /// Everything up to here has been read.
    #[serde(with = "super::instant")]
    pub last_read_at: OffsetDateTime,
    /// Whether new messages make notifications.
    pub notification_enabled: bool,
}
