//! The four services that SockJS's protocol test suite expects.

use discodeit::{
    http::{
        resource::Route,
        server::{self, ServerConfig},
    },
    sockjs::{self, Link, Options},
    tasks::Tasks,
};
use tokio::net::TcpListener;
use warp::{Filter, path};

/// Echoes each message.
pub(crate) async fn echo(mut link: Link) {
    let disconnect = loop {
        match link.recv().await {
            Ok(text) => link.queue_text(&text),
            Err(disconnect) => break disconnect,
        }
    };
    link.disconnect(disconnect).await;
}

/// Closes the connection at once.
pub(crate) async fn close(mut link: Link) {
    link.close(3000, "Go away!").await;
}

/// Serves `/echo`, `/disabled_websocket_echo`, `/cookie_needed_echo` and `/close` until the tasks drain.
pub(crate) async fn serve(listener: TcpListener, options: Options, tasks: Tasks) {
    let service = |name: &'static str, options: &Options| {
        sockjs::routes(path(name), options.clone(), &tasks, sockjs::handler(echo))
    };
    let without_websocket = Options {
        websocket: false,
        ..options.clone()
    };
    let with_cookie = Options {
        cookie: true,
        ..options.clone()
    };
    let routes = service("echo", &options)
        .or(service("disabled_websocket_echo", &without_websocket))
        .unify()
        .or(service("cookie_needed_echo", &with_cookie))
        .unify()
        .or(sockjs::routes(
            path("close"),
            options,
            &tasks,
            sockjs::handler(close),
        ))
        .unify()
        .boxed();
    serve_routes(listener, routes, tasks).await;
}

/// Serves these routes until the tasks drain.
pub(crate) async fn serve_routes(listener: TcpListener, routes: Route, tasks: Tasks) {
    let config = ServerConfig {
        routes,
        tasks,
        node_name: "sockjs".to_owned(),
        max_connections: 10_000,
        trusted_proxies: Vec::new(),
        timings: None,
    };
    server::run(listener, config).await;
}
