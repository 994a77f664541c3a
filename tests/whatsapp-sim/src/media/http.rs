//! The media host's HTTP: `POST /mms/KIND/TOKEN` and `GET DIRECT_PATH`.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Json, Router};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use futures_util::StreamExt;
use serde_json::json;
use tokio::time::Instant;

use super::store::{MediaStore, StoreError, token_of};
use crate::faults::{Faults, MediaFault};
use crate::stats::Counters;

/// The kinds in upload paths that clients use.
const KINDS: &[&str] = &[
    "image",
    "video",
    "audio",
    "document",
    "md-msg-hist",
    "md-app-state",
    "sticker-pack",
    "thumbnail-sticker-pack",
    "thumbnail-link",
];

/// An encrypted file is whole AES blocks and ten bytes of HMAC.
const AES_BLOCK: usize = 16;
const MAC_LEN: usize = 10;

/// What the handlers need of the server.
#[derive(Debug, Clone)]
pub struct MediaHost {
    /// The files.
    pub store: Arc<MediaStore>,
    /// The faults in force.
    pub faults: Arc<Mutex<Faults>>,
    /// Where uploads and violations are counted.
    pub counters: Arc<Counters>,
    /// Where the host is, for the `url` of an upload's answer: `http://127.0.0.1:PORT`.
    pub url: String,
}

/// An error answer. WhatsApp's clients read its status only.
struct Refusal(StatusCode, String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        // The rest of the body is not read, so the connection is of no further use: a client that is not told so sends
        // its next request into it in vain.
        (self.0, [(CONNECTION, "close")], self.1).into_response()
    }
}

impl MediaHost {
    /// The routes. `/mms/…` and `/product/…` take uploads, `/v/…` answers downloads.
    pub fn router(self) -> Router {
        Router::new()
            .route("/mms/{kind}/{token}", any(upload_encrypted))
            .route("/product/image/{token}", any(upload_product))
            .route("/v/{*path}", any(download))
            // The store has a limit of its own, which applies while the body arrives.
            .layer(DefaultBodyLimit::disable())
            .with_state(self)
    }

