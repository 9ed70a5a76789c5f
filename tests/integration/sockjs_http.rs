//! STOMP over SockJS's HTTP transports, end to end.

use std::{collections::VecDeque, time::Duration};

use discodeit::tasks::Group;
use serde_json::json;
use tokio::time::timeout;

use crate::support::{Cluster, SOON, Stomp, User, eventually};

/// A client that receives by polling or by a stream, and sends beside it.
struct Session {
    http: reqwest::Client,
    url: String,
    stream: Option<reqwest::Response>,
    octets: Vec<u8>,
    /// STOMP frames and, at last, SockJS's own close frame.
    waiting: VecDeque<String>,
}

impl Session {
    async fn open(address: &str, streams: bool) -> Self {
        let name = uuid::Uuid::new_v4().simple();
        let mut session = Self {
            http: reqwest::Client::builder()
                .no_proxy()
                .build()
                .expect("a client"),
            url: format!("http://{address}/ws/000/{name}"),
            stream: None,
            octets: Vec::new(),
            waiting: VecDeque::new(),
        };
        if streams {
            session.stream = Some(session.post("xhr_streaming", "").await);
            assert_eq!(session.line().await, "h".repeat(2048));
        }
        assert_eq!(session.line().await, "o");
        session
    }

    async fn post(&self, transport: &str, body: &str) -> reqwest::Response {
        self.http
            .post(format!("{}/{transport}", self.url))
            .header("Content-Type", "text/plain")
            .body(body.to_owned())
            .send()
            .await
            .expect("an answer")
    }

    /// The next frame of SockJS.
    async fn line(&mut self) -> String {
        let line = async {
            loop {
                if let Some(end) = self.octets.iter().position(|octet| *octet == b'\n') {
                    let rest = self.octets.split_off(end + 1);
                    let mut line = std::mem::replace(&mut self.octets, rest);
                    line.pop();
                    return String::from_utf8(line).expect("text");
                }
                let chunk = match &mut self.stream {
                    Some(stream) => stream.chunk().await.expect("the stream goes on"),
                    None => self.post("xhr", "").await.bytes().await.ok(),
                };
                self.octets
                    .extend_from_slice(&chunk.expect("the stream goes on"));
            }
        };
        timeout(SOON, line)
            .await
            .expect("the server says something")
    }

    async fn send(&self, text: &str) {
        let answer = self.post("xhr_send", &json!([text]).to_string()).await;
        assert_eq!(answer.status(), 204);
    }

    /// The next STOMP frame that is no heart-beat, or SockJS's close frame.
    async fn next(&mut self) -> String {
        loop {
            if let Some(frame) = self.waiting.pop_front() {
                return frame;
            }
            let line = self.line().await;
            match line.strip_prefix('a') {
                Some(array) => {
                    let frames: Vec<String> = serde_json::from_str(array).expect("an array");
                    self.waiting
                        .extend(frames.into_iter().filter(|frame| frame != "\n"));
                }
                None if line == "h" => {}
                None => return line,
            }
        }
    }

    async fn expect(&mut self, command: &str) -> String {
        let frame = self.next().await;
        assert!(frame.starts_with(&format!("{command}\n")), "{frame:?}");
        frame
    }

    async fn connect(&mut self, user: &User) {
        let token = user.token();
        self.send(&format!(
            "CONNECT\nAuthorization:Bearer {token}\naccept-version:1.2\nheart-beat:10000,10000\n\n\0"
        ))
        .await;
        self.expect("CONNECTED").await;
    }

