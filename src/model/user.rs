//! Users: their names, addresses, passwords and roles.

use serde::{Deserialize, Serialize};

use crate::{ids::UserId, model::BinaryContent, secret::Secret};

/// What a user may do; a higher role may do all that a lower one may.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, sqlx::Type,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[sqlx(rename_all = "SCREAMING_SNAKE_CASE", type_name = "text")]
pub enum Role {
    /// Writes messages and opens private channels.
    User,
    /// Manages public channels too.
    ChannelManager,
    /// Manages users and roles too.
    Admin,
}

impl Role {
    /// The wire form.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "USER",
            Self::ChannelManager => "CHANNEL_MANAGER",
            Self::Admin => "ADMIN",
        }
    }
}

/// A user as the API shows them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// Identifier.
    pub id: UserId,
    /// Name, unique without regard to case.
    pub username: String,
    /// Address, unique without regard to case.
    pub email: String,
    /// The profile picture.
    pub profile: Option<BinaryContent>,
    /// Whether the user is connected to any node; null where it was not looked up.
    pub online: Option<bool>,
    /// Role.
    pub role: Role,
}

impl User {
    /// Whether nothing that matters for signing in differs. The picture does not: its status changes by itself.
    pub fn is_same_account(&self, other: &Self) -> bool {
        let of = |user: &Self| (user.id, user.role);
        of(self) == of(other) && self.username == other.username && self.email == other.email
    }
}

/// A valid username: 1 to 50 characters, no control characters, no space around it.
#[derive(Clone, Debug)]
pub struct Username(String);

impl Username {
    /// # Errors
    /// The rule, as the field's complaint.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let ok = (1..=50).contains(&text.chars().count())
            && text.trim() == text
            && !text.chars().any(invisible);
        if ok {
            Ok(Self(text.to_owned()))
        } else {
            Err("must be 1 to 50 characters without control characters or surrounding space")
        }
    }

    /// As the user wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What two usernames that differ only in case have in common.
    pub fn key(&self) -> String {
        fold(&self.0)
    }
}

/// Case folding for uniqueness. Lower, upper, lower: so that letters with several lower-case forms (σ and ς, ß and ẞ) meet.
pub fn fold(text: &str) -> String {
    text.to_lowercase().to_uppercase().to_lowercase()
}

/// Control characters, and those that turn the direction of the text around them or take no space: a name must not be
/// able to look like another one by them.
pub(super) fn invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// A valid email address of at most 100 characters.
#[derive(Clone, Debug)]
pub struct Email(String);

impl Email {
    /// Accepts what a browser's email field accepts, with a dot in the domain not required.
    ///
    /// # Errors
    /// The rule, as the field's complaint.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let valid = || {
            let (local, domain) = text.rsplit_once('@')?;
            let local_ok = !local.is_empty()
                && local
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b".!#$%&'*+/=?^_`{|}~-".contains(&b));
            let label = |label: &str| {
                (1..=63).contains(&label.len())
                    && label
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b == b'-')
                    && !label.starts_with('-')
                    && !label.ends_with('-')
            };
            (text.len() <= 100 && local_ok && domain.split('.').all(label)).then_some(())
        };
        if valid().is_some() {
            Ok(Self(text.to_owned()))
        } else {
            Err("must be a valid email address of at most 100 characters")
        }
    }

    /// As the user wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What two addresses that differ only in case have in common.
    pub fn key(&self) -> String {
        fold(&self.0)
    }
}

/// A password that may be set: 5 to 128 characters.
#[derive(Clone, Debug)]
pub struct NewPassword(Secret);

impl NewPassword {
    /// # Errors
    /// The rule, as the field's complaint.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if (5..=128).contains(&text.chars().count()) {
            Ok(Self(Secret::new(text)))
        } else {
            Err("must be 5 to 128 characters")
        }
    }

    /// For the hash.
    pub fn secret(&self) -> &Secret {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usernames_are_one_to_fifty_characters_without_tricks() {
        for good in ["a", "김철수", "Jean-Luc 🖖", &"x".repeat(50)] {
            assert!(Username::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            " a",
            "a ",
            "a\nb",
            "a\u{0}b",
            "evil\u{202e}",
            "a\u{200b}b",
            &"x".repeat(51),
        ] {
            assert!(Username::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_that_differ_in_case_have_one_key() {
        let key = |name| Username::parse(name).expect("valid").key();
        assert_eq!(key("Ångström"), key("ÅNGSTRÖM"));
        assert_eq!(key("ΣΊΣΥΦΟΣ"), key("σίσυφος"));
        assert_ne!(key("ann"), key("anna"));
    }

    #[test]
    fn email_addresses_look_like_ones() {
        for good in [
            "a@b",
            "first.last+tag@mail.example.org",
            "x_y@sub-domain.example",
        ] {
            assert!(Email::parse(good).is_ok(), "{good}");
        }
        let long = format!("{}@example.org", "a".repeat(100));
        for bad in [
            "",
            "a",
            "@b",
            "a@",
            "a b@c",
            "a@b..c",
            "a@-b",
            "a@b\n",
            "ä@b",
            long.as_str(),
        ] {
            assert!(Email::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_higher_role_compares_greater() {
        assert!(Role::Admin > Role::ChannelManager && Role::ChannelManager > Role::User);
    }
}
