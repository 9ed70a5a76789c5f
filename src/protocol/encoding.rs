//! How a text is wrapped for a connection. One text, encoded for one format, is shared by all connections of it.

use bytes::Bytes;

use crate::protocol::{sockjs, websocket};

/// The transport of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// WebSocket text messages.
    Raw,
    /// SockJS frames in WebSocket text messages.
    SockJs,
    /// SockJS over HTTP: JSON strings, so that those which wait together can leave as one frame.
    Http,
}

impl Encoding {
    /// The text as it is written: a complete WebSocket frame, or over HTTP a part of one of SockJS's.
    ///
    /// `octets` should be UTF-8; for SockJS, what is not becomes U+FFFD.
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
    fn a_text_is_wrapped_as_its_transport_asks() {
        assert_eq!(Encoding::Raw.text(b"a\n")[..], *b"\x81\x02a\n");
        assert_eq!(Encoding::SockJs.text(b"a\n")[..], *b"\x81\x08a[\"a\\n\"]");
        assert_eq!(Encoding::Http.text(b"a\n")[..], *b"\"a\\n\"");
    }
}
