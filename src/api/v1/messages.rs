//! `/api/v1/sessions/{id}/messages`: sending every kind of message, and what can be done with one afterwards.

use std::time::Duration;

use axum::Json;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::referred::{Known, NAMES, Referred, message_of};
use super::{Failure, Id, Ids, enter, enter_with};
use crate::api::openapi::chats::{
    MessageAccepted, MessageCancelled, MessageEdit, MessageReaction, MessageShown, MessageWhere, NewMessage,
    OfMessage, OfSession,
};
use crate::api::openapi::v1::DIALECT;
use crate::api::openapi::{Purpose, Routes, Sending, routes};
use crate::api::params::{ParamError, Params};
use crate::api::send::{MAX_TEXT, Target, check_text};
use crate::api::{Api, Shared};
use crate::clock::now_ms;
use crate::media::MAX_MEDIA;
use crate::outbox::{
    AcceptError, Body, Cancelled, Content, Context, Message, Options, Progress, Reference, Retried,
};
use crate::session::{MAX_TYPING, Session};

/// What a multipart request may have besides its file.
const MULTIPART_SLACK: usize = 2 * 1024 * 1024;
/// Longest reference, in characters.
const MAX_REFERENCE: usize = 200;
/// How far ahead a message may be scheduled.
const MAX_AHEAD: Duration = Duration::from_secs(366 * 24 * 3600);
/// For how long after a message was sent WhatsApp's apps show a new text for it.
const EDITABLE: Duration = Duration::from_secs(15 * 60);
/// For how long after a message was sent WhatsApp's apps take it back for everyone: two and a half days.
const DELETABLE: Duration = Duration::from_secs(60 * 3600);
/// Seconds after which a message that is being sent has been.
const SENDING: u64 = 5;
/// Longest emoji, in characters: a family of four with skin colours has eleven.
const MAX_EMOJI: usize = 16;

pub(super) fn routes<P: Purpose>() -> Routes<P> {
    let upload = DefaultBodyLimit::max(MAX_MEDIA as usize + MULTIPART_SLACK);
    Routes::of(&[&DIALECT])
        .with(routes!(create).layer(upload))
        .with(routes!(show, edit, delete))
        .with(routes!(retry))
        .with(routes!(react, unreact))
}

fn word(api: &Shared, message: &Message) -> &'static str {
    match message.progress {
        Progress::Pending if api.outbox.is_sending(message) => "sending",
        Progress::Pending => "pending",
        Progress::Failed => "failed",
        Progress::Sent => "sent",
        Progress::Delivered => "delivered",
        Progress::Read => "read",
    }
}

fn kind(content: &Content) -> &'static str {
    match content {
        Content::Text { .. } => "text",
        Content::Media { media, .. } => media.as_str(),
        Content::Poll { .. } => "poll",
        Content::Location { .. } => "location",
        Content::Contact { .. } => "contact",
        Content::Reaction { .. } => "reaction",
        Content::Edit { .. } => "edit",
        Content::Delete { .. } => "delete",
    }
}

fn describe(api: &Shared, message: &Message) -> Value {
    json!({
        "id": message.id,
        "message_id": message.message_id,
        "seq": message.seq,
        "to": message.to,
        "type": kind(&message.content),
        "status": word(api, message),
        "error": message.error,
        "attempts": message.attempts,
        "reference": message.reference.as_ref().map(|reference| &reference.id),
        "accepted_at_ms": message.accepted_at_ms,
        "send_at_ms": message.not_before_ms,
        "sent_at_ms": message.sent_at_ms,
        "delivered_at_ms": message.delivered_at_ms,
        "read_at_ms": message.read_at_ms,
    })
}

