//! `/send`.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::request::{Addressee, Timing, addressees, fill};
use super::{Failure, answer, caller, disconnected, failed, session, token};
use crate::api::keys::Caller;
use crate::api::openapi::Sending;
use crate::api::openapi::fonnte::{FonnteSend, FonnteSent};
use crate::api::params::{ParamError, Params};
use crate::api::send::{self, MAX_CAPTION, SendError, Target, check_text};
use crate::api::{Api, Shared, peer};
use crate::clock::now_ms;
use crate::ids;
use crate::media::{self, Fetched, MediaKind};
use crate::outbox::{Body, Content, Context, Options};
use crate::session::{Session, Status};

/// Longest text of this dialect, in characters.
const MAX_MESSAGE: usize = 60_000;
/// Requests in one `data`.
const MAX_DATA: usize = 200;
/// What the document of this format says of a bad key.
const WRONG_KEY: &str = "Unauthorized: Invalid API Key.";

/// Send messages
///
/// A text, a file, a poll and a place, to one or many; now, later, or one after the other.
#[utoipa::path(method(get, post), path = "/send", request_body = FonnteSend, responses(
    (status = 200, description = "The messages are kept and will be sent", body = FonnteSent),
    (status = 403, description = "The device belongs to another account"), Sending,
))]
pub(super) async fn send(State(api): State<Api>, request: Request) -> Response {
    match handle(&api, request).await {
        Ok((caller, result)) => answer(&caller, result),
        Err(failure) => failure.into_response(),
    }
}

async fn handle(api: &Shared, request: Request) -> Result<(Caller, Result<Value, Failure>), Failure> {
    let (from, headers) = (peer(&request), request.headers().clone());
    let params = Params::read_with_files(request, &api.spool).await;
    let key = match &params {
        Ok(params) => token(&headers, params)?,
        // A body that does not parse cannot bring a token, but the header can.
        Err(_) => token(&headers, &Params::default())?,
    };
    let caller = caller(api, key.as_deref(), from, WRONG_KEY)?;
    let result = async { accept(api, &caller, params?).await };
    let result = result.await;
    Ok((caller, result))
}

/// One message to each addressee, checked and with its file at hand, not yet accepted.
struct Ready {
    targets: Vec<Target>,
    addressees: Vec<Addressee>,
    parts: Vec<Part>,
    context: Context,
    timing: Timing,
}

enum Part {
    Text(String),
    Media {
        file: Fetched,
        media: MediaKind,
        caption: Option<String>,
    },
    Other(Content),
    /// The file of an earlier addressee.
    Again {
        caption: Option<String>,
    },
}

async fn accept(api: &Shared, caller: &Caller, params: Params) -> Result<Value, Failure> {
    let session = session(api, caller, &params)?;
    let requests = match params.value("data") {
        Some(data) if params.has("data") => requests(data)?,
        _ => vec![params],
    };
    // Everything is checked before anything is accepted.
    let mut ready = Vec::with_capacity(requests.len());
    for request in requests {
        ready.push(prepare(api, &session, request).await?);
    }
    let (mut ids, mut targets) = (Vec::new(), Vec::new());
    for ready in ready {
        targets.extend(ready.targets.iter().map(|target| target.plain().to_owned()));
        let accepted =
            api.accept_all(&session, drafts(ready), None).await.map_err(|e| failed(&session, e))?;
        ids.extend(accepted.messages.iter().map(|message| message.seq.to_string()));
    }
    Ok(json!({
        "status": true,
        "reason": "Message sent successfully",
        "detail": "success! message in queue",
        "id": ids,
        "process": "pending",
        "requestid": super::request_id(),
        "target": targets,
    }))
}

/// The requests in `data`: a JSON array, or a text with one.
fn requests(data: &Value) -> Result<Vec<Params>, ParamError> {
    let wrong = |reason: String| ParamError::Value { field: "data", reason };
    let parsed;
    let items = match data {
        Value::String(text) => {
            parsed = serde_json::from_str::<Value>(text).map_err(|_| wrong("is not valid JSON".into()))?;
            parsed.as_array()
        }
        value => value.as_array(),
    };
    let items = items.ok_or_else(|| wrong("must be a JSON array of requests".into()))?;
    if items.is_empty() || items.len() > MAX_DATA {
        return Err(wrong(format!("has {} requests; 1 to {MAX_DATA} are allowed", items.len())));
    }
    let requests = items.iter().map(|item| match item {
        Value::Object(object) => Ok(Params::from_object(object.clone())),
        _ => Err(wrong("must be a JSON array of requests".into())),
    });
    requests.collect()
}

async fn prepare(api: &Shared, session: &Session, mut params: Params) -> Result<Ready, Failure> {
    let target = match params.text("target")? {
        Some(target) => target,
        None => params.required("to").map_err(|e| match e {
            ParamError::Missing(_) => ParamError::Missing("target"),
            e => e,
        })?,
    };
    let addressees = addressees(&target)?;
    let timing = Timing::read(&params, now_ms())?;
    let message = params.text("message")?;
    if params.flag_or_true("connectOnly")? && session.snapshot().status != Status::Connected {
        return Err(disconnected());
    }
    let parts = parts(api, &mut params, message).await.map_err(|e| match e {
        Wrong::Param(e) => e.into(),
        Wrong::Send(e) => failed(session, e),
    })?;
    let country_code = match params.text("countryCode")? {
        None => api.country_code.clone(),
        Some(code) if code.trim() == "0" => String::new(),
        Some(code) if code.trim().len() <= 4 && code.trim().bytes().all(|b| b.is_ascii_digit()) => {
            code.trim().into()
        }
        Some(_) => {
            let reason = "must be digits, such as 62, or 0 to leave numbers as they are".to_owned();
            return Err(ParamError::Value { field: "countryCode", reason }.into());
        }
    };
    let mut targets = Vec::with_capacity(addressees.len());
    let only_one = addressees.len() == 1;
    for addressee in &addressees {
        let target = if only_one {
            api.target_in(session, "target", &addressee.to, true, &country_code).await
        } else {
            api.target_unchecked(session, "target", &addressee.to, &country_code)
        };
        targets.push(target.map_err(|e| failed(session, e))?);
    }
    let quoted = params.text("inboxid")?.filter(|id| id.trim() != "0");
    let quoted = quoted
        .map(|id| api.quote_received(session, "inboxid", &id))
        .transpose()
        .map_err(|e| failed(session, e))?;
    let preview = params.flag_or_true("preview")?;
    let context = Context { quoted, preview, no_preview: !preview, ..Context::default() };
    Ok(Ready { targets, addressees, parts, context, timing })
}

