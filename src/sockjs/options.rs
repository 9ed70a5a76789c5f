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
    /// Bytes of a streaming response before it ends, so that the browser can free them. Default 128 KiB.
    pub response_limit: usize,
    /// Time without a receiving request after which a session over HTTP is closed. Default 5 s.
    pub disconnect_delay: Duration,
    /// Time without traffic to the client after which a heartbeat is sent, unless the application sends its own. Default 25 s.
    pub heartbeat: Duration,
    /// Maximum bytes of a WebSocket message or of a request body, and of the messages in one session over HTTP that wait for
    /// the application. Default [`limits::MAX_MESSAGE_BYTES`].
    pub message_bytes: usize,
    /// Time for such a message or body to arrive in full. Default [`limits::MESSAGE_TIMEOUT`].
    pub message_timeout: Duration,
    /// Time a sending request waits for earlier ones of its session, and again for room in the session's queue, before it is
    /// refused. Default 10 s.
    pub queue_timeout: Duration,
    /// Maximum concurrent sessions over HTTP. Default 10,000.
    pub sessions: usize,
    /// Whether the WebSocket transports are enabled. Default true.
    pub websocket: bool,
    /// Whether `JSESSIONID` is set, for load balancers with cookie affinity. Default false.
    pub cookie: bool,
    /// URL of SockJS's client script for the iframe page; begins with `/` or `http`.
    pub client_url: String,
    /// Supported WebSocket sub-protocols, best first. The first one that the client offers is chosen.
    pub protocols: &'static [&'static str],
}

impl Default for Options {
    fn default() -> Self {
        Self {
            response_limit: 128 * 1024,
            disconnect_delay: Duration::from_secs(5),
            heartbeat: Duration::from_secs(25),
            message_bytes: limits::MAX_MESSAGE_BYTES,
            message_timeout: limits::MESSAGE_TIMEOUT,
            queue_timeout: Duration::from_secs(10),
            sessions: 10_000,
            websocket: true,
            cookie: false,
            client_url: "/vendor/sockjs.min.js".to_owned(),
            protocols: &[],
        }
    }
}
