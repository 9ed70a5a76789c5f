//! The text of server-sent events, as the HTML Standard defines it (section 9.2).

use bytes::Bytes;

/// The part of an event that all streams share.
pub fn text(name: &str, data: &[u8]) -> Bytes {
    let mut text = Vec::with_capacity(name.len() + data.len() + 16);
    text.extend_from_slice(b"event:");
    text.extend_from_slice(name.as_bytes());
    text.extend_from_slice(b"\ndata:");
    // One line: it is JSON, in which line breaks are escaped. If ever it were not, a break must not become a field.
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
