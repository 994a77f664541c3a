//! Dialect `mpwa` as integrators see it.
#![allow(dead_code, reason = "these types describe JSON; nothing makes one")]
#![allow(unused_qualifications, reason = "`inline` writes them")]

use axum::http::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::{PartialSchema, ToSchema};

use super::Dialect;

pub(in crate::api) const DIALECT: Dialect = Dialect {
    tag: "mpwa",
    about: "**The key is a parameter.** Every call is GET or POST, with `api_key` and, where something is sent, `sender`: \
        the number of a paired device that the key may use. Parameters come in the query, as a form, as multipart or as \
        JSON. Errors are `{\"status\":false,\"msg\":\"…\"}`; a wrong key or sender is 400.",
    keys: &["ApiKeyParameter"],
    wrong_key: StatusCode::BAD_REQUEST,
    forms: true,
    error: || (MpwaError::name().into(), MpwaError::schema()),
    example,
};

fn example(status: StatusCode, about: &str) -> Value {
    let msg = match status {
        StatusCode::BAD_REQUEST => "Invalid api_key or sender,please check again",
        _ => about,
    };
    json!({"status": false, "msg": msg})
}

/// What this dialect answers when something is wrong.
#[derive(ToSchema, Serialize)]
struct MpwaError {
    /// Always false.
    status: bool,
    /// What is wrong, and what to do.
    msg: String,
}

