//! A warp filter for one path with a handler for each method.
//!
//! Only "not this path" is a rejection, everything else is a response: so the refusal of one route never falls through into
//! another, and 405 names the methods of its own path.

use std::{future::Future, sync::Arc};

use futures_util::{FutureExt, future::BoxFuture};
use http::Method;
use tokio::sync::oneshot;
use tracing::{Instrument, Span};
use warp::{Filter, Rejection, filters::BoxedFilter, path, reply::Response};

use crate::{
    http::{reply::problem, request::Request},
    problem::{Missing, Problem},
    tasks::Tasks,
};

/// The name of the tasks that do what requests ask for.
pub const REQUEST: &str = "request";
/// The boxed router. Boxing keeps its type, and so the time to compile it, small.
pub type Route = BoxedFilter<(Response,)>;
/// Answers one method of a path; `T` is the path's parameter.
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
    Arc::new(move |id, request| handler(id, request).boxed())
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

/// One path and its methods.
pub fn resource<T: Send + 'static>(
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
                        run_to_completion(&tasks, work).await
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
async fn run_to_completion(
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

/// The first of `routes` that matches answers.
pub fn any_of<const N: usize>(routes: [Route; N]) -> Route {
    let fold = |all: Route, next: Route| all.or(next).unify().boxed();
    routes.into_iter().reduce(fold).unwrap_or_else(|| {
        warp::any()
            .and_then(|| async { Err(warp::reject::not_found()) })
            .boxed()
    })
}

/// Answers a request that no route took.
///
/// # Errors
/// Never; warp asks for the type.
pub async fn recover(rejection: Rejection) -> Result<Response, Rejection> {
    if rejection.is_not_found() {
        return Ok(problem(&Problem::NotFound(Missing::Path)));
    }
    Ok(problem(&Problem::internal(format!(
        "an unexpected rejection: {rejection:?}"
    ))))
}
