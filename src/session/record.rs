//! What is remembered of a session, and the tables that hold it.

use redb::{ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

use crate::store::json;
use crate::store::tables::Table;
use crate::store::{Store, StoreError};

/// Sessions. Key: session number. Value: [`SessionRecord`] as JSON.
const SESSIONS: TableDefinition<'static, u32, &'static [u8]> = TableDefinition::new("sessions");
/// Counters and small facts of the gateway. Key: name. Value: JSON.
const FACTS: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("facts");

pub(super) const SESSIONS_TABLE: Table = Table::of::<u32>("sessions");
pub(super) const FACTS_TABLE: Table = Table::of::<&'static str>("facts");

/// A session as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Its number: never used again after it is deleted.
    pub no: u32,
    /// Its id towards applications: a UUID.
    pub id: String,
    /// Its name, given by whoever created it.
    pub name: String,
    /// The account that owns it.
    pub owner: String,
    /// The store's account that holds its credentials. A new one is taken after each log-out, so that a late write of
    /// a stopping client cannot bring removed credentials back.
    pub account: u32,
    /// Whether a phone accepted this device.
    #[serde(default)]
    pub paired: bool,
    /// Unix milliseconds.
    pub created_at_ms: i64,
    /// The phone number it was last connected as.
    #[serde(default)]
    pub number: Option<String>,
    /// The LID it was last connected as.
    #[serde(default)]
    pub lid: Option<String>,
    /// The name on WhatsApp.
    #[serde(default)]
    pub push_name: String,
    /// End of a ban, Unix milliseconds.
    #[serde(default)]
    pub banned_until_ms: Option<i64>,
}

/// Reads all sessions.
pub(super) fn load_all(store: &Store) -> Result<Vec<SessionRecord>, StoreError> {
    store.read(|txn| {
        let table = txn.open_table(SESSIONS)?;
        let mut records = Vec::new();
        for row in table.iter()? {
            let (_, value) = row?;
            records.push(json::decode("sessions", value.value())?);
        }
        Ok(records)
    })
}

/// Writes one session.
pub(super) async fn save(store: &Store, record: &SessionRecord) -> Result<(), StoreError> {
    let record = record.clone();
    store
        .write(move |txn| {
            let value = json::encode("sessions", &record)?;
            txn.open_table(SESSIONS)?.insert(record.no, value.as_slice())?;
            Ok(())
        })
        .await
}

/// Creates a session under the next free number; `build` gets that number.
pub(super) async fn create<F>(store: &Store, build: F) -> Result<SessionRecord, StoreError>
where
    F: Fn(u32) -> SessionRecord + Send + 'static,
{
    store
        .write(move |txn| {
            let mut facts = txn.open_table(FACTS)?;
            let no: u32 = match facts.get("next_session")? {
                Some(row) => json::decode("facts", row.value())?,
                None => 1,
            };
            facts.insert("next_session", json::encode("facts", &(no + 1))?.as_slice())?;
            let record = build(no);
            let value = json::encode("sessions", &record)?;
            txn.open_table(SESSIONS)?.insert(no, value.as_slice())?;
            Ok(record)
        })
        .await
}

/// Whether there is a session with this number, as of this transaction.
pub fn is_stored(txn: &WriteTransaction, no: u32) -> Result<bool, StoreError> {
    Ok(txn.open_table(SESSIONS)?.get(no)?.is_some())
}

/// Forgets one session.
pub(super) async fn delete(store: &Store, no: u32) -> Result<(), StoreError> {
    store
        .write(move |txn| {
            txn.open_table(SESSIONS)?.remove(no)?;
            Ok(())
        })
        .await
}

/// Reads a fact.
pub(super) fn fact<T: serde::de::DeserializeOwned>(
    store: &Store,
    name: &str,
) -> Result<Option<T>, StoreError> {
    store.read(|txn| {
        let table = txn.open_table(FACTS)?;
        let row = table.get(name)?;
        row.map(|row| json::decode("facts", row.value())).transpose()
    })
}

/// Writes a fact.
pub(super) async fn set_fact<T: Serialize>(
    store: &Store,
    name: &'static str,
    value: &T,
) -> Result<(), StoreError> {
    let value = json::encode("facts", value)?;
    store
        .write(move |txn| {
            txn.open_table(FACTS)?.insert(name, value.as_slice())?;
            Ok(())
        })
        .await
}
