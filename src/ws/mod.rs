//! `/ws`: STOMP over SockJS and all its transports, and at `/ws/websocket` over plain WebSocket.

mod activity;
mod connection;
mod send;
mod subscribe;

use std::sync::Arc;

use warp::path;

use crate::{app::App, http::resource::Route, sockjs};

/// The STOMP versions as WebSocket sub-protocols.
const PROTOCOLS: [&str; 3] = ["v12.stomp", "v11.stomp", "v10.stomp"];

/// The routes under `/ws`.
pub fn routes(app: &Arc<App>) -> Route {
    let options = sockjs::Options {
        sessions: app.config.max_connections,
        protocols: &PROTOCOLS,
        ..sockjs::Options::default()
    };
    let node = app.clone();
    let stomp = sockjs::handler(move |link| connection::run(node.clone(), link));
    sockjs::routes(path("ws"), options, &app.tasks, stomp)
}
