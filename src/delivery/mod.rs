//! Delivers events to the clients that are connected to this node.
//!
//! [`Delivery::dispatch`] takes each event that Kafka carries to this node. A channel message goes to the STOMP subscribers in
//! [`hub`], an SSE event to the streams in [`sse`]; a control event closes connections and ends subscriptions. Both maps deliver
//! by the rule of [`sequence`]: an event that is not the next one waits until [`repair`] has read the missing ones from the
//! store.

pub mod activity;
mod check;
pub mod destination;
pub mod disconnect;
pub mod hub;
pub mod outbound;
pub mod presence;
pub mod recent_events;
pub mod repair;
pub mod sequence;
pub mod socket;
pub mod sse;
pub mod writers;

use std::{collections::HashSet, sync::Arc};

use tokio::{sync::mpsc, time::Instant};

use crate::{
    auth::sessions::Sessions,
    events::{kafka::Record, position::EventLog},
    ids::{ChannelId, SessionId, UserId},
    metrics::{Metrics, Protocol},
    model::{Control, Event, Topic, TraceParent},
    protocol,
    tasks::Tasks,
    traces::{Span, Traces},
};

use activity::Activity;
use hub::{Hub, Payload, Source};
use sse::SseStreams;

/// Capacity of the queue of gaps. The audit finds a gap that does not fit.
const GAP_QUEUE: usize = 1_024;
/// Capacity of the queue of removals. The connections of a user whose removal does not fit are closed.
const REMOVAL_QUEUE: usize = 1_024;

/// A log of which this node lacks an entry.
#[derive(Clone, Copy, Debug)]
pub enum Gap {
    /// The messages of a channel.
    Channel(ChannelId),
    /// The events of an SSE history.
    EventLog(EventLog),
}

/// A gap, the time at which it was found, and the recorded span that found it.
pub type ReportedGap = (Gap, Instant, Option<TraceParent>);

/// A private channel, and a user who was removed from it.
pub type Removal = (ChannelId, UserId);

/// What the tasks of [`repair`] must read from the stores.
pub struct Reports {
    /// For [`repair::run`].
    pub gaps: mpsc::Receiver<ReportedGap>,
    /// For [`repair::check_removals`].
    pub removals: mpsc::Receiver<Removal>,
}

/// The clients of this node and their subscriptions.
pub struct Delivery {
    /// STOMP connections.
    pub hub: Arc<Hub>,
    /// SSE streams.
    pub sse: Arc<SseStreams>,
    /// Subscriptions to the activity of all channels.
    pub activity: Activity,
    gaps: mpsc::Sender<ReportedGap>,
    removals: mpsc::Sender<Removal>,
    sessions: Sessions,
    tasks: Tasks,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) traces: Traces,
}

impl Delivery {
    /// No clients yet, and the queues for the tasks of [`repair`]. Each user may have `per_user` STOMP connections and as many
    /// SSE streams.
    pub fn new(
        per_user: usize,
        sessions: Sessions,
        tasks: Tasks,
        metrics: Arc<Metrics>,
        traces: Traces,
    ) -> (Self, Reports) {
        let (gaps, reported_gaps) = mpsc::channel(GAP_QUEUE);
        let (removals, reported_removals) = mpsc::channel(REMOVAL_QUEUE);
        let hub = Hub::new(per_user, metrics.deliveries_of(Protocol::Stomp));
        let sse = SseStreams::new(
            per_user,
            hub.writers.clone(),
            metrics.deliveries_of(Protocol::Sse),
        );
        let delivery = Self {
            hub: Arc::new(hub),
            sse: Arc::new(sse),
            activity: Activity::default(),
            gaps,
            removals,
            sessions,
            tasks,
            metrics,
            traces,
        };
        let reports = Reports {
            gaps: reported_gaps,
            removals: reported_removals,
        };
        (delivery, reports)
    }

    /// Delivers an event to the clients of this node. Called in the order in which Kafka carries the events; never waits.
    pub fn dispatch(&self, record: Record) {
        self.dispatch_from(Source::Kafka, record);
    }

    /// Delivers a change of a message that was read from the outbox, before Kafka carries it.
    pub fn dispatch_early(&self, event: Event) {
        let record = Record {
            event,
            position: None,
        };
        self.dispatch_from(Source::Outbox, record);
    }

