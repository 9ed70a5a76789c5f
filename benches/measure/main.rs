//! Measures running nodes as clients see them. `dev/measure` starts the nodes and stores and calls it.
//!
//! Senders post messages to one channel by a schedule that is fixed beforehand, whether or not the nodes keep up (an open
//! loop). Each message carries the time at which it is due, and every latency is measured from then, so a late driver or a full
//! socket makes the result worse, never better. Subscribers check that they receive every position once and in order, because
//! a fast result with lost messages means nothing.
//!
//! One thread reads everything. A second thread only keeps the schedule, because tokio's timers count whole milliseconds.

mod api;
mod floor;
mod report;
mod run;
mod stomp;
mod usage;

use std::{error::Error, fmt, process::ExitCode, time::Duration};

use self::{api::Api, report::HEAD, run::run};

type Failure = Box<dyn Error + Send + Sync>;
type Outcome<T> = Result<T, Failure>;

const USAGE: &str = "measure --at ADDRESS[,ADDRESS] [flags], with ADMIN_USERNAME and ADMIN_PASSWORD in the environment
  --at A[,B]         nodes: subscribers at the first, senders at the last
  --subscribers N    connections that subscribe to the channel (100)
  --senders N        connections that post to it (10)
  --rate N           messages per second of all senders together (1000)
  --seconds N        measured time (20)
  --warm-up N        seconds before the measured time, at the same rate (5)
  --ramp             search the highest rate with a p99 of at most 100 ms, from --rate upwards
  --node-pids P,…    processes whose processor time and memory are reported
  --store-pids P,…   further processes, with their children, that do not count as noise
  --quiet-within N   wait up to N seconds for an idle machine before each run (0)
  --label TEXT       first column
  --head             print the head of the table
  --floor            the nodes are processes of --serve-floor
measure --serve-floor ADDRESS
  a server that only writes each message to its subscribers, one after the other, for a comparison";

/// Subscribers per account. A node allows 20 connections by default, and those of the previous run may still be closing.
const SUBSCRIBERS_OF_A_USER: usize = 10;
const PASSWORD: &str = "measure-password";
/// Start of a message's content. 19 digits follow: the due time, in nanoseconds on the driver's clock.
const MARKER: &[u8] = b"\"content\":\"T=";
const DIGITS: usize = 19;
/// Length of a message's content.
const TEXT_BYTES: usize = 200;
/// A message that arrives later than this after the last due time counts as lost.
const GRACE: Duration = Duration::from_secs(10);
/// The goal of `--ramp`.
const MAX_P99: Duration = Duration::from_millis(100);
/// Share of a core that other programs may use before a run starts, and during a run that is not reported as noisy.
const QUIET: (f64, f64) = (0.06, 0.15);

/// The command line.
struct Args {
    at: Vec<String>,
    subscribers: usize,
    senders: usize,
    rate: u64,
    seconds: u64,
    warm_up: u64,
    ramp: bool,
    node_pids: Vec<u32>,
    store_pids: Vec<u32>,
    quiet_within: u64,
    label: String,
    head: bool,
    floor: bool,
}

impl Args {
    fn parse(mut words: impl Iterator<Item = String>) -> Outcome<Self> {
        let mut args = Self {
            at: Vec::new(),
            subscribers: 100,
            senders: 10,
            rate: 1_000,
            seconds: 20,
            warm_up: 5,
            ramp: false,
            node_pids: Vec::new(),
            store_pids: Vec::new(),
            quiet_within: 0,
            label: String::new(),
            head: false,
            floor: false,
        };
        while let Some(flag) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{flag} needs a value"));
            match flag.as_str() {
                "--at" => args.at = value()?.split(',').map(str::to_owned).collect(),
                "--subscribers" => args.subscribers = value()?.parse()?,
                "--senders" => args.senders = value()?.parse()?,
                "--rate" => args.rate = value()?.parse()?,
                "--seconds" => args.seconds = value()?.parse()?,
                "--warm-up" => args.warm_up = value()?.parse()?,
                "--node-pids" => args.node_pids = numbers(&value()?)?,
                "--store-pids" => args.store_pids = numbers(&value()?)?,
                "--quiet-within" => args.quiet_within = value()?.parse()?,
                "--label" => args.label = value()?,
                "--ramp" => args.ramp = true,
                "--head" => args.head = true,
                "--floor" => args.floor = true,
                _ => return Err(format!("unknown flag {flag}").into()),
            }
        }
        if args.at.is_empty()
            || args.subscribers * args.senders == 0
            || args.rate * args.seconds == 0
        {
            return Err("--at is missing, or a number is 0".into());
        }
        Ok(args)
    }

    fn first(&self) -> &str {
        &self.at[0]
    }

    fn last(&self) -> &str {
        &self.at[self.at.len() - 1]
    }
}

fn numbers(text: &str) -> Outcome<Vec<u32>> {
    Ok(text
        .split(',')
        .filter(|number| !number.is_empty())
        .map(str::parse)
        .collect::<Result<_, _>>()?)
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    // `cargo bench` adds a flag for its own harness.
    let mut arguments = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .peekable();
    if arguments.next_if_eq("--serve-floor").is_some() {
        let served = floor::serve(&arguments.next().unwrap_or_default());
        if let Err(failure) = served {
            print_to_stderr(&format!("measure: {failure}"));
        }
        return ExitCode::FAILURE;
    }
    let result = Args::parse(arguments).map_err(|error| format!("{error}\n{USAGE}").into());
    match result.and_then(|args| runtime?.block_on(measure(&args))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            print_to_stderr(&format!("measure: {failure}"));
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "a program for the terminal")]
fn print_to_stderr(line: &str) {
    eprintln!("{line}");
}

#[expect(clippy::print_stdout, reason = "a program for the terminal")]
fn print(line: &impl fmt::Display) {
    println!("{line}");
}

async fn measure(args: &Args) -> Outcome<()> {
    let api = Api::new(args.first())?;
    let users = if args.floor {
        Vec::new()
    } else {
        api.sign_up(users_needed(args)).await?
    };
    if args.head {
        print(&HEAD);
    }
    if !args.ramp {
        let report = run(args, &api, &users, args.rate).await?;
        print(&report);
        return if report.is_void() {
            Err("a message was lost, duplicated or out of order".into())
        } else {
            Ok(())
        };
    }
    // The rate doubles until it fails; then bisection finds the highest rate to within 10 %.
    let (mut good, mut bad) = (0, None);
    let mut rate = args.rate;
    loop {
        // Noise can make a step fail, but not pass, so a failed step gets a second run.
        let mut passed = false;
        for _ in 0..2 {
            let report = run(args, &api, &users, rate).await?;
            print(&report);
            passed = report.holds();
            if passed {
                break;
            }
        }
        if passed {
            good = rate;
        } else {
            bad = Some(rate);
        }
        rate = match bad {
            None => rate * 2,
            Some(bad) if bad - good > good / 10 && good > 0 => good.midpoint(bad),
            Some(_) => break,
        };
    }
    print_to_stderr(&format!(
        "{}: the highest rate that holds is {good} messages/s",
        args.label
    ));
    Ok(())
}

fn users_needed(args: &Args) -> usize {
    args.senders
        .max(args.subscribers.div_ceil(SUBSCRIBERS_OF_A_USER))
}
