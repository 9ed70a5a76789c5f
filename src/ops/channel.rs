//! Channels: creation, changes, deletion and participants.

use crate::{
    app::App,
    auth::tokens::Caller,
    ids::{ChannelId, UserId},
    model::{Channel, ChannelKind, Control, Event, Role},
    ops::commit,
    problem::{Problem, Resource},
    store::{
        self,
        channels::{NewPrivate, Quotas},
    },
};

/// Participants of a private channel.
pub const MAX_PARTICIPANTS: usize = 100;
/// Participants of a conversation that may have a name and to which others may be added.
pub const MIN_NAMED: usize = 3;

/// Creates a public channel.
///
/// # Errors
/// PostgreSQL fails.
pub async fn create_public(app: &App, name: &str, description: &str) -> Result<Channel, Problem> {
    let mut transaction = app.db.begin().await?;
    let channel = store::channels::insert_public(&mut transaction, name, description).await?;
    commit(app, transaction, vec![Event::public_channel(channel.id)]).await?;
    Ok(channel)
}

/// Creates a private channel.
///
/// # Errors
/// Not found, with the first participant who does not exist; [`Problem::QuotaExceeded`]; PostgreSQL fails.
pub async fn create_private(
    app: &App,
    creator: UserId,
    participants: &[UserId],
    kind: &NewPrivate,
) -> Result<Channel, Problem> {
    let (mut transaction, quotas) = (app.db.begin().await?, quotas(app));
    let channel =
        store::channels::insert_private(&mut transaction, creator, participants, kind, quotas)
            .await?;
    let events = participants
        .iter()
        .map(|participant| Event::private_channel(channel.id, *participant))
        .collect();
    commit(app, transaction, events).await?;
    Ok(channel)
}

fn quotas(app: &App) -> Quotas {
    Quotas {
        created: app.config.private_channels_per_user,
        invitations: app.config.invitations_per_user,
        invitations_by_one: app.config.invitations_per_pair,
    }
}

/// Changes a public channel, or the name of a private channel with three participants or more.
///
/// # Errors
/// [`Problem::Forbidden`] unless the caller is a channel manager or participates in the private channel; not found when the channel
/// is invisible to the caller; [`Problem::PrivateChannelUnchangeable`]; PostgreSQL fails.
pub async fn update(
    app: &App,
    id: ChannelId,
    caller: &Caller,
    name: Option<&str>,
    description: Option<&str>,
) -> Result<Channel, Problem> {
    let found = store::channels::readable(&app.db, id, caller.id).await;
    let is_private = matches!(&found, Ok(channel) if channel.kind == ChannelKind::Private);
    if !is_private && caller.role < Role::ChannelManager {
        // Whether or not the channel exists.
        return Err(Problem::Forbidden("Your role does not allow this."));
    }
    found?;
    let mut transaction = app.db.begin().await?;
    let row = store::channels::lock(&mut transaction, id).await?;
    if row.kind == ChannelKind::Public {
        let channel = store::channels::update(&mut transaction, id, name, description).await?;
        commit(app, transaction, vec![Event::public_channel(id)]).await?;
        return Ok(channel);
    }
    let participants = store::channels::participants(&mut transaction, id).await?;
    if !participants.contains(&caller.id) {
        return Err(Problem::NotFound(Resource::Channel(id)));
    }
    if participants.len() < MIN_NAMED || description.is_some() {
        return Err(Problem::PrivateChannelUnchangeable);
    }
    let mut channel = store::channels::update(&mut transaction, id, name, None).await?;
    channel.participants = store::channels::members(&mut transaction, id).await?;
    commit(app, transaction, for_each(id, participants)).await?;
    Ok(channel)
}

/// The events of a change of a private channel.
fn for_each(id: ChannelId, participants: Vec<UserId>) -> Vec<Event> {
    participants
        .into_iter()
        .map(|participant| Event::private_channel(id, participant))
        .collect()
}

