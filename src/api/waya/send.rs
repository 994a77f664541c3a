//! `POST /api/send-message`.

use axum::Json;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::body::{MAX_REST, ScanError, Scanner};
use super::{Failure, caller, failed};
use crate::api::params::{self, ParamError, Params};
use crate::api::phone::{self, Recipient};
use crate::api::request_log::note_body;
use crate::api::send::{MAX_CAPTION, MAX_TEXT, SendError, check_text, spool_failed};
use crate::api::serve::Cut;
use crate::api::{Shared, peer};
use crate::ids;
use crate::media::{self, Fetched, MAX_MEDIA, SpoolError};
use crate::outbox::{Body, Options, Reference, SessionSettings};
use crate::session::Session;

/// Recipients of one request.
const MAX_RECIPIENTS: usize = 1_000;
/// Longest reference, in characters.
const MAX_REFERENCE: usize = 200;
/// Decoded pieces of a file that wait for the disk.
const PIECES: usize = 4;

/// `POST /api/send-message` with `X-API-Key`; with `Authorization` it is dialect 2's.
pub(in crate::api) async fn send_message(api: &Shared, request: Request) -> Result<Response, Failure> {
    let caller = caller(api, request.headers(), peer(&request))?;
    let Upload { mut params, marker, file } = read(api, request).await?;
    let named = match params.text("sessionId")? {
        Some(id) => Some(id),
        None => params.text("session")?,
    };
    let session = api.session_for(&caller, named.as_deref())?;
    let own = api.outbox.settings_of(session.no());
    let recipients = recipients(api, &own, &params)?;
    let message = params.text("message")?;
    let reference = params.text("reference_id")?;
    if let Some(reference) = &reference {
        check_text("reference_id", reference, MAX_REFERENCE).map_err(|e| failed(&session, e))?;
    }
    let media = match params.take_file("media") {
        Some(file) => Some(Media::File(file)),
        None => media_of(&params, marker, file)?,
    };
    if message.is_none() && media.is_none() {
        return Err(Failure::bad_request("message or media is required"));
    }
    let reference =
        reference.map(|id| Reference { account: session.owner().to_owned(), id: id.trim().to_owned() });
    let result = accept(api, &session, recipients, message, media, reference.clone()).await;
    let batch = result.map_err(|e| failed(&session, e))?;
    let ids: Vec<&str> = batch.messages.iter().map(|message| message.id.as_str()).collect();
    let first = batch.messages.first().and_then(|message| api.outbox.find(&message.id).ok().flatten());
    let status = first.map_or("pending", |message| super::queue::word(api, &message));
    let body = json!({
        "success": true,
        "id": ids.first(),
        "ids": ids,
        "status": status,
        "reference_id": reference.map(|reference| reference.id),
    });
    Ok(Json(body).into_response())
}

/// The request's parameters, and the file that came inside them as Base64.
struct Upload {
    params: Params,
    /// What stands for the file where it was.
    marker: String,
    file: Option<Fetched>,
}

