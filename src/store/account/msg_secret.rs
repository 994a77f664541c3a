//! Message secrets, each with the time it is of no more use.

use async_trait::async_trait;
use redb::{ReadableTable, WriteTransaction};
use wacore::msg_secret::OriginalMessageResolver;
use wacore::store::error::Result;
use wacore::store::traits::{
    MsgSecretEntry, MsgSecretStore, merge_msg_secret_expiry, merge_msg_secret_message_ts,
};

use super::row::{Key, bounds, take, take_i64};
use super::{AccountId, AccountStore};
use crate::store::StoreError;
use crate::store::tables::{MSG_SECRETS, MSG_SECRETS_DUE};

const TABLE: &str = "wa_msg_secret";
/// An account id's length in a key.
const ACCOUNT: usize = 4;

struct Row {
    expires_at: i64,
    message_ts: i64,
    secret: [u8; 32],
}

impl Row {
    fn decode(mut row: &[u8]) -> std::result::Result<Self, StoreError> {
        Ok(Self {
            expires_at: take_i64(TABLE, &mut row)?,
            message_ts: take_i64(TABLE, &mut row)?,
            secret: *take(TABLE, &mut row)?,
        })
    }

    fn encode(&self) -> Vec<u8> {
        [&self.expires_at.to_le_bytes()[..], &self.message_ts.to_le_bytes(), &self.secret].concat()
    }
}

/// The key in [`MSG_SECRETS_DUE`]. Deadlines before 1970 are as good as 1970.
fn due_key(account: AccountId, expires_at: i64, key: &[u8]) -> Vec<u8> {
    let mut due = Key::of(account).into_vec();
    due.extend_from_slice(&expires_at.max(0).to_be_bytes());
    due.extend_from_slice(&key[ACCOUNT..]);
    due
}

fn put_all(
    txn: &WriteTransaction,
    account: AccountId,
    rows: &[(Vec<u8>, Row)],
) -> std::result::Result<(), StoreError> {
    let mut table = txn.open_table(MSG_SECRETS)?;
    let mut due = txn.open_table(MSG_SECRETS_DUE)?;
    for (key, new) in rows {
        let old = table.get(key.as_slice())?.map(|row| Row::decode(row.value())).transpose()?;
        let row = Row {
            expires_at: old
                .as_ref()
                .map_or(new.expires_at, |old| merge_msg_secret_expiry(old.expires_at, new.expires_at)),
            message_ts: old
                .as_ref()
                .map_or(new.message_ts, |old| merge_msg_secret_message_ts(old.message_ts, new.message_ts)),
            secret: new.secret,
        };
        if let Some(old) = old.filter(|old| old.expires_at != 0 && old.expires_at != row.expires_at) {
            due.remove(due_key(account, old.expires_at, key).as_slice())?;
        }
        if row.expires_at != 0 {
            due.insert(due_key(account, row.expires_at, key).as_slice(), [].as_slice())?;
        }
        table.insert(key.as_slice(), row.encode().as_slice())?;
    }
    Ok(())
}

impl AccountStore {
    fn msg_secret(&self, chat: &str, sender: &str, msg_id: &str) -> Result<Option<Row>> {
        let key = self.key(&[chat.as_bytes(), sender.as_bytes(), msg_id.as_bytes()])?;
        self.read(|txn| {
            let table = txn.open_table(MSG_SECRETS)?;
            table.get(key.as_slice())?.map(|row| Row::decode(row.value())).transpose()
        })
    }
}

/// Asked for secrets that are not stored: those of our own messages are made from their ids.
#[async_trait]
impl OriginalMessageResolver for AccountStore {
    async fn resolve_msg_secret(&self, _chat: &str, sender: &str, msg_id: &str) -> Option<[u8; 32]> {
        self.own_secrets().filter(|own| own.sent_by(sender)).map(|own| own.of_message(msg_id))
    }
}

