//! HTTP: the whole URL space on one page. warp is used here and in `server.rs` only.
//!
//! A path is a resource with a handler for each method; only "not this path" is a rejection, everything else is an answer.
//! So one route's refusal never falls through into another, and 405 can name the methods of its own path.

mod auth;
mod channels;
mod events;
mod files;
mod health;
mod messages;
mod multipart;
mod notifications;
mod read_statuses;
mod request;
mod users;
mod ws;

use std::{future::Future, sync::Arc};

use futures_util::{FutureExt, future::BoxFuture};
use http::{
    HeaderValue, Method, StatusCode,
    header::{ALLOW, CONTENT_RANGE, CONTENT_TYPE, RETRY_AFTER},
};
use serde::Serialize;
use serde_json::json;
use time::OffsetDateTime;
use tokio::sync::oneshot;
use tracing::{Instrument, Span, debug, error, warn};
use warp::{Filter, Rejection, filters::BoxedFilter, path, reply::Response};

pub use request::Request;

use crate::{
    app::App,
    ids::{ChannelId, FileId, MessageId, NotificationId, ReadStatusId, UserId},
    model::instant,
    problem::{Missing, Problem, chain},
    tasks::Tasks,
};

/// The name of the tasks that do what requests ask for.
pub const REQUEST: &str = "request";

/// The boxed router. Boxing keeps its type, and so the time to compile it, small.
pub type Route = BoxedFilter<(Response,)>;

type Handler<T> =
    Arc<dyn Fn(T, Request) -> BoxFuture<'static, Result<Response, Problem>> + Send + Sync>;

/// Everything this node serves.
#[expect(clippy::too_many_lines, reason = "the whole URL space on one page")]
pub fn routes(app: &Arc<App>) -> Route {
    use Method as M;
    let ws = ws::routes(app);
    let app = &request::filter(app);
    let api = path("api");

    let auth = any_of([
        at(app, path!("csrf-token"), &[(M::GET, on(auth::csrf_token))]),
        at(app, path!("login"), &[(M::POST, on(auth::login))]),
        at(app, path!("refresh"), &[(M::POST, on(auth::refresh))]),
        at(app, path!("me"), &[(M::GET, on(auth::me))]),
        at(app, path!("logout"), &[(M::POST, on(auth::logout))]),
        at(app, path!("role"), &[(M::PUT, on(auth::set_role))]),
    ]);
    let users = any_of([
        at(
            app,
            path::end(),
            &[(M::GET, on(users::list)), (M::POST, on(users::sign_up))],
        ),
        at_id::<UserId>(
            app,
            &[
                (M::PATCH, on_id(users::update)),
                (M::DELETE, on_id(users::delete)),
            ],
        ),
    ]);
    let channels = any_of([
        at(app, path::end(), &[(M::GET, on(channels::list))]),
        at(
            app,
            path!("public"),
            &[(M::POST, on(channels::create_public))],
        ),
        at(
            app,
            path!("private"),
            &[(M::POST, on(channels::create_private))],
        ),
        at_id::<ChannelId>(
            app,
            &[
                (M::PATCH, on_id(channels::update)),
                (M::DELETE, on_id(channels::delete)),
            ],
        ),
        resource(
            app,
            path!(ChannelId / "participants" / UserId)
                .map(|channel, user| (channel, user))
                .boxed(),
            &[(M::DELETE, on_id(channels::leave))],
        ),
    ]);
    let messages = any_of([
        at(
            app,
            path::end(),
            &[
                (M::GET, on(messages::page)),
                (M::POST, on(messages::create)),
            ],
        ),
        at_id::<MessageId>(
            app,
            &[
                (M::PATCH, on_id(messages::update)),
                (M::DELETE, on_id(messages::delete)),
            ],
        ),
    ]);
    let read_statuses = any_of([
        at(
            app,
            path::end(),
            &[
                (M::GET, on(read_statuses::list)),
                (M::POST, on(read_statuses::create)),
            ],
        ),
        at_id::<ReadStatusId>(app, &[(M::PATCH, on_id(read_statuses::update))]),
    ]);
    let files = any_of([
        at(app, path::end(), &[(M::GET, on(files::list))]),
        at_id::<FileId>(app, &[(M::GET, on_id(files::find))]),
        resource(
            app,
            path!(FileId / "download").boxed(),
            &[(M::GET, on_id(files::download))],
        ),
    ]);
    let notifications = any_of([
        at(app, path::end(), &[(M::GET, on(notifications::list))]),
        at_id::<NotificationId>(app, &[(M::DELETE, on_id(notifications::delete))]),
    ]);
    let health = any_of([
        at(app, path!("live"), &[(M::GET, on(health::live))]),
        at(app, path!("ready"), &[(M::GET, on(health::ready))]),
    ]);
    let api = api.and(any_of([
        path("auth").and(auth).boxed(),
        path("users").and(users).boxed(),
        path("channels").and(channels).boxed(),
        path("messages").and(messages).boxed(),
        path("binaryContents").and(files).boxed(),
        path("readStatuses").and(read_statuses).boxed(),
        path("notifications").and(notifications).boxed(),
        at(app, path!("sse"), &[(M::GET, on(events::open))]),
        path("health").and(health).boxed(),
    ]));
    any_of([api.boxed(), ws]).recover(recover).unify().boxed()
}

