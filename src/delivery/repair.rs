//! What Kafka has not brought is read from the store: when a record shows that an earlier one is missing, every few
//! seconds in any case, and at short intervals while Kafka is away.

use std::{collections::HashSet, sync::Arc, time::Duration};

use sqlx::PgPool;
use tokio::sync::{Semaphore, mpsc};
use tracing::{debug, warn};

use crate::{
    auth::sessions::Sessions,
    delivery::{Delivery, Gap, ReportedGap, hub::Payload},
    events::{history::History, kafka::Kafka, position::EventLog},
    ids::ChannelId,
    limits::TURN_BYTES,
    model::Control,
    problem::{Problem, chain},
    store,
    tasks::Tasks,
};

/// Records of one channel that several nodes publish overtake each other by a few milliseconds; most gaps close by
/// themselves within this time.
const PATIENCE: Duration = Duration::from_millis(15);
/// Messages or events read at once.
const PAGE: i64 = 200;
/// Repairs at the same time: enough to be quick, few enough to leave the pool to the requests.
const AT_ONCE: usize = 4;
/// How often everything followed here is compared with the store.
const AUDIT_INTERVAL: Duration = Duration::from_secs(5);
/// The same while Kafka is away: what is accepted arrives within two seconds.
const AUDIT_INTERVAL_WITHOUT_KAFKA: Duration = Duration::from_millis(500);
/// Sessions of open sockets are looked at this often, for a revocation that Kafka did not carry.
const SESSIONS_INTERVAL: Duration = Duration::from_secs(5);
/// The same while Kafka is away and delivers nothing.
const SESSIONS_INTERVAL_WITHOUT_KAFKA: Duration = Duration::from_secs(1);
/// Sessions asked for in one round trip.
const SESSIONS_AT_ONCE: usize = 1_000;

/// Histories asked for in one round trip.
const STREAMS_AT_ONCE: usize = 500;

/// Memberships asked for in one statement.
const MEMBERS_AT_ONCE: usize = 5_000;

/// The parts of a node that a repair needs.
#[derive(Clone)]
pub struct Repairer {
    /// The clients of this node.
    pub delivery: Arc<Delivery>,
    /// PostgreSQL, which has the messages.
    pub db: PgPool,
    /// Redis, which has the SSE events.
    pub history: History,
    /// The sessions in Redis.
    pub sessions: Sessions,
    /// Kafka; while it is away the audits run more often.
    pub kafka: Arc<Kafka>,
    /// Owns the repairs.
    pub tasks: Tasks,
}

/// Closes reported gaps. Runs until it is dropped.
pub async fn run(repairer: Repairer, mut gaps: mpsc::Receiver<ReportedGap>) {
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    while let Some((gap, reported)) = gaps.recv().await {
        // Reported one after the other, so nobody waits for the patience that another needs.
        tokio::time::sleep_until(reported + PATIENCE).await;
        let Ok(turn) = turns.clone().acquire_owned().await else {
            return;
        };
        let worker = repairer.clone();
        repairer.tasks.spawn("repair", async move {
            close(&worker, gap).await;
            drop(turn);
        });
    }
}

/// Closes one gap, whose owner is marked as being repaired.
async fn close(repairer: &Repairer, gap: Gap) {
    let (result, again) = match gap {
        Gap::Channel(channel) => (
            read_channel(repairer, channel).await,
            repairer.delivery.hub.end_repair(channel),
        ),
        Gap::EventLog(stream) => (
            read_stream(repairer, stream).await,
            repairer.delivery.sse.end_repair(stream),
        ),
    };
    if let Err(error) = result {
        // The audit tries again.
        warn!(error = %chain(&error), ?gap, "what is missing cannot be read");
    } else if again {
        let marked = match gap {
            Gap::Channel(channel) => repairer.delivery.hub.begin_repair(channel).is_some(),
            Gap::EventLog(stream) => repairer.delivery.sse.begin_repair(stream),
        };
        if marked {
            repairer.delivery.report_gap(gap);
        }
    }
}

async fn read_channel(repairer: &Repairer, channel: ChannelId) -> Result<(), Problem> {
    loop {
        let Some(position) = repairer.delivery.hub.position(channel) else {
            return Ok(());
        };
        // The channel's position first: what is committed after it comes by Kafka, or in the next round.
        let Some((_, last)) = store::channels::positions(&repairer.db, &[channel])
            .await?
            .pop()
        else {
            return Ok(());
        };
        if last <= position {
            return Ok(());
        }
        let messages =
            store::messages::between(&repairer.db, channel, position, last, PAGE).await?;
        let full = i64::try_from(messages.len()).unwrap_or(PAGE) >= PAGE;
        let through = messages
            .last()
            .filter(|_| full)
            .map_or(last, |message| message.seq);
        debug!(channel.id = %channel, from = position, through, messages = messages.len(), "read from the store what Kafka did not bring");
        let mut portion = Vec::new();
        let mut bytes = 0;
        for message in &messages {
            let delivery = Payload::stored(message);
            bytes += delivery.body.len();
            portion.push((message.seq, delivery));
            if bytes > TURN_BYTES {
                repairer
                    .delivery
                    .hub
                    .repair(channel, std::mem::take(&mut portion), message.seq);
                bytes = 0;
                tokio::task::yield_now().await;
            }
        }
        repairer.delivery.hub.repair(channel, portion, through);
        tokio::task::yield_now().await;
    }
}

