//! SUBSCRIBE frames: the access check, the replay of stored messages after `after-seq`, then live delivery.
//!
//! The replay is read in pages, and a page is read only when the client has taken the previous one. So a replay may be larger
//! than the connection's send queue.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::time::timeout;

use crate::{
    app::App,
    delivery::{
        destination::{self, ChannelStream},
        hub::{Connection, FrameFormat, PendingSubscription, Subscribed, Unread},
    },
    ids::ChannelId,
    limits::MAX_REPLAYED_MESSAGES,
    metrics::Protocol,
    model::{ChannelKind, Message},
    problem::{Dependency, Problem, Resource},
    protocol::stomp::Refusal,
    sockjs::Link,
    store::{self, channels::Readable},
    ws::connection::{ConnectionEnd, StompConnection, StoreResult, refusal},
};

/// Wait for one of the hub's read permits. 10,000 clients that reconnect at once are all served within this time; a longer
/// wait means that PostgreSQL is in trouble, and the client gets an error.
const READ_PERMIT_TIMEOUT: Duration = Duration::from_secs(30);
/// Messages of one replay page. A page of the longest messages fits into the send queue.
const PAGE_LEN: usize = 25;

/// A subscription that the client has.
pub(super) enum Subscription {
    Channel(ChannelId, ChannelStream, FrameFormat),
    Errors(FrameFormat),
    Activity,
}

/// A SUBSCRIBE in progress. Dropping it abandons the subscription.
pub(super) struct Subscribing {
    /// Keeps the channel's room in the hub.
    pending: PendingSubscription,
    connection: Arc<Connection>,
    channel: ChannelId,
    stream: ChannelStream,
    frame_format: FrameFormat,
    /// The `after-seq` header: the last message that the client has.
    after_seq: Option<i64>,
    receipt: Option<String>,
    /// Missed messages that were not read yet.
    unread: Unread,
    /// Messages read and not written yet.
    page: VecDeque<Message>,
}

/// The successful result of one step.
enum Progress {
    /// The user may read the channel.
    Allowed(Readable),
    /// A page of the replay has been read.
    PageRead,
    /// The replay is longer than [`MAX_REPLAYED_MESSAGES`].
    ReplayTooLong,
}

/// PostgreSQL's answer to one step of a SUBSCRIBE.
pub(super) struct StoreReply {
    subscribing: Box<Subscribing>,
    result: Result<Progress, Problem>,
}

impl Subscribing {
    /// Reads whether the user may read the channel.
    async fn check_access(self: Box<Self>, app: Arc<App>) -> StoreReply {
        let user = self.connection.user;
        let readable = store::channels::readable(&app.db, self.channel, user).await;
        StoreReply {
            subscribing: self,
            result: readable.map(Progress::Allowed),
        }
    }

    /// Reads the next page of the replay.
    async fn read_page(mut self: Box<Self>, app: Arc<App>) -> StoreReply {
        let result = self.try_read_page(&app).await;
        StoreReply {
            subscribing: self,
            result,
        }
    }

    async fn try_read_page(&mut self, app: &App) -> Result<Progress, Problem> {
        let (db, channel, Unread { after, through }) = (&app.db, self.channel, self.unread);
        let permit = app.delivery.hub.replay_permits.acquire();
        let Ok(Ok(_permit)) = timeout(READ_PERMIT_TIMEOUT, permit).await else {
            return Err(Problem::Unavailable(Dependency::Node, None));
        };
        // Deleted messages leave holes, so a long range need not hold too many messages. Count only long ranges.
        if self.after_seq == Some(after)
            && through - after > MAX_REPLAYED_MESSAGES
            && store::messages::more_than(db, channel, after, through, MAX_REPLAYED_MESSAGES)
                .await?
        {
            return Ok(Progress::ReplayTooLong);
        }
        let limit = i64::try_from(PAGE_LEN).unwrap_or(i64::MAX);
        let page = store::messages::between(db, channel, after, through, limit).await?;
        self.unread.advance(&page, PAGE_LEN);
        self.page = page.into();
        Ok(Progress::PageRead)
    }

    /// Queues messages of the page while there is room. True once the whole page is queued.
    fn write_page(&mut self, link: &Link) -> bool {
        while !link.is_full() {
            let Some(message) = self.page.pop_front() else {
                break;
            };
            link.queue_frame(
                self.pending
                    .message_frame(self.stream, &self.frame_format, &message),
            );
        }
        self.page.is_empty()
    }

    /// Whether the hub still has the subscription: it removes it when the user loses the channel.
    fn is_subscribed(&self) -> bool {
        self.pending
            .is_subscribed(&self.connection, self.stream, &self.frame_format)
    }

    /// Starts live delivery. False when the hub has removed the subscription.
    fn go_live(&self) -> bool {
        self.pending
            .release(&self.connection, self.stream, &self.frame_format)
    }

    /// The error for a channel that was deleted, or that the user may no longer read.
    fn channel_not_found(&mut self) -> ConnectionEnd {
        let problem = Problem::NotFound(Resource::Channel(self.channel));
        ConnectionEnd::refused(refusal(&problem).for_receipt(self.receipt.take()))
    }
}

