//! The HTTP API: one file per dialect, on one router.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{ALLOW, RETRY_AFTER};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::sync::watch;

mod access;
mod certificate;
mod checks;
pub mod claim;
pub mod control;
mod docs;
pub mod events;
mod fonnte;
mod health;
pub mod keys;
pub mod limits;
pub mod metrics;
mod mpwa;
mod openapi;
mod page;
mod panel;
mod params;
mod parts;
pub mod phone;
pub mod qr;
pub mod request_log;
mod send;
pub mod serve;
mod sessions;
mod settings;
pub mod tls;
mod update;
mod v1;
mod waapi;
mod waya;
mod webhooks;

use crate::clock::ClockState;
use crate::inbox::Inbox;
use crate::media::{FetchPolicy, Spool};
use crate::outbox::Outbox;
use crate::panel::run::Shown;
use crate::session::{Received, Registry};
use crate::store::Store;
use crate::update::intake::{Intake, NoIntake};
use crate::webhook::Webhooks;
use access::header_key;
use claim::Claim;
use keys::Keys;
use limits::{Checks, Rates};
pub use openapi::describe;
use openapi::{MessageSent, Purpose, Routes, SendMessage, Sending, Serving, routes};
pub use settings::{ApiSettings, Place};
use tls::Certificates;
pub use update::LARGE_BODY;

/// What the handlers share.
pub struct Shared {
    /// The store, for the readiness check.
    pub store: Store,
    /// API keys.
    pub keys: Keys,
    /// The owner, or the code by which the box gets one.
    pub claim: Claim,
    /// The HTTPS certificate; `None`: HTTPS is off.
    pub certificates: Option<Certificates>,
    /// How updates come in, or why they do not.
    pub updates: Result<Intake, NoIntake>,
    /// What the box is called and where it is reached.
    pub place: Place,
    /// Whether the clock can be right.
    pub clock: watch::Receiver<ClockState>,
    /// Sessions.
    pub registry: Registry,
    /// The send queue.
    pub outbox: Outbox,
    /// The event journal.
    pub inbox: Inbox,
    /// Webhooks.
    pub webhooks: Webhooks,
    /// Files that people sent.
    pub received: Received,
    /// What was asked and answered.
    pub request_log: request_log::RequestLog,
    /// Requests by route and status.
    pub requests: metrics::Requests,
    /// Places for event streams.
    pub streams: events::Streams,
    /// Where files arrive.
    pub spool: Spool,
    /// What media URLs may point at.
    pub fetch: FetchPolicy,
    /// Replaces a leading `0` in phone numbers; empty: nothing does.
    pub country_code: String,
    /// What the dialects do beyond their formats.
    pub settings: ApiSettings,
    /// Requests per key.
    pub rates: Rates,
    /// Number checks per key.
    pub checks: Checks,
    /// The data folder, for messages to people.
    pub data_dir: PathBuf,
    /// What a person has to correct in the boot configuration.
    pub notices: Vec<String>,
    /// The store is a copy that nobody will see again: nothing is taken.
    pub rehearsal: bool,
    /// What the front panel shows.
    pub panel: watch::Receiver<Shown>,
    /// Becomes true when everything is to be erased.
    pub erase: watch::Sender<bool>,
}

/// When to ask again while an update is on trial, in seconds.
const TRIAL_RETRY_S: u16 = 30;

/// State of the router.
pub type Api = Arc<Shared>;

/// Every route that applications may call, with its description.
fn routes<P: Purpose>() -> Routes<P> {
    Routes::of(&[&openapi::machines::DIALECT])
        .with(routes!(health::healthz))
        .with(routes!(health::readyz))
        .with(routes!(metrics::metrics))
        .with(routes!(openapi::show))
        .with(routes!(docs::page))
        .with(routes!(docs::file))
        .merge(mpwa::routes())
        .merge(fonnte::routes())
        .merge(waapi::routes())
        .merge(waya::routes())
        .merge(sessions::routes())
        .merge(webhooks::routes())
        .merge(events::routes())
        .merge(request_log::routes())
        .merge(panel::routes())
        .merge(certificate::routes())
        .merge(update::routes())
        .merge(claim::routes())
        .merge(v1::routes())
        .merge(Routes::of(&[&openapi::waapi::DIALECT, &openapi::waya::DIALECT]).with(routes!(send_message)))
}

