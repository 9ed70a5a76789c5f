//! Limits for clients of `/ws`, each with the error code that the client gets.
//!
//! Two more are settings: `CONNECTIONS_PER_USER` (`TOO_MANY_CONNECTIONS`), and `MESSAGE_RATE` in messages per second and
//! user, above which SENDs are delayed.

use std::time::Duration;

/// Octets of a STOMP frame: `FRAME_TOO_LARGE`. 30 times the longest text of a message.
pub const MAX_FRAME_BYTES: usize = 64 * 1024;
/// Headers of a STOMP frame: `TOO_MANY_HEADERS`.
pub const MAX_HEADERS: usize = 64;
/// Octets of a STOMP header: `HEADER_TOO_LONG`. An access token must fit.
pub const MAX_HEADER_BYTES: usize = 8 * 1024;
/// Octets of a WebSocket message (`FRAME_TOO_LARGE`) or of a request body (413). Room for a frame of maximum size inside
/// JSON, where one octet can take six.
pub const MAX_MESSAGE_BYTES: usize = 6 * MAX_FRAME_BYTES + 16 * 1024;
/// [`MAX_MESSAGE_BYTES`] before authentication. A CONNECT with the longest token takes half.
pub const MAX_UNAUTHENTICATED_MESSAGE_BYTES: usize = 16 * 1024;
/// Time for a WebSocket message (close code 1008) or a request body (408) to arrive in full.
pub const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);
/// Time from the opening of a connection to its CONNECTED: `CONNECT_TIMEOUT`.
pub const CONNECT_TIMEOUT: Duration = Duration::from_mins(1);
/// Octets of a subscription id: `ID_TOO_LONG`. Far less than a header, because the node keeps the id and repeats it in each
/// message.
pub const MAX_ID_BYTES: usize = 256;
/// Subscriptions of a connection: `TOO_MANY_SUBSCRIPTIONS`.
pub const MAX_SUBSCRIPTIONS: u32 = 100;
/// SUBSCRIBEs per second, because each reads PostgreSQL. The burst is [`MAX_SUBSCRIPTIONS`], so that a reconnect is not
/// throttled. Further SUBSCRIBEs are delayed, not refused.
pub const SUBSCRIBE_RATE: f64 = 10.0;
/// Read units that a connection gains per second before authentication, and its burst. A unit is one WebSocket frame, or
/// 1 KiB. The node does not read from a connection without units, so a client that floods it slows down only itself.
pub const UNAUTHENTICATED_READ_RATE: (f64, f64) = (64.0, 256.0);
/// Read units per second of an authenticated connection for each SEND of `MESSAGE_RATE`: 64 KiB, a frame of maximum size. The
/// burst is that of 2 s.
pub const READ_UNITS_PER_SEND: f64 = 64.0;
/// Stored messages that a SUBSCRIBE with `after-seq` replays. A longer replay becomes one message with `gap:true`.
pub const MAX_REPLAYED_MESSAGES: i64 = 500;
/// Minimum time between two typing announcements of one connection and channel. Earlier ones are dropped.
pub const TYPING_INTERVAL: Duration = Duration::from_secs(2);
/// Bytes in the send queue of a connection. A client that falls further behind is closed with 4500, reconnects and resumes.
pub const MAX_QUEUED_BYTES: usize = 512 * 1024;
/// A connection whose client takes nothing for this long, while its send queue is not empty, is cut.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes put into send queues before their owners get a turn: a fraction of [`MAX_QUEUED_BYTES`], and still many messages
/// in one write.
pub const TURN_BYTES: usize = MAX_QUEUED_BYTES / 16;
