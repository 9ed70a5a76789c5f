//! Names and passwords in every form of Unicode.

use serde_json::{Value, json};

use super::accounts::{keys, text, update};
use crate::support::{ADMIN, Answer, Cluster, User, Visitor};

/// `각` as three characters.
const DECOMPOSED: &str = "\u{1100}\u{1161}\u{11a8}";

/// Signs up with any name, and an address that contains the number.
async fn sign_up(visitor: &Visitor, number: usize, name: &str) -> Answer {
    let email = format!("{number}@example.org");
    visitor.sign_up(name, &email, "password").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_looks_like_another_one_is_taken() {
    let cluster = Cluster::start(1).await;
    let visitor = cluster.visitor(0);
    for (number, name) in ["ann", "Bob", "한글", "Вова", "山田 太郎"]
        .iter()
        .enumerate()
    {
        let answer = sign_up(&visitor, number, name).await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    assert_eq!(sign_up(&visitor, 8, "cloe").await.status, 201);
    let cloe = User::sign_in(cluster.visitor(0), "cloe", "password").await;
    for name in [
        "аdmin",
        "АDMІN",
        "ａｄｍｉｎ",
        "𝐚𝐝𝐦𝐢𝐧",
        "ADMIN",
        "аnn",
        "Вob",
        "\u{1112}\u{1161}\u{11ab}글",
        "ВОВА",
        "山田　太郎",
    ] {
        let answer = sign_up(&visitor, 9, name).await;
        assert_eq!(
            (answer.status, answer.code()),
            (409, "USERNAME_TAKEN"),
            "{name}"
        );
        let answer = update(&cloe.at, &cloe.id, &json!({ "newUsername": name })).await;
        assert_eq!(
            (answer.status, answer.code()),
            (409, "USERNAME_TAKEN"),
            "{name}"
        );
    }
    // Names of people that are not equal to anything above.
    for (number, name) in ["anna", "Boba", "ánn", "한국", "山田 太朗", "ann 😀"]
        .iter()
        .enumerate()
    {
        let answer = sign_up(&visitor, 10 + number, name).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        assert_eq!(text(&answer.body["username"]), *name);
    }
    // A user may change the form of the own name; the name of before is free afterwards.
    for name in ["Cloe", "сloe", "other"] {
        let answer = update(&cloe.at, &cloe.id, &json!({ "newUsername": name })).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(sign_up(&visitor, 9, "cloe").await.status, 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_with_hidden_characters_is_invalid() {
    let cluster = Cluster::start(1).await;
    let admin = cluster.admin(0).await;
    let visitor = cluster.visitor(0);
    for name in [
        "\u{3164}",
        "admin\u{3164}",
        "\u{2800}",
        "\u{115f}",
        "admin\u{ad}",
        "ann\u{fe0f}",
        "ann\u{200d}",
        "\u{2066}ann\u{2069}",
        "ann\u{202e}",
        "\u{301}",
    ] {
        let answer = sign_up(&visitor, 1, name).await;
        assert_eq!(
            (answer.status, answer.code()),
            (400, "INVALID_INPUT"),
            "{name:?}"
        );
        assert_eq!(keys(&answer.body["details"]), ["username"], "{name:?}");
        let channel = json!({ "name": name, "description": "" });
        let answer = admin.at.post("/api/channels/public", &channel).await;
        assert_eq!(
            (answer.status, answer.code()),
            (400, "INVALID_INPUT"),
            "{name:?}"
        );
        assert_eq!(keys(&answer.body["details"]), ["name"], "{name:?}");
    }
    let emoji = ["👨‍👩‍👧", "ann ❤️", "🏳️‍🌈", "1️⃣", "葛\u{e0100}城"];
    for (number, name) in emoji.iter().enumerate() {
        let answer = sign_up(&visitor, number, name).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        assert_eq!(text(&answer.body["username"]), *name);
        let channel = json!({ "name": name, "description": "" });
        let answer = admin.at.post("/api/channels/public", &channel).await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_shown_and_counted_composed_and_found_in_every_form() {
    let cluster = Cluster::start(1).await;
    let admin = cluster.admin(0).await;
    let visitor = cluster.visitor(0);
    let answer = sign_up(&visitor, 1, &DECOMPOSED.repeat(50)).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(text(&answer.body["username"]), "각".repeat(50));
    for typed in [DECOMPOSED.repeat(50), "각".repeat(50)] {
        assert_eq!(visitor.login(&typed, "password").await.status, 200);
    }
    assert_eq!(
        sign_up(&visitor, 2, &DECOMPOSED.repeat(51)).await.status,
        400
    );
    for typed in ["ａｄｍｉｎ", "ＡＤＭＩＮ", "Admin"] {
        assert_eq!(visitor.login(typed, ADMIN.1).await.status, 200, "{typed}");
    }
    // A look-alike finds nobody.
    assert_eq!(visitor.login("аdmin", ADMIN.1).await.status, 401);

    let channel = json!({ "name": DECOMPOSED.repeat(100), "description": DECOMPOSED.repeat(500) });
    let answer = admin.at.post("/api/channels/public", &channel).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(text(&answer.body["name"]), "각".repeat(100));
    assert_eq!(text(&answer.body["description"]), "각".repeat(500));
    let change = json!({ "newName": DECOMPOSED.repeat(2) });
    let path = format!("/api/channels/{}", text(&answer.body["id"]));
    let answer = admin.at.patch(&path, &change).await;
    assert_eq!(text(&answer.body["name"]), "각각", "{answer:?}");

    // A message is counted likewise, and stored as sent.
    let channel = text(&answer.body["id"]);
    let content = DECOMPOSED.repeat(2_000);
    let answer = admin.write(channel, &content).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(text(&answer.body["content"]), content);
    assert_eq!(
        admin.write(channel, &DECOMPOSED.repeat(2_001)).await.status,
        400
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_signs_in_however_the_keyboard_composes_it() {
    let cluster = Cluster::start(1).await;
    let visitor = cluster.visitor(0);
    let (composed, decomposed) = ("비밀번호é1", "비밀번호e\u{301}1");
    let jamo =
        "\u{1107}\u{1175}\u{1106}\u{1175}\u{11af}\u{1107}\u{1165}\u{11ab}\u{1112}\u{1169}e\u{301}1";
    for (name, password) in [("ann", composed), ("bob", decomposed), ("cloe", jamo)] {
        let email = format!("{name}@example.org");
        assert_eq!(visitor.sign_up(name, &email, password).await.status, 201);
        for typed in [composed, decomposed, jamo] {
            let answer = visitor.login(name, typed).await;
            assert_eq!(answer.status, 200, "{name} {typed:?} {answer:?}");
        }
        assert_eq!(visitor.login(name, "비밀번호e1").await.status, 401);
    }
    let ann = User::sign_in(cluster.visitor(0), "ann", composed).await;
    let change = json!({ "newPassword": "e\u{301}".repeat(128) });
    assert_eq!(update(&ann.at, &ann.id, &change).await.status, 200);
    for typed in ["é".repeat(128), "e\u{301}".repeat(128)] {
        assert_eq!(visitor.login("ann", &typed).await.status, 200);
    }
    for (password, field) in [
        ("e\u{301}".repeat(129), "newPassword"),
        ("각".repeat(4), "newPassword"),
    ] {
        let answer = update(&ann.at, &ann.id, &json!({ "newPassword": password })).await;
        assert_eq!(
            (answer.status, keys(&answer.body["details"])),
            (400, vec![field])
        );
    }
}

/// Earlier versions hashed a password as typed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_that_an_earlier_version_hashed_decomposed_still_signs_in() {
    let cluster = Cluster::start(1).await;
    let visitor = cluster.visitor(0);
    let decomposed = "비밀번호e\u{301}1";
    let hash: String = {
        use argon2::{Argon2, password_hash::PasswordHasher as _};
        let hash = Argon2::default().hash_password(decomposed.as_bytes());
        hash.expect("hashed").to_string()
    };
    assert_eq!(sign_up(&visitor, 1, "ann").await.status, 201);
    sqlx::query("update users set password_hash = $1 where username = 'ann'")
        .bind(hash)
        .execute(&cluster.db)
        .await
        .expect("updated");
    assert_eq!(visitor.login("ann", decomposed).await.status, 200);
    assert_eq!(visitor.login("ann", "비밀번호1").await.status, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_another_system_keeps_its_name_and_extension() {
    use super::files::{file, post};
    let cluster = Cluster::start(1).await;
    let (ann, channel) = (cluster.user(0, "ann").await, cluster.channel().await);
    let message = json!({ "content": "", "channelId": channel, "authorId": ann.id });
    for (sent, shown) in [
        (
            "\u{1112}\u{1161}\u{11ab}글.txt".to_owned(),
            "한글.txt".to_owned(),
        ),
        (
            format!("{}.txt", DECOMPOSED.repeat(85)),
            format!("{}.txt", "각".repeat(85)),
        ),
        (
            format!("{}.txt", "가".repeat(300)),
            format!("{}.txt", "가".repeat(251)),
        ),
        ("👨‍👩‍👧.png".to_owned(), "👨‍👩‍👧.png".to_owned()),
    ] {
        let answer = post(&ann, &message, vec![file(&sent, "text/plain", "x")]).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        assert_eq!(
            answer.body["attachments"][0]["fileName"],
            Value::from(shown)
        );
    }
}
