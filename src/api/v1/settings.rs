//! `/api/v1/sessions/{id}/settings`: what a session does otherwise than the box.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::{Failure, Id, enter, object};
use crate::api::openapi::chats::{OfSession, SettingsEdit, SettingsShown};
use crate::api::openapi::v1::DIALECT;
use crate::api::openapi::{Purpose, Routes, routes};
use crate::api::phone::{self, Recipient};
use crate::api::{Api, Shared};
use crate::outbox::{Allow, SessionSettings};

/// Longest pause, in milliseconds: an hour, as in the configuration.
const MAX_PAUSE: u64 = 3_600_000;
/// Most messages a day, as in the configuration.
const MAX_CAP: u64 = 1_000_000;
/// Longest allow list.
const MAX_ALLOW: usize = 1_000;

pub(super) fn routes<P: Purpose>() -> Routes<P> {
    Routes::of(&[&DIALECT]).with(routes!(show, change))
}

/// A change of one setting: `None` leaves it, `Some(None)` makes it follow the configuration again.
type Set<T> = Option<Option<T>>;

#[derive(Clone, Debug, Default, PartialEq)]
struct Change {
    send_delay_ms: Set<u32>,
    send_jitter_ms: Set<u32>,
    queue_delay_ms: Set<u32>,
    queue_jitter_ms: Set<u32>,
    main_number: Set<String>,
    queue_allow: Set<Allow>,
    stranger_daily_cap: Set<u32>,
    stranger_delay_ms: Set<u32>,
}

impl Change {
    fn read(fields: &Map<String, Value>, country_code: &str) -> Result<Change, Failure> {
        let pause = |field| whole(fields, field, MAX_PAUSE);
        Ok(Change {
            send_delay_ms: pause("send_delay_ms")?,
            send_jitter_ms: pause("send_jitter_ms")?,
            queue_delay_ms: pause("queue_delay_ms")?,
            queue_jitter_ms: pause("queue_jitter_ms")?,
            main_number: match fields.get("main_number") {
                None => None,
                Some(Value::Null) => Some(None),
                Some(value) => Some(Some(recipient("main_number", value, country_code)?)),
            },
            queue_allow: match fields.get("queue_allow") {
                None => None,
                Some(Value::Null) => Some(None),
                Some(value) => Some(Some(allow(value, country_code)?)),
            },
            stranger_daily_cap: whole(fields, "stranger_daily_cap", MAX_CAP)?,
            stranger_delay_ms: pause("stranger_delay_ms")?,
        })
    }

    fn apply(&self, settings: &mut SessionSettings) {
        fn set<T: Clone>(setting: &mut Option<T>, change: &Set<T>) {
            if let Some(change) = change {
                setting.clone_from(change);
            }
        }
        set(&mut settings.send_delay_ms, &self.send_delay_ms);
        set(&mut settings.send_jitter_ms, &self.send_jitter_ms);
        set(&mut settings.queue_delay_ms, &self.queue_delay_ms);
        set(&mut settings.queue_jitter_ms, &self.queue_jitter_ms);
        set(&mut settings.main_number, &self.main_number);
        set(&mut settings.queue_allow, &self.queue_allow);
        set(&mut settings.stranger_daily_cap, &self.stranger_daily_cap);
        set(&mut settings.stranger_delay_ms, &self.stranger_delay_ms);
    }
}

fn whole(fields: &Map<String, Value>, field: &str, most: u64) -> Result<Set<u32>, Failure> {
    let wrong = || Failure::bad(format!("{field} must be a whole number from 0 to {most}, or null"));
    match fields.get(field) {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(None)),
        Some(value) => {
            let number = value.as_u64().filter(|number| *number <= most).ok_or_else(wrong)?;
            Ok(Some(Some(u32::try_from(number).map_err(|_| wrong())?)))
        }
    }
}

/// A number, or a group's or a person's JID.
fn recipient(field: &str, value: &Value, country_code: &str) -> Result<String, Failure> {
    let wrong = |reason: String| Failure::bad(format!("{field} {reason}"));
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return Err(wrong("must be a number or a group's id".into())),
    };
    match phone::recipient(&text, country_code).map_err(|e| wrong(e.to_string()))? {
        Recipient::Number(number) => Ok(number),
        Recipient::Jid(jid) => Ok(jid),
    }
}

/// `"*"`, or a list of numbers and groups.
fn allow(value: &Value, country_code: &str) -> Result<Allow, Failure> {
    let wrong = |reason: &str| Failure::bad(format!("queue_allow {reason}"));
    let items = match value {
        Value::String(text) if text.trim() == "*" => return Ok(Allow::Everybody),
        Value::Array(items) => items,
        _ => return Err(wrong("must be \"*\" or a list of numbers and groups")),
    };
    if items.len() > MAX_ALLOW {
        return Err(wrong(&format!("has {} entries; at most {MAX_ALLOW} are allowed", items.len())));
    }
    if items.iter().any(|item| item.as_str().is_some_and(|text| text.trim() == "*")) {
        return Ok(Allow::Everybody);
    }
    let mut list = Vec::with_capacity(items.len());
    for item in items {
        let entry = recipient("queue_allow", item, country_code)?;
        if !list.contains(&entry) {
            list.push(entry);
        }
    }
    Ok(Allow::Only(list))
}

