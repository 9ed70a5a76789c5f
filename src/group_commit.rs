//! Group commit of new messages.
//!
//! Waiting messages share one statement and its transaction, because the round trip and the commit are the expensive parts.
//!
//! One task per node writes one group after the other. The next group gathers while a group commits; a message that arrives while
//! the task is idle does not wait.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tracing::warn;
use uuid::Uuid;

use crate::{
    crash::Point,
    events::outbox::Outbox,
    ids::{ChannelId, EventId, MessageId, UserId},
    model::{BinaryContent, Event, Message, MessageText, TraceParent, mention::Candidates},
    problem::{Dependency, Problem, Resource, chain},
    store::{
        Db,
        mentions::Names,
        messages,
        new_messages::{self, NewMessage, Outcome, Stored},
        outbox::OutboxRow,
    },
    traces::{Span, Traces, count},
};

/// Messages that wait for a group: 2 s of a node's highest rate.
///
/// [`GroupCommit::post`] refuses further ones.
const MAX_WAITING: usize = 4_096;
/// Messages of one group.
///
/// A larger group makes a message no cheaper, and each message waits for the last.
const MAX_GROUP: usize = 128;
/// A group that takes longer fails, so that its senders get an answer within 5 s.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(4);

/// A message to store.
#[derive(Clone, Debug)]
pub struct Post {
    /// The id that it gets.
    pub id: MessageId,
    /// Author.
    pub author: UserId,
    /// Channel.
    pub channel: ChannelId,
    /// Text.
    pub text: MessageText,
    /// Attachments, whose bytes are stored already.
    pub attachments: Vec<BinaryContent>,
    /// The message of the channel that this one replies to.
    pub reply_to: Option<MessageId>,
    /// The names that the text mentions.
    pub mentions: Vec<Candidates>,
    /// The client's identifier.
    ///
    /// A second message of the author with the same identifier is not stored.
    pub client_id: Option<Uuid>,
    /// The recorded span that posts it.
    pub trace: Option<TraceParent>,
}

/// A stored message.
#[derive(Clone, Debug)]
pub struct Posted {
    /// The [`Message`] as JSON.
    pub body: Bytes,
    /// Whether this post stored it.
    ///
    /// False when the message was stored before; then this post's attachments are unused.
    pub new: bool,
}

impl Posted {
    /// The answer to a SEND that stores no message.
    pub const NOTHING: Self = Self {
        body: Bytes::new(),
        new: false,
    };
}

/// The answer to a post, after its commit.
pub type Answer = oneshot::Receiver<Result<Posted, Problem>>;

type WaitingPost = (Post, oneshot::Sender<Result<Posted, Problem>>);

/// The sending end of the queue of messages to store.
#[derive(Clone)]
pub struct GroupCommit {
    queue: mpsc::Sender<WaitingPost>,
}

/// The receiving end of the queue, for the task that writes groups.
pub struct Groups {
    queue: mpsc::Receiver<WaitingPost>,
}

impl GroupCommit {
    /// Creates the queue.
    pub fn new() -> (Self, Groups) {
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        (Self { queue: sender }, Groups { queue: receiver })
    }

    /// Queues a message.
    ///
    /// Does not wait; messages of one caller are written in the order of these calls.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] when [`MAX_WAITING`] messages wait.
    pub fn post(&self, post: Post) -> Result<Answer, Problem> {
        let (sender, answer) = oneshot::channel();
        self.queue
            .try_send((post, sender))
            .map_err(|_| Problem::Unavailable(Dependency::Node, None))?;
        Ok(answer)
    }
}

/// What became of each message of a group, in the group's order, and the events of the new messages.
struct Written {
    answers: Vec<Result<Answered, Problem>>,
    events: Vec<OutboxRow>,
}

/// A message that is stored.
enum Answered {
    /// By this post. With its JSON.
    New(Bytes),
    /// By an earlier post with the same author and `clientMessageId`.
    Repeated(MessageId),
}

