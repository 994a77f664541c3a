//! Identities, sessions, prekeys and sender keys.
//!
//! All of it is durable when a call returns: a session that is older on disk than on the wire makes the next messages
//! undecryptable for good.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use redb::ReadableTable;
use wacore::store::error::Result;
use wacore::store::traits::SignalStore;

use super::row::{bounds, next_prefix};
use super::{AccountStore, to_wa};
use crate::store::StoreError;
use crate::store::tables::{IDENTITIES, PREKEYS, SENDER_KEYS, SESSIONS, SIGNED_PREKEYS};

fn id_of(table: &'static str, key: &[u8]) -> std::result::Result<u32, StoreError> {
    key.try_into()
        .map(u32::from_be_bytes)
        .map_err(|_| StoreError::Row { table, detail: "its key does not end in a u32".to_owned() })
}

impl AccountStore {
    fn id_key(&self, id: u32) -> Result<Vec<u8>> {
        self.key(&[&id.to_be_bytes()])
    }
}

/// The record of a prekey's row, without the flag for whether it was uploaded.
fn record(row: &[u8]) -> Bytes {
    Bytes::copy_from_slice(row.get(1..).unwrap_or_default())
}

#[async_trait]
impl SignalStore for AccountStore {
    async fn put_identity(&self, address: &str, key: [u8; 32]) -> Result<()> {
        self.put(IDENTITIES, vec![(self.key(&[address.as_bytes()])?, key.to_vec())]).await
    }

    async fn put_identities_batch(&self, identities: &[(Arc<str>, [u8; 32])]) -> Result<()> {
        let rows = identities
            .iter()
            .map(|(address, key)| Ok((self.key(&[address.as_bytes()])?, key.to_vec())))
            .collect::<Result<_>>()?;
        self.put(IDENTITIES, rows).await
    }

    async fn load_identity(&self, address: &str) -> Result<Option<[u8; 32]>> {
        let Some(row) = self.get(IDENTITIES, &self.key(&[address.as_bytes()])?)? else { return Ok(None) };
        let key = row.try_into().map_err(|_| {
            to_wa(StoreError::Row { table: "wa_identity", detail: "it is not 32 bytes".to_owned() })
        })?;
        Ok(Some(key))
    }

    async fn delete_identity(&self, address: &str) -> Result<()> {
        self.remove(IDENTITIES, vec![self.key(&[address.as_bytes()])?]).await
    }

    async fn get_session(&self, address: &str) -> Result<Option<Bytes>> {
        Ok(self.get(SESSIONS, &self.key(&[address.as_bytes()])?)?.map(Bytes::from))
    }

    async fn put_session(&self, address: &str, session: &[u8]) -> Result<()> {
        self.put(SESSIONS, vec![(self.key(&[address.as_bytes()])?, session.to_vec())]).await
    }

    async fn put_sessions_batch(&self, sessions: &[(Arc<str>, Bytes)]) -> Result<()> {
        let rows = sessions
            .iter()
            .map(|(address, session)| Ok((self.key(&[address.as_bytes()])?, session.to_vec())))
            .collect::<Result<_>>()?;
        self.put(SESSIONS, rows).await
    }

    async fn delete_session(&self, address: &str) -> Result<()> {
        self.remove(SESSIONS, vec![self.key(&[address.as_bytes()])?]).await
    }

    async fn has_session(&self, address: &str) -> Result<bool> {
        let key = self.key(&[address.as_bytes()])?;
        self.read(|txn| Ok(txn.open_table(SESSIONS)?.get(key.as_slice())?.is_some()))
    }

    async fn has_signal_state_for_user(&self, user: &str) -> Result<bool> {
        // An address is `user@server`, or `user:device@server`.
        let prefixes =
            [self.key(&[format!("{user}@").as_bytes()])?, self.key(&[format!("{user}:").as_bytes()])?];
        self.read(|txn| {
            for table in [SESSIONS, IDENTITIES] {
                let table = txn.open_table(table)?;
                for prefix in &prefixes {
                    let end = next_prefix(prefix);
                    if table.range::<&[u8]>(bounds(prefix, end.as_deref()))?.next().transpose()?.is_some() {
                        return Ok(true);
                    }
                }
            }
            Ok(false)
        })
    }

    async fn store_prekey(&self, id: u32, record: &[u8], uploaded: bool) -> Result<()> {
        let row = [&[u8::from(uploaded)], record].concat();
        self.put(PREKEYS, vec![(self.id_key(id)?, row)]).await
    }

