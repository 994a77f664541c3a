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
use crate::api::openapi::Numbers;
use crate::api::openapi::mpwa::{
    MpwaCheck, MpwaChecked, MpwaDevice, MpwaDone, MpwaInfo, MpwaPair, MpwaQr, MpwaWhich,
};
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

/// Is a number on WhatsApp?
///
/// Each question counts against the key's checks of the month.
#[utoipa::path(method(get, post), path = "/check-number", request_body = MpwaCheck, responses(
    (status = 200, description = "WhatsApp's answer", body = MpwaChecked), Numbers,
))]
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

/// Get a QR code to pair a device
///
/// Waits up to 15 s for a code that is about to come. With `force=true` the device is made if there is none of this name.
#[utoipa::path(method(get, post), path = "/generate-qr", request_body = MpwaPair, responses(
    (status = 200, description = "A code; or none yet; or the device is connected already", body = MpwaQr),
    (status = 409, description = "The box has as many devices as it takes"),
))]
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

/// List the devices
///
/// All that the key may use, or the one in `number`.
#[utoipa::path(method(get, post), path = "/info-devices", request_body = MpwaWhich, responses(
    (status = 200, description = "The devices", body = MpwaInfo),
    (status = 404, description = "The key has no such device"),
))]
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

/// Unlink a device
///
/// It disappears from the phone's linked devices and has to be paired anew. What it has still to send waits.
#[utoipa::path(method(get, post), path = "/logout-device", request_body = MpwaDevice, responses(
    (status = 200, description = "It is unlinked, or was not paired", body = MpwaDone),
))]
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

/// Delete a device
///
/// Unlinks it and removes it with everything that it has still to send.
#[utoipa::path(method(get, post), path = "/delete-device", request_body = MpwaDevice, responses(
    (status = 200, description = "It is deleted", body = MpwaDone),
    (status = 403, description = "A device token cannot delete its device"),
))]
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
