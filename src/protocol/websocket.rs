//! WebSocket framing (RFC 6455) for the server side: octets in, events out, frames as octets.
//!
//! No extension is negotiated, so the reserved bits must be zero. The caller owns the handshake, the
//! socket and the timers, and answers pings and closes.

use std::mem;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use bytes::Bytes;
use sha1::{Digest as _, Sha1};

/// Control frames carry at most this many octets (RFC 6455, 5.5).
const CONTROL_BYTES: usize = 125;

/// The longest header of a frame without mask: two octets and a 64 bit length.
const HEADER_BYTES: usize = 10;

const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

/// The value of `Sec-WebSocket-Accept` for a client's `Sec-WebSocket-Key` (RFC 6455, 4.2.2).
pub fn accept_key(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    BASE64.encode(hash.finalize())
}

/// A message or control frame from the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A whole text message, its fragments joined.
    Text(String),
    /// A whole binary message, its fragments joined.
    Binary(Vec<u8>),
    /// A ping; its payload goes back in a [`pong`].
    Ping(Vec<u8>),
    /// A pong, solicited or not.
    Pong,
    /// The client closes; nothing comes after it. The code is 1005 when it gave none.
    Close {
        /// The close code: one that RFC 6455, 7.4 allows in a frame, or 1005.
        code: u16,
    },
}

/// A protocol violation; the caller closes the connection with [`Violation::code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Violation {
    /// The close code to send: 1002 (protocol error), 1007 (text that is no UTF-8) or 1009 (message
    /// too big).
    pub code: u16,
    /// The reason, for the close frame and the log.
    pub reason: &'static str,
}

const fn protocol_error(reason: &'static str) -> Violation {
    Violation { code: 1002, reason }
}

const NOT_UTF8: Violation = Violation {
    code: 1007,
    reason: "text is not valid UTF-8",
};

const TOO_BIG: Violation = Violation {
    code: 1009,
    reason: "message is too big",
};

/// Turns the octets of one client into events.
///
/// Memory is bounded by what has arrived and by the message limit: an announced length reserves
/// nothing. While no octet is pending the decoder owns no heap memory.
#[derive(Debug)]
pub struct Decoder {
    max_message_bytes: usize,
    /// Octets fed and not yet consumed, from `start` on.
    pending: Vec<u8>,
    start: usize,
    /// The unmasked payload of the unfinished data message.
    message: Vec<u8>,
    /// The opcode of the unfinished data message.
    kind: Option<u8>,
    /// The data frame whose payload is arriving.
    frame: Option<DataFrame>,
    end: Option<End>,
    frames: u32,
}

#[derive(Debug)]
struct DataFrame {
    fin: bool,
    mask: [u8; 4],
    missing: usize,
}

/// Why the decoder has stopped.
#[derive(Debug, Clone, Copy)]
enum End {
    Closed,
    Violated(Violation),
}

struct Header {
    fin: bool,
    opcode: u8,
    length: u64,
    mask: [u8; 4],
    /// Octets of the header itself.
    size: usize,
}

impl Decoder {
    /// A decoder for one connection whose messages, over all fragments, have at most
    /// `max_message_bytes` octets.
    pub fn new(max_message_bytes: usize) -> Self {
        Self {
            max_message_bytes,
            pending: Vec::new(),
            start: 0,
            message: Vec::new(),
            kind: None,
            frame: None,
            end: None,
            frames: 0,
        }
    }

    /// Sets the limit of further messages.
    pub const fn set_limit(&mut self, octets: usize) {
        self.max_message_bytes = octets;
    }

    /// Whether neither a message nor a frame is incomplete.
    pub fn is_idle(&self) -> bool {
        self.kind.is_none() && self.pending.is_empty()
    }

    /// The number of frames decoded since the last call, fragments and control frames included.
    pub const fn take_frames(&mut self) -> u32 {
        mem::replace(&mut self.frames, 0)
    }

    /// Takes what was read from the socket. Call [`Decoder::next`] until it has nothing more before
    /// feeding again, or input piles up. Input after a close or a violation is dropped.
    pub fn feed(&mut self, input: &[u8]) {
        if self.end.is_none() {
            self.pending.extend_from_slice(input);
        }
    }

