//! Protocols without IO: bytes in, values out, time as an argument.

pub mod encoding;
pub mod sockjs;
pub mod sse;
pub mod stomp;
pub mod websocket;
