//! A warp filter for one path with a handler for each method.
//!
//! Only an unknown path is a rejection; everything else is a response. An error of one route therefore never falls through
//! to another route, and a 405 names the methods of its own path.

use std::{future::Future, sync::Arc, time::Duration};

use futures_util::{FutureExt, future::BoxFuture};
use http::{Method, Uri};
use tokio::{sync::oneshot, time::timeout};
use tracing::{Instrument, Span};
use warp::{Filter, Rejection, filters::BoxedFilter, path, reply::Response};

use crate::{
    http::{reply::problem, request::Request},
    problem::{Dependency, Problem, Resource},
    tasks::{Group, Tasks},
    traces,
};

/// How long a client waits for the response to a request without a body, which a store that stalls could delay for as long as it
/// stalls. The handler runs on, because it may own a database connection.
const SAFE_TIMEOUT: Duration = Duration::from_secs(5);

/// A boxed router. Boxing keeps the type small, so that it compiles faster.
pub type Route = BoxedFilter<(Response,)>;

/// Handles one method of a path; `T` is the path's parameter.
pub type Handler<T> =
    Arc<dyn Fn(T, Request) -> BoxFuture<'static, Result<Response, Problem>> + Send + Sync>;

/// A handler of a path without parameters.
pub fn handler<F, Fut>(handler: F) -> Handler<()>
where
    F: Fn(Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Response, Problem>> + Send + 'static,
{
    Arc::new(move |(), request| handler(request).boxed())
}

/// A handler of a path with a parameter.
pub fn handler_with<T, F, Fut>(handler: F) -> Handler<T>
where
    F: Fn(T, Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Response, Problem>> + Send + 'static,
{
    Arc::new(move |parameter, request| handler(parameter, request).boxed())
}

/// A path without parameters and its methods.
pub fn route(
    app: &BoxedFilter<(Request,)>,
    path: impl Filter<Extract = (), Error = Rejection> + Clone + Send + Sync + 'static,
    methods: &[(Method, Handler<()>)],
) -> Route {
    resource(app, path.map(|| ()).boxed(), methods)
}

/// A path that ends with a parameter, and its methods.
pub fn route_by_id<T>(app: &BoxedFilter<(Request,)>, methods: &[(Method, Handler<T>)]) -> Route
where
    T: std::str::FromStr + Send + 'static,
{
    resource(app, path!(T).boxed(), methods)
}

/// A path and its methods. GET answers HEAD too.
pub fn resource<T: Send + 'static>(
    app: &BoxedFilter<(Request,)>,
    path: BoxedFilter<(T,)>,
    methods: &[(Method, Handler<T>)],
) -> Route {
    let methods: Arc<[(Method, Handler<T>)]> = methods.into();
    let respond = move |parameter: T, request: Request| {
        let methods = methods.clone();
        async move {
            // RFC 9110 §9.3.2: HEAD is GET without a body. hyper leaves the body out and keeps its length.
            let served_method = match &request.method {
                &Method::HEAD => &Method::GET,
                method => method,
            };
            let found = methods.iter().find(|(method, _)| method == served_method);
            let result = if let Some((_, handler)) = found {
                let tasks = request.app.tasks.clone();
                let is_safe = request.method.is_safe();
                let work = run_to_completion(&tasks, handler(parameter, request));
                if is_safe {
                    let late = |_| Err(Problem::Unavailable(Dependency::Node, None));
                    timeout(SAFE_TIMEOUT, work).await.unwrap_or_else(late)
                } else {
                    // Reads the body, so its time is bounded where it reads and where it waits for a store.
                    work.await
                }
            } else {
                let methods = methods.iter().map(|(method, _)| method);
                Err(Problem::MethodNotAllowed {
                    allow: allow(methods),
                })
            };
            result.unwrap_or_else(|error| problem(&error))
        }
    };
    path.and(app.clone()).then(respond).boxed()
}

/// The value of `Allow` for a path with these methods.
fn allow<'a>(methods: impl Iterator<Item = &'a Method>) -> String {
    let names: Vec<_> = methods
        .map(|method| match method {
            &Method::GET => "GET, HEAD",
            method => method.as_str(),
        })
        .collect();
    names.join(", ")
}

