//! Identifiers: one type for each kind, so that the compiler rejects a user's id where a channel's is expected.

use std::{
    fmt,
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use utoipa::ToSchema;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, sqlx::Type, ToSchema)]
        #[serde(transparent)]
        #[sqlx(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new UUID version 7: later ids sort after earlier ones.
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self::new()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::from_str(text).map(Self)
            }
        }
    };
}

id! {
    /// A user's account.
    UserId
}

id! {
    /// A channel, public or private.
    ChannelId
}

id! {
    /// A message.
    MessageId
}

id! {
    /// A file: an attachment or a profile picture.
    FileId
}

id! {
    /// A user's read position in one channel.
    ReadStatusId
}

id! {
    /// A notification for one user.
    NotificationId
}

id! {
    /// An event published to the nodes; every copy has the same id.
    EventId
}

id! {
    /// A login session of one device, from login to logout; the `sid` claim of its access tokens.
    SessionId
}

impl EventId {
    /// Time since the id was made, by the clocks of its node and this one. Zero for an id of another version.
    pub fn age(self) -> Duration {
        let Some(made) = self.0.get_timestamp() else {
            return Duration::ZERO;
        };
        let (seconds, nanoseconds) = made.to_unix();
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.unwrap_or_default()
            .saturating_sub(Duration::new(seconds, nanoseconds))
    }
}
