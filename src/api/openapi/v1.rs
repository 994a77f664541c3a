//! Kurir's own calls under `/api/v1` as integrators see them.
#![allow(dead_code, reason = "these types describe JSON; nothing makes one")]
#![allow(unused_qualifications, reason = "`inline` writes them")]

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::Dialect;
use crate::inbox;
use crate::webhook::Attempt;

pub(in crate::api) const DIALECT: Dialect = Dialect {
    tag: "kurir",
    about: "**Kurir's own calls**, `X-API-Key`: webhooks, the event stream, received files. A body is JSON. Errors are \
        `{\"success\":false,\"error\":\"Bad Request\",\"message\":\"…\"}`. What a webhook is sent, how it is signed and \
        when it is tried again: `docs/webhooks.md`.",
    keys: &["ApiKey"],
    wrong_key: StatusCode::UNAUTHORIZED,
    forms: false,
    error: || (V1Error::name().into(), V1Error::schema()),
    example,
};

pub(super) fn example(status: StatusCode, about: &str) -> Value {
    let message = match status {
        StatusCode::UNAUTHORIZED => "API key is missing; send it in the X-API-Key header",
        StatusCode::BAD_REQUEST => "url is required",
        _ => about,
    };
    json!({"success": false, "error": status.canonical_reason().unwrap_or("Error"), "message": message})
}

/// What is answered when something is wrong.
#[derive(ToSchema, Serialize)]
pub(super) struct V1Error {
    /// Always false.
    #[schema(example = false)]
    success: bool,
    /// HTTP's words for the status.
    #[schema(example = "Bad Request")]
    error: String,
    /// What is wrong, and what to do.
    #[schema(example = "url is required")]
    message: String,
}

/// A webhook, in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::api) struct WebhookId {
    /// The webhook's id.
    #[param(example = "5d3a7e0c-1f11-4f0e-9a53-b0a8f8c28f0e")]
    id: String,
}

/// A kind of event.
#[derive(ToSchema, Serialize)]
#[serde(rename_all = "snake_case")]
#[schema(as = EventType)]
enum EventType {
    Message,
    Media,
    Receipt,
    PollVote,
    Reaction,
    Group,
    Session,
}

/// The format of what a webhook is sent.
#[derive(ToSchema, Serialize)]
#[serde(rename_all = "lowercase")]
enum WebhookFormat {
    Kurir,
    Fonnte,
    Mpwa,
}

/// A webhook to make.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct WebhookNew {
    /// The receiver. Inside the office it needs the setting `allow_private_fetch`.
    #[schema(format = "uri", example = "https://erp.example.com/whatsapp")]
    url: String,
    /// Only this session's events; else those of all the account's.
    session: Option<String>,
    /// For an administrator's key: whose events; else its own account's.
    account: Option<String>,
    /// `kurir` is everything there is.
    #[schema(inline, default = "kurir")]
    format: Option<WebhookFormat>,
    /// Only these kinds; none: all.
    #[schema(inline, example = json!(["message", "media"]))]
    events: Option<Vec<EventType>>,
    /// Also what the account itself writes, on its phone or another linked device.
    #[schema(default = false)]
    from_me: Option<bool>,
    /// Seconds that the receiver may take.
    #[schema(minimum = 1, maximum = 60, default = 10)]
    timeout_s: Option<u32>,
}

/// What to change of a webhook; what is not there stays as it is.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct WebhookChange {
    /// The receiver.
    #[schema(format = "uri")]
    url: Option<String>,
    #[schema(inline)]
    format: Option<WebhookFormat>,
    /// Only these kinds; an empty list: all.
    #[schema(inline)]
    events: Option<Vec<EventType>>,
    /// Also what the account itself writes.
    from_me: Option<bool>,
    /// False: deliver nothing for now.
    #[schema(example = false)]
    enabled: Option<bool>,
    /// Seconds that the receiver may take.
    #[schema(minimum = 1, maximum = 60)]
    timeout_s: Option<u32>,
}

