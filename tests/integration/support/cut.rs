//! A TCP proxy in front of a store. It can cut its connections, or stall them as a stopped store does.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, watch},
};

/// The proxy.
pub struct Cut {
    /// Where it listens, `127.0.0.1:12345`.
    pub address: String,
    state: Arc<State>,
}

struct State {
    cut: AtomicBool,
    changed: Notify,
    stalled: watch::Sender<bool>,
    /// Number of times that all connections have fallen silent.
    silenced: watch::Sender<u32>,
    target: Mutex<String>,
    /// Bytes from a client that begin a stall.
    trigger: Mutex<Option<&'static [u8]>>,
    /// See [`Cut::lone_syncs`].
    lone_syncs: AtomicUsize,
}

impl State {
    /// Begins a stall if a client sends the trigger, once.
    fn inspect(&self, bytes: &[u8]) {
        if bytes == b"S\0\0\0\x04" {
            self.lone_syncs.fetch_add(1, Ordering::SeqCst);
        }
        let mut trigger = self.trigger.lock().expect("not poisoned");
        if trigger.is_some_and(|found| bytes.windows(found.len()).any(|part| part == found)) {
            *trigger = None;
            self.stalled.send_replace(true);
        }
    }

    async fn copy(
        &self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        inspect: bool,
    ) -> std::io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        let mut stalled = self.stalled.subscribe();
        let mut silenced = self.silenced.subscribe();
        let silent = async {
            drop(silenced.changed().await);
            std::future::pending().await
        };
        let copy = async {
            loop {
                let bytes = from.read(&mut buffer).await?;
                if inspect {
                    self.inspect(&buffer[..bytes]);
                }
                stalled
                    .wait_for(|stalled| !stalled)
                    .await
                    .expect("the state lives");
                if bytes == 0 {
                    return to.shutdown().await;
                }
                to.write_all(&buffer[..bytes]).await?;
            }
        };
        tokio::select! {
            biased;
            never = silent => never,
            result = copy => result,
        }
    }
}

impl Cut {
    /// Starts a proxy to that address.
    pub async fn before(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port is free");
        let address = listener.local_addr().expect("it listens").to_string();
        let state = Arc::new(State {
            cut: AtomicBool::new(false),
            changed: Notify::new(),
            stalled: watch::Sender::new(false),
            silenced: watch::Sender::new(0),
            target: Mutex::new(target.to_owned()),
            trigger: Mutex::default(),
            lone_syncs: AtomicUsize::new(0),
        });
        let shared = state.clone();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let state = shared.clone();
                tokio::spawn(async move {
                    let cut = state.changed.notified();
                    if state.cut.load(Ordering::SeqCst) {
                        return;
                    }
                    let target = state.target.lock().expect("not poisoned").clone();
                    let Ok(mut server) = TcpStream::connect(target).await else {
                        return;
                    };
                    let (from_client, to_client) = client.split();
                    let (from_server, to_server) = server.split();
                    let both = async {
                        tokio::try_join!(
                            state.copy(from_client, to_server, true),
                            state.copy(from_server, to_client, false)
                        )
                    };
                    tokio::select! {
                        // A connection that one side resets is over for both.
                        _ = both => {}
                        () = cut => {}
                    }
                });
            }
        });
        Self { address, state }
    }

    /// Cuts every connection; new ones are closed at once.
    pub fn cut(&self) {
        self.state.cut.store(true, Ordering::SeqCst);
        self.state.changed.notify_waiters();
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.state.cut.store(false, Ordering::SeqCst);
    }

    /// Holds back every byte in both directions, while connections stay open.
    pub fn stall(&self) {
        self.state.stalled.send_replace(true);
    }

    /// From now on, the open connections carry nothing, and are not closed. New ones work.
    pub fn silence(&self) {
        self.state.silenced.send_modify(|times| *times += 1);
    }

    /// Connects new clients to another address. Open connections stay.
    pub fn redirect(&self, target: &str) {
        target.clone_into(&mut self.state.target.lock().expect("not poisoned"));
    }

    /// Stalls when a client next sends these bytes, and returns when that happens.
    pub async fn stall_at(&self, trigger: &'static [u8]) {
        *self.state.trigger.lock().expect("not poisoned") = Some(trigger);
        let mut stalled = self.state.stalled.subscribe();
        stalled
            .wait_for(|stalled| *stalled)
            .await
            .expect("the state lives");
    }

    /// How often a client of PostgreSQL sent a Sync message and nothing before it, which asks only whether the connection works.
    pub fn lone_syncs(&self) -> usize {
        self.state.lone_syncs.load(Ordering::SeqCst)
    }

    /// Delivers what was held back, and everything after it.
    pub fn resume(&self) {
        self.state.stalled.send_replace(false);
    }
}
