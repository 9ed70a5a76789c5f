//! `/api/health`

use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use warp::reply::Response;

use crate::{
    http::{reply::json, request::Request},
    problem::Problem,
};

/// A store that does not answer within this time counts as away.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// `GET /api/health/live`: the process is up.
pub(super) async fn live(_: Request) -> Result<Response, Problem> {
    json(StatusCode::OK, &json!({ "status": "UP" }))
}

/// `GET /api/health/ready`: this node can serve; 503 when not. `details` names each part's state.
pub(super) async fn ready(request: Request) -> Result<Response, Problem> {
    let app = &request.app;
    let postgres = async { sqlx::query("select 1").execute(&app.db).await.is_ok() };
    let redis = async {
        redis::cmd("PING")
            .query_async::<String>(&mut app.redis.clone())
            .await
            .is_ok()
    };
    let (postgres, redis) = tokio::join!(
        tokio::time::timeout(ANSWER_TIMEOUT, postgres),
        tokio::time::timeout(ANSWER_TIMEOUT, redis)
    );
    let (postgres, redis) = (postgres == Ok(true), redis == Ok(true));
    let (kafka, following) = (app.kafka.is_up(), app.kafka.is_assigned());
    let (prepared, draining) = (app.is_prepared(), app.is_leaving());
    let ready = postgres && redis && kafka && following && prepared && !draining;
    let word = |up: bool| if up { "UP" } else { "DOWN" };
    let states = json!({
        "node": app.config.node_name,
        "postgres": word(postgres),
        "redis": word(redis),
        "kafka": word(kafka),
        "fanOut": if following { "ASSIGNED" } else { "WAITING" },
        "schema": if prepared { "PREPARED" } else { "WAITING" },
        "draining": draining,
    });
    if ready {
        json(
            StatusCode::OK,
            &json!({ "status": "UP", "details": states }),
        )
    } else {
        Err(Problem::NotReady(states))
    }
}
