//! Everything that sends.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::{Failure, failed, macros, read, sender};
use crate::api::openapi::Sending;
use crate::api::openapi::mpwa::{
    MpwaButton, MpwaList, MpwaLocation, MpwaMedia, MpwaPoll, MpwaSent, MpwaSticker, MpwaText, MpwaVcard,
};
use crate::api::params::{ParamError, Params};
use crate::api::send::{self, MAX_CAPTION, MAX_TEXT, SendError, Target, check_text};
use crate::api::{Api, Shared, phone};
use crate::ids;
use crate::media::{self, MediaType};
use crate::outbox::{self, Accepted, Body, Content, Context, Options};
use crate::session::Session;

/// Numbers that one request may list.
const MAX_NUMBERS: usize = 1_000;

/// What is sent to each number.
enum What {
    /// A text, filled for each.
    Text(String),
    /// A file with a caption, filled for each.
    Media { url: String, asked: MediaType, voice: bool, caption: Option<String> },
    /// The same for all.
    Content(Content),
}

/// Sends to every number that the request names, and answers.
async fn deliver(
    api: &Shared,
    params: &Params,
    session: &Session,
    what: What,
    msg: &str,
) -> Result<Response, Failure> {
    let wants_full = params.flag("full")?;
    let result = async {
        let targets = targets(api, params, session).await?;
        let context = context(api, params, session)?;
        let drafts = drafts(api, targets, what, context).await?;
        api.accept_all(session, drafts, None).await
    };
    let batch = result.await.map_err(|e| failed(session, e))?;
    if !wants_full {
        return Ok(Json(json!({"status": true, "msg": msg})).into_response());
    }
    let mut data: Vec<Value> = batch.messages.iter().map(|accepted| full(api, accepted)).collect();
    let data = if data.len() == 1 { data.remove(0) } else { Value::Array(data) };
    Ok(Json(json!({"status": true, "data": data, "msg": msg})).into_response())
}

async fn targets(api: &Shared, params: &Params, session: &Session) -> Result<Vec<Target>, SendError> {
    let field = |e: ParamError| SendError::Field { field: "number", reason: strip(&e, "number") };
    let number = params.required("number").map_err(field)?;
    let numbers: Vec<&str> = number.split('|').map(str::trim).filter(|n| !n.is_empty()).collect();
    if let [one] = numbers.as_slice() {
        return Ok(vec![api.target(session, "number", one, true).await?]);
    }
    if numbers.is_empty() || numbers.len() > MAX_NUMBERS {
        let reason = format!("lists {} numbers; 1 to {MAX_NUMBERS} are allowed", numbers.len());
        return Err(SendError::Field { field: "number", reason });
    }
    numbers.iter().map(|n| api.target_unchecked(session, "number", n, &api.country_code)).collect()
}

/// The reason alone, of an error that begins with the field's name.
fn strip(error: &ParamError, field: &str) -> String {
    let text = error.to_string();
    text.strip_prefix(field).map_or_else(|| text.clone(), |rest| rest.trim_start().to_owned())
}

fn context(api: &Shared, params: &Params, session: &Session) -> Result<Context, SendError> {
    let id =
        params.text("msgid").map_err(|e| SendError::Field { field: "msgid", reason: strip(&e, "msgid") })?;
    let quoted = id.map(|id| api.quote(session, &id)).transpose()?;
    Ok(Context { quoted, ..Context::default() })
}

async fn drafts(
    api: &Shared,
    targets: Vec<Target>,
    what: What,
    context: Context,
) -> Result<Vec<(Target, Body, Options)>, SendError> {
    let options = Options { context, ..Options::default() };
    let mut file = None;
    if let What::Media { url, asked, voice, .. } = &what {
        let fetched = media::fetch(url, &api.fetch, &api.spool).await?;
        let kind = media::kind_of(Some(*asked), *voice, fetched.mime)?;
        file = Some((fetched, kind));
    }
    let drafts = targets.into_iter().map(|target| {
        let body = match &what {
            What::Text(text) => Body::Text(macros::fill(text, target.plain(), ids::roll)),
            What::Content(content) => Body::Other(content.clone()),
            What::Media { caption, .. } => {
                let caption = caption.as_deref().map(|text| macros::fill(text, target.plain(), ids::roll));
                match file.take() {
                    Some((file, media)) => Body::Media { file, media, caption },
                    None => Body::SameMedia { caption },
                }
            }
        };
        (target, body, options.clone())
    });
    Ok(drafts.collect())
}

