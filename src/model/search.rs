//! Search in texts: the terms under which a message is found, and the places of a query in a text.
//!
//! An index knows the terms of each message. A query has terms too, and the messages with all of them are candidates, whose texts are
//! then searched. So a term may be found in too many messages, but never in too few.
//!
//! Scripts with many letters have a term for each two neighbours, so that two syllables find each longer word that has them. Latin,
//! Greek and Cyrillic words have a term for each three neighbours, and for their first two letters.

use std::collections::BTreeSet;

use unicode_normalization::UnicodeNormalization;
use unicode_segmentation::UnicodeSegmentation;
use uuid::Uuid;

use crate::{
    ids::{ChannelId, UserId},
    model::text,
};

/// Maximum length of a query in characters.
pub const MAX_QUERY_LEN: usize = 100;
/// Terms of a query that the index is asked for. More of them would not find fewer candidates.
const MAX_QUERY_TERMS: usize = 8;

/// A hash of a term, of 40 bits. Terms with the same hash only cause more candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Term(i64);

impl Term {
    /// Number of bits.
    pub const BITS: u32 = 40;

    fn of(kind: u8, bytes: impl IntoIterator<Item = u8>) -> Self {
        // FNV-1a: the hash is stored, so it must stay the same in later versions.
        let add = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let hash = bytes
            .into_iter()
            .fold(add(0xcbf2_9ce4_8422_2325, kind), add);
        let folded = (hash ^ (hash >> Self::BITS)) & ((1 << Self::BITS) - 1);
        Self(i64::try_from(folded).unwrap_or_default())
    }

    fn of_chars(chars: &[char]) -> Self {
        Self::of(b't', chars.iter().flat_map(|c| u32::from(*c).to_le_bytes()))
    }

    fn of_id(kind: u8, id: Uuid) -> Self {
        Self::of(kind, id.into_bytes())
    }

    /// The term of the messages of a channel.
    pub fn channel(id: ChannelId) -> Self {
        Self::of_id(b'c', id.0)
    }

    /// The term of the messages of an author.
    pub fn author(id: UserId) -> Self {
        Self::of_id(b'a', id.0)
    }

    /// The term of the messages with files.
    pub fn file() -> Self {
        Self::of(b'f', [])
    }

    /// The term of the messages with links.
    pub fn link() -> Self {
        Self::of(b'l', [])
    }

    /// The hash.
    pub fn hash(self) -> i64 {
        self.0
    }
}

/// A text in the form in which texts are compared: compatible characters, cases and runs of spaces are equal.
struct Folded {
    chars: Vec<char>,
    /// For each character, the first character of the text that it comes from, and the one after the last.
    origins: Vec<(usize, usize)>,
}

impl Folded {
    fn of(text: &str) -> Self {
        let (mut chars, mut origins) = (Vec::new(), Vec::new());
        let mut start = 0;
        // A grapheme holds all characters that normalisation may compose.
        for grapheme in text.graphemes(true) {
            let end = start + grapheme.chars().count();
            let mut add = |c| {
                if c != ' ' || chars.last() != Some(&' ') {
                    chars.push(c);
                    origins.push((start, end));
                }
            };
            if let Some(c) = fold_common(grapheme) {
                add(c);
            } else {
                fold(grapheme).for_each(add);
            }
            start = end;
        }
        Self { chars, origins }
    }
}

/// Folds a grapheme.
fn fold(grapheme: &str) -> impl Iterator<Item = char> {
    let folded: Vec<char> = text::fold_case(grapheme).nfkc().collect();
    let spaced = folded.into_iter();
    let spaced = spaced.map(|c| if c.is_whitespace() { ' ' } else { c });
    spaced.filter(|c| !text::is_ignorable(*c))
}

/// The same for a printable ASCII character, a Hangul syllable or a Chinese character, without the tables of Unicode: of these, only the
/// ASCII letters change. `None` for any other grapheme.
fn fold_common(grapheme: &str) -> Option<char> {
    let mut chars = grapheme.chars();
    let c = chars.next().filter(|_| chars.next().is_none())?;
    match c {
        ' '..='~' => Some(c.to_ascii_lowercase()),
        '가'..='힣' | '\u{4e00}'..='\u{9fff}' => Some(c),
        _ => None,
    }
}

/// Whether words of a character's script have few different letters.
fn is_narrow(c: char) -> bool {
    matches!(c, '\0'..='\u{58f}' | '\u{1e00}'..='\u{1fff}')
}

/// Splits folded characters into words. Any other character except a space is a word.
fn words(chars: &[char]) -> impl Iterator<Item = &[char]> {
    chars
        .chunk_by(|a, b| text::is_word_part(*a) && text::is_word_part(*b))
        .filter(|word| *word != [' '])
}

/// The terms within a word.
fn inner_terms(word: &[char], add: &mut impl FnMut(Term)) {
    for pair in word.windows(2) {
        if !pair.iter().copied().all(is_narrow) {
            add(Term::of_chars(pair));
        }
    }
    for three in word.windows(3) {
        if three.iter().copied().all(is_narrow) {
            add(Term::of_chars(three));
        }
    }
}

