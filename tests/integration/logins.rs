//! Logins, tokens and sessions.

use std::collections::HashSet;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use futures_util::future::join_all;
use redis::AsyncCommands;
use reqwest::Method;
use serde_json::{Value, json};

use super::accounts::{keys, set_role, text, update, with_role};
use crate::support::{Answer, Cluster, User, Visitor, eventually};

pub(crate) const REFRESH: &str = "REFRESH-TOKEN";

/// The same address without a cookie store: the test sets every cookie.
pub(crate) fn bare(visitor: &Visitor) -> Visitor {
    let http = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client");
    Visitor {
        http,
        base: visitor.base.clone(),
        token: None,
    }
}

/// Value and attributes of a cookie that the response sets.
pub(crate) fn set_cookie(answer: &Answer, name: &str) -> Option<(String, HashSet<String>)> {
    let mut cookies = answer
        .headers
        .get_all("set-cookie")
        .iter()
        .map(|value| value.to_str().expect("a cookie is text"));
    let cookie = cookies.find_map(|cookie| cookie.strip_prefix(name)?.strip_prefix('='))?;
    let mut parts = cookie.split(';').map(|part| part.trim().to_owned());
    let value = parts.next().expect("a cookie has a value");
    Some((value, parts.collect()))
}

/// Signs in without a cookie store; returns the access and refresh tokens.
pub(crate) async fn tokens(visitor: &Visitor, name: &str) -> (String, String) {
    let answer = bare(visitor).login(name, "password").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let (refresh, _) = set_cookie(&answer, REFRESH).expect("the refresh cookie is set");
    (text(&answer.body).to_owned(), refresh)
}

/// Sends a POST request with the refresh cookie and a valid CSRF token.
pub(crate) async fn post_with(visitor: &Visitor, path: &str, refresh: &str) -> Answer {
    let cookies = format!("XSRF-TOKEN=abc; {REFRESH}={refresh}");
    let request = visitor.http.post(format!("{}{path}", visitor.base));
    visitor
        .send(
            request
                .header("cookie", cookies)
                .header("x-xsrf-token", "abc"),
        )
        .await
}

pub(crate) async fn me_with(visitor: &Visitor, refresh: &str) -> Answer {
    let request = visitor.http.get(format!("{}/api/auth/me", visitor.base));
    visitor
        .send(request.header("cookie", format!("{REFRESH}={refresh}")))
        .await
}

