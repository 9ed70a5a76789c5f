//! What a STOMP client may do with which destination. One table, deny by default: what is not in it ends the connection.

use crate::ids::ChannelId;

/// Where each connection hears of its own rejected SENDs.
pub const ERRORS: &str = "/user/queue/errors";

/// What a SUBSCRIBE is allowed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subscribe {
    /// A channel that the user may read, which is for the store to say.
    Channel(ChannelId, ChannelStream),
    /// The connection's own errors; any connected user.
    Errors,
}

/// What a SEND is allowed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Send {
    /// `/pub/messages`: a message, whose author must be the user, in a channel that they may read.
    Message,
    /// `/pub/typing`: that the user is writing, in a channel that they may read.
    Typing,
}

/// The SUBSCRIBE half of the table.
pub fn subscribe(destination: &str) -> Option<Subscribe> {
    if destination == ERRORS {
        return Some(Subscribe::Errors);
    }
    ChannelStream::parse(destination).map(|(channel, feed)| Subscribe::Channel(channel, feed))
}

/// The SEND half of the table.
pub fn send(destination: &str) -> Option<Send> {
    match destination {
        "/pub/messages" => Some(Send::Message),
        "/pub/typing" => Some(Send::Typing),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_may_send_where_others_subscribe_or_subscribe_to_patterns() {
        let channel = ChannelStream::Messages.destination(ChannelId::new());
        assert!(subscribe(&channel).is_some() && send(&channel).is_none());
        for destination in [
            "/sub/**",
            "/sub/channels.*.messages",
            "/user/bob/queue/errors",
            "/queue/errors",
            "/topic/x",
            "",
            "/pub/messages",
            "/pub/typing",
        ] {
            assert_eq!(subscribe(destination), None, "{destination}");
        }
        for destination in [
            "/pub/messages/",
            "/pub/typing.*",
            "/pub/",
            "/sub/**",
            "/user/queue/errors",
            "",
        ] {
            assert_eq!(send(destination), None, "{destination}");
        }
    }
}

/// The two things of a channel that can be followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChannelStream {
    /// `/sub/channels.{id}.messages`: new messages, by position.
    Messages,
    /// `/sub/channels.{id}.events`: what happens to messages, as it happens.
    Events,
}

impl ChannelStream {
    /// The STOMP destination.
    pub fn destination(self, channel: ChannelId) -> String {
        let feed = match self {
            Self::Messages => "messages",
            Self::Events => "events",
        };
        format!("/sub/channels.{channel}.{feed}")
    }

    /// What the destination names, if it is one of these.
    pub fn parse(destination: &str) -> Option<(ChannelId, Self)> {
        let (channel, feed) = destination
            .strip_prefix("/sub/channels.")?
            .split_once('.')?;
        let feed = match feed {
            "messages" => Self::Messages,
            "events" => Self::Events,
            _ => return None,
        };
        // Hyphenated lower case only, so that a channel has one name.
        let id: ChannelId = channel.parse().ok()?;
        (id.to_string() == channel).then_some((id, feed))
    }
}