    /// The next event, or `None` until more octets arrive; always `None` after [`Event::Close`].
    ///
    /// # Errors
    ///
    /// [`Violation`] when the client broke the protocol or the limit; every later call returns it too.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator that ends may not go on, a decoder does after more input"
    )]
    pub fn next(&mut self) -> Result<Option<Event>, Violation> {
        match self.end {
            Some(End::Violated(violation)) => return Err(violation),
            Some(End::Closed) => return Ok(None),
            None => {}
        }
        let result = self.advance();
        match result {
            // Moves the rest to a buffer of exactly its size; an empty rest frees the memory.
            Ok(None) if self.start > 0 => {
                self.pending = self.pending.split_off(self.start);
                self.start = 0;
            }
            Ok(Some(Event::Close { .. })) => self.finish(End::Closed),
            Ok(_) => {}
            Err(violation) => self.finish(End::Violated(violation)),
        }
        result
    }

    fn finish(&mut self, end: End) {
        *self = Self {
            end: Some(end),
            ..Self::new(self.max_message_bytes)
        };
    }

    fn advance(&mut self) -> Result<Option<Event>, Violation> {
        loop {
            if self.frame.is_some() {
                match self.take_payload()? {
                    Some(event) => return Ok(Some(event)),
                    None if self.frame.is_some() => return Ok(None),
                    None => {}
                }
            }
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            if header.opcode & 0x8 == 0 {
                self.begin_data(&header)?;
            } else {
                return self.control(&header);
            }
        }
    }

    /// The header at the front of the input, checked, but not consumed. Each check is made at the
    /// first octet that allows it, so the outcome does not depend on how the input was cut.
    fn header(&self) -> Result<Option<Header>, Violation> {
        let input = &self.pending[self.start..];
        let [first, second, rest @ ..] = input else {
            return Ok(None);
        };
        let (fin, opcode) = (first & 0x80 != 0, first & 0x0f);
        if first & 0x70 != 0 {
            return Err(protocol_error("reserved bits are set"));
        }
        match opcode {
            CONTINUATION if self.kind.is_none() => {
                return Err(protocol_error("nothing to continue"));
            }
            TEXT | BINARY if self.kind.is_some() => {
                return Err(protocol_error("previous message is unfinished"));
            }
            CLOSE | PING | PONG if !fin => {
                return Err(protocol_error("control frame is fragmented"));
            }
            CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG => {}
            _ => return Err(protocol_error("opcode is unknown")),
        }
        if second & 0x80 == 0 {
            return Err(protocol_error("frame is not masked"));
        }
        let short = second & 0x7f;
        if opcode & 0x8 != 0 && usize::from(short) > CONTROL_BYTES {
            return Err(protocol_error("control frame is too long"));
        }
        let (length, least, extension) = match short {
            126 => match rest.first_chunk() {
                Some(octets) => (u64::from(u16::from_be_bytes(*octets)), 126, 2),
                None => return Ok(None),
            },
            127 => match rest.first_chunk() {
                Some(octets) => (u64::from_be_bytes(*octets), 0x1_0000, 8),
                None => return Ok(None),
            },
            _ => (u64::from(short), 0, 0),
        };
        // RFC 6455, 5.2: the shortest form must be used, and the highest bit must be zero.
        if length < least || length >> 63 != 0 {
            return Err(protocol_error("length is not encoded properly"));
        }
        let room = self.max_message_bytes.saturating_sub(self.message.len());
        if opcode & 0x8 == 0 && usize::try_from(length).map_or(true, |length| length > room) {
            return Err(TOO_BIG);
        }
        Ok(rest[extension..].first_chunk().map(|mask| Header {
            fin,
            opcode,
            length,
            mask: *mask,
            size: 2 + extension + mask.len(),
        }))
    }

    fn begin_data(&mut self, header: &Header) -> Result<(), Violation> {
        self.start += header.size;
        self.frames = self.frames.saturating_add(1);
        if header.opcode != CONTINUATION {
            self.kind = Some(header.opcode);
        }
        self.frame = Some(DataFrame {
            fin: header.fin,
            mask: header.mask,
            missing: usize::try_from(header.length).map_err(|_| TOO_BIG)?,
        });
        Ok(())
    }

    /// Moves the arrived part of the current data frame into the message. Returns the message when
    /// its last frame is complete.
    fn take_payload(&mut self) -> Result<Option<Event>, Violation> {
        let Some(frame) = &mut self.frame else {
            return Ok(None);
        };
        let input = &self.pending[self.start..];
        let count = frame.missing.min(input.len());
        let from = self.message.len();
        self.message.extend_from_slice(&input[..count]);
        unmask(&mut self.message[from..], frame.mask);
        frame.mask.rotate_left(count % 4);
        frame.missing -= count;
        self.start += count;
        if frame.missing > 0 {
            return Ok(None);
        }
        let fin = frame.fin;
        self.frame = None;
        if !fin {
            return Ok(None);
        }
        let message = mem::take(&mut self.message);
        if self.kind.take() == Some(TEXT) {
            let text = String::from_utf8(message).map_err(|_| NOT_UTF8)?;
            Ok(Some(Event::Text(text)))
        } else {
            Ok(Some(Event::Binary(message)))
        }
    }

    /// Decodes a control frame once it has arrived in full; it has at most 131 octets.
    fn control(&mut self, header: &Header) -> Result<Option<Event>, Violation> {
        let begin = self.start + header.size;
        let end = begin + usize::try_from(header.length).map_err(|_| TOO_BIG)?;
        let Some(masked) = self.pending.get(begin..end) else {
            return Ok(None);
        };
        let mut payload = masked.to_vec();
        unmask(&mut payload, header.mask);
        self.start = end;
        self.frames = self.frames.saturating_add(1);
        Ok(Some(match header.opcode {
            PING => Event::Ping(payload),
            PONG => Event::Pong,
            _ => Event::Close {
                code: close_code(&payload)?,
            },
        }))
    }
}

