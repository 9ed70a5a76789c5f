//! Mentions: `@` and the name of a user.

use crate::model::text;

/// Mentions of a message that are resolved. Further ones are text.
pub const MAX_MENTIONS: usize = 10;
/// Maximum length of a name in characters.
const MAX_NAME_LEN: usize = 50;

/// The keys of the names that may follow an `@`, longest first; see [`text::name_key`].
///
/// A name may contain spaces and be followed by a particle, as in `@김철수님`, so only a lookup shows where it ends.
pub type Candidates = Vec<String>;

/// The candidates of each mention in a text.
pub fn candidates(content: &str) -> Vec<Candidates> {
    let mut found = Vec::new();
    let mut before = None;
    for (at, c) in content.char_indices() {
        // Not the @ of an address.
        if c == '@' && !before.is_some_and(is_name_part) {
            let names = names(content.get(at + 1..).unwrap_or_default());
            if !names.is_empty() {
                found.push(names);
            }
        }
        before = Some(c);
        if found.len() == MAX_MENTIONS {
            break;
        }
    }
    found
}

/// Whether an ASCII character continues a name. Other scripts write particles without a space.
fn is_name_part(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-')
}

/// The keys of the beginnings of a text that may be names, longest first.
fn names(text: &str) -> Candidates {
    let mut keys = Vec::new();
    let line = text.lines().next().unwrap_or_default();
    let mut chars = line.char_indices().peekable();
    let mut length = 0;
    while let Some((at, c)) = chars.next() {
        length += 1;
        if length > MAX_NAME_LEN || (length == 1 && c.is_whitespace()) {
            break;
        }
        let end = at + c.len_utf8();
        let goes_on = chars
            .peek()
            .is_some_and(|(_, next)| is_name_part(c) && is_name_part(*next));
        if !goes_on && !c.is_whitespace() {
            let key = text::name_key(line.get(..end).unwrap_or_default());
            if !key.is_empty() && !key.contains('\0') && !keys.contains(&key) {
                keys.push(key);
            }
        }
    }
    keys.reverse();
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_beginning_of_the_text_after_an_at_sign_may_be_a_name() {
        assert_eq!(candidates("hi @Ann!"), [["ann!", "ann"]]);
        assert_eq!(
            candidates("@ann b, @bob"),
            [
                vec!["ann b, @bob", "ann b, @", "ann b,", "ann b", "ann"],
                vec!["bob"]
            ]
        );
        assert_eq!(candidates("@철수님"), [["철수님", "철수", "철"]]);
        assert_eq!(candidates("@jean-luc_7"), [["jean-luc_7"]]);
        assert_eq!(candidates("@a\n b"), [["a"]]);
    }

    #[test]
    fn addresses_and_lone_signs_mention_nobody() {
        for text in ["ann@example", "@", "@ ann", "a @\n", ""] {
            assert!(candidates(text).is_empty(), "{text:?}");
        }
    }

    #[test]
    fn the_number_and_the_length_of_names_are_bounded() {
        assert_eq!(candidates(&"@a ".repeat(100)).len(), MAX_MENTIONS);
        let names = candidates(&format!("@{}", "가".repeat(2_000)));
        assert_eq!(names[0].len(), MAX_NAME_LEN);
    }
}
