//! Limits on logins, sign-ups and password hashes.

#![expect(clippy::print_stdout, reason = "the tests print what they measure")]

use std::{
    collections::BTreeMap,
    thread::available_parallelism,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use redis::AsyncCommands;
use tokio::{task::JoinSet, time::MissedTickBehavior};

use crate::support::{Answer, Cluster, User, Visitor};

/// Lets the tests choose the addresses of their clients.
const PROXY: (&str, &str) = ("TRUSTED_PROXIES", "127.0.0.0/8");
const FEW: (&str, &str) = ("LOGIN_FAILURES", "3");

/// Addresses of RFC 5737 and RFC 3849, each in another network.
const HOME: &str = "198.51.100.1";
const OFFICE: &str = "198.51.100.2";
const STRANGER: &str = "203.0.113.7";

/// Seconds until the next attempt of a refused client.
fn retry_after(answer: &Answer) -> u64 {
    assert_eq!(
        (answer.status, answer.code()),
        (429, "TOO_MANY_REQUESTS"),
        "{answer:?}"
    );
    let seconds = answer.header("retry-after").expect("the delay");
    seconds.parse().expect("a number of seconds")
}

/// Signs a user up and in from an address, which is known for the account then.
async fn user_at(cluster: &Cluster, address: &str, name: &str) -> User {
    User::sign_up(cluster.visitor(0).at_address(address), name).await
}

/// The time of a login, if it succeeds.
async fn time_of_login(user: &User) -> Option<Duration> {
    let started = Instant::now();
    let answer = user.login(&user.name, "password").await;
    (answer.status == 200).then(|| started.elapsed())
}

const STORM_RATE: u32 = 120;
const STORM_SECONDS: u32 = 8;

/// Logins with unknown names, without waiting for answers. Returns the number of answers with each status.
async fn storm(stranger: Visitor) -> BTreeMap<u16, usize> {
    let mut tick = tokio::time::interval(Duration::from_secs(1) / STORM_RATE);
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut logins = JoinSet::new();
    for number in 0..STORM_RATE * STORM_SECONDS {
        tick.tick().await;
        let stranger = stranger.clone();
        logins.spawn(async move {
            let name = format!("nobody-{number}");
            stranger.login(&name, "password").await
        });
    }
    let mut statuses = BTreeMap::new();
    for answer in logins.join_all().await {
        *statuses.entry(answer.status).or_default() += 1;
        if answer.status == 429 {
            assert!((1..=60).contains(&retry_after(&answer)), "{answer:?}");
        }
    }
    statuses
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_logins_from_one_address_delays_no_user_elsewhere() {
    const LIMIT: Duration = Duration::from_secs(1);
    let cluster = Cluster::start_with(1, &[PROXY]).await;
    let ann = user_at(&cluster, HOME, "ann").await;
    // Other tests may have the processors, so the storm may come again, from another address.
    for round in 1..=3 {
        let calm = time_of_login(&ann).await;
        let stranger = cluster.visitor(0).at_address(&format!("203.0.113.{round}"));
        let storm = tokio::spawn(storm(stranger));
        let mut times = Vec::new();
        while !storm.is_finished() {
            times.push(time_of_login(&ann).await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let statuses = storm.await.expect("no panic");
        times.sort_unstable();
        let longest = times.last().copied().flatten();
        let failed = times.iter().filter(|time| time.is_none()).count();
        println!(
            "storm of {STORM_RATE} logins/s for {STORM_SECONDS} s, answers {statuses:?}; elsewhere {} logins, {failed} failed, \
             median {:?}, longest {longest:?}, before the storm {calm:?}",
            times.len(),
            times[times.len() / 2],
        );
        // Ten times LOGIN_FAILURES passwords are verified, not more.
        assert!(statuses.get(&401) <= Some(&100), "{statuses:?}");
        if failed == 0 && longest.is_some_and(|longest| longest < LIMIT) {
            return;
        }
    }
    panic!("logins elsewhere take over {LIMIT:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passwords_beyond_the_queue_are_refused_at_once_and_do_not_count() {
    let cores = available_parallelism().map_or(1, usize::from);
    // No other limit is near.
    let many = ("LOGIN_FAILURES", "100000");
    let cluster = Cluster::start_with(1, &[PROXY, many]).await;
    let stranger = cluster.visitor(0).at_address(STRANGER);
    let answers = join_all((0..60 * cores).map(|number| {
        let stranger = &stranger;
        async move {
            let name = format!("nobody-{number}");
            stranger.login(&name, "password").await
        }
    }))
    .await;
    let count = |status| {
        let of_status = answers.iter().filter(|answer| answer.status == status);
        of_status.count()
    };
    // On a busy machine, a login may wait for over 4 s: 503.
    let (verified, refused, late) = (count(401), count(429), count(503));
    assert_eq!(verified + refused + late, answers.len(), "{answers:?}");
    assert!(verified > 0 && refused > 0, "{verified} {refused} {late}");
    for answer in answers.iter().filter(|answer| answer.status == 429) {
        assert_eq!(retry_after(answer), 1);
    }
    let failures: usize = cluster
        .redis
        .clone()
        .hget(
            format!("ratelimit:{{login}}:address:{STRANGER}"),
            "failures",
        )
        .await
        .expect("HGET");
    assert_eq!(failures, verified);
}

/// Attempts with a wrong password from each of the addresses.
async fn fail(cluster: &Cluster, name: &str, addresses: &[&str]) {
    for address in addresses {
        let answer = cluster
            .visitor(0)
            .at_address(address)
            .login(name, "wrong")
            .await;
        assert_eq!(answer.status, 401, "{name} from {address}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_from_many_addresses_delay_an_account_but_not_for_its_owner() {
    let cluster = Cluster::start_with(2, &[PROXY, FEW]).await;
    let ann = user_at(&cluster, HOME, "ann").await;
    fail(
        &cluster,
        &ann.name,
        &["203.0.113.1", "203.0.113.2", "203.0.113.3"],
    )
    .await;
    // Nobody learns from the answer whether the password is right.
    for (node, password) in [(0, "wrong"), (1, "password")] {
        let elsewhere = cluster.visitor(node).at_address(OFFICE);
        let seconds = retry_after(&elsewhere.login(&ann.name, password).await);
        assert!((1..=10).contains(&seconds), "{seconds}");
    }
    for node in 0..2 {
        let owner = cluster.visitor(node).at_address(HOME);
        let answer = owner.login(&ann.name, "password").await;
        assert_eq!(answer.status, 200, "a known address: {answer:?}");
    }
    // The same for a name that nobody has.
    fail(
        &cluster,
        "nobody",
        &["203.0.113.4", "203.0.113.5", "203.0.113.6"],
    )
    .await;
    let elsewhere = cluster.visitor(0).at_address(OFFICE);
    retry_after(&elsewhere.login("nobody", "wrong").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_of_many_accounts_delay_an_address_but_not_its_known_users() {
    let cluster = Cluster::start_with(1, &[PROXY, FEW]).await;
    let (ann, bob) = (
        user_at(&cluster, STRANGER, "ann").await,
        user_at(&cluster, HOME, "bob").await,
    );
    // Ten times as many as for one account. IPv6 addresses count by /64, IPv4 addresses inside IPv6 as IPv4.
    let networks: [(&[&str], &str); 2] = [
        (&[STRANGER, "::ffff:203.0.113.7"], "203.0.113.8"),
        (
            &["2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::"],
            "2001:db8:0:1::1",
        ),
    ];
    for (same, other) in networks {
        for number in 0..30 {
            let address = same[number % same.len()];
            fail(&cluster, &format!("{number} of {other}"), &[address]).await;
        }
        for address in same {
            let visitor = cluster.visitor(0).at_address(address);
            retry_after(&visitor.login("another", "wrong").await);
            retry_after(&visitor.login(&bob.name, "password").await);
        }
        fail(&cluster, &format!("somebody at {other}"), &[other]).await;
    }
    let answer = ann.login(&ann.name, "password").await;
    assert_eq!(answer.status, 200, "a known address: {answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delays_double_up_to_a_minute_and_refused_attempts_do_not_count() {
    let cluster = Cluster::start_with(1, &[PROXY, FEW]).await;
    let ann = user_at(&cluster, HOME, "ann").await;
    let mut redis = cluster.redis.clone();
    let key = format!("ratelimit:{{login}}:pair:{}@{HOME}", ann.name);
    for _ in 0..3 {
        fail(&cluster, &ann.name, &[HOME]).await;
    }
    for expected in [10, 20, 40, 60, 60] {
        let before: (u32, u64) = redis
            .hmget(&key, &["failures", "until"])
            .await
            .expect("HMGET");
        for _ in 0..10 {
            let answer = ann.login(&ann.name, "password").await;
            let seconds = retry_after(&answer);
            assert!(
                (expected - 5..=expected).contains(&seconds),
                "{seconds} of {expected}"
            );
        }
        let after: (u32, u64) = redis
            .hmget(&key, &["failures", "until"])
            .await
            .expect("HMGET");
        assert_eq!(after, before);
        // The delay passes.
        let () = redis.hset(&key, "until", 1).await.expect("HSET");
        fail(&cluster, &ann.name, &[HOME]).await;
    }
    let () = redis.hset(&key, "until", 1).await.expect("HSET");
    assert_eq!(ann.login(&ann.name, "password").await.status, 200);
    assert!(!redis.exists::<_, bool>(&key).await.expect("EXISTS"));
    for _ in 0..3 {
        fail(&cluster, &ann.name, &[HOME]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_takes_back_its_own_count_only() {
    let cluster = Cluster::start_with(1, &[PROXY, FEW]).await;
    let (ann, bob) = (
        user_at(&cluster, HOME, "ann").await,
        user_at(&cluster, HOME, "bob").await,
    );
    let mut redis = cluster.redis.clone();
    let (account, address) = (
        format!("ratelimit:{{login}}:account:{}", bob.name),
        format!("ratelimit:{{login}}:address:{OFFICE}"),
    );
    // At the limit, a login delays others until it has succeeded.
    fail(&cluster, &bob.name, &[OFFICE, OFFICE]).await;
    fail(&cluster, &ann.name, &[OFFICE]).await;
    let office = cluster.visitor(0).at_address(OFFICE);
    assert_eq!(office.login(&bob.name, "password").await.status, 200);
    for (key, expected) in [(&account, 2), (&address, 3)] {
        let failures: (u32, Option<u64>) = redis
            .hmget(key, &["failures", "until"])
            .await
            .expect("HMGET");
        assert_eq!(failures, (expected, None), "{key}");
        let left: i64 = redis.ttl(key).await.expect("TTL");
        assert!((800..=900).contains(&left), "{left} s");
    }
    // The office is known now, as home is.
    let known: Vec<String> = redis
        .zrange(format!("ratelimit:{{login}}:known:{}", bob.name), 0, -1)
        .await
        .expect("ZRANGE");
    assert_eq!(known, [HOME, OFFICE]);
    fail(&cluster, &bob.name, &[STRANGER]).await;
    retry_after(
        &cluster
            .visitor(0)
            .at_address(STRANGER)
            .login(&bob.name, "password")
            .await,
    );
    assert_eq!(office.login(&bob.name, "password").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_remembers_at_most_20_addresses_and_each_for_30_days() {
    let cluster = Cluster::start_with(1, &[PROXY, FEW]).await;
    let ann = user_at(&cluster, HOME, "ann").await;
    let mut redis = cluster.redis.clone();
    let key = format!("ratelimit:{{login}}:known:{}", ann.name);
    for number in 0..25 {
        let () = redis
            .zadd(&key, format!("192.0.2.{number}"), number)
            .await
            .expect("ZADD");
    }
    assert_eq!(ann.login(&ann.name, "password").await.status, 200);
    let known: Vec<String> = redis.zrange(&key, 0, -1).await.expect("ZRANGE");
    assert_eq!(known.len(), 20);
    assert!(known.contains(&HOME.to_owned()), "{known:?}");
    let left: i64 = redis.ttl(&key).await.expect("TTL");
    assert!((30 * 86_400 - 60..=30 * 86_400).contains(&left), "{left} s");
    // Other logins keep the set alive, but not each of its addresses.
    fail(
        &cluster,
        &ann.name,
        &["203.0.113.1", "203.0.113.2", "203.0.113.3"],
    )
    .await;
    assert!(known.contains(&"192.0.2.24".to_owned()), "{known:?}");
    let expired = cluster.visitor(0).at_address("192.0.2.24");
    retry_after(&expired.login(&ann.name, "password").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_that_a_store_fails_do_not_count() {
    let mut cluster = Cluster::start_with(0, &[PROXY, FEW]).await;
    let (postgres, through) = cluster.cut("DATABASE_URL").await;
    cluster.add(&[("DATABASE_URL", &through)]).await;
    let ann = user_at(&cluster, HOME, "ann").await;
    postgres.cut();
    let answers = join_all((0..3).map(|_| ann.login(&ann.name, "password"))).await;
    assert!(
        answers.iter().all(|answer| answer.status == 503),
        "{answers:?}"
    );
    postgres.mend();
    let answer = ann.login(&ann.name, "wrong").await;
    assert_eq!(answer.status, 401, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sign_ups_are_limited_by_address() {
    let cluster = Cluster::start_with(2, &[PROXY]).await;
    let mut redis = cluster.redis.clone();
    let sign_up = async |visitor: &Visitor| {
        let name = uuid::Uuid::new_v4().simple().to_string();
        visitor
            .sign_up(&name, &format!("{name}@example.org"), "password")
            .await
    };
    let (seconds, _): (u64, u64) = redis::cmd("TIME")
        .query_async(&mut redis)
        .await
        .expect("TIME");
    for (address, same) in [(STRANGER, STRANGER), ("2001:db8::1", "2001:db8::ffff")] {
        let network = if address == STRANGER {
            address
        } else {
            "2001:db8::/64"
        };
        // 198 sign-ups of 6 s each.
        let full = (seconds + 198 * 6) * 1_000;
        let () = redis
            .set(format!("ratelimit:signup:{network}"), full)
            .await
            .expect("SET");
        let (first, second) = (
            cluster.visitor(0).at_address(address),
            cluster.visitor(1).at_address(same),
        );
        assert_eq!(sign_up(&first).await.status, 201);
        assert_eq!(sign_up(&second).await.status, 201);
        let mut answer = sign_up(&first).await;
        if answer.status == 201 {
            // Another sign-up was gained meanwhile.
            answer = sign_up(&first).await;
        }
        let wait = retry_after(&answer);
        assert!((1..=6).contains(&wait), "{wait} s");
    }
    let elsewhere = cluster.visitor(0).at_address("2001:db8:0:1::1");
    assert_eq!(sign_up(&elsewhere).await.status, 201);
}
