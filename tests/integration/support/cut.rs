//! A TCP proxy in front of a store, which can be cut and mended.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
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
        });
        let (target, shared) = (target.to_owned(), state.clone());
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (target, state) = (target.clone(), shared.clone());
                tokio::spawn(async move {
                    let cut = state.changed.notified();
                    if state.cut.load(Ordering::SeqCst) {
                        return;
                    }
                    let Ok(mut server) = TcpStream::connect(target).await else {
                        return;
                    };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
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
}
