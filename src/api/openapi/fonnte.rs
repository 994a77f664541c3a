//! Dialect `fonnte` as integrators see it.
#![allow(dead_code, reason = "these types describe JSON; nothing makes one")]
#![allow(unused_qualifications, reason = "`inline` writes them")]

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::{PartialSchema, ToSchema};

use super::Dialect;

pub(in crate::api) const DIALECT: Dialect = Dialect {
    tag: "fonnte",
    about: "**A token per device** in `Authorization`, with or without `Bearer`; or as the parameter `token`. An account's \
        key works too: it means the account's only device, or the one in `device`. Errors have `reason`, and `detail` with \
        the same text; a key made with `--fonnte-always-200` gets them with status 200, for clients that read nothing else.",
    keys: &["Token", "TokenParameter"],
    wrong_key: StatusCode::UNAUTHORIZED,
    forms: true,
    error: || (FonnteError::name().into(), FonnteError::schema()),
    example,
};

fn example(status: StatusCode, about: &str) -> Value {
    let reason = match status {
        StatusCode::UNAUTHORIZED => "token invalid",
        StatusCode::BAD_REQUEST => "target is required",
        StatusCode::SERVICE_UNAVAILABLE => "device disconnected; connect it by its QR code and try again",
        _ => about,
    };
    json!({"status": false, "Status": false, "reason": reason, "detail": reason, "requestid": 1732190400000u64})
}

/// What this dialect answers when something is wrong.
#[derive(ToSchema, Serialize)]
struct FonnteError {
    /// Always false.
    #[schema(example = false)]
    status: bool,
    /// Always false; some clients look for this one.
    #[schema(example = false)]
    #[serde(rename = "Status")]
    big_status: bool,
    /// What is wrong, and what to do.
    reason: String,
    /// The same.
    detail: String,
    /// A number for this request.
    requestid: i64,
}

/// How many answers of a poll one may choose.
#[derive(ToSchema, Serialize)]
#[serde(rename_all = "lowercase")]
enum FonnteSelect {
    Single,
    Multiple,
}

/// Messages to send. A text, a poll and a place in one request are separate messages.
#[derive(ToSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct FonnteSend {
    /// Numbers and groups, separated by commas, at most 1,000. `number|name|var1` fills `{name}` and `{var1}` in the text.
    /// Also named `to`.
    #[schema(example = "6281234567890")]
    target: String,
    /// The text, or the caption of a file that has one.
    #[schema(max_length = 60000, example = "Halo, pesanan Anda sudah siap")]
    message: Option<String>,
    /// A file by link, leading straight to it, at most 50 MB.
    #[schema(format = "uri")]
    url: Option<String>,
    /// The name under which the file is shown.
    filename: Option<String>,
    /// A file of at most 50 MB, as a part of a multipart body.
    #[schema(value_type = Option<String>, content_media_type = "application/octet-stream")]
    file: Option<String>,
    /// A place: `latitude,longitude` in degrees.
    #[schema(pattern = r"^\s*-?[0-9.]+\s*,\s*-?[0-9.]+\s*$")]
    location: Option<String>,
    /// A poll: 2 to 12 answers, separated by commas.
    choices: Option<String>,
    /// How many of them one may choose.
    #[schema(inline, default = "single")]
    select: Option<FonnteSelect>,
    /// The poll's question; without it, `message`.
    #[serde(rename = "pollname")]
    poll_name: Option<String>,
    /// When to send, in Unix seconds; at most a year ahead.
    schedule: Option<i64>,
    /// How long to wait before it is sent, in seconds; at most a year.
    #[schema(minimum = 0)]
    followup: Option<i64>,
    /// Seconds between two messages, at most 3,600, or a span to choose from at random: `1-10`.
    #[schema(pattern = "^[0-9]+(-[0-9]+)?$")]
    delay: Option<String>,
    /// Each message only after the one before it.
    sequence: Option<bool>,
    /// Show typing first.
    typing: Option<bool>,
    /// For how many seconds.
    #[schema(minimum = 1, maximum = 60, default = 2)]
    duration: Option<i64>,
    /// Replaces a leading `0` instead of the box's own country code; `0`: nothing does.
    #[schema(pattern = "^[0-9]{1,4}$")]
    country_code: Option<String>,
    /// Refuse with 503 while the device is offline; false: keep the message until it is back.
    #[schema(default = true)]
    connect_only: Option<bool>,
    /// The message that this one answers: its `inboxid` from the webhook, or its WhatsApp id.
    #[serde(rename = "inboxid")]
    inbox_id: Option<String>,
    /// False: no preview of links.
    #[schema(default = true)]
    preview: Option<bool>,
    /// Up to 200 such requests as a JSON array; the other parameters are then ignored. All are checked before any is
    /// accepted.
    #[schema(value_type = Option<Vec<Object>>, max_items = 200)]
    data: Option<Vec<Value>>,
    /// Which device sends, where the key has several: its id, number or name.
    device: Option<String>,
}

