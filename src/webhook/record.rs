//! Webhooks as they are stored, with where each stands and what became of its deliveries.

use std::collections::BTreeMap;

use redb::{ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::format::Format;
use super::schedule::Parked;
use crate::inbox::{Event, Kind};
use crate::store::tables::Table;
use crate::store::{Store, StoreError, json};

type Bytes = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// Webhooks. Key: number u32 BE. Value: [`Hook`] as JSON.
const HOOKS: Bytes = Bytes::new("webhooks");
/// How far each has come. Key: number u32 BE. Value: the last event's sequence number u64 LE, then the number of log
/// rows ever written u64 LE.
const CURSORS: Bytes = Bytes::new("webhook_cursors");
/// Events set aside. Key: number u32 BE, sequence number u64 BE. Value: [`Parked`] as JSON.
const PARKED: Bytes = Bytes::new("webhook_parked");
/// Dead letters. Key: number u32 BE, sequence number u64 BE. Value: [`Dead`] as JSON.
const DEAD: Bytes = Bytes::new("webhook_dead");
/// Attempts. Key: number u32 BE, count u64 BE. Value: [`Attempt`] as JSON.
const LOG: Bytes = Bytes::new("webhook_log");
/// Key: `next`, the next webhook's number u32 LE; `link_key`, 32 bytes.
const FACTS: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("webhook_facts");

/// The tables of this module.
pub const TABLES: &[Table] = &[
    Table::of::<&'static [u8]>("webhooks"),
    Table::of::<&'static [u8]>("webhook_cursors"),
    Table::of::<&'static [u8]>("webhook_parked"),
    Table::of::<&'static [u8]>("webhook_dead"),
    Table::of::<&'static [u8]>("webhook_log"),
    Table::of::<&'static str>("webhook_facts"),
];

/// Dead letters kept for one webhook; beyond it the oldest go.
pub(super) const MAX_DEAD: usize = 1_000;
/// Attempts kept in one webhook's log.
pub(super) const MAX_LOG: u64 = 200;

/// A webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Its number inside the box; never used again.
    pub no: u32,
    /// Its id towards applications.
    pub id: String,
    /// The account that owns it: it gets the events of this account's sessions.
    pub account: String,
    /// Only this session's events; else those of all.
    pub session: Option<String>,
    /// The receiver.
    pub url: String,
    /// In which format.
    pub format: Format,
    /// Only these kinds; empty: all.
    pub events: Vec<Kind>,
    /// Also what the account itself wrote, on its phone or another linked device.
    pub from_me: bool,
    /// Whether it delivers.
    pub enabled: bool,
    /// How long the receiver may take, in seconds.
    pub timeout_s: u32,
    /// What signs its deliveries.
    pub secret: String,
    /// Unix milliseconds.
    pub created_at_ms: i64,
}

impl Hook {
    /// Whether it wants this event.
    pub fn wants(&self, event: &Event) -> bool {
        self.account == event.origin.account
            && self.session.as_ref().is_none_or(|session| *session == event.origin.session)
            && (self.events.is_empty() || self.events.contains(&event.kind()))
            && (self.from_me || !event.from_me())
    }
}

/// An event that was given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dead {
    /// The event's id.
    pub event: String,
    /// Its kind.
    pub kind: String,
    /// Attempts made.
    pub attempts: u32,
    /// When the first failed, Unix milliseconds.
    pub first_ms: i64,
    /// When it was given up, Unix milliseconds.
    pub at_ms: i64,
    /// Why the last attempt failed.
    pub error: String,
}

/// One attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = WebhookAttempt)]
pub struct Attempt {
    /// When, Unix milliseconds.
    pub at_ms: i64,
    /// The event's sequence number.
    pub seq: u64,
    /// The event's id.
    pub event: String,
    /// Its kind.
    pub kind: String,
    /// Which attempt it was, from 1.
    pub attempt: u32,
    /// The HTTP status, where there was one.
    pub status: Option<u16>,
    /// How long the receiver took, in milliseconds.
    pub took_ms: u64,
    /// `delivered`, `retry`, `dead` or `gap`.
    pub result: String,
    /// Why it failed.
    pub error: Option<String>,
}

