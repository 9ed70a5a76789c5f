//! Rates and concurrent work of each client of this node.
//!
//! In memory and for this node only: nginx sends a client's address to the same node each time, and no request should wait for
//! a store because of a limit. A user whose devices use several nodes has these limits on each.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

use crate::{
    ids::UserId,
    problem::Problem,
    rate_limit::{TokenBucket, client_network::ClientNetwork},
};

/// Tokens for a request that only reads.
pub const READ_COST: f64 = 1.0;
/// Tokens for a whole list, or for the replay of an SSE stream. Twenty tabs may each read the list of users once a second.
pub const LIST_COST: f64 = 2.0;
/// Tokens for a search, besides those for a request that reads.
pub const SEARCH_COST: f64 = 3.0;
/// Tokens for a request that changes something; a message has a rate of its own.
pub const CHANGE_COST: f64 = 5.0;
/// Tokens for a file of a request.
pub const FILE_COST: f64 = 5.0;
/// Tokens for each participant of a new private channel.
pub const PARTICIPANT_COST: f64 = 1.0;
/// Seconds of the rate that a client may use at once.
const REQUEST_BURST_SECONDS: f64 = 5.0;
/// Pictures that sign-ups from one address may send at once; and per minute afterwards.
const SIGN_UP_PICTURES: (f64, f64) = (10.0, 6.0);
/// Sign-ups with a picture from one address at the same time.
const SIGN_UPS_PER_ADDRESS: usize = 2;
/// Whole lists that a node sends to one user at the same time. The next ones wait.
const LISTS_PER_USER: usize = 4;
/// Requests of one user that wait for each one that is handled. Further ones are refused.
const WAITING_PER_TURN: usize = 6;
/// How long a request waits for its turn. Short, because a request that then waits for a stalled store fails within 5 s in all.
const TURN_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a whole list waits for its turn.
const LIST_TURN_TIMEOUT: Duration = Duration::from_secs(4);
/// Entries of the table that are never worth a search for idle ones.
const MIN_PRUNED: usize = 1_024;

/// Who uses the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Client {
    /// A user who has signed in.
    User(UserId),
    /// A client who has not.
    Network(ClientNetwork),
}

impl Client {
    /// The client at an address.
    pub fn at(address: IpAddr) -> Self {
        Self::Network(ClientNetwork::of(address))
    }
}

/// The settings of the limits.
#[derive(Clone, Copy, Debug)]
pub struct ClientSettings {
    /// Messages per second of a user, by HTTP and STOMP.
    pub message_rate: u32,
    /// Tokens per second of a user for other requests.
    pub request_rate: u32,
    /// Requests of a user that are handled at the same time.
    pub requests: usize,
    /// Requests of a user that store files at the same time.
    pub uploads: usize,
}

/// What one client uses.
struct Usage {
    messages: TokenBucket,
    requests: TokenBucket,
    turns: Arc<Semaphore>,
    lists: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
}

impl Usage {
    fn new(client: Client, settings: ClientSettings, now: Instant) -> Self {
        let message_rate = f64::from(settings.message_rate);
        let request_rate = f64::from(settings.request_rate);
        let (requests, uploads) = match client {
            Client::User(_) => {
                let burst = REQUEST_BURST_SECONDS * request_rate;
                (TokenBucket::new(request_rate, burst, now), settings.uploads)
            }
            Client::Network(_) => {
                let (burst, per_minute) = SIGN_UP_PICTURES;
                let rate = FILE_COST * per_minute / 60.0;
                let bucket = TokenBucket::new(rate, FILE_COST * burst, now);
                (bucket, SIGN_UPS_PER_ADDRESS)
            }
        };
        Self {
            messages: TokenBucket::new(message_rate, 2.0 * message_rate, now),
            requests,
            turns: Arc::new(Semaphore::new(settings.requests)),
            lists: Arc::new(Semaphore::new(LISTS_PER_USER)),
            uploads: Arc::new(Semaphore::new(uploads)),
        }
    }

