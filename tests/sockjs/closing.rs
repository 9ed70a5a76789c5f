//! The end of sessions over HTTP.

use std::time::Duration;

use discodeit::{sockjs::Options, tasks::Group};
use tokio::time::{Instant, sleep};

use crate::{session, start, start_with};

const SECOND_RECEIVER: &str = "c[2010,\"Another connection still open\"]\n";

/// Asserts that a frame is the first after a broken connection: of a new session, or the close frame of the old session.
fn assert_session_ended(frame: &str) {
    assert!(
        ["o\n", "c[1002,\"Connection interrupted\"]\n"].contains(&frame),
        "{frame:?}"
    );
}

#[tokio::test]
async fn a_closed_session_sends_its_close_frame_to_each_stream() {
    // HandlingClose.test_close_frame
    let server = start().await;
    let url = session("close");
    let mut first = server.xhr_stream(&url).await;
    assert_eq!(first.chunk().await.as_deref(), Some("o\n"));
    let close_frame = "c[3000,\"Go away!\"]\n";
    assert_eq!(first.chunk().await.as_deref(), Some(close_frame));
    let mut second = server.xhr_stream(&url).await;
    assert_eq!(second.chunk().await.as_deref(), Some(close_frame));
    assert_eq!(first.chunk().await, None);
    assert_eq!(second.chunk().await, None);
}

#[tokio::test]
async fn a_second_stream_is_refused_and_the_first_continues() {
    // HandlingClose.test_close_request
    let server = start().await;
    let url = session("echo");
    let mut first = server.xhr_stream(&url).await;
    assert_eq!(first.chunk().await.as_deref(), Some("o\n"));
    let mut second = server.xhr_stream(&url).await;
    assert_eq!(second.chunk().await.as_deref(), Some(SECOND_RECEIVER));
    assert_eq!(second.chunk().await, None);
    server.send(&url, "[\"a\"]").await;
    assert_eq!(first.chunk().await.as_deref(), Some("a[\"a\"]\n"));
}

#[tokio::test]
async fn a_broken_stream_ends_its_session_at_once() {
    // HandlingClose.test_abort_xhr_streaming
    let server = start().await;
    let url = session("echo");
    let mut first = server.xhr_stream(&url).await;
    assert_eq!(first.chunk().await.as_deref(), Some("o\n"));
    let mut second = server.xhr_stream(&url).await;
    assert_eq!(second.chunk().await.as_deref(), Some(SECOND_RECEIVER));
    drop(first);
    let mut third = server.xhr_stream(&url).await;
    assert_session_ended(&third.chunk().await.expect("a frame"));
}

#[tokio::test]
async fn a_broken_poll_ends_its_session_at_once() {
    // HandlingClose.test_abort_xhr_polling
    let server = start().await;
    let url = session("echo");
    assert_eq!(server.poll(&url).await, "o\n");
    let first = server.begin_poll(&url).await;
    assert_eq!(server.poll(&url).await, SECOND_RECEIVER);
    drop(first);
    assert_session_ended(&server.poll(&url).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reconnects_after_a_break_is_not_refused_as_a_second_receiver() {
    let server = start().await;
    for n in 0..100 {
        let url = session("echo");
        let mut stream = server.xhr_stream(&url).await;
        assert_eq!(stream.chunk().await.as_deref(), Some("o\n"));
        if n % 2 == 0 {
            stream.reset();
        } else {
            drop(stream);
        }
        let mut stream = server.xhr_stream(&url).await;
        assert_session_ended(&stream.chunk().await.expect("a frame"));
    }
    assert_eq!(server.services.len(), 1);
}

#[tokio::test]
async fn a_session_lives_five_seconds_without_a_receiver() {
    let server = start().await;
    let url = session("echo");
    assert_eq!(server.poll(&url).await, "o\n");
    sleep(Duration::from_secs(4)).await;
    server.send(&url, "[\"a\"]").await;
    sleep(Duration::from_secs(2)).await;
    let late = server.post(&format!("{url}/xhr_send"), "[\"b\"]").await;
    assert_eq!(late.status(), 404, "a send does not extend the session");
    assert_eq!(
        server.tasks.count(Group::SockJsSessions),
        0,
        "the application has ended"
    );
    assert_eq!(server.poll(&url).await, "o\n");
}

#[tokio::test]
async fn a_waiting_receiver_keeps_its_session_and_gets_heartbeats() {
    let server = start_with(Options {
        disconnect_delay: Duration::from_millis(200),
        heartbeat: Duration::from_millis(500),
        ..Options::default()
    })
    .await;
    let url = session("echo");
    assert_eq!(server.poll(&url).await, "o\n");
    let started = Instant::now();
    assert_eq!(server.poll(&url).await, "h\n", "a heartbeat ends the poll");
    assert!(started.elapsed() >= Duration::from_millis(500));
    let mut stream = server.xhr_stream(&url).await;
    for _ in 0..2 {
        assert_eq!(stream.chunk().await.as_deref(), Some("h\n"));
    }
    // A message restarts the heartbeat interval.
    sleep(Duration::from_millis(300)).await;
    server.send(&url, "[\"a\"]").await;
    assert_eq!(stream.chunk().await.as_deref(), Some("a[\"a\"]\n"));
    let started = Instant::now();
    assert_eq!(stream.chunk().await.as_deref(), Some("h\n"));
    assert!(started.elapsed() > Duration::from_millis(400));
}

#[tokio::test]
async fn a_closed_session_is_removed_after_the_disconnect_delay() {
    let server = start_with(Options {
        disconnect_delay: Duration::from_millis(300),
        ..Options::default()
    })
    .await;
    let url = session("close");
    assert_eq!(server.poll(&url).await, "o\n");
    assert_eq!(server.poll(&url).await, "c[3000,\"Go away!\"]\n");
    // The client may not know of the close yet, so its messages are accepted and dropped.
    server.send(&url, "[\"late\"]").await;
    sleep(Duration::from_millis(600)).await;
    assert_eq!(server.tasks.count(Group::SockJsSessions), 0);
    assert_eq!(server.poll(&url).await, "o\n");
}
