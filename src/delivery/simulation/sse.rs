//! The simulated SSE clients: they resume at their last event id, on any node, and check each event.

use std::{collections::VecDeque, sync::Arc};

use super::{
    nodes::NodeRef,
    stores::{Stores, user_id},
    world::World,
};
use crate::{
    delivery::sse::{
        output::SseOutput,
        start::{Start, Step},
        stream::SseStream,
    },
    events::position::{Cursor, EventLog, Position},
    ids::SessionId,
    protocol::sse::Coding,
};

struct OpenStream {
    node: NodeRef,
    /// Distinguishes the stream from the client's streams before.
    number: u64,
    stream: Arc<SseStream>,
    /// The replay, which the client has not read yet.
    replay: Vec<u8>,
    /// Whether the start has finished, and the node forwards live events.
    live: bool,
}

pub(super) struct SseClient {
    user: usize,
    open: Option<OpenStream>,
    last_event_id: Option<String>,
    /// Appended entries of the user's log and of the log for all that the client has, or has fetched after `resync`. `None`
    /// until the first `sync`.
    received: Option<[usize; 2]>,
    pub(super) resyncs: usize,
}

impl SseClient {
    pub(super) fn new(user: usize) -> Self {
        Self {
            user,
            open: None,
            last_event_id: None,
            received: None,
            resyncs: 0,
        }
    }

    pub(super) fn is_on(&self, node: NodeRef) -> bool {
        self.open.as_ref().is_some_and(|open| open.node == node)
    }

    fn logs(&self) -> [EventLog; 2] {
        [EventLog::User(user_id(self.user)), EventLog::All]
    }
}

impl World {
    /// Opens a stream on any node, after the client's last event.
    pub(super) fn connect_sse(&mut self, client: usize) {
        if self.sse[client].open.is_some() {
            return;
        }
        let index = self.rng.below(self.nodes.len());
        let number = self.next_number();
        let node = &self.nodes[index];
        let user = user_id(self.sse[client].user);
        let session = SessionId(uuid::Uuid::nil());
        let queue = Arc::default();
        self.sse[client].open = Some(OpenStream {
            node: node.at,
            number,
            stream: (node.delivery.sse).join(user, session, queue, Coding::Identity),
            replay: Vec::new(),
            live: false,
        });
        let resume = self.sse[client].last_event_id.clone();
        self.log(|| format!("stream {client} opens on node {index} after {resume:?}"));
        self.begin_sse(client, number, resume);
    }

    /// Closes a stream; the client connects again after `delay`. Events that it has not read are lost.
    pub(super) fn disconnect_sse(&mut self, client: usize, delay: u64) {
        let Some(open) = self.sse[client].open.take() else {
            return;
        };
        self.log(|| format!("stream {client} closes"));
        if let Some(node) = self.node(open.node) {
            node.delivery.sse.leave(&open.stream);
        }
        self.after(delay, move |world| world.connect_sse(client));
    }

    fn open_stream(&mut self, client: usize, number: u64) -> Option<&mut OpenStream> {
        let open = self.sse[client].open.as_mut();
        open.filter(|open| open.number == number)
    }

    fn begin_sse(&mut self, client: usize, number: u64, resume: Option<String>) {
        let max_replayed = self.max_replayed;
        let user = user_id(self.sse[client].user);
        let Some(open) = self.open_stream(client, number) else {
            return;
        };
        let index = open.node.index;
        let sse = &self.nodes[index].delivery.sse;
        let start = Start::new(sse, user, resume.as_deref(), max_replayed);
        self.continue_sse(client, number, resume, start);
    }

    /// Takes the next step of a start.
    fn continue_sse(
        &mut self,
        client: usize,
        number: u64,
        resume: Option<String>,
        mut start: Start,
    ) {
        let logs = self.sse[client].logs();
        match start.step() {
            Step::ReadTips => {
                let user = user_id(self.sse[client].user);
                let tips = move |stores: &mut Stores, now| {
                    let [own, all] = logs.map(|log| stores.redis.tip(now, log));
                    Cursor::of(user, own, all)
                };
                self.read(tips, move |world, tips| {
                    let taken = tips.map(|tips| start.on_tips(tips));
                    world.after_read(client, number, resume, start, taken);
                });
            }
            Step::ReadEntries {
                log, after, limit, ..
            } => self.read(
                move |stores, now| stores.redis.after(now, log, after, limit),
                move |world, entries| {
                    let taken = entries.map(|entries| start.on_entries(entries));
                    world.after_read(client, number, resume, start, taken);
                },
            ),
            // The node reads whether the session has ended.
            Step::Join => self.read(
                |_, _| (),
                move |world, session| {
                    if session.is_some()
                        && let Some(open) = world.open_stream(client, number)
                    {
                        start.join(&open.stream);
                    }
                    world.after_read(client, number, resume, start, session);
                },
            ),
            Step::Finish => {
                let user = user_id(self.sse[client].user);
                let Some(open) = self.open_stream(client, number) else {
                    return;
                };
                let mut output = SseOutput::new(user);
                start.finish(&mut output, &mut open.replay);
                while let Err(waited) = open.stream.go_live(output, &mut open.replay) {
                    output = waited;
                }
                open.live = true;
                self.read_sse(client);
            }
        }
    }

