//! The first administrator, the last one, and the audit log.

use futures_util::future::join;
use serde_json::json;

use super::{
    accounts::{set_role, text, update},
    logins::{bare, post_with, set_cookie, tokens},
};
use crate::support::{ADMIN, Cluster, User, audit_log, record_audit_log};

/// Settings without an administrator: empty values count as unset.
const NO_ADMIN: &[(&str, &str)] = &[
    ("ADMIN_USERNAME", ""),
    ("ADMIN_EMAIL", ""),
    ("ADMIN_PASSWORD", ""),
];

async fn administrators(cluster: &Cluster) -> Vec<String> {
    sqlx::query_scalar("select username from users where role = 'ADMIN' order by created_at")
        .fetch_all(&cluster.db)
        .await
        .expect("PostgreSQL answers")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renamed_administrator_is_not_created_again() {
    let mut cluster = Cluster::start(1).await;
    let (admin, ann) = (cluster.admin(0).await, cluster.user(0, "ann").await);
    let body =
        json!({ "newUsername": "boss", "newEmail": "boss@example.org", "newPassword": "another" });
    assert_eq!(update(&admin, &admin.id, &body).await.status, 200);
    cluster.kill(0).await;
    let node = cluster.add(&[]).await;
    let visitor = cluster.visitor(node);
    assert_eq!(visitor.login(ADMIN.0, ADMIN.1).await.status, 401);
    assert_eq!(administrators(&cluster).await, ["boss"]);
    let boss = User::sign_in(cluster.visitor(node), "boss", "another").await;

    // Nobody else gets the name or the address of the settings.
    let answer = visitor
        .sign_up("ADMIN", "other@example.org", "password")
        .await;
    assert_eq!((answer.status, answer.code()), (409, "USERNAME_TAKEN"));
    // With a Cyrillic letter.
    let answer = visitor
        .sign_up("\u{430}dmin", "other@example.org", "password")
        .await;
    assert_eq!((answer.status, answer.code()), (409, "USERNAME_TAKEN"));
    let answer = visitor
        .sign_up("other", "Admin@Example.org", "password")
        .await;
    assert_eq!((answer.status, answer.code()), (409, "EMAIL_TAKEN"));
    let ann = ann.at_node(&cluster.address(node));
    for by in [&ann, &boss] {
        let answer = update(by, &ann.id, &json!({ "newUsername": "Admin" })).await;
        assert_eq!((answer.status, answer.code()), (409, "USERNAME_TAKEN"));
        let answer = update(by, &ann.id, &json!({ "newEmail": "admin@example.org" })).await;
        assert_eq!((answer.status, answer.code()), (409, "EMAIL_TAKEN"));
    }
    let answer = update(&boss, &boss.id, &json!({ "newUsername": "Admin" })).await;
    assert_eq!(answer.status, 200, "an administrator may: {answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_name_or_address_of_the_administrator_keeps_no_node_from_starting() {
    let mut cluster = Cluster::start_with(0, &[]).await;
    let node = cluster.add(NO_ADMIN).await;
    let visitor = cluster.visitor(node);
    for (name, email) in [("eve", "ADMIN@example.org"), ("Admin", "bob@example.org")] {
        assert_eq!(visitor.sign_up(name, email, "password").await.status, 201);
    }
    cluster.kill(node).await;
    for (name, change) in [
        ("eve", json!({ "newEmail": "eve@example.org" })),
        ("Admin", json!({ "newUsername": "bob" })),
    ] {
        // Becomes ready.
        let node = cluster.add(&[]).await;
        assert_eq!(administrators(&cluster).await, [""; 0]);
        let user = User::sign_in(cluster.visitor(node), name, "password").await;
        // The user may keep the value, but nobody else gets it.
        let keep = json!({ "newUsername": name, "newPassword": "password" });
        assert_eq!(update(&user, &user.id, &keep).await.status, 200);
        let answer = update(&user, &user.id, &change).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let back = match name {
            "eve" => json!({ "newEmail": "admin@example.org" }),
            _ => json!({ "newUsername": "ADMIN" }),
        };
        assert_eq!(update(&user, &user.id, &back).await.status, 409);
        cluster.kill(node).await;
    }
    let node = cluster.add(&[]).await;
    cluster.admin(node).await;
    assert_eq!(administrators(&cluster).await, [ADMIN.0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_administrator_stays() {
    let cluster = Cluster::start(2).await;
    let (mut admin, mut ann) = (cluster.admin(0).await, cluster.user(1, "ann").await);
    let path = format!("/api/users/{}", admin.id);
    let answer = set_role(&admin, &admin.id, "USER").await;
    assert_eq!((answer.status, answer.code()), (409, "LAST_ADMIN"));
    let answer = admin.delete(&path).await;
    assert_eq!((answer.status, answer.code()), (409, "LAST_ADMIN"));
    assert_eq!(
        admin.get("/api/users").await.status,
        200,
        "the session lives"
    );
    // The same role again is no change of it.
    assert_eq!(set_role(&admin, &admin.id, "ADMIN").await.status, 200);
    admin = cluster.admin(0).await;

    for round in 0..6 {
        assert_eq!(set_role(&admin, &ann.id, "ADMIN").await.status, 200);
        ann = User::sign_in(cluster.visitor(1), &ann.name, "password").await;
        // Each demotes the other at the same time.
        let (first, second) = join(
            set_role(&admin, &ann.id, "USER"),
            set_role(&ann, &admin.id, "CHANNEL_MANAGER"),
        )
        .await;
        let left = administrators(&cluster).await;
        assert_eq!(left.len(), 1, "round {round}: {first:?} {second:?}");
        // The other one's session has ended, or the request comes second.
        let (won, lost) = if left == [ADMIN.0] {
            (first, second)
        } else {
            (second, first)
        };
        assert_eq!(won.status, 200, "{won:?}");
        assert!([401, 409].contains(&lost.status), "{lost:?}");
        if left != [ADMIN.0] {
            assert_eq!(set_role(&ann, &admin.id, "ADMIN").await.status, 200);
            admin = cluster.admin(0).await;
            assert_eq!(set_role(&admin, &ann.id, "USER").await.status, 200);
        }
        admin = cluster.admin(0).await;
    }

    assert_eq!(set_role(&admin, &ann.id, "ADMIN").await.status, 200);
    let ann = User::sign_in(cluster.visitor(1), &ann.name, "password").await;
    let anns_path = format!("/api/users/{}", ann.id);
    let (first, second) = join(admin.delete(&path), ann.delete(&anns_path)).await;
    let mut statuses = [first.status, second.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 409], "{first:?} {second:?}");
    assert_eq!(administrators(&cluster).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_audit_log_names_who_did_what_to_whom() {
    record_audit_log();
    let cluster = Cluster::start_with(1, &[("TRUSTED_PROXIES", "127.0.0.0/8")]).await;
    let (admin, ann) = (cluster.admin(0).await, cluster.user(0, "ann").await);
    let visitor = cluster.visitor(0).at_address("203.0.113.7");
    assert_eq!(
        visitor.login(&ann.name, "not-the-password").await.status,
        401
    );
    let long = format!("{}-{}", ann.name, "x".repeat(5_000));
    assert_eq!(visitor.login(&long, "not-the-password").await.status, 401);
    let (token, refresh) = tokens(&visitor, &ann.name).await;
    let visitor = bare(&visitor);
    assert_eq!(
        post_with(&visitor, "/api/auth/logout", &refresh)
            .await
            .status,
        204
    );
    let (_, first) = tokens(&visitor, &ann.name).await;
    let answer = post_with(&visitor, "/api/auth/refresh", &first).await;
    let second = set_cookie(&answer, "REFRESH-TOKEN").expect("rotated").0;
    assert_eq!(
        post_with(&visitor, "/api/auth/refresh", &first)
            .await
            .status,
        401
    );
    let body = json!({ "newEmail": "changed@example.org", "newPassword": "secret-password" });
    assert_eq!(update(&ann, &ann.id, &body).await.status, 200);
    assert_eq!(
        set_role(&admin, &ann.id, "CHANNEL_MANAGER").await.status,
        200
    );
    let path = format!("/api/users/{}", ann.id);
    assert_eq!(admin.delete(&path).await.status, 204);

    let lines = audit_log(&ann.id);
    let of = |message: &str| {
        let found: Vec<_> = lines
            .iter()
            .filter(|line| line["message"] == message)
            .collect();
        assert!(!found.is_empty(), "{message}: {lines:#?}");
        found
    };
    for line in &lines {
        assert_eq!(line["target"], "audit", "{line}");
    }
    assert_eq!(of("account created")[0]["client"], "127.0.0.1");
    let session = text(&User::claims(&token)["sid"]).to_owned();
    let login = of("login succeeded")
        .into_iter()
        .find(|line| line["session.id"] == *session)
        .expect("the login");
    assert!(login["client"].is_string(), "{login}");
    assert_eq!(of("logout")[0]["session.id"], *session);
    of("refresh token reused; session revoked");
    let change = of("account changed")[0];
    assert_eq!(
        (&change["new_email"], &change["new_password"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(change["by.id"], *ann.id);
    assert!(of("sessions revoked").len() >= 2, "{lines:#?}");
    let role = of("role changed")[0];
    assert_eq!(
        (&role["from"], &role["to"], &role["by.id"]),
        (&json!("USER"), &json!("CHANNEL_MANAGER"), &json!(admin.id))
    );
    assert_eq!(of("account deleted")[0]["by.id"], *admin.id);

    let failures = audit_log("login failed");
    let failed: Vec<_> = failures
        .iter()
        .filter(|line| {
            let account = line["account"].as_str();
            account.is_some_and(|account| account.starts_with(&ann.name))
        })
        .collect();
    assert_eq!(failed.len(), 2, "{failures:#?}");
    assert!(failed.iter().all(|line| line["client"] == "203.0.113.7"));
    assert!(failed.iter().all(|line| text(&line["account"]).len() <= 64));
    for secret in [
        "not-the-password",
        "secret-password",
        &token,
        &refresh,
        &first,
        &second,
    ] {
        assert!(audit_log(secret).is_empty(), "a secret is logged");
    }
}
