//! Dialect 3, `waya`: one paced queue per session, `X-API-Key`.
//!
//! `{"success":true,…}`, and `{"success":false,"error":"…"}` where something is wrong.

mod body;
mod queue;
mod send;

use std::net::IpAddr;
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::Shared;
use super::access::{NoSession, header_key};
use super::keys::{Caller, Denied};
use super::openapi::waya::DIALECT;
use super::openapi::{Purpose, Routes, routes};
use super::params::ParamError;
use super::send::{SendError, store_message, store_status};
use crate::session::Session;
use crate::store::StoreError;

pub(super) use send::send_message;

pub(super) fn routes<P: Purpose>() -> Routes<P> {
    Routes::of(&[&DIALECT])
        .with(routes!(queue::status))
        .with(routes!(queue::cancel))
        .with(routes!(queue::retry))
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

    fn bad_request(error: impl Into<String>) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = json!({"success": false, "error": self.error});
        super::answer(self.status, body, self.retry_after)
    }
}

impl From<ParamError> for Failure {
    fn from(error: ParamError) -> Failure {
        Failure::new(error.status(), error.to_string())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        log::error!("dialect waya: {error}");
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
    api.authenticate(header_key(headers), from).map_err(|denied| match denied {
        Denied::Missing => {
            Failure::new(StatusCode::UNAUTHORIZED, "API key is missing; send it in the X-API-Key header")
        }
        Denied::Wrong => Failure::new(StatusCode::UNAUTHORIZED, "Invalid API key"),
        Denied::TooMany(wait) => later(wait, "Too many wrong keys from this address; wait and try again"),
        Denied::Limited(wait) => later(wait, "This key made too many requests; wait and try again"),
    })
}

fn failed(session: &Session, error: SendError) -> Failure {
    error.log(session);
    Failure { retry_after: error.retry_after(), ..Failure::new(error.status(), error.told()) }
}
