//! How STOMP octets are wrapped for a connection. One frame, encoded for one shape, is shared by all connections of it.

use bytes::Bytes;

use crate::{sockjs, websocket};

/// The transport of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wire {
    /// STOMP frames in WebSocket text messages.
    Raw,
    /// SockJS frames in WebSocket text messages.
    SockJs,
}

impl Wire {
    /// A complete WebSocket frame with that STOMP text.
    pub fn stomp(self, octets: &[u8]) -> Bytes {
        match self {
            Self::Raw => websocket::text(octets),
            // What we encode is UTF-8: headers and bodies come from strings and JSON.
            Self::SockJs => websocket::text(
                sockjs::messages([String::from_utf8_lossy(octets).as_ref()]).as_bytes(),
            ),
        }
    }
}
