//! A subscription to a channel on its way in: what it asks of the store, and how what it missed comes before what is new.
//!
//! What it missed is read and written in pages, each when the client has taken those before: so it may be far more than may
//! wait for a connection.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::time::timeout;

use super::{Ending, Socket, Work, refusal};
use crate::{
    access,
    app::App,
    hub::{Added, Connection, Entrance, Feed, Shape},
    ids::ChannelId,
    limits::RESUMED,
    link::Link,
    model::{ChannelKind, MessageDto},
    problem::{Dependency, Missing, Problem},
    stomp::Refusal,
    store::{self, channels::Readable},
};

/// To wait for a turn at reading. Ten thousand clients that come back at once have all read by then; where it takes longer
/// the store is in trouble, and those who wait are to know.
const TURN_WITHIN: Duration = Duration::from_secs(30);
/// Read at once: with the longest texts less than may wait for a connection.
const PAGE: i64 = 25;

pub(super) enum Subscription {
    Channel(ChannelId, Feed, Shape),
    Errors(Shape),
}

/// A subscription on its way in. Dropping it gives up.
pub(super) struct Way {
    /// Keeps the room.
    entrance: Entrance,
    connection: Arc<Connection>,
    channel: ChannelId,
    feed: Feed,
    shape: Shape,
    /// The position behind which the client wants the stored messages.
    after: Option<i64>,
    receipt: Option<String>,
    /// What has not been read yet: behind the first position, up to the second.
    missing: (i64, i64),
    /// Read and not delivered yet.
    page: VecDeque<MessageDto>,
}

/// What the store said.
enum Read {
    /// The user may read the channel.
    Readable(Readable),
    /// Some of what is missing is there to be delivered.
    Page,
    /// More is missing than a subscription brings.
    TooMuch,
}

/// One answer of the store.
pub(super) struct Step {
    way: Box<Way>,
    result: Result<Read, Problem>,
}

impl Way {
    /// Asks whether the user may read the channel.
    async fn judge(self: Box<Self>, app: Arc<App>) -> Step {
        let user = self.connection.user;
        let readable = store::channels::readable(&app.db, self.channel, user).await;
        Step {
            way: self,
            result: readable.map(Read::Readable),
        }
    }

    /// Reads the next of what is missing.
    async fn read(mut self: Box<Self>, app: Arc<App>) -> Step {
        let result = self.try_read(&app).await;
        Step { way: self, result }
    }

    async fn try_read(&mut self, app: &App) -> Result<Read, Problem> {
        let (db, channel, (after, through)) = (&app.db, self.channel, self.missing);
        let Ok(Ok(_turn)) = timeout(TURN_WITHIN, app.hub.reading.acquire()).await else {
            return Err(Problem::Unavailable(Dependency::Node, None));
        };
        // Positions have holes where messages were deleted: only when there are more of them it is worth counting.
        if self.after == Some(after)
            && through - after > RESUMED
            && store::messages::more_than(db, channel, after, through, RESUMED).await?
        {
            return Ok(Read::TooMuch);
        }
        self.page = store::messages::between(db, channel, after, through, PAGE)
            .await?
            .into();
        if i64::try_from(self.page.len()).unwrap_or(PAGE) < PAGE {
            self.missing.0 = through;
        } else if let Some(last) = self.page.back() {
            self.missing.0 = last.seq;
        }
        Ok(Read::Page)
    }

    /// Writes what has been read, as far as there is room. True once all of it is written.
    fn deliver(&mut self, link: &Link) -> bool {
        while !link.is_full() {
            let Some(message) = self.page.pop_front() else {
                break;
            };
            link.write(self.entrance.stored(self.feed, &self.shape, &message));
        }
        self.page.is_empty()
    }

    /// Whether the subscription has not been ended since it was added.
    fn follows(&self) -> bool {
        self.entrance
            .follows(&self.connection, self.feed, &self.shape)
    }

    /// Goes on live. False when the subscription was ended.
    fn release(&self) -> bool {
        self.entrance
            .release(&self.connection, self.feed, &self.shape)
    }

    /// The channel is gone, or the user has lost it.
    fn lost(&mut self) -> Ending {
        let problem = Problem::NotFound(Missing::Channel(self.channel));
        Ending::refused(refusal(&problem).for_receipt(self.receipt.take()))
    }
}

