//! Dialect 4, `sessions`: many sessions per key, `X-API-Key`.
//!
//! `{"success":true,…}`, and `{"success":false,"error":"Bad Request","message":"…"}` where something is wrong.

use std::time::{Duration, SystemTime};

use axum::Json;
use axum::extract::multipart::{MultipartError, MultipartRejection};
use axum::extract::rejection::PathRejection;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat, Utc};
use futures_util::TryStreamExt;
use serde_json::{Map, Value, json};

use super::keys::{Caller, Denied};
use super::openapi::sessions::{
    DIALECT, SessionsCode, SessionsCounted, SessionsCreated, SessionsDone, SessionsFile, SessionsId,
    SessionsList, SessionsNew, SessionsPhone, SessionsQr, SessionsSent, SessionsShown, SessionsText,
};
use super::openapi::{Purpose, Routes, Sending, routes};
use super::params::{self, ParamError, Params};
use super::parts::Parts;
use super::request_log::{note_field, note_file};
use super::send::{MAX_CAPTION, SendError, check_text, spool_failed, store_message, store_status};
use super::serve::Cut;
use super::{Api, Shared, header_key, peer, phone, qr};
use crate::media::{self, Fetched, MAX_MEDIA};
use crate::outbox::Body;
use crate::session::registry::{PairCodeError, RegistryError};
use crate::session::{Session, Snapshot, Status};

mod checker;
mod tokens;

/// Longest message of this dialect, in characters.
const MAX_MESSAGE: usize = 4_096;
/// How long a request for a QR waits for one that is about to come.
const QR_WAIT: Duration = Duration::from_secs(15);
/// What a multipart request may have besides its file.
const MULTIPART_SLACK: usize = 64 * 1024;
/// Longest multipart request.
const UPLOAD_BODY: usize = MAX_MEDIA as usize + MULTIPART_SLACK;

pub(super) fn routes<P: Purpose>() -> Routes<P> {
    Routes::of(&[&DIALECT])
        .with(routes!(counts, create))
        .with(routes!(show, delete))
        .with(routes!(show_qr))
        .with(routes!(pair_code))
        .with(routes!(reconnect))
        .with(routes!(send))
        .with(routes!(tokens::create))
        .with(routes!(checker::check))
        .with(routes!(send_media).layer(DefaultBodyLimit::max(UPLOAD_BODY)))
}

/// What this dialect answers when something is wrong.
struct Failure {
    status: StatusCode,
    error: &'static str,
    message: String,
    extra: Map<String, Value>,
    retry_after: Option<u64>,
}

impl Failure {
    fn new(status: StatusCode, message: impl Into<String>) -> Failure {
        let error = status.canonical_reason().unwrap_or("Error");
        Failure { status, error, message: message.into(), extra: Map::new(), retry_after: None }
    }

    fn bad_request(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, message)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut body = json!({"success": false, "error": self.error, "message": self.message});
        if let Some(object) = body.as_object_mut() {
            object.extend(self.extra);
        }
        super::answer(self.status, body, self.retry_after)
    }
}

impl From<ParamError> for Failure {
    fn from(error: ParamError) -> Failure {
        Failure::new(error.status(), error.to_string())
    }
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Failure {
        match error {
            RegistryError::Name => Failure::bad_request(error.to_string()),
            RegistryError::TooMany => Failure::new(StatusCode::CONFLICT, error.to_string()),
            RegistryError::Store(e) => {
                log::error!("a session could not be stored: {e}");
                Failure::new(store_status(&e), store_message(&e))
            }
        }
    }
}

fn caller(api: &Shared, request: &Request) -> Result<Caller, Failure> {
    authenticate(api, request.headers(), request)
}

