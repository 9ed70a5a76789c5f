//! Nodes on stores of their own.

use std::path::{Path, PathBuf};

use discodeit::{Config, Node};
use sqlx::{Connection, PgConnection, PgPool};

use super::{Cut, User, Visitor, eventually};

/// The environment that `make test` sets.
fn environment(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: the tests need real stores, run `make test`")
    })
}

/// Redis databases that the tests share out; the first counts them.
const REDIS_DATABASES: u64 = 1_000;

/// Some nodes on a database, a Redis database and Kafka topics that nobody else uses.
pub struct Cluster {
    settings: Vec<(String, String)>,
    /// What the nodes have as `FILES_URL`.
    pub files: PathBuf,
    nodes: Vec<Option<Node>>,
    /// For looking at what the nodes have stored.
    pub db: PgPool,
    /// Likewise.
    pub redis: redis::aio::MultiplexedConnection,
}

/// The name and password of the admin account.
pub const ADMIN: (&str, &str) = ("admin", "admin-password");

impl Drop for Cluster {
    fn drop(&mut self) {
        // A node that is still running may be writing there.
        drop(std::fs::remove_dir_all(&self.files));
    }
}

impl Cluster {
    /// Starts that many nodes and waits until they are ready.
    pub async fn start(nodes: usize) -> Self {
        Self::start_with(nodes, &[]).await
    }

    /// Likewise, with settings beside the usual ones.
    pub async fn start_with(nodes: usize, extra: &[(&str, &str)]) -> Self {
        let name = format!("t{}", uuid::Uuid::new_v4().simple());
        let server = environment("TEST_DATABASE_URL");
        let (address, _) = server
            .rsplit_once('/')
            .expect("TEST_DATABASE_URL names a database");
        let mut connection = PgConnection::connect(&server)
            .await
            .expect("PostgreSQL answers");
        let create = sqlx::AssertSqlSafe(format!("create database {name}"));
        sqlx::query(create)
            .execute(&mut connection)
            .await
            .expect("a database can be created");
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
        let mut cluster = Self {
            settings,
            files,
            nodes: Vec::new(),
            db,
            redis,
        };
        for _ in 0..nodes {
            cluster.add(&[]).await;
        }
        cluster
    }

    /// Starts a node more, with settings that come before the cluster's, and waits until it is ready. Returns its number.
    pub async fn add(&mut self, extra: &[(&str, &str)]) -> usize {
        let number = self.add_unready(extra).await;
        self.visitor(number).until_ready().await;
        number
    }

    /// Likewise, but does not wait.
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
        let config = Config::read(&find).expect("the tests' settings are right");
        self.nodes
            .push(Some(Node::start(config).await.expect("a node starts")));
        number
    }

    /// A running node.
    pub fn node(&self, number: usize) -> &Node {
        self.nodes[number].as_ref().expect("the node is running")
    }

    /// A proxy in front of the store that this setting names, and the setting's value behind the proxy.
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

    /// Where a node listens, `127.0.0.1:12345`.
    pub fn address(&self, number: usize) -> String {
        self.node(number).address().to_string()
    }

    /// Ends a node as a crash would.
    pub async fn kill(&mut self, number: usize) {
        self.nodes[number]
            .take()
            .expect("the node is running")
            .kill()
            .await;
    }

    /// Ends a node in good order. True if everything on it ended by itself.
    pub async fn drain(&mut self, number: usize) -> bool {
        self.nodes[number]
            .take()
            .expect("the node is running")
            .drain()
            .await
    }

    /// Somebody who has not signed in, at that node.
    pub fn visitor(&self, node: usize) -> Visitor {
        Visitor::new(&self.address(node))
    }

    /// Signs up and in at that node. The name gets a random end.
    pub async fn user(&self, node: usize, name: &str) -> User {
        let name = format!("{name}-{}", &uuid::Uuid::new_v4().simple().to_string()[..8]);
        let visitor = self.visitor(node);
        let answer = visitor
            .sign_up(&name, &format!("{name}@example.org"), "password")
            .await;
        assert_eq!(answer.status, 201, "{answer:?}");
        User::sign_in(visitor, &name, "password").await
    }

    /// The administrator, at that node.
    pub async fn admin(&self, node: usize) -> User {
        User::sign_in(self.visitor(node), ADMIN.0, ADMIN.1).await
    }

    /// Waits until everything that has happened so far has been told: a stream that is opened then hears nothing of it.
    pub async fn settled(&self) {
        eventually("everything has been told", async || {
            let untold: i64 = sqlx::query_scalar("select count(*) from outbox")
                .fetch_one(&self.db)
                .await
                .expect("PostgreSQL answers");
            untold == 0
        })
        .await;
    }

    /// A public channel.
    pub async fn channel(&self) -> String {
        self.admin(0).await.create_channel("general").await
    }
}