/// Keeps the message, and answers with what was promised.
async fn accept(
    api: &Shared,
    session: &Session,
    to: Target,
    body: Body,
    options: Options,
    reference: Option<Reference>,
) -> Result<Response, Failure> {
    let batch = api.accept_all(session, vec![(to, body, options)], reference).await?;
    let accepted = batch.messages.into_iter().next();
    let message = accepted.and_then(|accepted| api.outbox.find_seq(accepted.seq).transpose()).transpose()?;
    let Some(message) = message else {
        return Err(Failure::new(StatusCode::NOT_FOUND, "The session was deleted"));
    };
    let body = json!({"success": true, "repeated": batch.repeated, "message": describe(api, &message)});
    Ok((StatusCode::ACCEPTED, Json(body)).into_response())
}

/// Send a message
///
/// Of any kind, with everything that WhatsApp knows: replies, mentions, previews, times.
#[utoipa::path(post, path = "/api/v1/sessions/{id}/messages", params(OfSession), request_body(content((NewMessage = "application/json"), (NewMessage = "multipart/form-data"))), responses(
    (status = 202, description = "It is kept and will be sent", body = MessageAccepted),
    (status = 403, description = "The session belongs to another account"),
    Sending,
))]
async fn create(State(api): State<Api>, id: Id, request: Request) -> Result<Response, Failure> {
    let session = enter(&api, &request, &id)?;
    let mut params = Params::read_with_files(request, &api.spool).await?;
    let to = params.required("to")?;
    let reference = reference(&session, &params)?;
    let (not_before_ms, typing) = timing(&params, now_ms())?;
    let mut body = api.content(&mut params).await?;
    let to = api.target(&session, "to", &to, true).await?;
    let text = match &mut body {
        Body::Text(text) | Body::Media { caption: Some(text), .. } => Some(text),
        _ => None,
    };
    let context = api.context(&session, &to, &params, text).await?;
    let options = Options { context, not_before_ms, typing, ..Options::default() };
    accept(&api, &session, to, body, options, reference).await
}

fn reference(session: &Session, params: &Params) -> Result<Option<Reference>, Failure> {
    let Some(id) = params.text("reference")? else { return Ok(None) };
    check_text("reference", &id, MAX_REFERENCE)?;
    Ok(Some(Reference { account: session.owner().to_owned(), id: id.trim().to_owned() }))
}

/// When it is to be sent, and for how long to type first.
fn timing(params: &Params, now_ms: i64) -> Result<(Option<i64>, Duration), ParamError> {
    let latest = now_ms + i64::try_from(MAX_AHEAD.as_millis()).unwrap_or(i64::MAX);
    let at = params.integer("send_at_ms")?;
    if at.is_some_and(|at| !(0..=latest).contains(&at)) {
        let reason = "must be a time in Unix milliseconds, at most a year ahead".to_owned();
        return Err(ParamError::Value { field: "send_at_ms", reason });
    }
    let typing = params.integer("typing_s")?.unwrap_or(0);
    let typing = u64::try_from(typing).map(Duration::from_secs).ok().filter(|typing| *typing <= MAX_TYPING);
    let Some(typing) = typing else {
        let reason = format!("must be a number of seconds from 0 to {}", MAX_TYPING.as_secs());
        return Err(ParamError::Value { field: "typing_s", reason });
    };
    Ok((at, typing))
}

/// A message of ours in this session.
fn own(api: &Shared, session: &Session, id: &str) -> Result<Message, Failure> {
    let found = api.outbox.find(id.trim())?.filter(|message| message.session_no == session.no());
    found.ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, "Message not found; check its id"))
}

/// What became of a message?
#[utoipa::path(get, path = "/api/v1/sessions/{id}/messages/{message}", params(OfMessage), responses(
    (status = 200, description = "How far it has come", body = MessageShown),
    (status = 403, description = "The session belongs to another account"),
    (status = 404, description = "There is no such session or message"),
))]
async fn show(State(api): State<Api>, ids: Ids, request: Request) -> Result<Response, Failure> {
    let (session, id) = enter_with(&api, &request, ids)?;
    let message = own(&api, &session, &id)?;
    Ok(Json(json!({"success": true, "message": describe(&api, &message)})).into_response())
}

