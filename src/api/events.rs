//! `GET /api/v1/events`: the journal as server-sent events; `GET /api/v1/media/{event}`: the file of an event.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use tokio::io::AsyncReadExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::keys::Caller;
use super::openapi::v1::{DIALECT, EventFile, EventId, EventLine, EventsQuery, LastEventId, LinkSignature};
use super::openapi::{Purpose, Routes, routes};
use super::params::PathId;
use super::v1::{Failure, caller};
use super::{Api, Shared};
use crate::clock::now_ms;
use crate::inbox::{Body as EventBody, Event, Inbox, Kind};
use crate::session::ReceivedError;
use crate::webhook::Links;
use crate::webhook::format::{kurir_event, kurir_gap};

/// Streams open at once, from all clients.
const MAX_STREAMS: usize = 32;
/// Events read from the journal at once.
const PAGE: usize = 32;
/// A comment goes out after this long without an event, so that both ends know that the other is there.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Piece of a file in memory.
const CHUNK: usize = 64 * 1024;

pub(super) fn routes<P: Purpose>() -> Routes<P> {
    Routes::of(&[&DIALECT]).with(routes!(events)).with(routes!(media))
}

/// Places for streams.
#[derive(Clone)]
pub struct Streams(Arc<Semaphore>);

impl Default for Streams {
    fn default() -> Streams {
        Streams(Arc::new(Semaphore::new(MAX_STREAMS)))
    }
}

/// Which events a client wants and may see.
struct Filter {
    caller: Caller,
    session: Option<String>,
    kinds: Vec<Kind>,
    person: Option<String>,
}

impl Filter {
    fn takes(&self, event: &Event) -> bool {
        let may = match &self.caller.rules.session {
            Some(session) => *session == event.origin.session,
            None => self.caller.may_use(&event.origin.account),
        };
        let phone = event.person.phone.as_deref();
        may && self.session.as_ref().is_none_or(|session| *session == event.origin.session)
            && (self.kinds.is_empty() || self.kinds.contains(&event.kind()))
            && self
                .person
                .as_deref()
                .is_none_or(|person| phone == Some(person) || event.person.lid_user() == Some(person))
    }
}

/// One stream.
struct Stream {
    inbox: Inbox,
    links: Links,
    filter: Filter,
    head: watch::Receiver<Option<u64>>,
    cursor: u64,
    greeted: bool,
    _place: OwnedSemaphorePermit,
}

/// Reads a query parameter.
fn query(request: &Request, wanted: &str) -> Option<String> {
    let query = request.uri().query()?;
    let pairs: Vec<(String, String)> = serde_urlencoded::from_str(query).ok()?;
    pairs.into_iter().find(|(name, value)| name == wanted && !value.trim().is_empty()).map(|(_, value)| value)
}

/// Where to begin: after `Last-Event-ID` or `after`, else with what happens from now on.
fn start(api: &Shared, request: &Request) -> Result<u64, Failure> {
    let header = request.headers().get("last-event-id").and_then(|value| value.to_str().ok());
    let newest = api.inbox.newest()?;
    let Some(text) = header.map(str::to_owned).or_else(|| query(request, "after")) else { return Ok(newest) };
    let text = text.trim();
    if let Ok(seq) = text.parse::<u64>() {
        // A number from another box, or from before its data was removed, must not wait for ever.
        return Ok(seq.min(newest));
    }
    match api.inbox.find(text)? {
        Some(event) => Ok(event.seq),
        None => Err(Failure::bad("Last-Event-ID (or after) must be the id of an event of this stream")),
    }
}

