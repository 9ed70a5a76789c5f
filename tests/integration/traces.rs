//! Traces: one id from a SEND to its delivery on another node, whom a node believes, and nothing at all when they are off.

use std::{fs, process::Command, time::Duration};

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{Consumer, StreamConsumer},
    message::Headers,
};
use reqwest::{Method, multipart};
use serde_json::{Value, json};

use crate::support::{
    Cluster, Collector, Exported, NodeProcess, SOON, Stomp, User, Visitor, eventually,
};

/// The headers `traceparent` of the records of new messages of a cluster, in one topic.
async fn trace_headers(cluster: &Cluster, messages: usize) -> Vec<Option<String>> {
    let config = &cluster.node(0).app().config;
    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", &config.kafka_brokers)
        .set("group.id", "inspection")
        .create()
        .expect("a consumer");
    let mut offsets = TopicPartitionList::new();
    let topic = format!("{}messages", config.kafka_topic_prefix);
    for partition in 0..config.kafka_partitions {
        offsets
            .add_partition_offset(&topic, partition, Offset::Beginning)
            .expect("a position");
    }
    consumer.assign(&offsets).expect("assigned");
    let mut found = Vec::new();
    while found.len() < messages {
        let record = tokio::time::timeout(SOON, consumer.recv()).await;
        let record = record.expect("in time").expect("a record");
        let headers = record.headers().expect("headers");
        let header = |name: &str| {
            let header = headers.iter().find(|header| header.key == name)?;
            Some(String::from_utf8_lossy(header.value?).into_owned())
        };
        if header("kind").as_deref() == Some("message.created") {
            found.push(header("traceparent"));
        }
    }
    found
}

/// The spans with this name.
fn named<'a>(spans: &'a [Exported], name: &str) -> Vec<&'a Exported> {
    spans.iter().filter(|span| span.span.name == name).collect()
}

