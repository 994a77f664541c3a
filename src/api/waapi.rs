//! Dialect 2, `waapi`: JSON with `Authorization: Bearer`, answers with the WhatsApp message id.
//!
//! `{"success":true,…}`, and `{"error":"…"}` where something is wrong.

use std::net::IpAddr;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::access::{NoSession, authorization, header_key};
use super::keys::{Caller, Denied};
use super::openapi::waapi::{DIALECT, WaapiDevice, WaapiGroups, WaapiMedia, WaapiSent, WaapiStatus};
use super::openapi::{Groups, Purpose, Routes, Sending, routes};
use super::params::{ParamError, Params};
use super::send::{MAX_CAPTION, MAX_TEXT, SendError, Target, check_text, store_message, store_status};
use super::{Api, Shared, peer};
use crate::media::{self, MediaType};
use crate::outbox::{Accepted, Body};
use crate::session::groups::GroupsError;
use crate::session::{Session, Status};
use crate::store::StoreError;

pub(super) fn routes<P: Purpose>() -> Routes<P> {
    Routes::of(&[&DIALECT]).with(routes!(send_media)).with(routes!(status)).with(routes!(wa_groups))
}

/// What this dialect answers when something is wrong.
pub(super) struct Failure {
    status: StatusCode,
    error: String,
    retry_after: Option<u64>,
}

impl Failure {
    fn new(status: StatusCode, error: impl Into<String>) -> Failure {
        Failure { status, error: error.into(), retry_after: None }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        super::answer(self.status, json!({"error": self.error}), self.retry_after)
    }
}

impl From<ParamError> for Failure {
    fn from(error: ParamError) -> Failure {
        Failure::new(error.status(), error.to_string())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        log::error!("dialect waapi: {error}");
        Failure::new(store_status(&error), store_message(&error))
    }
}

impl From<NoSession> for Failure {
    fn from(error: NoSession) -> Failure {
        Failure::new(error.status(), error.to_string())
    }
}

fn caller(api: &Shared, headers: &HeaderMap, from: IpAddr) -> Result<Caller, Failure> {
    let later = |wait: Duration, error: &str| Failure {
        retry_after: Some(wait.as_secs() + 1),
        ..Failure::new(StatusCode::TOO_MANY_REQUESTS, error)
    };
    let key = authorization(headers).or_else(|| header_key(headers));
    api.authenticate(key, from).map_err(|denied| match denied {
        Denied::Missing | Denied::Wrong => {
            Failure::new(StatusCode::UNAUTHORIZED, "Unauthorized: Invalid API Key.")
        }
        Denied::TooMany(wait) => later(wait, "Too many wrong keys from this address; wait and try again"),
        Denied::Limited(wait) => later(wait, "This key made too many requests; wait and try again"),
    })
}

fn failed(session: &Session, error: SendError) -> Failure {
    error.log(session);
    match error {
        SendError::NotPaired => not_connected(),
        error if error.status().is_client_error() => {
            Failure { retry_after: error.retry_after(), ..Failure::new(error.status(), error.told()) }
        }
        error => Failure::new(error.status(), format!("Failed to send message: {}", error.told())),
    }
}

fn not_connected() -> Failure {
    Failure::new(StatusCode::SERVICE_UNAVAILABLE, "Failed to send message: Device is not connected")
}

/// The session, the recipient, and the parameters of a request to send.
async fn enter(api: &Shared, request: Request) -> Result<(Session, String, Params), Failure> {
    let caller = caller(api, request.headers(), peer(&request))?;
    let params = Params::read(request).await?;
    let session = api.session_for(&caller, params.text("deviceId")?.as_deref())?;
    let to = params.required("to")?;
    if session.snapshot().status != Status::Connected {
        return Err(not_connected());
    }
    Ok((session, to, params))
}

fn sent(accepted: &Accepted, to: &Target, message: &str) -> Response {
    let body = json!({
        "success": true,
        "message": message,
        "id": accepted.message_id,
        "to": to.plain(),
        "timestamp": accepted.accepted_at_ms / 1000,
    });
    Json(body).into_response()
}

/// `POST /api/send-message` with `Authorization`; with `X-API-Key` it is dialect 3's.
pub(super) async fn send_message(api: &Shared, request: Request) -> Result<Response, Failure> {
    let (session, to, params) = enter(api, request).await?;
    let message = params.required("message")?;
    let result = async {
        check_text("message", &message, MAX_TEXT)?;
        let target = api.target(&session, "to", &to, true).await?;
        Ok((api.accept(&session, target.clone(), Body::Text(message)).await?, target))
    };
    let (accepted, target) = result.await.map_err(|e| failed(&session, e))?;
    Ok(sent(&accepted, &target, "Message dispatched successfully"))
}

