//! What is remembered of a message, and the tables that hold it.

mod files;

use redb::{ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::content::{Content, Context};
use super::course::{COURSES, Course, Messages};
use super::message_id::MessageIds;
use crate::store::tables::Table;
use crate::store::{StoreError, json};
pub(super) use files::{FILES, Users, release_file, reuse_file, share_file, spare_files, users};

/// A table whose keys say everything.
pub(super) type Queue = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// Messages, as they were accepted. Key: sequence number. Value: [`Message`] as JSON. How far they have come is in
/// [`COURSES`]; [`Messages`] puts both together.
pub(super) const MESSAGES: TableDefinition<'static, u64, &'static [u8]> = TableDefinition::new("outbox");
/// Messages still to be sent. Key: session number u32 BE, sequence number u64 BE. Value: empty.
pub(super) const QUEUE: Queue = TableDefinition::new("outbox_queue");
/// The key of the message ids, see [`MessageIds`]. One row, of key "key". Value: 32 bytes.
const MESSAGE_IDS: TableDefinition<'static, &'static str, &'static [u8]> =
    TableDefinition::new("outbox_message_ids");
/// Sequence numbers by UUID. Value: u64 LE.
pub(super) const BY_ID: TableDefinition<'static, &'static str, &'static [u8]> =
    TableDefinition::new("outbox_id");

/// Messages of the slow lane, still to be sent: [`Message::pause_ms`] above zero. Keys as in [`QUEUE`].
pub(super) const PACED: Queue = TableDefinition::new("outbox_paced");
/// Messages whose time has not come. Key: session number u32 BE, Unix milliseconds u64 BE, sequence number u64 BE.
/// Value: empty.
pub(super) const DUE: Queue = TableDefinition::new("outbox_due");
/// Messages by the caller's own id. Key: account, 0, reference. Value: [`Referred`] as JSON.
pub(super) const REFERENCES: TableDefinition<'static, &'static str, &'static [u8]> =
    TableDefinition::new("outbox_reference");
/// How many messages a session has sent. Key: session number. Value: u64 LE.
pub(super) const SENT: TableDefinition<'static, u32, &'static [u8]> = TableDefinition::new("outbox_sent");

const KEY: &str = "key";

/// The tables of this module.
pub const TABLES: &[Table] = &[
    Table::of::<u64>("outbox"),
    Table::of::<u64>("outbox_course"),
    Table::of::<&'static [u8]>("outbox_queue"),
    Table::of::<&'static str>("outbox_message_ids"),
    Table::of::<&'static str>("outbox_id"),
    Table::of::<&'static [u8]>("outbox_paced"),
    Table::of::<&'static [u8]>("outbox_due"),
    Table::of::<&'static str>("outbox_file"),
    Table::of::<&'static str>("outbox_reference"),
    Table::of::<u32>("outbox_sent"),
    super::strangers::TABLE,
    super::settings::TABLE,
];

/// What a reference stands for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Referred {
    /// Unix milliseconds of the acceptance.
    pub(super) at_ms: i64,
    /// The messages, in the order of their recipients.
    pub(super) seqs: Vec<u64>,
}

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

/// Somebody's own id for what they asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// Whose: references of different accounts do not meet.
    pub account: String,
    /// The id.
    pub id: String,
}

impl Reference {
    fn key(&self) -> String {
        format!("{}\0{}", self.account, self.id)
    }
}

/// One message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// What it refers to.
    #[serde(default, skip_serializing_if = "Context::is_empty")]
    pub context: Context,
    /// The kept file, where it is not under this message's own UUID because several messages send it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// How far it has come.
    pub progress: Progress,
    /// Sends tried so far.
    #[serde(default)]
    pub attempts: u32,
    /// Unix milliseconds.
    pub accepted_at_ms: i64,
    /// Not to be sent before this, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before_ms: Option<i64>,
    /// Pause after the session's last message of the slow lane, milliseconds; 0: not of that lane.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pause_ms: u32,
    /// For how long the recipient sees us typing before it, milliseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub typing_ms: u32,
    /// The caller's own id for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Reference>,
    /// When it was last put back into the queue by hand, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retried_at_ms: Option<i64>,
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

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

impl Message {
    /// Where its file is kept, if it has one.
    pub fn file_id(&self) -> Option<&str> {
        matches!(self.content, Content::Media { .. }).then(|| self.file.as_deref().unwrap_or(&self.id))
    }

