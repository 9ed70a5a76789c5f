//! Events: what happened, on its way from the transaction that caused it to the sockets of every node.
//!
//! The names of topics, kinds and SSE events stand here and nowhere else.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    ids::{ChannelId, EventId, MessageId, NotificationId, SessionId, UserId},
    model::{BinaryContent, Notification},
};

/// The Kafka topics, without the configured prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// What subscribers of a channel get; key: the channel.
    Messages,
    /// What SSE streams get; key: the user, or [`EVERYONE`].
    Sse,
    /// What cuts sockets and subscriptions; key: the user or channel.
    Control,
    /// Work for one node; key: the channel.
    Jobs,
}

impl Topic {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Messages, Self::Sse, Self::Control, Self::Jobs];
    /// Those of which every node reads every record.
    pub const FAN_OUT: [Self; 3] = [Self::Messages, Self::Sse, Self::Control];

    /// The name behind the prefix.
    pub fn name(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Sse => "sse",
            Self::Control => "control",
            Self::Jobs => "jobs",
        }
    }

    /// The topic of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.name() == name)
    }
}

/// The key of an SSE event for every user.
pub const EVERYONE: &str = "all";

/// Kind of a new message; the body is its `Message`, `seq` its position.
pub const MESSAGE_CREATED: &str = "message.created";
/// Kind of a changed message; the body is `{type, message}`.
pub const MESSAGE_UPDATED: &str = "message.updated";
/// Kind of a deleted message; the body is `{type, channelId, messageId}`.
pub const MESSAGE_DELETED: &str = "message.deleted";
/// Kind of somebody writing a message; the body is `{type, channelId, userId, username}`. Stored nowhere.
pub const TYPING: &str = "typing";
/// SSE event: fetch this channel again.
pub const CHANNELS_REFRESH: &str = "channels.refresh";
/// SSE event: fetch this user again.
pub const USERS_REFRESH: &str = "users.refresh";
/// SSE event: a new notification; the body is its `Notification`.
pub const NOTIFICATIONS: &str = "notifications";
/// SSE event: the receiver has deleted a notification, here or elsewhere.
pub const NOTIFICATIONS_DELETED: &str = "notifications.deleted";
/// SSE event: a file can be downloaded now, or never will be; the body is its `BinaryContent`.
pub const BINARY_CONTENTS_STATUS: &str = "binaryContents.status";
/// SSE event: everything up to this id has been sent.
pub const SYNC: &str = "sync";
/// SSE event: the replay cannot be complete, fetch everything again.
pub const RESYNC: &str = "resync";
/// Kind of every control event; the body is a [`Control`].
const CONTROL: &str = "control";

/// One event.
#[derive(Clone, Debug)]
pub struct Event {
    /// The same for every copy of the event, however often it is sent.
    pub id: EventId,
    /// Where it goes.
    pub topic: Topic,
    /// The channel, the user, or [`EVERYONE`]. Events of one key keep their order.
    pub key: String,
    /// One of the names above.
    pub kind: &'static str,
    /// The position in the channel, of a new message.
    pub seq: Option<i64>,
    /// JSON, serialised once, here; the same bytes reach the last socket.
    pub body: Bytes,
}

impl Event {
    /// A new message.
    pub fn message_created(channel: ChannelId, seq: i64, body: Bytes) -> Self {
        Self {
            id: EventId::new(),
            topic: Topic::Messages,
            key: channel.to_string(),
            kind: MESSAGE_CREATED,
            seq: Some(seq),
            body,
        }
    }

    /// Work: write the notifications of a new message.
    pub fn notify_of(channel: ChannelId, message: MessageId) -> Self {
        Self {
            id: EventId::new(),
            topic: Topic::Jobs,
            key: channel.to_string(),
            kind: MESSAGE_CREATED,
            seq: None,
            body: json!({ "messageId": message }).to_string().into(),
        }
    }

    /// A changed message; `message` is its `Message`.
    pub fn message_updated(channel: ChannelId, message: &impl Serialize) -> Self {
        Self::in_channel(
            channel,
            MESSAGE_UPDATED,
            &json!({ "type": MESSAGE_UPDATED, "message": message }),
        )
    }

    /// A deleted message.
    pub fn message_deleted(channel: ChannelId, message: MessageId) -> Self {
        let body = json!({ "type": MESSAGE_DELETED, "channelId": channel, "messageId": message });
        Self::in_channel(channel, MESSAGE_DELETED, &body)
    }

