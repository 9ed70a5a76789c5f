//! Unicode rules for names and passwords: what is shown, what is unique, what nobody can see.

use icu_properties::{
    CodePointMapData, CodePointSetData,
    props::{
        CanonicalCombiningClass, DefaultIgnorableCodePoint, Emoji, EmojiModifier,
        ExtendedPictographic, GeneralCategory, GeneralCategoryGroup, JoiningType,
        NoncharacterCodePoint, PrependedConcatenationMark, Script,
    },
};
use unicode_normalization::UnicodeNormalization;
use unicode_security::skeleton;

/// The composed form of a text (NFC): the form that is shown and whose characters are counted.
pub fn composed(text: &str) -> String {
    text.nfc().collect()
}

/// Whether the composed form of a text has at most `max` characters.
pub fn fits(text: &str, max: usize) -> bool {
    // A character has at most 4 in its canonical decomposition, so most messages need not be composed to be counted.
    text.len() <= max / 4 || text.nfc().nth(max).is_none()
}

/// The form of a password that is hashed: `OpaqueString` of RFC 8265 §4.2.
///
/// It is composed, and each kind of space is U+0020. Unlike the RFC, it refuses no character, because accounts already have such
/// passwords.
pub fn password(typed: &str) -> String {
    let space = |c| match category(c) {
        GeneralCategory::SpaceSeparator => ' ',
        _ => c,
    };
    typed.chars().map(space).nfc().collect()
}

/// Folds case for uniqueness.
///
/// Converts to lower, upper and lower case, so that letters with several lower-case forms (σ and ς, ß and ẞ) become equal.
pub fn fold_case(text: &str) -> String {
    text.to_lowercase().to_uppercase().to_lowercase()
}

/// The identity of a name: equal for two spellings of one name.
///
/// NFKC with case folding, as in `UsernameCaseMapped` (RFC 8265 §3.3), without ignorable characters, and with one U+0020 for each
/// run of spaces, as in `Nickname` (RFC 8266 §2.3).
pub fn name_key(name: &str) -> String {
    fold_case(&plain(name)).nfkc().collect()
}

/// The look of a name: equal for two names that look the same.
///
/// The skeleton of UTS 39, with two differences, both for names that people have:
/// - An ASCII character is itself, so that ASCII names that differ stay different. The skeleton makes `rn` and `m` equal, and `l`
///   and `1`.
/// - The case is folded after the skeleton, because capitals look like other letters than small letters do. `ВОВА` in Cyrillic
///   looks like `BOBA`, `Вова` does not.
pub fn name_look(name: &str) -> String {
    let mut look = String::new();
    for c in plain(name).nfd() {
        if c.is_ascii() {
            look.push(c);
            continue;
        }
        let start = look.len();
        look.extend(skeleton(c.encode_utf8(&mut [0; 4])));
        // The skeleton of each capital I is a small l.
        if c.is_uppercase() && look.ends_with('l') && look.len() == start + 1 {
            look.pop();
            look.push('i');
        }
    }
    fold_case(&look).nfkc().collect()
}

/// NFKC without ignorable characters, and with one U+0020 for each run of spaces.
fn plain(name: &str) -> String {
    let visible: String = name.nfkc().filter(|c| !is_ignorable(*c)).collect();
    let words: Vec<_> = visible.split_whitespace().collect();
    words.join(" ")
}

/// Whether a person sees each character of a text, and the first one has a place of its own.
///
/// A text with hidden characters may look like another text; a combining mark at the start changes the character before the text.
pub fn is_visible(text: &str) -> bool {
    let starts_with_mark = text
        .chars()
        .next()
        .is_some_and(|c| GeneralCategoryGroup::Mark.contains(category(c)));
    !starts_with_mark && !neighbours(text).any(is_hidden)
}

/// The text without its hidden characters.
pub fn without_hidden(text: &str) -> String {
    neighbours(text)
        .filter(|place| !is_hidden(*place))
        .map(|(_, c, _)| c)
        .collect()
}

/// A character and its neighbours.
type Place = (Option<char>, char, Option<char>);

fn neighbours(text: &str) -> impl Iterator<Item = Place> {
    let before = std::iter::once(None).chain(text.chars().map(Some));
    let after = text.chars().skip(1).map(Some).chain([None]);
    before
        .zip(text.chars())
        .zip(after)
        .map(|((before, c), after)| (before, c, after))
}