/// A request to send: what all have in common, and its own fields.
macro_rules! sends {
    ($(#[$about:meta])* $name:ident { $($fields:tt)* }) => {
        $(#[$about])*
        #[derive(ToSchema, Serialize)]
        pub(in crate::api) struct $name {
            /// A key or a device token.
            #[schema(example = "YOUR_API_KEY")]
            api_key: String,
            /// The number of the paired device that sends.
            #[schema(example = "6281100000001")]
            sender: String,
            /// Who gets it: a number or a group (`…@g.us`); several separated by `|`, at most 1,000.
            #[schema(example = "6281234567890")]
            number: String,
            $($fields)*
            /// The WhatsApp id of a message that this one answers.
            msgid: Option<String>,
            /// 1: the answer has `data`, the message as Baileys shows it.
            #[schema(value_type = Option<i32>, minimum = 0, maximum = 1)]
            full: Option<i32>,
        }
    };
}

sends! {
    /// A text.
    MpwaText {
        /// The text. `{a|b}` becomes one of the choices at random, `{number}` the recipient's number.
        #[schema(min_length = 1, max_length = 65536, example = "Halo, pesanan Anda sudah siap")]
        message: String,
        /// Set below the text in italics.
        footer: Option<String>,
    }
}

/// What a file is sent as.
#[derive(ToSchema, Serialize)]
#[serde(rename_all = "lowercase")]
enum MpwaMediaType {
    Image,
    Video,
    Audio,
    Pdf,
    Xls,
    Xlsx,
    Doc,
    Docx,
    Zip,
    Document,
    Sticker,
}

sends! {
    /// A file by link.
    MpwaMedia {
        /// What the file is sent as.
        #[schema(inline, example = "image")]
        media_type: MpwaMediaType,
        /// Leads straight to the file, at most 50 MB; a page that only shows it is refused. Addresses inside the office
        /// need the setting `allow_private_fetch`.
        #[schema(format = "uri", example = "https://example.com/katalog.jpg")]
        url: String,
        /// Shown with images, videos and documents. Filled like `message`.
        #[schema(max_length = 4096, example = "Katalog terbaru")]
        caption: Option<String>,
        /// True sends audio as a voice note. Also spelled `ptt`, and `ptt=vn`.
        ppt: Option<bool>,
        /// Set below the caption in italics.
        footer: Option<String>,
    }
}

sends! {
    /// A poll.
    MpwaPoll {
        /// The question.
        #[schema(min_length = 1, max_length = 255, example = "Kapan kita bertemu?")]
        name: String,
        /// The answers to choose from, each at most 100 characters and different from the others.
        #[schema(min_items = 2, max_items = 12, example = json!(["Senin", "Selasa"]))]
        option: Vec<String>,
        /// 1: one answer only; else as many as one likes.
        #[schema(minimum = 0, maximum = 1)]
        countable: Option<i32>,
    }
}

sends! {
    /// A place.
    MpwaLocation {
        /// Degrees north.
        #[schema(minimum = -90, maximum = 90, example = -7.983908)]
        latitude: f64,
        /// Degrees east.
        #[schema(minimum = -180, maximum = 180, example = 112.621391)]
        longitude: f64,
        /// What the place is called.
        name: Option<String>,
        /// Where it is, in words.
        address: Option<String>,
    }
}

sends! {
    /// A contact card.
    MpwaVcard {
        /// The contact's name.
        #[schema(min_length = 1, max_length = 255, example = "Ibu Sari")]
        name: String,
        /// The contact's number.
        #[schema(example = "6281200000002")]
        phone: String,
    }
}

sends! {
    /// A sticker by link.
    MpwaSticker {
        /// Leads straight to a WebP picture.
        #[schema(format = "uri", example = "https://example.com/stiker.webp")]
        url: String,
    }
}

sends! {
    /// A text with choices. WhatsApp shows buttons to nobody any more, so they go out as numbered lines.
    MpwaButton {
        /// The text above the choices.
        #[schema(min_length = 1, max_length = 65536, example = "Jadi dikirim?")]
        message: String,
        /// The choices, at most 100: texts, or objects with `displayText`, `title` or `text`.
        #[schema(value_type = Vec<String>, min_items = 1, max_items = 100, example = json!(["Ya", "Tidak"]))]
        button: Vec<String>,
        /// Set below in italics.
        footer: Option<String>,
    }
}

sends! {
    /// A text with a list. WhatsApp shows lists to nobody any more, so they go out as numbered lines.
    MpwaList {
        /// The text above the list.
        #[schema(min_length = 1, max_length = 65536, example = "Menu hari ini")]
        message: String,
        /// The rows, at most 100: texts, objects with `title` and `description`, or sections with `rows`. Also named
        /// `sections`.
        #[schema(min_items = 1, max_items = 100, example = json!(["Soto", "Rawon"]))]
        list: Vec<String>,
        /// Set above the text in bold.
        title: Option<String>,
        /// Set below in italics.
        footer: Option<String>,
    }
}

/// A number to look up.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct MpwaCheck {
    /// A key or a device token.
    #[schema(example = "YOUR_API_KEY")]
    api_key: String,
    /// The number of the paired device that asks.
    #[schema(example = "6281100000001")]
    sender: String,
    /// The number in question.
    #[schema(example = "6281234567890")]
    number: String,
}

/// A device to pair.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct MpwaPair {
    /// A key or a device token.
    #[schema(example = "YOUR_API_KEY")]
    api_key: String,
    /// The device's number, id or name. Also named `sender`.
    #[schema(min_length = 1, max_length = 100, example = "6281100000001")]
    device: String,
    /// True makes the device if there is none of this name.
    #[schema(example = true)]
    force: Option<bool>,
}

/// Which devices to show.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct MpwaWhich {
    /// A key or a device token.
    #[schema(example = "YOUR_API_KEY")]
    api_key: String,
    /// Only this one: its number, id or name.
    number: Option<String>,
}

/// A device.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct MpwaDevice {
    /// A key or a device token.
    #[schema(example = "YOUR_API_KEY")]
    api_key: String,
    /// The device's number, id or name. Also named `device`.
    #[schema(example = "6281100000001")]
    sender: String,
}

/// The message is kept and will be sent.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct MpwaSent {
    /// Always true.
    status: bool,
    /// `Message sent successfully!`, and what became of buttons and lists.
    #[schema(example = "Message sent successfully!")]
    msg: String,
    /// With `full=1`: the message; a list of them where `number` had several.
    data: Option<MpwaMessages>,
}

