//! SUBSCRIBE to `/user/queue/activity`.

use futures_util::FutureExt;

use crate::{
    delivery::hub::FrameFormat,
    model::ChannelActivity,
    problem::Problem,
    protocol::stomp::Refusal,
    store,
    ws::{
        connection::{ConnectionEnd, StompConnection, StoreResult, refusal},
        subscribe::Subscription,
    },
};

/// PostgreSQL's answer to a SUBSCRIBE to the activity.
pub(super) struct AllChannels {
    id: String,
    receipt: Option<String>,
    channels: Result<Vec<ChannelActivity>, Problem>,
}

impl StompConnection {
    /// Begins a subscription to the activity of all channels. A connection has one.
    pub(super) fn subscribe_to_activity(
        &mut self,
        id: String,
        frame_format: FrameFormat,
        receipt: Option<String>,
    ) -> Result<(), Refusal> {
        let Some((caller, connection)) = &self.user else {
            return Err(refusal(&Problem::Unauthenticated));
        };
        let is_activity = |known: &Subscription| matches!(known, Subscription::Activity);
        if self.subscriptions.values().any(is_activity) {
            return Err(Refusal::new(
                "TOO_MANY_SUBSCRIPTIONS",
                "One subscription to the activity is enough.",
            ));
        }
        let (app, user) = (self.app.clone(), caller.id);
        // Before the read, so that no change between is missed.
        app.delivery.activity.join(connection.clone(), frame_format);
        let request = async move {
            StoreResult::Activity(AllChannels {
                channels: store::channels::activity_of(&app.db, user).await,
                id,
                receipt,
            })
        };
        self.store_request = Some(request.boxed());
        Ok(())
    }

    pub(super) fn on_all_channels(&mut self, answer: AllChannels) -> Result<(), ConnectionEnd> {
        let AllChannels {
            id,
            receipt,
            channels,
        } = answer;
        let channels = match channels {
            Ok(channels) => channels,
            Err(problem) => {
                return Err(ConnectionEnd::refused(
                    refusal(&problem).for_receipt(receipt),
                ));
            }
        };
        if let Some((_, connection)) = &self.user {
            self.app.delivery.activity.start(connection, &channels);
        }
        self.subscriptions.insert(id, Subscription::Activity);
        self.receipt(receipt);
        Ok(())
    }
}
