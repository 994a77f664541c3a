//! The journal's tables.

use std::collections::HashSet;

use redb::{ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::Event;
use super::index;
use crate::store::tables::Table;
use crate::store::{StoreError, json};

/// Events. Key: sequence number. Value: the id's 16 bytes, then [`Event`] as JSON.
pub(super) const JOURNAL: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("journal");
/// One row, `size`: the next sequence number u64 LE, then the bytes in [`JOURNAL`]'s values u64 LE.
pub(super) const META: TableDefinition<'static, &'static str, &'static [u8]> =
    TableDefinition::new("journal_meta");
/// Who wrote to a session in a private chat. Key: session number u32 BE, then the phone number or the LID without its
/// server. Value: Unix milliseconds of the last time, i64 LE, exact to a day.
pub(super) const PEERS: TableDefinition<'static, &'static [u8], &'static [u8]> =
    TableDefinition::new("journal_peers");
/// Polls, for reading the votes. Key: session number u32 BE, then the poll's message id. Value: [`PollSecret`] as JSON.
pub(super) const POLLS: TableDefinition<'static, &'static [u8], &'static [u8]> =
    TableDefinition::new("journal_polls");

/// The tables of this module.
pub const TABLES: &[Table] = &[
    Table::of::<u64>("journal"),
    Table::of::<u64>("journal_index"),
    Table::of::<&'static str>("journal_meta"),
    Table::of::<&'static [u8]>("journal_peers"),
    Table::of::<&'static [u8]>("journal_polls"),
];

const SIZE: &str = "size";
/// Most polls remembered; beyond it the older quarter goes.
const MOST_POLLS: u64 = 4_000;
/// Bytes of an event's id.
pub(super) const ID: usize = 16;

/// What is needed to read the votes of a poll.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PollSecret {
    /// The question.
    pub name: String,
    /// What can be chosen.
    pub options: Vec<String>,
    /// The poll's 32 bytes of message secret, hexadecimal.
    pub secret: String,
    /// JIDs of whoever made the poll: the one it was made under first.
    pub creators: Vec<String>,
    /// Unix milliseconds.
    pub at_ms: i64,
}

/// How far the journal reaches, as stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) next: u64,
    pub(super) bytes: u64,
}

impl Size {
    fn decode(row: &[u8]) -> Result<Size, StoreError> {
        let word =
            |at: usize| -> Option<u64> { Some(u64::from_le_bytes(row.get(at..at + 8)?.try_into().ok()?)) };
        match (word(0), word(8)) {
            (Some(next), Some(bytes)) => Ok(Size { next, bytes }),
            _ => Err(StoreError::Row { table: "journal_meta", detail: "not two numbers".into() }),
        }
    }

    fn encode(self) -> [u8; 16] {
        let mut row = [0; 16];
        row[..8].copy_from_slice(&self.next.to_le_bytes());
        row[8..].copy_from_slice(&self.bytes.to_le_bytes());
        row
    }
}

/// The size row of a table opened either way. A journal that never had an event begins at 1.
pub(super) fn size(table: &impl ReadableTable<&'static str, &'static [u8]>) -> Result<Size, StoreError> {
    match table.get(SIZE)? {
        Some(row) => Size::decode(row.value()),
        None => Ok(Size { next: 1, bytes: 0 }),
    }
}

/// An event ready to be written: its id and its row.
pub(super) struct Row {
    id: [u8; ID],
    value: Vec<u8>,
}

impl Row {
    pub(super) fn new(event: &Event) -> Result<Row, StoreError> {
        let bad_id = |_| StoreError::Row { table: "journal", detail: "an event's id is no id".into() };
        let mut id = [0; ID];
        hex::decode_to_slice(&event.id, &mut id).map_err(bad_id)?;
        let mut value = id.to_vec();
        serde_json::to_writer(&mut value, event)
            .map_err(|e| StoreError::Row { table: "journal", detail: e.to_string() })?;
        Ok(Row { id, value })
    }
}

pub(super) fn decode(seq: u64, row: &[u8]) -> Result<Event, StoreError> {
    let (id, rest) = row
        .split_at_checked(ID)
        .ok_or_else(|| StoreError::Row { table: "journal", detail: "too short".into() })?;
    let mut event: Event = json::decode("journal", rest)?;
    event.seq = seq;
    event.id = hex::encode(id);
    Ok(event)
}