/// One message, or one for each number.
#[derive(ToSchema, Serialize)]
#[serde(untagged)]
enum MpwaMessages {
    One(MpwaMessage),
    Several(Vec<MpwaMessage>),
}

/// A message as Baileys shows it.
#[derive(ToSchema, Serialize)]
struct MpwaMessage {
    #[schema(inline)]
    key: MpwaMessageKey,
    /// By kind: `extendedTextMessage`, `imageMessage`, `videoMessage`, `audioMessage`, `documentMessage`,
    /// `stickerMessage`, `locationMessage`, `contactMessage` or `pollCreationMessage`.
    #[schema(value_type = Object, example = json!({"extendedTextMessage": {"text": "Halo"}}))]
    message: Value,
    /// Unix seconds, as a text.
    #[schema(example = "1732190400")]
    #[serde(rename = "messageTimestamp")]
    message_timestamp: String,
}

/// Where a message is.
#[derive(ToSchema, Serialize)]
struct MpwaMessageKey {
    /// The chat's JID.
    #[schema(example = "6281234567890@s.whatsapp.net")]
    #[serde(rename = "remoteJid")]
    remote_jid: String,
    /// Always true.
    #[serde(rename = "fromMe")]
    from_me: bool,
    /// Its WhatsApp id.
    #[schema(example = "3EB0C767D097B7C1F3A2")]
    id: String,
}

/// Whether a number is on WhatsApp.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct MpwaChecked {
    /// Always true.
    status: bool,
    #[schema(inline)]
    msg: MpwaFound,
}

/// What WhatsApp knows of a number.
#[derive(ToSchema, Serialize)]
struct MpwaFound {
    /// Whether it is on WhatsApp.
    exists: bool,
    /// Its JID, which may differ from the number that was asked for.
    #[schema(required, example = "6281234567890@s.whatsapp.net")]
    jid: Option<String>,
}

/// A QR code, or why there is none.
#[derive(ToSchema, Serialize)]
#[serde(untagged)]
pub(in crate::api) enum MpwaQr {
    Code(MpwaQrCode),
    Processing(MpwaQrProcessing),
    Connected(MpwaError),
}

/// A QR code to scan.
#[derive(ToSchema, Serialize)]
struct MpwaQrCode {
    /// Always `qrcode`.
    #[schema(pattern = "^qrcode$", example = "qrcode")]
    status: String,
    /// The picture as a `data:` URL. A code lasts about 20 s; ask again for the next.
    #[schema(example = "data:image/png;base64,iVBORw0KGgo…")]
    qrcode: String,
    #[schema(example = "Scan this code with WhatsApp")]
    message: String,
}

/// There is no code yet.
#[derive(ToSchema, Serialize)]
struct MpwaQrProcessing {
    /// Always `processing`.
    #[schema(pattern = "^processing$", example = "processing")]
    status: String,
    #[schema(example = "The code is being prepared; ask again")]
    message: String,
}

/// The account's devices.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct MpwaInfo {
    /// Always true.
    status: bool,
    info: Vec<MpwaDeviceInfo>,
}

/// A device.
#[derive(ToSchema, Serialize)]
struct MpwaDeviceInfo {
    /// Its number inside the box.
    #[schema(example = 1)]
    id: u32,
    /// Its phone number, or its name while it has none.
    #[schema(example = "6281100000001")]
    body: String,
    #[schema(example = "Kasir")]
    name: String,
    /// Where the device's webhook of this format goes; null without one. They are made under `/api/v1/webhooks`.
    #[schema(required)]
    webhook: Option<String>,
    /// `Connected` or `Disconnect`.
    #[schema(pattern = "^(Connected|Disconnect)$", example = "Connected")]
    status: String,
    /// Messages that it has sent so far.
    #[schema(example = 1042)]
    message_sent: u64,
    /// Unix seconds.
    #[schema(example = 1732190400)]
    created_at: i64,
}

/// What was done to a device.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct MpwaDone {
    /// False if there was nothing to do.
    status: bool,
    #[schema(example = "Device disconnected")]
    message: String,
}
