//! Nodes with their own database, Redis database and Kafka topics.

use std::path::{Path, PathBuf};

use discodeit::{Config, Node, store};
use sqlx::{Connection, PgConnection, PgPool};
use tokio::sync::OnceCell;

use super::{Cut, User, Visitor, eventually};

/// The environment that `make test` sets.
fn environment(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: the tests need real stores, run `make test`")
    })
}

/// Number of Redis databases that the tests share out. Database 0 holds the counter.
const REDIS_DATABASES: u64 = 1_000;

/// Name of an empty database with the schema. A copy of it takes less time than the schema.
static TEMPLATE: OnceCell<String> = OnceCell::const_new();

/// Nodes on a database, a Redis database and Kafka topics that no other test uses.
pub struct Cluster {
    settings: Vec<(String, String)>,
    /// The folder of `FILES_URL`.
    pub files: PathBuf,
    nodes: Vec<Option<Node>>,
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

async fn create_database(connection: &mut PgConnection, name: &str, options: &str) {
    let create = sqlx::AssertSqlSafe(format!("create database {name} {options}"));
    let created = sqlx::query(create).execute(connection).await;
    created.expect("a database can be created");
}

/// Creates the template at the first call.
async fn template() -> &'static str {
    TEMPLATE
        .get_or_init(|| async {
            let name = format!("template_{}", uuid::Uuid::new_v4().simple());
            let (mut connection, address) = connect_to_server().await;
            create_database(&mut connection, &name, "").await;
            let db = PgPool::connect(&format!("{address}/{name}")).await;
            let db = db.expect("PostgreSQL answers");
            store::prepare(&db).await.expect("the schema is created");
            // PostgreSQL copies only databases without connections.
            db.close().await;
            name
        })
        .await
}

/// Username and password of the administrator.
pub const ADMIN: (&str, &str) = ("admin", "admin-password");

impl Drop for Cluster {
    fn drop(&mut self) {
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

    /// A cluster without nodes, on a database without a schema.
    pub async fn without_schema() -> Self {
        Self::on_new_database("", &[]).await
    }

    async fn on_new_database(options: &str, extra: &[(&str, &str)]) -> Self {
        let name = format!("t{}", uuid::Uuid::new_v4().simple());
        let (mut connection, address) = connect_to_server().await;
        create_database(&mut connection, &name, options).await;
        let database = format!("{address}/{name}");

        let server = environment("TEST_REDIS_URL");
        let client = redis::Client::open(server.as_str()).expect("TEST_REDIS_URL is a URL");
        let mut redis = client
            .get_multiplexed_async_connection()
            .await
            .expect("Redis answers");
        let number: u64 = redis::cmd("INCR")
            .arg("databases")
            .query_async(&mut redis)
            .await
            .expect("Redis counts");
        let redis_url = format!("{server}/{}", 1 + number % (REDIS_DATABASES - 1));
        let client = redis::Client::open(redis_url.as_str()).expect("a URL");
        let mut redis = client
            .get_multiplexed_async_connection()
            .await
            .expect("Redis answers");
        let () = redis::cmd("FLUSHDB")
            .query_async(&mut redis)
            .await
            .expect("Redis empties a database");

        let files = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&name);
        std::fs::create_dir_all(&files).expect("a folder can be made");
        let mut settings: Vec<(String, String)> = [
            ("FILES_URL", format!("file://{}", files.display()).as_str()),
            ("LISTEN", "127.0.0.1:0"),
            ("DATABASE_URL", &database),
            ("DATABASE_POOL", "6"),
            ("REDIS_URL", &redis_url),
            ("KAFKA_BROKERS", &environment("TEST_KAFKA_BROKERS")),
            ("KAFKA_TOPIC_PREFIX", &format!("{name}.")),
            ("KAFKA_PARTITIONS", "2"),
            ("JWT_SECRET", "a secret of the tests, 32 bytes long"),
            ("ADMIN_USERNAME", ADMIN.0),
            ("ADMIN_EMAIL", "admin@example.org"),
            ("ADMIN_PASSWORD", ADMIN.1),
            ("DRAIN_DELAY", "50ms"),
            ("DRAIN_SPREAD", "200ms"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        settings.splice(
            0..0,
            extra
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        let db = sqlx::postgres::PgPoolOptions::new()
            .max_connections(2)
            .connect_lazy(&database)
            .expect("a URL");
        Self {
            settings,
            files,
            nodes: Vec::new(),
            db,
            redis,
        }
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
        let own = extra
            .iter()
            .map(|(name, value)| (*name, *value))
            .chain([("NODE_NAME", name.as_str())]);
        let settings: Vec<(String, String)> = own
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .chain(self.settings.iter().cloned())
            .collect();
        let find = |name: &str| {
            settings
                .iter()
                .find(|(key, _)| key == name)
                .map(|(_, value)| value.clone())
        };
        let config = Config::read(&find).expect("the tests' settings are valid");
        self.nodes
            .push(Some(Node::start(config).await.expect("a node starts")));
        number
    }

    /// A running node.
    pub fn node(&self, number: usize) -> &Node {
        self.nodes[number].as_ref().expect("the node is running")
    }

    /// A proxy in front of the store that a setting names, and the setting's value for clients of the proxy.
    pub async fn cut(&self, setting: &str) -> (Cut, String) {
        let value = self
            .settings
            .iter()
            .find(|(name, _)| name == setting)
            .map(|(_, value)| value.clone())
            .expect("a setting");
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
        self.node(number).address().to_string()
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
        Visitor::new(&self.address(node))
    }

    /// Signs a new user up and in at a node. The name gets a random suffix.
    pub async fn user(&self, node: usize, name: &str) -> User {
        let name = format!("{name}-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        let visitor = self.visitor(node);
        let answer = visitor
            .sign_up(&name, &format!("{name}@example.org"), "password")
            .await;
        assert_eq!(answer.status, 201, "{answer:?}");
        User::sign_in(visitor, &name, "password").await
    }

    /// Signs the administrator in at a node.
    pub async fn admin(&self, node: usize) -> User {
        User::sign_in(self.visitor(node), ADMIN.0, ADMIN.1).await
    }

    /// Waits until all past events are published: a stream that is opened then does not receive them.
    pub async fn settled(&self) {
        eventually("every event is published", async || {
            let unpublished: i64 = sqlx::query_scalar("select count(*) from outbox")
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
