//! Reactions to messages.

use icu_properties::{
    CodePointSetData,
    props::{Emoji as EmojiProperty, EmojiPresentation, RegionalIndicator},
};
use serde::{Deserialize, Serialize};
use unicode_segmentation::UnicodeSegmentation;
use utoipa::ToSchema;

use crate::{ids::UserId, model::text};

/// Different emoji on one message.
pub const MAX_KINDS: i64 = 20;

/// All reactions to a message with one emoji, as in the API.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reaction {
    /// The emoji.
    pub emoji: String,
    /// Number of users.
    pub count: i64,
    /// The first 50 users, in the order in which they reacted.
    pub user_ids: Vec<UserId>,
}

/// One emoji.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emoji(String);

impl Emoji {
    /// Maximum length in bytes. The longest emoji of Unicode, a kiss of two people with skin tones, has 35.
    const MAX_BYTES: usize = 64;

    /// Validates an emoji: one grapheme that is drawn as a picture.
    ///
    /// `❤` becomes `❤\u{fe0f}`, so that both spellings are one kind.
    ///
    /// # Errors
    /// The rule that the text breaks.
    pub fn parse(sent: &str) -> Result<Self, &'static str> {
        let is_emoji = |c| CodePointSetData::new::<EmojiProperty>().contains(c);
        // Joiners, the picture style, the parts of keycaps and of flags of regions.
        let is_part = |c: char| {
            is_emoji(c)
                || matches!(
                    c,
                    '\u{200d}' | '\u{fe0f}' | '\u{20e3}' | '\u{e0020}'..='\u{e007f}'
                )
        };
        let is_one = sent.len() <= Self::MAX_BYTES && sent.graphemes(true).count() == 1;
        if !is_one || !sent.chars().all(is_part) || !text::is_visible(sent) {
            return Err("must be one emoji");
        }
        let mut chars = sent.chars();
        let (first, second) = (chars.next().unwrap_or_default(), chars.next());
        let is_regional = |c| CodePointSetData::new::<RegionalIndicator>().contains(c);
        let is_drawn = if first.is_ascii() {
            sent.ends_with('\u{20e3}')
        } else if is_regional(first) {
            second.is_some_and(is_regional)
        } else {
            is_emoji(first)
        };
        if !is_drawn {
            return Err("must be one emoji");
        }
        let is_picture = CodePointSetData::new::<EmojiPresentation>().contains(first);
        Ok(Self(if second.is_none() && !is_picture {
            format!("{sent}\u{fe0f}")
        } else {
            sent.to_owned()
        }))
    }

    /// The emoji.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_emoji_is_accepted() {
        for emoji in [
            "👍",
            "👍🏽",
            "❤️",
            "👨‍👩‍👧‍👦",
            "👩🏽‍🚀",
            "🏳️‍🌈",
            "🇰🇷",
            "1️⃣",
            "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
            "👨🏻‍❤️‍💋‍👨🏻",
        ] {
            assert_eq!(Emoji::parse(emoji), Ok(Emoji(emoji.to_owned())));
        }
        assert_eq!(Emoji::parse("❤"), Emoji::parse("❤️"));
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "a",
            "1",
            "#",
            "가",
            "👍👍",
            "👍a",
            "+1",
            ":+1:",
            "🇰",
            "❤\u{fe0e}",
            "\u{fe0f}",
            "\u{200d}",
            "👍\u{200d}",
            "👍\u{200b}",
            "e\u{301}",
            "👍\0",
            &format!("👩{}", "\u{200d}👩".repeat(20)),
        ] {
            assert!(Emoji::parse(text).is_err(), "{text:?}");
        }
    }
}
