//! Groups of a session under `/api/v1/sessions` as integrators see them.
#![allow(dead_code, reason = "these types describe JSON; nothing makes one")]
#![allow(unused_qualifications, reason = "`inline` writes them")]

use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

/// A group of a session, in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::api) struct OfGroup {
    /// The session's id.
    #[param(example = "b0a8f8c2-8f0e-4f0e-9a53-5d3a7e0c1f11")]
    id: String,
    /// The group's id, with or without `@g.us`.
    #[param(example = "120363025246125486@g.us")]
    group: String,
}

/// A group.
#[derive(ToSchema, Serialize)]
struct GroupState {
    /// Its JID: what `to` takes.
    #[schema(example = "120363025246125486@g.us")]
    id: String,
    #[schema(example = "Gudang")]
    name: String,
    #[schema(required)]
    description: Option<String>,
    /// When it was made, in Unix seconds.
    #[schema(required, example = 1732190400)]
    created_at_s: Option<u64>,
    /// How many people are in it: more than are listed where WhatsApp hides some.
    #[schema(example = 12)]
    size: u32,
    /// Only administrators may write.
    #[schema(example = false)]
    announcement: bool,
    /// Only administrators may change name and description.
    #[schema(example = false)]
    locked: bool,
    /// What this account is in it; null: not in it, or not known.
    #[schema(required, example = "admin")]
    own_role: Option<String>,
    /// Who is in it. Not in lists of groups.
    participants: Option<Vec<GroupParticipant>>,
}

/// Somebody in a group.
#[derive(ToSchema, Serialize)]
struct GroupParticipant {
    /// Their number, where it is known.
    #[schema(required, example = "6281234567890")]
    phone: Option<String>,
    /// Their other name on WhatsApp, where it is known.
    #[schema(required, example = "10293847561029@lid")]
    lid: Option<String>,
    /// `member`, `admin` or `superadmin`.
    #[schema(example = "member")]
    role: String,
}

/// What became of the wish for one person.
#[derive(ToSchema, Serialize)]
struct GroupResult {
    /// As the request named them.
    #[schema(example = "6281234567890")]
    participant: String,
    /// Whether it was done.
    done: bool,
    /// WhatsApp's code, if it was not.
    #[schema(required)]
    code: Option<u16>,
    /// What that means.
    #[schema(required)]
    reason: Option<String>,
}

/// The groups, without their people.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct GroupList {
    /// Always true.
    success: bool,
    groups: Vec<GroupState>,
}

/// A group.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct GroupShown {
    /// Always true.
    success: bool,
    group: GroupState,
}

/// A group to make.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct GroupNew {
    /// What it is called, at most 100 characters.
    #[schema(min_length = 1, example = "Gudang")]
    name: String,
    /// What it is for.
    description: Option<String>,
    /// Who is in it besides this account: numbers or LIDs.
    #[schema(max_items = 256, example = json!(["6281234567890"]))]
    participants: Option<Vec<String>>,
}

/// The group was made.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct GroupCreated {
    /// Always true.
    success: bool,
    group: GroupState,
    /// What became of each person.
    results: Vec<GroupResult>,
}

/// What to change of a group; at least one of them.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct GroupEdit {
    /// What it is called.
    #[schema(min_length = 1, example = "Gudang utama")]
    name: Option<String>,
    /// What it is for; empty removes it.
    description: Option<String>,
    /// True: only administrators may write.
    announcement: Option<bool>,
    /// True: only administrators may change name and description.
    locked: Option<bool>,
}

/// The people in a group.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct GroupPeople {
    /// Always true.
    success: bool,
    participants: Vec<GroupParticipant>,
}

/// What to do with people.
#[derive(ToSchema, Serialize)]
#[serde(rename_all = "lowercase")]
enum GroupAction {
    Add,
    Remove,
    Promote,
    Demote,
}

/// A change of who is in a group.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct GroupPeopleEdit {
    /// What to do; `promote` makes administrators, `demote` takes that back.
    #[schema(inline)]
    action: GroupAction,
    /// With whom: numbers or LIDs.
    #[schema(min_items = 1, max_items = 256, example = json!(["6281234567890"]))]
    participants: Vec<String>,
}

/// What became of each person.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct GroupResults {
    /// Always true.
    success: bool,
    results: Vec<GroupResult>,
}

/// A link by which people join.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct GroupInvite {
    /// Always true.
    success: bool,
    #[schema(example = "https://chat.whatsapp.com/FBrA3oY8vXl0n1qZ2wE4rT")]
    link: String,
    /// Its last part.
    #[schema(example = "FBrA3oY8vXl0n1qZ2wE4rT")]
    code: String,
}

/// A group to join.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct GroupJoin {
    /// The link, or its last part.
    #[schema(example = "https://chat.whatsapp.com/FBrA3oY8vXl0n1qZ2wE4rT")]
    link: String,
}

/// The group was joined.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct GroupJoined {
    /// Always true.
    success: bool,
    /// The group's JID.
    #[schema(example = "120363025246125486@g.us")]
    id: String,
    /// False: an administrator has to let this account in first.
    joined: bool,
}
