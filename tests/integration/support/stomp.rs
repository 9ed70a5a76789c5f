//! A STOMP client that knows nothing of the server's own codec.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite};
use tungstenite::Message;

use super::{SOON, User};

/// A frame from the server.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Command.
    pub command: String,
    /// Headers, as written.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: String,
}

impl Frame {
    fn parse(text: &str) -> Self {
        let text = text
            .strip_suffix('\0')
            .unwrap_or_else(|| panic!("a frame ends with NUL: {text:?}"));
        let (head, body) = text
            .split_once("\n\n")
            .unwrap_or_else(|| panic!("a frame has a blank line: {text:?}"));
        let mut lines = head.split('\n');
        let command = lines.next().expect("a frame has a command").to_owned();
        let headers = lines.map(|line| {
            line.split_once(':')
                .unwrap_or_else(|| panic!("a header has a colon: {line:?}"))
        });
        let headers: Vec<_> = headers
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let frame = Self {
            command,
            headers,
            body: body.to_owned(),
        };
        if let Some(length) = frame.header("content-length") {
            assert_eq!(
                length,
                frame.body.len().to_string(),
                "content-length counts octets: {frame:?}"
            );
        }
        frame
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A connection.
pub struct Stomp {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    sockjs: bool,
    waiting: std::collections::VecDeque<Frame>,
    next: u64,
}

impl Stomp {
    /// Opens a raw WebSocket.
    pub async fn open(address: &str) -> Self {
        Self::open_path(address, "/ws/websocket", false).await
    }

    /// Opens a WebSocket in SockJS's framing.
    pub async fn open_sockjs(address: &str) -> Self {
        let mut stomp = Self::open_path(address, "/ws/042/abcdefgh/websocket", true).await;
        assert_eq!(
            stomp.text().await.as_deref(),
            Some("o"),
            "SockJS opens with o"
        );
        stomp
    }

    async fn open_path(address: &str, path: &str, sockjs: bool) -> Self {
        let (socket, _) = connect_async(format!("ws://{address}{path}"))
            .await
            .expect("the WebSocket opens");
        Self {
            socket,
            sockjs,
            waiting: std::collections::VecDeque::new(),
            next: 0,
        }
    }

    /// Opens a raw WebSocket whose client's kernel takes only a few KiB that have not been read.
    pub async fn open_narrow(address: &str) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4 * 1024).expect("an option");
        let address = address.parse().expect("an address");
        let stream = socket.connect(address).await.expect("it listens");
        let (socket, _) = tokio_tungstenite::client_async(
            format!("ws://{address}/ws/websocket"),
            MaybeTlsStream::Plain(stream),
        )
        .await
        .expect("the WebSocket opens");
        Self {
            socket,
            sockjs: false,
            waiting: std::collections::VecDeque::new(),
            next: 0,
        }
    }

    /// Connects as that user at the node of its browser.
    pub async fn connect(user: &User) -> Self {
        let mut stomp = Self::open(user.base.trim_start_matches("http://")).await;
        stomp.log_in(user.token()).await;
        stomp
    }

    /// Sends CONNECT as stompjs does and expects CONNECTED.
    pub async fn log_in(&mut self, token: &str) -> Frame {
        self.send(&format!("CONNECT\nAuthorization:Bearer {token}\naccept-version:1.2,1.1,1.0\nheart-beat:10000,10000\n\n\0")).await;
        self.expect("CONNECTED").await
    }

    /// Sends octets as one message.
    pub async fn send(&mut self, text: &str) {
        let text = if self.sockjs {
            json!([text]).to_string()
        } else {
            text.to_owned()
        };
        self.socket
            .send(Message::text(text))
            .await
            .expect("the connection is open");
    }

    /// The next WebSocket text; `None` when the connection is closed.
    pub async fn text(&mut self) -> Option<String> {
        self.text_within(SOON).await
    }

