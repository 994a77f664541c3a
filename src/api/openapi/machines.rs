//! What machines that watch the box call, and the pages about the API, as integrators see them.
#![allow(dead_code, reason = "these types describe JSON; nothing makes one")]
#![allow(unused_qualifications, reason = "`inline` writes them")]

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::Dialect;

pub(in crate::api) const DIALECT: Dialect = Dialect {
    tag: "box",
    about: "**For machines that watch the box**, and these pages. What needs no key shows nothing private.",
    keys: &[],
    wrong_key: StatusCode::UNAUTHORIZED,
    forms: false,
    error: || (super::v1::V1Error::name().into(), super::v1::V1Error::schema()),
    example: super::v1::example,
};

/// The process answers.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct BoxAlive {
    /// Always `ok`.
    #[schema(example = "ok")]
    status: String,
}

/// Whether messages can be accepted.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct BoxReady {
    /// `ready` or `not ready`.
    #[schema(pattern = "^(ready|not ready)$", example = "ready")]
    status: String,
    /// `ok`, or `read-only` when the disk is full or broken.
    #[schema(pattern = "^(ok|read-only)$", example = "ok")]
    store: String,
    /// Whether the clock can be right, as a word.
    #[schema(example = "synchronized")]
    clock: String,
    /// Sessions by state.
    #[schema(inline)]
    counts: BoxCounts,
    sessions: Vec<BoxSession>,
    #[schema(inline)]
    panel: BoxPanel,
    /// What a person has to correct in the boot configuration, in the panel's language.
    #[schema(example = json!(["kurir.toml: wifi_password: must have 8 to 63 characters"]))]
    notices: Vec<String>,
}

/// The front panel.
#[derive(ToSchema, Serialize)]
struct BoxPanel {
    /// The pattern of the LED, or what it would be if there were one.
    #[schema(example = "online")]
    led: String,
    /// What the screen shows, as a word.
    #[schema(example = "online")]
    screen: String,
    #[schema(inline)]
    parts: BoxPanelParts,
}

/// Each part of the panel: `works`, `fails` (the log says why), or `none` where the board has none.
#[derive(ToSchema, Serialize)]
struct BoxPanelParts {
    #[schema(pattern = "^(works|fails|none)$", example = "works")]
    display: String,
    #[schema(pattern = "^(works|fails|none)$", example = "works")]
    buttons: String,
    #[schema(pattern = "^(works|fails|none)$", example = "works")]
    led: String,
}

/// A PNG.
#[derive(ToSchema, Serialize)]
#[schema(value_type = String, content_media_type = "image/png", example = "…")]
pub(in crate::api) struct PanelPicture(String);

/// How large the picture is.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::api) struct PanelScale {
    /// The side of each pixel of the panel in the picture, 1 to 16. Without it 4.
    #[param(example = 4, minimum = 1, maximum = 16)]
    scale: Option<u32>,
}

/// Sessions by state; a state without any is left out.
#[derive(ToSchema, Serialize)]
struct BoxCounts {
    #[schema(example = 1)]
    connected: Option<u32>,
    connecting: Option<u32>,
    qr: Option<u32>,
    disconnected: Option<u32>,
}

/// A session, by its number inside the box only.
#[derive(ToSchema, Serialize)]
struct BoxSession {
    #[schema(example = 1)]
    session: u32,
    /// `connected`, `connecting`, `qr` or `disconnected`.
    #[schema(pattern = "^(connected|connecting|qr|disconnected)$", example = "connected")]
    status: String,
    /// Why it is in this state, as a word.
    #[schema(example = "ok")]
    reason: String,
    /// Messages that wait to be sent.
    #[schema(example = 0)]
    queued: u64,
}

/// Lines of Prometheus' text format.
#[derive(ToSchema, Serialize)]
#[schema(value_type = String, example = "# HELP kurir_sessions Sessions by state.\n# TYPE kurir_sessions gauge\nkurir_sessions{state=\"connected\"} 1\n")]
pub(in crate::api) struct BoxMetrics(String);

/// The text of a page or of a part of it.
#[derive(ToSchema, Serialize)]
#[schema(value_type = String, example = "…")]
pub(in crate::api) struct DocsText(String);

/// An OpenAPI 3.1 document.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct OpenApiDocument {
    #[schema(example = "3.1.0")]
    openapi: String,
    #[schema(value_type = Object)]
    info: Value,
    #[schema(value_type = Vec<Object>)]
    servers: Vec<Value>,
    #[schema(value_type = Vec<Object>)]
    tags: Vec<Value>,
    #[schema(value_type = Object)]
    paths: Value,
    #[schema(value_type = Object)]
    components: Value,
}

/// A file of the page, in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::api) struct DocsFile {
    /// Its name.
    #[param(example = "app.js")]
    file: String,
}
