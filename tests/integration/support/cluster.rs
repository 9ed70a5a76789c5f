//! Nodes with their own database, Redis database and Kafka topics, and nodes that tests share.

use std::{
    path::{Path, PathBuf},
    sync::LazyLock,
};

use discodeit::{Config, Node, store};
use sqlx::{Connection, PgConnection, PgPool};
use tokio::{runtime::Runtime, sync::OnceCell, task::spawn_blocking};

use super::{Cut, SOON, User, Visitor, eventually};

/// The environment that `make test` sets.
fn environment(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: the tests need real stores, run `make test`")
    })
}

/// Role of the nodes. Each database belongs to the role of `TEST_DATABASE_URL`, a superuser.
const NODE_ROLE: &str = "discodeit_node";

/// User of the nodes in Redis, with its password.
pub const NODE_REDIS_USER: (&str, &str) = ("discodeit_node", "node-password");

/// Number of Redis databases that the tests share out. Database 0 holds the counter.
const REDIS_DATABASES: u64 = 1_000;

/// Name of an empty database with the schema. A copy of it takes less time than the schema.
static TEMPLATE: OnceCell<String> = OnceCell::const_new();

/// Number of nodes that tests share.
const SHARED_NODES: usize = 2;

/// Runs the shared nodes: the runtime of a test ends with the test.
static SHARED_RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Runtime::new().expect("threads can be started"));

static SHARED_CLUSTER: OnceCell<Cluster> = OnceCell::const_new();

/// Nodes on a database, a Redis database and Kafka topics.
pub struct Cluster {
    settings: Vec<(String, String)>,
    /// The folder of `FILES_URL`.
    pub files: PathBuf,
    /// Empty if other tests use the nodes too.
    nodes: Vec<Option<Node>>,
    addresses: Vec<String>,
    /// Value of `X-Forwarded-For` in requests to shared nodes, whose limits per address must not add up over tests.
    client_address: Option<String>,
    /// Direct access to the nodes' database.
    pub db: PgPool,
    /// Direct access to the nodes' Redis database.
    pub redis: redis::aio::MultiplexedConnection,
}

/// A connection to the server and its address without a database, `postgres://user@host:port`.
async fn connect_to_server() -> (PgConnection, String) {
    let url = environment("TEST_DATABASE_URL");
    let (address, _) = url
        .rsplit_once('/')
        .expect("TEST_DATABASE_URL names a database");
    let connection = PgConnection::connect(&url).await;
    (connection.expect("PostgreSQL answers"), address.to_owned())
}

/// A pool without connections yet.
fn connect_lazily(url: &str) -> PgPool {
    let options = sqlx::postgres::PgPoolOptions::new().max_connections(2);
    options.connect_lazy(url).expect("a URL")
}

async fn connect_to_redis(url: &str) -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(url).expect("a URL");
    // The default of the client, half a second, is too short for a large answer on a busy machine.
    let patient = redis::AsyncConnectionConfig::new().set_response_timeout(Some(SOON));
    let connection = client.get_multiplexed_async_connection_with_config(&patient);
    connection.await.expect("Redis answers")
}

/// A database's URL with the nodes' role, which needs no password on the server of the tests.
fn as_node(database: &str) -> String {
    let (_, host) = database.split_once('@').expect("the URL names a user");
    format!("postgres://{NODE_ROLE}@{host}")
}

async fn create_database(connection: &mut PgConnection, name: &str, options: &str) {
    let create = sqlx::AssertSqlSafe(format!("create database {name} {options}"));
    let created = sqlx::query(create).execute(connection).await;
    created.expect("a database can be created");
}

/// Creates the nodes' role as deploy/db/roles.sql does, unless another run of the tests has created it.
async fn create_node_role(connection: &mut PgConnection) {
    let create = format!(
        "do $$ begin \
            create role {NODE_ROLE} login; \
            alter role {NODE_ROLE} set log_error_verbosity = terse; \
         exception when duplicate_object or unique_violation then null; \
         end $$"
    );
    let created = sqlx::query(sqlx::AssertSqlSafe(create))
        .execute(connection)
        .await;
    created.expect("a role can be created");
}

/// Creates the nodes' user in a Redis server, with the rules of deploy/redis/node.acl.
async fn create_redis_user(redis: &mut redis::aio::MultiplexedConnection) {
    let (name, password) = NODE_REDIS_USER;
    let rules = include_str!("../../../deploy/redis/node.acl");
    let mut command = redis::cmd("ACL");
    command
        .arg("SETUSER")
        .arg(name)
        .arg("on")
        .arg(format!(">{password}"));
    for rule in rules.split_whitespace() {
        command.arg(rule);
    }
    let () = command
        .query_async(redis)
        .await
        .expect("Redis creates a user");
}

