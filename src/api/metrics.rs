//! `GET /metrics` at `METRICS_LISTEN`: what the node counts, for Prometheus.

use std::{sync::Arc, time::Duration};

use http::{HeaderValue, Method, header::CONTENT_TYPE};
use tokio::time::timeout;
use tracing::debug;
use warp::{path, reply::Response};

use crate::{
    api::health,
    app::App,
    http::{
        request::{self, Request},
        resource::{Route, handler, route},
    },
    metrics::{Metrics, OfProtocol, Outcome, Protocol},
    problem::{Problem, chain},
    store::outbox,
};

/// The text format of `OpenMetrics` 1.0, which Prometheus reads.
const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
/// Timeout of the values that PostgreSQL has.
const STORE_TIMEOUT: Duration = Duration::from_secs(1);

/// The route of the server of the metrics.
pub fn routes(app: &Arc<App>) -> Route {
    route(
        &request::filter(app),
        path!("metrics"),
        &[(Method::GET, handler(respond))],
    )
}

async fn respond(request: Request) -> Result<Response, Problem> {
    let app = &request.app;
    update(app, &app.metrics).await;
    let mut response = Response::new(app.metrics.encode().into());
    response.headers_mut().insert(CONTENT_TYPE, OPEN_METRICS);
    Ok(response)
}

/// Sets the gauges. A gauge of PostgreSQL keeps its value while PostgreSQL does not answer.
async fn update(app: &App, metrics: &Metrics) {
    let gauge = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
    let (hub, sse, kafka) = (&app.delivery.hub, &app.delivery.sse, &app.kafka);
    metrics.subscriptions.set(gauge(hub.subscriptions()));
    for (protocol, bytes) in [
        (Protocol::Stomp, hub.queued_bytes()),
        (Protocol::Sse, sse.queued_bytes()),
    ] {
        let queued = metrics.queued_bytes.get_or_create(&OfProtocol { protocol });
        queued.set(gauge(bytes));
    }
    let (used, idle) = app.db.connections();
    for (outcome, connections) in [("used", used), ("idle", idle)] {
        let of_pool = metrics
            .postgres_connections
            .get_or_create(&Outcome { outcome });
        of_pool.set(gauge(connections));
    }
    metrics.waiting_hashes.set(gauge(app.passwords.waiting()));
    metrics.kafka_up.set(kafka.is_up().into());
    metrics.kafka_assigned.set(kafka.is_assigned().into());
    metrics
        .kafka_canary_age_seconds
        .set(kafka.canary_age().as_secs_f64());
    let (ready, outbox) = tokio::join!(
        health::state(app),
        timeout(STORE_TIMEOUT, outbox::unsent(&app.db))
    );
    metrics.ready.set(ready.is_ready.into());
    match outbox {
        Ok(Ok((rows, age_seconds))) => {
            metrics.outbox_rows.set(rows);
            metrics.outbox_age_seconds.set(age_seconds);
        }
        Ok(Err(error)) => debug!(error = %chain(&error), "reading the outbox failed"),
        Err(_) => debug!("PostgreSQL does not answer"),
    }
}
