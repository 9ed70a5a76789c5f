//! A running node: the one door for `main` and for tests. Nothing is global, so several live in one process.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use thiserror::Error;
use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::{
    api,
    app::App,
    auth::{passwords::Passwords, sessions::Sessions, tokens::Tokens},
    blobs::Files,
    config::Config,
    delivery::{
        Delivery, ReportedGap,
        presence::{self, Presence},
        repair::{self, Repairer},
    },
    events::{
        history::History,
        kafka::Kafka,
        outbox::{self, Outbox},
    },
    group_commit::{GroupCommit, Groups},
    http::{resource::REQUEST, server},
    ops,
    problem::{Problem, chain},
    store,
    tasks::Tasks,
    workers::{self, notify},
};

/// Requests and sockets have this long to end after the drain's own time; together with it less than the 20 s in which a
/// node must have left.
const END_TIMEOUT: Duration = Duration::from_secs(4);
/// Redis must answer a command within this time: a request that needs it is told so within five seconds.
const REDIS_TIMEOUT: Duration = Duration::from_secs(2);

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
        let kafka = Arc::new(Kafka::new(&config)?);
        let (outbox, ends) = Outbox::new(kafka.clone());
        let (posts, groups) = GroupCommit::new();
        let sessions = Sessions::new(redis.clone(), config.session_ttl);
        let (delivery, gaps) =
            Delivery::new(config.connections_per_user, sessions.clone(), tasks.clone());
        let listener = server::bind(config.listen)
            .map_err(|error| StartError::Listen(config.listen, error))?;
        let address = listener
            .local_addr()
            .map_err(|error| StartError::Listen(config.listen, error))?;
        let app = Arc::new(App {
            sessions,
            history: History::new(redis.clone()),
            presence: Presence::new(redis.clone()),
            redis,
            tokens: Tokens::new(&config.jwt_secret, config.access_token_ttl),
            passwords: Passwords::new()?,
            delivery: Arc::new(delivery),
            kafka,
            outbox: Arc::new(outbox),
            files,
            posts,
            tasks,
            prepared: false.into(),
            leaving: false.into(),
            db,
            config,
        });

        spawn_tasks(&app, ends, groups, gaps);
        let site = server::ServerConfig::new(api::routes(&app), &app.config, &app.tasks);
        app.tasks.spawn("accept", server::run(listener, site));
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
        let deadline = tokio::time::Instant::now() + self.app.config.drain_spread + END_TIMEOUT;
        while !self.app.delivery.is_empty() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let clean = self.app.delivery.is_empty();
        // Requests in flight: their connections end by themselves once answered, and some have lost theirs.
        let under_way = |tasks: &Tasks| tasks.count("connection") + tasks.count(REQUEST);
        while under_way(&self.app.tasks) > 0 && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.app.kafka.flush(Duration::from_secs(2)).await;
        let ended = self.app.tasks.stop(Duration::from_secs(2)).await;
        self.app.db.close().await;
        clean && ended
    }

    /// Ends everything where it is, as a crash would: nothing is flushed and nobody is told.
    pub async fn kill(self) {
        self.app.tasks.stop(Duration::from_secs(5)).await;
    }
}

/// Starts the tasks that run for the life of the node.
fn spawn_tasks(
    app: &Arc<App>,
    ends: outbox::Ends,
    groups: Groups,
    gaps: mpsc::Receiver<ReportedGap>,
) {
    let tasks = &app.tasks;
    tasks.spawn("prepare", prepare(app.clone()));
    tasks.spawn("kafka.watch", app.kafka.clone().watch());
    let follower = app.clone();
    tasks.forever("kafka.follow", move || follow(follower.clone()));
    tasks.spawn(
        "outbox.publish",
        ends.run(app.outbox.clone(), app.db.clone(), app.history.clone()),
    );
    tasks.spawn(
        "outbox.sweep",
        outbox::sweep(app.kafka.clone(), app.db.clone(), app.history.clone()),
    );
    tasks.spawn(
        "messages.commit",
        groups.run(app.db.clone(), app.outbox.clone()),
    );
    for _ in 0..COMPLETERS {
        tasks.spawn("files.complete", workers::files::complete(app.clone()));
    }
    tasks.spawn("files.sweep", workers::files::sweep(app.clone()));
    let worker = app.clone();
    tasks.forever("jobs", move || notify::run(worker.clone()));
    tasks.spawn("notifications.sweep", ops::notification::sweep(app.clone()));
    tasks.spawn("purge", workers::purge::sweep(app.clone()));
    let repairer = Repairer {
        delivery: app.delivery.clone(),
        db: app.db.clone(),
        history: app.history.clone(),
        sessions: app.sessions.clone(),
        kafka: app.kafka.clone(),
        tasks: tasks.clone(),
    };
    tasks.spawn("repair.queue", repair::run(repairer.clone(), gaps));
    tasks.spawn("repair.audit", repair::audit(repairer.clone()));
    tasks.spawn("repair.sessions", repair::audit_sessions(repairer));
    tasks.spawn(
        "presence",
        presence::run(
            app.presence.clone(),
            app.delivery.clone(),
            app.history.clone(),
            app.outbox.clone(),
        ),
    );
}

fn connect_redis(config: &Config) -> Result<ConnectionManager, StartError> {
    let refused = |_| StartError::Setting("REDIS_URL is not a Redis URL".to_owned());
    let client = redis::Client::open(config.redis_url.expose()).map_err(refused)?;
    let settings = ConnectionManagerConfig::new()
        .set_response_timeout(Some(REDIS_TIMEOUT))
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
    let kafka = app.kafka.clone();
    if let Err(problem) = kafka.run(|arrived| app.delivery.dispatch(arrived)).await {
        warn!(error = %chain(&problem), "Kafka cannot be followed");
    }
}