/// The message as clients of this format know it from Baileys.
fn full(api: &Shared, accepted: &Accepted) -> Value {
    let content = api.outbox.find(&accepted.id).ok().flatten().map(|message| message.content);
    let mut message = Map::new();
    match content {
        Some(Content::Text { body }) => {
            message.insert("extendedTextMessage".into(), json!({"text": body}));
        }
        Some(Content::Media { media, mime, filename, caption, size, .. }) => {
            let name = match media {
                media::MediaKind::Image => "imageMessage",
                media::MediaKind::Video => "videoMessage",
                media::MediaKind::Audio | media::MediaKind::Voice => "audioMessage",
                media::MediaKind::Document => "documentMessage",
                media::MediaKind::Sticker => "stickerMessage",
            };
            let value = json!({"mimetype": mime, "caption": caption, "fileName": filename, "fileLength": size.to_string()});
            message.insert(name.into(), value);
        }
        Some(Content::Location { latitude, longitude, .. }) => {
            let value = json!({"degreesLatitude": latitude, "degreesLongitude": longitude});
            message.insert("locationMessage".into(), value);
        }
        Some(Content::Contact { name, vcard }) => {
            message.insert("contactMessage".into(), json!({"displayName": name, "vcard": vcard}));
        }
        Some(Content::Poll { name, options, selectable, .. }) => {
            let options: Vec<Value> = options.iter().map(|option| json!({"optionName": option})).collect();
            let value = json!({"name": name, "options": options, "selectableOptionsCount": selectable});
            message.insert("pollCreationMessage".into(), value);
        }
        _ => {}
    }
    json!({
        "key": {"remoteJid": accepted.to, "fromMe": true, "id": accepted.message_id},
        "message": message,
        "messageTimestamp": (accepted.accepted_at_ms / 1000).to_string(),
    })
}

/// The text with the footer below it, in italics, as WhatsApp's own footers looked.
fn with_footer(params: &Params, text: String) -> Result<String, ParamError> {
    Ok(match params.text("footer")? {
        Some(footer) => format!("{text}\n\n_{}_", footer.trim()),
        None => text,
    })
}

const SENT: &str = "Message sent successfully!";

/// Send a text
///
/// To a number, several or a group.
#[utoipa::path(method(get, post), path = "/send-message", request_body = MpwaText, responses(
    (status = 200, description = "The message is kept and will be sent", body = MpwaSent), Sending,
))]
pub(super) async fn message(State(api): State<Api>, request: Request) -> Result<Response, Failure> {
    let (params, from) = read(request).await?;
    let (_, session) = sender(&api, &params, from)?;
    params.required("number")?;
    let message = with_footer(&params, params.required("message")?)?;
    check_text("message", &message, MAX_TEXT).map_err(|e| failed(&session, e))?;
    deliver(&api, &params, &session, What::Text(message), SENT).await
}

/// Send a file by link
///
/// An image, a video, audio, a voice note, a document or a sticker. The box fetches the file before it answers.
#[utoipa::path(method(get, post), path = "/send-media", request_body = MpwaMedia, responses(
    (status = 200, description = "The message is kept and will be sent", body = MpwaSent), Sending,
))]
pub(super) async fn media(State(api): State<Api>, request: Request) -> Result<Response, Failure> {
    let (params, from) = read(request).await?;
    let (_, session) = sender(&api, &params, from)?;
    params.required("number")?;
    let asked = params.required("media_type")?;
    let url = params.required("url")?;
    let caption = params.text("caption")?.map(|caption| with_footer(&params, caption)).transpose()?;
    let voice = voice_note(&params)?;
    let check = || {
        if let Some(caption) = &caption {
            check_text("caption", caption, MAX_CAPTION)?;
        }
        Ok::<MediaType, SendError>(asked.parse()?)
    };
    let asked = check().map_err(|e| failed(&session, e))?;
    deliver(&api, &params, &session, What::Media { url, asked, voice, caption }, SENT).await
}

