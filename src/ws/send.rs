//! SENDs: handed in one after the other, answered in their order after a commit that they share with others.

use std::time::Duration;

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
    ws::{
        connection::{ConnectionEnd, StompConnection, refusal},
        subscribe::Subscription,
    },
};

/// A SEND that waits for its commit.
pub(super) struct Pending {
    pub(super) answer: Answer,
    receipt: Option<String>,
    client_id: Option<Uuid>,
}

impl StompConnection {
    /// Hands in what is sent. What is wrong with its content does not end the connection.
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
        let (client_id, answer) = match allowed {
            destination::Send::Message => self.post(&caller, body),
            destination::Send::Typing => (None, self.typing(caller, body)),
        };
        // A refusal too goes behind those that wait, so that answers keep the order of their SENDs.
        let answer = answer.unwrap_or_else(|problem| resolved(Err(problem)));
        self.pending.push_back(Pending {
            answer,
            receipt,
            client_id,
        });
        Ok(())
    }

    fn take_turn(&mut self) -> Result<(), Problem> {
        let retry_after = Duration::from_secs(1);
        let turn = self.sends.take(Instant::now());
        turn.then_some(()).ok_or(Problem::TooMany { retry_after })
    }

    /// A message, with the identifier its sender made up.
    fn post(&mut self, caller: &Caller, body: &[u8]) -> (Option<Uuid>, Result<Answer, Problem>) {
        // Before it is read: what makes no sense is answered as well.
        let turn = self.take_turn();
        match from_json::<MessageCreateRequest>(body) {
            Ok(request) => {
                let client_id = request.client_message_id;
                let post = |()| ops::message::post(&self.app, caller.id, request, Vec::new());
                (client_id, turn.and_then(post))
            }
            Err(problem) => (None, turn.and(Err(problem))),
        }
    }

    /// That the user is writing. Said too often it is passed over, which is no mistake of the client's.
    fn typing(&mut self, caller: Caller, body: &[u8]) -> Result<Answer, Problem> {
        let channel = from_json::<TypingRequest>(body).and_then(|request| {
            let channel = request.channel_id;
            channel.ok_or_else(|| Problem::invalid("channelId", "must be given"))
        });
        let channel = match channel {
            Ok(channel) => channel,
            Err(problem) => return self.take_turn().and(Err(problem)),
        };
        let now = Instant::now();
        self.typing
            .retain(|_, told| now.duration_since(*told) < TYPING_INTERVAL);
        if self.typing.contains_key(&channel) {
            return Ok(resolved(Ok(Posted::NOTHING)));
        }
        self.take_turn()?;
        self.typing.insert(channel, now);
        let (sender, answer) = oneshot::channel();
        let app = self.app.clone();
        self.app.tasks.spawn("typing", async move {
            let told = ops::message::typing(&app, channel, caller.id, &caller.username).await;
            // A client that is gone needs no answer.
            drop(sender.send(told.map(|()| Posted::NOTHING)));
        });
        Ok(answer)
    }

    /// The first pending SEND has its answer.
    pub(super) fn answered(
        &mut self,
        answer: Result<Posted, Problem>,
    ) -> Result<(), ConnectionEnd> {
        let Some(Pending {
            receipt, client_id, ..
        }) = self.pending.pop_front()
        else {
            return Ok(());
        };
        let Err(problem) = answer else {
            self.receipt(receipt);
            return Ok(());
        };
        if problem.is_ours() {
            debug!(error = %crate::problem::chain(&problem), "a SEND was not accepted");
        }
        // STOMP has no other way to say that what a receipt was asked for did not happen.
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
                let mut octets = Vec::new();
                Message {
                    destination: destination::ERRORS,
                    subscription: &frame_format.subscription,
                    message_id: &message_id,
                    extra: &[],
                    body: body.as_bytes(),
                }
                .write(frame_format.version, &mut octets);
                self.link.send(&octets);
            }
        }
        Ok(())
    }
}

/// An answer that is there already.
fn resolved(result: Result<Posted, Problem>) -> Answer {
    let (sender, answer) = oneshot::channel();
    drop(sender.send(result));
    answer
}
