//! What can go wrong when a test asks the server or a phone for something.

use thiserror::Error;

use crate::adv::QrError;

/// A request that the server or one of its phones cannot carry out.
#[derive(Debug, Error)]
pub enum SimError {
    /// The listening socket could not be opened.
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        /// Where.
        addr: std::net::SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// TLS cannot be offered.
    #[error(transparent)]
    Tls(#[from] crate::tls::TlsError),
    /// A number that is not 5 to 20 digits.
    #[error("`{0}` is not a phone number: give 5 to 20 digits")]
    Number(String),
    /// The number has a phone already.
    #[error("{0} has a phone already")]
    PhoneExists(String),
    /// The number has no phone.
    #[error("{0} has no phone: add one first")]
    NoPhone(String),
    /// A text that is not a pairing QR.
    #[error("not a pairing QR: {0}")]
    Qr(#[from] QrError),
    /// No connected client shows this QR.
    #[error("no connected client shows this QR: it was used, or its connection has ended")]
    QrExpired,
    /// The QR's keys are not those of the client that was given its reference.
    #[error("the QR's keys are not those of the client that shows it")]
    QrKeys,
    /// No connected client has asked for a pairing code for this number.
    #[error("no connected client waits for a pairing code for {0}")]
    NoCodePending(String),
    /// The pairing code is not the one that the client shows.
    #[error("the pairing code is wrong: {0}")]
    WrongCode(String),
    /// The client did not complete the pairing.
    #[error("pairing failed: {0}")]
    PairingRefused(String),
    /// The account has as many linked devices as it may have.
    #[error("{0} has {1} linked devices already, which is the most WhatsApp allows")]
    TooManyLinked(String, usize),
    /// The number has no linked device.
    #[error("{0} has no linked device")]
    NotLinked(String),
    /// A recipient that does not exist.
    #[error("`{0}` is neither a phone nor a group of this server")]
    NoRecipient(String),
    /// A change of a group that the server refused.
    #[error("{number} may not change {group} so: not an administrator, or nothing to change")]
    GroupRefused {
        /// The phone.
        number: String,
        /// The group.
        group: String,
    },
    /// A phone that is not in the group.
    #[error("{number} is not a member of {group}")]
    NotMember {
        /// The phone.
        number: String,
        /// The group's JID.
        group: String,
    },
    /// More members than a group may have.
    #[error("a group of {0} members is too large: WhatsApp allows {1}")]
    GroupTooLarge(usize, usize),
    /// A message that the phone has not received.
    #[error("{number} has no message {id}")]
    NoMessage {
        /// The phone.
        number: String,
        /// The message.
        id: String,
    },
    /// A message without a medium, or whose medium cannot be opened.
    #[error("message {id} of {number}: {why}")]
    Media {
        /// The phone.
        number: String,
        /// The message.
        id: String,
        /// Why its medium is not there.
        why: String,
    },
    /// A phone's file could not be put on the media host.
    #[error("{number} cannot upload the file: {source}")]
    Upload {
        /// The phone.
        number: String,
        /// Why not.
        source: crate::media::MediaError,
    },
    /// Encryption failed.
    #[error("{number} cannot encrypt for {to}: {why}")]
    Encrypt {
        /// The phone.
        number: String,
        /// The recipient.
        to: String,
        /// What libsignal said.
        why: String,
    },
}
