//! An S3 bucket for one test, which may stop and restart the server.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::eventually;

/// Access key of the server, and also its secret.
const KEY: &str = "S3RVER";

/// An S3 server with one bucket.
pub struct Bucket {
    port: u16,
    folder: PathBuf,
    process: Child,
}

impl Bucket {
    /// Starts the server on a free port.
    pub async fn start() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("bucket-{port}"));
        std::fs::create_dir_all(&folder).expect("a folder");
        let bucket = Self {
            port,
            process: spawn(port, &folder),
            folder,
        };
        bucket.wait().await;
        bucket
    }

    /// Settings of a node that stores its files in this bucket.
    pub fn settings(&self) -> [(&'static str, String); 6] {
        [
            ("FILES_URL", "s3://bucket/some/prefix".to_owned()),
            ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", KEY.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            (
                "AWS_ENDPOINT_URL",
                format!("http://127.0.0.1:{}", self.port),
            ),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
        ]
    }

    /// Names of the objects in `incoming` or `files`.
    pub fn stored(&self, folder: &str) -> Vec<String> {
        let folder = self.folder.join("bucket/some/prefix").join(folder);
        let Ok(entries) = std::fs::read_dir(folder) else {
            return Vec::new();
        };
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let names = names.map(|name| name.to_string_lossy().into_owned());
        // The server stores content and metadata of an object in separate files.
        names
            .filter_map(|name| name.strip_suffix("._S3rver_object").map(str::to_owned))
            .collect()
    }

    /// Stops the server.
    pub fn end(&mut self) {
        self.process.kill().expect("the server runs");
        self.process.wait().expect("the server ends");
    }

    /// Restarts the server with its stored objects.
    pub async fn start_again(&mut self) {
        self.process = spawn(self.port, &self.folder);
        self.wait().await;
    }

    async fn wait(&self) {
        eventually("the S3 server answers", async || {
            let address = ("127.0.0.1", self.port);
            tokio::net::TcpStream::connect(address).await.is_ok()
        })
        .await;
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

fn spawn(port: u16, folder: &Path) -> Child {
    let server =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/s3/node_modules/s3rver/bin/s3rver.js");
    assert!(
        server.exists(),
        "the S3 server is not installed: dev/install bucket"
    );
    Command::new("node")
        .arg(server)
        .args(["--silent", "--no-vhost-buckets", "--address", "127.0.0.1"])
        .arg("--port")
        .arg(port.to_string())
        .arg("--directory")
        .arg(folder)
        .args(["--configure-bucket", "bucket"])
        .stdout(Stdio::null())
        .spawn()
        .expect("Node is installed: dev/install bucket")
}