/// Runs a handler to completion, even if the caller is dropped: hyper drops it when the client disconnects.
///
/// Dropped between two stores, a handler would leave a change half done: for example, a session that has ended in Redis while its
/// sockets stay open. Dropped during a statement, it would return a connection to the pool with the answer still to come.
async fn run_to_completion(
    tasks: &Tasks,
    work: BoxFuture<'static, Result<Response, Problem>>,
) -> Result<Response, Problem> {
    let (sender, result) = oneshot::channel();
    let work = async move {
        // The receiver is gone if the client disconnected.
        drop(sender.send(work.await));
    };
    let work = traces::within(traces::current(), work);
    tasks.spawn_in(Group::Requests, work.instrument(Span::current()));
    result
        .await
        .unwrap_or_else(|_| Err(Problem::internal("a handler panicked")))
}

/// The first of `routes` whose path matches.
pub fn any_of<const N: usize>(routes: [Route; N]) -> Route {
    let fold = |all: Route, next: Route| all.or(next).unify().boxed();
    routes.into_iter().reduce(fold).unwrap_or_else(|| {
        warp::any()
            .and_then(|| async { Err(warp::reject::not_found()) })
            .boxed()
    })
}

/// The URI with a path in which no unreserved character is percent-encoded (RFC 3986 §6.2.2.2), if it differs.
///
/// The router compares the segments of a path as text.
pub(super) fn without_needless_escapes(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    if !path.contains('%') {
        return None;
    }
    let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let mut pieces = path.split('%');
    let mut decoded = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let escape = piece.split_at_checked(2);
        let byte = escape.and_then(|(digits, rest)| {
            let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            let byte = u8::from_str_radix(digits, 16).ok()?;
            (is_hex && is_unreserved(byte)).then_some((byte, rest))
        });
        if let Some((byte, rest)) = byte {
            decoded.push(char::from(byte));
            decoded.push_str(rest);
        } else {
            decoded.push('%');
            decoded.push_str(piece);
        }
    }
    if decoded == path {
        return None;
    }
    if let Some(query) = uri.query() {
        decoded.push('?');
        decoded.push_str(query);
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(decoded.parse().ok()?);
    Uri::from_parts(parts).ok()
}

/// Responds to a request whose path no route matches.
///
/// # Errors
/// Never; warp asks for the type.
pub async fn recover(rejection: Rejection) -> Result<Response, Rejection> {
    if rejection.is_not_found() {
        return Ok(problem(&Problem::NotFound(Resource::Path)));
    }
    Ok(problem(&Problem::internal(format!(
        "an unexpected rejection: {rejection:?}"
    ))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_of_unreserved_characters_are_decoded_once() {
        for (sent, expected) in [
            ("/api/%75sers", Some("/api/users")),
            ("/%61%70%69/users?a=%61", Some("/api/users?a=%61")),
            ("/a%2D%2e%5F%7e", Some("/a-._~")),
            ("/a%2575", None),
            ("/a%2f%20%ED%95%9C", None),
            ("/%zz/%7", None),
            ("/%+5", None),
            ("/a%%75", Some("/a%u")),
            ("/users?a=%75", None),
            ("http://x/%75?b", Some("http://x/u?b")),
        ] {
            let uri = sent.parse().expect("a URI");
            let decoded = without_needless_escapes(&uri).map(|uri| uri.to_string());
            assert_eq!(decoded.as_deref(), expected, "{sent}");
        }
    }

    #[test]
    fn allow_names_head_beside_get() {
        for (methods, expected) in [
            (&[Method::GET][..], "GET, HEAD"),
            (&[Method::GET, Method::POST], "GET, HEAD, POST"),
            (&[Method::PATCH, Method::DELETE], "PATCH, DELETE"),
        ] {
            assert_eq!(allow(methods.iter()), expected);
        }
    }
}
