//! Whether numbers are on WhatsApp.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, json};

use super::{Failure, caller, own_session};
use crate::api::Api;
use crate::api::checks::{self, CheckError};
use crate::api::openapi::Numbers;
use crate::api::openapi::sessions::{SessionsChecked, SessionsNumbers};
use crate::api::params::Params;
use crate::api::phone;
use crate::api::send::{store_message, store_status};
use crate::session::{Lookup, LookupError};

/// Numbers in one request.
const MAX_NUMBERS: usize = 100;

/// Which numbers are on WhatsApp?
///
/// Each number counts against the key's checks of the month.
#[utoipa::path(post, path = "/api/number-checker", request_body = SessionsNumbers, responses(
    (status = 200, description = "WhatsApp's answer", body = SessionsChecked),
    (status = 403, description = "The session belongs to another account"), Numbers,
))]
pub(super) async fn check(State(api): State<Api>, request: Request) -> Result<Response, Failure> {
    let caller = caller(&api, &request)?;
    let params = Params::read(request).await?;
    let id = params.required("sessionId")?;
    let session = own_session(&api, &caller, &Ok(Path(id)))?;
    let given = params.list("phoneNumbers")?;
    if given.is_empty() {
        return Err(Failure::bad_request("phoneNumbers is required"));
    }
    if given.len() > MAX_NUMBERS {
        return Err(Failure::bad_request(format!(
            "phoneNumbers has {} numbers; at most {MAX_NUMBERS} are allowed",
            given.len()
        )));
    }
    // What cannot be a number is not worth a question.
    let numbers: Vec<Option<String>> =
        given.iter().map(|text| phone::number(text, &api.country_code).ok()).collect();
    let asked: Vec<String> = numbers.iter().flatten().cloned().collect();
    let mut answers = checks::check(&api, &caller, &session, &asked).await.map_err(failed)?.into_iter();
    let mut valid = 0;
    let mut results = Vec::with_capacity(given.len());
    for (text, number) in given.iter().zip(&numbers) {
        let found = number.as_ref().and_then(|_| answers.next());
        let is_valid = matches!(found, Some(Lookup::Registered(_)));
        valid += usize::from(is_valid);
        let status = if is_valid { "valid" } else { "invalid" };
        results.push(json!({"phoneNumber": text, "isValid": is_valid, "status": status}));
    }
    let total = results.len();
    let body = json!({
        "success": true,
        "message": "Number check completed",
        "summary": {"total": total, "valid": valid, "invalid": total - valid},
        "results": results,
    });
    Ok(Json(body).into_response())
}

fn failed(error: CheckError) -> Failure {
    match error {
        CheckError::Limit(allowance) => {
            let extra = Map::from_iter([
                ("limit".to_owned(), json!(allowance.limit)),
                ("used".to_owned(), json!(allowance.used)),
                ("remaining".to_owned(), json!(allowance.remaining())),
            ]);
            Failure {
                error: "Number check limit reached",
                extra,
                retry_after: Some(checks::retry_after()),
                ..Failure::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "You have reached your number check limit. It is whole again next month; \
                     the setting number_checks_per_month raises it.",
                )
            }
        }
        CheckError::Lookup(LookupError::NotConnected) => Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "The session is not connected, so WhatsApp cannot be asked; connect it and try again",
        ),
        CheckError::Lookup(e) => Failure::new(StatusCode::BAD_GATEWAY, e.to_string()),
        CheckError::Store(e) => {
            log::error!("number checks could not be counted: {e}");
            Failure::new(store_status(&e), store_message(&e))
        }
    }
}
