//! The routes of a node.
//!
//! Each path is a resource with a handler for each method; see [`crate::http::resource`].

mod auth;
mod channels;
mod cursor;
mod files;
mod health;
mod list;
mod messages;
pub mod metrics;
mod notifications;
mod openapi;
mod read_statuses;
mod sessions;
mod sse;
mod users;

use std::sync::Arc;

use http::{HeaderValue, Method, header::STRICT_TRANSPORT_SECURITY};
use warp::{Filter, path, reply::Response};

use crate::{
    app::App,
    http::{
        request,
        resource::{Route, any_of, handler, handler_with, recover, resource, route, route_by_id},
    },
    ids::{ChannelId, FileId, MessageId, NotificationId, ReadStatusId, SessionId, UserId},
    ws,
};

/// Makes browsers use TLS for this host for a year (RFC 6797).
const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// The paths of the API, for the timings of requests. `{id}` stands for any id or emoji. The first that matches counts.
const PATHS: [&str; 34] = [
    "/api/asyncapi.json",
    "/api/auth/csrf-token",
    "/api/auth/login",
    "/api/auth/logout",
    "/api/auth/me",
    "/api/auth/refresh",
    "/api/auth/role",
    "/api/auth/sessions",
    "/api/auth/sessions/{id}",
    "/api/binaryContents",
    "/api/binaryContents/{id}",
    "/api/binaryContents/{id}/download",
    "/api/binaryContents/{id}/thumbnail",
    "/api/channels",
    "/api/channels/private",
    "/api/channels/public",
    "/api/channels/{id}",
    "/api/channels/{id}/participants/{id}",
    "/api/health/live",
    "/api/health/ready",
    "/api/messages",
    "/api/messages/search",
    "/api/messages/{id}",
    "/api/messages/{id}/reactions/{id}",
    "/api/notifications",
    "/api/notifications/{id}",
    "/api/openapi.json",
    "/api/readStatuses",
    "/api/readStatuses/{id}",
    "/api/sse",
    "/api/users",
    "/api/users/{id}",
    "/api/users/{id}/profile",
    "/ws",
];

/// The path of the API that a request is for: one of [`PATHS`], or `other`.
pub fn route_of(path: &str) -> &'static str {
    if path.starts_with("/ws/") {
        return "/ws";
    }
    let matches = |known: &&&str| {
        let (mut sent, mut known) = (path.split('/'), known.split('/'));
        loop {
            match (sent.next(), known.next()) {
                (None, None) => return true,
                (Some(_), Some("{id}")) => {}
                (Some(sent), Some(known)) if sent == known => {}
                _ => return false,
            }
        }
    };
    PATHS.iter().find(matches).copied().unwrap_or("other")
}

