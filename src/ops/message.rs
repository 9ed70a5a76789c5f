//! Messages: posting, changes, deletion and typing.

use bytes::Bytes;
use serde::Deserialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    app::App,
    auth::tokens::Caller,
    blobs::upload::Staged,
    crash::Point,
    group_commit::{Answer, Post, Posted},
    ids::{ChannelId, MessageId, UserId},
    model::{BinaryContent, Emoji, Event, Field, Message, MessageText, Role, Validate, mention},
    ops::{commit, notification},
    problem::{Dependency, Problem, Resource},
    store::{self, mentions::Names, purge},
    traces,
};

/// Notifications deleted in a message's transaction, which locks the channel.
///
/// The purge deletes further ones.
const NOTIFICATION_BATCH: i64 = 100;
/// The same for reactions, which need no events.
const REACTION_BATCH: i64 = 1_000;

/// The request to post a message, over HTTP or STOMP.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct MessageCreateRequest {
    /// Text.
    #[schema(max_length = 2000)]
    pub content: Option<String>,
    /// Channel.
    #[schema(value_type = ChannelId)]
    pub channel_id: Option<ChannelId>,
    /// Must be the caller.
    #[schema(value_type = UserId)]
    pub author_id: Option<UserId>,
    /// The message of the channel that this one replies to.
    pub reply_to: Option<MessageId>,
    /// The client's identifier.
    ///
    /// A second message with the same identifier is not stored.
    pub client_message_id: Option<Uuid>,
}

/// Queues a message for the group commit; the answer comes after the commit.
///
/// Does not wait, so messages of one caller are written in the order of these calls.
///
/// # Errors
/// Invalid input, an author who is not the caller, or too many waiting messages. The answer fails when the channel does not exist or
/// is invisible to the author, and when PostgreSQL fails.
pub fn post(
    app: &App,
    author: UserId,
    request: MessageCreateRequest,
    attachments: Vec<BinaryContent>,
) -> Result<Answer, Problem> {
    let text = if attachments.is_empty() {
        Field::required("content", request.content).parse(|text| MessageText::parse(&text))
    } else {
        let text = request.content.unwrap_or_default();
        Field::new("content", MessageText::parse_beside_files(&text))
    };
    let (channel, named, text) = (
        Field::required("channelId", request.channel_id),
        Field::required("authorId", request.author_id),
        text,
    )
        .validate()?;
    if named != author {
        return Err(Problem::Forbidden("The author must be the caller."));
    }
    if !attachments.is_empty() {
        Point::FileStaged.pass();
    }
    app.posts.post(Post {
        id: MessageId::new(),
        author,
        channel,
        mentions: mention::candidates(text.as_str()),
        text,
        attachments,
        reply_to: request.reply_to,
        client_id: request.client_message_id,
        trace: traces::current(),
    })
}

/// Posts a message with files and waits for its commit.
///
/// Discards the files if the message is refused or was stored before.
///
/// # Errors
/// As [`post`] and its answer.
pub async fn post_with_files(
    app: &App,
    author: UserId,
    request: MessageCreateRequest,
    files: Staged,
) -> Result<Bytes, Problem> {
    let answer = post(app, author, request, files.list().to_vec())?;
    // From here the group commit may store the message, even when the client disconnects and this future is dropped.
    let ids = files.release_to_commit();
    let posted = answer
        .await
        .unwrap_or(Err(Problem::Unavailable(Dependency::Node, None)));
    match posted {
        Ok(Posted { body, new }) => {
            if new && !ids.is_empty() {
                app.blobs.notify_accepted();
            } else {
                app.blobs.discard(ids);
            }
            Ok(body)
        }
        // The commit may have happened. If not, the sweep deletes the files.
        Err(problem) if problem.is_server_error() => Err(problem),
        Err(problem) => {
            app.blobs.discard(ids);
            Err(problem)
        }
    }
}

/// The request to publish a typing event, over STOMP.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TypingRequest {
    /// Channel.
    pub channel_id: Option<ChannelId>,
}

/// Publishes to the subscribers of a channel's events that the user is typing.
///
/// The event is not stored, so it is lost while Kafka is down.
///
/// # Errors
/// Not found, also when the channel is invisible to the user; PostgreSQL fails.
pub async fn typing(
    app: &App,
    channel: ChannelId,
    user: UserId,
    username: &str,
) -> Result<(), Problem> {
    store::channels::readable(&app.db, channel, user).await?;
    app.outbox
        .publish_untracked(&Event::typing(channel, user, username), None);
    Ok(())
}

