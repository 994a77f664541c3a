//! Whether the process is alive, and whether it can do its work. No key is needed and nothing private is shown.

use std::path::Path;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::openapi::machines::{BoxAlive, BoxReady};
use super::{Api, Shared, certificate, panel};

/// Is the box alive?
///
/// The process answers.
#[utoipa::path(get, path = "/healthz", responses((status = 200, description = "It is", body = BoxAlive)))]
pub(super) async fn healthz() -> Response {
    axum::Json(json!({"status": "ok"})).into_response()
}

/// Can the box work?
///
/// 200 while messages can be accepted, 503 otherwise, and in what state each session is. It shows no phone number.
#[utoipa::path(get, path = "/readyz", responses(
    (status = 200, description = "Messages can be accepted", body = BoxReady),
    (status = 503, description = "The store cannot be written", body = BoxReady),
))]
pub(super) async fn readyz(State(api): State<Api>) -> Response {
    let (status, body) = report(&api);
    (status, axum::Json(body)).into_response()
}

/// What `readyz` says, and what the store has done since it was opened.
pub(super) async fn status(State(api): State<Api>) -> Response {
    let (status, mut body) = report(&api);
    let stats = api.store.stats();
    body["store_counts"] = json!({
        "commits": stats.commits,
        "writes": stats.writes,
        "syncs": stats.syncs,
        "bytes_written": stats.bytes_written,
        "bytes_read": stats.bytes_read,
        "largest_group": stats.largest_group,
        "last_commit_us": u64::try_from(stats.last_commit.as_micros()).unwrap_or(u64::MAX),
    });
    body["version"] = env!("CARGO_PKG_VERSION").into();
    body["claim"] = if api.claim.is_closed() {
        "waiting for its owner"
    } else if api.claim.is_claimed() {
        "done"
    } else {
        "no key yet; listening on loopback only"
    }
    .into();
    body["password"] = api.claim.has_password().into();
    body["host"] = api.place.host.as_str().into();
    body["urls"] = api.place.urls().into();
    body["certificate"] = match &api.certificates {
        Some(certificates) => certificate::describe(&certificates.info().borrow()),
        None => Value::Null,
    };
    body["disk"] = disk(&api.data_dir);
    (status, axum::Json(body)).into_response()
}

/// Room on the file system of the data folder, in bytes.
fn disk(data_dir: &Path) -> Value {
    match rustix::fs::statvfs(data_dir) {
        Ok(room) => json!({
            "path": data_dir.display().to_string(),
            "free": room.f_bavail.saturating_mul(room.f_frsize),
            "total": room.f_blocks.saturating_mul(room.f_frsize),
        }),
        Err(e) => json!({"path": data_dir.display().to_string(), "error": e.to_string()}),
    }
}

fn report(api: &Shared) -> (StatusCode, Value) {
    let store = if api.store.stats().read_only { "read-only" } else { "ok" };
    let mut counts = Map::new();
    let mut sessions = Vec::new();
    for session in api.registry.list() {
        let snapshot = session.snapshot();
        let count = counts.entry(snapshot.status.as_str()).or_insert_with(|| json!(0));
        *count = json!(count.as_u64().unwrap_or(0) + 1);
        sessions.push(json!({
            "session": session.no(),
            "status": snapshot.status.as_str(),
            "reason": snapshot.reason.code(),
            "queued": api.outbox.depth(session.no()),
        }));
    }
    let ready = store == "ok";
    let body = json!({
        "status": if ready { "ready" } else { "not ready" },
        "store": store,
        "clock": api.clock.borrow().as_str(),
        "counts": Value::Object(counts),
        "sessions": sessions,
        "panel": panel::status(api),
        "notices": api.notices,
    });
    (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, body)
}