    /// Continues a start after a read, or begins it again a second after a failed one.
    fn after_read(
        &mut self,
        client: usize,
        number: u64,
        resume: Option<String>,
        start: Start,
        read: Option<()>,
    ) {
        let Some(open) = self.open_stream(client, number) else {
            return;
        };
        if read.is_some() {
            self.continue_sse(client, number, resume, start);
            return;
        }
        let (index, stream) = (open.node.index, open.stream.clone());
        drop(start);
        self.nodes[index].delivery.sse.unsubscribe(&stream);
        self.after(1_000, move |world| world.begin_sse(client, number, resume));
    }

    /// The client reads all that the node has for it.
    pub(super) fn read_sse(&mut self, client: usize) {
        let open = self.sse[client].open.as_mut();
        let Some(open) = open.filter(|open| open.live) else {
            return;
        };
        let mut items = VecDeque::new();
        let close = open.stream.send_queue.take(&mut items);
        let mut text = std::mem::take(&mut open.replay);
        for item in &items {
            text.extend_from_slice(item);
        }
        let text = String::from_utf8(text).expect("a text");
        for event in text.split_terminator("\n\n") {
            self.on_sse_event(client, event);
        }
        if close.is_some() {
            self.disconnect_sse(client, 200);
        }
    }

    /// Checks an event: whose it is, and whether it is the next one.
    fn on_sse_event(&mut self, client: usize, event: &str) {
        let SseClient {
            user,
            last_event_id,
            received,
            resyncs,
            ..
        } = &mut self.sse[client];
        let user = user_id(*user);
        let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
        let (Some(id), Some(name), Some(data)) = (field("id:"), field("event:"), field("data:"))
        else {
            self.violate(format!("stream {client} got an unexpected text: {event}"));
            return;
        };
        *last_event_id = Some(id.to_owned());
        let cursor = Cursor::parse(id, user).expect("an id of the user");
        let positions = [cursor.user, cursor.all];
        let logs = [EventLog::User(user), EventLog::All];
        let stores = &mut self.stores;
        let mut count = |log: usize, at: Position| stores.redis.log(logs[log]).count_through(at);
        let through = [count(0, cursor.user), count(1, cursor.all)];
        let violation = match (name, &mut *received) {
            ("sync", Some(received)) if through[0] > received[0] || through[1] > received[1] => {
                Some("misses events before the sync".to_owned())
            }
            ("sync", Some(_)) => None,
            ("sync", received @ None) => {
                *received = Some(through);
                None
            }
            ("resync", received) => {
                *resyncs += 1;
                *received = Some(through);
                None
            }
            (_, received) => {
                let all = data.starts_with("all ");
                let log = usize::from(all);
                let index = through[log].wrapping_sub(1);
                let entry = stores.redis.log(logs[log]).appended.get(index).copied();
                let is_entry = entry.is_some_and(|entry| {
                    entry.at == positions[log]
                        && data == super::stores::data(logs[log], entry.event)
                });
                // A client without an id may get events that came since it connected before the sync.
                let received = received.get_or_insert_with(|| {
                    let mut received = through;
                    received[log] = index;
                    received
                });
                let before = received[log];
                received[log] = index.wrapping_add(1);
                if !is_entry {
                    Some(format!("got the event {data} with a wrong id {id}"))
                } else if index < before {
                    Some(format!("got the event {data} again"))
                } else if index > before {
                    Some(format!("got the event {data} before an earlier one"))
                } else {
                    None
                }
            }
        };
        self.log(|| format!("stream {client} gets {name} {data} at {id}"));
        if let Some(violation) = violation {
            self.violate(format!("stream {client} {violation}"));
        }
    }

    /// Checks that a client has all events, and no `resync` that nothing explains.
    pub(super) fn check_sse(&mut self, client: usize) {
        let SseClient {
            received, resyncs, ..
        } = self.sse[client];
        let logs = self.sse[client].logs();
        let appended = logs.map(|log| self.stores.redis.log(log).appended.len());
        if received != Some(appended) {
            self.violate(format!(
                "stream {client} has {received:?} of {appended:?} events"
            ));
        } else if resyncs > 0 && self.is_history_complete {
            self.violate(format!("stream {client} got a resync without a loss"));
        }
    }
}
