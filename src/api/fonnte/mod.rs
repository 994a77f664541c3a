//! Dialect 2, `fonnte`: a token per device in `Authorization`, answers that real Fonnte clients read.
//!
//! `{"status":true,"reason":"Message sent successfully",…}`, and `{"status":false,"reason":"…"}` where something is wrong.

mod device;
mod messages;
mod request;
mod send;

use std::net::IpAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::Json;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::access::{NoSession, authorization};
use super::checks::CheckError;
use super::keys::{Caller, Denied};
use super::openapi::fonnte::DIALECT;
use super::openapi::{Purpose, Routes, routes};
use super::params::{ParamError, Params};
use super::send::{SendError, store_message, store_status};
use super::{Shared, peer};
use crate::clock::now_ms;
use crate::media::MAX_MEDIA;
use crate::session::{LookupError, Session};
use crate::store::StoreError;

/// What a multipart request may have besides its file.
const MULTIPART_SLACK: usize = 2 * 1024 * 1024;

pub(super) fn routes<P: Purpose>() -> Routes<P> {
    let upload = DefaultBodyLimit::max(MAX_MEDIA as usize + MULTIPART_SLACK);
    Routes::of(&[&DIALECT])
        .with(routes!(send::send).map(|send| send.head(super::no_head)).layer(upload))
        .with(routes!(device::device))
        .with(routes!(device::list))
        .with(routes!(device::qr))
        .with(routes!(device::validate))
        .with(routes!(device::disconnect))
        .with(routes!(device::fetch_groups))
        .with(routes!(device::groups))
        .with(routes!(messages::delete))
        .with(routes!(messages::status))
        .with(routes!(messages::typing))
}

/// What this dialect answers when something is wrong.
struct Failure {
    status: StatusCode,
    reason: String,
    retry_after: Option<u64>,
}

impl Failure {
    fn new(status: StatusCode, reason: impl Into<String>) -> Failure {
        Failure { status, reason: reason.into(), retry_after: None }
    }

    fn later(wait: Duration, reason: &str) -> Failure {
        Failure {
            retry_after: Some(wait.as_secs() + 1),
            ..Failure::new(StatusCode::TOO_MANY_REQUESTS, reason)
        }
    }
}

impl From<ParamError> for Failure {
    fn from(error: ParamError) -> Failure {
        Failure::new(error.status(), error.to_string())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        log::error!("dialect fonnte: {error}");
        Failure::new(store_status(&error), store_message(&error))
    }
}

impl From<NoSession> for Failure {
    fn from(error: NoSession) -> Failure {
        Failure::new(error.status(), error.to_string())
    }
}

impl From<CheckError> for Failure {
    fn from(error: CheckError) -> Failure {
        match error {
            CheckError::Limit(_) => Failure {
                retry_after: Some(super::checks::retry_after()),
                ..Failure::new(StatusCode::TOO_MANY_REQUESTS, error.to_string())
            },
            CheckError::Lookup(LookupError::NotConnected) => disconnected(),
            CheckError::Lookup(e) => Failure::new(StatusCode::BAD_GATEWAY, e.to_string()),
            CheckError::Store(e) => e.into(),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        // `Status` and `detail` are what different clients of Fonnte look for.
        let body = json!({
            "status": false,
            "Status": false,
            "reason": self.reason,
            "detail": self.reason,
            "requestid": request_id(),
        });
        super::answer(self.status, body, self.retry_after)
    }
}

/// A number for this request: the time in Unix milliseconds, or the next number that no request of this process had.
fn request_id() -> i64 {
    static LAST: AtomicI64 = AtomicI64::new(0);
    let now = now_ms();
    let last = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(now.max(last + 1)));
    // It always succeeds, and tells the number before.
    now.max(last.unwrap_or(0) + 1)
}

fn disconnected() -> Failure {
    Failure::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "device disconnected; connect it by its QR code and try again",
    )
}

fn failed(session: &Session, error: SendError) -> Failure {
    error.log(session);
    match error {
        SendError::NotPaired => disconnected(),
        error => Failure { retry_after: error.retry_after(), ..Failure::new(error.status(), error.told()) },
    }
}

/// Who is asking. `wrong`: what a bad token is told.
fn caller(api: &Shared, key: Option<&str>, from: IpAddr, wrong: &str) -> Result<Caller, Failure> {
    api.authenticate(key, from).map_err(|denied| match denied {
        Denied::Missing | Denied::Wrong => Failure::new(StatusCode::UNAUTHORIZED, wrong),
        Denied::TooMany(wait) => {
            Failure::later(wait, "too many wrong tokens from this address; wait and try again")
        }
        Denied::Limited(wait) => {
            Failure::later(wait, "this token made too many requests; wait and try again")
        }
    })
}

/// The token: in the header, or where a client cannot set one, in the parameters.
fn token(headers: &HeaderMap, params: &Params) -> Result<Option<String>, ParamError> {
    match authorization(headers) {
        Some(key) if !key.is_empty() => Ok(Some(key.to_owned())),
        _ => params.text("token"),
    }
}

/// The parameters and who sent them, for everything but `/send`.
async fn enter(api: &Shared, request: Request) -> Result<(Caller, Params), Failure> {
    let (from, headers) = (peer(&request), request.headers().clone());
    let params = Params::read(request).await?;
    let caller = caller(api, token(&headers, &params)?.as_deref(), from, "token invalid")?;
    Ok((caller, params))
}

/// The answer to this caller, with 200 whatever it says if its key asks for that.
fn answer(caller: &Caller, result: Result<Value, Failure>) -> Response {
    let mut response = match result {
        Ok(body) => Json(body).into_response(),
        Err(failure) => failure.into_response(),
    };
    if caller.rules.fonnte_always_200 {
        *response.status_mut() = StatusCode::OK;
    }
    response
}

/// The device that the caller means: its token's, or its account's only one.
fn session(api: &Shared, caller: &Caller, params: &Params) -> Result<Session, Failure> {
    Ok(api.session_for(caller, params.text("device")?.as_deref())?)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_requests_have_the_same_number() {
        let many = || (0..1_000).map(|_| request_id()).collect::<Vec<_>>();
        let others: Vec<_> = (0..4).map(|_| std::thread::spawn(many)).collect();
        let mut numbers = many();
        numbers.extend(others.into_iter().flat_map(|thread| thread.join().unwrap()));
        assert_eq!(numbers.iter().collect::<HashSet<_>>().len(), 5_000);
        assert!(numbers[0] > 1_600_000_000_000);
    }
}
