//! Group commit of new messages.
//!
//! Waiting messages share one transaction, because the commit is the expensive part.
//!
//! One task per node writes one group after the other. The next group gathers while a group commits; a message that arrives while
//! the task is idle does not wait.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tracing::warn;
use uuid::Uuid;

use crate::{
    crash::Point,
    events::outbox::Outbox,
    ids::{ChannelId, MessageId, UserId},
    model::{BinaryContent, Message, MessageText, Reply, TraceParent, mention::Candidates},
    problem::{Dependency, Problem, Resource, chain},
    store::{
        Db, Transaction,
        mentions::Names,
        new_messages::{self, Author, NewMessage, Target},
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

/// The answer to each message of a group, in the group's order, and the events of the new messages.
struct Written {
    answers: Vec<Result<Posted, Problem>>,
    events: Vec<OutboxRow>,
}

impl Groups {
    /// Writes groups until every sender is dropped.
    pub async fn run(mut self, db: Db, outbox: Arc<Outbox>) {
        let mut group = Vec::with_capacity(MAX_GROUP);
        while self.queue.recv_many(&mut group, MAX_GROUP).await > 0 {
            let (posts, senders): (Vec<Post>, Vec<_>) = group.drain(..).unzip();
            let answers = match write_within_timeout(&db, &outbox.traces, &posts).await {
                Ok(written) => {
                    Point::MessageCommitted.pass();
                    outbox.publish(written.events);
                    Point::MessagePublished.pass();
                    written.answers
                }
                Err(Problem::Internal(_)) => write_individually(&db, &outbox, &posts).await,
                Err(problem) => {
                    // Refuses the waiting messages too: each further group would take another COMMIT_TIMEOUT to fail.
                    let waiting = self.refuse_waiting();
                    warn!(error = %chain(&problem), messages = posts.len() + waiting, "group commit failed");
                    posts.iter().map(|_| Err(unavailable())).collect()
                }
            };
            for (sender, answer) in senders.into_iter().zip(answers) {
                // Fails when the client has disconnected.
                drop(sender.send(answer));
            }
        }
    }

    /// Refuses all waiting messages and returns their number.
    fn refuse_waiting(&mut self) -> usize {
        let mut refused = 0;
        while let Ok((_, sender)) = self.queue.try_recv() {
            drop(sender.send(Err(unavailable())));
            refused += 1;
        }
        refused
    }
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

/// Writes each message of a group in a transaction of its own, after the group failed.
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
        answers.push(
            match write_within_timeout(db, &outbox.traces, std::slice::from_ref(post)).await {
                Ok(mut written) => {
                    outbox.publish(written.events);
                    written
                        .answers
                        .pop()
                        .unwrap_or_else(|| Err(Problem::Unavailable(Dependency::Node, None)))
                }
                Err(problem) => Err(problem),
            },
        );
        if matches!(answers.last(), Some(Err(Problem::Unavailable(..)))) {
            // The other messages would fail likewise, each after a timeout.
            answers.resize_with(posts.len(), || Err(unavailable()));
            break;
        }
    }
    answers
}

async fn write(db: &Db, posts: &[Post]) -> Result<Written, Problem> {
    let mut transaction = db.begin().await?;
    let mut batch = Batch::read(&mut transaction, posts).await?;
    let mut new = Vec::new();
    let mut answers = Vec::with_capacity(posts.len());
    for post in posts {
        answers.push(batch.admit(post, &mut new));
    }
    let events = if new.is_empty() {
        Vec::new()
    } else {
        new_messages::insert(&mut transaction, &new).await?
    };
    Point::MessageWritten.pass();
    transaction.commit().await?;
    Ok(Written { answers, events })
}

/// The rows that decide whether each message of a group is accepted.
///
/// They stay locked until the transaction ends.
struct Batch {
    channels: HashMap<ChannelId, Target>,
    authors: HashMap<UserId, Author>,
    /// JSON of the messages stored earlier with the same author and `clientMessageId`.
    stored: HashMap<(UserId, Uuid), Bytes>,
    /// The messages that the group's messages reply to, with their channels.
    originals: HashMap<MessageId, (ChannelId, Reply)>,
    /// The users with the names that the group's messages mention.
    names: Names,
}

impl Batch {
    async fn read(db: &mut Transaction, posts: &[Post]) -> Result<Self, Problem> {
        // Before the locks, because a text may have many candidates.
        let mut candidates = Vec::new();
        for post in posts {
            let keys = post.mentions.iter().flatten().cloned();
            candidates.extend(keys.map(|key| (post.channel, key)));
        }
        let names = Names::read(db, candidates).await?;
        let channels = distinct(posts.iter().map(|post| post.channel));
        let channels = new_messages::lock_targets(db, &channels).await?;
        let authors = distinct(posts.iter().map(|post| (post.author, post.channel)));
        let (senders, ids): (Vec<_>, Vec<_>) = posts
            .iter()
            .filter_map(|post| Some((post.author, post.client_id?)))
            .unzip();
        let authors = new_messages::lock_authors(db, &authors, &ids).await?;
        let mut stored = HashMap::new();
        if !ids.is_empty() {
            for message in new_messages::with_client_ids(db, &senders, &ids).await? {
                if let (Some(author), Some(id)) = (&message.author, message.client_message_id) {
                    stored.insert((author.id, id), json(&message)?);
                }
            }
        }
        let replied_to = distinct(posts.iter().filter_map(|post| post.reply_to));
        let originals = if replied_to.is_empty() {
            HashMap::new()
        } else {
            new_messages::originals(db, &replied_to).await?
        };
        let channels = channels.into_iter().map(|target| (target.id, target));
        Ok(Self {
            channels: channels.collect(),
            authors,
            stored,
            originals,
            names,
        })
    }

    /// Accepts or refuses a message.
    ///
    /// Adds an accepted message to `new` unless it is stored already.
    fn admit(&mut self, post: &Post, new: &mut Vec<NewMessage>) -> Result<Posted, Problem> {
        let stored = post
            .client_id
            .and_then(|id| self.stored.get(&(post.author, id)));
        if let Some(body) = stored {
            return Ok(Posted {
                body: body.clone(),
                new: false,
            });
        }
        let author = self.authors.get(&post.author);
        let author = author.ok_or(Problem::NotFound(Resource::User(post.author)))?;
        let deleted = post.client_id.and_then(|id| author.deleted_message(id));
        if let Some(message) = deleted {
            return Err(Problem::NotFound(Resource::Message(message)));
        }
        let target = self
            .channels
            .get_mut(&post.channel)
            .filter(|target| author.visible_channels.contains(&target.id));
        let target = target.ok_or(Problem::NotFound(Resource::Channel(post.channel)))?;
        let original = |id| match self.originals.get(&id) {
            Some((channel, reply)) if *channel == post.channel => Ok(reply.clone()),
            _ => Err(Problem::invalid(
                "replyTo",
                "must be a message of the channel",
            )),
        };
        let message = Message {
            id: MessageId::new(),
            created_at: target.now,
            updated_at: target.now,
            content: post.text.clone().into_string(),
            channel_id: post.channel,
            author: Some(author.user.clone()),
            attachments: post.attachments.clone(),
            seq: target.last_seq + 1,
            reply_to: post.reply_to.map(original).transpose()?,
            mentions: self.names.resolve(post.channel, &post.mentions),
            reactions: Vec::new(),
            client_message_id: post.client_id,
        };
        let body = json(&message)?;
        target.last_seq += 1;
        if let Some(id) = post.client_id {
            self.stored.insert((post.author, id), body.clone());
        }
        let is_addressed = !message.mentions.is_empty() || message.reply_to.is_some();
        new.push(NewMessage {
            message,
            body: body.clone(),
            notifies: target.notifies || is_addressed,
            trace: post.trace,
        });
        Ok(Posted { body, new: true })
    }
}

/// The distinct items, sorted.
///
/// So every group takes its locks in the same order.
fn distinct<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.collect();
    items.sort_unstable();
    items.dedup();
    items
}

/// A message's JSON, serialised once for the author, Kafka and every subscriber.
fn json(message: &Message) -> Result<Bytes, Problem> {
    Ok(serde_json::to_vec(message)
        .map_err(Problem::internal)?
        .into())
}
