//! Channels.

use crate::{
    app::App,
    auth::tokens::Caller,
    ids::{ChannelId, UserId},
    model::{Channel, ChannelKind, Control, Event, Role},
    ops::commit,
    problem::{Problem, Resource},
    store,
};

/// Creates a public channel.
///
/// # Errors
/// The database's.
pub async fn create_public(app: &App, name: &str, description: &str) -> Result<Channel, Problem> {
    let mut transaction = store::begin(&app.db).await?;
    let channel = store::channels::insert_public(&mut transaction, name, description).await?;
    commit(app, transaction, vec![Event::public_channel(channel.id)]).await?;
    Ok(channel)
}

/// Creates a private channel.
///
/// # Errors
/// Not found, naming the first participant who does not exist; the database's.
pub async fn create_private(app: &App, participants: &[UserId]) -> Result<Channel, Problem> {
    let mut transaction = store::begin(&app.db).await?;
    let channel = store::channels::insert_private(&mut transaction, participants).await?;
    let events = participants
        .iter()
        .map(|participant| Event::private_channel(channel.id, *participant))
        .collect();
    commit(app, transaction, events).await?;
    Ok(channel)
}

/// Changes a public channel.
///
/// # Errors
/// Not found, also for a private channel that the caller is not in; [`Problem::PrivateChannelUnchangeable`]; the database's.
pub async fn update(
    app: &App,
    id: ChannelId,
    caller: UserId,
    name: Option<&str>,
    description: Option<&str>,
) -> Result<Channel, Problem> {
    store::channels::readable(&app.db, id, caller).await?;
    let mut transaction = store::begin(&app.db).await?;
    if store::channels::lock(&mut transaction, id).await?.kind == ChannelKind::Private {
        return Err(Problem::PrivateChannelUnchangeable);
    }
    let channel = store::channels::update(&mut transaction, id, name, description).await?;
    commit(app, transaction, vec![Event::public_channel(id)]).await?;
    Ok(channel)
}

/// Deletes a channel and everything in it, and ends its subscriptions everywhere.
///
/// # Errors
/// Not found, also for a private channel that the caller is not in; the database's.
pub async fn delete(app: &App, id: ChannelId, caller: UserId) -> Result<(), Problem> {
    store::channels::readable(&app.db, id, caller).await?;
    let mut transaction = store::begin(&app.db).await?;
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

/// Takes a user out of a private channel: oneself, or somebody else for a channel manager who is in it. The last one to leave
/// takes the channel along, which nobody could see any more.
///
/// # Errors
/// Not found, also for a channel that the caller is not in and for a user who is not; [`Problem::NotPrivate`] for a public
/// channel; [`Problem::Forbidden`]; the database's.
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
    let mut transaction = store::begin(&app.db).await?;
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
    // This node's subscriptions end even while Kafka is away; the other nodes' audit finds theirs.
    app.delivery.apply(&control);
    Ok(())
}