/// Adds a user to a private channel of three or more. Changes nothing when the user is a participant.
///
/// # Errors
/// Not found, also when the channel is invisible to the caller; [`Problem::NotPrivate`] for a public channel;
/// [`Problem::NoGroup`] for a conversation of two; [`Problem::QuotaExceeded`]; PostgreSQL fails.
pub async fn add_participant(
    app: &App,
    id: ChannelId,
    user: UserId,
    caller: UserId,
) -> Result<(), Problem> {
    if store::channels::readable(&app.db, id, caller).await?.kind == ChannelKind::Public {
        return Err(Problem::NotPrivate);
    }
    let mut transaction = app.db.begin().await?;
    let channel = store::channels::lock(&mut transaction, id).await?;
    let mut participants = store::channels::participants(&mut transaction, id).await?;
    if !participants.contains(&caller) {
        return Err(Problem::NotFound(Resource::Channel(id)));
    }
    if participants.contains(&user) {
        return Ok(());
    }
    if participants.len() < MIN_NAMED {
        return Err(Problem::NoGroup);
    }
    if participants.len() >= MAX_PARTICIPANTS {
        return Err(Problem::QuotaExceeded {
            quota: "participants",
            limit: MAX_PARTICIPANTS as u64,
            user: None,
        });
    }
    let quotas = quotas(app);
    if !store::channels::add_participant(&mut transaction, &channel, user, caller, quotas).await? {
        return Ok(());
    }
    participants.push(user);
    commit(app, transaction, for_each(id, participants)).await
}

/// Deletes a channel with its messages, and ends its subscriptions on every node.
///
/// # Errors
/// Not found, also when the channel is invisible to the caller; PostgreSQL fails.
pub async fn delete(app: &App, id: ChannelId, caller: UserId) -> Result<(), Problem> {
    store::channels::readable(&app.db, id, caller).await?;
    let mut transaction = app.db.begin().await?;
    let mut events = match store::channels::lock(&mut transaction, id).await?.kind {
        ChannelKind::Public => vec![Event::public_channel(id)],
        ChannelKind::Private => {
            let participants = store::channels::participants(&mut transaction, id).await?;
            participants
                .into_iter()
                .map(|participant| Event::private_channel(id, participant))
                .collect()
        }
    };
    store::channels::delete(&mut transaction, id).await?;
    let control = Control::ChannelDeleted { channel_id: id };
    events.push(Event::control(&control));
    commit(app, transaction, events).await?;
    app.delivery.apply(&control);
    Ok(())
}

/// Removes a user from a private channel.
///
/// A channel manager may remove other participants, and every participant may leave.
///
/// The channel is deleted with its last participant, because it is then visible to no user.
///
/// # Errors
/// Not found, also when the channel is invisible to the caller or the user is no participant; [`Problem::NotPrivate`] for a public
/// channel; [`Problem::Forbidden`]; PostgreSQL fails.
pub async fn leave(
    app: &App,
    id: ChannelId,
    user_id: UserId,
    caller: &Caller,
) -> Result<(), Problem> {
    if store::channels::readable(&app.db, id, caller.id)
        .await?
        .kind
        == ChannelKind::Public
    {
        return Err(Problem::NotPrivate);
    }
    if user_id != caller.id && caller.role < Role::ChannelManager {
        return Err(Problem::Forbidden("Only a manager may remove others."));
    }
    let mut transaction = app.db.begin().await?;
    store::channels::lock(&mut transaction, id).await?;
    let before = store::channels::participants(&mut transaction, id).await?;
    if !store::channels::remove_participant(&mut transaction, id, user_id).await? {
        return Err(Problem::NotFound(Resource::User(user_id)));
    }
    let control = if before.len() == 1 {
        store::channels::delete(&mut transaction, id).await?;
        Control::ChannelDeleted { channel_id: id }
    } else {
        Control::MembershipLost {
            user_id,
            channel_id: id,
        }
    };
    let mut events: Vec<Event> = before
        .into_iter()
        .map(|participant| Event::private_channel(id, participant))
        .collect();
    events.push(Event::control(&control));
    commit(app, transaction, events).await?;
    // Ends this node's subscriptions even while Kafka is down; the audit of the other nodes ends theirs.
    app.delivery.apply(&control);
    Ok(())
}
