//! `/api/v1/webhooks`: making, changing and watching webhooks.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::keys::Caller;
use super::openapi::v1::{
    DIALECT, V1Done, WebhookBuried, WebhookChange, WebhookCreated, WebhookDead, WebhookDeliveries, WebhookId,
    WebhookList, WebhookNew, WebhookReplay, WebhookReplayed, WebhookSecret, WebhookShown,
};
use super::openapi::{Purpose, Routes, routes};
use super::params::PathId;
use super::v1::{Failure, caller, flag, number, object, text};
use super::{Api, Shared};
use crate::inbox::Kind;
use crate::session::Session;
use crate::webhook::{Format, Hook, HookChange, HookDraft, HookError, Standing};

/// Seconds that a receiver may take, where its webhook does not say.
const TIMEOUT_S: u32 = 10;
/// Attempts shown of a webhook's log.
const LOG: usize = 200;

pub(super) fn routes<P: Purpose>() -> Routes<P> {
    Routes::of(&[&DIALECT])
        .with(routes!(list, create))
        .with(routes!(show, change, delete))
        .with(routes!(rotate))
        .with(routes!(deliveries))
        .with(routes!(dead, bury))
        .with(routes!(replay))
}

impl From<HookError> for Failure {
    fn from(error: HookError) -> Failure {
        match error {
            HookError::Store(e) => e.into(),
            HookError::TooMany => Failure::new(StatusCode::CONFLICT, error.to_string()),
            HookError::Url(_) | HookError::Timeout => Failure::bad(error.to_string()),
        }
    }
}

impl Shared {
    /// Where a session's events go: its own webhook before its account's, in this format or in any.
    pub(super) fn webhook_url(&self, session: &Session, format: Option<Format>) -> Option<String> {
        let hooks: Vec<Hook> = self.webhooks.list().into_iter().map(|(hook, _)| hook).collect();
        let fits = |hook: &&Hook| hook.enabled && format.is_none_or(|format| hook.format == format);
        let own = |hook: &&Hook| hook.session.as_deref() == Some(session.id());
        let accounts = |hook: &&Hook| hook.session.is_none() && hook.account == session.owner();
        let found = hooks.iter().filter(fits).find(own).or_else(|| hooks.iter().filter(fits).find(accounts));
        found.map(|hook| hook.url.clone())
    }
}

/// Whether the caller may see and change this webhook: a device token only one for its own session.
fn may_use(caller: &Caller, hook: &Hook) -> bool {
    match &caller.rules.session {
        Some(session) => hook.session.as_ref() == Some(session),
        None => caller.may_use(&hook.account),
    }
}

fn own(api: &Shared, caller: &Caller, id: &str) -> Result<(Hook, Standing), Failure> {
    let found = api.webhooks.get(id);
    let (hook, standing) =
        found.ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, "Webhook not found; check its id"))?;
    if may_use(caller, &hook) {
        Ok((hook, standing))
    } else {
        Err(Failure::new(StatusCode::FORBIDDEN, "This webhook belongs to another account"))
    }
}

fn describe(hook: &Hook, standing: &Standing, newest: u64) -> Value {
    json!({
        "id": hook.id,
        "account": hook.account,
        "session": hook.session,
        "url": hook.url,
        "format": hook.format.as_str(),
        "events": hook.events.iter().map(|kind| kind.as_str()).collect::<Vec<_>>(),
        "from_me": hook.from_me,
        "enabled": hook.enabled,
        "timeout_s": hook.timeout_s,
        "created_at_ms": hook.created_at_ms,
        "standing": {
            "cursor": standing.cursor,
            "behind": newest.saturating_sub(standing.cursor),
            "set_aside": standing.parked,
            "failing_since_ms": standing.failing_since_ms,
            "delivered": standing.delivered,
            "failed": standing.failed,
            "last_status": standing.last_status,
            "last_error": standing.last_error,
            "last_ms": standing.last_ms,
        },
    })
}

