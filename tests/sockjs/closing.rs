//! How sessions over HTTP end.

use std::time::Duration;

use discodeit::{sockjs::Options, tasks::Group};
use tokio::time::{Instant, sleep};

use crate::{session, start, start_with};

const ANOTHER: &str = "c[2010,\"Another connection still open\"]\n";

/// What follows a broken connection: a new session, or the end of the old one.
fn assert_dropped(frame: &str) {
    assert!(
        ["o\n", "c[1002,\"Connection interrupted\"]\n"].contains(&frame),
        "{frame:?}"
    );
}

#[tokio::test]
async fn a_closed_session_sends_its_close_frame_to_the_next_stream_too() {
    // HandlingClose.test_close_frame
    let server = start().await;
    let url = session("close");
    let mut first = server.xhr_stream(&url).await;
    assert_eq!(first.chunk().await.as_deref(), Some("o\n"));
    let goodbye = "c[3000,\"Go away!\"]\n";
    assert_eq!(first.chunk().await.as_deref(), Some(goodbye));
    let mut second = server.xhr_stream(&url).await;
    assert_eq!(second.chunk().await.as_deref(), Some(goodbye));
    assert_eq!(first.chunk().await, None);
    assert_eq!(second.chunk().await, None);
}

#[tokio::test]
async fn a_second_stream_is_refused_and_the_first_goes_on() {
    // HandlingClose.test_close_request
    let server = start().await;
    let url = session("echo");
    let mut first = server.xhr_stream(&url).await;
    assert_eq!(first.chunk().await.as_deref(), Some("o\n"));
    let mut second = server.xhr_stream(&url).await;
    assert_eq!(second.chunk().await.as_deref(), Some(ANOTHER));
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
    assert_eq!(second.chunk().await.as_deref(), Some(ANOTHER));
    drop(first);
    let mut third = server.xhr_stream(&url).await;
    assert_dropped(&third.chunk().await.expect("a frame"));
}

#[tokio::test]
async fn a_broken_poll_ends_its_session_at_once() {
    // HandlingClose.test_abort_xhr_polling
    let server = start().await;
    let url = session("echo");
    assert_eq!(server.poll(&url).await, "o\n");
    let first = server.begin_poll(&url).await;
    assert_eq!(server.poll(&url).await, ANOTHER);
    drop(first);
    assert_dropped(&server.poll(&url).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_reconnects_at_once_is_never_refused_as_a_second_receiver() {
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
        assert_dropped(&stream.chunk().await.expect("a frame"));
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
    assert_eq!(late.status(), 404, "sending does not keep it");
    assert_eq!(
        server.tasks.count(Group::SockJsSessions),
        0,
        "the application has ended"
    );
    assert_eq!(server.poll(&url).await, "o\n");
}

#[tokio::test]
async fn a_receiver_that_waits_keeps_its_session_and_hears_heartbeats() {
    let server = start_with(Options {
        disconnect_delay: Duration::from_millis(200),
        heartbeat: Duration::from_millis(500),
        ..Options::default()
    })
    .await;
    let url = session("echo");
    assert_eq!(server.poll(&url).await, "o\n");
    let begun = Instant::now();
    assert_eq!(server.poll(&url).await, "h\n", "which ends the poll");
    assert!(begun.elapsed() >= Duration::from_millis(500));
    let mut stream = server.xhr_stream(&url).await;
    for _ in 0..2 {
        assert_eq!(stream.chunk().await.as_deref(), Some("h\n"));
    }
    // Anything else makes a heartbeat needless for a while.
    sleep(Duration::from_millis(300)).await;
    server.send(&url, "[\"a\"]").await;
    assert_eq!(stream.chunk().await.as_deref(), Some("a[\"a\"]\n"));
    let begun = Instant::now();
    assert_eq!(stream.chunk().await.as_deref(), Some("h\n"));
    assert!(begun.elapsed() > Duration::from_millis(400));
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
    // Nobody wants them any more, but the client may not know yet.
    server.send(&url, "[\"late\"]").await;
    sleep(Duration::from_millis(600)).await;
    assert_eq!(server.tasks.count(Group::SockJsSessions), 0);
    assert_eq!(server.poll(&url).await, "o\n");
}
