//! Reads missing events from the store: after a reported gap, at fixed intervals, and at short intervals while Kafka is down.
//! [`steps`] decides which reads a repair needs and what an answer changes.

pub mod steps;

use std::{sync::Arc, time::Duration};

use tokio::sync::{Semaphore, mpsc, oneshot};
use tracing::{Instrument, debug, warn};

use crate::{
    auth::sessions::Sessions,
    delivery::{Delivery, Gap, Removal, ReportedGap},
    events::{history::History, kafka::Kafka, position::EventLog},
    ids::ChannelId,
    metrics::Outcome,
    model::Control,
    problem::{Problem, chain},
    store::{self, Db},
    tasks::Tasks,
    traces::{Span, log_span},
};

use steps::{Answer, Read, Repair, Step};

/// Time between a gap and its repair. Records of one channel that several nodes publish overtake each other by a few
/// milliseconds, so most gaps close by themselves.
const GAP_GRACE: Duration = Duration::from_millis(15);
/// Messages or events read in one statement.
const PAGE_LEN: usize = 200;
/// Repairs at the same time. The other connections of the pool are left to requests.
const MAX_CONCURRENT: usize = 4;
/// Interval at which all subscribed logs are compared with the store.
const AUDIT_INTERVAL: Duration = Duration::from_secs(5);
/// The same while Kafka is down: an accepted message arrives within 2 s.
const AUDIT_INTERVAL_WITHOUT_KAFKA: Duration = Duration::from_millis(500);
/// Interval at which the sessions of open connections are checked, for a revocation that Kafka has lost.
const SESSIONS_INTERVAL: Duration = Duration::from_secs(5);
/// The same while Kafka is down.
const SESSIONS_INTERVAL_WITHOUT_KAFKA: Duration = Duration::from_secs(1);
/// Sessions checked in one round trip.
const SESSION_BATCH: usize = 1_000;
/// Event logs compared in one round trip.
const LOG_BATCH: usize = 500;
/// Memberships checked in one statement.
const MEMBERSHIP_BATCH: usize = 5_000;
/// Timeout of the check of a removal, so that a removal takes effect within 1 s, also while PostgreSQL does not answer.
const REMOVAL_TIMEOUT: Duration = Duration::from_millis(400);

/// The parts of a node that a repair needs.
#[derive(Clone)]
pub struct Repairer {
    /// The clients of this node.
    pub delivery: Arc<Delivery>,
    /// PostgreSQL, which has the messages.
    pub db: Db,
    /// Redis, which has the SSE events.
    pub history: History,
    /// The sessions in Redis.
    pub sessions: Sessions,
    /// Kafka; while it is down the audits run more often.
    pub kafka: Arc<Kafka>,
    /// Owns the repairs.
    pub tasks: Tasks,
}

/// Closes reported gaps. Runs until it is dropped.
pub async fn run(repairer: Repairer, mut gaps: mpsc::Receiver<ReportedGap>) {
    let permits = Arc::new(Semaphore::new(MAX_CONCURRENT));
    while let Some((gap, reported, found_by)) = gaps.recv().await {
        // Gaps arrive in the order of their report, so none waits for the grace time of another.
        tokio::time::sleep_until(reported + GAP_GRACE).await;
        let Ok(permit) = permits.clone().acquire_owned().await else {
            return;
        };
        let worker = repairer.clone();
        repairer.tasks.spawn("repair", async move {
            let span = worker.delivery.traces.child(found_by, "repair");
            let close = close(&worker, gap, span.as_ref());
            close.instrument(log_span(found_by)).await;
            drop(permit);
        });
    }
}

/// Closes one gap.
async fn close(repairer: &Repairer, gap: Gap, span: Option<&Span>) {
    let mut repair = Repair::new(gap, PAGE_LEN);
    let result = run_steps(repairer, &mut repair).await;
    let outcome = match &result {
        Ok(()) => "repaired",
        Err(error) => {
            // The audit tries again.
            warn!(error = %chain(error), ?gap, "gap repair failed");
            if let Some(span) = span {
                span.fail(error);
            }
            "failed"
        }
    };
    let repairs = &repairer.delivery.metrics.repairs;
    repairs.get_or_create(&Outcome { outcome }).inc();
    repair.end(&repairer.delivery, result.is_ok());
}

async fn run_steps(repairer: &Repairer, repair: &mut Repair) -> Result<(), Problem> {
    loop {
        match repair.step(&repairer.delivery) {
            Step::Read(request) => {
                let answer = read(repairer, request).await?;
                repair.on_answer(&repairer.delivery, request, answer);
            }
            Step::Yield => tokio::task::yield_now().await,
            Step::Done => return Ok(()),
        }
    }
}

async fn read(repairer: &Repairer, request: Read) -> Result<Answer, Problem> {
    let (db, history) = (&repairer.db, &repairer.history);
    Ok(match request {
        Read::Newest { channel, .. } => {
            let newest = store::channels::positions(db, &[channel]).await?.pop();
            Answer::Newest(newest.map(|(_, newest)| newest))
        }
        Read::Messages {
            channel,
            after,
            through,
        } => {
            let limit = i64::try_from(PAGE_LEN).unwrap_or(i64::MAX);
            let messages = store::messages::between(db, channel, after, through, limit).await?;
            debug!(
                channel.id = %channel,
                from = after,
                through,
                messages = messages.len(),
                "read missing messages from the store"
            );
            Answer::Messages(messages)
        }
        Read::Entries { log, after } => Answer::Entries(history.after(log, after, PAGE_LEN).await?),
        Read::Tip { log, lost } => {
            let tip = history.tip(log).await?;
            warn!(
                ?log,
                reason = lost.reason(),
                "SSE history lost events; its streams get a resync"
            );
            Answer::Tip(tip)
        }
    })
}