    /// Somebody is writing a message.
    pub fn typing(channel: ChannelId, user: UserId, username: &str) -> Self {
        let body =
            json!({ "type": TYPING, "channelId": channel, "userId": user, "username": username });
        Self::in_channel(channel, TYPING, &body)
    }

    fn in_channel(channel: ChannelId, kind: &'static str, body: &serde_json::Value) -> Self {
        let body = Bytes::from(body.to_string());
        Self {
            id: EventId::new(),
            topic: Topic::Messages,
            key: channel.to_string(),
            kind,
            seq: None,
            body,
        }
    }

    /// A public channel was created, changed or deleted.
    pub fn public_channel(channel: ChannelId) -> Self {
        Self::sse(
            EVERYONE.to_owned(),
            CHANNELS_REFRESH,
            &json!({ "channelId": channel }),
        )
    }

    /// A private channel was created, changed or deleted; one event for each participant.
    pub fn private_channel(channel: ChannelId, participant: UserId) -> Self {
        Self::sse(
            participant.to_string(),
            CHANNELS_REFRESH,
            &json!({ "channelId": channel }),
        )
    }

    /// A user was created, changed or deleted, or has a new role.
    pub fn user(user: UserId) -> Self {
        Self::sse(
            EVERYONE.to_owned(),
            USERS_REFRESH,
            &json!({ "userId": user }),
        )
    }

    /// A new notification, for its receiver.
    pub fn notification(receiver: UserId, notification: &Notification) -> Self {
        Self::sse(receiver.to_string(), NOTIFICATIONS, &json!(notification))
    }

    /// A notification that its receiver has deleted.
    pub fn notification_deleted(receiver: UserId, id: NotificationId) -> Self {
        Self::sse(
            receiver.to_string(),
            NOTIFICATIONS_DELETED,
            &json!({ "id": id }),
        )
    }

    /// A profile picture has another status; everyone may see it.
    pub fn picture_status(file: &BinaryContent) -> Self {
        Self::sse(EVERYONE.to_owned(), BINARY_CONTENTS_STATUS, &json!(file))
    }

    /// An attachment has another status; one event for each participant of a private channel, one for everyone (`None`) in
    /// a public one.
    pub fn attachment_status(reader: Option<UserId>, file: &BinaryContent) -> Self {
        let key = reader.map_or_else(|| EVERYONE.to_owned(), |reader| reader.to_string());
        Self::sse(key, BINARY_CONTENTS_STATUS, &json!(file))
    }

    fn sse(key: String, kind: &'static str, body: &serde_json::Value) -> Self {
        Self {
            id: EventId::new(),
            topic: Topic::Sse,
            key,
            kind,
            seq: None,
            body: Bytes::from(body.to_string()),
        }
    }

    /// Something that takes rights away.
    pub fn control(control: &Control) -> Self {
        let body = serde_json::to_string(control).unwrap_or_default();
        Self {
            id: EventId::new(),
            topic: Topic::Control,
            key: control.key(),
            kind: CONTROL,
            seq: None,
            body: body.into(),
        }
    }
}

/// The kinds that this version knows.
pub const KINDS: [&str; 10] = [
    MESSAGE_CREATED,
    MESSAGE_UPDATED,
    MESSAGE_DELETED,
    TYPING,
    CHANNELS_REFRESH,
    USERS_REFRESH,
    NOTIFICATIONS,
    NOTIFICATIONS_DELETED,
    BINARY_CONTENTS_STATUS,
    CONTROL,
];

/// The kind of that name, as a constant; `None` for one that this version does not know.
pub fn kind(name: &str) -> Option<&'static str> {
    KINDS.into_iter().find(|kind| *kind == name)
}

/// What takes rights away. A node that hears of it cuts the sockets and subscriptions it concerns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum Control {
    /// The session ended: logout, refresh token used twice.
    SessionRevoked {
        /// Whose.
        user_id: UserId,
        /// Which.
        session_id: SessionId,
    },
    /// All sessions of the user ended: role changed, account deleted.
    UserRevoked {
        /// Whose.
        user_id: UserId,
    },
    /// The user is no longer in the private channel.
    MembershipLost {
        /// Who.
        user_id: UserId,
        /// Which.
        channel_id: ChannelId,
    },
    /// The channel was deleted.
    ChannelDeleted {
        /// Which.
        channel_id: ChannelId,
    },
}

impl Control {
    fn key(&self) -> String {
        match self {
            Self::SessionRevoked { user_id, .. } | Self::UserRevoked { user_id } => {
                user_id.to_string()
            }
            Self::ChannelDeleted { channel_id } | Self::MembershipLost { channel_id, .. } => {
                channel_id.to_string()
            }
        }
    }
}
