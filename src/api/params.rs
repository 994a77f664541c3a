//! Parameters of a request, wherever a dialect's clients put them: query string, JSON, form or multipart.

use std::convert::Infallible;

use axum::body::to_bytes;
use axum::extract::multipart::MultipartError;
use axum::extract::{FromRequestParts, Path, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::{StatusCode, request};
use serde_json::{Map, Value};

use super::parts::Parts;
use super::request_log::{note_body, note_file};
use super::serve::{Cut, has_source};
use crate::media::Fetched;

mod lists;

/// Largest body of a request without a file. A message has at most 65,536 characters of up to 4 bytes.
pub(super) const MAX_BODY: usize = 1024 * 1024;
/// Parameters that one request may have.
const MAX_FIELDS: usize = 256;

/// The `{id}` of a path. One that is no text (`%ff`) becomes the empty one, which nothing has, so that the handler says that it
/// is unknown in its own words.
pub(super) struct PathId(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut request::Parts, state: &S) -> Result<PathId, Infallible> {
        let id = Path::<String>::from_request_parts(parts, state).await;
        Ok(PathId(id.map(|Path(id)| id).unwrap_or_default()))
    }
}

/// Why the parameters could not be read. The text names what is wrong and never repeats a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ParamError {
    /// The body is larger than allowed.
    #[error("the request body is larger than {0} bytes")]
    TooLarge(usize),
    /// The body does not parse.
    #[error("{0}")]
    Body(String),
    /// The body came too slowly, and was cut.
    #[error("the request body came too slowly; send it at once")]
    Slow,
    /// The body did not arrive whole.
    #[error("the request body did not arrive completely")]
    Incomplete,
    /// An uploaded file could not be taken.
    #[error("{reason}")]
    File {
        /// The status that fits.
        status: StatusCode,
        /// What is wrong.
        reason: String,
    },
    /// A field is missing or empty.
    #[error("{0} is required")]
    Missing(&'static str),
    /// A field has the wrong type.
    #[error("{field} must be {wanted}")]
    Type {
        /// The field.
        field: &'static str,
        /// The type it takes.
        wanted: &'static str,
    },
    /// A field's value does not fit.
    #[error("{field} {reason}")]
    Value {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl ParamError {
    /// The status that fits.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            ParamError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            ParamError::File { status, .. } => *status,
            ParamError::Slow => StatusCode::REQUEST_TIMEOUT,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// The parameters of one request. The body's win over the query string's.
#[derive(Debug, Default)]
pub(super) struct Params {
    fields: Map<String, Value>,
    files: Vec<(String, Fetched)>,
}

impl Params {
    /// Reads the query string and the body, whichever form it has.
    pub(super) async fn read(request: Request) -> Result<Params, ParamError> {
        let mut params = Params::default();
        if let Some(query) = request.uri().query() {
            params.add_form(query.as_bytes())?;
        }
        let content_type = request
            .headers()
            .get(CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .map(|v| v.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
        if content_type.as_deref() == Some("multipart/form-data") {
            params.add_multipart(request).await?;
            return Ok(params);
        }
        let body = read_body(request, MAX_BODY).await?;
        let first = body.iter().find(|b| !b.is_ascii_whitespace()).copied();
        match (content_type.as_deref(), first) {
            (_, None) => return Ok(params),
            // Many of these clients send JSON under no or a wrong content type.
            (Some("application/json"), _) | (_, Some(b'{')) => params.add_json(&body)?,
            _ => params.add_form(&body)?,
        }
        note_body(&params.fields);
        Ok(params)
    }

    fn insert(&mut self, key: String, value: Value) -> Result<(), ParamError> {
        if self.fields.len() >= MAX_FIELDS && !self.fields.contains_key(&key) {
            return Err(ParamError::Body(format!("more than {MAX_FIELDS} parameters")));
        }
        self.fields.insert(key, value);
        Ok(())
    }

    fn add_form(&mut self, body: &[u8]) -> Result<(), ParamError> {
        let pairs: Vec<(String, String)> = serde_urlencoded::from_bytes(body)
            .map_err(|_| ParamError::Body("the form parameters are not valid percent-encoded text".into()))?;
        pairs.into_iter().try_for_each(|(key, value)| self.insert_form(&key, value))
    }

    fn add_json(&mut self, body: &[u8]) -> Result<(), ParamError> {
        match parse_json(body)? {
            Value::Object(object) => object.into_iter().try_for_each(|(key, value)| self.insert(key, value)),
            _ => Err(ParamError::Body("the request body must be a JSON object".into())),
        }
    }

    async fn add_multipart(&mut self, request: Request) -> Result<(), ParamError> {
        let mut parts = Parts::of(request).await.map_err(|e| ParamError::Body(e.body_text()))?;
        let broken = |e: MultipartError| multipart_error(&e, MAX_BODY);
        let mut left = MAX_BODY;
        let mut files = Vec::new();
        while let Some(mut field) = parts.next().await.map_err(broken)? {
            let name = field.name().map(str::to_owned);
            let filename = field.file_name().map(str::to_owned);
            let is_file = filename.is_some();
            let before = left;
            let mut bytes = Vec::new();
            while let Some(chunk) = field.chunk().await.map_err(broken)? {
                left = left.checked_sub(chunk.len()).ok_or(ParamError::TooLarge(MAX_BODY))?;
                if !is_file {
                    bytes.extend_from_slice(&chunk);
                }
            }
            match (filename, name) {
                (None, Some(name)) => {
                    let text = String::from_utf8(bytes)
                        .map_err(|_| ParamError::Body("a multipart field is not UTF-8 text".into()))?;
                    self.insert_form(&name, text)?;
                }
                (None, None) => {}
                (Some(filename), name) => files.push((name.unwrap_or_default(), filename, before - left)),
            }
        }
        note_body(&self.fields);
        files.iter().for_each(|(name, filename, bytes)| note_file(name, filename, *bytes as u64));
        Ok(())
    }

    /// A text; a number counts as one. Absent, null and blank are `None`.
    pub(super) fn text(&self, field: &'static str) -> Result<Option<String>, ParamError> {
        Ok(self.given(field)?.filter(|text| !text.trim().is_empty()))
    }

    /// A text, blank or not; a number counts as one. Absent and null are `None`.
    pub(super) fn given(&self, field: &'static str) -> Result<Option<String>, ParamError> {
        match self.fields.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(s)) => Ok(Some(s.clone())),
            Some(Value::Number(n)) => Ok(Some(n.to_string())),
            Some(_) => Err(ParamError::Type { field, wanted: "a text" }),
        }
    }

    /// A text that must be there.
    pub(super) fn required(&self, field: &'static str) -> Result<String, ParamError> {
        self.text(field)?.ok_or(ParamError::Missing(field))
    }

    /// A truth value: true, 1, "true", "1", "yes", "on" and their opposites. Absent: false.
    pub(super) fn flag(&self, field: &'static str) -> Result<bool, ParamError> {
        let wrong = Err(ParamError::Type { field, wanted: "true or false" });
        match self.fields.get(field) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(b)) => Ok(*b),
            Some(Value::Number(n)) => match n.as_u64() {
                Some(0) => Ok(false),
                Some(1) => Ok(true),
                _ => wrong,
            },
            Some(Value::String(s)) => match s.trim().to_ascii_lowercase().as_str() {
                "" | "0" | "false" | "no" | "off" => Ok(false),
                "1" | "true" | "yes" | "on" => Ok(true),
                _ => wrong,
            },
            Some(_) => wrong,
        }
    }
}

/// The body, at most `limit` bytes of it.
pub(super) async fn read_body(request: Request, limit: usize) -> Result<bytes::Bytes, ParamError> {
    to_bytes(request.into_body(), limit).await.map_err(|e| match Cut::of(&e) {
        Some(Cut::Slow) => ParamError::Slow,
        Some(Cut::Large) => ParamError::TooLarge(limit),
        None if has_source::<http_body_util::LengthLimitError>(&e) => ParamError::TooLarge(limit),
        None => ParamError::Incomplete,
    })
}

/// JSON, or an error that says where it stops being JSON.
pub(super) fn parse_json(body: &[u8]) -> Result<Value, ParamError> {
    serde_json::from_slice(body).map_err(|e| {
        ParamError::Body(format!(
            "the request body is not valid JSON (line {}, column {})",
            e.line(),
            e.column()
        ))
    })
}

/// Why a multipart body of at most `limit` bytes could not be read.
pub(super) fn multipart_error(error: &MultipartError, limit: usize) -> ParamError {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return ParamError::TooLarge(limit);
    }
    match Cut::of(error) {
        Some(Cut::Slow) => ParamError::Slow,
        Some(Cut::Large) => ParamError::TooLarge(limit),
        None => ParamError::Body("the multipart body is not valid or did not arrive completely".into()),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use proptest::prelude::*;

    use super::*;

    async fn read(uri: &str, content_type: Option<&str>, body: &str) -> Result<Params, ParamError> {
        let mut request = Request::builder().uri(uri);
        if let Some(content_type) = content_type {
            request = request.header(CONTENT_TYPE, content_type);
        }
        Params::read(request.body(Body::from(body.to_owned())).unwrap()).await
    }

    #[tokio::test]
    async fn every_form_gives_the_same_parameters() {
        let multipart = "--B\r\nContent-Disposition: form-data; name=\"number\"\r\n\r\n628123\r\n--B\r\n\
            Content-Disposition: form-data; name=\"ppt\"\r\n\r\ntrue\r\n--B--\r\n";
        for (uri, content_type, body) in [
            ("/?number=628123&ppt=true", None, ""),
            ("/", Some("application/json"), r#"{"number":"628123","ppt":true}"#),
            ("/", Some("application/json; charset=utf-8"), r#"{"number":628123,"ppt":1}"#),
            ("/", None, r#" {"number":"628123","ppt":"1"}"#),
            ("/?number=1", Some("application/x-www-form-urlencoded"), "number=628123&ppt=on"),
            ("/", Some("multipart/form-data; boundary=B"), multipart),
        ] {
            let params = read(uri, content_type, body).await.unwrap();
            assert_eq!(params.required("number").unwrap(), "628123", "{body}");
            assert!(params.flag("ppt").unwrap(), "{body}");
            assert_eq!(params.required("message"), Err(ParamError::Missing("message")));
        }
    }

    #[tokio::test]
    async fn wrong_bodies_are_named_without_repeating_them() {
        let e = read("/", Some("application/json"), "{\"api_key\":\"secret\"").await.unwrap_err();
        assert!(e.to_string().contains("line 1") && !e.to_string().contains("secret"), "{e}");
        assert!(read("/", Some("application/json"), "[1]").await.is_err());
        let big = "a=".to_owned() + &"x".repeat(MAX_BODY);
        assert_eq!(read("/", None, &big).await.unwrap_err().status(), StatusCode::PAYLOAD_TOO_LARGE);
        let params = read("/", Some("application/json"), r#"{"message":["a"],"ppt":"maybe"}"#).await.unwrap();
        assert!(params.text("message").is_err() && params.flag("ppt").is_err());
        let many: Vec<String> = (0..300).map(|n| format!("k{n}=1")).collect();
        assert!(read(&format!("/?{}", many.join("&")), None, "").await.is_err());
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(content_type in prop::sample::select(vec!["application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=B", "text/plain"]), body in prop::collection::vec(any::<u8>(), 0..300)) {
            let request = Request::builder().uri("/").header(CONTENT_TYPE, content_type).body(Body::from(body)).unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            if let Ok(params) = runtime.block_on(Params::read(request)) {
                let _ = (params.text("message"), params.flag("ppt"));
            }
        }
    }
}
