//! A collector of traces: a receiver of OTLP over HTTP.

use std::{
    convert::Infallible,
    fmt::Write,
    sync::{Arc, Mutex},
};

use http_body_util::{BodyExt, Empty};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{KeyValue, any_value::Value},
    trace::v1::Span,
};
use prost::Message;
use tokio::net::TcpListener;

/// A span that a node has exported.
#[derive(Clone, Debug)]
pub struct Exported {
    /// `service.instance.id` of the node.
    pub node: String,
    /// `service.name` of the node.
    pub service: String,
    /// The span.
    pub span: Span,
}

impl Exported {
    /// The id of the trace.
    pub fn trace(&self) -> String {
        hex(&self.span.trace_id)
    }

    /// The id of the span.
    pub fn id(&self) -> String {
        hex(&self.span.span_id)
    }

    /// The id of the span above, or nothing.
    pub fn parent(&self) -> String {
        hex(&self.span.parent_span_id)
    }

    /// An attribute as text.
    pub fn attribute(&self, key: &str) -> Option<String> {
        attribute(&self.span.attributes, key)
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a string grows");
    }
    text
}

fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    Some(match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    })
}

/// The collector.
pub struct Collector {
    /// The value of `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub endpoint: String,
    spans: Arc<Mutex<Vec<Exported>>>,
}

impl Collector {
    /// Starts a collector on a free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let spans = Arc::new(Mutex::new(Vec::new()));
        let received = spans.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let received = received.clone();
                let service = service_fn(move |request| receive(request, received.clone()));
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                tokio::spawn(connection);
            }
        });
        Self {
            endpoint: format!("http://{address}"),
            spans,
        }
    }

    /// The spans that have been exported.
    pub fn spans(&self) -> Vec<Exported> {
        self.spans.lock().expect("not poisoned").clone()
    }
}

async fn receive(
    request: Request<Incoming>,
    received: Arc<Mutex<Vec<Exported>>>,
) -> Result<Response<Empty<bytes::Bytes>>, Infallible> {
    assert_eq!(request.uri().path(), "/v1/traces");
    assert_eq!(request.headers()["content-type"], "application/x-protobuf");
    let body = request.into_body().collect().await.expect("a body");
    let exported = ExportTraceServiceRequest::decode(body.to_bytes()).expect("a request");
    for resource in exported.resource_spans {
        let attributes = resource.resource.expect("a resource").attributes;
        let attribute = |key| attribute(&attributes, key).expect("an attribute");
        let (node, service) = (attribute("service.instance.id"), attribute("service.name"));
        let spans = resource.scope_spans.into_iter().flat_map(|of| of.spans);
        let spans = spans.map(|span| Exported {
            node: node.clone(),
            service: service.clone(),
            span,
        });
        received.lock().expect("not poisoned").extend(spans);
    }
    Ok(Response::new(Empty::new()))
}
