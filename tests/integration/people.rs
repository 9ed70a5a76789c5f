//! Finding users, and the devices on which a user is signed in.

use reqwest::Method;
use serde_json::{Value, json};

use super::files::{PNG, file};
use crate::support::{Cluster, Sse, Stomp, User, eventually};

fn names(answer: &Value) -> Vec<String> {
    let users = answer.as_array().expect("a list").iter();
    users
        .map(|user| user["username"].as_str().expect("a name").to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_are_found_by_id_and_by_the_beginning_of_their_name() {
    let cluster = Cluster::start(1).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    for name in ["Zoë", "zoe_k", "zo%", "김민수", "김영희"] {
        let address = format!("{}@example.org", uuid::Uuid::new_v4());
        let answer = cluster.visitor(0).sign_up(name, &address, "password").await;
        assert_eq!(answer.status, 201, "{name}: {answer:?}");
    }
    let found = ann.get(&format!("/api/users/{}", bob.id)).await;
    assert_eq!(
        (found.status, &found.body["username"]),
        (200, &json!(bob.name))
    );
    assert_eq!(found.body["online"], false);
    let mut socket = Stomp::connect(&bob).await;
    eventually("bob is online", async || {
        ann.get(&format!("/api/users/{}", bob.id)).await.body["online"] == true
    })
    .await;
    socket.send("DISCONNECT\n\n\0").await;
    let unknown = ann
        .get(&format!("/api/users/{}", uuid::Uuid::now_v7()))
        .await;
    assert_eq!(unknown.code(), "USER_NOT_FOUND");
    assert_eq!(
        cluster
            .visitor(0)
            .get(&format!("/api/users/{}", bob.id))
            .await
            .status,
        401
    );

    let both = format!(
        "/api/users?ids={},{},{}",
        bob.id,
        ann.id,
        uuid::Uuid::now_v7()
    );
    let mut found = names(&ann.get(&both).await.body);
    found.sort_unstable();
    assert_eq!(found, [ann.name.clone(), bob.name.clone()]);

    for (query, expected) in [
        ("ZO", &["zo%", "zoe_k", "Zoë"][..]),
        ("zo%25", &["zo%"]),
        ("zoe_", &["zoe_k"]),
        ("_", &[]),
        ("%EA%B9%80", &["김민수", "김영희"]),
        // The same syllable, decomposed.
        ("%E1%84%80%E1%85%B5%E1%86%B7", &["김민수", "김영희"]),
        ("%EA%B9%80%EB%AF%BC", &["김민수"]),
    ] {
        let answer = ann.get(&format!("/api/users?query={query}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(names(&answer.body), expected, "{query}");
    }
    let one = ann.get("/api/users?query=zo&limit=1").await;
    assert_eq!(names(&one.body), ["zo%"]);
    let many = vec![ann.id.as_str(); 101].join(",");
    for wrong in [
        "query=zo&limit=0",
        "query=zo&limit=101",
        "query=zo&limit=x",
        "query=zo&ids=1",
        "ids=",
        "ids=1",
        &format!("ids={many}"),
        &format!("query={}", "x".repeat(51)),
    ] {
        let answer = ann.get(&format!("/api/users?{wrong}")).await;
        assert_eq!(answer.code(), "INVALID_INPUT", "{wrong}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_profile_picture_can_be_removed() {
    let cluster = Cluster::start(1).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let form = reqwest::multipart::Form::new()
        .part("profile", file("me.png", "image/png", PNG))
        .text("userUpdateRequest", "{}");
    let path = format!("/api/users/{}", ann.id);
    let changed = ann
        .send(ann.request(Method::PATCH, &path).multipart(form))
        .await;
    assert_eq!(changed.status, 200, "{changed:?}");
    cluster.settled().await;
    let mut events = Sse::open(&bob, None).await;
    events.expect("sync").await;
    let picture = format!("{path}/profile");
    assert_eq!(bob.delete(&picture).await.status, 403);
    assert_eq!(ann.delete(&picture).await.status, 204);
    events
        .expect_about("users.refresh", "userId", &ann.id)
        .await;
    assert_eq!(ann.get(&path).await.body["profile"], Value::Null);
    // Once more changes nothing.
    assert_eq!(ann.delete(&picture).await.status, 204);
    let admin = cluster.admin(0).await;
    let unknown = format!("/api/users/{}/profile", uuid::Uuid::now_v7());
    assert_eq!(admin.delete(&unknown).await.code(), "USER_NOT_FOUND");
}

async fn sign_in(cluster: &Cluster, user: &User, agent: &str) -> User {
    let mut device = user.clone();
    let body = json!({ "username": user.name, "password": "password" });
    let visitor = cluster.visitor(1);
    let login = visitor.request(Method::POST, "/api/auth/login");
    let answer = visitor
        .send(login.header("user-agent", agent).json(&body))
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    device.at = visitor;
    device.at.token = Some(answer.body.as_str().expect("a token").to_owned());
    device
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_sees_the_devices_and_signs_them_out() {
    let cluster = Cluster::start(2).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let phone = sign_in(&cluster, &ann, "A phone/1.0").await;
    let tablet = sign_in(&cluster, &ann, &"x".repeat(1_000)).await;
    let list = async |user: &User| user.get("/api/auth/sessions").await.body;
    let sessions = list(&phone).await;
    let sessions = sessions.as_array().expect("a list");
    assert_eq!(sessions.len(), 3);
    let current: Vec<_> = sessions
        .iter()
        .filter(|one| one["current"] == true)
        .collect();
    assert_eq!(current.len(), 1);
    assert_eq!(current[0]["device"], "A phone/1.0");
    assert_eq!(current[0]["address"], "127.0.0.1");
    let created = current[0]["createdAt"].as_str().expect("an instant");
    assert!(created.ends_with('Z'), "{created}");
    assert_eq!(current[0]["lastUsedAt"], created);
    let longest = sessions[0]["device"].as_str().expect("a device");
    assert_eq!(longest.len(), 256, "the newest comes first, its agent cut");

    // Another user's session is not found, and stays.
    let phones = current[0]["id"].as_str().expect("an id");
    let path = format!("/api/auth/sessions/{phones}");
    assert_eq!(bob.delete(&path).await.code(), "SESSION_NOT_FOUND");
    assert_eq!(phone.get("/api/users").await.status, 200);
    let mut socket = Stomp::connect(&phone).await;
    assert_eq!(ann.delete(&path).await.status, 204);
    let error = socket.expect("ERROR").await;
    assert_eq!(error.header("code"), Some("SESSION_ENDED"));
    assert_eq!(phone.get("/api/users").await.status, 401);
    assert_eq!(ann.delete(&path).await.code(), "SESSION_NOT_FOUND");

    for wrong in ["", "?others=false"] {
        let answer = ann.delete(&format!("/api/auth/sessions{wrong}")).await;
        assert_eq!(answer.code(), "INVALID_INPUT", "{answer:?}");
    }
    assert_eq!(
        ann.delete("/api/auth/sessions?others=true").await.status,
        204
    );
    assert_eq!(tablet.get("/api/users").await.status, 401);
    assert_eq!(list(&ann).await.as_array().map(Vec::len), Some(1));
    // A refresh counts as a use.
    assert!(ann.post_csrf("/api/auth/refresh").await.status < 300);
    let used = list(&ann).await;
    assert!(used[0]["lastUsedAt"].as_str() > used[0]["createdAt"].as_str());
}

/// Makes the login that opened the session of a user appear older.
async fn age_session(cluster: &Cluster, user: &User, minutes: i64) {
    let claims = User::claims(user.token());
    let session = claims["sid"].as_str().expect("a session");
    let issued = time::OffsetDateTime::now_utc() - time::Duration::minutes(minutes);
    let issued = discodeit::model::instant::format(issued);
    let mut redis = cluster.redis.clone();
    let () = redis::cmd("HSET")
        .arg(format!("session:{session}"))
        .arg("issued")
        .arg(issued)
        .query_async(&mut redis)
        .await
        .expect("Redis answers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_password_needs_the_present_one_or_a_fresh_login() {
    let cluster = Cluster::start_with(2, &[("LOGIN_FAILURES", "5")]).await;
    let (ann, admin) = (cluster.user(0, "ann").await, cluster.admin(0).await);
    let change = async |by: &User, body: Value| {
        super::accounts::update(&by.at_node(&cluster.address(1)).at, &by.id, &body).await
    };
    age_session(&cluster, &ann, 4).await;
    let fresh = change(&ann, json!({ "newPassword": "second" })).await;
    assert_eq!(fresh.status, 200, "{fresh:?}");
    age_session(&cluster, &ann, 6).await;
    for body in [
        json!({ "newPassword": "third" }),
        json!({ "newPassword": "third", "currentPassword": null }),
    ] {
        let old = change(&ann, body).await;
        assert_eq!((old.status, old.code()), (403, "REAUTHENTICATION_REQUIRED"));
    }
    // Other changes need no password.
    let named = change(&ann, json!({ "newEmail": "new@example.org" })).await;
    assert_eq!(named.status, 200, "{named:?}");
    let right = json!({ "newPassword": "third", "currentPassword": "second" });
    assert_eq!(change(&ann, right.clone()).await.status, 200);
    assert_eq!(
        cluster.visitor(0).login(&ann.name, "third").await.status,
        200
    );
    // An administrator who changes another account is no owner.
    age_session(&cluster, &admin, 60).await;
    let path = format!("/api/users/{}", ann.id);
    let part = "userUpdateRequest";
    let by_admin = admin
        .multipart(
            Method::PATCH,
            &path,
            part,
            &json!({ "newPassword": "fourth" }),
        )
        .await;
    assert_eq!(by_admin.status, 200, "{by_admin:?}");

    // Guesses count as failed logins, also of a fresh session.
    let ann = User::sign_in(cluster.visitor(0), &ann.name, "fourth").await;
    for _ in 0..5 {
        let wrong = change(&ann, right.clone()).await;
        assert_eq!((wrong.status, wrong.code()), (400, "INVALID_INPUT"));
        assert_eq!(
            wrong.body["details"],
            json!({ "currentPassword": "is wrong" })
        );
    }
    let many = change(&ann, right).await;
    assert_eq!((many.status, many.code()), (429, "TOO_MANY_REQUESTS"));
}