/// Send a file by link
///
/// An image, a video or a document. The box fetches the file before it answers.
#[utoipa::path(post, path = "/api/send-media", request_body = WaapiMedia, responses(
    (status = 200, description = "The message is kept and will be sent", body = WaapiSent),
    (status = 403, description = "The device belongs to another account"), Sending,
))]
async fn send_media(State(api): State<Api>, request: Request) -> Result<Response, Failure> {
    let (session, to, params) = enter(&api, request).await?;
    let url = params.required("url")?;
    let caption = params.text("caption")?;
    let kind = params.text("type")?.unwrap_or_else(|| "image".to_owned());
    let (word, asked) = match kind.trim().to_ascii_lowercase().as_str() {
        "image" => ("image", MediaType::Image),
        "video" => ("video", MediaType::Video),
        "document" => ("document", MediaType::Document),
        _ => {
            let error = "Unsupported media type. Use: 'image', 'video', 'document'";
            return Err(Failure::new(StatusCode::BAD_REQUEST, error));
        }
    };
    let result = async {
        if let Some(caption) = &caption {
            check_text("caption", caption, MAX_CAPTION)?;
        }
        let target = api.target(&session, "to", &to, true).await?;
        let file = media::fetch(&url, &api.fetch, &api.spool).await?;
        let media = media::kind_of(Some(asked), false, file.mime)?;
        let body = Body::Media { file, media, caption };
        Ok((api.accept(&session, target.clone(), body).await?, target))
    };
    let (accepted, target) = result.await.map_err(|e| failed(&session, e))?;
    Ok(sent(&accepted, &target, &format!("{word} message dispatched successfully")))
}

/// List a device's groups
#[utoipa::path(get, path = "/api/devices/{id}/wa-groups", params(WaapiDevice), responses(
    (status = 200, description = "The groups, by name", body = WaapiGroups),
    (status = 403, description = "The device belongs to another account"), Groups,
))]
async fn wa_groups(
    State(api): State<Api>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Failure> {
    let caller = caller(&api, request.headers(), peer(&request))?;
    let Ok(Path(id)) = id else { return Err(NoSession::Unknown.into()) };
    let session = api.named_session(&caller, &id)?;
    let groups = session.groups().await.map_err(|e| match e {
        GroupsError::NotConnected => {
            Failure::new(StatusCode::SERVICE_UNAVAILABLE, "Device is not connected or session not active")
        }
        e => Failure::new(StatusCode::BAD_GATEWAY, e.to_string()),
    })?;
    let groups: Vec<Value> =
        groups.into_iter().map(|group| json!({"id": group.id, "name": group.name})).collect();
    Ok(Json(json!({"success": true, "groups": groups})).into_response())
}

/// List the devices
#[utoipa::path(get, path = "/api/status", responses(
    (status = 200, description = "The devices that the key may use", body = WaapiStatus),
))]
async fn status(State(api): State<Api>, request: Request) -> Result<Response, Failure> {
    let caller = caller(&api, request.headers(), peer(&request))?;
    let mut devices = Vec::new();
    for session in api.sessions_of(&caller) {
        let snapshot = session.snapshot();
        devices.push(json!({
            "id": session.id(),
            "name": session.name(),
            // Kept as a hash only, so nothing can show it again.
            "apiKey": "",
            "webhookUrl": api.webhook_url(&session, None).unwrap_or_default(),
            "status": snapshot.status.as_str().to_uppercase(),
            "authenticated": snapshot.paired,
            "hasQr": snapshot.qr.is_some(),
            "qr": snapshot.qr.map(|code| code.text),
            "phoneNumber": snapshot.number,
            "pushName": snapshot.push_name,
            "totalMessagesSent": api.outbox.sent_count(session.no())?,
        }));
    }
    Ok(Json(json!({"devices": devices, "publicUrl": api.settings.public_url})).into_response())
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;

    use super::*;

    #[tokio::test]
    async fn what_fails_inside_is_told_in_the_documents_words() {
        let full = StoreError::Full { path: "/data/kurir.redb".into() };
        let disk = "The gateway's disk is full; free some space on it and try again";
        // As `GET /api/status` answers when the store fails.
        for (error, status, told) in [(StoreError::Closed, 500, "Internal Server Error"), (full, 507, disk)] {
            let response = Failure::from(error).into_response();
            assert_eq!(response.status().as_u16(), status);
            let body = to_bytes(response.into_body(), 1_000).await.unwrap();
            assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), json!({"error": told}));
        }
    }
}
