//! Nothing is unbounded.

use std::{net::SocketAddr, time::Duration};

use discodeit::{
    link::Link,
    server,
    sockjs::{self, Parameters},
    tasks::Tasks,
};
use tokio::time::{Instant, sleep};

use crate::{Server, client::Connection, services, session, start_with};

#[tokio::test]
async fn there_are_only_so_many_sessions() {
    let server = start_with(Parameters {
        sessions: 2,
        disconnect_delay: Duration::from_millis(200),
        ..Parameters::default()
    })
    .await;
    for _ in 0..2 {
        assert_eq!(server.poll(&session("echo")).await, "o\n");
    }
    let refused = server.post(&format!("{}/xhr", session("echo")), "").await;
    assert_eq!(refused.status(), 503);
    sleep(Duration::from_millis(500)).await;
    assert_eq!(server.poll(&session("echo")).await, "o\n");
}

#[tokio::test]
async fn a_body_has_a_limit_announced_or_not() {
    let server = start_with(Parameters {
        message_bytes: 1_000,
        ..Parameters::default()
    })
    .await;
    let url = session("echo");
    let path = format!("{url}/xhr_send");
    assert_eq!(server.poll(&url).await, "o\n");
    let long = format!("[\"{}\"]", "x".repeat(1_000));
    assert_eq!(server.post(&path, &long).await.status(), 413);
    let mut connection = Connection::open(server.address).await;
    let chunked = [("Transfer-Encoding", "chunked")];
    connection.ask("POST", &path, "1.1", &chunked, None).await;
    let chunk = format!("3ec\r\n{long}\r\n0\r\n\r\n");
    connection.write(chunk.as_bytes()).await;
    assert_eq!(connection.answer().await.status(), 413);
    server.send(&url, "[\"a\"]").await;
    assert_eq!(server.poll(&url).await, "a[\"a\"]\n");
}

#[tokio::test]
async fn a_client_that_does_not_receive_is_not_listened_to_for_ever() {
    let server = start_with(Parameters {
        patience: Duration::from_secs(1),
        ..Parameters::default()
    })
    .await;
    let url = session("echo");
    let path = format!("{url}/xhr_send");
    assert_eq!(server.poll(&url).await, "o\n");
    let payload = format!("[\"{}\"]", "x".repeat(200_000));
    let begun = Instant::now();
    let mut accepted = 0;
    let refused = loop {
        let answer = server.post(&path, &payload).await;
        if answer.status() != 204 {
            break answer;
        }
        accepted += 1;
        assert!(accepted < 20, "it would take anything");
    };
    assert_eq!(refused.status(), 503);
    assert!(begun.elapsed() > Duration::from_secs(1), "it waited");
    // And all that was accepted is there.
    let mut got = 0;
    while got < accepted {
        let frame = server.poll(&url).await;
        got += frame.matches("xx\"").count();
    }
    assert_eq!(got, accepted);
}

/// Says more than anybody should have to keep for somebody who does not listen.
async fn flood(mut link: Link) {
    for n in 0..100 {
        let text = link.wire().text(format!("{n:0>20000}").as_bytes());
        let bytes = text.len();
        link.mailbox().push(text, bytes);
        if n < 5 {
            link.flush().expect("a session takes it");
        }
    }
    if let Err(end) = link.receive().await {
        link.end(end).await;
    }
}

#[tokio::test]
async fn a_session_that_falls_behind_is_closed_after_what_it_was_given() {
    let listener = server::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let tasks = Tasks::new();
    let routes = sockjs::routes(
        warp::path("flood"),
        Parameters::default(),
        &tasks,
        sockjs::handler(flood),
    );
    tasks.spawn(
        "services",
        services::serve_routes(listener, routes, tasks.clone()),
    );
    let server = Server { address, tasks };
    let url = session("flood");
    assert_eq!(server.poll(&url).await, "o\n");
    let first = server.poll(&url).await;
    assert!(first.starts_with("a[\"000"), "{}", first.len());
    assert_eq!(
        server.poll(&url).await,
        "c[4500,\"The connection fell behind.\"]\n"
    );
}
