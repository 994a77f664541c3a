//! `/api/v1/sessions/{id}/groups`: the session's groups, asked for live, and changes of them.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::{Failure, Id, Ids, enter, enter_with};
use crate::api::openapi::chats::{Done, OfSession};
use crate::api::openapi::groups::{
    GroupCreated, GroupEdit, GroupInvite, GroupJoin, GroupJoined, GroupList, GroupNew, GroupPeople,
    GroupPeopleEdit, GroupResults, GroupShown, OfGroup,
};
use crate::api::openapi::v1::DIALECT;
use crate::api::openapi::{Purpose, Routes, routes};
use crate::api::params::{ParamError, Params};
use crate::api::phone::{self, Recipient};
use crate::api::send::check_text;
use crate::api::{Api, Shared};
use crate::session::groups::{
    Action, Changed, Group, GroupChange, MAX_DESCRIPTION, MAX_NAME, Participant, Role,
};

/// Participants of one request.
const MAX_PARTICIPANTS: usize = 256;

pub(super) fn routes<P: Purpose>() -> Routes<P> {
    Routes::of(&[&DIALECT])
        .with(routes!(list, create))
        .with(routes!(join))
        .with(routes!(show, change))
        .with(routes!(participants, change_participants))
        .with(routes!(invite, revoke))
        .with(routes!(leave))
}

fn describe(group: &Group) -> Value {
    json!({
        "id": group.id,
        "name": group.name,
        "description": group.description,
        "created_at_s": group.created_at_s,
        "size": group.size,
        "announcement": group.announcement,
        "locked": group.locked,
        "own_role": group.own_role.map(Role::as_str),
    })
}

fn describe_participant(participant: &Participant) -> Value {
    json!({
        "phone": participant.phone,
        "lid": participant.lid,
        "role": participant.role.as_str(),
    })
}

fn describe_whole(group: &Group) -> Value {
    let mut shown = describe(group);
    shown["participants"] = group.participants.iter().map(describe_participant).collect();
    shown
}

fn describe_changes(changes: &[Changed]) -> Value {
    let describe = |change: &Changed| {
        json!({
            "participant": change.asked,
            "done": change.error.is_none(),
            "code": change.error,
            "reason": change.reason(),
        })
    };
    changes.iter().map(describe).collect()
}

/// A group's id as the path has it.
fn group_id(text: &str) -> Result<String, Failure> {
    let text = text.trim();
    let full = if text.contains('@') { text.to_owned() } else { format!("{text}@g.us") };
    match phone::recipient(&full, "") {
        Ok(Recipient::Jid(jid)) if jid.ends_with("@g.us") => Ok(jid),
        _ => Err(Failure::new(
            StatusCode::NOT_FOUND,
            "Group not found; its id looks like 120363041234567890@g.us",
        )),
    }
}

/// The session of a path, and its group.
fn enter_group(
    api: &Shared,
    request: &Request,
    ids: Ids,
) -> Result<(crate::session::Session, String), Failure> {
    let (session, group) = enter_with(api, request, ids)?;
    Ok((session, group_id(&group)?))
}

/// The people whom a request names, each once: numbers as digits, or LIDs.
fn people(api: &Shared, params: &Params) -> Result<Vec<String>, Failure> {
    let wrong = |reason: String| Failure::from(ParamError::Value { field: "participants", reason });
    let given = params.list("participants")?;
    if given.len() > MAX_PARTICIPANTS {
        return Err(wrong(format!("has {} people; at most {MAX_PARTICIPANTS} are allowed", given.len())));
    }
    let mut people: Vec<String> = Vec::with_capacity(given.len());
    for text in given {
        let name = match phone::recipient(&text, &api.country_code) {
            Ok(Recipient::Number(number)) => number,
            Ok(Recipient::Jid(jid)) if jid.ends_with("@lid") => jid,
            Ok(Recipient::Jid(_)) => return Err(wrong("has a group; only people can be in one".into())),
            Err(e) => return Err(wrong(format!("has an entry that {e}"))),
        };
        if !people.contains(&name) {
            people.push(name);
        }
    }
    Ok(people)
}

fn name_of(params: &Params) -> Result<Option<String>, Failure> {
    let name = params.given("name")?.map(|name| name.trim().to_owned());
    if let Some(name) = &name {
        check_text("name", name, MAX_NAME)?;
    }
    Ok(name)
}

/// An empty description is one: it removes what was there.
fn description_of(params: &Params) -> Result<Option<String>, Failure> {
    let description = params.given("description")?.map(|text| text.trim().to_owned());
    if let Some(text) = description.as_ref().filter(|text| !text.is_empty()) {
        check_text("description", text, MAX_DESCRIPTION)?;
    }
    Ok(description)
}

