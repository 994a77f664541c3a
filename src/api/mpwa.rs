//! Dialect 1, `mpwa`: the key is a parameter, everything is GET or POST in any form.
//!
//! `{"status":true,"msg":"Message sent successfully!"}`, and `{"status":false,"msg":"…"}` where something is wrong.

use axum::Json;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{ALLOW, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;

use super::keys::Denied;
use super::params::{ParamError, Params};
use super::send::{MAX_CAPTION, MAX_TEXT, SendError, check_text};
use super::{Api, Shared, peer, phone};
use crate::media::{self, MediaType};
use crate::outbox::Body;
use crate::session::Session;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/send-message", get(send_message).post(send_message).head(no_head))
        .route("/send-media", get(send_media).post(send_media).head(no_head))
}

/// A GET of this dialect sends. What only looks whether a link is there must not.
async fn no_head() -> Response {
    let mut response = super::method_not_allowed().await;
    response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET,POST"));
    response
}

/// What this dialect answers when something is wrong.
struct Failure {
    status: StatusCode,
    msg: String,
    retry_after: Option<u64>,
}

impl Failure {
    fn new(status: StatusCode, msg: impl Into<String>) -> Failure {
        Failure { status, msg: msg.into(), retry_after: None }
    }
}

impl From<ParamError> for Failure {
    fn from(error: ParamError) -> Failure {
        Failure::new(error.status(), format!("Invalid parameters! {error}"))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(json!({"status": false, "msg": self.msg}))).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

const WRONG_KEY: &str = "Invalid api_key or sender,please check again";

/// The session that `sender` names, if the key may use it.
fn session(api: &Shared, params: &Params, from: std::net::IpAddr) -> Result<Session, Failure> {
    let key = params.text("api_key")?;
    let caller = api.authenticate(key.as_deref(), from).map_err(|denied| match denied {
        Denied::Missing | Denied::Wrong => Failure::new(StatusCode::UNAUTHORIZED, WRONG_KEY),
        Denied::TooMany(wait) => Failure {
            retry_after: Some(wait.as_secs() + 1),
            ..Failure::new(
                StatusCode::TOO_MANY_REQUESTS,
                "Too many wrong keys from this address; wait and try again",
            )
        },
    })?;
    let sender = params.required("sender")?;
    let number = phone::number(&sender, &api.country_code)
        .map_err(|e| ParamError::Value { field: "sender", reason: e.to_string() })?;
    // Another account's device is answered like one that does not exist: the dialect has one message for both.
    api.registry
        .by_number(&number, |session| caller.may_use(session.owner()))
        .ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, WRONG_KEY))
}

fn failed(session: &Session, error: SendError) -> Failure {
    error.log(session);
    let msg = match &error {
        SendError::NotPaired => {
            "Failed to send message! The device is not connected; scan its QR code first".to_owned()
        }
        SendError::Unregistered { .. } => {
            "Failed to send message! number: the phone number is not registered on WhatsApp".to_owned()
        }
        SendError::Field { .. } | SendError::Kind(_) => format!("Invalid parameters! {error}"),
        _ => format!("Failed to send message! {error}"),
    };
    Failure { retry_after: error.retry_after(), ..Failure::new(error.status(), msg) }
}

fn sent() -> Response {
    Json(json!({"status": true, "msg": "Message sent successfully!"})).into_response()
}

async fn send_message(State(api): State<Api>, request: Request) -> Result<Response, Failure> {
    let from = peer(&request);
    let params = Params::read(request).await?;
    let session = session(&api, &params, from)?;
    let number = params.required("number")?;
    let message = params.required("message")?;
    let result = async {
        check_text("message", &message, MAX_TEXT)?;
        let target = api.target(&session, "number", &number, true).await?;
        api.accept(&session, target, Body::Text(message)).await
    };
    result.await.map_err(|e| failed(&session, e))?;
    Ok(sent())
}

async fn send_media(State(api): State<Api>, request: Request) -> Result<Response, Failure> {
    let from = peer(&request);
    let params = Params::read(request).await?;
    let session = session(&api, &params, from)?;
    let number = params.required("number")?;
    let media_type = params.required("media_type")?;
    let url = params.required("url")?;
    let caption = params.text("caption")?;
    let voice = voice_note(&params)?;
    let result = async {
        if let Some(caption) = &caption {
            check_text("caption", caption, MAX_CAPTION)?;
        }
        let asked: MediaType = media_type.parse()?;
        let target = api.target(&session, "number", &number, true).await?;
        let file = media::fetch(&url, &api.fetch, &api.spool).await?;
        let media = media::kind_of(Some(asked), voice, file.mime)?;
        api.accept(&session, target, Body::Media { file, media, caption }).await
    };
    result.await.map_err(|e| failed(&session, e))?;
    Ok(sent())
}

/// `ppt`, in the spellings that clients of this format use; `ptt=vn` is one of them.
fn voice_note(params: &Params) -> Result<bool, ParamError> {
    if params.text("ptt").ok().flatten().is_some_and(|v| v.eq_ignore_ascii_case("vn")) {
        return Ok(true);
    }
    Ok(params.flag("ppt")? || params.flag("ptt")?)
}
