//! What Kurir's own routes under `/api/v1` share: `{"success":true,…}`, or `{"success":false,"error","message"}`.

mod chats;
mod content;
mod groups;
mod messages;
mod referred;
mod settings;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::access::header_key;
use super::keys::{Caller, Denied};
use super::openapi::v1::DIALECT;
use super::openapi::{Purpose, Routes};
use super::params::{self, MAX_BODY, ParamError};
use super::request_log;
use super::send::{SendError, store_message, store_status};
use super::{Shared, peer};
use crate::session::groups::GroupsError;
use crate::session::{ChatError, Session};
use crate::store::StoreError;

/// Seconds after which a session that is not connected may be.
const RECONNECT: u64 = 10;

/// Everything below `/api/v1/sessions/{id}`.
pub(super) fn routes<P: Purpose>() -> Routes<P> {
    Routes::of(&[&DIALECT])
        .merge(messages::routes())
        .merge(chats::routes())
        .merge(groups::routes())
        .merge(settings::routes())
}

/// What is wrong.
pub(super) struct Failure {
    status: StatusCode,
    message: String,
    retry_after: Option<u64>,
}

impl Failure {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Failure {
        Failure { status, message: message.into(), retry_after: None }
    }

    pub(super) fn bad(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn later(status: StatusCode, message: impl Into<String>, seconds: u64) -> Failure {
        Failure { retry_after: Some(seconds), ..Failure::new(status, message) }
    }

    pub(super) fn message(&self) -> &str {
        &self.message
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let error = self.status.canonical_reason().unwrap_or("Error");
        let body = json!({"success": false, "error": error, "message": self.message});
        super::answer(self.status, body, self.retry_after)
    }
}

impl From<ParamError> for Failure {
    fn from(error: ParamError) -> Failure {
        Failure::new(error.status(), error.to_string())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        log::error!("{error}");
        Failure::new(store_status(&error), store_message(&error))
    }
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Failure {
        if error.status().is_server_error() && error.status() != StatusCode::BAD_GATEWAY {
            log::error!("a message was not accepted: {error}");
        }
        Failure { retry_after: error.retry_after(), ..Failure::new(error.status(), error.told()) }
    }
}

impl From<ChatError> for Failure {
    fn from(error: ChatError) -> Failure {
        match error {
            ChatError::NotConnected => not_connected(),
            ChatError::Chat => Failure::bad(error.to_string()),
            ChatError::Failed(_) => Failure::new(StatusCode::BAD_GATEWAY, error.to_string()),
        }
    }
}

impl From<GroupsError> for Failure {
    fn from(error: GroupsError) -> Failure {
        let status = match &error {
            GroupsError::NotConnected => return not_connected(),
            GroupsError::Invalid(_) => StatusCode::BAD_REQUEST,
            GroupsError::Refused { code: 429 } => {
                return Failure::later(StatusCode::TOO_MANY_REQUESTS, error.to_string(), 60);
            }
            GroupsError::Refused { code: 400 | 406 } => StatusCode::BAD_REQUEST,
            GroupsError::Refused { code: 401 | 403 } => StatusCode::FORBIDDEN,
            GroupsError::Refused { code: 404 } => StatusCode::NOT_FOUND,
            GroupsError::Refused { code: 409 | 410 | 419 } => StatusCode::CONFLICT,
            GroupsError::Refused { .. } | GroupsError::Timeout | GroupsError::Failed(_) => {
                StatusCode::BAD_GATEWAY
            }
        };
        Failure::new(status, error.to_string())
    }
}

fn not_connected() -> Failure {
    Failure::later(
        StatusCode::SERVICE_UNAVAILABLE,
        "The session is not connected; GET /api/sessions/ID says why",
        RECONNECT,
    )
}

/// The last part of a path, or the only one; none of ours if it is not even text.
type Id = Result<Path<String>, PathRejection>;
/// Two parts of a path.
type Ids = Result<Path<(String, String)>, PathRejection>;

/// The session of a path, if whoever is asking may use it.
fn session(api: &Shared, request: &Request, id: Option<&str>) -> Result<Session, Failure> {
    let caller = caller(api, request)?;
    let found = id.and_then(|id| api.registry.get(id));
    let found = found
        .ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, "Session not found; check the session id"))?;
    if caller.may_use_session(&found) {
        Ok(found)
    } else {
        Err(Failure::new(StatusCode::FORBIDDEN, "This session belongs to another account"))
    }
}

/// The session of a path with nothing else in it.
fn enter(api: &Shared, request: &Request, id: &Id) -> Result<Session, Failure> {
    session(api, request, id.as_ref().ok().map(|Path(id)| id.as_str()))
}

/// The session of a path, and the path's other part.
fn enter_with(api: &Shared, request: &Request, ids: Ids) -> Result<(Session, String), Failure> {
    match ids {
        Ok(Path((id, other))) => Ok((session(api, request, Some(&id))?, other)),
        Err(_) => session(api, request, None).map(|session| (session, String::new())),
    }
}

/// Who is asking.
pub(super) fn caller(api: &Shared, request: &Request) -> Result<Caller, Failure> {
    let denied = match api.authenticate(header_key(request.headers()), peer(request)) {
        Ok(caller) => return Ok(caller),
        Err(denied) => denied,
    };
    Err(match denied {
        Denied::Missing => {
            Failure::new(StatusCode::UNAUTHORIZED, "API key is missing; send it in the X-API-Key header")
        }
        Denied::Wrong => Failure::new(StatusCode::UNAUTHORIZED, "API key is not valid"),
        Denied::TooMany(wait) => Failure::later(
            StatusCode::TOO_MANY_REQUESTS,
            "Too many wrong keys from this address; wait and try again",
            wait.as_secs() + 1,
        ),
        Denied::Limited(wait) => Failure::later(
            StatusCode::TOO_MANY_REQUESTS,
            "This key's limit of requests per minute is used up; wait and try again",
            wait.as_secs().max(1),
        ),
    })
}

/// A JSON object; an empty body counts as one.
pub(super) async fn object(request: Request) -> Result<Map<String, Value>, Failure> {
    let body = params::read_body(request, MAX_BODY).await?;
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    match params::parse_json(&body)? {
        Value::Object(object) => {
            request_log::note_body(&object);
            Ok(object)
        }
        _ => Err(Failure::bad("The request body must be a JSON object")),
    }
}

pub(super) fn text<'a>(object: &'a Map<String, Value>, field: &str) -> Result<Option<&'a str>, Failure> {
    match object.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(s)) => Ok(Some(s)),
        Some(_) => Err(Failure::bad(format!("{field} must be a string"))),
    }
}

pub(super) fn flag(object: &Map<String, Value>, field: &str) -> Result<Option<bool>, Failure> {
    match object.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(b)) => Ok(Some(*b)),
        Some(_) => Err(Failure::bad(format!("{field} must be true or false"))),
    }
}

pub(super) fn number(object: &Map<String, Value>, field: &str) -> Result<Option<u64>, Failure> {
    match object.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(n)) if n.as_u64().is_some() => Ok(n.as_u64()),
        Some(_) => Err(Failure::bad(format!("{field} must be a whole number"))),
    }
}
