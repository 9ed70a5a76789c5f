//! Channels and their participants.

use serde_json::{Value, json};

use super::accounts::{keys, text, with_role};
use crate::support::{Answer, Cluster, User, Visitor};

const DTO: [&str; 8] = [
    "description",
    "id",
    "lastMessageAt",
    "lastSeq",
    "name",
    "participants",
    "type",
    "withHistory",
];
pub(crate) const READ_STATUS: [&str; 9] = [
    "channelId",
    "id",
    "lastReadAt",
    "lastReadSeq",
    "mentions",
    "notificationEnabled",
    "notificationLevel",
    "unreadDeleted",
    "userId",
];

pub(crate) fn new_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// Parses a timestamp of the API: RFC 3339, UTC with `Z`, at most microseconds.
pub(crate) fn instant(value: &Value) -> time::OffsetDateTime {
    let text = text(value);
    assert!(
        text.ends_with('Z') && text.len() <= "2026-01-31T09:15:02.123456Z".len(),
        "{text}"
    );
    time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).expect(text)
}

async fn public(by: &Visitor, name: &str, description: &str) -> Answer {
    by.post(
        "/api/channels/public",
        &json!({ "name": name, "description": description }),
    )
    .await
}

async fn private(by: &Visitor, participants: &[&str]) -> Answer {
    by.post(
        "/api/channels/private",
        &json!({ "participantIds": participants }),
    )
    .await
}

