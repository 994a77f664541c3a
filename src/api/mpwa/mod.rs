//! Dialect 1, `mpwa`: the key is a parameter, everything is GET or POST in any form.
//!
//! `{"status":true,"msg":"Message sent successfully!"}`, and `{"status":false,"msg":"…"}` where something is wrong.

mod devices;
mod macros;
mod send;

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use serde_json::json;

use super::keys::{Caller, Denied};
use super::openapi::mpwa::DIALECT;
use super::openapi::{Purpose, Routes, routes};
use super::params::{ParamError, Params};
use super::send::{SendError, store_message, store_status};
use super::{Api, Shared, peer, phone};
use crate::session::Session;
use crate::store::StoreError;

pub(super) fn routes<P: Purpose>() -> Routes<P> {
    let get_sends = |handlers: MethodRouter<Api>| handlers.head(super::no_head);
    Routes::of(&[&DIALECT])
        .with(routes!(send::message).map(get_sends))
        .with(routes!(send::media).map(get_sends))
        .with(routes!(send::poll).map(get_sends))
        .with(routes!(send::location).map(get_sends))
        .with(routes!(send::vcard).map(get_sends))
        .with(routes!(send::sticker).map(get_sends))
        .with(routes!(send::button).map(get_sends))
        .with(routes!(send::list).map(get_sends))
        .with(routes!(devices::check_number).map(get_sends))
        .with(routes!(devices::generate_qr).map(get_sends))
        .with(routes!(devices::info).map(get_sends))
        .with(routes!(devices::log_out).map(get_sends))
        .with(routes!(devices::delete).map(get_sends))
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

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        log::error!("dialect mpwa: {error}");
        Failure::new(store_status(&error), store_message(&error))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        super::answer(self.status, json!({"status": false, "msg": self.msg}), self.retry_after)
    }
}

/// A bad key and a device that it does not own: the format has one answer for both, and 400 is its status.
fn wrong_key() -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, "Invalid api_key or sender,please check again")
}

fn caller(api: &Shared, params: &Params, from: IpAddr) -> Result<Caller, Failure> {
    let key = params.text("api_key")?;
    let later = |wait: std::time::Duration, msg: &str| Failure {
        retry_after: Some(wait.as_secs() + 1),
        ..Failure::new(StatusCode::TOO_MANY_REQUESTS, msg)
    };
    api.authenticate(key.as_deref(), from).map_err(|denied| match denied {
        Denied::Missing | Denied::Wrong => wrong_key(),
        Denied::TooMany(wait) => later(wait, "Too many wrong keys from this address; wait and try again"),
        Denied::Limited(wait) => later(wait, "This api_key made too many requests; wait and try again"),
    })
}

/// The session that `sender` names, if the key may use it.
fn sender(api: &Shared, params: &Params, from: IpAddr) -> Result<(Caller, Session), Failure> {
    let caller = caller(api, params, from)?;
    let sender = params.required("sender")?;
    let number = phone::number(&sender, &api.country_code)
        .map_err(|e| ParamError::Value { field: "sender", reason: e.to_string() })?;
    // Another account's device is answered like one that does not exist: the dialect has one message for both.
    let session =
        api.registry.by_number(&number, |session| caller.may_use_session(session)).ok_or_else(wrong_key)?;
    Ok((caller, session))
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
        _ => format!("Failed to send message! {}", error.told()),
    };
    Failure { retry_after: error.retry_after(), ..Failure::new(error.status(), msg) }
}

/// The parameters, and who sent them.
async fn read(request: Request) -> Result<(Params, IpAddr), Failure> {
    let from = peer(&request);
    Ok((Params::read(request).await?, from))
}