impl Socket {
    pub(super) fn subscribe(
        &mut self,
        id: String,
        destination: &str,
        after: Option<u64>,
        receipt: Option<String>,
    ) -> Result<(), Refusal> {
        let Some((_, connection)) = &self.user else {
            return Err(refusal(&Problem::Unauthenticated));
        };
        let shape = Shape {
            wire: self.link.wire(),
            version: self.session.version(),
            subscription: id.as_str().into(),
        };
        let allowed = access::subscribe(destination).ok_or_else(|| {
            Refusal::new(
                "DESTINATION_NOT_ALLOWED",
                "This destination cannot be subscribed to.",
            )
        })?;
        let (channel, feed) = match allowed {
            access::Subscribe::Errors => {
                // More would make one bad SEND worth many answers.
                let errors = |known: &Subscription| matches!(known, Subscription::Errors(_));
                if self.subscriptions.values().any(errors) {
                    return Err(Refusal::new(
                        "TOO_MANY_SUBSCRIPTIONS",
                        "One subscription to the errors is enough.",
                    ));
                }
                self.subscriptions.insert(id, Subscription::Errors(shape));
                self.receipt(receipt);
                return Ok(());
            }
            access::Subscribe::Channel(channel, feed) => (channel, feed),
        };
        let entrance = self.app.hub.enter(channel);
        let way = Box::new(Way {
            entrance,
            connection: connection.clone(),
            channel,
            feed,
            shape,
            after: after
                .filter(|_| feed == Feed::Messages)
                .map(|after| i64::try_from(after).unwrap_or(i64::MAX)),
            receipt,
            missing: (0, 0),
            page: VecDeque::new(),
        });
        let step = way.judge(self.app.clone());
        self.work = Some(step.map(Work::Subscribing).boxed());
        Ok(())
    }

    pub(super) fn subscribing(&mut self, Step { mut way, result }: Step) -> Result<(), Ending> {
        let read = match result {
            Ok(read) => read,
            Err(problem) => {
                let refusal = refusal(&problem).for_receipt(way.receipt.take());
                return Err(Ending::refused(refusal));
            }
        };
        match read {
            Read::Readable(readable) => {
                if readable.kind == ChannelKind::Private {
                    way.entrance.mark_private();
                }
                let (feed, shape) = (way.feed, way.shape.clone());
                let added =
                    way.entrance
                        .add(&way.connection, feed, &shape, readable.last_seq, way.after);
                if added == Added::Lost {
                    return Err(way.lost());
                }
                self.subscriptions.insert(
                    shape.subscription.to_string(),
                    Subscription::Channel(way.channel, feed, shape),
                );
                if let Added::Behind(after, through) = added {
                    way.missing = (after, through);
                    self.read(way);
                } else {
                    self.receipt(way.receipt.take());
                }
                Ok(())
            }
            Read::Page => {
                self.resuming = Some(way);
                Ok(())
            }
            Read::TooMuch => {
                let (after, through) = way.missing;
                let gap = way.entrance.gap(way.feed, &way.shape, after, through);
                self.link.write(gap);
                self.subscribed(&mut way)
            }
        }
    }

    fn read(&mut self, way: Box<Way>) {
        let step = way.read(self.app.clone());
        self.work = Some(step.map(Work::Subscribing).boxed());
    }

    /// Goes on with a subscription whose stored messages wait for room.
    pub(super) fn resume(&mut self) -> Result<(), Ending> {
        let Some(mut way) = self.resuming.take() else {
            return Ok(());
        };
        if !way.follows() {
            return Err(way.lost());
        }
        if !way.deliver(&self.link) {
            self.resuming = Some(way);
        } else if way.missing.0 >= way.missing.1 {
            return self.subscribed(&mut way);
        } else {
            self.read(way);
        }
        Ok(())
    }

    /// What was missed has been written: the subscription is live.
    fn subscribed(&mut self, way: &mut Way) -> Result<(), Ending> {
        if !way.release() {
            return Err(way.lost());
        }
        self.receipt(way.receipt.take());
        Ok(())
    }

    /// Subscriptions that ended because the channel was lost neither count nor keep their ids.
    pub(super) fn forget_ended(&mut self) {
        let (hub, session) = (&self.app.hub, &mut self.session);
        let Some((_, connection)) = &self.user else {
            return;
        };
        self.subscriptions.retain(|id, subscription| {
            let follows = match subscription {
                Subscription::Channel(channel, feed, shape) => {
                    hub.follows(connection, *channel, *feed, shape)
                }
                Subscription::Errors(_) => true,
            };
            if !follows {
                session.forget(id);
            }
            follows
        });
    }
}