/// The message, if its channel is visible to the caller.
async fn readable(app: &App, id: MessageId, caller: &Caller) -> Result<Message, Problem> {
    let missing = || Problem::NotFound(Resource::Message(id));
    let message = store::messages::find(&app.db, id)
        .await?
        .ok_or_else(missing)?;
    match store::channels::readable(&app.db, message.channel_id, caller.id).await {
        Err(Problem::NotFound(_)) => Err(missing()),
        Err(problem) => Err(problem),
        Ok(channel) if message.seq > channel.visible_after => Ok(message),
        Ok(_) => Err(missing()),
    }
}

/// Changes a message's text.
///
/// # Errors
/// Not found, [`Problem::Forbidden`] unless the caller is the author, an invalid text, or PostgreSQL fails.
pub async fn update(
    app: &App,
    id: MessageId,
    caller: &Caller,
    text: &str,
) -> Result<Message, Problem> {
    let message = readable(app, id, caller).await?;
    if message.author.as_ref().map(|author| author.id) != Some(caller.id) {
        return Err(Problem::Forbidden("Only its author may change a message."));
    }
    let text = if message.attachments.is_empty() {
        MessageText::parse(text)
    } else {
        MessageText::parse_beside_files(text)
    };
    let text = text.map_err(|why| Problem::invalid("newContent", why))?;
    let mut transaction = app.db.begin().await?;
    let channel = message.channel_id;
    let candidates = mention::candidates(text.as_str());
    let keys = candidates.iter().flatten().cloned();
    let keys = keys.map(|key| (channel, key)).collect();
    let names = Names::read(&mut transaction, keys).await?;
    let mentions = names.resolve(channel, &candidates);
    let message = store::messages::update(&mut transaction, id, text.as_str(), &mentions).await?;
    let message = message.ok_or(Problem::NotFound(Resource::Message(id)))?;
    commit(
        app,
        transaction,
        vec![Event::message_updated(message.channel_id, &message)],
    )
    .await?;
    Ok(message)
}

/// Deletes a message.
///
/// # Errors
/// Not found, [`Problem::Forbidden`] unless the caller is the author or an ADMIN, or PostgreSQL fails.
pub async fn delete(app: &App, id: MessageId, caller: &Caller) -> Result<(), Problem> {
    let message = readable(app, id, caller).await?;
    if message.author.map(|author| author.id) != Some(caller.id) && caller.role < Role::Admin {
        return Err(Problem::Forbidden(
            "Only its author or an administrator may delete a message.",
        ));
    }
    let mut transaction = app.db.begin().await?;
    if !store::messages::delete(&mut transaction, message.channel_id, id).await? {
        return Err(Problem::NotFound(Resource::Message(id)));
    }
    let (gone, all) = notification::delete_of(&mut transaction, id, NOTIFICATION_BATCH).await?;
    let all = all & store::reactions::delete_of(&mut transaction, id, REACTION_BATCH).await?;
    if !all {
        purge::add(&mut transaction, purge::Kind::Message, &[id.0]).await?;
    }
    let mut events = vec![Event::message_deleted(message.channel_id, id, message.seq)];
    events.extend(gone);
    commit(app, transaction, events).await
}

/// Adds a reaction of the caller to a message, or removes it. Changes nothing when it is there already, or not there.
///
/// # Errors
/// Not found, also when the channel is invisible to the caller; [`Problem::TooManyReactions`]; PostgreSQL fails.
pub async fn react(
    app: &App,
    id: MessageId,
    caller: &Caller,
    emoji: &Emoji,
    added: bool,
) -> Result<(), Problem> {
    let mut transaction = app.db.begin().await?;
    let found = store::reactions::lock_message(&mut transaction, id, caller.id).await?;
    let (channel, seq) = found.ok_or(Problem::NotFound(Resource::Message(id)))?;
    let changed = if added {
        store::reactions::insert(&mut transaction, id, caller.id, emoji).await?
    } else {
        store::reactions::delete(&mut transaction, id, caller.id, emoji).await?
    };
    if !changed {
        return Ok(());
    }
    let event = Event::reaction(channel, id, seq, (caller.id, emoji), added);
    commit(app, transaction, vec![event]).await
}
