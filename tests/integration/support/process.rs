//! A node in a process of its own.

use std::{
    net::TcpListener,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use tokio::{net::TcpStream, time::Instant};

use super::{Cluster, SOON, Visitor};

/// The process. It is killed when dropped.
pub struct NodeProcess {
    process: Child,
    /// A client of the node.
    pub visitor: Visitor,
}

impl NodeProcess {
    /// Starts a node with these settings only. The settings of other nodes may be in the environment of the tests.
    pub fn start(settings: &[(String, String)]) -> Self {
        Self::start_with(
            Command::new(env!("CARGO_BIN_EXE_discodeit"))
                .env_clear()
                .envs(settings.iter().rev().cloned()),
        )
    }

    /// Starts a node by a command, whose environment lacks only the address.
    pub fn start_with(command: &mut Command) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("an address").to_string();
        drop(free);
        let process = command
            .env("LISTEN", &address)
            .stdout(Stdio::null())
            .spawn()
            .expect("a node starts");
        Self {
            process,
            visitor: Visitor::new(&address),
        }
    }

    /// The address, `127.0.0.1:12345`.
    pub fn address(&self) -> &str {
        self.visitor.base.trim_start_matches("http://")
    }

    /// Waits until the node listens.
    pub async fn listens(&self) {
        let deadline = Instant::now() + SOON;
        while TcpStream::connect(self.address()).await.is_err() {
            assert!(Instant::now() < deadline, "the node listens");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the process has ended by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(status) = self.process.try_wait().expect("the process is ours") {
                return status;
            }
            assert!(Instant::now() < deadline, "the process ends");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The exit code and the output of `discodeit` with these arguments and the settings of a cluster.
pub async fn run_command(cluster: &Cluster, arguments: &[&str]) -> (Option<i32>, String) {
    run_command_with(cluster, &[], arguments).await
}

/// The same, with further settings.
pub async fn run_command_with(
    cluster: &Cluster,
    extra: &[(&str, &str)],
    arguments: &[&str],
) -> (Option<i32>, String) {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_discodeit"))
        .args(arguments)
        .env_clear()
        .envs(cluster.settings_with(extra).into_iter().rev())
        .output()
        .await
        .expect("the program starts");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}
