//! Connections that leave hyper: for STOMP on a WebSocket, and for event streams.
//!
//! hyper keeps buffers and a large future for each connection, and wakes a task for each write. Whoever takes a connection from
//! it writes to the socket directly, first of all the head of the response.

use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;
use headers::{Date, HeaderMapExt};
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use warp::reply::Response;

/// A connection after a request, whose response has not been written.
pub struct Hijacked {
    /// The socket.
    pub stream: TcpStream,
    /// What the client has sent after the request.
    pub read_ahead: Bytes,
    /// The head of the response.
    pub head: Bytes,
}

type Taker = Box<dyn FnOnce(Hijacked) + Send>;

/// Asks the server for the connection of a response: an extension of the response. Its body is not sent.
#[derive(Clone)]
pub struct Hijack(Arc<Mutex<Option<Taker>>>);

impl Hijack {
    /// The server calls `taker` at once with the connection, unless the connection fails before. It must not block.
    pub fn new(taker: impl FnOnce(Hijacked) + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Some(Box::new(taker)))))
    }

    /// Takes the request for the connection out of a response.
    pub(super) fn take_from(response: &mut Response) -> Option<Taker> {
        let hijack: Self = response.extensions_mut().remove()?;
        hijack.0.lock().take()
    }
}

/// What the server hands over once it owns the connection again.
pub(super) struct Handover {
    taker: Taker,
    head: Bytes,
}

impl Handover {
    /// Takes the headers of the response, which is not sent otherwise.
    pub(super) fn new(taker: Taker, response: &mut Response) -> Self {
        let headers = std::mem::take(response.headers_mut());
        Self {
            taker,
            head: head(response.status(), headers).into(),
        }
    }

    pub(super) fn complete(self, stream: TcpStream, read_ahead: Bytes) {
        (self.taker)(Hijacked {
            stream,
            read_ahead,
            head: self.head,
        });
    }
}

/// The text of a response's head. Adds `Date`.
pub(super) fn head(status: StatusCode, mut headers: HeaderMap) -> Vec<u8> {
    headers.typed_insert(Date::from(SystemTime::now()));
    let mut text = format!("HTTP/1.1 {status}\r\n").into_bytes();
    for (name, value) in &headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            text.extend_from_slice(part);
        }
    }
    text.extend_from_slice(b"\r\n");
    text
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header::CONNECTION};

    use super::*;

    #[test]
    fn a_head_has_the_status_every_header_and_a_date() {
        let mut headers = HeaderMap::new();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        let text = head(StatusCode::SWITCHING_PROTOCOLS, headers);
        let text = String::from_utf8(text).expect("a text");
        let rest = text
            .strip_prefix("HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\ndate: ")
            .expect("the head");
        assert!(rest.ends_with(" GMT\r\n\r\n"), "{rest}");
    }
}
