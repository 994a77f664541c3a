//! `/api/v1/sessions/{id}/chats/{chat}`: showing that we type, and that we read.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::referred::{delivered, message_of};
use super::{Failure, Ids, enter_with, not_connected};
use crate::api::openapi::chats::{ChatMarked, ChatRead, ChatTyping, Done, OfChat};
use crate::api::openapi::v1::DIALECT;
use crate::api::openapi::{Purpose, Routes, routes};
use crate::api::params::{ParamError, Params};
use crate::api::{Api, Shared};
use crate::inbox::Event;
use crate::session::{MAX_READ, MAX_TYPING, Session, Typing};
use crate::store::StoreError;

/// How far back messages are looked for, where a request does not name them, in events of the box.
const LOOK_BACK: u64 = 1_000;

pub(super) fn routes<P: Purpose>() -> Routes<P> {
    Routes::of(&[&DIALECT]).with(routes!(typing)).with(routes!(read))
}

/// Show typing
///
/// Lets the chat see *typing…* or *recording…*, or takes it back.
#[utoipa::path(post, path = "/api/v1/sessions/{id}/chats/{chat}/typing", params(OfChat), request_body = ChatTyping, responses(
    (status = 200, description = "It is shown", body = Done),
    (status = 403, description = "The session belongs to another account"),
    (status = 404, description = "There is no such session"),
    (status = 502, description = "WhatsApp did not take it"),
    (status = 503, description = "The session is not connected"),
))]
async fn typing(State(api): State<Api>, ids: Ids, request: Request) -> Result<Response, Failure> {
    let (session, chat) = enter_with(&api, &request, ids)?;
    let params = Params::read(request).await?;
    let state = params.text("state")?.unwrap_or_else(|| "composing".to_owned());
    let shown = Typing::parse(&state).ok_or_else(|| ParamError::Value {
        field: "state",
        reason: "must be composing, recording or paused".into(),
    })?;
    let hold = params.integer("duration_s")?.unwrap_or(0);
    let hold = u64::try_from(hold).map(Duration::from_secs).ok().filter(|hold| *hold <= MAX_TYPING);
    let hold = hold.ok_or_else(|| ParamError::Value {
        field: "duration_s",
        reason: format!("must be a number of seconds from 0 to {}", MAX_TYPING.as_secs()),
    })?;
    if session.client().is_none() {
        return Err(not_connected());
    }
    let chat = api.target(&session, "chat", &chat, true).await?;
    session.show_typing(chat.jid(), shown, hold).await?;
    Ok(Json(json!({"success": true})).into_response())
}

/// What is marked: by chat and, in a group, author, as WhatsApp knows them.
type Marked = BTreeMap<(String, Option<String>), Vec<String>>;

/// Mark messages as read
///
/// Those that are named, or what the chat wrote lately.
#[utoipa::path(post, path = "/api/v1/sessions/{id}/chats/{chat}/read", params(OfChat), request_body = ChatRead, responses(
    (status = 200, description = "They are marked", body = ChatMarked),
    (status = 403, description = "The session belongs to another account"),
    (status = 404, description = "There is no such session"),
    (status = 502, description = "WhatsApp did not take it"),
    (status = 503, description = "The session is not connected"),
))]
async fn read(State(api): State<Api>, ids: Ids, request: Request) -> Result<Response, Failure> {
    let (session, chat) = enter_with(&api, &request, ids)?;
    let params = Params::read(request).await?;
    let given = params.list("messages")?;
    if given.len() > MAX_READ {
        let reason = format!("has {} messages; at most {MAX_READ} are allowed", given.len());
        return Err(ParamError::Value { field: "messages", reason }.into());
    }
    if session.client().is_none() {
        return Err(not_connected());
    }
    let chat = api.target(&session, "chat", &chat, true).await?;
    let mut marked = Marked::new();
    if params.value("messages").is_none() {
        gather(&api, &session, chat.jid(), &mut marked)?;
    }
    for id in given {
        mark(&api, &session, chat.jid(), &id, &params, &mut marked).await?;
    }
    let mut count = 0;
    for ((chat, author), ids) in &marked {
        session.mark_read(chat, author.as_deref(), ids).await?;
        count += ids.len();
    }
    Ok(Json(json!({"success": true, "read": count})).into_response())
}

/// Adds what this chat wrote lately.
fn gather(api: &Shared, session: &Session, chat: &str, marked: &mut Marked) -> Result<(), StoreError> {
    let newest = api.inbox.newest()?;
    let page =
        api.inbox.page(newest.saturating_sub(LOOK_BACK), usize::try_from(LOOK_BACK).unwrap_or(usize::MAX))?;
    for event in page.events {
        if event.origin.session_no == session.no() && is_in(&event, chat) {
            add(&event, marked);
        }
    }
    Ok(())
}

/// Whether an event is of this chat, under either of its names.
fn is_in(event: &Event, chat: &str) -> bool {
    event.chat_id.as_deref() == Some(chat)
        || (event.person.lid.as_deref() == Some(chat)
            && !event.chat_id.as_ref().is_some_and(|c| c.ends_with("@g.us")))
}

/// Adds a message, unless it is our own. Whether it is one.
fn add(event: &Event, marked: &mut Marked) -> bool {
    let Some((id, false)) = message_of(event) else { return false };
    let Some((chat, author)) = delivered(event, id) else { return false };
    let ids = marked.entry((chat, author)).or_default();
    if !ids.iter().any(|known| known == id) {
        ids.push(id.to_owned());
    }
    true
}

async fn mark(
    api: &Shared,
    session: &Session,
    chat: &str,
    id: &str,
    params: &Params,
    marked: &mut Marked,
) -> Result<(), Failure> {
    let id = id.trim();
    let event = if id.len() == 32 { api.inbox.find(id)? } else { None };
    if let Some(event) = event.filter(|event| event.origin.session_no == session.no()) {
        if !is_in(&event, chat) || !add(&event, marked) {
            let reason = "messages: one of them is not a message that this chat wrote to the session";
            return Err(Failure::bad(reason));
        }
        return Ok(());
    }
    let sound = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b':' | b'-' | b'_' | b'@');
    if !(4..=128).contains(&id.len()) || !id.bytes().all(sound) {
        return Err(Failure::new(StatusCode::BAD_REQUEST, "messages: must be a list of message ids"));
    }
    let author = match chat.ends_with("@g.us") {
        true => Some(api.author(session, params, "sender").await?),
        false => None,
    };
    let ids = marked.entry((chat.to_owned(), author)).or_default();
    if !ids.iter().any(|known| known == id) {
        ids.push(id.to_owned());
    }
    Ok(())
}
