//! Care with numbers that never wrote to us: WhatsApp bans accounts that write to many of them.
//!
//! Off unless the configuration says otherwise. A stranger is a private chat from which nothing was ever received; groups
//! are none. They may have a pause of their own in the slow lane, and a number of messages per session and day (UTC).

use std::sync::Arc;
use std::time::Duration;

use redb::{ReadableTable, TableDefinition, WriteTransaction};

use super::accept::Draft;
use crate::store::StoreError;
use crate::store::tables::Table;

/// Messages to strangers. Key: session number. Value: day since 1970 u32 LE, then how many were accepted on it u32 LE.
const STRANGERS: TableDefinition<'static, u32, &'static [u8]> = TableDefinition::new("outbox_strangers");
/// The table of this module.
pub(super) const TABLE: Table = Table::of::<u32>("outbox_strangers");

const DAY_MS: i64 = 24 * 3600 * 1000;

/// Tells whether a chat (session number, JID) ever wrote to us.
pub type Acquaintance = Arc<dyn Fn(u32, &str) -> bool + Send + Sync>;

/// Limits for messages to strangers.
#[derive(Clone, Copy, Debug, Default)]
pub struct StrangerSettings {
    /// Messages per session and day; 0: any number.
    pub daily_cap: u32,
    /// Pause between two of them; zero: none.
    pub delay: Duration,
}

impl StrangerSettings {
    fn is_off(&self) -> bool {
        self.daily_cap == 0 && self.delay.is_zero()
    }

    /// Slows the drafts for strangers down, and counts them.
    pub(super) fn apply(&self, session_no: u32, drafts: &mut [Draft], knows: &Acquaintance) -> u32 {
        if self.is_off() {
            return 0;
        }
        let mut count = 0;
        for draft in
            drafts.iter_mut().filter(|draft| !draft.to.ends_with("@g.us") && !draft.body.is_about_another())
        {
            if !knows(session_no, &draft.to) {
                count += 1;
                draft.options.pause = draft.options.pause.max(self.delay);
            }
        }
        count
    }

    /// Counts `count` more of today, unless that is more than allowed; then none. Whether they are allowed.
    pub(super) fn take(
        &self,
        txn: &WriteTransaction,
        session_no: u32,
        count: u32,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        if self.daily_cap == 0 || count == 0 {
            return Ok(true);
        }
        let today = u32::try_from(now_ms / DAY_MS).unwrap_or(0);
        let mut table = txn.open_table(STRANGERS)?;
        let used = table.get(session_no)?.and_then(|row| {
            let value = row.value();
            let day = u32::from_le_bytes(value.get(..4)?.try_into().ok()?);
            let used = u32::from_le_bytes(value.get(4..8)?.try_into().ok()?);
            (day == today).then_some(used)
        });
        let used = used.unwrap_or(0).saturating_add(count);
        if used > self.daily_cap {
            return Ok(false);
        }
        let value = [today.to_le_bytes(), used.to_le_bytes()].concat();
        table.insert(session_no, value.as_slice())?;
        Ok(true)
    }
}

/// How long until the next day begins.
pub(super) fn day_left(now_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(DAY_MS - now_ms.rem_euclid(DAY_MS)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::{Body, Content, Options};
    use crate::store::{Store, StoreOptions};

    fn draft(to: &str) -> Draft {
        Draft { to: to.into(), checked: true, body: Body::Text("a".into()), options: Options::default() }
    }

    #[test]
    fn strangers_are_slowed_down_and_others_are_not() {
        let settings = StrangerSettings { daily_cap: 0, delay: Duration::from_secs(9) };
        let delete = Body::Other(Content::Delete { target: "3EB0".into() });
        let mut later = [Draft { body: delete, ..draft("6282@s.whatsapp.net") }];
        let nobody: Acquaintance = Arc::new(|_: u32, _: &str| false);
        assert_eq!(settings.apply(1, &mut later, &nobody), 0);
        let knows: Acquaintance = Arc::new(|_, chat| chat.starts_with("6281"));
        let mut drafts = [draft("6281@s.whatsapp.net"), draft("6282@s.whatsapp.net"), draft("1@g.us")];
        assert_eq!(settings.apply(1, &mut drafts, &knows), 1);
        let pauses: Vec<u64> = drafts.iter().map(|d| d.options.pause.as_secs()).collect();
        assert_eq!(pauses, [0, 9, 0]);
        assert_eq!(StrangerSettings::default().apply(1, &mut drafts, &knows), 0, "off");
    }

    #[tokio::test]
    async fn the_cap_is_per_session_and_day() {
        let dir = tempfile::tempdir().unwrap();
        let options = StoreOptions { tables: vec![TABLE], ..StoreOptions::default() };
        let store = Store::open(&dir.path().join("s.redb"), &options).unwrap();
        let settings = StrangerSettings { daily_cap: 3, delay: Duration::ZERO };
        let take =
            |session_no, count, now_ms| store.write(move |txn| settings.take(txn, session_no, count, now_ms));
        let evening = 20_000 * DAY_MS - 1_000;
        assert!(take(1, 2, evening).await.unwrap());
        assert!(!take(1, 2, evening).await.unwrap(), "all or none");
        assert!(take(1, 1, evening).await.unwrap() && !take(1, 1, evening).await.unwrap());
        assert!(take(2, 3, evening).await.unwrap(), "another session");
        assert_eq!(day_left(evening), Duration::from_secs(1));
        assert!(take(1, 3, evening + 1_000).await.unwrap(), "the next day");
    }
}
