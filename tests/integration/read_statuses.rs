//! Read statuses: the time up to which a user has read a channel.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use super::{
    accounts::{keys, text},
    channels::{READ_STATUS, new_id, read, read_statuses},
};
use crate::support::Cluster;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_has_one_read_status_per_channel() {
    let cluster = Cluster::shared(2).await;
    let (ann, bob, admin) = (
        cluster.user(0, "ann").await,
        cluster.user(0, "bob").await,
        cluster.admin(0).await,
    );
    let (public, private) = (
        admin.create_channel("general").await,
        ann.create_private(&[&bob]).await,
    );
    let answer = read(
        &ann,
        &ann.id,
        &public,
        "2026-01-31T18:15:02.123456789+09:00",
    )
    .await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(keys(&answer.body), READ_STATUS);
    assert_eq!(
        (&answer.body["userId"], &answer.body["channelId"]),
        (&json!(ann.id), &json!(public))
    );
    assert_eq!(
        text(&answer.body["lastReadAt"]),
        "2026-01-31T09:15:02.123456Z"
    );
    assert_eq!(
        answer.body["notificationEnabled"],
        json!(false),
        "off for a public channel"
    );
    for channel in [&public, &private] {
        let again = read(&ann, &ann.id, channel, "2026-01-31T09:15:02Z").await;
        assert_eq!((again.status, again.code()), (409, "READ_STATUS_EXISTS"));
    }
    let others = [ann.at_node(&cluster.address(1)), ann.clone()];
    let mine = admin.create_channel("another").await;
    let answers =
        join_all((0..6).map(|n| read(&others[n % 2], &ann.id, &mine, "2026-01-31T09:15:02Z")))
            .await;
    assert_eq!(
        answers.iter().filter(|answer| answer.status == 201).count(),
        1
    );
    assert_eq!(
        answers.iter().filter(|answer| answer.status == 409).count(),
        5
    );

    let answer = read(&ann, &bob.id, &public, "2026-01-31T09:15:02Z").await;
    assert_eq!((answer.status, answer.code()), (403, "FORBIDDEN"));
    assert_eq!(
        read(&admin, &bob.id, &public, "2026-01-31T09:15:02Z")
            .await
            .status,
        403,
        "an administrator may not do so either"
    );
    assert_eq!(
        read(&ann, &ann.id, &new_id(), "2026-01-31T09:15:02Z")
            .await
            .code(),
        "CHANNEL_NOT_FOUND"
    );
    assert_eq!(
        read(
            &cluster.visitor(0),
            &ann.id,
            &public,
            "2026-01-31T09:15:02Z"
        )
        .await
        .status,
        401
    );
    let answer = bob.post("/api/readStatuses", &json!({})).await;
    assert_eq!(
        (answer.status, keys(&answer.body["details"])),
        (400, vec!["channelId", "lastReadAt", "userId"])
    );
    for at in [
        "",
        "now",
        "2026-01-31",
        "2026-13-31T09:15:02Z",
        "2026-01-31 09:15:02",
        "9999-12-31T23:59:59-12:00",
        "-0001-01-01T00:00:00Z",
    ] {
        let answer = read(&bob, &bob.id, &public, at).await;
        assert_eq!(
            (answer.status, answer.code()),
            (400, "INVALID_INPUT"),
            "{at}"
        );
        assert_eq!(keys(&answer.body["details"]), ["lastReadAt"], "{at}");
    }
    assert_eq!(
        read(&bob, &bob.id, &public, "9999-12-31T23:59:59.999999Z")
            .await
            .status,
        201
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_its_owner_reads_and_changes_a_read_status() {
    let cluster = Cluster::shared(1).await;
    let (ann, bob, admin) = (
        cluster.user(0, "ann").await,
        cluster.user(0, "bob").await,
        cluster.admin(0).await,
    );
    let channel = ann.create_private(&[&bob]).await;
    let status = read_statuses(&ann).await.remove(0);
    assert_eq!(status["channelId"], json!(channel));
    let path = format!("/api/readStatuses/{}", text(&status["id"]));
    let other = format!("/api/readStatuses?userId={}", ann.id);
    for foreign in [&bob, &admin] {
        let answer = foreign
            .patch(&path, &json!({ "newNotificationEnabled": false }))
            .await;
        assert_eq!(
            (answer.status, answer.code()),
            (404, "READ_STATUS_NOT_FOUND")
        );
        assert_eq!(foreign.get(&other).await.status, 403);
    }
    assert_eq!(
        ann.patch(&format!("/api/readStatuses/{}", new_id()), &json!({}))
            .await
            .status,
        404
    );
    assert_eq!(
        cluster.visitor(0).patch(&path, &json!({})).await.status,
        401
    );
    assert_eq!(cluster.visitor(0).get(&other).await.status, 401);
    assert!(ann.get(&other).await.header("x-event-cursor").is_some());

    for nothing in [
        json!({}),
        json!({ "newLastReadAt": null, "newNotificationEnabled": null }),
    ] {
        let answer = ann.patch(&path, &nothing).await;
        assert_eq!(
            (answer.status, &answer.body),
            (200, &status),
            "null changes nothing"
        );
    }
    let mut expected = status.clone();
    expected["lastReadAt"] = json!("2030-01-01T00:00:00Z");
    assert_eq!(
        ann.patch(&path, &json!({ "newLastReadAt": "2030-01-01T00:00:00Z" }))
            .await
            .body,
        expected
    );
    expected["notificationEnabled"] = json!(false);
    expected["notificationLevel"] = json!("NONE");
    let body = json!({ "newLastReadAt": null, "newNotificationEnabled": false });
    assert_eq!(ann.patch(&path, &body).await.body, expected);
    assert_eq!(read_statuses(&ann).await, [expected.clone()]);
    let answer = ann
        .patch(&path, &json!({ "newLastReadAt": "yesterday" }))
        .await;
    assert_eq!(
        (answer.status, keys(&answer.body["details"])),
        (400, vec!["newLastReadAt"])
    );
    let wrong = ann
        .send(
            ann.request(Method::PATCH, &path)
                .json(&json!({ "newNotificationEnabled": "yes" })),
        )
        .await;
    assert_eq!(
        (wrong.status, keys(&wrong.body["details"])),
        (400, vec!["newNotificationEnabled"])
    );
    assert_eq!(read_statuses(&ann).await, [expected]);
    assert_eq!(
        read_statuses(&bob).await[0]["notificationEnabled"],
        json!(true),
        "bob's read status does not change"
    );
}
