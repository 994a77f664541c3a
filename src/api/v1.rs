//! What Kurir's own routes under `/api/v1` share: `{"success":true,…}`, or `{"success":false,"error","message"}`.

use axum::Json;
use axum::extract::Request;
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::access::header_key;
use super::keys::{Caller, Denied};
use super::params::{self, MAX_BODY, ParamError};
use super::{Shared, peer};
use crate::store::StoreError;

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
        let mut response = (self.status, Json(body)).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
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
        let status = match error {
            StoreError::Full { .. } => StatusCode::INSUFFICIENT_STORAGE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Failure::new(status, error.to_string())
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
        Value::Object(object) => Ok(object),
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