/// Status of a request with the access token: 401 after the session's end.
pub(crate) async fn status_with(visitor: &Visitor, token: &str) -> u16 {
    let request = bare(visitor)
        .http
        .get(format!("{}/api/users", visitor.base));
    visitor.send(request.bearer_auth(token)).await.status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_login_does_not_reveal_whether_the_name_exists() {
    let cluster = Cluster::shared(1).await;
    let (visitor, ann) = (cluster.visitor(0), cluster.user(0, "ann").await);
    let wrong = visitor.login(&ann.name, "not the password").await;
    assert_eq!((wrong.status, wrong.code()), (401, "WRONG_CREDENTIALS"));
    assert!(set_cookie(&wrong, REFRESH).is_none());
    let unknown_names = [
        "nobody".to_owned(),
        String::new(),
        "a\0b".to_owned(),
        format!("{}\0", "x".repeat(60)),
        "x".repeat(5_000),
    ];
    for name in unknown_names {
        let unknown = visitor.login(&name, "password").await;
        for field in ["status", "code", "message", "details", "exceptionType"] {
            assert_eq!(
                unknown.body[field], wrong.body[field],
                "{name:?}: {unknown:?}"
            );
        }
        assert_eq!(unknown.code(), "WRONG_CREDENTIALS");
    }
    for missing in [
        json!({}),
        json!({ "username": ann.name }),
        json!({ "password": "password" }),
    ] {
        let answer = visitor.post("/api/auth/login", &missing).await;
        assert_eq!(
            (answer.status, answer.code()),
            (400, "INVALID_INPUT"),
            "{missing}"
        );
    }
    assert_eq!(
        visitor.login(&ann.name, &"x".repeat(50_000)).await.status,
        400,
        "the node does not hash it"
    );
    assert_eq!(
        visitor
            .login(&ann.name.to_uppercase(), "password")
            .await
            .status,
        200
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_failed_logins_block_only_that_name() {
    let cluster = Cluster::start_with(2, &[("LOGIN_FAILURES", "3")]).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let visitors = [cluster.visitor(0), cluster.visitor(1)];
    for n in 0..3 {
        assert_eq!(
            visitors[n % 2].login(&ann.name, "wrong").await.status,
            401,
            "try {n}"
        );
    }
    for visitor in &visitors {
        for (name, password) in [
            (ann.name.clone(), "wrong"),
            (ann.name.clone(), "password"),
            (ann.name.to_uppercase(), "password"),
        ] {
            let answer = visitor.login(&name, password).await;
            assert_eq!(
                (answer.status, answer.code()),
                (429, "TOO_MANY_REQUESTS"),
                "{name}"
            );
            let seconds: u64 = answer
                .header("retry-after")
                .expect("the retry delay")
                .parse()
                .expect("a number");
            assert!((1..=60).contains(&seconds), "{seconds}");
        }
        let body = json!({ "username": ann.name, "password": "wrong" });
        let forwarded = visitor
            .request(Method::POST, "/api/auth/login")
            .header("x-forwarded-for", "203.0.113.7")
            .json(&body);
        assert_eq!(
            visitor.send(forwarded).await.status,
            429,
            "the client cannot choose its address"
        );
        assert_eq!(
            visitor.login(&bob.name, "password").await.status,
            200,
            "other names are not blocked"
        );
    }
    assert_eq!(
        ann.get("/api/users").await.status,
        200,
        "an open session stays valid"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_guesses_count_like_sequential_guesses() {
    let cluster = Cluster::start_with(1, &[("LOGIN_FAILURES", "3")]).await;
    let (ann, visitor) = (cluster.user(0, "ann").await, cluster.visitor(0));
    let answers = join_all((0..20).map(|_| visitor.login(&ann.name, "wrong"))).await;
    let tried = answers.iter().filter(|answer| answer.status == 401).count();
    assert!(tried <= 3, "{tried} passwords were tried; the limit is 3");
    assert!(
        answers
            .iter()
            .all(|answer| [401, 429].contains(&answer.status)),
        "{answers:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_access_token_names_its_user_session_and_expiry() {
    let cluster = Cluster::shared(1).await;
    let ann = cluster.user(0, "ann").await;
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    let claims = User::claims(ann.token());
    assert_eq!(
        keys(&claims),
        ["exp", "iat", "jti", "sid", "sub", "userDto"]
    );
    assert_eq!(text(&claims["sub"]), ann.name);
    let (issued, expires) = (
        claims["iat"].as_i64().expect("seconds"),
        claims["exp"].as_i64().expect("seconds"),
    );
    assert!((now - 60..=now).contains(&issued), "{issued} at {now}");
    assert_eq!(expires - issued, 15 * 60);
    let dto = json!({
        "id": ann.id, "username": ann.name, "email": format!("{}@example.org", ann.name),
        "profile": null, "online": null, "role": "USER",
    });
    assert_eq!(claims["userDto"], dto);
    for id in ["sid", "jti"] {
        assert!(text(&claims[id]).parse::<uuid::Uuid>().is_ok(), "{claims}");
    }
    let header = ann.token().split('.').next().expect("a header");
    let header: Value =
        serde_json::from_slice(&BASE64.decode(header).expect("base64url")).expect("JSON");
    assert_eq!(text(&header["alg"]), "HS256");

    // Each of several concurrent logins opens its own session, and all sessions are valid.
    let sessions = join_all((0..3).map(|_| tokens(&ann, &ann.name))).await;
    let mut ids = HashSet::from([text(&claims["sid"]).to_owned()]);
    for (token, _) in &sessions {
        assert!(
            ids.insert(text(&User::claims(token)["sid"]).to_owned()),
            "each login has its own session"
        );
        assert_eq!(status_with(&ann, token).await, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cookies_have_the_attributes_that_protect_them() {
    let mut cluster = Cluster::start(1).await;
    let secure = cluster.add(&[("COOKIE_SECURE", "true")]).await;
    let ann = cluster.user(0, "ann").await;
    for (node, is_secure) in [(0, false), (secure, true)] {
        let visitor = bare(&cluster.visitor(node));
        let answer = visitor.get("/api/auth/csrf-token").await;
        assert_eq!((answer.status, &answer.body), (204, &Value::Null));
        let (csrf, attributes) = set_cookie(&answer, "XSRF-TOKEN").expect("the cookie is set");
        assert!(csrf.len() >= 16, "the token is too short: {csrf}");
        assert!(
            attributes.contains("Path=/") && attributes.contains("SameSite=Lax"),
            "{attributes:?}"
        );
        assert!(
            !attributes.contains("HttpOnly"),
            "scripts must read the cookie"
        );
        assert_eq!(attributes.contains("Secure"), is_secure, "{attributes:?}");

        let answer = visitor.login(&ann.name, "password").await;
        let name = if is_secure {
            "__Host-REFRESH-TOKEN"
        } else {
            REFRESH
        };
        let (refresh, attributes) = set_cookie(&answer, name).expect("the cookie is set");
        let hsts = answer.header("strict-transport-security");
        assert_eq!(hsts, is_secure.then_some("max-age=31536000"));
        for attribute in ["HttpOnly", "Path=/", "SameSite=Lax", "Max-Age=2592000"] {
            assert!(attributes.contains(attribute), "{attributes:?}");
        }
        assert_eq!(attributes.contains("Secure"), is_secure, "{attributes:?}");
        assert!(
            !answer.headers["set-cookie"]
                .to_str()
                .expect("text")
                .contains(text(&answer.body)),
            "access and refresh tokens differ"
        );

        // Redis stores only a hash of the refresh token.
        let session = text(&User::claims(text(&answer.body))["sid"]).to_owned();
        let stored: std::collections::HashMap<String, String> = cluster
            .redis
            .clone()
            .hgetall(format!("session:{session}"))
            .await
            .expect("Redis answers");
        assert!(!stored.is_empty());
        for secret in refresh.split('.').filter(|part| *part != session) {
            assert!(
                stored.values().all(|value| !value.contains(secret)),
                "{stored:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn me_returns_a_token_and_keeps_the_cookie() {
    let cluster = Cluster::shared(1).await;
    let ann = cluster.user(0, "ann").await;
    let visitor = bare(&ann);
    let (token, refresh) = tokens(&ann, &ann.name).await;
    for _ in 0..2 {
        let answer = me_with(&visitor, &refresh).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.header("set-cookie").is_none(), "{answer:?}");
        let fresh = text(&answer.body);
        assert_eq!(User::claims(fresh)["sid"], User::claims(&token)["sid"]);
        assert_ne!(User::claims(fresh)["jti"], User::claims(&token)["jti"]);
        assert_eq!(status_with(&visitor, fresh).await, 200);
    }
    let altered = format!("{refresh}x");
    for wrong in [
        "",
        "garbage",
        ".",
        "a.b",
        "00000000-0000-0000-0000-000000000000.x",
        &token,
        &altered,
    ] {
        let answer = me_with(&visitor, wrong).await;
        assert_eq!(
            (answer.status, answer.code()),
            (401, "SESSION_ENDED"),
            "{wrong}"
        );
    }
    assert_eq!(visitor.get("/api/auth/me").await.status, 401);
    let with_bearer = bare(&ann)
        .request(Method::GET, "/api/auth/me")
        .bearer_auth(&token);
    assert_eq!(
        visitor.send(with_bearer).await.status,
        401,
        "only the cookie authenticates"
    );
    assert_eq!(
        me_with(&visitor, &refresh).await.status,
        200,
        "a request with a wrong cookie ends no session"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logging_out_ends_the_session_on_every_node_at_once() {
    let cluster = Cluster::shared(2).await;
    let ann = cluster.user(0, "ann").await;
    let (here, there) = (bare(&cluster.visitor(0)), bare(&cluster.visitor(1)));
    for _ in 0..3 {
        let (token, refresh) = tokens(&here, &ann.name).await;
        assert_eq!(status_with(&there, &token).await, 200);
        let answer = post_with(&here, "/api/auth/logout", &refresh).await;
        assert_eq!((answer.status, &answer.body), (204, &Value::Null));
        let (value, attributes) = set_cookie(&answer, REFRESH).expect("the cookie is cleared");
        assert!(
            value.is_empty() && attributes.contains("Max-Age=0") && attributes.contains("Path=/"),
            "{attributes:?}"
        );
        assert_eq!(status_with(&there, &token).await, 401);
        assert_eq!(status_with(&here, &token).await, 401);
        assert_eq!(me_with(&there, &refresh).await.status, 401);
        assert_eq!(
            post_with(&there, "/api/auth/logout", &refresh).await.status,
            204,
            "a repeated logout"
        );
    }
    let answer = here
        .send(here.request(Method::POST, "/api/auth/logout"))
        .await;
    assert_eq!(answer.status, 204, "a logout without a session: {answer:?}");
    assert_eq!(
        ann.get("/api/users").await.status,
        200,
        "the user's other session stays valid"
    );
    // The same in a browser with a cookie store.
    assert_eq!(ann.post_csrf("/api/auth/logout").await.status, 204);
    assert_eq!(ann.get("/api/users").await.status, 401);
    assert_eq!(ann.get("/api/auth/me").await.status, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_concurrent_login_does_not_keep_an_old_role_or_password() {
    let cluster = Cluster::shared(1).await;
    let (admin, visitor) = (cluster.admin(0).await, cluster.visitor(0));
    let manager = with_role(&cluster, 0, "CHANNEL_MANAGER").await;
    // Hashing has a concurrency limit, so most logins have read the user's row and wait when the row changes.
    let logins = join_all((0..16).map(|_| visitor.login(&manager.name, "password")));
    let (logins, changed) = tokio::join!(logins, async {
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        set_role(&admin, &manager.id, "USER").await
    });
    assert_eq!(changed.status, 200);
    for login in logins.iter().filter(|login| login.status == 200) {
        let visitor = Visitor {
            token: Some(text(&login.body).to_owned()),
            ..bare(&visitor)
        };
        let status = visitor
            .post(
                "/api/channels/public",
                &json!({ "name": "x", "description": "" }),
            )
            .await
            .status;
        assert!(
            [401, 403].contains(&status),
            "the old role still works: {status}"
        );
    }

    let ann = cluster.user(0, "ann").await;
    let logins = join_all((0..16).map(|_| visitor.login(&ann.name, "password")));
    let (logins, changed) = tokio::join!(logins, async {
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        update(&ann, &ann.id, &json!({ "newPassword": "another" })).await
    });
    assert_eq!(changed.status, 200);
    for login in logins.iter().filter(|login| login.status == 200) {
        assert_eq!(
            status_with(&visitor, text(&login.body)).await,
            401,
            "a session of the old password is still valid"
        );
    }
    assert_eq!(ann.get("/api/users").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_opened_during_a_password_change_ends() {
    let cluster = Cluster::start(1).await;
    let (ann, visitor) = (cluster.user(0, "ann").await, bare(&cluster.visitor(0)));
    // The login arrives when the change has done everything but its commit.
    let mut lock = cluster.db.begin().await.expect("a transaction");
    let hold = sqlx::query("lock table outbox in share mode");
    hold.execute(&mut *lock).await.expect("locked");
    let change = async { update(&ann, &ann.id, &json!({ "newPassword": "another" })).await };
    let login = async {
        eventually("the change waits for its commit", async || {
            let waits = "select count(*) from pg_stat_activity where datname = current_database() \
                         and wait_event_type = 'Lock' and query like '%into outbox%'";
            let (waiting,): (i64,) = sqlx::query_as(waits)
                .fetch_one(&cluster.db)
                .await
                .expect("counted");
            waiting > 0
        })
        .await;
        let answer = visitor.login(&ann.name, "password").await;
        lock.rollback().await.expect("unlocked");
        answer
    };
    let (changed, login) = tokio::join!(change, login);
    assert_eq!(changed.status, 200, "{changed:?}");
    if login.status == 200 {
        assert_eq!(status_with(&visitor, text(&login.body)).await, 401);
    }
    assert_eq!(ann.get("/api/users").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_bearer_header_carries_an_access_token() {
    let cluster = Cluster::shared(1).await;
    let ann = cluster.user(0, "ann").await;
    let visitor = bare(&ann);
    let (_, refresh) = tokens(&ann, &ann.name).await;
    assert_eq!(status_with(&visitor, &refresh).await, 401);
    for value in [
        format!("Basic {}", ann.token()),
        ann.token().to_owned(),
        "Bearer".to_owned(),
        format!("Bearer {}", ann.token().trim_end_matches(|c| c != '.')),
    ] {
        let answer = visitor
            .send(
                visitor
                    .request(Method::GET, "/api/users")
                    .header("authorization", &value),
            )
            .await;
        assert_eq!(
            (answer.status, answer.code()),
            (401, "UNAUTHENTICATED"),
            "{value}"
        );
    }
    assert_eq!(
        me_with(&visitor, ann.token()).await.status,
        401,
        "an access token is not a refresh token"
    );
}
