//! A running node: the one door for `main` and for tests. Nothing is global, so several live in one process.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use thiserror::Error;
use tracing::{info, warn};

use crate::{
    app::App,
    bus::Bus,
    config::Config,
    feeds::Feeds,
    files::Files,
    group_commit::GroupCommit,
    history::History,
    http,
    hub::Hub,
    jobs, ops, outbox,
    outbox::Outbox,
    password::Passwords,
    presence::{self, Presence},
    problem::{Problem, chain},
    repair::{self, Repairs},
    server,
    sessions::Sessions,
    store,
    tasks::Tasks,
    token::Tokens,
};

/// Requests and sockets have this long to end after the drain's own time; together with it less than the 20 s in which a
/// node must have left.
const END_WITHIN: Duration = Duration::from_secs(4);
/// Redis must answer a command within this time: a request that needs it is told so within five seconds.
const REDIS_WITHIN: Duration = Duration::from_secs(2);

/// Accepted files that are made ready at the same time.
const COMPLETERS: usize = 2;

/// Why a node could not start. A store that is away is no reason: the node waits for it, and is not ready.
#[derive(Debug, Error)]
pub enum StartError {
    /// The address is taken, or not ours.
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// A setting that only its user could judge.
    #[error("{0}")]
    Setting(String),
    /// Kafka's client refuses its settings.
    #[error("the Kafka client refuses its settings")]
    Kafka(#[from] rdkafka::error::KafkaError),
    /// No randomness, most likely.
    #[error("the node cannot prepare itself")]
    Own(#[from] Problem),
}

/// A running node. Dropping it leaves it running; end it with [`Self::drain`] or [`Self::kill`].
pub struct Node {
    app: Arc<App>,
    address: SocketAddr,
}

impl Node {
    /// Starts a node and returns once it listens. It is ready when [`App::is_prepared`] and its Kafka places are fixed, which
    /// `GET /api/health/ready` tells.
    ///
    /// # Errors
    /// What only a person can mend.
    #[expect(
        clippy::unused_async,
        reason = "its tasks need a runtime, which a caller that awaits has"
    )]
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let db = store::pool(&config).map_err(StartError::Setting)?;
        let redis = connect_redis(&config)?;
        let tasks = Tasks::new();
        let files = Files::open(&config, &tasks).map_err(StartError::Setting)?;
        let bus = Arc::new(Bus::new(&config)?);
        let (outbox, ends) = Outbox::new(bus.clone());
        let (posts, groups) = GroupCommit::new();
        let (repairs, gaps) = Repairs::new();
        let listener = server::bind(config.listen)
            .map_err(|error| StartError::Listen(config.listen, error))?;
        let address = listener
            .local_addr()
            .map_err(|error| StartError::Listen(config.listen, error))?;
        let app = Arc::new(App {
            sessions: Sessions::new(redis.clone(), config.session_ttl),
            history: History::new(redis.clone()),
            presence: Presence::new(redis.clone()),
            redis,
            tokens: Tokens::new(&config.jwt_secret, config.access_token_ttl),
            passwords: Passwords::new()?,
            hub: Arc::new(Hub::new(config.connections_per_user)),
            feeds: Arc::new(Feeds::new(config.connections_per_user)),
            bus,
            outbox: Arc::new(outbox),
            files,
            posts,
            repairs,
            tasks,
            prepared: false.into(),
            leaving: false.into(),
            db,
            config,
        });