/// Creates the template at the first call.
async fn template() -> &'static str {
    TEMPLATE
        .get_or_init(|| async {
            let name = format!("template_{}", uuid::Uuid::new_v4().simple());
            let (mut connection, address) = connect_to_server().await;
            create_node_role(&mut connection).await;
            create_database(&mut connection, &name, "").await;
            let owner = format!("{address}/{name}").parse().expect("a URL");
            // PostgreSQL copies only databases without connections.
            let prepared = store::prepare(&owner, Some(NODE_ROLE)).await;
            prepared.expect("the schema is created");
            name
        })
        .await
}

/// Username and password of the administrator.
pub const ADMIN: (&str, &str) = ("admin", "admin-password");

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.is_shared() {
            return;
        }
        // May fail, because a node that still runs may be writing there.
        drop(std::fs::remove_dir_all(&self.files));
    }
}

impl Cluster {
    /// Starts nodes and waits until they are ready.
    pub async fn start(nodes: usize) -> Self {
        Self::start_with(nodes, &[]).await
    }

    /// Starts nodes with extra settings, which override the usual ones, and waits until they are ready.
    pub async fn start_with(nodes: usize, extra: &[(&str, &str)]) -> Self {
        let options = format!("template {}", template().await);
        let mut cluster = Self::on_new_database(&options, extra).await;
        for _ in 0..nodes {
            cluster.add(&[]).await;
        }
        cluster
    }

    /// The first `nodes` of the nodes that tests share, which takes less time than nodes of one's own.
    ///
    /// For tests that neither stop nodes nor change settings, and that ignore what other tests do at the same time: public
    /// channels and users appear, and events about them reach every SSE stream.
    pub async fn shared(nodes: usize) -> Self {
        assert!(
            nodes <= SHARED_NODES,
            "there are {SHARED_NODES} shared nodes"
        );
        let start = || {
            let settings = [("TRUSTED_PROXIES", "127.0.0.0/8")];
            SHARED_RUNTIME.block_on(Self::start_with(SHARED_NODES, &settings))
        };
        let start = || async { spawn_blocking(start).await.expect("the nodes start") };
        let shared = SHARED_CLUSTER.get_or_init(start).await;
        let [a, b, c, ..] = uuid::Uuid::new_v4().into_bytes();
        Self {
            settings: shared.settings.clone(),
            files: shared.files.clone(),
            nodes: Vec::new(),
            addresses: shared.addresses[..nodes].to_vec(),
            client_address: Some(format!("10.{a}.{b}.{c}")),
            db: connect_lazily(shared.setting("DATABASE_URL")),
            redis: connect_to_redis(shared.setting("REDIS_URL")).await,
        }
    }

    /// A cluster without nodes, on a database without a schema.
    pub async fn without_schema() -> Self {
        Self::on_new_database("", &[]).await
    }

