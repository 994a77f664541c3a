//! The request log: what was asked and answered, for the people who write the applications.
//!
//! Keys and files never enter it ([`redact`]). A request is put aside in memory when its answer begins; what has gathered
//! is looked through and written once a minute or when it is much, in one commit and never by a request itself. A power cut
//! loses the last minute of the log, and costs nothing else. Bodies are not copied on their way: the request's is what the handler read
//! as parameters, so an upload streams as ever, and the answer's is looked at where it is short JSON, which is in memory
//! anyhow.

use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody, to_bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, USER_AGENT};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use tokio::sync::{Notify, watch};

mod list;
mod record;
mod redact;

use super::access::{authorization, header_key};
use super::keys::Caller;
use super::{Api, peer};
use crate::clock::now_ms;
use crate::config::Config;
use crate::store::{Store, StoreError};
pub(super) use list::routes;
pub use record::TABLES;
use redact::{HIDDEN, Redactor};

/// Longest time for which requests are kept in memory only.
const BATCH_TIME: Duration = Duration::from_secs(60);
/// Requests, or bytes of them, that are written without waiting for that.
const BATCH_ROWS: usize = 256;
const BATCH_BYTES: usize = 256 * 1024;
/// Requests, or bytes of them, that may wait while the store is slow; further ones are not logged.
const MOST_WAITING: usize = 2_048;
const MOST_WAITING_BYTES: usize = 1024 * 1024;
/// Requests without a right key that are logged in each minute, so that a stranger cannot wash everything else out.
const STRANGERS: u32 = 30;
/// Longest answer that is looked at, in bytes.
const MAX_ANSWER: u64 = 32 * 1024;
/// Texts of a body longer than this are not even copied, in bytes.
const MAX_COPY: usize = 1_024;
/// Items of a list, or fields of an object, that are copied.
const MAX_ITEMS: usize = 200;
/// Longest header value that is kept, in characters.
const MAX_HEADER: usize = 200;
/// Routes that are not logged: those that machines ask all day long, and the log itself.
const UNLOGGED: &[&str] = &[
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/docs",
    "/docs/{file}",
    "/api/v1/requests",
    "/api/v1/requests/{id}",
];

/// How much the log keeps. The first limit that is reached counts.
#[derive(Clone, Copy, Debug)]
pub struct RequestLogSettings {
    /// Requests; 0: there is no log.
    pub rows: u64,
    /// Bytes.
    pub bytes: u64,
    /// Age.
    pub age: Duration,
    /// Bytes of one body; 0: no bodies.
    pub body: usize,
}

impl RequestLogSettings {
    /// From the configuration.
    pub fn from_config(config: &Config) -> RequestLogSettings {
        RequestLogSettings {
            rows: config.request_log_rows,
            bytes: config.request_log_bytes,
            age: Duration::from_secs(u64::from(config.request_log_days) * 24 * 3600),
            body: config.request_log_body,
        }
    }

    /// The time before which requests are forgotten, Unix milliseconds.
    fn oldest_ms(&self, now_ms: i64) -> i64 {
        now_ms.saturating_sub(i64::try_from(self.age.as_millis()).unwrap_or(i64::MAX))
    }
}

tokio::task_local! {
    /// What the handlers find out about the request under way.
    static NOTES: RefCell<Notes>;
}

#[derive(Default)]
struct Notes {
    account: Option<String>,
    key: Option<String>,
    presented: Vec<String>,
    /// Whether bodies are kept.
    bodies: bool,
    body: Value,
}

/// Tells the log with which key the request came, and whose it is.
pub(super) fn note_key(key: Option<&str>, caller: Option<&Caller>) {
    // Outside of a request, or without a log, there is nobody to tell; so below.
    let _ = NOTES.try_with(|notes| {
        let mut notes = notes.borrow_mut();
        notes.presented.extend(key.map(str::to_owned));
        if let Some(caller) = caller {
            notes.account = Some(caller.account.clone());
            notes.key = Some(caller.key_id.clone());
        }
    });
}

