//! The device: its keys, its JID, its counters.

use async_trait::async_trait;
use wacore::stats::StorageResourceReport;
use wacore::store::Device;
use wacore::store::error::Result;
use wacore::store::traits::DeviceStore;

use redb::ReadableTable;

use super::row::{from_json, to_json};
use super::{AccountStore, gone, to_wa};
use crate::store::tables::DEVICES;

#[async_trait]
impl DeviceStore for AccountStore {
    async fn save(&self, device: &Device) -> Result<()> {
        self.know_device(device);
        let row = to_json("wa_device", device).map_err(to_wa)?;
        self.put(DEVICES, vec![(self.key(&[])?, row)]).await
    }

    async fn load(&self) -> Result<Option<Device>> {
        let Some(row) = self.get(DEVICES, &self.key(&[])?)? else { return Ok(None) };
        let device = from_json("wa_device", &row).map_err(to_wa)?;
        self.know_device(&device);
        Ok(Some(device))
    }

    async fn exists(&self) -> Result<bool> {
        Ok(self.get(DEVICES, &self.key(&[])?)?.is_some())
    }

    /// Gives the account a device of fresh keys, if it has none, and returns the account's id.
    async fn create(&self) -> Result<i32> {
        let row = to_json("wa_device", &Device::new()).map_err(to_wa)?;
        let key = self.key(&[])?;
        self.write(move |txn| {
            let mut table = txn.open_table(DEVICES)?;
            if table.get(key.as_slice())?.is_some() {
                return Ok(((), false));
            }
            table.insert(key.as_slice(), row.as_slice())?;
            Ok(((), true))
        })
        .await?;
        i32::try_from(self.account.0).map_err(|_| gone(self.account))
    }

    /// The page cache is the store's, not the account's.
    async fn resource_report(&self) -> StorageResourceReport {
        StorageResourceReport { memory_bytes: Some(self.sent.bytes()), ..StorageResourceReport::default() }
    }
}
