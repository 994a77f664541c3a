//! App state: keys, versions, mutation MACs.

use std::collections::HashMap;

use async_trait::async_trait;
use wacore::appstate::hash::HashState;
use wacore::appstate::processor::AppStateMutationMAC;
use wacore::store::error::Result;
use wacore::store::traits::{AppStateSyncKey, AppSyncStore};

use super::row::{from_json, to_json};
use super::{AccountStore, to_wa};
use crate::store::tables::{LATEST_SYNC_KEY, MUTATION_MACS, SYNC_KEYS, VERSIONS};

#[async_trait]
impl AppSyncStore for AccountStore {
    async fn get_sync_key(&self, key_id: &[u8]) -> Result<Option<AppStateSyncKey>> {
        self.get(SYNC_KEYS, &self.key(&[key_id])?)?
            .map(|row| from_json("wa_sync_key", &row).map_err(to_wa))
            .transpose()
    }

    async fn set_sync_key(&self, key_id: &[u8], key: AppStateSyncKey) -> Result<()> {
        let row = to_json("wa_sync_key", &key).map_err(to_wa)?;
        let (at, latest_at, key_id) = (self.key(&[key_id])?, self.key(&[])?, key_id.to_vec());
        self.write(move |txn| {
            txn.open_table(SYNC_KEYS)?.insert(at.as_slice(), row.as_slice())?;
            txn.open_table(LATEST_SYNC_KEY)?.insert(latest_at.as_slice(), key_id.as_slice())?;
            Ok(((), true))
        })
        .await
    }

    async fn get_version(&self, name: &str) -> Result<HashState> {
        self.get(VERSIONS, &self.key(&[name.as_bytes()])?)?
            .map_or_else(|| Ok(HashState::default()), |row| from_json("wa_app_state", &row).map_err(to_wa))
    }

    async fn set_version(&self, name: &str, state: HashState) -> Result<()> {
        let row = to_json("wa_app_state", &state).map_err(to_wa)?;
        self.put(VERSIONS, vec![(self.key(&[name.as_bytes()])?, row)]).await
    }

    // The version a MAC came with is not needed: a MAC is replaced by its index, and a collection is cleared whole.
    async fn put_mutation_macs(
        &self,
        name: &str,
        _version: u64,
        mutations: &[AppStateMutationMAC],
    ) -> Result<()> {
        let rows = mutations
            .iter()
            .map(|mac| Ok((self.key(&[name.as_bytes(), &mac.index_mac])?, mac.value_mac.clone())))
            .collect::<Result<_>>()?;
        self.put(MUTATION_MACS, rows).await
    }

    async fn get_mutation_mac(&self, name: &str, index_mac: &[u8]) -> Result<Option<Vec<u8>>> {
        self.get(MUTATION_MACS, &self.key(&[name.as_bytes(), index_mac])?)
    }

    async fn get_mutation_macs(
        &self,
        name: &str,
        index_macs: &[[u8; 32]],
    ) -> Result<HashMap<[u8; 32], Vec<u8>>> {
        let prefix = self.key(&[name.as_bytes(), &[]])?;
        self.read(|txn| {
            let table = txn.open_table(MUTATION_MACS)?;
            let mut found = HashMap::with_capacity(index_macs.len());
            let mut key = prefix.clone();
            for index_mac in index_macs {
                key.truncate(prefix.len());
                key.extend_from_slice(index_mac);
                if let Some(row) = table.get(key.as_slice())? {
                    found.insert(*index_mac, row.value().to_vec());
                }
            }
            Ok(found)
        })
    }

    async fn delete_mutation_macs(&self, name: &str, index_macs: &[Vec<u8>]) -> Result<()> {
        let keys = index_macs
            .iter()
            .map(|index_mac| self.key(&[name.as_bytes(), index_mac]))
            .collect::<Result<_>>()?;
        self.remove(MUTATION_MACS, keys).await
    }

    async fn clear_mutation_macs(&self, name: &str) -> Result<()> {
        self.remove_prefix(MUTATION_MACS, self.key(&[name.as_bytes(), &[]])?).await
    }

    async fn get_latest_sync_key_id(&self) -> Result<Option<Vec<u8>>> {
        self.get(LATEST_SYNC_KEY, &self.key(&[])?)
    }
}
