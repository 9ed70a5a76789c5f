//! Start and drain of a node. A node has no global state, so that tests can run several nodes in one process.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use sqlx::postgres::PgConnectOptions;
use thiserror::Error;
use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::{
    api,
    app::App,
    auth::{attempts::Attempts, passwords::Passwords, sessions::Sessions, tokens::Tokens},
    blobs::Blobs,
    config::Config,
    delivery::{
        Delivery, Reports,
        presence::{self, Presence},
        recent_events,
        repair::{self, Repairer},
    },
    events::{
        history::History,
        kafka::{Kafka, Record},
        outbox::{self, Outbox, OutboxTask},
        replay::Replay,
    },
    group_commit::{GroupCommit, Groups},
    http::server,
    metrics::Metrics,
    ops,
    problem::{Problem, chain},
    rate_limit::clients::{ClientSettings, Clients},
    redis_client::RedisClient,
    store,
    tasks::{Backoff, Group, LogOnce, Tasks},
    traces::Traces,
    workers::{self, notify},
};

/// Time for connections and requests to end after the drain's spread. The sum stays below the 20 s limit of a drain.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(4);
/// Timeout for Kafka to acknowledge the last events, and then for the tasks to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Timeout for the collector to take the last traces.
const TRACES_TIMEOUT: Duration = Duration::from_secs(1);

/// Timeout of the migrations. Each of their statements has a minute.
const PREPARE_TIMEOUT: Duration = Duration::from_mins(5);

/// Tasks that complete uploads of files other than pictures.
const UPLOAD_TASKS: usize = 2;

/// Why a node cannot start. When a store is down the node starts, retries, and is not ready.
#[derive(Debug, Error)]
pub enum StartError {
    /// The address is in use, or not an address of this host.
    #[error("cannot listen on {0}")]
    Listen(SocketAddr, #[source] std::io::Error),
    /// A setting is invalid.
    #[error("{0}")]
    Setting(String),
    /// The Kafka client refuses its settings.
    #[error("the Kafka client refuses its settings")]
    Kafka(#[from] rdkafka::error::KafkaError),
    /// An internal failure, such as no randomness.
    #[error("the node cannot be built")]
    Internal(#[from] Problem),
}

/// A running node. Dropping it leaves it running; end it with [`Self::drain`] or [`Self::kill`].
pub struct Node {
    app: Arc<App>,
    address: SocketAddr,
    metrics_address: Option<SocketAddr>,
}

impl Node {
    /// Starts a node and returns once it listens. `GET /api/health/ready` succeeds once the database is prepared and the Kafka
    /// partitions are assigned.
    ///
    /// # Errors
    /// A failure that only an operator can fix.
    #[expect(
        clippy::unused_async,
        reason = "async, so that the caller has the runtime that the tasks need"
    )]
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let admin = config.admin.as_ref().map(ops::account::parse_first_admin);
        let admin = admin.transpose().map_err(StartError::Setting)?;
        let metrics = Arc::new(Metrics::new());
        let db = store::pool(&config, metrics.clone()).map_err(StartError::Setting)?;
        let owner = config.migration_database_url.as_ref();
        let owner = owner.map(|url| store::options("MIGRATION_DATABASE_URL", url));
        let owner = owner.transpose().map_err(StartError::Setting)?;
        let redis = RedisClient::new(&config.redis_url, metrics.clone())
            .map_err(|_| StartError::Setting("REDIS_URL is not a Redis URL".to_owned()))?;
        let tasks = Tasks::new();
        let blobs = Blobs::open(&config, &tasks).map_err(StartError::Setting)?;
        let kafka = Arc::new(Kafka::new(&config, metrics.clone())?);
        let traces = Traces::new(&config).map_err(StartError::Setting)?;
        let (outbox, outbox_task) = Outbox::new(kafka.clone(), traces.clone());
        let (posts, groups) = GroupCommit::new();
        let history = History::new(redis.clone());
        let sessions = Sessions::new(redis.clone(), config.session_ttl, &config.jwt_secret);
        let (delivery, reports) = Delivery::new(
            config.connections_per_user,
            sessions.clone(),
            tasks.clone(),
            metrics.clone(),
            traces.clone(),
        );
        let (listener, address) = listen(config.listen)?;
        let metrics_listener = config.metrics_listen.map(listen).transpose()?;
        let app = Arc::new(App {
            sessions,
            replay: Replay::new(history.clone()),
            history,
            presence: Presence::new(redis.clone()),
            attempts: Attempts::new(redis.clone(), config.login_failures),
            redis,
            admin,
            tokens: Tokens::new(&config.jwt_secret, config.access_token_ttl),
            passwords: Passwords::new()?,
            limits: Clients::new(ClientSettings {
                message_rate: config.message_rate,
                request_rate: config.request_rate,
                requests: config.requests_per_user,
                uploads: config.uploads_per_user,
            }),
            delivery: Arc::new(delivery),
            kafka,
            outbox: Arc::new(outbox),
            blobs,
            posts,
            metrics,
            traces,
            tasks,
            prepared: false.into(),
            draining: false.into(),
            db,
            config,
        });

        app.tasks.spawn("prepare", prepare(app.clone(), owner));
        spawn_tasks(&app, outbox_task, groups, reports);
        let server = server::ServerConfig::new(api::routes(&app), &app.config, &app.tasks);
        let server = server::ServerConfig {
            timings: Some(server::Timings {
                metrics: app.metrics.clone(),
                traces: app.traces.clone(),
                route_of: api::route_of,
            }),
            ..server
        };
        app.tasks.spawn("accept", server::run(listener, server));
        info!(%address, node = app.config.node_name, "listening");
        let metrics_address = metrics_listener.as_ref().map(|(_, address)| *address);
        if let Some((listener, address)) = metrics_listener {
            serve_metrics(&app, listener, address);
        }
        Ok(Self {
            app,
            address,
            metrics_address,
        })
    }

