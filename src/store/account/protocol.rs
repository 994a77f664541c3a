//! Everything between Signal and the application: who has which sender key, LIDs, device lists, groups, tokens, and
//! the messages kept for retries.

use async_trait::async_trait;
use redb::{ReadableTable, WriteTransaction};
use wacore::store::error::Result;
use wacore::store::traits::{
    DeviceListRecord, LidPnMappingEntry, PendingInboundKey, PendingInboundRow, ProtocolStore, TcTokenEntry,
};

use super::row::{Key, bounds, from_json, next_prefix, take_i64, to_json};
use super::{AccountId, AccountStore, Rows, to_wa};
use crate::store::StoreError;
use crate::store::tables::{
    BASE_KEYS, DEVICE_LISTS, GROUPS, LID_MAPPINGS, PENDING_INBOUND, PN_MAPPINGS, SENDER_KEY_DEVICES,
    TC_TOKENS,
};

type Plain<T> = std::result::Result<T, StoreError>;

fn text(table: &'static str, bytes: Vec<u8>) -> Plain<String> {
    String::from_utf8(bytes).map_err(|_| StoreError::Row { table, detail: "it is not UTF-8".to_owned() })
}

fn encode_token(entry: &TcTokenEntry) -> Vec<u8> {
    let mut row = entry.token_timestamp.to_le_bytes().to_vec();
    row.push(u8::from(entry.sender_timestamp.is_some()));
    row.extend_from_slice(&entry.sender_timestamp.unwrap_or_default().to_le_bytes());
    row.extend_from_slice(&entry.token);
    row
}

fn decode_token(mut row: &[u8]) -> Plain<TcTokenEntry> {
    const TABLE: &str = "wa_tc_token";
    let token_timestamp = take_i64(TABLE, &mut row)?;
    let [has_sender] = *super::row::take(TABLE, &mut row)?;
    let sender = take_i64(TABLE, &mut row)?;
    Ok(TcTokenEntry {
        token: row.to_vec(),
        token_timestamp,
        sender_timestamp: (has_sender != 0).then_some(sender),
    })
}

fn put_mapping(
    txn: &WriteTransaction,
    account: AccountId,
    entry: &LidPnMappingEntry,
    row: &[u8],
) -> Plain<()> {
    let key = |user: &str| Key::of(account).parts(&[user.as_bytes()]);
    let mut lids = txn.open_table(LID_MAPPINGS)?;
    let mut phones = txn.open_table(PN_MAPPINGS)?;
    let lid_key = key(&entry.lid)?;
    let old: Option<LidPnMappingEntry> =
        lids.get(lid_key.as_slice())?.map(|row| from_json("wa_lid", row.value())).transpose()?;
    if let Some(old) = old.filter(|old| old.phone_number != entry.phone_number) {
        let phone_key = key(&old.phone_number)?;
        // Another LID may have taken the number over since; that one stays.
        let ours = phones.get(phone_key.as_slice())?.is_some_and(|lid| lid.value() == entry.lid.as_bytes());
        if ours {
            phones.remove(phone_key.as_slice())?;
        }
    }
    lids.insert(lid_key.as_slice(), row)?;
    phones.insert(key(&entry.phone_number)?.as_slice(), entry.lid.as_bytes())?;
    Ok(())
}

impl AccountStore {
    fn device_lists(&self, records: &[DeviceListRecord]) -> Result<Rows> {
        records
            .iter()
            .map(|record| {
                let row = to_json("wa_device_list", record).map_err(to_wa)?;
                Ok((self.key(&[record.user.as_bytes()])?, row))
            })
            .collect()
    }

    fn pending_key(&self, chat: &str, sender: &str, id: &str) -> Result<Vec<u8>> {
        self.key(&[chat.as_bytes(), sender.as_bytes(), id.as_bytes()])
    }

    /// Reads a token's row, changes it, and writes it back, with no other write in between.
    async fn change_token<F>(&self, jid: &str, mut change: F) -> Result<()>
    where
        F: FnMut(Option<TcTokenEntry>) -> Option<TcTokenEntry> + Send + 'static,
    {
        let key = self.key(&[jid.as_bytes()])?;
        self.write(move |txn| {
            let mut table = txn.open_table(TC_TOKENS)?;
            let old = table.get(key.as_slice())?.map(|row| decode_token(row.value())).transpose()?;
            match change(old) {
                None => Ok(((), false)),
                Some(new) => {
                    table.insert(key.as_slice(), encode_token(&new).as_slice())?;
                    Ok(((), true))
                }
            }
        })
        .await
    }
}

