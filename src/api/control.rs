//! The control socket: how `kurir key` and `kurir status` reach a running gateway, which holds the store's lock.
//!
//! A Unix socket in the data folder, for its owner only: whoever can open it could read the store as well, so it needs
//! no key.

use std::os::unix::fs::PermissionsExt;
use std::path::Path as FilePath;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, body::Bytes};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower::ServiceExt;

use super::Api;
use super::keys::{KeyError, KeyRules, Keys};
use super::params::PathId;

/// Commands served at once; each is one person's.
const MAX_CONNECTIONS: usize = 8;

/// A key to be made.
#[derive(Debug, Serialize, Deserialize)]
pub struct NewKey {
    /// What it is for.
    pub name: String,
    /// The account whose sessions it may use.
    pub account: String,
    /// Whether it may do everything.
    pub admin: bool,
    /// What else it may and may not do. With a session, the account is the session's.
    #[serde(flatten)]
    pub rules: KeyRules,
}

/// What went wrong with the control socket.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The socket could not be made or reached.
    #[error("the control socket {path}: {source}")]
    Socket {
        /// The socket.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The gateway's answer could not be read.
    #[error("the running gateway gave no usable answer: {0}")]
    Answer(String),
    /// The gateway refused.
    #[error("{0}")]
    Refused(String),
}

fn router(api: Api) -> Router {
    Router::new()
        .route("/keys", post(create_key).get(list_keys))
        .route("/keys/{id}", delete(remove_key))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&api), super::rehearse))
        .route("/status", get(super::health::status))
        .route("/erase", post(erase))
        .with_state(api)
}

/// Binds the socket, taking the place of one that a crashed process left behind.
pub fn bind(path: &FilePath) -> Result<UnixListener, ControlError> {
    let error = |source| ControlError::Socket { path: path.display().to_string(), source };
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(error(e)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(error)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(error)?;
    Ok(listener)
}

/// Serves commands until `stop` becomes true.
pub async fn serve(listener: UnixListener, api: Api, mut stop: watch::Receiver<bool>) {
    let router = router(api);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stopped(&mut stop) => return,
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    let router = router.clone();
                    connections.spawn(async move {
                        let service = hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
                            router.clone().oneshot(request.map(Body::new))
                        });
                        let served = hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), service);
                        if let Err(e) = served.await {
                            log::debug!("control socket: {e}");
                        }
                    });
                }
                Err(e) => {
                    log::warn!("control socket: {e}");
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                }
            },
        }
    }
}

/// Resolves when the gateway stops, or is gone.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // The guard that `wait_for` returns must not live across an await.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn create_key(State(api): State<Api>, Json(new): Json<NewKey>) -> Response {
    let account = match &new.rules.session {
        None => new.account,
        Some(id) => match api.registry.get(id) {
            Some(session) => session.owner().to_owned(),
            None => {
                let error = format!("there is no session {id}; GET /api/sessions?list=1 lists them");
                return (StatusCode::BAD_REQUEST, Json(json!({"error": error}))).into_response();
            }
        },
    };
    match api.keys.create_with(&new.name, &account, new.admin, new.rules).await {
        Ok(key) => Json(json!({"key": key})).into_response(),
        Err(e) => key_error(&e),
    }
}

async fn list_keys(State(api): State<Api>) -> Response {
    Json(describe(&api.keys)).into_response()
}

async fn remove_key(State(api): State<Api>, PathId(id): PathId) -> Response {
    match api.keys.remove(&id).await {
        Ok(true) => Json(json!({"removed": id})).into_response(),
        Ok(false) => {
            (StatusCode::NOT_FOUND, Json(json!({"error": format!("there is no key {id}")}))).into_response()
        }
        Err(e) => key_error(&e),
    }
}

async fn erase(State(api): State<Api>) -> Response {
    log::warn!("everything is erased, as the command `kurir erase` asks");
    api.erase.send_replace(true);
    Json(json!({"erasing": true})).into_response()
}

fn key_error(e: &KeyError) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({"error": e.to_string()}))).into_response()
}

/// The keys as `kurir key list` shows them.
pub fn describe(keys: &Keys) -> Value {
    let list = keys.list();
    let rows = list.iter().map(
        |k| json!({"id": k.id, "name": k.name, "account": k.account, "admin": k.admin, "session": k.rules.session, "created_at_ms": k.created_at_ms}),
    );
    Value::Array(rows.collect())
}

/// Asks a running gateway.
pub async fn call(
    socket: &FilePath,
    method: &str,
    path: &str,
    body: Option<Value>,
) -> Result<Value, ControlError> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|source| ControlError::Socket { path: socket.display().to_string(), source })?;
    let answer = |e: &dyn std::fmt::Display| ControlError::Answer(e.to_string());
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| answer(&e))?;
    let driver = tokio::spawn(connection);
    let bytes = body.map(|b| b.to_string()).unwrap_or_default();
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "control")
        .header("content-type", "application/json")
        .body(http_body_util::Full::<Bytes>::from(bytes))
        .map_err(|e| answer(&e))?;
    let response = sender.send_request(request).await.map_err(|e| answer(&e))?;
    let status = response.status();
    let bytes = response.into_body().collect().await.map_err(|e| answer(&e))?.to_bytes();
    driver.abort();
    let value: Value = serde_json::from_slice(&bytes).map_err(|e| answer(&e))?;
    // A status that is no success can also be an answer: that of a gateway that is not ready.
    let text = |field: &str| value.get(field).and_then(Value::as_str);
    let reason = text("message").or_else(|| text("error"));
    if status.is_client_error() || !status.is_success() && reason.is_some() {
        return Err(ControlError::Refused(reason.unwrap_or("refused").to_owned()));
    }
    Ok(value)
}
