//! Number checks that a caller asks for, within the key's month.

use chrono::Utc;

use super::Shared;
use super::access::note_checks;
use super::keys::Caller;
use super::limits::{self, Allowance, Usage};
use crate::session::{Lookup, LookupError, Session};
use crate::store::StoreError;

/// Why numbers were not checked.
#[derive(Debug, thiserror::Error)]
pub(super) enum CheckError {
    /// The key has not that many checks left in this month; none was made.
    #[error("the key has used {} of its {} number checks of this month", .0.used, .0.limit)]
    Limit(Allowance),
    /// WhatsApp could not be asked.
    #[error("{0}")]
    Lookup(#[from] LookupError),
    /// The store failed.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// Asks WhatsApp for numbers (digits). Answers in the order of the question.
pub(super) async fn check(
    api: &Shared,
    caller: &Caller,
    session: &Session,
    numbers: &[String],
) -> Result<Vec<Lookup>, CheckError> {
    if session.client().is_none() {
        // Before it is counted: a question that cannot be asked costs nothing.
        return Err(LookupError::NotConnected.into());
    }
    let limit = caller.rules.checks_per_month.unwrap_or(api.settings.checks_per_month);
    let count = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
    let allowance = api.checks.take(&caller.key_id, limit, count, Utc::now()).await?;
    if limit > 0 {
        let reset = limits::month_left(Utc::now());
        note_checks(Usage { limit, remaining: allowance.remaining(), reset, exceeded: !allowance.allowed });
    }
    if !allowance.allowed {
        return Err(CheckError::Limit(allowance));
    }
    Ok(session.lookup_many(numbers).await?)
}

/// Seconds until the next month's checks.
pub(super) fn retry_after() -> u64 {
    limits::month_left(Utc::now()).as_secs() + 1
}
