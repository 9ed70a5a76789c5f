//! The text of server-sent events, as the HTML Standard defines it (section 9.2), and its coding in a response.

use std::{fmt::Display, io::Write};

use bytes::Bytes;

/// How the text is encoded in the body of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// As it is; the end of the connection is its end.
    Identity,
    /// In chunks (RFC 9112 §7.1).
    Chunked,
}

impl Coding {
    /// Encodes a part of the body. `None` for an empty part, which would be the end.
    pub fn encode(self, text: &[u8]) -> Option<Bytes> {
        if text.is_empty() {
            return None;
        }
        if self == Self::Identity {
            return Some(Bytes::copy_from_slice(text));
        }
        let digits = (text.len().ilog2() / 4 + 1) as usize;
        let mut chunk = Vec::with_capacity(digits + text.len() + 4);
        // Writing to memory cannot fail.
        drop(write!(chunk, "{:x}\r\n", text.len()));
        chunk.extend_from_slice(text);
        chunk.extend_from_slice(b"\r\n");
        Some(chunk.into())
    }

    /// The bytes that end the body, if it does not end with the connection.
    pub fn end(self) -> Option<Bytes> {
        (self == Self::Chunked).then(|| Bytes::from_static(b"0\r\n\r\n"))
    }
}

/// Appends an `id` line.
pub fn write_id(id: &impl Display, text: &mut Vec<u8>) {
    // Writing to memory cannot fail.
    drop(writeln!(text, "id:{id}"));
}

/// The `event` and `data` lines of an event and the empty line; every stream adds its own `id` line before them.
pub fn text(name: &str, data: &[u8]) -> Bytes {
    let mut text = Vec::with_capacity(name.len() + data.len() + 16);
    text.extend_from_slice(b"event:");
    text.extend_from_slice(name.as_bytes());
    text.extend_from_slice(b"\ndata:");
    // JSON escapes line breaks, so the data is one line. A raw break becomes a blank: it could start another field.
    text.extend(data.iter().map(|byte| {
        if matches!(byte, b'\n' | b'\r') {
            b' '
        } else {
            *byte
        }
    }));
    text.extend_from_slice(b"\n\n");
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_has_its_size_in_hexadecimal() {
        let chunk = Coding::Chunked.encode(&[b'x'; 0x1f]).expect("a chunk");
        assert_eq!(chunk, format!("1f\r\n{}\r\n", "x".repeat(0x1f)));
        assert_eq!(
            Coding::Chunked.encode(b"x").as_deref(),
            Some(&b"1\r\nx\r\n"[..])
        );
        assert_eq!(Coding::Identity.encode(b"x").as_deref(), Some(&b"x"[..]));
        assert_eq!(Coding::Chunked.encode(b""), None);
    }
}
