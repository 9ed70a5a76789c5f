//! `/api/health`: liveness and readiness of this node.

use std::time::Duration;

use http::StatusCode;
use redis::AsyncCommands;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::timeout;
use utoipa::ToSchema;
use warp::reply::Response;

use crate::{
    app::App,
    http::{reply::json, request::Request},
    problem::Problem,
    store::Db,
};

/// Timeout after which a store counts as down.
const STORE_TIMEOUT: Duration = Duration::from_secs(1);

/// How long the key of a node stays in Redis after the last check.
const HEALTH_KEY_TTL: Duration = Duration::from_mins(1);

/// Answers while the process runs.
#[utoipa::path(
    get,
    path = "/api/health/live",
    responses((status = 200, body = inline(Status))),
    security(()),
)]
pub(super) async fn live(_: Request) -> Result<Response, Problem> {
    let status = Status {
        status: "UP",
        details: None,
    };
    json(StatusCode::OK, &status)
}

/// The answer of a node that is well.
#[derive(Serialize, ToSchema)]
pub(super) struct Status {
    status: &'static str,
    /// The state of each part; only with `ready`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    details: Option<Value>,
}

/// Whether a node can serve, and the state of each part.
pub(super) struct State {
    pub(super) is_ready: bool,
    parts: Value,
}

/// The state of this node now.
pub(super) async fn state(app: &App) -> State {
    let (postgres, redis) = tokio::join!(postgres_state(&app.db), redis_state(app));
    let (kafka, assigned, late) = (
        app.kafka.is_up(),
        app.kafka.is_assigned(),
        app.kafka.is_late(),
    );
    let (prepared, draining) = (app.is_prepared(), app.is_draining());
    let is_ready =
        postgres == "UP" && redis == "UP" && kafka && assigned && !late && prepared && !draining;
    let fan_out = match (assigned, late) {
        (false, _) => "WAITING",
        (true, true) => "LATE",
        (true, false) => "ASSIGNED",
    };
    let parts = json!({
        "node": app.config.node_name,
        "postgres": postgres,
        "redis": redis,
        "kafka": if kafka { "UP" } else { "DOWN" },
        "fanOut": fan_out,
        "schema": if prepared { "PREPARED" } else { "WAITING" },
        "draining": draining,
    });
    State { is_ready, parts }
}

/// Answers 200 if this node can serve, else 503. `details` has the state of each part.
#[utoipa::path(
    get,
    path = "/api/health/ready",
    responses((status = 200, body = inline(Status))),
    security(()),
)]
pub(super) async fn ready(request: Request) -> Result<Response, Problem> {
    let State { is_ready, parts } = state(&request.app).await;
    if is_ready {
        let status = Status {
            status: "UP",
            details: Some(parts),
        };
        json(StatusCode::OK, &status)
    } else {
        Err(Problem::NotReady(parts))
    }
}

/// `UP`, `READ_ONLY` or `DOWN`.
async fn postgres_state(db: &Db) -> &'static str {
    match timeout(STORE_TIMEOUT, db.is_writable()).await {
        Ok(Ok(true)) => "UP",
        Ok(Ok(false)) => "READ_ONLY",
        Ok(Err(_)) | Err(_) => "DOWN",
    }
}

/// `UP`, `READ_ONLY` or `DOWN`. Writes the key `health:NODE`, because a Redis that answers may accept no writes.
async fn redis_state(app: &App) -> &'static str {
    let key = format!("health:{}", app.config.node_name);
    let mut redis = app.redis.clone();
    let write = redis.set_ex::<_, _, ()>(key, "UP", HEALTH_KEY_TTL.as_secs());
    match timeout(STORE_TIMEOUT, write).await {
        Ok(Ok(())) => "UP",
        Ok(Err(error)) if matches!(error.code(), Some("READONLY" | "MISCONF" | "OOM")) => {
            "READ_ONLY"
        }
        Ok(Err(_)) | Err(_) => "DOWN",
    }
}