/// The terms of the beginning of a word, with the character that no text has before it.
fn start_term(word: &[char]) -> Term {
    let mut start = vec!['\0'];
    start.extend_from_slice(word);
    Term::of_chars(&start)
}

/// The terms of a message's text.
pub fn terms(content: &str) -> BTreeSet<Term> {
    let folded = Folded::of(content);
    let mut terms = Vec::new();
    for word in words(&folded.chars) {
        inner_terms(word, &mut |term| terms.push(term));
        for start in [word.get(..1), word.get(..2)].into_iter().flatten() {
            if start.len() == 1 || start.iter().copied().all(is_narrow) {
                terms.push(start_term(start));
            }
        }
    }
    let text: String = folded.chars.iter().collect();
    if ["http://", "https://", "www."]
        .iter()
        .any(|link| text.contains(link))
    {
        terms.push(Term::link());
    }
    terms.into_iter().collect()
}

/// The texts to search for: a message must have each of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    phrases: Vec<Vec<char>>,
}

impl Query {
    /// Parses a query: words, and phrases in quotation marks.
    ///
    /// # Errors
    /// The rule that the query breaks.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        if !text::fits(text, MAX_QUERY_LEN) {
            return Err("must be at most 100 characters");
        }
        let folded = Folded::of(text).chars;
        let mut phrases: Vec<Vec<char>> = Vec::new();
        let mut rest = folded.as_slice();
        while let Some((first, after)) = rest.split_first() {
            let quoted = (*first == '"')
                .then(|| after.iter().position(|c| *c == '"'))
                .flatten();
            let (phrase, next) = if let Some(end) = quoted {
                (after.get(..end), after.get(end + 1..))
            } else {
                let end = rest.iter().position(|c| *c == ' ').unwrap_or(rest.len());
                (rest.get(..end), rest.get(end + 1..))
            };
            let phrase = phrase.unwrap_or_default();
            let phrase = phrase.strip_prefix(&[' ']).unwrap_or(phrase);
            let phrase = phrase.strip_suffix(&[' ']).unwrap_or(phrase).to_vec();
            if !phrase.is_empty() && !phrases.contains(&phrase) {
                phrases.push(phrase);
            }
            rest = next.unwrap_or_default();
        }
        if phrases.is_empty() {
            return Err("must not be empty");
        }
        Ok(Self { phrases })
    }

    /// Terms that each message with these texts has.
    ///
    /// A text of one letter, or of two in a small alphabet, is found only where a word begins.
    pub fn terms(&self) -> Vec<Term> {
        let mut terms = Vec::new();
        for phrase in &self.phrases {
            let (mut of_phrase, mut start) = (Vec::new(), None);
            for (number, word) in words(phrase).enumerate() {
                let before = of_phrase.len();
                inner_terms(word, &mut |term| of_phrase.push(term));
                // The phrase may begin within a word, and only there.
                let is_start = number > 0 || !word.iter().copied().any(text::is_word_part);
                if of_phrase.len() > before {
                    continue;
                }
                if is_start {
                    of_phrase.push(start_term(word));
                } else {
                    start = Some(start_term(word));
                }
            }
            if of_phrase.is_empty() {
                of_phrase.extend(start);
            }
            terms.extend(of_phrase);
        }
        let mut seen = BTreeSet::new();
        terms.retain(|term| seen.insert(*term));
        // Evenly, so that each word counts.
        let step = terms.len().div_ceil(MAX_QUERY_TERMS).max(1);
        terms.into_iter().step_by(step).collect()
    }

    /// The places of the texts in a message's content, as ranges of its characters (Unicode scalar values), in order and without
    /// overlap. `None` when one of the texts is missing.
    pub fn find(&self, content: &str) -> Option<Vec<(usize, usize)>> {
        let Folded { chars, origins } = Folded::of(content);
        let mut found = Vec::new();
        for phrase in &self.phrases {
            let before = found.len();
            for (at, window) in chars.windows(phrase.len()).enumerate() {
                if window == phrase.as_slice()
                    && let (Some(first), Some(last)) =
                        (origins.get(at), origins.get(at + phrase.len() - 1))
                {
                    found.push((first.0, last.1));
                }
            }
            if found.len() == before {
                return None;
            }
        }
        found.sort_unstable();
        let mut merged: Vec<(usize, usize)> = Vec::new();
        for (from, to) in found {
            match merged.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => merged.push((from, to)),
            }
        }
        Some(merged)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn query(text: &str) -> Query {
        Query::parse(text).expect(text)
    }

    /// The places of a query in a text that the index finds.
    fn find(text: &str, content: &str) -> Option<Vec<(usize, usize)>> {
        let query = query(text);
        let known = terms(content);
        let is_candidate = query.terms().iter().all(|term| known.contains(term));
        is_candidate.then(|| query.find(content)).flatten()
    }

    #[test]
    fn common_characters_are_folded_as_the_tables_of_unicode_say() {
        let mut common = 0;
        for c in '\0'..=char::MAX {
            let text = c.to_string();
            if let Some(folded) = fold_common(&text) {
                assert_eq!(fold(&text).collect::<Vec<_>>(), [folded], "{c:?}");
                common += 1;
            }
        }
        assert_eq!(common, 95 + 11_172 + 20_992);
        for text in ["e\u{301}", "\r\n", "", "\u{1100}\u{1161}"] {
            assert_eq!(fold_common(text), None, "{text:?}");
        }
    }

    #[test]
    fn two_syllables_are_found_inside_longer_words() {
        let content = "어제 데이터베이스를 옮겼습니다.";
        for (text, place) in [
            ("이터", (4, 6)),
            ("데이", (3, 5)),
            ("베이스", (6, 9)),
            ("를", (9, 10)),
            ("스를 옮겼", (8, 13)),
        ] {
            let text = format!("\"{text}\"");
            // One syllable is found only where a word begins.
            let expected = (text != "\"를\"").then(|| vec![place]);
            assert_eq!(find(&text, content), expected, "{text}");
        }
        assert_eq!(find("데이터 어제", content), Some(vec![(0, 2), (3, 6)]));
        assert_eq!(find("데터", content), None);
        assert_eq!(find("어", content), Some(vec![(0, 1)]));
    }

    #[test]
    fn spellings_of_one_text_are_equal_and_places_count_characters() {
        let decomposed: String = "각각 데이터".nfd().collect();
        assert_eq!(find("데이터", &decomposed), Some(vec![(7, 13)]));
        assert_eq!(find("ＣＡＦÉ", "😀 the café"), Some(vec![(6, 10)]));
        assert_eq!(find("cafe\u{301}", "CAFÉ"), Some(vec![(0, 4)]));
        assert_eq!(find("\"a b\"", "x a \n\t b"), Some(vec![(2, 8)]));
        assert_eq!(find("straße", "STRASSE"), Some(vec![(0, 7)]));
        assert_eq!(find("ab", "a\u{200b}b"), Some(vec![(0, 3)]));
    }

    #[test]
    fn quotation_marks_make_a_phrase_and_other_operators_are_text() {
        assert_eq!(find("foo bar", "bar foo"), Some(vec![(0, 3), (4, 7)]));
        assert_eq!(find("\"foo bar\"", "bar foo"), None);
        assert_eq!(find("\"foo bar\"", "a foo  bar"), Some(vec![(2, 10)]));
        assert_eq!(find("\"foo", "a \"foo"), Some(vec![(2, 6)]));
        assert_eq!(find("\"foo", "foo"), None);
        for text in ["-foo", "foo*", "foo OR bar", "(foo)", "a:b"] {
            assert_eq!(find(text, "foo bar"), None, "{text}");
        }
        assert_eq!(find("\"수 번\"", "짝수 번째"), Some(vec![(1, 4)]));
        assert_eq!(find("\"o b\"", "foo bar"), Some(vec![(2, 5)]));
        assert_eq!(find("C++", "in C++ and c"), Some(vec![(3, 6)]));
        assert_eq!(find("👍", "ok 👍"), Some(vec![(3, 4)]));
        for empty in ["", " ", "\"\"", "\" \"", "\u{200b}"] {
            assert!(Query::parse(empty).is_err(), "{empty:?}");
        }
        assert!(Query::parse(&"a".repeat(101)).is_err());
    }

    #[test]
    fn words_in_small_alphabets_are_found_by_three_letters_or_their_beginning() {
        for (text, content, found) in [
            ("hist", "Prehistory", true),
            ("his", "Prehistory", true),
            ("pr", "Prehistory", true),
            ("p", "Prehistory", true),
            ("hi", "Prehistory", false),
            ("v2", "v2.0", true),
            ("3월", "2026년 3월", true),
            ("ＣＩ", "the CI failed", true),
        ] {
            assert_eq!(find(text, content).is_some(), found, "{text}");
        }
    }

    #[test]
    fn links_have_a_term() {
        for (content, has_link) in [
            ("see HTTPS://example.org", true),
            ("www.example.org", true),
            ("example", false),
        ] {
            assert_eq!(terms(content).contains(&Term::link()), has_link);
        }
    }

    #[test]
    fn terms_stay_the_same_in_later_versions() {
        // PostgreSQL has terms of earlier versions.
        assert_eq!(Term::of_chars(&['가', '나']).hash(), STORED);
        assert!(Term::channel(ChannelId(Uuid::max())).hash() < 1 << Term::BITS);
    }

    const STORED: i64 = 353_860_186_985;

    proptest! {
        #[test]
        fn a_part_of_a_word_is_always_found(
            before in "[가-힣 a-zA-Z.,!éß]{0,20}",
            part in "[가-힣]{2,9}|[a-zA-Zéß]{3,9}",
            after in "[가-힣 a-zA-Z.,!éß]{0,20}",
        ) {
            let content = format!("{before}{part}{after}");
            let places = find(&part, &content);
            prop_assert!(places.is_some(), "{part:?} in {content:?}");
            for (from, to) in places.unwrap_or_default() {
                let shown: String = content.chars().skip(from).take(to - from).collect();
                prop_assert!(find(&part, &shown).is_some(), "{shown:?}");
            }
        }
    }
}
