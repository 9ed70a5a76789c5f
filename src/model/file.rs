//! Files: their names, their types, and what a browser may be shown of them.

use serde::{Deserialize, Serialize};

use crate::{ids::FileId, model::user::invisible};

/// How far a file has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, sqlx::Type)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[sqlx(rename_all = "SCREAMING_SNAKE_CASE", type_name = "text")]
pub enum UploadStatus {
    /// Accepted and kept; not to be downloaded yet.
    Waiting,
    /// To be downloaded.
    Success,
    /// Could not be stored, and will not be.
    Failed,
}

/// A file as the API shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BinaryContent {
    /// Identifier.
    pub id: FileId,
    /// For people; nothing is stored under it.
    pub file_name: String,
    /// Bytes.
    pub size: i64,
    /// As its sender declared it, in lower case and without parameters.
    pub content_type: String,
    /// How far it has come.
    pub upload_status: UploadStatus,
}

/// What is not known, or not said in a valid way.
pub const UNKNOWN_TYPE: &str = "application/octet-stream";

/// The longest file name, in characters.
const LONGEST_NAME: usize = 255;

/// A name for people to read, made of what a client sent: no folders, no control characters, nothing that turns the text
/// around it, 255 characters.
pub fn display_name(sent: &str) -> String {
    let last = sent.rsplit(['/', '\\']).next().unwrap_or_default();
    let name: String = last.chars().filter(|c| !invisible(*c)).collect();
    let name: String = name.trim().chars().take(LONGEST_NAME).collect();
    // Dots alone name folders.
    if name.chars().all(|c| c == '.' || c.is_whitespace()) {
        "file".to_owned()
    } else {
        name
    }
}

/// A declared type (RFC 9110 §8.3.1) in lower case and without parameters; [`UNKNOWN_TYPE`] for anything that is none.
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

/// Whether these are the first bytes of a picture of the declared type. At least 12 are needed to tell.
pub fn is_picture(media_type: &str, start: &[u8]) -> bool {
    match media_type {
        "image/png" => start.starts_with(b"\x89PNG\r\n\x1a\n"),
        "image/jpeg" => start.starts_with(b"\xff\xd8\xff"),
        "image/gif" => start.starts_with(b"GIF87a") || start.starts_with(b"GIF89a"),
        "image/webp" => start.starts_with(b"RIFF") && start.get(8..12) == Some(b"WEBP"),
        _ => false,
    }
}

/// The bytes of a file's start that [`is_picture`] looks at.
pub const PICTURE_START: usize = 12;

/// The type under which a file is given to a browser, and whether it may be shown in the page. Everything that could carry a
/// script is called unknown.
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

/// `Content-Disposition` (RFC 6266): the name in ASCII for old clients, and as it is, encoded (RFC 8187).
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
    fn a_name_has_no_folders_and_nothing_invisible() {
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
        assert_eq!(display_name(&"ä".repeat(300)).chars().count(), 255);
    }

    #[test]
    fn a_declared_type_is_normalised_or_unknown() {
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
    fn nothing_that_can_carry_a_script_keeps_its_type() {
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
    fn a_picture_is_what_it_says_it_is() {
        assert!(is_picture("image/png", b"\x89PNG\r\n\x1a\n1234"));
        assert!(is_picture("image/webp", b"RIFF\0\0\0\0WEBPVP8 "));
        assert!(!is_picture("image/png", b"\xff\xd8\xff\xe012345678"));
        assert!(!is_picture("image/svg+xml", b"<svg xmlns='"));
        assert!(!is_picture("image/gif", b""));
    }

    #[test]
    fn a_disposition_is_one_header_whatever_the_name() {
        let header = disposition("naïve \"50%\"\\.png", true);
        assert_eq!(
            header,
            "inline; filename=\"na_ve _50___.png\"; filename*=UTF-8''na%C3%AFve%20%2250%25%22%5C.png"
        );
        assert!(http::HeaderValue::from_str(&disposition("a\r\nb: c", false)).is_ok());
    }
}
