//! What Kafka has not brought is read from the store: when a record shows that an earlier one is missing, every few
//! seconds in any case, and at short intervals while Kafka is away.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::{
    sync::{Semaphore, mpsc},
    time::Instant,
};
use tracing::{debug, warn};

use crate::{
    app::App,
    history::Stream,
    hub::Delivery,
    ids::ChannelId,
    mailbox::TURN_BYTES,
    model::Control,
    problem::{Problem, chain},
    store,
};

/// Records of one channel that several nodes publish overtake each other by a few milliseconds; most gaps close by
/// themselves within this time.
const PATIENCE: Duration = Duration::from_millis(15);
/// Messages or events read at once.
const PAGE: i64 = 200;
/// Repairs at the same time: enough to be quick, few enough to leave the pool to the requests.
const AT_ONCE: usize = 4;
/// How often everything followed here is compared with the store.
const AUDIT_EVERY: Duration = Duration::from_secs(5);
/// The same while Kafka is away: what is accepted arrives within two seconds.
const AUDIT_EVERY_WITHOUT_KAFKA: Duration = Duration::from_millis(500);
/// Sessions of open sockets are looked at this often, for a revocation that Kafka did not carry.
const SESSIONS_EVERY: Duration = Duration::from_secs(5);
/// The same while Kafka is away, and so carries none.
const SESSIONS_EVERY_WITHOUT_KAFKA: Duration = Duration::from_secs(1);
/// Sessions asked for in one round trip.
const SESSIONS_AT_ONCE: usize = 1_000;

/// Histories asked for in one round trip.
const STREAMS_AT_ONCE: usize = 500;

/// Memberships asked for in one statement.
const MEMBERS_AT_ONCE: usize = 5_000;

/// What lacks something.
#[derive(Clone, Copy, Debug)]
pub enum Gap {
    /// A channel's messages.
    Channel(ChannelId),
    /// A history's events.
    Stream(Stream),
}

/// A gap and when it was seen.
pub type Reported = (Gap, Instant);

/// Where gaps are reported.
#[derive(Clone)]
pub struct Repairs {
    queue: mpsc::Sender<Reported>,
}

impl Repairs {
    /// A queue and its other end. What does not fit is found by the audit.
    pub fn new() -> (Self, mpsc::Receiver<Reported>) {
        let (queue, gaps) = mpsc::channel(1_024);
        (Self { queue }, gaps)
    }

    /// Reports a gap whose owner is marked as being repaired.
    pub fn report(&self, gap: Gap, app: &App) {
        if self.queue.try_send((gap, Instant::now())).is_err() {
            match gap {
                Gap::Channel(channel) => drop(app.hub.end_repair(channel)),
                Gap::Stream(stream) => drop(app.feeds.end_repair(stream)),
            }
        }
    }
}

/// Closes reported gaps. Runs until it is dropped.
pub async fn run(app: Arc<App>, mut gaps: mpsc::Receiver<Reported>) {
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    while let Some((gap, reported)) = gaps.recv().await {
        // Reported one after the other, so nobody waits for the patience that another needs.
        tokio::time::sleep_until(reported + PATIENCE).await;
        let Ok(turn) = turns.clone().acquire_owned().await else {
            return;
        };
        let worker = app.clone();
        app.tasks.spawn("repair", async move {
            close(&worker, gap).await;
            drop(turn);
        });
    }
}

/// Closes one gap, whose owner is marked as being repaired.
async fn close(app: &App, gap: Gap) {
    let (result, again) = match gap {
        Gap::Channel(channel) => (
            read_channel(app, channel).await,
            app.hub.end_repair(channel),
        ),
        Gap::Stream(stream) => (read_stream(app, stream).await, app.feeds.end_repair(stream)),
    };
    if let Err(error) = result {
        // The audit tries again.
        warn!(error = %chain(&error), ?gap, "what is missing cannot be read");
    } else if again {
        let marked = match gap {
            Gap::Channel(channel) => app.hub.begin_repair(channel).is_some(),
            Gap::Stream(stream) => app.feeds.begin_repair(stream),
        };
        if marked {
            app.repairs.report(gap, app);
        }
    }
}

async fn read_channel(app: &App, channel: ChannelId) -> Result<(), Problem> {
    loop {
        let Some(position) = app.hub.position(channel) else {
            return Ok(());
        };
        // The channel's position first: what is committed after it comes by Kafka, or in the next round.
        let Some((_, last)) = store::channels::positions(&app.db, &[channel]).await?.pop() else {
            return Ok(());
        };
        if last <= position {
            return Ok(());
        }
        let messages = store::messages::between(&app.db, channel, position, last, PAGE).await?;
        let full = i64::try_from(messages.len()).unwrap_or(PAGE) >= PAGE;
        let through = messages
            .last()
            .filter(|_| full)
            .map_or(last, |message| message.seq);
        debug!(channel.id = %channel, from = position, through, messages = messages.len(), "read from the store what Kafka did not bring");
        let mut portion = Vec::new();
        let mut bytes = 0;
        for message in &messages {
            let delivery = Delivery::stored(message);
            bytes += delivery.body.len();
            portion.push((message.seq, delivery));
            if bytes > TURN_BYTES {
                app.hub
                    .repair(channel, std::mem::take(&mut portion), message.seq);
                bytes = 0;
                tokio::task::yield_now().await;
            }
        }
        app.hub.repair(channel, portion, through);
        tokio::task::yield_now().await;
    }
}

