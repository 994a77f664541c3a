//! Messages, chats and settings of a session under `/api/v1/sessions` as integrators see them.
#![allow(dead_code, reason = "these types describe JSON; nothing makes one")]
#![allow(unused_qualifications, reason = "`inline` writes them")]

use serde::Serialize;
use utoipa::{IntoParams, ToSchema};

/// A session, in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::api) struct OfSession {
    /// The session's id.
    #[param(example = "b0a8f8c2-8f0e-4f0e-9a53-5d3a7e0c1f11")]
    id: String,
}

/// A message of a session, in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::api) struct OfMessage {
    /// The session's id.
    #[param(example = "b0a8f8c2-8f0e-4f0e-9a53-5d3a7e0c1f11")]
    id: String,
    /// The message: its id here, its WhatsApp id, or the id of the event that told of it.
    #[param(example = "0b7f6f0e-5a3e-4c55-9a53-5d3a7e0c1f11")]
    message: String,
}

/// A chat of a session, in the path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub(in crate::api) struct OfChat {
    /// The session's id.
    #[param(example = "b0a8f8c2-8f0e-4f0e-9a53-5d3a7e0c1f11")]
    id: String,
    /// A number or a group (`…@g.us`).
    #[param(example = "6281234567890")]
    chat: String,
}

