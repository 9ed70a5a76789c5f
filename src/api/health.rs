//! `/api/health`: liveness and readiness of this node.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use warp::reply::Response;

use crate::{
    http::{reply::json, request::Request},
    problem::Problem,
};

/// Timeout after which a store counts as down.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// `GET /api/health/live`: 200 while the process runs.
pub(super) async fn live(_: Request) -> Result<Response, Problem> {
    json(StatusCode::OK, &json!({ "status": "UP" }))
}

/// `GET /api/health/ready`: 200 if this node can serve, else 503. `details` has the state of each part.
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
        tokio::time::timeout(PING_TIMEOUT, postgres),
        tokio::time::timeout(PING_TIMEOUT, redis)
    );
    let (postgres, redis) = (postgres == Ok(true), redis == Ok(true));
    let (kafka, assigned) = (app.kafka.is_up(), app.kafka.is_assigned());
    let (prepared, draining) = (app.is_prepared(), app.is_draining());
    let ready = postgres && redis && kafka && assigned && prepared && !draining;
    let word = |up: bool| if up { "UP" } else { "DOWN" };
    let states = json!({
        "node": app.config.node_name,
        "postgres": word(postgres),
        "redis": word(redis),
        "kafka": word(kafka),
        "fanOut": if assigned { "ASSIGNED" } else { "WAITING" },
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
