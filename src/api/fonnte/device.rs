//! Devices, their groups, and numbers.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Failure, answer, disconnected, enter, session};
use crate::api::keys::Caller;
use crate::api::openapi::fonnte::{
    FonnteDevice, FonnteDevices, FonnteDone, FonnteGroups, FonnteNumbers, FonntePair, FonntePaired,
    FonnteValidated, FonnteWhich,
};
use crate::api::openapi::{Groups, Numbers};
use crate::api::params::{ParamError, Params};
use crate::api::{Api, Shared, checks, phone, qr as picture};
use crate::session::groups::GroupsError;
use crate::session::registry::PairCodeError;
use crate::session::{Lookup, Session, Status};

/// How long a request for a QR waits for one that is about to come.
const QR_WAIT: Duration = Duration::from_secs(15);
/// Numbers in one `/validate`.
const MAX_NUMBERS: usize = 100;

macro_rules! endpoint {
    ($(#[$doc:meta])* $name:ident, $work:ident) => {
        $(#[$doc])*
        pub(super) async fn $name(State(api): State<Api>, request: Request) -> Response {
            match enter(&api, request).await {
                Ok((caller, params)) => {
                    let result = $work(&api, &caller, &params).await;
                    answer(&caller, result)
                }
                Err(failure) => failure.into_response(),
            }
        }
    };
}
pub(super) use endpoint;

endpoint!(
    /// Show the device
    #[utoipa::path(post, path = "/device", request_body = FonnteWhich, responses(
        (status = 200, description = "The token's device", body = FonnteDevice),
        (status = 403, description = "The device belongs to another account"),
        (status = 404, description = "There is no such device"),
    ))]
    device, show
);
endpoint!(
    /// List the devices
    #[utoipa::path(post, path = "/get-devices", responses(
        (status = 200, description = "The devices that the key may use", body = FonnteDevices),
    ))]
    list, show_all
);
endpoint!(
    /// Get a QR code or a pairing code
    ///
    /// Waits up to 15 s for a QR code that is about to come.
    #[utoipa::path(post, path = "/qr", request_body = FonntePair, responses(
        (status = 200, description = "What pairs the device, or that it is connected already", body = FonntePaired),
        (status = 404, description = "There is no such device"),
        (status = 502, description = "WhatsApp refused to give a pairing code"),
        (status = 503, description = "WhatsApp has not given a QR code yet; ask again"),
        (status = 504, description = "WhatsApp gave no pairing code in time"),
    ))]
    qr, show_qr
);
endpoint!(
    /// Which numbers are on WhatsApp?
    ///
    /// Each number counts against the key's checks of the month.
    #[utoipa::path(post, path = "/validate", request_body = FonnteNumbers, responses(
        (status = 200, description = "WhatsApp's answer", body = FonnteValidated), Numbers,
    ))]
    validate, check
);
endpoint!(
    /// Unlink the device
    ///
    /// It disappears from the phone's linked devices and has to be paired anew. What it has still to send waits.
    #[utoipa::path(post, path = "/disconnect", request_body = FonnteWhich, responses(
        (status = 200, description = "It is unlinked, or was not paired", body = FonnteDone),
        (status = 404, description = "There is no such device"),
    ))]
    disconnect, log_out
);
endpoint!(
    /// Update the list of groups
    ///
    /// Only asks whether it can be listed: `/get-whatsapp-group` asks WhatsApp anew each time.
    #[utoipa::path(post, path = "/fetch-group", request_body = FonnteWhich, responses(
        (status = 200, description = "WhatsApp has listed them", body = FonnteDone), Groups,
    ))]
    fetch_groups, update_groups
);
endpoint!(
    /// List the device's groups
    #[utoipa::path(post, path = "/get-whatsapp-group", request_body = FonnteWhich, responses(
        (status = 200, description = "The groups, by name", body = FonnteGroups), Groups,
    ))]
    groups, list_groups
);

fn status(session: &Session) -> &'static str {
    if session.snapshot().status == Status::Connected { "connect" } else { "disconnect" }
}

async fn show(api: &Shared, caller: &Caller, params: &Params) -> Result<Value, Failure> {
    let session = session(api, caller, params)?;
    Ok(json!({
        "status": true,
        "device": session.snapshot().number.unwrap_or_default(),
        "device_status": status(&session),
        "name": session.name(),
        "messages": api.outbox.sent_count(session.no())?,
        "expired": "never",
        "package": "Kurir",
        "quota": "unlimited",
    }))
}

async fn show_all(api: &Shared, caller: &Caller, _params: &Params) -> Result<Value, Failure> {
    let sessions = api.sessions_of(caller);
    let (mut data, mut connected, mut messages) = (Vec::with_capacity(sessions.len()), 0, 0);
    for session in &sessions {
        connected += usize::from(session.snapshot().status == Status::Connected);
        messages += api.outbox.sent_count(session.no())?;
        data.push(json!({
            "autoread": "off",
            "device": session.snapshot().number.unwrap_or_default(),
            "name": session.name(),
            "status": status(session),
            "expired": "never",
            "package": "Kurir",
            "quota": "unlimited",
            // Kept as a hash only, so nothing can show it again.
            "token": "",
        }));
    }
    Ok(
        json!({"status": true, "devices": sessions.len(), "connected": connected, "messages": messages, "data": data}),
    )
}