impl Groups {
    /// Writes groups until every sender is dropped.
    pub async fn run(mut self, db: Db, outbox: Arc<Outbox>) {
        let mut waiting = Vec::with_capacity(MAX_GROUP);
        while self.queue.recv_many(&mut waiting, MAX_GROUP).await > 0 {
            while !waiting.is_empty() {
                let rest = waiting.split_off(first_group(&waiting));
                let (posts, senders): (Vec<Post>, Vec<_>) = waiting.drain(..).unzip();
                waiting = rest;
                let answers = match write_within_timeout(&db, &outbox.traces, &posts).await {
                    Ok(written) => {
                        Point::MessageCommitted.pass();
                        outbox.publish(written.events);
                        Point::MessagePublished.pass();
                        read_repeated(&db, written.answers).await
                    }
                    Err(Problem::Internal(_)) => write_individually(&db, &outbox, &posts).await,
                    Err(problem) => {
                        // Refuses the waiting messages too: each further group would take another COMMIT_TIMEOUT to fail.
                        let refused = self.refuse(&mut waiting);
                        warn!(error = %chain(&problem), messages = posts.len() + refused, "group commit failed");
                        posts.iter().map(|_| Err(unavailable())).collect()
                    }
                };
                for (sender, answer) in senders.into_iter().zip(answers) {
                    // Fails when the client has disconnected.
                    drop(sender.send(answer));
                }
            }
        }
    }

    /// Refuses all waiting messages and returns their number.
    fn refuse(&mut self, waiting: &mut Vec<WaitingPost>) -> usize {
        while let Ok(post) = self.queue.try_recv() {
            waiting.push(post);
        }
        let refused = waiting.len();
        for (_, sender) in waiting.drain(..) {
            drop(sender.send(Err(unavailable())));
        }
        refused
    }
}

/// The number of messages up to the first one that repeats the author and `clientMessageId` of one before it.
fn first_group(waiting: &[WaitingPost]) -> usize {
    let mut ids = HashSet::new();
    let repeated = waiting.iter().position(|(post, _)| {
        let id = post.client_id.map(|id| (post.author, id));
        id.is_some_and(|id| !ids.insert(id))
    });
    repeated.unwrap_or(waiting.len())
}

/// The answer while PostgreSQL accepts no messages.
fn unavailable() -> Problem {
    Problem::Unavailable(Dependency::Postgres, None)
}

async fn write_within_timeout(
    db: &Db,
    traces: &Traces,
    posts: &[Post],
) -> Result<Written, Problem> {
    let spans = posts
        .iter()
        .filter_map(|post| traces.child(post.trace, "commit"));
    let spans: Vec<Span> = spans.collect();
    let written = tokio::time::timeout(COMMIT_TIMEOUT, write(db, posts))
        .await
        .unwrap_or(Err(unavailable()));
    for span in spans {
        span.set("discodeit.group.messages", count(posts.len()));
        if let Err(problem) = &written {
            span.fail(problem.code());
        }
    }
    written
}

/// Writes each message of a group by itself, after the group failed.
///
/// So a message that PostgreSQL refuses does not fail the others. This also resolves the conflict when two nodes store the same
/// `clientMessageId` at once: the second transaction finds the message of the first.
async fn write_individually(
    db: &Db,
    outbox: &Outbox,
    posts: &[Post],
) -> Vec<Result<Posted, Problem>> {
    let mut answers = Vec::with_capacity(posts.len());
    for post in posts {
        match write_within_timeout(db, &outbox.traces, std::slice::from_ref(post)).await {
            Ok(written) => {
                outbox.publish(written.events);
                answers.extend(written.answers);
            }
            Err(Problem::Unavailable(..)) => {
                // The other messages would fail likewise, each after a timeout.
                answers.resize_with(posts.len(), || Err(unavailable()));
                break;
            }
            Err(problem) => answers.push(Err(problem)),
        }
    }
    read_repeated(db, answers).await
}

