//! Attacks that every transport must reject alike. `docs/attacks.md` lists each attack with its tests.

use std::time::Duration;

use base64::Engine;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

use crate::support::{Cluster, SockJs, Sse, Stomp, User, eventually};

const BASE64: base64::engine::GeneralPurpose = base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The secret of the tests' nodes.
const SECRET: &[u8] = b"a secret of the tests, 32 bytes long";

/// Every way to present an access token.
#[derive(Clone, Copy, Debug)]
enum Transport {
    Rest,
    Sse,
    Stomp,
    StompOverSockJs,
}

const TRANSPORTS: [Transport; 4] = [
    Transport::Rest,
    Transport::Sse,
    Transport::Stomp,
    Transport::StompOverSockJs,
];

/// Whether a node accepts a token over a transport.
async fn accepts(cluster: &Cluster, transport: Transport, token: &str) -> bool {
    let visitor = cluster.visitor(0);
    let connect =
        format!("CONNECT\nAuthorization:Bearer {token}\naccept-version:1.2\nheart-beat:0,0\n\n\0");
    let refused = |frame: &str| {
        assert!(frame.starts_with("ERROR\n"), "{frame:?}");
        assert!(frame.contains("\ncode:UNAUTHENTICATED\n"), "{frame:?}");
        false
    };
    match transport {
        Transport::Rest | Transport::Sse => {
            let path = match transport {
                Transport::Rest => "/api/users",
                _ => "/api/sse",
            };
            let request = visitor.request(Method::GET, path).bearer_auth(token);
            let response = request.send().await.expect("the node answers");
            let challenge = response.headers().contains_key("www-authenticate");
            match response.status().as_u16() {
                200 => true,
                401 if challenge => false,
                other => panic!("{transport:?} answers {other}"),
            }
        }
        Transport::Stomp => {
            let mut socket = Stomp::open(&cluster.address(0)).await;
            socket.send(&connect).await;
            let frame = socket.text().await.expect("an answer");
            if frame.starts_with("CONNECTED\n") {
                return true;
            }
            assert_eq!(socket.text().await, None, "closed after the ERROR");
            refused(&frame)
        }
        Transport::StompOverSockJs => {
            let mut socket = SockJs::open(&cluster.address(0), false).await;
            socket.send(&connect).await;
            let frame = socket.next().await;
            if frame.starts_with("CONNECTED\n") {
                return true;
            }
            assert!(
                socket.next().await.starts_with("c["),
                "closed after the ERROR"
            );
            refused(&frame)
        }
    }
}

fn sign(header: &Header, claims: &Value, secret: &[u8]) -> String {
    encode(header, claims, &EncodingKey::from_secret(secret)).expect("signed")
}

