//! Accounts, roles, and the rights of each role.

use discodeit::{Config, Node};
use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use super::logins::{bare, me_with, post_with, status_with, tokens};
use crate::support::{Answer, Cluster, User, Visitor};

/// The names of an object's fields, sorted.
pub(crate) fn keys(object: &Value) -> Vec<&str> {
    let object = object
        .as_object()
        .unwrap_or_else(|| panic!("not an object: {object}"));
    let mut keys: Vec<_> = object.keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

/// The value of a JSON string.
pub(crate) fn text(value: &Value) -> &str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("not a string: {value}"))
}

/// A new user with the role, signed in at the node.
pub(crate) async fn with_role(cluster: &Cluster, node: usize, role: &str) -> User {
    let user = cluster.user(node, "promoted").await;
    let admin = cluster.admin(0).await;
    let answer = set_role(&admin, &user.id, role).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    User::sign_in(cluster.visitor(node), &user.name, "password").await
}

pub(crate) async fn set_role(by: &Visitor, user: &str, role: &str) -> Answer {
    by.json(
        Method::PUT,
        "/api/auth/role",
        &json!({ "userId": user, "newRole": role }),
    )
    .await
}

pub(crate) async fn update(by: &Visitor, user: &str, body: &Value) -> Answer {
    by.multipart(
        Method::PATCH,
        &format!("/api/users/{user}"),
        "userUpdateRequest",
        body,
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_an_administrator_changes_roles_and_a_change_ends_the_users_sessions() {
    let cluster = Cluster::start(2).await;
    let (ann, bob, admin) = (
        cluster.user(1, "ann").await,
        cluster.user(0, "bob").await,
        cluster.admin(0).await,
    );
    let manager = with_role(&cluster, 0, "CHANNEL_MANAGER").await;
    for by in [&ann, &bob, &manager] {
        let answer = set_role(by, &ann.id, "ADMIN").await;
        assert_eq!((answer.status, answer.code()), (403, "FORBIDDEN"));
    }
    assert_eq!(
        set_role(&cluster.visitor(0), &ann.id, "ADMIN").await.status,
        401
    );
    let unknown_id = uuid::Uuid::now_v7().to_string();
    let answer = set_role(&admin, &unknown_id, "USER").await;
    assert_eq!((answer.status, answer.code()), (404, "USER_NOT_FOUND"));
    assert_eq!(text(&answer.body["details"]["userId"]), unknown_id);
    let answer = admin.json(Method::PUT, "/api/auth/role", &json!({})).await;
    assert_eq!(
        (answer.status, keys(&answer.body["details"])),
        (400, vec!["newRole", "userId"])
    );
    for (user, role) in [
        (ann.id.as_str(), "KING"),
        (&ann.id, "admin"),
        (&ann.id, ""),
        ("x", "USER"),
    ] {
        assert_eq!(
            set_role(&admin, user, role).await.status,
            400,
            "{user} {role}"
        );
    }
    assert_eq!(
        ann.get("/api/users").await.status,
        200,
        "rejected requests leave the session alive"
    );

    let (token, refresh) = tokens(&ann, &ann.name).await;
    let answer = set_role(&admin, &ann.id, "CHANNEL_MANAGER").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        keys(&answer.body),
        ["email", "id", "online", "profile", "role", "username"]
    );
    assert_eq!(
        (text(&answer.body["id"]), text(&answer.body["role"])),
        (ann.id.as_str(), "CHANNEL_MANAGER")
    );
    for revoked in [ann.token(), &token] {
        assert_eq!(status_with(&cluster.visitor(1), revoked).await, 401);
    }
    assert_eq!(me_with(&bare(&ann), &refresh).await.status, 401);
    assert_eq!(
        bob.get("/api/users").await.status,
        200,
        "another user's session stays alive"
    );
    let again = User::sign_in(cluster.visitor(1), &ann.name, "password").await;
    assert_eq!(
        text(&User::claims(again.token())["userDto"]["role"]),
        "CHANNEL_MANAGER"
    );
    again.create_channel("mine").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_update_their_own_account_and_administrators_any_account() {
    let cluster = Cluster::shared(1).await;
    let (ann, bob, admin) = (
        cluster.user(0, "ann").await,
        cluster.user(0, "bob").await,
        cluster.admin(0).await,
    );
    let answer = update(&bob, &ann.id, &json!({ "newUsername": "stolen" })).await;
    assert_eq!((answer.status, answer.code()), (403, "FORBIDDEN"));
    assert_eq!(
        update(&cluster.visitor(0), &ann.id, &json!({}))
            .await
            .status,
        401
    );
    let unknown_id = uuid::Uuid::now_v7().to_string();
    assert_eq!(
        update(&admin, &unknown_id, &json!({ "newUsername": "nobody" }))
            .await
            .status,
        404
    );

    let before = json!({ "username": ann.name, "email": format!("{}@example.org", ann.name) });
    for unchanged in [
        json!({}),
        json!({ "newUsername": null, "newEmail": null, "newPassword": null }),
    ] {
        let answer = update(&ann, &ann.id, &unchanged).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(
            keys(&answer.body),
            ["email", "id", "online", "profile", "role", "username"]
        );
        assert_eq!(
            (&answer.body["username"], &answer.body["email"]),
            (&before["username"], &before["email"])
        );
    }
    let answer = update(
        &ann,
        &ann.id,
        &json!({ "newUsername": " ", "newEmail": "x", "newPassword": "1" }),
    )
    .await;
    assert_eq!((answer.status, answer.code()), (400, "INVALID_INPUT"));
    assert_eq!(
        keys(&answer.body["details"]),
        ["newEmail", "newPassword", "newUsername"]
    );
    let answer = update(
        &ann,
        &ann.id,
        &json!({ "newUsername": bob.name.to_uppercase() }),
    )
    .await;
    assert_eq!((answer.status, answer.code()), (409, "USERNAME_TAKEN"));
    let taken = format!("{}@EXAMPLE.org", bob.name);
    let answer = update(
        &ann,
        &ann.id,
        &json!({ "newUsername": "anna", "newEmail": taken }),
    )
    .await;
    assert_eq!((answer.status, answer.code()), (409, "EMAIL_TAKEN"));
    let recased = update(
        &ann,
        &ann.id,
        &json!({ "newUsername": ann.name.to_uppercase() }),
    )
    .await;
    assert_eq!(
        recased.status, 200,
        "a user may change the case of the own name: {recased:?}"
    );

    let answer = update(
        &ann,
        &ann.id,
        &json!({ "newUsername": "Anna", "newEmail": "anna@example.org" }),
    )
    .await;
    assert_eq!(
        (text(&answer.body["username"]), text(&answer.body["email"])),
        ("Anna", "anna@example.org")
    );
    let answer = update(&admin, &ann.id, &json!({ "newUsername": "Annabel" })).await;
    assert_eq!(
        (text(&answer.body["username"]), text(&answer.body["email"])),
        ("Annabel", "anna@example.org")
    );
    assert_eq!(
        ann.get("/api/users").await.status,
        200,
        "a new name does not end the session"
    );
    assert_eq!(
        cluster.visitor(0).login("annabel", "password").await.status,
        200
    );
    assert_eq!(
        cluster.visitor(0).login(&ann.name, "password").await.status,
        401
    );
    let fresh = ann.get("/api/auth/me").await;
    assert_eq!(text(&User::claims(text(&fresh.body))["sub"]), "Annabel");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_password_ends_the_users_other_sessions_only() {
    let cluster = Cluster::start(2).await;
    let (ann, admin) = (cluster.user(0, "ann").await, cluster.admin(0).await);
    let (visitor, (other, refresh)) = (
        bare(&cluster.visitor(1)),
        tokens(&cluster.visitor(1), &ann.name).await,
    );
    assert_eq!(
        update(&ann, &ann.id, &json!({ "newPassword": "another" }))
            .await
            .status,
        200
    );
    assert_eq!(status_with(&visitor, &other).await, 401);
    assert_eq!(
        post_with(&visitor, "/api/auth/refresh", &refresh)
            .await
            .status,
        401
    );
    assert_eq!(status_with(&visitor, ann.token()).await, 200);
    assert_eq!(ann.post_csrf("/api/auth/refresh").await.status, 200);
    assert_eq!(visitor.login(&ann.name, "password").await.status, 401);
    assert_eq!(visitor.login(&ann.name, "another").await.status, 200);

    assert_eq!(
        update(&admin, &ann.id, &json!({ "newPassword": "a third" }))
            .await
            .status,
        200
    );
    assert_eq!(
        ann.get("/api/users").await.status,
        401,
        "a password change by an administrator ends every session of the user"
    );
    assert_eq!(admin.get("/api/users").await.status, 200);
    assert_eq!(visitor.login(&ann.name, "a third").await.status, 200);
    let (stored,): (String,) = sqlx::query_as("select password_hash from users where id = $1")
        .bind(ann.id.parse::<uuid::Uuid>().expect("an id"))
        .fetch_one(&cluster.db)
        .await
        .expect("the row exists");
    assert!(stored.starts_with("$argon2id$"), "{stored}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_are_listed_in_order_of_sign_up() {
    let cluster = Cluster::start(1).await;
    let mut expected = vec!["admin".to_owned()];
    let mut reader = None;
    for name in ["zoe", "ann", "moe"] {
        let user = cluster.user(0, name).await;
        expected.push(user.name.clone());
        reader = Some(user);
    }
    let reader = reader.expect("three users signed up");
    let answer = reader.get("/api/users").await;
    assert_eq!(answer.status, 200);
    assert!(
        answer
            .header("x-event-cursor")
            .is_some_and(|cursor| !cursor.is_empty()),
        "{answer:?}"
    );
    let users = answer.body.as_array().expect("a list");
    assert_eq!(
        users
            .iter()
            .map(|user| text(&user["username"]))
            .collect::<Vec<_>>(),
        expected
    );
    for user in users {
        assert_eq!(
            keys(user),
            ["email", "id", "online", "profile", "role", "username"]
        );
        assert!(
            user["online"].is_null() || user["online"].is_boolean(),
            "{user}"
        );
        let role = if user["username"] == "admin" {
            "ADMIN"
        } else {
            "USER"
        };
        assert_eq!(
            (text(&user["role"]), &user["profile"]),
            (role, &Value::Null)
        );
    }
    assert!(
        !answer.body.to_string().contains("argon2"),
        "the response contains no password hash"
    );
    assert_eq!(cluster.visitor(0).get("/api/users").await.status, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_start_concurrently_create_one_administrator() {
    let cluster = Cluster::without_schema().await;
    let (database,): (String,) = sqlx::query_as("select current_database()")
        .fetch_one(&cluster.db)
        .await
        .expect("a name");
    let client: String = redis::cmd("CLIENT")
        .arg("INFO")
        .query_async(&mut cluster.redis.clone())
        .await
        .expect("Redis answers");
    let number = client
        .split(' ')
        .find_map(|field| field.strip_prefix("db="))
        .expect("a database")
        .to_owned();
    let start = async |password: &'static str| {
        let prefix = format!("{database}.");
        let find = |name: &str| {
            let environment = |name: &str| {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "the environment is how tests get the addresses of the stores"
                )]
                std::env::var(name).expect("the environment names the stores")
            };
            let value = match name {
                "LISTEN" => "127.0.0.1:0".to_owned(),
                "DATABASE_URL" => {
                    let server = environment("TEST_DATABASE_URL");
                    format!(
                        "{}/{database}",
                        server.rsplit_once('/').expect("the URL names a database").0
                    )
                }
                "DATABASE_POOL" => "4".to_owned(),
                "REDIS_URL" => format!("{}/{number}", environment("TEST_REDIS_URL")),
                "KAFKA_BROKERS" => environment("TEST_KAFKA_BROKERS"),
                "KAFKA_TOPIC_PREFIX" => prefix.clone(),
                "KAFKA_PARTITIONS" => "2".to_owned(),
                "FILES_URL" => format!("file://{}/{database}", env!("CARGO_TARGET_TMPDIR")),
                "JWT_SECRET" => "a secret of the tests, 32 bytes long".to_owned(),
                "ADMIN_USERNAME" => "Root".to_owned(),
                "ADMIN_EMAIL" => "root@example.org".to_owned(),
                "ADMIN_PASSWORD" => password.to_owned(),
                _ => return None,
            };
            Some(value)
        };
        Node::start(Config::read(&find).expect("the settings are valid"))
            .await
            .expect("a node starts")
    };
    let nodes = join_all(["password"; 3].map(&start)).await;
    let visitors: Vec<_> = nodes
        .iter()
        .map(|node| Visitor::new(&node.address().to_string()))
        .collect();
    join_all(visitors.iter().map(Visitor::until_ready)).await;
    let root = User::sign_in(visitors[2].clone(), "root", "password").await;
    let users = root.get("/api/users").await;
    assert_eq!(users.body.as_array().map(Vec::len), Some(1), "{users:?}");
    assert_eq!(
        (
            text(&users.body[0]["role"]),
            text(&users.body[0]["username"])
        ),
        ("ADMIN", "Root")
    );

    // A later start with another password does not change the account.
    let late = start("changed").await;
    let visitor = Visitor::new(&late.address().to_string());
    visitor.until_ready().await;
    assert_eq!(visitor.login("Root", "changed").await.status, 401);
    assert_eq!(visitor.login("Root", "password").await.status, 200);
    join_all(nodes.into_iter().chain([late]).map(Node::kill)).await;
}
