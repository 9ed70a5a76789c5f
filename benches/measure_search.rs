//! Measures the search in many messages, and its cost for those who write. `dev/measure search` starts a node and calls it.
//!
//! The driver writes messages of random words into PostgreSQL: half of the words are Korean, half Latin, and the n-th most frequent
//! word is n times as rare as the first. Then it searches over HTTP for words from the most frequent to the rarest.

mod program;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use reqwest::Client;
use serde_json::{Value, json};
use sqlx::{PgPool, postgres::PgPoolOptions};
use uuid::Uuid;

use program::{Outcome, print, run};

const USAGE: &str = "measure_search --at ADDRESS [--messages N] [--searches N], with ADMIN_USERNAME, ADMIN_PASSWORD and DATABASE_URL in the environment
  --at A             the node
  --messages N       messages to write (1000000)
  --searches N       searches of each kind (200)";

/// Words of the vocabulary.
const WORDS: usize = 50_000;
/// Channels that share the messages.
const CHANNELS: usize = 20;
/// Authors that share the messages.
const AUTHORS: usize = 50;
/// Messages of one statement while the database is filled, and in the measure of one insert: a group of the group commit.
const BATCHES: (usize, usize) = (5_000, 128);
/// Inserts of the measure.
const INSERTS: usize = 200;
/// The goal.
const MAX_P99: Duration = Duration::from_millis(50);

struct Args {
    at: String,
    messages: usize,
    searches: usize,
}

impl Args {
    fn parse(words: &mut dyn Iterator<Item = String>) -> Outcome<Self> {
        let mut args = Self {
            at: String::new(),
            messages: 1_000_000,
            searches: 200,
        };
        while let Some(flag) = words.next() {
            let value = words
                .next()
                .ok_or_else(|| format!("{flag} needs a value"))?;
            match flag.as_str() {
                "--at" => args.at = value,
                "--messages" => args.messages = value.parse()?,
                "--searches" => args.searches = value.parse()?,
                _ => return Err(format!("unknown flag {flag}").into()),
            }
        }
        if args.at.is_empty() || args.messages * args.searches == 0 {
            return Err("--at is missing, or a number is 0".into());
        }
        Ok(args)
    }
}

fn main() -> ExitCode {
    run(USAGE, Args::parse, measure)
}

#[expect(
    clippy::disallowed_methods,
    reason = "secrets do not belong on a command line"
)]
fn environment(name: &str) -> Outcome<String> {
    std::env::var(name).map_err(|_| format!("{name} is not set").into())
}

/// Random texts, the same in each run.
struct Texts {
    rng: StdRng,
    words: Vec<String>,
}

impl Texts {
    fn new() -> Self {
        let mut rng = StdRng::seed_from_u64(12);
        let words = (0..WORDS).map(|n| {
            if n % 2 == 0 {
                // Of the 11,172 syllables some hundreds are frequent.
                let syllable = |rng: &mut StdRng| {
                    let n = rng.random_range(0.0_f64..1.0).powi(3) * 2_000.0;
                    #[expect(
                        clippy::cast_possible_truncation,
                        clippy::cast_sign_loss,
                        reason = "0 to 2,000"
                    )]
                    char::from_u32(0xac00 + 5 * n as u32).unwrap_or('가')
                };
                let length = rng.random_range(2..=5);
                (0..length).map(|_| syllable(&mut rng)).collect()
            } else {
                let length = rng.random_range(2..=9);
                (0..length)
                    .map(|_| {
                        let letters = b"eeeeetttaaaooiinnsshhrrdlcumwfgypbvkjxqz";
                        char::from(letters[rng.random_range(0..letters.len())])
                    })
                    .collect()
            }
        });
        let words = words.collect();
        Self { rng, words }
    }

    /// A word; the n-th is n times as rare as the first.
    fn word(&mut self) -> &str {
        let place = self.rng.random_range(0.0_f64..1.0);
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let rank = (WORDS as f64).powf(place) - 1.0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to WORDS"
        )]
        let rank = rank as usize;
        &self.words[rank.min(WORDS - 1)]
    }

    fn message(&mut self) -> String {
        let length = self.rng.random_range(2..=16);
        let words: Vec<String> = (0..length).map(|_| self.word().to_owned()).collect();
        let link = self.rng.random_range(0..50) == 0;
        let text = words.join(" ");
        if link {
            format!("{text} https://example.org")
        } else {
            text
        }
    }
}

