//! New messages, committed in groups: the commit is what costs, so all that wait share one transaction.
//!
//! One task a node writes groups, one after the other. While one is being committed the next gathers; a message alone
//! waits for nobody.

use std::{collections::HashMap, sync::Arc, time::Duration};

use bytes::Bytes;
use sqlx::PgPool;
use tokio::sync::{mpsc, oneshot};
use tracing::error;
use uuid::Uuid;

use crate::{
    ids::{ChannelId, MessageId, UserId},
    model::{ChannelKind, MessageDto, MessageText},
    outbox::Outbox,
    problem::{Dependency, Missing, Problem, chain},
    store::{
        messages::{self, New},
        outbox::Stored,
    },
};

/// Messages that wait for the group before them: two seconds' worth of a node's most. Beyond it posting is refused.
const WAITING: usize = 4_096;
/// Messages of one group. More would not make a message cheaper, and all of them wait for the last.
const GROUP: usize = 128;
/// A group that takes longer is given up, so that its senders hear of it within five seconds.
const COMMIT_WITHIN: Duration = Duration::from_secs(4);

/// A message to be written.
#[derive(Clone, Debug)]
pub struct Post {
    /// Author.
    pub author: UserId,
    /// Channel.
    pub channel: ChannelId,
    /// Text.
    pub text: MessageText,
    /// The identifier its sender made up; the same one again stores nothing.
    pub client_id: Option<Uuid>,
}

/// The answer to a post: the `MessageDto` as JSON, after its commit.
pub type Answer = oneshot::Receiver<Result<Bytes, Problem>>;

type Waiting = (Post, oneshot::Sender<Result<Bytes, Problem>>);

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
    answers: Vec<Result<Bytes, Problem>>,
    events: Vec<Stored>,
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
                Err(problem) if posts.len() > 1 && !matches!(problem, Problem::Unavailable(..)) => {
                    one_by_one(&db, &outbox, &posts).await
                }
                Err(problem) => refuse(posts.len(), problem),
            };
            for (sender, answer) in senders.into_iter().zip(answers) {
                // A sender that is gone has closed its connection.
                drop(sender.send(answer));
            }
        }
    }
}

async fn within(db: &PgPool, posts: &[Post]) -> Result<Written, Problem> {
    tokio::time::timeout(COMMIT_WITHIN, write(db, posts))
        .await
        .unwrap_or(Err(Problem::Unavailable(Dependency::Postgres, None)))
}

/// One message that cannot be written must not fail the others of its group. Also the way out when two nodes are sent the
/// same `clientMessageId` at once: the second time it is found.
async fn one_by_one(db: &PgPool, outbox: &Outbox, posts: &[Post]) -> Vec<Result<Bytes, Problem>> {
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
    }
    answers
}

fn refuse(how_many: usize, problem: Problem) -> Vec<Result<Bytes, Problem>> {
    if let Problem::Internal(source) = &problem {
        error!(error = %chain(source.as_ref()), how_many, "messages could not be written");
    }
    let again = || match &problem {
        Problem::Unavailable(dependency, _) => Problem::Unavailable(*dependency, None),
        _ => Problem::internal("see the group's error"),
    };
    let mut answers: Vec<_> = (1..how_many).map(|_| Err(again())).collect();
    answers.push(Err(problem));
    answers
}

async fn write(db: &PgPool, posts: &[Post]) -> Result<Written, Problem> {
    let mut transaction = db.begin().await?;
    let mut channels: Vec<ChannelId> = posts.iter().map(|post| post.channel).collect();
    channels.sort_unstable();
    channels.dedup();
    let mut authors: Vec<UserId> = posts.iter().map(|post| post.author).collect();
    authors.sort_unstable();
    authors.dedup();
    let targets = messages::lock_targets(&mut transaction, &channels).await?;
    let private: Vec<_> = targets
        .iter()
        .filter(|target| target.kind == ChannelKind::Private)
        .map(|target| target.id)
        .collect();
    let members = if private.is_empty() {
        Vec::new()
    } else {
        messages::memberships(&mut transaction, &private, &authors).await?
    };
    let authors = messages::lock_authors(&mut transaction, &authors).await?;
    let (who, ids): (Vec<_>, Vec<_>) = posts
        .iter()
        .filter_map(|post| Some((post.author, post.client_id?)))
        .unzip();
    let before = if ids.is_empty() {
        Vec::new()
    } else {
        messages::sent_before(&mut transaction, &who, &ids).await?
    };

    let mut known: HashMap<(UserId, Uuid), Bytes> = HashMap::new();
    for message in &before {
        if let (Some(author), Some(id)) = (&message.author, message.client_message_id) {
            known.insert((author.id, id), json(message)?);
        }
    }
    let mut targets: HashMap<_, _> = targets
        .into_iter()
        .map(|target| (target.id, target))
        .collect();
    let mut new = Vec::new();
    let mut answers = Vec::with_capacity(posts.len());
    for post in posts {
        if let Some(body) = post.client_id.and_then(|id| known.get(&(post.author, id))) {
            answers.push(Ok(body.clone()));
            continue;
        }
        let target = targets.get_mut(&post.channel);
        let target = target.filter(|target| {
            target.kind == ChannelKind::Public || members.contains(&(post.channel, post.author))
        });
        let (Some(target), Some(author)) = (target, authors.get(&post.author)) else {
            let missing = if authors.contains_key(&post.author) {
                Missing::Channel(post.channel)
            } else {
                Missing::User(post.author)
            };
            answers.push(Err(Problem::NotFound(missing)));
            continue;
        };
        target.last_seq += 1;
        let message = MessageDto {
            id: MessageId::new(),
            created_at: target.now,
            updated_at: target.now,
            content: post.text.clone().into_string(),
            channel_id: post.channel,
            author: Some(author.clone()),
            attachments: [],
            seq: target.last_seq,
            client_message_id: post.client_id,
        };
        let body = json(&message)?;
        if let Some(id) = post.client_id {
            known.insert((post.author, id), body.clone());
        }
        answers.push(Ok(body.clone()));
        new.push(New { message, body });
    }
    let events = if new.is_empty() {
        Vec::new()
    } else {
        messages::insert(&mut transaction, &new).await?
    };
    transaction.commit().await?;
    Ok(Written { answers, events })
}

/// A message's JSON, made once: for its author, for Kafka, and for every subscriber.
fn json(message: &MessageDto) -> Result<Bytes, Problem> {
    Ok(serde_json::to_vec(message)
        .map_err(Problem::internal)?
        .into())
}
