//! Dialect `sessions` as integrators see it.
#![allow(dead_code, reason = "these types describe JSON; nothing makes one")]
#![allow(unused_qualifications, reason = "`inline` writes them")]

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::Dialect;

pub(in crate::api) const DIALECT: Dialect = Dialect {
    tag: "sessions",
    about: "**Many sessions per key**, `X-API-Key`: make a session, show its QR code, send by its id. Errors are \
        `{\"success\":false,\"error\":\"Bad Request\",\"message\":\"…\"}`.",
    keys: &["ApiKey"],
    wrong_key: StatusCode::UNAUTHORIZED,
    forms: true,
    error: || (SessionsError::name().into(), SessionsError::schema()),
    example,
};

pub(super) fn example(status: StatusCode, about: &str) -> Value {
    let message = match status {
        StatusCode::UNAUTHORIZED => "API key is missing; send it in the X-API-Key header",
        StatusCode::NOT_FOUND => "Session not found; check the session id",
        StatusCode::BAD_REQUEST => "Phone number and message are required",
        _ => about,
    };
    json!({"success": false, "error": status.canonical_reason().unwrap_or("Error"), "message": message})
}

/// What this dialect answers when something is wrong.
#[derive(ToSchema, Serialize)]
struct SessionsError {
    /// Always false.
    #[schema(example = false)]
    success: bool,
    /// What kind of error it is: HTTP's words for the status, `Invalid WhatsApp Number` or `Number check limit reached`.
    #[schema(example = "Bad Request")]
    error: String,
    /// What is wrong, and what to do.
    #[schema(example = "Phone number and message are required")]
    message: String,
    /// With `Invalid WhatsApp Number`: which.
    #[serde(rename = "phoneNumber")]
    phone_number: Option<String>,
    /// With `Number check limit reached`: the checks that the key has in a month.
    limit: Option<u32>,
    /// How many of them it has made.
    used: Option<u32>,
    /// How many are left.
    remaining: Option<u32>,
}

/// A session, in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::api) struct SessionsId {
    /// The session's id.
    #[param(example = "b0a8f8c2-8f0e-4f0e-9a53-5d3a7e0c1f11")]
    id: String,
}

/// Whether to list the sessions.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct SessionsList {
    /// 1 or true: also `sessions`, each with its state.
    #[param(value_type = Option<String>, example = "1")]
    list: Option<String>,
}

/// The sessions that the key may use.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct SessionsCounted {
    /// Always true.
    success: bool,
    #[schema(inline)]
    counts: SessionsCounts,
    /// With `list=1`.
    sessions: Option<Vec<SessionsSession>>,
}

/// How many sessions there are.
#[derive(ToSchema, Serialize)]
struct SessionsCounts {
    #[schema(example = 1)]
    total: u32,
    #[schema(example = 1)]
    connected: u32,
    #[schema(example = 0)]
    connecting: u32,
    /// Waiting for their QR code to be scanned.
    #[schema(example = 0)]
    qr: u32,
    #[schema(example = 0)]
    disconnected: u32,
}

/// The state of a session.
#[derive(ToSchema, Serialize)]
#[serde(rename_all = "lowercase")]
enum SessionsState {
    Connected,
    Connecting,
    Qr,
    Disconnected,
}

/// A session: one paired WhatsApp account.
#[derive(ToSchema, Serialize)]
struct SessionsSession {
    #[schema(example = "b0a8f8c2-8f0e-4f0e-9a53-5d3a7e0c1f11")]
    id: String,
    #[schema(example = "Kasir")]
    name: String,
    #[schema(inline)]
    status: SessionsState,
    #[schema(required, example = "6281100000001")]
    phone_number: Option<String>,
    #[schema(format = DateTime, example = "2026-11-21T08:00:00.000Z")]
    created_at: String,
    #[serde(rename = "isConnected")]
    is_connected: bool,
    /// Why it is in this state, as a word.
    #[schema(example = "ok")]
    reason: String,
    /// What to do about it, in a sentence.
    #[schema(example = "")]
    advice: String,
    /// Whether a phone has paired it.
    paired: bool,
    /// The name that the phone's owner gave to the account.
    #[schema(required, example = "Toko Sari")]
    push_name: Option<String>,
    /// When it connects again by itself.
    #[schema(required, format = DateTime)]
    retry_at: Option<String>,
    /// Until when WhatsApp has banned it.
    #[schema(required, format = DateTime)]
    banned_until: Option<String>,
}

/// A session to make.
#[derive(ToSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct SessionsNew {
    /// What people call it.
    #[schema(min_length = 1, max_length = 100, example = "Kasir")]
    session_name: String,
}