/// Try a failed message again
///
/// Puts it back into the queue under the same WhatsApp id. One with a file within three days, and unless newer files needed
/// its room.
#[utoipa::path(post, path = "/api/v1/sessions/{id}/messages/{message}/retry", params(OfMessage), responses(
    (status = 200, description = "It is in the queue again", body = MessageShown),
    (status = 403, description = "The session belongs to another account"),
    (status = 404, description = "There is no such session or message"),
    (status = 409, description = "It was sent, or its file is gone"),
))]
async fn retry(State(api): State<Api>, ids: Ids, request: Request) -> Result<Response, Failure> {
    let (session, id) = enter_with(&api, &request, ids)?;
    let message = own(&api, &session, &id)?;
    let retried = api.outbox.retry(message.seq).await.map_err(|e| match e {
        AcceptError::Store(e) => Failure::from(e),
        AcceptError::QueueFull { .. } => Failure::later(StatusCode::TOO_MANY_REQUESTS, e.to_string(), 60),
        e => Failure::new(StatusCode::CONFLICT, e.to_string()),
    })?;
    match retried {
        Retried::Done => {
            let message = api.outbox.find_seq(message.seq)?.unwrap_or(message);
            Ok(Json(json!({"success": true, "message": describe(&api, &message)})).into_response())
        }
        Retried::Unknown => Err(Failure::new(StatusCode::NOT_FOUND, "Message not found; check its id")),
        Retried::Finished(_) => Err(Failure::new(StatusCode::CONFLICT, "The message was sent")),
        Retried::FileGone => {
            Err(Failure::new(StatusCode::CONFLICT, "The message's file is no longer kept; send it anew"))
        }
    }
}

/// That WhatsApp has the message, without which nobody can refer to it, and had it not longer than `within` ago.
fn sent(message: &Message, within: Option<(Duration, &str)>) -> Result<(), Failure> {
    let conflict = |reason: String| Err(Failure::new(StatusCode::CONFLICT, reason));
    match message.progress {
        Progress::Pending => {
            return conflict("The message is not sent yet; try again once its status is sent".into());
        }
        Progress::Failed => return conflict("The message was never sent".into()),
        Progress::Sent | Progress::Delivered | Progress::Read => {}
    }
    let Some((within, what)) = within else { return Ok(()) };
    let age = now_ms().saturating_sub(message.sent_at_ms.unwrap_or(message.accepted_at_ms));
    if u64::try_from(age).is_ok_and(|age| u128::from(age) > within.as_millis()) {
        let (hours, minutes) = (within.as_secs() / 3600, within.as_secs() / 60);
        let within = if hours > 0 { format!("{hours} hours") } else { format!("{minutes} minutes") };
        return conflict(format!("WhatsApp {what} within {within} only, and the message is older"));
    }
    Ok(())
}

/// Only what this account wrote can be changed.
fn written_by_us(referred: &Referred) -> Result<(), Failure> {
    if referred.about.from_me {
        Ok(())
    } else {
        Err(Failure::new(StatusCode::CONFLICT, "Only messages that this account wrote can be changed"))
    }
}

/// Edit a text
///
/// WhatsApp shows a new text within 15 minutes after the message was sent.
#[utoipa::path(patch, path = "/api/v1/sessions/{id}/messages/{message}", params(OfMessage), request_body = MessageEdit, responses(
    (status = 202, description = "It is kept and will be sent", body = MessageAccepted),
    (status = 409, description = "It is no text, not ours, not sent yet, or too old"),
    (status = 403, description = "The session belongs to another account"),
    Sending,
))]
async fn edit(State(api): State<Api>, ids: Ids, request: Request) -> Result<Response, Failure> {
    let (session, id) = enter_with(&api, &request, ids)?;
    let params = Params::read(request).await?;
    let mut text = params.required("text")?;
    check_text("text", &text, MAX_TEXT)?;
    let referred = api.referred(&session, "message", &id, &params, &NAMES, true).await?;
    written_by_us(&referred)?;
    let is_text = match &referred.known {
        Known::Sent(message) => {
            sent(message, Some((EDITABLE, "shows new texts")))?;
            matches!(message.content, Content::Text { .. })
        }
        Known::Received(event) => match &event.body {
            crate::inbox::Body::Message(message) => message.kind == "text",
            _ => false,
        },
        Known::Nothing => true,
    };
    if !is_text {
        return Err(Failure::new(StatusCode::CONFLICT, "Only texts can be edited"));
    }
    let context = api.context(&session, &referred.chat, &params, Some(&mut text)).await?;
    // What it answers stays as it was, and a new text gets no new preview.
    let context =
        Context { mentions: context.mentions, mention_all: context.mention_all, ..Context::default() };
    let body = Body::Other(Content::Edit { target: referred.about.id, body: text });
    let options = Options { context, ..Options::default() };
    accept(&api, &session, referred.chat, body, options, reference(&session, &params)?).await
}