    /// The address that serves the metrics, if there is one.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// The address that the node listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The parts of the node, for tests.
    pub fn app(&self) -> &Arc<App> {
        &self.app
    }

    /// Shuts down within 20 s. True if all connections and tasks ended before their timeouts.
    ///
    /// First the node is not ready. Then the node accepts no connections, closes its clients' connections spread over time,
    /// finishes requests and flushes events to Kafka.
    pub async fn drain(self) -> bool {
        info!("draining");
        self.app.draining.store(true, Ordering::Relaxed);
        tokio::time::sleep(self.app.config.drain_delay).await;
        self.app.tasks.draining().cancel();
        let deadline = tokio::time::Instant::now() + self.app.config.drain_spread + DRAIN_TIMEOUT;
        while !self.app.delivery.is_empty() && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let clean = self.app.delivery.is_empty();
        // A connection ends with the response of its request. A request may outlive its connection.
        let in_flight = async {
            self.app.tasks.wait(Group::Connections).await;
            self.app.tasks.wait(Group::Requests).await;
        };
        drop(tokio::time::timeout_at(deadline, in_flight).await);
        self.app.kafka.flush(STOP_TIMEOUT).await;
        let ended = self.app.tasks.stop(STOP_TIMEOUT).await;
        self.app.traces.shut_down(TRACES_TIMEOUT).await;
        self.app.db.close().await;
        clean && ended
    }

    /// Drops all tasks without a drain, as a crash would.
    pub async fn kill(self) {
        self.app.tasks.stop(Duration::from_secs(5)).await;
    }
}

fn serve_metrics(app: &Arc<App>, listener: TcpListener, address: SocketAddr) {
    let routes = api::metrics::routes(app);
    let server = server::ServerConfig::new(routes, &app.config, &app.tasks);
    app.tasks.spawn("metrics", server::run(listener, server));
    info!(%address, "serving metrics");
}

/// A listener and the address that it has.
fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let bound = server::bind(address).and_then(|listener| {
        let bound = listener.local_addr()?;
        Ok((listener, bound))
    });
    bound.map_err(|error| StartError::Listen(address, error))
}

