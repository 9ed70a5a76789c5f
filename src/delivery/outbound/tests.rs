use tokio::io::AsyncReadExt;

use super::*;

#[tokio::test]
async fn a_full_queue_drops_its_items_and_closes_as_slow() {
    let send_queue = SendQueue::default();
    for _ in 0..9 {
        send_queue.push(vec![0; 64 * 1024].into());
    }
    send_queue.changed().await;
    let mut items = VecDeque::new();
    assert_eq!(send_queue.take(&mut items), Some(CloseReason::Slow));
    assert!(items.is_empty());
    send_queue.close(CloseReason::Draining);
    assert_eq!(
        send_queue.take(&mut items),
        Some(CloseReason::Slow),
        "the first reason stays"
    );
}

/// A send queue with a socket, and the client's end of it.
async fn connected() -> (Arc<SendQueue>, TcpStream) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("bind");
    let address = listener.local_addr().expect("address");
    let client = TcpStream::connect(address).await.expect("connect");
    let (server, _) = listener.accept().await.expect("accept");
    (Arc::new(SendQueue::of_socket(Arc::new(server))), client)
}

async fn read(client: &mut TcpStream, bytes: usize) -> Vec<u8> {
    let mut read = vec![0; bytes];
    client.read_exact(&mut read).await.expect("read");
    read
}

async fn is_woken(send_queue: &SendQueue) -> bool {
    let wait = Duration::from_millis(20);
    tokio::time::timeout(wait, send_queue.changed())
        .await
        .is_ok()
}

#[tokio::test]
async fn whoever_delivers_writes_all_queued_frames_in_order() {
    let (send_queue, mut client) = connected().await;
    send_queue.push_reply("1".into());
    let unwritten = send_queue.deliver("2".into()).expect("a frame to write");
    assert!(send_queue.deliver("3".into()).is_none(), "one writer");
    unwritten.write();
    assert_eq!(read(&mut client, 3).await, b"123");
    assert_eq!(send_queue.bytes(), 0);
    assert!(!is_woken(&send_queue).await, "the task has nothing to do");
    assert!(send_queue.deliver("4".into()).is_some(), "the next writer");
}

#[tokio::test]
async fn the_task_writes_what_a_dropped_writer_left() {
    let (send_queue, mut client) = connected().await;
    drop(send_queue.deliver("1".into()).expect("a frame to write"));
    assert!(is_woken(&send_queue).await);
    assert_eq!(send_queue.write(), Ok(None));
    assert_eq!(read(&mut client, 1).await, b"1");
}

#[tokio::test]
async fn a_delivery_waits_only_after_another_one_and_while_little_is_queued() {
    let (send_queue, _client) = connected().await;
    let pace = Duration::from_secs(10);
    let first = send_queue.deliver("1".into()).expect("a frame to write");
    assert!(!first.can_wait(pace, Instant::now() + pace));
    first.write();
    let second = send_queue.deliver("2".into()).expect("a frame to write");
    assert!(second.can_wait(pace, Instant::now()));
    let large = Bytes::from(vec![b'x'; FULL_BYTES]);
    let third = send_queue
        .deliver(large)
        .expect("too much to leave to the pace");
    assert!(!third.can_wait(pace, Instant::now()));
    third.write();
    assert!(is_woken(&send_queue).await, "the task may read again");
    drop(second);
    assert!(!is_woken(&send_queue).await, "nothing is left");
}

#[tokio::test]
async fn after_the_end_of_deliveries_only_the_task_writes() {
    let (send_queue, client) = connected().await;
    let unwritten = send_queue.deliver("1".into()).expect("a frame to write");
    send_queue.end_deliveries();
    send_queue.push_reply("2".into());
    unwritten.write();
    let mut buffer = [0; 8];
    assert!(client.try_read(&mut buffer).is_err());
    assert!(send_queue.deliver("late".into()).is_none());
    send_queue.push_last("3".into());
    assert_eq!(send_queue.write(), Ok(None));
    client.readable().await.expect("readable");
    let read = client.try_read(&mut buffer).expect("readable");
    assert_eq!(&buffer[..read], b"123");
}

#[tokio::test]
async fn a_slow_client_gets_the_rest_of_the_frame_that_it_has_a_part_of() {
    let (send_queue, client) = connected().await;
    let mut client = client.into_std().expect("a socket");
    // Larger than the socket's buffers, which grow.
    let frame = Bytes::from(vec![b'x'; 256 * 1024]);
    let mut frames = 0;
    while send_queue.close_reason().is_none() {
        if let Some(unwritten) = send_queue.deliver(frame.clone()) {
            unwritten.write();
        }
        frames += 1;
    }
    assert_eq!(send_queue.close_reason(), Some(CloseReason::Slow));
    assert!(is_woken(&send_queue).await);
    send_queue.push_last("end".into());
    let reader = tokio::task::spawn_blocking(move || {
        client.set_nonblocking(false).expect("a blocking socket");
        let mut read = Vec::new();
        io::Read::read_to_end(&mut client, &mut read).expect("read");
        read
    });
    while send_queue.bytes() > 0 && send_queue.is_blocked() {
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(send_queue.write(), Ok(Some(CloseReason::Slow)));
    }
    drop(send_queue);
    let read = reader.await.expect("the reader ends");
    let whole = read.len() / frame.len();
    assert!(whole < frames && read.len() == whole * frame.len() + 3);
    assert!(read.ends_with(b"xend"));
}

#[tokio::test]
async fn a_failed_write_wakes_the_task() {
    let (send_queue, client) = connected().await;
    SockRef::from(&client)
        .set_linger(Some(Duration::ZERO))
        .expect("linger");
    drop(client);
    tokio::time::sleep(Duration::from_millis(10)).await;
    send_queue
        .deliver("1".into())
        .expect("a frame to write")
        .write();
    assert!(is_woken(&send_queue).await);
    assert_eq!(send_queue.write(), Err(Disconnect::Gone));
}

#[test]
fn borrowed_and_reserved_items_count_until_they_are_written() {
    const HALF: usize = MAX_QUEUED_BYTES / 2 - ITEM_BYTES;
    let (send_queue, mut out) = (SendQueue::default(), VecDeque::new());
    let half = Bytes::from(vec![0; HALF]);
    send_queue.push(half.clone());
    assert_eq!(send_queue.borrow(&mut out), None);
    assert!(send_queue.reserve(HALF));
    send_queue.unreserve(HALF);
    send_queue.push_reply(half.clone());
    assert_eq!(send_queue.close_reason(), None, "exactly full");
    send_queue.written(0, HALF);
    send_queue.written(1, 0);
    send_queue.push(half);
    assert_eq!(send_queue.close_reason(), None, "written items make room");
    assert!(!send_queue.reserve(0));
    assert_eq!(send_queue.close_reason(), Some(CloseReason::Slow));
}
