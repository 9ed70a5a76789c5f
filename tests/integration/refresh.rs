//! Session refreshes: CSRF, rotation of the refresh token, and its reuse.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use futures_util::future::join_all;
use redis::AsyncCommands;
use serde_json::json;

use super::{
    accounts::{set_role, text, update},
    logins::{REFRESH, bare, me_with, post_with, set_cookie, status_with, tokens},
};
use crate::support::{Cluster, Stomp, User, Visitor};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_requires_the_csrf_token_and_rotates_the_cookie() {
    let cluster = Cluster::start(2).await;
    let ann = cluster.user(0, "ann").await;
    let visitor = bare(&ann);
    let (token, refresh) = tokens(&ann, &ann.name).await;
    for (cookie, header) in [
        (Some("a"), None),
        (Some("a"), Some("b")),
        (None, Some("a")),
        (None, None),
        (Some(""), Some("")),
    ] {
        let cookies = match cookie {
            Some(csrf) => format!("XSRF-TOKEN={csrf}; {REFRESH}={refresh}"),
            None => format!("{REFRESH}={refresh}"),
        };
        for path in ["/api/auth/refresh", "/api/auth/logout"] {
            let request = visitor
                .http
                .post(format!("{}{path}", visitor.base))
                .header("cookie", &cookies);
            let request = header.into_iter().fold(request, |request, value| {
                request.header("x-xsrf-token", value)
            });
            let answer = visitor.send(request).await;
            assert_eq!(
                (answer.status, answer.code()),
                (403, "CSRF_MISMATCH"),
                "{path} {cookie:?} {header:?}"
            );
        }
    }
    // A browser refreshes several times, on both nodes.
    let mut browser = User::sign_in(cluster.visitor(0), &ann.name, "password").await;
    for node in [1, 0, 1] {
        browser = browser.at_node(&cluster.address(node));
        let answer = browser.post_csrf("/api/auth/refresh").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let (_, attributes) = set_cookie(&answer, REFRESH).expect("the cookie is rotated");
        assert!(attributes.contains("HttpOnly"), "{attributes:?}");
        assert_eq!(
            User::claims(text(&answer.body))["sid"],
            User::claims(browser.token())["sid"]
        );
        assert_eq!(status_with(&visitor, text(&answer.body)).await, 200);
    }
    let answer = post_with(&visitor, "/api/auth/refresh", &refresh).await;
    let (next, _) = set_cookie(&answer, REFRESH).expect("the cookie is rotated");
    assert_ne!(next, refresh);
    // Other requests of the page may still carry the old cookie, so it authenticates them for 30 s.
    assert_eq!(me_with(&visitor, &refresh).await.status, 200);
    let key = format!("session:{}", text(&User::claims(&token)["sid"]));
    let mut redis = cluster.redis.clone();
    let until: u64 = redis.hget(&key, "previous_until").await.expect("HGET");
    let (seconds, _): (u64, u64) = redis::cmd("TIME")
        .query_async(&mut redis)
        .await
        .expect("TIME");
    let left = until / 1_000 - seconds;
    assert!((20..=30).contains(&left), "{left} s");
    let () = redis
        .hset(&key, "previous_until", seconds * 1_000 - 1)
        .await
        .expect("HSET");
    assert_eq!(
        me_with(&visitor, &refresh).await.status,
        401,
        "the old cookie is invalid afterwards"
    );
    assert_eq!(me_with(&visitor, &next).await.status, 200);
    assert_eq!(
        status_with(&visitor, &token).await,
        200,
        "the session and its access tokens stay valid"
    );
    let answer = post_with(&visitor, "/api/auth/refresh", "unknown.token").await;
    assert_eq!((answer.status, answer.code()), (401, "SESSION_ENDED"));
    assert_eq!(
        set_cookie(&answer, REFRESH)
            .expect("the cookie is cleared")
            .0,
        ""
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_one_of_several_concurrent_refreshes_succeeds() {
    let cluster = Cluster::shared(2).await;
    let ann = cluster.user(0, "ann").await;
    let visitors = [bare(&cluster.visitor(0)), bare(&cluster.visitor(1))];
    for round in 0..5 {
        let (token, refresh) = tokens(&ann, &ann.name).await;
        let answers =
            join_all((0..6).map(|n| post_with(&visitors[n % 2], "/api/auth/refresh", &refresh)))
                .await;
        let won: Vec<_> = answers
            .iter()
            .filter(|answer| answer.status == 200)
            .collect();
        assert_eq!(won.len(), 1, "round {round}: {answers:?}");
        assert!(
            answers
                .iter()
                .all(|answer| [200, 401].contains(&answer.status)),
            "{answers:?}"
        );
        // Two clients had the token, and the node cannot know its owner, so it ends the session.
        for access in [token.as_str(), text(&won[0].body)] {
            assert_eq!(status_with(&visitors[1], access).await, 401);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_token_used_twice_ends_its_session_everywhere() {
    let cluster = Cluster::shared(2).await;
    let ann = cluster.user(0, "ann").await;
    let (here, there) = (bare(&cluster.visitor(0)), bare(&cluster.visitor(1)));
    let (first_token, first) = tokens(&here, &ann.name).await;
    let answer = post_with(&there, "/api/auth/refresh", &first).await;
    let (second_token, second) = (
        text(&answer.body).to_owned(),
        set_cookie(&answer, REFRESH).expect("rotated").0,
    );
    assert_eq!(status_with(&there, &second_token).await, 200);

    let answer = post_with(&here, "/api/auth/refresh", &first).await;
    assert_eq!((answer.status, answer.code()), (401, "SESSION_ENDED"));
    for visitor in [&there, &here] {
        assert_eq!(status_with(visitor, &first_token).await, 401);
        assert_eq!(status_with(visitor, &second_token).await, 401);
        assert_eq!(me_with(visitor, &second).await.status, 401);
        assert_eq!(
            post_with(visitor, "/api/auth/refresh", &second)
                .await
                .status,
            401
        );
    }
    assert_eq!(
        ann.get("/api/users").await.status,
        200,
        "the user's other session stays valid"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_made_up_refresh_token_ends_no_session() {
    let cluster = Cluster::shared(2).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let channel = cluster.channel().await;
    let (here, there) = (bare(&cluster.visitor(0)), bare(&cluster.visitor(1)));
    let (token, first) = tokens(&here, &ann.name).await;
    let (_, bobs) = tokens(&here, &bob.name).await;
    let victim = User {
        at: Visitor {
            token: Some(token.clone()),
            ..there.clone()
        },
        id: ann.id.clone(),
        name: ann.name.clone(),
    };
    let mut socket = Stomp::connect(&victim).await;
    socket.subscribe(&channel).await;
    let session = text(&User::claims(&token)["sid"]).to_owned();
    let (_, secret) = first.split_once('.').expect("a session and a secret");
    let (_, secret_of_bob) = bobs.split_once('.').expect("a session and a secret");
    let mut altered = BASE64.decode(secret).expect("base64url");
    altered[0] ^= 1;
    let made_up = [
        "x",
        "",
        &"A".repeat(43),
        &"A".repeat(86),
        &BASE64.encode(altered),
        &format!("{secret}x"),
        secret_of_bob,
    ];
    for secret in made_up {
        let answer = post_with(&here, "/api/auth/refresh", &format!("{session}.{secret}")).await;
        assert_eq!((answer.status, answer.code()), (401, "SESSION_ENDED"));
        assert_eq!(status_with(&there, &token).await, 200, "{secret}");
    }
    assert_eq!(bob.write(&channel, "still there").await.status, 201);
    assert_eq!(socket.message().await["content"], "still there");

    // Any token that was once real ends the session, not only the last one.
    let mut current = first.clone();
    for _ in 0..3 {
        let answer = post_with(&here, "/api/auth/refresh", &current).await;
        current = set_cookie(&answer, REFRESH).expect("rotated").0;
    }
    let answer = post_with(&here, "/api/auth/refresh", &first).await;
    assert_eq!((answer.status, answer.code()), (401, "SESSION_ENDED"));
    assert_eq!(status_with(&there, &token).await, 401);
    let error = socket.expect("ERROR").await;
    assert_eq!(error.header("code"), Some("SESSION_ENDED"));
    assert_eq!(me_with(&there, &current).await.status, 401);
}

/// A session of a version whose refresh tokens had no MAC.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_token_of_an_earlier_version_is_rotated_and_its_reuse_noticed() {
    use sha2::{Digest, Sha256};

    let cluster = Cluster::shared(1).await;
    let ann = cluster.user(0, "ann").await;
    let visitor = bare(&ann);
    let (token, _) = tokens(&ann, &ann.name).await;
    let session = text(&User::claims(&token)["sid"]).to_owned();
    let old = "B".repeat(43);
    let () = cluster
        .redis
        .clone()
        .hset(
            format!("session:{session}"),
            "refresh",
            BASE64.encode(Sha256::digest(&old)),
        )
        .await
        .expect("HSET");
    let old = format!("{session}.{old}");
    let answer = post_with(&visitor, "/api/auth/refresh", &old).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(status_with(&visitor, &token).await, 200);
    let answer = post_with(&visitor, "/api/auth/refresh", &old).await;
    assert_eq!(answer.status, 401, "{answer:?}");
    assert_eq!(status_with(&visitor, &token).await, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_has_ended_tells_the_owner_of_its_token_why() {
    let cluster = Cluster::start(2).await;
    let (ann, admin) = (cluster.user(0, "ann").await, cluster.admin(0).await);
    let there = bare(&cluster.visitor(1));
    let sign_in = async || tokens(&there, &ann.name).await;
    let why = async |refresh: &str| {
        let answer = me_with(&there, refresh).await;
        assert_eq!((answer.status, answer.code()), (401, "SESSION_ENDED"));
        answer.body["details"].clone()
    };

    let (_, refresh) = sign_in().await;
    let answer = ann.delete("/api/auth/sessions?others=true").await;
    assert_eq!(answer.status, 204, "{answer:?}");
    assert_eq!(
        why(&refresh).await,
        json!({ "reason": "SIGNED_OUT_ELSEWHERE" })
    );
    let (_, refresh) = sign_in().await;
    let answer = post_with(&there, "/api/auth/logout", &refresh).await;
    assert_eq!(answer.status, 204, "{answer:?}");
    assert_eq!(why(&refresh).await, json!({ "reason": "SIGNED_OUT" }));

    let (_, refresh) = sign_in().await;
    let answer = set_role(&admin, &ann.id, "CHANNEL_MANAGER").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let changed = json!({ "reason": "ROLE_CHANGED", "role": "CHANNEL_MANAGER" });
    assert_eq!(why(&refresh).await, changed);
    // Also to a client that exchanges the token.
    let answer = post_with(&there, "/api/auth/refresh", &refresh).await;
    assert_eq!(
        (answer.status, &answer.body["details"]),
        (401, &changed),
        "{answer:?}"
    );

    let (token, refresh) = sign_in().await;
    let session = text(&User::claims(&token)["sid"]).to_owned();
    // The id of a session is in its access tokens; the reason is only for the owner of the refresh token.
    let forged = format!("{session}.{}", BASE64.encode([7; 64]));
    assert_eq!(why(&forged).await, json!({}));
    let () = cluster
        .redis
        .clone()
        .del(format!("session:{session}"))
        .await
        .expect("DEL");
    assert_eq!(why(&refresh).await, json!({ "reason": "EXPIRED" }));
    assert_eq!(why(&forged).await, json!({}));

    let (_, refresh) = sign_in().await;
    let (_, used) = sign_in().await;
    let answer = post_with(&there, "/api/auth/refresh", &used).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = post_with(&there, "/api/auth/refresh", &used).await;
    assert_eq!(
        answer.body["details"],
        json!({ "reason": "TOKEN_REUSED" }),
        "{answer:?}"
    );
    let owner = User::sign_in(cluster.visitor(0), &ann.name, "password").await;
    let answer = update(&owner.at, &ann.id, &json!({ "newPassword": "another" })).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(why(&refresh).await, json!({ "reason": "PASSWORD_CHANGED" }));
}
