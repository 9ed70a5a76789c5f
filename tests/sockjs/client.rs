//! An HTTP/1.1 client that reads chunk by chunk and can break its connection.

use std::{io::ErrorKind, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::{SOON, Server};

pub type Headers<'a> = &'a [(&'a str, &'a str)];

/// A connection to the server.
pub struct Connection {
    stream: BufReader<TcpStream>,
}

/// A response up to its body.
#[derive(Debug)]
pub struct Head {
    pub version: String,
    pub status: u16,
    headers: Vec<(String, String)>,
}

impl Head {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(key, _)| key == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} occurs once: {self:?}");
        value
    }

    /// Asserts that the answer forbids caching, byte for byte as the protocol requires.
    pub fn assert_not_cached(&self) {
        assert_eq!(
            self.header("cache-control"),
            Some("no-store, no-cache, no-transform, must-revalidate, max-age=0")
        );
        assert_eq!(self.header("expires"), None);
        assert_eq!(self.header("last-modified"), None);
    }

    /// Asserts that the answer may be cached for a year.
    pub fn assert_cached(&self) {
        assert_eq!(
            self.header("cache-control"),
            Some("public, max-age=31536000")
        );
        assert!(self.header("expires").is_some());
        assert_eq!(self.header("last-modified"), None);
    }

    /// Asserts that a page of this origin may read the answer.
    pub fn assert_cors(&self, origin: Option<&str>) {
        assert_eq!(
            self.header("access-control-allow-origin"),
            Some(origin.unwrap_or("*"))
        );
        assert_eq!(
            self.header("access-control-allow-credentials"),
            origin.map(|_| "true")
        );
    }
}

/// A response with its body.
#[derive(Debug)]
pub struct Answer {
    pub head: Head,
    pub body: String,
}

impl Answer {
    pub fn status(&self) -> u16 {
        self.head.status
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// Asserts that this is the answer to a CORS preflight.
    pub fn assert_preflight(&self, methods: &str, origin: &str) {
        assert_eq!(self.status(), 204);
        self.head.assert_cached();
        self.head.assert_cors(Some(origin));
        assert_eq!(self.header("access-control-max-age"), Some("31536000"));
        assert_eq!(self.header("access-control-allow-methods"), Some(methods));
        assert_eq!(self.body, "");
    }
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address)
            .await
            .expect("the server listens");
        Self {
            stream: BufReader::new(stream),
        }
    }

    /// Sends a request, with a `Content-Length` if there is a body.
    pub async fn ask(
        &mut self,
        method: &str,
        path: &str,
        version: &str,
        headers: Headers<'_>,
        body: Option<&str>,
    ) {
        let mut request = format!("{method} {path} HTTP/{version}\r\nHost: localhost\r\n");
        for (name, value) in headers {
            request.extend([name, ": ", value, "\r\n"]);
        }
        if let Some(body) = body {
            request.extend(["Content-Length: ", &body.len().to_string(), "\r\n"]);
        }
        request.push_str("\r\n");
        request.push_str(body.unwrap_or_default());
        self.write(request.as_bytes()).await;
    }

    pub async fn write(&mut self, octets: &[u8]) {
        self.stream
            .write_all(octets)
            .await
            .expect("the connection is open");
    }

    /// Writes bytes. False when the server takes nothing for 1 s, or has closed.
    pub async fn try_write(&mut self, octets: &[u8]) -> bool {
        let second = Duration::from_secs(1);
        let written = timeout(second, self.stream.write_all(octets)).await;
        matches!(written, Ok(Ok(())))
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        let read = timeout(SOON, self.stream.read_line(&mut line)).await;
        read.expect("the server sends data").expect("a line");
        assert!(line.ends_with("\r\n"), "the connection ended: {line:?}");
        line.truncate(line.len() - 2);
        line
    }

    pub async fn head(&mut self) -> Head {
        let status = self.line().await;
        let mut parts = status.split(' ');
        let version = parts.next().expect("a version").to_owned();
        let status = parts.next().and_then(|status| status.parse().ok());
        let mut headers = Vec::new();
        loop {
            let line = self.line().await;
            let Some((name, value)) = line.split_once(": ") else {
                assert_eq!(line, "");
                break;
            };
            headers.push((name.to_owned(), value.to_owned()));
        }
        Head {
            version,
            status: status.expect("a status"),
            headers,
        }
    }

    pub async fn octets(&mut self, length: usize) -> Vec<u8> {
        let mut octets = vec![0; length];
        let read = timeout(SOON, self.stream.read_exact(&mut octets)).await;
        read.expect("the server sends data").expect("octets");
        octets
    }

    pub async fn exactly(&mut self, length: usize) -> String {
        String::from_utf8(self.octets(length).await).expect("text")
    }

    /// Opens a WebSocket without a library, so that tests can send invalid frames.
    pub async fn websocket(address: SocketAddr, path: &str) -> Self {
        let mut connection = Self::open(address).await;
        let upgrade = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        connection.ask("GET", path, "1.1", &upgrade, None).await;
        assert_eq!(connection.head().await.status, 101);
        connection
    }

    /// The next chunk; `None` for the last one.
    pub async fn chunk(&mut self) -> Option<String> {
        let length = self.line().await;
        let length = usize::from_str_radix(&length, 16).expect("a chunk's length");
        let chunk = self.exactly(length).await;
        assert_eq!(self.line().await, "");
        (length > 0).then_some(chunk)
    }

    /// Reads until the server closes.
    pub async fn read_to_end(&mut self) -> String {
        let mut text = String::new();
        let read = timeout(SOON, self.stream.read_to_string(&mut text)).await;
        read.expect("the server closes").expect("text");
        text
    }

    /// The time until the server's FIN. Fails if the server sends data first.
    pub async fn time_to_eof(&mut self) -> Duration {
        let started = Instant::now();
        let read = timeout(SOON, self.stream.read_u8()).await;
        let error = read
            .expect("the server closes")
            .expect_err("nothing follows");
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "no reset");
        started.elapsed()
    }

    pub async fn answer(&mut self) -> Answer {
        let head = self.head().await;
        let mut body = String::new();
        if let Some(length) = head.header("content-length") {
            body = self.exactly(length.parse().expect("a length")).await;
        } else if head.header("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk().await {
                body.push_str(&chunk);
            }
        } else {
            assert!(matches!(head.status, 204 | 304), "{head:?}");
        }
        Answer { head, body }
    }

    /// Breaks the connection with a reset.
    pub fn reset(self) {
        let stream = self.stream.into_inner();
        stream.set_zero_linger().expect("an option");
    }
}