/// Tells the log the parameters in the request's body.
pub(super) fn note_body(fields: &Map<String, Value>) {
    let _ = NOTES.try_with(|notes| {
        let mut notes = notes.borrow_mut();
        if notes.bodies {
            notes.body = Value::Object(fields.iter().take(MAX_ITEMS).map(copy_field).collect());
        }
    });
}

/// Tells the log one field of a request's body, such as a file's name.
pub(super) fn note_field(name: &str, value: impl Into<Value>) {
    let _ = NOTES.try_with(|notes| {
        let mut notes = notes.borrow_mut();
        if !notes.bodies {
            return;
        }
        if let Value::Null = notes.body {
            notes.body = Value::Object(Map::new());
        }
        if let Value::Object(fields) = &mut notes.body
            && fields.len() < MAX_ITEMS
        {
            fields.insert(name.chars().take(MAX_HEADER).collect(), copy(&value.into()));
        }
    });
}

/// Tells the log of an uploaded file.
pub(super) fn note_file(name: &str, filename: &str, bytes: u64) {
    note_field(name, format!("(file {filename}, {bytes} bytes)"));
}

fn copy_field((name, value): (&String, &Value)) -> (String, Value) {
    (name.chars().take(MAX_HEADER).collect(), copy(value))
}

/// About how many bytes of memory a value takes.
fn weight(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(weight).sum(),
            Value::Object(fields) => fields.iter().map(|(name, value)| 2 * name.len() + weight(value)).sum(),
            _ => 0,
        }
}

/// A copy without what would be taken out anyhow because of its length.
fn copy(value: &Value) -> Value {
    match value {
        Value::String(text) if text.len() > MAX_COPY => format!("({} bytes)", text.len()).into(),
        Value::Array(items) => items.iter().take(MAX_ITEMS).map(copy).collect(),
        Value::Object(fields) => Value::Object(fields.iter().take(MAX_ITEMS).map(copy_field).collect()),
        other => other.clone(),
    }
}

/// The log. Cheap to clone.
#[derive(Clone)]
pub struct RequestLog {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    settings: RequestLogSettings,
    // Held to push and to take, never across an await.
    waiting: Mutex<Waiting>,
    begun: Notify,
    full: Notify,
}

#[derive(Default)]
struct Waiting {
    requests: Vec<Logged>,
    bytes: usize,
    lost: u64,
    /// The minute under way, and what came in it without a right key.
    strangers: Option<(Instant, u32)>,
}

impl Waiting {
    /// Whether one more request without a right key is logged in this minute.
    fn admit_stranger(&mut self, now: Instant) -> bool {
        match &mut self.strangers {
            Some((since, count)) if now.saturating_duration_since(*since) < Duration::from_secs(60) => {
                *count += 1;
                *count <= STRANGERS
            }
            begin => {
                *begin = Some((now, 1));
                true
            }
        }
    }
}

impl RequestLog {
    /// On this store.
    pub fn new(store: Store, settings: RequestLogSettings) -> RequestLog {
        let waiting = Mutex::default();
        let shared = Shared { store, settings, waiting, begun: Notify::new(), full: Notify::new() };
        RequestLog { shared: Arc::new(shared) }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, request: Logged) {
        let weight = request.weight();
        let mut waiting = self.waiting();
        if waiting.requests.len() >= MOST_WAITING || waiting.bytes + weight > MOST_WAITING_BYTES {
            waiting.lost += 1;
            return;
        }
        waiting.bytes += weight;
        waiting.requests.push(request);
        let (first, full) = (
            waiting.requests.len() == 1,
            waiting.requests.len() >= BATCH_ROWS || waiting.bytes >= BATCH_BYTES,
        );
        drop(waiting);
        if first {
            self.shared.begun.notify_one();
        }
        if full {
            self.shared.full.notify_one();
        }
    }

