//! Every task of a node: named, owned, and with an end.

use std::{
    collections::HashMap, future::Future, panic::AssertUnwindSafe, sync::Arc, time::Duration,
};

use futures_util::FutureExt;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument, debug_span, error, warn};

/// The tasks of one node, and the two signals that end them.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
    draining: CancellationToken,
    stopped: CancellationToken,
    running: Arc<Mutex<HashMap<&'static str, usize>>>,
}

impl Tasks {
    /// No tasks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when the node should take nothing new and let its clients go.
    pub fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    /// Runs `work` until it ends, or until the node stops; then it is dropped where it waits. A panic ends this task only,
    /// and is logged with its name.
    pub fn spawn(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let stopped = self.stopped.clone();
        let counted = Counted::new(self.running.clone(), name);
        // Boxed: else the task has room for it twice, as what it captures and as what it waits for.
        let work = Box::pin(AssertUnwindSafe(work).catch_unwind());
        let task = async move {
            let _counted = counted;
            tokio::select! {
                result = work => if result.is_err() {
                    error!(name, "a task panicked");
                },
                () = stopped.cancelled() => {}
            }
        };
        drop(
            self.tracker
                .spawn(task.instrument(debug_span!(parent: None, "task", name))),
        );
    }

    /// Runs `work` again and again until the node stops: when it ends or panics it is started anew after a pause that
    /// doubles from 100 ms to 5 s, and starts over once it has run for a minute.
    pub fn forever<F, Fut>(&self, name: &'static str, mut work: F)
    where
        F: FnMut() -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        const SHORTEST: Duration = Duration::from_millis(100);
        const LONGEST: Duration = Duration::from_secs(5);
        self.spawn(name, async move {
            let mut pause = SHORTEST;
            loop {
                let started = Instant::now();
                let panicked = AssertUnwindSafe(work()).catch_unwind().await.is_err();
                if started.elapsed() > Duration::from_mins(1) {
                    pause = SHORTEST;
                }
                warn!(
                    name,
                    panicked,
                    pause_ms = pause.as_millis(),
                    "a task that should run for ever ended and is started again"
                );
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST);
            }
        });
    }

    /// How many tasks of that name are running.
    pub fn count(&self, name: &'static str) -> usize {
        self.running.lock().get(name).copied().unwrap_or(0)
    }

    /// Cancels both signals and waits for every task, at most `within`. False if some were still running.
    pub async fn stop(&self, within: Duration) -> bool {
        self.draining.cancel();
        self.stopped.cancel();
        self.tracker.close();
        tokio::time::timeout(within, self.tracker.wait())
            .await
            .is_ok()
    }
}

/// Counts a task as long as it lives.
struct Counted {
    running: Arc<Mutex<HashMap<&'static str, usize>>>,
    name: &'static str,
}

impl Counted {
    fn new(running: Arc<Mutex<HashMap<&'static str, usize>>>, name: &'static str) -> Self {
        *running.lock().entry(name).or_default() += 1;
        Self { running, name }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(count) = self.running.lock().get_mut(self.name) {
            *count -= 1;
        }
    }
}
