//! `GET /metrics`: the box in numbers, in Prometheus' text format. For an administrator's key, or from the box itself.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::openapi::machines::BoxMetrics;
use super::v1::{Failure, caller};
use super::{Api, Shared, peer};
use crate::clock::now_ms;
use crate::session::Status;
use crate::store::StoreError;

/// The format's own name for itself.
const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Requests by route and status. Its size is bounded by the routes and the statuses that they answer.
#[derive(Clone, Default)]
pub struct Requests(Arc<Mutex<BTreeMap<(String, u16), Count>>>);

#[derive(Clone, Copy, Default)]
struct Count {
    requests: u64,
    seconds: f64,
}

impl Requests {
    fn count(&self, route: &str, status: u16, seconds: f64) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Nothing a client sends becomes part of a key: routes are ours, and unknown paths share one row.
        let count = counts.entry((route.to_owned(), status)).or_default();
        count.requests += 1;
        count.seconds += seconds;
    }
}

/// Counts every request.
pub(super) async fn count(State(api): State<Api>, request: Request, next: Next) -> Response {
    let method = match request.method().as_str() {
        method @ ("GET" | "POST" | "PUT" | "PATCH" | "DELETE" | "HEAD" | "OPTIONS") => method.to_owned(),
        _ => "other".to_owned(),
    };
    let path = request.extensions().get::<MatchedPath>().map_or("unknown", MatchedPath::as_str);
    let route = format!("{method} {path}");
    let began = std::time::Instant::now();
    let response = next.run(request).await;
    api.requests.count(&route, response.status().as_u16(), began.elapsed().as_secs_f64());
    response
}

/// Whether the request comes from this machine and was not passed on by a proxy for somebody else.
fn is_local(request: &Request) -> bool {
    let passed_on = ["forwarded", "x-forwarded-for", "x-real-ip", "via"]
        .iter()
        .any(|name| request.headers().contains_key(*name));
    peer(request).to_canonical().is_loopback() && !passed_on
}

/// Show the box in numbers
///
/// In Prometheus' text format. For an administrator's key, or from the box itself and not through a proxy there.
#[utoipa::path(get, path = "/metrics", security(("ApiKey" = []), ()), responses(
    (status = 200, description = "The numbers", body = BoxMetrics, content_type = "text/plain"),
    (status = 403, description = "The key is no administrator's"),
))]
pub(super) async fn metrics(State(api): State<Api>, request: Request) -> Result<Response, Failure> {
    if !is_local(&request) && !caller(&api, &request)?.admin {
        return Err(Failure::new(StatusCode::FORBIDDEN, "Metrics need an administrator's key"));
    }
    let text = Text::of(&api)?;
    Ok(([(CONTENT_TYPE, FORMAT)], text.0).into_response())
}

/// The text as it grows.
struct Text(String);

