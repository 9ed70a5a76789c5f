//! The socket below a send queue: reads into a thread-local buffer, and closes. [`SendQueue`] writes.

use std::{cell::RefCell, io, net::Shutdown, time::Duration};

use socket2::SockRef;
use tokio::{
    io::Interest,
    net::TcpStream,
    task::{coop::consume_budget, yield_now},
    time::timeout,
};

use crate::delivery::{disconnect::Disconnect, outbound::SendQueue};

/// Size of the thread-local read buffer. It is shared, so that an idle connection needs none.
const READ_BUFFER_BYTES: usize = 16 * 1024;
/// Input that is drained after the write side is closed; a client that sends more loses the connection.
const MAX_DRAINED_BYTES: usize = 16 * 1024 * 1024;
/// The last bytes must be written, and the client must close its side, within this time.
const LINGER: Duration = Duration::from_secs(2);

thread_local! {
    static READ_BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BUFFER_BYTES]);
}

/// Waits until the socket is writable, if `writes`, or readable, if `reads`. Then reads once; `on_read` gets the bytes. Cancel
/// safe.
///
/// # Errors
/// The client is gone.
pub async fn ready(
    stream: &TcpStream,
    reads: bool,
    writes: bool,
    on_read: impl FnOnce(&[u8]),
) -> Result<(), Disconnect> {
    let interest = match (reads, writes) {
        (true, false) => Interest::READABLE,
        (true, true) => Interest::READABLE | Interest::WRITABLE,
        (false, true) => Interest::WRITABLE,
        (false, false) => std::future::pending().await,
    };
    let state = stream.ready(interest).await;
    let state = state.map_err(|_| Disconnect::Gone)?;
    if !(reads && state.is_readable()) {
        return Ok(());
    }
    let read = READ_BUFFER.with_borrow_mut(|buffer| {
        let read = stream.try_read(buffer)?;
        if read > 0 {
            on_read(&buffer[..read]);
        }
        Ok::<_, io::Error>(read)
    });
    match read {
        Ok(0) => Err(Disconnect::Gone),
        Ok(read) => {
            // `TcpStream::ready` does not use the task's budget, so a client that keeps the stream readable would keep the
            // thread.
            if read == READ_BUFFER_BYTES {
                yield_now().await;
            } else {
                consume_budget().await;
            }
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(_) => Err(Disconnect::Gone),
    }
}

/// Writes what is queued, closes the write side and drains what the client still sends, at most 2 s in all.
///
/// Only the write side closes at once: a close with unread input resets the connection, and the client could lose the last bytes.
pub async fn close(stream: &TcpStream, queue: &SendQueue) {
    drop(timeout(LINGER, try_close(stream, queue)).await);
}

async fn try_close(stream: &TcpStream, queue: &SendQueue) -> io::Result<()> {
    loop {
        queue
            .write()
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        if !queue.is_blocked() {
            break;
        }
        stream.writable().await?;
    }
    SockRef::from(stream).shutdown(Shutdown::Write)?;
    let mut drained = 0;
    while drained < MAX_DRAINED_BYTES {
        stream.readable().await?;
        match READ_BUFFER.with_borrow_mut(|buffer| stream.try_read(buffer)) {
            Ok(0) => return Ok(()),
            Ok(n) => drained += n,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        // Lets the timeout fire although a client that floods keeps the stream readable.
        consume_budget().await;
    }
    Ok(())
}
