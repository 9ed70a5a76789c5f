//! Mentions of users in messages.

use std::collections::HashMap;

use sqlx::PgExecutor;

use crate::{
    ids::{ChannelId, UserId},
    model::mention::Candidates,
    problem::Problem,
    store::{Transaction, visibility::visible},
};

/// The users with some names, by channel and key of the name.
#[derive(Debug, Default)]
pub struct Names(HashMap<(ChannelId, String), UserId>);

impl Names {
    /// Reads the users with some keys of names to whom the channel is visible.
    ///
    /// # Errors
    /// PostgreSQL fails.
    pub async fn read(
        db: impl PgExecutor<'_>,
        named: Vec<(ChannelId, String)>,
    ) -> Result<Self, Problem> {
        const SQL: &str = concat!(
            "select c.id, u.username_key, u.id from unnest($1::uuid[], $2::text[]) as named (channel_id, key) \
             join users u on u.username_key = named.key join channels c on c.id = named.channel_id where ",
            visible!("c", "u.id")
        );
        let (channels, keys): (Vec<ChannelId>, Vec<String>) = named.into_iter().unzip();
        if keys.is_empty() {
            return Ok(Self::default());
        }
        let found: Vec<(ChannelId, String, UserId)> = sqlx::query_as(SQL)
            .bind(channels)
            .bind(keys)
            .fetch_all(db)
            .await?;
        let by_name = found
            .into_iter()
            .map(|(channel, key, user)| ((channel, key), user));
        Ok(Self(by_name.collect()))
    }

    /// The users whom a text mentions, each once. Of several names, the longest counts.
    pub fn resolve(&self, channel: ChannelId, texts: &[Candidates]) -> Vec<UserId> {
        let mut users = Vec::new();
        for names in texts {
            let user = names
                .iter()
                .find_map(|name| self.0.get(&(channel, name.clone())));
            if let Some(user) = user
                && !users.contains(user)
            {
                users.push(*user);
            }
        }
        users
    }
}

/// Inserts the mentions of a message.
///
/// # Errors
/// PostgreSQL fails.
pub async fn insert(
    db: &mut Transaction,
    channel: ChannelId,
    seq: i64,
    users: &[UserId],
) -> Result<(), Problem> {
    const SQL: &str = "insert into mentions (user_id, channel_id, seq) \
                       select unnest($1::uuid[]), $2, $3 on conflict do nothing";
    if users.is_empty() {
        return Ok(());
    }
    sqlx::query(SQL)
        .bind(users)
        .bind(channel)
        .bind(seq)
        .execute(db)
        .await?;
    Ok(())
}

/// Deletes the mentions of a message.
///
/// # Errors
/// PostgreSQL fails.
pub async fn delete_of(
    db: &mut Transaction,
    channel: ChannelId,
    seq: i64,
    users: &[UserId],
) -> Result<(), Problem> {
    const SQL: &str =
        "delete from mentions where user_id = any($1) and channel_id = $2 and seq = $3";
    if users.is_empty() {
        return Ok(());
    }
    sqlx::query(SQL)
        .bind(users)
        .bind(channel)
        .bind(seq)
        .execute(db)
        .await?;
    Ok(())
}
