//! Updates that come over the network: by an administrator's key, or by the owner's password from a browser. What is taken here
//! is written by a unit that runs as root (`docs/updates.md`).

mod page;

use std::error::Error;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::multipart::{MultipartError, MultipartRejection};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::REFRESH;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, TryStreamExt};
use serde_json::{Value, json};

use super::openapi::machines::{self, DocsText};
use super::openapi::owner::{UpdateFile, UpdateForm, UpdateShown};
use super::openapi::v1::DIALECT;
use super::openapi::{Purpose, Routes, routes};
use super::page::{html, instead, private};
use super::params::{self, ParamError};
use super::parts::Parts;
use super::serve::{Cut, LargeBody};
use super::v1::{Failure, caller};
use super::{Api, Shared, peer};
use crate::update::intake::{Intake, IntakeError, MAX_UPDATE, Standing};
use crate::update::{Outcome, Stage, UpdateError};

/// What stands around the file in a form.
const FORM_SLACK: u64 = 64 * 1024;
/// Longest password in a form, with room for one that is refused in so many words.
const MAX_PASSWORD: usize = 4096;
/// 200 MB at 1 Mbit/s.
const PATIENCE: Duration = Duration::from_secs(1800);
/// How long somebody who is refused may go on sending: 200 MB at 15 Mbit/s.
const FAREWELL: Duration = Duration::from_secs(120);

/// The path that takes more than a message.
pub const LARGE_BODY: LargeBody = LargeBody {
    path: "/api/v1/update",
    bytes: MAX_UPDATE + FORM_SLACK,
    deadline: PATIENCE,
    linger: FAREWELL,
};

pub(super) fn routes<P: Purpose>() -> Routes<P> {
    Routes::of(&[&DIALECT])
        .with(routes!(show, upload, send_form).layer(DefaultBodyLimit::disable()))
        .merge(Routes::of(&[&machines::DIALECT]).with(routes!(form)))
}

impl From<IntakeError> for Failure {
    fn from(e: IntakeError) -> Failure {
        let message = sentence(&e.to_string());
        match e {
            IntakeError::Busy | IntakeError::Underway(_) => Failure::later(StatusCode::CONFLICT, message, 60),
            IntakeError::Refused(UpdateError::NotNewer { .. }) => Failure::new(StatusCode::CONFLICT, message),
            IntakeError::TooLarge => Failure::new(StatusCode::PAYLOAD_TOO_LARGE, message),
            IntakeError::NoRoom { .. } => Failure::new(StatusCode::INSUFFICIENT_STORAGE, message),
            IntakeError::Disk(ref cause) if cause.kind() == std::io::ErrorKind::StorageFull => {
                Failure::new(StatusCode::INSUFFICIENT_STORAGE, message)
            }
            IntakeError::Refused(UpdateError::Io { .. } | UpdateError::Read(_)) | IntakeError::Disk(_) => {
                log::error!("{e}");
                Failure::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "The update could not be kept on the gateway's disk; its log says why",
                )
            }
            IntakeError::Aborted(_) => {
                log::error!("{e}");
                Failure::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "The update was not taken; the gateway's log says why",
                )
            }
            IntakeError::Refused(_) | IntakeError::Broken => Failure::bad(message),
        }
    }
}

/// Errors of the core begin in lower case: they are parts of log lines there.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn intake(api: &Shared) -> Result<&Intake, Failure> {
    api.updates.as_ref().map_err(|why| Failure::new(StatusCode::CONFLICT, why.to_string()))
}

fn admin(api: &Shared, request: &Request) -> Result<(), Failure> {
    if caller(api, request)?.admin {
        return Ok(());
    }
    Err(Failure::new(
        StatusCode::FORBIDDEN,
        "Only an administrator's key may see or send updates: `kurir key new --admin` makes one",
    ))
}

