//! A SockJS client that uses the HTTP transports only.

use std::collections::VecDeque;

use serde_json::json;
use tokio::time::timeout;

use super::{SOON, User};

/// A client that receives by polling or streaming and sends with separate requests.
pub struct SockJs {
    /// The HTTP client.
    pub http: reqwest::Client,
    /// The session's address, without a transport.
    pub url: String,
    stream: Option<reqwest::Response>,
    received: Vec<u8>,
    /// STOMP frames, and at the end the close frame of SockJS.
    queued: VecDeque<String>,
}

impl SockJs {
    /// Opens a session by streaming or by polling.
    pub async fn open(address: &str, streams: bool) -> Self {
        let name = uuid::Uuid::new_v4().simple();
        let mut client = Self {
            http: reqwest::Client::builder()
                .no_proxy()
                .build()
                .expect("a client"),
            url: format!("http://{address}/ws/000/{name}"),
            stream: None,
            received: Vec::new(),
            queued: VecDeque::new(),
        };
        if streams {
            client.stream = Some(client.post("xhr_streaming", "").await);
            assert_eq!(client.line().await, "h".repeat(2048));
        }
        assert_eq!(client.line().await, "o");
        client
    }

    /// Sends a request of a transport, `xhr` or `xhr_send`.
    pub async fn post(&self, transport: &str, body: &str) -> reqwest::Response {
        self.http
            .post(format!("{}/{transport}", self.url))
            .header("Content-Type", "text/plain")
            .body(body.to_owned())
            .send()
            .await
            .expect("an answer")
    }

    /// The next SockJS frame.
    pub async fn line(&mut self) -> String {
        let line = async {
            loop {
                if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                    let rest = self.received.split_off(end + 1);
                    let mut line = std::mem::replace(&mut self.received, rest);
                    line.pop();
                    return String::from_utf8(line).expect("text");
                }
                let chunk = match &mut self.stream {
                    Some(stream) => stream.chunk().await.expect("the stream continues"),
                    None => self.post("xhr", "").await.bytes().await.ok(),
                };
                self.received
                    .extend_from_slice(&chunk.expect("the stream continues"));
            }
        };
        timeout(SOON, line)
            .await
            .expect("the server sends data in time")
    }

    /// Sends a STOMP frame.
    pub async fn send(&self, text: &str) {
        let answer = self.post("xhr_send", &json!([text]).to_string()).await;
        assert_eq!(answer.status(), 204);
    }

    /// The next STOMP frame, or the close frame of SockJS. Skips heart-beats.
    pub async fn next(&mut self) -> String {
        loop {
            if let Some(frame) = self.queued.pop_front() {
                return frame;
            }
            let line = self.line().await;
            match line.strip_prefix('a') {
                Some(array) => {
                    let frames: Vec<String> = serde_json::from_str(array).expect("an array");
                    self.queued
                        .extend(frames.into_iter().filter(|frame| frame != "\n"));
                }
                None if line == "h" => {}
                None => return line,
            }
        }
    }

    /// The next frame, which must have that command.
    pub async fn expect(&mut self, command: &str) -> String {
        let frame = self.next().await;
        assert!(frame.starts_with(&format!("{command}\n")), "{frame:?}");
        frame
    }

    /// Connects as that user.
    pub async fn connect(&mut self, user: &User) {
        let token = user.token();
        self.send(&format!(
            "CONNECT\nAuthorization:Bearer {token}\naccept-version:1.2\nheart-beat:10000,10000\n\n\0"
        ))
        .await;
        self.expect("CONNECTED").await;
    }

    /// Subscribes to a channel and waits for the receipt.
    pub async fn subscribe(&mut self, channel: &str) {
        self.send(&format!(
            "SUBSCRIBE\nid:s\ndestination:/sub/channels.{channel}.messages\nreceipt:r\n\n\0"
        ))
        .await;
        assert!(self.expect("RECEIPT").await.contains("receipt-id:r\n"));
    }
}