/// Stores a group's messages in one statement.
async fn write(db: &Db, posts: &[Post]) -> Result<Written, Problem> {
    let keys = posts.iter().flat_map(|post| {
        let keys = post.mentions.iter().flatten().cloned();
        keys.map(|key| (post.channel, key))
    });
    let names = Names::read(db, keys.collect()).await?;
    let mentions = posts
        .iter()
        .map(|post| names.resolve(post.channel, &post.mentions));
    let mentions: Vec<Vec<UserId>> = mentions.collect();
    let messages = posts
        .iter()
        .zip(&mentions)
        .map(|(post, mentions)| NewMessage {
            id: post.id,
            channel: post.channel,
            author: post.author,
            content: post.text.as_str(),
            client_id: post.client_id,
            reply_to: post.reply_to,
            mentions,
            attachments: &post.attachments,
            event: EventId::new(),
            job: EventId::new(),
        });
    let messages: Vec<NewMessage<'_>> = messages.collect();
    let outcomes = new_messages::insert(db, &messages).await?;
    let mut events = Vec::with_capacity(posts.len());
    let answers =
        outcomes
            .into_iter()
            .zip(posts)
            .zip(&messages)
            .map(|((outcome, post), message)| match outcome {
                Outcome::New(stored) => {
                    let body = new_message(post, message, *stored, &mut events)?;
                    Ok(Answered::New(body))
                }
                Outcome::Repeated(id) => Ok(Answered::Repeated(id)),
                Outcome::Deleted(id) => Err(Problem::NotFound(Resource::Message(id))),
                Outcome::NoAuthor => Err(Problem::NotFound(Resource::User(post.author))),
                Outcome::NoChannel => Err(Problem::NotFound(Resource::Channel(post.channel))),
                Outcome::NoOriginal => Err(Problem::invalid(
                    "replyTo",
                    "must be a message of the channel",
                )),
            });
    Ok(Written {
        answers: answers.collect(),
        events,
    })
}

/// The JSON of a message that was stored. Adds its event and its job.
fn new_message(
    post: &Post,
    new: &NewMessage<'_>,
    stored: Stored,
    events: &mut Vec<OutboxRow>,
) -> Result<Bytes, Problem> {
    let message = Message {
        id: post.id,
        created_at: stored.created_at,
        updated_at: stored.created_at,
        content: post.text.clone().into_string(),
        channel_id: post.channel,
        author: Some(stored.author),
        attachments: post.attachments.clone(),
        seq: stored.seq,
        reply_to: stored.reply_to,
        mentions: new.mentions.to_vec(),
        reactions: Vec::new(),
        client_message_id: post.client_id,
    };
    let body = message.to_json()?;
    let mut created = Event::message_created(new.event, post.channel, stored.seq, body.clone());
    created.trace = post.trace;
    events.push(OutboxRow::new(stored.event_row, created));
    if let Some(row) = stored.job_row {
        let job = Event::notification_job(new.job, post.channel, post.id);
        events.push(OutboxRow::new(row, job));
    }
    Ok(body)
}

/// The answers with the JSON of the messages that were stored before.
async fn read_repeated(
    db: &Db,
    answers: Vec<Result<Answered, Problem>>,
) -> Vec<Result<Posted, Problem>> {
    let repeated = answers.iter().filter_map(|answer| match answer {
        Ok(Answered::Repeated(id)) => Some(*id),
        _ => None,
    });
    let repeated: Vec<MessageId> = repeated.collect();
    let stored = if repeated.is_empty() {
        Ok(HashMap::new())
    } else {
        messages::with_ids(db, &repeated).await
    };
    let posted = answers.into_iter().map(|answer| match answer? {
        Answered::New(body) => Ok(Posted { body, new: true }),
        Answered::Repeated(id) => match &stored {
            Ok(stored) => {
                let message = stored.get(&id);
                let message = message.ok_or(Problem::NotFound(Resource::Message(id)))?;
                Ok(Posted {
                    body: message.to_json()?,
                    new: false,
                })
            }
            Err(_) => Err(unavailable()),
        },
    });
    posted.collect()
}