async fn standing(intake: &Intake) -> Result<Standing, Failure> {
    let intake = intake.clone();
    let standing = tokio::task::spawn_blocking(move || intake.standing());
    let read = standing.await.map_err(|e| IntakeError::Aborted(e.to_string()))?;
    Ok(read.map_err(IntakeError::Refused)?)
}

fn described(intake: &Intake, standing: &Standing) -> Value {
    let (stage, next) = match (&standing.received, &standing.record.stage) {
        (_, Stage::Writing { version }) => ("writing", Some(version)),
        (_, Stage::Trying { version, .. }) => ("trying", Some(version)),
        (_, Stage::GivenUp { version, .. }) => ("given_up", Some(version)),
        (Some(version), _) => ("received", Some(version)),
        (None, Stage::Written { version, .. }) => ("written", Some(version)),
        (None, Stage::Idle) => ("idle", None),
    };
    let last = standing.record.last.as_ref().map(|last| {
        let (outcome, version, reason) = match last {
            Outcome::Committed { version } => ("committed", version, None),
            Outcome::RolledBack { version, reason } => ("rolled_back", version, Some(reason)),
            Outcome::Failed { version, reason } => ("failed", version, Some(reason)),
        };
        json!({"outcome": outcome, "version": version, "reason": reason})
    });
    json!({"version": standing.running, "board": intake.board(), "stage": stage, "next": next, "last": last})
}

fn answer(status: StatusCode, intake: &Intake, standing: &Standing) -> Response {
    (status, Json(json!({"success": true, "update": described(intake, standing)}))).into_response()
}

/// Show updates
///
/// The version that runs, how far an update is, and what became of the last one.
#[utoipa::path(get, path = "/api/v1/update", responses(
    (status = 200, description = "How far it is", body = UpdateShown),
    (status = 403, description = "The key is no administrator's"),
    (status = 409, description = "The gateway has no slots for updates"),
))]
async fn show(State(api): State<Api>, request: Request) -> Result<Response, Failure> {
    admin(&api, &request)?;
    let intake = intake(&api)?;
    Ok(answer(StatusCode::OK, intake, &standing(intake).await?))
}

/// Update the box
///
/// The update file itself (`curl -T`). Its signature is looked at before the rest is read, and the whole file before it is taken. Then
/// the box writes it beside the system that runs, restarts into it, and keeps it if it is healthy for a minute; otherwise it goes back.
#[utoipa::path(put, path = "/api/v1/update",
    request_body(content = UpdateFile, content_type = "application/octet-stream"),
    responses(
        (status = 202, description = "It is whole and signed, and is going to be written", body = UpdateShown),
        (status = 403, description = "The key is no administrator's"),
        (status = 409, description = "It is not newer, another one is under way, or the gateway has no slots for updates"),
        (status = 413, description = "Larger than any update: 1 GiB at most"),
        (status = 507, description = "The card is too full"),
    )
)]
async fn upload(State(api): State<Api>, request: Request) -> Result<Response, Failure> {
    admin(&api, &request)?;
    let intake = intake(&api)?;
    let stream = request.into_body().into_data_stream();
    let standing = take(intake, stream).await?;
    Ok(answer(StatusCode::ACCEPTED, intake, &standing))
}

/// Returns what is known then: of this update, even if it is just being taken out of the folder.
async fn take<S, E>(intake: &Intake, stream: S) -> Result<Standing, Failure>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: Error + 'static,
{
    let mut cut = None;
    let taken = intake.take(stream.inspect_err(|e| cut = Cut::of(e))).await;
    let version = match (taken, cut) {
        (Ok(manifest), _) => manifest.version,
        (Err(IntakeError::Broken), Some(Cut::Slow)) => return Err(ParamError::Slow.into()),
        (Err(IntakeError::Broken), Some(Cut::Large)) => return Err(IntakeError::TooLarge.into()),
        (Err(e), _) => return Err(e.into()),
    };
    log::info!("an update to version {version} has come over the network and is handed over for writing");
    let mut standing = standing(intake).await?;
    if matches!(standing.record.stage, Stage::Idle | Stage::Written { .. }) {
        standing.received = Some(version);
    }
    Ok(standing)
}

