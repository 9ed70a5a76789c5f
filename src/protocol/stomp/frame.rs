//! The STOMP frame and its encoder.

use std::{fmt, io::Write as _};

use bytes::Bytes;

/// A version of the protocol. Later versions are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// STOMP 1.0: no escaping, no heart-beating.
    V10,
    /// STOMP 1.1: escapes LF, colon and backslash.
    V11,
    /// STOMP 1.2: escapes CR as well.
    V12,
}

impl Version {
    /// Every supported version, oldest first.
    pub const ALL: [Self; 3] = [Self::V10, Self::V11, Self::V12];

    /// The version as it stands in `accept-version` and `version`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V10 => "1.0",
            Self::V11 => "1.1",
            Self::V12 => "1.2",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The first line of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Command {
    /// Client: opens the session.
    Connect,
    /// Client: the same as `CONNECT`, since 1.1.
    Stomp,
    /// Server: the session is open.
    Connected,
    /// Client: a message to a destination.
    Send,
    /// Client: asks for the messages of a destination.
    Subscribe,
    /// Client: ends a subscription.
    Unsubscribe,
    /// Client: has consumed a message.
    Ack,
    /// Client: has not consumed a message, since 1.1.
    Nack,
    /// Client: begins a transaction.
    Begin,
    /// Client: commits a transaction.
    Commit,
    /// Client: rolls a transaction back.
    Abort,
    /// Client: announces that it closes the connection.
    Disconnect,
    /// Server: a message of a subscription.
    Message,
    /// Server: a frame with a `receipt` header has taken effect.
    Receipt,
    /// Server: the client made an error, and the connection ends.
    Error,
}

impl Command {
    /// Every command.
    pub const ALL: [Self; 15] = [
        Self::Connect,
        Self::Stomp,
        Self::Connected,
        Self::Send,
        Self::Subscribe,
        Self::Unsubscribe,
        Self::Ack,
        Self::Nack,
        Self::Begin,
        Self::Commit,
        Self::Abort,
        Self::Disconnect,
        Self::Message,
        Self::Receipt,
        Self::Error,
    ];

    /// The command as it is written; commands are case-sensitive.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::Stomp => "STOMP",
            Self::Connected => "CONNECTED",
            Self::Send => "SEND",
            Self::Subscribe => "SUBSCRIBE",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::Ack => "ACK",
            Self::Nack => "NACK",
            Self::Begin => "BEGIN",
            Self::Commit => "COMMIT",
            Self::Abort => "ABORT",
            Self::Disconnect => "DISCONNECT",
            Self::Message => "MESSAGE",
            Self::Receipt => "RECEIPT",
            Self::Error => "ERROR",
        }
    }

    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|command| command.as_str().as_bytes() == line)
    }

    /// STOMP 1.2, "Body": only these frames may have one.
    pub const fn may_have_body(self) -> bool {
        matches!(self, Self::Send | Self::Message | Self::Error)
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The headers of a frame in the order they were written, repeated ones included.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// No headers; owns no heap memory.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The value of the header `name`, which is case-sensitive. Of a repeated header the first one
    /// counts (STOMP 1.2, "Repeated Header Entries").
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter()
            .find_map(|(known, value)| (known == name).then_some(value))
    }

    /// Adds a header after the others; an earlier one of the same name keeps its precedence.
    pub fn push(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.push((name.into(), value.into()));
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Number of headers, repeated ones included.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One STOMP frame, unescaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its command.
    pub command: Command,
    /// Its headers.
    pub headers: Headers,
    /// Its body, empty for most commands.
    pub body: Bytes,
}

impl Frame {
    /// A frame without headers and body.
    pub const fn new(command: Command) -> Self {
        Self {
            command,
            headers: Headers::new(),
            body: Bytes::new(),
        }
    }

    /// The frame with one more header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push(name, value);
        self
    }

    /// The frame with this body. `content-length` is added when the frame is written.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}

/// How the headers of one frame are written and read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Escaping {
    /// STOMP 1.0, and the frames that open a session.
    None,
    /// STOMP 1.1: `\n`, `\c` and `\\`.
    Three,
    /// STOMP 1.2: these and `\r`.
    Four,
}

impl Escaping {
    /// `CONNECT` and `CONNECTED` are exempt in every version (STOMP 1.2, "Value Encoding"), and so
    /// is `STOMP`, before which no version is agreed either.
    pub(super) const fn of(command: Command, version: Version) -> Self {
        match (command, version) {
            (Command::Connect | Command::Stomp | Command::Connected, _) | (_, Version::V10) => {
                Self::None
            }
            (_, Version::V11) => Self::Three,
            (_, Version::V12) => Self::Four,
        }
    }