/// A webhook.
#[derive(ToSchema, Serialize)]
struct Webhook {
    #[schema(example = "5d3a7e0c-1f11-4f0e-9a53-b0a8f8c28f0e")]
    id: String,
    /// Whose events it gets.
    #[schema(example = "default")]
    account: String,
    /// Only this session's; null: those of all.
    #[schema(required)]
    session: Option<String>,
    #[schema(format = "uri", example = "https://erp.example.com/whatsapp")]
    url: String,
    #[schema(inline)]
    format: WebhookFormat,
    /// Only these kinds; empty: all.
    #[schema(inline)]
    events: Vec<EventType>,
    #[schema(example = false)]
    from_me: bool,
    enabled: bool,
    #[schema(example = 10)]
    timeout_s: u32,
    /// Unix milliseconds.
    #[schema(example = 1732190400000i64)]
    created_at_ms: i64,
    #[schema(inline)]
    standing: WebhookStanding,
}

/// How far a webhook has come.
#[derive(ToSchema, Serialize)]
struct WebhookStanding {
    /// `seq` of the last event that it is done with.
    #[schema(example = 1042)]
    cursor: u64,
    /// Events between that and the newest; some of them may be of other sessions.
    #[schema(example = 0)]
    behind: u64,
    /// Events that the receiver refused so far, and that are tried again.
    #[schema(example = 0)]
    set_aside: u64,
    /// Since when the receiver has taken nothing, in Unix milliseconds.
    #[schema(required)]
    failing_since_ms: Option<i64>,
    /// Calls that succeeded since the start of the box.
    #[schema(example = 57)]
    delivered: u64,
    /// Calls that failed.
    #[schema(example = 0)]
    failed: u64,
    /// The last call's HTTP status.
    #[schema(required, example = 200)]
    last_status: Option<u16>,
    /// Why the last call failed.
    #[schema(required)]
    last_error: Option<String>,
    /// When the last call was, in Unix milliseconds.
    #[schema(required, example = 1732190400000i64)]
    last_ms: Option<i64>,
}

/// All webhooks that the key may see.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct WebhookList {
    /// Always true.
    success: bool,
    webhooks: Vec<Webhook>,
}

/// A webhook.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct WebhookShown {
    /// Always true.
    success: bool,
    webhook: Webhook,
}

/// A new webhook, with its secret.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct WebhookCreated {
    /// Always true.
    success: bool,
    webhook: Webhook,
    /// What signs its calls. Shown here only.
    #[schema(example = "whsec_8Jd2…")]
    secret: String,
}

/// A new secret.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct WebhookSecret {
    /// Always true.
    success: bool,
    /// What signs the calls from now on. Shown here only.
    #[schema(example = "whsec_8Jd2…")]
    secret: String,
}

/// What was done.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct V1Done {
    /// Always true.
    success: bool,
    #[schema(example = "Webhook deleted")]
    message: String,
}

/// The last calls, newest first.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct WebhookDeliveries {
    /// Always true.
    success: bool,
    deliveries: Vec<Attempt>,
}

/// Events that were given up.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct WebhookDead {
    /// Always true.
    success: bool,
    dead: Vec<DeadLetter>,
}

/// An event that was given up.
#[derive(ToSchema, Serialize)]
struct DeadLetter {
    /// The event's `seq`.
    #[schema(example = 1042)]
    seq: u64,
    /// The event's id.
    #[schema(example = "b6d0c1e2f3a4b5c6d7e8f90a1b2c3d4e")]
    event: String,
    /// Its type.
    #[schema(example = "message")]
    kind: String,
    /// How often it was tried.
    #[schema(example = 24)]
    attempts: u32,
    /// When the first attempt failed, in Unix milliseconds.
    #[schema(example = 1732190400000i64)]
    first_ms: i64,
    /// When it was given up, in Unix milliseconds.
    #[schema(example = 1732276800000i64)]
    at_ms: i64,
    /// Why the last attempt failed.
    #[schema(example = "the receiver answered 500")]
    error: String,
}

/// How many dead letters were removed.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct WebhookBuried {
    /// Always true.
    success: bool,
    #[schema(example = 3)]
    removed: u64,
}

/// What to send again; one of the three.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct WebhookReplay {
    /// True: everything that was given up.
    #[schema(example = true)]
    dead: Option<bool>,
    /// The event with this id.
    event: Option<String>,
    /// Everything from this `seq` on.
    #[schema(minimum = 1)]
    from_seq: Option<u64>,
}