    /// Since when it has been waiting to be sent, Unix milliseconds.
    pub fn waiting_since_ms(&self) -> i64 {
        self.accepted_at_ms.max(self.not_before_ms.unwrap_or(0)).max(self.retried_at_ms.unwrap_or(0))
    }
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

pub(super) fn due_key(session_no: u32, at_ms: i64, seq: u64) -> [u8; 20] {
    let mut key = [0; 20];
    key[..4].copy_from_slice(&session_no.to_be_bytes());
    key[4..12].copy_from_slice(&u64::try_from(at_ms).unwrap_or(0).to_be_bytes());
    key[12..].copy_from_slice(&seq.to_be_bytes());
    key
}

/// Time and sequence number.
pub(super) fn parse_due_key(key: &[u8]) -> Option<(i64, u64)> {
    let at = u64::from_be_bytes(key.get(4..12)?.try_into().ok()?);
    let seq = u64::from_be_bytes(key.get(12..20)?.try_into().ok()?);
    Some((i64::try_from(at).ok()?, seq))
}

fn lane_of(message: &Message) -> Queue {
    if message.pause_ms > 0 { PACED } else { QUEUE }
}

/// What became of a message that has just left [`Progress::Pending`].
pub(super) struct Settled {
    /// The file that no message waits to send any more; to be let go once this is on the disk.
    pub(super) file: Option<String>,
}

/// What a message that fails does with its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Afterwards {
    /// Somebody may want to try again.
    Keep,
    /// Nobody will.
    Drop,
}

/// Changes a stored message. `Some`: that ended its wait.
pub(super) fn settle(
    txn: &WriteTransaction,
    seq: u64,
    afterwards: Afterwards,
    change: impl FnOnce(&mut Message),
) -> Result<Option<Settled>, StoreError> {
    let ended = update(txn, seq, |message| {
        let before = message.progress;
        change(message);
        (before == Progress::Pending && message.progress != Progress::Pending)
            .then(|| (message.file_id().map(str::to_owned), message.progress == Progress::Failed))
    })?;
    let Some(Some((file, failed))) = ended else { return Ok(None) };
    let file = match file {
        Some(file) if release_file(txn, &file, failed && afterwards == Afterwards::Keep)? => Some(file),
        _ => None,
    };
    Ok(Some(Settled { file }))
}

/// Numbers of all messages still to be sent, scheduled ones too: of one session, or of all.
pub(super) fn unfinished(txn: &ReadTransaction, session_no: Option<u32>) -> Result<Vec<u64>, StoreError> {
    let mut seqs = Vec::new();
    for table in [QUEUE, PACED] {
        collect(&txn.open_table(table)?, session_no, seq_of_queue_key, &mut seqs)?;
    }
    collect(&txn.open_table(DUE)?, session_no, |key| Some(parse_due_key(key)?.1), &mut seqs)?;
    Ok(seqs)
}

/// As [`unfinished`], of one session, within a write.
pub(super) fn unfinished_in(txn: &WriteTransaction, session_no: u32) -> Result<Vec<u64>, StoreError> {
    let mut seqs = Vec::new();
    for table in [QUEUE, PACED] {
        collect(&txn.open_table(table)?, Some(session_no), seq_of_queue_key, &mut seqs)?;
    }
    collect(&txn.open_table(DUE)?, Some(session_no), |key| Some(parse_due_key(key)?.1), &mut seqs)?;
    Ok(seqs)
}

fn collect(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    session_no: Option<u32>,
    seq: impl Fn(&[u8]) -> Option<u64>,
    seqs: &mut Vec<u64>,
) -> Result<(), StoreError> {
    let from = session_no.unwrap_or(0).to_be_bytes();
    for row in table.range(from.as_slice()..)? {
        let (key, _) = row?;
        if session_no.is_some() && !key.value().starts_with(&from) {
            break;
        }
        seqs.extend(seq(key.value()));
    }
    Ok(())
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
    match message.not_before_ms {
        Some(at) => {
            let key = due_key(message.session_no, at, message.seq);
            txn.open_table(DUE)?.insert(key.as_slice(), [].as_slice())?;
        }
        None => enqueue(txn, message)?,
    }
    Ok(())
}

fn enqueue(txn: &WriteTransaction, message: &Message) -> Result<(), StoreError> {
    let key = queue_key(message.session_no, message.seq);
    txn.open_table(lane_of(message))?.insert(key.as_slice(), [].as_slice())?;
    Ok(())
}

/// Moves messages whose time has come into their queue, at most `most`, and returns them.
pub(super) fn promote(
    txn: &WriteTransaction,
    session_no: u32,
    now_ms: i64,
    most: usize,
) -> Result<Vec<Message>, StoreError> {
    let mut due = Vec::new();
    {
        let table = txn.open_table(DUE)?;
        let from = due_key(session_no, 0, 0);
        let to = due_key(session_no, now_ms, u64::MAX);
        for row in table.range(from.as_slice()..=to.as_slice())?.take(most) {
            due.extend(parse_due_key(row?.0.value()));
        }
    }
    let mut messages = Vec::with_capacity(due.len());
    for (at, seq) in due {
        txn.open_table(DUE)?.remove(due_key(session_no, at, seq).as_slice())?;
        let message = Messages::open_in(txn)?.get(seq)?;
        if let Some(message) = message.filter(|m| m.progress == Progress::Pending) {
            enqueue(txn, &message)?;
            messages.push(message);
        }
    }
    Ok(messages)
}

/// When the session's next scheduled message is due.
pub(super) fn next_due(txn: &WriteTransaction, session_no: u32) -> Result<Option<i64>, StoreError> {
    let table = txn.open_table(DUE)?;
    let from = due_key(session_no, 0, 0);
    let to = due_key(session_no, i64::MAX, u64::MAX);
    let first = table.range(from.as_slice()..=to.as_slice())?.next().transpose()?;
    Ok(first.and_then(|(key, _)| parse_due_key(key.value())).map(|(at, _)| at))
}

