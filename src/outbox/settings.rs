//! What a session does otherwise than the box: its pauses, its main number, whom it may write to, its care with
//! strangers. Kept in the store; where a session says nothing, the configuration counts.

use std::sync::PoisonError;
use std::time::Duration;

use redb::{ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::Outbox;
use super::schedule::Pace;
use super::strangers::StrangerSettings;
use crate::session;
use crate::store::tables::Table;
use crate::store::{StoreError, json};

/// Sessions' own settings. Key: session number. Value: [`SessionSettings`] as JSON.
const SETTINGS: TableDefinition<'static, u32, &'static [u8]> = TableDefinition::new("outbox_settings");
/// The table of this module.
pub(super) const TABLE: Table = Table::of::<u32>("outbox_settings");

/// A session's own settings. `None`: as the configuration says under the same name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionSettings {
    /// Pause between two sends, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send_delay_ms: Option<u32>,
    /// Random extra on top of it, at most this, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send_jitter_ms: Option<u32>,
    /// Pause between two messages of dialect 3's queue, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_delay_ms: Option<u32>,
    /// Random extra on top of it, at most this, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_jitter_ms: Option<u32>,
    /// What dialect 3's `main` stands for: a number or a group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub main_number: Option<String>,
    /// Whom dialect 3's queue may write to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_allow: Option<Allow>,
    /// Messages a day to numbers that never wrote to the session; 0: any number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stranger_daily_cap: Option<u32>,
    /// Pause between two of them, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stranger_delay_ms: Option<u32>,
}

/// Whom a queue may write to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Allow {
    /// Anybody.
    Everybody,
    /// These numbers and groups.
    Only(Vec<String>),
}

impl SessionSettings {
    fn pace(&self, default: Pace) -> Pace {
        let or = |own: Option<u32>, default| own.map_or(default, |ms| Duration::from_millis(ms.into()));
        Pace {
            delay: or(self.send_delay_ms, default.delay),
            jitter: or(self.send_jitter_ms, default.jitter),
            parallel: default.parallel,
        }
    }

    fn strangers(&self, default: StrangerSettings) -> StrangerSettings {
        StrangerSettings {
            daily_cap: self.stranger_daily_cap.unwrap_or(default.daily_cap),
            delay: self.stranger_delay_ms.map_or(default.delay, |ms| Duration::from_millis(ms.into())),
        }
    }
}

/// The settings of every session that has some.
pub(super) fn load(txn: &ReadTransaction) -> Result<Vec<(u32, SessionSettings)>, StoreError> {
    let table = txn.open_table(SETTINGS)?;
    let mut found = Vec::new();
    for row in table.iter()? {
        let (no, value) = row?;
        found.push((no.value(), json::decode("outbox_settings", value.value())?));
    }
    Ok(found)
}

/// Forgets a deleted session's settings.
pub(super) fn forget(txn: &WriteTransaction, session_no: u32) -> Result<(), StoreError> {
    txn.open_table(SETTINGS)?.remove(session_no)?;
    Ok(())
}

impl Outbox {
    /// The session's own settings.
    pub fn settings_of(&self, session_no: u32) -> SessionSettings {
        let own = self.shared.own.read().unwrap_or_else(PoisonError::into_inner);
        own.get(&session_no).cloned().unwrap_or_default()
    }

    /// Changes the session's own settings, on the disk first, and returns them. `None`: there is no such session.
    pub async fn change_settings(
        &self,
        session_no: u32,
        change: impl Fn(&mut SessionSettings) + Send + 'static,
    ) -> Result<Option<SessionSettings>, StoreError> {
        // One change at a time: memory takes them in the order of the disk.
        let _turn = self.shared.changing.lock().await;
        let written = self
            .shared
            .store
            .write(move |txn| {
                if !session::is_stored(txn, session_no)? {
                    return Ok(None);
                }
                let mut table = txn.open_table(SETTINGS)?;
                let row = table.get(session_no)?;
                let stored = row.map(|row| json::decode("outbox_settings", row.value())).transpose()?;
                let mut settings: SessionSettings = stored.unwrap_or_default();
                change(&mut settings);
                table.insert(session_no, json::encode("outbox_settings", &settings)?.as_slice())?;
                Ok(Some(settings))
            })
            .await?;
        if let Some(settings) = &written {
            let mut own = self.shared.own.write().unwrap_or_else(PoisonError::into_inner);
            own.insert(session_no, settings.clone());
            drop(own);
            self.lane(session_no).wake.notify_one();
        }
        Ok(written)
    }

    /// The pauses of a session that says nothing.
    pub fn default_pace(&self) -> Pace {
        self.shared.settings.pace
    }

    /// The care with strangers of a session that says nothing.
    pub fn default_strangers(&self) -> StrangerSettings {
        self.shared.settings.strangers
    }

    /// The session's pauses.
    pub(super) fn pace(&self, session_no: u32) -> Pace {
        let own = self.shared.own.read().unwrap_or_else(PoisonError::into_inner);
        let default = self.shared.settings.pace;
        own.get(&session_no).map_or(default, |own| own.pace(default))
    }

    /// The session's care with strangers.
    pub(super) fn strangers(&self, session_no: u32) -> StrangerSettings {
        let own = self.shared.own.read().unwrap_or_else(PoisonError::into_inner);
        let default = self.shared.settings.strangers;
        own.get(&session_no).map_or(default, |own| own.strangers(default))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_session_does_not_say_is_as_the_box_says() {
        let default = Pace { delay: Duration::from_secs(1), jitter: Duration::from_secs(2), parallel: 3 };
        let own =
            SessionSettings { send_delay_ms: Some(0), stranger_daily_cap: Some(5), ..Default::default() };
        let pace = own.pace(default);
        assert_eq!((pace.delay, pace.jitter, pace.parallel), (Duration::ZERO, Duration::from_secs(2), 3));
        let strangers = own.strangers(StrangerSettings { daily_cap: 9, delay: Duration::from_secs(4) });
        assert_eq!((strangers.daily_cap, strangers.delay), (5, Duration::from_secs(4)));
    }

    #[test]
    fn they_read_back_and_a_row_without_them_is_no_error() {
        let own = SessionSettings {
            queue_allow: Some(Allow::Only(vec!["62811".into()])),
            main_number: Some("62811".into()),
            ..Default::default()
        };
        let text = serde_json::to_string(&own).unwrap();
        assert_eq!(serde_json::from_str::<SessionSettings>(&text).unwrap(), own, "{text}");
        assert_eq!(serde_json::from_str::<SessionSettings>("{}").unwrap(), SessionSettings::default());
    }
}
