//! A STOMP client that does not use the server's codec.

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
    /// The command.
    pub command: String,
    /// Headers, still escaped.
    pub headers: Vec<(String, String)>,
    /// The body.
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

    /// The value of the first header with that name.
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

/// A STOMP connection over a WebSocket.
pub struct Stomp {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    sockjs: bool,
    queued: std::collections::VecDeque<Frame>,
    next: u64,
}

impl Stomp {
    /// Opens a raw WebSocket.
    pub async fn open(address: &str) -> Self {
        Self::open_path(address, "/ws/websocket", false).await
    }

    /// Opens a WebSocket with SockJS framing.
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
            queued: std::collections::VecDeque::new(),
            next: 0,
        }
    }

    /// Opens a raw WebSocket with a receive buffer of 4 KiB.
    ///
    /// The kernel of the client holds little unread data.
    pub async fn open_narrow(address: &str) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4 * 1024).expect("an option");
        let address = address.parse().expect("an address");
        let stream = socket.connect(address).await.expect("the node listens");
        let (socket, _) = tokio_tungstenite::client_async(
            format!("ws://{address}/ws/websocket"),
            MaybeTlsStream::Plain(stream),
        )
        .await
        .expect("the WebSocket opens");
        Self {
            socket,
            sockjs: false,
            queued: std::collections::VecDeque::new(),
            next: 0,
        }
    }

    /// Connects as that user to the node of the user's browser.
    pub async fn connect(user: &User) -> Self {
        let mut stomp = Self::open(user.base.trim_start_matches("http://")).await;
        stomp.log_in(user.token()).await;
        stomp
    }

    /// Sends the CONNECT frame of stompjs and expects CONNECTED.
    pub async fn log_in(&mut self, token: &str) -> Frame {
        self.send(&format!("CONNECT\nAuthorization:Bearer {token}\naccept-version:1.2,1.1,1.0\nheart-beat:10000,10000\n\n\0")).await;
        self.expect("CONNECTED").await
    }

    /// Sends the text as one WebSocket message.
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

    /// [`Self::text`] with another timeout.
    pub async fn text_within(&mut self, time: Duration) -> Option<String> {
        loop {
            match tokio::time::timeout(time, self.socket.next())
                .await
                .expect("the server sends data in time")
            {
                Some(Ok(Message::Text(text))) => return Some(text.to_string()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// Every WebSocket text until the connection closes.
    pub async fn frame_texts_until_close(&mut self) -> Vec<String> {
        let mut texts = Vec::new();
        while let Some(text) = self.text().await {
            texts.push(text);
        }
        texts
    }

    /// The next frame of a raw WebSocket, or its close code.
    pub async fn frame_or_close(&mut self) -> Result<Frame, Option<u16>> {
        loop {
            if let Some(frame) = self.queued.pop_front() {
                return Ok(frame);
            }
            match tokio::time::timeout(SOON, self.socket.next())
                .await
                .expect("the server sends data in time")
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

    /// The code of the close frame. Skips all data before it.
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

    /// The next frame; `None` when the connection is closed. Skips heart-beats.
    pub async fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.queued.pop_front() {
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
            self.queued.extend(frames);
        }
    }

    /// The next frame, which must have that command.
    pub async fn expect(&mut self, command: &str) -> Frame {
        let frame = self
            .frame()
            .await
            .unwrap_or_else(|| panic!("closed before {command}"));
        assert_eq!(frame.command, command, "{frame:?}");
        frame
    }

    /// Panics if a frame arrives within `time`.
    pub async fn expect_nothing(&mut self, time: Duration) {
        if let Ok(frame) = tokio::time::timeout(time, self.frame()).await {
            panic!("unexpected frame: {frame:?}");
        }
    }

    /// Subscribes to a channel's messages and waits for the receipt.
    ///
    /// Queues messages before the receipt.
    pub async fn subscribe(&mut self, channel: &str) -> String {
        self.subscribe_with(&format!("/sub/channels.{channel}.messages"), "")
            .await
    }

    /// Subscribes with additional header lines and waits for the receipt.
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

    /// Waits for a receipt. Queues messages before the receipt.
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
            self.queued.push_front(frame);
        }
    }

    /// Sends a message without a receipt.
    pub async fn say(&mut self, user: &User, channel: &str, content: &str) {
        let body =
            json!({ "content": content, "channelId": channel, "authorId": user.id }).to_string();
        self.send(&format!(
            "SEND\ndestination:/pub/messages\ncontent-length:{}\n\n{body}\0",
            body.len()
        ))
        .await;
    }

    /// Sends a message and waits for the receipt, which follows the commit.
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

    /// The body of the next MESSAGE frame.
    pub async fn message(&mut self) -> Value {
        self.expect("MESSAGE").await.json()
    }
}
