//! Sign-ups.

use futures_util::future::join_all;
use reqwest::{Method, multipart};
use serde_json::{Value, json};

use super::accounts::{keys, text};
use crate::support::Cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sign_up_reports_every_invalid_field_at_once() {
    let cluster = Cluster::start(1).await;
    let visitor = cluster.visitor(0);
    let sign_up = async |body: Value| {
        visitor
            .multipart(Method::POST, "/api/users", "userCreateRequest", &body)
            .await
    };
    for nothing in [
        json!({}),
        json!({ "username": null, "email": null, "password": null }),
    ] {
        let answer = sign_up(nothing).await;
        assert_eq!((answer.status, answer.code()), (400, "INVALID_INPUT"));
        assert_eq!(
            keys(&answer.body["details"]),
            ["email", "password", "username"]
        );
    }
    let answer = sign_up(json!({ "username": " x", "email": "x", "password": "1234" })).await;
    assert_eq!(
        keys(&answer.body["details"]),
        ["email", "password", "username"],
        "{answer:?}"
    );
    assert!(
        answer.body["details"]
            .as_object()
            .expect("an object")
            .values()
            .all(Value::is_string)
    );

    let bad = [
        (
            "username",
            vec![
                String::new(),
                "a ".into(),
                "\u{3000}a".into(),
                "a\nb".into(),
                "a\0b".into(),
                "é".repeat(51),
            ],
        ),
        (
            "email",
            vec![
                String::new(),
                "a".into(),
                "@b.org".into(),
                "a@".into(),
                "a b@c.org".into(),
                format!("{}@example.org", "a".repeat(89)),
            ],
        ),
        (
            "password",
            vec![String::new(), "1234".into(), "x".repeat(129)],
        ),
    ];
    for (field, values) in bad {
        for value in values {
            let mut body =
                json!({ "username": "ann", "email": "ann@example.org", "password": "password" });
            body[field] = json!(value);
            let answer = sign_up(body).await;
            assert_eq!(
                (answer.status, answer.code()),
                (400, "INVALID_INPUT"),
                "{field}: {value:?}"
            );
            assert_eq!(keys(&answer.body["details"]), [field], "{value:?}");
        }
    }
    for body in [
        json!({ "username": 5, "email": "a@b.org", "password": "password" }),
        json!("ann"),
        json!(null),
    ] {
        assert_eq!(sign_up(body).await.status, 400);
    }

    let (name, email) = ("🦀".repeat(50), format!("{}@example.org", "a".repeat(88)));
    for (name, email, password) in [("a", "a@b", "12345"), (&name, &email, &"é".repeat(128))] {
        let answer = visitor.sign_up(name, email, password).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        assert_eq!(
            (text(&answer.body["username"]), text(&answer.body["email"])),
            (name, email)
        );
        assert_eq!(visitor.login(name, password).await.status, 200, "{name}");
    }
    let (users,): (i64,) = sqlx::query_as("select count(*) from users")
        .fetch_one(&cluster.db)
        .await
        .expect("counted");
    assert_eq!(users, 3, "two users and the administrator");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sign_up_part_may_lack_a_content_type_and_stand_among_other_parts() {
    let cluster = Cluster::shared(1).await;
    let visitor = cluster.visitor(0);
    let body = |name: &str| {
        json!({ "username": name, "email": format!("{name}@example.org"), "password": "password" })
            .to_string()
    };
    let send = async |form| {
        visitor
            .send(visitor.request(Method::POST, "/api/users").multipart(form))
            .await
    };

    let answer = send(multipart::Form::new().text("userCreateRequest", body("plain"))).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(
        keys(&answer.body),
        ["email", "id", "online", "profile", "role", "username"]
    );
    assert_eq!(
        (&answer.body["role"], &answer.body["profile"]),
        (&json!("USER"), &Value::Null)
    );

    // Browsers send a Blob with a file name.
    let blob = multipart::Part::text(body("blob"))
        .file_name("blob")
        .mime_str("application/json")
        .expect("a media type");
    assert_eq!(
        send(multipart::Form::new().part("userCreateRequest", blob))
            .await
            .status,
        201
    );

    let among = multipart::Form::new()
        .text("before", "{")
        .text("userCreateRequest", body("among"))
        .text("after", "x");
    assert_eq!(send(among).await.status, 201);

    let picture = |bytes: &'static [u8]| {
        multipart::Part::bytes(bytes)
            .file_name("me.png")
            .mime_str("image/png")
            .expect("a media type")
    };
    let nothing = multipart::Part::bytes(&b""[..]).file_name("");
    let empty = multipart::Form::new()
        .part("profile", nothing)
        .text("userCreateRequest", body("empty"));
    assert_eq!(
        send(empty).await.status,
        201,
        "a browser's file input without a file"
    );
    let full = multipart::Form::new()
        .text("userCreateRequest", body("full"))
        .part("profile", picture(b"PNG"));
    let answer = send(full).await;
    assert_eq!((answer.status, answer.code()), (400, "INVALID_INPUT"));
    assert_eq!(keys(&answer.body["details"]), ["profile"]);
    assert_eq!(
        visitor.login("full", "password").await.status,
        401,
        "no user is created"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn usernames_and_email_addresses_are_unique_regardless_of_case() {
    let cluster = Cluster::shared(2).await;
    let visitor = cluster.visitor(0);
    assert_eq!(
        visitor
            .sign_up("Ångström", "Ann@Example.org", "password")
            .await
            .status,
        201
    );
    let answer = visitor
        .sign_up("ÅNGSTRÖM", "other@example.org", "password")
        .await;
    assert_eq!((answer.status, answer.code()), (409, "USERNAME_TAKEN"));
    let answer = visitor
        .sign_up("other", "aNN@eXAMPLE.ORG", "password")
        .await;
    assert_eq!((answer.status, answer.code()), (409, "EMAIL_TAKEN"));
    assert_eq!(
        visitor.login("ångström", "password").await.status,
        200,
        "login finds the name in any case"
    );

    // Concurrent sign-ups with the same name on two nodes.
    let visitors = [cluster.visitor(0), cluster.visitor(1)];
    let tries = (0..8).map(|n| {
        let visitor = &visitors[n % 2];
        async move {
            visitor
                .sign_up("wanted", &format!("wanted-{n}@example.org"), "password")
                .await
        }
    });
    let answers = join_all(tries).await;
    assert_eq!(
        answers.iter().filter(|answer| answer.status == 201).count(),
        1
    );
    for answer in answers.iter().filter(|answer| answer.status != 201) {
        assert_eq!((answer.status, answer.code()), (409, "USERNAME_TAKEN"));
    }
}