/// Changes a stored message; `None` if it is not there (any more).
pub(super) fn update<T>(
    txn: &WriteTransaction,
    seq: u64,
    change: impl FnOnce(&mut Message) -> T,
) -> Result<Option<T>, StoreError> {
    let Some(mut message) = Messages::open_in(txn)?.get(seq)? else { return Ok(None) };
    let mut earlier = message.clone();
    let before = message.progress;
    let result = change(&mut message);
    let course = Course::of(&message);
    txn.open_table(COURSES)?.insert(seq, course.encode().as_slice())?;
    course.apply(&mut earlier);
    if earlier != message {
        put(txn, &message)?;
    }
    if before == Progress::Pending && message.progress != Progress::Pending {
        dequeue(txn, &message)?;
        if message.progress != Progress::Failed {
            let mut table = txn.open_table(SENT)?;
            let sent = table.get(message.session_no)?.and_then(|row| row.value().try_into().ok());
            let sent = sent.map_or(0, u64::from_le_bytes) + 1;
            table.insert(message.session_no, sent.to_le_bytes().as_slice())?;
        }
    } else if before == Progress::Failed && message.progress == Progress::Pending {
        enqueue(txn, &message)?;
    }
    Ok(Some(result))
}

fn dequeue(txn: &WriteTransaction, message: &Message) -> Result<(), StoreError> {
    let key = queue_key(message.session_no, message.seq);
    txn.open_table(lane_of(message))?.remove(key.as_slice())?;
    if let Some(at) = message.not_before_ms {
        txn.open_table(DUE)?.remove(due_key(message.session_no, at, message.seq).as_slice())?;
    }
    Ok(())
}

fn put(txn: &WriteTransaction, message: &Message) -> Result<(), StoreError> {
    let value = json::encode("outbox", message)?;
    txn.open_table(MESSAGES)?.insert(message.seq, value.as_slice())?;
    Ok(())
}

/// Removes a message and every row that points to it.
pub(super) fn remove(txn: &WriteTransaction, message: &Message) -> Result<(), StoreError> {
    txn.open_table(MESSAGES)?.remove(message.seq)?;
    txn.open_table(COURSES)?.remove(message.seq)?;
    txn.open_table(BY_ID)?.remove(message.id.as_str())?;
    dequeue(txn, message)?;
    if let Some(reference) = &message.reference {
        // A later use of the same reference stays.
        let stands_for_this = refer(&txn.open_table(REFERENCES)?, reference)?
            .is_some_and(|referred| referred.seqs.contains(&message.seq));
        if stands_for_this {
            txn.open_table(REFERENCES)?.remove(reference.key().as_str())?;
        }
    }
    Ok(())
}

/// What a reference stands for.
pub(super) fn refer(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
    reference: &Reference,
) -> Result<Option<Referred>, StoreError> {
    let row = table.get(reference.key().as_str())?;
    row.map(|row| json::decode("outbox_reference", row.value())).transpose()
}

/// Remembers what a reference stands for.
pub(super) fn set_reference(
    txn: &WriteTransaction,
    reference: &Reference,
    referred: &Referred,
) -> Result<(), StoreError> {
    let value = json::encode("outbox_reference", referred)?;
    txn.open_table(REFERENCES)?.insert(reference.key().as_str(), value.as_slice())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::MediaKind;

    /// As the first release wrote them.
    #[test]
    fn rows_of_earlier_releases_still_decode() {
        let text = r#"{"seq":7,"id":"u","session_no":1,"message_id":"3EB0","to":"1@s.whatsapp.net","checked":true,
            "content":{"kind":"text","body":"halo"},"progress":"pending","accepted_at_ms":5}"#;
        let message: Message = json::decode("outbox", text.as_bytes()).unwrap();
        assert_eq!(message.content, Content::Text { body: "halo".into() });
        assert_eq!((message.pause_ms, message.not_before_ms, message.file_id()), (0, None, None));
        assert!(message.context.is_empty());
        let media = r#"{"seq":8,"id":"u8","session_no":1,"message_id":"3EB1","to":"1@g.us","checked":true,
            "content":{"kind":"media","media":"voice","mime":"audio/ogg","filename":"a.ogg","caption":null,"size":3},
            "progress":"read","attempts":1,"accepted_at_ms":5,"sent_at_ms":6,"delivered_at_ms":7,"read_at_ms":8,
            "error":null}"#;
        let message: Message = json::decode("outbox", media.as_bytes()).unwrap();
        assert!(matches!(message.content, Content::Media { media: MediaKind::Voice, dimensions: None, .. }));
        assert_eq!(message.file_id(), Some("u8"));
    }

    #[test]
    fn due_keys_sort_by_session_then_time() {
        let keys = [due_key(1, 5, 9), due_key(1, 6, 1), due_key(2, 1, 1)];
        assert!(keys.is_sorted());
        assert_eq!(parse_due_key(&keys[1]), Some((6, 1)));
    }
}
