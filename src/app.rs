//! What handlers, sockets and tasks may use. Passed as `Arc<App>`, never global, so that several nodes live in one process.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use redis::aio::ConnectionManager;
use sqlx::PgPool;

use crate::{
    bus::{Arrived, Bus},
    config::Config,
    feeds::{self, Feeds},
    files::Files,
    group_commit::GroupCommit,
    history::{History, Stream},
    hub::{Delivery, Hub},
    ids::SessionId,
    model::{Control, Topic},
    outbox::Outbox,
    password::Passwords,
    presence::Presence,
    repair::{Gap, Repairs},
    sessions::Sessions,
    tasks::Tasks,
    token::Tokens,
};

/// The parts of one node.
pub struct App {
    /// Settings.
    pub config: Config,
    /// PostgreSQL.
    pub db: PgPool,
    /// Redis.
    pub redis: ConnectionManager,
    /// Sessions, in Redis.
    pub sessions: Sessions,
    /// The SSE history, in Redis.
    pub history: History,
    /// Who is online, in Redis.
    pub presence: Presence,
    /// Access tokens.
    pub tokens: Tokens,
    /// Password hashes.
    pub passwords: Passwords,
    /// STOMP connections of this node.
    pub hub: Arc<Hub>,
    /// SSE streams of this node.
    pub feeds: Arc<Feeds>,
    /// Kafka.
    pub bus: Arc<Bus>,
    /// From committed events to Kafka.
    pub outbox: Arc<Outbox>,
    /// The bytes of files.
    pub files: Arc<Files>,
    /// Writes new messages.
    pub posts: GroupCommit,
    /// Reads what Kafka did not bring.
    pub repairs: Repairs,
    /// Tasks.
    pub tasks: Tasks,
    /// Whether the schema and the admin account are there.
    pub prepared: AtomicBool,
    /// Whether the node is about to leave.
    pub leaving: AtomicBool,
}

impl App {
    /// Delivers an event to those connected here. Called in the order in which Kafka brings them; does not wait.
    pub fn deliver(&self, arrived: Arrived) {
        let Arrived { event, position } = arrived;
        match event.topic {
            Topic::Messages => {
                let Ok(channel) = event.key.parse() else {
                    return;
                };
                let id = event.id;
                let delivery = Delivery {
                    id: id.to_string(),
                    body: event.body,
                };
                match event.seq {
                    Some(seq) => {
                        if self.hub.offer(channel, seq, delivery) {
                            self.repairs.report(Gap::Channel(channel), self);
                        }
                    }
                    None => self.hub.tell(channel, id, &delivery),
                }
            }
            Topic::Sse => {
                let (Some(stream), Some(at)) = (Stream::of_key(&event.key), position) else {
                    return;
                };
                if self
                    .feeds
                    .offer(stream, at, feeds::text(event.kind, &event.body))
                {
                    self.repairs.report(Gap::Stream(stream), self);
                }
            }
            Topic::Control => {
                if let Ok(control) = serde_json::from_slice(&event.body) {
                    self.obey(&control);
                }
            }
            // Not for every node: `jobs.rs` reads it.
            Topic::Jobs => {}
        }
    }

    /// Cuts the sockets and subscriptions on this node that have lost their right.
    pub fn obey(&self, control: &Control) {
        let Control::UserRevoked { user_id: user } = *control else {
            self.hub.obey(control);
            self.feeds.obey(control);
            return;
        };
        // The word may come late, or again, when the user has signed in anew: of their sessions here only those end that
        // are no more. If that cannot be asked, all.
        let sockets = self.hub.sessions().into_iter().chain(self.feeds.sessions());
        let sessions: HashSet<SessionId> = sockets
            .filter(|(of, _)| *of == user)
            .map(|(_, session)| session)
            .collect();
        if sessions.is_empty() {
            return;
        }
        let sessions: Vec<SessionId> = sessions.into_iter().collect();
        let (hub, feeds, register) = (self.hub.clone(), self.feeds.clone(), self.sessions.clone());
        self.tasks.spawn("revocation", async move {
            let ended = register.ended(&sessions).await.unwrap_or(sessions);
            for session_id in ended {
                let control = Control::SessionRevoked {
                    user_id: user,
                    session_id,
                };
                hub.obey(&control);
                feeds.obey(&control);
            }
        });
    }

    /// Whether the schema and the admin account are there.
    pub fn is_prepared(&self) -> bool {
        self.prepared.load(Ordering::Relaxed)
    }

    /// Whether the node is about to leave.
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }
}
