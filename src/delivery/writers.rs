//! Writes deliveries to the sockets of this node.
//!
//! A few writes are made at once, by the task that delivers. Many are shared out to one task for each processor, so that the
//! connections' own tasks sleep. What gathers in a send queue meanwhile leaves in one system call.

use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use tokio::{
    sync::Notify,
    task::yield_now,
    time::{Instant, sleep_until},
};

use crate::delivery::outbound::Unwritten;

/// Writes of one delivery that the delivering task makes itself.
const MAX_OWN_WRITES: usize = 16;
/// Writes of one delivery above which a connection that was written to less than [`PACE`] ago waits for the end of it.
const MAX_UNPACED_WRITES: usize = 256;
/// Time for which the deliveries of a large channel gather.
const PACE: Duration = Duration::from_millis(20);
/// Writes of a task before other tasks get a turn.
const WRITES_IN_TURN: usize = 64;

/// What a delivery has queued.
#[derive(Default)]
pub(super) struct Queued {
    /// Number of frames.
    pub(super) frames: u64,
    /// The queues that nobody else will write.
    pub(super) unwritten: Vec<Unwritten>,
}

/// The tasks that write, each with its share of the connections.
pub struct Writers {
    shares: Vec<Share>,
    deliveries: Counter,
}

#[derive(Default)]
struct Share {
    lists: Mutex<Lists>,
    added: Notify,
}

#[derive(Default)]
struct Lists {
    now: Vec<Unwritten>,
    /// Queues to write at the end of [`PACE`], unless they can wait no longer.
    paced: Vec<Unwritten>,
}

impl Writers {
    /// Shares for `count` tasks; [`Self::run`] is a task. Counts the messages that channels deliver.
    pub(super) fn new(count: usize, deliveries: Counter) -> Self {
        Self {
            shares: (0..count.max(1)).map(|_| Share::default()).collect(),
            deliveries,
        }
    }

    /// Number of tasks.
    pub fn count(&self) -> usize {
        self.shares.len()
    }

    /// Counts and writes what a channel has queued. Called without a lock.
    pub(super) fn write(&self, queued: Queued) {
        self.deliveries.inc_by(queued.frames);
        self.write_queues(queued.unwritten);
    }

    /// Writes send queues, or hands them to the tasks. Called without a lock.
    pub(super) fn write_queues(&self, unwritten: Vec<Unwritten>) {
        let count = unwritten.len();
        if count <= MAX_OWN_WRITES {
            unwritten.into_iter().for_each(Unwritten::write);
            return;
        }
        let mut rest = unwritten.into_iter();
        for share in &self.shares {
            let part = rest.by_ref().take(count.div_ceil(self.shares.len()));
            let mut lists = share.lists.lock();
            if count > MAX_UNPACED_WRITES {
                lists.paced.extend(part);
            } else {
                lists.now.extend(part);
            }
            drop(lists);
            share.added.notify_one();
        }
    }

    /// Writes the share with this number. Runs until it is dropped; then the connections' tasks write.
    pub async fn run(&self, number: usize) {
        let share = &self.shares[number % self.shares.len()];
        let mut waiting = Vec::new();
        let mut paced_until = None;
        loop {
            let Lists { now, paced } = std::mem::take(&mut *share.lists.lock());
            write_all(now).await;
            let instant = Instant::now();
            let (wait, write): (Vec<_>, Vec<_>) = paced
                .into_iter()
                .partition(|unwritten| unwritten.can_wait(PACE, instant));
            write_all(write).await;
            waiting.extend(wait);
            if paced_until.is_some_and(|until| Instant::now() >= until) {
                write_all(std::mem::take(&mut waiting)).await;
                paced_until = None;
            }
            if !waiting.is_empty() {
                paced_until.get_or_insert(instant + PACE);
            }
            let end_of_pace = async {
                match paced_until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = share.added.notified() => {}
                () = end_of_pace => {}
            }
        }
    }
}

async fn write_all(list: Vec<Unwritten>) {
    for (number, unwritten) in (1..).zip(list) {
        unwritten.write();
        if number % WRITES_IN_TURN == 0 {
            yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use tokio::{
        io::AsyncReadExt,
        net::{TcpListener, TcpStream},
        time::{sleep, timeout},
    };

    use super::*;
    use crate::delivery::outbound::SendQueue;

    #[tokio::test]
    async fn a_large_channel_is_written_in_order_without_waking_the_connections() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("address");
        let mut connections = Vec::new();
        for _ in 0..=MAX_UNPACED_WRITES {
            let client = TcpStream::connect(address).await.expect("connect");
            let (server, _) = listener.accept().await.expect("accept");
            connections.push((Arc::new(SendQueue::of_socket(Arc::new(server))), client));
        }
        let deliveries = Counter::default();
        let writers = Writers::new(2, deliveries.clone());
        let deliver = |text: &'static str| {
            let mut queued = Queued::default();
            for (send_queue, _) in &connections {
                queued.frames += 1;
                queued
                    .unwritten
                    .extend(send_queue.deliver(Bytes::from(text)));
            }
            writers.write(queued);
        };
        deliver("1");
        deliver("2");
        let later = async {
            sleep(PACE / 4).await;
            deliver("3");
            sleep(PACE / 4).await;
            deliver("4");
            let is_written = || {
                connections
                    .iter()
                    .all(|(send_queue, _)| send_queue.bytes() == 0)
            };
            while !is_written() {
                sleep(PACE).await;
            }
        };
        let written = async {
            tokio::select! {
                () = writers.run(0) => {}
                () = writers.run(1) => {}
                () = later => {}
            }
        };
        let written = timeout(Duration::from_secs(5), written);
        written.await.expect("all is written in time");
        assert_eq!(deliveries.get(), 4 * connections.len() as u64);
        for (send_queue, client) in &mut connections {
            let mut text = [0; 4];
            let read = timeout(Duration::from_secs(5), client.read_exact(&mut text)).await;
            read.expect("in time").expect("read");
            assert_eq!(&text, b"1234");
            let woken = timeout(Duration::ZERO, send_queue.changed()).await;
            assert!(woken.is_err(), "the connection's task sleeps");
        }
    }
}