fn authenticate(api: &Shared, headers: &HeaderMap, request: &Request) -> Result<Caller, Failure> {
    api.authenticate(header_key(headers), peer(request)).map_err(|denied| match denied {
        Denied::Missing => {
            Failure::new(StatusCode::UNAUTHORIZED, "API key is missing; send it in the X-API-Key header")
        }
        Denied::Wrong => Failure::new(StatusCode::UNAUTHORIZED, "API key is not valid"),
        Denied::TooMany(wait) => Failure {
            retry_after: Some(wait.as_secs() + 1),
            ..Failure::new(
                StatusCode::TOO_MANY_REQUESTS,
                "Too many wrong keys from this address; wait and try again",
            )
        },
        Denied::Limited(wait) => Failure {
            retry_after: Some(wait.as_secs() + 1),
            ..Failure::new(
                StatusCode::TOO_MANY_REQUESTS,
                "This key made too many requests; wait and try again",
            )
        },
    })
}

/// A device token uses its session; to make and remove sessions and tokens is the account's business.
fn not_a_token(caller: &Caller) -> Result<(), Failure> {
    match &caller.rules.session {
        None => Ok(()),
        Some(_) => {
            Err(Failure::new(StatusCode::FORBIDDEN, "A device token cannot do this; use the account's key"))
        }
    }
}

/// A session's id as the path has it; not one of ours if it is not even text.
type Id = Result<Path<String>, PathRejection>;

/// The session with this id, if the caller may use it.
fn own_session(api: &Shared, caller: &Caller, id: &Id) -> Result<Session, Failure> {
    let session = id
        .as_ref()
        .ok()
        .and_then(|Path(id)| api.registry.get(id))
        .ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, "Session not found; check the session id"))?;
    if caller.may_use_session(&session) {
        Ok(session)
    } else {
        Err(Failure::new(StatusCode::FORBIDDEN, "This session belongs to another account"))
    }
}

fn iso(at: SystemTime) -> String {
    DateTime::<Utc>::from(at).to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Count the sessions
///
/// Those that the key may use; with `list=1` also one by one.
#[utoipa::path(get, path = "/api/sessions", params(SessionsList), responses(
    (status = 200, description = "How many there are, by state", body = SessionsCounted),
))]
async fn counts(State(api): State<Api>, request: Request) -> Result<Response, Failure> {
    let caller = caller(&api, &request)?;
    let (mut total, mut connected, mut connecting, mut qr, mut disconnected) = (0, 0, 0, 0, 0);
    for session in api.registry.list().iter().filter(|s| caller.may_use_session(s)) {
        total += 1;
        match session.snapshot().status {
            Status::Connected => connected += 1,
            Status::Connecting => connecting += 1,
            Status::Qr => qr += 1,
            Status::Disconnected => disconnected += 1,
        }
    }
    let mut body = json!({"success": true, "counts": {
        "total": total, "connected": connected, "connecting": connecting, "qr": qr, "disconnected": disconnected,
    }});
    let wants_list = request
        .uri()
        .query()
        .is_some_and(|q| q.split('&').any(|pair| matches!(pair, "list=1" | "list=true")));
    if wants_list {
        let sessions: Vec<Value> =
            api.registry.list().iter().filter(|s| caller.may_use_session(s)).map(describe).collect();
        body["sessions"] = Value::Array(sessions);
    }
    Ok(Json(body).into_response())
}

fn describe(session: &Session) -> Value {
    let Snapshot { status, reason, paired, number, push_name, retry_at, banned_until, .. } =
        session.snapshot();
    let created = u64::try_from(session.created_at_ms()).unwrap_or(0);
    json!({
        "id": session.id(),
        "name": session.name(),
        "status": status.as_str(),
        "phone_number": number,
        "created_at": iso(SystemTime::UNIX_EPOCH + Duration::from_millis(created)),
        "isConnected": status == Status::Connected,
        "reason": reason.code(),
        "advice": reason.advice(),
        "paired": paired,
        "push_name": push_name,
        "retry_at": retry_at.map(iso),
        "banned_until": banned_until.map(iso),
    })
}