/// The only span with this name.
fn only<'a>(spans: &'a [Exported], name: &str) -> &'a Exported {
    let found = named(spans, name);
    assert_eq!(found.len(), 1, "{name} in {spans:#?}");
    found[0]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_leads_from_a_send_to_its_delivery_on_another_node() {
    let collector = Collector::start().await;
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector.endpoint);
    let mut cluster = Cluster::start_with(2, &[endpoint]).await;
    let (ann, bob) = (cluster.user(0, "ann").await, cluster.user(1, "bob").await);
    let channel = cluster.channel().await;
    let mut readers = [Stomp::connect(&bob).await, Stomp::connect(&bob).await];
    for reader in &mut readers {
        reader.subscribe(&channel).await;
    }
    let mut writer = Stomp::connect(&ann).await;
    writer.say_surely(&ann, &channel, "hello").await;
    for reader in &mut readers {
        reader.message().await;
    }
    let headers = trace_headers(&cluster, 1).await;
    // The drain exports what has ended.
    drop((writer, readers));
    cluster.drain(0).await;
    cluster.drain(1).await;

    let spans = collector.spans();
    let send = only(&spans, "SEND");
    let of_trace: Vec<Exported> = spans
        .iter()
        .filter(|span| span.trace() == send.trace())
        .cloned()
        .collect();
    assert_eq!(of_trace.len(), 4, "{of_trace:#?}");
    assert_eq!((send.parent(), &*send.node), (String::new(), "node-0"));
    assert_eq!(send.service, "discodeit");
    assert_eq!(send.span.kind, SpanKind::Server as i32);
    let commit = only(&of_trace, "commit");
    assert_eq!((commit.parent(), &*commit.node), (send.id(), "node-0"));
    let group = commit.attribute("discodeit.group.messages");
    assert_eq!(group.as_deref(), Some("1"));
    let publish = only(&of_trace, "publish message.created");
    assert_eq!((publish.parent(), &*publish.node), (send.id(), "node-0"));
    assert_eq!(publish.span.kind, SpanKind::Producer as i32);
    // Nobody subscribes on the other node. Here, two connections get the message by one span.
    let deliver = only(&of_trace, "deliver message.created");
    assert_eq!((deliver.parent(), &*deliver.node), (publish.id(), "node-1"));
    assert_eq!(deliver.span.kind, SpanKind::Consumer as i32);
    let deliveries = deliver.attribute("discodeit.deliveries");
    assert_eq!(deliveries.as_deref(), Some("2"));
    // The answer to the SEND follows the commit.
    assert!(commit.span.end_time_unix_nano <= send.span.end_time_unix_nano);
    let expected = format!("00-{}-{}-01", send.trace(), publish.id());
    assert_eq!(headers, [Some(expected)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_repair_of_a_gap_belongs_to_the_trace_of_the_message_that_shows_it() {
    let collector = Collector::start().await;
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector.endpoint);
    let mut cluster = Cluster::start_with(1, &[endpoint]).await;
    let ann = cluster.user(0, "ann").await;
    let channel = cluster.channel().await;
    let mut stomp = Stomp::connect(&ann).await;
    stomp.subscribe(&channel).await;
    let unpublished = "with moved as (update channels set last_seq = $2 where id = $1::uuid) \
                       insert into messages (id, channel_id, seq, content, created_at, updated_at) values (gen_random_uuid(), $1::uuid, $2, 'first', now(), now())";
    let mut last_seq = 0;
    // Again when the audit finds the message first.
    eventually("a message shows a gap", async || {
        sqlx::query(unpublished)
            .bind(&channel)
            .bind(last_seq + 1)
            .execute(&cluster.db)
            .await
            .expect("written");
        stomp.say(&ann, &channel, "second").await;
        for content in ["first", "second"] {
            assert_eq!(stomp.message().await["content"], content);
        }
        last_seq += 2;
        // The next export.
        tokio::time::sleep(Duration::from_secs(6)).await;
        !named(&collector.spans(), "repair").is_empty()
    })
    .await;
    drop(stomp);
    cluster.drain(0).await;

    let spans = collector.spans();
    let repair = named(&spans, "repair")[0];
    let delivers = named(&spans, "deliver message.created");
    let deliver = delivers.iter().find(|span| span.id() == repair.parent());
    let deliver = deliver.expect("the delivery of the message that shows the gap");
    assert_eq!(repair.trace(), deliver.trace());
    let sends = named(&spans, "SEND");
    assert!(sends.iter().any(|send| send.trace() == deliver.trace()));
    // The delivery waits for the repair.
    assert!(deliver.span.end_time_unix_nano >= repair.span.start_time_unix_nano);
    let deliveries = deliver.attribute("discodeit.deliveries");
    assert_eq!(deliveries.as_deref(), Some("1"));
}

/// Sends a message over HTTP with a header `traceparent`.
async fn post_traced(user: &User, channel: &str, traceparent: &str) {
    let body = json!({ "content": "traced", "channelId": channel, "authorId": user.id });
    let form = multipart::Form::new().text("messageCreateRequest", body.to_string());
    let request = user.request(Method::POST, "/api/messages");
    let request = request.multipart(form).header("traceparent", traceparent);
    assert_eq!(user.send(request).await.status, 201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_joins_the_trace_of_a_trusted_proxy_only() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let collector = Collector::start().await;
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector.endpoint);
    let mut cluster = Cluster::start_with(1, &[endpoint]).await;
    let trusting = cluster.add(&[("TRUSTED_PROXIES", "127.0.0.1")]).await;
    let ann = cluster.user(trusting, "ann").await;
    let channel = cluster.channel().await;
    post_traced(&ann, &channel, &format!("00-{TRACE}-00f067aa0ba902b7-01")).await;
    // The proxy has decided not to record this one.
    post_traced(
        &ann,
        &channel,
        &format!("00-{}-00f067aa0ba902b7-00", TRACE.replace('4', "5")),
    )
    .await;
    // No other node believes the header.
    let elsewhere = ann.at_node(&cluster.address(0));
    post_traced(
        &elsewhere,
        &channel,
        &format!("00-{}-00f067aa0ba902b7-01", TRACE.replace('4', "6")),
    )
    .await;
    // What is wrong begins a trace.
    post_traced(&ann, &channel, "00-1-2-3").await;
    cluster.drain(0).await;
    cluster.drain(trusting).await;

    let spans = collector.spans();
    let requests = named(&spans, "POST /api/messages");
    assert_eq!(requests.len(), 3, "{requests:#?}");
    let (joined, begun): (Vec<_>, Vec<_>) =
        requests.into_iter().partition(|span| span.trace() == TRACE);
    assert_eq!(joined.len(), 1);
    assert_eq!(joined[0].parent(), "00f067aa0ba902b7");
    let status = joined[0].attribute("http.response.status_code");
    assert_eq!(status.as_deref(), Some("201"));
    let commits = named(&spans, "commit");
    assert!(
        commits
            .iter()
            .any(|commit| commit.parent() == joined[0].id())
    );
    for span in begun {
        assert_eq!(span.parent(), "");
        assert!(!span.trace().contains("bf92f3577b3"), "{}", span.trace());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_have_no_trace_when_traces_are_off_or_not_sampled() {
    let collector = Collector::start().await;
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", &*collector.endpoint);
    for settings in [
        &[][..],
        &[endpoint, ("OTEL_SDK_DISABLED", "true")],
        &[endpoint, ("OTEL_TRACES_SAMPLER", "always_off")],
    ] {
        let mut cluster = Cluster::start_with(1, settings).await;
        let ann = cluster.user(0, "ann").await;
        let channel = cluster.channel().await;
        ann.write(&channel, "hello").await;
        let mut stomp = Stomp::connect(&ann).await;
        stomp.say_surely(&ann, &channel, "hello").await;
        assert_eq!(trace_headers(&cluster, 2).await, [None, None]);
        drop(stomp);
        cluster.drain(0).await;
    }
    assert!(collector.spans().is_empty(), "{:#?}", collector.spans());
}

/// The lines of a node's log.
fn log(file: &std::path::Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    // The last line may be incomplete.
    let lines = text.lines();
    lines
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_lines_of_a_request_have_its_trace_and_a_lost_collector_is_logged_once() {
    let cluster = Cluster::start(0).await;
    let file = cluster.files.join("log");
    // Nothing listens at the address.
    let settings = cluster.settings_with(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "200"),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        ("LOG", "info,discodeit=debug"),
        ("LOG_FORMAT", "json"),
    ]);
    let node = NodeProcess::start_with(
        Command::new("sh")
            .args(["-c", "exec \"$0\" > \"$1\""])
            .arg(env!("CARGO_BIN_EXE_discodeit"))
            .arg(&file)
            .env_clear()
            .envs(settings.into_iter().rev()),
    );
    node.listens().await;
    let visitor: &Visitor = &node.visitor;
    visitor.until_ready().await;
    for _ in 0..20 {
        visitor.get("/api/health/live").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    eventually("the failure is logged", async || {
        log(&file)
            .iter()
            .any(|line| line["message"] == "exporting traces failed")
    })
    .await;
    let lines = log(&file);
    let failures = lines
        .iter()
        .filter(|line| line["message"] == "exporting traces failed");
    assert_eq!(failures.count(), 1, "{lines:#?}");
    let served: Vec<_> = lines
        .iter()
        .filter(|line| line["message"] == "request served")
        .collect();
    assert!(served.len() >= 20, "{lines:#?}");
    for line in served {
        let trace = line["span"]["trace_id"].as_str().expect("a trace");
        assert_eq!(trace.len(), 32, "{line}");
    }
}
