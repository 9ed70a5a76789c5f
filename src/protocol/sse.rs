//! The text of server-sent events, as the HTML Standard defines it (section 9.2).

use bytes::Bytes;

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
