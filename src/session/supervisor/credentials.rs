//! The session's row in the store, and the account there that holds its credentials.

use super::Supervisor;
use crate::session::record::{self, SessionRecord};
use crate::store::StoreError;
use crate::store::account::{AccountId, AccountStore};

impl Supervisor {
    /// The account of the store that holds the credentials.
    pub(super) async fn account(&mut self) -> Result<AccountStore, StoreError> {
        if let Some(account) = self.store.account(AccountId(self.record.account))? {
            return Ok(account);
        }
        // A crash between removing the old account and remembering the new one.
        let account = self.store.create_account().await?;
        self.record.account = account.id().0;
        record::save(&self.store, &self.record).await?;
        Ok(account)
    }

    pub(super) async fn forget(&self, account: u32) -> Result<(), StoreError> {
        match self.store.account(AccountId(account))? {
            Some(account) => account.wipe().await,
            None => Ok(()),
        }
    }

    /// Moves the session to a fresh account of the store and removes the old one.
    pub(super) async fn wipe(&mut self) -> Result<(), StoreError> {
        let old = self.record.account;
        let record = SessionRecord {
            account: self.store.create_account().await?.id().0,
            paired: false,
            number: None,
            lid: None,
            push_name: String::new(),
            ..self.record.clone()
        };
        record::save(&self.store, &record).await?;
        self.record = record;
        self.forget(old).await
    }

    pub(super) async fn save(&self) {
        if let Err(e) = record::save(&self.store, &self.record).await {
            log::error!("session {}: its record cannot be written: {e}", self.record.no);
        }
    }
}
