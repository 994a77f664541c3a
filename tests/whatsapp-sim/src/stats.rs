//! What the server saw: counters, and the list of things a client did wrong.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Violations kept in full; later ones are only counted, so that the first, which is usually the cause, stays.
pub const MAX_VIOLATIONS: usize = 1_000;

/// The longest text of one violation, in bytes. The rest is cut off.
const MAX_VIOLATION_TEXT: usize = 500;

/// A snapshot of [`Counters`], as `GET /stats` answers it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// WebSocket connections.
    pub connections: Connections,
    /// Binary nodes after the Noise handshake.
    pub stanzas: Stanzas,
    /// `<message>` stanzas that clients sent.
    pub messages: u64,
    /// Acks that clients sent for stanzas of the server.
    pub acks: u64,
    /// Receipts that clients sent.
    pub receipts: u64,
    /// Messages that reached a phone a second time with the same id, which it did not show again.
    pub duplicates: u64,
    /// Media uploads that were completed and accepted.
    pub uploads: u64,
    /// Media downloads that were answered with the bytes.
    pub downloads: u64,
    /// What clients did wrong, oldest first, at most [`MAX_VIOLATIONS`].
    pub violations: Vec<Violation>,
    /// Violations beyond [`MAX_VIOLATIONS`].
    pub violations_dropped: u64,
}

/// WebSocket connections, open and ever accepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// Open at this moment.
    pub now: u64,
    /// Since the server started.
    pub total: u64,
}

/// Binary nodes, seen from the server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stanzas {
    /// Received from clients.
    #[serde(rename = "in")]
    pub received: u64,
    /// Sent to clients.
    #[serde(rename = "out")]
    pub sent: u64,
}

/// One thing that a client did and a correct one would not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// Which client: a device's JID once it is known, else its socket address.
    pub who: String,
    /// What was wrong, with the value that was expected where there is one.
    pub what: String,
}

/// Live counters, shared by every connection and phone of a server.
#[derive(Debug, Default)]
pub struct Counters {
    connections_now: AtomicU64,
    connections_total: AtomicU64,
    stanzas_in: AtomicU64,
    stanzas_out: AtomicU64,
    messages: AtomicU64,
    acks: AtomicU64,
    receipts: AtomicU64,
    duplicates: AtomicU64,
    uploads: AtomicU64,
    downloads: AtomicU64,
    violations: Mutex<Violations>,
}

#[derive(Debug, Default)]
struct Violations {
    kept: VecDeque<Violation>,
    dropped: u64,
}

/// Counts one open connection for as long as it lives.
#[derive(Debug)]
pub struct ConnectionGuard(Arc<Counters>);

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.connections_now.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Counters are statistics: no other memory is read on the strength of their values.
fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

impl Counters {
    /// Counts a connection as open until the guard is dropped.
    pub fn connection(self: &Arc<Self>) -> ConnectionGuard {
        add(&self.connections_total, 1);
        add(&self.connections_now, 1);
        ConnectionGuard(Arc::clone(self))
    }

    /// Counts a node received from a client.
    pub fn stanza_in(&self) {
        add(&self.stanzas_in, 1);
    }

    /// Counts a node sent to a client.
    pub fn stanza_out(&self) {
        add(&self.stanzas_out, 1);
    }

    /// Counts a `<message>` that a client sent.
    pub fn message(&self) {
        add(&self.messages, 1);
    }

    /// Counts an ack that a client sent.
    pub fn ack(&self) {
        add(&self.acks, 1);
    }

    /// Counts a receipt that a client sent.
    pub fn receipt(&self) {
        add(&self.receipts, 1);
    }

    /// Counts a message that a phone had shown before.
    pub fn duplicate(&self) {
        add(&self.duplicates, 1);
    }

    /// Counts an accepted upload.
    pub fn upload(&self) {
        add(&self.uploads, 1);
    }

    /// Counts an answered download.
    pub fn download(&self) {
        add(&self.downloads, 1);
    }

    /// Records that `who` did `what`, and logs it as a warning.
    pub fn violation(&self, who: impl Into<String>, what: impl Into<String>) {
        let (who, mut what) = (who.into(), what.into());
        if what.len() > MAX_VIOLATION_TEXT {
            what.truncate(what.floor_char_boundary(MAX_VIOLATION_TEXT));
            what.push('…');
        }
        log::warn!("violation: {what}");
        log::debug!("violation by {who}");
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
        let mut violations = self.violations();
        if violations.kept.len() < MAX_VIOLATIONS {
            violations.kept.push_back(Violation { at, who, what });
        } else {
            violations.dropped += 1;
        }
    }

    /// Every counter at this moment.
    pub fn snapshot(&self) -> Stats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let violations = self.violations();
        Stats {
            connections: Connections { now: get(&self.connections_now), total: get(&self.connections_total) },
            stanzas: Stanzas { received: get(&self.stanzas_in), sent: get(&self.stanzas_out) },
            messages: get(&self.messages),
            acks: get(&self.acks),
            receipts: get(&self.receipts),
            duplicates: get(&self.duplicates),
            uploads: get(&self.uploads),
            downloads: get(&self.downloads),
            violations: violations.kept.iter().cloned().collect(),
            violations_dropped: violations.dropped,
        }
    }

    /// The list is pushed to in one step, so a panic elsewhere cannot leave it half changed.
    fn violations(&self) -> MutexGuard<'_, Violations> {
        self.violations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_counts_until_its_guard_is_dropped() {
        let counters = Arc::new(Counters::default());
        let first = counters.connection();
        let second = counters.connection();
        assert_eq!(counters.snapshot().connections, Connections { now: 2, total: 2 });
        drop(first);
        assert_eq!(counters.snapshot().connections, Connections { now: 1, total: 2 });
        drop(second);
        assert_eq!(counters.snapshot().connections, Connections { now: 0, total: 2 });
    }

    #[test]
    fn the_first_violations_are_kept_and_later_ones_counted() {
        let counters = Counters::default();
        for n in 0..MAX_VIOLATIONS + 3 {
            counters.violation("device", format!("number {n}"));
        }
        let stats = counters.snapshot();
        assert_eq!(stats.violations.len(), MAX_VIOLATIONS);
        assert_eq!(stats.violations[0].what, "number 0");
        assert_eq!(stats.violations_dropped, 3);
    }

    #[test]
    fn a_long_violation_is_cut_at_a_character() {
        let counters = Counters::default();
        counters.violation("device", "é".repeat(MAX_VIOLATION_TEXT));
        let what = &counters.snapshot().violations[0].what;
        assert!(what.len() <= MAX_VIOLATION_TEXT + '…'.len_utf8());
        assert!(what.ends_with("é…"));
    }

    #[test]
    fn stats_have_the_names_of_the_control_api() {
        let counters = Arc::new(Counters::default());
        counters.stanza_in();
        counters.stanza_out();
        counters.stanza_out();
        counters.violation("4915550001:1@s.whatsapp.net", "reused prekey 7");
        let json = serde_json::to_value(counters.snapshot()).unwrap();
        assert_eq!(json["stanzas"], serde_json::json!({"in": 1, "out": 2}));
        assert_eq!(json["connections"], serde_json::json!({"now": 0, "total": 0}));
        assert_eq!(json["violations"][0]["what"], "reused prekey 7");
        assert!(json["violations"][0]["at"].as_u64().unwrap() > 1_600_000_000_000);
    }
}
