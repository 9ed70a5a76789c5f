//! The guide to Redis, `docs/redis.md`, compared with a running system.
//!
//! redis-cli prints the output that the guide shows for each command, and the table lists every key.

use std::{collections::BTreeSet, fmt::Write as _, process::Command, time::Duration};

use crate::support::{Cluster, Sse, User, eventually};

const GUIDE: &str = include_str!("../../docs/redis.md");

/// The commands of the guide with their output.
fn examples() -> Vec<(&'static str, &'static str)> {
    let fences = GUIDE.split("```\n").skip(1).step_by(2);
    fences
        .flat_map(|fence| fence.split("> ").skip(1))
        .map(|example| example.split_once('\n').expect("a command and its output"))
        .collect()
}

/// The keys of the table with their types. A placeholder becomes `*`.
fn documented() -> Vec<(String, &'static str)> {
    let rows = GUIDE.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let mut cells = row.split('|').map(str::trim).skip(1);
        let key = cells.next().expect("a key").trim_matches('`');
        let pattern = [
            "{node}",
            "{sid}",
            "{userId}",
            "{username}",
            "{address}",
            "{stream}",
        ]
        .into_iter()
        .fold(key.to_owned(), |key, name| key.replace(name, "*"));
        (pattern, cells.next().expect("a type"))
    })
    .collect()
}

fn matches(pattern: &str, key: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == key,
        Some((start, rest)) => key.strip_prefix(start).is_some_and(|key| {
            // Tries every suffix: no value of a placeholder contains the text after the placeholder.
            rest.is_empty() && !key.contains(':')
                || rest.is_empty() && start == "sse:seen:"
                || !rest.is_empty() && key.char_indices().any(|(at, _)| matches(rest, &key[at..]))
        }),
    }
}

/// Replaces values that differ between runs with a name for their kind.
fn normalised(text: &str) -> String {
    let kind = |word: &str| {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
        if word.parse::<uuid::Uuid>().is_ok() && word.len() == 36 {
            "<uuid>"
        } else if word
            .split_once('-')
            .is_some_and(|(a, b)| digits(a) && digits(b))
        {
            "<entry>"
        } else if digits(word) && word.len() == 13 {
            "<ms>"
        } else if word.len() == 8 && hex(word) {
            // Precedes the numbers, because a hexadecimal word may have no letters.
            "<run>"
        } else if digits(word) && word.len() >= 2 {
            "<number>"
        } else if word.len() == 43 {
            "<hash>"
        } else if word.len() >= 20 && word.ends_with('Z') && word.contains('T') {
            "<instant>"
        } else {
            return word.to_owned();
        }
        .to_owned()
    };
    let mut result = String::new();
    for line in text.trim_end().lines() {
        // Keeps the numbers before the elements of a list.
        let at = line.find(['"', '(']).unwrap_or(0);
        let (lead, rest) = line.split_at(at);
        result.push_str(lead);
        let mut word = String::new();
        for c in rest.chars().chain(['\n']) {
            if c.is_alphanumeric() || "-_.".contains(c) || (c == ':' && word.contains('T')) {
                word.push(c);
            } else {
                write!(result, "{}{c}", kind(&word)).expect("a write to a string succeeds");
                word.clear();
            }
        }
    }
    result
}

struct RedisCli {
    port: String,
    database: String,
    bob: User,
    /// A user who has signed out.
    gone: User,
}

impl RedisCli {
    /// Output of redis-cli for a command, with the identifiers of this system.
    fn run(&self, command: &str) -> String {
        let words = command.split(' ').map(|word| {
            let (key, id) = word.rsplit_once(':').unwrap_or(("", word));
            match key {
                "sse:user" | "sessions" => format!("{key}:{}", self.bob.id),
                "sse:seen:{sse:user" => format!("{key}:{}}}", self.bob.id),
                "session" => format!("{key}:{}", session(&self.bob)),
                _ if id == "ended" => format!("session:{}:{id}", session(&self.gone)),
                "ratelimit:{login}:pair" | "ratelimit:{login}:known" => {
                    word.replace("bob", &self.bob.name)
                }
                _ => format!("{key}{}{id}", if key.is_empty() { "" } else { ":" }),
            }
        });
        self.cli(words.collect::<Vec<_>>())
    }

