//! Traces of requests and messages, exported to an OpenTelemetry collector.
//!
//! A trace begins with a request or a SEND, where the sampler decides. Later spans only join a trace that is recorded, and the
//! trace goes with an [`Event`] to the nodes that deliver it. So without an endpoint, and for what is not
//! sampled, each later place costs the check of an `Option`.

use std::{borrow::Cow, fmt, future::Future, num::NonZero, sync::Arc, time::Duration};

use futures_util::future::Either;
use opentelemetry::{
    Context, KeyValue, Value,
    trace::{
        Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags,
        TraceId, TraceState, Tracer, TracerProvider,
    },
};
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{Sampler, SdkTracer, SdkTracerProvider, SpanData, SpanExporter},
};
use parking_lot::Mutex;
use tokio::task::spawn_blocking;
use tracing::{debug, error_span};

use crate::{
    config::Config,
    model::{Event, TraceParent},
    problem::{Problem, chain},
    tasks::LogOnce,
};

/// The name of the service, unless `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` has one.
const SERVICE_NAME: &str = "discodeit";

tokio::task_local! {
    static CURRENT: TraceParent;
}

/// The recorded span that the current task works for.
pub fn current() -> Option<TraceParent> {
    CURRENT.try_with(|current| *current).ok()
}

/// Does `work` for a span, which is its [`current`] one.
pub fn within<F: Future>(
    span: Option<TraceParent>,
    work: F,
) -> impl Future<Output = F::Output> + use<F> {
    match span {
        Some(span) => Either::Left(CURRENT.scope(span, work)),
        None => Either::Right(work),
    }
}

/// The same for work that does not wait.
pub fn within_sync<T>(span: Option<TraceParent>, work: impl FnOnce() -> T) -> T {
    match span {
        Some(span) => CURRENT.sync_scope(span, work),
        None => work(),
    }
}

/// A number as the value of an attribute.
pub fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The span of log lines about a trace, which gives them its id.
pub fn log_span(span: Option<TraceParent>) -> tracing::Span {
    span.map_or_else(tracing::Span::none, |span| {
        error_span!("trace", trace_id = span.trace())
    })
}

/// A recorded span. It ends when its last handle is dropped.
#[derive(Clone)]
pub struct Span(Arc<Recording>);

struct Recording {
    place: TraceParent,
    span: Mutex<opentelemetry_sdk::trace::Span>,
}

impl Span {
    /// Its place in the trace, for its children.
    pub fn place(&self) -> TraceParent {
        self.0.place
    }

    /// Sets an attribute.
    pub fn set(&self, key: &'static str, value: impl Into<Value>) {
        self.0.span.lock().set_attribute(KeyValue::new(key, value));
    }

    /// Replaces its name. Names have few values.
    pub fn rename(&self, name: String) {
        self.0.span.lock().update_name(name);
    }

    /// Marks the work as failed.
    pub fn fail(&self, why: impl fmt::Display) {
        self.0
            .span
            .lock()
            .set_status(Status::error(why.to_string()));
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.place.fmt(f)
    }
}

/// The traces of a node.
#[derive(Clone, Debug, Default)]
pub struct Traces(Option<Arc<Export>>);

#[derive(Debug)]
struct Export {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl Traces {
    /// Exports traces, if there is an endpoint for them.
    ///
    /// # Errors
    /// A setting is invalid.
    pub fn new(config: &Config) -> Result<Self, String> {
        let Some(settings) = &config.traces else {
            return Ok(Self::default());
        };
        // Fails when it is installed already.
        drop(rustls::crypto::ring::default_provider().install_default());
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_endpoint(&settings.endpoint)
            .build()
            .map_err(|error| format!("traces cannot be exported: {}", chain(&error)))?;
        let ratio = Sampler::TraceIdRatioBased(settings.sampler.ratio);
        let sampler = if settings.sampler.parent_based {
            Sampler::ParentBased(Box::new(ratio))
        } else {
            ratio
        };
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(LoggedExporter {
                exporter,
                log: Mutex::default(),
            })
            .with_sampler(sampler)
            .with_resource(resource(&config.node_name))
            .build();
        let tracer = provider.tracer("discodeit");
        Ok(Self(Some(Arc::new(Export { provider, tracer }))))
    }