/// `ppt`, in the spellings that clients of this format use; `ptt=vn` is one of them.
fn voice_note(params: &Params) -> Result<bool, ParamError> {
    if params.text("ptt").ok().flatten().is_some_and(|v| v.eq_ignore_ascii_case("vn")) {
        return Ok(true);
    }
    Ok(params.flag("ppt")? || params.flag("ptt")?)
}

/// Send a sticker by link
#[utoipa::path(method(get, post), path = "/send-sticker", request_body = MpwaSticker, responses(
    (status = 200, description = "The message is kept and will be sent", body = MpwaSent), Sending,
))]
pub(super) async fn sticker(State(api): State<Api>, request: Request) -> Result<Response, Failure> {
    let (params, from) = read(request).await?;
    let (_, session) = sender(&api, &params, from)?;
    params.required("number")?;
    let url = params.required("url")?;
    let what = What::Media { url, asked: MediaType::Sticker, voice: false, caption: None };
    deliver(&api, &params, &session, what, SENT).await
}

/// Send a poll
///
/// Votes come back as events.
#[utoipa::path(method(get, post), path = "/send-poll", request_body = MpwaPoll, responses(
    (status = 200, description = "The message is kept and will be sent", body = MpwaSent), Sending,
))]
pub(super) async fn poll(State(api): State<Api>, request: Request) -> Result<Response, Failure> {
    let (params, from) = read(request).await?;
    let (_, session) = sender(&api, &params, from)?;
    params.required("number")?;
    let name = params.required("name")?;
    let options = params.list("option")?;
    let single = params.flag("countable")?;
    let poll = send::poll(name, options, single, ("name", "option")).map_err(|e| failed(&session, e))?;
    deliver(&api, &params, &session, What::Content(poll), SENT).await
}

/// Send a place
#[utoipa::path(method(get, post), path = "/send-location", request_body = MpwaLocation, responses(
    (status = 200, description = "The message is kept and will be sent", body = MpwaSent), Sending,
))]
pub(super) async fn location(State(api): State<Api>, request: Request) -> Result<Response, Failure> {
    let (params, from) = read(request).await?;
    let (_, session) = sender(&api, &params, from)?;
    params.required("number")?;
    let latitude = params.decimal("latitude", 90.0)?;
    let longitude = params.decimal("longitude", 180.0)?;
    let content = Content::Location {
        latitude,
        longitude,
        name: params.text("name")?,
        address: params.text("address")?,
    };
    deliver(&api, &params, &session, What::Content(content), SENT).await
}

/// Send a contact
#[utoipa::path(method(get, post), path = "/send-vcard", request_body = MpwaVcard, responses(
    (status = 200, description = "The message is kept and will be sent", body = MpwaSent), Sending,
))]
pub(super) async fn vcard(State(api): State<Api>, request: Request) -> Result<Response, Failure> {
    let (params, from) = read(request).await?;
    let (_, session) = sender(&api, &params, from)?;
    params.required("number")?;
    let name = params.required("name")?;
    let phone = params.required("phone")?;
    let phone = phone::number(&phone, &api.country_code)
        .map_err(|e| ParamError::Value { field: "phone", reason: e.to_string() })?;
    check_text("name", &name, 255).map_err(|e| failed(&session, e))?;
    let vcard = outbox::vcard(&name, &phone);
    deliver(&api, &params, &session, What::Content(Content::Contact { name, vcard }), SENT).await
}

/// Send a text with buttons
///
/// WhatsApp shows buttons to nobody any more: the choices go out as numbered lines, and `msg` says so.
#[utoipa::path(method(get, post), path = "/send-button", request_body = MpwaButton, responses(
    (status = 200, description = "The message is kept and will be sent", body = MpwaSent), Sending,
))]
pub(super) async fn button(State(api): State<Api>, request: Request) -> Result<Response, Failure> {
    let (params, from) = read(request).await?;
    let (_, session) = sender(&api, &params, from)?;
    params.required("number")?;
    let message = params.required("message")?;
    let labels = labels(params.value("button"), "button")?;
    numbered(&api, &params, &session, message, &labels, "button", "buttons").await
}