    /// Likewise, when it may take longer.
    pub async fn text_within(&mut self, time: Duration) -> Option<String> {
        loop {
            match tokio::time::timeout(time, self.socket.next())
                .await
                .expect("the server says something")
            {
                Some(Ok(Message::Text(text))) => return Some(text.to_string()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// Every text until the connection closes.
    pub async fn frame_texts_until_close(&mut self) -> Vec<String> {
        let mut texts = Vec::new();
        while let Some(text) = self.text().await {
            texts.push(text);
        }
        texts
    }

    /// The next frame of a raw WebSocket, or the code with which it is closed.
    pub async fn frame_or_close(&mut self) -> Result<Frame, Option<u16>> {
        loop {
            if let Some(frame) = self.waiting.pop_front() {
                return Ok(frame);
            }
            match tokio::time::timeout(SOON, self.socket.next())
                .await
                .expect("the server says something")
            {
                Some(Ok(Message::Text(text))) if text != "\n" => return Ok(Frame::parse(&text)),
                Some(Ok(Message::Close(frame))) => {
                    return Err(frame.map(|frame| frame.code.into()));
                }
                Some(Err(_)) | None => return Err(None),
                Some(Ok(_)) => {}
            }
        }
    }

    /// The code of the close frame, after letting everything before it pass.
    pub async fn close_code(&mut self) -> Option<u16> {
        loop {
            match tokio::time::timeout(SOON, self.socket.next())
                .await
                .expect("the server closes")
            {
                Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.code.into()),
                Some(Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// The next frame; `None` when the connection is closed. Heart-beats pass.
    pub async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.waiting.pop_front() {
                return Some(frame);
            }
            let text = self.text().await?;
            let texts: Vec<String> = match (self.sockjs, text.strip_prefix('a')) {
                (false, _) => vec![text],
                (true, Some(array)) => serde_json::from_str(array).expect("a SockJS array"),
                (true, None) if text.starts_with('c') => return None,
                (true, None) => Vec::new(),
            };
            let frames = texts
                .iter()
                .filter(|text| text.as_str() != "\n")
                .map(|text| Frame::parse(text));
            self.waiting.extend(frames);
        }
    }

    /// The next frame, which must be of that command.
    pub async fn expect(&mut self, command: &str) -> Frame {
        let frame = self
            .frame()
            .await
            .unwrap_or_else(|| panic!("closed where {command} was expected"));
        assert_eq!(frame.command, command, "{frame:?}");
        frame
    }

    /// Nothing comes for that long.
    pub async fn expect_nothing(&mut self, time: Duration) {
        if let Ok(frame) = tokio::time::timeout(time, self.frame()).await {
            panic!("nothing was expected: {frame:?}");
        }
    }

    /// Subscribes to a channel's messages and waits for the receipt. What comes before it waits.
    pub async fn subscribe(&mut self, channel: &str) -> String {
        self.subscribe_with(&format!("/sub/channels.{channel}.messages"), "")
            .await
    }

    /// Subscribes to a destination, with header lines of one's own, and waits for the receipt.
    pub async fn subscribe_with(&mut self, destination: &str, headers: &str) -> String {
        let id = format!("sub-{}", self.next);
        self.next += 1;
        self.send(&format!(
            "SUBSCRIBE\nid:{id}\ndestination:{destination}\nreceipt:r-{id}\n{headers}\n\0"
        ))
        .await;
        self.receipt(&format!("r-{id}")).await;
        id
    }

    /// Waits for a receipt. Messages that come before it wait.
    pub async fn receipt(&mut self, id: &str) {
        let mut before = Vec::new();
        loop {
            let frame = self
                .frame()
                .await
                .unwrap_or_else(|| panic!("closed before the receipt {id}"));
            if frame.command == "RECEIPT" {
                assert_eq!(frame.header("receipt-id"), Some(id), "{frame:?}");
                break;
            }
            assert_eq!(frame.command, "MESSAGE", "{frame:?}");
            before.push(frame);
        }
        for frame in before.into_iter().rev() {
            self.waiting.push_front(frame);
        }
    }

    /// Sends a message and does not wait.
    pub async fn say(&mut self, user: &User, channel: &str, content: &str) {
        let body =
            json!({ "content": content, "channelId": channel, "authorId": user.id }).to_string();
        self.send(&format!(
            "SEND\ndestination:/pub/messages\ncontent-length:{}\n\n{body}\0",
            body.len()
        ))
        .await;
    }

    /// Sends a message and waits until it is committed.
    pub async fn say_surely(&mut self, user: &User, channel: &str, content: &str) {
        let body =
            json!({ "content": content, "channelId": channel, "authorId": user.id }).to_string();
        let receipt = format!("said-{}", self.next);
        self.next += 1;
        self.send(&format!(
            "SEND\ndestination:/pub/messages\nreceipt:{receipt}\n\n{body}\0"
        ))
        .await;
        self.receipt(&receipt).await;
    }

    /// The next message's body.
    pub async fn message(&mut self) -> Value {
        self.expect("MESSAGE").await.json()
    }
}
