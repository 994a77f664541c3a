//! Who wants which file.

use redb::{ReadableTable, TableDefinition, WriteTransaction};

use crate::store::StoreError;

/// Files that several messages send, or that a failed one may be sent with again. Key: the file's id. Value: how many
/// messages wait to send it, u32 LE, and how many failed to, u32 LE (rows of the first release: none).
pub(in crate::outbox) const FILES: TableDefinition<'static, &'static str, &'static [u8]> =
    TableDefinition::new("outbox_file");

/// How many messages want a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::outbox) struct Users {
    /// They wait to send it.
    pub(in crate::outbox) waiting: u32,
    /// They failed to, and may be tried again.
    pub(in crate::outbox) failed: u32,
}

impl Users {
    /// From a row of [`FILES`].
    pub(in crate::outbox) fn of(row: &[u8]) -> Option<Users> {
        let number = |bytes: &[u8]| bytes.try_into().ok().map(u32::from_le_bytes);
        let failed = if row.len() == 4 { 0 } else { number(row.get(4..)?)? };
        Some(Users { waiting: number(row.get(..4)?)?, failed })
    }

    fn put(self, txn: &WriteTransaction, file: &str) -> Result<(), StoreError> {
        let mut table = txn.open_table(FILES)?;
        if self.waiting == 0 && self.failed == 0 {
            table.remove(file)?;
        } else {
            let row = [self.waiting.to_le_bytes(), self.failed.to_le_bytes()].concat();
            table.insert(file, row.as_slice())?;
        }
        Ok(())
    }
}

/// Who wants a file, where that is written down: the one message of an unshared file that never failed is not.
pub(in crate::outbox) fn users(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
    file: &str,
) -> Result<Option<Users>, StoreError> {
    Ok(table.get(file)?.and_then(|row| Users::of(row.value())))
}

/// One message waits for this file no longer; `failed`: but may be tried again. Whether none waits.
pub(in crate::outbox) fn release_file(
    txn: &WriteTransaction,
    file: &str,
    failed: bool,
) -> Result<bool, StoreError> {
    let known = users(&txn.open_table(FILES)?, file)?;
    let mut users = known.unwrap_or(Users { waiting: 1, failed: 0 });
    users.waiting = users.waiting.saturating_sub(1);
    users.failed += u32::from(failed);
    users.put(txn, file)?;
    Ok(users.waiting == 0)
}

/// A message that failed is to send this file after all. `false`: it is not kept for that.
pub(in crate::outbox) fn reuse_file(txn: &WriteTransaction, file: &str) -> Result<bool, StoreError> {
    let known = users(&txn.open_table(FILES)?, file)?;
    let Some(users) = known.filter(|users| users.failed > 0) else { return Ok(false) };
    Users { waiting: users.waiting + 1, failed: users.failed - 1 }.put(txn, file)?;
    Ok(true)
}

/// How many messages will send this file.
pub(in crate::outbox) fn share_file(
    txn: &WriteTransaction,
    file: &str,
    users: u32,
) -> Result<(), StoreError> {
    Users { waiting: users, failed: 0 }.put(txn, file)
}

/// The files that only failed messages may still want.
pub(in crate::outbox) fn spare_files(
    table: &impl ReadableTable<&'static str, &'static [u8]>,
) -> Result<Vec<String>, StoreError> {
    let mut spare = Vec::new();
    for row in table.iter()? {
        let (file, users) = row?;
        if Users::of(users.value()).is_some_and(|users| users.waiting == 0) {
            spare.push(file.value().to_owned());
        }
    }
    Ok(spare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_wants_a_file_is_read_in_both_forms() {
        assert_eq!(Users::of(&3u32.to_le_bytes()), Some(Users { waiting: 3, failed: 0 }));
        let both = [1u32.to_le_bytes(), 2u32.to_le_bytes()].concat();
        assert_eq!(Users::of(&both), Some(Users { waiting: 1, failed: 2 }));
        assert_eq!((Users::of(&[]), Users::of(&both[..7])), (None, None));
    }
}