/// The database with its channels and authors.
struct Writer {
    db: PgPool,
    channels: Vec<Uuid>,
    authors: Vec<Uuid>,
    written: usize,
}

impl Writer {
    /// Writes a batch of messages, without events.
    async fn write(&mut self, texts: &mut Texts, batch: usize) -> Outcome<Duration> {
        const SQL: &str = "insert into messages (id, channel_id, seq, author_id, content, created_at, updated_at) \
                           select id, channel_id, seq, author_id, content, now(), now() \
                           from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::uuid[], $5::text[]) as n (id, channel_id, seq, author_id, content)";
        let (mut ids, mut channels, mut seqs, mut authors, mut contents) =
            (vec![], vec![], vec![], vec![], vec![]);
        for _ in 0..batch {
            self.written += 1;
            ids.push(Uuid::now_v7());
            channels.push(self.channels[self.written % CHANNELS]);
            seqs.push(i64::try_from(self.written)?);
            authors.push(self.authors[self.written / 7 % AUTHORS]);
            contents.push(texts.message());
        }
        let started = Instant::now();
        sqlx::query(SQL)
            .bind(ids)
            .bind(channels)
            .bind(seqs)
            .bind(authors)
            .bind(contents)
            .execute(&self.db)
            .await?;
        Ok(started.elapsed())
    }