    /// Writes what gathers, until `stop` becomes true. What comes after it is for [`RequestLog::flush`].
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let stopped = async {
            // An error means that the gateway is gone.
            let _ = stop.wait_for(|stop| *stop).await;
        };
        let write = async {
            loop {
                self.shared.begun.notified().await;
                // Late by this long at most, so that many share one commit; at once if they are many.
                let _ = tokio::time::timeout(BATCH_TIME, self.shared.full.notified()).await;
                if let Err(e) = self.flush().await {
                    log::debug!("request log: {e}");
                }
            }
        };
        tokio::select! {
            () = stopped => {}
            () = write => {}
        }
    }

    /// Hands what has gathered to the store.
    ///
    /// # Errors
    /// The store is closed.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let Waiting { requests, lost, .. } = {
            let mut waiting = self.waiting();
            let strangers = waiting.strangers;
            std::mem::replace(&mut *waiting, Waiting { strangers, ..Waiting::default() })
        };
        if lost > 0 {
            log::warn!("request log: {lost} requests were not logged; the store is too slow");
        }
        // A full disk has better uses for the room that is left.
        if requests.is_empty() || self.shared.store.stats().read_only {
            return Ok(());
        }
        let (settings, now) = (self.shared.settings, now_ms());
        // Milliseconds of work for a full batch, which no request should wait for.
        let packed = tokio::task::spawn_blocking(move || {
            let rows: Vec<_> = requests.into_iter().map(|request| request.row(settings.body)).collect();
            record::pack(&rows)
        });
        let blocks = packed.await.map_err(|e| StoreError::Panicked { detail: e.to_string() })??;
        self.shared.store.write_soon(move |txn| record::add(txn, &blocks, &settings, now)).await
    }

    /// As [`RequestLog::flush`], and waits until it can be read.
    async fn settle(&self) -> Result<(), StoreError> {
        self.flush().await?;
        self.shared.store.write_if(|_| Ok(((), false))).await
    }
}

/// Logs every request.
pub(super) async fn log(State(api): State<Api>, request: Request, next: Next) -> Response {
    let settings = api.request_log.shared.settings;
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    if settings.rows == 0 || UNLOGGED.contains(&route) {
        return next.run(request).await;
    }
    let (at_ms, began) = (now_ms(), Instant::now());
    let seen = Seen::of(&request);
    let notes = Notes { bodies: settings.body > 0, ..Notes::default() };
    let handled = async {
        let response = next.run(request).await;
        (response, NOTES.with(RefCell::take))
    };
    let (response, notes) = NOTES.scope(RefCell::new(notes), handled).await;
    let took = began.elapsed();
    if notes.account.is_none() && !api.request_log.waiting().admit_stranger(began) {
        return response;
    }
    let (response, answer) = match settings.body {
        0 => (response, Bytes::new()),
        _ => look_at(response).await,
    };
    let status = response.status().as_u16();
    let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    api.request_log.push(Logged { seen, at_ms, status, took_ms, notes, answer });
    response
}

/// A request and its answer, as they were; only [`Logged::row`] leaves the memory.
struct Logged {
    seen: Seen,
    at_ms: i64,
    status: u16,
    took_ms: u64,
    notes: Notes,
    /// The answer's body, if it is short JSON.
    answer: Bytes,
}

/// What is known of a request before it is handled.
struct Seen {
    method: &'static str,
    path: String,
    query: Option<String>,
    ip: IpAddr,
    headers: Vec<(&'static str, String)>,
    presented: Vec<String>,
}

impl Seen {
    fn of(request: &Request) -> Seen {
        let headers = request.headers();
        let presented = [header_key(headers), authorization(headers)];
        Seen {
            // Nothing but what we know: a method may be any word, a key too.
            method: ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]
                .into_iter()
                .find(|known| *known == request.method().as_str())
                .unwrap_or("OTHER"),
            path: request.uri().path().to_owned(),
            query: request.uri().query().map(str::to_owned),
            ip: peer(request).to_canonical(),
            headers: kept_headers(headers),
            presented: presented.into_iter().flatten().map(str::to_owned).collect(),
        }
    }
}

impl Logged {
    /// About how many bytes of memory it takes.
    fn weight(&self) -> usize {
        let Seen { path, query, headers, presented, .. } = &self.seen;
        let keys = presented.iter().chain(&self.notes.presented).map(String::len).sum::<usize>();
        let headers = headers.iter().map(|(_, value)| 2 * size_of::<String>() + value.len()).sum::<usize>();
        let texts = path.len() + query.as_ref().map_or(0, String::len) + keys + headers;
        size_of::<Logged>() + texts + weight(&self.notes.body) + self.answer.len()
    }