async fn read_stream(repairer: &Repairer, stream: EventLog) -> Result<(), Problem> {
    loop {
        let Some(position) = repairer.delivery.sse.position(stream) else {
            return Ok(());
        };
        let page = usize::try_from(PAGE).unwrap_or(usize::MAX);
        match repairer.history.after(stream, position, page).await? {
            Ok(entries) => {
                let mut rest = entries.as_slice();
                while !rest.is_empty() {
                    let mut bytes = 0;
                    let fits = rest.iter().take_while(|entry| {
                        bytes += entry.data.len();
                        bytes <= TURN_BYTES
                    });
                    let (portion, later) = rest.split_at(fits.count().max(1));
                    repairer.delivery.sse.repair(stream, portion);
                    rest = later;
                    tokio::task::yield_now().await;
                }
                if entries.len() < page {
                    return Ok(());
                }
            }
            Err(lost) => {
                let tip = repairer.history.tip(stream).await?;
                warn!(
                    ?stream,
                    reason = lost.reason(),
                    "a history has lost events; its streams are told to fetch everything again"
                );
                repairer.delivery.sse.lose(stream, tip, lost);
                return Ok(());
            }
        }
    }
}

/// Compares everything followed here with the stores. Runs until it is dropped.
pub async fn audit(repairer: Repairer) {
    // None waits for another: one of the stores may be away, and one of the comparisons long.
    tokio::join!(
        run_every(&repairer, audit_channels),
        run_every(&repairer, audit_rights),
        run_every(&repairer, audit_streams)
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
            debug!(error = %chain(&error), "what is followed here cannot be compared with the store");
        }
    }
}

async fn audit_channels(repairer: &Repairer) -> Result<(), Problem> {
    let followed = repairer.delivery.hub.positions();
    if followed.is_empty() {
        return Ok(());
    }
    let ids: Vec<ChannelId> = followed.iter().map(|(channel, _)| *channel).collect();
    let stored = store::channels::positions(&repairer.db, &ids).await?;
    let there: HashSet<ChannelId> = stored.iter().map(|(channel, _)| *channel).collect();
    for channel_id in ids.into_iter().filter(|id| !there.contains(id)) {
        repairer
            .delivery
            .apply(&Control::ChannelDeleted { channel_id });
    }
    for (channel, last) in stored {
        if repairer
            .delivery
            .hub
            .position(channel)
            .is_some_and(|position| position < last)
            && repairer.delivery.hub.begin_repair(channel).is_some()
        {
            repairer.delivery.report_gap(Gap::Channel(channel));
        }
    }
    Ok(())
}

/// Ends what is followed of private channels by those who are not in them any more, however that became known.
async fn audit_rights(repairer: &Repairer) -> Result<(), Problem> {
    let members: Vec<_> = repairer
        .delivery
        .hub
        .private_members()
        .into_iter()
        .collect();
    for members in members.chunks(MEMBERS_AT_ONCE) {
        for (channel_id, user_id) in
            store::channels::lost_memberships(&repairer.db, members).await?
        {
            repairer.delivery.apply(&Control::MembershipLost {
                user_id,
                channel_id,
            });
        }
    }
    Ok(())
}

async fn audit_streams(repairer: &Repairer) -> Result<(), Problem> {
    for followed in repairer.delivery.sse.positions().chunks(STREAMS_AT_ONCE) {
        let streams: Vec<EventLog> = followed.iter().map(|(stream, _)| *stream).collect();
        let tips = repairer.history.tips(&streams).await?;
        for ((stream, position), tip) in followed.iter().copied().zip(tips) {
            // A stream that has no entry yet has a new position each time it is asked, which says nothing.
            let moved = tip != position && !(tip.n == 0 && position.n == 0);
            if moved
                && repairer.delivery.sse.position(stream) == Some(position)
                && repairer.delivery.sse.begin_repair(stream)
            {
                repairer.delivery.report_gap(Gap::EventLog(stream));
            }
        }
    }
    Ok(())
}

/// Cuts the sockets whose session has ended, however that became known. Runs until it is dropped.
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
        for sessions in sessions.chunks(SESSIONS_AT_ONCE) {
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
                Err(error) => debug!(error = %chain(&error), "sessions cannot be looked at"),
            }
        }
    }
}