/// Make a session
///
/// It is not paired yet: show its QR code, or ask for a pairing code.
#[utoipa::path(post, path = "/api/sessions", request_body = SessionsNew, responses(
    (status = 200, description = "The session was made", body = SessionsCreated),
    (status = 403, description = "A device token cannot make sessions"),
    (status = 409, description = "The box has as many sessions as it takes"),
))]
async fn create(State(api): State<Api>, request: Request) -> Result<Response, Failure> {
    let caller = caller(&api, &request)?;
    not_a_token(&caller)?;
    let name = Params::read(request).await?.required("sessionName")?;
    let session = api.registry.create(&name, &caller.account).await?;
    let body = json!({"success": true, "sessionId": session.id(), "message": "Session created successfully"});
    Ok(Json(body).into_response())
}

/// Show a session
#[utoipa::path(get, path = "/api/sessions/{id}", params(SessionsId), responses(
    (status = 200, description = "The session", body = SessionsShown),
    (status = 403, description = "The session belongs to another account"),
    (status = 404, description = "There is no such session"),
))]
async fn show(State(api): State<Api>, id: Id, request: Request) -> Result<Response, Failure> {
    let caller = caller(&api, &request)?;
    let session = own_session(&api, &caller, &id)?;
    Ok(Json(json!({"success": true, "session": describe(&session)})).into_response())
}

/// Delete a session
///
/// Unlinks it and removes it with everything that it has still to send.
#[utoipa::path(delete, path = "/api/sessions/{id}", params(SessionsId), responses(
    (status = 200, description = "It is deleted", body = SessionsDone),
    (status = 403, description = "The session belongs to another account, or the key is a device token"),
    (status = 404, description = "There is no such session"),
))]
async fn delete(State(api): State<Api>, id: Id, request: Request) -> Result<Response, Failure> {
    let caller = caller(&api, &request)?;
    let session = own_session(&api, &caller, &id)?;
    not_a_token(&caller)?;
    api.registry.delete(session.id()).await?;
    Ok(Json(json!({"success": true, "message": "Session deleted successfully"})).into_response())
}

/// Get a QR code to pair a session
///
/// Waits up to 15 s for a code that is about to come. A code lasts about 20 s; ask again for the next.
#[utoipa::path(get, path = "/api/sessions/{id}/qr", params(SessionsId), responses(
    (status = 200, description = "A code to scan", body = SessionsQr),
    (status = 400, description = "The session is connected already, or its codes ran out and it has to be reconnected"),
    (status = 403, description = "The session belongs to another account"),
    (status = 404, description = "There is no such session"),
    (status = 503, description = "WhatsApp has not given a code yet; ask again"),
))]
async fn show_qr(State(api): State<Api>, id: Id, request: Request) -> Result<Response, Failure> {
    let caller = caller(&api, &request)?;
    let session = own_session(&api, &caller, &id)?;
    let mut changes = session.watch();
    // A session that was just created needs a moment until WhatsApp hands it the first code.
    let settled = changes.wait_for(|s| s.qr.is_some() || !matches!(s.status, Status::Connecting));
    let snapshot = match tokio::time::timeout(QR_WAIT, settled).await {
        Ok(Ok(snapshot)) => snapshot.clone(),
        _ => session.snapshot(),
    };
    if let Some(code) = &snapshot.qr {
        let png = qr::png(&code.text)
            .map_err(|e| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
        let body = json!({
            "success": true,
            "qrCode": format!("data:image/png;base64,{}", STANDARD.encode(png)),
            "qr": code.text,
            "expiresAt": iso(code.expires),
        });
        return Ok(Json(body).into_response());
    }
    match snapshot.status {
        Status::Connected => Err(Failure::bad_request("The session is already connected")),
        Status::Disconnected => Err(Failure::bad_request(format!(
            "There is no QR code: {} POST /api/sessions/{}/reconnect makes new ones.",
            snapshot.reason.advice(),
            session.id()
        ))),
        Status::Connecting | Status::Qr => Err(Failure {
            retry_after: Some(5),
            ..Failure::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "There is no QR code yet: WhatsApp has not answered. Check the network and ask again.",
            )
        }),
    }
}

