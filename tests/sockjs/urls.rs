//! The URLs of an endpoint and their response headers.

use serde_json::{Value, json};

use crate::{client::Connection, session, start};

#[tokio::test]
async fn the_endpoint_greets() {
    // BaseUrlGreeting.test_greeting
    let server = start().await;
    for path in ["/echo", "/echo/", "/cookie_needed_echo"] {
        let answer = server.get(path).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(
            answer.header("content-type"),
            Some("text/plain; charset=UTF-8")
        );
        assert_eq!(answer.body, "Welcome to SockJS!\n");
        assert_eq!(answer.header("set-cookie"), None);
    }
}

#[tokio::test]
async fn other_paths_are_not_found() {
    // BaseUrlGreeting.test_notFound, IframePage.test_invalidUrl, SessionURLs.test_invalidPaths
    let server = start().await;
    for path in ["/a", "/a.html", "//", "///", "/a/a", "/a/a/", "/a/"] {
        assert_eq!(
            server.get(&format!("/echo{path}")).await.status(),
            404,
            "{path}"
        );
    }
    for path in [
        "/iframe.htm",
        "/iframe",
        "/IFRAME.HTML",
        "/IFRAME",
        "/iframe.HTML",
        "/iframe.xml",
        "/iframe-/.html",
    ] {
        assert_eq!(
            server.get(&format!("/echo{path}")).await.status(),
            404,
            "{path}"
        );
    }
    for path in [
        "//", "/a./a", "/a/a.", "/./.", "/", "///", "/a//", "//a", "/a/a/a",
    ] {
        let path = format!("/echo{path}/xhr");
        assert_eq!(server.get(&path).await.status(), 404, "{path}");
        assert_eq!(server.post(&path, "").await.status(), 404, "{path}");
    }
    for path in ["/echoa", "/ech", "/", "/echo/info/", "/echo/websocket/"] {
        assert_eq!(server.get(path).await.status(), 404, "{path}");
    }
    let long = format!("/echo/a/{}/xhr", "x".repeat(300));
    assert_eq!(server.post(&long, "").await.status(), 404);
}

#[tokio::test]
async fn every_iframe_url_has_the_same_page() {
    // IframePage.test_simpleUrl, .test_versionedUrl, .test_queriedUrl
    let server = start().await;
    let page = concat!(
        "<!DOCTYPE html>\n<html>\n<head>\n",
        "  <meta http-equiv=\"X-UA-Compatible\" content=\"IE=edge\" />\n",
        "  <meta http-equiv=\"Content-Type\" content=\"text/html; charset=UTF-8\" />\n",
        "  <script src=\"/vendor/sockjs.min.js\"></script>\n",
        "  <script>\n    document.domain = document.domain;\n",
        "    SockJS.bootstrap_iframe();\n  </script>\n</head>\n<body>\n",
        "  <h2>Don't panic!</h2>\n",
        "  <p>This is a SockJS hidden iframe. It's used for cross domain magic.</p>\n",
        "</body>\n</html>",
    );
    for name in [
        "iframe.html",
        "iframe-a.html",
        "iframe-.html",
        "iframe-0.1.2.html",
        "iframe-0.1.2abc-dirty.2144.html",
        "iframe-a.html?t=1234",
        "iframe-0.1.2.html?t=123414",
        "iframe-0.1.2abc-dirty.2144.html?t=qweqweq123",
    ] {
        let answer = server.get(&format!("/cookie_needed_echo/{name}")).await;
        assert_eq!(answer.status(), 200, "{name}");
        assert_eq!(
            answer.header("content-type"),
            Some("text/html; charset=UTF-8")
        );
        assert_eq!(answer.body.trim(), page);
        answer.head.assert_cached();
        assert!(answer.header("etag").is_some());
        assert_eq!(answer.header("set-cookie"), None);
    }
}

#[tokio::test]
async fn no_page_of_another_origin_can_embed_the_iframe_page() {
    let server = start().await;
    let page = server.get("/echo/iframe.html").await;
    let tag = page.header("etag").expect("a tag").to_owned();
    let headers = [("If-None-Match", tag.as_str())];
    let unchanged = server
        .request("GET", "/echo/iframe.html", &headers, None)
        .await;
    assert_eq!((page.status(), unchanged.status()), (200, 304));
    for answer in [page, unchanged] {
        let policy = answer.header("content-security-policy").expect("a policy");
        let directives: Vec<_> = policy.split("; ").collect();
        for directive in [
            "default-src 'none'",
            "connect-src 'self'",
            "frame-ancestors 'self'",
        ] {
            assert!(directives.contains(&directive), "{policy}");
        }
    }
}

