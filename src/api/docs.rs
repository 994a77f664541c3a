//! `/docs`: the API for people. A page of our own that shows what `/openapi.json` says; nothing of it comes from elsewhere,
//! so it works in an office without the Internet.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::openapi::machines::{DocsFile, DocsText};
use super::v1::Failure;

/// The page and its parts: name, type, text.
const FILES: [(&str, &str, &str); 4] = [
    ("index.html", "text/html; charset=utf-8", include_str!("docs/index.html")),
    ("style.css", "text/css; charset=utf-8", include_str!("docs/style.css")),
    ("app.js", "text/javascript; charset=utf-8", include_str!("docs/app.js")),
    ("samples.js", "text/javascript; charset=utf-8", include_str!("docs/samples.js")),
];

/// Only files of this page run, and it talks to nobody but the box. `style-src` and `script-src` have no
/// `unsafe-inline`: what a description says cannot become code.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
    base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The API for people
///
/// Every call with its parameters, answers and code samples. It works offline and needs no key: it is the same on every
/// box of this version and says nothing of what is on it.
#[utoipa::path(get, path = "/docs", responses(
    (status = 200, description = "The page", body = DocsText, content_type = "text/html"),
))]
pub(super) async fn page() -> Result<Response, Failure> {
    serve("index.html")
}

/// A part of that page
#[utoipa::path(get, path = "/docs/{file}", params(DocsFile), responses(
    (status = 200, description = "The part", body = DocsText, content_type = "text/javascript"),
    (status = 404, description = "There is no such part"),
))]
pub(super) async fn file(name: Result<Path<String>, PathRejection>) -> Result<Response, Failure> {
    serve(name.as_ref().map_or("", |Path(name)| name))
}

fn serve(name: &str) -> Result<Response, Failure> {
    let Some((_, kind, text)) = FILES.iter().find(|(known, ..)| *known == name) else {
        return Err(Failure::new(
            StatusCode::NOT_FOUND,
            "There is nothing at this path; check its spelling.",
        ));
    };
    let mut response = (*text).into_response();
    let headers: [(HeaderName, &'static str); 5] = [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        // An update of the box changes them, and its clock may be wrong.
        (CACHE_CONTROL, "no-cache"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}
