//! What a node counts and times, in the terms of [Prometheus](https://prometheus.io/docs/practices/naming/).
//!
//! The parts of a node share one [`Metrics`]. A node has no global state, so that tests can run
//! several nodes in one process. Labels have few values that no client chooses.

use std::fmt;

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

/// Seconds of work inside a node or on its network.
const FAST_BUCKETS: [f64; 12] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];
/// Seconds of requests and deliveries.
const BUCKETS: [f64; 11] = [
    0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];

/// A family of histograms.
pub type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// How clients get events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// STOMP, over WebSocket or SockJS.
    Stomp,
    /// Server-sent events.
    Sse,
}

impl EncodeLabelValue for Protocol {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        match self {
            Self::Stomp => "stomp",
            Self::Sse => "sse",
        }
        .encode(encoder)
    }
}

/// The label of a value for each protocol.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OfProtocol {
    /// `stomp` or `sse`.
    pub protocol: Protocol,
}

/// The labels of closed connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Close {
    /// `stomp` or `sse`.
    pub protocol: Protocol,
    /// A code of an ERROR frame, or why the connection ended.
    pub reason: &'static str,
}

/// The labels of clients that came back with a position.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Resume {
    /// `stomp` or `sse`.
    pub protocol: Protocol,
    /// `replayed`, or why the client must fetch again.
    pub outcome: &'static str,
}

/// The labels of open connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Transport {
    /// `websocket`, `sockjs_websocket`, `sockjs_http` or `sse`.
    pub transport: &'static str,
}

/// The label of an operation of a store.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Operation {
    /// `begin`, `query` or `commit`; the name of a command, or `pipeline`.
    pub operation: &'static str,
}

/// The labels of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HttpRequest {
    /// The method, or `OTHER`.
    pub method: &'static str,
    /// The path with `{id}` for ids, or `other`.
    pub route: &'static str,
    /// The status.
    pub status: u16,
}

/// The label of an outcome.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Outcome {
    /// What came of it.
    pub outcome: &'static str,
}

