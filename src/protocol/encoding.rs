//! How a text is encoded for a connection. Connections with the same encoding share the encoded bytes.

use bytes::Bytes;

use crate::protocol::{sockjs, websocket};

/// The transport of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// WebSocket text messages.
    Raw,
    /// SockJS frames in WebSocket text messages.
    SockJs,
    /// SockJS over HTTP: JSON strings, so that queued ones can leave as one frame.
    Http,
}

impl Encoding {
    /// Encodes a text: a complete WebSocket frame, or over HTTP one element of a SockJS frame.
    ///
    /// `octets` should be UTF-8; for SockJS, invalid sequences become U+FFFD.
    pub fn text(self, octets: &[u8]) -> Bytes {
        match self {
            Self::Raw => websocket::text(octets),
            Self::SockJs => websocket::text_with(octets.len() + 16, |out| {
                out.extend_from_slice(b"a[");
                sockjs::write_string(out, &String::from_utf8_lossy(octets));
                out.push(b']');
            }),
            Self::Http => {
                let mut out = Vec::new();
                sockjs::write_string(&mut out, &String::from_utf8_lossy(octets));
                out.into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_transport_has_its_encoding() {
        assert_eq!(Encoding::Raw.text(b"a\n")[..], *b"\x81\x02a\n");
        assert_eq!(Encoding::SockJs.text(b"a\n")[..], *b"\x81\x08a[\"a\\n\"]");
        assert_eq!(Encoding::Http.text(b"a\n")[..], *b"\"a\\n\"");
    }
}
