//! whatsapp-rust's storage for one account: its five traits over tables that all accounts share.
//!
//! A call that writes returns after its commit, unless its comment says why less will do, and is one transaction
//! however many rows it has. Rows are only written for an account that exists: a client that is late in shutting down
//! cannot leave rows of an account that has been wiped.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use redb::{ReadTransaction, ReadableTable, WriteTransaction};
use wacore::store::Device;
use wacore::store::error::StoreError as WaError;

use super::tables::{ACCOUNT_TABLES, ACCOUNTS, Bytes as Table, META};
use super::{Store, StoreError};

mod app_sync;
mod device;
mod msg_secret;
mod own_secret;
mod protocol;
mod row;
mod sent;
mod signal;

pub use own_secret::OwnSecrets;
use row::{Key, next_prefix};
use sent::Sent;

/// An account of the store. Ids begin at 1 and are never given out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountId(pub u32);

impl std::fmt::Display for AccountId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Keys with their values.
type Rows = Vec<(Vec<u8>, Vec<u8>)>;

const NEXT_ACCOUNT: &str = "next_account";

/// What is in memory for the accounts that are in use, shared by all their [`AccountStore`]s.
#[derive(Default)]
pub(super) struct Opened(Mutex<HashMap<AccountId, Weak<Sent>>>);

impl Opened {
    fn sent(&self, account: AccountId) -> Arc<Sent> {
        let mut opened = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sent) = opened.get(&account).and_then(Weak::upgrade) {
            return sent;
        }
        opened.retain(|_, sent| sent.strong_count() > 0);
        let sent = Arc::default();
        opened.insert(account, Arc::downgrade(&sent));
        sent
    }
}

/// The storage of one account, whatsapp-rust's `Backend`. Clones share it.
#[derive(Clone)]
pub struct AccountStore {
    store: Store,
    account: AccountId,
    sent: Arc<Sent>,
    /// Of the device as it was last read or written.
    own_secrets: Arc<RwLock<Option<OwnSecrets>>>,
}

impl std::fmt::Debug for AccountStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccountStore").field("account", &self.account).finish_non_exhaustive()
    }
}

impl Store {
    /// Makes a new account, with an id that no account had before.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub async fn create_account(&self) -> Result<AccountStore, StoreError> {
        let now = wacore::time::now_secs();
        let account = self
            .write(move |txn| {
                let mut meta = txn.open_table(META)?;
                let next = match meta.get(NEXT_ACCOUNT)? {
                    None => 1,
                    Some(row) => u32::from_le_bytes(row.value().try_into().map_err(|_| StoreError::Row {
                        table: "meta",
                        detail: "next_account is not four bytes".to_owned(),
                    })?),
                };
                let after = next.checked_add(1).ok_or_else(|| StoreError::Refused {
                    reason: "the store has given out every account id".to_owned(),
                })?;
                meta.insert(NEXT_ACCOUNT, after.to_le_bytes().as_slice())?;
                let key = Key::of(AccountId(next));
                txn.open_table(ACCOUNTS)?.insert(key.as_slice(), now.to_le_bytes().as_slice())?;
                Ok(AccountId(next))
            })
            .await?;
        Ok(self.account_store(account))
    }

    /// The storage of an account, or None if there is no such account.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub fn account(&self, account: AccountId) -> Result<Option<AccountStore>, StoreError> {
        let key = Key::of(account);
        let exists = self.read(|txn| Ok(txn.open_table(ACCOUNTS)?.get(key.as_slice())?.is_some()))?;
        Ok(exists.then(|| self.account_store(account)))
    }

    /// Every account, by id.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub fn accounts(&self) -> Result<Vec<AccountId>, StoreError> {
        self.read(|txn| {
            let mut accounts = Vec::new();
            for row in txn.open_table(ACCOUNTS)?.iter()? {
                let (key, _) = row?;
                accounts.push(AccountId(row::account_of(key.value())?));
            }
            Ok(accounts)
        })
    }

    fn account_store(&self, account: AccountId) -> AccountStore {
        AccountStore {
            store: self.clone(),
            account,
            sent: self.accounts.sent(account),
            own_secrets: Arc::default(),
        }
    }
}

impl AccountStore {
    /// Which account this is.
    pub fn id(&self) -> AccountId {
        self.account
    }

