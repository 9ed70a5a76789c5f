//! Users: names, email addresses, passwords and roles.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    ids::UserId,
    model::{BinaryContent, text},
    secret::Secret,
};

/// A user's role. A higher role includes the rights of the lower ones.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, sqlx::Type, ToSchema,
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// Identifier.
    pub id: UserId,
    /// Name, unique without regard to case and form.
    pub username: String,
    /// Address, unique without regard to case.
    pub email: String,
    /// The profile picture.
    #[schema(required)]
    pub profile: Option<BinaryContent>,
    /// Whether the user is connected to a node; null where the node did not look it up.
    #[schema(required)]
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

/// Maximum length of a username in characters (Unicode scalar values) of its composed form.
const MAX_USERNAME_LEN: usize = 50;

/// A valid username.
///
/// It has 1 to 50 characters, no hidden characters and no surrounding space.
#[derive(Clone, Debug)]
pub struct Username(String);

impl Username {
    /// Validates a username and composes it (NFC).
    ///
    /// # Errors
    /// The rule that the name breaks.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let name = text::composed(text);
        if name.is_empty() || !text::fits(&name, MAX_USERNAME_LEN) || name.trim() != name {
            Err("must be 1 to 50 characters without surrounding space")
        } else if text::is_visible(&name) {
            Ok(Self(name))
        } else {
            Err("must not contain control characters or invisible characters")
        }
    }

    /// The composed name, for display.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The identity of the name; see [`text::name_key`].
    pub fn key(&self) -> String {
        text::name_key(&self.0)
    }

    /// The look of the name; see [`text::name_look`].
    pub fn look(&self) -> String {
        text::name_look(&self.0)
    }

    /// The keys under which a login finds an account, the best one first.
    ///
    /// The first is the key of an account whose name an earlier version stored, and whose newer key another account has.
    pub fn login_keys(typed: &str) -> [String; 2] {
        // A character of a name has at most 4 when it is decomposed; the rest is no name.
        let typed: String = typed.chars().take(4 * MAX_USERNAME_LEN).collect();
        [text::fold_case(&typed), text::name_key(&typed)]
    }
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
        text::fold_case(&self.0)
    }
}

/// Maximum length of a password in characters (Unicode scalar values) of its composed form.
pub const MAX_PASSWORD_LEN: usize = 128;

/// A valid new password: 5 to 128 characters.
#[derive(Clone, Debug)]
pub struct NewPassword(Secret);

impl NewPassword {
    /// Validates a new password and composes it; see [`text::password`].
    ///
    /// # Errors
    /// The rule that the password breaks.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let password = text::password(text);
        if password.chars().nth(4).is_some() && text::fits(&password, MAX_PASSWORD_LEN) {
            Ok(Self(Secret::new(password)))
        } else {
            Err("must be 5 to 128 characters")
        }
    }

    /// The password, for hashing.
    pub fn secret(&self) -> &Secret {
        &self.0
    }
}

/// The account of the first administrator, from the settings.
#[derive(Clone, Debug)]
pub struct FirstAdmin {
    /// Name. No other account can get it, even after the administrator is renamed.
    pub username: Username,
    /// Address. No other account can get it.
    pub email: Email,
    /// Password, until the administrator changes it.
    pub password: NewPassword,
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
            "ann\u{fe0f}",
            "\u{3164}",
            &"x".repeat(51),
        ] {
            assert!(Username::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_decomposed_name_is_shown_and_counted_composed() {
        let decomposed = "\u{1100}\u{1161}\u{11a8}".repeat(50);
        let name = Username::parse(&decomposed).expect("50 characters");
        assert_eq!(name.as_str(), "각".repeat(50));
        let [_, key] = Username::login_keys(&decomposed);
        assert_eq!(key, name.key());
    }

    #[test]
    fn a_decomposed_password_is_counted_composed() {
        for (count, is_valid) in [(4, false), (5, true), (128, true), (129, false)] {
            let decomposed = "\u{1100}\u{1161}\u{11a8}".repeat(count);
            assert_eq!(NewPassword::parse(&decomposed).is_ok(), is_valid, "{count}");
        }
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