/// The messages are kept and will be sent.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct FonnteSent {
    /// Always true.
    status: bool,
    #[schema(example = "Message sent successfully")]
    reason: String,
    #[schema(example = "success! message in queue")]
    detail: String,
    /// A number for each message, as text: what `/status` and `/delete-message` take.
    #[schema(example = json!(["1042"]))]
    id: Vec<String>,
    /// Always `pending`.
    #[schema(example = "pending")]
    process: String,
    /// A number for this request.
    #[schema(example = 1732190400000i64)]
    requestid: i64,
    /// The recipients as WhatsApp has them.
    #[schema(example = json!(["6281234567890"]))]
    target: Vec<String>,
}

/// Which device, where the key has several.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct FonnteWhich {
    /// Its id, number or name.
    device: Option<String>,
}

/// A device.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct FonnteDevice {
    /// Always true.
    status: bool,
    /// Its phone number; empty while it has none.
    #[schema(example = "6281100000001")]
    device: String,
    #[schema(inline)]
    device_status: FonnteConnection,
    #[schema(example = "Kasir")]
    name: String,
    /// Messages that it has sent so far.
    #[schema(example = 1042)]
    messages: u64,
    /// Always `never`.
    #[schema(example = "never")]
    expired: String,
    /// Always `Kurir`.
    #[schema(example = "Kurir")]
    package: String,
    /// Always `unlimited`.
    #[schema(example = "unlimited")]
    quota: String,
}

/// Whether a device is connected.
#[derive(ToSchema, Serialize)]
#[serde(rename_all = "lowercase")]
enum FonnteConnection {
    Connect,
    Disconnect,
}

/// The devices that the key may use.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct FonnteDevices {
    /// Always true.
    status: bool,
    /// How many there are.
    #[schema(example = 1)]
    devices: u32,
    /// How many of them are connected.
    #[schema(example = 1)]
    connected: u32,
    /// Messages that all have sent so far.
    #[schema(example = 1042)]
    messages: u64,
    data: Vec<FonnteDeviceRow>,
}

/// A device in a list.
#[derive(ToSchema, Serialize)]
struct FonnteDeviceRow {
    /// Always `off`.
    #[schema(example = "off")]
    autoread: String,
    #[schema(example = "6281100000001")]
    device: String,
    #[schema(example = "Kasir")]
    name: String,
    #[schema(inline)]
    status: FonnteConnection,
    #[schema(example = "never")]
    expired: String,
    #[schema(example = "Kurir")]
    package: String,
    #[schema(example = "unlimited")]
    quota: String,
    /// Always empty: tokens are kept as hashes and cannot be shown again.
    #[schema(max_length = 0, example = "")]
    token: String,
}

/// How to pair a device.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct FonntePair {
    /// A picture to scan, or a code to type into the phone.
    #[schema(inline, default = "qr", example = "qr")]
    r#type: Option<FonntePairing>,
    /// The phone's number, for a code.
    whatsapp: Option<String>,
    /// Which device, where the key has several: its id, number or name.
    device: Option<String>,
}

