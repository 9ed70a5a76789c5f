//! Files: names, media types, and the headers under which browsers get them.

use serde::{Deserialize, Serialize};
use unicode_segmentation::UnicodeSegmentation;
use utoipa::ToSchema;

use crate::{ids::FileId, model::text};

/// The upload status of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::Type, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[sqlx(rename_all = "SCREAMING_SNAKE_CASE", type_name = "text")]
pub enum UploadStatus {
    /// Accepted, but not ready for download.
    Waiting,
    /// Ready for download.
    Success,
    /// Every try to store the file failed.
    Failed,
}

/// A file, as in the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct BinaryContent {
    /// Identifier.
    pub id: FileId,
    /// Name for display. Storage uses the id.
    pub file_name: String,
    /// Size in bytes.
    pub size: i64,
    /// Media type that the client declared, in lower case and without parameters.
    pub content_type: String,
    /// Upload status.
    pub upload_status: UploadStatus,
    /// What is known of a picture after its upload. `None` for other files and for pictures that could not be decoded.
    #[serde(flatten)]
    #[schema(value_type = Picture)]
    pub picture: Option<Picture>,
}

/// A picture that the server has decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Picture {
    /// Width in pixels, as it is shown.
    #[schema(required = false)]
    pub width: i32,
    /// Height in pixels, as it is shown.
    #[schema(required = false)]
    pub height: i32,
    /// Whether it has thumbnails, which every decoded picture has.
    #[schema(required = false)]
    pub thumbnail: bool,
}

/// Media types of the pictures that the server decodes.
pub const DECODED_TYPES: [&str; 4] = ["image/gif", "image/jpeg", "image/png", "image/webp"];

/// The media type of a file without a valid one.
pub const UNKNOWN_TYPE: &str = "application/octet-stream";

/// Maximum length of a file name, in characters.
const MAX_NAME_LEN: usize = 255;

/// Maximum length of a file name's extension without its dot, in characters. What is longer is part of the name.
const MAX_EXTENSION_LEN: usize = 16;

/// Makes a name for display from a client's file name.
///
/// Removes folders and hidden characters, composes it (NFC), and keeps at most 255 characters: the extension, and before it as
/// many whole graphemes as fit.
pub fn display_name(sent: &str) -> String {
    let last = sent.rsplit(['/', '\\']).next().unwrap_or_default();
    let name = text::composed(&text::without_hidden(last));
    let name = shorten(name.trim());
    // Only dots name a folder.
    if name.chars().all(|c| c == '.' || c.is_whitespace()) {
        "file".to_owned()
    } else {
        name
    }
}

fn shorten(name: &str) -> String {
    if text::fits(name, MAX_NAME_LEN) {
        return name.to_owned();
    }
    let extension = name
        .rsplit_once('.')
        .map(|(_, extension)| extension)
        .filter(|extension| text::fits(extension, MAX_EXTENSION_LEN))
        .map(|extension| format!(".{extension}"))
        .unwrap_or_default();
    let room = MAX_NAME_LEN - extension.chars().count();
    let mut len = 0;
    let mut short: String = name
        .graphemes(true)
        .take_while(|grapheme| {
            len += grapheme.chars().count();
            len <= room
        })
        .collect();
    // One grapheme alone may have more characters.
    if short.is_empty() {
        short = name.chars().take(room).collect();
    }
    short + &extension
}

/// Normalises a declared media type (RFC 9110 §8.3.1).
///
/// The result is in lower case and without parameters, or [`UNKNOWN_TYPE`] if the type is invalid.
pub fn media_type(declared: &str) -> String {
    let essence = declared.split(';').next().unwrap_or_default().trim();
    let token = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
    };
    let valid = essence.len() <= 100
        && essence
            .split_once('/')
            .is_some_and(|(kind, sub)| token(kind) && token(sub));
    if valid {
        essence.to_ascii_lowercase()
    } else {
        UNKNOWN_TYPE.to_owned()
    }
}

/// The media type of a picture that starts with these bytes.
///
/// Needs [`PICTURE_START`] bytes.
pub fn picture_type(start: &[u8]) -> Option<&'static str> {
    if start.starts_with(b"\x89PNG\r\n\x1a\n") {
        Some("image/png")
    } else if start.starts_with(b"\xff\xd8\xff") {
        Some("image/jpeg")
    } else if start.starts_with(b"GIF87a") || start.starts_with(b"GIF89a") {
        Some("image/gif")
    } else if start.starts_with(b"RIFF") && start.get(8..12) == Some(b"WEBP") {
        Some("image/webp")
    } else {
        None
    }
}

/// Number of bytes at the start of a file that [`picture_type`] needs.
pub const PICTURE_START: usize = 12;

/// The media type of a download, and whether a browser may display the file.
///
/// A type that can contain a script becomes [`UNKNOWN_TYPE`].
pub fn served_type(media_type: &str) -> (&str, bool) {
    const SHOWN: [&str; 5] = [
        "image/png",
        "image/jpeg",
        "image/gif",
        "image/webp",
        "image/avif",
    ];
    const SAVED: [&str; 12] = [
        "application/gzip",
        "application/json",
        "application/msword",
        "application/pdf",
        "application/rtf",
        "application/vnd.ms-excel",
        "application/vnd.ms-powerpoint",
        "application/x-7z-compressed",
        "application/x-tar",
        "application/zip",
        "text/csv",
        "text/plain",
    ];
    const FAMILIES: [&str; 4] = [
        "application/vnd.oasis.opendocument.",
        "application/vnd.openxmlformats-officedocument.",
        "audio/",
        "video/",
    ];
    if SHOWN.contains(&media_type) {
        (media_type, true)
    } else if SAVED.contains(&media_type)
        || FAMILIES.iter().any(|family| media_type.starts_with(family))
            && !media_type.ends_with("xml")
    {
        (media_type, false)
    } else {
        (UNKNOWN_TYPE, false)
    }
}