    async fn on_new_database(options: &str, extra: &[(&str, &str)]) -> Self {
        let name = format!("t{}", uuid::Uuid::new_v4().simple());
        let (mut connection, address) = connect_to_server().await;
        create_node_role(&mut connection).await;
        create_database(&mut connection, &name, options).await;
        let database = format!("{address}/{name}");

        let server = environment("TEST_REDIS_URL");
        let mut redis = connect_to_redis(&server).await;
        let number: u64 = redis::cmd("INCR")
            .arg("databases")
            .query_async(&mut redis)
            .await
            .expect("Redis counts");
        let redis_url = format!("{server}/{}", 1 + number % (REDIS_DATABASES - 1));
        create_redis_user(&mut redis).await;
        let (user, password) = NODE_REDIS_USER;
        let node_redis_url = redis_url.replace("redis://", &format!("redis://{user}:{password}@"));
        let mut redis = connect_to_redis(&redis_url).await;
        let () = redis::cmd("FLUSHDB")
            .query_async(&mut redis)
            .await
            .expect("Redis empties a database");

        let files = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&name);
        std::fs::create_dir_all(&files).expect("a folder can be made");
        let mut settings: Vec<(String, String)> = [
            ("FILES_URL", format!("file://{}", files.display()).as_str()),
            ("LISTEN", "127.0.0.1:0"),
            ("DATABASE_URL", &as_node(&database)),
            ("MIGRATION_DATABASE_URL", &database),
            ("DATABASE_POOL", "6"),
            ("REDIS_URL", &node_redis_url),
            ("KAFKA_BROKERS", &environment("TEST_KAFKA_BROKERS")),
            ("KAFKA_TOPIC_PREFIX", &format!("{name}.")),
            ("KAFKA_PARTITIONS", "2"),
            ("JWT_SECRET", "a secret of the tests, 32 bytes long"),
            ("ADMIN_USERNAME", ADMIN.0),
            ("ADMIN_EMAIL", "admin@example.org"),
            ("ADMIN_PASSWORD", ADMIN.1),
            ("DRAIN_DELAY", "50ms"),
            ("DRAIN_SPREAD", "200ms"),
            // Rates that no test reaches, unless it sets its own: tests act faster than people.
            ("MESSAGE_RATE", "1000"),
            ("REQUEST_RATE", "10000"),
            ("REQUESTS_PER_USER", "50"),
            ("UPLOADS_PER_USER", "64"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        settings.splice(
            0..0,
            extra
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        Self {
            settings,
            files,
            nodes: Vec::new(),
            addresses: Vec::new(),
            client_address: None,
            db: connect_lazily(&database),
            redis,
        }
    }

    fn is_shared(&self) -> bool {
        self.client_address.is_some()
    }

    /// The value of a setting.
    pub fn setting(&self, name: &str) -> &str {
        let setting = self.settings.iter().find(|(key, _)| key == name);
        setting.map(|(_, value)| value).expect("a setting")
    }

    /// The settings of a further node: the extra ones before those of the cluster. The first of a name counts.
    pub fn settings_with(&self, extra: &[(&str, &str)]) -> Vec<(String, String)> {
        let own = extra
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        own.chain(self.settings.iter().cloned()).collect()
    }

    /// Starts another node with extra settings, waits until it is ready, and returns its number.
    pub async fn add(&mut self, extra: &[(&str, &str)]) -> usize {
        let number = self.add_unready(extra).await;
        self.visitor(number).until_ready().await;
        number
    }

    /// Starts another node without waiting until it is ready.
    pub async fn add_unready(&mut self, extra: &[(&str, &str)]) -> usize {
        let number = self.nodes.len();
        let name = format!("node-{number}");
        let mut own = extra.to_vec();
        own.push(("NODE_NAME", &name));
        let settings = self.settings_with(&own);
        let find = |name: &str| {
            settings
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.clone())
        };
        let mut config = Config::read(&find).expect("the tests' settings are valid");
        // This program is the test.
        config.program = env!("CARGO_BIN_EXE_discodeit").into();
        let node = Node::start(config).await.expect("a node starts");
        self.addresses.push(node.address().to_string());
        self.nodes.push(Some(node));
        number
    }

    /// A running node.
    pub fn node(&self, number: usize) -> &Node {
        self.nodes[number].as_ref().expect("the node is running")
    }

    /// A proxy in front of the store that a setting names, and the setting's value for clients of the proxy.
    pub async fn cut(&self, setting: &str) -> (Cut, String) {
        let value = self.setting(setting);
        let start = value
            .find('@')
            .map(|at| at + 1)
            .or_else(|| value.find("//").map(|at| at + 2))
            .unwrap_or(0);
        let end = value[start..]
            .find('/')
            .map_or(value.len(), |slash| start + slash);
        let cut = Cut::before(&value[start..end]).await;
        let through = format!("{}{}{}", &value[..start], cut.address, &value[end..]);
        (cut, through)
    }

    /// Address of a node, `127.0.0.1:12345`.
    pub fn address(&self, number: usize) -> String {
        self.addresses[number].clone()
    }

    /// Stops a node at once, like a crash.
    pub async fn kill(&mut self, number: usize) {
        self.nodes[number]
            .take()
            .expect("the node is running")
            .kill()
            .await;
    }

    /// Drains a node. True if all its connections and requests ended in time.
    pub async fn drain(&mut self, number: usize) -> bool {
        self.nodes[number]
            .take()
            .expect("the node is running")
            .drain()
            .await
    }

    /// A client of a node that has not signed in.
    pub fn visitor(&self, node: usize) -> Visitor {
        Visitor::behind_proxy(&self.address(node), self.client_address.as_deref())
    }

    /// Signs a new user up and in at a node. The name gets a random suffix.
    pub async fn user(&self, node: usize, name: &str) -> User {
        User::sign_up(self.visitor(node), name).await
    }

    /// Signs an administrator in at a node: the configured one, or one of the test's own in a shared cluster.
    pub async fn admin(&self, node: usize) -> User {
        if !self.is_shared() {
            return User::sign_in(self.visitor(node), ADMIN.0, ADMIN.1).await;
        }
        let user = self.user(node, "admin").await;
        sqlx::query("update users set role = 'ADMIN' where id = $1::uuid")
            .bind(&user.id)
            .execute(&self.db)
            .await
            .expect("PostgreSQL answers");
        User::sign_in(self.visitor(node), &user.name, "password").await
    }

    /// Waits until all past events are published: a stream that is opened then does not receive them.
    pub async fn settled(&self) {
        eventually("every event is published", async || {
            let unpublished: i64 = sqlx::query_scalar(
                "select count(*) from outbox where topic = 'jobs' or sent_at is null",
            )
            .fetch_one(&self.db)
            .await
            .expect("PostgreSQL answers");
            unpublished == 0
        })
        .await;
    }

    /// Creates a public channel.
    pub async fn channel(&self) -> String {
        self.admin(0).await.create_channel("general").await
    }
}
