//! What the pages for people share: plain HTML in Indonesian and English, without scripts and without anything from outside.

use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

pub(super) const HEAD: &str = "<!doctype html>\n<html lang=\"id\"><head><meta charset=\"utf-8\">\n\
    <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>Kurir</title>\n\
    <style>body{font:18px/1.5 sans-serif;max-width:34em;margin:2em auto;padding:0 1em;color:#222}\
    label{display:block;margin:1em 0}input{font:inherit;width:100%;box-sizing:border-box;padding:.4em}\
    button{font:inherit;padding:.5em 1.5em}code{font-size:105%;word-break:break-all;background:#eee;padding:.2em}\
    .error{background:#fdd;padding:.6em 1em}.en{color:#666}</style></head><body><h1>Kurir</h1>\n";
pub(super) const FOOT: &str = "</body></html>\n";

/// Text as it stands in a page, attributes included.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// For what nothing on the way may keep.
pub(super) fn private(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// A page that loads nothing from anywhere and runs no script.
pub(super) fn html(status: StatusCode, text: &str) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
        ),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (status, headers, text.to_owned()).into_response()
}

/// A page in the place of an answer's body; its status and its own headers stay.
pub(super) fn instead(mut answer: Response, page: Response) -> Response {
    let (head, body) = page.into_parts();
    answer.headers_mut().extend(head.headers);
    *answer.body_mut() = body;
    answer
}
