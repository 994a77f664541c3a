//! The control API: what a person would do with the phones, and what goes wrong, as JSON over HTTP.
//!
//! Errors are `{"error": TEXT}` with a 4xx status: 400 for a mistake in the request, 404 for a phone or a message that
//! is not there, 409 for what cannot be done as things are, 413 for a body that is too large.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, FromRequest, Path, Query, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::faults::Fault;
use crate::inbox::InboxItem;
use crate::media::{OutgoingKind, OutgoingMedia};
use crate::stats::Stats;
use crate::{PhoneInfo, Sim, SimError};

/// The largest file that a phone is told to send.
pub const MAX_MEDIA: usize = 100 << 20;

/// The longest that `GET …/inbox` waits.
pub const MAX_WAIT: Duration = Duration::from_secs(600);

/// Bodies without a file in them.
const MAX_BODY: usize = 1 << 20;

/// A body with a file of [`MAX_MEDIA`] in base64, and some text.
const MAX_SEND_BODY: usize = MAX_MEDIA.div_ceil(3) * 4 + MAX_BODY;

/// Serves the control API of `sim` until the future is dropped.
pub async fn serve(listener: TcpListener, sim: Sim) -> std::io::Result<()> {
    axum::serve(listener, router(sim)).await
}

/// The routes of the control API of `sim`.
pub fn router(sim: Sim) -> Router {
    let send = post(send).layer(DefaultBodyLimit::max(MAX_SEND_BODY));
    Router::new()
        .route("/phones", post(add_phone))
        .route("/phones/{number}", delete(remove_phone))
        .route("/phones/{number}/scan", post(scan))
        .route("/phones/{number}/pair-code", post(pair_code))
        .route("/phones/{number}/unlink", post(unlink))
        .route("/phones/{number}/inbox", get(inbox))
        .route("/phones/{number}/media/{id}", get(media))
        .route("/phones/{number}/send", send)
        .route("/phones/{number}/read", post(read))
        .route("/groups", post(create_group))
        .route("/faults", post(add_fault).delete(clear_faults))
        .route("/stats", get(stats))
        .fallback(no_such_path)
        .method_not_allowed_fallback(no_such_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(sim)
}

/// What a request gets that cannot be carried out.
#[derive(Debug)]
struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(json!({"error": self.1}))).into_response()
    }
}

impl From<SimError> for Refusal {
    fn from(error: SimError) -> Self {
        let status = match &error {
            SimError::NoPhone(_) | SimError::NoMessage { .. } | SimError::Media { .. } => {
                StatusCode::NOT_FOUND
            }
            SimError::Number(_)
            | SimError::Qr(_)
            | SimError::QrKeys
            | SimError::WrongCode(_)
            | SimError::NoRecipient(_)
            | SimError::GroupTooLarge(..)
            | SimError::GroupRefused { .. }
            | SimError::NotMember { .. } => StatusCode::BAD_REQUEST,
            SimError::PhoneExists(_)
            | SimError::QrExpired
            | SimError::NoCodePending(_)
            | SimError::PairingRefused(_)
            | SimError::TooManyLinked(..)
            | SimError::NotLinked(_) => StatusCode::CONFLICT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self(status, error.to_string())
    }
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Self {
        Self(rejection.status(), rejection.body_text())
    }
}

impl From<PathRejection> for Refusal {
    fn from(rejection: PathRejection) -> Self {
        Self(rejection.status(), rejection.body_text())
    }
}

fn bad(what: impl Into<String>) -> Refusal {
    Refusal(StatusCode::BAD_REQUEST, what.into())
}

/// A JSON body, whatever its Content-Type says: `curl -d` calls everything a form.
struct JsonBody<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|e: BytesRejection| Refusal(e.status(), e.body_text()))?;
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|e| bad(format!("the body is not what is expected: {e}")))
    }
}

/// Done, and nothing to say.
fn done() -> Json<Value> {
    Json(json!({}))
}

type Answer<T = Value> = Result<Json<T>, Refusal>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewPhone {
    number: String,
    #[serde(default)]
    name: String,
}

async fn add_phone(State(sim): State<Sim>, JsonBody(body): JsonBody<NewPhone>) -> Answer {
    let PhoneInfo { number, lid, .. } = sim.add_phone(&body.number, &body.name).await?;
    Ok(Json(json!({"number": number, "lid": lid})))
}

