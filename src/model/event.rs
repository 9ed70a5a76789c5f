//! Events.
//!
//! They go from the transaction that causes them through Kafka to the clients of every node.
//!
//! Only this file defines the names of topics, kinds and SSE events.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{
    ids::{ChannelId, EventId, MessageId, NotificationId, SessionId, UserId},
    model::{BinaryContent, Emoji, Notification, ReadStatus, TraceParent},
};

/// The Kafka topics, without the configured prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// Events for the subscribers of a channel. The key is the channel.
    Messages,
    /// Events for SSE streams. The key is the user or [`EVERYONE`].
    Sse,
    /// Revoked access, which closes connections and subscriptions.
    ///
    /// The key is the user or channel.
    Control,
    /// Jobs, each for one node. The key is the channel.
    Jobs,
}

impl Topic {
    /// All topics.
    pub const ALL: [Self; 4] = [Self::Messages, Self::Sse, Self::Control, Self::Jobs];
    /// The topics whose records every node reads.
    pub const FAN_OUT: [Self; 3] = [Self::Messages, Self::Sse, Self::Control];

    /// The topic's name, without the prefix.
    pub fn name(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Sse => "sse",
            Self::Control => "control",
            Self::Jobs => "jobs",
        }
    }

    /// The topic with this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.name() == name)
    }
}

/// The key of an SSE event for every user.
pub const EVERYONE: &str = "all";

/// Kind of a new message. The body is the `Message`; `seq` is its position.
pub const MESSAGE_CREATED: &str = "message.created";
/// Kind of a changed message. The body is `{type, message}`.
pub const MESSAGE_UPDATED: &str = "message.updated";
/// Kind of a deleted message. The body is `{type, channelId, messageId}`.
pub const MESSAGE_DELETED: &str = "message.deleted";
/// Kind of a reaction that was added or removed.
///
/// The body is `{type, channelId, messageId, seq, emoji, userId, added}`.
pub const REACTION: &str = "reaction";
/// Kind of a user typing a message.
///
/// The body is `{type, channelId, userId, username}`. Not stored.
pub const TYPING: &str = "typing";
/// SSE event: fetch this channel again.
pub const CHANNELS_REFRESH: &str = "channels.refresh";
/// SSE event: fetch this user again.
pub const USERS_REFRESH: &str = "users.refresh";
/// SSE event: a new notification. The body is the `Notification`.
pub const NOTIFICATIONS: &str = "notifications";
/// SSE event: a notification is deleted, by its receiver or with its message.
pub const NOTIFICATIONS_DELETED: &str = "notifications.deleted";
/// SSE event: the user has read further in a channel. The body is the `ReadStatus`.
pub const READ_STATUSES_UPDATED: &str = "readStatuses.updated";
/// SSE event: a file can be downloaded, or its upload has failed.
///
/// The body is the `BinaryContent`.
pub const BINARY_CONTENTS_STATUS: &str = "binaryContents.status";
/// SSE event: the stream has sent all events up to this id.
pub const SYNC: &str = "sync";
/// SSE event: the replay would be incomplete.
///
/// The client must fetch everything again.
pub const RESYNC: &str = "resync";
/// Kind of every control event. The body is a [`Control`].
const CONTROL: &str = "control";

/// An event.
#[derive(Clone, Debug)]
pub struct Event {
    /// Identifier, the same in all copies, so that receivers drop duplicates.
    pub id: EventId,
    /// Kafka topic.
    pub topic: Topic,
    /// The channel, the user, or [`EVERYONE`].
    ///
    /// Events with the same key keep their order.
    pub key: String,
    /// One of the kinds above.
    pub kind: &'static str,
    /// Position of a new message in its channel; none for other events.
    pub seq: Option<i64>,
    /// JSON, serialised once here. All clients get the same bytes.
    pub body: Bytes,
    /// The recorded span that caused the event. Not stored: the trace of an event that another node publishes ends here.
    pub trace: Option<TraceParent>,
}

impl Event {
    /// A new message.
    pub fn message_created(id: EventId, channel: ChannelId, seq: i64, body: Bytes) -> Self {
        Self {
            id,
            topic: Topic::Messages,
            key: channel.to_string(),
            kind: MESSAGE_CREATED,
            seq: Some(seq),
            body,
            trace: None,
        }
    }

    /// A job: insert the notifications of a new message.
    pub fn notification_job(id: EventId, channel: ChannelId, message: MessageId) -> Self {
        Self {
            id,
            topic: Topic::Jobs,
            key: channel.to_string(),
            kind: MESSAGE_CREATED,
            seq: None,
            body: json!({ "messageId": message }).to_string().into(),
            trace: None,
        }
    }

    /// A changed message. `message` is a `Message`.
    pub fn message_updated(channel: ChannelId, message: &impl Serialize) -> Self {
        Self::in_channel(
            channel,
            MESSAGE_UPDATED,
            &json!({ "type": MESSAGE_UPDATED, "message": message }),
        )
    }

    /// A deleted message, which had the position `seq`.
    pub fn message_deleted(channel: ChannelId, message: MessageId, seq: i64) -> Self {
        let body = json!({ "type": MESSAGE_DELETED, "channelId": channel, "messageId": message, "seq": seq });
        Self::in_channel(channel, MESSAGE_DELETED, &body)
    }