/// What is sent again.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct WebhookReplayed {
    /// Always true.
    success: bool,
    /// How many events.
    #[schema(example = 3)]
    replayed: Option<u64>,
    /// With `from_seq`: from where.
    from_seq: Option<u64>,
}

/// Which events, and from when.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct EventsQuery {
    /// Only these kinds, separated by commas.
    #[param(example = "message,media")]
    types: Option<String>,
    /// Only this session's.
    session: Option<String>,
    /// Only this person's: a phone number or a LID.
    person: Option<String>,
    /// Begin after this event, by `seq` or id; 0: with the oldest that is kept. Without it and `Last-Event-ID`, with what
    /// happens from now on.
    #[param(example = "0")]
    after: Option<String>,
}

/// Where a stream goes on.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(in crate::api) struct LastEventId {
    /// `id` of the last event that arrived; browsers send it by themselves.
    #[param(rename = "Last-Event-ID")]
    last_event_id: Option<String>,
}

/// An event, in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::api) struct EventId {
    /// The event's id.
    #[param(example = "b6d0c1e2f3a4b5c6d7e8f90a1b2c3d4e")]
    event: String,
}

/// The signature of a link, instead of a key.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct LinkSignature {
    /// Until when the link works, in Unix seconds. Part of the links in events.
    until: Option<i64>,
    /// Signs it.
    sig: Option<String>,
}

/// What a `data:` line of the stream holds.
#[derive(ToSchema, Serialize)]
#[serde(untagged)]
pub(in crate::api) enum EventLine {
    Event(Event),
    Gap(EventGap),
}

/// The bytes of a file.
#[derive(ToSchema, Serialize)]
#[schema(value_type = String, content_media_type = "application/octet-stream", example = "…")]
pub(in crate::api) struct EventFile(String);

/// Something that happened: what each `data:` line of the stream holds, and what a webhook in the format `kurir` is sent.
#[derive(ToSchema, Serialize)]
struct Event {
    /// Stays the same when the same thing is delivered again.
    #[schema(example = "b6d0c1e2f3a4b5c6d7e8f90a1b2c3d4e")]
    id: String,
    /// Counts up by one over the whole box.
    #[schema(example = 1042)]
    seq: u64,
    #[schema(inline)]
    r#type: EventType,
    /// The session's id.
    #[schema(example = "b0a8f8c2-8f0e-4f0e-9a53-5d3a7e0c1f11")]
    session: String,
    /// The chat's JID: a person's, or the group's.
    #[schema(required, example = "6281234567890@s.whatsapp.net")]
    chat_id: Option<String>,
    /// The author's number, where it is known; for what this account itself wrote in a private chat, the recipient's.
    #[schema(required, example = "6281234567890")]
    phone: Option<String>,
    /// The author's other name on WhatsApp, where it is known.
    #[schema(required, example = "10293847561029@lid")]
    lid: Option<String>,
    /// This account did it, on its phone or another linked device.
    #[schema(example = false)]
    from_me: bool,
    /// It happened while the box was not connected.
    #[schema(example = false)]
    offline: bool,
    /// When, in Unix milliseconds.
    #[schema(example = 1732190400000i64)]
    timestamp_ms: i64,
    /// When the box took it, in Unix milliseconds.
    #[schema(example = 1732190400120i64)]
    recorded_at_ms: i64,
    data: EventData,
}

/// What happened, by `type`.
#[derive(ToSchema, Serialize)]
#[serde(untagged)]
enum EventData {
    Message(inbox::Message),
    Receipt(inbox::Receipt),
    PollVote(inbox::PollVote),
    Reaction(inbox::Reaction),
    Group(inbox::GroupChange),
    Session(inbox::SessionState),
}

/// Events were missed: the reader was further behind than the journal reaches.
#[derive(ToSchema, Serialize)]
struct EventGap {
    /// Always `gap`.
    #[schema(pattern = "^gap$", example = "gap")]
    r#type: String,
    /// The last event that is missing.
    #[schema(example = 1042)]
    seq: u64,
    #[schema(inline)]
    data: EventGapData,
}

/// Which events were missed.
#[derive(ToSchema, Serialize)]
struct EventGapData {
    #[schema(example = 1)]
    first_seq: u64,
    #[schema(example = 1042)]
    last_seq: u64,
    #[schema(example = "Events in this range are no longer kept; some of them may have been yours.")]
    message: String,
}
