//! The STOMP decoder, with limits.
//!
//! The input may be cut anywhere: a frame may arrive in many pieces, and a piece may hold many frames
//! and heart-beats.

use std::borrow::Cow;

use bytes::Bytes;

use crate::{
    limits,
    protocol::stomp::frame::{Command, Escaping, Frame, Headers, Version},
};

/// Limits of one frame (STOMP 1.2, "Size Limits").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Octets of a whole frame, from the command on, without the NUL that ends it.
    pub frame_bytes: usize,
    /// Headers of a frame, repeated ones included.
    pub headers: usize,
    /// Octets of the command line or of one header line, without the LF that ends it.
    pub header_line_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes: limits::MAX_FRAME_BYTES,
            headers: limits::MAX_HEADERS,
            header_line_bytes: limits::MAX_HEADER_BYTES,
        }
    }
}

/// A frame or heart-beat from the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A whole frame.
    Frame(Frame),
    /// A line end between frames.
    HeartBeat,
}

/// Octets that are not a STOMP frame, or a frame over the limits. The connection must end, because
/// the start of the next frame is unknown.
///
/// The text is one sentence for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The first line is not a command.
    #[error("The command is unknown")]
    UnknownCommand,
    /// A header line without colon, or without a name before it.
    #[error("A header must have the form name:value")]
    BadHeader,
    /// A backslash that begins no escape of the version.
    #[error("A header has an escape that is not allowed")]
    BadEscape,
    /// A carriage return without a line feed.
    #[error("A carriage return must be followed by a line feed")]
    BadLineEnd,
    /// A header that is not UTF-8.
    #[error("Headers must be UTF-8")]
    BadEncoding,
    /// The frame ends before the empty line that ends its headers.
    #[error("The frame ends within its headers")]
    UnexpectedNull,
    /// A `content-length` that is not a number.
    #[error("The content-length is not a number")]
    BadContentLength,
    /// The body is not followed by NUL where `content-length` says it ends.
    #[error("The body is not as long as its content-length")]
    MissingNull,
    /// A body on a frame that may have none.
    #[error("Only SEND may have a body")]
    UnexpectedBody,
    /// More headers than [`Limits::headers`].
    #[error("The frame has too many headers")]
    TooManyHeaders,
    /// A line longer than [`Limits::header_line_bytes`].
    #[error("A header is too long")]
    HeaderTooLong,
    /// A frame longer, or announced to be longer, than [`Limits::frame_bytes`].
    #[error("The frame is too large")]
    FrameTooLarge,
}

impl Malformed {
    /// The error code for machines, a part of the public interface.
    pub const fn code(self) -> &'static str {
        match self {
            Self::UnknownCommand => "UNKNOWN_COMMAND",
            Self::BadHeader => "BAD_HEADER",
            Self::BadEscape => "BAD_ESCAPE",
            Self::BadLineEnd => "BAD_LINE_END",
            Self::BadEncoding => "BAD_ENCODING",
            Self::UnexpectedNull => "UNEXPECTED_NULL",
            Self::BadContentLength => "BAD_CONTENT_LENGTH",
            Self::MissingNull => "MISSING_NULL",
            Self::UnexpectedBody => "UNEXPECTED_BODY",
            Self::TooManyHeaders => "TOO_MANY_HEADERS",
            Self::HeaderTooLong => "HEADER_TOO_LONG",
            Self::FrameTooLarge => "FRAME_TOO_LARGE",
        }
    }
}

/// Turns the octets of one connection into frames and heart-beats.
///
/// It buffers at most one unfinished frame within the limits and the last piece fed. While nothing is
/// pending it owns no heap memory.
///
/// ```
/// use discodeit::protocol::stomp::{Command, Decoder, Item, Limits, Malformed};
///
/// let mut decoder = Decoder::new(Limits::default());
/// decoder.feed(b"\nSEND\ndestination:/pub/a\n");
/// assert_eq!(decoder.next(), Ok(Some(Item::HeartBeat)));
/// assert_eq!(decoder.next(), Ok(None), "the frame is incomplete");
///
/// decoder.feed(b"\nHello\0");
/// let Ok(Some(Item::Frame(frame))) = decoder.next() else {
///     panic!("the frame is complete");
/// };
/// assert_eq!(frame.command, Command::Send);
/// assert_eq!(frame.headers.get("destination"), Some("/pub/a"));
/// assert_eq!(frame.body, "Hello");
///
/// decoder.feed(b"GET / HTTP/1.1\r\n");
/// assert_eq!(decoder.next(), Err(Malformed::UnknownCommand));
/// ```
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    version: Version,
    /// Octets fed, consumed up to `start`, searched in vain up to `searched`.
    pending: Vec<u8>,
    start: usize,
    searched: usize,
    /// The unfinished frame, once its command is known.
    partial: Option<Partial>,
    failed: Option<Malformed>,
}

