//! Who may do what: the key of a request, its limits, and the session that it means.

use std::cell::Cell;
use std::net::IpAddr;
use std::time::Instant;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::Response;

use super::Shared;
use super::keys::{Caller, Denied};
use super::limits::Usage;
use super::{phone, request_log};
use crate::session::{Session, Status};

tokio::task_local! {
    /// What the request under way used of its key's limits. The key is checked deep inside the handlers, the headers
    /// are written outside of them.
    static USED: Cell<Used>;
}

/// See [`USED`].
#[derive(Clone, Copy, Default)]
struct Used {
    requests: Option<Usage>,
    checks: Option<Usage>,
}

/// Adds the `RateLimit-*` headers to answers of keys with a limit, in both forms that clients read: the three fields of
/// draft-ietf-httpapi-ratelimit-headers up to -06, which most libraries know and which have room for one limit, and
/// since -08 `RateLimit` and `RateLimit-Policy`, which list all.
pub(super) async fn rate_headers(request: Request, next: Next) -> Response {
    let handled = async {
        let response = next.run(request).await;
        (response, USED.with(Cell::get))
    };
    let (mut response, used) = USED.scope(Cell::new(Used::default()), handled).await;
    let limits = [("requests", ";w=60", used.requests), ("number-checks", "", used.checks)];
    let limits: Vec<(&str, &str, Usage)> =
        limits.into_iter().filter_map(|(name, window, usage)| Some((name, window, usage?))).collect();
    let Some((_, _, shown)) = limits.iter().find(|(_, _, usage)| usage.exceeded).or(limits.first()) else {
        return response;
    };
    let headers = response.headers_mut();
    for (name, value) in [
        ("ratelimit-limit", u64::from(shown.limit)),
        ("ratelimit-remaining", u64::from(shown.remaining)),
        ("ratelimit-reset", shown.reset.as_secs().max(1)),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from(value));
    }
    let listed = |item: &dyn Fn(&Usage, &str) -> String| {
        let items: Vec<String> = limits
            .iter()
            .map(|(name, window, usage)| format!("\"{name}\";{}", item(usage, window)))
            .collect();
        items.join(", ")
    };
    for (name, value) in [
        ("ratelimit-policy", listed(&|usage, window| format!("q={}{window}", usage.limit))),
        (
            "ratelimit",
            listed(&|usage, _| format!("r={};t={}", usage.remaining, usage.reset.as_secs().max(1))),
        ),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    response
}

/// Tells the answer's headers what is left of the month's number checks.
pub(super) fn note_checks(usage: Usage) {
    // Outside of a request there is nobody to tell.
    let _ = USED.try_with(|used| used.set(Used { checks: Some(usage), ..used.get() }));
}

/// The key in `X-API-Key`.
pub(super) fn header_key(headers: &HeaderMap) -> Option<&str> {
    headers.get("x-api-key").and_then(|value| value.to_str().ok())
}

/// The key in `Authorization`, with or without `Bearer`.
pub(super) fn authorization(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get("authorization")?.to_str().ok()?.trim();
    match value.get(..7) {
        Some(scheme) if scheme.eq_ignore_ascii_case("bearer ") => Some(value[7..].trim()),
        _ => Some(value),
    }
}

/// Why no session can be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoSession {
    /// The named one is not there.
    #[error("Device not found; check its id or number")]
    Unknown,
    /// It is another account's.
    #[error("This device belongs to another account")]
    Foreign,
    /// The account has none.
    #[error("There is no device yet; create one and scan its QR code")]
    None,
    /// The account has several.
    #[error("This key's account has several devices; use a device token, or name the device")]
    Several,
}

impl NoSession {
    /// The status that fits.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            NoSession::Foreign => StatusCode::FORBIDDEN,
            NoSession::Unknown => StatusCode::NOT_FOUND,
            NoSession::None | NoSession::Several => StatusCode::BAD_REQUEST,
        }
    }
}

impl Shared {
    /// Checks the key, counts the request, and tells who is asking.
    pub(super) fn authenticate(&self, key: Option<&str>, from: IpAddr) -> Result<Caller, Denied> {
        let now = Instant::now();
        let checked = self.keys.check(key, from, now);
        request_log::note_key(key, checked.as_ref().ok());
        let caller = checked?;
        let limit = caller.rules.rate_per_minute.unwrap_or(self.settings.rate_per_minute);
        if limit > 0 {
            let usage = self.rates.take(&caller.key_id, limit, now);
            let _ = USED.try_with(|used| used.set(Used { requests: Some(usage), ..used.get() }));
            if usage.exceeded {
                return Err(Denied::Limited(usage.reset));
            }
        }
        Ok(caller)
    }

    /// The sessions that this caller may use.
    pub(super) fn sessions_of(&self, caller: &Caller) -> Vec<Session> {
        self.registry.list().into_iter().filter(|session| caller.may_use_session(session)).collect()
    }

    /// The session with this id, number or name, if the caller may use it.
    pub(super) fn named_session(&self, caller: &Caller, name: &str) -> Result<Session, NoSession> {
        let name = name.trim();
        let own = self.sessions_of(caller);
        if let Some(session) = own.iter().find(|s| s.id() == name) {
            return Ok(session.clone());
        }
        let number = phone::number(name, &self.country_code).ok();
        let mut matching: Vec<&Session> = own
            .iter()
            .filter(|s| {
                let known = s.snapshot().number;
                (known.is_some() && known == number) || s.name() == name
            })
            .collect();
        matching.sort_by_key(|s| s.snapshot().status != Status::Connected);
        match matching.first() {
            Some(session) => Ok((*session).clone()),
            None if self.registry.get(name).is_some() => Err(NoSession::Foreign),
            None => Err(NoSession::Unknown),
        }
    }

    /// The session that a caller means: a device token's own, the one named, or the account's only one.
    pub(super) fn session_for(&self, caller: &Caller, named: Option<&str>) -> Result<Session, NoSession> {
        if let Some(name) = named {
            return self.named_session(caller, name);
        }
        let mut own = self.sessions_of(caller);
        if own.len() > 1 {
            // An administrator's key sees every session; what it means is its own account's.
            own.retain(|session| session.owner() == caller.account);
        }
        match own.len() {
            0 if caller.rules.session.is_some() => Err(NoSession::Unknown),
            0 => Err(NoSession::None),
            1 => Ok(own.remove(0)),
            _ => Err(NoSession::Several),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_found_with_and_without_bearer() {
        for (value, key) in
            [("abc", "abc"), ("Bearer abc", "abc"), ("bearer  abc ", "abc"), ("Bearer", "Bearer")]
        {
            let headers = HeaderMap::from_iter([(
                HeaderName::from_static("authorization"),
                HeaderValue::from_static(value),
            )]);
            assert_eq!(authorization(&headers), Some(key), "{value}");
        }
        assert_eq!(authorization(&HeaderMap::new()), None);
    }
}
