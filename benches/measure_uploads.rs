//! Measures a node's memory during concurrent uploads. `dev/measure uploads` starts a node and calls it.
//!
//! The files are attachments of messages. All have the same bytes, so that the driver uses little memory. The node's memory is
//! read every 20 ms; a peak between two readings is missed.

mod program;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use bytes::Bytes;
use reqwest::{Body, Client, multipart};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use program::{Outcome, print, run};

const USAGE: &str = "measure_uploads --at ADDRESS --node-pid P [flags], with ADMIN_USERNAME and ADMIN_PASSWORD in the environment
  --at A             the node
  --node-pid P       its process
  --uploads N        concurrent uploads (50)
  --mib N            size of each file in MiB (10)
  --rounds N         number of rounds (5)";

/// The command line.
struct Args {
    at: String,
    node_pid: u32,
    uploads: usize,
    mib: usize,
    rounds: usize,
}

impl Args {
    fn parse(words: &mut dyn Iterator<Item = String>) -> Outcome<Self> {
        let mut args = Self {
            at: String::new(),
            node_pid: 0,
            uploads: 50,
            mib: 10,
            rounds: 5,
        };
        while let Some(flag) = words.next() {
            let value = words
                .next()
                .ok_or_else(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--at" => args.at = value,
                "--node-pid" => args.node_pid = value.parse()?,
                "--uploads" => args.uploads = value.parse()?,
                "--mib" => args.mib = value.parse()?,
                "--rounds" => args.rounds = value.parse()?,
                _ => return Err(format!("unknown flag {flag}").into()),
            }
        }
        if args.at.is_empty() || args.node_pid == 0 || args.uploads * args.mib * args.rounds == 0 {
            return Err("--at or --node-pid is missing, or a number is 0".into());
        }
        Ok(args)
    }
}

fn main() -> ExitCode {
    run(USAGE, Args::parse, measure)
}

/// Resident memory of the process, in MiB.
fn resident(pid: u32) -> Outcome<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: f64 = line
        .and_then(|line| line.split_whitespace().next())
        .ok_or("the process has no VmRSS")?
        .parse()?;
    Ok(kib / 1024.0)
}

async fn measure(args: &Args) -> Outcome<()> {
    let uploader = Uploader::sign_in(args).await?;
    // The first upload creates connections and buffers that remain.
    uploader.upload(Bytes::from_static(b"warm-up")).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = resident(args.node_pid)?;
    print(&format!(
        "{} concurrent uploads of {} MiB; before: {before:.1} MiB resident",
        args.uploads, args.mib
    ))?;
    print("| round | seconds | MiB/s | slowest upload, s | peak, MiB | after, MiB |")?;
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")?;
    let content = Bytes::from(vec![0x5a; args.mib * 1024 * 1024]);
    for round in 1..=args.rounds {
        let started = Instant::now();
        let mut uploads = JoinSet::new();
        for _ in 0..args.uploads {
            let (uploader, content) = (uploader.clone(), content.clone());
            uploads.spawn(async move { uploader.upload(content).await });
        }
        let (mut peak, mut slowest) = (before, Duration::ZERO);
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        loop {
            tokio::select! {
                ended = uploads.join_next() => match ended {
                    Some(duration) => slowest = slowest.max(duration??),
                    None => break,
                },
                _ = tick.tick() => peak = peak.max(resident(args.node_pid)?),
            }
        }
        let seconds = started.elapsed().as_secs_f64();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let after = resident(args.node_pid)?;
        let mib = u32::try_from(args.uploads * args.mib)?;
        print(&format!(
            "| {round} | {seconds:.1} | {:.0} | {:.1} | {peak:.1} | {after:.1} |",
            f64::from(mib) / seconds,
            slowest.as_secs_f64()
        ))?;
    }
    uploader.delete_channel().await
}

/// The administrator, who uploads to a new channel.
#[derive(Clone)]
struct Uploader {
    http: Client,
    base: String,
    token: String,
    user: String,
    channel: String,
}

#[expect(
    clippy::disallowed_methods,
    reason = "secrets do not belong on a command line"
)]
fn variable(name: &str) -> Outcome<String> {
    std::env::var(name).map_err(|_| format!("{name} is not set").into())
}

fn string(value: &Value) -> Outcome<String> {
    Ok(value
        .as_str()
        .ok_or("the value is not a string")?
        .to_owned())
}

impl Uploader {
    async fn sign_in(args: &Args) -> Outcome<Self> {
        let http = Client::builder().no_proxy().build()?;
        let base = format!("http://{}/api", args.at);
        let login = json!({ "username": variable("ADMIN_USERNAME")?, "password": variable("ADMIN_PASSWORD")? });
        let answer = http.post(format!("{base}/auth/login")).json(&login);
        let token = string(&answer.send().await?.error_for_status()?.json().await?)?;
        let users = http.get(format!("{base}/users")).bearer_auth(&token);
        let users: Vec<Value> = users.send().await?.error_for_status()?.json().await?;
        let user = users
            .iter()
            .find(|user| user["username"] == login["username"])
            .ok_or("the administrator is not listed")?;
        let user = string(&user["id"])?;
        let channel = http
            .post(format!("{base}/channels/public"))
            .bearer_auth(&token)
            .json(&json!({ "name": "uploads", "description": "" }));
        let channel: Value = channel.send().await?.error_for_status()?.json().await?;
        Ok(Self {
            http,
            base,
            token,
            user,
            channel: string(&channel["id"])?,
        })
    }

    /// Posts a message with one file and returns the duration.
    async fn upload(&self, content: Bytes) -> Outcome<Duration> {
        let started = Instant::now();
        let message = json!({ "content": "", "channelId": self.channel, "authorId": self.user });
        let length = content.len() as u64;
        let file = multipart::Part::stream_with_length(Body::from(content), length)
            .file_name("measure.bin");
        let form = multipart::Form::new()
            .text("messageCreateRequest", message.to_string())
            .part("attachments", file);
        let answer = self
            .http
            .post(format!("{}/messages", self.base))
            .bearer_auth(&self.token)
            .multipart(form)
            .send()
            .await?;
        let status = answer.status();
        if status != 201 {
            return Err(format!("an upload got {status}: {}", answer.text().await?).into());
        }
        answer.bytes().await?;
        Ok(started.elapsed())
    }

    async fn delete_channel(&self) -> Outcome<()> {
        self.http
            .delete(format!("{}/channels/{}", self.base, self.channel))
            .bearer_auth(&self.token)
            .send()
            .await?
            .error_for_status()?;
        Ok(())
    }
}