/// Update the box from its page
///
/// What the form at `/update` sends: the owner's password, then the file.
#[utoipa::path(post, path = "/api/v1/update", security(()),
    request_body(content = UpdateForm, content_type = "multipart/form-data"),
    responses(
        (status = 202, description = "It is whole and signed, and is going to be written", body = DocsText,
         content_type = "text/html"),
        (status = 401, description = "The password is wrong"),
        (status = 409, description = "It is not newer, another one is under way, or the gateway has no slots for updates"),
        (status = 429, description = "Too many wrong attempts; see `Retry-After`"),
        (status = 503, description = "Too many people log in at this moment"),
        (status = 413, description = "Larger than any update: 1 GiB at most"),
        (status = 507, description = "The card is too full"),
    )
)]
async fn send_form(State(api): State<Api>, request: Request) -> Response {
    let failure = match take_form(&api, request).await {
        Ok(standing) => return shown(StatusCode::ACCEPTED, &api, Some(standing), None).await,
        Err(failure) => failure,
    };
    let message = failure.message().to_owned();
    let answer = failure.into_response();
    let page = shown(answer.status(), &api, None, Some(&message)).await;
    instead(answer, page)
}

async fn take_form(api: &Shared, request: Request) -> Result<Standing, Failure> {
    let (intake, from) = (intake(api)?, peer(&request));
    let mut parts = Parts::of(request).await.map_err(|e: MultipartRejection| {
        Failure::bad(format!("multipart/form-data is expected: {}", e.body_text()))
    })?;
    let broken = |e: MultipartError| Failure::from(params::multipart_error(&e, MAX_UPDATE as usize));
    let mut known = false;
    while let Some(mut field) = parts.next().await.map_err(broken)? {
        match field.name() {
            Some("password") => {
                let mut password = Vec::new();
                while let Some(chunk) = field.chunk().await.map_err(broken)? {
                    password.extend_from_slice(&chunk);
                    if password.len() > MAX_PASSWORD {
                        return Err(Failure::bad("The password is too long"));
                    }
                }
                let password =
                    String::from_utf8(password).map_err(|_| Failure::bad("The password is not text"))?;
                api.claim.check_password(&password, from).await?;
                known = true;
            }
            Some("file") if known => return take(intake, field.into_stream()).await,
            // Nothing is read that nobody vouches for.
            Some("file") => return Err(Failure::bad("The password must come before the file")),
            _ => return Err(Failure::bad("Only password and file are expected")),
        }
    }
    Err(ParamError::Missing(if known { "file" } else { "password" }).into())
}

/// The page for updates
///
/// How far an update is, or the form that sends one.
#[utoipa::path(get, path = "/update", security(()), responses(
    (status = 200, description = "A page", body = DocsText, content_type = "text/html"),
))]
async fn form(State(api): State<Api>) -> Response {
    shown(StatusCode::OK, &api, None, None).await
}

/// The page; while an update is under way, a browser loads it again by itself. `known`: what is known, if it was just looked at.
async fn shown(status: StatusCode, api: &Shared, known: Option<Standing>, message: Option<&str>) -> Response {
    let intake = match &api.updates {
        Ok(intake) => intake,
        Err(why) => return private(html(status, &page::without(*why, message))),
    };
    let standing = match known {
        Some(standing) => standing,
        None => match standing(intake).await {
            Ok(standing) => standing,
            Err(failure) => return failure.into_response(),
        },
    };
    let mut response =
        private(html(status, &page::of(intake.board(), &standing, api.claim.has_password(), message)));
    if page::is_underway(&standing) {
        response.headers_mut().insert(REFRESH, HeaderValue::from_static("10; url=/update"));
    }
    response
}