/// Whether a character is drawn as nothing, or only changes how its neighbours are drawn.
///
/// Such a character is visible where a writing system needs it: in emoji, in Han variants that Japanese names have, between
/// letters of scripts that join them, and in Mongolian.
fn is_hidden((before, c, after): Place) -> bool {
    let emoji = |c| CodePointSetData::new::<ExtendedPictographic>().contains(c);
    let is_before = |test: &dyn Fn(char) -> bool| before.is_some_and(test);
    let is_after = |test: &dyn Fn(char) -> bool| after.is_some_and(test);
    match c {
        '\u{fe0e}' | '\u{fe0f}' => !is_before(&|base| {
            // Digits are emoji only on keycaps.
            CodePointSetData::new::<Emoji>().contains(base)
                && (!base.is_ascii() || after == Some('\u{20e3}'))
        }),
        '\u{fe00}'..='\u{fe02}' | '\u{e0100}'..='\u{e01ef}' => {
            !is_before(&|base| script(base) == Script::Han)
        }
        '\u{180b}'..='\u{180f}' => !is_before(&|base| script(base) == Script::Mongolian),
        // Flags of regions: a black flag, tags, and the tag that ends them.
        '\u{e0020}'..='\u{e007f}' => {
            let tag = |c| matches!(c, '\u{e0020}'..='\u{e007e}');
            let is_last = c == '\u{e007f}';
            !(is_before(&|base| tag(base) || base == '\u{1f3f4}' && !is_last)
                && (is_last || is_after(&|next| tag(next) || next == '\u{e007f}')))
        }
        '\u{200d}' if is_after(&emoji) => !is_before(&|base| {
            base == '\u{fe0f}'
                || emoji(base)
                || CodePointSetData::new::<EmojiModifier>().contains(base)
        }),
        '\u{200c}' | '\u{200d}' => !is_before(&|base| {
            CodePointMapData::<CanonicalCombiningClass>::new().get(base)
                == CanonicalCombiningClass::Virama
                || joins(base) && is_after(&joins)
        }),
        // Blank, but none of the properties below has them.
        '\u{2800}' | '\u{fffc}' | '\u{1d159}' => true,
        _ => {
            let drawn = || CodePointSetData::new::<PrependedConcatenationMark>().contains(c);
            is_ignorable(c)
                || CodePointSetData::new::<NoncharacterCodePoint>().contains(c)
                || match category(c) {
                    GeneralCategory::Control
                    | GeneralCategory::LineSeparator
                    | GeneralCategory::ParagraphSeparator => true,
                    GeneralCategory::Format => !drawn(),
                    _ => false,
                }
        }
    }
}

/// Whether a character is drawn as nothing by default.
pub(super) fn is_ignorable(c: char) -> bool {
    CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
}

/// Whether a character belongs to a word: a letter, a digit or a mark on one.
pub(super) fn is_word_part(c: char) -> bool {
    c.is_alphanumeric() || GeneralCategoryGroup::Mark.contains(category(c))
}

fn category(c: char) -> GeneralCategory {
    CodePointMapData::<GeneralCategory>::new().get(c)
}

fn script(c: char) -> Script {
    CodePointMapData::<Script>::new().get(c)
}