    fn fault(&self) -> Option<MediaFault> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).on_media(Instant::now())
    }

    /// Refuses a request that no correct client makes.
    fn violation(&self, who: &str, status: StatusCode, what: String) -> Refusal {
        self.counters.violation(who, what.clone());
        Refusal(status, what)
    }

    /// Who may use this token.
    fn authenticate(&self, auth: Option<&str>) -> Result<String, Refusal> {
        let auth = auth.ok_or_else(|| {
            let what = "media upload without `auth`: it comes from the media_conn answer".to_owned();
            self.violation("media host", StatusCode::UNAUTHORIZED, what)
        })?;
        match self.store.auth(auth) {
            Some((who, true)) => Ok(who),
            // Also a client that does all right finds its token expired.
            Some((_, false)) => {
                Err(Refusal(StatusCode::UNAUTHORIZED, "the auth token has expired".to_owned()))
            }
            None => {
                let what = "media request with an `auth` token that was never given out".to_owned();
                Err(self.violation("media host", StatusCode::UNAUTHORIZED, what))
            }
        }
    }

    async fn upload(
        &self,
        kind: &str,
        token: &str,
        encrypted: bool,
        request: Request,
    ) -> Result<Response, Refusal> {
        let query = Query::of(request.uri().query());
        let who = self.authenticate(query.get("auth"))?;
        let bad = |status, what: String| self.violation(&who, status, what);
        if request.method() != Method::POST {
            let what = format!("media upload with {}, not POST", request.method());
            return Err(bad(StatusCode::METHOD_NOT_ALLOWED, what));
        }
        if encrypted && !KINDS.contains(&kind) {
            return Err(bad(StatusCode::NOT_FOUND, format!("media upload of the unknown kind `{kind}`")));
        }
        let hash_len = BASE64_URL_SAFE_NO_PAD.decode(token).map_or(0, |hash| hash.len());
        if hash_len != 32 {
            let what = format!("media upload to `{token}`, which is no SHA-256 in URL-safe base64");
            return Err(bad(StatusCode::BAD_REQUEST, what));
        }
        if query.get("token").is_some_and(|t| t != token) {
            let what = "media upload whose `token` is not the one in its path".to_owned();
            return Err(bad(StatusCode::BAD_REQUEST, what));
        }
        if query.get("resume").is_some() {
            return Ok(self.progress(token));
        }
        let offset = match query.get("file_offset") {
            None => 0,
            Some(text) => text.parse().map_err(|_| {
                bad(StatusCode::BAD_REQUEST, format!("media upload with the file_offset `{text}`"))
            })?,
        };
        let path = self.receive(&who, kind, token, offset, encrypted, request).await?;
        self.counters.upload();
        Ok(self.uploaded(path))
    }

    /// Takes the body and returns the file's direct path.
    async fn receive(
        &self,
        who: &str,
        kind: &str,
        token: &str,
        offset: u64,
        encrypted: bool,
        request: Request,
    ) -> Result<String, Refusal> {
        let bad = |status, what: String| self.violation(who, status, what);
        let mut receiving = self
            .store
            .receive(token, offset)
            .map_err(|e| bad(StatusCode::RANGE_NOT_SATISFIABLE, format!("media upload: {e}")))?;
        let length = request.headers().get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
        let fault = self.fault();
        let mut body = request.into_body().into_data_stream();
        let mut taken: u64 = 0;
        loop {
            let left = fault.map_or(u64::MAX, |fault| fault.after_bytes - taken.min(fault.after_bytes));
            if left == 0 {
                return Err(refused(fault));
            }
            let Some(chunk) = body.next().await else { break };
            // The client went away; what came is kept for when it resumes.
            let chunk =
                chunk.map_err(|e| Refusal(StatusCode::BAD_REQUEST, format!("the body broke off: {e}")))?;
            let chunk = chunk.slice(..chunk.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
            taken += chunk.len() as u64;
            receiving.push(&chunk).map_err(|e| Refusal(StatusCode::PAYLOAD_TOO_LARGE, e.to_string()))?;
        }
        if fault.is_some() {
            return Err(refused(fault));
        }
        if length.is_some_and(|length| length != taken) {
            return Err(bad(
                StatusCode::BAD_REQUEST,
                "media upload shorter than its Content-Length".to_owned(),
            ));
        }
        let len = receiving.len();
        if len == 0 {
            return Err(bad(StatusCode::BAD_REQUEST, "media upload without a body".to_owned()));
        }
        if encrypted && (len < AES_BLOCK + MAC_LEN || len % AES_BLOCK != MAC_LEN) {
            let what = format!(
                "media upload of {len} bytes, which is no encrypted file: AES blocks and a 10-byte MAC"
            );
            return Err(bad(StatusCode::BAD_REQUEST, what));
        }
        receiving.finish(kind).map_err(|e| bad(StatusCode::BAD_REQUEST, format!("media upload: {e}")))
    }

    fn progress(&self, token: &str) -> Response {
        if let Some(path) = self.store.find(token) {
            let url = format!("{}{path}", self.url);
            return Json(json!({"resume": "complete", "url": url, "direct_path": path})).into_response();
        }
        match self.store.received(token) {
            0 => StatusCode::NOT_FOUND.into_response(),
            received => Json(json!({"resume": received.to_string()})).into_response(),
        }
    }

    fn uploaded(&self, path: String) -> Response {
        Json(json!({"url": format!("{}{path}", self.url), "direct_path": path})).into_response()
    }

    fn download(&self, method: &Method, uri: &Uri) -> Result<Response, Refusal> {
        if method != Method::GET && method != Method::HEAD {
            let what = format!("media download with {method}, not GET");
            return Err(self.violation("media host", StatusCode::METHOD_NOT_ALLOWED, what));
        }
        let query = Query::of(uri.query());
        // The signed path is enough for a download; a token that is sent all the same must be a real one.
        let who = match query.get("auth") {
            Some(auth) => self.authenticate(Some(auth))?,
            None => "media host".to_owned(),
        };
        if let Some(fault) = self.fault() {
            return Err(refused(Some(fault)));
        }
        let direct_path = uri.path_and_query().map_or(uri.path(), |path| path.as_str());
        let (_, bytes) = match self.store.by_path(direct_path) {
            Ok(found) => found,
            Err(e @ StoreError::Evicted) => return Err(Refusal(StatusCode::GONE, e.to_string())),
            Err(_) => {
                let what = format!("media download of {}, which was never uploaded", uri.path());
                return Err(self.violation(&who, StatusCode::NOT_FOUND, what));
            }
        };
        if let Some(hash) = query.get("hash").or(query.get("token"))
            && hash.trim_end_matches('=') != token_of(&bytes)
        {
            let what = "media download whose `hash` or `token` is not the file's SHA-256".to_owned();
            return Err(self.violation(&who, StatusCode::FORBIDDEN, what));
        }
        self.counters.download();
        Ok(([(CONTENT_TYPE, "application/octet-stream")], Body::from(bytes)).into_response())
    }
}

fn refused(fault: Option<MediaFault>) -> Refusal {
    let status = fault.and_then(|fault| StatusCode::from_u16(fault.status).ok());
    Refusal(status.unwrap_or(StatusCode::SERVICE_UNAVAILABLE), "a fault that was asked for".to_owned())
}

async fn upload_encrypted(
    State(host): State<MediaHost>,
    Path((kind, token)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Refusal> {
    host.upload(&kind, &token, true, request).await
}

/// Pictures of a shop's products are public, and not encrypted.
async fn upload_product(
    State(host): State<MediaHost>,
    Path(token): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    host.upload("product-catalog-image", &token, false, request).await
}

async fn download(State(host): State<MediaHost>, method: Method, uri: Uri) -> Result<Response, Refusal> {
    host.download(&method, &uri)
}

/// A query's parameters.
struct Query(Vec<(String, String)>);

impl Query {
    /// A direct path has a query of its own, and some clients append theirs with a second `?`.
    fn of(query: Option<&str>) -> Self {
        let pairs = query.unwrap_or_default().split(['&', '?']).filter(|pair| !pair.is_empty());
        Self(
            pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(k, v)| (decoded(k), decoded(v)))
                .collect(),
        )
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// Percent-decoded; what is not valid stays as it is.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let escaped = (bytes[index] == b'%').then(|| text.get(index + 1..index + 3)).flatten();
        match escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                index += 3;
            }
            None => {
                out.push(bytes[index]);
                index += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