#[derive(Debug)]
struct Partial {
    command: Command,
    headers: Headers,
    /// Octets consumed for this frame so far.
    used: usize,
    state: State,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Headers,
    /// A body of this many octets, then NUL.
    Counted(usize),
    /// A body up to the first NUL.
    Open,
}

impl Decoder {
    /// A decoder for one connection, which unescapes headers as STOMP 1.2 until [`Self::set_version`].
    pub const fn new(limits: Limits) -> Self {
        Self {
            limits,
            version: Version::V12,
            pending: Vec::new(),
            start: 0,
            searched: 0,
            partial: None,
            failed: None,
        }
    }

    /// Sets the negotiated version, by which further headers are unescaped. Call it before the frame
    /// after `CONNECT` is decoded.
    pub const fn set_version(&mut self, version: Version) {
        self.version = version;
    }

    /// Takes received octets. Call [`Decoder::next`] until it returns `None` before feeding again:
    /// `next` enforces the limits.
    pub fn feed(&mut self, input: &[u8]) {
        if self.failed.is_none() {
            self.pending.extend_from_slice(input);
        }
    }

    /// The next frame or heart-beat, or `None` until more octets arrive.
    ///
    /// # Errors
    ///
    /// [`Malformed`] for octets that are not a frame; every later call returns it too.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator that ends may not go on, a decoder does after more input"
    )]
    pub fn next(&mut self) -> Result<Option<Item>, Malformed> {
        if let Some(malformed) = self.failed {
            return Err(malformed);
        }
        let result = self.advance();
        match result {
            // Moves the rest to a buffer of exactly its size; an empty rest frees the memory.
            Ok(None) if self.start > 0 => {
                self.pending = self.pending.split_off(self.start);
                self.searched -= self.start;
                self.start = 0;
            }
            Ok(_) => {}
            Err(malformed) => {
                *self = Self {
                    failed: Some(malformed),
                    ..Self::new(self.limits)
                };
            }
        }
        result
    }

    fn advance(&mut self) -> Result<Option<Item>, Malformed> {
        if self.partial.is_none() {
            if let Some(beat) = self.between_frames()? {
                return Ok(Some(beat));
            }
            let Some(line) = self.line(0)? else {
                return Ok(None);
            };
            let octets = &self.pending[line.begin..line.end];
            let command = Command::parse(octets).ok_or(Malformed::UnknownCommand)?;
            self.partial = Some(Partial {
                command,
                headers: Headers::new(),
                used: line.size,
                state: State::Headers,
            });
        }
        let Some(mut partial) = self.partial.take() else {
            return Ok(None);
        };
        if let Some(body) = self.complete(&mut partial)? {
            return Ok(Some(Item::Frame(Frame {
                command: partial.command,
                headers: partial.headers,
                body,
            })));
        }
        self.partial = Some(partial);
        Ok(None)
    }

    /// Skips NULs between frames, as clients do, because some peers end frames twice. Returns the
    /// first line end, which is a heart-beat.
    fn between_frames(&mut self) -> Result<Option<Item>, Malformed> {
        loop {
            let (item, size) = match &self.pending[self.start..] {
                [0, ..] => (None, 1),
                [b'\n', ..] => (Some(Item::HeartBeat), 1),
                [b'\r', b'\n', ..] => (Some(Item::HeartBeat), 2),
                [b'\r', _, ..] => return Err(Malformed::BadLineEnd),
                _ => return Ok(None),
            };
            self.start += size;
            self.searched = self.start;
            if item.is_some() {
                return Ok(item);
            }
        }
    }

    /// Continues the unfinished frame; returns its body once it is complete.
    fn complete(&mut self, partial: &mut Partial) -> Result<Option<Bytes>, Malformed> {
        loop {
            match partial.state {
                State::Headers => {
                    let Some(line) = self.line(partial.used)? else {
                        return Ok(None);
                    };
                    partial.used += line.size;
                    if line.begin == line.end {
                        partial.state = self.end_of_headers(partial)?;
                    } else {
                        let octets = &self.pending[line.begin..line.end];
                        let escaping = Escaping::of(partial.command, self.version);
                        if partial.headers.len() == self.limits.headers {
                            return Err(Malformed::TooManyHeaders);
                        }
                        let (name, value) = parse_header(octets, escaping)?;
                        partial.headers.push(name, value);
                    }
                }
                State::Counted(length) => {
                    let octets = &self.pending[self.start..];
                    let Some(&end) = octets.get(length) else {
                        return Ok(None);
                    };
                    if end != 0 {
                        return Err(Malformed::MissingNull);
                    }
                    return Ok(Some(self.take_body(length)));
                }
                State::Open => return self.open_body(partial),
            }
        }
    }

    fn end_of_headers(&self, partial: &Partial) -> Result<State, Malformed> {
        let Some(value) = partial.headers.get("content-length") else {
            return Ok(State::Open);
        };
        // Digits only: `parse` would take a sign as well.
        if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Malformed::BadContentLength);
        }
        let room = self.limits.frame_bytes - partial.used;
        // A number too big for the machine is too big for the limit.
        match value.parse::<usize>() {
            Ok(length) if length > 0 && !partial.command.may_have_body() => {
                Err(Malformed::UnexpectedBody)
            }
            Ok(length) if length <= room => Ok(State::Counted(length)),
            _ => Err(Malformed::FrameTooLarge),
        }
    }

    /// A body without `content-length`, which ends at the first NUL.
    fn open_body(&mut self, partial: &Partial) -> Result<Option<Bytes>, Malformed> {
        let room = self.limits.frame_bytes - partial.used;
        let end = self.search(|byte| byte == 0);
        let length = end.unwrap_or(self.pending.len()) - self.start;
        if length > 0 && !partial.command.may_have_body() {
            return Err(Malformed::UnexpectedBody);
        }
        if length > room {
            return Err(Malformed::FrameTooLarge);
        }
        Ok(end.map(|_| self.take_body(length)))
    }

    /// Consumes a body of `length` octets and the NUL after it.
    fn take_body(&mut self, length: usize) -> Bytes {
        let body = Bytes::copy_from_slice(&self.pending[self.start..self.start + length]);
        self.start += length + 1;
        self.searched = self.start;
        body
    }

    /// Consumes one line of a frame of which `used` octets are consumed already.
    ///
    /// Checks the limits first, in the order in which the octets exceed them, so that the result does
    /// not depend on how the input was cut.
    fn line(&mut self, used: usize) -> Result<Option<Line>, Malformed> {
        let room = self.limits.frame_bytes - used;
        let end = self.search(|byte| matches!(byte, b'\n' | 0));
        let length = end.unwrap_or(self.pending.len()) - self.start;
        // The LF counts for the frame, but not for the line.
        if length > self.limits.header_line_bytes && self.limits.header_line_bytes < room {
            return Err(Malformed::HeaderTooLong);
        }
        if length >= room {
            return Err(Malformed::FrameTooLarge);
        }
        let Some(end) = end else {
            return Ok(None);
        };
        if self.pending[end] == 0 {
            return Err(Malformed::UnexpectedNull);
        }
        let begin = self.start;
        let octets = &self.pending[begin..end];
        let octets = octets.strip_suffix(b"\r").unwrap_or(octets);
        if octets.contains(&b'\r') {
            return Err(Malformed::BadLineEnd);
        }
        let line = Line {
            begin,
            end: begin + octets.len(),
            size: length + 1,
        };
        self.start = end + 1;
        self.searched = self.start;
        Ok(Some(line))
    }

    /// The first octet that is `wanted`. Octets are searched once: a repeated search would take
    /// quadratic time for a frame fed in single octets.
    fn search(&mut self, wanted: impl Fn(u8) -> bool) -> Option<usize> {
        let found = self.pending[self.searched..]
            .iter()
            .position(|&byte| wanted(byte))
            .map(|at| self.searched + at);
        self.searched = found.unwrap_or(self.pending.len());
        found
    }
}