/// The sequence number of the event with this id, if it is kept.
pub(super) fn seq_of(
    journal: &impl ReadableTable<u64, &'static [u8]>,
    index: &impl ReadableTable<u64, &'static [u8]>,
    id: &str,
) -> Result<Option<u64>, StoreError> {
    let mut key = [0; ID];
    if hex::decode_to_slice(id, &mut key).is_err() {
        return Ok(None);
    }
    for (_, seq) in index::find(index, &[key], usize::MAX)? {
        if has_id(journal, seq, &key)? {
            return Ok(Some(seq));
        }
    }
    Ok(None)
}

fn has_id(
    journal: &impl ReadableTable<u64, &'static [u8]>,
    seq: u64,
    id: &[u8; ID],
) -> Result<bool, StoreError> {
    Ok(journal.get(seq)?.is_some_and(|row| row.value().starts_with(id)))
}

/// Writes those of `rows` that are not among the last [`index::RECENT`] events; returns which.
pub(super) fn insert(txn: &WriteTransaction, rows: &[Row]) -> Result<(Size, Vec<usize>), StoreError> {
    let mut journal = txn.open_table(JOURNAL)?;
    let mut index = txn.open_table(index::TABLE)?;
    let mut meta = txn.open_table(META)?;
    let mut size = size(&meta)?;
    let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
    let mut there = HashSet::new();
    for (id, seq) in index::find(&index, &ids, index::RECENT)? {
        if has_id(&journal, seq, &id)? {
            there.insert(id);
        }
    }
    let mut new = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        if !there.insert(row.id) {
            continue;
        }
        let seq = size.next + new.len() as u64;
        journal.insert(seq, row.value.as_slice())?;
        size.bytes += row.value.len() as u64;
        new.push(at);
    }
    if !new.is_empty() {
        let ids: Vec<_> = new.iter().filter_map(|at| ids.get(*at).copied()).collect();
        index::append(&mut index, size.next, &ids)?;
        size.next += new.len() as u64;
        meta.insert(SIZE, size.encode().as_slice())?;
    }
    Ok((size, new))
}

/// The sequence number of the oldest event.
pub(super) fn first(txn: &WriteTransaction) -> Result<Option<u64>, StoreError> {
    Ok(txn.open_table(JOURNAL)?.first()?.map(|(key, _)| key.value()))
}

/// Removes the oldest events for which `old` says so, at most `most`; it is asked with the size before and the row.
pub(super) fn prune(
    txn: &WriteTransaction,
    most: usize,
    old: impl Fn(u64, Size, &[u8]) -> Result<bool, StoreError>,
) -> Result<usize, StoreError> {
    let mut journal = txn.open_table(JOURNAL)?;
    let mut meta = txn.open_table(META)?;
    let mut size = size(&meta)?;
    let mut going = Vec::new();
    for row in journal.iter()? {
        let (key, value) = row?;
        let (seq, value) = (key.value(), value.value());
        if going.len() >= most || !old(seq, size, value)? {
            break;
        }
        size.bytes = size.bytes.saturating_sub(value.len() as u64);
        going.push(seq);
    }
    for seq in &going {
        journal.remove(seq)?;
    }
    if let Some(last) = going.last() {
        index::prune(&mut txn.open_table(index::TABLE)?, last + 1)?;
        meta.insert(SIZE, size.encode().as_slice())?;
    }
    Ok(going.len())
}

/// Remembers a poll within a write, so that its votes can be read.
///
/// # Errors
/// The store failed.
pub fn remember_poll(
    txn: &WriteTransaction,
    session_no: u32,
    message_id: &str,
    poll: &PollSecret,
) -> Result<(), StoreError> {
    let mut table = txn.open_table(POLLS)?;
    if table.len()? >= MOST_POLLS {
        let mut times = Vec::new();
        for row in table.iter()? {
            times.push(json::decode::<PollSecret>("journal_polls", row?.1.value())?.at_ms);
        }
        times.sort_unstable();
        let before = times.get(times.len() / 4).copied().unwrap_or(i64::MAX);
        table.retain(|_, row| {
            json::decode::<PollSecret>("journal_polls", row).is_ok_and(|poll| poll.at_ms > before)
        })?;
    }
    let key = session_key(session_no, message_id);
    table.insert(key.as_slice(), json::encode("journal_polls", poll)?.as_slice())?;
    Ok(())
}

/// A key of [`PEERS`] or [`POLLS`].
pub(super) fn session_key(session_no: u32, rest: &str) -> Vec<u8> {
    [&session_no.to_be_bytes(), rest.as_bytes()].concat()
}