/// `Content-Disposition` (RFC 6266) for a file.
///
/// It has the name in ASCII for old clients, and the encoded name (RFC 8187).
pub fn disposition(name: &str, inline: bool) -> String {
    let kind = if inline { "inline" } else { "attachment" };
    let plain: String = name
        .chars()
        .map(|c| match c {
            '"' | '\\' | '%' => '_',
            ' '..='~' => c,
            _ => '_',
        })
        .collect();
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            for digit in [byte >> 4, byte & 0xf] {
                encoded.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
            }
        }
    }
    format!("{kind}; filename=\"{plain}\"; filename*=UTF-8''{encoded}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_names_have_no_folders_and_no_invisible_characters() {
        for (sent, shown) in [
            ("cat.png", "cat.png"),
            ("../../etc/passwd", "passwd"),
            ("C:\\fakepath\\a.txt", "a.txt"),
            ("..%2f..%2fx", "..%2f..%2fx"),
            ("a\0b\r\nc\u{202e}gpj.exe", "abcgpj.exe"),
            ("  고양이 🐈.png ", "고양이 🐈.png"),
            ("..", "file"),
            ("", "file"),
            ("a/", "file"),
        ] {
            assert_eq!(display_name(sent), shown, "{sent:?}");
        }
    }

    #[test]
    fn display_names_are_composed_and_keep_emoji() {
        for (sent, shown) in [
            ("\u{1112}\u{1161}\u{11ab}글.txt", "한글.txt"),
            ("cafe\u{301}.png", "café.png"),
            ("👨‍👩‍👧 ❤️.png", "👨‍👩‍👧 ❤️.png"),
            ("a\u{3164}.png", "a.png"),
        ] {
            assert_eq!(display_name(sent), shown, "{sent:?}");
        }
        let decomposed = "\u{1100}\u{1161}\u{11a8}".repeat(85);
        assert_eq!(
            display_name(&format!("{decomposed}.txt")),
            format!("{}.txt", "각".repeat(85))
        );
    }

    #[test]
    fn long_display_names_keep_their_extension_and_whole_graphemes() {
        for (sent, shown) in [
            ("ä".repeat(300), "ä".repeat(255)),
            (
                format!("{}.txt", "가".repeat(300)),
                format!("{}.txt", "가".repeat(251)),
            ),
            (
                format!("{}.tar.gz", "a".repeat(300)),
                format!("{}.gz", "a".repeat(252)),
            ),
            // Two characters each, with the variation selector.
            (
                format!("{}.png", "❤️".repeat(300)),
                format!("{}.png", "❤️".repeat(125)),
            ),
            (
                format!("a.{}", "b".repeat(300)),
                format!("a.{}", "b".repeat(253)),
            ),
            (
                format!(".{}", "b".repeat(300)),
                format!(".{}", "b".repeat(254)),
            ),
        ] {
            assert_eq!(display_name(&sent), shown, "{sent:?}");
        }
        let one_grapheme = format!("a{}.txt", "\u{301}\u{316}".repeat(300));
        let shown = display_name(&one_grapheme);
        assert_eq!(shown.chars().count(), 255);
        assert!(shown.ends_with("\u{316}.txt") || shown.ends_with("\u{301}.txt"));
    }

    #[test]
    fn declared_media_types_are_normalised_or_unknown() {
        assert_eq!(media_type("Text/HTML; charset=utf-8"), "text/html");
        for wrong in [
            "",
            "text",
            "text/",
            "/x",
            "a b/c",
            "text/pl\r\nain",
            "a/b/c",
        ] {
            assert_eq!(media_type(wrong), UNKNOWN_TYPE, "{wrong:?}");
        }
    }

    #[test]
    fn types_that_can_contain_scripts_are_served_as_unknown() {
        for hostile in [
            "text/html",
            "image/svg+xml",
            "application/xhtml+xml",
            "text/xml",
            "text/javascript",
            "application/javascript",
            "text/css",
            "video/x+xml",
        ] {
            assert_eq!(served_type(hostile), (UNKNOWN_TYPE, false), "{hostile}");
        }
        assert_eq!(served_type("image/png"), ("image/png", true));
        assert_eq!(served_type("application/pdf"), ("application/pdf", false));
    }

    #[test]
    fn pictures_start_with_the_bytes_of_their_type() {
        for (start, expected) in [
            (&b"\x89PNG\r\n\x1a\n1234"[..], Some("image/png")),
            (b"\xff\xd8\xff\xe012345678", Some("image/jpeg")),
            (b"GIF89a123456", Some("image/gif")),
            (b"RIFF\0\0\0\0WEBPVP8 ", Some("image/webp")),
            (b"RIFF\0\0\0\0WAVE", None),
            (b"<svg xmlns='", None),
            (b"", None),
        ] {
            assert_eq!(picture_type(start), expected);
        }
    }

    #[test]
    fn dispositions_are_valid_headers_for_any_name() {
        let header = disposition("naïve \"50%\"\\.png", true);
        assert_eq!(
            header,
            "inline; filename=\"na_ve _50___.png\"; filename*=UTF-8''na%C3%AFve%20%2250%25%22%5C.png"
        );
        assert!(http::HeaderValue::from_str(&disposition("a\r\nb: c", false)).is_ok());
    }
}
