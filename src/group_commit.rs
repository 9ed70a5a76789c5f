//! New messages, committed in groups: the commit is what costs, so all that wait share one transaction.
//!
//! One task a node writes groups, one after the other. While one is being committed the next gathers; a message alone
//! waits for nobody.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use sqlx::{PgConnection, PgPool};
use tokio::sync::{mpsc, oneshot};
use tracing::warn;
use uuid::Uuid;

use crate::{
    events::outbox::Outbox,
    ids::{ChannelId, MessageId, UserId},
    model::{BinaryContent, ChannelKind, Message, MessageText, User},
    problem::{Dependency, Problem, Resource, chain},
    store::{
        self,
        messages::{self, New, Target},
        outbox::OutboxRow,
    },
};

/// Messages that wait for the group before them: two seconds' worth of a node's most. Beyond it posting is refused.
const WAITING: usize = 4_096;
/// Messages of one group. More would not make a message cheaper, and all of them wait for the last.
const GROUP: usize = 128;
/// A group that takes longer is given up, so that its senders hear of it within five seconds.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(4);

/// A message to be written.
#[derive(Clone, Debug)]
pub struct Post {
    /// Author.
    pub author: UserId,
    /// Channel.
    pub channel: ChannelId,
    /// Text.
    pub text: MessageText,
    /// Its files, whose bytes are stored already.
    pub attachments: Vec<BinaryContent>,
    /// The identifier its sender made up; the same one again stores nothing.
    pub client_id: Option<Uuid>,
}

/// A message that is there.
#[derive(Clone, Debug)]
pub struct Posted {
    /// Its `Message` as JSON.
    pub body: Bytes,
    /// Whether this post has made it. False when it was sent before; then this post's attachments are nobody's.
    pub new: bool,
}

impl Posted {
    /// The answer to what is stored nowhere.
    pub const NOTHING: Self = Self {
        body: Bytes::new(),
        new: false,
    };
}

/// The answer to a post, after its commit.
pub type Answer = oneshot::Receiver<Result<Posted, Problem>>;

type Waiting = (Post, oneshot::Sender<Result<Posted, Problem>>);

/// The way in.
#[derive(Clone)]
pub struct GroupCommit {
    queue: mpsc::Sender<Waiting>,
}

/// The task's end of the queue.
pub struct Groups {
    queue: mpsc::Receiver<Waiting>,
}

impl GroupCommit {
    /// A queue and its other end.
    pub fn new() -> (Self, Groups) {
        let (sender, receiver) = mpsc::channel(WAITING);
        (Self { queue: sender }, Groups { queue: receiver })
    }

    /// Hands a message in. Does not wait; messages of one caller are written in the order of these calls.
    ///
    /// # Errors
    /// [`Problem::Unavailable`] when too many wait.
    pub fn post(&self, post: Post) -> Result<Answer, Problem> {
        let (sender, answer) = oneshot::channel();
        self.queue
            .try_send((post, sender))
            .map_err(|_| Problem::Unavailable(Dependency::Node, None))?;
        Ok(answer)
    }
}

/// What became of each message of a group, in its order, and the events of those that are new.
struct Written {
    answers: Vec<Result<Posted, Problem>>,
    events: Vec<OutboxRow>,
}

impl Groups {
    /// Writes groups until nobody can hand in any more.
    pub async fn run(mut self, db: PgPool, outbox: Arc<Outbox>) {
        let mut group = Vec::with_capacity(GROUP);
        while self.queue.recv_many(&mut group, GROUP).await > 0 {
            let (posts, senders): (Vec<Post>, Vec<_>) = group.drain(..).unzip();
            let answers = match within(&db, &posts).await {
                Ok(written) => {
                    outbox.publish(written.events);
                    written.answers
                }
                Err(Problem::Internal(_)) => one_by_one(&db, &outbox, &posts).await,
                Err(problem) => {
                    // Those that waited meanwhile have waited long enough: each group after this one would take as long
                    // to find out the same.
                    let waiting = self.refuse_waiting();
                    warn!(error = %chain(&problem), messages = posts.len() + waiting, "messages could not be written");
                    posts.iter().map(|_| Err(away())).collect()
                }
            };
            for (sender, answer) in senders.into_iter().zip(answers) {
                // A sender that is gone has closed its connection.
                drop(sender.send(answer));
            }
        }
    }

    /// Refuses everything that waits, and returns how many.
    fn refuse_waiting(&mut self) -> usize {
        let mut refused = 0;
        while let Ok((_, sender)) = self.queue.try_recv() {
            drop(sender.send(Err(away())));
            refused += 1;
        }
        refused
    }
}

/// The answer while PostgreSQL cannot be written to.
fn away() -> Problem {
    Problem::Unavailable(Dependency::Postgres, None)
}

async fn within(db: &PgPool, posts: &[Post]) -> Result<Written, Problem> {
    tokio::time::timeout(COMMIT_TIMEOUT, write(db, posts))
        .await
        .unwrap_or(Err(away()))
}