enum Wrong {
    Param(ParamError),
    Send(SendError),
}

impl From<ParamError> for Wrong {
    fn from(e: ParamError) -> Wrong {
        Wrong::Param(e)
    }
}

impl<E: Into<SendError>> From<E> for Wrong {
    fn from(e: E) -> Wrong {
        Wrong::Send(e.into())
    }
}

/// What is sent to each addressee: a file with the text as its caption, or the text; then a poll, then a place.
async fn parts(api: &Shared, params: &mut Params, message: Option<String>) -> Result<Vec<Part>, Wrong> {
    if let Some(message) = &message {
        check_text("message", message, MAX_MESSAGE)?;
    }
    let mut message = message;
    let mut parts = Vec::new();
    let mut file = params.take_file("file");
    if file.is_none()
        && let Some(url) = params.text("url")?
    {
        file = Some(media::fetch(&url, &api.fetch, &api.spool).await?);
    }
    if let Some(mut file) = file {
        if let Some(name) = params.text("filename")? {
            file.rename(&name);
        }
        let media = media::kind_of(None, false, file.mime)?;
        let caption = if media.has_caption() { message.take() } else { None };
        if let Some(caption) = &caption {
            check_text("message", caption, MAX_CAPTION)?;
        }
        parts.push(Part::Media { file, media, caption });
    }
    let choices =
        params.text("choices").or_else(|_| Ok::<_, ParamError>(Some(params.list("choices")?.join(","))))?;
    let mut poll = None;
    if let Some(choices) = choices.filter(|choices| !choices.trim().is_empty()) {
        let single = match params.text("select")?.as_deref().map(str::trim) {
            None => true,
            Some(select) if select.eq_ignore_ascii_case("single") => true,
            Some(select) if select.eq_ignore_ascii_case("multiple") => false,
            Some(_) => {
                let reason = "must be single or multiple".to_owned();
                return Err(ParamError::Value { field: "select", reason }.into());
            }
        };
        let name = match params.text("pollname")? {
            Some(name) => name,
            None => message.take().ok_or(ParamError::Missing("pollname"))?,
        };
        let options = choices.split(',').map(str::to_owned).collect();
        poll = Some(send::poll(name, options, single, ("pollname", "choices"))?);
    }
    let place = params.text("location")?.map(|text| location(&text)).transpose()?;
    if let Some(message) = message {
        parts.push(Part::Text(message));
    }
    parts.extend(poll.into_iter().chain(place).map(Part::Other));
    if parts.is_empty() {
        return Err(ParamError::Missing("message").into());
    }
    Ok(parts)
}

/// `-7.983908, 112.621391`.
fn location(text: &str) -> Result<Content, ParamError> {
    let wrong = || ParamError::Value {
        field: "location",
        reason: "must be latitude,longitude in degrees, such as -7.983908,112.621391".into(),
    };
    let (latitude, longitude) = text.split_once(',').ok_or_else(wrong)?;
    let degrees = |text: &str, most: f64| {
        let degrees = text.trim().parse::<f64>().ok().filter(|d| d.is_finite() && d.abs() <= most);
        degrees.ok_or_else(wrong)
    };
    let (latitude, longitude) = (degrees(latitude, 90.0)?, degrees(longitude, 180.0)?);
    Ok(Content::Location { latitude, longitude, name: None, address: None })
}

fn drafts(ready: Ready) -> Vec<(Target, Body, Options)> {
    let Ready { targets, addressees, parts, context, timing } = ready;
    let mut drafts = Vec::with_capacity(targets.len() * parts.len());
    let mut parts = parts;
    let recipients: Vec<(Target, Addressee)> = targets.into_iter().zip(addressees).collect();
    for (target, addressee) in recipients {
        let mut pause = timing.pause(ids::roll());
        for slot in &mut parts {
            let filled = |text: &Option<String>| text.as_deref().map(|text| fill(text, &addressee.variables));
            // The file goes with the first addressee; the others send the same.
            let body = match slot {
                Part::Text(text) => Body::Text(fill(text, &addressee.variables)),
                Part::Other(content) => Body::Other(content.clone()),
                Part::Again { caption } => Body::SameMedia { caption: filled(caption) },
                Part::Media { caption, .. } => {
                    let own = filled(caption);
                    let again = Part::Again { caption: caption.take() };
                    match std::mem::replace(slot, again) {
                        Part::Media { file, media, .. } => Body::Media { file, media, caption: own },
                        _ => Body::SameMedia { caption: own },
                    }
                }
            };
            let options = Options {
                context: context.clone(),
                not_before_ms: timing.not_before_ms,
                pause,
                typing: timing.typing,
            };
            drafts.push((target.clone(), body, options));
            // The parts for one recipient follow each other at once.
            pause = pause.min(std::time::Duration::from_millis(1));
        }
    }
    drafts
}