    /// As it is stored, with bodies of up to `most` bytes.
    fn row(self, most: usize) -> record::Row {
        let Logged { seen, at_ms, status, took_ms, notes, answer } = self;
        let answer = serde_json::from_slice(&answer).unwrap_or(Value::Null);
        let mut redactor = Redactor::new(seen.presented.into_iter().chain(notes.presented));
        redactor.learn_query(seen.query.as_deref().unwrap_or_default());
        redactor.learn_value(&notes.body);
        redactor.learn_value(&answer);
        // Who has no key may have mistyped one, or sent it in the wrong place.
        let body = if notes.account.is_some() { notes.body } else { Value::Null };
        let headers: Map<String, Value> = seen
            .headers
            .into_iter()
            .map(|(name, value)| (name.to_owned(), redactor.text(&value).into()))
            .collect();
        record::Row {
            at_ms,
            method: seen.method.to_owned(),
            url: redactor.url(&seen.path, seen.query.as_deref()),
            status,
            took_ms,
            ip: seen.ip.to_string(),
            account: notes.account,
            key: notes.key,
            headers: Value::Object(headers),
            body: short(redactor.value(body), most),
            answer: short(redactor.value(answer), most),
        }
    }
}

/// The headers that help to find a mistake, and of the others nothing.
fn kept_headers(headers: &HeaderMap) -> Vec<(&'static str, String)> {
    let mut kept = Vec::new();
    for name in [CONTENT_TYPE, CONTENT_LENGTH, USER_AGENT] {
        if let Some(value) = headers.get(&name).and_then(|value| value.to_str().ok()) {
            let shown: &'static str = match name {
                CONTENT_TYPE => "content-type",
                CONTENT_LENGTH => "content-length",
                _ => "user-agent",
            };
            kept.push((shown, value.chars().take(MAX_HEADER).collect()));
        }
    }
    for name in ["authorization", "x-api-key"] {
        if headers.contains_key(name) {
            kept.push((name, HIDDEN.to_owned()));
        }
    }
    kept
}

/// The body, or how long it is where that is more than is kept.
fn short(body: Value, most: usize) -> Value {
    if body.is_null() {
        return body;
    }
    match body.to_string().len() {
        length if length > most => format!("({length} bytes, more than the log keeps)").into(),
        _ => body,
    }
}

/// The answer as it was, and its body if that is short JSON.
async fn look_at(response: Response) -> (Response, Bytes) {
    let json = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.starts_with("application/json"));
    // A length that is known beforehand means that the body is in memory already; a stream's is not.
    let length = response.body().size_hint().exact().filter(|length| *length <= MAX_ANSWER);
    let (true, Some(length)) = (json, length) else { return (response, Bytes::new()) };
    let (head, body) = response.into_parts();
    match to_bytes(body, usize::try_from(length).unwrap_or(usize::MAX)).await {
        Ok(bytes) => (Response::from_parts(head, Body::from(bytes.clone())), bytes),
        // Not possible for what is in memory; then there is nothing left to answer with.
        Err(e) => {
            log::error!("an answer could not be read back: {e}");
            (
                Response::from_parts(head, Body::from(json!({"error": "Internal Server Error"}).to_string())),
                Bytes::new(),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_have_their_share_in_each_minute() {
        let (mut waiting, start) = (Waiting::default(), Instant::now());
        assert!((0..STRANGERS).all(|_| waiting.admit_stranger(start)));
        assert!(!waiting.admit_stranger(start + Duration::from_secs(59)));
        assert!(waiting.admit_stranger(start + Duration::from_secs(60)));
    }

    #[test]
    fn a_copy_leaves_out_what_is_long() {
        let body = json!({"a": "x".repeat(MAX_COPY + 1), "b": [[1, 1, 1], "kurz"], "c": vec![0; 500]});
        let copied = copy(&body);
        assert_eq!((&copied["a"], &copied["b"]), (&json!("(1025 bytes)"), &json!([[1, 1, 1], "kurz"])));
        assert_eq!(copied["c"].as_array().map(Vec::len), Some(MAX_ITEMS));
        assert_eq!(short(copied, 10), json!("(447 bytes, more than the log keeps)"));
    }
}
