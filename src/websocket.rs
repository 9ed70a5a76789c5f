//! WebSocket framing (RFC 6455) for the server side: octets in, events out, frames as octets.
//!
//! No extension is ever negotiated, so the reserved bits must be zero. The upgrade, the socket and
//! the timers live elsewhere; so does the answer to a ping or a close, which is the caller's.

use std::mem;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
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

/// Something a client said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A whole text message, its fragments joined.
    Text(String),
    /// A whole binary message, its fragments joined.
    Binary(Vec<u8>),
    /// A ping; its payload goes back in a [`pong`].
    Ping(Vec<u8>),
    /// A pong, asked for or not.
    Pong,
    /// The client closes; nothing comes after it. The code is 1005 when it gave none.
    Close {
        /// The close code, always one that may travel, or 1005.
        code: u16,
    },
}

/// A breach of the protocol; the connection is to be closed with [`Violation::code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Violation {
    /// The close code to send: 1002 (protocol error), 1007 (text that is no UTF-8) or 1009 (message
    /// too big).
    pub code: u16,
    /// What was wrong, for the close frame and for people.
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
    /// The payload of the data message under way, unmasked.
    message: Vec<u8>,
    /// The type of the data message under way.
    kind: Option<u8>,
    /// The data frame whose payload is arriving.
    frame: Option<DataFrame>,
    end: Option<End>,
}

#[derive(Debug)]
struct DataFrame {
    fin: bool,
    mask: [u8; 4],
    missing: usize,
}

/// Why nothing more will be decoded.
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
    /// How many octets the header itself takes.
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
        }
    }

    /// Takes at most `octets` in a message from now on.
    pub const fn set_limit(&mut self, octets: usize) {
        self.max_message_bytes = octets;
    }

    /// Whether no message is under way, nor a part of a frame.
    pub fn is_idle(&self) -> bool {
        self.kind.is_none() && self.pending.is_empty()
    }

    /// Takes what was read from the socket. Call [`Decoder::next`] until it has nothing more before
    /// feeding again, or input piles up. Input after a close or a violation is dropped.
    pub fn feed(&mut self, input: &[u8]) {
        if self.end.is_none() {
            self.pending.extend_from_slice(input);
        }
    }

    /// The next event, or `None` until more octets arrive (for ever after [`Event::Close`]).
    ///
    /// # Errors
    ///
    /// [`Violation`] when the client broke the protocol or the limit; every later call fails alike.
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
            // The rest moves to a buffer of its own size, which is none when nothing is left.
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

    /// Moves what has arrived of the current data frame into the message, which is the event when
    /// the frame was its last one.
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

    /// A control frame is taken only when it is there as a whole: it has 131 octets at most.
    fn control(&mut self, header: &Header) -> Result<Option<Event>, Violation> {
        let begin = self.start + header.size;
        let end = begin + usize::try_from(header.length).map_err(|_| TOO_BIG)?;
        let Some(masked) = self.pending.get(begin..end) else {
            return Ok(None);
        };
        let mut payload = masked.to_vec();
        unmask(&mut payload, header.mask);
        self.start = end;
        Ok(Some(match header.opcode {
            PING => Event::Ping(payload),
            PONG => Event::Pong,
            _ => Event::Close {
                code: close_code(&payload)?,
            },
        }))
    }
}