    async fn subscribe(&mut self, channel: &str) {
        self.send(&format!(
            "SUBSCRIBE\nid:s\ndestination:/sub/channels.{channel}.messages\nreceipt:r\n\n\0"
        ))
        .await;
        assert!(self.expect("RECEIPT").await.contains("receipt-id:r\n"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stomp_works_over_http_alone() {
    let cluster = Cluster::start(2).await;
    let channel = cluster.channel().await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(1, "bob").await);
    let mut other = Stomp::connect(&bob).await;
    other.subscribe(&channel).await;
    for streams in [true, false] {
        let mut session = Session::open(&cluster.address(0), streams).await;
        session.connect(&ann).await;
        session.subscribe(&channel).await;
        let odd = "\"\\ \u{1}\u{200d}\u{2028}\u{ffff} 😀 100%";
        let body = json!({ "content": odd, "channelId": channel, "authorId": ann.id });
        session
            .send(&format!(
                "SEND\ndestination:/pub/messages\nreceipt:m\n\n{body}\0"
            ))
            .await;
        let frames = [session.next().await, session.next().await];
        let message = frames
            .iter()
            .find(|frame| frame.starts_with("MESSAGE\n"))
            .expect("the message");
        assert!(frames.iter().any(|frame| frame.starts_with("RECEIPT\n")));
        let (_, body) = message.split_once("\n\n").expect("a blank line");
        let body: serde_json::Value =
            serde_json::from_str(body.trim_end_matches('\0')).expect("JSON");
        assert_eq!(body["content"], odd);
        assert_eq!(other.message().await["content"], odd);
        // What others say comes in order, however it is cut into responses.
        for n in 0..20 {
            other.say_surely(&bob, &channel, &n.to_string()).await;
        }
        for n in 0..20 {
            let message = session.expect("MESSAGE").await;
            assert!(
                message.contains(&format!("\"content\":\"{n}\"")),
                "{n}: {message}"
            );
        }
        for _ in 0..20 {
            other.message().await;
        }
        session.send("DISCONNECT\nreceipt:bye\n\n\0").await;
        assert!(session.expect("RECEIPT").await.contains("receipt-id:bye\n"));
        assert_eq!(session.next().await, "c[1000,\"\"]");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_comes_before_the_close() {
    let cluster = Cluster::start(1).await;
    for streams in [true, false] {
        let mut session = Session::open(&cluster.address(0), streams).await;
        session.send("FOO\n\n\0").await;
        let error = session.expect("ERROR").await;
        assert!(error.contains("code:UNKNOWN_COMMAND\n"), "{error}");
        assert_eq!(session.next().await, "c[1002,\"\"]");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_went_away_leaves_nothing_behind() {
    let cluster = Cluster::start(1).await;
    let channel = cluster.channel().await;
    let ann = cluster.user(0, "ann").await;
    let mut session = Session::open(&cluster.address(0), true).await;
    session.connect(&ann).await;
    session.subscribe(&channel).await;
    let app = cluster.node(0).app();
    assert_eq!(app.delivery.hub.len(), 1);
    drop(session);
    eventually("the hub forgets it", async || app.delivery.hub.is_empty()).await;
    assert!(app.delivery.hub.positions().is_empty());
    eventually("its task ends", async || {
        app.tasks.count(Group::SockJsSessions) == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_leaves_and_a_session_that_ends_are_told_over_http_too() {
    let mut cluster = Cluster::start(1).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let mut revoked = Session::open(&cluster.address(0), true).await;
    revoked.connect(&ann).await;
    let mut drained = Session::open(&cluster.address(0), true).await;
    drained.connect(&bob).await;
    assert_eq!(ann.post_csrf("/api/auth/logout").await.status, 204);
    assert!(
        revoked
            .expect("ERROR")
            .await
            .contains("code:SESSION_ENDED\n")
    );
    assert_eq!(revoked.next().await, "c[1008,\"The session has ended.\"]");
    let (clean, goodbye) = tokio::join!(cluster.drain(0), drained.next());
    assert_eq!(goodbye, "c[1001,\"The node is leaving.\"]");
    assert!(clean, "everything ended by itself");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stomps_own_beats_take_the_place_of_sockjs_heartbeats() {
    let cluster = Cluster::start_with(1, &[("HEART_BEAT", "1s")]).await;
    let ann = cluster.user(0, "ann").await;
    let mut session = Session::open(&cluster.address(0), true).await;
    let token = ann.token();
    session
        .send(&format!(
            "CONNECT\nAuthorization:Bearer {token}\naccept-version:1.2\nheart-beat:0,1000\n\n\0"
        ))
        .await;
    session.expect("CONNECTED").await;
    let begun = tokio::time::Instant::now();
    for _ in 0..3 {
        assert_eq!(session.line().await, "a[\"\\n\"]");
    }
    assert!(begun.elapsed() < Duration::from_millis(3_600));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_receipt_for_unsubscribe_comes_behind_all_that_was_delivered_before() {
    let cluster = Cluster::start(1).await;
    let channel = cluster.channel().await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let mut witness = Stomp::connect(&bob).await;
    witness.subscribe(&channel).await;
    let mut session = Session::open(&cluster.address(0), false).await;
    session.connect(&ann).await;
    session.subscribe(&channel).await;
    // Between two polls some is given out already and some waits behind it.
    for n in 0..5 {
        assert_eq!(bob.write(&channel, &n.to_string()).await.status, 201);
        witness.message().await;
    }
    session.send("UNSUBSCRIBE\nid:s\nreceipt:u\n\n\0").await;
    for _ in 0..5 {
        session.expect("MESSAGE").await;
    }
    assert!(session.expect("RECEIPT").await.contains("receipt-id:u\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_ended_stops_one_that_never_stops_sending() {
    let cluster = Cluster::start_with(1, &[("MESSAGE_RATE", "100000")]).await;
    let channel = cluster.channel().await;
    let ann = cluster.user(0, "ann").await;
    let mut session = Session::open(&cluster.address(0), true).await;
    session.connect(&ann).await;
    let send = json!({ "content": "x", "channelId": channel, "authorId": ann.id });
    let frames = format!("SEND\ndestination:/pub/messages\n\n{send}\0ACK\nid:1\n\n\0").repeat(500);
    let body = json!([frames]).to_string();
    let (http, url) = (session.http.clone(), format!("{}/xhr_send", session.url));
    let sending = tokio::spawn(async move {
        // Always one that is being handled and one that waits.
        let send = || async {
            let request = http.post(&url).header("Content-Type", "text/plain");
            request.body(body.clone()).send().await.expect("an answer")
        };
        loop {
            let (one, other) = tokio::join!(send(), send());
            if one.status() != 204 || other.status() != 204 {
                return;
            }
        }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(ann.post_csrf("/api/auth/logout").await.status, 204);
    let begun = tokio::time::Instant::now();
    assert!(
        session
            .expect("ERROR")
            .await
            .contains("code:SESSION_ENDED\n")
    );
    assert_eq!(session.next().await, "c[1008,\"The session has ended.\"]");
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "it took {:?}",
        begun.elapsed()
    );
    drop(session);
    sending.await.expect("the session is gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_resumption_comes_poll_by_poll() {
    let cluster = Cluster::start_with(1, &[("MESSAGE_RATE", "100000")]).await;
    let channel = cluster.channel().await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let mut writer = Stomp::connect(&bob).await;
    let long = "한".repeat(2_000);
    for _ in 0..149 {
        writer.say(&bob, &channel, &long).await;
    }
    writer.say_surely(&bob, &channel, &long).await;
    let mut session = Session::open(&cluster.address(0), false).await;
    session.connect(&ann).await;
    session
        .send(&format!(
            "SUBSCRIBE\nid:s\ndestination:/sub/channels.{channel}.messages\nafter-seq:0\nreceipt:r\n\n\0"
        ))
        .await;
    for seq in 1..=150 {
        let message = session.expect("MESSAGE").await;
        assert!(message.contains(&format!("\"seq\":{seq}}}")), "{seq}");
    }
    assert!(session.expect("RECEIPT").await.contains("receipt-id:r\n"));
}
