//! One paired WhatsApp account and all that keeps it connected.
//!
//! [`state`] decides (pure), [`supervisor`] carries out, [`driver`] runs one whatsapp-rust client, [`registry`] knows
//! every session of the box. Sessions know the store and nothing above it: acks and receipts leave through channels.

mod acks;
mod chats;
mod contacts;
mod driver;
pub mod groups;
mod http;
mod inbound;
mod network;
mod received;
mod record;
pub mod registry;
pub mod state;
mod status;
mod supervisor;
mod transport;
mod version;

use std::time::SystemTime;

pub use acks::{Ack, AckWait, Acks};
pub use chats::{ChatError, MAX_READ, MAX_TYPING, Typing};
pub use contacts::{Lookup, LookupError};
pub use driver::ClientSetup;
pub use http::WhatsAppHttp;
pub use received::{Received, ReceivedError};
pub use record::SessionRecord;
pub use record::is_stored;
pub use registry::{Registry, RegistryError, Session};
pub use status::{Reason, Status};
pub use version::Versions;

use crate::store::Table;

/// The tables of this part.
pub const TABLES: &[Table] = &[record::SESSIONS_TABLE, record::FACTS_TABLE, contacts::TABLE];

/// What the far side did with messages of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptEvent {
    /// The session that sent them.
    pub session_no: u32,
    /// What happened.
    pub kind: ReceiptKind,
    /// The WhatsApp message ids.
    pub message_ids: Vec<String>,
    /// When, in Unix milliseconds, by the server's clock.
    pub at_ms: i64,
}

/// Kinds of receipt, in the order in which they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReceiptKind {
    /// A device of the recipient has it.
    Delivered,
    /// The recipient opened the chat.
    Read,
    /// The recipient played the voice note.
    Played,
}

/// A code waiting for a phone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairingCode {
    /// The QR's text, or the eight characters.
    pub text: String,
    /// When it stops working.
    pub expires: SystemTime,
}

/// All that applications and the panel may know of a session at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The state.
    pub status: Status,
    /// Why it is not connected.
    pub reason: Reason,
    /// Whether there are credentials.
    pub paired: bool,
    /// The QR code on show.
    pub qr: Option<PairingCode>,
    /// The eight-character code on show.
    pub pair_code: Option<PairingCode>,
    /// The account's phone number, digits only.
    pub number: Option<String>,
    /// The account's LID, without the server.
    pub lid: Option<String>,
    /// The account's name on WhatsApp.
    pub push_name: String,
    /// When the next dial is due.
    pub retry_at: Option<SystemTime>,
    /// When a ban ends.
    pub banned_until: Option<SystemTime>,
}
