//! Writes the notifications of new messages: one node does each job, after the message is committed.
//!
//! The nodes are a consumer group on the topic `jobs`. A record's offset is committed after its notifications, so another node
//! gets the job of a node that dies. A job's outbox row is deleted when the job is done: a job that Kafka loses is sent again, and
//! a duplicate is recognised. A notification has one row for each cause and receiver in any case.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;
use rdkafka::{consumer::Consumer, message::BorrowedMessage};
use serde::Deserialize;
use tracing::{debug, warn};

use crate::{
    app::App,
    crash::Point,
    ids::{EventId, MessageId},
    model::{Event, event::MESSAGE_CREATED},
    ops,
    problem::{Problem, chain},
    store,
    tasks::Backoff,
};

/// Jobs done in one transaction. A larger batch would not make a job cheaper.
const BATCH: usize = 64;
/// Tries of a job that is itself at fault, before it becomes a dead letter. With the delays between them they take at least 9 s,
/// so that no job fails because the database is slow for a moment.
const MAX_TRIES: u32 = 8;
/// Delay after the first failure.
const MIN_DELAY: Duration = Duration::from_millis(100);
/// Longest delay after a failure.
const MAX_DELAY: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewMessage {
    message_id: MessageId,
}

/// Does jobs until the node drains. Returns when the consumer must start anew, or its settings are refused.
pub async fn run(app: Arc<App>) {
    let draining = app.tasks.draining().clone();
    tokio::select! {
        () = topics_exist(&app) => {}
        // A task that returns would be restarted; the node ends this one with the others.
        () = draining.cancelled() => std::future::pending().await,
    }
    let consumer = match app.kafka.job_consumer() {
        Ok(consumer) => consumer,
        Err(error) => {
            warn!(error = %chain(&error), "job consumer cannot start");
            return;
        }
    };
    let mut records = Vec::with_capacity(BATCH);
    loop {
        // Ends at the start of the drain, so that the other nodes take over the partitions early.
        let received = tokio::select! {
            received = consumer.recv() => received,
            () = app.kafka.job_consumer_fault() => return,
            () = draining.cancelled() => break,
        };
        match received {
            Ok(record) => records.push(record),
            // A broker that is down, a topic that a broker has lost: the client reconnects by itself.
            Err(error) => {
                debug!(error = %chain(&error), "reading jobs failed");
                tokio::time::sleep(MIN_DELAY).await;
                continue;
            }
        }
        while records.len() < BATCH
            && let Some(Ok(record)) = consumer.recv().now_or_never()
        {
            records.push(record);
        }
        Point::JobReceived.pass();
        finish(&app, &records).await;
        Point::JobDone.pass();
        for record in records.drain(..) {
            // The partition has moved to another node, which gets the job again and recognises it.
            if let Err(error) = consumer.store_offset_from_message(&record) {
                debug!(error = %chain(&error), "storing the offset of a finished job failed");
            }
        }
    }
    drop(records);
    drop(consumer);
    // `spawn_restarting` would restart a task that returns; the node ends this one with the others.
    std::future::pending::<()>().await;
}

/// Waits until the node has created the topics. A consumer that subscribes earlier joins without partitions, and the first jobs
/// would wait until its client looks for the topic again.
async fn topics_exist(app: &App) {
    while !app.kafka.is_assigned() {
        tokio::time::sleep(MIN_DELAY).await;
    }
}

/// Does the jobs of the records. A job that cannot be done becomes a dead letter.
async fn finish(app: &App, records: &[BorrowedMessage<'_>]) {
    let (mut jobs, mut broken) = (Vec::new(), Vec::new());
    for record in records {
        let event = app.kafka.parse(record).map(|record| record.event);
        let id = event.as_ref().map(|event| event.id);
        match job(event.as_ref()) {
            Ok(job) => jobs.push((record, job)),
            Err(reason) => broken.push((record, id, reason.to_owned())),
        }
    }
    let all: Vec<_> = jobs.iter().map(|(_, job)| *job).collect();
    if retry(app, &all, 1).await.is_err() {
        // A failing job must not delay the others of its batch, so each is tried once before any is retried.
        let mut failed = Vec::new();
        for (record, job) in jobs {
            if retry(app, &[job], 1).await.is_err() {
                failed.push((record, job));
            }
        }
        for (record, job) in failed {
            if let Err(problem) = retry(app, &[job], MAX_TRIES).await {
                broken.push((record, Some(job.0), chain(&problem)));
            }
        }
    }
    for (record, id, reason) in broken {
        let mut backoff = Backoff::new(MIN_DELAY, MAX_DELAY);
        while let Err(error) = dead_letter(app, record, id, &reason).await {
            debug!(error = %chain(&error), "writing a dead letter failed; retrying");
            backoff.wait().await;
        }
    }
}

/// The event's id and the message that it announces.
fn job(event: Option<&Event>) -> Result<(EventId, MessageId), &'static str> {
    let event = event.ok_or("not an event of this version")?;
    if event.kind != MESSAGE_CREATED {
        return Err("not a job of this version");
    }
    let job: NewMessage =
        serde_json::from_slice(&event.body).map_err(|_| "the body is not that of a job")?;
    Ok((event.id, job.message_id))
}

async fn dead_letter(
    app: &App,
    record: &BorrowedMessage<'_>,
    job: Option<EventId>,
    reason: &str,
) -> Result<(), Problem> {
    app.kafka
        .dead_letter(record, reason)
        .await
        .map_err(Problem::internal)?;
    // An outbox row that stays would send the job again.
    match job {
        Some(job) => store::outbox::jobs_done(&app.db, &[job]).await,
        None => Ok(()),
    }
}

/// Whether the job itself is at fault, not an outage. A statement timeout (57014, `query_canceled`) is: retrying it without end
/// would block the jobs behind it.
fn is_poison(problem: &Problem) -> bool {
    match problem {
        Problem::Unavailable(_, cause) => {
            let error: Option<&sqlx::Error> = cause.as_ref().and_then(|cause| cause.downcast_ref());
            let code = error.and_then(|error| error.as_database_error()?.code());
            code.as_deref() == Some("57014")
        }
        _ => true,
    }
}

/// Retries the jobs during an outage of a store without limit, and otherwise up to `tries` times. An outage does not lengthen the
/// delays between the other failures, so the time that a failing job blocks the jobs behind it is bounded.
async fn retry(app: &App, jobs: &[(EventId, MessageId)], tries: u32) -> Result<(), Problem> {
    let mut failures = 0;
    let mut backoff = Backoff::new(MIN_DELAY, MAX_DELAY);
    let mut outage_backoff = backoff.clone();
    loop {
        let Err(problem) = ops::notification::notify(app, jobs).await else {
            return Ok(());
        };
        debug!(error = %chain(&problem), jobs = jobs.len(), "jobs failed; retrying");
        if is_poison(&problem) {
            failures += 1;
            if failures >= tries {
                return Err(problem);
            }
            backoff.wait().await;
        } else {
            outage_backoff.wait().await;
        }
    }
}
