//! Work that one node does after a commit: writing the notifications of new messages.
//!
//! The nodes are a consumer group on the topic `jobs`. A record counts as done after the commit of what it causes, so a node
//! that dies leaves it to another. The job's row in the outbox goes when it is done, so what Kafka loses is sent again and
//! what Kafka brings twice is known; and a notification has one row for each cause and receiver, whatever happens.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;
use rdkafka::{consumer::Consumer, message::BorrowedMessage};
use serde::Deserialize;
use tracing::{debug, warn};

use crate::{
    app::App,
    ids::{EventId, MessageId},
    model::{Event, event::MESSAGE_CREATED},
    ops,
    problem::{Problem, chain},
    store,
};

/// Jobs done together. More would not make one cheaper.
const AT_ONCE: usize = 64;
/// How often a job that fails by itself is tried before it is set aside. With the pauses between it takes ten seconds at least,
/// so that a database that is slow for everybody for a moment makes no job fail.
const TRIES: u32 = 8;
/// The pause after the first failure; it doubles up to the longest.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NewMessage {
    message_id: MessageId,
}

/// Does jobs until the node leaves, or something is wrong with Kafka's client.
pub async fn run(app: Arc<App>) {
    let leaving = app.tasks.draining().clone();
    tokio::select! {
        () = topics_exist(&app) => {}
        // The node ends this task with the others.
        () = leaving.cancelled() => std::future::pending().await,
    }
    let consumer = match app.kafka.job_consumer() {
        Ok(consumer) => consumer,
        Err(error) => {
            warn!(error = %chain(&error), "the jobs cannot be followed");
            return;
        }
    };
    let mut records = Vec::with_capacity(AT_ONCE);
    loop {
        // Early, so that there is time to hand this node's share to the others.
        let received = tokio::select! {
            received = consumer.recv() => received,
            () = leaving.cancelled() => break,
        };
        match received {
            Ok(record) => records.push(record),
            // A broker that is away, a topic that a broker has lost: the client goes on by itself.
            Err(error) => {
                debug!(error = %chain(&error), "jobs cannot be read");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        }
        while records.len() < AT_ONCE
            && let Some(Ok(record)) = consumer.recv().now_or_never()
        {
            records.push(record);
        }
        finish(&app, &records).await;
        for record in records.drain(..) {
            // A partition that went to another node meanwhile: it comes again there, and is written once all the same.
            if let Err(error) = consumer.store_offset_from_message(&record) {
                debug!(error = %chain(&error), "a finished job is not marked as such");
            }
        }
    }
    drop(records);
    drop(consumer);
    // The node ends this task with the others.
    std::future::pending::<()>().await;
}

/// Waits until the node has created the topics. A consumer that subscribes earlier joins without partitions, and its client looks
/// for the topic again at its own pace: the first jobs would wait for that.
async fn topics_exist(app: &App) {
    while !app.kafka.is_assigned() {
        tokio::time::sleep(PAUSE).await;
    }
}

/// Does these jobs, or sets aside those that cannot be done.
async fn finish(app: &App, records: &[BorrowedMessage<'_>]) {
    let (mut jobs, mut broken) = (Vec::new(), Vec::new());
    for record in records {
        let event = app.kafka.parse(record).map(|arrived| arrived.event);
        let id = event.as_ref().map(|event| event.id);
        match job(event.as_ref()) {
            Ok(job) => jobs.push((record, job)),
            Err(reason) => broken.push((record, id, reason.to_owned())),
        }
    }
    let all: Vec<_> = jobs.iter().map(|(_, job)| *job).collect();
    if retry(app, &all, 1).await.is_err() {
        // A job that fails again and again must not delay the others of its batch, so each is tried once before any is retried.
        let mut failed = Vec::new();
        for (record, job) in jobs {
            if retry(app, &[job], 1).await.is_err() {
                failed.push((record, job));
            }
        }
        for (record, job) in failed {
            if let Err(problem) = retry(app, &[job], TRIES).await {
                broken.push((record, Some(job.0), chain(&problem)));
            }
        }
    }
    for (record, id, reason) in broken {
        let mut pause = PAUSE;
        while let Err(error) = dead_letter(app, record, id, &reason).await {
            debug!(error = %chain(&error), "a job cannot be set aside yet");
            tokio::time::sleep(pause).await;
            pause = longer(pause);
        }
    }
}

/// The message that an event asks to notify of.
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
    // Else it would be sent again.
    match job {
        Some(job) => store::outbox::jobs_done(&app.db, &[job]).await,
        None => Ok(()),
    }
}

/// Whether it is the job's own failure. A statement that takes too long is: the store that ends it (57014, `query_canceled`) is
/// there, and waiting for it would keep every job behind this one waiting for ever.
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

/// Waits for a store that is away, however long; gives up after so many failures of the jobs' own. An outage does not lengthen
/// the pauses between those: what the jobs behind a failing one wait stays bounded.
async fn retry(app: &App, jobs: &[(EventId, MessageId)], tries: u32) -> Result<(), Problem> {
    let (mut failed, mut pause, mut outage_pause) = (0, PAUSE, PAUSE);
    loop {
        let Err(problem) = ops::notification::notify(app, jobs).await else {
            return Ok(());
        };
        debug!(error = %chain(&problem), jobs = jobs.len(), "jobs are tried again");
        if is_poison(&problem) {
            failed += 1;
            if failed >= tries {
                return Err(problem);
            }
            tokio::time::sleep(pause).await;
            pause = longer(pause);
        } else {
            tokio::time::sleep(outage_pause).await;
            outage_pause = longer(outage_pause);
        }
    }
}

fn longer(pause: Duration) -> Duration {
    (pause * 2).min(LONGEST_PAUSE)
}