/// RFC 6455, 5.5.1 and 7.4: an empty payload, or an allowed code and a UTF-8 reason.
fn close_code(payload: &[u8]) -> Result<u16, Violation> {
    let (code, reason) = match payload {
        [] => return Ok(1005),
        [_] => return Err(protocol_error("close code is cut off")),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    // 1004 to 1006 and 1015 must not be sent in a frame; 1012 to 1014 were registered after the RFC.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(protocol_error("close code is not allowed"));
    }
    match str::from_utf8(reason) {
        Ok(_) => Ok(code),
        Err(_) => Err(NOT_UTF8),
    }
}

fn unmask(data: &mut [u8], mask: [u8; 4]) {
    let word = u64::from_ne_bytes([
        mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3],
    ]);
    let (words, tail) = data.as_chunks_mut::<8>();
    for octets in words {
        *octets = (u64::from_ne_bytes(*octets) ^ word).to_ne_bytes();
    }
    for (octet, key) in tail.iter_mut().zip(mask.iter().cycle()) {
        *octet ^= key;
    }
}

/// A complete text frame. `payload` must be UTF-8.
pub fn text(payload: &[u8]) -> Bytes {
    frame(TEXT, payload)
}

/// A complete text frame whose payload `write` appends, built in one buffer without a second copy.
///
/// `len` is how many octets are expected: a hint to reserve by, not a promise. What `write` appends
/// must be UTF-8, and it must leave alone what is in the buffer already.
pub fn text_with(len: usize, write: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    // The header's size depends on the payload's, so room for the longest is kept in front and the
    // real one is put right before the payload.
    let mut out = Vec::with_capacity(HEADER_BYTES + len);
    out.resize(HEADER_BYTES, 0);
    write(&mut out);
    let (header, size) = server_header(TEXT, out.len() - HEADER_BYTES);
    let from = HEADER_BYTES - size;
    out[from..HEADER_BYTES].copy_from_slice(&header[..size]);
    Bytes::from(out).slice(from..)
}

/// A pong frame; of `payload`, which is that of the ping it answers, at most 125 octets are sent.
pub fn pong(payload: &[u8]) -> Bytes {
    frame(PONG, &payload[..payload.len().min(CONTROL_BYTES)])
}

/// A close frame. The reason is cut to 123 octets at a character boundary. For 1005, which means
/// "no code" and must not be sent (RFC 6455, 7.4.1), the frame is empty.
pub fn close(code: u16, reason: &str) -> Bytes {
    if code == 1005 {
        return frame(CLOSE, &[]);
    }
    let reason = &reason.as_bytes()[..reason.floor_char_boundary(CONTROL_BYTES - 2)];
    frame(CLOSE, &[&code.to_be_bytes(), reason].concat())
}

fn frame(opcode: u8, payload: &[u8]) -> Bytes {
    let (header, size) = server_header(opcode, payload.len());
    let mut out = Vec::with_capacity(size + payload.len());
    out.extend_from_slice(&header[..size]);
    out.extend_from_slice(payload);
    Bytes::from(out)
}

/// The header of a final, unmasked frame, and how many of its octets are used.
fn server_header(opcode: u8, length: usize) -> ([u8; HEADER_BYTES], usize) {
    let mut header = [0; HEADER_BYTES];
    header[0] = 0x80 | opcode;
    let size = if let Ok(short @ 0..=125) = u8::try_from(length) {
        header[1] = short;
        2
    } else if let Ok(medium) = u16::try_from(length) {
        header[1] = 126;
        header[2..4].copy_from_slice(&medium.to_be_bytes());
        4
    } else {
        header[1] = 127;
        header[2..].copy_from_slice(&(length as u64).to_be_bytes());
        HEADER_BYTES
    };
    (header, size)
}

#[cfg(test)]
mod tests;