/// Follow the events
///
/// Server-sent events: `id` is the event's `seq`, `event` its type, `data` the event as JSON, of which this is the schema.
/// A comment line comes every 15 s. Where events are no longer kept that the reader has not seen, a `gap` says which.
#[utoipa::path(get, path = "/api/v1/events", params(EventsQuery, LastEventId), responses(
    (status = 200, description = "The stream; it ends when the box closes it", body = EventLine,
        content_type = "text/event-stream"),
    (status = 403, description = "The session belongs to another account"),
    (status = 404, description = "There is no such session"),
    (status = 503, description = "32 streams are open already"),
))]
async fn events(State(api): State<Api>, request: Request) -> Result<Response, Failure> {
    let caller = caller(&api, &request)?;
    let cursor = start(&api, &request)?;
    let kinds = match query(&request, "types") {
        None => Vec::new(),
        Some(list) => {
            let kinds: Option<Vec<Kind>> = list.split(',').map(Kind::parse).collect();
            kinds.ok_or_else(|| {
                let all: Vec<&str> = Kind::ALL.iter().map(|(_, name)| *name).collect();
                Failure::bad(format!("types must be a comma list of: {}", all.join(", ")))
            })?
        }
    };
    let session = query(&request, "session");
    if let Some(id) = &session {
        let found = api.registry.get(id);
        let session = found
            .ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, "Session not found; check the session id"))?;
        if !caller.may_use_session(&session) {
            return Err(Failure::new(StatusCode::FORBIDDEN, "This session belongs to another account"));
        }
    }
    let person = query(&request, "person")
        .map(|person| person.split('@').next().unwrap_or_default().trim_start_matches('+').to_owned());
    let place = api.streams.0.clone().try_acquire_owned().map_err(|_| {
        let message = format!("{MAX_STREAMS} event streams are open already; close one, or use a webhook");
        Failure::later(StatusCode::SERVICE_UNAVAILABLE, message, 30)
    })?;
    let stream = Stream {
        inbox: api.inbox.clone(),
        links: api.webhooks.links().clone(),
        filter: Filter { caller, session, kinds, person },
        head: api.inbox.head(),
        cursor,
        greeted: false,
        _place: place,
    };
    let chunks = stream::unfold(stream, |mut stream| async move {
        let chunk = stream.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(chunk)), stream))
    });
    let mut response = Body::from_stream(chunks).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies that gather answers would hold events back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

impl Stream {
    /// The next piece; `None`: the gateway closes, or cannot read the journal any more.
    async fn next(&mut self) -> Option<String> {
        if !self.greeted {
            self.greeted = true;
            // Headers go out with the first piece, so that the client knows that it is connected.
            return Some("retry: 3000\n: connected\n\n".to_owned());
        }
        let heartbeat = tokio::time::Instant::now() + HEARTBEAT;
        loop {
            self.head.borrow_and_update().as_ref()?;
            let page = match self.inbox.page(self.cursor, PAGE) {
                Ok(page) => page,
                Err(e) => {
                    log::error!("an event stream ended: {e}");
                    return None;
                }
            };
            let mut out = String::new();
            if let Some((first, last)) = page.gap {
                out.push_str(&format!("id: {last}\nevent: gap\ndata: {}\n\n", kurir_gap(first, last)));
                self.cursor = last;
            }
            let full = page.events.len() == PAGE;
            for event in page.events {
                self.cursor = event.seq;
                if self.filter.takes(&event) {
                    let link = event.media.as_ref().map(|_| self.links.link(&event.id, now_ms() / 1000));
                    let shown = kurir_event(&event, link.as_deref());
                    let (seq, kind) = (event.seq, event.kind().as_str());
                    out.push_str(&format!("id: {seq}\nevent: {kind}\ndata: {shown}\n\n"));
                }
            }
            if !out.is_empty() {
                return Some(out);
            }
            if full {
                continue;
            }
            tokio::select! {
                changed = self.head.changed() => changed.ok()?,
                () = tokio::time::sleep_until(heartbeat) => return Some(": \n\n".to_owned()),
            }
        }
    }
}

/// The signature in a link: `until` and `sig`.
fn signed(api: &Shared, request: &Request, id: &str) -> bool {
    let until = query(request, "until").and_then(|until| until.parse().ok());
    match (until, query(request, "sig")) {
        (Some(until), Some(sig)) => api.webhooks.links().check(id, until, &sig, now_ms() / 1000),
        _ => false,
    }
}