    /// A user's reaction to the message at the position `seq`, added or removed.
    pub fn reaction(
        channel: ChannelId,
        message: MessageId,
        seq: i64,
        (user, emoji): (UserId, &Emoji),
        added: bool,
    ) -> Self {
        let body = json!({
            "type": REACTION, "channelId": channel, "messageId": message, "seq": seq,
            "emoji": emoji.as_str(), "userId": user, "added": added,
        });
        Self::in_channel(channel, REACTION, &body)
    }

    /// A user is typing a message.
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
            trace: None,
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

    /// A private channel was created, changed or deleted.
    ///
    /// Each participant gets an event.
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

    /// A deleted notification, for its receiver.
    pub fn notification_deleted(receiver: UserId, id: NotificationId) -> Self {
        Self::sse(
            receiver.to_string(),
            NOTIFICATIONS_DELETED,
            &json!({ "id": id }),
        )
    }

    /// A read status whose position has moved forward, for its user.
    pub fn read_status_updated(id: EventId, status: &ReadStatus) -> Self {
        let key = status.user_id.to_string();
        Self {
            id,
            ..Self::sse(key, READ_STATUSES_UPDATED, &json!(status))
        }
    }

    /// A profile picture has another upload status. Every user may see the picture.
    pub fn picture_status(file: &BinaryContent) -> Self {
        Self::sse(EVERYONE.to_owned(), BINARY_CONTENTS_STATUS, &json!(file))
    }

    /// An attachment has another upload status.
    ///
    /// Each participant of a private channel gets an event; in a public channel, one event is for everyone (`None`).
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
            trace: None,
        }
    }

    /// An event without effect, by which a node sees that Kafka carries events of this topic.
    pub fn canary(topic: Topic, key: String) -> Self {
        Self {
            id: EventId::new(),
            topic,
            key,
            kind: CONTROL,
            seq: None,
            body: Bytes::from_static(b"{}"),
            trace: None,
        }
    }

    /// The message that this event changes, deletes or reacts to. None for other events, and for those of earlier versions.
    pub fn change(&self) -> Option<Change> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Body {
            seq: Option<i64>,
            message: Option<Changed>,
            emoji: Option<String>,
            user_id: Option<UserId>,
        }
        #[derive(Deserialize)]
        struct Changed {
            seq: i64,
        }
        if ![MESSAGE_UPDATED, MESSAGE_DELETED, REACTION].contains(&self.kind) {
            return None;
        }
        let body: Body = serde_json::from_slice(&self.body).ok()?;
        Some(Change {
            seq: body.message.map(|message| message.seq).or(body.seq)?,
            part: match self.kind {
                MESSAGE_UPDATED => Part::Text,
                MESSAGE_DELETED => Part::Whole,
                _ => Part::Reaction(body.user_id?, body.emoji?),
            },
        })
    }

    /// Revoked access.
    pub fn control(control: &Control) -> Self {
        let body = serde_json::to_string(control).unwrap_or_default();
        Self {
            id: EventId::new(),
            topic: Topic::Control,
            key: control.key(),
            kind: CONTROL,
            seq: None,
            body: body.into(),
            trace: None,
        }
    }
}

/// A change of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The position of the message.
    pub seq: i64,
    /// What has changed.
    pub part: Part,
}

impl Change {
    /// Whether this change makes an earlier one useless to clients: it has the same part, or deletes the message.
    pub fn replaces(&self, earlier: &Self) -> bool {
        self.seq == earlier.seq && (self.part == Part::Whole || self.part == earlier.part)
    }
}

/// The part of a message that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The text, by an edit.
    Text,
    /// The reaction of a user with an emoji.
    Reaction(UserId, String),
    /// The message, by its deletion.
    Whole,
}

/// The kinds of events that this version knows.
pub const KINDS: [&str; 12] = [
    MESSAGE_CREATED,
    MESSAGE_UPDATED,
    MESSAGE_DELETED,
    REACTION,
    TYPING,
    CHANNELS_REFRESH,
    USERS_REFRESH,
    NOTIFICATIONS,
    NOTIFICATIONS_DELETED,
    READ_STATUSES_UPDATED,
    BINARY_CONTENTS_STATUS,
    CONTROL,
];

/// The constant with this name.
///
/// `None` for a kind that this version does not know.
pub fn kind(name: &str) -> Option<&'static str> {
    KINDS.into_iter().find(|kind| *kind == name)
}

/// Revoked access.
///
/// Every node that reads it closes the affected connections and subscriptions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum Control {
    /// A session is revoked, for example by a logout or a reused refresh token.
    SessionRevoked {
        /// The session's user.
        user_id: UserId,
        /// The session.
        session_id: SessionId,
    },
    /// All sessions of a user are revoked: the role has changed, or the account is deleted.
    UserRevoked {
        /// The user.
        user_id: UserId,
    },
    /// A user no longer participates in a private channel.
    MembershipLost {
        /// The user.
        user_id: UserId,
        /// The channel.
        channel_id: ChannelId,
    },
    /// A channel is deleted.
    ChannelDeleted {
        /// The channel.
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