/// A WebSocket frame from a client, masked with zeros.
pub fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    if let Ok(length @ 0..126) = u8::try_from(payload.len()) {
        frame.push(0x80 | length);
    } else {
        frame.push(0xfe);
        let length = u16::try_from(payload.len()).expect("a short payload");
        frame.extend(length.to_be_bytes());
    }
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

impl Server {
    /// One request on a connection of its own.
    pub async fn request(
        &self,
        method: &str,
        path: &str,
        headers: Headers<'_>,
        body: Option<&str>,
    ) -> Answer {
        let mut connection = Connection::open(self.address).await;
        connection.ask(method, path, "1.1", headers, body).await;
        connection.answer().await
    }

    /// One GET request on a connection of its own.
    pub async fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], None).await
    }

    /// One POST request on a connection of its own.
    pub async fn post(&self, path: &str, body: &str) -> Answer {
        self.request("POST", path, &[], Some(body)).await
    }

    /// The body of one poll.
    pub async fn poll(&self, session: &str) -> String {
        let answer = self.post(&format!("{session}/xhr"), "").await;
        assert_eq!(answer.status(), 200, "{answer:?}");
        answer.body
    }

    /// Sends a payload that is accepted.
    pub async fn send(&self, session: &str, payload: &str) {
        let answer = self.post(&format!("{session}/xhr_send"), payload).await;
        assert_eq!((answer.status(), answer.body.as_str()), (204, ""));
    }

    /// Begins a streaming response.
    pub async fn stream(&self, method: &str, path: &str) -> (Head, Connection) {
        let mut connection = Connection::open(self.address).await;
        connection.ask(method, path, "1.1", &[], None).await;
        let head = connection.head().await;
        assert_eq!(head.header("transfer-encoding"), Some("chunked"));
        assert_eq!(head.header("content-length"), None);
        (head, connection)
    }

    /// Begins an xhr stream and reads its prelude.
    pub async fn xhr_stream(&self, session: &str) -> Connection {
        let path = format!("{session}/xhr_streaming");
        let (head, mut connection) = self.stream("POST", &path).await;
        assert_eq!(head.status, 200);
        let prelude = connection.chunk().await.expect("a prelude");
        assert_eq!(prelude, format!("{}\n", "h".repeat(2048)));
        connection
    }

    /// Begins a poll that waits.
    pub async fn begin_poll(&self, session: &str) -> Connection {
        let mut connection = Connection::open(self.address).await;
        let path = format!("{session}/xhr");
        connection.ask("POST", &path, "1.1", &[], Some("")).await;
        tokio::time::sleep(Duration::from_millis(250)).await;
        connection
    }
}
