//! Task ownership, backoff, and one log line for a series of failures.

use std::{future::Future, panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument, debug_span, error, warn};

use crate::problem::{Problem, chain};

/// The tasks of one node, and the two signals that end them.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    all: TaskTracker,
    connections: TaskTracker,
    requests: TaskTracker,
    sockjs_sessions: TaskTracker,
    draining: CancellationToken,
    stopped: CancellationToken,
}

/// Tasks that are counted, and waited for, on their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// HTTP connections.
    Connections,
    /// Requests that run to completion, even after their connection has closed.
    Requests,
    /// SockJS sessions.
    SockJsSessions,
}

impl Group {
    fn task_name(self) -> &'static str {
        match self {
            Self::Connections => "connection",
            Self::Requests => "request",
            Self::SockJsSessions => "sockjs",
        }
    }
}

impl Tasks {
    /// No tasks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when the node stops accepting work and closes its clients' connections.
    pub fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    /// Runs `work` until it ends, or until the node stops; then it is dropped at its current await. A panic ends only this
    /// task, and is logged with its name.
    pub fn spawn(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let stopped = self.stopped.clone();
        // Boxed: otherwise the task would hold `work` twice, as a captured value and as the awaited future.
        let work = Box::pin(AssertUnwindSafe(work).catch_unwind());
        let task = async move {
            tokio::select! {
                result = work => if result.is_err() {
                    error!(name, "a task panicked");
                },
                () = stopped.cancelled() => {}
            }
        };
        drop(
            self.all
                .spawn(task.instrument(debug_span!(parent: None, "task", name))),
        );
    }

    /// Runs `work` as a task of a group; see [`Self::spawn`].
    pub fn spawn_in(&self, group: Group, work: impl Future<Output = ()> + Send + 'static) {
        self.spawn(group.task_name(), self.group(group).track_future(work));
    }

    fn group(&self, group: Group) -> &TaskTracker {
        match group {
            Group::Connections => &self.connections,
            Group::Requests => &self.requests,
            Group::SockJsSessions => &self.sockjs_sessions,
        }
    }

    /// Number of running tasks of a group.
    pub fn count(&self, group: Group) -> usize {
        self.group(group).len()
    }

    /// Waits until no task of the group is running.
    pub async fn wait(&self, group: Group) {
        let group = self.group(group);
        // A tracker that is open counts as running. Closing it does not keep tasks from being spawned.
        group.close();
        group.wait().await;
    }

    /// Runs `work` and restarts it when it ends or panics, until the node stops. The delay before a restart doubles from 100 ms
    /// to 5 s; it is reset once `work` has run for a minute.
    pub fn spawn_restarting<F, Fut>(&self, name: &'static str, mut work: F)
    where
        F: FnMut() -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.spawn(name, async move {
            let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
            loop {
                let started = Instant::now();
                let panicked = AssertUnwindSafe(work()).catch_unwind().await.is_err();
                if started.elapsed() > Duration::from_mins(1) {
                    backoff.reset();
                }
                let delay = backoff.next_delay();
                let delay_ms = delay.as_millis();
                warn!(name, panicked, delay_ms, "a task ended; restarting it");
                sleep(delay).await;
            }
        });
    }

    /// Cancels both signals and waits for every task, at most `within`. False if some were still running.
    pub async fn stop(&self, within: Duration) -> bool {
        self.draining.cancel();
        self.stopped.cancel();
        self.all.close();
        tokio::time::timeout(within, self.all.wait()).await.is_ok()
    }
}

/// Delays between retries: each is twice the one before, up to a limit, with jitter.
#[derive(Clone, Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// Starts at `min` and doubles up to `max`.
    pub const fn new(min: Duration, max: Duration) -> Self {
        Self {
            min,
            max,
            next: min,
        }
    }

    /// The next delay.
    pub fn next_delay(&mut self) -> Duration {
        let delay = self.next;
        self.next = (delay * 2).min(self.max);
        jittered(delay)
    }

    /// Sleeps for the next delay.
    pub async fn wait(&mut self) {
        sleep(self.next_delay()).await;
    }

    /// Starts at the shortest delay again.
    pub fn reset(&mut self) {
        self.next = self.min;
    }
}

/// The duration, up to 20 % shorter or longer at random, so that nodes that started together do not stay in step.
pub fn jittered(duration: Duration) -> Duration {
    duration.mul_f64(rand::random_range(0.8..1.2))
}

/// Sleeps until the deadline. Without a deadline it never completes, so that a `select!` waits for its other branches.
pub async fn sleep_until_some(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Logs the first failure of a series; the next failure is logged after a success.
#[derive(Debug, Default)]
pub struct LogOnce {
    failing: bool,
}

impl LogOnce {
    /// Returns the value of a success. Logs a failure with `message`, unless the result before it was a failure too.
    pub fn check<T>(&mut self, result: Result<T, Problem>, message: &'static str) -> Option<T> {
        let first = self.is_first_failure(result.is_err());
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                if first {
                    warn!(error = %chain(&error), "{message}");
                }
                None
            }
        }
    }

    fn is_first_failure(&mut self, failed: bool) -> bool {
        let first = failed && !self.failing;
        self.failing = failed;
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Whether `delay` is `expected` with jitter.
    fn is_about(delay: Duration, expected: Duration) -> bool {
        (expected.mul_f64(0.8)..=expected.mul_f64(1.2)).contains(&delay)
    }

    #[test]
    fn a_backoff_doubles_up_to_its_limit_and_starts_again_after_a_reset() {
        let mut backoff = Backoff::new(MS * 100, MS * 500);
        for expected in [100, 200, 400, 500, 500] {
            let delay = backoff.next_delay();
            assert!(
                is_about(delay, MS * expected),
                "{delay:?} for {expected} ms"
            );
        }
        backoff.reset();
        assert!(is_about(backoff.next_delay(), MS * 100));
    }

    #[test]
    fn jitter_is_bounded_and_spreads_the_delays() {
        let delays: Vec<_> = (0..1_000).map(|_| jittered(MS * 1_000)).collect();
        assert!(delays.iter().all(|delay| is_about(*delay, MS * 1_000)));
        let shorter = delays.iter().filter(|delay| **delay < MS * 1_000).count();
        assert!(
            (300..700).contains(&shorter),
            "{shorter} of 1000 are shorter"
        );
    }

    #[test]
    fn the_first_failure_of_a_series_is_logged() {
        let mut log = LogOnce::default();
        let results = [false, true, true, false, true];
        let logged = results.map(|failed| log.is_first_failure(failed));
        assert_eq!(logged, [false, true, false, false, true]);
        assert_eq!(log.check(Ok(1), "unused"), Some(1));
        let problem = Problem::internal("a test");
        assert_eq!(log.check(Err::<(), _>(problem), "a test failed"), None);
    }

    #[tokio::test]
    async fn a_group_is_waited_for_until_its_tasks_end() {
        let tasks = Tasks::new();
        let (release, released) = tokio::sync::oneshot::channel::<()>();
        tasks.spawn_in(Group::Requests, async { drop(released.await) });
        tasks.spawn("other", std::future::pending());
        assert_eq!(
            [Group::Requests, Group::Connections].map(|group| tasks.count(group)),
            [1, 0]
        );
        tasks.wait(Group::Connections).await;
        assert!(tasks.wait(Group::Requests).now_or_never().is_none());
        drop(release);
        tasks.wait(Group::Requests).await;
        assert_eq!(tasks.count(Group::Requests), 0);
        assert!(tasks.stop(Duration::from_secs(5)).await);
    }
}
