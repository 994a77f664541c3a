//! What applications and people are told of a session: its state, why, and what to do.

/// The state as applications see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Dialling, logging in, or waiting to dial again.
    Connecting,
    /// A QR code or pairing code is waiting for a phone.
    Qr,
    /// Logged in: messages go out.
    Connected,
    /// Not dialling: somebody has to do something, or a ban has to end.
    Disconnected,
}

impl Status {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Connecting => "connecting",
            Status::Qr => "qr",
            Status::Connected => "connected",
            Status::Disconnected => "disconnected",
        }
    }
}

/// Why a session is not connected.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Nothing is wrong.
    None,
    /// WhatsApp could not be reached, or the connection broke.
    Network,
    /// All QR codes ran out unscanned: ask for new ones.
    QrExhausted,
    /// The phone removed this device, or somebody asked for a log-out: pair again.
    LoggedOut,
    /// WhatsApp locked the account (403): look at the phone.
    AccountLocked,
    /// WhatsApp banned the account for a while.
    Banned,
    /// Another client uses the same credentials.
    Conflict,
    /// WhatsApp no longer accepts this version of the client.
    ClientOutdated,
    /// The server asks for restarts without end.
    RestartLoop,
    /// WhatsApp refused the log-in with this code.
    Refused(u16),
    /// The store could not be read or written.
    Store,
    /// The box's clock is certainly wrong: no certificate could be checked.
    Clock,
}

impl Reason {
    /// The word on the wire.
    pub fn code(&self) -> &'static str {
        match self {
            Reason::None => "none",
            Reason::Network => "network",
            Reason::QrExhausted => "qr_exhausted",
            Reason::LoggedOut => "logged_out",
            Reason::AccountLocked => "account_locked",
            Reason::Banned => "banned",
            Reason::Conflict => "conflict",
            Reason::ClientOutdated => "client_outdated",
            Reason::RestartLoop => "restart_loop",
            Reason::Refused(_) => "refused",
            Reason::Store => "store",
            Reason::Clock => "clock_not_set",
        }
    }

    /// What it means and what to do, in one sentence.
    pub fn advice(&self) -> &'static str {
        match self {
            Reason::None => "",
            Reason::Network => "WhatsApp cannot be reached; check the network. Kurir keeps trying.",
            Reason::QrExhausted => {
                "The QR codes ran out before a phone scanned one; press Reconnect for new ones."
            }
            Reason::LoggedOut => "The device was removed from the phone; pair it again.",
            Reason::AccountLocked => {
                "WhatsApp locked this account; open WhatsApp on the phone and follow what it says."
            }
            Reason::Banned => {
                "WhatsApp banned this account for a while; Kurir logs in again when the ban ends."
            }
            Reason::Conflict => {
                "Another program uses this device's credentials; stop it. Kurir tries again soon."
            }
            Reason::ClientOutdated => {
                "WhatsApp asks for a newer client; Kurir looks for the current version."
            }
            Reason::RestartLoop => {
                "WhatsApp's server keeps asking for restarts; Kurir slows down and tries again."
            }
            Reason::Refused(_) => "WhatsApp refused the log-in; Kurir tries again later.",
            Reason::Store => "The store cannot be written; check the disk.",
            Reason::Clock => {
                "The box's clock is not set yet; Kurir connects once a time server has answered, or after a few minutes."
            }
        }
    }
}