        let tasks = &app.tasks;
        tasks.spawn("prepare", prepare(app.clone()));
        tasks.spawn("kafka.watch", app.bus.clone().watch());
        let follower = app.clone();
        tasks.forever("kafka.follow", move || follow(follower.clone()));
        tasks.spawn(
            "outbox.publish",
            ends.run(app.outbox.clone(), app.db.clone(), app.history.clone()),
        );
        tasks.spawn(
            "outbox.sweep",
            outbox::sweep(app.bus.clone(), app.db.clone(), app.history.clone()),
        );
        tasks.spawn(
            "messages.commit",
            groups.run(app.db.clone(), app.outbox.clone()),
        );
        for _ in 0..COMPLETERS {
            tasks.spawn("files.complete", ops::file::complete(app.clone()));
        }
        tasks.spawn("files.sweep", ops::file::sweep(app.clone()));
        let worker = app.clone();
        tasks.forever("jobs", move || jobs::run(worker.clone()));
        tasks.spawn("notifications.sweep", ops::notification::sweep(app.clone()));
        tasks.spawn("remains.sweep", ops::remains::sweep(app.clone()));
        tasks.spawn("repair.queue", repair::run(app.clone(), gaps));
        tasks.spawn("repair.audit", repair::audit(app.clone()));
        tasks.spawn("repair.sessions", repair::audit_sessions(app.clone()));
        tasks.spawn("presence", presence::run(app.clone()));
        let site = server::Site::new(http::routes(&app), &app.config, tasks);
        tasks.spawn("accept", server::run(listener, site));
        info!(%address, node = app.config.node_name, "listening");
        Ok(Self { app, address })
    }

    /// Where the node listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The node's parts, for tests that look inside.
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Leaves in good order, within 20 s: not ready, then no new connections, sockets closed spread over time, requests in
    /// flight finished, what is published on its way. True if everything ended by itself.
    pub async fn drain(self) -> bool {
        info!("leaving");
        self.app.leaving.store(true, Ordering::Relaxed);
        tokio::time::sleep(self.app.config.drain_delay).await;
        self.app.tasks.draining().cancel();
        let deadline = tokio::time::Instant::now() + self.app.config.drain_spread + END_WITHIN;
        while !(self.app.hub.is_empty() && self.app.feeds.is_empty())
            && tokio::time::Instant::now() < deadline
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let clean = self.app.hub.is_empty() && self.app.feeds.is_empty();
        // Requests in flight: their connections end by themselves once answered, and some have lost theirs.
        let under_way = |tasks: &Tasks| tasks.count("connection") + tasks.count(http::REQUEST);
        while under_way(&self.app.tasks) > 0 && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.app.bus.flush(Duration::from_secs(2)).await;
        let ended = self.app.tasks.stop(Duration::from_secs(2)).await;
        self.app.db.close().await;
        clean && ended
    }

    /// Ends everything where it is, as a crash would: nothing is flushed and nobody is told.
    pub async fn kill(self) {
        self.app.tasks.stop(Duration::from_secs(5)).await;
    }
}

fn connect_redis(config: &Config) -> Result<ConnectionManager, StartError> {
    let refused = |_| StartError::Setting("REDIS_URL is not a Redis URL".to_owned());
    let client = redis::Client::open(config.redis_url.expose()).map_err(refused)?;
    let settings = ConnectionManagerConfig::new()
        .set_response_timeout(Some(REDIS_WITHIN))
        .set_connection_timeout(Some(Duration::from_secs(1)))
        .set_number_of_retries(1)
        .set_max_delay(Duration::from_millis(500));
    ConnectionManager::new_lazy_with_config(client, settings).map_err(refused)
}

/// Makes the schema and the admin account, as soon as PostgreSQL is there.
async fn prepare(app: Arc<App>) {
    let mut told = false;
    loop {
        let result = async {
            store::prepare(&app.db).await?;
            match &app.config.admin {
                Some(admin) => ops::account::ensure_admin(&app, admin).await,
                None => Ok(()),
            }
        };
        match result.await {
            Ok(()) => {
                app.prepared.store(true, Ordering::Relaxed);
                return;
            }
            Err(problem) => {
                if !told {
                    warn!(error = %chain(&problem), "the database cannot be prepared; trying until it can");
                    told = true;
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }
    }
}

async fn follow(app: Arc<App>) {
    let bus = app.bus.clone();
    if let Err(problem) = bus.run(|arrived| app.deliver(arrived)).await {
        warn!(error = %chain(&problem), "Kafka cannot be followed");
    }
}