    /// Whether a new entry would allow the same. Permits, and tasks that wait for one, hold the semaphores.
    fn is_idle(&mut self, now: Instant) -> bool {
        [&self.turns, &self.lists, &self.uploads]
            .into_iter()
            .all(|semaphore| Arc::strong_count(semaphore) == 1)
            && self.messages.is_full(now)
            && self.requests.is_full(now)
    }
}

struct Table {
    clients: HashMap<Client, Usage>,
    /// Number of entries at which idle ones are removed.
    prune_at: usize,
}

/// The limits of every client of a node.
///
/// The table has entries only for clients that used it within the last seconds: the lock is held for one look-up, and for a
/// removal of idle entries whenever the table has doubled.
pub struct Clients {
    settings: ClientSettings,
    table: Mutex<Table>,
}

impl Clients {
    /// Limits that nobody has used.
    pub fn new(settings: ClientSettings) -> Self {
        Self {
            settings,
            table: Mutex::new(Table {
                clients: HashMap::new(),
                prune_at: MIN_PRUNED,
            }),
        }
    }

    fn with<T>(&self, client: Client, now: Instant, work: impl FnOnce(&mut Usage) -> T) -> T {
        let mut table = self.table.lock();
        if table.clients.len() >= table.prune_at && !table.clients.contains_key(&client) {
            table.clients.retain(|_, usage| !usage.is_idle(now));
            table.clients.shrink_to(MIN_PRUNED);
            table.prune_at = MIN_PRUNED.max(2 * table.clients.len());
        }
        let usage = table.clients.entry(client);
        work(usage.or_insert_with(|| Usage::new(client, self.settings, now)))
    }

    /// Takes the tokens of a request.
    ///
    /// # Errors
    /// [`Problem::TooMany`]
    pub fn spend(&self, client: Client, cost: f64) -> Result<(), Problem> {
        self.spend_at(client, cost, Instant::now())
    }

    fn spend_at(&self, client: Client, cost: f64, now: Instant) -> Result<(), Problem> {
        self.with(client, now, |usage| {
            if usage.requests.try_spend(cost, now) {
                Ok(())
            } else {
                let next = usage.requests.next_token_at();
                Err(too_many(next.saturating_duration_since(now)))
            }
        })
    }

    /// Takes the token of a message.
    ///
    /// # Errors
    /// When the next token comes.
    pub fn try_message(&self, user: UserId) -> Result<(), Instant> {
        self.try_message_at(user, Instant::now())
    }

    fn try_message_at(&self, user: UserId, now: Instant) -> Result<(), Instant> {
        self.with(Client::User(user), now, |usage| {
            if usage.messages.try_take(now) {
                Ok(())
            } else {
                Err(usage.messages.next_token_at())
            }
        })
    }

    /// Takes the token of a message, for a client that does not wait.
    ///
    /// # Errors
    /// [`Problem::TooMany`]
    pub fn spend_message(&self, user: UserId) -> Result<(), Problem> {
        self.try_message(user)
            .map_err(|next| too_many(next.saturating_duration_since(Instant::now())))
    }

    /// Waits for the turn of a user's request, at most [`TURN_TIMEOUT`]. The turn ends when the permit is dropped.
    ///
    /// # Errors
    /// [`Problem::TooMany`]
    pub async fn turn(&self, user: UserId) -> Result<OwnedSemaphorePermit, Problem> {
        let turns = self.with(Client::User(user), Instant::now(), |usage| {
            // The requests that are handled and those that wait hold the semaphore.
            let requests = Arc::strong_count(&usage.turns) - 1;
            let most = self.settings.requests * (1 + WAITING_PER_TURN);
            (requests < most).then(|| usage.turns.clone())
        });
        let turns = turns.ok_or_else(|| too_many(TURN_TIMEOUT))?;
        wait(turns, TURN_TIMEOUT).await
    }

