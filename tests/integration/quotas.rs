//! Rates and quotas of one user: a user who exceeds them is refused or slowed down, and others notice nothing.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::{Method, multipart};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    accounts::{set_role, text},
    deletions::people,
    files::{attach, file, post},
};
use crate::support::{Answer, Cluster, Stomp, User, eventually, eventually_within};

fn assert_too_many(answer: &Answer) {
    assert_eq!(
        (answer.status, answer.code()),
        (429, "TOO_MANY_REQUESTS"),
        "{answer:?}"
    );
    let seconds = answer.header("retry-after").map(str::parse::<u64>);
    assert!(seconds.is_some_and(|seconds| seconds.is_ok_and(|seconds| seconds >= 1)));
}

fn assert_quota(answer: &Answer, quota: &str, limit: u64) {
    assert_eq!(
        (answer.status, answer.code()),
        (403, "QUOTA_EXCEEDED"),
        "{answer:?}"
    );
    let details = &answer.body["details"];
    assert_eq!(
        (&details["quota"], &details["limit"]),
        (&json!(quota), &json!(limit))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_by_http_and_stomp_share_one_rate() {
    let cluster = Cluster::start_with(1, &[("MESSAGE_RATE", "4")]).await;
    let channel = cluster.channel().await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let (mut first, mut second) = (Stomp::connect(&ann).await, Stomp::connect(&ann).await);
    first.subscribe(&channel).await;
    let started = Instant::now();
    let answers = join_all((0..30).map(|_| ann.write(&channel, "by http"))).await;
    let (stored, refused): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.status == 201);
    // 4 a second, after a burst of 8.
    let most = 8 + 4 * usize::try_from(started.elapsed().as_secs()).expect("small") + 4;
    assert!((8..=most).contains(&stored.len()), "{}", stored.len());
    refused.into_iter().for_each(assert_too_many);
    assert_eq!(bob.write(&channel, "by another").await.status, 201);
    // SENDs over the rate are late, and none is lost.
    let started = Instant::now();
    for number in 0..4 {
        for stomp in [&mut first, &mut second] {
            stomp.say(&ann, &channel, &number.to_string()).await;
        }
    }
    let mut late = 0;
    while late < 8 {
        let content = first.message().await["content"].clone();
        late += usize::from(content != "by http" && content != "by another");
    }
    assert!(
        started.elapsed() > Duration::from_millis(1_200),
        "{:?}",
        started.elapsed()
    );
    // After the time in `Retry-After`, a message is accepted again.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(ann.write(&channel, "again").await.status, 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_has_a_rate_of_requests() {
    let cluster = Cluster::start_with(1, &[("REQUEST_RATE", "10")]).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let file = format!("/api/binaryContents/{}", uuid::Uuid::new_v4());
    let notification = format!("/api/notifications/{}", uuid::Uuid::new_v4());
    // A burst of 50 tokens, then 10 a second. Each kind of request is refused once the tokens are used up.
    for (method, path, at_least) in [
        (Method::GET, file.as_str(), 50),
        (Method::GET, "/api/users", 0),
        (Method::DELETE, notification.as_str(), 0),
    ] {
        let send = || ann.send(ann.request(method.clone(), path));
        let answers = join_all((0..100).map(|_| send())).await;
        let (refused, accepted): (Vec<_>, Vec<_>) =
            answers.iter().partition(|answer| answer.status == 429);
        assert!(!refused.is_empty(), "{path} is never refused");
        refused.into_iter().for_each(assert_too_many);
        assert!(accepted.len() >= at_least, "{path}: {}", accepted.len());
        assert_eq!(bob.get(&file).await.status, 404);
    }
    eventually("a request is accepted again", async || {
        ann.get(&file).await.status == 404
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_one_user_leave_connections_to_others() {
    let settings = [("REQUESTS_PER_USER", "4"), ("DATABASE_POOL", "6")];
    let cluster = Cluster::start_with(1, &settings).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    // Requests that change ann's account wait for this lock.
    let mut lock = cluster.db.begin().await.expect("a transaction");
    sqlx::query("select 1 from users where id = $1::uuid for update")
        .bind(&ann.id)
        .execute(&mut *lock)
        .await
        .expect("locked");
    let path = format!("/api/users/{}", ann.id);
    let flood = tokio::spawn(async move {
        let body = json!({ "newEmail": "other@example.org" });
        let requests =
            (0..40).map(|_| ann.multipart(Method::PATCH, &path, "userUpdateRequest", &body));
        join_all(requests).await
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let started = Instant::now();
    for _ in 0..5 {
        assert_eq!(bob.get("/api/users").await.status, 200);
    }
    let took = started.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    lock.rollback().await.expect("released");
    let answers = flood.await.expect("no panic");
    // 4 are handled, and 24 wait for their turn.
    let refused = answers.iter().filter(|answer| answer.status == 429);
    assert!(refused.count() >= 12, "{answers:?}");
    assert!(answers.iter().any(|answer| answer.status == 200));
}

async fn private(by: &User, others: &[&User]) -> Answer {
    let ids: Vec<_> = others
        .iter()
        .chain([&by])
        .map(|user| user.id.as_str())
        .collect();
    by.post("/api/channels/private", &json!({ "participantIds": ids }))
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_puts_a_user_into_channels_without_bound() {
    let settings = [
        ("PRIVATE_CHANNELS_PER_USER", "5"),
        ("INVITATIONS_PER_USER", "4"),
        ("INVITATIONS_PER_PAIR", "3"),
    ];
    let cluster = Cluster::start_with(1, &settings).await;
    let mut users = Vec::new();
    for name in ["ann", "bob", "carl", "dora"] {
        users.push(cluster.user(0, name).await);
    }
    let [ann, bob, carl, dora] = &users[..] else {
        panic!("four users")
    };
    for _ in 0..3 {
        assert_eq!(private(ann, &[bob]).await.status, 201);
    }
    let refused = private(ann, &[carl, bob]).await;
    assert_quota(&refused, "invitationsByOne", 3);
    assert_eq!(refused.body["details"]["userId"], json!(bob.id));
    assert_eq!(private(carl, &[bob]).await.status, 201);
    assert_quota(&private(dora, &[bob]).await, "invitations", 4);
    // Channels of one's own are no invitations.
    let own = private(bob, &[ann]).await;
    assert_eq!(own.status, 201);
    for _ in 0..2 {
        assert_eq!(private(ann, &[carl]).await.status, 201);
    }
    let refused = private(ann, &[carl]).await;
    assert_quota(&refused, "privateChannels", 5);
    assert!(refused.body["details"].get("userId").is_none());
    // A channel that its user leaves no longer counts.
    let list = bob.get(&format!("/api/channels?userId={}", bob.id)).await;
    let list = list.body.as_array().expect("a list");
    assert_eq!(list.len(), 5);
    let invited = list
        .iter()
        .find(|channel| channel["id"] != own.body["id"])
        .expect("an invitation");
    let path = format!(
        "/api/channels/{}/participants/{}",
        text(&invited["id"]),
        bob.id
    );
    assert_eq!(bob.delete(&path).await.status, 204);
    assert_eq!(private(dora, &[bob]).await.status, 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::print_stdout, reason = "prints what it measures")]
async fn ten_seconds_of_invitations_leave_a_list_short() {
    // The defaults of a node.
    let cluster = Cluster::start_with(1, &[("REQUEST_RATE", "100")]).await;
    let (eve, bob) = (cluster.user(0, "eve").await, cluster.user(0, "bob").await);
    let mut participants = people(&cluster, 98).await;
    participants.extend([eve.id.clone(), bob.id.clone()]);
    let body = json!({ "participantIds": participants });
    let list = format!("/api/channels?userId={}", bob.id);
    let (started, mut tries, mut created) = (Instant::now(), 0, 0);
    while started.elapsed() < Duration::from_secs(10) {
        tries += 1;
        created += usize::from(eve.post("/api/channels/private", &body).await.status == 201);
    }
    let begun = Instant::now();
    let answer = bob.get(&list).await;
    let took = begun.elapsed();
    let bytes = answer.body.to_string().len();
    println!(
        "10 s of {tries} requests of one user for private channels of 100 participants: {created} were created; \
         the list of a participant has {bytes} bytes and takes {took:?}"
    );
    assert_eq!(answer.body.as_array().map(Vec::len), Some(created));
    assert!((1..=30).contains(&created), "{created}");
    assert!(bytes < 1024 * 1024, "{bytes}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_over_the_number_of_sessions_ends_the_oldest() {
    let mut cluster = Cluster::start_with(1, &[("SESSIONS_PER_USER", "3")]).await;
    let first = cluster.user(0, "ann").await;
    let mut socket = Stomp::connect(&first).await;
    let mut later = Vec::new();
    for _ in 0..4 {
        later.push(User::sign_in(cluster.visitor(0), &first.name, "password").await);
    }
    let error = socket.expect("ERROR").await;
    assert_eq!(error.header("code"), Some("SESSION_ENDED"));
    let mut alive = Vec::new();
    for user in [&first].into_iter().chain(&later) {
        alive.push(user.get("/api/notifications").await.status);
    }
    assert_eq!(alive, [401, 401, 200, 200, 200]);
    let kept: usize = redis::cmd("SCARD")
        .arg(format!("sessions:{}", first.id))
        .query_async(&mut cluster.redis)
        .await
        .expect("Redis answers");
    assert_eq!(kept, 3);
    // Sessions that an earlier version left: each login ends some of them.
    for _ in 0..100 {
        let mut pipe = redis::pipe();
        for _ in 0..1_000 {
            let session = uuid::Uuid::new_v4();
            let fields = [
                ("user", first.id.as_str()),
                ("expires", "2026-01-01T00:00:00Z"),
            ];
            pipe.hset_multiple(format!("session:{session}"), &fields)
                .ignore();
            pipe.sadd(format!("sessions:{}", first.id), session.to_string())
                .ignore();
        }
        let () = pipe
            .query_async(&mut cluster.redis)
            .await
            .expect("Redis answers");
    }
    let newest = User::sign_in(cluster.visitor(0), &first.name, "password").await;
    assert_eq!(newest.get("/api/notifications").await.status, 200);
    let kept: usize = redis::cmd("SCARD")
        .arg(format!("sessions:{}", first.id))
        .query_async(&mut cluster.redis)
        .await
        .expect("Redis answers");
    assert!(kept < 100_000, "{kept}");
    let admin = cluster.admin(0).await;
    assert_eq!(
        set_role(&admin, &first.id, "CHANNEL_MANAGER").await.status,
        200
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_has_a_quota_of_storage() {
    const LIMIT: u64 = 320 * 1024;
    let cluster = Cluster::start_with(1, &[("STORAGE_PER_USER", "320KiB")]).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let channel = cluster.channel().await;
    let message = |by: &User| json!({ "content": "x", "channelId": channel, "authorId": by.id });
    let small = || file("a", "text/plain", "x");
    // Each small file counts as 64 KiB.
    attach(&ann, &channel, (0..4).map(|_| small()).collect()).await;
    let refused = post(&ann, &message(&ann), vec![small(), small()]).await;
    assert_quota(&refused, "storage", LIMIT);
    let large = || file("a", "text/plain", vec![b'x'; 100 * 1024]);
    let refused = post(&ann, &message(&ann), vec![large()]).await;
    assert_quota(&refused, "storage", LIMIT);
    let picture = multipart::Form::new().text("userUpdateRequest", "{}").part(
        "profile",
        file(
            "me.png",
            "image/png",
            [super::files::PNG, &vec![0; 100 * 1024]].concat(),
        ),
    );
    let path = format!("/api/users/{}", ann.id);
    let refused = ann
        .send(ann.request(Method::PATCH, &path).multipart(picture))
        .await;
    assert_quota(&refused, "storage", LIMIT);
    assert_eq!(post(&ann, &message(&ann), Vec::new()).await.status, 201);
    assert_eq!(post(&bob, &message(&bob), vec![large()]).await.status, 201);
    // A deletion makes room.
    let history = ann.history(&channel).await;
    let with_files = |message: &&Value| {
        message["author"]["id"] == json!(ann.id)
            && !message["attachments"]
                .as_array()
                .expect("a list")
                .is_empty()
    };
    let first = history.iter().find(with_files).expect("a message");
    let path = format!("/api/messages/{}", text(&first["id"]));
    assert_eq!(ann.delete(&path).await.status, 204);
    eventually_within(Duration::from_secs(20), "there is room", async || {
        post(&ann, &message(&ann), vec![large()]).await.status == 201
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_at_one_address_send_few_pictures() {
    let cluster = Cluster::start_with(1, &[("TRUSTED_PROXIES", "127.0.0.0/8")]).await;
    let sign_up = async |name: String, address: &str, picture: bool| {
        let account = json!({ "username": name, "email": format!("{name}@example.org"), "password": "password" });
        let mut form = multipart::Form::new().text("userCreateRequest", account.to_string());
        if picture {
            form = form.part("profile", file("me.png", "image/png", super::files::PNG));
        }
        let visitor = cluster.visitor(0);
        let request = visitor.request(Method::POST, "/api/users");
        let request = request.header("x-forwarded-for", address);
        visitor.send(request.multipart(form)).await
    };
    let mut refused = None;
    for number in 0..30 {
        let answer = sign_up(format!("stranger-{number}"), "203.0.113.7", true).await;
        if answer.status != 201 {
            assert_too_many(&answer);
            refused = Some(number);
            break;
        }
    }
    // 10 at once, and 6 a minute.
    assert!(
        refused.is_some_and(|number| (10..15).contains(&number)),
        "{refused:?}"
    );
    let elsewhere = sign_up("ann".to_owned(), "203.0.113.8", true).await;
    assert_eq!(elsewhere.status, 201);
    let without = sign_up("bob".to_owned(), "203.0.113.7", false).await;
    assert_eq!(without.status, 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_opened_too_fast_end_at_once_and_may_be_opened_again() {
    let cluster = Cluster::start_with(1, &[("REQUEST_RATE", "5")]).await;
    let ann = cluster.user(0, "ann").await;
    let open = async || {
        let request = ann.request(Method::GET, "/api/sse");
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        response
    };
    let mut streams = Vec::new();
    for _ in 0..30 {
        streams.push(open().await);
    }
    let last = streams.pop().expect("a stream");
    let text = tokio::time::timeout(Duration::from_secs(2), last.text()).await;
    let text = text.expect("it ends").expect("text");
    assert!(text.starts_with("retry:"), "{text}");
    eventually("a stream stays open", async || {
        let again = open().await;
        tokio::time::timeout(Duration::from_millis(300), again.text())
            .await
            .is_err()
    })
    .await;
}
