//! Which JID WhatsApp answers with for a phone number: asked once, then remembered.
//!
//! Never derived by rule: Brazil's ninth digit, Mexico's and Argentina's prefixes depend on the single number.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redb::TableDefinition;
use serde::{Deserialize, Serialize};
use whatsapp_rust::Jid;

use super::registry::Session;
use crate::store::tables::Table;
use crate::store::{Store, StoreError, json};

/// Numbers that WhatsApp knows. Key: digits. Value: [`Known`] as JSON.
const NUMBERS: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("numbers");
/// The table of this module.
pub(super) const TABLE: Table = Table::of::<&'static str>("numbers");

/// Age after which a known number is asked for again.
const FRESH: Duration = Duration::from_secs(30 * 24 * 3600);
/// Rows kept; beyond it the table is emptied, which only costs look-ups.
const MOST: u64 = 50_000;
/// How long an application waits for WhatsApp's answer.
const TIMEOUT: Duration = Duration::from_secs(15);

#[derive(Serialize, Deserialize)]
struct Known {
    jid: String,
    at_s: u64,
}

/// What WhatsApp says of a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// It is on WhatsApp under this JID.
    Registered(String),
    /// It is not.
    Unregistered,
}

/// Why a number could not be looked up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// The session is not connected and the number was never asked for.
    #[error("the session is not connected, so the number cannot be checked")]
    NotConnected,
    /// No answer in time.
    #[error("WhatsApp did not answer the number check within {} s", TIMEOUT.as_secs())]
    Timeout,
    /// WhatsApp refused, or the connection broke.
    #[error("the number check failed: {0}")]
    Failed(String),
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The remembered JID, if it is not too old.
pub(super) fn remembered(store: &Store, number: &str) -> Option<String> {
    let known: Option<Known> = store
        .read(|txn| {
            let table = txn.open_table(NUMBERS)?;
            let row = table.get(number)?;
            row.map(|row| json::decode("numbers", row.value())).transpose()
        })
        .unwrap_or_else(|e| {
            log::warn!("cannot read the known numbers: {e}");
            None
        });
    known.filter(|k| now_s().saturating_sub(k.at_s) < FRESH.as_secs()).map(|k| k.jid)
}

async fn remember(store: &Store, number: String, jid: String) -> Result<(), StoreError> {
    let value = json::encode("numbers", &Known { jid, at_s: now_s() })?;
    store
        .write_soon(move |txn| {
            let mut table = txn.open_table(NUMBERS)?;
            if redb::ReadableTableMetadata::len(&table)? >= MOST {
                table.retain(|_, _| false)?;
            }
            table.insert(number.as_str(), value.as_slice())?;
            Ok(())
        })
        .await
}

impl Session {
    /// Asks WhatsApp whether `number` (digits) is registered, or remembers that it is.
    pub async fn lookup(&self, number: &str) -> Result<Lookup, LookupError> {
        if let Some(jid) = remembered(self.store(), number) {
            return Ok(Lookup::Registered(jid));
        }
        Ok(self.lookup_many(&[number.to_owned()]).await?.pop().unwrap_or(Lookup::Unregistered))
    }

    /// As [`Session::lookup`], for several numbers: those that are not remembered are asked for at once. Answers in the
    /// order of the question.
    pub async fn lookup_each(&self, numbers: &[String]) -> Result<Vec<Lookup>, LookupError> {
        let known: Vec<Option<String>> = numbers.iter().map(|n| remembered(self.store(), n)).collect();
        let unknown: Vec<String> =
            numbers.iter().zip(&known).filter(|(_, known)| known.is_none()).map(|(n, _)| n.clone()).collect();
        let mut asked = match unknown.is_empty() {
            true => Vec::new(),
            false => self.lookup_many(&unknown).await?,
        }
        .into_iter();
        let answer = |known: Option<String>| match known {
            Some(jid) => Lookup::Registered(jid),
            None => asked.next().unwrap_or(Lookup::Unregistered),
        };
        Ok(known.into_iter().map(answer).collect())
    }

    /// Asks for several numbers at once, whatever is remembered. Answers in the order of the question.
    pub async fn lookup_many(&self, numbers: &[String]) -> Result<Vec<Lookup>, LookupError> {
        let client = self.client().ok_or(LookupError::NotConnected)?;
        let jids: Vec<Jid> = numbers.iter().map(|n| Jid::pn(n.as_str())).collect();
        let answers = tokio::time::timeout(TIMEOUT, client.contacts().is_on_whatsapp(&jids))
            .await
            .map_err(|_| LookupError::Timeout)?
            .map_err(|e| LookupError::Failed(e.to_string()))?;
        let mut found = Vec::with_capacity(numbers.len());
        for (index, number) in numbers.iter().enumerate() {
            // An answer names the JID that WhatsApp uses, which may differ from the number asked for; it comes in the
            // order of the question unless it names the very number.
            let answer = answers
                .iter()
                .find(|a| {
                    a.jid.user == number.as_str()
                        || a.pn_jid.as_ref().is_some_and(|j| j.user == number.as_str())
                })
                .or_else(|| if answers.len() == numbers.len() { answers.get(index) } else { None });
            match answer {
                Some(answer) if answer.is_registered => {
                    let jid = answer.pn_jid.as_ref().unwrap_or(&answer.jid).to_non_ad_string();
                    if let Err(e) = remember(self.store(), number.clone(), jid.clone()).await {
                        log::warn!("cannot remember a number's JID: {e}");
                    }
                    found.push(Lookup::Registered(jid));
                }
                _ => found.push(Lookup::Unregistered),
            }
        }
        Ok(found)
    }
}
