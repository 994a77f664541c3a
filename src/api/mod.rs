//! The HTTP API: one file per dialect, on one router.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::ALLOW;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::json;
use tokio::sync::watch;

mod access;
mod certificate;
mod checks;
pub mod claim;
pub mod control;
pub mod events;
mod fonnte;
mod groups;
mod health;
pub mod keys;
pub mod limits;
pub mod metrics;
mod mpwa;
mod params;
mod parts;
pub mod phone;
pub mod qr;
mod send;
pub mod serve;
mod sessions;
mod settings;
pub mod tls;
mod v1;
mod waapi;
mod waya;
mod webhooks;

use crate::clock::ClockState;
use crate::inbox::Inbox;
use crate::media::{FetchPolicy, Spool};
use crate::outbox::Outbox;
use crate::session::{Received, Registry};
use crate::store::Store;
use crate::webhook::Webhooks;
use access::header_key;
use claim::Claim;
use keys::Keys;
use limits::{Checks, Rates};
pub use settings::{ApiSettings, Place};
use tls::Certificates;

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
}

/// State of the router.
pub type Api = Arc<Shared>;

/// Every route that applications may call.
pub fn router(api: Api) -> Router {
    Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(metrics::metrics))
        .merge(certificate::routes())
        .merge(claim::routes())
        .merge(mpwa::routes())
        .merge(fonnte::routes())
        .merge(waapi::routes())
        .merge(waya::routes())
        .merge(sessions::routes())
        .merge(webhooks::routes())
        .merge(events::routes())
        .route("/api/send-message", post(send_message))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(axum::middleware::from_fn(access::rate_headers))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&api), claim::gate))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&api), metrics::count))
        .with_state(api)
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

/// Two dialects have this path: `X-API-Key` means dialect 3, `Authorization` dialect 2.
async fn send_message(State(api): State<Api>, request: Request) -> Response {
    if request.headers().contains_key("x-api-key") {
        return waya::send_message(&api, request).await.into_response();
    }
    if request.headers().contains_key("authorization") {
        return waapi::send_message(&api, request).await.into_response();
    }
    let message = "Unauthorized: send the key in X-API-Key, or in Authorization as Bearer.";
    let body = json!({"success": false, "status": false, "error": message, "message": message});
    (StatusCode::UNAUTHORIZED, axum::Json(body)).into_response()
}

/// The client's address; loopback where the connection has none.
fn peer(request: &Request) -> IpAddr {
    request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |ConnectInfo(address)| address.ip())
}
