//! SEND frames: passed to the group commit in order, and answered in order after their commit.

use serde_json::json;
use tokio::{sync::oneshot, time::Instant};
use tracing::debug;
use uuid::Uuid;

use crate::{
    auth::tokens::Caller,
    delivery::destination,
    group_commit::{Answer, Posted},
    limits::TYPING_INTERVAL,
    model::from_json,
    ops::{
        self,
        message::{MessageCreateRequest, TypingRequest},
    },
    problem::Problem,
    protocol::stomp::{Message, Refusal},
    traces::{self, Span, log_span},
    ws::{
        connection::{ConnectionEnd, StompConnection, refusal},
        subscribe::Subscription,
    },
};

/// A SEND that waits for its commit.
pub(super) struct PendingSend {
    pub(super) answer: Answer,
    receipt: Option<String>,
    client_id: Option<Uuid>,
    /// Ends with the answer.
    span: Option<Span>,
}

impl StompConnection {
    /// Starts a SEND. A refused message does not end the connection; a refused destination does.
    pub(super) fn send(
        &mut self,
        destination: &str,
        body: &[u8],
        receipt: Option<String>,
    ) -> Result<(), ConnectionEnd> {
        let Some(allowed) = destination::send(destination) else {
            let refusal = Refusal::new(
                "DESTINATION_NOT_ALLOWED",
                "This destination cannot be sent to.",
            );
            return Err(ConnectionEnd::refused(refusal.for_receipt(receipt)));
        };
        let Some((caller, _)) = &self.user else {
            return Err(ConnectionEnd::refused(refusal(&Problem::Unauthenticated)));
        };
        let caller = caller.clone();
        let mut span = None;
        let (client_id, answer) = match allowed {
            destination::Send::Message => {
                span = self.app.traces.begin("SEND", || None);
                let place = span.as_ref().map(Span::place);
                traces::within_sync(place, || self.post(&caller, body))
            }
            destination::Send::Typing => (None, self.typing(caller, body)),
        };
        // A refusal joins the queue too, so that answers keep the order of their SENDs.
        let answer = answer.unwrap_or_else(|problem| resolved(Err(problem)));
        self.pending_sends.push_back(PendingSend {
            answer,
            receipt,
            client_id,
            span,
        });
        Ok(())
    }

    /// Hands a message to the group commit. Returns the `clientMessageId` with the pending answer.
    fn post(&mut self, caller: &Caller, body: &[u8]) -> (Option<Uuid>, Result<Answer, Problem>) {
        match from_json::<MessageCreateRequest>(body) {
            Ok(request) => {
                let client_id = request.client_message_id;
                let answer = ops::message::post(&self.app, caller.id, request, Vec::new());
                (client_id, answer)
            }
            Err(problem) => (None, Err(problem)),
        }
    }

    /// Announces that the user types. More than one announcement in 2 s for a channel is dropped without an error.
    fn typing(&mut self, caller: Caller, body: &[u8]) -> Result<Answer, Problem> {
        let channel = from_json::<TypingRequest>(body).and_then(|request| {
            let channel = request.channel_id;
            channel.ok_or_else(|| Problem::invalid("channelId", "is required"))
        });
        let channel = channel?;
        let now = Instant::now();
        self.typing_announced_at
            .retain(|_, at| now.duration_since(*at) < TYPING_INTERVAL);
        if self.typing_announced_at.contains_key(&channel) {
            return Ok(resolved(Ok(Posted::NOTHING)));
        }
        self.typing_announced_at.insert(channel, now);
        let (sender, answer) = oneshot::channel();
        let app = self.app.clone();
        self.app.tasks.spawn("typing", async move {
            let announced = ops::message::typing(&app, channel, caller.id, &caller.username).await;
            // The receiver is gone when the connection is; then nobody needs the answer.
            drop(sender.send(announced.map(|()| Posted::NOTHING)));
        });
        Ok(answer)
    }

    /// Answers the first pending SEND: a receipt, a report to `/user/queue/errors`, or an ERROR frame.
    pub(super) fn on_send_answer(
        &mut self,
        answer: Result<Posted, Problem>,
    ) -> Result<(), ConnectionEnd> {
        let Some(PendingSend {
            receipt,
            client_id,
            span,
            ..
        }) = self.pending_sends.pop_front()
        else {
            return Ok(());
        };
        let Err(problem) = answer else {
            self.receipt(receipt);
            return Ok(());
        };
        let place = span.as_ref().map(Span::place);
        if let Some(span) = span {
            span.fail(problem.code());
        }
        if problem.is_server_error() {
            let _entered = log_span(place).entered();
            debug!(error = %crate::problem::chain(&problem), "SEND failed");
        }
        // STOMP's only negative answer to a `receipt` header is an ERROR frame, which ends the connection.
        if receipt.is_some() {
            return Err(ConnectionEnd::refused(
                refusal(&problem).for_receipt(receipt),
            ));
        }
        let mut details = problem.details();
        if let (Some(details), Some(id)) = (details.as_object_mut(), client_id) {
            details.insert("clientMessageId".to_owned(), id.to_string().into());
        }
        let body = json!({ "code": problem.code(), "message": problem.to_string(), "details": details, "receiptId": null }).to_string();
        for subscription in self.subscriptions.values() {
            if let Subscription::Errors(frame_format) = subscription {
                let message_id = format!("error-{}", Uuid::new_v4().simple());
                let mut frame = Vec::new();
                Message {
                    destination: destination::ERRORS,
                    subscription: &frame_format.subscription,
                    message_id: &message_id,
                    extra: &[],
                    body: body.as_bytes(),
                }
                .write(frame_format.version, &mut frame);
                self.link.queue_text(&frame);
            }
        }
        Ok(())
    }
}

/// An answer that is known already.
fn resolved(result: Result<Posted, Problem>) -> Answer {
    let (sender, answer) = oneshot::channel();
    drop(sender.send(result));
    answer
}
