//! Limits and behaviour of a SockJS endpoint.

use std::time::Duration;

use crate::limits;

/// Limits and behaviour of an endpoint.
///
/// ```
/// use std::time::Duration;
///
/// use discodeit::sockjs::Options;
///
/// let options = Options {
///     heartbeat: Duration::from_secs(10),
///     message_bytes: 64 * 1024,
///     ..Options::default()
/// };
/// assert_eq!(options.disconnect_delay, Duration::from_secs(5));
/// assert!(options.websocket);
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    /// A streaming response ends after this many octets, so that the browser may forget them. Default 128 KiB.
    pub response_limit: usize,
    /// A session over HTTP that nobody has received from for this long is closed. Default 5 s.
    pub disconnect_delay: Duration,
    /// After this long without traffic to the client a heartbeat is sent, unless the application beats itself. Default 25 s.
    pub heartbeat: Duration,
    /// What a client may send at once: a WebSocket message or the body of a request, in octets. As much may wait for the
    /// application of a session over HTTP. Default [`limits::MESSAGE_BYTES`].
    pub message_bytes: usize,
    /// Such a message or body must be there as a whole within this time. Default
    /// [`limits::MESSAGE_TIMEOUT`].
    pub message_timeout: Duration,
    /// A request that brings messages waits this long for its turn, and again for room in its session's queue, then it is
    /// refused. Default 10 s.
    pub patience: Duration,
    /// Sessions over HTTP at once. Default 10,000.
    pub sessions: usize,
    /// Whether the WebSocket transports are there. Default true.
    pub websocket: bool,
    /// Whether `JSESSIONID` is set, for balancers that stick by it. Default false.
    pub cookie: bool,
    /// Where the iframe page finds SockJS's client, as a plain script; begins with `/` or `http`.
    pub client_url: String,
    /// WebSocket sub-protocols; of a client's list the first that is here is chosen.
    pub protocols: &'static [&'static str],
}

impl Default for Options {
    fn default() -> Self {
        Self {
            response_limit: 128 * 1024,
            disconnect_delay: Duration::from_secs(5),
            heartbeat: Duration::from_secs(25),
            message_bytes: limits::MESSAGE_BYTES,
            message_timeout: limits::MESSAGE_TIMEOUT,
            patience: Duration::from_secs(10),
            sessions: 10_000,
            websocket: true,
            cookie: false,
            client_url: "/vendor/sockjs.min.js".to_owned(),
            protocols: &[],
        }
    }
}