/// The routes of a node: the API and `/ws`.
#[expect(clippy::too_many_lines, reason = "all routes in one place")]
pub fn routes(app: &Arc<App>) -> Route {
    use Method as M;
    let ws = ws::routes(app);
    let is_secure = app.config.cookie_secure;
    let app = &request::filter(app);
    let api = path("api");

    let auth = any_of([
        route(
            app,
            path!("csrf-token"),
            &[(M::GET, handler(auth::csrf_token))],
        ),
        route(app, path!("login"), &[(M::POST, handler(auth::login))]),
        route(app, path!("refresh"), &[(M::POST, handler(auth::refresh))]),
        route(app, path!("me"), &[(M::GET, handler(auth::me))]),
        route(app, path!("logout"), &[(M::POST, handler(auth::logout))]),
        route(app, path!("role"), &[(M::PUT, handler(auth::set_role))]),
        route(
            app,
            path!("sessions"),
            &[
                (M::GET, handler(sessions::list)),
                (M::DELETE, handler(sessions::end_others)),
            ],
        ),
        resource(
            app,
            path!("sessions" / SessionId).boxed(),
            &[(M::DELETE, handler_with(sessions::end))],
        ),
    ]);
    let users = any_of([
        route(
            app,
            path::end(),
            &[
                (M::GET, handler(users::list)),
                (M::POST, handler(users::sign_up)),
            ],
        ),
        resource(
            app,
            path!(UserId / "profile").boxed(),
            &[(M::DELETE, handler_with(users::remove_picture))],
        ),
        route_by_id::<UserId>(
            app,
            &[
                (M::GET, handler_with(users::find)),
                (M::PATCH, handler_with(users::update)),
                (M::DELETE, handler_with(users::delete)),
            ],
        ),
    ]);
    let channels = any_of([
        route(app, path::end(), &[(M::GET, handler(channels::list))]),
        route(
            app,
            path!("public"),
            &[(M::POST, handler(channels::create_public))],
        ),
        route(
            app,
            path!("private"),
            &[(M::POST, handler(channels::create_private))],
        ),
        route_by_id::<ChannelId>(
            app,
            &[
                (M::PATCH, handler_with(channels::update)),
                (M::DELETE, handler_with(channels::delete)),
            ],
        ),
        resource(
            app,
            path!(ChannelId / "participants" / UserId)
                .map(|channel, user| (channel, user))
                .boxed(),
            &[
                (M::PUT, handler_with(channels::add)),
                (M::DELETE, handler_with(channels::leave)),
            ],
        ),
    ]);
    let messages = any_of([
        route(
            app,
            path::end(),
            &[
                (M::GET, handler(messages::page)),
                (M::POST, handler(messages::create)),
            ],
        ),
        route(app, path!("search"), &[(M::GET, handler(messages::search))]),
        route_by_id::<MessageId>(
            app,
            &[
                (M::PATCH, handler_with(messages::update)),
                (M::DELETE, handler_with(messages::delete)),
            ],
        ),
        resource(
            app,
            path!(MessageId / "reactions" / String)
                .map(|message, emoji| (message, emoji))
                .boxed(),
            &[
                (M::PUT, handler_with(messages::add_reaction)),
                (M::DELETE, handler_with(messages::remove_reaction)),
            ],
        ),
    ]);
    let read_statuses = any_of([
        route(
            app,
            path::end(),
            &[
                (M::GET, handler(read_statuses::list)),
                (M::POST, handler(read_statuses::create)),
            ],
        ),
        route_by_id::<ReadStatusId>(app, &[(M::PATCH, handler_with(read_statuses::update))]),
    ]);
    let files = any_of([
        route(app, path::end(), &[(M::GET, handler(files::list))]),
        route_by_id::<FileId>(app, &[(M::GET, handler_with(files::find))]),
        resource(
            app,
            path!(FileId / "download").boxed(),
            &[(M::GET, handler_with(files::download))],
        ),
        resource(
            app,
            path!(FileId / "thumbnail").boxed(),
            &[(M::GET, handler_with(files::thumbnail))],
        ),
    ]);
    let notifications = any_of([
        route(app, path::end(), &[(M::GET, handler(notifications::list))]),
        route_by_id::<NotificationId>(app, &[(M::DELETE, handler_with(notifications::delete))]),
    ]);
    let health = any_of([
        route(app, path!("live"), &[(M::GET, handler(health::live))]),
        route(app, path!("ready"), &[(M::GET, handler(health::ready))]),
    ]);
    let api = api.and(any_of([
        path("auth").and(auth).boxed(),
        path("users").and(users).boxed(),
        path("channels").and(channels).boxed(),
        path("messages").and(messages).boxed(),
        path("binaryContents").and(files).boxed(),
        path("readStatuses").and(read_statuses).boxed(),
        path("notifications").and(notifications).boxed(),
        route(app, path!("sse"), &[(M::GET, handler(sse::open))]),
        route(
            app,
            path!("openapi.json"),
            &[(M::GET, handler(openapi::openapi))],
        ),
        route(
            app,
            path!("asyncapi.json"),
            &[(M::GET, handler(openapi::asyncapi))],
        ),
        path("health").and(health).boxed(),
    ]));
    let routes = any_of([api.boxed(), ws]).recover(recover).unify();
    if !is_secure {
        return routes.boxed();
    }
    let with_hsts = |mut response: Response| {
        response
            .headers_mut()
            .insert(STRICT_TRANSPORT_SECURITY, HSTS);
        response
    };
    routes.map(with_hsts).boxed()
}

#[cfg(test)]
mod tests {
    use super::route_of;

    #[test]
    fn a_path_that_a_client_makes_up_is_no_label() {
        let id = "01234567-89ab-7def-8123-456789abcdef";
        for (path, route) in [
            ("/api/users".to_owned(), "/api/users"),
            (format!("/api/users/{id}"), "/api/users/{id}"),
            (
                format!("/api/channels/{id}/participants/{id}"),
                "/api/channels/{id}/participants/{id}",
            ),
            ("/api/channels/public".to_owned(), "/api/channels/public"),
            ("/api/messages/search".to_owned(), "/api/messages/search"),
            (
                format!("/api/messages/{id}/reactions/%F0%9F%8E%89"),
                "/api/messages/{id}/reactions/{id}",
            ),
            (
                format!("/api/binaryContents/{id}/thumbnail"),
                "/api/binaryContents/{id}/thumbnail",
            ),
            ("/ws/000/abcdefgh/xhr".to_owned(), "/ws"),
            ("/api/users/1/2/3".to_owned(), "other"),
            ("/".to_owned(), "other"),
        ] {
            assert_eq!(route_of(&path), route, "{path}");
        }
    }
}
