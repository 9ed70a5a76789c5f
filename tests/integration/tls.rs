//! A node that reaches its stores with TLS and passwords, on the stores of `dev/stack start tls`.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::support::{Answer, SOON, Visitor};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The stores. They stop when dropped.
struct Stores;

impl Stores {
    fn run(command: &str) {
        let status = Command::new("dev/stack")
            .args([command, "tls"])
            .current_dir(ROOT)
            .status();
        assert!(status.expect("dev/stack can be run").success(), "{command}");
    }

    fn start() -> Self {
        Self::run("start");
        Self
    }
}

impl Drop for Stores {
    fn drop(&mut self) {
        Self::run("stop");
    }
}

/// A node in a process of its own, because its clients read `SSL_CERT_FILE` from the environment.
struct NodeProcess {
    process: Child,
    visitor: Visitor,
}

impl NodeProcess {
    /// Starts a node whose environment `change`, shell commands, alters.
    fn start(change: &str) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("an address").to_string();
        drop(free);
        let process = Command::new("bash")
            .args(["-c", r#"eval "$(dev/stack env tls)"; eval "$1"; exec "$0""#])
            .args([env!("CARGO_BIN_EXE_discodeit"), change])
            .current_dir(ROOT)
            // The settings of other nodes may be in the environment of the tests.
            .env_clear()
            .envs(std::env::vars().filter(|(name, _)| ["HOME", "PATH"].contains(&name.as_str())))
            .env("LISTEN", &address)
            .env(
                "FILES_URL",
                concat!("file://", env!("CARGO_TARGET_TMPDIR"), "/tls"),
            )
            .env("JWT_SECRET", "a secret of the tests, 32 bytes long")
            .stdout(Stdio::null())
            .spawn()
            .expect("a node starts");
        Self {
            process,
            visitor: Visitor::new(&address),
        }
    }

    /// The answer of `/api/health/ready`, once the node listens.
    async fn health(&self) -> Answer {
        let address = self.visitor.base.trim_start_matches("http://");
        let deadline = tokio::time::Instant::now() + SOON;
        while tokio::net::TcpStream::connect(address).await.is_err() {
            assert!(tokio::time::Instant::now() < deadline, "the node listens");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.visitor.get("/api/health/ready").await
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_reaches_its_stores_with_tls_and_verifies_their_certificates() {
    let _stores = tokio::task::spawn_blocking(Stores::start)
        .await
        .expect("the stores start");

    let node = NodeProcess::start("");
    node.health().await;
    node.visitor.until_ready().await;

    // PostgreSQL's log names no user whose name or address is taken.
    let (name, address) = ("ann-of-the-log", "ann-of-the-log@example.org");
    assert_eq!(
        node.visitor.sign_up(name, address, "password").await.status,
        201
    );
    assert_eq!(
        node.visitor
            .sign_up(name, "other@example.org", "password")
            .await
            .status,
        409
    );
    assert_eq!(
        node.visitor
            .sign_up("other", address, "password")
            .await
            .status,
        409
    );
    let log = std::fs::read_to_string(format!("{ROOT}/.run/tls/logs/postgres.log"));
    let log = log.expect("PostgreSQL writes a log");
    assert!(log.contains("duplicate key value"), "{log}");
    assert!(!log.contains("ann-of-the-log"), "{log}");
    drop(node);

    let by_address = "for name in DATABASE_URL REDIS_URL KAFKA_BROKERS; do \
        export $name=${!name/localhost/127.0.0.1}; done";
    let wrong_passwords = "export KAFKA_PASSWORD=wrong; for name in DATABASE_URL REDIS_URL; do \
        export $name=$(sed 's/:[^:]*@/:wrong@/' <<< ${!name}); done";
    for change in ["unset SSL_CERT_FILE", by_address, wrong_passwords] {
        let node = NodeProcess::start(change);
        for _ in 0..10 {
            let answer = node.health().await;
            for store in ["postgres", "redis", "kafka"] {
                let state = &answer.body["details"][store];
                assert_eq!(state, &Value::from("DOWN"), "{change}: {answer:?}");
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}