/// List the groups
///
/// Asked for live.
#[utoipa::path(get, path = "/api/v1/sessions/{id}/groups", params(OfSession), responses(
    (status = 200, description = "The groups, without their people", body = GroupList),
    (status = 403, description = "The session belongs to another account, or WhatsApp does not allow it to this account"),
    (status = 404, description = "There is no such session or group"),
    (status = 409, description = "WhatsApp says that it cannot be done now"),
    (status = 502, description = "WhatsApp refused, or did not answer in time"),
    (status = 503, description = "The session is not connected"),
))]
async fn list(State(api): State<Api>, id: Id, request: Request) -> Result<Response, Failure> {
    let session = enter(&api, &request, &id)?;
    let groups: Vec<Value> = session.groups().await?.iter().map(describe).collect();
    Ok(Json(json!({"success": true, "groups": groups})).into_response())
}

/// Make a group
#[utoipa::path(post, path = "/api/v1/sessions/{id}/groups", params(OfSession), request_body = GroupNew, responses(
    (status = 201, description = "The group, and what became of each person", body = GroupCreated),
    (status = 403, description = "The session belongs to another account, or WhatsApp does not allow it to this account"),
    (status = 404, description = "There is no such session or group"),
    (status = 409, description = "WhatsApp says that it cannot be done now"),
    (status = 502, description = "WhatsApp refused, or did not answer in time"),
    (status = 503, description = "The session is not connected"),
))]
async fn create(State(api): State<Api>, id: Id, request: Request) -> Result<Response, Failure> {
    let session = enter(&api, &request, &id)?;
    let params = Params::read(request).await?;
    let name = name_of(&params)?.ok_or(ParamError::Missing("name"))?;
    let description = description_of(&params)?.filter(|text| !text.is_empty());
    let people = people(&api, &params)?;
    let (group, changes) = session.create_group(&name, description.as_deref(), &people).await?;
    let body = json!({
        "success": true,
        "group": describe_whole(&group),
        "results": describe_changes(&changes),
    });
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

/// Show a group
#[utoipa::path(get, path = "/api/v1/sessions/{id}/groups/{group}", params(OfGroup), responses(
    (status = 200, description = "The group and who is in it", body = GroupShown),
    (status = 403, description = "The session belongs to another account, or WhatsApp does not allow it to this account"),
    (status = 404, description = "There is no such session or group"),
    (status = 409, description = "WhatsApp says that it cannot be done now"),
    (status = 502, description = "WhatsApp refused, or did not answer in time"),
    (status = 503, description = "The session is not connected"),
))]
async fn show(State(api): State<Api>, ids: Ids, request: Request) -> Result<Response, Failure> {
    let (session, group) = enter_group(&api, &request, ids)?;
    let group = session.group(&group).await?;
    Ok(Json(json!({"success": true, "group": describe_whole(&group)})).into_response())
}

/// Change a group
#[utoipa::path(patch, path = "/api/v1/sessions/{id}/groups/{group}", params(OfGroup), request_body = GroupEdit, responses(
    (status = 200, description = "The group as it is now", body = GroupShown),
    (status = 403, description = "The session belongs to another account, or WhatsApp does not allow it to this account"),
    (status = 404, description = "There is no such session or group"),
    (status = 409, description = "WhatsApp says that it cannot be done now"),
    (status = 502, description = "WhatsApp refused, or did not answer in time"),
    (status = 503, description = "The session is not connected"),
))]
async fn change(State(api): State<Api>, ids: Ids, request: Request) -> Result<Response, Failure> {
    let (session, group) = enter_group(&api, &request, ids)?;
    let params = Params::read(request).await?;
    let flag = |field| if params.has(field) { params.flag(field).map(Some) } else { Ok(None) };
    let change = GroupChange {
        name: name_of(&params)?,
        description: description_of(&params)?,
        announcement: flag("announcement")?,
        locked: flag("locked")?,
    };
    if change == GroupChange::default() {
        return Err(Failure::bad("one of name, description, announcement and locked is required"));
    }
    let group = session.change_group(&group, &change).await?;
    Ok(Json(json!({"success": true, "group": describe_whole(&group)})).into_response())
}

/// Who is in a group?
#[utoipa::path(get, path = "/api/v1/sessions/{id}/groups/{group}/participants", params(OfGroup), responses(
    (status = 200, description = "The people", body = GroupPeople),
    (status = 403, description = "The session belongs to another account, or WhatsApp does not allow it to this account"),
    (status = 404, description = "There is no such session or group"),
    (status = 409, description = "WhatsApp says that it cannot be done now"),
    (status = 502, description = "WhatsApp refused, or did not answer in time"),
    (status = 503, description = "The session is not connected"),
))]
async fn participants(State(api): State<Api>, ids: Ids, request: Request) -> Result<Response, Failure> {
    let (session, group) = enter_group(&api, &request, ids)?;
    let group = session.group(&group).await?;
    let shown: Vec<Value> = group.participants.iter().map(describe_participant).collect();
    Ok(Json(json!({"success": true, "participants": shown})).into_response())
}