/// One message that cannot be written must not fail the others of its group. Also the way out when two nodes are sent the
/// same `clientMessageId` at once: the second time it is found.
async fn one_by_one(db: &PgPool, outbox: &Outbox, posts: &[Post]) -> Vec<Result<Posted, Problem>> {
    let mut answers = Vec::with_capacity(posts.len());
    for post in posts {
        answers.push(match within(db, std::slice::from_ref(post)).await {
            Ok(mut written) => {
                outbox.publish(written.events);
                written
                    .answers
                    .pop()
                    .unwrap_or_else(|| Err(Problem::Unavailable(Dependency::Node, None)))
            }
            Err(problem) => Err(problem),
        });
        if matches!(answers.last(), Some(Err(Problem::Unavailable(..)))) {
            // The others would each find out the same.
            answers.resize_with(posts.len(), || Err(away()));
            break;
        }
    }
    answers
}

async fn write(db: &PgPool, posts: &[Post]) -> Result<Written, Problem> {
    let mut transaction = store::begin(db).await?;
    let mut facts = Facts::read(&mut transaction, posts).await?;
    let mut new = Vec::new();
    let mut answers = Vec::with_capacity(posts.len());
    for post in posts {
        answers.push(facts.admit(post, &mut new));
    }
    let events = if new.is_empty() {
        Vec::new()
    } else {
        messages::insert(&mut transaction, &new).await?
    };
    transaction.commit().await?;
    Ok(Written { answers, events })
}

/// What a group's messages are judged by. Channels and authors stay as they are until the transaction ends.
struct Facts {
    channels: HashMap<ChannelId, Target>,
    authors: HashMap<UserId, User>,
    /// Who is in which of the private channels.
    members: HashSet<(ChannelId, UserId)>,
    /// The answers to messages that were sent before.
    sent: HashMap<(UserId, Uuid), Bytes>,
}

impl Facts {
    async fn read(db: &mut PgConnection, posts: &[Post]) -> Result<Self, Problem> {
        let channels = distinct(posts.iter().map(|post| post.channel));
        let authors = distinct(posts.iter().map(|post| post.author));
        let channels = messages::lock_targets(db, &channels).await?;
        let private: Vec<_> = channels
            .iter()
            .filter(|target| target.kind == ChannelKind::Private)
            .map(|target| target.id)
            .collect();
        let mut members = HashSet::new();
        if !private.is_empty() {
            members.extend(messages::memberships(db, &private, &authors).await?);
        }
        let authors = messages::lock_authors(db, &authors).await?;
        let (who, ids): (Vec<_>, Vec<_>) = posts
            .iter()
            .filter_map(|post| Some((post.author, post.client_id?)))
            .unzip();
        let mut sent = HashMap::new();
        if !ids.is_empty() {
            for message in messages::sent_before(db, &who, &ids).await? {
                if let (Some(author), Some(id)) = (&message.author, message.client_message_id) {
                    sent.insert((author.id, id), json(&message)?);
                }
            }
        }
        let channels = channels.into_iter().map(|target| (target.id, target));
        Ok(Self {
            channels: channels.collect(),
            authors,
            members,
            sent,
        })
    }

    /// Judges one message, and adds it to the new ones if it is one.
    fn admit(&mut self, post: &Post, new: &mut Vec<New>) -> Result<Posted, Problem> {
        let Post {
            author, channel, ..
        } = *post;
        let sent = post.client_id.and_then(|id| self.sent.get(&(author, id)));
        if let Some(body) = sent {
            return Ok(Posted {
                body: body.clone(),
                new: false,
            });
        }
        let user = self.authors.get(&author);
        let user = user.ok_or(Problem::NotFound(Resource::User(author)))?;
        let target = self.channels.get_mut(&channel).filter(|target| {
            target.kind == ChannelKind::Public || self.members.contains(&(channel, author))
        });
        let target = target.ok_or(Problem::NotFound(Resource::Channel(channel)))?;
        let message = Message {
            id: MessageId::new(),
            created_at: target.now,
            updated_at: target.now,
            content: post.text.clone().into_string(),
            channel_id: channel,
            author: Some(user.clone()),
            attachments: post.attachments.clone(),
            seq: target.last_seq + 1,
            client_message_id: post.client_id,
        };
        let body = json(&message)?;
        target.last_seq += 1;
        if let Some(id) = post.client_id {
            self.sent.insert((author, id), body.clone());
        }
        new.push(New {
            message,
            body: body.clone(),
            notifies: target.notifies,
        });
        Ok(Posted { body, new: true })
    }
}

/// In order, so that every group takes its locks in the same one.
fn distinct<T: Ord>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.collect();
    items.sort_unstable();
    items.dedup();
    items
}

/// A message's JSON, made once: for its author, for Kafka, and for every subscriber.
fn json(message: &Message) -> Result<Bytes, Problem> {
    Ok(serde_json::to_vec(message)
        .map_err(Problem::internal)?
        .into())
}
