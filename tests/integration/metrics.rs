//! Metrics: a server of its own, what it counts, and the names that dashboards and alerts use.

use std::collections::BTreeSet;

use crate::support::{Cluster, Stomp, Visitor, eventually};

/// The metrics of a node.
async fn scrape(cluster: &Cluster, node: usize) -> String {
    let address = cluster.node(node).metrics_address();
    let visitor = Visitor::new(&address.expect("METRICS_LISTEN is set").to_string());
    let answer = visitor.get("/metrics").await;
    assert_eq!(answer.status, 200);
    answer.body.as_str().expect("text").to_owned()
}

/// The value of a series, `0` if it is missing.
fn value(metrics: &str, series: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(series));
    line.map_or(0.0, |rest| rest.trim().parse().expect("a number"))
}

const LISTEN: (&str, &str) = ("METRICS_LISTEN", "127.0.0.1:0");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_counts_connections_deliveries_requests_and_store_operations() {
    let cluster = Cluster::start_with(1, &[LISTEN]).await;
    let channel = cluster.channel().await;
    let ann = cluster.user(0, "ann").await;
    let mut stomp = Stomp::connect(&ann).await;
    stomp.subscribe(&channel).await;
    ann.write(&channel, "hello").await;
    stomp.message().await;
    let metrics = scrape(&cluster, 0).await;
    for (series, expected) in [
        ("discodeit_ready", 1.0),
        ("discodeit_kafka_assigned", 1.0),
        ("discodeit_subscriptions", 1.0),
        ("discodeit_connections{transport=\"websocket\"}", 1.0),
        ("discodeit_deliveries_total{protocol=\"stomp\"}", 1.0),
        (
            "discodeit_http_request_seconds_count{method=\"POST\",route=\"/api/messages\",status=\"201\"}",
            1.0,
        ),
    ] {
        assert!(
            (value(&metrics, series) - expected).abs() < f64::EPSILON,
            "{series} is {} in\n{metrics}",
            value(&metrics, series)
        );
    }
    for series in [
        "discodeit_event_delay_seconds_count",
        "discodeit_postgres_statement_seconds_count{operation=\"commit\"}",
        "discodeit_redis_command_seconds_count{operation=\"EVALSHA\"}",
    ] {
        assert!(value(&metrics, series) > 0.0, "{series} in\n{metrics}");
    }
    drop(stomp);
    eventually("the connection is no longer counted", async || {
        let metrics = scrape(&cluster, 0).await;
        value(&metrics, "discodeit_connections{transport=\"websocket\"}") < 0.5
            && value(&metrics, "discodeit_subscriptions") < 0.5
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paths_and_methods_that_a_client_makes_up_are_no_labels() {
    let cluster = Cluster::start_with(1, &[LISTEN]).await;
    let visitor = cluster.visitor(0);
    for number in 0..20 {
        visitor.get(&format!("/api/secret-{number}/x")).await;
    }
    let metrics = scrape(&cluster, 0).await;
    assert!(!metrics.contains("secret"), "{metrics}");
    let other =
        "discodeit_http_request_seconds_count{method=\"GET\",route=\"other\",status=\"404\"}";
    assert!((value(&metrics, other) - 20.0).abs() < f64::EPSILON);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_public_server_has_no_metrics() {
    let cluster = Cluster::shared(1).await;
    assert_eq!(cluster.visitor(0).get("/metrics").await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alerts_dashboard_and_document_name_metrics_that_exist() {
    let cluster = Cluster::start_with(1, &[LISTEN]).await;
    let metrics = scrape(&cluster, 0).await;
    let mut known = BTreeSet::new();
    for line in metrics.lines() {
        let Some(rest) = line.strip_prefix("# TYPE ") else {
            continue;
        };
        let (name, kind) = rest.split_once(' ').expect("a name and a type");
        match kind {
            "counter" => known.extend([format!("{name}_total")]),
            "histogram" => {
                known.extend(["", "_bucket", "_count", "_sum"].map(|part| format!("{name}{part}")));
            }
            _ => known.extend([name.to_owned()]),
        }
    }
    for (file, text) in [
        ("alerts", include_str!("../../deploy/monitoring/alerts.yml")),
        (
            "dashboard",
            include_str!("../../deploy/monitoring/grafana.json"),
        ),
        ("document", include_str!("../../docs/operations.md")),
    ] {
        let named = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let named: BTreeSet<_> = named
            .filter(|name| name.starts_with("discodeit_"))
            .collect();
        assert!(named.len() > 8, "{file}: {named:?}");
        for name in named {
            assert!(known.contains(name), "{file}: {name} is not in {known:?}");
        }
    }
}
