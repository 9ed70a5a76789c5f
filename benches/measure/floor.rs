//! The floor: a server that stores nothing, and writes each message to its subscribers with one `send` after the other.
//!
//! No server that makes a write for each delivery can use less processor time, so the cost of a node is given as a multiple of the
//! floor's in the same run.

use std::{
    collections::HashMap,
    io::{ErrorKind, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use super::{Outcome, stomp::frame_head};

/// Length of a frame that a node sends for a message of the same text.
const FRAME_BYTES: usize = 800;

/// The subscribers of a channel, and the position of its last message.
#[derive(Default)]
struct Room {
    subscribers: Vec<TcpStream>,
    seq: u64,
}

type Rooms = Arc<Mutex<HashMap<String, Room>>>;

/// Serves at the address until the process ends.
pub(super) fn serve(address: &str) -> Outcome<()> {
    let rooms = Rooms::default();
    for stream in TcpListener::bind(address)?.incoming() {
        let (stream, rooms) = (stream?, rooms.clone());
        stream.set_nodelay(true)?;
        // A client that goes away ends its thread.
        thread::spawn(move || drop(client(stream, &rooms)));
    }
    Ok(())
}

/// Answers a client's frames. Ends once the client subscribes: after that, only senders write to it.
fn client(mut stream: TcpStream, rooms: &Rooms) -> Outcome<()> {
    let mut input = Vec::new();
    loop {
        if let Some(end) = input.windows(4).position(|window| window == b"\r\n\r\n") {
            input.drain(..end + 4);
            break;
        }
        read(&mut stream, &mut input)?;
    }
    stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")?;
    loop {
        let Some(text) = next(&mut input) else {
            read(&mut stream, &mut input)?;
            continue;
        };
        let receipt = line(&text, "receipt:").unwrap_or_default();
        let receipt = frame(&format!("RECEIPT\nreceipt-id:{receipt}\n\n\0"));
        if text.starts_with("CONNECT\n") {
            stream.write_all(&frame("CONNECTED\nversion:1.2\n\n\0"))?;
        } else if text.starts_with("SUBSCRIBE\n") {
            stream.write_all(&receipt)?;
            let channel = line(&text, "destination:/sub/channels.").unwrap_or_default();
            let channel = channel.trim_end_matches(".messages").to_owned();
            let mut rooms = rooms.lock().unwrap_or_else(PoisonError::into_inner);
            rooms.entry(channel).or_default().subscribers.push(stream);
            return Ok(());
        } else {
            deliver(&text, rooms);
            stream.write_all(&receipt)?;
        }
    }
}

/// Writes a message to the subscribers of its channel.
fn deliver(send: &str, rooms: &Rooms) {
    let between = |start: &str| {
        let (_, rest) = send.split_once(start)?;
        rest.split('"').next()
    };
    let channel = between("\"channelId\":\"").unwrap_or_default();
    let content = between("\"content\":\"").unwrap_or_default();
    let mut rooms = rooms.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(room) = rooms.get_mut(channel) else {
        return;
    };
    room.seq += 1;
    let text = format!(
        "MESSAGE\nsubscription:sub-0\n\n{{\"content\":\"{content}\",\"seq\":{},\"padding\":\"",
        room.seq
    );
    let padding = "x".repeat(FRAME_BYTES.saturating_sub(text.len() + 7));
    let frame = frame(&format!("{text}{padding}\"}}\0"));
    room.subscribers
        .retain_mut(|subscriber| subscriber.write_all(&frame).is_ok());
}

fn read(stream: &mut TcpStream, input: &mut Vec<u8>) -> Outcome<()> {
    let mut buffer = [0; 4096];
    match stream.read(&mut buffer)? {
        0 => Err(std::io::Error::from(ErrorKind::UnexpectedEof).into()),
        read => {
            input.extend_from_slice(&buffer[..read]);
            Ok(())
        }
    }
}

/// Removes the first masked text frame, if it is complete. The driver's masks are zeros.
fn next(input: &mut Vec<u8>) -> Option<String> {
    let (head, length) = match *input.as_slice() {
        [_, 0xFE, high, low, ..] => (8, usize::from(u16::from_be_bytes([high, low]))),
        [_, length, ..] => (6, usize::from(length & 0x7F)),
        _ => return None,
    };
    if input.len() < head + length {
        return None;
    }
    let text = input.drain(..head + length).skip(head).collect();
    String::from_utf8(text).ok()
}

/// The rest of the first line that starts with `name`.
fn line<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name))
}

/// A text frame without a mask.
fn frame(text: &str) -> Vec<u8> {
    let mut frame = Vec::new();
    frame_head(text.len(), 0, &mut frame);
    frame.extend_from_slice(text.as_bytes());
    frame
}
