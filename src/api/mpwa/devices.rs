//! Devices and numbers.

use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Failure, caller, read, sender, wrong_key};
use crate::api::access::NoSession;
use crate::api::checks::{self, CheckError};
use crate::api::keys::Caller;
use crate::api::params::{ParamError, Params};
use crate::api::{Api, Shared, phone, qr};
use crate::session::registry::RegistryError;
use crate::session::{Lookup, Session, Status};
use crate::webhook::Format;

/// How long a request for a QR waits for one that is about to come.
const QR_WAIT: Duration = Duration::from_secs(15);

/// The device that `device`, `sender` or `number` names: by its number, its id or its name.
fn device(api: &Shared, caller: &Caller, params: &Params) -> Result<Session, Failure> {
    let named = match params.text("device")? {
        Some(device) => Some(device),
        None => params.text("sender")?,
    };
    let named = named.ok_or(ParamError::Missing("device"))?;
    api.named_session(caller, &named).map_err(|_| wrong_key())
}

pub(super) async fn check_number(State(api): State<Api>, request: Request) -> Result<Response, Failure> {
    let (params, from) = read(request).await?;
    let (caller, session) = sender(&api, &params, from)?;
    let number = params.required("number")?;
    let number = phone::number(&number, &api.country_code)
        .map_err(|e| ParamError::Value { field: "number", reason: e.to_string() })?;
    let found =
        checks::check(&api, &caller, &session, std::slice::from_ref(&number)).await.map_err(|e| match e {
            CheckError::Limit(allowance) => Failure {
                retry_after: Some(checks::retry_after()),
                ..Failure::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    format!("This api_key has used its {} number checks of this month", allowance.limit),
                )
            },
            CheckError::Lookup(e) => {
                Failure::new(StatusCode::SERVICE_UNAVAILABLE, format!("The number was not checked: {e}"))
            }
            CheckError::Store(e) => e.into(),
        })?;
    let msg = match found.into_iter().next() {
        Some(Lookup::Registered(jid)) => json!({"exists": true, "jid": jid}),
        _ => json!({"exists": false, "jid": null}),
    };
    Ok(Json(json!({"status": true, "msg": msg})).into_response())
}

pub(super) async fn generate_qr(State(api): State<Api>, request: Request) -> Result<Response, Failure> {
    let (params, from) = read(request).await?;
    let caller = caller(&api, &params, from)?;
    let name = match params.text("device")? {
        Some(device) => device,
        None => params.required("sender").map_err(|_| ParamError::Missing("device"))?,
    };
    let session = match api.named_session(&caller, &name) {
        Ok(session) => session,
        Err(NoSession::Unknown) if params.flag("force")? && caller.rules.session.is_none() => {
            api.registry.create(&name, &caller.account).await.map_err(|e| match e {
                RegistryError::Name => Failure::new(
                    StatusCode::BAD_REQUEST,
                    "Invalid parameters! device must have 1 to 100 characters",
                ),
                RegistryError::TooMany => Failure::new(StatusCode::CONFLICT, e.to_string()),
                RegistryError::Store(e) => e.into(),
            })?
        }
        Err(_) => return Err(wrong_key()),
    };
    let mut changes = session.watch();
    let settled = changes.wait_for(|s| s.qr.is_some() || s.status != Status::Connecting);
    let snapshot = match tokio::time::timeout(QR_WAIT, settled).await {
        Ok(Ok(snapshot)) => snapshot.clone(),
        _ => session.snapshot(),
    };
    if let Some(code) = &snapshot.qr {
        let png = qr::png(&code.text)
            .map_err(|e| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
        let picture = format!("data:image/png;base64,{}", STANDARD.encode(png));
        let body = json!({"status": "qrcode", "qrcode": picture, "message": "Scan this code with WhatsApp"});
        return Ok(Json(body).into_response());
    }
    if snapshot.status == Status::Connected {
        // Not an error of the client: this format answers it with 200.
        return Ok(Json(json!({"status": false, "msg": "Device already connected!"})).into_response());
    }
    if snapshot.status == Status::Disconnected {
        // Fresh codes come only when somebody wants them.
        session.reconnect().await;
    }
    Ok(Json(json!({"status": "processing", "message": "The code is being prepared; ask again"}))
        .into_response())
}

pub(super) async fn info(State(api): State<Api>, request: Request) -> Result<Response, Failure> {
    let (params, from) = read(request).await?;
    let caller = caller(&api, &params, from)?;
    let wanted = match params.text("number")? {
        Some(number) => Some(number),
        None => params.text("device")?,
    };
    let sessions = match wanted {
        Some(name) => vec![
            api.named_session(&caller, &name)
                .map_err(|_| Failure::new(StatusCode::NOT_FOUND, "Device not found"))?,
        ],
        None => api.sessions_of(&caller),
    };
    let mut info = Vec::with_capacity(sessions.len());
    for session in &sessions {
        info.push(describe(&api, session)?);
    }
    Ok(Json(json!({"status": true, "info": info})).into_response())
}

fn describe(api: &Shared, session: &Session) -> Result<Value, Failure> {
    let snapshot = session.snapshot();
    let status = if snapshot.status == Status::Connected { "Connected" } else { "Disconnect" };
    Ok(json!({
        "id": session.no(),
        "body": snapshot.number.clone().unwrap_or_else(|| session.name().to_owned()),
        "name": session.name(),
        "webhook": api.webhook_url(session, Some(Format::Mpwa)),
        "status": status,
        "message_sent": api.outbox.sent_count(session.no())?,
        "created_at": session.created_at_ms() / 1000,
    }))
}

pub(super) async fn log_out(State(api): State<Api>, request: Request) -> Result<Response, Failure> {
    let (params, from) = read(request).await?;
    let caller = caller(&api, &params, from)?;
    let session = device(&api, &caller, &params)?;
    if !session.snapshot().paired {
        return Ok(Json(json!({"status": false, "message": "Device is not connected"})).into_response());
    }
    session.pair_again().await;
    Ok(Json(json!({"status": true, "message": "Device disconnected"})).into_response())
}

pub(super) async fn delete(State(api): State<Api>, request: Request) -> Result<Response, Failure> {
    let (params, from) = read(request).await?;
    let caller = caller(&api, &params, from)?;
    let session = device(&api, &caller, &params)?;
    if caller.rules.session.is_some() {
        return Err(Failure::new(StatusCode::FORBIDDEN, "A device token cannot delete its device"));
    }
    api.registry.delete(session.id()).await.map_err(|e| match e {
        RegistryError::Store(e) => e.into(),
        e => Failure::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()),
    })?;
    Ok(Json(json!({"status": true, "message": "Device deleted"})).into_response())
}