/// A way to pair.
#[derive(ToSchema, Serialize)]
#[serde(rename_all = "lowercase")]
enum FonntePairing {
    Qr,
    Code,
}

/// What pairs the device, or why nothing does.
#[derive(ToSchema, Serialize)]
#[serde(untagged)]
pub(in crate::api) enum FonntePaired {
    Picture(FonnteQr),
    Code(FonnteCode),
    Refused(FonnteRefusal),
}

/// A QR code.
#[derive(ToSchema, Serialize)]
struct FonnteQr {
    /// Always true.
    status: bool,
    /// A PNG as Base64, without `data:` before it. A code lasts about 20 s; ask again for the next.
    #[schema(example = "iVBORw0KGgo…")]
    url: String,
}

/// A pairing code.
#[derive(ToSchema, Serialize)]
struct FonnteCode {
    /// Always true.
    status: bool,
    /// To be typed on the phone, under *Linked devices*, *Link with phone number instead*.
    #[schema(example = "ABCD1234")]
    code: String,
}

/// The device is connected already.
#[derive(ToSchema, Serialize)]
struct FonnteRefusal {
    /// Always false.
    #[schema(example = false)]
    status: bool,
    #[schema(example = "device already connect")]
    reason: String,
}

/// Numbers to look up.
#[derive(ToSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct FonnteNumbers {
    /// Up to 100 numbers, separated by commas.
    #[schema(example = "6281234567890,6289999999999")]
    target: String,
    /// Replaces a leading `0` instead of the box's own country code; `0`: nothing does.
    country_code: Option<String>,
    /// Which device asks, where the key has several: its id, number or name.
    device: Option<String>,
}

/// Which numbers are on WhatsApp.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct FonnteValidated {
    /// Always true.
    status: bool,
    #[schema(example = json!(["6281234567890"]))]
    registered: Vec<String>,
    #[schema(example = json!(["6289999999999"]))]
    not_registered: Vec<String>,
}

/// What was done.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct FonnteDone {
    /// False if there was nothing to do.
    status: bool,
    /// What was done, or why nothing was.
    #[schema(example = "device disconnected")]
    detail: String,
}

/// The groups that a device is in.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct FonnteGroups {
    /// Always true.
    status: bool,
    /// By name.
    data: Vec<FonnteGroup>,
}

/// A group.
#[derive(ToSchema, Serialize)]
struct FonnteGroup {
    /// Its JID: what `target` takes.
    #[schema(example = "120363025246125486@g.us")]
    id: String,
    #[schema(example = "Gudang")]
    name: String,
}

/// A message.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct FonnteId {
    /// Its number, from the answer to `/send`.
    #[schema(value_type = String, pattern = "^[0-9]+$", example = "1042")]
    id: String,
}

/// How far a message has come.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct FonnteMessage {
    /// Always true.
    status: bool,
    #[schema(example = 1042)]
    id: u64,
    /// `sent`: WhatsApp's server has acknowledged it. `waiting`: its time has not come.
    #[schema(inline)]
    message_status: FonnteProgress,
    /// Why it failed.
    #[schema(required)]
    reason: Option<String>,
}

/// How far a message has come.
#[derive(ToSchema, Serialize)]
#[serde(rename_all = "lowercase")]
enum FonnteProgress {
    Sent,
    Pending,
    Waiting,
    Processing,
    Expired,
    Invalid,
}

/// Whom to show typing.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct FonnteTyping {
    /// A number or a group.
    #[schema(example = "6281234567890")]
    target: String,
    /// For how many seconds; 0: until WhatsApp ends it, after some 25.
    #[schema(minimum = 0, maximum = 60, example = 5)]
    duration: Option<i64>,
    /// True takes it back now.
    stop: Option<bool>,
    /// Which device, where the key has several: its id, number or name.
    device: Option<String>,
}