#[tokio::test]
async fn a_cached_iframe_page_is_not_sent_again() {
    // IframePage.test_cacheability
    let server = start().await;
    let first = server.get("/echo/iframe.html").await;
    let tag = first.header("etag").expect("a tag").to_owned();
    assert!(tag.starts_with('"') && tag.ends_with('"'));
    assert_eq!(
        server.get("/echo/iframe-1.html").await.header("etag"),
        Some(&*tag)
    );
    let headers = [("If-None-Match", tag.as_str())];
    let again = server
        .request("GET", "/echo/iframe.html", &headers, None)
        .await;
    assert_eq!(again.status(), 304);
    assert_eq!(again.header("content-type"), None);
    assert_eq!(again.body, "");
}

#[tokio::test]
async fn info_lists_the_features_of_the_endpoint() {
    // InfoTest.test_basic, .test_entropy, .test_disabled_websocket, JsessionidCookie.test_basic
    let server = start().await;
    let headers = [("Origin", "test")];
    let answer = server.request("GET", "/echo/info", &headers, None).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(
        answer.header("content-type"),
        Some("application/json; charset=UTF-8")
    );
    answer.head.assert_not_cached();
    answer.head.assert_cors(Some("test"));
    assert_eq!(answer.header("set-cookie"), None);
    let info = |body: &str| serde_json::from_str::<Value>(body).expect("JSON");
    let first = info(&answer.body);
    assert_eq!(first["websocket"], true);
    assert_eq!(first["cookie_needed"], false);
    assert_eq!(first["origins"], json!(["*:*"]));
    let second = server.get("/echo/info?t=1").await;
    second.head.assert_cors(None);
    let second = info(&second.body);
    for entropy in [&first["entropy"], &second["entropy"]] {
        assert!(entropy.as_u64().is_some_and(|n| u32::try_from(n).is_ok()));
    }
    assert_ne!(first["entropy"], second["entropy"]);

    let answer = server.get("/disabled_websocket_echo/info").await;
    assert_eq!(info(&answer.body)["websocket"], false);
    for path in ["websocket", "a/a/websocket"] {
        let path = format!("/disabled_websocket_echo/{path}");
        assert_eq!(server.get(&path).await.status(), 404);
    }
    let answer = server.get("/cookie_needed_echo/info").await;
    assert_eq!(info(&answer.body)["cookie_needed"], true);
    assert_eq!(answer.header("set-cookie"), None);
}

#[tokio::test]
async fn preflights_may_be_cached_for_a_year() {
    // InfoTest.test_options, .test_options_null_origin, XhrPolling.test_options, XhrStreaming.test_options
    let server = start().await;
    for (path, methods) in [
        ("/echo/info", "OPTIONS, GET"),
        ("/echo/abc/abc/xhr", "OPTIONS, POST"),
        ("/echo/abc/abc/xhr_send", "OPTIONS, POST"),
        ("/echo/abc/abc/xhr_streaming", "OPTIONS, POST"),
    ] {
        for origin in ["test", "null"] {
            let headers = [
                ("Origin", origin),
                ("Access-Control-Request-Method", "POST"),
            ];
            let answer = server.request("OPTIONS", path, &headers, None).await;
            answer.assert_preflight(methods, origin);
        }
    }
}

#[tokio::test]
async fn a_preflight_allows_the_headers_that_it_requests() {
    // XhrPolling.test_request_headers_cors
    let server = start().await;
    for (asked, allowed) in [
        (Some("a, b, c"), Some("a, b, c")),
        (Some(""), None),
        (None, None),
    ] {
        let mut headers = vec![
            ("Origin", "test"),
            ("Access-Control-Request-Method", "POST"),
        ];
        headers.extend(asked.map(|asked| ("Access-Control-Request-Headers", asked)));
        let path = format!("{}/xhr", session("echo"));
        let answer = server.request("OPTIONS", &path, &headers, None).await;
        answer.assert_preflight("OPTIONS, POST", "test");
        assert_eq!(answer.header("access-control-allow-headers"), allowed);
    }
}

#[tokio::test]
async fn any_server_and_session_name_is_accepted() {
    // SessionURLs.test_anyValue
    let server = start().await;
    for session in ["/a/a", "/_/_", "/1/1", "/abcdefgh_i-j%20/abcdefg_i-j%20"] {
        assert_eq!(server.poll(&format!("/echo{session}")).await, "o\n");
    }
}

#[tokio::test]
async fn a_session_is_the_same_under_every_server_name() {
    // SessionURLs.test_ignoringServerId
    let server = start().await;
    let name = uuid::Uuid::new_v4();
    assert_eq!(server.poll(&format!("/echo/000/{name}")).await, "o\n");
    server.send(&format!("/echo/000/{name}"), "[\"a\"]").await;
    assert_eq!(
        server.poll(&format!("/echo/999/{name}")).await,
        "a[\"a\"]\n"
    );
    // Another endpoint has its own sessions.
    assert_eq!(server.poll(&format!("/close/000/{name}")).await, "o\n");
}