    /// Begins a trace, or joins that of the caller. None if it is not sampled.
    pub fn begin(
        &self,
        name: &'static str,
        caller: impl FnOnce() -> Option<TraceParent>,
    ) -> Option<Span> {
        let export = self.0.as_ref()?;
        export.start(name.into(), SpanKind::Server, caller(), true)
    }

    /// Begins a part of a recorded span.
    pub fn child(&self, parent: Option<TraceParent>, name: &'static str) -> Option<Span> {
        self.start(parent, SpanKind::Internal, || name.into())
    }

    /// Begins the publication of an event. Its receivers join the new span.
    pub fn publish(&self, event: &mut Event) -> Option<Span> {
        let kind = event.kind;
        let name = || format!("publish {kind}").into();
        let span = self.start(event.trace, SpanKind::Producer, name)?;
        span.set("messaging.system", "kafka");
        span.set("messaging.destination.name", event.topic.name());
        event.trace = Some(span.place());
        Some(span)
    }

    /// Begins the delivery of an event to the clients of this node.
    pub fn deliver(&self, trace: Option<TraceParent>, kind: &str) -> Option<Span> {
        let name = || format!("deliver {kind}").into();
        self.start(trace, SpanKind::Consumer, name)
    }

    fn start(
        &self,
        parent: Option<TraceParent>,
        kind: SpanKind,
        name: impl FnOnce() -> Cow<'static, str>,
    ) -> Option<Span> {
        let (Some(export), Some(parent)) = (&self.0, parent) else {
            return None;
        };
        let is_remote = kind == SpanKind::Consumer;
        export.start(name(), kind, Some(parent), is_remote)
    }

    /// Exports what has ended, at most `within`. Spans that end later are lost.
    pub async fn shut_down(&self, within: Duration) {
        let Some(export) = self.0.clone() else {
            return;
        };
        let shut_down = spawn_blocking(move || export.provider.shutdown_with_timeout(within));
        if let Ok(Err(error)) = shut_down.await {
            debug!(error = %chain(&error), "the last traces are not exported");
        }
    }
}

impl Export {
    fn start(
        &self,
        name: Cow<'static, str>,
        kind: SpanKind,
        parent: Option<TraceParent>,
        is_remote: bool,
    ) -> Option<Span> {
        let mut context = Context::new();
        if let Some(parent) = parent {
            let parent = SpanContext::new(
                TraceId::from(parent.trace_id.get()),
                SpanId::from(parent.span_id.get()),
                TraceFlags::default().with_sampled(parent.sampled),
                is_remote,
                TraceState::NONE,
            );
            context = context.with_remote_span_context(parent);
        }
        let builder = SpanBuilder::from_name(name).with_kind(kind);
        let span = self.tracer.build_with_context(builder, &context);
        if !span.is_recording() {
            return None;
        }
        let place = span.span_context();
        let place = TraceParent {
            trace_id: NonZero::new(u128::from_be_bytes(place.trace_id().to_bytes()))?,
            span_id: NonZero::new(u64::from_be_bytes(place.span_id().to_bytes()))?,
            sampled: true,
        };
        let span = Mutex::new(span);
        Some(Span(Arc::new(Recording { place, span })))
    }
}

/// The attributes of this node.
fn resource(node: &str) -> Resource {
    let instance = KeyValue::new("service.instance.id", node.to_owned());
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let builder = || Resource::builder().with_attributes([instance.clone(), version.clone()]);
    let resource = builder().build();
    let name = resource.get(&"service.name".into());
    // The library's default begins so.
    if name.is_none_or(|name| name.as_str().starts_with("unknown_service")) {
        builder().with_service_name(SERVICE_NAME).build()
    } else {
        resource
    }
}

/// Logs when the collector begins to fail. Its spans are dropped after some tries.
#[derive(Debug)]
struct LoggedExporter {
    exporter: opentelemetry_otlp::SpanExporter,
    log: Mutex<LogOnce>,
}

impl SpanExporter for LoggedExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let result = self.exporter.export(batch).await;
        let logged = result.as_ref().copied();
        let logged = logged.map_err(|error| Problem::internal(chain(error)));
        self.log.lock().check(logged, "exporting traces failed");
        result
    }

    fn shutdown_with_timeout(&self, within: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(within)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
