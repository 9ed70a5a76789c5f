//! A Kafka broker for one test, which may kill and restart it.

use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer},
};
use tokio::task::spawn_blocking;

use super::eventually_within;

/// One broker, started by `dev/broker`.
pub struct Broker {
    ports: [u16; 2],
    folder: PathBuf,
    process: Option<Child>,
}

impl Broker {
    /// Starts a broker on two free ports.
    pub async fn start() -> Self {
        let free = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let ports = free
            .each_ref()
            .map(|listener| listener.local_addr().expect("an address").port());
        drop(free);
        let folder =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("broker-{}", ports[0]));
        std::fs::create_dir_all(&folder).expect("a folder");
        let mut broker = Self {
            ports,
            folder,
            process: None,
        };
        broker.start_again().await;
        broker
    }

    /// The bootstrap address for nodes.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0])
    }

    /// Starts the broker with its stored data and waits until it answers.
    pub async fn start_again(&mut self) {
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/dev/broker");
        let process = Command::new(program)
            .arg(self.folder.join("data"))
            .args(self.ports.map(|port| port.to_string()))
            .stdout(Stdio::null())
            .spawn()
            .expect("dev/broker can be run");
        self.process = Some(process);
        let address = self.address();
        // The JVM starts slowly on a busy machine.
        eventually_within(Duration::from_mins(1), "the broker answers", async || {
            let address = address.clone();
            spawn_blocking(move || answers(&address))
                .await
                .expect("the request ends")
        })
        .await;
    }

    /// Kills the process, like a crash.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("the broker runs");
            process.wait().expect("the broker ends");
        }
    }

    /// Kills the broker and deletes its data.
    pub fn lose_everything(&mut self) {
        self.kill();
        std::fs::remove_dir_all(self.folder.join("data")).expect("the data is deleted");
    }
}

fn answers(address: &str) -> bool {
    let client: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", address)
        .set("log.connection.close", "false")
        .create()
        .expect("a client");
    client
        .fetch_metadata(None, Duration::from_secs(1))
        .is_ok_and(|metadata| !metadata.brokers().is_empty())
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
        drop(std::fs::remove_dir_all(&self.folder));
    }
}