macro_rules! message_types {
    ($(#[$doc:meta])* $name:ident { $($more:ident),* }) => {
        $(#[$doc])*
        #[derive(ToSchema, Serialize)]
        #[serde(rename_all = "lowercase")]
        enum $name {
            Text,
            Image,
            Video,
            Audio,
            Voice,
            Document,
            Sticker,
            Location,
            Contact,
            Poll,
            $($more),*
        }
    };
}

message_types! {
    /// A kind of message that can be sent.
    NewMessageType {}
}

/// A message: a text, a file with or without a text, a place, a contact or a poll.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct NewMessage {
    /// A number or a group (`…@g.us`).
    #[schema(example = "6281234567890")]
    to: String,
    /// What it is, where the fields leave it open: `voice` or `sticker` instead of what a file would be sent as.
    #[schema(inline)]
    r#type: Option<NewMessageType>,
    /// The text, or the caption of a file that has one (then at most 4,096 characters).
    #[schema(max_length = 65536, example = "Halo, pesanan Anda sudah siap")]
    text: Option<String>,
    media: Option<NewMedia>,
    /// The name under which the file is shown.
    filename: Option<String>,
    location: Option<NewLocation>,
    contact: Option<NewContact>,
    poll: Option<NewPoll>,
    /// The message that this one answers: its id here, its WhatsApp id, or its event's id.
    reply_to: Option<String>,
    /// Who wrote that message, in a group and where the box does not know it.
    reply_to_sender: Option<String>,
    /// Whether this account wrote it, where the box does not know it.
    reply_to_from_me: Option<bool>,
    /// People named in the text as `@number`; `all` is everybody in the group.
    #[schema(max_items = 256)]
    mentions: Option<Vec<String>>,
    /// True: mention everybody in the group.
    mention_all: Option<bool>,
    /// True: fetch and show a preview of the first link; false: show none.
    preview: Option<bool>,
    /// An id of your own. The same one within a day answers with the first message and sends nothing.
    #[schema(max_length = 200, example = "INV-2026-0042")]
    reference: Option<String>,
    /// When to send it, in Unix milliseconds; at most a year ahead.
    send_at_ms: Option<i64>,
    /// Show typing first, for so many seconds.
    #[schema(minimum = 0, maximum = 60)]
    typing_s: Option<i64>,
}

/// A file: `url` or `data`. As multipart it is the part `media` itself, or `file`.
#[derive(ToSchema, Serialize)]
struct NewMedia {
    /// Leads straight to the file, at most 50 MB.
    #[schema(format = "uri")]
    url: Option<String>,
    /// The file as Base64.
    data: Option<String>,
    /// What it is called.
    filename: Option<String>,
}

/// A place.
#[derive(ToSchema, Serialize)]
struct NewLocation {
    /// Degrees north.
    #[schema(minimum = -90, maximum = 90, example = -7.983908)]
    latitude: f64,
    /// Degrees east.
    #[schema(minimum = -180, maximum = 180, example = 112.621391)]
    longitude: f64,
    /// What it is called.
    #[schema(max_length = 255)]
    name: Option<String>,
    /// Where it is, in words.
    #[schema(max_length = 255)]
    address: Option<String>,
}

/// A contact: `name` and `phone`, or a `vcard`.
#[derive(ToSchema, Serialize)]
struct NewContact {
    /// The contact's name.
    #[schema(max_length = 255, example = "Ibu Sari")]
    name: Option<String>,
    /// The contact's number.
    #[schema(example = "6281200000002")]
    phone: Option<String>,
    /// A whole contact card instead.
    #[schema(max_length = 16384)]
    vcard: Option<String>,
}

/// A poll.
#[derive(ToSchema, Serialize)]
struct NewPoll {
    /// The question.
    #[schema(min_length = 1, max_length = 255, example = "Kapan kita bertemu?")]
    name: String,
    /// The answers to choose from, each at most 100 characters.
    #[schema(min_items = 2, max_items = 12, example = json!(["Senin", "Selasa"]))]
    options: Vec<String>,
    /// True: one may choose several.
    multiple: Option<bool>,
}

/// How far a message has come.
#[derive(ToSchema, Serialize)]
#[serde(rename_all = "lowercase")]
enum MessageStatus {
    Pending,
    Sending,
    Sent,
    Delivered,
    Read,
    Failed,
}

message_types! {
    /// A kind of message.
    MessageType { Reaction, Edit, Delete }
}

/// A message of this account.
#[derive(ToSchema, Serialize)]
struct MessageState {
    /// Its id here.
    #[schema(example = "0b7f6f0e-5a3e-4c55-9a53-5d3a7e0c1f11")]
    id: String,
    /// Its WhatsApp id.
    #[schema(example = "3EB0C767D097B7C1F3A2")]
    message_id: String,
    /// Its number, as dialect `fonnte` knows it.
    #[schema(example = 1042)]
    seq: u64,
    /// The chat's JID.
    #[schema(example = "6281234567890@s.whatsapp.net")]
    to: String,
    #[schema(inline)]
    r#type: MessageType,
    /// `sent`: WhatsApp's server has acknowledged it.
    #[schema(inline)]
    status: MessageStatus,
    /// Why it failed, or what was wrong at the last attempt.
    #[schema(required)]
    error: Option<String>,
    /// How often it was tried.
    #[schema(example = 0)]
    attempts: u32,
    /// The `reference` of the request.
    #[schema(required, example = "INV-2026-0042")]
    reference: Option<String>,
    /// Unix milliseconds, like all times here.
    #[schema(example = 1732190400000i64)]
    accepted_at_ms: i64,
    /// When it is to be sent; null: as soon as it can be.
    #[schema(required)]
    send_at_ms: Option<i64>,
    #[schema(required)]
    sent_at_ms: Option<i64>,
    #[schema(required)]
    delivered_at_ms: Option<i64>,
    #[schema(required)]
    read_at_ms: Option<i64>,
}

/// The message is kept and will be sent.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct MessageAccepted {
    /// Always true.
    success: bool,
    /// The `reference` was used before: this is the first message, and nothing more is sent.
    #[schema(example = false)]
    repeated: bool,
    message: MessageState,
}

/// A message.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct MessageShown {
    /// Always true.
    success: bool,
    message: MessageState,
}

/// The message was not sent yet, and will not be.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct MessageCancelled {
    /// Always true.
    success: bool,
    /// Always true.
    cancelled: bool,
    #[schema(required)]
    message: Option<MessageState>,
}

/// A new text.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct MessageEdit {
    /// The new text.
    #[schema(min_length = 1, max_length = 65536, example = "Halo, pesanan Anda siap pukul 4")]
    text: String,
    /// People named in the text as `@number`; `all` is everybody in the group.
    #[schema(max_items = 256)]
    mentions: Option<Vec<String>>,
    /// True: mention everybody in the group.
    mention_all: Option<bool>,
    /// The chat, where the box does not know the message.
    chat: Option<String>,
    /// An id of your own, as for a message.
    #[schema(max_length = 200)]
    reference: Option<String>,
}

/// Where a message is, if the box does not know it: it forgets messages after some time.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct MessageWhere {
    /// The chat: a number or a group.
    chat: Option<String>,
    /// Who wrote it, in a group.
    sender: Option<String>,
    /// Whether this account wrote it.
    from_me: Option<bool>,
}

