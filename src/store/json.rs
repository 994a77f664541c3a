//! Rows whose value is JSON: small, rarely written, and readable by whoever has to look into a file. A field that is
//! added later gets a serde default; one that goes needs a migration.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::StoreError;

/// The value of a row.
///
/// # Errors
/// [`StoreError::Row`] if the value does not decode.
pub fn decode<T: DeserializeOwned>(table: &'static str, bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|e| StoreError::Row { table, detail: e.to_string() })
}

/// The bytes of a row.
///
/// # Errors
/// [`StoreError::Row`] if the value has no JSON form.
pub fn encode<T: Serialize>(table: &'static str, value: &T) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|e| StoreError::Row { table, detail: e.to_string() })
}