/// The range of a line in the pending octets without its end, and its size with its end.
struct Line {
    begin: usize,
    end: usize,
    size: usize,
}

fn parse_header(line: &[u8], escaping: Escaping) -> Result<(String, String), Malformed> {
    let colon = line.iter().position(|&byte| byte == b':');
    // Split at the first colon, and trim nothing (STOMP 1.2, "Value Encoding").
    match colon {
        None | Some(0) => Err(Malformed::BadHeader),
        Some(at) => Ok((
            unescape(&line[..at], escaping)?,
            unescape(&line[at + 1..], escaping)?,
        )),
    }
}

fn unescape(octets: &[u8], escaping: Escaping) -> Result<String, Malformed> {
    let plain = if escaping == Escaping::None || !octets.contains(&b'\\') {
        Cow::Borrowed(octets)
    } else {
        Cow::Owned(unescaped(octets, escaping)?)
    };
    String::from_utf8(plain.into_owned()).map_err(|_| Malformed::BadEncoding)
}

/// One pass from left to right: replacing one escape after the other would see `\\n` as LF.
fn unescaped(octets: &[u8], escaping: Escaping) -> Result<Vec<u8>, Malformed> {
    let mut out = Vec::with_capacity(octets.len());
    let mut rest = octets.iter();
    while let Some(&byte) = rest.next() {
        out.push(if byte == b'\\' {
            match rest.next() {
                Some(b'n') => b'\n',
                Some(b'c') => b':',
                Some(b'\\') => b'\\',
                Some(b'r') if escaping == Escaping::Four => b'\r',
                _ => return Err(Malformed::BadEscape),
            }
        } else {
            byte
        });
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