#[tokio::test]
async fn a_wrong_method_gets_405_with_the_allowed_methods_and_no_body() {
    // WebsocketHttpErrors.test_invalidMethod
    let server = start().await;
    let upgrade = [("Upgrade", "WebSocket"), ("Connection", "Upgrade")];
    let cases = [
        ("POST", "/echo/0/0/websocket", &upgrade[..], "GET"),
        ("POST", "/echo/0/0/websocket", &[], "GET"),
        ("POST", "/echo/websocket", &[], "GET"),
        ("POST", "/echo/info", &[], "OPTIONS, GET"),
        ("DELETE", "/echo", &[], "GET"),
        ("PUT", "/echo/iframe.html", &[], "GET"),
        ("GET", "/echo/a/a/xhr", &[], "OPTIONS, POST"),
        ("GET", "/echo/a/a/xhr_send", &[], "OPTIONS, POST"),
        ("PATCH", "/echo/a/a/xhr_streaming", &[], "OPTIONS, POST"),
        ("POST", "/echo/a/a/eventsource", &[], "GET"),
        ("POST", "/echo/a/a/htmlfile", &[], "GET"),
        ("OPTIONS", "/echo/a/a/jsonp", &[], "GET"),
        ("GET", "/echo/a/a/jsonp_send", &[], "POST"),
    ];
    for (method, path, headers, allowed) in cases {
        let answer = server.request(method, path, headers, None).await;
        assert_eq!(answer.status(), 405, "{method} {path}");
        assert_eq!(answer.header("allow"), Some(allowed), "{method} {path}");
        assert_eq!(answer.header("content-type"), None);
        assert_eq!(answer.body, "");
    }
}

#[tokio::test]
async fn the_greeting_works_over_http_1_0_and_1_1() {
    // Http10.test_synchronous, Http11.test_synchronous
    let server = start().await;
    for version in ["1.0", "1.1"] {
        let mut connection = Connection::open(server.address).await;
        for _ in 0..2 {
            let headers = [("Connection", "Keep-Alive")];
            connection
                .ask("GET", "/echo", version, &headers, None)
                .await;
            let head = connection.head().await;
            assert_eq!(head.status, 200);
            assert_eq!(head.version, format!("HTTP/{version}"));
            assert_eq!(head.header("transfer-encoding"), None);
            assert_eq!(head.header("content-length"), Some("19"));
            let connection_header = head.header("connection").unwrap_or("keep-alive");
            assert_eq!(connection_header.to_lowercase(), "keep-alive");
            assert_eq!(connection.exactly(19).await, "Welcome to SockJS!\n");
        }
    }
}

#[tokio::test]
async fn sessions_set_the_cookie_for_load_balancers() {
    // JsessionidCookie.test_xhr, .test_xhr_streaming, .test_eventsource, .test_htmlfile, .test_jsonp
    let server = start().await;
    let dummy = Some("JSESSIONID=dummy; path=/");
    let url = session("cookie_needed_echo");
    let answer = server.post(&format!("{url}/xhr"), "").await;
    assert_eq!(answer.header("set-cookie"), dummy);
    let headers = [("Cookie", "a=b; JSESSIONID=abcdef")];
    let path = format!("{}/xhr", session("cookie_needed_echo"));
    let answer = server.request("POST", &path, &headers, None).await;
    assert_eq!(
        answer.header("set-cookie"),
        Some("JSESSIONID=abcdef; path=/")
    );
    for (method, transport) in [
        ("POST", "xhr_streaming"),
        ("GET", "eventsource"),
        ("GET", "htmlfile?c=%63allback"),
    ] {
        let path = format!("{}/{transport}", session("cookie_needed_echo"));
        let (head, _) = server.stream(method, &path).await;
        assert_eq!(head.status, 200);
        assert_eq!(head.header("set-cookie"), dummy, "{transport}");
    }
    let url = session("cookie_needed_echo");
    let answer = server.get(&format!("{url}/jsonp?c=%63allback")).await;
    assert_eq!(answer.header("set-cookie"), dummy);
    assert_eq!(answer.body, "/**/callback(\"o\");\r\n");
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let path = format!("{url}/jsonp_send");
    let answer = server
        .request("POST", &path, &form, Some("d=%5B%22x%22%5D"))
        .await;
    assert_eq!((answer.status(), answer.body.as_str()), (200, "ok"));
    assert_eq!(answer.header("set-cookie"), dummy);
    // Without the option, responses set no cookie.
    let answer = server.post(&format!("{}/xhr", session("echo")), "").await;
    assert_eq!(answer.header("set-cookie"), None);
}
