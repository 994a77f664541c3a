//! The claim and the log-in over HTTP, and the gate before everything else.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::{ClaimError, page};
use crate::api::keys::KeyError;
use crate::api::openapi::chats::Done;
use crate::api::openapi::machines::{self, DocsText};
use crate::api::openapi::owner::{OwnerClaim, OwnerKey, OwnerPassword};
use crate::api::openapi::v1::DIALECT;
use crate::api::openapi::{Purpose, Routes, routes};
use crate::api::page::{html, instead, private};
use crate::api::params::{self, ParamError};
use crate::api::v1::{Failure, caller, text};
use crate::api::{Api, error, peer};

/// A code and a password fit many times over.
const MAX_BODY: usize = 16 * 1024;

pub(in crate::api) fn routes<P: Purpose>() -> Routes<P> {
    Routes::of(&[&DIALECT])
        .with(routes!(claim))
        .with(routes!(log_in))
        .with(routes!(set_password))
        .merge(Routes::of(&[&machines::DIALECT]).with(routes!(front)))
}

/// While the box has no owner and others can reach it, lets nothing through but the claim.
pub(in crate::api) async fn gate(State(api): State<Api>, request: Request, next: Next) -> Response {
    if !api.claim.is_closed() {
        return next.run(request).await;
    }
    let looks = matches!(*request.method(), Method::GET | Method::HEAD);
    match request.uri().path() {
        "/" | "/healthz" if looks => next.run(request).await,
        "/api/v1/claim" if *request.method() == Method::POST => next.run(request).await,
        _ => error(
            StatusCode::FORBIDDEN,
            "This box has no owner yet. Open its address in a browser and enter the code on its screen, or POST \
             {\"code\",\"password\"} to /api/v1/claim.",
        ),
    }
}

impl From<ClaimError> for Failure {
    fn from(e: ClaimError) -> Failure {
        let message = e.to_string();
        match e {
            ClaimError::Claimed | ClaimError::Local | ClaimError::NoPassword => {
                Failure::new(StatusCode::CONFLICT, message)
            }
            ClaimError::WrongCode => Failure::new(StatusCode::FORBIDDEN, message),
            ClaimError::WrongPassword => Failure::new(StatusCode::UNAUTHORIZED, message),
            ClaimError::TooMany(wait) => {
                Failure::later(StatusCode::TOO_MANY_REQUESTS, message, wait.as_secs() + 1)
            }
            ClaimError::Busy => Failure::later(StatusCode::SERVICE_UNAVAILABLE, message, 1),
            ClaimError::Unfit(_) => Failure::bad(message),
            ClaimError::Key(KeyError::Store(e)) => e.into(),
            ClaimError::Key(_) => Failure::new(StatusCode::CONFLICT, message),
        }
    }
}

/// The fields of a body: JSON, or what a browser's form sends. Never the query string, which ends up in histories.
async fn fields(request: Request) -> Result<Map<String, Value>, Failure> {
    read(request).await.1
}

