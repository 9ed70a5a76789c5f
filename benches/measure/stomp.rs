//! A STOMP client over WebSocket that uses little processor time.

use std::ops::Range;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{GRACE, Outcome};

/// Appends a WebSocket text frame with a mask of zeros. RFC 6455 requires a mask; a benchmark needs no random one.
pub(super) fn text_frame(text: &[u8], out: &mut Vec<u8>) {
    frame_head(text.len(), 0x80, out);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(text);
}

/// Appends the head of a text frame. `mask` is 0x80 if a mask follows, otherwise 0.
pub(super) fn frame_head(length: usize, mask: u8, out: &mut Vec<u8>) {
    out.push(0x81);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ ..=125), _) => out.push(mask + short),
        (_, Ok(long)) => {
            out.push(mask + 126);
            out.extend_from_slice(&long.to_be_bytes());
        }
        _ => panic!("a measurement sends no frame over 64 KiB"),
    }
}

/// A connection and its read buffer.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) buffer: Vec<u8>,
    /// Part of the buffer that is read and not parsed yet.
    pub(super) unread: Range<usize>,
}

impl Connection {
    pub(super) async fn open(address: &str, token: &str) -> Outcome<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut connection = Self {
            stream,
            buffer: vec![0; 16 * 1024],
            unread: 0..0,
        };
        let upgrade = format!(
            "GET /ws/websocket HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: bWVhc3VyZSBtZWFzdXJlIQ==\r\nSec-WebSocket-Protocol: v12.stomp\r\n\r\n"
        );
        connection.stream.write_all(upgrade.as_bytes()).await?;
        let head = loop {
            connection.read().await?;
            let read = &connection.buffer[connection.unread.clone()];
            if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
        };
        if !connection.buffer.starts_with(b"HTTP/1.1 101 ") {
            return Err(String::from_utf8_lossy(&connection.buffer[..head]).into());
        }
        connection.unread.start += head;
        let connect = format!(
            "CONNECT\naccept-version:1.2\nhost:measure\nheart-beat:0,0\nAuthorization:Bearer {token}\n\n\0"
        );
        connection.ask(&connect, b"CONNECTED\n").await?;
        Ok(connection)
    }

    /// Sends a frame and waits for its answer.
    pub(super) async fn ask(&mut self, text: &str, answer: &[u8]) -> Outcome<()> {
        let mut frame = Vec::new();
        text_frame(text.as_bytes(), &mut frame);
        self.stream.write_all(&frame).await?;
        loop {
            if let Some(payload) = self.next()? {
                let payload = &self.buffer[payload];
                return if payload.starts_with(answer) {
                    Ok(())
                } else {
                    Err(String::from_utf8_lossy(payload).into())
                };
            }
            timeout(GRACE, self.read()).await??;
        }
    }

    /// Reads the available bytes.
    pub(super) async fn read(&mut self) -> Outcome<()> {
        self.buffer.copy_within(self.unread.clone(), 0);
        self.unread = 0..self.unread.len();
        if self.unread.end == self.buffer.len() {
            self.buffer.resize(2 * self.buffer.len(), 0);
        }
        // `read` saves a system call over `try_read`: after a read that does not fill the buffer, it knows that the socket is empty.
        match self
            .stream
            .read(&mut self.buffer[self.unread.end..])
            .await?
        {
            0 => Err("the node closed a connection".into()),
            read => {
                self.unread.end += read;
                Ok(())
            }
        }
    }

    /// Position of the next text message in the buffer, if it is complete.
    pub(super) fn next(&mut self) -> Outcome<Option<Range<usize>>> {
        loop {
            let start = self.unread.start;
            let read = &self.buffer[self.unread.clone()];
            let (head, length) = match *read {
                [_, length @ ..=125, ..] => (2, usize::from(length)),
                [_, 126, high, low, ..] => (4, usize::from(u16::from_be_bytes([high, low]))),
                [_, 127, ..] => return Err("a frame of more than 64 KiB".into()),
                _ => return Ok(None),
            };
            if read.len() < head + length {
                return Ok(None);
            }
            let opcode = read[0];
            self.unread.start += head + length;
            let payload = start + head..start + head + length;
            match opcode {
                0x81 if self.buffer[payload.clone()] == *b"\n" => {}
                0x81 => return Ok(Some(payload)),
                _ => {
                    let text = String::from_utf8_lossy(&self.buffer[payload]).into_owned();
                    return Err(format!("a frame with opcode {opcode:#x}: {text}").into());
                }
            }
        }
    }
}

/// Position after `needle`. Frames resemble each other, so the position in the previous frame is tried first.
pub(super) fn find_end(needle: &[u8], hay: &[u8], hint: &mut usize) -> Option<usize> {
    if hay
        .get(*hint..)
        .is_none_or(|rest| !rest.starts_with(needle))
    {
        *hint = hay
            .windows(needle.len())
            .position(|window| window == needle)?;
    }
    Some(*hint + needle.len())
}

/// The decimal number at the start.
pub(super) fn number(octets: &[u8]) -> u64 {
    let digits = octets
        .iter()
        .map_while(|byte| byte.checked_sub(b'0').filter(|digit| *digit < 10));
    digits.fold(0, |number, digit| number * 10 + u64::from(digit))
}