    /// Appends `name:value` and LF. What this escaping cannot express (line ends and, in a name,
    /// the colon) becomes a blank, and so does NUL: a header can never forge another one or end the
    /// frame.
    fn write_header(self, name: &str, value: &str, out: &mut Vec<u8>) {
        debug_assert!(!name.is_empty(), "a header without a name cannot be read");
        self.write(name, true, out);
        out.push(b':');
        self.write(value, false, out);
        out.push(b'\n');
    }

    fn write(self, text: &str, is_name: bool, out: &mut Vec<u8>) {
        let mut rest = text.as_bytes();
        while let Some(at) = rest
            .iter()
            .position(|byte| matches!(byte, b'\n' | b'\r' | b':' | b'\\' | 0))
        {
            out.extend_from_slice(&rest[..at]);
            let replacement: &[u8] = match (rest[at], self) {
                (b'\n', Self::Three | Self::Four) => b"\\n",
                (b'\r', Self::Four) => b"\\r",
                (b':', Self::Three | Self::Four) => b"\\c",
                (b':', Self::None) if !is_name => b":",
                (b'\\', Self::Three | Self::Four) => b"\\\\",
                (b'\\', Self::None) => b"\\",
                _ => b" ",
            };
            out.extend_from_slice(replacement);
            rest = &rest[at + 1..];
        }
        out.extend_from_slice(rest);
    }
}

/// Writes one frame for a peer that speaks `version`.
///
/// `content-length` is the number of octets of the body, whatever the frame's headers say; it is
/// the last header, and there whenever there is a body, always on `MESSAGE` and `ERROR`.
pub fn encode(frame: &Frame, version: Version) -> Vec<u8> {
    let escaping = Escaping::of(frame.command, version);
    let mut out = Vec::with_capacity(128 + frame.body.len());
    out.extend_from_slice(frame.command.as_str().as_bytes());
    out.push(b'\n');
    for (name, value) in frame.headers.iter() {
        if name != "content-length" {
            escaping.write_header(name, value, &mut out);
        }
    }
    let counted = matches!(frame.command, Command::Message | Command::Error);
    if counted || !frame.body.is_empty() {
        write_body(&frame.body, &mut out);
    } else {
        out.extend_from_slice(b"\n\0");
    }
    out
}

/// Appends `content-length`, the end of the headers, the body and the end of the frame.
fn write_body(body: &[u8], out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail.
    write!(out, "content-length:{}\n\n", body.len()).expect("a Vec takes everything");
    out.extend_from_slice(body);
    out.push(0);
}

/// One `MESSAGE` with a JSON body, for one subscription. It borrows the body, so that a message for
/// thousands of subscriptions is copied only into the encoded frames.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    /// Where it was sent to.
    pub destination: &'a str,
    /// The client's id of the subscription.
    pub subscription: &'a str,
    /// Unique on the connection.
    pub message_id: &'a str,
    /// Further headers, in this order.
    pub extra: &'a [(&'a str, &'a str)],
    /// The JSON text.
    pub body: &'a [u8],
}

