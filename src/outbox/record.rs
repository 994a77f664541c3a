//! What is remembered of a message, and the tables that hold it.

use redb::{ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::message_id::MessageIds;
use crate::media::MediaKind;
use crate::store::tables::Table;
use crate::store::{StoreError, json};

/// Messages. Key: sequence number. Value: [`Message`] as JSON.
pub(super) const MESSAGES: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("outbox");
/// Messages still to be sent. Key: session number u32 BE, sequence number u64 BE. Value: empty.
pub(super) const QUEUE: TableDefinition<'static, &'static [u8], &'static [u8]> =
    TableDefinition::new("outbox_queue");
/// The key of the message ids, see [`MessageIds`]. One row, of key "key". Value: 32 bytes.
const MESSAGE_IDS: TableDefinition<'static, &'static str, &'static [u8]> =
    TableDefinition::new("outbox_message_ids");
/// Sequence numbers by UUID. Value: u64 LE.
pub(super) const BY_ID: TableDefinition<'static, &'static str, &'static [u8]> =
    TableDefinition::new("outbox_id");

const KEY: &str = "key";

/// The tables of this module.
pub const TABLES: &[Table] = &[
    Table::of::<u64>("outbox"),
    Table::of::<&'static [u8]>("outbox_queue"),
    Table::of::<&'static str>("outbox_message_ids"),
    Table::of::<&'static str>("outbox_id"),
];

/// How far a message has come. Later states are never left for earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Progress {
    /// Accepted: kept, not yet acknowledged by WhatsApp.
    Pending,
    /// Given up; `error` says why.
    Failed,
    /// WhatsApp's server acknowledged it.
    Sent,
    /// A device of the recipient has it.
    Delivered,
    /// The recipient read (or played) it.
    Read,
}

/// What is to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Content {
    /// A text.
    Text {
        /// The text, as it is.
        body: String,
    },
    /// A file, kept in the media folder under the message's UUID until it is sent.
    Media {
        /// How it is shown.
        media: MediaKind,
        /// Its MIME type.
        mime: String,
        /// Its name, shown with documents.
        filename: String,
        /// The text below it.
        caption: Option<String>,
        /// Bytes.
        size: u64,
        /// Pixels, of an image.
        #[serde(default)]
        dimensions: Option<(u32, u32)>,
    },
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Stable integer, counting up over the whole box.
    pub seq: u64,
    /// UUID.
    pub id: String,
    /// The session that sends it.
    pub session_no: u32,
    /// The WhatsApp message id, fixed before the first byte goes out; a resend uses the same.
    pub message_id: String,
    /// The phone number that the session was paired with when the message was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The chat's JID.
    pub to: String,
    /// Whether WhatsApp said that the number is registered; if not, it is asked before the first send.
    pub checked: bool,
    /// What is to be sent.
    pub content: Content,
    /// How far it has come.
    pub progress: Progress,
    /// Sends tried so far.
    #[serde(default)]
    pub attempts: u32,
    /// Unix milliseconds.
    pub accepted_at_ms: i64,
    /// Unix milliseconds, by the box's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at_ms: Option<i64>,
    /// Unix milliseconds, by WhatsApp's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_at_ms: Option<i64>,
    /// Unix milliseconds, by WhatsApp's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_at_ms: Option<i64>,
    /// Why it failed, or why the last attempt did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

pub(super) fn queue_key(session_no: u32, seq: u64) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&session_no.to_be_bytes());
    key[4..].copy_from_slice(&seq.to_be_bytes());
    key
}

pub(super) fn seq_of_queue_key(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(4..12)?.try_into().ok()?))
}

/// The ids that the store's messages have; new ones if it has none yet, which the first message will keep.
pub(super) fn message_ids(txn: &ReadTransaction) -> Result<MessageIds, StoreError> {
    let Some(row) = txn.open_table(MESSAGE_IDS)?.get(KEY)? else { return Ok(MessageIds::random()) };
    let key = row.value().try_into().map_err(|_| StoreError::Row {
        table: "outbox_message_ids",
        detail: "the key is not 32 bytes".to_owned(),
    })?;
    Ok(MessageIds::of(key))
}

/// Keeps what makes the ids; done together with the first message that has one.
pub(super) fn keep_message_ids(txn: &WriteTransaction, ids: &MessageIds) -> Result<(), StoreError> {
    let mut table = txn.open_table(MESSAGE_IDS)?;
    if table.get(KEY)?.is_none() {
        table.insert(KEY, ids.key().as_slice())?;
    }
    Ok(())
}

/// Writes a message and its index rows.
pub(super) fn insert(txn: &WriteTransaction, message: &Message) -> Result<(), StoreError> {
    put(txn, message)?;
    let seq = message.seq.to_le_bytes();
    txn.open_table(BY_ID)?.insert(message.id.as_str(), seq.as_slice())?;
    txn.open_table(QUEUE)?.insert(queue_key(message.session_no, message.seq).as_slice(), [].as_slice())?;
    Ok(())
}

/// Changes a stored message; `None` if it is not there (any more).
pub(super) fn update<T>(
    txn: &WriteTransaction,
    seq: u64,
    change: impl FnOnce(&mut Message) -> T,
) -> Result<Option<T>, StoreError> {
    let mut message: Message = {
        let table = txn.open_table(MESSAGES)?;
        let Some(row) = table.get(seq)? else { return Ok(None) };
        json::decode("outbox", row.value())?
    };
    let was_pending = message.progress == Progress::Pending;
    let result = change(&mut message);
    put(txn, &message)?;
    if was_pending && message.progress != Progress::Pending {
        txn.open_table(QUEUE)?.remove(queue_key(message.session_no, seq).as_slice())?;
    }
    Ok(Some(result))
}

fn put(txn: &WriteTransaction, message: &Message) -> Result<(), StoreError> {
    let value = json::encode("outbox", message)?;
    txn.open_table(MESSAGES)?.insert(message.seq, value.as_slice())?;
    Ok(())
}

/// Removes a message and every row that points to it.
pub(super) fn remove(txn: &WriteTransaction, message: &Message) -> Result<(), StoreError> {
    txn.open_table(MESSAGES)?.remove(message.seq)?;
    txn.open_table(BY_ID)?.remove(message.id.as_str())?;
    txn.open_table(QUEUE)?.remove(queue_key(message.session_no, message.seq).as_slice())?;
    Ok(())
}