/// What counts for the session, and which of it is its own.
fn describe(api: &Shared, own: &SessionSettings) -> Value {
    let (send, queue, strangers) = (api.outbox.default_pace(), &api.settings, api.outbox.default_strangers());
    let ms = |own: Option<u32>, default: std::time::Duration| {
        own.map_or_else(|| u64::try_from(default.as_millis()).unwrap_or(u64::MAX), u64::from)
    };
    let everybody = || json!("*");
    let allow = match (&own.queue_allow, &queue.queue_allow) {
        (Some(Allow::Everybody), _) | (None, None) => everybody(),
        (Some(Allow::Only(list)), _) | (None, Some(list)) => json!(list),
    };
    let settings = json!({
        "send_delay_ms": ms(own.send_delay_ms, send.delay),
        "send_jitter_ms": ms(own.send_jitter_ms, send.jitter),
        "queue_delay_ms": ms(own.queue_delay_ms, queue.queue_delay),
        "queue_jitter_ms": ms(own.queue_jitter_ms, queue.queue_jitter),
        "main_number": api.main_number(own),
        "queue_allow": allow,
        "stranger_daily_cap": own.stranger_daily_cap.unwrap_or(strangers.daily_cap),
        "stranger_delay_ms": ms(own.stranger_delay_ms, strangers.delay),
    });
    let mut names: Vec<String> = json!(own).as_object().into_iter().flat_map(Map::keys).cloned().collect();
    names.sort();
    json!({"success": true, "settings": settings, "own": names})
}

/// Show a session's settings
#[utoipa::path(get, path = "/api/v1/sessions/{id}/settings", params(OfSession), responses(
    (status = 200, description = "What counts for it", body = SettingsShown),
    (status = 403, description = "The session belongs to another account"),
    (status = 404, description = "There is no such session"),
))]
async fn show(State(api): State<Api>, id: Id, request: Request) -> Result<Response, Failure> {
    let session = enter(&api, &request, &id)?;
    Ok(Json(describe(&api, &api.outbox.settings_of(session.no()))).into_response())
}

/// Change a session's settings
///
/// Null makes one follow the configuration again.
#[utoipa::path(patch, path = "/api/v1/sessions/{id}/settings", params(OfSession), request_body = SettingsEdit, responses(
    (status = 200, description = "What counts now", body = SettingsShown),
    (status = 403, description = "The session belongs to another account"),
    (status = 404, description = "There is no such session"),
))]
async fn change(State(api): State<Api>, id: Id, request: Request) -> Result<Response, Failure> {
    let session = enter(&api, &request, &id)?;
    let change = Change::read(&object(request).await?, &api.country_code)?;
    let changed = api.outbox.change_settings(session.no(), move |settings| change.apply(settings)).await?;
    let own = changed.ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, "The session was deleted"))?;
    Ok(Json(describe(&api, &own)).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: Value) -> Result<Change, String> {
        let Value::Object(fields) = value else { panic!() };
        Change::read(&fields, "62").map_err(|failure| failure.message)
    }

    #[test]
    fn a_change_sets_resets_and_leaves() {
        let mut settings = SessionSettings {
            send_delay_ms: Some(1),
            main_number: Some("62811".into()),
            ..SessionSettings::default()
        };
        let change = read(
            json!({"send_delay_ms": null, "stranger_daily_cap": 5, "queue_allow": ["0812 3456 789", "1@g.us"]}),
        );
        change.unwrap().apply(&mut settings);
        let expected = SessionSettings {
            main_number: Some("62811".into()),
            stranger_daily_cap: Some(5),
            queue_allow: Some(Allow::Only(vec!["628123456789".into(), "1@g.us".into()])),
            ..SessionSettings::default()
        };
        assert_eq!(settings, expected);
        read(json!({"queue_allow": "*"})).unwrap().apply(&mut settings);
        assert_eq!(settings.queue_allow, Some(Allow::Everybody));
    }

    #[test]
    fn a_bad_value_names_its_field() {
        for (bad, field) in [
            (json!({"send_delay_ms": -1}), "send_delay_ms"),
            (json!({"send_jitter_ms": "5"}), "send_jitter_ms"),
            (json!({"queue_delay_ms": 3_600_001}), "queue_delay_ms"),
            (json!({"queue_jitter_ms": 1.5}), "queue_jitter_ms"),
            (json!({"stranger_daily_cap": 1e12}), "stranger_daily_cap"),
            (json!({"stranger_delay_ms": []}), "stranger_delay_ms"),
            (json!({"main_number": "budi"}), "main_number"),
            (json!({"main_number": {}}), "main_number"),
            (json!({"queue_allow": "62811"}), "queue_allow"),
            (json!({"queue_allow": ["x"]}), "queue_allow"),
            (json!({"queue_allow": vec!["62811000000"; 1_001]}), "queue_allow"),
        ] {
            let error = read(bad.clone()).unwrap_err();
            assert!(error.contains(field), "{bad}: {error}");
        }
    }
}