/// Get a received file
///
/// With a key, or by the signed link that an event has. The box fetches the file from WhatsApp when it is first asked for.
#[utoipa::path(get, path = "/api/v1/media/{event}", params(EventId, LinkSignature), security(("ApiKey" = []), ()), responses(
    (status = 200, description = "The file, in its own type", content_type = "*/*", body = EventFile),
    (status = 403, description = "The event belongs to another account"),
    (status = 404, description = "There is no file of such an event"),
    (status = 410, description = "WhatsApp no longer has the file"),
    (status = 413, description = "The file is larger than the box takes"),
    (status = 502, description = "WhatsApp did not give the file"),
    (status = 503, description = "The session is not connected"),
    (status = 507, description = "There is no room on the box's disk"),
))]
async fn media(State(api): State<Api>, PathId(id): PathId, request: Request) -> Result<Response, Failure> {
    let not_found =
        || Failure::new(StatusCode::NOT_FOUND, "There is no file of such an event; it may be too old");
    let caller = if signed(&api, &request, &id) { None } else { Some(caller(&api, &request)?) };
    let event = api.inbox.find(&id)?.ok_or_else(not_found)?;
    if let Some(caller) = caller {
        let filter = Filter { caller, session: None, kinds: Vec::new(), person: None };
        if !filter.takes(&event) {
            return Err(Failure::new(StatusCode::FORBIDDEN, "This event belongs to another account"));
        }
    }
    let session = api.registry.get(&event.origin.session);
    let (file, length) = api.received.file(&event, session.as_ref()).await.map_err(|e| match e {
        ReceivedError::NoFile => not_found(),
        ReceivedError::NotConnected => Failure::later(StatusCode::SERVICE_UNAVAILABLE, e.to_string(), 30),
        ReceivedError::Gone => Failure::new(StatusCode::GONE, e.to_string()),
        ReceivedError::TooLarge { .. } => Failure::new(StatusCode::PAYLOAD_TOO_LARGE, e.to_string()),
        ReceivedError::Failed(_) => Failure::new(StatusCode::BAD_GATEWAY, e.to_string()),
        ReceivedError::Disk { .. } => {
            log::error!("{e}");
            let message = "The gateway's disk did not take the file; free some space on it and try again";
            Failure::new(StatusCode::INSUFFICIENT_STORAGE, message)
        }
    })?;
    let file = tokio::fs::File::from_std(file);
    let chunks = stream::try_unfold(file, |mut file| async move {
        let mut chunk = Vec::with_capacity(CHUNK);
        let count = (&mut file).take(CHUNK as u64).read_to_end(&mut chunk).await?;
        Ok::<_, std::io::Error>((count > 0).then(|| (Bytes::from(chunk), file)))
    });
    let mut response = Body::from_stream(chunks).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    describe_file(&event, headers);
    Ok(response)
}

/// What the file is, as far as its sender may decide that: a page or a script must not run under our address.
fn describe_file(event: &Event, headers: &mut HeaderMap) {
    let media = match &event.body {
        EventBody::Message(message) => message.media.clone().unwrap_or_default(),
        _ => Default::default(),
    };
    let mime = media.mime.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let shown = matches!(
        mime.as_str(),
        "image/jpeg" | "image/png" | "image/webp" | "image/gif" | "application/pdf" | "text/plain"
    ) || mime.starts_with("audio/")
        || mime.starts_with("video/");
    let mime =
        if shown || mime.starts_with("application/") { mime.as_str() } else { "application/octet-stream" };
    let fallback = HeaderValue::from_static("application/octet-stream");
    headers.insert(CONTENT_TYPE, HeaderValue::from_str(mime).unwrap_or(fallback));
    let name: String = media
        .filename
        .unwrap_or_default()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ' ') { c } else { '_' })
        .take(120)
        .collect();
    let how = if shown { "inline" } else { "attachment" };
    let disposition = if name.is_empty() { how.to_owned() } else { format!("{how}; filename=\"{name}\"") };
    if let Ok(value) = HeaderValue::from_str(&disposition) {
        headers.insert(CONTENT_DISPOSITION, value);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, max-age=86400"));
}