/// Tokens made from a valid one, each with the attack (S1–S4 of docs/attacks.md).
fn forged_tokens(valid: &str, other_user: &str) -> Vec<(&'static str, String)> {
    let claims = User::claims(valid);
    let hs256 = Header::new(Algorithm::HS256);
    let with = |name: &str, value: Value| {
        let mut changed = claims.clone();
        changed[name] = value;
        changed
    };
    let mut tokens = vec![
        (
            "S2: another algorithm",
            sign(&Header::new(Algorithm::HS384), &claims, SECRET),
        ),
        (
            "S2: another algorithm",
            sign(&Header::new(Algorithm::HS512), &claims, SECRET),
        ),
        (
            "S3: another secret",
            sign(&hs256, &claims, b"another secret that is 32 bytes long"),
        ),
        ("S3: an empty secret", sign(&hs256, &claims, b"")),
        (
            "S4: expired",
            sign(&hs256, &with("exp", json!(1_000)), SECRET),
        ),
        (
            "S4: exp is no number",
            sign(&hs256, &with("exp", json!("never")), SECRET),
        ),
        (
            "S4: not valid yet",
            sign(&hs256, &with("nbf", json!(4_000_000_000_i64)), SECRET),
        ),
        (
            "S4: an unknown session",
            sign(&hs256, &with("sid", json!(uuid::Uuid::new_v4())), SECRET),
        ),
        ("S4: claims are no object", sign(&hs256, &json!([]), SECRET)),
        ("S4: no token", String::new()),
        ("S4: no JWT", "garbage".to_owned()),
        ("S4: empty parts", "..".to_owned()),
        ("S4: a long token", "x".repeat(6_000)),
    ];
    for name in ["exp", "sub", "sid", "userDto"] {
        let mut less = claims.clone();
        less.as_object_mut().expect("an object").remove(name);
        tokens.push(("S4: a claim is missing", sign(&hs256, &less, SECRET)));
    }
    let mut other = claims.clone();
    other["userDto"]["id"] = json!(other_user);
    tokens.push(("S4: another user's id", sign(&hs256, &other, SECRET)));
    for kid in ["../../../../dev/null", "' or 1=1 --"] {
        let mut header = hs256.clone();
        header.kid = Some(kid.to_owned());
        tokens.push((
            "S3: a kid that names a file or is SQL",
            sign(&header, &claims, b""),
        ));
    }
    let mut parts = valid.split('.');
    let mut part = || parts.next().expect("three parts");
    let (header, payload, signature) = (part(), part(), part());
    for alg in ["none", "None", "nOnE", "", "RS256", "ES256", "HS384"] {
        let header = BASE64.encode(json!({ "alg": alg, "typ": "JWT" }).to_string());
        for signature in ["", signature] {
            tokens.push((
                "S1: no signature",
                format!("{header}.{payload}.{signature}"),
            ));
        }
    }
    for key in ["jku", "x5u", "jwk"] {
        let own = json!({ "alg": "HS256", "typ": "JWT", key: "https://attacker.example/keys" });
        let header = BASE64.encode(own.to_string());
        tokens.push((
            "S3: a key of the attacker",
            format!("{header}.{payload}.{signature}"),
        ));
    }
    let mut promoted = claims;
    promoted["userDto"]["role"] = json!("ADMIN");
    let promoted = BASE64.encode(promoted.to_string());
    tokens.push((
        "S12: another role",
        format!("{header}.{promoted}.{signature}"),
    ));
    tokens
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_transport_accepts_a_forged_token() {
    let cluster = Cluster::shared(1).await;
    let (ann, admin) = (cluster.user(0, "ann").await, cluster.admin(0).await);
    let own = sign(
        &Header::new(Algorithm::HS256),
        &User::claims(ann.token()),
        SECRET,
    );
    for transport in TRANSPORTS {
        assert!(
            accepts(&cluster, transport, ann.token()).await,
            "{transport:?}"
        );
        // Otherwise a wrong secret in this test would make every forgery fail.
        assert!(accepts(&cluster, transport, &own).await, "{transport:?}");
        for (attack, token) in forged_tokens(ann.token(), &admin.id) {
            let accepted = accepts(&cluster, transport, &token).await;
            assert!(!accepted, "{transport:?} accepts {attack}: {token}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_transport_ends_with_its_session_within_2_s() {
    let cluster = Cluster::shared(2).await;
    let channel = cluster.channel().await;
    let ann = cluster.user(0, "ann").await;
    // The sockets are at one node and the logout reaches another.
    let elsewhere = ann.at_node(&cluster.address(1));
    let mut stomp = Stomp::connect(&ann).await;
    stomp.subscribe(&channel).await;
    let mut sockjs = SockJs::open(&cluster.address(0), true).await;
    sockjs.connect(&ann).await;
    sockjs.subscribe(&channel).await;
    let mut stream = Sse::open(&ann, None).await;
    stream.expect("sync").await;

    assert_eq!(elsewhere.post_csrf("/api/auth/logout").await.status, 204);
    let ended = Instant::now();
    let all = async {
        while stomp.text().await.is_some() {}
        while !sockjs.next().await.starts_with("c[") {}
        while stream.next().await.is_some() {}
        eventually("REST rejects the token", async || {
            ann.get("/api/users").await.status == 401
        })
        .await;
    };
    let in_time = timeout(Duration::from_secs(2), all).await;
    assert!(in_time.is_ok(), "still open after {:?}", ended.elapsed());
    for transport in TRANSPORTS {
        assert!(
            !accepts(&cluster, transport, ann.token()).await,
            "{transport:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_socket_reaches_a_private_channel_of_others() {
    let cluster = Cluster::shared(1).await;
    let (ann, bob, eve) = (
        cluster.user(0, "ann").await,
        cluster.user(0, "bob").await,
        cluster.user(0, "eve").await,
    );
    let private = ann.create_private(&[&bob]).await;
    let body = json!({ "content": "x", "channelId": private, "authorId": eve.id });
    let frames = [
        format!("SUBSCRIBE\nid:a\ndestination:/sub/channels.{private}.messages\n\n\0"),
        format!("SUBSCRIBE\nid:a\ndestination:/sub/channels.{private}.events\n\n\0"),
        format!("SEND\ndestination:/pub/messages\nreceipt:r\n\n{body}\0"),
        format!("SEND\ndestination:/sub/channels.{private}.messages\nreceipt:r\n\n{body}\0"),
    ];
    for frame in &frames {
        let mut socket = Stomp::connect(&eve).await;
        socket.send(frame).await;
        let over_websocket = socket.frame().await.expect("an answer").command;
        let mut socket = SockJs::open(&cluster.address(0), false).await;
        socket.connect(&eve).await;
        socket.send(frame).await;
        let over_sockjs = socket.next().await;
        assert_eq!(over_websocket, "ERROR", "{frame}");
        assert!(over_sockjs.starts_with("ERROR\n"), "{frame} {over_sockjs}");
    }
    assert_eq!(ann.history(&private).await, Vec::<Value>::new());
}