/// Starts the tasks that run for the life of the node.
fn spawn_tasks(app: &Arc<App>, outbox_task: OutboxTask, groups: Groups, reports: Reports) {
    let tasks = &app.tasks;
    tasks.spawn("kafka.watch", app.kafka.clone().watch());
    tasks.spawn("kafka.canary", app.kafka.clone().watch_canary());
    let consumer = app.clone();
    tasks.spawn_restarting("kafka.consume", move || consume(consumer.clone()));
    let writers = &app.delivery.hub.writers;
    for number in 0..writers.count() {
        let writers = writers.clone();
        tasks.spawn_restarting("delivery.write", move || {
            let writers = writers.clone();
            async move { writers.run(number).await }
        });
    }
    tasks.spawn(
        "outbox.publish",
        outbox_task.run(app.outbox.clone(), app.db.clone(), app.history.clone()),
    );
    tasks.spawn(
        "outbox.sweep",
        outbox::sweep(app.kafka.clone(), app.db.clone(), app.history.clone()),
    );
    tasks.spawn(
        "messages.commit",
        groups.run(app.db.clone(), app.outbox.clone()),
    );
    for _ in 0..UPLOAD_TASKS {
        tasks.spawn(
            "files.complete",
            workers::files::complete(app.clone(), false),
        );
    }
    // One, so that the node decodes one picture at a time.
    tasks.spawn(
        "files.complete_pictures",
        workers::files::complete(app.clone(), true),
    );
    tasks.spawn("postgres.unused", app.db.clone().close_unused());
    tasks.spawn("files.sweep", workers::files::sweep(app.clone()));
    let worker = app.clone();
    tasks.spawn_restarting("jobs", move || notify::run(worker.clone()));
    tasks.spawn("notifications.sweep", ops::notification::sweep(app.clone()));
    tasks.spawn("purge", workers::purge::sweep(app.clone()));
    tasks.spawn("activity", workers::activity::run(app.clone()));
    tasks.spawn("search.index", workers::search::index(app.clone()));
    let repairer = Repairer {
        delivery: app.delivery.clone(),
        db: app.db.clone(),
        history: app.history.clone(),
        sessions: app.sessions.clone(),
        kafka: app.kafka.clone(),
        tasks: tasks.clone(),
    };
    tasks.spawn("repair.queue", repair::run(repairer.clone(), reports.gaps));
    tasks.spawn(
        "repair.removals",
        repair::check_removals(repairer.clone(), reports.removals),
    );
    tasks.spawn("repair.audit", repair::audit(repairer.clone()));
    tasks.spawn("events.recent", recent_events::run(repairer.clone()));
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

/// Creates the schema and the first administrator, as soon as PostgreSQL answers. Without a separate owner, the nodes' own role owns
/// the schema.
async fn prepare(app: Arc<App>, owner: Option<PgConnectOptions>) {
    let own = app.db.connect_options();
    let runtime_role = owner.as_ref().map(|_| own.get_username());
    let owner = owner.as_ref().unwrap_or(&own);
    let mut log = LogOnce::default();
    let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_millis(500));
    loop {
        let result = async {
            // A late connection is closed, which ends its work and its lock.
            tokio::time::timeout(PREPARE_TIMEOUT, store::prepare(owner, runtime_role))
                .await
                .map_err(Problem::internal)??;
            match &app.admin {
                Some(admin) => ops::account::bootstrap_admin(&app, admin).await,
                None => Ok(()),
            }
        };
        let prepared = log.check(result.await, "preparing the database failed; retrying");
        if prepared.is_some() {
            app.prepared.store(true, Ordering::Relaxed);
            return;
        }
        backoff.wait().await;
    }
}

async fn consume(app: Arc<App>) {
    let kafka = app.kafka.clone();
    let on_record = |record: Record| {
        let delay = record.event.id.age().as_secs_f64();
        app.metrics.event_delay_seconds.observe(delay);
        app.delivery.dispatch(record);
    };
    if let Err(problem) = kafka.consume(on_record).await {
        warn!(error = %chain(&problem), "Kafka consumer cannot start");
    }
}