/// What one attempt changes.
#[derive(Clone, Debug, Default)]
pub(super) struct Change {
    /// The new cursor, where it moves.
    pub(super) cursor: Option<u64>,
    /// The event is (still) set aside.
    pub(super) park: Option<(u64, Parked)>,
    /// The event is no longer set aside.
    pub(super) unpark: Option<u64>,
    /// The event is given up.
    pub(super) dead: Option<(u64, Dead)>,
    /// What the log says.
    pub(super) log: Option<Attempt>,
}

fn key(no: u32) -> [u8; 4] {
    no.to_be_bytes()
}

fn row_key(no: u32, seq: u64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&no.to_be_bytes());
    key[4..].copy_from_slice(&seq.to_be_bytes());
    key
}

fn seq_of(key: &[u8]) -> u64 {
    key.get(4..12).and_then(|seq| seq.try_into().ok()).map_or(0, u64::from_be_bytes)
}

/// The cursor and the count of log rows.
fn decode_cursor(row: &[u8]) -> (u64, u64) {
    let word = |at: usize| row.get(at..at + 8).and_then(|w| w.try_into().ok()).map_or(0, u64::from_le_bytes);
    (word(0), word(8))
}

fn encode_cursor(cursor: u64, logged: u64) -> [u8; 16] {
    let mut row = [0; 16];
    row[..8].copy_from_slice(&cursor.to_le_bytes());
    row[8..].copy_from_slice(&logged.to_le_bytes());
    row
}

/// All webhooks.
pub(super) fn load_all(store: &Store) -> Result<Vec<Hook>, StoreError> {
    store.read(|txn| {
        let mut hooks = Vec::new();
        for row in txn.open_table(HOOKS)?.iter()? {
            hooks.push(json::decode("webhooks", row?.1.value())?);
        }
        Ok(hooks)
    })
}

/// The key of the links to received media; made at the first start.
pub(super) async fn link_key(store: &Store) -> Result<[u8; 32], StoreError> {
    let fresh = crate::ids::random::<32>();
    let write = store.write_if(move |txn| {
        let mut table = txn.open_table(FACTS)?;
        let known = table.get("link_key")?.and_then(|row| row.value().try_into().ok());
        if let Some(known) = known {
            return Ok((known, false));
        }
        table.insert("link_key", fresh.as_slice())?;
        Ok((fresh, true))
    });
    write.await
}

/// Stores a new webhook under the next number; `build` gets that number. It begins after `cursor`.
pub(super) async fn create(
    store: &Store,
    cursor: u64,
    build: impl Fn(u32) -> Hook + Send + 'static,
) -> Result<Hook, StoreError> {
    let write = store.write(move |txn| {
        let mut facts = txn.open_table(FACTS)?;
        let known = facts.get("next")?.and_then(|row| row.value().try_into().ok());
        let no = known.map_or(1, u32::from_le_bytes);
        facts.insert("next", (no + 1).to_le_bytes().as_slice())?;
        let hook = build(no);
        put(txn, &hook)?;
        txn.open_table(CURSORS)?.insert(key(no).as_slice(), encode_cursor(cursor, 0).as_slice())?;
        Ok(hook)
    });
    write.await
}

fn put(txn: &WriteTransaction, hook: &Hook) -> Result<(), StoreError> {
    let value = json::encode("webhooks", hook)?;
    txn.open_table(HOOKS)?.insert(key(hook.no).as_slice(), value.as_slice())?;
    Ok(())
}

/// Changes a stored webhook.
pub(super) async fn update(store: &Store, hook: Hook) -> Result<(), StoreError> {
    store.write(move |txn| put(txn, &hook)).await
}

/// Forgets a webhook and everything about it.
pub(super) async fn delete(store: &Store, no: u32) -> Result<(), StoreError> {
    let write = store.write(move |txn| {
        txn.open_table(HOOKS)?.remove(key(no).as_slice())?;
        txn.open_table(CURSORS)?.remove(key(no).as_slice())?;
        for table in [PARKED, DEAD, LOG] {
            let (from, to) = (row_key(no, 0), row_key(no, u64::MAX));
            txn.open_table(table)?.retain_in(from.as_slice()..=to.as_slice(), |_, _| false)?;
        }
        Ok(())
    });
    write.await
}