    fn cli(&self, words: Vec<String>) -> String {
        let output = Command::new("redis-cli")
            .args(["-p", &self.port, "-n", &self.database, "--no-raw"])
            .args(words)
            .output()
            .expect("redis-cli is installed: dev/install stores");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }
}

fn session(user: &User) -> String {
    User::claims(user.token())["sid"]
        .as_str()
        .expect("a token names its session")
        .to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_redis_guide_matches_a_running_system() {
    let cluster = Cluster::start(1).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let config = &cluster.node(0).app().config;
    let (server, database) = config
        .redis_url
        .expose()
        .rsplit_once('/')
        .expect("a database");
    let (_, port) = server.rsplit_once(':').expect("a port");
    let gone = User::sign_in(cluster.visitor(0), &ann.name, "password").await;
    assert_eq!(gone.post_csrf("/api/auth/logout").await.status, 204);
    let redis_cli = RedisCli {
        port: port.to_owned(),
        database: database.to_owned(),
        bob: bob.clone(),
        gone,
    };
    assert_eq!(
        cluster.visitor(0).login(&bob.name, "wrong").await.status,
        401
    );
    assert_eq!(
        cluster.visitor(0).login("nobody", "wrong").await.status,
        401
    );
    assert_eq!(bob.post_csrf("/api/auth/refresh").await.status, 200);
    let mut stream = Sse::open(&bob, None).await;
    stream.expect("sync").await;
    cluster.admin(0).await.create_channel("news").await;
    ann.create_private(&[&bob]).await;
    stream.expect("channels.refresh").await;
    stream.expect("channels.refresh").await;
    // Nodes announce presence changes within 1 s, so the keys of pending changes exist only briefly.
    let mut redis = cluster.redis.clone();
    let mut keys = BTreeSet::new();
    let table = documented();
    assert!(table.len() >= 10, "{table:?}");
    eventually("every key of the table has existed", async || {
        drop(Sse::open(&ann, None).await);
        let now: Vec<String> = redis::cmd("KEYS")
            .arg("*")
            .query_async(&mut redis)
            .await
            .expect("Redis answers");
        for key in now {
            let row = table.iter().find(|(pattern, _)| matches(pattern, &key));
            let (_, kind) = row.unwrap_or_else(|| panic!("{key} is not in the guide's table"));
            let actual: String = redis::cmd("TYPE")
                .arg(&key)
                .query_async(&mut redis)
                .await
                .expect("Redis answers");
            // A short-lived key may no longer exist.
            assert!(actual == *kind || actual == "none", "{key} is a {actual}");
            keys.insert(key);
        }
        let seen = |pattern: &str| keys.iter().any(|key| matches(pattern, key));
        // A change that is announced in the same pass never enters the first set, and the second only briefly.
        let passing = [":changed", ":announcing"];
        table
            .iter()
            .all(|(pattern, _)| seen(pattern) || passing.iter().any(|end| pattern.ends_with(end)))
    })
    .await;

    // The guide shows the key of sign-ups, and each sign-up prolongs it by 6 s.
    for number in 0..10 {
        let name = format!("somebody-{number}");
        let email = format!("{name}@example.org");
        let answer = cluster.visitor(0).sign_up(&name, &email, "password").await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    let examples = examples();
    let anns_stream = Sse::open(&ann, None).await;
    let admin = cluster.admin(0).await;
    let (mut last_output, mut different) = (String::new(), String::new());
    for (command, shown) in &examples {
        // Retries, because a presence announcement may be the newest event.
        let mut same = false;
        for _ in 0..5 {
            admin.create_channel("olds").await;
            stream.expect("channels.refresh").await;
            let printed = redis_cli.run(command);
            same = normalised(&printed) == normalised(shown);
            if same {
                break;
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
            last_output = printed;
        }
        if !same {
            write!(different, "> {command}\n{last_output}").expect("a write to a string succeeds");
        }
    }
    drop(anns_stream);
    assert!(different.is_empty(), "redis-cli prints:\n{different}");
    for (pattern, _) in &table {
        assert!(
            examples
                .iter()
                .any(|(command, _)| command.split(' ').any(|word| matches(pattern, word))),
            "the guide shows no command for {pattern}"
        );
    }
    // The guide's way to end a session by hand.
    redis_cli.cli(vec!["DEL".to_owned(), format!("session:{}", session(&bob))]);
    assert_eq!(bob.get("/api/users").await.status, 401);
}