fn kinds(body: &Map<String, Value>) -> Result<Option<Vec<Kind>>, Failure> {
    let wrong = || {
        let all: Vec<&str> = Kind::ALL.iter().map(|(_, name)| *name).collect();
        Failure::bad(format!("events must be a list of: {}", all.join(", ")))
    };
    match body.get("events") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(items)) => {
            let kinds: Option<Vec<Kind>> =
                items.iter().map(|item| item.as_str().and_then(Kind::parse)).collect();
            let mut kinds = kinds.ok_or_else(wrong)?;
            kinds.sort_unstable();
            kinds.dedup();
            Ok(Some(kinds))
        }
        Some(_) => Err(wrong()),
    }
}

fn format(body: &Map<String, Value>) -> Result<Option<Format>, Failure> {
    let wrong = || Failure::bad("format must be kurir, fonnte or mpwa");
    text(body, "format")?.map(|name| Format::parse(name).ok_or_else(wrong)).transpose()
}

fn timeout(body: &Map<String, Value>) -> Result<Option<u32>, Failure> {
    Ok(number(body, "timeout_s")?.map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX)))
}

/// List the webhooks
///
/// A key sees its account's, an administrator's all, a device token its session's.
#[utoipa::path(get, path = "/api/v1/webhooks", responses(
    (status = 200, description = "The webhooks, each with how far it has come", body = WebhookList),
))]
async fn list(State(api): State<Api>, request: Request) -> Result<Response, Failure> {
    let caller = caller(&api, &request)?;
    let newest = api.inbox.newest()?;
    let hooks: Vec<Value> = api
        .webhooks
        .list()
        .iter()
        .filter(|(hook, _)| may_use(&caller, hook))
        .map(|(hook, standing)| describe(hook, standing, newest))
        .collect();
    Ok(Json(json!({"success": true, "webhooks": hooks})).into_response())
}

/// Make a webhook
///
/// From now on each event is posted to `url`, signed with the `secret` that the answer shows.
#[utoipa::path(post, path = "/api/v1/webhooks", request_body = WebhookNew, responses(
    (status = 201, description = "The webhook and its secret", body = WebhookCreated),
    (status = 403, description = "The session or the account is not the key's"),
    (status = 404, description = "There is no such session"),
    (status = 409, description = "The box has as many webhooks as it takes"),
))]
async fn create(State(api): State<Api>, request: Request) -> Result<Response, Failure> {
    let caller = caller(&api, &request)?;
    let body = object(request).await?;
    let url = text(&body, "url")?.ok_or_else(|| Failure::bad("url is required"))?.to_owned();
    let session = match (&caller.rules.session, text(&body, "session")?) {
        (Some(own), Some(named)) if own != named => {
            return Err(Failure::new(StatusCode::FORBIDDEN, "This token belongs to another session"));
        }
        (Some(own), _) => Some(own.clone()),
        (None, named) => named.map(str::to_owned),
    };
    let account = match &session {
        Some(id) => {
            let found = api.registry.get(id);
            let session = found.ok_or_else(|| {
                Failure::new(StatusCode::NOT_FOUND, "Session not found; check the session id")
            })?;
            if !caller.may_use_session(&session) {
                return Err(Failure::new(StatusCode::FORBIDDEN, "This session belongs to another account"));
            }
            session.owner().to_owned()
        }
        None => match text(&body, "account")? {
            Some(account) if account != caller.account && !caller.admin => {
                return Err(Failure::new(StatusCode::FORBIDDEN, "Only an administrator may name an account"));
            }
            Some(account) => account.to_owned(),
            None => caller.account.clone(),
        },
    };
    let draft = HookDraft {
        account,
        session,
        url,
        format: format(&body)?.unwrap_or_default(),
        events: kinds(&body)?.unwrap_or_default(),
        from_me: flag(&body, "from_me")?.unwrap_or(false),
        timeout_s: timeout(&body)?.unwrap_or(TIMEOUT_S),
    };
    let hook = api.webhooks.create(draft).await?;
    let shown = describe(&hook, &Standing::default(), 0);
    let body = json!({"success": true, "webhook": shown, "secret": hook.secret});
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// Show a webhook
#[utoipa::path(get, path = "/api/v1/webhooks/{id}", params(WebhookId), responses(
    (status = 200, description = "The webhook", body = WebhookShown),
    (status = 403, description = "The webhook belongs to another account"),
    (status = 404, description = "There is no such webhook"),
))]
async fn show(State(api): State<Api>, PathId(id): PathId, request: Request) -> Result<Response, Failure> {
    let caller = caller(&api, &request)?;
    let (hook, standing) = own(&api, &caller, &id)?;
    let shown = describe(&hook, &standing, api.inbox.newest()?);
    Ok(Json(json!({"success": true, "webhook": shown})).into_response())
}

