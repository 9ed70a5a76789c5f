//! A Redis server for one test, which may crash and restart it.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use super::eventually;

/// A `redis-server` that writes its data to disk only at [`RedisServer::save`].
pub struct RedisServer {
    port: u16,
    folder: PathBuf,
    process: Child,
}

impl RedisServer {
    /// Starts the server on a free port.
    pub async fn start() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("redis-{port}"));
        std::fs::create_dir_all(&folder).expect("a folder");
        let server = Self {
            port,
            process: spawn(port, &folder),
            folder,
        };
        server.wait().await;
        server
    }

    /// The URL of database 0.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// The address.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Makes the server a replica of another one, or a master.
    pub async fn replicate(&self, master: Option<&Self>) {
        let (host, port) = match master {
            Some(master) => ("127.0.0.1", master.port.to_string()),
            None => ("no", "one".to_owned()),
        };
        let () = redis::cmd("REPLICAOF")
            .arg(host)
            .arg(port)
            .query_async(&mut self.connect().await)
            .await
            .expect("Redis takes the role");
    }

    /// Number of keys.
    pub async fn keys(&self) -> usize {
        redis::cmd("DBSIZE")
            .query_async(&mut self.connect().await)
            .await
            .expect("Redis answers")
    }

    /// Opens a connection.
    pub async fn connect(&self) -> redis::aio::MultiplexedConnection {
        redis::Client::open(self.url())
            .expect("a URL")
            .get_multiplexed_async_connection()
            .await
            .expect("Redis answers")
    }

    /// Writes all data to disk.
    pub async fn save(&self) {
        let () = redis::cmd("SAVE")
            .query_async(&mut self.connect().await)
            .await
            .expect("Redis saves");
    }

    /// Kills the server and restarts it with the last saved data, like a power failure.
    pub async fn crash_and_start(&mut self) {
        self.process.kill().expect("Redis runs");
        self.process.wait().expect("Redis ends");
        self.process = spawn(self.port, &self.folder);
        self.wait().await;
    }

    async fn wait(&self) {
        eventually("Redis answers", async || {
            let client = redis::Client::open(self.url()).expect("a URL");
            let Ok(mut connection) = client.get_multiplexed_async_connection().await else {
                return false;
            };
            let pong: redis::RedisResult<String> =
                redis::cmd("PING").query_async(&mut connection).await;
            pong.is_ok()
        })
        .await;
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

fn spawn(port: u16, folder: &std::path::Path) -> Child {
    Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .arg("--port")
        .arg(port.to_string())
        .arg("--dir")
        .arg(folder)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed: dev/install stores")
}
