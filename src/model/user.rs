//! Users: names, email addresses, passwords and roles.

use serde::{Deserialize, Serialize};

use crate::{ids::UserId, model::BinaryContent, secret::Secret};

/// A user's role. A higher role includes the rights of the lower ones.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, sqlx::Type,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[sqlx(rename_all = "SCREAMING_SNAKE_CASE", type_name = "text")]
pub enum Role {
    /// May write messages and create private channels.
    User,
    /// May also manage public channels.
    ChannelManager,
    /// May also manage users and roles.
    Admin,
}

impl Role {
    /// The role's name in JSON and PostgreSQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "USER",
            Self::ChannelManager => "CHANNEL_MANAGER",
            Self::Admin => "ADMIN",
        }
    }
}

/// A user, as in the API.
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
    /// Whether the user is connected to a node; null where the node did not look it up.
    pub online: Option<bool>,
    /// Role.
    pub role: Role,
}

impl User {
    /// Whether id, role, name and address are equal.
    ///
    /// Ignores the picture, whose upload status changes by itself.
    pub fn is_same_account(&self, other: &Self) -> bool {
        let of = |user: &Self| (user.id, user.role);
        of(self) == of(other) && self.username == other.username && self.email == other.email
    }
}

/// A valid username.
///
/// It has 1 to 50 characters, no invisible characters and no surrounding space.
#[derive(Clone, Debug)]
pub struct Username(String);

impl Username {
    /// Validates a username.
    ///
    /// # Errors
    /// The rule that the name breaks.
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

    /// The case-folded name: equal for names that differ only in case.
    pub fn key(&self) -> String {
        fold(&self.0)
    }
}

/// Folds case for uniqueness.
///
/// Converts to lower, upper and lower case, so that letters with several lower-case forms (σ and ς, ß and ẞ) become equal.
pub fn fold(text: &str) -> String {
    text.to_lowercase().to_uppercase().to_lowercase()
}

/// Whether a character controls, has no width, or changes the direction of text.
///
/// A name with such characters could look like another name.
pub(super) fn invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// A valid email address of at most 100 characters.
#[derive(Clone, Debug)]
pub struct Email(String);

impl Email {
    /// Validates an address as a browser's email field does. The domain needs no dot.
    ///
    /// # Errors
    /// The rule that the address breaks.
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

    /// The case-folded address: equal for addresses that differ only in case.
    pub fn key(&self) -> String {
        fold(&self.0)
    }
}

/// A valid new password: 5 to 128 characters.
#[derive(Clone, Debug)]
pub struct NewPassword(Secret);

impl NewPassword {
    /// Validates a new password.
    ///
    /// # Errors
    /// The rule that the password breaks.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if (5..=128).contains(&text.chars().count()) {
            Ok(Self(Secret::new(text)))
        } else {
            Err("must be 5 to 128 characters")
        }
    }

    /// The password, for hashing.
    pub fn secret(&self) -> &Secret {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usernames_have_1_to_50_characters_and_no_invisible_ones() {
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
    fn names_that_differ_only_in_case_have_the_same_key() {
        let key = |name| Username::parse(name).expect("valid").key();
        assert_eq!(key("Ångström"), key("ÅNGSTRÖM"));
        assert_eq!(key("ΣΊΣΥΦΟΣ"), key("σίσυφος"));
        assert_ne!(key("ann"), key("anna"));
    }

    #[test]
    fn email_addresses_are_validated() {
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
    fn roles_are_ordered_by_their_rights() {
        assert!(Role::Admin > Role::ChannelManager && Role::ChannelManager > Role::User);
    }
}
