//! What changes of a message after it was accepted, in a small row of its own: a message's JSON is fifteen times longer, and
//! lies on a page with few others.

use redb::{ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};

use super::record::{MESSAGES, Message, Progress};
use crate::session::{ReceiptEvent, ReceiptKind};
use crate::store::{StoreError, json};

/// Courses. Key: sequence number. Value: [`Course::encode`]. A message without one is as its own row says: new, or of before
/// schema version 3.
pub(super) const COURSES: TableDefinition<'static, u64, &'static [u8]> =
    TableDefinition::new("outbox_course");

/// What a message's course may become.
const PROGRESSES: [Progress; 5] =
    [Progress::Pending, Progress::Failed, Progress::Sent, Progress::Delivered, Progress::Read];
/// Times that may be known: put back by hand, sent, delivered, read.
const TIMES: usize = 4;

/// The fields of a [`Message`] that change.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Course {
    progress: Progress,
    attempts: u32,
    times: [Option<i64>; TIMES],
    error: Option<String>,
}

impl Course {
    pub(super) fn of(message: &Message) -> Course {
        let Message { progress, attempts, .. } = *message;
        let times = [message.retried_at_ms, message.sent_at_ms, message.delivered_at_ms, message.read_at_ms];
        Course { progress, attempts, times, error: message.error.clone() }
    }

    pub(super) fn apply(self, message: &mut Message) {
        (message.progress, message.attempts, message.error) = (self.progress, self.attempts, self.error);
        [message.retried_at_ms, message.sent_at_ms, message.delivered_at_ms, message.read_at_ms] = self.times;
    }

    /// Progress u8; attempts u32 LE; a byte with a bit for each time that is known, and one for the error; these times,
    /// Unix milliseconds i64 LE; the error's text.
    pub(super) fn encode(&self) -> Vec<u8> {
        let progress = PROGRESSES.iter().position(|known| *known == self.progress).unwrap_or(0);
        let mut known = u8::from(self.error.is_some()) << TIMES;
        for (bit, time) in self.times.iter().enumerate() {
            known |= u8::from(time.is_some()) << bit;
        }
        let mut row = vec![u8::try_from(progress).unwrap_or(0)];
        row.extend(self.attempts.to_le_bytes());
        row.push(known);
        row.extend(self.times.iter().flatten().flat_map(|time| time.to_le_bytes()));
        row.extend(self.error.iter().flat_map(|error| error.as_bytes()));
        row
    }

    pub(super) fn decode(row: &[u8]) -> Result<Course, StoreError> {
        let course = || {
            let (progress, row) = row.split_first()?;
            let (attempts, row) = row.split_first_chunk()?;
            let (known, mut row) = row.split_first()?;
            let mut times = [None; TIMES];
            for (bit, time) in times.iter_mut().enumerate() {
                if known & (1 << bit) != 0 {
                    let (value, rest) = row.split_first_chunk()?;
                    (*time, row) = (Some(i64::from_le_bytes(*value)), rest);
                }
            }
            let error = match known & (1 << TIMES) {
                0 => None,
                _ => Some(String::from_utf8(row.to_vec()).ok()?),
            };
            let progress = *PROGRESSES.get(usize::from(*progress))?;
            Some(Course { progress, attempts: u32::from_le_bytes(*attempts), times, error })
        };
        let broken = || StoreError::Row { table: "outbox_course", detail: "it is cut short".to_owned() };
        course().ok_or_else(broken)
    }
}

/// Both tables, for reading messages.
pub(super) struct Messages<T> {
    pub(super) rows: T,
    courses: T,
}

impl Messages<redb::ReadOnlyTable<u64, &'static [u8]>> {
    pub(super) fn open(txn: &ReadTransaction) -> Result<Self, StoreError> {
        Ok(Messages { rows: txn.open_table(MESSAGES)?, courses: txn.open_table(COURSES)? })
    }
}

impl<'txn> Messages<redb::Table<'txn, u64, &'static [u8]>> {
    /// Within a write. Neither table can be opened again before this is dropped.
    pub(super) fn open_in(txn: &'txn WriteTransaction) -> Result<Self, StoreError> {
        Ok(Messages { rows: txn.open_table(MESSAGES)?, courses: txn.open_table(COURSES)? })
    }
}

impl<T: ReadableTable<u64, &'static [u8]>> Messages<T> {
    /// The message with this number.
    pub(super) fn get(&self, seq: u64) -> Result<Option<Message>, StoreError> {
        let Some(row) = self.rows.get(seq)? else { return Ok(None) };
        self.decode(seq, row.value()).map(Some)
    }

    /// The message of a row.
    pub(super) fn decode(&self, seq: u64, row: &[u8]) -> Result<Message, StoreError> {
        let mut message: Message = json::decode("outbox", row)?;
        if let Some(course) = self.courses.get(seq)? {
            Course::decode(course.value())?.apply(&mut message);
        }
        Ok(message)
    }
}