/// Take a message back
///
/// One that waits to be sent is cancelled; one that was sent is deleted for everyone, within 60 hours.
#[utoipa::path(delete, path = "/api/v1/sessions/{id}/messages/{message}", params(OfMessage), request_body = MessageWhere, responses(
    (status = 200, description = "It was not sent yet, and will not be", body = MessageCancelled),
    (status = 202, description = "Its deletion is kept and will be sent", body = MessageAccepted),
    (status = 409, description = "It is not ours, is being sent, or is too old"),
    (status = 403, description = "The session belongs to another account"),
    Sending,
))]
async fn delete(State(api): State<Api>, ids: Ids, request: Request) -> Result<Response, Failure> {
    let (session, id) = enter_with(&api, &request, ids)?;
    let params = Params::read(request).await?;
    let referred = api.referred(&session, "message", &id, &params, &NAMES, true).await?;
    written_by_us(&referred)?;
    if let Known::Sent(message) = &referred.known {
        if matches!(message.content, Content::Edit { .. } | Content::Delete { .. } | Content::Reaction { .. })
            && message.progress != Progress::Pending
        {
            return Err(Failure::new(
                StatusCode::CONFLICT,
                "This changed another message and cannot be taken back; DELETE …/reaction takes a reaction back",
            ));
        }
        if message.progress == Progress::Pending {
            match api.outbox.cancel(message.seq).await? {
                Cancelled::Done => {
                    let message = api.outbox.find_seq(message.seq)?;
                    let shown = message.as_ref().map(|message| describe(&api, message));
                    return Ok(
                        Json(json!({"success": true, "cancelled": true, "message": shown})).into_response()
                    );
                }
                Cancelled::Unknown => {
                    return Err(Failure::new(StatusCode::NOT_FOUND, "Message not found; check its id"));
                }
                Cancelled::Sending | Cancelled::Finished(_) => {
                    let reason = "The message is being sent right now; delete it again once it is sent";
                    return Err(Failure::later(StatusCode::CONFLICT, reason, SENDING));
                }
            }
        }
        sent(message, Some((DELETABLE, "takes messages back")))?;
    }
    let body = Body::Other(Content::Delete { target: referred.about.id });
    accept(&api, &session, referred.chat, body, Options::default(), None).await
}

/// React to a message
#[utoipa::path(post, path = "/api/v1/sessions/{id}/messages/{message}/reaction", params(OfMessage), request_body = MessageReaction, responses(
    (status = 202, description = "It is kept and will be sent", body = MessageAccepted),
    (status = 409, description = "The message is not sent yet, or never was"),
    (status = 403, description = "The session belongs to another account"),
    Sending,
))]
async fn react(State(api): State<Api>, ids: Ids, request: Request) -> Result<Response, Failure> {
    let (session, id) = enter_with(&api, &request, ids)?;
    let params = Params::read(request).await?;
    let emoji = params.given("emoji")?.ok_or(ParamError::Missing("emoji"))?;
    let emoji = emoji.trim();
    if !emoji.is_empty() && !is_emoji(emoji) {
        let reason = "must be one emoji, such as 👍; empty takes the reaction back".to_owned();
        return Err(ParamError::Value { field: "emoji", reason }.into());
    }
    put_reaction(&api, &session, &id, &params, emoji.to_owned()).await
}