impl Text {
    fn of(api: &Shared) -> Result<Text, StoreError> {
        let mut text = Text(String::with_capacity(8 * 1024));
        text.sessions(api)?;
        text.webhooks(api)?;
        text.requests(api);
        text.store(api)?;
        text.machine(api);
        Ok(text)
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn row(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.0.push_str(name);
        if !labels.is_empty() {
            let labels: Vec<String> =
                labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escape(value))).collect();
            let _ = write!(self.0, "{{{}}}", labels.join(","));
        }
        let _ = writeln!(self.0, " {value}");
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.head(name, kind, help);
        self.row(name, &[], value);
    }

    fn sessions(&mut self, api: &Shared) -> Result<(), StoreError> {
        let sessions = api.registry.list();
        self.head("kurir_sessions", "gauge", "Sessions by state.");
        for status in [Status::Connected, Status::Connecting, Status::Qr, Status::Disconnected] {
            let count = sessions.iter().filter(|s| s.snapshot().status == status).count();
            self.row("kurir_sessions", &[("state", status.as_str())], count as f64);
        }
        self.head("kurir_outbox_depth", "gauge", "Messages accepted and neither sent nor failed.");
        for session in &sessions {
            let depth = api.outbox.depth(session.no()) as f64;
            self.row("kurir_outbox_depth", &[("session", session.id())], depth);
        }
        self.head(
            "kurir_outbox_oldest_seconds",
            "gauge",
            "Age of the oldest message that could be sent by now.",
        );
        for session in &sessions {
            let oldest = api.outbox.oldest_ms(session.no())?;
            let age = oldest.map_or(0, |at| now_ms().saturating_sub(at).max(0));
            self.row("kurir_outbox_oldest_seconds", &[("session", session.id())], age as f64 / 1000.0);
        }
        let sends = api.outbox.sends();
        let name = "kurir_sends_total";
        self.head(name, "counter", "Attempts to send since the start, by result.");
        for (result, count) in [("sent", sends.sent), ("failed", sends.failed), ("retried", sends.retried)] {
            self.row(name, &[("result", result)], count as f64);
        }
        Ok(())
    }

    fn webhooks(&mut self, api: &Shared) -> Result<(), StoreError> {
        let (first, next, bytes) = api.inbox.span()?;
        self.single("kurir_journal_events", "gauge", "Events kept.", (next - first) as f64);
        self.single("kurir_journal_bytes", "gauge", "Bytes of events kept.", bytes as f64);
        self.single("kurir_journal_seq", "counter", "Events ever recorded.", (next - 1) as f64);
        let hooks = api.webhooks.list();
        let newest = next - 1;
        self.head("kurir_webhook_behind", "gauge", "Events between a webhook's place and the journal's end.");
        for (hook, standing) in &hooks {
            let behind = newest.saturating_sub(standing.cursor) as f64;
            self.row("kurir_webhook_behind", &[("webhook", &hook.id)], behind);
        }
        self.head("kurir_webhook_set_aside", "gauge", "Events that a webhook's receiver refused so far.");
        for (hook, standing) in &hooks {
            self.row("kurir_webhook_set_aside", &[("webhook", &hook.id)], standing.parked as f64);
        }
        self.head(
            "kurir_webhook_failing_seconds",
            "gauge",
            "For how long a webhook's receiver has taken nothing.",
        );
        for (hook, standing) in &hooks {
            let failing = standing.failing_since_ms.map_or(0, |at| now_ms().saturating_sub(at).max(0));
            self.row("kurir_webhook_failing_seconds", &[("webhook", &hook.id)], failing as f64 / 1000.0);
        }
        self.head("kurir_webhook_calls_total", "counter", "Calls since the start, by result.");
        for (hook, standing) in &hooks {
            for (result, count) in [("delivered", standing.delivered), ("failed", standing.failed)] {
                let labels = [("webhook", hook.id.as_str()), ("result", result)];
                self.row("kurir_webhook_calls_total", &labels, count as f64);
            }
        }
        Ok(())
    }

    fn requests(&mut self, api: &Shared) {
        let counts = api.requests.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.head("kurir_http_requests_total", "counter", "HTTP requests by route and status.");
        for ((route, status), count) in &counts {
            let labels = [("route", route.as_str()), ("status", &status.to_string())];
            self.row("kurir_http_requests_total", &labels, count.requests as f64);
        }
        let name = "kurir_http_request_seconds_total";
        self.head(name, "counter", "Time until the answer began, by route and status.");
        for ((route, status), count) in &counts {
            self.row(name, &[("route", route.as_str()), ("status", &status.to_string())], count.seconds);
        }
    }

    fn store(&mut self, api: &Shared) -> Result<(), StoreError> {
        let stats = api.store.stats();
        self.single("kurir_store_commits_total", "counter", "Commits since the start.", stats.commits as f64);
        self.single(
            "kurir_store_syncs_total",
            "counter",
            "Syncs of the file since the start.",
            stats.syncs as f64,
        );
        let written = stats.bytes_written as f64;
        self.single(
            "kurir_store_written_bytes_total",
            "counter",
            "Bytes given to the file since the start.",
            written,
        );
        let read_only = f64::from(u8::from(stats.read_only));
        self.single("kurir_store_read_only", "gauge", "1 while nothing can be written.", read_only);
        self.single(
            "kurir_store_opening_seconds",
            "gauge",
            "Time that opening the store took at the start.",
            stats.opening.as_secs_f64(),
        );
        let whole = f64::from(u8::from(stats.repaired));
        let help = "1 if the store's file had to be read whole to be opened, which no power cut should need.";
        self.single("kurir_store_read_whole", "gauge", help, whole);
        let size = std::fs::metadata(api.store.path()).map_or(0, |file| file.len());
        self.single("kurir_store_bytes", "gauge", "Size of the store's file.", size as f64);
        self.single(
            "kurir_spool_bytes",
            "gauge",
            "Bytes of files that wait to be sent.",
            api.spool.used() as f64,
        );
        Ok(())
    }

    fn machine(&mut self, api: &Shared) {
        if let Some(bytes) = resident() {
            self.single("kurir_memory_resident_bytes", "gauge", "Memory of this process.", bytes as f64);
        }
        if let Ok(disk) = rustix::fs::statvfs(&api.data_dir) {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let size = disk.f_blocks.saturating_mul(disk.f_frsize);
            self.single(
                "kurir_disk_free_bytes",
                "gauge",
                "Room left on the disk of the data folder.",
                free as f64,
            );
            self.single(
                "kurir_disk_size_bytes",
                "gauge",
                "Size of the disk of the data folder.",
                size as f64,
            );
        }
    }
}

/// Resident memory in bytes, as the kernel counts it.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_written_as_prometheus_reads_them() {
        let mut text = Text(String::new());
        text.single("a_total", "counter", "Things.", 3.0);
        text.head("b", "gauge", "Others.");
        text.row("b", &[("name", "x\"y\\z\n"), ("status", "200")], 0.25);
        let expected = "# HELP a_total Things.\n# TYPE a_total counter\na_total 3\n# HELP b Others.\n\
            # TYPE b gauge\nb{name=\"x\\\"y\\\\z\\n\",status=\"200\"} 0.25\n";
        assert_eq!(text.0, expected);
        assert!(resident().is_some_and(|bytes| bytes > 1 << 20));
    }
}
