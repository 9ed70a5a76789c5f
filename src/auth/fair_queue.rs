//! A semaphore with a bounded queue that is fair between keys.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Gives out a fixed number of permits. Waiters with different keys take turns; those with the same key come in order.
pub(super) struct FairQueue<K: Copy + Eq + Hash> {
    state: Arc<Mutex<State<K>>>,
}

/// Why a waiter gets no permit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Too many waiters have the same key.
    Key,
    /// There are too many waiters, and no key has more of them than this one.
    Full,
}

struct State<K: Copy + Eq + Hash> {
    /// Permits that nobody has. While there is one, nobody waits.
    free: usize,
    /// Length of all queues together.
    waiting: usize,
    max_waiting: usize,
    max_waiting_per_key: usize,
    /// Waiters of each key, none of them empty.
    queues: HashMap<K, VecDeque<oneshot::Sender<Permit<K>>>>,
    /// The keys of `queues`; the first has the next turn.
    turns: VecDeque<K>,
}

/// The right to work. Dropping it passes it to the next waiter.
pub(super) struct Permit<K: Copy + Eq + Hash> {
    /// `None` once the permit is passed on.
    state: Option<Arc<Mutex<State<K>>>>,
}

impl<K: Copy + Eq + Hash> FairQueue<K> {
    /// A queue for `permits` concurrent holders.
    pub(super) fn new(permits: usize, max_waiting: usize, max_waiting_per_key: usize) -> Self {
        let state = State {
            free: permits,
            waiting: 0,
            max_waiting,
            max_waiting_per_key,
            queues: HashMap::new(),
            turns: VecDeque::new(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Number of waiters.
    pub(super) fn waiting(&self) -> usize {
        self.state.lock().waiting
    }

    /// Waits for a permit. A waiter that is dropped leaves the queue.
    pub(super) async fn acquire(&self, key: K) -> Result<Permit<K>, Refused> {
        let turn = {
            let mut state = self.state.lock();
            if state.free > 0 {
                state.free -= 1;
                return Ok(Permit {
                    state: Some(self.state.clone()),
                });
            }
            state.enqueue(key)?
        };
        // A newcomer with a shorter queue may take the place of a waiter.
        turn.await.map_err(|_| Refused::Key)
    }
}

impl<K: Copy + Eq + Hash> State<K> {
    fn enqueue(&mut self, key: K) -> Result<oneshot::Receiver<Permit<K>>, Refused> {
        let own = self.queues.get(&key).map_or(0, VecDeque::len);
        if own >= self.max_waiting_per_key {
            return Err(Refused::Key);
        }
        if self.waiting >= self.max_waiting {
            // The newest waiter of the longest queue makes room: a few busy keys must not shut out all others.
            let longest = self.queues.values_mut().max_by_key(|queue| queue.len());
            let Some(longest) = longest.filter(|queue| queue.len() > own + 1) else {
                return Err(Refused::Full);
            };
            longest.pop_back();
            self.waiting -= 1;
        }
        let (sender, turn) = oneshot::channel();
        self.queues.entry(key).or_default().push_back(sender);
        self.waiting += 1;
        if own == 0 {
            self.turns.push_back(key);
        }
        Ok(turn)
    }

    /// The waiter whose turn it is.
    fn next(&mut self) -> Option<oneshot::Sender<Permit<K>>> {
        let key = self.turns.pop_front()?;
        let queue = self.queues.get_mut(&key)?;
        let waiter = queue.pop_front();
        if queue.is_empty() {
            self.queues.remove(&key);
        } else {
            self.turns.push_back(key);
        }
        self.waiting -= 1;
        waiter
    }
}

impl<K: Copy + Eq + Hash> Drop for Permit<K> {
    fn drop(&mut self) {
        let Some(state) = self.state.take() else {
            return;
        };
        loop {
            let waiter = {
                let mut state = state.lock();
                let waiter = state.next();
                if waiter.is_none() {
                    state.free += 1;
                }
                waiter
            };
            let Some(waiter) = waiter else {
                return;
            };
            let permit = Self {
                state: Some(state.clone()),
            };
            // Fails if the waiter is gone; then the next one gets the permit.
            match waiter.send(permit) {
                Ok(()) => return,
                Err(mut unsent) => unsent.state = None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::Pin,
        task::{Context, Poll, Waker},
    };

    use futures_util::FutureExt;

    use super::*;

    type Answer = Result<Permit<char>, Refused>;
    type Waiter<'a> = Pin<Box<dyn Future<Output = Answer> + 'a>>;

    fn poll(waiter: &mut Waiter<'_>) -> Poll<Answer> {
        waiter
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Starts to wait.
    fn wait(queue: &FairQueue<char>, key: char) -> Waiter<'_> {
        let mut waiter: Waiter<'_> = Box::pin(queue.acquire(key));
        assert!(poll(&mut waiter).is_pending(), "{key}");
        waiter
    }

    fn refused(queue: &FairQueue<char>, key: char) -> Option<Refused> {
        queue.acquire(key).now_or_never()?.err()
    }

    #[test]
    fn keys_take_turns() {
        let queue = FairQueue::new(1, 10, 10);
        let mut permit = queue.acquire('x').now_or_never().expect("a permit is free");
        let mut waiters: Vec<_> = ['a', 'a', 'a', 'b', 'c', 'b']
            .map(|key| (key, wait(&queue, key)))
            .into();
        let mut order = String::new();
        while !waiters.is_empty() {
            drop(permit);
            let mut woken =
                waiters
                    .iter_mut()
                    .enumerate()
                    .filter_map(|(at, (_, waiter))| match poll(waiter) {
                        Poll::Ready(next) => Some((at, next)),
                        Poll::Pending => None,
                    });
            let (at, next) = woken.next().expect("a waiter has the permit");
            assert!(woken.next().is_none(), "one permit, two holders");
            drop(woken);
            permit = next;
            order.push(waiters.remove(at).0);
        }
        assert_eq!(order, "abcaba");
    }

    #[test]
    fn a_key_with_many_waiters_makes_room_for_another() {
        let queue = FairQueue::new(1, 4, 3);
        let permit = queue.acquire('x').now_or_never();
        let mut first = wait(&queue, 'a');
        let mut second = wait(&queue, 'a');
        let mut third = wait(&queue, 'a');
        assert_eq!(refused(&queue, 'a'), Some(Refused::Key));
        let mut b = wait(&queue, 'b');
        // The queue is full. `c` takes the place of the last `a`.
        let mut c = wait(&queue, 'c');
        assert!(matches!(poll(&mut third), Poll::Ready(Err(Refused::Key))));
        assert!(poll(&mut second).is_pending());
        let mut d = wait(&queue, 'd');
        assert!(matches!(poll(&mut second), Poll::Ready(Err(Refused::Key))));
        // Now each key has one waiter.
        assert_eq!(refused(&queue, 'e'), Some(Refused::Full));
        drop(permit);
        for waiter in [&mut first, &mut b, &mut c, &mut d] {
            assert!(matches!(poll(waiter), Poll::Ready(Ok(_))));
        }
    }

    #[test]
    fn a_waiter_that_is_dropped_takes_no_permit() {
        let queue = FairQueue::new(1, 10, 10);
        let permit = queue.acquire('x').now_or_never();
        let gone = wait(&queue, 'a');
        let woken = wait(&queue, 'b');
        let mut last = wait(&queue, 'c');
        drop(gone);
        drop(permit);
        assert!(poll(&mut last).is_pending(), "b has the permit");
        // Dropped before it took the permit that was sent.
        drop(woken);
        assert!(matches!(poll(&mut last), Poll::Ready(Ok(_))));
        let free = queue.acquire('d').now_or_never();
        assert!(free.is_some_and(|permit| permit.is_ok()));
        assert_eq!(queue.state.lock().waiting, 0);
    }
}