/// Where a webhook stands: its cursor and what it has set aside.
pub(super) fn standing(store: &Store, no: u32) -> Result<(u64, BTreeMap<u64, Parked>), StoreError> {
    store.read(|txn| {
        let cursor =
            txn.open_table(CURSORS)?.get(key(no).as_slice())?.map_or(0, |row| decode_cursor(row.value()).0);
        let mut parked = BTreeMap::new();
        rows(txn, PARKED, no, |seq, value| {
            parked.insert(seq, json::decode("webhook_parked", value)?);
            Ok(true)
        })?;
        Ok((cursor, parked))
    })
}

fn rows(
    txn: &ReadTransaction,
    table: Bytes,
    no: u32,
    mut each: impl FnMut(u64, &[u8]) -> Result<bool, StoreError>,
) -> Result<(), StoreError> {
    let table = txn.open_table(table)?;
    let (from, to) = (row_key(no, 0), row_key(no, u64::MAX));
    for row in table.range(from.as_slice()..=to.as_slice())?.rev() {
        let (key, value) = row?;
        if !each(seq_of(key.value()), value.value())? {
            break;
        }
    }
    Ok(())
}

/// The newest attempts, newest first.
pub(super) fn log(store: &Store, no: u32, most: usize) -> Result<Vec<Attempt>, StoreError> {
    store.read(|txn| {
        let mut found = Vec::new();
        rows(txn, LOG, no, |_, value| {
            found.push(json::decode("webhook_log", value)?);
            Ok(found.len() < most)
        })?;
        Ok(found)
    })
}

/// The dead letters, newest first.
pub(super) fn dead(store: &Store, no: u32) -> Result<Vec<(u64, Dead)>, StoreError> {
    store.read(|txn| {
        let mut found = Vec::new();
        rows(txn, DEAD, no, |seq, value| {
            found.push((seq, json::decode("webhook_dead", value)?));
            Ok(true)
        })?;
        Ok(found)
    })
}

/// Removes dead letters: these, or all. Returns how many there were.
pub(super) async fn bury(store: &Store, no: u32, only: Option<Vec<u64>>) -> Result<usize, StoreError> {
    let write = store.write(move |txn| {
        let mut table = txn.open_table(DEAD)?;
        let mut removed = 0;
        let (from, to) = (row_key(no, 0), row_key(no, u64::MAX));
        table.retain_in(from.as_slice()..=to.as_slice(), |key, _| {
            let goes = only.as_ref().is_none_or(|only| only.contains(&seq_of(key)));
            removed += usize::from(goes);
            !goes
        })?;
        Ok(removed)
    });
    write.await
}

