//! How much one key may do: requests per minute, and number checks per month.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Datelike, TimeZone, Utc};
use redb::{ReadableTable, TableDefinition};

use crate::store::tables::Table;
use crate::store::{Store, StoreError};

/// Number checks. Key: key id, 0, month as `2026-11`. Value: u32 LE.
const CHECKS: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("api_checks");
/// The table of this module.
pub const TABLES: &[Table] = &[Table::of::<&'static str>("api_checks")];

/// Length of the window in which requests are counted.
const WINDOW: Duration = Duration::from_secs(60);
/// Keys whose requests are counted; as many as there may be keys, and those just removed.
const MAX_KEYS: usize = 2_048;

/// How much of a limit is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The limit.
    pub limit: u32,
    /// How much is left of it.
    pub remaining: u32,
    /// When it is whole again.
    pub reset: Duration,
    /// Whether this request was one too many.
    pub exceeded: bool,
}

/// Counts requests per key in fixed windows of a minute.
#[derive(Debug, Default)]
pub struct Rates {
    // Held for map operations only.
    windows: Mutex<HashMap<String, (Instant, u32)>>,
}

impl Rates {
    /// Counts one request of this key.
    pub fn take(&self, key_id: &str, limit: u32, now: Instant) -> Usage {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() >= MAX_KEYS && !windows.contains_key(key_id) {
            windows.retain(|_, (start, _)| now.saturating_duration_since(*start) < WINDOW);
        }
        let (start, count) = windows.entry(key_id.to_owned()).or_insert((now, 0));
        if now.saturating_duration_since(*start) >= WINDOW {
            (*start, *count) = (now, 0);
        }
        let exceeded = *count >= limit;
        if !exceeded {
            *count += 1;
        }
        let reset = WINDOW.saturating_sub(now.saturating_duration_since(*start));
        Usage { limit, remaining: limit - *count, reset, exceeded }
    }
}

/// Number checks, counted per key and calendar month (UTC).
pub struct Checks {
    store: Store,
}

/// What became of the wish to check numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Checks per month; 0: any number.
    pub limit: u32,
    /// Checks of this month, these included if they are allowed.
    pub used: u32,
    /// Whether these may be made.
    pub allowed: bool,
}

impl Allowance {
    /// Checks left in this month.
    pub fn remaining(&self) -> u32 {
        self.limit.saturating_sub(self.used)
    }
}

fn month(now: DateTime<Utc>) -> String {
    format!("{:04}-{:02}", now.year(), now.month())
}

/// How long until the next month begins.
pub fn month_left(now: DateTime<Utc>) -> Duration {
    let (year, month) = if now.month() == 12 { (now.year() + 1, 1) } else { (now.year(), now.month() + 1) };
    let next = Utc.with_ymd_and_hms(year, month, 1, 0, 0, 0).single();
    next.and_then(|next| (next - now).to_std().ok()).unwrap_or_default()
}

impl Checks {
    /// On this store.
    pub fn new(store: Store) -> Checks {
        Checks { store }
    }

    /// Counts `count` checks of this key, unless that is more than it has left; then none is counted.
    pub async fn take(
        &self,
        key_id: &str,
        limit: u32,
        count: u32,
        now: DateTime<Utc>,
    ) -> Result<Allowance, StoreError> {
        let owner = format!("{key_id}\0");
        let row = format!("{owner}{}", month(now));
        self.store
            .write_if(move |txn| {
                let mut table = txn.open_table(CHECKS)?;
                let stored = table.get(row.as_str())?.and_then(|row| row.value().try_into().ok());
                let used = stored.map_or(0, u32::from_le_bytes);
                let wanted = used.saturating_add(count);
                if limit > 0 && wanted > limit {
                    return Ok((Allowance { limit, used, allowed: false }, false));
                }
                if stored.is_none() {
                    // Earlier months are of no use to anybody.
                    table.retain(|key, _| !key.starts_with(owner.as_str()))?;
                }
                table.insert(row.as_str(), wanted.to_le_bytes().as_slice())?;
                Ok((Allowance { limit, used: wanted, allowed: true }, true))
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreOptions;

    #[test]
    fn a_key_has_its_limit_in_each_minute_and_no_other_keys() {
        let (rates, start) = (Rates::default(), Instant::now());
        assert_eq!(rates.take("a", 2, start).remaining, 1);
        let second = rates.take("a", 2, start + Duration::from_secs(30));
        assert_eq!((second.remaining, second.exceeded, second.reset.as_secs()), (0, false, 30));
        assert!(rates.take("a", 2, start + Duration::from_secs(59)).exceeded);
        assert!(!rates.take("b", 2, start).exceeded);
        assert!(!rates.take("a", 2, start + WINDOW).exceeded, "the next minute");
    }

    #[tokio::test]
    async fn checks_are_counted_by_month_and_all_or_none() {
        let dir = tempfile::tempdir().unwrap();
        let options = StoreOptions { tables: TABLES.to_vec(), ..StoreOptions::default() };
        let checks = Checks::new(Store::open(&dir.path().join("s.redb"), &options).unwrap());
        let november = Utc.with_ymd_and_hms(2026, 11, 30, 23, 59, 0).unwrap();
        let first = checks.take("k", 10, 8, november).await.unwrap();
        assert_eq!((first.allowed, first.used, first.remaining()), (true, 8, 2));
        let second = checks.take("k", 10, 3, november).await.unwrap();
        assert_eq!((second.allowed, second.used), (false, 8));
        assert!(checks.take("other", 10, 10, november).await.unwrap().allowed);
        assert_eq!(month_left(november), Duration::from_secs(60));
        let december = november + chrono::Duration::minutes(1);
        assert_eq!(checks.take("k", 10, 3, december).await.unwrap().used, 3);
        assert!(checks.take("k", 0, 5_000, december).await.unwrap().allowed, "0 is no limit");
    }
}
