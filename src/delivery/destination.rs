//! The STOMP destinations, with the frame that each one accepts. Any other destination closes the connection.

use crate::ids::ChannelId;

/// Destination of the errors of a connection's own SENDs.
pub const ERRORS: &str = "/user/queue/errors";

/// Destination of the channels with new messages.
pub const ACTIVITY: &str = "/user/queue/activity";

/// A destination that accepts SUBSCRIBE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subscribe {
    /// A channel; the store decides whether the user may read it.
    Channel(ChannelId, ChannelStream),
    /// The errors of the connection's own SENDs.
    Errors,
    /// The channels with new messages, of those that the user can read.
    Activity,
}

/// A destination that accepts SEND.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Send {
    /// `/pub/messages`: a message by the user, in a channel that the user may read.
    Message,
    /// `/pub/typing`: the user is typing, in a channel that the user may read.
    Typing,
}

/// Parses the destination of a SUBSCRIBE; `None` when it does not accept one.
pub fn subscribe(destination: &str) -> Option<Subscribe> {
    if destination == ERRORS {
        return Some(Subscribe::Errors);
    }
    if destination == ACTIVITY {
        return Some(Subscribe::Activity);
    }
    ChannelStream::parse(destination).map(|(channel, stream)| Subscribe::Channel(channel, stream))
}

/// Parses the destination of a SEND; `None` when it does not accept one.
pub fn send(destination: &str) -> Option<Send> {
    match destination {
        "/pub/messages" => Some(Send::Message),
        "/pub/typing" => Some(Send::Typing),
        _ => None,
    }
}

/// The two event streams of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChannelStream {
    /// `/sub/channels.{id}.messages`: new messages, each with a position.
    Messages,
    /// `/sub/channels.{id}.events`: edits, deletions, reactions and typing, without positions.
    Events,
}

impl ChannelStream {
    /// The STOMP destination.
    pub fn destination(self, channel: ChannelId) -> String {
        let stream = match self {
            Self::Messages => "messages",
            Self::Events => "events",
        };
        format!("/sub/channels.{channel}.{stream}")
    }

    /// Parses a destination; `None` when it is not one of these.
    pub fn parse(destination: &str) -> Option<(ChannelId, Self)> {
        let (channel, stream) = destination
            .strip_prefix("/sub/channels.")?
            .split_once('.')?;
        let stream = match stream {
            "messages" => Self::Messages,
            "events" => Self::Events,
            _ => return None,
        };
        // Any form of an id that REST accepts. Frames name the channel in its usual form: clients find the subscription by its
        // id.
        Some((channel.parse().ok()?, stream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_in_any_form_names_the_same_channel() {
        let id = ChannelId::new();
        let expected = Some(Subscribe::Channel(id, ChannelStream::Events));
        let text = id.to_string();
        for form in [text.to_uppercase(), id.0.simple().to_string(), text] {
            let destination = format!("/sub/channels.{form}.events");
            assert_eq!(subscribe(&destination), expected, "{destination}");
        }
    }

    #[test]
    fn sends_to_subscription_destinations_and_patterns_are_refused() {
        let channel = ChannelStream::Messages.destination(ChannelId::new());
        assert!(subscribe(&channel).is_some() && send(&channel).is_none());
        for destination in [
            "/sub/**",
            "/sub/channels.*.messages",
            "/user/bob/queue/errors",
            "/user/bob/queue/activity",
            "/user/queue/activity/",
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