/// The session was made.
#[derive(ToSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct SessionsCreated {
    /// Always true.
    success: bool,
    /// Its id.
    #[schema(example = "b0a8f8c2-8f0e-4f0e-9a53-5d3a7e0c1f11")]
    session_id: String,
    #[schema(example = "Session created successfully")]
    message: String,
}

/// One session.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct SessionsShown {
    /// Always true.
    success: bool,
    session: SessionsSession,
}

/// What was done.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct SessionsDone {
    /// Always true.
    success: bool,
    #[schema(example = "Session deleted successfully")]
    message: String,
}

/// A QR code to scan.
#[derive(ToSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct SessionsQr {
    /// Always true.
    success: bool,
    /// The picture as a `data:` URL.
    #[schema(example = "data:image/png;base64,iVBORw0KGgo…")]
    qr_code: String,
    /// The code's text.
    #[schema(example = "https://wa.me/settings/linked_devices#2@…")]
    qr: String,
    /// When it is replaced by the next one.
    #[schema(format = DateTime, example = "2026-11-21T08:00:20.000Z")]
    expires_at: String,
}

/// A phone to pair with.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct SessionsPhone {
    /// The phone's number.
    #[schema(example = "6281100000001")]
    phone: String,
}

/// A pairing code.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct SessionsCode {
    /// Always true.
    success: bool,
    /// To be typed on the phone, under *Linked devices*, *Link with phone number instead*.
    #[schema(example = "ABCD1234")]
    code: String,
}

/// A token to make.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct SessionsNewToken {
    /// What it is for; else the session's name.
    #[schema(example = "Aplikasi kasir")]
    name: Option<String>,
    /// Answer errors of `fonnte` with status 200, for clients that read nothing else.
    fonnte_always_200: Option<bool>,
}

/// The token, shown here only.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct SessionsToken {
    /// Always true.
    success: bool,
    /// A key for this session, for every dialect. Keep it: it is stored as a hash and cannot be shown again.
    #[schema(example = "kurir_8Jd2…")]
    token: String,
}

/// A text.
#[derive(ToSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct SessionsText {
    /// A number or a group (`…@g.us`).
    #[schema(example = "6281234567890")]
    to: String,
    /// The text.
    #[schema(min_length = 1, max_length = 4096, example = "Halo, pesanan Anda sudah siap")]
    message: String,
    /// True: do not ask WhatsApp whether the number is there.
    skip_validation: Option<bool>,
}

/// A file.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct SessionsFile {
    /// A number or a group (`…@g.us`).
    #[schema(example = "6281234567890")]
    to: String,
    /// The file, at most 50 MB. Its type is known from its content.
    #[schema(content_media_type = "application/octet-stream", example = "@faktur.pdf")]
    media: String,
    /// Its caption.
    #[schema(max_length = 4096, example = "Faktur bulan ini")]
    message: Option<String>,
}

/// The message is kept and will be sent.
#[derive(ToSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct SessionsSent {
    /// Always true.
    success: bool,
    /// Its WhatsApp id.
    #[schema(example = "3EB0C767D097B7C1F3A2")]
    message_id: String,
    #[schema(example = "Message sent successfully")]
    message: String,
}

/// Numbers to look up.
#[derive(ToSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct SessionsNumbers {
    /// The session that asks.
    #[schema(example = "b0a8f8c2-8f0e-4f0e-9a53-5d3a7e0c1f11")]
    session_id: String,
    /// The numbers in question.
    #[schema(min_items = 1, max_items = 100, example = json!(["6281234567890", "6289999999999"]))]
    phone_numbers: Vec<String>,
}

/// Which numbers are on WhatsApp.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct SessionsChecked {
    /// Always true.
    success: bool,
    #[schema(example = "Number check completed")]
    message: String,
    #[schema(inline)]
    summary: SessionsSummary,
    /// In the order of the question.
    results: Vec<SessionsResult>,
}

/// How many numbers are on WhatsApp.
#[derive(ToSchema, Serialize)]
struct SessionsSummary {
    #[schema(example = 2)]
    total: u32,
    #[schema(example = 1)]
    valid: u32,
    #[schema(example = 1)]
    invalid: u32,
}

/// A number.
#[derive(ToSchema, Serialize)]
#[serde(rename_all = "camelCase")]
struct SessionsResult {
    /// As it was written.
    #[schema(example = "6281234567890")]
    phone_number: String,
    is_valid: bool,
    /// `valid` or `invalid`.
    #[schema(pattern = "^(valid|invalid)$", example = "valid")]
    status: String,
}
