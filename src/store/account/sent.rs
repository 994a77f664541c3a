//! Sent messages, kept so that a recipient who could not decrypt one gets it again.
//!
//! Message ids are random, so rows ordered by them would cost a page of their own each. They are ordered by when they
//! were sent instead, and which row has which message is kept in memory: a hash and a number for each.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::ReadableTable;
use wacore::store::error::Result;

use super::row::{Key, bounds, next_prefix, take, take_i64};
use super::{AccountId, AccountStore, remove_range};
use crate::store::StoreError;
use crate::store::tables::SENT_MESSAGES;

const TABLE: &str = "wa_sent";

/// Most sent messages kept for an account, as many as whatsapp-rust's own in-memory store keeps. Older ones go first.
pub(super) const SENT_LIMIT: u64 = 4096;

/// Old rows are removed so many at a time, to touch their page once for all of them.
const PRUNE_EVERY: u64 = 256;

#[derive(Default)]
struct Index {
    loaded: bool,
    next: u64,
    /// By hash of chat and id. Two that collide would only cost a retry for the older one.
    rows: HashMap<u64, u64>,
}

/// Which sent message is in which row, shared by all stores of one account.
#[derive(Default)]
pub(super) struct Sent {
    hash: RandomState,
    index: Mutex<Index>,
}

impl Sent {
    fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hash(&self, chat: &str, id: &str) -> u64 {
        self.hash.hash_one((chat, id))
    }

    pub(super) fn forget(&self) {
        *self.lock() = Index::default();
    }

    pub(super) fn bytes(&self) -> u64 {
        // A key, a value, and a control byte for each place.
        (self.lock().rows.capacity() * 17) as u64
    }
}

struct Row<'a> {
    timestamp: i64,
    chat: &'a [u8],
    id: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Row<'a> {
    fn decode(mut row: &'a [u8]) -> std::result::Result<Self, StoreError> {
        let timestamp = take_i64(TABLE, &mut row)?;
        let chat = text(&mut row)?;
        let id = text(&mut row)?;
        Ok(Self { timestamp, chat, id, payload: row })
    }

    fn encode(&self) -> std::result::Result<Vec<u8>, StoreError> {
        let mut row = self.timestamp.to_le_bytes().to_vec();
        for part in [self.chat, self.id] {
            let len = u16::try_from(part.len()).map_err(|_| StoreError::Refused {
                reason: "a JID or message id of more than 65,535 bytes".to_owned(),
            })?;
            row.extend_from_slice(&len.to_le_bytes());
            row.extend_from_slice(part);
        }
        row.extend_from_slice(self.payload);
        Ok(row)
    }
}

fn text<'a>(row: &mut &'a [u8]) -> std::result::Result<&'a [u8], StoreError> {
    let len = usize::from(u16::from_le_bytes(*take(TABLE, row)?));
    let (text, rest) = row
        .split_at_checked(len)
        .ok_or_else(|| StoreError::Row { table: TABLE, detail: "it is cut short".to_owned() })?;
    *row = rest;
    Ok(text)
}

fn key(account: AccountId, number: u64) -> Vec<u8> {
    let mut key = Key::of(account).into_vec();
    key.extend_from_slice(&number.to_be_bytes());
    key
}

fn number_of(key: &[u8]) -> std::result::Result<u64, StoreError> {
    key.last_chunk()
        .map(|bytes| u64::from_be_bytes(*bytes))
        .ok_or_else(|| StoreError::Row { table: TABLE, detail: "its key is too short".to_owned() })
}