/// Get a code to type into the phone
///
/// Instead of a QR code: *Linked devices*, *Link with phone number instead*.
#[utoipa::path(post, path = "/api/sessions/{id}/pair-code", params(SessionsId), request_body = SessionsPhone, responses(
    (status = 200, description = "A pairing code", body = SessionsCode),
    (status = 403, description = "The session belongs to another account"),
    (status = 404, description = "There is no such session"),
    (status = 502, description = "WhatsApp refused to give a code"),
    (status = 504, description = "WhatsApp gave no code in time"),
))]
async fn pair_code(State(api): State<Api>, id: Id, request: Request) -> Result<Response, Failure> {
    let caller = caller(&api, &request)?;
    let session = own_session(&api, &caller, &id)?;
    let number = Params::read(request).await?.required("phone")?;
    let number =
        phone::number(&number, &api.country_code).map_err(|e| Failure::bad_request(format!("phone {e}")))?;
    let code = session.pair_code(&number).await.map_err(|e| match e {
        PairCodeError::AlreadyPaired => Failure::bad_request(e.to_string()),
        PairCodeError::Refused(_) => Failure::new(StatusCode::BAD_GATEWAY, e.to_string()),
        PairCodeError::Timeout => Failure::new(StatusCode::GATEWAY_TIMEOUT, e.to_string()),
    })?;
    Ok(Json(json!({"success": true, "code": code})).into_response())
}

/// Pair a session anew
///
/// Unlinks it, forgets its credentials and makes new QR codes.
#[utoipa::path(post, path = "/api/sessions/{id}/reconnect", params(SessionsId), responses(
    (status = 200, description = "New codes are coming", body = SessionsDone),
    (status = 403, description = "The session belongs to another account"),
    (status = 404, description = "There is no such session"),
))]
async fn reconnect(State(api): State<Api>, id: Id, request: Request) -> Result<Response, Failure> {
    let caller = caller(&api, &request)?;
    // In this dialect a reconnection clears the credentials and pairs anew.
    own_session(&api, &caller, &id)?.pair_again().await;
    Ok(Json(json!({"success": true, "message": "Session reconnection initiated"})).into_response())
}

fn failed(session: &Session, error: SendError) -> Failure {
    error.log(session);
    match error {
        SendError::Unregistered { number } => {
            let mut extra = Map::new();
            extra.insert("phoneNumber".into(), Value::String(number));
            Failure {
                error: "Invalid WhatsApp Number",
                extra,
                ..Failure::bad_request("The phone number is not registered on WhatsApp.")
            }
        }
        error => Failure { retry_after: error.retry_after(), ..Failure::new(error.status(), error.told()) },
    }
}

fn accepted(message_id: &str, message: &str) -> Response {
    Json(json!({"success": true, "messageId": message_id, "message": message})).into_response()
}

/// Send a text
#[utoipa::path(post, path = "/api/sessions/{id}/send", params(SessionsId), request_body = SessionsText, responses(
    (status = 200, description = "The message is kept and will be sent", body = SessionsSent),
    (status = 403, description = "The session belongs to another account"), Sending,
))]
async fn send(State(api): State<Api>, id: Id, request: Request) -> Result<Response, Failure> {
    let caller = caller(&api, &request)?;
    let session = own_session(&api, &caller, &id)?;
    let params = Params::read(request).await?;
    let (Some(to), Some(message)) = (params.given("to")?, params.given("message")?) else {
        return Err(Failure::bad_request("Phone number and message are required"));
    };
    let check = !params.flag("skipValidation")?;
    let result = async {
        check_text("message", &message, MAX_MESSAGE)?;
        let target = api.target(&session, "to", &to, check).await?;
        api.accept(&session, target, Body::Text(message)).await
    };
    let accept = result.await.map_err(|e| failed(&session, e))?;
    Ok(accepted(&accept.message_id, "Message sent successfully"))
}

