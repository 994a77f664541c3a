//! The HTTP API: one file per dialect, on one router.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;

mod access;
mod checks;
pub mod control;
pub mod events;
mod health;
pub mod keys;
pub mod limits;
mod mpwa;
mod params;
pub mod phone;
pub mod qr;
mod send;
pub mod serve;
mod sessions;
mod settings;
mod v1;
mod webhooks;

use crate::inbox::Inbox;
use crate::media::{FetchPolicy, Spool};
use crate::outbox::Outbox;
use crate::session::{Received, Registry};
use crate::store::Store;
use crate::webhook::Webhooks;
use access::header_key;
use keys::Keys;
use limits::{Checks, Rates};
pub use settings::ApiSettings;

/// What the handlers share.
pub struct Shared {
    /// The store, for the readiness check.
    pub store: Store,
    /// API keys.
    pub keys: Keys,
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
        .merge(mpwa::routes())
        .merge(sessions::routes())
        .merge(webhooks::routes())
        .merge(events::routes())
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(axum::middleware::from_fn(access::rate_headers))
        .with_state(api)
}

async fn not_found(request: Request) -> Response {
    let message = format!("There is nothing at {}.", request.uri().path());
    let body = json!({"success": false, "status": false, "error": "Not Found", "message": message});
    (StatusCode::NOT_FOUND, axum::Json(body)).into_response()
}

async fn method_not_allowed(request: Request) -> Response {
    let message = format!("{} does not take {}.", request.uri().path(), request.method());
    let body = json!({"success": false, "status": false, "error": "Method Not Allowed", "message": message});
    (StatusCode::METHOD_NOT_ALLOWED, axum::Json(body)).into_response()
}

/// The client's address; loopback where the connection has none.
fn peer(request: &Request) -> IpAddr {
    request
        .extensions()
        .get::<ConnectInfo<SocketAddr>>()
        .map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |ConnectInfo(address)| address.ip())
}
