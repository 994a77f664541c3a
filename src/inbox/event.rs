//! What happened, as it is kept in the journal and told to applications.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

/// One thing that happened in one session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its place in the journal: counts up by one over the whole box. 0 until it is recorded.
    #[serde(skip)]
    pub seq: u64,
    /// 32 hexadecimal digits; the same when the same thing is reported again. See [`event_id`].
    #[serde(skip)]
    pub id: String,
    /// Where it happened.
    #[serde(flatten)]
    pub origin: Origin,
    /// When, in Unix milliseconds, by WhatsApp's clock where it said so.
    pub at_ms: i64,
    /// When the journal took it, in Unix milliseconds by the box's clock. 0 until it is recorded.
    #[serde(default)]
    pub recorded_at_ms: i64,
    /// WhatsApp had kept it while the gateway was not connected.
    #[serde(default, skip_serializing_if = "is_false")]
    pub offline: bool,
    /// The chat's JID; a private chat's has the phone number where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_id: Option<String>,
    /// Who did it; in a private chat, for what this account itself wrote, to whom.
    #[serde(flatten)]
    pub person: Person,
    /// What happened.
    pub body: Body,
    /// Where the medium is and how to decrypt it. Never leaves the box.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media: Option<MediaRef>,
}

/// The session of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The session's number inside the box.
    pub session_no: u32,
    /// The session's id towards applications.
    pub session: String,
    /// The account that owns it.
    pub account: String,
}

/// A person's two names on WhatsApp, each where it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = EventPerson)]
pub struct Person {
    /// Phone number, digits only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<String>,
    /// LID, with its server: `123@lid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lid: Option<String>,
}

/// What kind of thing happened: what applications filter by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A message without a file.
    Message,
    /// A message with a file.
    Media,
    /// Messages of ours were delivered, read or played.
    Receipt,
    /// Somebody voted in a poll, or took the vote back.
    PollVote,
    /// Somebody reacted to a message, or took the reaction back.
    Reaction,
    /// A group changed.
    Group,
    /// The session connected, lost its connection, needs pairing.
    Session,
}

impl Kind {
    /// Every kind, as applications write them.
    pub const ALL: [(Kind, &'static str); 7] = [
        (Kind::Message, "message"),
        (Kind::Media, "media"),
        (Kind::Receipt, "receipt"),
        (Kind::PollVote, "poll_vote"),
        (Kind::Reaction, "reaction"),
        (Kind::Group, "group"),
        (Kind::Session, "session"),
    ];

    /// As applications write it.
    pub fn as_str(self) -> &'static str {
        Kind::ALL.iter().find(|(kind, _)| *kind == self).map_or("message", |(_, name)| name)
    }