/// Take a reaction back
#[utoipa::path(delete, path = "/api/v1/sessions/{id}/messages/{message}/reaction", params(OfMessage), request_body = MessageWhere, responses(
    (status = 202, description = "It is kept and will be sent", body = MessageAccepted),
    (status = 409, description = "The message is not sent yet, or never was"),
    (status = 403, description = "The session belongs to another account"),
    Sending,
))]
async fn unreact(State(api): State<Api>, ids: Ids, request: Request) -> Result<Response, Failure> {
    let (session, id) = enter_with(&api, &request, ids)?;
    let params = Params::read(request).await?;
    put_reaction(&api, &session, &id, &params, String::new()).await
}

async fn put_reaction(
    api: &Shared,
    session: &Session,
    id: &str,
    params: &Params,
    emoji: String,
) -> Result<Response, Failure> {
    let referred = api.referred(session, "message", id, params, &NAMES, false).await?;
    match &referred.known {
        Known::Sent(message) => sent(message, None)?,
        Known::Received(event) if message_of(event).is_none() => {
            return Err(Failure::bad("message: this event is not a message"));
        }
        Known::Received(_) | Known::Nothing => {}
    }
    let body = Body::Other(Content::Reaction { target: referred.about, emoji });
    accept(api, session, referred.chat, body, Options::default(), reference(session, params)?).await
}

/// Whether this is made of emoji characters alone. Blocks of Unicode's emoji-data.txt, and what joins and colours them.
fn is_emoji(text: &str) -> bool {
    let keycap = text.contains('\u{20e3}');
    let part = |c: char| match c {
        '0'..='9' | '#' | '*' => keycap,
        '\u{a9}' | '\u{ae}' | '\u{200d}' | '\u{203c}' | '\u{2049}' | '\u{20e3}' | '\u{2122}' | '\u{2139}'
        | '\u{24c2}' | '\u{3030}' | '\u{303d}' | '\u{3297}' | '\u{3299}' | '\u{fe0f}' => true,
        '\u{2190}'..='\u{21ff}'
        | '\u{2300}'..='\u{23ff}'
        | '\u{25a0}'..='\u{27bf}'
        | '\u{2900}'..='\u{297f}'
        | '\u{2b00}'..='\u{2bff}'
        | '\u{1f000}'..='\u{1faff}'
        | '\u{e0020}'..='\u{e007f}' => true,
        _ => false,
    };
    let joins = |c: char| matches!(c, '\u{200d}' | '\u{fe0f}' | '\u{e0020}'..='\u{e007f}');
    text.chars().count() <= MAX_EMOJI && text.chars().all(part) && !text.chars().all(joins)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emoji_is_one_and_a_text_is_none() {
        for emoji in ["👍", "❤️", "👨🏽‍👩🏽‍👧🏽‍👦🏽", "🇮🇩", "1️⃣", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "©", "☎️"]
        {
            assert!(is_emoji(emoji), "{emoji}");
        }
        for text in ["ok", "1", "👍 ya", "\u{200d}", "\u{fe0f}\u{fe0f}", "<b>", "é", &"👍".repeat(17), "👍\n"]
        {
            assert!(!is_emoji(text), "{text:?}");
        }
    }

    #[test]
    fn times_are_bounded() {
        let read = |value: Value| {
            let Value::Object(fields) = value else { panic!() };
            timing(&Params::from_object(fields), 1_000)
        };
        assert_eq!(
            read(json!({"send_at_ms": 5_000, "typing_s": 3})),
            Ok((Some(5_000), Duration::from_secs(3)))
        );
        assert_eq!(read(json!({})), Ok((None, Duration::ZERO)));
        for bad in [
            json!({"send_at_ms": -1}),
            json!({"send_at_ms": "besok"}),
            json!({"send_at_ms": i64::MAX}),
            json!({"typing_s": 61}),
            json!({"typing_s": -1}),
        ] {
            assert!(read(bad.clone()).is_err(), "{bad}");
        }
    }
}