    fn dispatch_from(&self, source: Source, Record { event, position }: Record) {
        match event.topic {
            Topic::Messages => {
                let Ok(channel) = event.key.parse() else {
                    return;
                };
                let change = event.change();
                let trace = event.trace.filter(|_| self.hub.has_room(channel));
                let span = self.traces.deliver(trace, event.kind);
                let place = span.as_ref().map(Span::place);
                let payload = Payload {
                    id: event.id.to_string(),
                    body: event.body,
                    span,
                };
                let has_gap = if let Some(seq) = event.seq {
                    self.activity.note(channel);
                    self.hub.offer(channel, seq, payload)
                } else {
                    let change = change.as_ref();
                    self.hub
                        .broadcast(channel, event.id, &payload, change, source)
                };
                if has_gap {
                    self.report_gap(Gap::Channel(channel), place);
                }
            }
            Topic::Sse => {
                let (Some(log), Some(position)) = (EventLog::of_key(&event.key), position) else {
                    return;
                };
                let trace = event.trace.filter(|_| self.sse.position(log).is_some());
                let span = self.traces.deliver(trace, event.kind);
                let text = protocol::sse::text(event.kind, &event.body);
                if self.sse.offer(log, position, text) {
                    self.report_gap(Gap::EventLog(log), span.as_ref().map(Span::place));
                }
            }
            Topic::Control => {
                if let Ok(control) = serde_json::from_slice(&event.body) {
                    self.apply(&control);
                }
            }
            // One node of the consumer group reads the jobs.
            Topic::Jobs => {}
        }
    }

    /// Closes the connections and ends the subscriptions that a control event revokes.
    ///
    /// `UserRevoked` may arrive late or twice, after the user has logged in again, so only sessions that Redis no longer has are
    /// closed. While Redis does not answer, all sessions of the user are closed. `MembershipLost` may come after the user was
    /// added again, so [`repair::check_removals`] asks PostgreSQL.
    pub fn apply(&self, control: &Control) {
        if let Control::MembershipLost {
            user_id,
            channel_id,
        } = *control
        {
            if self.hub.has_room(channel_id)
                && self.removals.try_send((channel_id, user_id)).is_err()
            {
                let now = self.hub.tick();
                self.hub.close_unverified(channel_id, user_id, now);
            }
            return;
        }
        let Control::UserRevoked { user_id: user } = *control else {
            self.hub.apply(control);
            self.sse.apply(control);
            return;
        };
        let sessions: HashSet<SessionId> = self
            .sessions()
            .filter(|(of, _)| *of == user)
            .map(|(_, session)| session)
            .collect();
        if sessions.is_empty() {
            return;
        }
        let sessions: Vec<SessionId> = sessions.into_iter().collect();
        let (hub, sse, register) = (self.hub.clone(), self.sse.clone(), self.sessions.clone());
        self.tasks.spawn("revocation", async move {
            let ended = register.filter_ended(&sessions).await.unwrap_or(sessions);
            for session_id in ended {
                let control = Control::SessionRevoked {
                    user_id: user,
                    session_id,
                };
                hub.apply(&control);
                sse.apply(&control);
            }
        });
    }

    /// Repairs a log, unless a repair of it is running or its position is not known yet.
    pub fn request_repair(&self, gap: Gap) {
        let begins = match gap {
            Gap::Channel(channel) => self.hub.begin_repair(channel),
            Gap::EventLog(log) => self.sse.begin_repair(log),
        };
        if begins {
            self.metrics.audit_findings.inc();
            self.report_gap(gap, None);
        }
    }

    /// Queues a gap whose repair counts as begun. When the queue is full the repair ends, and the audit requests it again.
    fn report_gap(&self, gap: Gap, found_by: Option<TraceParent>) {
        let reported = (gap, Instant::now(), found_by);
        if self.gaps.try_send(reported).is_err() {
            self.end_repair(gap);
        }
    }

    /// Ends a repair. True when an entry of the log is still missing.
    fn end_repair(&self, gap: Gap) -> bool {
        match gap {
            Gap::Channel(channel) => self.hub.end_repair(channel),
            Gap::EventLog(log) => self.sse.end_repair(log),
        }
    }

    /// The user and session of every STOMP connection and SSE stream.
    pub fn sessions(&self) -> impl Iterator<Item = (UserId, SessionId)> {
        self.hub.sessions().into_iter().chain(self.sse.sessions())
    }

    /// Whether no client is connected.
    pub fn is_empty(&self) -> bool {
        self.hub.is_empty() && self.sse.is_empty()
    }
}

#[cfg(test)]
mod simulation;