    /// Waits until fewer than [`LISTS_PER_USER`] whole lists are being sent to a user, at most [`LIST_TURN_TIMEOUT`].
    ///
    /// # Errors
    /// [`Problem::TooMany`]
    pub async fn list(&self, user: UserId) -> Result<OwnedSemaphorePermit, Problem> {
        let lists = self.with(Client::User(user), Instant::now(), |usage| {
            usage.lists.clone()
        });
        wait(lists, LIST_TURN_TIMEOUT).await
    }

    /// The permits for requests of a client that store files at the same time.
    pub fn uploads(&self, client: Client) -> Arc<Semaphore> {
        self.with(client, Instant::now(), |usage| usage.uploads.clone())
    }

    /// Number of entries of the table.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.table.lock().clients.len()
    }
}

async fn wait(permits: Arc<Semaphore>, most: Duration) -> Result<OwnedSemaphorePermit, Problem> {
    match timeout(most, permits.acquire_owned()).await {
        Ok(Ok(permit)) => Ok(permit),
        _ => Err(too_many(most)),
    }
}

fn too_many(retry_after: Duration) -> Problem {
    Problem::TooMany { retry_after }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn clients() -> Clients {
        Clients::new(ClientSettings {
            message_rate: 10,
            request_rate: 10,
            requests: 2,
            uploads: 1,
        })
    }

    #[test]
    fn each_user_has_a_rate() {
        let clients = clients();
        let (ann, bob, now) = (UserId::new(), UserId::new(), Instant::now());
        assert!((0..20).all(|_| clients.try_message_at(ann, now).is_ok()));
        let next = clients
            .try_message_at(ann, now)
            .expect_err("the burst is used up");
        assert!(clients.try_message_at(bob, now).is_ok());
        assert!(clients.try_message_at(ann, next).is_ok());
        assert!(clients.try_message_at(ann, next).is_err());
        // Requests have tokens of their own.
        let ann = Client::User(ann);
        assert!(clients.spend_at(ann, 120.0, next).is_ok());
        let Err(Problem::TooMany { retry_after }) = clients.spend_at(ann, 1.0, next) else {
            panic!("in debt")
        };
        assert!(retry_after > Duration::from_secs(7) && retry_after < Duration::from_secs(8));
    }

    #[test]
    fn idle_entries_are_removed_and_used_ones_stay() {
        let clients = clients();
        let (ann, mut now) = (UserId::new(), Instant::now());
        for _ in 0..5 {
            for _ in 0..MIN_PRUNED {
                assert!(clients.try_message_at(UserId::new(), now).is_ok());
            }
            now += Duration::from_secs(10);
            assert!((0..20).all(|_| clients.try_message_at(ann, now).is_ok()));
            assert!(clients.len() <= MIN_PRUNED + 1, "{}", clients.len());
        }
        for _ in 0..2 * MIN_PRUNED {
            assert!(clients.try_message_at(UserId::new(), now).is_ok());
        }
        assert!(clients.try_message_at(ann, now).is_err());
    }

    #[tokio::test]
    async fn requests_wait_for_their_turn_in_a_bounded_queue() {
        let clients = clients();
        let ann = UserId::new();
        let mut turns: Vec<_> = (0..=2 * (1 + WAITING_PER_TURN))
            .map(|_| Box::pin(clients.turn(ann)))
            .collect();
        let results: Vec<_> = turns.iter_mut().map(FutureExt::now_or_never).collect();
        assert!(matches!(results[..3], [Some(Ok(_)), Some(Ok(_)), None]));
        let refused = results.iter().filter(|turn| matches!(turn, Some(Err(_))));
        assert_eq!(refused.count(), 1);
        drop(results);
        assert!(turns.swap_remove(2).await.is_ok());
    }

    #[test]
    fn an_ipv6_client_is_its_network() {
        let at = |text: &str| Client::at(text.parse().expect("an address"));
        assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:1"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
        assert_eq!(at("::ffff:10.0.0.1"), at("10.0.0.1"));
        assert_ne!(at("10.0.0.1"), at("10.0.0.2"));
    }
}