    /// Waits until all messages are indexed, and returns how long that took.
    async fn indexed(&self) -> Outcome<Duration> {
        let started = Instant::now();
        loop {
            let behind: bool = sqlx::query_scalar("select exists (select from unindexed_messages)")
                .fetch_one(&self.db)
                .await?;
            if !behind {
                return Ok(started.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn percentile(times: &mut [Duration], per_mille: usize) -> f64 {
    times.sort_unstable();
    let rank = (times.len() * per_mille).div_ceil(1_000).max(1);
    times
        .get(rank - 1)
        .map_or(f64::NAN, |time| time.as_secs_f64() * 1_000.0)
}

/// Time of an insert of a group of messages, with the index of search and without it.
async fn measure_inserts(writer: &mut Writer, texts: &mut Texts) -> Outcome<()> {
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for (trigger, times) in [("enable", &mut with), ("disable", &mut without)] {
        let sql = format!("alter table messages {trigger} trigger messages_inserted");
        sqlx::query(sqlx::AssertSqlSafe(sql))
            .execute(&writer.db)
            .await?;
        for _ in 0..INSERTS {
            times.push(writer.write(texts, BATCHES.1).await?);
        }
        writer.indexed().await?;
    }
    sqlx::query("alter table messages enable trigger messages_inserted")
        .execute(&writer.db)
        .await?;
    print(&format!(
        "insert of {} messages: p50 {:.2} ms, p99 {:.2} ms; without search {:.2} ms and {:.2} ms",
        BATCHES.1,
        percentile(&mut with, 500),
        percentile(&mut with, 990),
        percentile(&mut without, 500),
        percentile(&mut without, 990),
    ))
}

/// The parameters of one search of a kind.
fn parameters(kind: &str, texts: &mut Texts, writer: &Writer) -> Vec<(&'static str, String)> {
    let n = texts.rng.random_range(0..1_000);
    let mut pick = |range: std::ops::Range<usize>, korean: bool| {
        let rank = texts.rng.random_range(range) / 2 * 2 + usize::from(!korean);
        texts.words[rank.min(WORDS - 1)].clone()
    };
    let two = |word: String| {
        word.chars()
            .skip(word.chars().count() - 2)
            .collect::<String>()
    };
    let channel = writer.channels[n % CHANNELS].to_string();
    let author = writer.authors[n % AUTHORS].to_string();
    match kind {
        "two syllables, frequent" => vec![("q", two(pick(0..50, true)))],
        "two syllables, any" => vec![("q", two(pick(0..WORDS, true)))],
        "Latin word, frequent" => vec![("q", pick(0..50, false))],
        "Latin word, any" => vec![("q", pick(0..WORDS, false))],
        "two words" => vec![(
            "q",
            format!("{} {}", pick(0..500, true), pick(0..500, false)),
        )],
        "phrase" => vec![(
            "q",
            format!("\"{} {}\"", pick(0..50, true), pick(0..50, false)),
        )],
        "in a channel" => vec![("q", two(pick(0..5_000, true))), ("channelId", channel)],
        "links of an author" => vec![
            ("q", two(pick(0..50, true))),
            ("has", "link".to_owned()),
            ("authorId", author),
        ],
        _ => vec![("q", format!("없는{n}없는"))],
    }
}

const KINDS: [&str; 9] = [
    "two syllables, frequent",
    "two syllables, any",
    "Latin word, frequent",
    "Latin word, any",
    "two words",
    "phrase",
    "in a channel",
    "links of an author",
    "nothing",
];

async fn measure(args: &Args) -> Outcome<()> {
    let http = Client::builder().no_proxy().build()?;
    let base = format!("http://{}/api", args.at);
    let answer = async |request: reqwest::RequestBuilder| -> Outcome<Value> {
        let response = request.send().await?;
        let status = response.status();
        let text = response.text().await?;
        if !status.is_success() {
            return Err(format!("{status}: {text}").into());
        }
        Ok(serde_json::from_str(&text)?)
    };
    let login = json!({ "username": environment("ADMIN_USERNAME")?, "password": environment("ADMIN_PASSWORD")? });
    let token = answer(http.post(format!("{base}/auth/login")).json(&login)).await?;
    let token = token.as_str().ok_or("a login answers with a token")?;
    let mut writer = Writer {
        db: PgPoolOptions::new()
            .max_connections(1)
            .connect(&environment("DATABASE_URL")?)
            .await?,
        channels: Vec::new(),
        authors: (0..AUTHORS).map(|_| Uuid::now_v7()).collect(),
        written: 0,
    };
    for n in 0..CHANNELS {
        let body = json!({ "name": format!("measure {n}"), "description": "" });
        let request = http
            .post(format!("{base}/channels/public"))
            .bearer_auth(token);
        let channel = answer(request.json(&body)).await?;
        let id = channel["id"].as_str().ok_or("a channel has an id")?;
        writer.channels.push(id.parse()?);
    }
    let mut texts = Texts::new();
    let started = Instant::now();
    while writer.written < args.messages {
        let batch = BATCHES.0.min(args.messages - writer.written);
        writer.write(&mut texts, batch).await?;
    }
    writer.indexed().await?;
    let seconds = started.elapsed().as_secs_f64();
    sqlx::query("vacuum analyze message_terms, messages")
        .execute(&writer.db)
        .await?;
    let size = "select pg_size_pretty(pg_total_relation_size('message_terms')), pg_size_pretty(pg_relation_size('message_terms_by_term')), \
                pg_size_pretty(pg_total_relation_size('messages'))";
    let (all, index, messages): (String, String, String) =
        sqlx::query_as(size).fetch_one(&writer.db).await?;
    print(&format!(
        "{} messages written and indexed in {seconds:.0} s; terms {all}, of that the index {index}; messages {messages}",
        args.messages
    ))?;
    measure_inserts(&mut writer, &mut texts).await?;

    print("| search | searches | results, mean | p50, ms | p99, ms | longest, ms |")?;
    print("| --- | ---: | ---: | ---: | ---: | ---: |")?;
    let mut total = Vec::new();
    for kind in KINDS {
        let (mut times, mut results) = (Vec::new(), 0);
        for _ in 0..args.searches {
            let request = http
                .get(format!("{base}/messages/search"))
                .bearer_auth(token)
                .query(&[("size", "20")])
                .query(&parameters(kind, &mut texts, &writer));
            let started = Instant::now();
            let found = answer(request).await?;
            times.push(started.elapsed());
            results += found["content"].as_array().map_or(0, Vec::len);
        }
        total.extend_from_slice(&times);
        row(kind, &mut times, results)?;
    }
    row("all", &mut total, 0)?;
    let p99 = percentile(&mut total, 990);
    if p99 > MAX_P99.as_secs_f64() * 1_000.0 {
        return Err(format!("the p99 of {p99:.1} ms is above {MAX_P99:?}").into());
    }
    Ok(())
}

fn row(kind: &str, times: &mut [Duration], results: usize) -> Outcome<()> {
    print(&format!(
        "| {kind} | {} | {} | {:.1} | {:.1} | {:.1} |",
        times.len(),
        results / times.len().max(1),
        percentile(times, 500),
        percentile(times, 990),
        percentile(times, 1_000)
    ))
}
