//! Notifications, which stay until their receiver dismisses them.

use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::ids::{NotificationId, UserId};

/// The reason for a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, sqlx::Type, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[sqlx(type_name = "text", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum NotificationKind {
    /// A message in a channel with notifications on. The target is the channel.
    NewMessage,
    /// The receiver's role has changed. The target is the receiver.
    RoleChanged,
    /// An upload failed after the request was accepted. No target.
    AsyncFailed,
}

/// Why a message notifies its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, sqlx::Type, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[sqlx(type_name = "text", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum NotificationReason {
    /// A message in a channel with notifications on.
    Message,
    /// The message mentions the receiver.
    Mention,
    /// The message replies to one of the receiver.
    Reply,
}

/// A notification, as in the API and SSE.
#[derive(Clone, Debug, Serialize, sqlx::FromRow, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    /// Identifier.
    pub id: NotificationId,
    /// When it was created.
    #[serde(with = "super::instant")]
    #[schema(value_type = String, format = DateTime)]
    pub created_at: OffsetDateTime,
    /// The receiver.
    pub receiver_id: UserId,
    /// Title, one line.
    pub title: String,
    /// Text.
    pub content: String,
    /// Reason.
    #[serde(rename = "type")]
    #[sqlx(rename = "type")]
    pub kind: NotificationKind,
    /// The channel or user that a client opens.
    #[schema(required)]
    pub target_id: Option<Uuid>,
    /// Why a message notifies the receiver; null for other notifications.
    #[schema(required)]
    pub reason: Option<NotificationReason>,
}
