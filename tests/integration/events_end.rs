//! SSE: authentication of streams, and the events that end them.

use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::json;
use tokio::time::Instant;

use super::{
    accounts::set_role,
    logins::{bare, post_with, tokens},
};
use crate::support::{Cluster, SOON, Sse, User, Visitor};

/// The user's access token with an expiry in the past.
pub(crate) fn expired(user: &User) -> String {
    use jsonwebtoken::{EncodingKey, Header, encode};
    let mut claims = User::claims(user.token());
    claims["exp"] = json!(1_000_000);
    let key = EncodingKey::from_secret(b"a secret of the tests, 32 bytes long");
    encode(&Header::default(), &claims, &key).expect("signed")
}

fn stream_request(visitor: &Visitor) -> RequestBuilder {
    visitor.http.get(format!("{}/api/sse", visitor.base))
}

/// Asserts that the stream ends within 1 s, after presence events at most.
async fn ends_within_a_second(mut stream: Sse, since: Instant) {
    let end = tokio::time::timeout_at(since + Duration::from_secs(1), stream.next_but_presence());
    assert_eq!(end.await.expect("the stream ends within 1 s"), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_whose_session_ends_during_an_outage_of_postgres_replays_nothing() {
    let mut cluster = Cluster::start(1).await;
    let (postgres, through) = cluster.cut("DATABASE_URL").await;
    let waiting = cluster.add(&[("DATABASE_URL", &through)]).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let channel = ann.create_private(&[&bob]).await;
    cluster.settled().await;
    let mut stream = Sse::open(&bob, None).await;
    let before = stream.expect("sync").await.id;
    assert_eq!(ann.write(&channel, "a secret").await.status, 201);
    stream.expect("notifications").await;
    drop(stream);
    // The replay waits: the node asks PostgreSQL whether the user may still see the message.
    postgres.cut();
    let bob_on_waiting = bob.at_node(&cluster.address(waiting));
    let mut stream = Sse::open(&bob_on_waiting, Some(&before)).await;
    stream.expect_nothing(Duration::from_millis(300)).await;
    assert_eq!(bob.post_csrf("/api/auth/logout").await.status, 204);
    let ended = Instant::now();
    ends_within_a_second(stream, ended).await;
    postgres.mend();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_continues_when_postgres_is_back() {
    let mut cluster = Cluster::start(1).await;
    let (postgres, through) = cluster.cut("DATABASE_URL").await;
    let waiting = cluster.add(&[("DATABASE_URL", &through)]).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let channel = ann.create_private(&[&bob]).await;
    cluster.settled().await;
    let mut stream = Sse::open(&bob, None).await;
    let before = stream.expect("sync").await.id;
    assert_eq!(ann.write(&channel, "1").await.status, 201);
    let live = stream.expect("notifications").await;
    drop(stream);
    postgres.cut();
    let bob_on_waiting = bob.at_node(&cluster.address(waiting));
    let mut stream = Sse::open(&bob_on_waiting, Some(&before)).await;
    stream.expect_nothing(Duration::from_millis(300)).await;
    let private = ann.create_private(&[&bob]).await;
    postgres.mend();
    assert_eq!(stream.expect("notifications").await.data, live.data);
    loop {
        let event = stream
            .next_but_presence()
            .await
            .expect("the stream stays open");
        match event.name.as_str() {
            "sync" => {}
            "channels.refresh" => {
                assert_eq!(event.json()["channelId"], private);
                break;
            }
            _ => panic!("{event:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_token_with_another_users_cookie_is_rejected() {
    let cluster = Cluster::start(1).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let expired_token = expired(&ann);
    let file = format!(
        "{}/api/binaryContents/{}/download",
        bob.base,
        uuid::Uuid::new_v4()
    );
    for request in [stream_request(&bob), bob.http.get(&file)] {
        // An accepted stream never ends, so the wait for its response needs a timeout.
        let answer = tokio::time::timeout(SOON, bob.send(request.bearer_auth(&expired_token)));
        let answer = answer.await.expect("the request is rejected");
        assert_eq!((answer.status, answer.code()), (401, "UNAUTHENTICATED"));
    }
    // A later session of the same user is accepted.
    let again = User::sign_in(cluster.visitor(0), &ann.name, "password").await;
    let mut stream = Sse::open_with(stream_request(&again).bearer_auth(&expired_token)).await;
    stream.expect("sync").await;
    let answer = again
        .send(again.http.get(&file).bearer_auth(&expired_token))
        .await;
    assert_eq!(
        (answer.status, answer.code()),
        (404, "BINARY_CONTENT_NOT_FOUND")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_just_rotated_cookie_still_opens_a_stream() {
    let cluster = Cluster::start(2).await;
    let ann = cluster.user(0, "ann").await;
    let (_, old) = tokens(&ann, &ann.name).await;
    let visitors = [0, 1].map(|node| bare(&cluster.visitor(node)));
    let refreshed = post_with(&visitors[0], "/api/auth/refresh", &old).await;
    assert_eq!(refreshed.status, 200);
    let with_old =
        |request: RequestBuilder| request.header("cookie", format!("REFRESH-TOKEN={old}"));
    // On the other node, with the cookie alone and with an expired token.
    for token in [None, Some(expired(&ann))] {
        let request = with_old(stream_request(&visitors[1]));
        let mut stream = Sse::open_with(match token {
            Some(token) => request.bearer_auth(token),
            None => request,
        })
        .await;
        stream.expect("sync").await;
    }
    let file = format!("/api/binaryContents/{}/download", uuid::Uuid::new_v4());
    let request = with_old(visitors[1].request(Method::GET, &file));
    assert_eq!(
        visitors[1].send(request).await.code(),
        "BINARY_CONTENT_NOT_FOUND"
    );
    // A second refresh with the same cookie counts as theft and ends the session.
    let mut stream = Sse::open_with(with_old(stream_request(&visitors[1]))).await;
    stream.expect("sync").await;
    let again = post_with(&visitors[0], "/api/auth/refresh", &old).await;
    assert_eq!((again.status, again.code()), (401, "SESSION_ENDED"));
    ends_within_a_second(stream, Instant::now()).await;
    let answer = visitors[1]
        .send(with_old(stream_request(&visitors[1])))
        .await;
    assert_eq!((answer.status, answer.code()), (401, "UNAUTHENTICATED"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_change_or_deletion_ends_the_users_streams_on_every_node() {
    let cluster = Cluster::start(2).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(1, "bob").await);
    let admin = cluster.admin(0).await;
    let open = async |user: &User| {
        let mut streams = Vec::new();
        for node in [0, 1] {
            let mut stream = Sse::open(&user.at_node(&cluster.address(node)), None).await;
            stream.expect("sync").await;
            streams.push(stream);
        }
        streams
    };
    let streams = open(&ann).await;
    let mut bobs = open(&bob).await;
    assert_eq!(
        set_role(&admin, &ann.id, "CHANNEL_MANAGER").await.status,
        200
    );
    let since = Instant::now();
    for mut stream in streams {
        // The notification of the new role may arrive before the end of the stream.
        while let Some(event) = stream.next_but_presence().await {
            assert_eq!(event.name, "notifications", "{event:?}");
        }
        assert!(since.elapsed() < Duration::from_secs(1));
    }
    let ann = User::sign_in(cluster.visitor(1), &ann.name, "password").await;
    let streams = open(&ann).await;
    let path = format!("/api/users/{}", ann.id);
    assert_eq!(ann.delete(&path).await.status, 204);
    let since = Instant::now();
    for stream in streams {
        ends_within_a_second(stream, since).await;
    }
    // The streams of another user stay open.
    let channel = admin.create_channel("news").await;
    for stream in &mut bobs {
        let event = stream.expect("channels.refresh").await;
        assert_eq!(event.json()["channelId"], channel);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_21st_stream_of_a_user_closes_the_oldest() {
    let cluster = Cluster::start(1).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(0, "bob").await);
    let mut others = Sse::open(&bob, None).await;
    others.expect("sync").await;
    let mut streams = Vec::new();
    for _ in 0..21 {
        let mut stream = Sse::open(&ann, None).await;
        stream.expect("sync").await;
        streams.push(stream);
    }
    ends_within_a_second(streams.remove(0), Instant::now()).await;
    let channel = ann.create_private(&[&bob]).await;
    for stream in streams.iter_mut().chain([&mut others]) {
        let event = stream.expect("channels.refresh").await;
        assert_eq!(event.json()["channelId"], channel);
    }
}
