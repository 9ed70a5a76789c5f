//! Identifiers. Each kind is a type of its own, so that a user's id cannot be passed for a channel's.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, sqlx::Type)]
        #[serde(transparent)]
        #[sqlx(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// A new identifier; version 7, so later ones sort after earlier ones.
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
    /// What a user has read of one channel.
    ReadStatusId
}

id! {
    /// Something a user is told of.
    NotificationId
}

id! {
    /// One event on its way to the nodes; the same for every copy of it.
    EventId
}

id! {
    /// A login: one device or tab, from login to logout. The `sid` claim of its access tokens.
    SessionId
}