/// Add, remove, promote or demote people
#[utoipa::path(post, path = "/api/v1/sessions/{id}/groups/{group}/participants", params(OfGroup), request_body = GroupPeopleEdit, responses(
    (status = 200, description = "What became of each person", body = GroupResults),
    (status = 403, description = "The session belongs to another account, or WhatsApp does not allow it to this account"),
    (status = 404, description = "There is no such session or group"),
    (status = 409, description = "WhatsApp says that it cannot be done now"),
    (status = 502, description = "WhatsApp refused, or did not answer in time"),
    (status = 503, description = "The session is not connected"),
))]
async fn change_participants(
    State(api): State<Api>,
    ids: Ids,
    request: Request,
) -> Result<Response, Failure> {
    let (session, group) = enter_group(&api, &request, ids)?;
    let params = Params::read(request).await?;
    let action = Action::parse(&params.required("action")?).ok_or_else(|| ParamError::Value {
        field: "action",
        reason: "must be add, remove, promote or demote".into(),
    })?;
    let people = people(&api, &params)?;
    if people.is_empty() {
        return Err(ParamError::Missing("participants").into());
    }
    let changes = session.change_participants(&group, action, &people).await?;
    Ok(Json(json!({"success": true, "results": describe_changes(&changes)})).into_response())
}

fn link(link: &str) -> Response {
    let code = link.rsplit('/').next().unwrap_or_default();
    Json(json!({"success": true, "link": link, "code": code})).into_response()
}

/// Get the link by which people join
#[utoipa::path(get, path = "/api/v1/sessions/{id}/groups/{group}/invite", params(OfGroup), responses(
    (status = 200, description = "The link", body = GroupInvite),
    (status = 403, description = "The session belongs to another account, or WhatsApp does not allow it to this account"),
    (status = 404, description = "There is no such session or group"),
    (status = 409, description = "WhatsApp says that it cannot be done now"),
    (status = 502, description = "WhatsApp refused, or did not answer in time"),
    (status = 503, description = "The session is not connected"),
))]
async fn invite(State(api): State<Api>, ids: Ids, request: Request) -> Result<Response, Failure> {
    let (session, group) = enter_group(&api, &request, ids)?;
    Ok(link(&session.invite_link(&group, false).await?))
}

/// Replace that link
///
/// The old one leads nowhere any more.
#[utoipa::path(delete, path = "/api/v1/sessions/{id}/groups/{group}/invite", params(OfGroup), responses(
    (status = 200, description = "The new link", body = GroupInvite),
    (status = 403, description = "The session belongs to another account, or WhatsApp does not allow it to this account"),
    (status = 404, description = "There is no such session or group"),
    (status = 409, description = "WhatsApp says that it cannot be done now"),
    (status = 502, description = "WhatsApp refused, or did not answer in time"),
    (status = 503, description = "The session is not connected"),
))]
async fn revoke(State(api): State<Api>, ids: Ids, request: Request) -> Result<Response, Failure> {
    let (session, group) = enter_group(&api, &request, ids)?;
    Ok(link(&session.invite_link(&group, true).await?))
}

/// Join a group by its link
#[utoipa::path(post, path = "/api/v1/sessions/{id}/groups/join", params(OfSession), request_body = GroupJoin, responses(
    (status = 200, description = "The group", body = GroupJoined),
    (status = 403, description = "The session belongs to another account, or WhatsApp does not allow it to this account"),
    (status = 404, description = "There is no such session or group"),
    (status = 409, description = "WhatsApp says that it cannot be done now"),
    (status = 502, description = "WhatsApp refused, or did not answer in time"),
    (status = 503, description = "The session is not connected"),
))]
async fn join(State(api): State<Api>, id: Id, request: Request) -> Result<Response, Failure> {
    let session = enter(&api, &request, &id)?;
    let params = Params::read(request).await?;
    let (group, joined) = session.join_group(&params.required("link")?).await?;
    Ok(Json(json!({"success": true, "id": group, "joined": joined})).into_response())
}

/// Leave a group
#[utoipa::path(post, path = "/api/v1/sessions/{id}/groups/{group}/leave", params(OfGroup), responses(
    (status = 200, description = "It is left", body = Done),
    (status = 403, description = "The session belongs to another account, or WhatsApp does not allow it to this account"),
    (status = 404, description = "There is no such session or group"),
    (status = 409, description = "WhatsApp says that it cannot be done now"),
    (status = 502, description = "WhatsApp refused, or did not answer in time"),
    (status = 503, description = "The session is not connected"),
))]
async fn leave(State(api): State<Api>, ids: Ids, request: Request) -> Result<Response, Failure> {
    let (session, group) = enter_group(&api, &request, ids)?;
    session.leave_group(&group).await?;
    let body: Map<String, Value> = Map::from_iter([("success".to_owned(), Value::Bool(true))]);
    Ok(Json(body).into_response())
}
