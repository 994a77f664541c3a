//! Whether the process is alive, and whether it can do its work. No key is needed and nothing private is shown.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::Api;

/// The process answers.
pub(super) async fn healthz() -> Response {
    axum::Json(json!({"status": "ok"})).into_response()
}

/// 200 while messages can be accepted, 503 otherwise, and in what state each session is.
pub(super) async fn readyz(State(api): State<Api>) -> Response {
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
        "counts": Value::Object(counts),
        "sessions": sessions,
    });
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(body)).into_response()
}