/// Compares all subscriptions with the stores. Runs until it is dropped.
pub async fn audit(repairer: Repairer) {
    // Concurrently: one of the stores may be down, and one of the comparisons may take long.
    tokio::join!(
        run_every(&repairer, audit_channels),
        run_every(&repairer, audit_memberships),
        run_every(&repairer, audit_logs)
    );
}

async fn run_every(repairer: &Repairer, compare: impl AsyncFn(&Repairer) -> Result<(), Problem>) {
    loop {
        let mut waited = Duration::ZERO;
        while waited
            < if repairer.kafka.is_stable() {
                AUDIT_INTERVAL
            } else {
                AUDIT_INTERVAL_WITHOUT_KAFKA
            }
        {
            tokio::time::sleep(AUDIT_INTERVAL_WITHOUT_KAFKA).await;
            waited += AUDIT_INTERVAL_WITHOUT_KAFKA;
        }
        if let Err(error) = compare(repairer).await {
            debug!(error = %chain(&error), "audit failed");
        }
    }
}

async fn audit_channels(repairer: &Repairer) -> Result<(), Problem> {
    let delivery = &repairer.delivery;
    let subscribed = delivery.hub.positions();
    if subscribed.is_empty() {
        return Ok(());
    }
    let ids: Vec<ChannelId> = subscribed.iter().map(|(channel, _)| *channel).collect();
    let stored = store::channels::positions(&repairer.db, &ids).await?;
    steps::compare_channels(delivery, &ids, &stored);
    Ok(())
}

/// Ends subscriptions to private channels whose user is no longer a participant.
async fn audit_memberships(repairer: &Repairer) -> Result<(), Problem> {
    let hub = &repairer.delivery.hub;
    let members: Vec<_> = hub.private_members().into_iter().collect();
    for members in members.chunks(MEMBERSHIP_BATCH) {
        let checked_at = hub.tick();
        let lost = store::channels::lost_memberships(&repairer.db, members).await?;
        for (channel, user) in lost {
            hub.end_membership(channel, user, checked_at);
        }
    }
    Ok(())
}

/// Checks reported removals: the record of a removal may come late or twice, when the user participates again. Runs until it is
/// dropped.
pub async fn check_removals(repairer: Repairer, mut reported: mpsc::Receiver<Removal>) {
    let mut removals = Vec::new();
    while reported.recv_many(&mut removals, MEMBERSHIP_BATCH).await > 0 {
        let checked_at = repairer.delivery.hub.tick();
        let (answer, lost) = oneshot::channel();
        let (db, checked) = (repairer.db.clone(), removals.clone());
        // A task of its own, because a read must not be dropped.
        repairer.tasks.spawn("removals", async move {
            let lost = store::channels::lost_memberships(&db, &checked).await;
            drop(answer.send(lost));
        });
        let lost = match tokio::time::timeout(REMOVAL_TIMEOUT, lost).await {
            Ok(Ok(Ok(lost))) => Some(lost),
            _ => None,
        };
        steps::end_memberships(&repairer.delivery, &removals, lost.as_deref(), checked_at);
        removals.clear();
    }
}

async fn audit_logs(repairer: &Repairer) -> Result<(), Problem> {
    let delivery = &repairer.delivery;
    for subscribed in delivery.sse.positions().chunks(LOG_BATCH) {
        let logs: Vec<EventLog> = subscribed.iter().map(|(log, _)| *log).collect();
        let tips = repairer.history.tips(&logs).await?;
        steps::compare_logs(delivery, subscribed, &tips);
    }
    Ok(())
}

/// Closes connections whose session has ended, for revocations that Kafka did not carry. Runs until it is dropped.
pub async fn audit_sessions(repairer: Repairer) {
    loop {
        let mut waited = Duration::ZERO;
        while waited < SESSIONS_INTERVAL && (repairer.kafka.is_healthy() || waited.is_zero()) {
            tokio::time::sleep(SESSIONS_INTERVAL_WITHOUT_KAFKA).await;
            waited += SESSIONS_INTERVAL_WITHOUT_KAFKA;
        }
        let mut sessions: Vec<_> = repairer.delivery.sessions().collect();
        sessions.sort_unstable_by_key(|(_, session)| *session);
        sessions.dedup_by_key(|(_, session)| *session);
        for sessions in sessions.chunks(SESSION_BATCH) {
            let ids: Vec<_> = sessions.iter().map(|(_, session)| *session).collect();
            match repairer.sessions.filter_ended(&ids).await {
                Ok(ended) => {
                    for (user_id, session_id) in sessions
                        .iter()
                        .filter(|(_, session)| ended.contains(session))
                    {
                        repairer.delivery.apply(&Control::SessionRevoked {
                            user_id: *user_id,
                            session_id: *session_id,
                        });
                    }
                }
                Err(error) => debug!(error = %chain(&error), "session audit failed"),
            }
        }
    }
}
