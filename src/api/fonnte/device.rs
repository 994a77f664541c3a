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

endpoint!(device, show);
endpoint!(list, show_all);
endpoint!(qr, show_qr);
endpoint!(validate, check);
endpoint!(disconnect, log_out);
endpoint!(fetch_groups, update_groups);
endpoint!(groups, list_groups);

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