    /// The store the account is in.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Removes the account and every row of it. From then on its writes fail; its id is not used again.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub async fn wipe(&self) -> Result<(), StoreError> {
        let from = Key::of(self.account).into_vec();
        let to = next_prefix(&from);
        self.store
            .write_if(move |txn| {
                let mut changed = false;
                for table in ACCOUNT_TABLES {
                    changed |= remove_range(txn, *table, &from, to.as_deref())? > 0;
                }
                Ok(((), changed))
            })
            .await?;
        self.sent.forget();
        Ok(())
    }

    fn own_secrets(&self) -> Option<OwnSecrets> {
        self.own_secrets.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn know_device(&self, device: &Device) {
        let secrets = OwnSecrets::of(device);
        *self.own_secrets.write().unwrap_or_else(PoisonError::into_inner) = Some(secrets);
    }

    /// One durable write on behalf of the account.
    async fn write<T, F>(&self, mut f: F) -> Result<T, WaError>
    where
        F: FnMut(&WriteTransaction) -> Result<(T, bool), StoreError> + Send + 'static,
        T: Send + 'static,
    {
        let account = self.account;
        let done = self
            .store
            .write_if(move |txn| {
                if !exists(txn, account)? {
                    return Ok((None, false));
                }
                let (value, changed) = f(txn)?;
                Ok((Some(value), changed))
            })
            .await
            .map_err(to_wa)?;
        done.ok_or_else(|| gone(account))
    }

    /// A write that is durable with the next commit; see [`Store::write_soon`].
    async fn write_soon<F>(&self, mut f: F) -> Result<(), WaError>
    where
        F: FnMut(&WriteTransaction) -> Result<(), StoreError> + Send + 'static,
    {
        let account = self.account;
        self.store
            .write_soon(move |txn| if exists(txn, account)? { f(txn) } else { Ok(()) })
            .await
            .map_err(to_wa)
    }

    fn read<T>(&self, f: impl FnMut(&ReadTransaction) -> Result<T, StoreError>) -> Result<T, WaError> {
        self.store.read(f).map_err(to_wa)
    }

    fn key(&self, parts: &[&[u8]]) -> Result<Vec<u8>, WaError> {
        Key::of(self.account).parts(parts).map_err(to_wa)
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, WaError> {
        self.read(|txn| Ok(txn.open_table(table)?.get(key)?.map(|row| row.value().to_vec())))
    }

    /// Every row whose key begins with `prefix`, the prefix cut off.
    fn rows(&self, table: Table, prefix: &[u8]) -> Result<Rows, WaError> {
        let end = next_prefix(prefix);
        self.read(|txn| {
            let table = txn.open_table(table)?;
            let mut rows = Vec::new();
            for row in table.range::<&[u8]>(row::bounds(prefix, end.as_deref()))? {
                let (key, value) = row?;
                rows.push((key.value()[prefix.len()..].to_vec(), value.value().to_vec()));
            }
            Ok(rows)
        })
    }

    async fn put(&self, table: Table, rows: Rows) -> Result<(), WaError> {
        if rows.is_empty() {
            return Ok(());
        }
        self.write(move |txn| {
            let mut table = txn.open_table(table)?;
            for (key, value) in &rows {
                table.insert(key.as_slice(), value.as_slice())?;
            }
            Ok(((), true))
        })
        .await
    }

    async fn remove(&self, table: Table, keys: Vec<Vec<u8>>) -> Result<(), WaError> {
        if keys.is_empty() {
            return Ok(());
        }
        self.write(move |txn| {
            let mut table = txn.open_table(table)?;
            let mut changed = false;
            for key in &keys {
                changed |= table.remove(key.as_slice())?.is_some();
            }
            Ok(((), changed))
        })
        .await
    }

    async fn remove_prefix(&self, table: Table, prefix: Vec<u8>) -> Result<(), WaError> {
        let end = next_prefix(&prefix);
        self.write(move |txn| Ok(((), remove_range(txn, table, &prefix, end.as_deref())? > 0))).await
    }
}

fn exists(txn: &WriteTransaction, account: AccountId) -> Result<bool, StoreError> {
    Ok(txn.open_table(ACCOUNTS)?.get(Key::of(account).as_slice())?.is_some())
}

/// Removes the rows from `from` up to but not including `to`, and says how many.
fn remove_range(
    txn: &WriteTransaction,
    table: Table,
    from: &[u8],
    to: Option<&[u8]>,
) -> Result<u32, StoreError> {
    let mut table = txn.open_table(table)?;
    let mut removed = 0u32;
    table.retain_in::<&[u8], _>(row::bounds(from, to), |_, _| {
        removed = removed.saturating_add(1);
        false
    })?;
    Ok(removed)
}

fn gone(account: AccountId) -> WaError {
    WaError::DeviceNotFound(i32::try_from(account.0).unwrap_or(i32::MAX))
}

fn to_wa(error: StoreError) -> WaError {
    match error {
        StoreError::Refused { reason } => WaError::Validation(reason),
        error @ StoreError::Row { .. } => WaError::Serialization(Box::new(error)),
        error @ (StoreError::Full { .. } | StoreError::Io { .. } | StoreError::Corrupt { .. }) => {
            // Its text comes back in errors of the client, which callers of the API are told: no path in it.
            log::error!("{error}");
            let what = match error {
                StoreError::Full { .. } => "the disk is full",
                StoreError::Io { .. } => "the disk failed",
                _ => "the store is damaged",
            };
            WaError::Database(what.into())
        }
        error => WaError::Database(Box::new(error)),
    }
}
