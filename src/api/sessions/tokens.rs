//! Device tokens: keys for one session.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::{Failure, Id, caller, not_a_token, own_session};
use crate::api::Api;
use crate::api::keys::{KeyError, KeyRules};
use crate::api::openapi::sessions::{SessionsId, SessionsNewToken, SessionsToken};
use crate::api::params::Params;
use crate::api::send::{store_message, store_status};

/// Make a device token
///
/// A key for this session alone, for every dialect. The answer is the only place where it is ever shown.
#[utoipa::path(post, path = "/api/sessions/{id}/tokens", params(SessionsId), request_body = SessionsNewToken, responses(
    (status = 200, description = "The token", body = SessionsToken),
    (status = 403, description = "The session belongs to another account, or the key is a device token"),
    (status = 404, description = "There is no such session"),
    (status = 409, description = "The box has as many keys as it takes"),
))]
pub(super) async fn create(State(api): State<Api>, id: Id, request: Request) -> Result<Response, Failure> {
    let caller = caller(&api, &request)?;
    let session = own_session(&api, &caller, &id)?;
    not_a_token(&caller)?;
    let params = Params::read(request).await?;
    let name = params.text("name")?.unwrap_or_else(|| session.name().chars().take(60).collect());
    let rules = KeyRules {
        session: Some(session.id().to_owned()),
        fonnte_always_200: params.flag("fonnte_always_200")?,
        ..KeyRules::default()
    };
    let token = api.keys.create_with(&name, session.owner(), false, rules).await.map_err(|e| match e {
        KeyError::TooMany => Failure::new(StatusCode::CONFLICT, e.to_string()),
        KeyError::Store(e) => {
            log::error!("a token could not be stored: {e}");
            Failure::new(store_status(&e), store_message(&e))
        }
        e => Failure::bad_request(e.to_string()),
    })?;
    Ok(Json(json!({"success": true, "token": token})).into_response())
}
