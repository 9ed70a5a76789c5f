//! A subscription to a channel on its way in: what it asks of the store, and how what it missed comes before what is new.
//!
//! What it missed is read and written in pages, each when the client has taken those before: so it may be far more than may
//! wait for a connection.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::time::timeout;

use crate::{
    app::App,
    delivery::{
        destination::{self, ChannelStream},
        hub::{Connection, FrameFormat, PendingSubscription, Subscribed},
    },
    ids::ChannelId,
    limits::MAX_REPLAYED_MESSAGES,
    model::{ChannelKind, Message},
    problem::{Dependency, Missing, Problem},
    protocol::stomp::Refusal,
    sockjs::Link,
    store::{self, channels::Readable},
    ws::connection::{ConnectionEnd, StompConnection, Work, refusal},
};

/// To wait for a turn at reading. Ten thousand clients that come back at once have all read by then; where it takes longer
/// the store is in trouble, and those who wait are to know.
const TURN_TIMEOUT: Duration = Duration::from_secs(30);
/// Read at once: with the longest texts less than may wait for a connection.
const PAGE: i64 = 25;

pub(super) enum Subscription {
    Channel(ChannelId, ChannelStream, FrameFormat),
    Errors(FrameFormat),
}

/// A subscription on its way in. Dropping it gives up.
pub(super) struct Way {
    /// Keeps the room.
    entrance: PendingSubscription,
    connection: Arc<Connection>,
    channel: ChannelId,
    feed: ChannelStream,
    frame_format: FrameFormat,
    /// The position behind which the client wants the stored messages.
    after: Option<i64>,
    receipt: Option<String>,
    /// What has not been read yet: behind the first position, up to the second.
    missing: (i64, i64),
    /// Read and not delivered yet.
    page: VecDeque<Message>,
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
        let Ok(Ok(_turn)) = timeout(TURN_TIMEOUT, app.delivery.hub.reading.acquire()).await else {
            return Err(Problem::Unavailable(Dependency::Node, None));
        };
        // Positions have holes where messages were deleted: only when there are more of them it is worth counting.
        if self.after == Some(after)
            && through - after > MAX_REPLAYED_MESSAGES
            && store::messages::more_than(db, channel, after, through, MAX_REPLAYED_MESSAGES)
                .await?
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
            link.write(
                self.entrance
                    .stored(self.feed, &self.frame_format, &message),
            );
        }
        self.page.is_empty()
    }

    /// Whether the subscription has not been ended since it was added.
    fn follows(&self) -> bool {
        self.entrance
            .follows(&self.connection, self.feed, &self.frame_format)
    }

    /// Goes on live. False when the subscription was ended.
    fn release(&self) -> bool {
        self.entrance
            .release(&self.connection, self.feed, &self.frame_format)
    }

    /// The channel is gone, or the user has lost it.
    fn lost(&mut self) -> ConnectionEnd {
        let problem = Problem::NotFound(Missing::Channel(self.channel));
        ConnectionEnd::refused(refusal(&problem).for_receipt(self.receipt.take()))
    }
}

impl StompConnection {
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
        let frame_format = FrameFormat {
            encoding: self.link.encoding(),
            version: self.session.version(),
            subscription: id.as_str().into(),
        };
        let allowed = destination::subscribe(destination).ok_or_else(|| {
            Refusal::new(
                "DESTINATION_NOT_ALLOWED",
                "This destination cannot be subscribed to.",
            )
        })?;
        let (channel, feed) = match allowed {
            destination::Subscribe::Errors => {
                // More would make one bad SEND worth many answers.
                let errors = |known: &Subscription| matches!(known, Subscription::Errors(_));
                if self.subscriptions.values().any(errors) {
                    return Err(Refusal::new(
                        "TOO_MANY_SUBSCRIPTIONS",
                        "One subscription to the errors is enough.",
                    ));
                }
                self.subscriptions
                    .insert(id, Subscription::Errors(frame_format));
                self.receipt(receipt);
                return Ok(());
            }
            destination::Subscribe::Channel(channel, feed) => (channel, feed),
        };
        let entrance = self.app.delivery.hub.enter(channel);
        let way = Box::new(Way {
            entrance,
            connection: connection.clone(),
            channel,
            feed,
            frame_format,
            after: after
                .filter(|_| feed == ChannelStream::Messages)
                .map(|after| i64::try_from(after).unwrap_or(i64::MAX)),
            receipt,
            missing: (0, 0),
            page: VecDeque::new(),
        });
        let step = way.judge(self.app.clone());
        self.work = Some(step.map(Work::Subscribing).boxed());
        Ok(())
    }

    pub(super) fn subscribing(
        &mut self,
        Step { mut way, result }: Step,
    ) -> Result<(), ConnectionEnd> {
        let read = match result {
            Ok(read) => read,
            Err(problem) => {
                let refusal = refusal(&problem).for_receipt(way.receipt.take());
                return Err(ConnectionEnd::refused(refusal));
            }
        };
        match read {
            Read::Readable(readable) => {
                if readable.kind == ChannelKind::Private {
                    way.entrance.mark_private();
                }
                let (feed, frame_format) = (way.feed, way.frame_format.clone());
                let added = way.entrance.add(
                    &way.connection,
                    feed,
                    &frame_format,
                    readable.last_seq,
                    way.after,
                );
                if added == Subscribed::Lost {
                    return Err(way.lost());
                }
                self.subscriptions.insert(
                    frame_format.subscription.to_string(),
                    Subscription::Channel(way.channel, feed, frame_format),
                );
                if let Subscribed::Behind(after, through) = added {
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
                let gap = way
                    .entrance
                    .gap(way.feed, &way.frame_format, after, through);
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
    pub(super) fn resume(&mut self) -> Result<(), ConnectionEnd> {
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
    fn subscribed(&mut self, way: &mut Way) -> Result<(), ConnectionEnd> {
        if !way.release() {
            return Err(way.lost());
        }
        self.receipt(way.receipt.take());
        Ok(())
    }

    /// Subscriptions that ended because the channel was lost neither count nor keep their ids.
    pub(super) fn forget_ended(&mut self) {
        let (hub, session) = (&self.app.delivery.hub, &mut self.session);
        let Some((_, connection)) = &self.user else {
            return;
        };
        self.subscriptions.retain(|id, subscription| {
            let follows = match subscription {
                Subscription::Channel(channel, feed, frame_format) => {
                    hub.follows(connection, *channel, *feed, frame_format)
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