/// A handler of a path without parameters.
fn on<F, Fut>(handler: F) -> Handler<()>
where
    F: Fn(Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Response, Problem>> + Send + 'static,
{
    Arc::new(move |(), request| handler(request).boxed())
}

/// A handler of a path with a parameter.
fn on_id<T, F, Fut>(handler: F) -> Handler<T>
where
    F: Fn(T, Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Response, Problem>> + Send + 'static,
{
    Arc::new(move |id, request| handler(id, request).boxed())
}

fn at(
    app: &BoxedFilter<(Request,)>,
    path: impl Filter<Extract = (), Error = Rejection> + Clone + Send + Sync + 'static,
    methods: &[(Method, Handler<()>)],
) -> Route {
    resource(app, path.map(|| ()).boxed(), methods)
}

fn at_id<T>(app: &BoxedFilter<(Request,)>, methods: &[(Method, Handler<T>)]) -> Route
where
    T: std::str::FromStr + Send + 'static,
{
    resource(app, path!(T).boxed(), methods)
}

/// One path and its methods.
fn resource<T: Send + 'static>(
    app: &BoxedFilter<(Request,)>,
    path: BoxedFilter<(T,)>,
    methods: &[(Method, Handler<T>)],
) -> Route {
    let methods: Arc<[(Method, Handler<T>)]> = methods.into();
    let answer = move |parameter: T, method: Method, request: Request| {
        let methods = methods.clone();
        async move {
            let result =
                if let Some((_, handler)) = methods.iter().find(|(known, _)| *known == method) {
                    let tasks = request.app.tasks.clone();
                    let work = handler(parameter, request);
                    if method.is_safe() {
                        work.await
                    } else {
                        to_the_end(&tasks, work).await
                    }
                } else {
                    let allow: Vec<_> = methods.iter().map(|(known, _)| known.as_str()).collect();
                    Err(Problem::MethodNotAllowed {
                        allow: allow.join(", "),
                    })
                };
            result.unwrap_or_else(|failure| problem(&failure))
        }
    };
    path.and(warp::method())
        .and(app.clone())
        .then(answer)
        .boxed()
}

/// Does work that changes something even when its client has gone meanwhile: hyper drops the handler of a connection that
/// closes, and between two stores that would leave half of it, like a session that has ended and sockets that do not know.
async fn to_the_end(
    tasks: &Tasks,
    work: BoxFuture<'static, Result<Response, Problem>>,
) -> Result<Response, Problem> {
    let (sender, result) = oneshot::channel();
    let work = async move {
        // Nobody may be there to hear of it.
        drop(sender.send(work.await));
    };
    tasks.spawn(REQUEST, work.instrument(Span::current()));
    result
        .await
        .unwrap_or_else(|_| Err(Problem::internal("a handler panicked")))
}

fn any_of<const N: usize>(routes: [Route; N]) -> Route {
    let fold = |all: Route, next: Route| all.or(next).unify().boxed();
    routes.into_iter().reduce(fold).unwrap_or_else(|| {
        warp::any()
            .and_then(|| async { Err(warp::reject::not_found()) })
            .boxed()
    })
}

async fn recover(rejection: Rejection) -> Result<Response, Rejection> {
    if rejection.is_not_found() {
        return Ok(problem(&Problem::NotFound(Missing::Path)));
    }
    Ok(problem(&Problem::internal(format!(
        "an unexpected rejection: {rejection:?}"
    ))))
}

/// The API's error shape, and the log line of what is ours.
pub fn problem(problem: &Problem) -> Response {
    match problem {
        Problem::Internal(_) => error!(error = %chain(problem), "a request failed"),
        Problem::Unavailable(dependency, _) => {
            warn!(error = %chain(problem), ?dependency, "a request met an unavailable store");
        }
        _ => debug!(code = problem.code(), "a request was refused"),
    }
    let body = json!({
        "timestamp": instant::format(OffsetDateTime::now_utc()),
        "code": problem.code(),
        "message": problem.to_string(),
        "details": problem.details(),
        "exceptionType": problem.exception_type(),
        "status": problem.status(),
    });
    let mut response = bytes(
        StatusCode::from_u16(problem.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        body.to_string(),
    );
    if let Some(seconds) = problem.retry_after_seconds() {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    if let Problem::RangeNotSatisfiable { size } = problem
        && let Ok(range) = HeaderValue::from_str(&format!("bytes */{size}"))
    {
        response.headers_mut().insert(CONTENT_RANGE, range);
    }
    if let Problem::MethodNotAllowed { allow } = problem
        && let Ok(allow) = HeaderValue::from_str(allow)
    {
        response.headers_mut().insert(ALLOW, allow);
    }
    response
}

/// A JSON answer.
fn reply(status: StatusCode, body: &impl Serialize) -> Result<Response, Problem> {
    Ok(bytes(
        status,
        serde_json::to_vec(body).map_err(Problem::internal)?,
    ))
}

/// An answer whose JSON is there already.
fn bytes(status: StatusCode, body: impl Into<bytes::Bytes>) -> Response {
    let mut response = Response::new(body.into().into());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(
        http::header::CACHE_CONTROL,
        HeaderValue::from_static("no-store"),
    );
    response
}

/// An answer without a body.
fn no_content() -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}
