//! How keys and values of the account tables are put together.

use std::ops::Bound;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::AccountId;
use crate::store::StoreError;

/// The first byte of a value that goes on as JSON. JSON because whatsapp-rust's types grow fields with
/// `#[serde(default)]`, which only a self-describing format survives; these rows are rare and small.
const JSON: u8 = 1;

/// A key: the account, then its parts.
pub(super) struct Key(Vec<u8>);

impl Key {
    pub(super) fn of(account: AccountId) -> Self {
        Self(account.0.to_be_bytes().to_vec())
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn into_vec(self) -> Vec<u8> {
        self.0
    }

    /// Appends the parts, each but the last ended by a zero byte; an empty last part makes a prefix of the others.
    ///
    /// # Errors
    /// A part but the last has a zero byte in it, and would be taken for two.
    pub(super) fn parts(mut self, parts: &[&[u8]]) -> Result<Vec<u8>, StoreError> {
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                self.0.push(0);
            }
            if index + 1 < parts.len() && part.contains(&0) {
                return Err(StoreError::Refused {
                    reason: "a JID or message id has a zero byte in it".to_owned(),
                });
            }
            self.0.extend_from_slice(part);
        }
        Ok(self.0)
    }
}

pub(super) fn account_of(key: &[u8]) -> Result<u32, StoreError> {
    key.first_chunk().map(|bytes| u32::from_be_bytes(*bytes)).ok_or_else(|| StoreError::Row {
        table: "accounts",
        detail: "its key is shorter than an account id".to_owned(),
    })
}

/// The first key after all those that begin with `prefix`. None: there is none, they are the last.
pub(super) fn next_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut next = prefix[..=last].to_vec();
    next[last] += 1;
    Some(next)
}

pub(super) fn bounds<'a>(from: &'a [u8], to: Option<&'a [u8]>) -> (Bound<&'a [u8]>, Bound<&'a [u8]>) {
    (Bound::Included(from), to.map_or(Bound::Unbounded, Bound::Excluded))
}

pub(super) fn to_json<T: Serialize>(table: &'static str, value: &T) -> Result<Vec<u8>, StoreError> {
    let mut row = vec![JSON];
    serde_json::to_writer(&mut row, value)
        .map_err(|error| StoreError::Row { table, detail: error.to_string() })?;
    Ok(row)
}

pub(super) fn from_json<T: DeserializeOwned>(table: &'static str, row: &[u8]) -> Result<T, StoreError> {
    match row.split_first() {
        // serde_json's message names a place and a type, not the value.
        Some((&JSON, json)) => {
            serde_json::from_slice(json).map_err(|error| StoreError::Row { table, detail: error.to_string() })
        }
        Some((format, _)) => {
            Err(StoreError::Row { table, detail: format!("its format {format} is not one this Kurir knows") })
        }
        None => Err(StoreError::Row { table, detail: "it is empty".to_owned() }),
    }
}

/// Takes `N` bytes off the front of a value.
pub(super) fn take<'a, const N: usize>(
    table: &'static str,
    row: &mut &'a [u8],
) -> Result<&'a [u8; N], StoreError> {
    let (bytes, rest) = row
        .split_first_chunk()
        .ok_or_else(|| StoreError::Row { table, detail: "it is cut short".to_owned() })?;
    *row = rest;
    Ok(bytes)
}

pub(super) fn take_i64(table: &'static str, row: &mut &[u8]) -> Result<i64, StoreError> {
    Ok(i64::from_le_bytes(*take(table, row)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parts_are_kept_apart() {
        let key = |parts: &[&str]| {
            let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
            Key::of(AccountId(1)).parts(&parts)
        };
        assert_ne!(key(&["ab", "c"]).unwrap(), key(&["a", "bc"]).unwrap());
        assert!(matches!(key(&["a\0b", "c"]), Err(StoreError::Refused { .. })));
        assert_eq!(key(&["a"]).unwrap(), b"\0\0\0\x01a");
        assert_eq!(key(&["a", ""]).unwrap(), b"\0\0\0\x01a\0");
    }

    #[test]
    fn a_row_of_an_unknown_format_is_refused() {
        assert!(matches!(from_json::<u8>("t", b"\x021"), Err(StoreError::Row { table: "t", .. })));
        assert!(matches!(from_json::<u8>("t", b""), Err(StoreError::Row { .. })));
        assert_eq!(from_json::<u8>("t", &to_json("t", &7u8).unwrap()).unwrap(), 7);
    }

    proptest! {
        #[test]
        fn the_next_prefix_is_the_least_key_beyond(
            prefix in proptest::collection::vec(prop_oneof![Just(255u8), any::<u8>()], 1..5),
            other in proptest::collection::vec(prop_oneof![Just(255u8), any::<u8>()], 0..7),
        ) {
            let inside = other >= prefix && next_prefix(&prefix).is_none_or(|next| other < next);
            prop_assert_eq!(inside, other.starts_with(&prefix));
        }
    }
}