/// WhatsApp has taken a message. `at_ms`: when its ack came.
pub(super) fn sent(message: &mut Message, at_ms: i64) {
    message.progress = message.progress.max(Progress::Sent);
    // A receipt may have been quicker.
    message.sent_at_ms = Some(message.delivered_at_ms.map_or(at_ms, |delivered| delivered.min(at_ms)));
    message.error = None;
}

/// A receipt has come, at `now_ms`. WhatsApp's time of it is the second in which it came about; applications are shown times that
/// go in order: accepted, sent, delivered, read.
pub(super) fn received(message: &mut Message, receipt: &ReceiptEvent, now_ms: i64) {
    // If the ack was not seen: no later than the end of that second.
    let sent_at_ms = message
        .sent_at_ms
        .unwrap_or_else(|| receipt.at_ms.saturating_add(999).min(now_ms).max(message.accepted_at_ms));
    let at_ms = receipt.at_ms.max(sent_at_ms);
    message.sent_at_ms = Some(sent_at_ms);
    let delivered_at_ms = *message.delivered_at_ms.get_or_insert(at_ms);
    let progress = match receipt.kind {
        ReceiptKind::Delivered => Progress::Delivered,
        ReceiptKind::Read | ReceiptKind::Played => {
            message.read_at_ms = message.read_at_ms.or(Some(at_ms.max(delivered_at_ms)));
            Progress::Read
        }
    };
    message.progress = message.progress.max(progress);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    proptest! {
        #[test]
        fn a_course_is_read_as_it_was_written(
            progress in 0..PROGRESSES.len(),
            attempts: u32,
            times: [Option<i64>; TIMES],
            error: Option<String>,
        ) {
            let course = Course { progress: PROGRESSES[progress], attempts, times, error };
            let row = course.encode();
            prop_assert_eq!(Course::decode(&row).unwrap(), course);
            for end in 0..6.min(row.len()) {
                prop_assert!(Course::decode(&row[..end]).is_err());
            }
        }
    }

    fn accepted(accepted_at_ms: i64) -> Message {
        let text = json!({"seq": 7, "id": "u", "session_no": 1, "message_id": "3EB0", "to": "1@s.whatsapp.net", "checked": true,
            "content": {"kind": "text", "body": "halo"}, "progress": "pending", "accepted_at_ms": accepted_at_ms});
        serde_json::from_value(text).unwrap()
    }

    proptest! {
        /// Acks and receipts are recorded in any order, and a receipt's time lacks its milliseconds.
        #[test]
        fn the_times_that_applications_see_go_in_order(
            accepted_at in 1_795_828_800_000..1_795_828_803_000_i64,
            [sending, delivering, reading, recording] in prop::array::uniform4(0..2500_i64),
            order in Just([0, 1, 2]).prop_shuffle(),
        ) {
            let sent_at = accepted_at + sending;
            let (delivered_at, read_at) = (sent_at + delivering, sent_at + delivering + reading);
            let receipt = |kind, at_ms: i64| ReceiptEvent {
                session_no: 1, kind, message_ids: vec!["3EB0".into()], at_ms: at_ms / 1000 * 1000,
            };
            let mut message = accepted(accepted_at);
            let mut settled = Progress::Pending;
            for step in order {
                match step {
                    0 => sent(&mut message, sent_at),
                    1 => received(&mut message, &receipt(ReceiptKind::Delivered, delivered_at), delivered_at + recording),
                    _ => received(&mut message, &receipt(ReceiptKind::Read, read_at), read_at + recording),
                }
                settled = settled.max(PROGRESSES[step + 2]);
                prop_assert_eq!(message.progress, settled);
                let times = [Some(message.accepted_at_ms), message.sent_at_ms, message.delivered_at_ms, message.read_at_ms];
                let known: Vec<i64> = times.into_iter().flatten().collect();
                prop_assert!(known.is_sorted(), "{known:?}");
                // No message is said to have gone before it could.
                prop_assert!(known[1] >= sent_at, "{known:?} but sent at {sent_at}");
            }
            prop_assert_eq!(known_times(&message), [true, true, true]);
        }
    }

    fn known_times(message: &Message) -> [bool; 3] {
        [message.sent_at_ms, message.delivered_at_ms, message.read_at_ms].map(|at| at.is_some())
    }

    #[test]
    fn a_delivered_messages_course_is_short() {
        let times = [None, Some(1_795_828_800_000), Some(1_795_828_800_000), None];
        let course = Course { progress: Progress::Delivered, attempts: 0, times, error: None };
        assert_eq!(course.encode().len(), 22);
    }
}
