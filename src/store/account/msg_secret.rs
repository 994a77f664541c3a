//! Message secrets, each with the time it is of no more use.

use async_trait::async_trait;
use redb::{ReadableTable, WriteTransaction};
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

#[async_trait]
impl MsgSecretStore for AccountStore {
    async fn put_msg_secrets(&self, entries: Vec<MsgSecretEntry>) -> Result<usize> {
        let rows = entries
            .iter()
            .map(|entry| {
                let key =
                    self.key(&[entry.chat.as_bytes(), entry.sender.as_bytes(), entry.msg_id.as_bytes()])?;
                let row =
                    Row { expires_at: entry.expires_at, message_ts: entry.message_ts, secret: entry.secret };
                Ok((key, row))
            })
            .collect::<Result<Vec<_>>>()?;
        if rows.is_empty() {
            return Ok(0);
        }
        let account = self.account;
        self.write(move |txn| {
            put_all(txn, account, &rows)?;
            Ok((rows.len(), true))
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