async fn read(api: &Shared, request: Request) -> Result<Upload, Failure> {
    let marker = ids::uuid();
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let content_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if matches!(content_type.as_str(), "multipart/form-data" | "application/x-www-form-urlencoded") {
        let params = Params::read_with_files(request, &api.spool).await?;
        return Ok(Upload { params, marker, file: None });
    }
    let query = request.uri().query().unwrap_or_default().to_owned();
    let (sender, receiver) = mpsc::channel(PIECES);
    let body = request.into_body().into_data_stream();
    let scanned = scan(body, Scanner::new(marker.clone()), sender);
    let pieces = futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|piece| (Ok::<Bytes, std::convert::Infallible>(piece), receiver))
    });
    let pieces = std::pin::pin!(pieces);
    // An empty stream is no file; it is taken as one only once it has brought something.
    let kept = async {
        let mut pieces = pieces.peekable();
        match std::pin::Pin::new(&mut pieces).peek().await {
            Some(_) => Some(api.spool.from_stream(pieces, None, MAX_MEDIA).await),
            None => None,
        }
    };
    let (scanned, kept) = tokio::join!(scanned, kept);
    // The disk's word first: when it takes no more, the rest of the body is not read.
    let file = kept.transpose().map_err(|e: SpoolError| {
        let (status, reason) = spool_failed(&e);
        Failure::new(status, format!("media.data: {reason}"))
    })?;
    let rest = scanned?;
    if rest.iter().all(u8::is_ascii_whitespace) {
        let params = Params::read(empty(&query)).await?;
        return Ok(Upload { params, marker, file });
    }
    let mut fields = match params::parse_json(&rest)? {
        Value::Object(fields) => fields,
        _ => return Err(Failure::bad_request("the request body must be a JSON object")),
    };
    note_body(&fields);
    if fields.len() > 256 {
        return Err(Failure::bad_request("more than 256 parameters"));
    }
    // Some clients send the object as a text.
    if let Some(Value::String(text)) = fields.get("media")
        && let Ok(media @ Value::Object(_)) = serde_json::from_str(text)
    {
        fields.insert("media".into(), media);
    }
    Ok(Upload { params: Params::from_object(fields), marker, file })
}

fn empty(query: &str) -> Request {
    let mut request = Request::new(axum::body::Body::empty());
    if let Ok(uri) = format!("/?{query}").parse() {
        *request.uri_mut() = uri;
    }
    request
}

/// Reads the body; the file's bytes go into `pieces`, the rest is returned.
async fn scan(
    mut body: impl Stream<Item = Result<Bytes, axum::Error>> + Unpin,
    mut scanner: Scanner,
    pieces: mpsc::Sender<Bytes>,
) -> Result<Vec<u8>, Failure> {
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|e| match Cut::of(&e) {
            Some(Cut::Slow) => Failure::from(ParamError::Slow),
            Some(Cut::Large) => too_large(),
            None => ParamError::Incomplete.into(),
        })?;
        let mut decoded = Vec::new();
        scanner.feed(&piece, &mut decoded).map_err(|e| match e {
            ScanError::TooLarge => Failure::from(ParamError::TooLarge(MAX_REST)),
            ScanError::Base64(reason) => Failure::bad_request(format!("media.data: {reason}")),
        })?;
        if !decoded.is_empty() && pieces.send(decoded.into()).await.is_err() {
            // The spool has said why.
            return Err(too_large());
        }
    }
    Ok(scanner.finish())
}

fn too_large() -> Failure {
    Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "media is larger than 50 MB")
}

/// Whom the request names, `main` resolved, each once.
fn recipients(api: &Shared, own: &SessionSettings, params: &Params) -> Result<Vec<String>, Failure> {
    let (field, given) = if params.has("recipients") {
        ("recipients", params.list("recipients")?)
    } else {
        match params.text("number")? {
            Some(number) => ("number", vec![number]),
            None => return Err(Failure::bad_request("number or recipients is required")),
        }
    };
    if given.is_empty() || given.len() > MAX_RECIPIENTS {
        let reason = format!("has {} recipients; 1 to {MAX_RECIPIENTS} are allowed", given.len());
        return Err(ParamError::Value {
            field: if field == "number" { "number" } else { "recipients" },
            reason,
        }
        .into());
    }
    let mut found: Vec<String> = Vec::with_capacity(given.len());
    for text in given {
        let text = text.trim();
        let text = if text.eq_ignore_ascii_case("main") {
            api.main_number(own).ok_or_else(|| {
                Failure::bad_request(
                    "main: no main number is configured; set main_number of the session or in the configuration",
                )
            })?
        } else {
            text
        };
        let recipient = phone::recipient(text, &api.country_code)
            .map_err(|e| Failure::bad_request(format!("{field}: {e}")))?;
        let plain = match recipient {
            Recipient::Number(number) => number,
            Recipient::Jid(jid) => jid,
        };
        if !api.queue_allows(own, &plain) {
            return Err(Failure::new(
                StatusCode::FORBIDDEN,
                format!(
                    "{field}: this number is not on the allow list, which is queue_allow of the session or in the configuration"
                ),
            ));
        }
        if !found.contains(&plain) {
            found.push(plain);
        }
    }
    Ok(found)
}

