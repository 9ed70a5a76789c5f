//! STOMP and SockJS on the wire.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use tokio_tungstenite::{
    connect_async,
    tungstenite::{client::IntoClientRequest, http::HeaderValue},
};

use crate::support::{Cluster, Stomp, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connect_is_answered_or_refused_as_the_specification_says() {
    let cluster = Cluster::start(1).await;
    let user = cluster.user(0, "ann").await;
    let token = user.token();
    for (versions, version) in [
        ("1.2,1.1,1.0", "1.2"),
        ("1.0,1.1", "1.1"),
        ("1.0, 1.2", "1.2"),
    ] {
        let mut stomp = Stomp::open(&cluster.address(0)).await;
        stomp.send(&format!("STOMP\naccept-version:{versions}\nAuthorization:Bearer {token}\nheart-beat:4000,4000\n\n\0")).await;
        let connected = stomp.expect("CONNECTED").await;
        assert_eq!(connected.header("version"), Some(version));
        assert_eq!(connected.header("user-name"), Some(user.name.as_str()));
        assert_eq!(
            connected.header("heart-beat"),
            if version == "1.0" {
                Some("0,0")
            } else {
                Some("10000,10000")
            }
        );
        assert!(connected.header("session").is_some());
    }
    let long = "x".repeat(9_000);
    let refused = [
        (
            "CONNECT\naccept-version:1.2\n\n\0".to_owned(),
            "UNAUTHENTICATED",
        ),
        (
            format!("CONNECT\naccept-version:1.2\nAuthorization:Bearer {token}x\n\n\0"),
            "UNAUTHENTICATED",
        ),
        (
            format!("CONNECT\naccept-version:2.0\nAuthorization:Bearer {token}\n\n\0"),
            "UNSUPPORTED_VERSION",
        ),
        (
            "SUBSCRIBE\nid:1\ndestination:/sub/x\n\n\0".to_owned(),
            "NOT_CONNECTED",
        ),
        ("FOO\n\n\0".to_owned(), "UNKNOWN_COMMAND"),
        (format!("CONNECT\nx:{long}\n\n\0"), "HEADER_TOO_LONG"),
    ];
    for (frame, code) in refused {
        for sockjs in [false, true] {
            let address = cluster.address(0);
            let mut stomp = if sockjs {
                Stomp::open_sockjs(&address).await
            } else {
                Stomp::open(&address).await
            };
            stomp.send(&frame).await;
            let error = stomp.expect("ERROR").await;
            assert_eq!(error.header("code"), Some(code), "{error:?}");
            assert!(error.header("message").is_some());
            if sockjs {
                assert_eq!(
                    stomp.text().await.as_deref(),
                    Some("c[1002,\"\"]"),
                    "after the ERROR, SockJS's own close"
                );
            }
            assert_eq!(stomp.close_code().await, Some(1002));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_are_handled_in_order_and_receipts_come_after_the_effect() {
    let cluster = Cluster::start_with(1, &[("MESSAGE_RATE", "100000")]).await;
    let channel = cluster.channel().await;
    let user = cluster.user(0, "ann").await;
    let mut stomp = Stomp::connect(&user).await;
    // One message with several frames, beats in between, and one frame over several messages.
    let body = json!({ "content": "한 😀", "channelId": channel, "authorId": user.id }).to_string();
    stomp.send(&format!("\n\nSUBSCRIBE\r\nid:s\\c1\r\ndestination:/sub/channels.{channel}.messages\r\n\r\n\0\nSEND\ndestination:/pub/messages\nreceipt:r1\n\n{body}\0\n")).await;
    let frames = [
        stomp.frame().await.expect("a frame"),
        stomp.frame().await.expect("a frame"),
    ];
    let message = frames
        .iter()
        .find(|frame| frame.command == "MESSAGE")
        .expect("subscribed before the SEND that followed");
    assert!(
        frames
            .iter()
            .any(|frame| frame.command == "RECEIPT" && frame.header("receipt-id") == Some("r1"))
    );
    let names: Vec<_> = message
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "destination",
            "content-type",
            "subscription",
            "message-id",
            "content-length"
        ]
    );
    assert_eq!(
        message.header("subscription"),
        Some("s\\c1"),
        "escaped as it was"
    );
    assert_eq!(message.json()["content"], "한 😀");
    for piece in [
        "SEND\ndest",
        "ination:/pub/messages\n\n{\"content\":\"split\",",
        &format!(
            "\"channelId\":\"{channel}\",\"authorId\":\"{}\"}}\0\n",
            user.id
        ),
    ] {
        stomp.send(piece).await;
    }
    assert_eq!(stomp.message().await["content"], "split");
    // A burst keeps its order.
    for n in 0..1_000 {
        stomp.say(&user, &channel, &n.to_string()).await;
    }
    for n in 0..1_000 {
        assert_eq!(stomp.message().await["content"], n.to_string());
    }
    // After UNSUBSCRIBE nothing more comes.
    stomp.send("UNSUBSCRIBE\nid:s\\c1\nreceipt:r2\n\n\0").await;
    stomp.receipt("r2").await;
    stomp.say_surely(&user, &channel, "unheard").await;
    stomp.send("DISCONNECT\nreceipt:close-1\n\n\0").await;
    stomp.receipt("close-1").await;
    assert_eq!(stomp.close_code().await, Some(1000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_published_after_a_receipt_for_subscribe_arrives() {
    let cluster = Cluster::start_with(2, &[("MESSAGE_RATE", "100000")]).await;
    let channel = cluster.channel().await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(1, "bob").await);
    let mut writer = Stomp::connect(&ann).await;
    for n in 0..100 {
        let mut reader = Stomp::connect(&bob).await;
        reader.subscribe(&channel).await;
        writer.say(&ann, &channel, &n.to_string()).await;
        // Messages committed before may still come: only those behind the receipt are promised.
        loop {
            let content = reader.message().await["content"]
                .as_str()
                .expect("text")
                .parse::<i32>()
                .expect("a number");
            assert!(content <= n);
            if content == n {
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockjs_frames_carry_stomp() {
    let cluster = Cluster::start(1).await;
    let channel = cluster.channel().await;
    let user = cluster.user(0, "ann").await;
    let visitor = cluster.visitor(0);
    let info = visitor.get("/ws/info").await;
    assert_eq!(
        (info.status, &info.body["websocket"], &info.body["origins"]),
        (200, &json!(true), &json!(["*:*"]))
    );
    assert_eq!(
        info.header("cache-control"),
        Some("no-store, no-cache, no-transform, must-revalidate, max-age=0")
    );
    assert_ne!(
        info.body["entropy"],
        visitor.get("/ws/info").await.body["entropy"]
    );

    let mut stomp = Stomp::open_sockjs(&cluster.address(0)).await;
    stomp.log_in(user.token()).await;
    stomp.subscribe(&channel).await;
    let odd = "\"\\ \u{1}\u{200d}\u{2028}\u{ffff} 😀 100%";
    stomp.say(&user, &channel, odd).await;
    assert_eq!(stomp.message().await["content"], odd);
    let controls: String = ('\u{1}'..='\u{1f}').chain(['\u{7f}', '\u{85}']).collect();
    stomp.say(&user, &channel, &controls).await;
    assert_eq!(stomp.message().await["content"], controls);
    // 60 KiB of what JSON escapes worst still fits a frame; it is the text that is too long.
    stomp.subscribe_with("/user/queue/errors", "").await;
    stomp.say(&user, &channel, &"\"".repeat(30_000)).await;
    assert_eq!(
        stomp.message().await["details"]["content"],
        "must be at most 2000 characters"
    );
    // Bare control characters take six octets each in SockJS's JSON, and make none of ours.
    let controls = "\u{1}".repeat(60 * 1024);
    stomp
        .send(&format!("SEND\ndestination:/pub/messages\n\n{controls}\0"))
        .await;
    assert_eq!(stomp.message().await["code"], "MALFORMED_REQUEST");
    stomp.send("SEND\ndestination:/pub/messages\n\n").await;
    stomp.send(&"x".repeat(70_000)).await;
    assert_eq!(
        stomp.expect("ERROR").await.header("code"),
        Some("FRAME_TOO_LARGE")
    );

    for path in [
        "/ws/a.b/session/websocket",
        "/ws/server/a.b/websocket",
        "/ws//session/websocket",
    ] {
        assert_eq!(visitor.get(path).await.code(), "PATH_NOT_FOUND", "{path}");
    }
    assert_eq!(
        visitor.get("/ws/server/session/websocket").await.status,
        400,
        "no upgrade was asked for"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sub_protocol_that_was_offered_is_chosen() {
    let cluster = Cluster::start(1).await;
    for (offered, chosen) in [
        ("v12.stomp, v11.stomp", Some("v12.stomp")),
        ("v10.stomp,v12.stomp", Some("v10.stomp")),
        ("graphql", None),
    ] {
        let mut request = format!("ws://{}/ws/websocket", cluster.address(0))
            .into_client_request()
            .expect("a request");
        request
            .headers_mut()
            .insert("sec-websocket-protocol", HeaderValue::from_static(offered));
        match (connect_async(request).await, chosen) {
            (Ok((_, response)), Some(chosen)) => {
                assert_eq!(response.headers()["sec-websocket-protocol"], chosen);
            }
            // The client itself insists on one of its protocols.
            (Err(_), None) => {}
            (result, _) => panic!("{offered}: {result:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compression_is_not_negotiated() {
    let cluster = Cluster::start(1).await;
    for path in ["/ws/websocket", "/ws/042/abcdefgh/websocket"] {
        let mut request = format!("ws://{}{path}", cluster.address(0))
            .into_client_request()
            .expect("a request");
        let offer = HeaderValue::from_static("permessage-deflate; client_max_window_bits");
        let headers = request.headers_mut();
        headers.insert("sec-websocket-extensions", offer);
        let (_, response) = connect_async(request).await.expect("it opens");
        assert_eq!(response.headers().get("sec-websocket-extensions"), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_that_names_a_colon_can_be_read_strictly() {
    let cluster = Cluster::start(1).await;
    let user = cluster.user(0, "ann").await;
    let mut stomp = Stomp::connect(&user).await;
    stomp.send("SEND\nno colon\n\n\0").await;
    let error = stomp.expect("ERROR").await;
    let escaped = "A header must have the form name\\cvalue";
    assert_eq!(error.header("message"), Some(escaped));
    let colons = |(name, value): &(String, String)| name.contains(':') || value.contains(':');
    assert!(!error.headers.iter().any(colons), "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_open_and_info_is_told_whatever_is_away() {
    let mut cluster = Cluster::start(1).await;
    let (postgres, database_url) = cluster.cut("DATABASE_URL").await;
    let (redis, redis_url) = cluster.cut("REDIS_URL").await;
    let alone = cluster
        .add_unready(&[
            ("DATABASE_URL", &database_url),
            ("REDIS_URL", &redis_url),
            ("KAFKA_BROKERS", "127.0.0.1:1"),
        ])
        .await;
    postgres.cut();
    redis.cut();
    let visitor = cluster.visitor(alone);
    let ready = visitor.get("/api/health/ready").await;
    assert_eq!(ready.status, 503);
    for _ in 0..20 {
        let begun = Instant::now();
        let mut stomp = Stomp::open_sockjs(&cluster.address(alone)).await;
        let opened = begun.elapsed();
        assert!(opened < Duration::from_millis(100), "it took {opened:?}");
        let begun = Instant::now();
        assert_eq!(visitor.get("/ws/info").await.status, 200);
        let took = begun.elapsed();
        assert!(took < Duration::from_millis(100), "/info took {took:?}");
        stomp.send("DISCONNECT\n\n\0").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tab_that_closes_takes_nothing_from_the_other() {
    let cluster = Cluster::start(1).await;
    let channel = cluster.channel().await;
    let user = cluster.user(0, "ann").await;
    // Both call their subscription the same, as tabs of one page do.
    let mut first = Stomp::connect(&user).await;
    first.subscribe(&channel).await;
    let mut second = Stomp::connect(&user).await;
    second.subscribe(&channel).await;
    let hub = &cluster.node(0).app().delivery.hub;
    drop(first);
    eventually("the first is gone", async || hub.len() == 1).await;
    user.write(&channel, "heard").await;
    assert_eq!(second.message().await["content"], "heard");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_receipt_for_unsubscribe_nothing_of_it_comes() {
    let cluster = Cluster::start_with(1, &[("MESSAGE_RATE", "100000")]).await;
    let channel = cluster.channel().await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let stop = tokio_util::sync::CancellationToken::new();
    let writing = tokio::spawn({
        let (channel, stop) = (channel.clone(), stop.clone());
        async move {
            let mut writer = Stomp::connect(&ann).await;
            while !stop.is_cancelled() {
                for _ in 0..10 {
                    writer.say(&ann, &channel, &"x".repeat(500)).await;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    });
    let mut reader = Stomp::connect(&bob).await;
    for n in 0..50 {
        reader
            .send(&format!(
                "SUBSCRIBE\nid:{n}\ndestination:/sub/channels.{channel}.messages\n\n\0"
            ))
            .await;
        // Something has come, and more is on its way.
        reader.expect("MESSAGE").await;
        reader
            .send(&format!(
                "UNSUBSCRIBE\nid:{n}\nreceipt:u\n\n\0ACK\nid:x\nreceipt:mark\n\n\0"
            ))
            .await;
        loop {
            let frame = reader.frame().await.expect("a frame");
            if frame.command == "RECEIPT" {
                assert_eq!(frame.header("receipt-id"), Some("u"));
                break;
            }
        }
        let mark = reader.expect("RECEIPT").await;
        assert_eq!(mark.header("receipt-id"), Some("mark"));
    }
    stop.cancel();
    writing.await.expect("the writer went on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_send_refused_for_its_content_does_not_end_the_connection() {
    let cluster = Cluster::start_with(1, &[("MESSAGE_RATE", "2")]).await;
    let channel = cluster.channel().await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let mut stomp = Stomp::connect(&ann).await;
    stomp.subscribe_with("/user/queue/errors", "").await;
    let client_id = uuid::Uuid::new_v4();
    let body = json!({ "content": "", "channelId": channel, "authorId": ann.id, "clientMessageId": client_id }).to_string();
    stomp
        .send(&format!("SEND\ndestination:/pub/messages\n\n{body}\0"))
        .await;
    let error = stomp.message().await;
    assert_eq!(
        (&error["code"], &error["details"]["clientMessageId"]),
        (&json!("INVALID_INPUT"), &json!(client_id))
    );
    assert_eq!(error["details"]["content"], "must not be empty");
    stomp
        .send("SEND\ndestination:/pub/messages\n\nnot json\0")
        .await;
    assert_eq!(stomp.message().await["code"], "MALFORMED_REQUEST");
    stomp.say(&bob, &channel, "as somebody else").await;
    assert_eq!(stomp.message().await["code"], "FORBIDDEN");
    stomp
        .say(&ann, &uuid::Uuid::new_v4().to_string(), "into nothing")
        .await;
    assert_eq!(stomp.message().await["code"], "CHANNEL_NOT_FOUND");
    // With a receipt asked for, STOMP has only ERROR to say that it will not come.
    let body = json!({ "content": "", "channelId": channel, "authorId": ann.id }).to_string();
    stomp
        .send(&format!(
            "SEND\ndestination:/pub/messages\nreceipt:r9\n\n{body}\0"
        ))
        .await;
    loop {
        let frame = stomp.frame().await.expect("an ERROR comes");
        if frame.command == "ERROR" {
            assert_eq!(
                (frame.header("receipt-id"), frame.header("code")),
                (Some("r9"), Some("INVALID_INPUT"))
            );
            break;
        }
    }
    assert_eq!(stomp.close_code().await, Some(1002));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_can_forge_what_the_server_sends_or_subscribe_to_patterns() {
    let cluster = Cluster::start(1).await;
    let channel = cluster.channel().await;
    let (ann, eve) = (cluster.user(0, "ann").await, cluster.user(0, "eve").await);
    let mut victim = Stomp::connect(&ann).await;
    victim.subscribe(&channel).await;
    let forged = [
        format!("SEND\ndestination:/sub/channels.{channel}.messages\n\n{{}}\0"),
        "SEND\ndestination:/user/queue/errors\n\n{}\0".to_owned(),
        "SEND\ndestination:/pub/other\n\n{}\0".to_owned(),
        "SUBSCRIBE\nid:1\ndestination:/sub/**\n\n\0".to_owned(),
        "SUBSCRIBE\nid:1\ndestination:/sub/channels.*.messages\n\n\0".to_owned(),
        format!(
            "SUBSCRIBE\nid:1\ndestination:/user/{}/queue/errors\n\n\0",
            ann.name
        ),
        format!(
            "MESSAGE\ndestination:/sub/channels.{channel}.messages\nmessage-id:1\nsubscription:sub-0\n\n{{}}\0"
        ),
        format!(
            "SUBSCRIBE\nid:1\ndestination:/sub/channels.{channel}.messages\n\n\0SUBSCRIBE\nid:1\ndestination:/sub/channels.{channel}.events\n\n\0"
        ),
    ];
    for frame in forged {
        let mut stomp = Stomp::connect(&eve).await;
        stomp.send(&frame).await;
        stomp.expect("ERROR").await;
        assert_eq!(stomp.close_code().await, Some(1002), "{frame:?}");
    }
    victim.expect_nothing(Duration::from_millis(200)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_session_or_channel_is_felt_on_every_node_within_a_second() {
    let cluster = Cluster::start(2).await;
    let channel = cluster.channel().await;
    let user = cluster.user(0, "ann").await;
    let other_login =
        crate::support::User::sign_in(cluster.visitor(1), &user.name, "password").await;
    let mut sockets = Vec::new();
    for node in 0..2 {
        sockets.push(Stomp::connect(&user.at_node(&cluster.address(node))).await);
    }
    let mut unharmed = Stomp::connect(&other_login).await;
    unharmed.subscribe(&channel).await;
    assert_eq!(user.post_csrf("/api/auth/logout").await.status, 204);
    let begun = Instant::now();
    for socket in &mut sockets {
        assert_eq!(
            socket.expect("ERROR").await.header("code"),
            Some("SESSION_ENDED")
        );
        assert_eq!(socket.close_code().await, Some(1008));
    }
    assert!(
        begun.elapsed() < Duration::from_secs(1),
        "it took {:?}",
        begun.elapsed()
    );
    let mut late = Stomp::open(&cluster.address(1)).await;
    late.send(&format!(
        "CONNECT\naccept-version:1.2\nAuthorization:Bearer {}\n\n\0",
        user.token()
    ))
    .await;
    assert_eq!(
        late.expect("ERROR").await.header("code"),
        Some("UNAUTHENTICATED")
    );

    // Another session of the same user lives on, until the account is gone.
    assert_eq!(other_login.write(&channel, "still here").await.status, 201);
    assert_eq!(unharmed.message().await["content"], "still here");
    let admin = cluster.admin(0).await;
    assert_eq!(
        admin
            .delete(&format!("/api/channels/{channel}"))
            .await
            .status,
        204
    );
    eventually("nobody follows the channel", async || {
        cluster.node(1).app().delivery.hub.positions().is_empty()
    })
    .await;
    assert_eq!(
        admin
            .delete(&format!("/api/users/{}", user.id))
            .await
            .status,
        204
    );
    assert_eq!(
        unharmed.expect("ERROR").await.header("code"),
        Some("SESSION_ENDED")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_come_and_go_leave_nothing_behind() {
    let cluster = Cluster::start(1).await;
    let channel = cluster.channel().await;
    let user = cluster.user(0, "ann").await;
    let mut work = tokio::task::JoinSet::new();
    // Few enough that those whose end is not noticed yet do not count as too many.
    for n in 0..6 {
        let (user, channel) = (user.clone(), channel.clone());
        work.spawn(async move {
            for round in 0..12 {
                let mut stomp = Stomp::connect(&user).await;
                stomp
                    .send(&format!(
                        "SUBSCRIBE\nid:1\ndestination:/sub/channels.{channel}.messages\n\n\0"
                    ))
                    .await;
                if (n + round) % 2 == 0 {
                    stomp
                        .subscribe_with(&format!("/sub/channels.{channel}.events"), "")
                        .await;
                }
            }
        });
    }
    work.join_all().await;
    let app = cluster.node(0).app();
    eventually("no connection is left", async || {
        app.delivery.hub.is_empty() && app.delivery.hub.positions().is_empty()
    })
    .await;
    // One more than a user may have is refused, and not by closing another.
    let mut open = Vec::new();
    for _ in 0..20 {
        open.push(Stomp::connect(&user).await);
    }
    let mut surplus = Stomp::open(&cluster.address(0)).await;
    surplus
        .send(&format!(
            "CONNECT\naccept-version:1.2\nAuthorization:Bearer {}\n\n\0",
            user.token()
        ))
        .await;
    assert_eq!(
        surplus.expect("ERROR").await.header("code"),
        Some("TOO_MANY_CONNECTIONS")
    );
    assert_eq!(app.delivery.hub.len(), 20);
}