#[async_trait]
impl ProtocolStore for AccountStore {
    async fn get_sender_key_devices(&self, group_jid: &str) -> Result<Vec<(String, bool)>> {
        self.rows(SENDER_KEY_DEVICES, &self.key(&[group_jid.as_bytes(), &[]])?)?
            .into_iter()
            .map(|(device, has)| {
                Ok((text("wa_sender_key_device", device).map_err(to_wa)?, has.first() == Some(&1)))
            })
            .collect()
    }

    async fn set_sender_key_status(&self, group_jid: &str, entries: &[(&str, bool)]) -> Result<()> {
        let rows = entries
            .iter()
            .map(|(device, has)| {
                Ok((self.key(&[group_jid.as_bytes(), device.as_bytes()])?, vec![u8::from(*has)]))
            })
            .collect::<Result<_>>()?;
        self.put(SENDER_KEY_DEVICES, rows).await
    }

    async fn clear_sender_key_devices(&self, group_jid: &str) -> Result<()> {
        self.remove_prefix(SENDER_KEY_DEVICES, self.key(&[group_jid.as_bytes(), &[]])?).await
    }

    async fn delete_sender_key_device_rows(&self, device_jids: &[&str]) -> Result<()> {
        if device_jids.is_empty() {
            return Ok(());
        }
        let devices: Vec<Vec<u8>> = device_jids.iter().map(|jid| jid.as_bytes().to_vec()).collect();
        let prefix = self.key(&[])?;
        let end = next_prefix(&prefix);
        self.write(move |txn| {
            let mut table = txn.open_table(SENDER_KEY_DEVICES)?;
            let mut changed = false;
            table.retain_in::<&[u8], _>(bounds(&prefix, end.as_deref()), |key, _| {
                let group_and_device = key.get(prefix.len()..).unwrap_or_default();
                let device = group_and_device.splitn(2, |byte| *byte == 0).nth(1);
                let goes = device.is_some_and(|device| devices.iter().any(|other| other == device));
                changed |= goes;
                !goes
            })?;
            Ok(((), changed))
        })
        .await
    }

    async fn clear_all_sender_key_devices(&self) -> Result<()> {
        self.remove_prefix(SENDER_KEY_DEVICES, self.key(&[])?).await
    }

    async fn get_lid_mapping(&self, lid: &str) -> Result<Option<LidPnMappingEntry>> {
        self.get(LID_MAPPINGS, &self.key(&[lid.as_bytes()])?)?
            .map(|row| from_json("wa_lid", &row).map_err(to_wa))
            .transpose()
    }

    async fn get_pn_mapping(&self, phone: &str) -> Result<Option<LidPnMappingEntry>> {
        let key = self.key(&[phone.as_bytes()])?;
        let account = self.key(&[])?;
        self.read(|txn| {
            let Some(lid) = txn.open_table(PN_MAPPINGS)?.get(key.as_slice())?.map(|row| row.value().to_vec())
            else {
                return Ok(None);
            };
            let row = txn.open_table(LID_MAPPINGS)?.get([&account[..], &lid].concat().as_slice())?;
            row.map(|row| from_json("wa_lid", row.value())).transpose()
        })
    }

    async fn put_lid_mapping(&self, entry: &LidPnMappingEntry) -> Result<()> {
        self.put_lid_mappings(std::slice::from_ref(entry)).await
    }

