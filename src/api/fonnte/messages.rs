//! Single messages after they were accepted, and typing.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::device::endpoint;
use super::{Failure, answer, disconnected, enter, failed, session};
use crate::api::keys::Caller;
use crate::api::openapi::fonnte::{FonnteDone, FonnteId, FonnteMessage, FonnteTyping};
use crate::api::params::{ParamError, Params};
use crate::api::{Api, Shared};
use crate::clock::now_ms;
use crate::outbox::{Cancelled, Message, Progress};
use crate::session::{ChatError, MAX_TYPING, Typing};

endpoint!(
    /// Cancel a message
    ///
    /// Takes a message that is not yet sent out of the queue.
    #[utoipa::path(post, path = "/delete-message", request_body = FonnteId, responses(
        (status = 200, description = "It will not be sent", body = FonnteDone),
        (status = 404, description = "There is no such message"),
        (status = 409, description = "It is being sent, was sent, or has failed"),
    ))]
    delete, cancel
);
endpoint!(
    /// What became of a message?
    #[utoipa::path(post, path = "/status", request_body = FonnteId, responses(
        (status = 200, description = "How far it has come", body = FonnteMessage),
        (status = 404, description = "There is no such message"),
    ))]
    status, show
);
endpoint!(
    /// Show typing
    ///
    /// Lets the chat see *typing…*, or takes it back.
    #[utoipa::path(post, path = "/typing", request_body = FonnteTyping, responses(
        (status = 200, description = "It is shown", body = FonnteDone),
        (status = 404, description = "There is no such device"),
        (status = 502, description = "WhatsApp did not take it"),
        (status = 503, description = "The device is not connected"),
    ))]
    typing, show_typing
);

/// The caller's message with the number in `id`.
fn message(api: &Shared, caller: &Caller, params: &Params) -> Result<Message, Failure> {
    let unknown = || Failure::new(StatusCode::NOT_FOUND, "invalid message id");
    let id = params.required("id")?;
    let seq = id.trim().parse::<u64>().map_err(|_| unknown())?;
    let message = api.outbox.find_seq(seq)?.ok_or_else(unknown)?;
    let session = api.registry.by_no(message.session_no).filter(|session| caller.may_use_session(session));
    session.map(|_| message).ok_or_else(unknown)
}

fn word(api: &Shared, message: &Message) -> &'static str {
    match message.progress {
        Progress::Sent | Progress::Delivered | Progress::Read => "sent",
        Progress::Pending if message.not_before_ms.is_some_and(|at| at > now_ms()) => "waiting",
        Progress::Pending if api.outbox.is_sending(message) => "processing",
        Progress::Pending => "pending",
        Progress::Failed if message.error.as_deref().is_some_and(|e| e.starts_with("not sent within")) => {
            "expired"
        }
        Progress::Failed => "invalid",
    }
}

async fn show(api: &Shared, caller: &Caller, params: &Params) -> Result<Value, Failure> {
    let message = message(api, caller, params)?;
    Ok(json!({
        "status": true,
        "id": message.seq,
        "message_status": word(api, &message),
        "reason": message.error,
    }))
}

async fn cancel(api: &Shared, caller: &Caller, params: &Params) -> Result<Value, Failure> {
    let message = message(api, caller, params)?;
    let seq = message.seq;
    let held = |status: &str| {
        Err(Failure::new(StatusCode::CONFLICT, format!("cannot delete message with status {status}")))
    };
    match api.outbox.cancel(seq).await? {
        Cancelled::Done => {
            Ok(json!({"status": true, "detail": format!("message {seq} successfully deleted")}))
        }
        Cancelled::Unknown => Err(Failure::new(StatusCode::NOT_FOUND, "invalid message id")),
        Cancelled::Sending => held("processing"),
        Cancelled::Finished(_) => held(word(api, &api.outbox.find_seq(seq)?.unwrap_or(message))),
    }
}

async fn show_typing(api: &Shared, caller: &Caller, params: &Params) -> Result<Value, Failure> {
    let session = session(api, caller, params)?;
    let target = params.required("target")?;
    let duration = params.integer("duration")?.unwrap_or(0);
    let hold = u64::try_from(duration).map(Duration::from_secs).ok().filter(|hold| *hold <= MAX_TYPING);
    let Some(hold) = hold else {
        let reason = format!("must be a number of seconds from 0 to {}", MAX_TYPING.as_secs());
        return Err(ParamError::Value { field: "duration", reason }.into());
    };
    let stop = params.flag("stop")?;
    if session.client().is_none() {
        return Err(disconnected());
    }
    let target = api.target(&session, "target", &target, true).await.map_err(|e| failed(&session, e))?;
    let shown = if stop { Typing::Paused } else { Typing::Composing };
    session.show_typing(target.jid(), shown, hold).await.map_err(|e| match e {
        ChatError::NotConnected => disconnected(),
        ChatError::Chat => ParamError::Value { field: "target", reason: "is not a chat".into() }.into(),
        ChatError::Failed(_) => Failure::new(StatusCode::BAD_GATEWAY, e.to_string()),
    })?;
    let detail = if stop { "typing stopped" } else { "typing" };
    Ok(json!({"status": true, "detail": detail}))
}
