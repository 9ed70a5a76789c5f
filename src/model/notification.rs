//! Notifications: what a user is told of until they say that they have seen it.

use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::ids::{NotificationId, UserId};

/// Why somebody is notified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, sqlx::Type)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[sqlx(type_name = "text", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum NotificationKind {
    /// A message in a channel for which the receiver has turned notifications on; the target is the channel.
    NewMessage,
    /// The receiver has another role; the target is the receiver.
    RoleChanged,
    /// Something the receiver had asked for failed later; no target.
    AsyncFailed,
}

/// A notification as the API and SSE show it.
#[derive(Clone, Debug, Serialize, sqlx::FromRow)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    /// Identifier.
    pub id: NotificationId,
    /// When it was written.
    #[serde(with = "super::instant")]
    pub created_at: OffsetDateTime,
    /// Whom it is for.
    pub receiver_id: UserId,
    /// One line.
    pub title: String,
    /// What happened.
    pub content: String,
    /// Why.
    #[serde(rename = "type")]
    #[sqlx(rename = "type")]
    pub kind: NotificationKind,
    /// What it is about.
    pub target_id: Option<Uuid>,
}