/// Whether the body is a browser's form, and its fields.
async fn read(request: Request) -> (bool, Result<Map<String, Value>, Failure>) {
    let named_form = is_form(&request);
    match params::read_body(request, MAX_BODY).await {
        Ok(body) => {
            // `curl -d` calls whatever it sends a form.
            let json = body.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{');
            (named_form && !json, parse(&body, named_form && !json))
        }
        Err(e) => (named_form, Err(e.into())),
    }
}

fn parse(body: &[u8], is_form: bool) -> Result<Map<String, Value>, Failure> {
    if is_form {
        let pairs: Vec<(String, String)> = serde_urlencoded::from_bytes(body)
            .map_err(|_| Failure::bad("The form is not valid percent-encoded text"))?;
        return Ok(pairs.into_iter().map(|(key, value)| (key, value.into())).collect());
    }
    match params::parse_json(body)? {
        Value::Object(object) => Ok(object),
        _ => Err(Failure::bad("The request body must be a JSON object")),
    }
}

fn is_form(request: &Request) -> bool {
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
    content_type.is_some_and(|t| t.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded"))
}

fn required<'a>(fields: &'a Map<String, Value>, field: &'static str) -> Result<&'a str, Failure> {
    text(fields, field)?.filter(|value| !value.is_empty()).ok_or_else(|| ParamError::Missing(field).into())
}

/// Claim the box
///
/// For a new box, which answers nothing else: whoever reads the code off its screen sets the password and gets the first
/// administrator's key. A browser's form gets a page instead of JSON.
#[utoipa::path(post, path = "/api/v1/claim", security(()), request_body(content(
    (OwnerClaim = "application/json"), (OwnerClaim = "application/x-www-form-urlencoded"),
)), responses(
    (status = 200, description = "The box is yours; a page to a browser's form", content(
        (OwnerKey = "application/json"), (DocsText = "text/html"),
    )),
    (status = 403, description = "The code is not the one on the screen"),
    (status = 409, description = "The box has an owner already, or listens on itself only"),
    (status = 429, description = "Too many wrong attempts; see `Retry-After`"),
    (status = 503, description = "Too many people log in at this moment"),
))]
async fn claim(State(api): State<Api>, request: Request) -> Response {
    let from = peer(&request);
    let (browser, fields) = read(request).await;
    let claimed = async {
        let fields = fields?;
        let key = api.claim.claim(required(&fields, "code")?, required(&fields, "password")?, from);
        Ok::<String, Failure>(key.await?)
    };
    private(match (claimed.await, browser) {
        (Ok(key), false) => Json(json!({"success": true, "key": key})).into_response(),
        (Ok(key), true) => html(StatusCode::OK, &page::claimed(&key)),
        (Err(failure), false) => failure.into_response(),
        (Err(failure), true) => {
            let message = failure.message().to_owned();
            let answer = failure.into_response();
            let page = html(answer.status(), &page::form(Some(&message)));
            instead(answer, page)
        }
    })
}

/// Get a key by the password
///
/// An administrator's key. The box keeps eight of these; the oldest goes for a new one.
#[utoipa::path(post, path = "/api/v1/login", security(()), request_body(content(
    (OwnerPassword = "application/json"), (OwnerPassword = "application/x-www-form-urlencoded"),
)), responses(
    (status = 200, description = "The key", body = OwnerKey),
    (status = 401, description = "The password is wrong"),
    (status = 409, description = "The box has no password"),
    (status = 429, description = "Too many wrong attempts; see `Retry-After`"),
    (status = 503, description = "Too many people log in at this moment"),
))]
async fn log_in(State(api): State<Api>, request: Request) -> Result<Response, Failure> {
    let from = peer(&request);
    let fields = fields(request).await?;
    let key = api.claim.log_in(required(&fields, "password")?, from).await?;
    Ok(private(Json(json!({"success": true, "key": key})).into_response()))
}

/// Set the password
#[utoipa::path(put, path = "/api/v1/password", request_body = OwnerPassword, responses(
    (status = 200, description = "It is set", body = Done),
    (status = 403, description = "The key is no administrator's"),
    (status = 503, description = "Too many people log in at this moment"),
))]
async fn set_password(State(api): State<Api>, request: Request) -> Result<Response, Failure> {
    let caller = caller(&api, &request)?;
    if !caller.admin {
        return Err(Failure::new(
            StatusCode::FORBIDDEN,
            "Only an administrator's key may set the password: `kurir key new --admin` makes one",
        ));
    }
    let fields = fields(request).await?;
    api.claim.set_password(required(&fields, "password")?).await?;
    Ok(Json(json!({"success": true})).into_response())
}

/// The box's page
///
/// What a person sees who opens the box's address: the claim, while it has no owner.
#[utoipa::path(get, path = "/", security(()), responses(
    (status = 200, description = "A page", body = DocsText, content_type = "text/html"),
))]
async fn front(State(api): State<Api>) -> Response {
    let page = if api.claim.is_closed() {
        page::form(None)
    } else if api.claim.is_claimed() {
        page::running()
    } else {
        page::LOCAL.to_owned()
    };
    private(html(StatusCode::OK, &page))
}