    async fn store_prekeys_batch(&self, keys: &[(u32, Bytes)], uploaded: bool) -> Result<()> {
        let rows = keys
            .iter()
            .map(|(id, record)| Ok((self.id_key(*id)?, [&[u8::from(uploaded)], &**record].concat())))
            .collect::<Result<_>>()?;
        self.put(PREKEYS, rows).await
    }

    async fn load_prekey(&self, id: u32) -> Result<Option<Bytes>> {
        Ok(self.get(PREKEYS, &self.id_key(id)?)?.map(|row| record(&row)))
    }

    async fn load_prekeys_batch(&self, ids: &[u32]) -> Result<Vec<(u32, Bytes)>> {
        let keys = ids.iter().map(|id| Ok((*id, self.id_key(*id)?))).collect::<Result<Vec<_>>>()?;
        self.read(|txn| {
            let table = txn.open_table(PREKEYS)?;
            let mut found = Vec::with_capacity(keys.len());
            for (id, key) in &keys {
                if let Some(row) = table.get(key.as_slice())? {
                    found.push((*id, record(row.value())));
                }
            }
            Ok(found)
        })
    }

    async fn mark_prekeys_uploaded(&self, ids: &[u32]) -> Result<()> {
        let keys = ids.iter().map(|id| self.id_key(*id)).collect::<Result<Vec<_>>>()?;
        self.write(move |txn| {
            let mut table = txn.open_table(PREKEYS)?;
            let mut changed = false;
            for key in &keys {
                // A key that was used up meanwhile stays gone.
                let row = table.get(key.as_slice())?.map(|row| row.value().to_vec());
                if let Some(mut row) = row
                    && row.first() == Some(&0)
                {
                    row[0] = 1;
                    table.insert(key.as_slice(), row.as_slice())?;
                    changed = true;
                }
            }
            Ok(((), changed))
        })
        .await
    }

    async fn remove_prekey(&self, id: u32) -> Result<()> {
        self.remove(PREKEYS, vec![self.id_key(id)?]).await
    }

    async fn get_max_prekey_id(&self) -> Result<u32> {
        let prefix = self.key(&[])?;
        let end = next_prefix(&prefix);
        self.read(|txn| {
            let table = txn.open_table(PREKEYS)?;
            let last = table.range::<&[u8]>(bounds(&prefix, end.as_deref()))?.next_back().transpose()?;
            last.map_or(Ok(0), |(key, _)| id_of("wa_prekey", &key.value()[prefix.len()..]))
        })
    }

    async fn store_signed_prekey(&self, id: u32, record: &[u8]) -> Result<()> {
        self.put(SIGNED_PREKEYS, vec![(self.id_key(id)?, record.to_vec())]).await
    }

    async fn load_signed_prekey(&self, id: u32) -> Result<Option<Vec<u8>>> {
        self.get(SIGNED_PREKEYS, &self.id_key(id)?)
    }

    async fn load_all_signed_prekeys(&self) -> Result<Vec<(u32, Vec<u8>)>> {
        self.rows(SIGNED_PREKEYS, &self.key(&[])?)?
            .into_iter()
            .map(|(id, record)| Ok((id_of("wa_signed_prekey", &id).map_err(to_wa)?, record)))
            .collect()
    }

    async fn remove_signed_prekey(&self, id: u32) -> Result<()> {
        self.remove(SIGNED_PREKEYS, vec![self.id_key(id)?]).await
    }

    async fn put_sender_key(&self, address: &str, record: &[u8]) -> Result<()> {
        self.put(SENDER_KEYS, vec![(self.key(&[address.as_bytes()])?, record.to_vec())]).await
    }

    async fn put_sender_keys_batch(&self, sender_keys: &[(Arc<str>, Bytes)]) -> Result<()> {
        let rows = sender_keys
            .iter()
            .map(|(address, record)| Ok((self.key(&[address.as_bytes()])?, record.to_vec())))
            .collect::<Result<_>>()?;
        self.put(SENDER_KEYS, rows).await
    }

    async fn get_sender_key(&self, address: &str) -> Result<Option<Vec<u8>>> {
        self.get(SENDER_KEYS, &self.key(&[address.as_bytes()])?)
    }

    async fn delete_sender_key(&self, address: &str) -> Result<()> {
        self.remove(SENDER_KEYS, vec![self.key(&[address.as_bytes()])?]).await
    }
}
