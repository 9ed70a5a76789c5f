//! `Content-Disposition` of a part of a multipart body, in every form that browsers and libraries write.
//!
//! multer reads only lower-case parameter names and plain UTF-8 values.

use http::{HeaderMap, header::CONTENT_DISPOSITION};
use percent_encoding::percent_decode_str;

/// The names of a part.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Disposition {
    /// Name of the form's field.
    pub(super) name: Option<String>,
    /// Name of the file. `Some("")` for a file input without a file.
    pub(super) file_name: Option<String>,
}

impl Disposition {
    /// Reads the header of a part. Bytes that are not UTF-8 become U+FFFD.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        headers
            .get(CONTENT_DISPOSITION)
            .map(|value| Self::parse(&String::from_utf8_lossy(value.as_bytes())))
            .unwrap_or_default()
    }

    fn parse(header: &str) -> Self {
        let (mut parsed, mut extended) = (Self::default(), None);
        // The type, `form-data`, decides nothing.
        let mut rest = header.split_once(';').map_or("", |(_, rest)| rest);
        while !rest.is_empty() {
            let end = rest.find([';', '=']).unwrap_or(rest.len());
            let (name, after) = rest.split_at(end);
            let Some(after) = after.strip_prefix('=') else {
                rest = after.trim_start_matches(';');
                continue;
            };
            let (value, after) = value(after.trim_start());
            rest = after;
            match name.trim().to_ascii_lowercase().as_str() {
                "name" => parsed.name = parsed.name.or(Some(value)),
                "filename" => parsed.file_name = parsed.file_name.or(Some(value)),
                "filename*" => extended = extended.or_else(|| decode_extended(&value)),
                _ => {}
            }
        }
        // RFC 6266 §4.3: this form wins, because it says its encoding. RFC 7578 forbids it, and libraries write it.
        parsed.file_name = extended.or(parsed.file_name);
        parsed
    }
}

/// Splits a text after its first parameter value, and returns the value and the text after the next semicolon.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = text.split_once(';').unwrap_or((text, ""));
        return (value.trim().to_owned(), rest);
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices().peekable();
    let mut rest = "";
    while let Some((at, c)) = chars.next() {
        let (_, after) = quoted.split_at(at + c.len_utf8());
        match (c, chars.peek()) {
            ('"', _) => {
                rest = after.split_once(';').map_or("", |(_, rest)| rest);
                break;
            }
            // RFC 822: a backslash quotes the next character. Browsers write a backslash as it is, and it may be the last
            // character of a file name; then no further quotation mark follows.
            ('\\', Some((_, '"'))) if after.split_at(1).1.contains('"') => {
                value.push('"');
                chars.next();
            }
            ('\\', Some((_, '\\'))) => {
                value.push('\\');
                chars.next();
            }
            _ => value.push(c),
        }
    }
    // The HTML standard encodes these three characters and no others.
    for (encoded, character) in [("%22", "\""), ("%0D", "\r"), ("%0A", "\n")] {
        value = value.replace(encoded, character);
        value = value.replace(&encoded.to_ascii_lowercase(), character);
    }
    (value, rest)
}

/// Decodes a value such as `UTF-8'ko'%ED%95%9C` (RFC 8187).
fn decode_extended(value: &str) -> Option<String> {
    let mut parts = value.splitn(3, '\'');
    let (charset, _language, encoded) = (parts.next()?, parts.next()?, parts.next()?);
    let bytes = percent_decode_str(encoded);
    match charset.to_ascii_lowercase().as_str() {
        "utf-8" => bytes.decode_utf8().ok().map(Into::into),
        "iso-8859-1" => Some(bytes.map(char::from).collect()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(cases: &[(&str, Option<&str>, Option<&str>)]) {
        for (header, name, file_name) in cases {
            let expected = Disposition {
                name: name.map(str::to_owned),
                file_name: file_name.map(str::to_owned),
            };
            assert_eq!(Disposition::parse(header), expected, "{header}");
        }
    }

    #[test]
    fn names_are_read_quoted_and_unquoted() {
        check(&[
            ("form-data; name=\"a\"", Some("a"), None),
            (
                "form-data; name=a; filename=b.txt",
                Some("a"),
                Some("b.txt"),
            ),
            (
                "form-data;name=a;filename=my file.txt",
                Some("a"),
                Some("my file.txt"),
            ),
            (
                "FORM-DATA; NAME=\"a\"; FILENAME=\"upper.txt\"",
                Some("a"),
                Some("upper.txt"),
            ),
            (
                "form-data; filename = \"b.txt\" ; name = \"a\"",
                Some("a"),
                Some("b.txt"),
            ),
            (
                "form-data; name=\"a\"; filename=\"say %22hi%22.txt\"",
                Some("a"),
                Some("say \"hi\".txt"),
            ),
            (
                "form-data; name=\"a\"; filename=\"a%0D%0Ab%41.txt\"",
                Some("a"),
                Some("a\r\nb%41.txt"),
            ),
            (
                "form-data; name=\"a\"; filename=\"say \\\"hi\\\"; x=y.txt\"",
                Some("a"),
                Some("say \"hi\"; x=y.txt"),
            ),
            (
                "form-data; name=\"a\"; filename=\"C:\\new\\b.txt\"",
                Some("a"),
                Some("C:\\new\\b.txt"),
            ),
            (
                "form-data; name=\"a\"; filename=\"a\\\\b.txt\"",
                Some("a"),
                Some("a\\b.txt"),
            ),
            (
                "form-data; name=\"a\"; filename=\"last\\\"",
                Some("a"),
                Some("last\\"),
            ),
            (
                "form-data; name=\"a\"; filename=\"한글.txt\"",
                Some("a"),
                Some("한글.txt"),
            ),
        ]);
    }

    #[test]
    fn extended_incomplete_and_missing_names_are_read() {
        check(&[
            (
                "form-data; name=\"a\"; filename*=UTF-8''%ED%95%9C%EA%B8%80.txt",
                Some("a"),
                Some("한글.txt"),
            ),
            (
                "form-data; name=\"a\"; filename=\"?.txt\"; FileName*=utf-8'ko'%ED%95%9C.txt",
                Some("a"),
                Some("한.txt"),
            ),
            (
                "form-data; name=\"a\"; filename*=iso-8859-1''caf%E9; filename=x",
                Some("a"),
                Some("café"),
            ),
            (
                "form-data; name=\"a\"; filename*=UTF-8''%FF; filename=\"x\"",
                Some("a"),
                Some("x"),
            ),
            ("form-data; name=\"a\"; filename=\"\"", Some("a"), Some("")),
            ("form-data; name=\"a;b\"; x; y=z", Some("a;b"), None),
            ("form-data; name=a; name=b", Some("a"), None),
            ("form-data; xname=\"b\"", None, None),
            ("form-data; name", None, None),
            ("form-data; name=\"open", Some("open"), None),
            ("form-data", None, None),
            ("", None, None),
        ]);
    }
}
