//! `GET /api/v1/requests`: reading the log.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::record::{self, Row};
use crate::api::keys::Caller;
use crate::api::openapi::requests::{LoggedRequestShown, LoggedRequests, RequestId, RequestsQuery};
use crate::api::openapi::v1::DIALECT;
use crate::api::openapi::{Purpose, Routes, routes};
use crate::api::params::{ParamError, Params};
use crate::api::v1::{Failure, caller};
use crate::api::{Api, Shared};
use crate::clock::now_ms;

/// Requests in one answer, where the question does not say, and at most.
const PAGE: i64 = 50;
const MOST: i64 = 200;

pub(in crate::api) fn routes<P: Purpose>() -> Routes<P> {
    Routes::of(&[&DIALECT]).with(routes!(list)).with(routes!(show))
}

/// Whether a request is this caller's to read: a device token sees what it did itself, a key what its account did, an
/// administrator everything, also what came without a right key.
fn may_read(caller: &Caller, row: &Row) -> bool {
    match (&caller.rules.session, caller.admin) {
        (Some(_), _) => row.key.as_ref() == Some(&caller.key_id),
        (None, true) => true,
        (None, false) => row.account.as_ref() == Some(&caller.account),
    }
}

/// What somebody wants to see of the log.
#[derive(Debug, Default)]
struct Filter {
    method: Option<String>,
    /// A status, or with `xx` the hundred that it is in.
    status: Option<(u16, u16)>,
    url: Option<String>,
    since_ms: Option<i64>,
    until_ms: Option<i64>,
}

impl Filter {
    fn read(params: &Params) -> Result<Filter, ParamError> {
        let status = params.text("status")?.map(|text| {
            let wrong = || ParamError::Value {
                field: "status",
                reason: "must be a status such as 404, or 4xx".into(),
            };
            let text = text.trim().to_ascii_lowercase();
            let range = match text.strip_suffix("xx") {
                Some(hundred) => hundred.parse::<u16>().ok().map(|n| (n.saturating_mul(100), 100)),
                None => text.parse().ok().map(|status| (status, 1)),
            };
            let (first, count) = range.filter(|(first, _)| (100..600).contains(first)).ok_or_else(wrong)?;
            Ok((first, first + count))
        });
        Ok(Filter {
            method: params.text("method")?.map(|method| method.trim().to_ascii_uppercase()),
            status: status.transpose()?,
            url: params.text("url")?,
            since_ms: params.integer("since")?,
            until_ms: params.integer("until")?,
        })
    }

    fn takes(&self, row: &Row) -> bool {
        self.method.as_ref().is_none_or(|method| row.method == *method)
            && self.status.is_none_or(|(from, to)| (from..to).contains(&row.status))
            && self.url.as_ref().is_none_or(|part| row.url.contains(part.as_str()))
            && self.since_ms.is_none_or(|since| row.at_ms >= since)
            && self.until_ms.is_none_or(|until| row.at_ms < until)
    }
}

/// With the names that dialect 3's own page has for them.
fn describe(number: u64, row: &Row) -> Value {
    json!({
        "id": number,
        "method": row.method,
        "url": row.url,
        "statusCode": row.status,
        "duration": row.took_ms,
        "ip": row.ip,
        "createdAt": row.at_ms,
        "account": row.account,
        "key": row.key,
    })
}

fn is_off(api: &Shared) -> Result<(), Failure> {
    if api.request_log.shared.settings.rows > 0 {
        return Ok(());
    }
    let message = "The request log is off; the setting request_log_rows turns it on";
    Err(Failure::new(StatusCode::NOT_FOUND, message))
}

/// List requests
///
/// What applications asked, newest first, without keys and files: a key sees its account's, a device token its own, an
/// administrator's key all.
#[utoipa::path(get, path = "/api/v1/requests", params(RequestsQuery), responses(
    (status = 200, description = "A page of requests", body = LoggedRequests),
    (status = 404, description = "The log is switched off"),
))]
async fn list(State(api): State<Api>, request: Request) -> Result<Response, Failure> {
    let caller = caller(&api, &request)?;
    is_off(&api)?;
    let params = Params::read(request).await?;
    let limit = params.integer("limit")?.unwrap_or(PAGE);
    if !(1..=MOST).contains(&limit) {
        return Err(ParamError::Value { field: "limit", reason: format!("must be from 1 to {MOST}") }.into());
    }
    let limit = usize::try_from(limit).unwrap_or(1);
    let before = params.integer("before")?.map_or(Ok(u64::MAX), u64::try_from);
    let before = before
        .map_err(|_| ParamError::Value { field: "before", reason: "must be a request's id".to_owned() })?;
    let filter = Filter::read(&params)?;
    api.request_log.settle().await?;
    let oldest = api.request_log.shared.settings.oldest_ms(now_ms());
    let (store, kept) = (api.store.clone(), api.request_log.shared.settings.rows);
    // All of a large log may have to be looked through for a rare one.
    let found = tokio::task::spawn_blocking(move || {
        record::page(&store, kept, before, limit, |row| {
            row.at_ms >= oldest && may_read(&caller, row) && filter.takes(row)
        })
    });
    let found = found.await.map_err(|e| {
        log::error!("request log: {e}");
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "The log could not be read")
    })??;
    let next = if found.len() == limit { found.last().map(|(number, _)| *number) } else { None };
    let requests: Vec<Value> = found.iter().map(|(number, row)| describe(*number, row)).collect();
    Ok(Json(json!({"success": true, "requests": requests, "next": next})).into_response())
}

/// Show a request
///
/// With its parameters and its answer.
#[utoipa::path(get, path = "/api/v1/requests/{id}", params(RequestId), responses(
    (status = 200, description = "The request", body = LoggedRequestShown),
    (status = 404, description = "There is no such request, or the log is switched off"),
))]
async fn show(
    State(api): State<Api>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Failure> {
    let caller = caller(&api, &request)?;
    is_off(&api)?;
    let unknown = || Failure::new(StatusCode::NOT_FOUND, "Request not found; it may be older than the log");
    let number = id.ok().and_then(|Path(id)| id.parse::<u64>().ok()).ok_or_else(unknown)?;
    api.request_log.settle().await?;
    // Another account's is answered like one that is not there: numbers count up over the whole box.
    let oldest = api.request_log.shared.settings.oldest_ms(now_ms());
    let kept = api.request_log.shared.settings.rows;
    let row =
        record::get(&api.store, kept, number)?.filter(|row| row.at_ms >= oldest && may_read(&caller, row));
    let row = row.ok_or_else(unknown)?;
    let mut shown = describe(number, &row);
    shown["reqHeaders"] = row.headers;
    shown["reqBody"] = row.body;
    shown["resBody"] = row.answer;
    Ok(Json(json!({"success": true, "request": shown})).into_response())
}