/// The channels that the API lists for the user.
pub(crate) async fn list(user: &User) -> Vec<Value> {
    let answer = user.get(&format!("/api/channels?userId={}", user.id)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body.as_array().expect("a list").clone()
}

/// The user's private channels, in the order of the list. Other tests create public channels meanwhile.
async fn list_private(user: &User) -> Vec<Value> {
    let mut channels = list(user).await;
    channels.retain(|channel| channel["type"] == "PRIVATE");
    channels
}

pub(crate) async fn read_statuses(user: &User) -> Vec<Value> {
    let answer = user
        .get(&format!("/api/readStatuses?userId={}", user.id))
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body.as_array().expect("a list").clone()
}

pub(crate) async fn read(by: &Visitor, user: &str, channel: &str, at: &str) -> Answer {
    by.post(
        "/api/readStatuses",
        &json!({ "userId": user, "channelId": channel, "lastReadAt": at }),
    )
    .await
}

pub(crate) fn ids(list: &[Value]) -> Vec<&str> {
    list.iter().map(|item| text(&item["id"])).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_managers_and_administrators_manage_public_channels() {
    let cluster = Cluster::shared(1).await;
    let (ann, admin) = (cluster.user(0, "ann").await, cluster.admin(0).await);
    let manager = with_role(&cluster, 0, "CHANNEL_MANAGER").await;
    let answer = public(&ann, "mine", "").await;
    assert_eq!((answer.status, answer.code()), (403, "FORBIDDEN"));
    assert_eq!(public(&cluster.visitor(0), "mine", "").await.status, 401);

    for by in [&manager, &admin] {
        let answer = public(by, "General 🖖", "About\neverything").await;
        assert_eq!(answer.status, 201, "{answer:?}");
        assert_eq!(keys(&answer.body), DTO);
        assert_eq!(
            (
                text(&answer.body["name"]),
                text(&answer.body["description"])
            ),
            ("General 🖖", "About\neverything")
        );
        assert_eq!(
            (text(&answer.body["type"]), &answer.body["participants"]),
            ("PUBLIC", &json!([]))
        );
        let created = instant(&answer.body["lastMessageAt"]);
        assert!(
            (time::OffsetDateTime::now_utc() - created).abs() < time::Duration::minutes(1),
            "without messages, lastMessageAt is the time of creation"
        );

        let path = format!("/api/channels/{}", text(&answer.body["id"]));
        let rejected = ann.patch(&path, &json!({ "newName": "mine" })).await;
        assert_eq!((rejected.status, rejected.code()), (403, "FORBIDDEN"));
        assert_eq!(ann.delete(&path).await.status, 403);
        assert_eq!(
            cluster.visitor(0).patch(&path, &json!({})).await.status,
            401
        );
        assert_eq!(cluster.visitor(0).delete(&path).await.status, 401);

        let mut expected = answer.body.clone();
        for unchanged in [
            json!({}),
            json!({ "newName": null, "newDescription": null }),
        ] {
            assert_eq!(
                by.patch(&path, &unchanged).await.body,
                expected,
                "null leaves a field unchanged"
            );
        }
        expected["name"] = json!("Renamed");
        let answer = by
            .patch(
                &path,
                &json!({ "newName": "Renamed", "newDescription": null }),
            )
            .await;
        assert_eq!((answer.status, &answer.body), (200, &expected));
        expected["description"] = json!("");
        assert_eq!(
            by.patch(&path, &json!({ "newDescription": "" })).await.body,
            expected
        );
        assert!(
            list(&ann).await.contains(&expected),
            "every user sees a public channel"
        );

        let answer = by.delete(&path).await;
        assert_eq!((answer.status, &answer.body), (204, &Value::Null));
        assert!(!ids(&list(&ann).await).contains(&text(&expected["id"])));
        let after_deletion = [
            by.delete(&path).await,
            by.patch(&path, &json!({ "newName": "x" })).await,
        ];
        for answer in after_deletion {
            assert_eq!((answer.status, answer.code()), (404, "CHANNEL_NOT_FOUND"));
            assert_eq!(
                answer.body["details"],
                json!({ "channelId": expected["id"] })
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn channel_names_and_descriptions_are_validated() {
    let cluster = Cluster::shared(1).await;
    let admin = cluster.admin(0).await;
    let channel = admin.create_channel("general").await;
    let path = format!("/api/channels/{channel}");
    let long = "é".repeat(501);
    for (name, description, wrong) in [
        ("", "", vec!["name"]),
        ("   ", "", vec!["name"]),
        ("a\0b", "", vec!["name"]),
        ("a\nb", "", vec!["name"]),
        (&*"é".repeat(101), "a\0b", vec!["description", "name"]),
        ("a", &*long, vec!["description"]),
    ] {
        let answer = public(&admin, name, description).await;
        assert_eq!(
            (answer.status, answer.code()),
            (400, "INVALID_INPUT"),
            "{name:?}"
        );
        assert_eq!(keys(&answer.body["details"]), wrong);
        let answer = admin
            .patch(
                &path,
                &json!({ "newName": name, "newDescription": description }),
            )
            .await;
        let wrong: Vec<_> = wrong
            .iter()
            .map(|field| {
                format!(
                    "new{}{}",
                    field.split_at(1).0.to_uppercase(),
                    field.split_at(1).1
                )
            })
            .collect();
        assert_eq!(
            (answer.status, keys(&answer.body["details"])),
            (400, wrong.iter().map(String::as_str).collect()),
            "{name:?}"
        );
    }
    assert_eq!(
        admin
            .post("/api/channels/public", &json!({ "description": "x" }))
            .await
            .status,
        400
    );
    assert_eq!(
        admin
            .post(
                "/api/channels/public",
                &json!({ "name": 5, "description": "x" })
            )
            .await
            .status,
        400
    );
    let (name, description) = ("🦀".repeat(100), "🦀".repeat(500));
    let answer = public(&admin, &name, &description).await;
    assert_eq!(
        (
            answer.status,
            text(&answer.body["name"]),
            text(&answer.body["description"])
        ),
        (201, &*name, &*description)
    );
    let channels = list(&admin).await;
    let found = channels.iter().find(|found| found["id"] == channel);
    assert_eq!(
        text(&found.expect("the channel is listed")["name"]),
        "general",
        "a rejected update changes nothing"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_channel_needs_2_to_100_distinct_users_including_its_creator() {
    let cluster = Cluster::shared(1).await;
    let (ann, bob, moe) = (
        cluster.user(0, "ann").await,
        cluster.user(0, "bob").await,
        cluster.user(0, "moe").await,
    );
    assert_eq!(
        private(&cluster.visitor(0), &[&ann.id, &bob.id])
            .await
            .status,
        401
    );
    let strangers: Vec<_> = (0..100).map(|_| new_id()).collect();
    let too_many: Vec<_> = strangers
        .iter()
        .map(String::as_str)
        .chain([ann.id.as_str()])
        .collect();
    let alone = [ann.id.as_str()];
    for participants in [
        &[][..],
        &alone,
        &[&ann.id, &ann.id],
        &[&ann.id, &bob.id, &bob.id],
        &[&bob.id, &moe.id],
        &too_many,
    ] {
        let answer = private(&ann, participants).await;
        assert_eq!(
            (answer.status, answer.code()),
            (400, "INVALID_INPUT"),
            "{participants:?}"
        );
        assert_eq!(keys(&answer.body["details"]), ["participantIds"]);
    }
    for body in [json!({}), json!({ "participantIds": null })] {
        assert_eq!(
            ann.post("/api/channels/private", &body).await.code(),
            "INVALID_INPUT"
        );
    }
    for body in [
        json!({ "participantIds": ["x", ann.id] }),
        json!({ "participantIds": ann.id }),
    ] {
        assert_eq!(ann.post("/api/channels/private", &body).await.status, 400);
    }
    let unknown_id = new_id();
    let answer = private(&ann, &[&ann.id, &bob.id, &unknown_id]).await;
    assert_eq!((answer.status, answer.code()), (404, "USER_NOT_FOUND"));
    assert_eq!(answer.body["details"], json!({ "userId": unknown_id }));
    assert!(
        list_private(&ann).await.is_empty() && read_statuses(&bob).await.is_empty(),
        "a rejected creation leaves no channel and no read status"
    );

    let answer = private(&ann, &[&bob.id, &ann.id]).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(keys(&answer.body), DTO);
    assert_eq!(
        (&answer.body["name"], &answer.body["description"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(text(&answer.body["type"]), "PRIVATE");
    let participants = answer.body["participants"].as_array().expect("a list");
    assert_eq!(ids(participants), [&ann.id, &bob.id]);
    for participant in participants {
        assert_eq!(
            keys(participant),
            ["email", "id", "online", "profile", "role", "username"]
        );
    }
    for user in [&ann, &bob] {
        assert_eq!(
            list_private(user).await,
            std::slice::from_ref(&answer.body),
            "each participant lists the channel as the creator got it"
        );
        let statuses = read_statuses(user).await;
        assert_eq!(statuses.len(), 1);
        assert_eq!(keys(&statuses[0]), READ_STATUS);
        assert_eq!(
            (&statuses[0]["userId"], &statuses[0]["channelId"]),
            (&json!(user.id), &answer.body["id"])
        );
        assert_eq!(statuses[0]["notificationEnabled"], json!(true));
        instant(&statuses[0]["lastReadAt"]);
    }
    assert_eq!(
        private(&ann, &[&bob.id, &ann.id]).await.status,
        201,
        "the same two users may have a second channel"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_channel_is_not_found_for_non_participants() {
    let cluster = Cluster::shared(1).await;
    let (ann, bob, eve, admin) = (
        cluster.user(0, "ann").await,
        cluster.user(0, "bob").await,
        cluster.user(0, "eve").await,
        cluster.admin(0).await,
    );
    let manager = with_role(&cluster, 0, "CHANNEL_MANAGER").await;
    let channel = ann.create_private(&[&bob]).await;
    let message = text(&ann.write(&channel, "a secret").await.body["id"]).to_owned();
    let (no_channel, no_message) = (new_id(), new_id());
    for outsider in [&eve, &manager, &admin] {
        let mut answers = Vec::new();
        // A non-participant gets the same responses as for a channel that does not exist.
        for (channel, message) in [(&channel, &message), (&no_channel, &no_message)] {
            let path = format!("/api/channels/{channel}");
            if outsider.id != eve.id {
                answers.push((
                    outsider.patch(&path, &json!({ "newName": "x" })).await,
                    channel,
                ));
                answers.push((outsider.delete(&path).await, channel));
            }
            answers.push((
                outsider
                    .get(&format!("/api/messages?channelId={channel}"))
                    .await,
                channel,
            ));
            answers.push((outsider.write(channel, "let me in").await, channel));
            answers.push((
                read(outsider, &outsider.id, channel, "2026-01-31T09:15:02Z").await,
                channel,
            ));
            let path = format!("/api/messages/{message}");
            answers.push((
                outsider.patch(&path, &json!({ "newContent": "x" })).await,
                message,
            ));
            answers.push((outsider.delete(&path).await, message));
        }
        let half = answers.len() / 2;
        for (n, (answer, id)) in answers.iter().enumerate() {
            assert_eq!(answer.status, 404, "{answer:?}");
            assert!(
                answer.body["details"].to_string().contains(*id),
                "{answer:?}"
            );
            assert_eq!(answer.code(), answers[n % half].0.code());
            assert_eq!(answer.body["message"], answers[n % half].0.body["message"]);
        }
        assert!(!ids(&list(outsider).await).contains(&channel.as_str()));
        assert!(read_statuses(outsider).await.is_empty());
    }
    let path = format!("/api/channels/{channel}");
    assert_eq!(
        eve.patch(&path, &json!({ "newName": "x" })).await.status,
        403,
        "the role USER may update no channel"
    );
    assert_eq!(
        bob.history(&channel).await.len(),
        1,
        "the rejected requests wrote, changed and deleted nothing"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_channel_cannot_be_updated_and_a_participating_manager_deletes_it() {
    let cluster = Cluster::shared(1).await;
    let ann = cluster.user(0, "ann").await;
    let manager = with_role(&cluster, 0, "CHANNEL_MANAGER").await;
    let channel = manager.create_private(&[&ann]).await;
    let path = format!("/api/channels/{channel}");
    for body in [
        json!({ "newName": "x" }),
        json!({ "newDescription": "x" }),
        json!({}),
    ] {
        let answer = manager.patch(&path, &body).await;
        assert_eq!(
            (answer.status, answer.code()),
            (400, "PRIVATE_CHANNEL_UNCHANGEABLE")
        );
    }
    assert_eq!(ann.delete(&path).await.status, 403);
    assert_eq!(manager.delete(&path).await.status, 204);
    assert!(list_private(&ann).await.is_empty());
    assert!(read_statuses(&ann).await.is_empty());
    assert_eq!(
        ann.get(&format!("/api/messages?channelId={channel}"))
            .await
            .status,
        404
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_list_public_channels_and_their_private_channels_by_creation_time() {
    let cluster = Cluster::start(2).await;
    let (ann, bob, admin) = (
        cluster.user(0, "ann").await,
        cluster.user(1, "bob").await,
        cluster.admin(0).await,
    );
    let first = admin.create_channel("zoo").await;
    let both = ann.create_private(&[&bob]).await;
    let anns = ann.create_private(&[&admin]).await;
    let last = admin.create_channel("aviary").await;
    // The list is in order of creation, so new messages must not change the order.
    assert_eq!(ann.write(&first, "hello").await.status, 201);
    let written = instant(&bob.write(&both, "hello").await.body["createdAt"]);

    let expected = [
        (&ann, vec![&first, &both, &anns, &last]),
        (&bob, vec![&first, &both, &last]),
    ];
    for (user, expected) in expected {
        for node in [0, 1] {
            let seen = list(&user.at_node(&cluster.address(node))).await;
            assert_eq!(ids(&seen), expected, "both nodes list the same channels");
            for channel in &seen {
                assert_eq!(keys(channel), DTO);
                let private = channel["type"] == "PRIVATE";
                assert_eq!(
                    channel["participants"].as_array().map(Vec::len),
                    Some(if private { 2 } else { 0 }),
                    "{channel}"
                );
            }
            assert_eq!(instant(&seen[1]["lastMessageAt"]), written);
        }
    }
    let path = format!("/api/channels?userId={}", bob.id);
    let answer = bob.get(&path).await;
    assert!(
        answer
            .header("x-event-cursor")
            .is_some_and(|cursor| !cursor.is_empty()),
        "{answer:?}"
    );
    let others = ann.get(&path).await;
    assert_eq!((others.status, others.code()), (403, "FORBIDDEN"));
    let answer = admin.get(&path).await;
    assert_eq!(
        answer.status, 200,
        "an administrator may list the channels of any user"
    );
    assert_eq!(
        ids(answer.body.as_array().expect("a list")),
        [&first, &both, &last]
    );
    assert_eq!(cluster.visitor(0).get(&path).await.status, 401);
    for (query, code) in [
        ("", "MALFORMED_REQUEST"),
        ("?userId=", "INVALID_INPUT"),
        ("?userId=x", "INVALID_INPUT"),
        ("?userid=x", "MALFORMED_REQUEST"),
    ] {
        let answer = ann.get(&format!("/api/channels{query}")).await;
        assert_eq!((answer.status, answer.code()), (400, code), "{query}");
    }
}
