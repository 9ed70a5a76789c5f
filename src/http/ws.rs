//! `/ws`: STOMP over SockJS and all its transports, and at `/ws/websocket` over plain WebSocket.

use std::sync::Arc;

use warp::path;

use super::Route;
use crate::{app::App, socket, sockjs};

/// The STOMP versions as WebSocket sub-protocols.
const PROTOCOLS: [&str; 3] = ["v12.stomp", "v11.stomp", "v10.stomp"];

pub(super) fn routes(app: &Arc<App>) -> Route {
    let parameters = sockjs::Parameters {
        sessions: app.config.max_connections,
        protocols: &PROTOCOLS,
        ..sockjs::Parameters::default()
    };
    let node = app.clone();
    let stomp = sockjs::handler(move |link| socket::run(node.clone(), link));
    sockjs::routes(path("ws"), parameters, &app.tasks, stomp)
}