impl StompConnection {
    pub(super) fn subscribe(
        &mut self,
        id: String,
        destination: &str,
        after_seq: Option<u64>,
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
        let (channel, stream) = match allowed {
            destination::Subscribe::Errors => {
                // Two subscriptions would double the answer to each refused SEND.
                let is_errors = |known: &Subscription| matches!(known, Subscription::Errors(_));
                if self.subscriptions.values().any(is_errors) {
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
            destination::Subscribe::Activity => {
                return self.subscribe_to_activity(id, frame_format, receipt);
            }
            destination::Subscribe::Channel(channel, stream) => (channel, stream),
        };
        let pending = self.app.delivery.hub.begin_subscription(channel);
        let subscribing = Box::new(Subscribing {
            pending,
            connection: connection.clone(),
            channel,
            stream,
            frame_format,
            after_seq: after_seq
                .filter(|_| stream == ChannelStream::Messages)
                .map(|after_seq| i64::try_from(after_seq).unwrap_or(i64::MAX)),
            receipt,
            unread: Unread {
                after: 0,
                through: 0,
            },
            page: VecDeque::new(),
        });
        let request = subscribing.check_access(self.app.clone());
        self.store_request = Some(request.map(StoreResult::Subscribe).boxed());
        Ok(())
    }

    pub(super) fn on_subscribe_reply(
        &mut self,
        StoreReply {
            mut subscribing,
            result,
        }: StoreReply,
    ) -> Result<(), ConnectionEnd> {
        let progress = match result {
            Ok(progress) => progress,
            Err(problem) => {
                let refusal = refusal(&problem).for_receipt(subscribing.receipt.take());
                return Err(ConnectionEnd::refused(refusal));
            }
        };
        match progress {
            Progress::Allowed(readable) => {
                if readable.kind == ChannelKind::Private {
                    subscribing.pending.mark_private();
                }
                subscribing.pending.hide_through(readable.visible_after);
                let (stream, frame_format) = (subscribing.stream, subscribing.frame_format.clone());
                let subscribed = subscribing.pending.add(
                    &subscribing.connection,
                    stream,
                    &frame_format,
                    readable.last_seq,
                    subscribing.after_seq,
                );
                if subscribed == Subscribed::Lost {
                    return Err(subscribing.channel_not_found());
                }
                self.subscriptions.insert(
                    frame_format.subscription.to_string(),
                    Subscription::Channel(subscribing.channel, stream, frame_format),
                );
                if let Subscribed::Replay(unread) = subscribed {
                    self.app.metrics.resumed(Protocol::Stomp, "replayed");
                    subscribing.unread = unread;
                    self.request_page(subscribing);
                } else {
                    self.receipt(subscribing.receipt.take());
                }
                Ok(())
            }
            Progress::PageRead => {
                self.replaying = Some(subscribing);
                Ok(())
            }
            Progress::ReplayTooLong => {
                self.app.metrics.resumed(Protocol::Stomp, "gap");
                let Unread { after, through } = subscribing.unread;
                let gap = subscribing.pending.gap_frame(
                    subscribing.stream,
                    &subscribing.frame_format,
                    after,
                    through,
                );
                self.link.queue_frame(gap);
                self.finish_subscribe(&mut subscribing)
            }
        }
    }

    fn request_page(&mut self, subscribing: Box<Subscribing>) {
        let request = subscribing.read_page(self.app.clone());
        self.store_request = Some(request.map(StoreResult::Subscribe).boxed());
    }

    /// Queues more of the replay, then requests its next page or starts live delivery.
    pub(super) fn continue_replay(&mut self) -> Result<(), ConnectionEnd> {
        let Some(mut subscribing) = self.replaying.take() else {
            return Ok(());
        };
        if !subscribing.is_subscribed() {
            return Err(subscribing.channel_not_found());
        }
        if !subscribing.write_page(&self.link) {
            self.replaying = Some(subscribing);
        } else if subscribing.unread.is_empty() {
            return self.finish_subscribe(&mut subscribing);
        } else {
            self.request_page(subscribing);
        }
        Ok(())
    }

    /// Starts live delivery after the replay and sends the receipt.
    fn finish_subscribe(&mut self, subscribing: &mut Subscribing) -> Result<(), ConnectionEnd> {
        if !subscribing.go_live() {
            return Err(subscribing.channel_not_found());
        }
        self.receipt(subscribing.receipt.take());
        Ok(())
    }

    /// Removes subscriptions whose channel the user has lost, so that they neither count nor keep their ids.
    pub(super) fn remove_ended_subscriptions(&mut self) {
        let (hub, session) = (&self.app.delivery.hub, &mut self.session);
        let Some((_, connection)) = &self.user else {
            return;
        };
        self.subscriptions.retain(|id, subscription| {
            let is_live = match subscription {
                Subscription::Channel(channel, stream, frame_format) => {
                    hub.is_subscribed(connection, *channel, *stream, frame_format)
                }
                Subscription::Errors(_) | Subscription::Activity => true,
            };
            if !is_live {
                session.forget(id);
            }
            is_live
        });
    }
}