async fn show_qr(api: &Shared, caller: &Caller, params: &Params) -> Result<Value, Failure> {
    let session = session(api, caller, params)?;
    if session.snapshot().status == Status::Connected {
        return Ok(json!({"status": false, "reason": "device already connect"}));
    }
    match params.text("type")?.as_deref().map(str::trim).unwrap_or("qr") {
        "qr" => {}
        "code" => {
            let number = params.required("whatsapp")?;
            let number = phone::number(&number, &api.country_code)
                .map_err(|e| ParamError::Value { field: "whatsapp", reason: e.to_string() })?;
            let code = session.pair_code(&number).await.map_err(|e| {
                let status = match e {
                    PairCodeError::AlreadyPaired => StatusCode::BAD_REQUEST,
                    PairCodeError::Refused(_) => StatusCode::BAD_GATEWAY,
                    PairCodeError::Timeout => StatusCode::GATEWAY_TIMEOUT,
                };
                Failure::new(status, e.to_string())
            })?;
            return Ok(json!({"status": true, "code": code}));
        }
        _ => return Err(ParamError::Value { field: "type", reason: "must be qr or code".into() }.into()),
    }
    if session.snapshot().status == Status::Disconnected {
        // Fresh codes come only when somebody wants them.
        session.reconnect().await;
    }
    let mut changes = session.watch();
    let settled = changes.wait_for(|s| s.qr.is_some() || s.status == Status::Connected);
    let snapshot = match tokio::time::timeout(QR_WAIT, settled).await {
        Ok(Ok(snapshot)) => snapshot.clone(),
        _ => session.snapshot(),
    };
    let Some(code) = snapshot.qr else {
        let reason = "there is no QR code yet: WhatsApp has not answered; ask again";
        return Err(Failure {
            retry_after: Some(5),
            ..Failure::new(StatusCode::SERVICE_UNAVAILABLE, reason)
        });
    };
    let png = picture::png(&code.text)
        .map_err(|e| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()))?;
    Ok(json!({"status": true, "url": STANDARD.encode(png)}))
}

async fn check(api: &Shared, caller: &Caller, params: &Params) -> Result<Value, Failure> {
    let session = session(api, caller, params)?;
    let target = params.required("target")?;
    let given: Vec<&str> = target.split(',').map(str::trim).filter(|t| !t.is_empty()).collect();
    if given.is_empty() || given.len() > MAX_NUMBERS {
        let reason = format!("lists {} numbers; 1 to {MAX_NUMBERS} are allowed", given.len());
        return Err(ParamError::Value { field: "target", reason }.into());
    }
    let code = params.text("countryCode")?.unwrap_or_else(|| api.country_code.clone());
    let code = if code.trim() == "0" { "" } else { code.trim() };
    let numbers: Vec<Result<String, &str>> =
        given.iter().map(|text| phone::number(text, code).map_err(|_| *text)).collect();
    let asked: Vec<String> = numbers.iter().flatten().cloned().collect();
    let mut answers = checks::check(api, caller, &session, &asked).await?.into_iter();
    let (mut registered, mut missing) = (Vec::new(), Vec::new());
    for number in numbers {
        match number {
            Ok(number) if matches!(answers.next(), Some(Lookup::Registered(_))) => registered.push(number),
            Ok(number) => missing.push(number),
            Err(text) => missing.push(text.to_owned()),
        }
    }
    Ok(json!({"status": true, "registered": registered, "not_registered": missing}))
}

async fn log_out(api: &Shared, caller: &Caller, params: &Params) -> Result<Value, Failure> {
    let session = session(api, caller, params)?;
    if !session.snapshot().paired {
        return Ok(json!({"status": false, "detail": "device already disconnected"}));
    }
    session.pair_again().await;
    Ok(json!({"status": true, "detail": "device disconnected"}))
}

async fn update_groups(api: &Shared, caller: &Caller, params: &Params) -> Result<Value, Failure> {
    let session = session(api, caller, params)?;
    session.groups().await.map_err(no_groups)?;
    Ok(json!({"status": true, "detail": "update whatsapp group list finished"}))
}

async fn list_groups(api: &Shared, caller: &Caller, params: &Params) -> Result<Value, Failure> {
    let session = session(api, caller, params)?;
    // Asked for anew each time, so that it needs no update before it.
    let groups = session.groups().await.map_err(no_groups)?;
    let data: Vec<Value> =
        groups.into_iter().map(|group| json!({"id": group.id, "name": group.name})).collect();
    Ok(json!({"status": true, "data": data}))
}

fn no_groups(error: GroupsError) -> Failure {
    match error {
        GroupsError::NotConnected => disconnected(),
        e => Failure::new(StatusCode::BAD_GATEWAY, e.to_string()),
    }
}