/// Send a text with a list
///
/// WhatsApp shows lists to nobody any more: the rows go out as numbered lines, and `msg` says so.
#[utoipa::path(method(get, post), path = "/send-list", request_body = MpwaList, responses(
    (status = 200, description = "The message is kept and will be sent", body = MpwaSent), Sending,
))]
pub(super) async fn list(State(api): State<Api>, request: Request) -> Result<Response, Failure> {
    let (params, from) = read(request).await?;
    let (_, session) = sender(&api, &params, from)?;
    params.required("number")?;
    let message = params.required("message")?;
    let message = match params.text("title")? {
        Some(title) => format!("*{}*\n{message}", title.trim()),
        None => message,
    };
    let field = if params.has("sections") { "sections" } else { "list" };
    let labels = labels(params.value(field), field)?;
    numbered(&api, &params, &session, message, &labels, field, "lists").await
}

/// WhatsApp delivers buttons and lists to nobody any more, so a text with numbers to answer with goes out instead.
async fn numbered(
    api: &Shared,
    params: &Params,
    session: &Session,
    message: String,
    labels: &[String],
    field: &'static str,
    kind: &str,
) -> Result<Response, Failure> {
    if labels.is_empty() {
        return Err(ParamError::Missing(field).into());
    }
    let lines: Vec<String> =
        labels.iter().enumerate().map(|(index, label)| format!("{}. {label}", index + 1)).collect();
    let text = with_footer(params, format!("{message}\n\n{}", lines.join("\n")))?;
    check_text("message", &text, MAX_TEXT).map_err(|e| failed(session, e))?;
    let msg = format!("{SENT} WhatsApp no longer shows {kind}, so it was sent as a text with numbers");
    deliver(api, params, session, What::Text(text), &msg).await
}

/// What people read on buttons and list rows, however the client writes them: texts, objects with a label, sections
/// with rows, or any of these as JSON in a text.
fn labels(value: Option<&Value>, field: &'static str) -> Result<Vec<String>, ParamError> {
    const MOST: usize = 100;
    const DEPTH: usize = 4;
    fn gather(value: &Value, depth: usize, found: &mut Vec<String>) {
        if depth == 0 || found.len() > MOST {
            return;
        }
        match value {
            Value::String(text) => match serde_json::from_str::<Value>(text) {
                Ok(inner @ (Value::Array(_) | Value::Object(_))) => gather(&inner, depth - 1, found),
                _ if text.trim().is_empty() => {}
                _ => found.push(text.trim().to_owned()),
            },
            Value::Number(number) => found.push(number.to_string()),
            Value::Array(items) => items.iter().for_each(|item| gather(item, depth - 1, found)),
            Value::Object(object) => {
                if let Some(rows) = ["rows", "list"].iter().find_map(|key| object.get(*key)) {
                    return gather(rows, depth - 1, found);
                }
                let label = ["displayText", "display_text", "title", "text", "name", "body"]
                    .iter()
                    .find_map(|key| object.get(*key)?.as_str());
                let label = label.or_else(|| object.get("buttonText")?.get("displayText")?.as_str());
                match (label, object.get("description").and_then(Value::as_str)) {
                    (Some(label), Some(about)) if !about.trim().is_empty() => {
                        found.push(format!("{} ({})", label.trim(), about.trim()));
                    }
                    (Some(label), _) => found.push(label.trim().to_owned()),
                    // Rows that a form numbered or named.
                    (None, _) => object.values().for_each(|item| gather(item, depth - 1, found)),
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }
    let mut found = Vec::new();
    if let Some(value) = value {
        gather(value, DEPTH, &mut found);
    }
    if found.len() > MOST {
        return Err(ParamError::Value { field, reason: format!("has more than {MOST} items") });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_found_in_every_shape() {
        for value in [
            json!(["Ya", "Tidak"]),
            json!([{"type": "reply", "displayText": "Ya"}, {"type": "reply", "displayText": "Tidak"}]),
            json!(r#"[{"title":"Ya"},{"buttonText":{"displayText":"Tidak"}}]"#),
            json!([{"title": "Bagian", "rows": [{"title": "Ya"}, {"title": "Tidak"}]}]),
            json!({"1": "Ya", "2": "Tidak"}),
        ] {
            assert_eq!(labels(Some(&value), "button").unwrap(), ["Ya", "Tidak"], "{value}");
        }
        let described = json!([{"title": "A", "description": "b"}]);
        assert_eq!(labels(Some(&described), "list").unwrap(), ["A (b)"]);
        let many: Vec<String> = (0..200).map(|n| n.to_string()).collect();
        assert!(labels(Some(&json!(many)), "list").is_err());
    }
}