async fn apply(api: &Shared, id: &str, change: HookChange) -> Result<Hook, Failure> {
    let changed = api.webhooks.change(id, change).await?;
    changed.ok_or_else(|| Failure::new(StatusCode::NOT_FOUND, "Webhook not found; check its id"))
}

/// Change a webhook
#[utoipa::path(patch, path = "/api/v1/webhooks/{id}", params(WebhookId), request_body = WebhookChange, responses(
    (status = 200, description = "The webhook as it is now", body = WebhookShown),
    (status = 403, description = "The webhook belongs to another account"),
    (status = 404, description = "There is no such webhook"),
))]
async fn change(State(api): State<Api>, PathId(id): PathId, request: Request) -> Result<Response, Failure> {
    let caller = caller(&api, &request)?;
    let (_, standing) = own(&api, &caller, &id)?;
    let body = object(request).await?;
    let change = HookChange {
        url: text(&body, "url")?.map(str::to_owned),
        format: format(&body)?,
        events: kinds(&body)?,
        from_me: flag(&body, "from_me")?,
        enabled: flag(&body, "enabled")?,
        timeout_s: timeout(&body)?,
        rotate_secret: false,
    };
    let hook = apply(&api, &id, change).await?;
    let shown = describe(&hook, &standing, api.inbox.newest()?);
    Ok(Json(json!({"success": true, "webhook": shown})).into_response())
}

/// Delete a webhook
#[utoipa::path(delete, path = "/api/v1/webhooks/{id}", params(WebhookId), responses(
    (status = 200, description = "It is deleted", body = V1Done),
    (status = 403, description = "The webhook belongs to another account"),
    (status = 404, description = "There is no such webhook"),
))]
async fn delete(State(api): State<Api>, PathId(id): PathId, request: Request) -> Result<Response, Failure> {
    let caller = caller(&api, &request)?;
    own(&api, &caller, &id)?;
    api.webhooks.delete(&id).await?;
    Ok(Json(json!({"success": true, "message": "Webhook deleted"})).into_response())
}

/// Make a new secret
///
/// The old one signs nothing any more.
#[utoipa::path(post, path = "/api/v1/webhooks/{id}/rotate-secret", params(WebhookId), responses(
    (status = 200, description = "The new secret", body = WebhookSecret),
    (status = 403, description = "The webhook belongs to another account"),
    (status = 404, description = "There is no such webhook"),
))]
async fn rotate(State(api): State<Api>, PathId(id): PathId, request: Request) -> Result<Response, Failure> {
    let caller = caller(&api, &request)?;
    own(&api, &caller, &id)?;
    let hook = apply(&api, &id, HookChange { rotate_secret: true, ..HookChange::default() }).await?;
    Ok(Json(json!({"success": true, "secret": hook.secret})).into_response())
}

/// Show the last calls of a webhook
///
/// The last 200 attempts, newest first.
#[utoipa::path(get, path = "/api/v1/webhooks/{id}/deliveries", params(WebhookId), responses(
    (status = 200, description = "The attempts", body = WebhookDeliveries),
    (status = 403, description = "The webhook belongs to another account"),
    (status = 404, description = "There is no such webhook"),
))]
async fn deliveries(
    State(api): State<Api>,
    PathId(id): PathId,
    request: Request,
) -> Result<Response, Failure> {
    let caller = caller(&api, &request)?;
    let (hook, _) = own(&api, &caller, &id)?;
    let attempts = api.webhooks.attempts(&hook, LOG).await?;
    Ok(Json(json!({"success": true, "deliveries": attempts})).into_response())
}