impl AccountStore {
    /// The index, filled from the rows the first time.
    fn sent_index(&self) -> Result<MutexGuard<'_, Index>> {
        let mut index = self.sent.lock();
        if !index.loaded {
            let from = self.key(&[])?;
            let to = next_prefix(&from);
            let rows = self.read(|txn| {
                let table = txn.open_table(SENT_MESSAGES)?;
                let mut rows = Vec::new();
                for row in table.range::<&[u8]>(bounds(&from, to.as_deref()))? {
                    let (key, value) = row?;
                    let row = Row::decode(value.value())?;
                    let hash =
                        self.sent.hash(&String::from_utf8_lossy(row.chat), &String::from_utf8_lossy(row.id));
                    rows.push((hash, number_of(key.value())?));
                }
                Ok(rows)
            })?;
            index.next = rows.last().map_or(0, |(_, number)| number + 1);
            index.rows = rows.into_iter().collect();
            index.loaded = true;
        }
        Ok(index)
    }

    /// Not waited for. The row only serves a recipient's request to have the message again, and each write the caller
    /// does wait for, such as the outbox's record that the server has the message, commits it too, being later in the
    /// queue. A crash before that leaves the message in the outbox, which sends it again.
    pub(super) async fn put_sent(&self, chat: &str, id: &str, payload: &[u8]) -> Result<()> {
        let row =
            Row { timestamp: wacore::time::now_secs(), chat: chat.as_bytes(), id: id.as_bytes(), payload };
        let row = row.encode().map_err(super::to_wa)?;
        let hash = self.sent.hash(chat, id);
        let account = self.account;
        let (number, replaced) = {
            let mut index = self.sent_index()?;
            let number = index.next;
            index.next += 1;
            let replaced = index.rows.insert(hash, number);
            if number % PRUNE_EVERY == 0 {
                let oldest = number.saturating_sub(SENT_LIMIT);
                index.rows.retain(|_, number| *number >= oldest);
            }
            (number, replaced)
        };
        // Kept until the row is on disk: an index filled anew before that would give its number out again.
        let index = Arc::clone(&self.sent);
        self.write_soon(move |txn| {
            let _ = &index;
            if number % PRUNE_EVERY == 0 {
                let end = key(account, number.saturating_sub(SENT_LIMIT));
                remove_range(txn, SENT_MESSAGES, &key(account, 0), Some(&end))?;
            }
            let mut table = txn.open_table(SENT_MESSAGES)?;
            if let Some(replaced) = replaced {
                table.remove(key(account, replaced).as_slice())?;
            }
            table.insert(key(account, number).as_slice(), row.as_slice())?;
            Ok(())
        })
        .await
    }

    pub(super) async fn take_sent(&self, chat: &str, id: &str) -> Result<Option<Vec<u8>>> {
        let hash = self.sent.hash(chat, id);
        // Taken from the index first: of two that ask at once, one gets it.
        let Some(number) = self.sent_index()?.rows.remove(&hash) else { return Ok(None) };
        let at = key(self.account, number);
        let (chat, id) = (chat.as_bytes().to_vec(), id.as_bytes().to_vec());
        let taken = self
            .write(move |txn| {
                let mut table = txn.open_table(SENT_MESSAGES)?;
                let payload = match table.get(at.as_slice())? {
                    None => None,
                    Some(row) => {
                        let row = Row::decode(row.value())?;
                        (row.chat == chat && row.id == id).then(|| row.payload.to_vec())
                    }
                };
                if payload.is_some() {
                    table.remove(at.as_slice())?;
                }
                let changed = payload.is_some();
                Ok((payload, changed))
            })
            .await;
        if taken.is_err() {
            // Still there as far as we know; the next request may find the disk in order.
            self.sent_index()?.rows.entry(hash).or_insert(number);
        }
        taken
    }

    pub(super) async fn delete_expired_sent(&self, cutoff: i64) -> Result<u32> {
        let from = self.key(&[])?;
        let to = next_prefix(&from);
        // The client asks on every keep-alive, nearly always for nothing; the first row tells.
        let (removed, end) = self
            .write(move |txn| {
                let mut end = None;
                {
                    let table = txn.open_table(SENT_MESSAGES)?;
                    for row in table.range::<&[u8]>(bounds(&from, to.as_deref()))? {
                        let (key, row) = row?;
                        if Row::decode(row.value())?.timestamp >= cutoff {
                            break;
                        }
                        end = Some(number_of(key.value())? + 1);
                    }
                }
                let Some(end) = end else { return Ok(((0, 0), false)) };
                let to = [&from[..], &end.to_be_bytes()].concat();
                let removed = remove_range(txn, SENT_MESSAGES, &from, Some(&to))?;
                Ok(((removed, end), removed > 0))
            })
            .await?;
        self.sent_index()?.rows.retain(|_, number| *number >= end);
        Ok(removed)
    }
}
