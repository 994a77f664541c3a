//! The HTTPS certificate over the API: looked at, replaced and given back by an administrator.

use std::time::SystemTime;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use chrono::SecondsFormat;
use serde_json::{Value, json};

use super::openapi::owner::{CertificateNew, CertificateShown};
use super::openapi::v1::DIALECT;
use super::openapi::{Purpose, Routes, routes};
use super::params;
use super::tls::{CertificateError, CertificateInfo, Certificates, MAX_PEM, Source};
use super::v1::{Failure, caller, text};
use super::{Api, Shared};

pub(super) fn routes<P: Purpose>() -> Routes<P> {
    Routes::of(&[&DIALECT]).with(routes!(show, upload, remove))
}

/// The certificate as people are told of it, here and by `kurir status`.
pub(super) fn describe(info: &CertificateInfo) -> Value {
    json!({
        "source": match info.source { Source::SelfSigned => "self-signed", Source::Uploaded => "uploaded" },
        "sha256": info.sha256,
        "not_before": info.not_before.to_rfc3339_opts(SecondsFormat::Secs, true),
        "not_after": info.not_after.to_rfc3339_opts(SecondsFormat::Secs, true),
    })
}

fn answer(info: &CertificateInfo) -> Response {
    Json(json!({"success": true, "certificate": describe(info)})).into_response()
}

impl From<CertificateError> for Failure {
    fn from(e: CertificateError) -> Failure {
        match e {
            CertificateError::File { .. } => {
                log::error!("{e}");
                let message = "The certificate could not be kept on the gateway's disk; its log says why";
                Failure::new(StatusCode::INTERNAL_SERVER_ERROR, message)
            }
            CertificateError::Make { .. } => {
                log::error!("{e}");
                Failure::new(StatusCode::INTERNAL_SERVER_ERROR, e.to_string())
            }
            _ => Failure::bad(format!("The certificate is refused: {e}")),
        }
    }
}

/// Checks the key, and that there is something to change.
fn certificates(api: &Shared, request: &Request) -> Result<Certificates, Failure> {
    if !caller(api, request)?.admin {
        return Err(Failure::new(
            StatusCode::FORBIDDEN,
            "Only an administrator's key may see or change the certificate: `kurir key new --admin` makes one",
        ));
    }
    api.certificates.clone().ok_or_else(|| {
        Failure::new(
            StatusCode::CONFLICT,
            "HTTPS is off; the setting listen_https (KURIR_LISTEN_HTTPS) turns it on",
        )
    })
}

/// Show the certificate
#[utoipa::path(get, path = "/api/v1/certificate", responses(
    (status = 200, description = "The certificate in use", body = CertificateShown),
    (status = 403, description = "The key is no administrator's"),
    (status = 409, description = "HTTPS is off"),
))]
async fn show(State(api): State<Api>, request: Request) -> Result<Response, Failure> {
    let certificates = certificates(&api, &request)?;
    let info = certificates.info().borrow().clone();
    Ok(answer(&info))
}

/// Replace the certificate
#[utoipa::path(put, path = "/api/v1/certificate", request_body = CertificateNew, responses(
    (status = 200, description = "The certificate in use now", body = CertificateShown),
    (status = 403, description = "The key is no administrator's"),
    (status = 409, description = "HTTPS is off"),
))]
async fn upload(State(api): State<Api>, request: Request) -> Result<Response, Failure> {
    let certificates = certificates(&api, &request)?;
    let body = params::read_body(request, MAX_PEM).await?;
    let pem = pem_of(&body)?;
    let stored = tokio::task::spawn_blocking(move || certificates.upload(&pem, SystemTime::now()));
    Ok(answer(&finished(stored.await)?))
}

/// Go back to a certificate of the box's own
#[utoipa::path(delete, path = "/api/v1/certificate", responses(
    (status = 200, description = "The certificate in use now", body = CertificateShown),
    (status = 403, description = "The key is no administrator's"),
    (status = 409, description = "HTTPS is off"),
))]
async fn remove(State(api): State<Api>, request: Request) -> Result<Response, Failure> {
    let certificates = certificates(&api, &request)?;
    Ok(answer(&finished(tokio::task::spawn_blocking(move || certificates.remove()).await)?))
}

fn finished(
    result: Result<Result<CertificateInfo, CertificateError>, tokio::task::JoinError>,
) -> Result<CertificateInfo, Failure> {
    let ended = result.map_err(|e| {
        log::error!("changing the certificate ended badly: {e}");
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "The certificate was not changed; see the log")
    })?;
    Ok(ended?)
}

/// PEM as it is (`curl -T fullchain-and-key.pem`), or as the JSON fields `certificate` and `key`.
fn pem_of(body: &[u8]) -> Result<Vec<u8>, Failure> {
    if body.iter().find(|b| !b.is_ascii_whitespace()) != Some(&b'{') {
        return Ok(body.to_vec());
    }
    let Value::Object(fields) = params::parse_json(body)? else {
        return Err(Failure::bad("The request body must be a JSON object or PEM"));
    };
    let part = |field: &'static str| -> Result<&str, Failure> {
        text(&fields, field)?.ok_or_else(|| Failure::bad(format!("{field} is missing: PEM is needed")))
    };
    Ok(format!("{}\n{}\n", part("certificate")?, part("key")?).into_bytes())
}