async fn read_stream(app: &App, stream: Stream) -> Result<(), Problem> {
    loop {
        let Some(position) = app.feeds.position(stream) else {
            return Ok(());
        };
        let page = usize::try_from(PAGE).unwrap_or(usize::MAX);
        match app.history.after(stream, position, page).await? {
            Ok(entries) => {
                let mut rest = entries.as_slice();
                while !rest.is_empty() {
                    let mut bytes = 0;
                    let fits = rest.iter().take_while(|entry| {
                        bytes += entry.data.len();
                        bytes <= TURN_BYTES
                    });
                    let (portion, later) = rest.split_at(fits.count().max(1));
                    app.feeds.repair(stream, portion);
                    rest = later;
                    tokio::task::yield_now().await;
                }
                if entries.len() < page {
                    return Ok(());
                }
            }
            Err(lost) => {
                let tip = app.history.tip(stream).await?;
                warn!(
                    ?stream,
                    reason = lost.reason(),
                    "a history has lost events; its streams are told to fetch everything again"
                );
                app.feeds.lose(stream, tip, lost);
                return Ok(());
            }
        }
    }
}

/// Compares everything followed here with the stores. Runs until it is dropped.
pub async fn audit(app: Arc<App>) {
    // None waits for another: one of the stores may be away, and one of the comparisons long.
    tokio::join!(
        again_and_again(&app, audit_channels),
        again_and_again(&app, audit_rights),
        again_and_again(&app, audit_streams)
    );
}

async fn again_and_again(app: &App, compare: impl AsyncFn(&App) -> Result<(), Problem>) {
    loop {
        let mut waited = Duration::ZERO;
        while waited
            < if app.bus.carries_steadily() {
                AUDIT_EVERY
            } else {
                AUDIT_EVERY_WITHOUT_KAFKA
            }
        {
            tokio::time::sleep(AUDIT_EVERY_WITHOUT_KAFKA).await;
            waited += AUDIT_EVERY_WITHOUT_KAFKA;
        }
        if let Err(error) = compare(app).await {
            debug!(error = %chain(&error), "what is followed here cannot be compared with the store");
        }
    }
}

async fn audit_channels(app: &App) -> Result<(), Problem> {
    let followed = app.hub.positions();
    if followed.is_empty() {
        return Ok(());
    }
    let ids: Vec<ChannelId> = followed.iter().map(|(channel, _)| *channel).collect();
    let stored = store::channels::positions(&app.db, &ids).await?;
    let there: HashSet<ChannelId> = stored.iter().map(|(channel, _)| *channel).collect();
    for channel_id in ids.into_iter().filter(|id| !there.contains(id)) {
        app.obey(&Control::ChannelDeleted { channel_id });
    }
    for (channel, last) in stored {
        if app
            .hub
            .position(channel)
            .is_some_and(|position| position < last)
            && app.hub.begin_repair(channel).is_some()
        {
            app.repairs.report(Gap::Channel(channel), app);
        }
    }
    Ok(())
}

/// Ends what is followed of private channels by those who are not in them any more, however that became known.
async fn audit_rights(app: &App) -> Result<(), Problem> {
    let members: Vec<_> = app.hub.private_members().into_iter().collect();
    for members in members.chunks(MEMBERS_AT_ONCE) {
        for (channel_id, user_id) in store::channels::lost_memberships(&app.db, members).await? {
            app.obey(&Control::MembershipLost {
                user_id,
                channel_id,
            });
        }
    }
    Ok(())
}

async fn audit_streams(app: &App) -> Result<(), Problem> {
    for followed in app.feeds.positions().chunks(STREAMS_AT_ONCE) {
        let streams: Vec<Stream> = followed.iter().map(|(stream, _)| *stream).collect();
        let tips = app.history.tips(&streams).await?;
        for ((stream, position), tip) in followed.iter().copied().zip(tips) {
            // A stream that has no entry yet has a new position each time it is asked, which says nothing.
            let moved = tip != position && !(tip.n == 0 && position.n == 0);
            if moved
                && app.feeds.position(stream) == Some(position)
                && app.feeds.begin_repair(stream)
            {
                app.repairs.report(Gap::Stream(stream), app);
            }
        }
    }
    Ok(())
}

/// Cuts the sockets whose session has ended, however that became known. Runs until it is dropped.
pub async fn audit_sessions(app: Arc<App>) {
    loop {
        let mut waited = Duration::ZERO;
        while waited < SESSIONS_EVERY && (app.bus.carries() || waited.is_zero()) {
            tokio::time::sleep(SESSIONS_EVERY_WITHOUT_KAFKA).await;
            waited += SESSIONS_EVERY_WITHOUT_KAFKA;
        }
        let mut sessions: Vec<_> = app
            .hub
            .sessions()
            .into_iter()
            .chain(app.feeds.sessions())
            .collect();
        sessions.sort_unstable_by_key(|(_, session)| *session);
        sessions.dedup_by_key(|(_, session)| *session);
        for sessions in sessions.chunks(SESSIONS_AT_ONCE) {
            let ids: Vec<_> = sessions.iter().map(|(_, session)| *session).collect();
            match app.sessions.ended(&ids).await {
                Ok(ended) => {
                    for (user_id, session_id) in sessions
                        .iter()
                        .filter(|(_, session)| ended.contains(session))
                    {
                        app.obey(&Control::SessionRevoked {
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