async fn remove_phone(State(sim): State<Sim>, number: Result<Path<String>, PathRejection>) -> Answer {
    sim.remove_phone(&number?).await?;
    Ok(done())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scan {
    qr: String,
}

async fn scan(
    State(sim): State<Sim>,
    number: Result<Path<String>, PathRejection>,
    JsonBody(body): JsonBody<Scan>,
) -> Answer {
    sim.scan(&number?, &body.qr).await?;
    Ok(done())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PairCode {
    code: String,
}

async fn pair_code(
    State(sim): State<Sim>,
    number: Result<Path<String>, PathRejection>,
    JsonBody(body): JsonBody<PairCode>,
) -> Answer {
    sim.pair_code(&number?, &body.code).await?;
    Ok(done())
}

async fn unlink(State(sim): State<Sim>, number: Result<Path<String>, PathRejection>) -> Answer {
    sim.unlink(&number?).await?;
    Ok(done())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InboxQuery {
    #[serde(default)]
    count: usize,
    /// Seconds.
    #[serde(default)]
    wait: f64,
}

async fn inbox(
    State(sim): State<Sim>,
    number: Result<Path<String>, PathRejection>,
    query: Result<Query<InboxQuery>, QueryRejection>,
) -> Answer<Vec<InboxItem>> {
    let Query(InboxQuery { count, wait }) = query?;
    let wait = Duration::try_from_secs_f64(wait)
        .ok()
        .filter(|wait| *wait <= MAX_WAIT)
        .ok_or_else(|| bad(format!("`wait` is {wait}, it must be 0 to {} seconds", MAX_WAIT.as_secs())))?;
    Ok(Json(sim.inbox(&number?, count, wait).await?))
}

async fn media(
    State(sim): State<Sim>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, Refusal> {
    let Path((number, id)) = path?;
    let bytes = sim.media(&number, &id).await?;
    Ok(([(CONTENT_TYPE, "application/octet-stream")], Body::from(bytes)).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Outgoing {
    to: String,
    text: Option<String>,
    media: Option<Medium>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Medium {
    kind: OutgoingKind,
    mime: String,
    /// Base64.
    data: String,
    caption: Option<String>,
    filename: Option<String>,
}

impl Medium {
    fn decode(self) -> Result<OutgoingMedia, Refusal> {
        let Self { kind, mime, data, caption, filename } = self;
        let data = BASE64_STANDARD.decode(data).map_err(|e| bad(format!("`data` is not base64: {e}")))?;
        if data.is_empty() || data.len() > MAX_MEDIA {
            return Err(bad(format!("`data` has {} bytes, it must have 1 to {MAX_MEDIA}", data.len())));
        }
        Ok(OutgoingMedia { kind, mime, data: data.into(), caption, filename })
    }
}

async fn send(
    State(sim): State<Sim>,
    number: Result<Path<String>, PathRejection>,
    JsonBody(body): JsonBody<Outgoing>,
) -> Answer {
    let Path(number) = number?;
    let id = match (body.text, body.media) {
        (Some(text), None) => sim.send_text(&number, &body.to, &text).await?,
        (None, Some(media)) => sim.send_media(&number, &body.to, media.decode()?).await?,
        _ => return Err(bad("give either `text` or `media`")),
    };
    Ok(Json(json!({"id": id})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    id: String,
}

async fn read(
    State(sim): State<Sim>,
    number: Result<Path<String>, PathRejection>,
    JsonBody(body): JsonBody<Read>,
) -> Answer {
    sim.read(&number?, &body.id).await?;
    Ok(done())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewGroup {
    name: String,
    owner: String,
    members: Vec<String>,
}

async fn create_group(State(sim): State<Sim>, JsonBody(body): JsonBody<NewGroup>) -> Answer {
    let id = sim.create_group(&body.name, &body.owner, &body.members).await?;
    Ok(Json(json!({"id": id})))
}

async fn add_fault(State(sim): State<Sim>, JsonBody(fault): JsonBody<Fault>) -> Answer {
    fault.check().map_err(|e| bad(e.to_string()))?;
    sim.fault(fault);
    Ok(done())
}

async fn clear_faults(State(sim): State<Sim>) -> Json<Value> {
    sim.clear_faults();
    done()
}

async fn stats(State(sim): State<Sim>) -> Json<Stats> {
    Json(sim.stats())
}

async fn no_such_path(uri: Uri) -> Refusal {
    Refusal(StatusCode::NOT_FOUND, format!("there is nothing at {}", uri.path()))
}

async fn no_such_method(method: Method, uri: Uri) -> Refusal {
    Refusal(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not possible at {}", uri.path()))
}

#[cfg(test)]
#[path = "control_tests.rs"]
mod tests;
