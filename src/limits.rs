//! What a client of the sockets may do at most; each with the code that it is told. How many connections a user may have and
//! how many SENDs a second each of them takes are settings: `CONNECTIONS_PER_USER` (`TOO_MANY_CONNECTIONS`) and
//! `MESSAGE_RATE` (`TOO_MANY_REQUESTS`).

use std::time::Duration;

/// Octets of a STOMP frame: `FRAME_TOO_LARGE`. Thirty times the longest text of a message.
pub const FRAME_BYTES: usize = 64 * 1024;
/// Headers of a STOMP frame: `TOO_MANY_HEADERS`.
pub const HEADERS: usize = 64;
/// Octets of a STOMP header: `HEADER_TOO_LONG`. Tokens must fit.
pub const HEADER_BYTES: usize = 8 * 1024;
/// Octets of a WebSocket message, or of a request's body: `FRAME_TOO_LARGE`, or 413. A whole frame inside JSON, in which an
/// octet can take six, and some room.
pub const MESSAGE_BYTES: usize = 6 * FRAME_BYTES + 16 * 1024;
/// The same from a client that has not said who it is. A CONNECT with the longest token has half of it.
pub const MAX_UNAUTHENTICATED_MESSAGE_BYTES: usize = 16 * 1024;
/// A WebSocket message, or a request's body, must be there as a whole within this time: close code 1008, or 408.
pub const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);
/// A client must be connected within this time: `CONNECT_TIMEOUT`.
pub const CONNECT_TIMEOUT: Duration = Duration::from_mins(1);
/// Octets of a subscription's id: `ID_TOO_LONG`. It is kept for each and repeated in each message, so it must not be as long
/// as a header may be.
pub const ID_BYTES: usize = 256;
/// Subscriptions of a connection: `TOO_MANY_SUBSCRIPTIONS`.
pub const SUBSCRIPTIONS: u32 = 100;
/// SUBSCRIBEs a second, since each reads the store. As many at once as there may be subscriptions: a client that comes back
/// is not slowed down. One that goes on waits, which is no mistake of its own.
pub const SUBSCRIBES: f64 = 10.0;
/// Stored messages that a subscription with `after-seq` brings; where there are more, a message with `gap:true` says so.
pub const MAX_REPLAYED_MESSAGES: i64 = 500;
/// That somebody is writing is told at most this often for one connection and channel. What comes earlier is passed over.
pub const TYPING_INTERVAL: Duration = Duration::from_secs(2);
/// Bytes that wait for a connection. With more it is closed, 4500; its client comes back and resumes.
pub const MAX_QUEUED_BYTES: usize = 512 * 1024;
/// A connection that takes nothing for this long while something waits is cut.
pub const STALLED_AFTER: Duration = Duration::from_secs(10);
/// Bytes handed to send queues before their owners get a turn: a fraction of [`MAX_QUEUED_BYTES`], and still many messages
/// that leave in one write.
pub const TURN_BYTES: usize = MAX_QUEUED_BYTES / 16;
