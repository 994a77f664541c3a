//! Dialect `waya` as integrators see it.
#![allow(dead_code, reason = "these types describe JSON; nothing makes one")]
#![allow(unused_qualifications, reason = "`inline` writes them")]

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::Dialect;

pub(in crate::api) const DIALECT: Dialect = Dialect {
    tag: "waya",
    about: "**One paced queue**, `X-API-Key`. Messages of a device leave some seconds apart (`queue_delay_ms`, plus a \
        random part of `queue_jitter_ms`), and each can be asked about, cancelled and tried again. An account's key means \
        the account's only device, or the one in `sessionId`. Errors are `{\"success\":false,\"error\":\"…\"}`.",
    keys: &["ApiKey"],
    wrong_key: StatusCode::UNAUTHORIZED,
    forms: true,
    error: || (WayaError::name().into(), WayaError::schema()),
    example,
};

fn example(status: StatusCode, about: &str) -> Value {
    let error = match status {
        StatusCode::UNAUTHORIZED => "Invalid API key",
        StatusCode::BAD_REQUEST => "message or media is required",
        StatusCode::NOT_FOUND => "Message not found",
        StatusCode::CONFLICT => "The message cannot be cancelled: it was sent",
        _ => about,
    };
    json!({"success": false, "error": error})
}

/// What this dialect answers when something is wrong.
#[derive(ToSchema, Serialize)]
struct WayaError {
    /// Always false.
    #[schema(example = false)]
    success: bool,
    /// What is wrong, and what to do.
    error: String,
}

/// A message, in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::api) struct WayaId {
    /// The message's queue id, its WhatsApp id, or its `reference_id`.
    #[param(example = "INV-2026-0042")]
    id: String,
}

/// A text, a file, or a file with a text.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct WayaMessage {
    /// A number, a group (`…@g.us`), or `main`: the setting `main_number`. This or `recipients` is needed.
    #[schema(example = "6281234567890")]
    number: Option<String>,
    /// Several of them; each gets a message of its own.
    #[schema(max_items = 1000)]
    recipients: Option<Vec<String>>,
    /// The text; the file's caption (at most 4,096 characters) where there is one. This or `media` is needed.
    #[schema(max_length = 65536, example = "Halo, pesanan Anda sudah siap")]
    message: Option<String>,
    media: Option<WayaMedia>,
    /// An id of your own. The same one within a day answers with the first messages and sends nothing, so that a request
    /// can be repeated when its answer was lost.
    #[schema(max_length = 200, example = "INV-2026-0042")]
    reference_id: Option<String>,
    /// Which device sends, where the key has several: its id, number or name.
    #[serde(rename = "sessionId")]
    session_id: Option<String>,
}

/// A file: `url`, or `data` with `filename`. As multipart it is the part `media` itself.
#[derive(ToSchema, Serialize)]
struct WayaMedia {
    /// Leads straight to the file, at most 50 MB.
    #[schema(format = "uri")]
    url: Option<String>,
    /// The file as Base64, at most 50 MB; also as a `data:` URL.
    data: Option<String>,
    /// Ignored: the type is known from the content.
    mimetype: Option<String>,
    /// What the file is called.
    filename: Option<String>,
}

/// The messages are kept and will be sent.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct WayaQueued {
    /// Always true.
    success: bool,
    /// The queue id of the first.
    #[schema(example = "0b7f6f0e-5a3e-4c55-9a53-5d3a7e0c1f11")]
    id: String,
    /// The queue ids of all, in the order of the recipients.
    #[schema(example = json!(["0b7f6f0e-5a3e-4c55-9a53-5d3a7e0c1f11"]))]
    ids: Vec<String>,
    /// How far the first has come.
    #[schema(inline)]
    status: WayaState,
    /// The `reference_id` of the request.
    #[schema(required, example = "INV-2026-0042")]
    reference_id: Option<String>,
}

/// How far a message has come.
#[derive(ToSchema, Serialize)]
#[serde(rename_all = "lowercase")]
enum WayaState {
    Pending,
    Sending,
    Sent,
    Failed,
}

/// What became of a message.
#[derive(ToSchema, Serialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::api) struct WayaStatus {
    /// Its queue id.
    #[schema(example = "0b7f6f0e-5a3e-4c55-9a53-5d3a7e0c1f11")]
    id: String,
    #[serde(rename = "reference_id")]
    #[schema(required, example = "INV-2026-0042")]
    reference_id: Option<String>,
    /// The recipient's number, or the group.
    #[schema(example = "6281234567890")]
    number: String,
    /// `…@c.us`, or the group.
    #[schema(example = "6281234567890@c.us")]
    chat_id: String,
    /// The text, or the file's caption.
    #[schema(example = "Halo, pesanan Anda sudah siap")]
    message: String,
    /// `sent`: WhatsApp's server has acknowledged it.
    #[schema(inline, example = "sent")]
    status: WayaState,
    /// Why it failed.
    #[schema(required)]
    error: Option<String>,
    /// Unix milliseconds, like all times here.
    #[schema(example = 1732190400000i64)]
    created_at: i64,
    #[schema(required, example = 1732190405120i64)]
    sent_at: Option<i64>,
    #[schema(required, example = 1732190406480i64)]
    delivered_at: Option<i64>,
    #[schema(required)]
    read_at: Option<i64>,
    /// Its WhatsApp id.
    #[schema(example = "3EB0C767D097B7C1F3A2")]
    message_id: String,
    /// Where `id` is a reference of several recipients: every message of it, this one included.
    #[schema(no_recursion)]
    messages: Option<Vec<WayaStatus>>,
}

/// The messages that will not be sent any more.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct WayaCancelled {
    /// Always true.
    success: bool,
    /// Their queue ids.
    #[schema(example = json!(["0b7f6f0e-5a3e-4c55-9a53-5d3a7e0c1f11"]))]
    cancelled: Vec<String>,
}

/// The messages that will be tried again.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct WayaRetried {
    /// Always true.
    success: bool,
    /// Their queue ids.
    #[schema(example = json!(["0b7f6f0e-5a3e-4c55-9a53-5d3a7e0c1f11"]))]
    retried: Vec<String>,
}