/// Show what a webhook gave up
///
/// Events that its receiver did not take for a day, newest first, at most 1,000.
#[utoipa::path(get, path = "/api/v1/webhooks/{id}/dead", params(WebhookId), responses(
    (status = 200, description = "The dead letters", body = WebhookDead),
    (status = 403, description = "The webhook belongs to another account"),
    (status = 404, description = "There is no such webhook"),
))]
async fn dead(State(api): State<Api>, PathId(id): PathId, request: Request) -> Result<Response, Failure> {
    let caller = caller(&api, &request)?;
    let (hook, _) = own(&api, &caller, &id)?;
    let letters: Vec<Value> = api
        .webhooks
        .dead(&hook)
        .await?
        .into_iter()
        .map(|(seq, letter)| {
            let mut shown = json!(letter);
            shown["seq"] = json!(seq);
            shown
        })
        .collect();
    Ok(Json(json!({"success": true, "dead": letters})).into_response())
}

/// Remove what a webhook gave up
#[utoipa::path(delete, path = "/api/v1/webhooks/{id}/dead", params(WebhookId), responses(
    (status = 200, description = "How many were removed", body = WebhookBuried),
    (status = 403, description = "The webhook belongs to another account"),
    (status = 404, description = "There is no such webhook"),
))]
async fn bury(State(api): State<Api>, PathId(id): PathId, request: Request) -> Result<Response, Failure> {
    let caller = caller(&api, &request)?;
    let (hook, _) = own(&api, &caller, &id)?;
    let removed = api.webhooks.bury(&hook).await?;
    Ok(Json(json!({"success": true, "removed": removed})).into_response())
}

/// Send events again
///
/// What was given up, one event, or everything from a place in the journal on.
#[utoipa::path(post, path = "/api/v1/webhooks/{id}/replay", params(WebhookId), request_body = WebhookReplay, responses(
    (status = 200, description = "What is sent again", body = WebhookReplayed),
    (status = 403, description = "The webhook belongs to another account"),
    (status = 404, description = "There is no such webhook, or no such event any more"),
    (status = 429, description = "Too much is to be replayed already, or too many requests of this key"),
))]
async fn replay(State(api): State<Api>, PathId(id): PathId, request: Request) -> Result<Response, Failure> {
    let caller = caller(&api, &request)?;
    let (hook, _) = own(&api, &caller, &id)?;
    let body = object(request).await?;
    let too_many = || {
        Failure::later(
            StatusCode::TOO_MANY_REQUESTS,
            "Too much is to be replayed already; try again later",
            5,
        )
    };
    if flag(&body, "dead")? == Some(true) {
        let revived = api.webhooks.revive(&hook).await?;
        return Ok(Json(json!({"success": true, "replayed": revived})).into_response());
    }
    if let Some(event) = text(&body, "event")? {
        let found = api.inbox.find(event)?.filter(|event| hook.account == event.origin.account);
        let event = found.ok_or_else(|| {
            Failure::new(StatusCode::NOT_FOUND, "Event not found; it may be older than the journal")
        })?;
        if !hook.wants(&event) {
            return Err(Failure::bad("This webhook does not get this kind of event, or not of this session"));
        }
        if !api.webhooks.again(&hook, event.seq) {
            return Err(too_many());
        }
        return Ok(Json(json!({"success": true, "replayed": 1})).into_response());
    }
    if let Some(seq) = number(&body, "from_seq")? {
        if !api.webhooks.again_from(&hook, seq.max(1)) {
            return Err(too_many());
        }
        return Ok(Json(json!({"success": true, "from_seq": seq.max(1)})).into_response());
    }
    Err(Failure::bad("one of dead, event and from_seq is required"))
}