/// A reaction.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct MessageReaction {
    /// One emoji; empty takes the reaction back.
    #[schema(max_length = 16, example = "👍")]
    emoji: String,
    /// The chat, where the box does not know the message.
    chat: Option<String>,
    /// Who wrote the message, in a group and where the box does not know it.
    sender: Option<String>,
    /// Whether this account wrote the message, where the box does not know it.
    from_me: Option<bool>,
    /// An id of your own, as for a message.
    #[schema(max_length = 200)]
    reference: Option<String>,
}

/// What a chat is shown.
#[derive(ToSchema, Serialize)]
#[serde(rename_all = "lowercase")]
enum TypingState {
    Composing,
    Recording,
    Paused,
}

/// What to show.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct ChatTyping {
    /// What the chat is shown; `paused` takes it back.
    #[schema(inline, default = "composing", example = "composing")]
    state: Option<TypingState>,
    /// For how many seconds; 0: until WhatsApp ends it, after some 25.
    #[schema(minimum = 0, maximum = 60, default = 0, example = 5)]
    duration_s: Option<i64>,
}

/// What was read.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct ChatRead {
    /// Ids of messages or of their events; without it, what the chat wrote lately.
    messages: Option<Vec<String>>,
    /// Who wrote them, in a group and where the box does not know them.
    sender: Option<String>,
}

/// It is done.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct Done {
    /// Always true.
    success: bool,
}

/// What is marked as read now.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct ChatMarked {
    /// Always true.
    success: bool,
    /// How many messages.
    #[schema(example = 3)]
    read: u32,
}

/// Whom the paced queue may write to: `*`, or numbers and groups.
#[derive(ToSchema, Serialize)]
#[serde(untagged)]
#[schema(example = "*")]
enum QueueAllow {
    Everybody(String),
    Only(Vec<String>),
}

/// What counts for a session.
#[derive(ToSchema, Serialize)]
struct Settings {
    /// Milliseconds between two messages of the session.
    #[schema(example = 0)]
    send_delay_ms: u64,
    /// A random part on top of it, at most this.
    #[schema(example = 0)]
    send_jitter_ms: u64,
    /// Milliseconds between two messages of dialect `waya`'s queue.
    #[schema(example = 5000)]
    queue_delay_ms: u64,
    /// A random part on top of it, at most this.
    #[schema(example = 2000)]
    queue_jitter_ms: u64,
    /// What `main` stands for.
    #[schema(required, example = "6281234567890")]
    main_number: Option<String>,
    /// Whom dialect `waya`'s queue may write to.
    queue_allow: QueueAllow,
    /// Messages a day to numbers that never wrote to the session; 0: any number.
    #[schema(example = 0)]
    stranger_daily_cap: u32,
    /// Milliseconds between two of these.
    #[schema(example = 0)]
    stranger_delay_ms: u64,
}

/// What counts for a session, and what of it is its own.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct SettingsShown {
    /// Always true.
    success: bool,
    settings: Settings,
    /// The settings that the session has of its own; the others follow the configuration.
    #[schema(example = json!(["queue_delay_ms"]))]
    own: Vec<String>,
}

/// What to change; null makes a setting follow the configuration again.
#[derive(ToSchema, Serialize)]
pub(in crate::api) struct SettingsEdit {
    /// Milliseconds between two messages of the session.
    #[schema(minimum = 0, maximum = 3600000)]
    send_delay_ms: Option<u32>,
    /// A random part on top of it, at most this.
    #[schema(minimum = 0, maximum = 3600000)]
    send_jitter_ms: Option<u32>,
    /// Milliseconds between two messages of dialect `waya`'s queue.
    #[schema(minimum = 0, maximum = 3600000, example = 8000)]
    queue_delay_ms: Option<u32>,
    /// A random part on top of it, at most this.
    #[schema(minimum = 0, maximum = 3600000)]
    queue_jitter_ms: Option<u32>,
    /// What `main` stands for: a number or a group.
    main_number: Option<String>,
    /// Whom dialect `waya`'s queue may write to.
    queue_allow: Option<QueueAllow>,
    /// Messages a day to numbers that never wrote to the session; 0: any number.
    #[schema(minimum = 0, maximum = 1000000)]
    stranger_daily_cap: Option<u32>,
    /// Milliseconds between two of these.
    #[schema(minimum = 0, maximum = 3600000)]
    stranger_delay_ms: Option<u32>,
}
