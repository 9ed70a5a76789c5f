//! `SockJS` 0.3.x framing, without IO: the frames `o`, `h`, `a[…]` and `c[…]`, their JSON escaping,
//! the body of `/info` and the rule for path segments.

pub mod urls;

use std::fmt::Write as _;

/// The frame that opens a session.
pub const OPEN: &str = "o";

/// The frame that keeps an idle session alive.
pub const HEARTBEAT: &str = "h";

/// A client payload that is not a JSON array of strings.
///
/// The protocol's test suite expects this text in the answer to such a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Broken JSON encoding.")]
pub struct BrokenJson;

/// One `a[…]` frame with `items` in order.
pub fn messages<'a>(items: impl IntoIterator<Item = &'a str>) -> String {
    let mut out = b"a[".to_vec();
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_string(&mut out, item);
    }
    out.push(b']');
    into_text(out)
}

/// One close frame, such as `c[3000,"Go away!"]`.
pub fn close(code: u16, reason: &str) -> String {
    let mut out = format!("c[{code},").into_bytes();
    write_string(&mut out, reason);
    out.push(b']');
    into_text(out)
}

/// The close frame of a session whose application ended without a close.
pub fn interrupted() -> String {
    close(1002, "Connection interrupted")
}

/// The JSON body of `/info`.
///
/// `websocket` is false when that transport is disabled, `cookie_needed` is true behind a load
/// balancer with cookie affinity, and `entropy` must be random for each answer.
pub fn info(websocket: bool, cookie_needed: bool, entropy: u32) -> String {
    let mut out = String::with_capacity(96);
    write!(
        out,
        r#"{{"entropy":{entropy},"origins":["*:*"],"cookie_needed":{cookie_needed},"websocket":{websocket}}}"#
    )
    .expect("a String takes everything");
    out
}

/// Whether `segment` may stand for `{server}` or `{session}` in a session URL: not empty, and
/// without a dot. The check comes before percent-decoding.
pub fn is_segment(segment: &str) -> bool {
    !segment.is_empty() && !segment.bytes().any(|byte| matches!(byte, b'.' | b'/'))
}

fn into_text(out: Vec<u8>) -> String {
    String::from_utf8(out).expect("write_string appends whole characters only")
}

/// Octets that may begin a character to escape: ASCII that JSON escapes, and the lead octets of
/// U+2000–2FFF, U+F000–FFFF and of everything outside the basic plane.
const SUSPECT: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = byte < 0x20 || byte == 0x22 || byte == 0x5c || byte == 0xe2 || byte >= 0xef;
        byte += 1;
    }
    table
};

/// Appends `text` as one JSON string, quotes included, with the escaping `SockJS` asks for:
/// the usual escapes of JSON, and `\uXXXX` in lower case for U+200C–200F, U+2028–202F,
/// U+2060–206F, U+FFF0–FFFF and, as surrogate pairs, everything outside the basic plane.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    let mut copied = 0;
    let mut at = 0;
    while let Some(skip) = bytes[at..]
        .iter()
        .position(|&byte| SUSPECT[usize::from(byte)])
    {
        at += skip;
        let rest = text.get(at..).expect("no suspect is inside a character");
        let Some(c) = rest.chars().next() else {
            break;
        };
        let next = at + c.len_utf8();
        if must_escape(c) {
            out.extend_from_slice(&bytes[copied..at]);
            write_escape(out, c);
            copied = next;
        }
        at = next;
    }
    out.extend_from_slice(&bytes[copied..]);
    out.push(b'"');
}

fn must_escape(c: char) -> bool {
    matches!(
        c,
        '\0'..='\u{1f}'
            | '"'
            | '\\'
            | '\u{200c}'..='\u{200f}'
            | '\u{2028}'..='\u{202f}'
            | '\u{2060}'..='\u{206f}'
            | '\u{fff0}'..
    )
}

