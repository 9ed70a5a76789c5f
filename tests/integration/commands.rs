//! Commands for operators.

use std::fs;

use super::{
    accounts::text,
    files::{attach, file, until_ready},
};
use crate::support::{Cluster, eventually, run_command, run_command_with};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_finds_what_a_partial_restore_leaves_behind() {
    let cluster = Cluster::start(1).await;
    let ann = cluster.user(0, "ann").await;
    let channel = cluster.channel().await;
    let files = ["a.txt", "b.txt"].map(|name| file(name, "text/plain", "abc"));
    let ids = attach(&ann, &channel, files.into()).await;
    for id in &ids {
        until_ready(&ann, id).await;
    }
    let message = text(&ann.write(&channel, "hello").await.body["id"]).to_owned();
    eventually("every message is indexed", async || {
        let waiting: i64 = sqlx::query_scalar("select count(*) from unindexed_messages")
            .fetch_one(&cluster.db)
            .await
            .expect("counted");
        waiting == 0
    })
    .await;
    let (code, output) = run_command(&cluster, &["check"]).await;
    assert_eq!(code, Some(0), "{output}");
    assert!(
        output.lines().all(|line| line.starts_with("ok ")),
        "{output}"
    );

    let stored = cluster.files.join("files");
    fs::remove_file(stored.join(&ids[0])).expect("removed");
    fs::write(stored.join(&ids[1]), "other").expect("written");
    let unknown = uuid::Uuid::new_v4().to_string();
    fs::write(stored.join(&unknown), "x").expect("written");
    for sql in [
        "update channels set last_seq = last_seq - 1",
        "delete from message_terms",
        "insert into messages (id, channel_id, seq, content, created_at, updated_at) \
         values (gen_random_uuid(), gen_random_uuid(), 1, 'lost', now(), now())",
    ] {
        sqlx::query(sql).execute(&cluster.db).await.expect(sql);
    }
    let (code, output) = run_command(&cluster, &["check"]).await;
    assert_eq!(code, Some(1), "{output}");
    for expected in [
        format!("FOUND   1 channels whose newest message is after their last position: {channel}"),
        "FOUND   1 messages of a channel that neither exists nor is being purged".to_owned(),
        message,
        format!("FOUND   1 files whose bytes are missing: {}", ids[0]),
        format!("FOUND   1 files whose bytes have another size: {}", ids[1]),
        format!("FOUND   1 stored objects without a row: files/{unknown}"),
    ] {
        assert!(output.contains(&expected), "{expected}: {output}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_doctor_looks_at_every_part() {
    let cluster = Cluster::shared(1).await;
    let (code, output) = run_command(&cluster, &["doctor"]).await;
    assert_eq!(code, Some(0), "{output}");
    for expected in [
        "ok      PostgreSQL ",
        "ok      The tables are those of this version",
        "ok      Redis ",
        "ok      Kafka answers; brokers: 1, topics: 4",
        "ok      The storage of files stores",
        "WARNING Redis has no append-only file",
    ] {
        assert!(output.contains(expected), "{expected}: {output}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_doctor_says_what_is_wrong_with_each_part_and_shows_no_secret() {
    let cluster = Cluster::shared(1).await;
    // Nothing listens there.
    let nowhere = "127.0.0.1:1";
    let database = format!("postgres://ann:s3cret@{nowhere}/chat");
    let redis = format!("redis://ann:s3cret@{nowhere}/0");
    let settings = [
        ("DATABASE_URL", &*database),
        ("REDIS_URL", &*redis),
        ("KAFKA_BROKERS", nowhere),
        ("FILES_URL", "file:///proc/none"),
    ];
    let (code, output) = run_command_with(&cluster, &settings, &["doctor"]).await;
    assert_eq!(code, Some(1), "{output}");
    for expected in [
        "FAULT   PostgreSQL cannot be reached with DATABASE_URL",
        "FAULT   Redis cannot be reached with REDIS_URL",
        "FAULT   Kafka cannot be reached with KAFKA_BROKERS",
        "FAULT   FILES_URL: the folder cannot be created",
    ] {
        assert!(output.contains(expected), "{expected}: {output}");
    }
    assert!(!output.contains("s3cret"), "{output}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_doctor_names_a_wrong_login_missing_tls_and_missing_rights() {
    let cluster = Cluster::start(0).await;
    let setting = |name: &str| url::Url::parse(cluster.setting(name)).expect("a URL");
    let mut redis = cluster.redis.clone();
    for rules in [
        // Rights as of an older version of deploy/redis/node.acl: neither streams nor their keys.
        "ACL SETUSER doctor_few on >pass resetkeys ~health:* ~session:* ~sessions:* ~ratelimit:* ~presence:* +@all -@stream",
        "ACL SETUSER doctor_no_scripts on >pass ~* +@all -@scripting",
    ] {
        let words: Vec<&str> = rules.split(' ').collect();
        let mut command = redis::cmd(words[0]);
        command
            .arg(&words[1..])
            .exec_async(&mut redis)
            .await
            .expect(rules);
    }
    let with = |name, user: &str, password: &str| {
        let mut url = setting(name);
        url.set_username(user).expect("a user");
        url.set_password(Some(password)).expect("a password");
        url.to_string()
    };
    let database = setting("DATABASE_URL");
    let redis_url = setting("REDIS_URL").to_string();
    for (name, value, expected) in [
        (
            "DATABASE_URL",
            with("DATABASE_URL", "nobody", "s3cret"),
            "FAULT   PostgreSQL refuses the user or the password in DATABASE_URL: ",
        ),
        (
            "DATABASE_URL",
            format!("{database}?sslmode=require"),
            "server does not support TLS. PostgreSQL has no TLS: switch it on",
        ),
        (
            "REDIS_URL",
            with("REDIS_URL", "nobody", "s3cret"),
            "FAULT   Redis refuses the user or the password in REDIS_URL: ",
        ),
        (
            "REDIS_URL",
            redis_url.replace("redis://", "rediss://"),
            ". Does Redis have TLS at this port?",
        ),
        (
            "REDIS_URL",
            with("REDIS_URL", "doctor_few", "pass"),
            "FAULT   The user in REDIS_URL may not use these commands and keys: XADD sse:doctor, EVAL sse:doctor, DEL sse:doctor. deploy/redis/node.acl",
        ),
        (
            "REDIS_URL",
            with("REDIS_URL", "doctor_no_scripts", "pass"),
            "keys: EVAL health:doctor, EVAL session:doctor, ",
        ),
        (
            "KAFKA_TLS",
            "true".to_owned(),
            "FAULT   Kafka cannot be reached with KAFKA_BROKERS and KAFKA_TLS=true: ",
        ),
        ("KAFKA_TLS", "true".to_owned(), "in state SSL_HANDSHAKE"),
    ] {
        let (code, output) = run_command_with(&cluster, &[(name, &value)], &["doctor"]).await;
        assert_eq!(code, Some(1), "{output}");
        assert!(output.contains(expected), "{expected}: {output}");
        let faults = output.lines().filter(|line| line.starts_with("FAULT"));
        assert_eq!(faults.count(), 1, "{output}");
        assert!(!output.contains("s3cret"), "{output}");
    }
    let keys: Vec<String> = redis::cmd("KEYS")
        .arg("*doctor*")
        .query_async(&mut redis)
        .await
        .expect("Redis answers");
    assert!(keys.iter().all(|key| key == "health:doctor"), "{keys:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_doctor_names_a_missing_database_and_an_empty_one() {
    let cluster = Cluster::shared(1).await;
    let settings = cluster.settings_with(&[]);
    let url = settings.iter().find(|(name, _)| name == "DATABASE_URL");
    let mut url = url::Url::parse(&url.expect("a setting").1).expect("a URL");
    for (database, code, expected) in [
        (
            "nothing",
            1,
            "FAULT   PostgreSQL has no database with the name",
        ),
        ("template1", 0, "ok      The database is empty"),
    ] {
        url.set_path(database);
        let settings = [("DATABASE_URL", url.as_str())];
        let (found, output) = run_command_with(&cluster, &settings, &["doctor"]).await;
        assert_eq!(found, Some(code), "{output}");
        assert!(output.contains(expected), "{expected}: {output}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_does_not_exist_names_those_that_do() {
    let cluster = Cluster::shared(1).await;
    for arguments in [&["chekc"][..], &["dead-letters"], &["check", "all"]] {
        let (code, output) = run_command(&cluster, arguments).await;
        assert_eq!(code, Some(64), "{output}");
        assert!(output.contains("discodeit dead-letters retry"), "{output}");
    }
}