impl Message<'_> {
    /// Appends the frame to `out`, for a peer that speaks `version`.
    pub fn write(&self, version: Version, out: &mut Vec<u8>) {
        let escaping = Escaping::of(Command::Message, version);
        let texts = [self.destination, self.subscription, self.message_id];
        out.reserve(160 + texts.iter().map(|text| text.len()).sum::<usize>() + self.body.len());
        out.extend_from_slice(b"MESSAGE\n");
        escaping.write_header("destination", self.destination, out);
        out.extend_from_slice(b"content-type:application/json\n");
        escaping.write_header("subscription", self.subscription, out);
        escaping.write_header("message-id", self.message_id, out);
        for (name, value) in self.extra {
            escaping.write_header(name, value, out);
        }
        write_body(self.body, out);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::codec::{Decoder, Item, Limits};
    use super::*;

    #[test]
    fn versions_are_ordered() {
        assert!(Version::V10 < Version::V11 && Version::V11 < Version::V12);
        assert_eq!(Version::ALL.map(Version::as_str), ["1.0", "1.1", "1.2"]);
    }

    #[test]
    fn the_first_of_repeated_headers_wins() {
        let frame = Frame::new(Command::Send)
            .header("foo", "1")
            .header("foo", "2");
        assert_eq!(frame.headers.get("foo"), Some("1"));
        assert_eq!(frame.headers.get("Foo"), None);
        assert_eq!(frame.headers.len(), 2);
    }

    #[test]
    fn headers_are_escaped_by_version_and_never_forge_a_line() {
        let frame = Frame::new(Command::Receipt).header("a:b", "c:\\\n\r\0d");
        assert_eq!(
            encode(&frame, Version::V12),
            b"RECEIPT\na\\cb:c\\c\\\\\\n\\r d\n\n\0"
        );
        assert_eq!(
            encode(&frame, Version::V11),
            b"RECEIPT\na\\cb:c\\c\\\\\\n  d\n\n\0"
        );
        assert_eq!(encode(&frame, Version::V10), b"RECEIPT\na b:c:\\   d\n\n\0");
    }

    #[test]
    fn connected_is_not_escaped() {
        let frame = Frame::new(Command::Connected).header("user-name", "a:b\\\nc");
        assert_eq!(
            encode(&frame, Version::V12),
            b"CONNECTED\nuser-name:a:b\\ c\n\n\0"
        );
    }

    #[test]
    fn content_length_counts_octets_and_replaces_the_given_header() {
        let frame = Frame::new(Command::Send)
            .header("content-length", "1")
            .body("{\"a\":\"한😀\"}");
        let octets = encode(&frame, Version::V12);
        assert_eq!(
            octets,
            "SEND\ncontent-length:15\n\n{\"a\":\"한😀\"}\0".as_bytes()
        );
        let empty = Frame::new(Command::Error).header("message", "no");
        assert_eq!(
            encode(&empty, Version::V12),
            b"ERROR\nmessage:no\ncontent-length:0\n\n\0"
        );
    }

    #[test]
    fn a_message_has_the_header_order_of_existing_servers() {
        let message = Message {
            destination: "/sub/echo/1",
            subscription: "s:1",
            message_id: "nixmfgpw-19",
            extra: &[("gap", "true")],
            body: "{\"a\":\"한\"}".as_bytes(),
        };
        let mut out = b"before ".to_vec();
        message.write(Version::V12, &mut out);
        let expected = "before MESSAGE\ndestination:/sub/echo/1\ncontent-type:application/json\n\
             subscription:s\\c1\nmessage-id:nixmfgpw-19\ngap:true\ncontent-length:11\n\n{\"a\":\"한\"}\0";
        assert_eq!(String::from_utf8(out).expect("UTF-8"), expected);
    }

    /// Any frame that can be written in the version and read back.
    fn any_frame() -> impl Strategy<Value = (Version, Frame)> {
        let header = ("[^\0]{1,8}", "[^\0]{0,12}");
        (
            prop::sample::select(Version::ALL.to_vec()),
            prop::sample::select(Command::ALL.to_vec()),
            prop::collection::vec(header, 0..4),
            prop::collection::vec(any::<u8>(), 0..40),
        )
            .prop_map(|(version, command, headers, body)| {
                let mut frame = Frame::new(command);
                for (name, value) in headers {
                    let (forbidden, colon): (&[char], &str) = match Escaping::of(command, version) {
                        Escaping::None => (&['\n', '\r'], ""),
                        Escaping::Three => (&['\r'], ":"),
                        Escaping::Four => (&[], ":"),
                    };
                    let name = format!("n{name}")
                        .replace(forbidden, "")
                        .replace(':', colon);
                    frame.headers.push(name, value.replace(forbidden, ""));
                }
                if command.may_have_body() {
                    frame.body = body.into();
                }
                (version, frame)
            })
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding((version, frame) in any_frame(), piece in 1_usize..40) {
            let mut decoder = Decoder::new(Limits::default());
            decoder.set_version(version);
            let mut items = Vec::new();
            for octets in encode(&frame, version).chunks(piece) {
                decoder.feed(octets);
                items.extend(decoder.next().expect("what is encoded is well-formed"));
            }
            let [Item::Frame(decoded)] = &items[..] else {
                return Err(TestCaseError::fail(format!("{items:?}")));
            };
            let mut expected = frame.clone();
            if matches!(frame.command, Command::Message | Command::Error) || !frame.body.is_empty() {
                expected.headers.push("content-length", frame.body.len().to_string());
            }
            prop_assert_eq!(decoded, &expected);
        }
    }
}
