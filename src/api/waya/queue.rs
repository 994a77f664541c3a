//! What became of a queued message, and second thoughts about it.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::{Failure, caller};
use crate::api::keys::Caller;
use crate::api::openapi::waya::{WayaCancelled, WayaId, WayaRetried, WayaStatus};
use crate::api::{Api, Shared, peer};
use crate::outbox::{Cancelled, Message, Progress, Reference, Retried};

type Id = Result<Path<String>, PathRejection>;

/// The state's word in this dialect.
pub(super) fn word(api: &Shared, message: &Message) -> &'static str {
    match message.progress {
        Progress::Pending if api.outbox.is_sending(message) => "sending",
        Progress::Pending => "pending",
        Progress::Failed => "failed",
        Progress::Sent | Progress::Delivered | Progress::Read => "sent",
    }
}

/// The caller's messages under this queue id, WhatsApp id or reference; at least one.
fn find(api: &Shared, caller: &Caller, id: &Id) -> Result<Vec<Message>, Failure> {
    let unknown = || Failure::new(StatusCode::NOT_FOUND, "Message not found");
    let Ok(Path(id)) = id else { return Err(unknown()) };
    let id = id.trim();
    let own = |message: &Message| {
        api.registry.by_no(message.session_no).is_some_and(|session| caller.may_use_session(&session))
    };
    if let Some(message) = api.outbox.find(id)?.filter(own) {
        return Ok(vec![message]);
    }
    let reference = Reference { account: caller.account.clone(), id: id.to_owned() };
    let mut messages = api.outbox.find_reference(&reference)?;
    messages.retain(own);
    if messages.is_empty() { Err(unknown()) } else { Ok(messages) }
}

fn describe(api: &Shared, message: &Message) -> Value {
    let (number, chat) = match message.to.strip_suffix("@s.whatsapp.net") {
        Some(number) => (number, format!("{number}@c.us")),
        None => (message.to.as_str(), message.to.clone()),
    };
    json!({
        "id": message.id,
        "reference_id": message.reference.as_ref().map(|reference| &reference.id),
        "number": number,
        "chatId": chat,
        "message": message.content.text().unwrap_or_default(),
        "status": word(api, message),
        "error": message.error,
        "createdAt": message.accepted_at_ms,
        "sentAt": message.sent_at_ms,
        "deliveredAt": message.delivered_at_ms,
        "readAt": message.read_at_ms,
        "messageId": message.message_id,
    })
}

/// What became of a message?
///
/// By queue id, WhatsApp id or reference. A reference of several recipients also has `messages`.
#[utoipa::path(get, path = "/api/message-status/{id}", params(WayaId), responses(
    (status = 200, description = "How far it has come", body = WayaStatus),
    (status = 404, description = "There is no such message"),
))]
pub(super) async fn status(State(api): State<Api>, id: Id, request: Request) -> Result<Response, Failure> {
    let caller = caller(&api, request.headers(), peer(&request))?;
    let messages = find(&api, &caller, &id)?;
    let mut body = messages.first().map(|first| describe(&api, first)).unwrap_or_default();
    if messages.len() > 1 {
        // A reference to several recipients: the first in the documented fields, all of them beside it.
        body["messages"] = messages.iter().map(|message| describe(&api, message)).collect();
    }
    Ok(Json(body).into_response())
}

/// Cancel a message
///
/// Takes what is not yet sent out of the queue.
#[utoipa::path(post, path = "/api/message-status/{id}/cancel", params(WayaId), responses(
    (status = 200, description = "These will not be sent", body = WayaCancelled),
    (status = 404, description = "There is no such message"),
    (status = 409, description = "It is being sent, was sent, or has failed"),
))]
pub(super) async fn cancel(State(api): State<Api>, id: Id, request: Request) -> Result<Response, Failure> {
    let caller = caller(&api, request.headers(), peer(&request))?;
    let mut cancelled = Vec::new();
    let mut held = None;
    for message in find(&api, &caller, &id)? {
        match api.outbox.cancel(message.seq).await? {
            Cancelled::Done => cancelled.push(message.id),
            Cancelled::Sending => held = Some("it is being sent"),
            Cancelled::Finished(Progress::Failed) => held = held.or(Some("it has failed")),
            Cancelled::Finished(_) => held = Some("it was sent"),
            Cancelled::Unknown => {}
        }
    }
    if cancelled.is_empty() {
        let reason = held.unwrap_or("it is not there any more");
        return Err(Failure::new(StatusCode::CONFLICT, format!("The message cannot be cancelled: {reason}")));
    }
    Ok(Json(json!({"success": true, "cancelled": cancelled})).into_response())
}

/// Try a failed message again
///
/// Puts it back into the queue under the same WhatsApp id. One with a file within three days, and unless newer files needed
/// its room.
#[utoipa::path(post, path = "/api/message-status/{id}/retry", params(WayaId), responses(
    (status = 200, description = "These are in the queue again", body = WayaRetried),
    (status = 404, description = "There is no such message"),
    (status = 409, description = "It was sent, or its file is gone"),
))]
pub(super) async fn retry(State(api): State<Api>, id: Id, request: Request) -> Result<Response, Failure> {
    let caller = caller(&api, request.headers(), peer(&request))?;
    let mut retried = Vec::new();
    let mut held = None;
    for message in find(&api, &caller, &id)? {
        let outcome = api.outbox.retry(message.seq).await.map_err(|e| match e {
            crate::outbox::AcceptError::Store(e) => e.into(),
            crate::outbox::AcceptError::QueueFull { .. } => {
                Failure::new(StatusCode::TOO_MANY_REQUESTS, e.to_string())
            }
            e => Failure::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()),
        })?;
        match outcome {
            Retried::Done => retried.push(message.id),
            Retried::Finished(_) => held = Some("it was sent"),
            Retried::FileGone => held = Some("its file is no longer kept; send it anew"),
            Retried::Unknown => {}
        }
    }
    if retried.is_empty() {
        let reason = held.unwrap_or("it is not there any more");
        return Err(Failure::new(
            StatusCode::CONFLICT,
            format!("The message cannot be tried again: {reason}"),
        ));
    }
    Ok(Json(json!({"success": true, "retried": retried})).into_response())
}
