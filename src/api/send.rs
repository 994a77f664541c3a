//! What all dialects share in sending: who the recipient is, and getting the message into the outbox.

use std::io;

use axum::http::StatusCode;

use super::Shared;
use super::phone::{self, Recipient};
use crate::ids;
use crate::inbox::{self, Event};
use crate::media::{FetchError, KindError, SpoolError, VoiceError};
use crate::outbox::{
    AcceptError, Accepted, Batch, Body, Content, Draft, Message, Options, Reference, Target as Quoted,
};
use crate::session::{Lookup, LookupError, Session};
use crate::store::StoreError;

/// Seconds after which a full queue is worth another try.
const QUEUE_PAUSE: u64 = 60;
/// What people are told when the disk takes no more.
const DISK_FULL: &str = "The gateway's disk is full; free some space on it and try again";
/// Longest text that WhatsApp takes, in characters.
pub(super) const MAX_TEXT: usize = 65_536;
/// Longest caption.
pub(super) const MAX_CAPTION: usize = 4_096;

/// Why a message was not taken. Nothing of it is in the outbox.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// The session has no credentials.
    #[error("the session is not paired with a phone; scan its QR code first")]
    NotPaired,
    /// A field's value does not fit.
    #[error("{field} {reason}")]
    Field { field: &'static str, reason: String },
    /// WhatsApp does not know the number.
    #[error("the phone number is not registered on WhatsApp")]
    Unregistered { number: String },
    /// The file could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The file is not what it should be.
    #[error(transparent)]
    Kind(#[from] KindError),
    /// The file could not be kept.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The outbox refused.
    #[error(transparent)]
    Accept(#[from] AcceptError),
}

impl SendError {
    pub(super) fn status(&self) -> StatusCode {
        if let Some(e) = self.spool() {
            return spool_status(e);
        }
        match self {
            SendError::NotPaired
            | SendError::Field { .. }
            | SendError::Unregistered { .. }
            | SendError::Kind(_) => StatusCode::BAD_REQUEST,
            SendError::Fetch(e) if e.is_remote() => StatusCode::BAD_GATEWAY,
            SendError::Fetch(e) if e.is_local() => StatusCode::SERVICE_UNAVAILABLE,
            SendError::Fetch(_) => StatusCode::BAD_REQUEST,
            SendError::Accept(AcceptError::Voice(e)) if e.is_client() => StatusCode::BAD_REQUEST,
            SendError::Accept(AcceptError::Voice(_)) => StatusCode::SERVICE_UNAVAILABLE,
            SendError::Accept(AcceptError::QueueFull { .. } | AcceptError::Strangers { .. }) => {
                StatusCode::TOO_MANY_REQUESTS
            }
            SendError::Accept(AcceptError::Deleted) => StatusCode::NOT_FOUND,
            SendError::Accept(AcceptError::Store(e)) => store_status(e),
            SendError::Spool(_) | SendError::Accept(AcceptError::NoFile | AcceptError::Spool(_)) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }

    /// What the file's keeping failed of, if it did.
    fn spool(&self) -> Option<&SpoolError> {
        match self {
            SendError::Spool(e)
            | SendError::Fetch(FetchError::Spool(e))
            | SendError::Accept(AcceptError::Spool(e) | AcceptError::Voice(VoiceError::Spool(e))) => Some(e),
            _ => None,
        }
    }

    /// What the caller is told. Not where the box keeps things: that is for the log alone.
    pub(super) fn told(&self) -> String {
        match self {
            SendError::Accept(AcceptError::Store(e)) => store_message(e).to_owned(),
            e => e.spool().map_or_else(|| e.to_string(), spool_message),
        }
    }

    /// Seconds after which it may succeed, where waiting helps.
    pub(super) fn retry_after(&self) -> Option<u64> {
        match self {
            SendError::Accept(AcceptError::QueueFull { .. }) => Some(QUEUE_PAUSE),
            SendError::Accept(AcceptError::Strangers { wait, .. }) => Some(wait.as_secs() + 1),
            SendError::Fetch(e) if e.is_local() => Some(10),
            SendError::Accept(AcceptError::Voice(VoiceError::Busy)) => Some(30),
            _ => None,
        }
    }

    /// What the log is told of a failure that is ours; none where the caller can mend it.
    pub(super) fn log(&self, session: &Session) {
        if self.status().is_server_error() && self.status() != StatusCode::BAD_GATEWAY {
            log::error!("session {}: a message was not accepted: {self}", session.no());
        }
    }
}

/// What the caller is told of a file that could not be kept, and its status. The log gets the rest.
pub(super) fn spool_failed(error: &SpoolError) -> (StatusCode, String) {
    let status = spool_status(error);
    if status.is_server_error() {
        log::error!("a file was not kept: {error}");
    }
    (status, spool_message(error))
}

/// What people are told of a file that could not be kept.
fn spool_message(error: &SpoolError) -> String {
    match error {
        SpoolError::Disk { source, .. } if is_full(source) => DISK_FULL.to_owned(),
        // The kind alone, because the system's text may name a file.
        SpoolError::Disk { source, .. } => {
            format!("the gateway's disk did not take the file ({}); its log says more", source.kind())
        }
        e => e.to_string(),
    }
}

/// The status that fits a file that could not be kept.
fn spool_status(error: &SpoolError) -> StatusCode {
    match error {
        SpoolError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        SpoolError::Full { .. } => StatusCode::INSUFFICIENT_STORAGE,
        SpoolError::Disk { source, .. } if is_full(source) => StatusCode::INSUFFICIENT_STORAGE,
        e if e.is_client() => StatusCode::BAD_REQUEST,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Whether the disk takes no more.
fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// The status that fits a store that failed.
pub(super) fn store_status(error: &StoreError) -> StatusCode {
    match error {
        StoreError::Full { .. } => StatusCode::INSUFFICIENT_STORAGE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// What people are told of a store that failed.
pub(super) fn store_message(error: &StoreError) -> &'static str {
    match error {
        StoreError::Full { .. } => DISK_FULL,
        _ => "Internal Server Error",
    }
}

/// A recipient whose JID is known.
#[derive(Clone, Debug)]
pub(super) struct Target {
    jid: String,
    checked: bool,
}

impl Target {
    /// A chat that is known by its JID.
    pub(super) fn known(jid: String) -> Target {
        Target { jid, checked: true }
    }

    /// The chat that an earlier message went to.
    pub(super) fn of(message: &Message) -> Target {
        Target { jid: message.to.clone(), checked: message.checked }
    }

    /// The number or group without WhatsApp's server name where it is a number.
    pub(super) fn plain(&self) -> &str {
        self.jid.strip_suffix("@s.whatsapp.net").unwrap_or(&self.jid)
    }

    /// The JID.
    pub(super) fn jid(&self) -> &str {
        &self.jid
    }
}

impl Shared {
    /// Whom a message goes to. `field`: where the caller wrote it. With `check`, WhatsApp is asked unless it answered
    /// before; while it cannot be asked, the message is taken and checked before it is sent.
    pub(super) async fn target(
        &self,
        session: &Session,
        field: &'static str,
        text: &str,
        check: bool,
    ) -> Result<Target, SendError> {
        self.target_in(session, field, text, check, &self.country_code).await
    }

    /// As [`Shared::target`], with another country code.
    pub(super) async fn target_in(
        &self,
        session: &Session,
        field: &'static str,
        text: &str,
        check: bool,
        country_code: &str,
    ) -> Result<Target, SendError> {
        let recipient = phone::recipient(text, country_code)
            .map_err(|e| SendError::Field { field, reason: e.to_string() })?;
        if !session.snapshot().paired {
            return Err(SendError::NotPaired);
        }
        let number = match recipient {
            Recipient::Jid(jid) => return Ok(Target { jid, checked: true }),
            Recipient::Number(number) => number,
        };
        let jid = format!("{number}@s.whatsapp.net");
        if !check {
            return Ok(Target { jid, checked: true });
        }
        match session.lookup(&number).await {
            Ok(Lookup::Registered(jid)) => Ok(Target { jid, checked: true }),
            Ok(Lookup::Unregistered) => Err(SendError::Unregistered { number }),
            Err(LookupError::NotConnected) => Ok(Target { jid, checked: false }),
            Err(e) => {
                log::info!("session {}: {e}; the number is checked again before sending", session.no());
                Ok(Target { jid, checked: false })
            }
        }
    }

    /// Whom one of many messages goes to: not asked for now, because that would take a question per number, but before
    /// the message is sent.
    pub(super) fn target_unchecked(
        &self,
        session: &Session,
        field: &'static str,
        text: &str,
        country_code: &str,
    ) -> Result<Target, SendError> {
        let recipient = phone::recipient(text, country_code)
            .map_err(|e| SendError::Field { field, reason: e.to_string() })?;
        if !session.snapshot().paired {
            return Err(SendError::NotPaired);
        }
        Ok(match recipient {
            Recipient::Jid(jid) => Target { jid, checked: true },
            Recipient::Number(number) => Target { jid: format!("{number}@s.whatsapp.net"), checked: false },
        })
    }

    /// The message of `session` that a caller wants to answer, by its WhatsApp id.
    pub(super) fn quote(&self, session: &Session, id: &str) -> Result<Quoted, SendError> {
        let id = id.trim();
        let known = self.outbox.find(id).map_err(AcceptError::Store)?;
        let own = known.filter(|message| message.session_no == session.no());
        Ok(match own {
            Some(message) => Quoted {
                id: message.message_id.clone(),
                from_me: true,
                author: None,
                text: message.content.text().map(str::to_owned),
            },
            None => Quoted { id: id.to_owned(), from_me: false, author: None, text: None },
        })
    }

    /// As [`Shared::quote`], by the number under which a webhook told of the message.
    pub(super) fn quote_received(
        &self,
        session: &Session,
        field: &'static str,
        id: &str,
    ) -> Result<Quoted, SendError> {
        let Ok(seq) = id.trim().parse::<u64>() else { return self.quote(session, id) };
        let event = self.inbox.get(seq).map_err(AcceptError::Store)?;
        let event = event.filter(|event| event.origin.session_no == session.no());
        let unknown = || SendError::Field { field, reason: "is no message that this device received".into() };
        let Event { chat_id, person, body: inbox::Body::Message(message), .. } = event.ok_or_else(unknown)?
        else {
            return Err(unknown());
        };
        let group = chat_id.is_some_and(|chat| chat.ends_with("@g.us"));
        let author = person.lid.or_else(|| person.phone.map(|phone| format!("{phone}@s.whatsapp.net")));
        Ok(Quoted {
            id: message.message_id,
            from_me: message.from_me,
            // In a private chat the author is the chat itself, under the name that the answer goes to.
            author: author.filter(|_| group && !message.from_me),
            text: message.text,
        })
    }

    /// Puts several messages into the outbox, all or none.
    pub(super) async fn accept_all(
        &self,
        session: &Session,
        drafts: Vec<(Target, Body, Options)>,
        reference: Option<Reference>,
    ) -> Result<Batch, SendError> {
        let draft = |(to, body, options): (Target, Body, Options)| Draft {
            to: to.jid,
            checked: to.checked,
            body,
            options,
        };
        Ok(self.outbox.accept_batch(session, drafts.into_iter().map(draft).collect(), reference).await?)
    }

    /// Puts a message into the outbox.
    pub(super) async fn accept(
        &self,
        session: &Session,
        to: Target,
        body: Body,
    ) -> Result<Accepted, SendError> {
        Ok(self
            .outbox
            .accept(session, Draft { to: to.jid, checked: to.checked, body, options: Options::default() })
            .await?)
    }
}

/// A poll's question and options: at most 12 different ones of 100 characters, as WhatsApp's own apps allow.
pub(super) fn poll(
    name: String,
    options: Vec<String>,
    single: bool,
    fields: (&'static str, &'static str),
) -> Result<Content, SendError> {
    let (name_field, options_field) = fields;
    check_text(name_field, &name, 255)?;
    let wrong = |reason: String| SendError::Field { field: options_field, reason };
    let options: Vec<String> =
        options.into_iter().map(|o| o.trim().to_owned()).filter(|o| !o.is_empty()).collect();
    if !(2..=12).contains(&options.len()) {
        return Err(wrong(format!("has {} options; a poll takes 2 to 12", options.len())));
    }
    for (index, option) in options.iter().enumerate() {
        check_text(options_field, option, 100)?;
        if options[..index].contains(option) {
            return Err(wrong(format!("has the same option twice, number {}", index + 1)));
        }
    }
    let selectable = if single { 1 } else { u32::try_from(options.len()).unwrap_or(12) };
    let secret = hex::encode(ids::random::<32>());
    Ok(Content::Poll { name, options, selectable, secret })
}

/// Checks a text's length in characters.
pub(super) fn check_text(field: &'static str, text: &str, most: usize) -> Result<(), SendError> {
    let length = text.chars().count();
    if length > most {
        return Err(SendError::Field {
            field,
            reason: format!("has {length} characters; at most {most} are allowed"),
        });
    }
    if text.trim().is_empty() {
        return Err(SendError::Field { field, reason: "is empty".into() });
    }
    Ok(())
}