/// Send a file
///
/// It is streamed to the box's disk while it comes, and its type is known from its content: images, videos and audio are
/// shown and played in the chat, everything else is a document.
#[utoipa::path(post, path = "/api/sessions/{id}/send-media", params(SessionsId),
    request_body(content = SessionsFile, content_type = "multipart/form-data"),
    responses(
        (status = 200, description = "The message is kept and will be sent", body = SessionsSent),
        (status = 403, description = "The session belongs to another account"), Sending,
    )
)]
async fn send_media(State(api): State<Api>, id: Id, request: Request) -> Result<Response, Failure> {
    let caller = caller(&api, &request)?;
    let session = own_session(&api, &caller, &id)?;
    let parts = Parts::of(request).await.map_err(|e: MultipartRejection| {
        Failure::bad_request(format!("multipart/form-data is expected: {}", e.body_text()))
    })?;
    let (to, caption, file) = read_upload(&api, parts).await?;
    let (Some(to), Some(file)) = (to, file) else {
        return Err(Failure::bad_request("Phone number and media are required"));
    };
    let result = async {
        if let Some(caption) = &caption {
            check_text("message", caption, MAX_CAPTION)?;
        }
        let media = media::kind_of(None, false, file.mime)?;
        let target = api.target(&session, "to", &to, true).await?;
        api.accept(&session, target, Body::Media { file, media, caption }).await
    };
    let accept = result.await.map_err(|e| failed(&session, e))?;
    Ok(accepted(&accept.message_id, "Media sent successfully"))
}

/// The text fields, and the file streamed to disk.
async fn read_upload(
    api: &Shared,
    mut parts: Parts,
) -> Result<(Option<String>, Option<String>, Option<Fetched>), Failure> {
    let broken = |e: MultipartError| match params::multipart_error(&e, UPLOAD_BODY) {
        ParamError::TooLarge(_) => Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "media is larger than 50 MB"),
        e => e.into(),
    };
    let (mut to, mut caption, mut file) = (None, None, None);
    while let Some(field) = parts.next().await.map_err(broken)? {
        match field.name() {
            Some("media") => {
                let filename = field.file_name().map(str::to_owned);
                let mut cut = None;
                let stream = field.inspect_err(|e| cut = Cut::of(e));
                let taken = api.spool.from_stream(stream, filename, MAX_MEDIA).await;
                file = Some(taken.map_err(|e| match cut {
                    Some(Cut::Slow) => ParamError::Slow.into(),
                    _ => {
                        let (status, reason) = spool_failed(&e);
                        Failure::new(status, format!("media: {reason}"))
                    }
                })?);
                if let Some(file) = &file {
                    note_file("media", &file.filename, file.size);
                }
            }
            Some(name @ ("to" | "message")) => {
                let name = name.to_owned();
                let (mut field, mut bytes) = (field, Vec::new());
                while let Some(chunk) = field.chunk().await.map_err(broken)? {
                    if bytes.len() + chunk.len() > MULTIPART_SLACK {
                        return Err(Failure::bad_request(format!("{name} is too long")));
                    }
                    bytes.extend_from_slice(&chunk);
                }
                let text = String::from_utf8(bytes)
                    .map_err(|_| Failure::bad_request(format!("{name} is not UTF-8 text")))?;
                note_field(&name, text.as_str());
                let text = Some(text).filter(|t| !t.trim().is_empty());
                if name == "to" { to = text } else { caption = text }
            }
            _ => {
                let mut field = field;
                while field.chunk().await.map_err(broken)?.is_some() {}
            }
        }
    }
    Ok((to, caption, file))
}