    async fn put_lid_mappings(&self, entries: &[LidPnMappingEntry]) -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let rows = entries
            .iter()
            .map(|entry| Ok((entry.clone(), to_json("wa_lid", entry).map_err(to_wa)?)))
            .collect::<Result<Vec<_>>>()?;
        let account = self.account;
        self.write(move |txn| {
            rows.iter().try_for_each(|(entry, row)| put_mapping(txn, account, entry, row))?;
            Ok(((), true))
        })
        .await
    }

    async fn get_all_lid_mappings(&self) -> Result<Vec<LidPnMappingEntry>> {
        self.rows(LID_MAPPINGS, &self.key(&[])?)?
            .iter()
            .map(|(_, row)| from_json("wa_lid", row).map_err(to_wa))
            .collect()
    }

    async fn save_base_key(&self, address: &str, message_id: &str, base_key: &[u8]) -> Result<()> {
        let key = self.key(&[address.as_bytes(), message_id.as_bytes()])?;
        self.put(BASE_KEYS, vec![(key, base_key.to_vec())]).await
    }

    async fn has_same_base_key(
        &self,
        address: &str,
        message_id: &str,
        current_base_key: &[u8],
    ) -> Result<bool> {
        let saved = self.get(BASE_KEYS, &self.key(&[address.as_bytes(), message_id.as_bytes()])?)?;
        Ok(saved.is_some_and(|saved| saved == current_base_key))
    }

    async fn delete_base_key(&self, address: &str, message_id: &str) -> Result<()> {
        self.remove(BASE_KEYS, vec![self.key(&[address.as_bytes(), message_id.as_bytes()])?]).await
    }

    async fn update_device_list(&self, record: DeviceListRecord) -> Result<()> {
        self.put(DEVICE_LISTS, self.device_lists(&[record])?).await
    }

    async fn update_device_lists(&self, records: Vec<DeviceListRecord>) -> Result<()> {
        self.put(DEVICE_LISTS, self.device_lists(&records)?).await
    }

    async fn get_devices(&self, user: &str) -> Result<Option<DeviceListRecord>> {
        self.get(DEVICE_LISTS, &self.key(&[user.as_bytes()])?)?
            .map(|row| from_json("wa_device_list", &row).map_err(to_wa))
            .transpose()
    }

    async fn delete_devices(&self, user: &str) -> Result<()> {
        self.remove(DEVICE_LISTS, vec![self.key(&[user.as_bytes()])?]).await
    }

    async fn get_group_metadata(&self, group_jid: &str) -> Result<Option<Vec<u8>>> {
        self.get(GROUPS, &self.key(&[group_jid.as_bytes()])?)
    }

    async fn put_group_metadata(&self, group_jid: &str, blob: &[u8]) -> Result<()> {
        self.put(GROUPS, vec![(self.key(&[group_jid.as_bytes()])?, blob.to_vec())]).await
    }

    async fn delete_group_metadata(&self, group_jid: &str) -> Result<()> {
        self.remove(GROUPS, vec![self.key(&[group_jid.as_bytes()])?]).await
    }

    async fn get_tc_token(&self, jid: &str) -> Result<Option<TcTokenEntry>> {
        self.get(TC_TOKENS, &self.key(&[jid.as_bytes()])?)?
            .map(|row| decode_token(&row).map_err(to_wa))
            .transpose()
    }

    async fn put_tc_token(&self, jid: &str, entry: &TcTokenEntry) -> Result<()> {
        self.put(TC_TOKENS, vec![(self.key(&[jid.as_bytes()])?, encode_token(entry))]).await
    }

    async fn delete_tc_token(&self, jid: &str) -> Result<()> {
        self.remove(TC_TOKENS, vec![self.key(&[jid.as_bytes()])?]).await
    }

    async fn get_all_tc_token_jids(&self) -> Result<Vec<String>> {
        self.rows(TC_TOKENS, &self.key(&[])?)?
            .into_iter()
            .map(|(jid, _)| text("wa_tc_token", jid).map_err(to_wa))
            .collect()
    }

    async fn delete_expired_tc_tokens(&self, token_cutoff: i64, sender_cutoff: i64) -> Result<u32> {
        let prefix = self.key(&[])?;
        let end = next_prefix(&prefix);
        self.write(move |txn| {
            let mut table = txn.open_table(TC_TOKENS)?;
            let mut removed = 0u32;
            let mut damaged = None;
            table.retain_in::<&[u8], _>(bounds(&prefix, end.as_deref()), |_, row| {
                let entry = match decode_token(row) {
                    Ok(entry) => entry,
                    Err(error) => {
                        damaged = Some(error);
                        return true;
                    }
                };
                let token_lives = !entry.token.is_empty() && entry.token_timestamp >= token_cutoff;
                let sender_lives = entry.sender_timestamp.is_some_and(|at| at >= sender_cutoff);
                let stays = token_lives || sender_lives;
                removed += u32::from(!stays);
                stays
            })?;
            match damaged {
                Some(error) => Err(error),
                None => Ok((removed, removed > 0)),
            }
        })
        .await
    }

    async fn touch_tc_token_sender_timestamp(&self, jid: &str, sender_timestamp: i64) -> Result<()> {
        self.change_token(jid, move |old| match old {
            None => Some(TcTokenEntry {
                token: Vec::new(),
                token_timestamp: sender_timestamp,
                sender_timestamp: Some(sender_timestamp),
            }),
            Some(old) if old.sender_timestamp.is_some_and(|at| at >= sender_timestamp) => None,
            Some(old) => Some(TcTokenEntry { sender_timestamp: Some(sender_timestamp), ..old }),
        })
        .await
    }

    async fn store_received_tc_token(&self, jid: &str, token: &[u8], token_timestamp: i64) -> Result<()> {
        let token = token.to_vec();
        self.change_token(jid, move |old| match old {
            // A real token that is newer stays; a placeholder never stands in the way.
            Some(old) if !old.token.is_empty() && token_timestamp < old.token_timestamp => None,
            old => Some(TcTokenEntry {
                token: token.clone(),
                token_timestamp,
                sender_timestamp: old.and_then(|old| old.sender_timestamp),
            }),
        })
        .await
    }

    async fn store_sent_message(&self, chat_jid: &str, message_id: &str, payload: &[u8]) -> Result<()> {
        self.put_sent(chat_jid, message_id, payload).await
    }

    async fn take_sent_message(&self, chat_jid: &str, message_id: &str) -> Result<Option<Vec<u8>>> {
        self.take_sent(chat_jid, message_id).await
    }

    async fn delete_expired_sent_messages(&self, cutoff_timestamp: i64) -> Result<u32> {
        self.delete_expired_sent(cutoff_timestamp).await
    }

    async fn store_pending_inbound(&self, chat: &str, sender: &str, id: &str, message: &[u8]) -> Result<()> {
        self.store_pending_inbound_batch(&[PendingInboundRow { chat, sender, id, message }]).await
    }

    async fn get_pending_inbound(&self, chat: &str, sender: &str, id: &str) -> Result<Option<Vec<u8>>> {
        let row = self.get(PENDING_INBOUND, &self.pending_key(chat, sender, id)?)?;
        Ok(row.map(|row| row.get(8..).unwrap_or_default().to_vec()))
    }

    async fn delete_pending_inbound(&self, chat: &str, sender: &str, id: &str) -> Result<()> {
        self.delete_pending_inbound_batch(&[PendingInboundKey { chat, sender, id }]).await
    }

    async fn delete_expired_pending_inbound(&self, cutoff_timestamp: i64) -> Result<u32> {
        // The client asks on every keep-alive; there are rows only while a hook is failing.
        let mut expired = Vec::new();
        for (key, row) in self.rows(PENDING_INBOUND, &self.key(&[])?)? {
            if take_i64("wa_pending_inbound", &mut &row[..]).map_err(to_wa)? < cutoff_timestamp {
                expired.push([&self.key(&[])?[..], &key].concat());
            }
        }
        if expired.is_empty() {
            return Ok(0);
        }
        self.write(move |txn| {
            let mut table = txn.open_table(PENDING_INBOUND)?;
            let mut removed = 0;
            for key in &expired {
                // Stored again meanwhile: then it is young.
                let old = match table.get(key.as_slice())? {
                    Some(row) => take_i64("wa_pending_inbound", &mut row.value())? < cutoff_timestamp,
                    None => false,
                };
                if old {
                    table.remove(key.as_slice())?;
                    removed += 1;
                }
            }
            Ok((removed, removed > 0))
        })
        .await
    }

    async fn store_pending_inbound_batch(&self, rows: &[PendingInboundRow<'_>]) -> Result<()> {
        let now = wacore::time::now_secs().to_le_bytes();
        let rows = rows
            .iter()
            .map(|row| Ok((self.pending_key(row.chat, row.sender, row.id)?, [&now, row.message].concat())))
            .collect::<Result<_>>()?;
        self.put(PENDING_INBOUND, rows).await
    }

    async fn delete_pending_inbound_batch(&self, keys: &[PendingInboundKey<'_>]) -> Result<()> {
        let keys =
            keys.iter().map(|key| self.pending_key(key.chat, key.sender, key.id)).collect::<Result<_>>()?;
        self.remove(PENDING_INBOUND, keys).await
    }
}