fn write_escape(out: &mut Vec<u8>, c: char) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match c {
        '"' => b'"',
        '\\' => b'\\',
        '\n' => b'n',
        '\r' => b'r',
        '\t' => b't',
        '\u{8}' => b'b',
        '\u{c}' => b'f',
        _ => {
            for &mut unit in c.encode_utf16(&mut [0; 2]) {
                out.extend_from_slice(b"\\u");
                for shift in [12, 8, 4, 0] {
                    out.push(HEX[usize::from(unit >> shift & 0xf)]);
                }
            }
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// The messages in one payload of a client: a JSON array of strings, or one bare JSON string.
///
/// The empty payload and `[]` carry none. Half of a surrogate pair, which browsers can send and
/// a Rust string cannot hold, becomes U+FFFD: one such character does not end the connection.
///
/// # Errors
///
/// [`BrokenJson`] for anything else.
pub fn decode(payload: &str) -> Result<Vec<String>, BrokenJson> {
    if payload.is_empty() {
        return Ok(Vec::new());
    }
    let mut reader = Reader {
        text: payload,
        at: 0,
    };
    let mut items = Vec::new();
    match reader.token()? {
        b'"' => items.push(reader.string()?),
        b'[' => match reader.token()? {
            b']' => {}
            mut token => loop {
                if token != b'"' {
                    return Err(BrokenJson);
                }
                items.push(reader.string()?);
                match reader.token()? {
                    b']' => break,
                    b',' => token = reader.token()?,
                    _ => return Err(BrokenJson),
                }
            },
        },
        _ => return Err(BrokenJson),
    }
    // Only white space may follow.
    match reader.token() {
        Ok(_) => Err(BrokenJson),
        Err(BrokenJson) => Ok(items),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl Reader<'_> {
    /// The next octet that is not JSON white space.
    fn token(&mut self) -> Result<u8, BrokenJson> {
        loop {
            let byte = self.byte()?;
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Ok(byte);
            }
        }
    }

    fn byte(&mut self) -> Result<u8, BrokenJson> {
        let byte = *self.text.as_bytes().get(self.at).ok_or(BrokenJson)?;
        self.at += 1;
        Ok(byte)
    }

    /// The rest of a string whose opening quote has been read.
    fn string(&mut self) -> Result<String, BrokenJson> {
        let mut out = String::new();
        loop {
            let rest = self.text.as_bytes().get(self.at..).ok_or(BrokenJson)?;
            let run = rest
                .iter()
                .position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\')
                .ok_or(BrokenJson)?;
            let plain = self.text.get(self.at..self.at + run);
            out.push_str(plain.expect("the run is cut at ASCII octets"));
            self.at += run;
            match self.byte()? {
                b'"' => return Ok(out),
                b'\\' => out.push(self.escape()?),
                // JSON allows no raw control characters inside a string.
                _ => return Err(BrokenJson),
            }
        }
    }

    fn escape(&mut self) -> Result<char, BrokenJson> {
        Ok(match self.byte()? {
            byte @ (b'"' | b'\\' | b'/') => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = self.hex()?;
                char::from_u32(unit).unwrap_or_else(|| self.pair(unit))
            }
            _ => return Err(BrokenJson),
        })
    }

    /// The character that starts with the surrogate `high`. Consumes the next escape only if it is
    /// the other half of the pair.
    fn pair(&mut self, high: u32) -> char {
        let before = self.at;
        if high < 0xdc00 && self.text.as_bytes()[self.at..].starts_with(b"\\u") {
            self.at += 2;
            if let Ok(low @ 0xdc00..=0xdfff) = self.hex() {
                let code = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                return char::from_u32(code).expect("a surrogate pair is a character");
            }
        }
        self.at = before;
        char::REPLACEMENT_CHARACTER
    }

    fn hex(&mut self) -> Result<u32, BrokenJson> {
        let mut value = 0;
        for _ in 0..4 {
            let digit = char::from(self.byte()?).to_digit(16).ok_or(BrokenJson)?;
            value = value << 4 | digit;
        }
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn quoted(text: &str) -> String {
        let mut out = Vec::new();
        write_string(&mut out, text);
        into_text(out)
    }

    #[test]
    fn the_listed_ranges_are_escaped_in_lower_case_and_nothing_else_is() {
        let ranges = [
            (0x00, 0x1f),
            (0x200c, 0x200f),
            (0x2028, 0x202f),
            (0x2060, 0x206f),
            (0xfff0, 0xffff),
        ];
        for code in 0..=0xffff {
            let Some(c) = char::from_u32(code) else {
                continue;
            };
            let expected = match c {
                '"' => r#""\"""#.to_owned(),
                '\\' => r#""\\""#.to_owned(),
                '\n' => r#""\n""#.to_owned(),
                '\r' => r#""\r""#.to_owned(),
                '\t' => r#""\t""#.to_owned(),
                '\u{8}' => r#""\b""#.to_owned(),
                '\u{c}' => r#""\f""#.to_owned(),
                _ if ranges
                    .iter()
                    .any(|&(low, high)| (low..=high).contains(&code)) =>
                {
                    format!("\"\\u{code:04x}\"")
                }
                _ => format!("\"{c}\""),
            };
            assert_eq!(quoted(&c.to_string()), expected);
        }
    }

    #[test]
    fn astral_characters_go_out_as_surrogate_pairs() {
        assert_eq!(quoted("a😀b"), r#""a\ud83d\ude00b""#);
        assert_eq!(quoted("\u{10ffff}"), r#""\udbff\udfff""#);
        assert_eq!(quoted("한\u{7f}\u{feff}é"), "\"한\u{7f}\u{feff}é\"");
    }

    #[test]
    fn frames_have_the_shape_of_the_protocol() {
        assert_eq!(messages(["x"]), r#"a["x"]"#);
        assert_eq!(messages(["x", "y\0"]), r#"a["x","y\u0000"]"#);
        assert_eq!(messages([]), "a[]");
        assert_eq!(close(3000, "Go away!"), r#"c[3000,"Go away!"]"#);
        assert_eq!(close(1002, "\"\n"), r#"c[1002,"\"\n"]"#);
        assert_eq!(
            info(true, false, 4_294_967_295),
            r#"{"entropy":4294967295,"origins":["*:*"],"cookie_needed":false,"websocket":true}"#
        );
    }

    #[test]
    fn segments_are_not_empty_and_have_no_dot() {
        for good in ["a", "_", "1", "abcdefgh_i-j%20"] {
            assert!(is_segment(good), "{good}");
        }
        for bad in ["", ".", "a.", "a.b", "a/b"] {
            assert!(!is_segment(bad), "{bad}");
        }
    }

    #[test]
    fn payloads_are_arrays_of_strings_or_a_bare_string() {
        let texts = |payload| decode(payload).map(|items| items.join("|"));
        assert_eq!(decode(""), Ok(Vec::new()));
        assert_eq!(decode("[]"), Ok(Vec::new()));
        assert_eq!(decode(" [ ] "), Ok(Vec::new()));
        assert_eq!(texts(r#"["x","y"]"#), Ok("x|y".to_owned()));
        assert_eq!(texts(" [ \"x\" ,\n\"y\" ]\r\n"), Ok("x|y".to_owned()));
        assert_eq!(texts(r#""x""#), Ok("x".to_owned()));
        assert_eq!(
            texts(r#"["\"\\\/\b\f\n\r\t\u00e9\uAC00"]"#),
            Ok("\"\\/\u{8}\u{c}\n\r\té가".to_owned())
        );
    }

    #[test]
    fn surrogates_are_joined_and_lone_ones_replaced_instead_of_failing() {
        let one = |payload: &str| decode(payload).map(|mut items| items.remove(0));
        assert_eq!(one(r#"["\ud83d\ude00"]"#), Ok("😀".to_owned()));
        assert_eq!(one(r#"["\ud800"]"#), Ok("\u{fffd}".to_owned()));
        assert_eq!(one(r#"["\udc00x"]"#), Ok("\u{fffd}x".to_owned()));
        assert_eq!(
            one(r#"["\ud800\ud83d\ude00"]"#),
            Ok("\u{fffd}😀".to_owned())
        );
        assert_eq!(one(r#"["\ud800\n"]"#), Ok("\u{fffd}\n".to_owned()));
        assert_eq!(one(r#"["\ud800\u0041"]"#), Ok("\u{fffd}A".to_owned()));
        assert_eq!(
            one(r#"["\ude00\ud83d"]"#),
            Ok("\u{fffd}\u{fffd}".to_owned())
        );
        assert_eq!(decode(r#"["\ud800\u00"]"#), Err(BrokenJson));
        // The character of a surrogate pair is escaped as a pair again.
        let echoed = decode(r#"["\ud83d\ude00"]"#).expect("valid");
        assert_eq!(
            messages(echoed.iter().map(String::as_str)),
            r#"a["\ud83d\ude00"]"#
        );
    }

    #[test]
    fn anything_else_is_broken() {
        let broken = [
            "[\"x",
            "[\"x\"",
            "[\"x\",]",
            "[,]",
            "[\"x\" \"y\"]",
            "[1]",
            "[null]",
            "{}",
            "null",
            "x",
            " ",
            "\"x",
            "\"\\",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u+123\"",
            "[\"a\nb\"]",
            "[]]",
            "\"x\"\"y\"",
            "[[\"x\"]]",
        ];
        for payload in broken {
            assert_eq!(decode(payload), Err(BrokenJson), "{payload}");
        }
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(items: Vec<String>) {
            let frame = messages(items.iter().map(String::as_str));
            let payload = frame.strip_prefix('a').expect("an a frame");
            prop_assert_eq!(decode(payload), Ok(items.clone()));
            let parsed: Vec<String> = serde_json::from_str(payload).expect("it is JSON");
            prop_assert_eq!(parsed, items);
        }

        #[test]
        fn decoding_agrees_with_a_full_json_parser(payload in r#"[\[\]", \\u0ad8nx/\t]{0,24}"#) {
            if let Ok(items) = serde_json::from_str::<Vec<String>>(&payload) {
                prop_assert_eq!(decode(&payload), Ok(items));
            } else if decode(&payload).is_ok() {
                // Accepted beside arrays of strings: an empty payload, one string, lone surrogates.
                let bare = payload.is_empty() || payload.trim_start().starts_with('"');
                prop_assert!(bare || payload.contains("\\ud"), "{payload}");
            }
        }

        #[test]
        fn any_text_is_decoded_or_refused_without_panic(payload: String) {
            drop(decode(&payload));
        }
    }
}