    /// From what an application wrote.
    pub fn parse(text: &str) -> Option<Kind> {
        Kind::ALL.iter().find(|(_, name)| *name == text.trim()).map(|(kind, _)| *kind)
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// A message, with or without a file.
    Message(Box<Message>),
    /// Messages of ours were delivered, read or played.
    Receipt(Receipt),
    /// A vote.
    PollVote(PollVote),
    /// A reaction.
    Reaction(Reaction),
    /// A group change.
    Group(GroupChange),
    /// A session's state.
    Session(SessionState),
}

/// A message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = EventMessage)]
pub struct Message {
    /// WhatsApp's id of it, unique together with chat and sender.
    pub message_id: String,
    /// `text`, `image`, `video`, `audio`, `voice`, `document`, `sticker`, `location`, `contact`, `poll`, `edit`,
    /// `revoke` or `unsupported`.
    pub kind: String,
    /// This account wrote it, on its phone or another linked device.
    #[serde(default)]
    pub from_me: bool,
    /// It was written in a group.
    #[serde(default)]
    pub is_group: bool,
    /// The name that the author chose for themselves.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The text, the caption, or the new text of an edit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The message that this one answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quoted: Option<Quoted>,
    /// JIDs of those who are mentioned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mentions: Vec<String>,
    /// It was forwarded.
    #[serde(default, skip_serializing_if = "is_false")]
    pub forwarded: bool,
    /// It may be looked at once.
    #[serde(default, skip_serializing_if = "is_false")]
    pub view_once: bool,
    /// The file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media: Option<Media>,
    /// The place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<Location>,
    /// The contacts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contacts: Vec<Contact>,
    /// The poll.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll: Option<Poll>,
    /// The message that an edit or a revoke is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// A message that is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = EventQuoted)]
pub struct Quoted {
    /// WhatsApp's id of it.
    pub message_id: String,
    /// Its author's JID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// Its text or caption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// A file, as its sender describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = EventMedia)]
pub struct Media {
    /// MIME type.
    pub mime: String,
    /// A document's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// How long it plays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u32>,
    /// Pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Pixels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
}

/// A place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = EventLocation)]
pub struct Location {
    /// Degrees.
    pub latitude: f64,
    /// Degrees.
    pub longitude: f64,
    /// The place's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The place's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// A contact that was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = EventContact)]
pub struct Contact {
    /// The name shown.
    pub name: String,
    /// The vCard.
    pub vcard: String,
}

/// A poll.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = EventPoll)]
pub struct Poll {
    /// The question.
    pub name: String,
    /// What can be chosen.
    pub options: Vec<String>,
    /// How many may be chosen; 0: any number.
    pub selectable: u32,
}

/// Messages of ours were delivered, read or played.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = EventReceipt)]
pub struct Receipt {
    /// `delivered`, `read` or `played`.
    pub status: String,
    /// WhatsApp's ids of the messages.
    pub message_ids: Vec<String>,
}

/// A vote in a poll. It replaces the voter's earlier one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = EventPollVote)]
pub struct PollVote {
    /// WhatsApp's id of the message that carried the vote.
    pub message_id: String,
    /// WhatsApp's id of the poll.
    pub poll_id: String,
    /// The poll's question, where the poll is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub poll_name: Option<String>,
    /// The chosen options' names; empty when the vote was taken back, or when `undecrypted`.
    pub options: Vec<String>,
    /// Chosen options whose names are not known: SHA-256 of the name, hexadecimal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown_options: Vec<String>,
    /// The poll's secret is not known here, so what was chosen is not known.
    #[serde(default, skip_serializing_if = "is_false")]
    pub undecrypted: bool,
    /// This account voted, on its phone or another linked device.
    #[serde(default)]
    pub from_me: bool,
    /// The name that the voter chose for themselves.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
}

/// A reaction. It replaces the same person's earlier one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = EventReaction)]
pub struct Reaction {
    /// WhatsApp's id of the message that carried the reaction.
    pub message_id: String,
    /// WhatsApp's id of the message it is about.
    pub target: String,
    /// The emoji; empty when the reaction was taken back.
    pub emoji: String,
    /// This account reacted, on its phone or another linked device.
    #[serde(default)]
    pub from_me: bool,
    /// The name that its author chose for themselves.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
}

/// A group changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = EventGroupChange)]
pub struct GroupChange {
    /// WhatsApp's word for it: `add`, `remove`, `promote`, `demote`, `subject`, `description`, `create`, …
    pub action: String,
    /// Those it happened to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub participants: Vec<Person>,
    /// The new subject or description, where that is what changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// A session's state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = EventSessionState)]
pub struct SessionState {
    /// `connected`, `connecting`, `qr` or `disconnected`.
    pub status: String,
    /// Why it is not connected: a code.
    pub reason: String,
    /// Why, and what to do, for people.
    pub advice: String,
    /// The phone number it is paired with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<String>,
}

/// Where a medium is on WhatsApp's servers and how to decrypt it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaRef {
    /// Path on the media host.
    pub direct_path: String,
    /// Hexadecimal.
    pub media_key: String,
    /// SHA-256 of the file, hexadecimal.
    pub sha256: String,
    /// SHA-256 of the encrypted file, hexadecimal.
    pub enc_sha256: String,
    /// Bytes of the file.
    pub length: u64,
    /// `image`, `video`, `audio`, `document` or `sticker`: which keys decrypt it.
    pub keys: String,
}

impl std::fmt::Debug for MediaRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The key opens the file for whoever reads a log.
        f.debug_struct("MediaRef").field("keys", &self.keys).field("length", &self.length).finish()
    }
}

impl Event {
    /// What kind of thing happened.
    pub fn kind(&self) -> Kind {
        match &self.body {
            Body::Message(message) if message.media.is_some() => Kind::Media,
            Body::Message(_) => Kind::Message,
            Body::Receipt(_) => Kind::Receipt,
            Body::PollVote(_) => Kind::PollVote,
            Body::Reaction(_) => Kind::Reaction,
            Body::Group(_) => Kind::Group,
            Body::Session(_) => Kind::Session,
        }
    }

    /// Whether this account did it itself, on its phone or another linked device.
    pub fn from_me(&self) -> bool {
        match &self.body {
            Body::Message(message) => message.from_me,
            Body::PollVote(vote) => vote.from_me,
            Body::Reaction(reaction) => reaction.from_me,
            Body::Receipt(_) | Body::Group(_) | Body::Session(_) => false,
        }
    }
}

impl Person {
    /// The LID without its server.
    pub fn lid_user(&self) -> Option<&str> {
        self.lid.as_deref().map(|lid| lid.strip_suffix("@lid").unwrap_or(lid))
    }

    /// Their private chat's JID: with the phone number where that is known.
    pub fn chat_id(&self) -> Option<String> {
        match (&self.phone, &self.lid) {
            (Some(phone), _) => Some(format!("{phone}@s.whatsapp.net")),
            (None, lid) => lid.clone(),
        }
    }
}

/// An event's id: the first 16 bytes of SHA-256 over the session and what makes the event one, for a message its chat,
/// its sender and its WhatsApp id (which alone is unique only within the two).
pub fn event_id(session: &str, parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    hash.update(session.as_bytes());
    for part in parts {
        // A length before each part, so that no two lists of parts read the same.
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hex::encode(&hash.finalize()[..16])
}

fn is_false(value: &bool) -> bool {
    !value
}