/// Records what an attempt changed; nothing if the webhook is gone. A crash before it is on disk costs a second delivery
/// of the same event, under the same id.
pub(super) async fn record(store: &Store, no: u32, change: Change) -> Result<(), StoreError> {
    let write = store.write_soon(move |txn| {
        if txn.open_table(HOOKS)?.get(key(no).as_slice())?.is_none() {
            return Ok(());
        }
        let mut cursors = txn.open_table(CURSORS)?;
        let (mut cursor, mut logged) =
            cursors.get(key(no).as_slice())?.map_or((0, 0), |row| decode_cursor(row.value()));
        cursor = change.cursor.unwrap_or(cursor);
        if let Some(attempt) = &change.log {
            let mut log = txn.open_table(LOG)?;
            log.insert(row_key(no, logged).as_slice(), json::encode("webhook_log", attempt)?.as_slice())?;
            logged += 1;
            if let Some(old) = logged.checked_sub(MAX_LOG + 1) {
                log.remove(row_key(no, old).as_slice())?;
            }
        }
        cursors.insert(key(no).as_slice(), encode_cursor(cursor, logged).as_slice())?;
        if let Some((seq, parked)) = &change.park {
            let value = json::encode("webhook_parked", parked)?;
            txn.open_table(PARKED)?.insert(row_key(no, *seq).as_slice(), value.as_slice())?;
        }
        if let Some(seq) = change.unpark {
            txn.open_table(PARKED)?.remove(row_key(no, seq).as_slice())?;
        }
        if let Some((seq, dead)) = &change.dead {
            let mut table = txn.open_table(DEAD)?;
            let value = json::encode("webhook_dead", dead)?;
            table.insert(row_key(no, *seq).as_slice(), value.as_slice())?;
            let (from, to) = (row_key(no, 0), row_key(no, u64::MAX));
            let count = table.range(from.as_slice()..=to.as_slice())?.count();
            let mut over = count.saturating_sub(MAX_DEAD);
            if over > 0 {
                table.retain_in(from.as_slice()..=to.as_slice(), |_, _| {
                    let stays = over == 0;
                    over = over.saturating_sub(1);
                    stays
                })?;
            }
        }
        Ok(())
    });
    write.await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreOptions;

    fn hook(no: u32) -> Hook {
        Hook {
            no,
            id: format!("H{no}"),
            account: "main".into(),
            session: None,
            url: "http://x/".into(),
            format: Format::Kurir,
            events: Vec::new(),
            from_me: false,
            enabled: true,
            timeout_s: 10,
            secret: "s".into(),
            created_at_ms: 0,
        }
    }

    fn dead(n: u64) -> Dead {
        Dead {
            event: n.to_string(),
            kind: "message".into(),
            attempts: 3,
            first_ms: 0,
            at_ms: 1,
            error: "x".into(),
        }
    }

    #[tokio::test]
    async fn logs_and_dead_letters_are_bounded_and_go_with_their_webhook() {
        let dir = tempfile::tempdir().unwrap();
        let options = StoreOptions { tables: TABLES.to_vec(), ..StoreOptions::default() };
        let store = Store::open(&dir.path().join("s.redb"), &options).unwrap();
        let one = create(&store, 5, hook).await.unwrap();
        let two = create(&store, 6, hook).await.unwrap();
        assert_eq!((one.no, two.no), (1, 2));
        for n in 0..MAX_LOG + 20 {
            let log = Attempt {
                at_ms: 0,
                seq: n,
                event: n.to_string(),
                kind: "message".into(),
                attempt: 1,
                status: Some(200),
                took_ms: 1,
                result: "delivered".into(),
                error: None,
            };
            let change = Change { cursor: Some(n), log: Some(log), ..Change::default() };
            record(&store, one.no, change).await.unwrap();
        }
        for n in 0..u64::try_from(MAX_DEAD).unwrap() + 7 {
            let change = Change { dead: Some((n, dead(n))), ..Change::default() };
            record(&store, one.no, change).await.unwrap();
        }
        let parked = Parked { attempts: 1, first_ms: 0, next_ms: 9 };
        let change = Change { park: Some((3, parked.clone())), ..Change::default() };
        record(&store, two.no, change).await.unwrap();
        // Soon is not now: a write that is waited for comes after it.
        update(&store, two.clone()).await.unwrap();
        let kept = log(&store, one.no, usize::MAX).unwrap();
        assert_eq!((kept.len() as u64, kept[0].seq), (MAX_LOG, MAX_LOG + 19));
        assert_eq!(log(&store, one.no, 5).unwrap().len(), 5);
        let letters = super::dead(&store, one.no).unwrap();
        assert_eq!((letters.len(), letters[0].0), (MAX_DEAD, u64::try_from(MAX_DEAD).unwrap() + 6));
        assert_eq!(letters.last().unwrap().0, 7, "the oldest went");
        assert_eq!(standing(&store, one.no).unwrap(), (MAX_LOG + 19, BTreeMap::new()));
        assert_eq!(standing(&store, two.no).unwrap(), (6, BTreeMap::from([(3, parked)])));
        assert_eq!(bury(&store, one.no, Some(vec![8, 9])).await.unwrap(), 2);
        delete(&store, one.no).await.unwrap();
        record(&store, one.no, Change { cursor: Some(1), ..Change::default() }).await.unwrap();
        update(&store, two).await.unwrap();
        assert!(log(&store, 1, 9).unwrap().is_empty() && super::dead(&store, 1).unwrap().is_empty());
        assert_eq!(load_all(&store).unwrap().len(), 1);
        assert_eq!(create(&store, 0, hook).await.unwrap().no, 3, "numbers are never used again");
    }
}