/// What a node counts.
pub struct Metrics {
    registry: Registry,
    /// Open connections of clients.
    pub connections: Family<Transport, Gauge>,
    /// Subscriptions of STOMP connections to channels.
    pub subscriptions: Gauge,
    /// Bytes in the send queues of all connections.
    pub queued_bytes: Family<OfProtocol, Gauge>,
    /// Events that were queued for a connection.
    pub deliveries: Family<OfProtocol, Counter>,
    /// Time from the change that caused an event until this node read the event from Kafka.
    pub event_delay_seconds: Histogram,
    /// Connections that ended.
    pub closes: Family<Close, Counter>,
    /// Clients that came back with a position.
    pub resumes: Family<Resume, Counter>,
    /// Reads of events that Kafka did not carry in time.
    pub repairs: Family<Outcome, Counter>,
    /// Missing events that an audit found.
    pub audit_findings: Counter,
    /// SENDs that waited for the message rate of their user.
    pub delayed_sends: Counter,
    /// Statements of PostgreSQL, with the wait for their answer.
    pub postgres_seconds: Histograms<Operation>,
    /// Waits for a connection of the pool.
    pub postgres_wait_seconds: Histogram,
    /// Connections of the pool: `used` or `idle`.
    pub postgres_connections: Family<Outcome, Gauge>,
    /// Commands of Redis, with the wait for their answer.
    pub redis_seconds: Histograms<Operation>,
    /// Requests, with the time until the response began.
    pub http_seconds: Histograms<HttpRequest>,
    /// Requests that wait for the hash of a password.
    pub waiting_hashes: Gauge,
    /// Events in the outbox that Kafka has not acknowledged.
    pub outbox_rows: Gauge,
    /// Age of the oldest of them in seconds.
    pub outbox_age_seconds: Gauge<f64, std::sync::atomic::AtomicU64>,
    /// Whether Kafka answers.
    pub kafka_up: Gauge,
    /// Whether this node has an offset in each partition.
    pub kafka_assigned: Gauge,
    /// Time since this node sent itself the oldest event that has not come back, in seconds.
    pub kafka_canary_age_seconds: Gauge<f64, std::sync::atomic::AtomicU64>,
    /// Records that this version cannot read.
    pub kafka_undecodable: Counter,
    /// Jobs that could not be done and went to the dead-letter topic.
    pub kafka_dead_letters: Counter,
    /// Uploaded files by what came of them.
    pub files: Family<Outcome, Counter>,
    /// Whether the node is ready.
    pub ready: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn histograms<L: Clone + std::hash::Hash + Eq>(constructor: fn() -> Histogram) -> Histograms<L> {
    Family::new_with_constructor(constructor)
}

impl Metrics {
    /// Nothing counted yet.
    pub fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            connections: Family::default(),
            subscriptions: Gauge::default(),
            queued_bytes: Family::default(),
            deliveries: Family::default(),
            event_delay_seconds: Histogram::new(BUCKETS),
            closes: Family::default(),
            resumes: Family::default(),
            repairs: Family::default(),
            audit_findings: Counter::default(),
            delayed_sends: Counter::default(),
            postgres_seconds: histograms(|| Histogram::new(FAST_BUCKETS)),
            postgres_wait_seconds: Histogram::new(FAST_BUCKETS),
            postgres_connections: Family::default(),
            redis_seconds: histograms(|| Histogram::new(FAST_BUCKETS)),
            http_seconds: histograms(|| Histogram::new(BUCKETS)),
            waiting_hashes: Gauge::default(),
            outbox_rows: Gauge::default(),
            outbox_age_seconds: Gauge::default(),
            kafka_up: Gauge::default(),
            kafka_assigned: Gauge::default(),
            kafka_canary_age_seconds: Gauge::default(),
            kafka_undecodable: Counter::default(),
            kafka_dead_letters: Counter::default(),
            files: Family::default(),
            ready: Gauge::default(),
        };
        metrics.registry = metrics.register();
        metrics.initialize();
        metrics
    }

    fn register(&self) -> Registry {
        let mut registry = Registry::with_prefix("discodeit");
        macro_rules! register {
            ($($name:literal, $help:literal, $metric:ident;)*) => {
                $(registry.register($name, $help, self.$metric.clone());)*
            };
        }
        // The library appends the full stop to each text, `_total` to the name of each counter, and the unit to a name.
        register! {
            "connections", "Open connections of clients", connections;
            "subscriptions", "Subscriptions of STOMP connections to channels", subscriptions;
            "deliveries", "Events queued for a connection", deliveries;
            "closed_connections", "Connections that ended", closes;
            "resumes", "Clients that came back with a position", resumes;
            "repairs", "Reads of events that Kafka did not carry in time", repairs;
            "audit_findings", "Missing events that an audit found", audit_findings;
            "delayed_sends", "SENDs that waited for the message rate of their user", delayed_sends;
            "postgres_connections", "Connections of the pool", postgres_connections;
            "password_waiters", "Requests that wait for the hash of a password", waiting_hashes;
            "outbox_rows", "Events in the outbox that Kafka has not acknowledged, at most 10001", outbox_rows;
            "kafka_up", "Whether Kafka answers", kafka_up;
            "kafka_assigned", "Whether this node reads every partition", kafka_assigned;
            "kafka_undecodable", "Records that this version cannot read", kafka_undecodable;
            "dead_letters", "Jobs that this node wrote to the dead-letter topic", kafka_dead_letters;
            "files", "Uploaded files by what came of them", files;
            "ready", "Whether the node is ready", ready;
        }
        macro_rules! register_with_unit {
            ($($name:literal, $unit:ident, $help:literal, $metric:ident;)*) => {
                $(registry.register_with_unit($name, $help, Unit::$unit, self.$metric.clone());)*
            };
        }
        register_with_unit! {
            "queued", Bytes, "Bytes in the send queues of all connections", queued_bytes;
            "event_delay", Seconds, "Time from the change that caused an event until this node read the event from Kafka", event_delay_seconds;
            "postgres_statement", Seconds, "Statements of PostgreSQL, with the wait for their answer", postgres_seconds;
            "postgres_wait", Seconds, "Waits for a connection of the pool", postgres_wait_seconds;
            "redis_command", Seconds, "Commands of Redis, with the wait for their answer", redis_seconds;
            "http_request", Seconds, "Requests, with the time until the response began", http_seconds;
            "outbox_age", Seconds, "Age of the oldest event in the outbox that Kafka has not acknowledged", outbox_age_seconds;
            "kafka_canary_age", Seconds, "Time since this node sent itself the oldest event that has not come back", kafka_canary_age_seconds;
        }
        registry
    }

    /// Sets series to 0 that dashboards and alerts take the rate of: a series that begins at 1 has no rate.
    fn initialize(&self) {
        for protocol in [Protocol::Stomp, Protocol::Sse] {
            drop(self.deliveries.get_or_create(&OfProtocol { protocol }));
            let outcome = "replayed";
            drop(self.resumes.get_or_create(&Resume { protocol, outcome }));
            for reason in ["gone", "slow"] {
                drop(self.closes.get_or_create(&Close { protocol, reason }));
            }
        }
        for transport in ["websocket", "sockjs_websocket", "sockjs_http", "sse"] {
            drop(self.connections.get_or_create(&Transport { transport }));
        }
        for outcome in ["repaired", "failed"] {
            drop(self.repairs.get_or_create(&Outcome { outcome }));
        }
        for outcome in ["stored", "failed"] {
            drop(self.files.get_or_create(&Outcome { outcome }));
        }
    }

    /// All values in the text format of `OpenMetrics` 1.0.
    pub fn encode(&self) -> String {
        let mut encoded = String::new();
        let written = text::encode(&mut encoded, &self.registry);
        debug_assert!(written.is_ok(), "a string takes any text");
        encoded
    }

    /// Counts a connection until the guard is dropped.
    pub fn connected(&self, transport: &'static str) -> Connected {
        let gauge = self
            .connections
            .get_or_create_owned(&Transport { transport });
        gauge.inc();
        Connected(gauge)
    }

    /// Counts the end of a connection.
    pub fn closed(&self, protocol: Protocol, reason: &'static str) {
        self.closes.get_or_create(&Close { protocol, reason }).inc();
    }

    /// Counts a client that came back with a position.
    pub fn resumed(&self, protocol: Protocol, outcome: &'static str) {
        self.resumes
            .get_or_create(&Resume { protocol, outcome })
            .inc();
    }

    /// The counter of deliveries of one protocol.
    pub fn deliveries_of(&self, protocol: Protocol) -> Counter {
        self.deliveries
            .get_or_create_owned(&OfProtocol { protocol })
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// An open connection that a gauge counts.
#[derive(Debug)]
pub struct Connected(Gauge);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_names_units_and_labels() {
        let metrics = Metrics::new();
        let open = metrics.connected("websocket");
        metrics.closed(Protocol::Stomp, "SLOW");
        metrics.event_delay_seconds.observe(0.002);
        let text = metrics.encode();
        for line in [
            "discodeit_connections{transport=\"websocket\"} 1",
            "discodeit_closed_connections_total{protocol=\"stomp\",reason=\"SLOW\"} 1",
            "discodeit_event_delay_seconds_bucket{le=\"0.0025\"} 1",
            "# UNIT discodeit_event_delay_seconds seconds",
            "# EOF",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        drop(open);
        assert!(
            metrics
                .encode()
                .contains("discodeit_connections{transport=\"websocket\"} 0")
        );
    }
}