/// Whether the letter joins its neighbours, as in Arabic.
fn joins(c: char) -> bool {
    matches!(
        CodePointMapData::<JoiningType>::new().get(c),
        JoiningType::DualJoining | JoiningType::LeftJoining | JoiningType::RightJoining
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_name_have_one_key() {
        for spellings in [
            &["김철수", "\u{1100}\u{1175}\u{11b7}철수"][..],
            &["admin", "ADMIN", "ａｄｍｉｎ", "𝐚𝐝𝐦𝐢𝐧", "ad\u{ad}min"],
            &[
                "Ångström",
                "ÅNGSTRÖM",
                "A\u{30a}ngstro\u{308}m",
                "\u{212b}ngström",
            ],
            &["ΣΊΣΥΦΟΣ", "σίσυφος", "σίσυφοσ"],
            &["Straße", "STRASSE", "STRAẞE"],
            &["山田　太郎", "山田 太郎", "山田  太郎"],
            &["ann ❤️", "ann ❤"],
            &["葛\u{e0100}城", "葛城"],
        ] {
            for spelling in spellings {
                assert_eq!(name_key(spelling), name_key(spellings[0]), "{spelling:?}");
            }
        }
        assert_ne!(name_key("ann"), name_key("anna"));
        assert_ne!(name_key("José"), name_key("Jose"));
    }

    #[test]
    fn names_that_look_the_same_have_the_same_look() {
        for (name, look_alikes) in [
            (
                "admin",
                &[
                    "аdmin",
                    "АDMIN",
                    "АDMІN",
                    "ΑDMΙN",
                    "admіn",
                    "ａｄｍｉｎ",
                    "𝐚dmin",
                    "ɑdmin",
                    "admın",
                ][..],
            ),
            ("Kevin", &["Кevin", "KEVIΝ", "ＫΕVIN"]),
            ("Bob", &["Вob", "ΒOB", "Bоb"]),
            ("Ivan", &["Іvan", "Ӏvan", "Ιvan"]),
            ("scope", &["ѕсоре"]),
            ("エリカ", &["工リカ"]),
        ] {
            for look_alike in look_alikes {
                assert_eq!(name_look(look_alike), name_look(name), "{look_alike}");
            }
        }
    }

    #[test]
    fn names_that_people_have_look_different() {
        let names = [
            "Ian",
            "lan",
            "warner",
            "wamer",
            "kim1",
            "kiml",
            "user0",
            "usero",
            "Вова",
            "Boba",
            "Анна",
            "Ahha",
            "José",
            "Jose",
            "김철수",
            "김철주",
            "개나리",
            "게나리",
            "田中",
            "由中",
            "さとう",
            "サトウ",
            "Νίκος",
            "Nikos",
            "محمد",
            "محمود",
            "สมชาย",
            "สมหมาย",
            "राम",
            "रमा",
            "ann 😀",
            "ann 😃",
            "Ann-Marie",
            "Ann Marie",
        ];
        for (i, one) in names.iter().enumerate() {
            for other in &names[..i] {
                assert_ne!(name_look(one), name_look(other), "{one} and {other}");
            }
        }
    }

    #[test]
    fn hidden_characters_are_found() {
        for hidden in [
            "\u{3164}",
            "admin\u{3164}",
            "\u{2800}",
            "\u{115f}",
            "\u{1160}",
            "\u{ffa0}",
            "admin\u{ad}",
            "ann\u{fe0f}",
            "ann1\u{fe0f}",
            "ann\u{200d}",
            "an\u{200c}n",
            "a\u{200b}b",
            "a\u{2060}b",
            "\u{feff}ann",
            "evil\u{202e}",
            "\u{2066}ann\u{2069}",
            "ann\u{61c}",
            "ann\u{e0061}",
            "🏴\u{e0061}",
            "🏴\u{e007f}",
            "ann\u{e0100}",
            "가\u{e0100}",
            "\u{34f}ann",
            "a\nb",
            "a\0b",
            "a\u{85}b",
            "a\u{2028}b",
            "a\u{fffc}b",
            "a\u{ffff}b",
            "a\u{1d159}",
            "\u{301}",
            "\u{20e3}ann",
            "😀\u{200d}",
            "\u{200d}😀",
        ] {
            assert!(!is_visible(hidden), "{hidden:?}");
        }
    }

    #[test]
    fn names_that_people_have_are_visible() {
        for name in [
            "a",
            "김철수",
            "李小龍",
            "山田　太郎",
            "東京タワーさん Tokyo",
            "Jean-Luc 🖖",
            "ann ❤️",
            "👨‍👩‍👧‍👦",
            "🏳️‍🌈 pride",
            "👩🏽‍🚀",
            "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
            "🇰🇷",
            "1️⃣",
            "葛\u{e0100}城",
            "علی\u{200c}رضا",
            "क्\u{200d}ष",
            "नमस्ते",
            "สมชาย",
            "Nguyễn Thị Ánh",
            "O’Brien",
            "Владимир",
            "DJ Вова",
            "x\u{a0}y",
        ] {
            assert!(is_visible(name), "{name:?}");
            assert_eq!(without_hidden(name), name, "{name:?}");
        }
        assert_eq!(without_hidden("a\0b\r\nc\u{202e}gpj.exe"), "abcgpj.exe");
    }

    #[test]
    fn passwords_are_composed_and_have_one_kind_of_space() {
        let decomposed: String = "비밀번호é1".nfd().collect();
        assert_ne!(decomposed, "비밀번호é1");
        assert_eq!(password(&decomposed), "비밀번호é1");
        assert_eq!(password("correct\u{3000}horse\u{a0}"), "correct horse ");
        // Unlike names, passwords keep their case and width.
        assert_eq!(password("ＰassWORD\n"), "ＰassWORD\n");
    }

    /// PostgreSQL refuses an entry of a unique index above 2,704 bytes.
    #[test]
    fn the_keys_of_the_longest_names_fit_into_an_index() {
        // The later planes have Han characters only, which stay as they are.
        let longest = ('\0'..='\u{1ffff}')
            .map(|c| {
                let name = String::from(c);
                50 * name_key(&name).len().max(name_look(&name).len())
            })
            .max();
        assert!(longest < Some(2_600), "{longest:?}");
    }
}
