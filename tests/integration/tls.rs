//! A node that reaches its stores with TLS and passwords, on the stores of `dev/stack start tls`.

use std::{process::Command, time::Duration};

use serde_json::Value;

use crate::support::NodeProcess;

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

/// The output of `discodeit doctor` in an environment that `change` alters.
fn doctor(change: &str) -> String {
    let output = command(change, "doctor").output().expect("bash runs");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Starts a node whose environment `change`, shell commands, alters. It is a process of its own, because its clients read
/// `SSL_CERT_FILE` from the environment.
fn start_node(change: &str) -> NodeProcess {
    NodeProcess::start_with(&mut command(change, ""))
}

/// The program with an argument, on these stores.
fn command(change: &str, argument: &str) -> Command {
    let mut command = Command::new("bash");
    command
        .args([
            "-c",
            r#"eval "$(dev/stack env tls)"; eval "$1"; exec "$0" $2"#,
        ])
        .args([env!("CARGO_BIN_EXE_discodeit"), change, argument])
        .current_dir(ROOT)
        // The settings of other nodes may be in the environment of the tests.
        .env_clear()
        .envs(std::env::vars().filter(|(name, _)| ["HOME", "PATH"].contains(&name.as_str())))
        .env(
            "FILES_URL",
            concat!("file://", env!("CARGO_TARGET_TMPDIR"), "/tls"),
        )
        .env("JWT_SECRET", "a secret of the tests, 32 bytes long");
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_reaches_its_stores_with_tls_and_verifies_their_certificates() {
    let _stores = tokio::task::spawn_blocking(Stores::start)
        .await
        .expect("the stores start");

    let node = start_node("");
    node.listens().await;
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
    let without_tls = "export KAFKA_TLS=false DATABASE_URL=${DATABASE_URL/verify-full/disable} \
        REDIS_URL=${REDIS_URL/rediss:/redis:}";
    for (change, expected) in [
        (
            "unset SSL_CERT_FILE",
            [
                "UnknownIssuer. No authority that this machine trusts",
                "UnknownIssuer. No authority that this machine trusts",
                "certificate verify failed",
            ],
        ),
        (
            by_address,
            [
                "The URL must have a name that the certificate has.",
                "The URL must have a name that the certificate has.",
                "certificate verify failed",
            ],
        ),
        (
            wrong_passwords,
            [
                "refuses the user or the password in DATABASE_URL",
                "refuses the user or the password in REDIS_URL",
                "invalid credentials",
            ],
        ),
        (
            without_tls,
            [
                "accepts connections with TLS only",
                "Does Redis expect TLS at this port?",
                "cannot be reached with KAFKA_BROKERS",
            ],
        ),
    ] {
        let output = tokio::task::spawn_blocking(move || doctor(change)).await;
        let output = output.expect("it runs");
        let faults: Vec<&str> = output
            .lines()
            .filter(|line| line.starts_with("FAULT"))
            .collect();
        assert_eq!(faults.len(), 3, "{change}: {output}");
        for (fault, expected) in faults.iter().zip(expected) {
            assert!(fault.contains(expected), "{change}: {expected}: {fault}");
        }
    }
    for change in ["unset SSL_CERT_FILE", by_address, wrong_passwords] {
        let node = start_node(change);
        node.listens().await;
        for _ in 0..10 {
            let answer = node.visitor.get("/api/health/ready").await;
            for store in ["postgres", "redis", "kafka"] {
                let state = &answer.body["details"][store];
                assert_eq!(state, &Value::from("DOWN"), "{change}: {answer:?}");
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}