/// The router of [`routes`].
pub fn router(api: Api) -> Router {
    routes::<Serving>()
        .into_router()
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(axum::middleware::from_fn(access::rate_headers))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&api), claim::gate))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&api), request_log::log))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&api), rehearse))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&api), metrics::count))
        .with_state(api)
}

/// Answers nothing but the box's health while an update is on trial.
async fn rehearse(State(api): State<Api>, request: Request, next: Next) -> Response {
    let looks = matches!(*request.method(), Method::GET | Method::HEAD);
    // And the page that says how the update is going.
    let health = looks && matches!(request.uri().path(), "/healthz" | "/readyz" | "/metrics" | "/update");
    if !api.rehearsal || health {
        return next.run(request).await;
    }
    let mut response = error(
        StatusCode::SERVICE_UNAVAILABLE,
        "An update of this box is on trial. It takes requests again in about a minute.",
    );
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(TRIAL_RETRY_S));
    response
}

/// An answer in JSON. `retry_after`: seconds after which another try may succeed.
fn answer(status: StatusCode, body: Value, retry_after: Option<u64>) -> Response {
    let mut response = (status, axum::Json(body)).into_response();
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// An error that belongs to no dialect, with the fields that the clients of each look for. It repeats nothing of the
/// request: a client that puts its key into the path would find it in its log otherwise.
fn error(status: StatusCode, message: &str) -> Response {
    let error = status.canonical_reason().unwrap_or("Error");
    let body = json!({"success": false, "status": false, "error": error, "message": message, "msg": message});
    (status, axum::Json(body)).into_response()
}

async fn not_found() -> Response {
    error(StatusCode::NOT_FOUND, "There is nothing at this path; check its spelling.")
}

async fn method_not_allowed() -> Response {
    error(StatusCode::METHOD_NOT_ALLOWED, "This path does not take this method.")
}

/// A GET of some dialects sends, or deletes. What only looks whether a link is there must not.
async fn no_head() -> Response {
    let mut response = method_not_allowed().await;
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET,POST"));
    response
}

/// Send a message
///
/// Two dialects have this path. With `X-API-Key` it is `waya`'s: a text, a file or both, to one or many, one after the
/// other. With `Authorization` it is `waapi`'s: a text to one, at once.
#[utoipa::path(post, path = "/api/send-message",
    request_body(content = SendMessage, examples(
        ("waapi" = (value = json!({"to": "6281234567890", "message": "Halo, pesanan Anda sudah siap"}))),
        ("waya" = (value = json!({
            "number": "6281234567890", "message": "Halo, pesanan Anda sudah siap", "reference_id": "INV-2026-0042",
        }))),
    )),
    responses(
        (status = 200, description = "The message is kept and will be sent", body = MessageSent),
        (status = 403, description = "The device belongs to another account, or the recipient is not on the allow list"),
        Sending,
    )
)]
async fn send_message(State(api): State<Api>, request: Request) -> Response {
    if request.headers().contains_key("x-api-key") {
        return waya::send_message(&api, request).await.into_response();
    }
    if request.headers().contains_key("authorization") {
        return waapi::send_message(&api, request).await.into_response();
    }
    let message = "Unauthorized: send the key in X-API-Key, or in Authorization as Bearer.";
    // The clients of both look for the text in `error`.
    let body = json!({"success": false, "error": message});
    (StatusCode::UNAUTHORIZED, axum::Json(body)).into_response()
}

/// The client's address; loopback where the connection has none.
fn peer(request: &Request) -> IpAddr {
    request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |ConnectInfo(address)| address.ip())
}