enum Media {
    File(Fetched),
    Url(String),
    /// Short enough to have stayed in the body.
    Base64 {
        data: String,
        filename: Option<String>,
    },
}

/// What `media` says: `{"url"}` or `{"data","mimetype","filename"}`.
fn media_of(params: &Params, marker: String, file: Option<Fetched>) -> Result<Option<Media>, Failure> {
    let Some(media) = params.value("media") else { return Ok(None) };
    let media = match media {
        Value::Object(media) => media,
        Value::String(text) if text.trim().is_empty() => return Ok(None),
        _ => {
            return Err(Failure::bad_request(
                "media must be an object with url, or with data, mimetype and filename",
            ));
        }
    };
    let filename = text_of(media, "filename")?.map(str::to_owned);
    if let Some(data) = text_of(media, "data")? {
        if data != marker {
            return Ok(Some(Media::Base64 { data: data.to_owned(), filename }));
        }
        let mut file = file.ok_or_else(|| Failure::bad_request("media.data is empty"))?;
        if let Some(name) = filename {
            file.rename(&name);
        }
        return Ok(Some(Media::File(file)));
    }
    if file.is_some() {
        return Err(Failure::bad_request("a field other than media.data is too long"));
    }
    match text_of(media, "url")? {
        Some(url) => Ok(Some(Media::Url(url.to_owned()))),
        None => Err(Failure::bad_request("media needs url or data")),
    }
}

fn text_of<'a>(object: &'a Map<String, Value>, field: &str) -> Result<Option<&'a str>, Failure> {
    match object.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.trim().is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(Failure::bad_request(format!("media.{field} must be a text"))),
    }
}

async fn accept(
    api: &Shared,
    session: &Session,
    recipients: Vec<String>,
    message: Option<String>,
    media: Option<Media>,
    reference: Option<Reference>,
) -> Result<crate::outbox::Batch, SendError> {
    if let Some(message) = &message {
        let most = if media.is_some() { MAX_CAPTION } else { MAX_TEXT };
        check_text("message", message, most)?;
    }
    let mut file = match media {
        None => None,
        Some(Media::File(file)) => Some(file),
        Some(Media::Url(url)) => Some(media::fetch(&url, &api.fetch, &api.spool).await?),
        Some(Media::Base64 { data, filename }) => {
            Some(api.spool.from_base64(data, filename, MAX_MEDIA).await?)
        }
    };
    let has_file = file.is_some();
    let field = if recipients.len() == 1 { "number" } else { "recipients" };
    let own = api.outbox.settings_of(session.no());
    let mut drafts = Vec::with_capacity(recipients.len());
    for recipient in &recipients {
        let target = if recipients.len() == 1 {
            api.target(session, field, recipient, true).await?
        } else {
            api.target_unchecked(session, field, recipient, "")?
        };
        let body = match (file.take(), &message) {
            (Some(file), caption) => {
                let media = media::kind_of(None, false, file.mime)?;
                Body::Media { file, media, caption: caption.clone() }
            }
            (None, caption) if has_file => Body::SameMedia { caption: caption.clone() },
            (None, Some(message)) => Body::Text(message.clone()),
            (None, None) => return Err(SendError::Field { field: "message", reason: "is required".into() }),
        };
        drafts.push((target, body, Options { pause: api.queue_pause(&own), ..Options::default() }));
    }
    api.accept_all(session, drafts, reference).await
}
