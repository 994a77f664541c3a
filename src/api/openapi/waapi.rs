//! Dialect `waapi` as integrators see it.
#![allow(dead_code, reason = "these types describe JSON; nothing makes one")]
#![allow(unused_qualifications, reason = "`inline` writes them")]

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::Dialect;

pub(in crate::api) const DIALECT: Dialect = Dialect {
    tag: "waapi",
    about: "**`Authorization: Bearer`**, and answers with the WhatsApp message id. A device token means its device; an \
        account's key the account's only one, or the one in `deviceId`. Errors are `{\"error\":\"…\"}`.",
    keys: &["Bearer"],
    wrong_key: StatusCode::UNAUTHORIZED,
    forms: true,
    error: || (WaapiError::name().into(), WaapiError::schema()),
    example,
};

fn example(status: StatusCode, about: &str) -> Value {
    json!({"error": match status {
        StatusCode::UNAUTHORIZED => "Unauthorized: Invalid API Key.",
        StatusCode::BAD_REQUEST => "message is required",
        StatusCode::SERVICE_UNAVAILABLE => "Failed to send message: Device is not connected",
        _ => about,
    }})
}

/// What this dialect answers when something is wrong.
#[derive(ToSchema, Serialize)]
struct WaapiError {
    /// What is wrong, and what to do.
    error: String,
}

/// A device, in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::api) struct WaapiDevice {
    /// The device's id, number or name.
    #[param(example = "6281100000001")]
    id: String,
}

/// A text.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct WaapiText {
    /// A number or a group (`…@g.us`).
    #[schema(example = "6281234567890")]
    to: String,
    /// The text.
    #[schema(min_length = 1, max_length = 65536, example = "Halo, pesanan Anda sudah siap")]
    message: String,
    /// Which device sends, where the key has several: its id, number or name.
    #[serde(rename = "deviceId")]
    device_id: Option<String>,
}

/// As what a file is sent.
#[derive(ToSchema, Serialize)]
#[serde(rename_all = "lowercase")]
enum WaapiMediaType {
    Image,
    Video,
    Document,
}

/// A file by link.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct WaapiMedia {
    /// A number or a group (`…@g.us`).
    #[schema(example = "6281234567890")]
    to: String,
    /// Leads straight to the file, at most 50 MB. Addresses inside the office need the setting `allow_private_fetch`.
    #[schema(format = "uri", example = "https://example.com/faktur.pdf")]
    url: String,
    /// Shown with the file.
    #[schema(max_length = 4096, example = "Faktur bulan ini")]
    caption: Option<String>,
    /// As what it is sent.
    #[schema(inline, default = "image", example = "document")]
    r#type: Option<WaapiMediaType>,
    /// Which device sends, where the key has several: its id, number or name.
    #[serde(rename = "deviceId")]
    device_id: Option<String>,
}

/// The message is kept and will be sent.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct WaapiSent {
    /// Always true.
    success: bool,
    #[schema(example = "Message dispatched successfully")]
    message: String,
    /// The message's WhatsApp id.
    #[schema(example = "3EB0C767D097B7C1F3A2")]
    id: String,
    /// The number as WhatsApp has it, or the group.
    #[schema(example = "6281234567890")]
    to: String,
    /// When it was accepted, in Unix seconds.
    #[schema(example = 1732190400)]
    timestamp: i64,
}

/// The groups that a device is in.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct WaapiGroups {
    /// Always true.
    success: bool,
    /// By name.
    groups: Vec<WaapiGroup>,
}

/// A group.
#[derive(ToSchema, Serialize)]
struct WaapiGroup {
    /// Its JID: what `to` takes.
    #[schema(example = "120363025246125486@g.us")]
    id: String,
    #[schema(example = "Gudang")]
    name: String,
}

/// The devices that the key may use.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct WaapiStatus {
    devices: Vec<WaapiDeviceStatus>,
    /// The address at which people reach the box: the setting `public_url`.
    #[serde(rename = "publicUrl")]
    #[schema(required, example = "https://kurir.example.com")]
    public_url: Option<String>,
}

/// A device.
#[derive(ToSchema, Serialize)]
#[serde(rename_all = "camelCase")]
struct WaapiDeviceStatus {
    #[schema(example = "b0a8f8c2-8f0e-4f0e-9a53-5d3a7e0c1f11")]
    id: String,
    #[schema(example = "Kasir")]
    name: String,
    /// Always empty: keys are kept as hashes and cannot be shown again.
    #[schema(max_length = 0, example = "")]
    api_key: String,
    /// Where a webhook is called; empty without one. More is under `/api/v1/webhooks`.
    #[schema(example = "https://erp.example.com/whatsapp")]
    webhook_url: String,
    /// `CONNECTED`, `CONNECTING`, `QR` or `DISCONNECTED`.
    #[schema(pattern = "^(CONNECTED|CONNECTING|QR|DISCONNECTED)$", example = "CONNECTED")]
    status: String,
    /// Whether a phone has paired it.
    authenticated: bool,
    /// Whether a code waits to be scanned.
    #[schema(example = false)]
    has_qr: bool,
    /// The code's text.
    #[schema(required)]
    qr: Option<String>,
    #[schema(required, example = "6281100000001")]
    phone_number: Option<String>,
    /// The name that the phone's owner gave to the account.
    #[schema(required, example = "Toko Sari")]
    push_name: Option<String>,
    /// Messages that it has sent so far.
    #[schema(example = 1042)]
    total_messages_sent: u64,
}