/// RFC 6455, 5.5.1 and 7.4: no payload at all, or a code that may travel and a UTF-8 reason.
fn close_code(payload: &[u8]) -> Result<u16, Violation> {
    let (code, reason) = match payload {
        [] => return Ok(1005),
        [_] => return Err(protocol_error("close code is cut off")),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
    };
    // 1004 to 1006 and 1015 never travel; 1012 to 1014 were registered after the RFC.
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

/// A close frame. The reason is cut to 123 octets at a character boundary. For 1005, which stands
/// for "no code" and must not travel (RFC 6455, 7.4.1), the frame is empty.
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

    /// What a client would send: `first` is the octet with FIN and the opcode.
    fn client(first: u8, payload: &[u8]) -> Vec<u8> {
        let (mut head, size) = server_header(0, payload.len());
        head[0] = first;
        head[1] |= 0x80;
        let mut out = head[..size].to_vec();
        out.extend_from_slice(&MASK);
        out.extend(
            payload
                .iter()
                .zip(MASK.iter().cycle())
                .map(|(octet, key)| octet ^ key),
        );
        out
    }

    /// All events of `input` fed in pieces that end at `cuts`.
    fn decode_cut(input: &[u8], cuts: &[usize]) -> (Vec<Event>, Option<Violation>) {
        let mut decoder = Decoder::new(300);
        let mut events = Vec::new();
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (input.len() + 1)).collect();
        ends.push(input.len());
        ends.sort_unstable();
        let mut from = 0;
        for to in ends {
            decoder.feed(&input[from..to]);
            from = to;
            while let Some(event) = match decoder.next() {
                Ok(event) => event,
                Err(violation) => {
                    assert_eq!(decoder.next(), Err(violation), "it stays in error");
                    return (events, Some(violation));
                }
            } {
                events.push(event);
            }
        }
        (events, None)
    }

    fn decode(input: &[u8]) -> (Vec<Event>, Option<Violation>) {
        decode_cut(input, &[])
    }

    fn refused(input: &[u8]) -> u16 {
        decode(input).1.expect("a violation").code
    }

    /// The events of one close frame, or the code with which it is refused.
    fn close_with(code: u16, reason: &[u8]) -> Result<Vec<Event>, u16> {
        let payload = [&code.to_be_bytes(), reason].concat();
        match decode(&client(0x88, &payload)) {
            (events, None) => Ok(events),
            (_, Some(violation)) => Err(violation.code),
        }
    }

    #[test]
    fn the_accept_key_is_that_of_the_rfc() {
        assert_eq!(
            accept_key("dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn the_masked_hello_of_the_rfc_is_a_text() {
        let hello = [
            0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58,
        ];
        assert_eq!(
            decode(&hello),
            (vec![Event::Text("Hello".to_owned())], None)
        );
    }

    #[test]
    fn control_frames_may_come_between_fragments() {
        let input = [
            client(0x01, "한".as_bytes().split_at(1).0),
            client(0x89, b"p"),
            client(0x00, b""),
            client(0x8a, b""),
            client(0x80, "한".as_bytes().split_at(1).1),
            client(0x82, b"\xff"),
            client(0x88, b""),
            client(0x81, b"after the close"),
        ]
        .concat();
        let events = vec![
            Event::Ping(b"p".to_vec()),
            Event::Pong,
            Event::Text("한".to_owned()),
            Event::Binary(vec![0xff]),
            Event::Close { code: 1005 },
        ];
        assert_eq!(decode(&input), (events, None));
    }

    #[test]
    fn broken_frames_are_protocol_errors() {
        assert_eq!(refused(&text(b"unmasked")), 1002);
        for reserved in [0xc1, 0xa1, 0x91] {
            assert_eq!(refused(&client(reserved, b"")), 1002);
        }
        for opcode in (0x3..=0x7).chain(0xb..=0xf) {
            assert_eq!(refused(&client(0x80 | opcode, b"")), 1002);
        }
        for control in [0x08, 0x09, 0x0a] {
            assert_eq!(refused(&client(control, b"")), 1002, "fragmented");
            assert_eq!(
                refused(&client(0x80 | control, &[0; 126])),
                1002,
                "too long"
            );
        }
        assert_eq!(refused(&client(0x80, b"")), 1002, "nothing to continue");
        let twice = [client(0x01, b"a"), client(0x81, b"b")].concat();
        assert_eq!(refused(&twice), 1002, "a message inside another");
        assert_eq!(
            refused(&[0x82, 0xfe, 0, 125]),
            1002,
            "not the shortest length"
        );
        assert_eq!(
            refused(&[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff]),
            1002,
            "not the shortest length"
        );
        assert_eq!(
            refused(&[0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0]),
            1002,
            "the highest bit"
        );
    }

    #[test]
    fn text_must_be_utf8_as_a_whole_message() {
        assert_eq!(refused(&client(0x81, b"\xc3\x28")), 1007);
        assert_eq!(refused(&client(0x81, b"\xed\xa0\x80")), 1007, "a surrogate");
        let cut_off = [client(0x01, b"ok"), client(0x80, b"\xe2\x82")].concat();
        assert_eq!(refused(&cut_off), 1007);
    }

    #[test]
    fn messages_over_the_limit_are_refused_by_their_header() {
        assert_eq!(decode(&client(0x82, &[7; 300])).0.len(), 1);
        assert_eq!(refused(&client(0x82, &[0; 301])[..4]), 1009);
        assert_eq!(
            refused(&[0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            1009
        );
        let joined = [client(0x02, &[0; 200]), client(0x80, &[0; 101])].concat();
        assert_eq!(refused(&joined), 1009, "the sum over fragments counts");
    }

    #[test]
    fn an_idle_decoder_owns_no_memory_and_an_announcement_reserves_none() {
        let mut decoder = Decoder::new(1 << 30);
        decoder.feed(&client(0x81, &[b'x'; 5000]));
        assert!(matches!(decoder.next(), Ok(Some(Event::Text(_)))));
        assert_eq!(decoder.next(), Ok(None));
        assert_eq!(
            (decoder.pending.capacity(), decoder.message.capacity()),
            (0, 0)
        );
        decoder.feed(&[
            0x82, 0xff, 0, 0, 0, 0, 0x3f, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5,
        ]);
        assert_eq!(decoder.next(), Ok(None));
        assert!(decoder.pending.capacity() + decoder.message.capacity() < 100);
    }

    #[test]
    fn close_codes_that_may_travel_are_passed_on() {
        let known = (1000..=1003).chain(1007..=1014);
        for code in known.chain([3000, 3999, 4000, 4999]) {
            assert_eq!(close_with(code, b"bye"), Ok(vec![Event::Close { code }]));
        }
    }

    #[test]
    fn close_codes_that_must_not_travel_are_protocol_errors() {
        let reserved = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000];
        for code in reserved.into_iter().chain([u16::MAX]) {
            assert_eq!(close_with(code, b""), Err(1002), "{code}");
        }
        assert_eq!(refused(&client(0x88, b"\x03")), 1002, "half a code");
    }

    #[test]
    fn a_close_reason_must_be_utf8() {
        assert_eq!(close_with(1000, b"\xff"), Err(1007));
    }

    #[test]
    fn frames_have_the_shortest_header() {
        assert_eq!(text(b"Hello")[..], *b"\x81\x05Hello");
        assert_eq!(text(&[b'x'; 126])[..4], [0x81, 126, 0, 126]);
        assert_eq!(
            text(&vec![b'x'; 65536])[..10],
            [0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]
        );
        assert_eq!(pong(b"a")[..], *b"\x8a\x01a");
        assert_eq!(pong(&[0; 200]).len(), 127);
        for len in [0, 125, 126, 65535, 65536] {
            let payload = vec![b'x'; len];
            assert_eq!(
                text_with(3, |out| out.extend_from_slice(&payload)),
                text(&payload)
            );
        }
    }

    #[test]
    fn a_close_reason_is_cut_at_a_character() {
        assert_eq!(close(1000, "bye")[..], *b"\x88\x05\x03\xe8bye");
        assert_eq!(close(1005, "bye")[..], *b"\x88\x00");
        let long = close(1001, &"한".repeat(100));
        assert_eq!(long[1], 125);
        let longer = close(1001, &format!("x{}", "한".repeat(100)));
        assert_eq!(longer[1], 2 + 1 + 40 * 3);
        assert!(str::from_utf8(&longer[4..]).is_ok());
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same_events(
            frames in prop::collection::vec(
                (prop::sample::select(vec![0x81, 0x82, 0x01, 0x02, 0x00, 0x80, 0x89, 0x8a, 0x88]),
                 prop::collection::vec(any::<u8>(), 0..140)), 0..8),
            cuts in prop::collection::vec(any::<usize>(), 0..12),
        ) {
            let input: Vec<u8> = frames.iter().flat_map(|(first, payload)| client(*first, payload)).collect();
            prop_assert_eq!(decode_cut(&input, &cuts), decode(&input));
        }

        #[test]
        fn any_cut_of_a_fragmented_text_gives_the_text(
            message in "\\PC{0,60}", pieces in prop::collection::vec(any::<usize>(), 0..4),
            cuts in prop::collection::vec(any::<usize>(), 0..12),
        ) {
            let mut at: Vec<usize> = pieces.iter().map(|piece| piece % (message.len() + 1)).collect();
            at.push(message.len());
            at.sort_unstable();
            let mut input = Vec::new();
            let mut from = 0;
            for (index, &to) in at.iter().enumerate() {
                let first = u8::from(index == 0) | if index + 1 == at.len() { 0x80 } else { 0 };
                input.extend(client(first, &message.as_bytes()[from..to]));
                from = to;
            }
            prop_assert_eq!(decode_cut(&input, &cuts), (vec![Event::Text(message)], None));
        }

        #[test]
        fn random_octets_never_panic(
            input in prop::collection::vec(any::<u8>(), 0..200), cuts in prop::collection::vec(any::<usize>(), 0..6),
        ) {
            prop_assert_eq!(decode_cut(&input, &cuts), decode(&input));
        }
    }
}
