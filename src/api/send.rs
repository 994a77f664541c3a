//! What all dialects share in sending: who the recipient is, and getting the message into the outbox.

use axum::http::StatusCode;

use super::Shared;
use super::phone::{self, Recipient};
use crate::media::{FetchError, KindError, SpoolError};
use crate::outbox::{AcceptError, Accepted, Body, Draft, Options};
use crate::session::{Lookup, LookupError, Session};
use crate::store::StoreError;

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
        match self {
            SendError::NotPaired
            | SendError::Field { .. }
            | SendError::Unregistered { .. }
            | SendError::Kind(_) => StatusCode::BAD_REQUEST,
            SendError::Fetch(FetchError::Spool(e)) => spool_status(e),
            SendError::Fetch(e) if e.is_remote() => StatusCode::BAD_GATEWAY,
            SendError::Fetch(e) if e.is_local() => StatusCode::SERVICE_UNAVAILABLE,
            SendError::Fetch(_) => StatusCode::BAD_REQUEST,
            SendError::Spool(e) | SendError::Accept(AcceptError::Spool(e)) => spool_status(e),
            SendError::Accept(AcceptError::QueueFull { .. }) => StatusCode::TOO_MANY_REQUESTS,
            SendError::Accept(AcceptError::Deleted) => StatusCode::NOT_FOUND,
            SendError::Accept(AcceptError::Store(StoreError::Full { .. })) => {
                StatusCode::INSUFFICIENT_STORAGE
            }
            SendError::Accept(AcceptError::Store(_) | AcceptError::NoFile) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        }
    }

    /// After how many seconds it is worth another try, where that is why it was refused.
    pub(super) fn retry_after(&self) -> Option<u64> {
        match self {
            SendError::Accept(AcceptError::QueueFull { .. }) => Some(30),
            SendError::Fetch(e) if e.is_local() => Some(10),
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

/// The status that fits a file that could not be kept.
pub(super) fn spool_status(error: &SpoolError) -> StatusCode {
    match error {
        SpoolError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
        SpoolError::Full { .. } => StatusCode::INSUFFICIENT_STORAGE,
        e if e.is_client() => StatusCode::BAD_REQUEST,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// A recipient whose JID is known.
pub(super) struct Target {
    jid: String,
    checked: bool,
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
        let recipient = phone::recipient(text, &self.country_code)
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
