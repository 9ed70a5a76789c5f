//! JSON of clients.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::problem::Problem;

/// Parses a JSON object of a client.
///
/// Accepts what other servers accept: a byte order mark before the object, and a repeated key, whose last value counts. A
/// surrogate without its other half becomes U+FFFD: `JSON.stringify` of a cut emoji sends it.
///
/// # Errors
/// [`Problem::Invalid`] with each field whose value has a wrong type or form, or [`Problem::Malformed`] with the line and column
/// of a syntax error. Neither has the value, which may be a secret.
pub fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    // Serde would read an array as the fields in their order.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(Problem::Malformed("A JSON object is expected.".into()));
    }
    let bytes = replace_lone_surrogates(bytes);
    serde_json::from_slice(&bytes).or_else(|_| from_map(&bytes))
}

/// Parses a JSON object into a map first, in which the last value of a key counts, to find each invalid field.
fn from_map<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut map: Map<String, Value> = serde_json::from_slice(bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Problem::Malformed(format!("The JSON is broken at line {line}, column {column}.").into())
    })?;
    let mut invalid = Map::new();
    loop {
        match serde_path_to_error::deserialize(Value::Object(map.clone())) {
            Ok(parsed) if invalid.is_empty() => return Ok(parsed),
            Ok(_) => return Err(Problem::Invalid(invalid)),
            Err(error) => {
                let path = error.path().to_string();
                let field = path.split(['.', '[']).next().unwrap_or_default();
                // Every field is optional, so that the next field is found without this one.
                if map.remove(field).is_none() {
                    let why = "The JSON has a value of a wrong type or form.";
                    return Err(Problem::Malformed(why.into()));
                }
                invalid.insert(path, "has a wrong type or form".into());
            }
        }
    }
}

/// Replaces each escaped surrogate that is not half of a pair by U+FFFD, which serde would refuse.
fn replace_lone_surrogates(json: &[u8]) -> Cow<'_, [u8]> {
    let mut json = Cow::Borrowed(json);
    let mut at = 0;
    while let Some(found) = json
        .get(at..)
        .and_then(|rest| rest.iter().position(|b| *b == b'\\'))
    {
        at += found;
        let next = escaped_unit(json.get(at..).unwrap_or_default());
        let after = escaped_unit(json.get(at + 6..).unwrap_or_default());
        at += match (next, after) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                if let Some(escape) = json.to_mut().get_mut(at..at + 6) {
                    escape.copy_from_slice(br"\ufffd");
                }
                6
            }
            (Some(_), _) => 6,
            // Another escape, such as `\\`.
            (None, _) => 2,
        };
    }
    json
}

/// The UTF-16 code unit of an escape such as `\u00e9` at the start of the bytes.
fn escaped_unit(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.strip_prefix(br"\u")?.get(..4)?;
    let mut digits = digits.iter().map(|digit| char::from(*digit).to_digit(16));
    let unit = digits.try_fold(0, |unit, digit| Some(16 * unit + digit?))?;
    u16::try_from(unit).ok()
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Body {
        text: Option<String>,
        id: Option<Uuid>,
        ids: Option<Vec<Uuid>>,
    }

    fn text(json: &str) -> Option<String> {
        from_json::<Body>(json.as_bytes()).expect(json).text
    }

    #[test]
    fn ids_are_read_in_any_form() {
        let id = Uuid::now_v7();
        let json = json!({ "id": id.to_string().to_uppercase(), "ids": [id.simple().to_string()] });
        let body: Body = from_json(json.to_string().as_bytes()).expect("ids");
        assert_eq!((body.id, body.ids), (Some(id), Some(vec![id])));
    }

    #[test]
    fn lone_surrogates_become_replacement_characters() {
        for (escaped, expected) in [
            (r"\ud800", "\u{fffd}"),
            (r"a\uD83Db", "a\u{fffd}b"),
            (r"\udc00\ud800", "\u{fffd}\u{fffd}"),
            (r"\ud800\ud83d\ude00", "\u{fffd}😀"),
            (r"\ud83d\ude00\ude00", "😀\u{fffd}"),
            (r"\ud800\u0041", "\u{fffd}A"),
            (r"\ud800\n", "\u{fffd}\n"),
            (r"\\ud800", r"\ud800"),
            (r"\\\ud800", "\\\u{fffd}"),
            (r"\u00e9\/", "é/"),
        ] {
            let json = format!(r#"{{"text":"{escaped}"}}"#);
            assert_eq!(text(&json).as_deref(), Some(expected), "{escaped}");
        }
        for broken in [
            r#"{"text":"\ud80"}"#,
            r#"{"text":"\ud8"#,
            r#"{"text":"\"#,
            r#"{"text":"\x"}"#,
        ] {
            assert!(from_json::<Body>(broken.as_bytes()).is_err(), "{broken}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_skipped_and_the_last_value_of_a_key_counts() {
        assert_eq!(text("\u{feff}{\"text\":\"a\"}").as_deref(), Some("a"));
        assert_eq!(
            text(r#"{"text":"a","id":null,"text":"b"}"#).as_deref(),
            Some("b")
        );
        assert_eq!(text(r#"{"text":5,"text":"b"}"#).as_deref(), Some("b"));
    }

    #[test]
    fn every_field_of_a_wrong_type_is_reported_without_its_value() {
        let problem = |json: &str| from_json::<Body>(json.as_bytes()).expect_err(json);
        let error = problem(
            r#"{"text":5,"id":"","ids":["01890a5d-ac96-774b-bcce-b302099a8057","x"],"text":{"secret":1}}"#,
        );
        let why = "has a wrong type or form";
        assert_eq!(
            error.details(),
            json!({ "text": why, "id": why, "ids[1]": why })
        );
        for malformed in [
            "[]",
            "5",
            "",
            "\"a\"",
            "{",
            "{\"text\":}",
            "{\"text\":\"a\"}}",
        ] {
            assert_eq!(
                problem(malformed).code(),
                "MALFORMED_REQUEST",
                "{malformed}"
            );
        }
    }
}
