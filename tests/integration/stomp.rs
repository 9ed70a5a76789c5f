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
async fn connect_is_accepted_or_rejected_as_the_specification_says() {
    let cluster = Cluster::shared(1).await;
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
                    "the close frame of SockJS follows the ERROR"
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
    // One WebSocket message has several frames and heart-beats. Later, one frame spans several messages.
    let body = json!({ "content": "한 😀", "channelId": channel, "authorId": user.id }).to_string();
    stomp.send(&format!("\n\nSUBSCRIBE\r\nid:s\\c1\r\ndestination:/sub/channels.{channel}.messages\r\n\r\n\0\nSEND\ndestination:/pub/messages\nreceipt:r1\n\n{body}\0\n")).await;
    let frames = [
        stomp.frame().await.expect("a frame"),
        stomp.frame().await.expect("a frame"),
    ];
    let message = frames
        .iter()
        .find(|frame| frame.command == "MESSAGE")
        .expect("the SUBSCRIBE takes effect before the SEND");
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
        "the id is escaped"
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
    // A burst of SENDs keeps its order.
    for n in 0..1_000 {
        stomp.say(&user, &channel, &n.to_string()).await;
    }
    for n in 0..1_000 {
        assert_eq!(stomp.message().await["content"], n.to_string());
    }
    // No message follows the receipt for UNSUBSCRIBE.
    stomp.send("UNSUBSCRIBE\nid:s\\c1\nreceipt:r2\n\n\0").await;
    stomp.receipt("r2").await;
    stomp.say_surely(&user, &channel, "after UNSUBSCRIBE").await;
    stomp.send("DISCONNECT\nreceipt:close-1\n\n\0").await;
    stomp.receipt("close-1").await;
    assert_eq!(stomp.close_code().await, Some(1000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_published_after_the_receipt_for_subscribe_arrive() {
    let cluster = Cluster::start_with(2, &[("MESSAGE_RATE", "100000")]).await;
    let channel = cluster.channel().await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(1, "bob").await);
    let mut writer = Stomp::connect(&ann).await;
    for n in 0..100 {
        let mut reader = Stomp::connect(&bob).await;
        reader.subscribe(&channel).await;
        writer.say(&ann, &channel, &n.to_string()).await;
        // Older messages may arrive, too. Only messages published after the receipt are guaranteed.
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
    let cluster = Cluster::shared(1).await;
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
    // 30,000 quotation marks, which JSON escapes as 60 kB, fit in a frame, but the text is too long.
    stomp.subscribe_with("/user/queue/errors", "").await;
    stomp.say(&user, &channel, &"\"".repeat(30_000)).await;
    assert_eq!(
        stomp.message().await["details"]["content"],
        "must be at most 2000 characters"
    );
    // SockJS's JSON escapes each control character as 6 bytes. A SEND body with bare control characters is invalid JSON.
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
        "the request has no upgrade"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_newest_offered_subprotocol_is_selected() {
    let cluster = Cluster::shared(1).await;
    for (offered, selected) in [
        ("v12.stomp, v11.stomp", Some("v12.stomp")),
        ("v10.stomp,v12.stomp", Some("v12.stomp")),
        ("v10.stomp, v11.stomp", Some("v11.stomp")),
        ("v10.stomp, graphql", Some("v10.stomp")),
        ("graphql", None),
    ] {
        let mut request = format!("ws://{}/ws/websocket", cluster.address(0))
            .into_client_request()
            .expect("a request");
        request
            .headers_mut()
            .insert("sec-websocket-protocol", HeaderValue::from_static(offered));
        match (connect_async(request).await, selected) {
            (Ok((_, response)), Some(selected)) => {
                assert_eq!(response.headers()["sec-websocket-protocol"], selected);
            }
            // The client library requires one of the offered subprotocols.
            (Err(_), None) => {}
            (result, _) => panic!("{offered}: {result:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compression_is_not_negotiated() {
    let cluster = Cluster::shared(1).await;
    for path in ["/ws/websocket", "/ws/042/abcdefgh/websocket"] {
        let mut request = format!("ws://{}{path}", cluster.address(0))
            .into_client_request()
            .expect("a request");
        let offer = HeaderValue::from_static("permessage-deflate; client_max_window_bits");
        let headers = request.headers_mut();
        headers.insert("sec-websocket-extensions", offer);
        let (_, response) = connect_async(request).await.expect("the WebSocket opens");
        assert_eq!(response.headers().get("sec-websocket-extensions"), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_colon_in_an_error_header_is_escaped() {
    let cluster = Cluster::shared(1).await;
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
async fn websockets_open_and_info_responds_without_any_store() {
    let mut cluster = Cluster::start(1).await;
    let (postgres, database_url) = cluster.cut("DATABASE_URL").await;
    let (redis, redis_url) = cluster.cut("REDIS_URL").await;
    let isolated = cluster
        .add_unready(&[
            ("DATABASE_URL", &database_url),
            ("REDIS_URL", &redis_url),
            ("KAFKA_BROKERS", "127.0.0.1:1"),
        ])
        .await;
    postgres.cut();
    redis.cut();
    let visitor = cluster.visitor(isolated);
    let ready = visitor.get("/api/health/ready").await;
    assert_eq!(ready.status, 503);
    for _ in 0..20 {
        let started = Instant::now();
        let mut stomp = Stomp::open_sockjs(&cluster.address(isolated)).await;
        let opened = started.elapsed();
        assert!(opened < Duration::from_millis(100), "it took {opened:?}");
        let started = Instant::now();
        assert_eq!(visitor.get("/ws/info").await.status, 200);
        let took = started.elapsed();
        assert!(took < Duration::from_millis(100), "/info took {took:?}");
        stomp.send("DISCONNECT\n\n\0").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_one_tab_keeps_the_subscription_of_another() {
    let cluster = Cluster::start(1).await;
    let channel = cluster.channel().await;
    let user = cluster.user(0, "ann").await;
    // Both connections use the same subscription id, like two tabs of one page.
    let mut first = Stomp::connect(&user).await;
    first.subscribe(&channel).await;
    let mut second = Stomp::connect(&user).await;
    second.subscribe(&channel).await;
    let hub = &cluster.node(0).app().delivery.hub;
    drop(first);
    eventually("the first connection is closed", async || hub.len() == 1).await;
    user.write(&channel, "second tab").await;
    assert_eq!(second.message().await["content"], "second tab");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_message_follows_the_receipt_for_unsubscribe() {
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
        // Messages are being delivered.
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
    writing.await.expect("the writer ends without a panic");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_send_with_invalid_content_keeps_the_connection_open() {
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
    stomp.say(&bob, &channel, "as another user").await;
    assert_eq!(stomp.message().await["code"], "FORBIDDEN");
    stomp
        .say(
            &ann,
            &uuid::Uuid::new_v4().to_string(),
            "to an unknown channel",
        )
        .await;
    assert_eq!(stomp.message().await["code"], "CHANNEL_NOT_FOUND");
    // If the SEND asks for a receipt, STOMP can reject it only with ERROR, which closes the connection.
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
async fn a_client_cannot_forge_server_frames_or_subscribe_to_patterns() {
    let cluster = Cluster::shared(1).await;
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
async fn the_end_of_a_session_or_channel_takes_effect_on_every_node_within_1_s() {
    let cluster = Cluster::start(2).await;
    let channel = cluster.channel().await;
    let user = cluster.user(0, "ann").await;
    let other_login =
        crate::support::User::sign_in(cluster.visitor(1), &user.name, "password").await;
    let mut sockets = Vec::new();
    for node in 0..2 {
        sockets.push(Stomp::connect(&user.at_node(&cluster.address(node))).await);
    }
    let mut other_socket = Stomp::connect(&other_login).await;
    other_socket.subscribe(&channel).await;
    assert_eq!(user.post_csrf("/api/auth/logout").await.status, 204);
    let started = Instant::now();
    for socket in &mut sockets {
        assert_eq!(
            socket.expect("ERROR").await.header("code"),
            Some("SESSION_ENDED")
        );
        assert_eq!(socket.close_code().await, Some(1008));
    }
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "it took {:?}",
        started.elapsed()
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

    // Another session of the same user stays open until the account is deleted.
    assert_eq!(other_login.write(&channel, "still here").await.status, 201);
    assert_eq!(other_socket.message().await["content"], "still here");
    let admin = cluster.admin(0).await;
    assert_eq!(
        admin
            .delete(&format!("/api/channels/{channel}"))
            .await
            .status,
        204
    );
    eventually("the channel has no subscription", async || {
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
        other_socket.expect("ERROR").await.header("code"),
        Some("SESSION_ENDED")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closed_connections_leave_no_subscription() {
    let cluster = Cluster::start(1).await;
    let channel = cluster.channel().await;
    let user = cluster.user(0, "ann").await;
    let mut work = tokio::task::JoinSet::new();
    // Six tasks stay below the limit of 20 connections, even if the node has not detected some closed connections yet.
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
    // The node rejects the 21st connection of a user and closes no other.
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