#[async_trait]
impl MsgSecretStore for AccountStore {
    async fn put_msg_secrets(&self, entries: Vec<MsgSecretEntry>) -> Result<usize> {
        let own = self.own_secrets();
        let rows = entries
            .iter()
            .filter(|entry| own.as_ref().is_none_or(|own| own.of_message(&entry.msg_id) != entry.secret))
            .map(|entry| {
                let key =
                    self.key(&[entry.chat.as_bytes(), entry.sender.as_bytes(), entry.msg_id.as_bytes()])?;
                let row =
                    Row { expires_at: entry.expires_at, message_ts: entry.message_ts, secret: entry.secret };
                Ok((key, row))
            })
            .collect::<Result<Vec<_>>>()?;
        let count = entries.len();
        if rows.is_empty() {
            return Ok(count);
        }
        let account = self.account;
        self.write(move |txn| {
            put_all(txn, account, &rows)?;
            Ok((count, true))
        })
        .await
    }

    async fn get_msg_secret(&self, chat: &str, sender: &str, msg_id: &str) -> Result<Option<Vec<u8>>> {
        Ok(self.msg_secret(chat, sender, msg_id)?.map(|row| row.secret.to_vec()))
    }

    async fn get_msg_secret_with_ts(
        &self,
        chat: &str,
        sender: &str,
        msg_id: &str,
    ) -> Result<Option<(Vec<u8>, i64)>> {
        Ok(self.msg_secret(chat, sender, msg_id)?.map(|row| (row.secret.to_vec(), row.message_ts)))
    }

    async fn delete_expired_msg_secrets(&self, cutoff_timestamp: i64) -> Result<u32> {
        // The client asks on every keep-alive, nearly always for nothing.
        let Some(after) = cutoff_timestamp.checked_add(1).filter(|after| *after > 0) else { return Ok(0) };
        let from = self.key(&[])?;
        let to = self.key(&[&after.to_be_bytes()])?;
        self.write(move |txn| {
            let mut table = txn.open_table(MSG_SECRETS)?;
            let mut due = txn.open_table(MSG_SECRETS_DUE)?;
            let mut removed = 0u32;
            for row in due.extract_from_if::<&[u8], _>(bounds(&from, Some(&to)), |_, _| true)? {
                let (key, _) = row?;
                let rest = key.value().get(ACCOUNT + 8..).unwrap_or_default();
                let key = [&from[..ACCOUNT], rest].concat();
                table.remove(key.as_slice())?;
                removed += 1;
            }
            Ok((removed, removed > 0))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use wacore::store::Device;
    use wacore::store::traits::DeviceStore;

    use super::*;
    use crate::store::account::OwnSecrets;
    use crate::store::{Store, StoreOptions};

    fn entry(id: &str, secret: [u8; 32]) -> MsgSecretEntry {
        let (chat, sender) = ("628120@s.whatsapp.net", "628110@s.whatsapp.net");
        let (chat, sender) = (chat.parse().unwrap(), sender.parse().unwrap());
        MsgSecretEntry::new(&chat, &sender, id, secret, 0, 0)
    }

    #[tokio::test]
    async fn a_secret_of_our_own_is_made_again_instead_of_stored() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("kurir.redb"), &StoreOptions::default()).unwrap();
        let account = store.create_account().await.unwrap();
        let mut device = Device::new();
        device.pn = Some("628110:3@s.whatsapp.net".parse().unwrap());
        device.lid = Some("100200:3@lid".parse().unwrap());
        account.save(&device).await.unwrap();

        // As the client does it after a restart.
        let account = store.account(account.id()).unwrap().unwrap();
        account.load().await.unwrap();
        let ours = OwnSecrets::of(&device).of_message("3EB0AA");
        let before = store.stats().commits;
        assert_eq!(account.put_msg_secrets(vec![entry("3EB0AA", ours)]).await.unwrap(), 1);
        assert_eq!(store.stats().commits, before, "nothing was written");
        for sender in ["628110@s.whatsapp.net", "100200@lid", "628110:3@s.whatsapp.net"] {
            assert_eq!(account.resolve_msg_secret("c", sender, "3EB0AA").await, Some(ours));
        }
        assert_eq!(account.resolve_msg_secret("c", "628120@s.whatsapp.net", "3EB0AA").await, None);
        assert_ne!(account.resolve_msg_secret("c", "100200@lid", "3EB0AB").await, Some(ours));

        let (chat, sender) = ("628120@s.whatsapp.net", "628110@s.whatsapp.net");
        account.put_msg_secrets(vec![entry("3EB0BB", [7; 32])]).await.unwrap();
        assert_eq!(account.get_msg_secret(chat, sender, "3EB0BB").await.unwrap(), Some(vec![7; 32]));
    }
}
