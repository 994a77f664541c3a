//! All that the panel may show, as plain data.

use std::{net::IpAddr, sync::Arc, time::SystemTime};

use tokio::time::Instant;

/// A session's id towards applications.
pub type SessionId = Arc<str>;

/// The language of the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Language {
    /// Bahasa Indonesia.
    #[default]
    Indonesian,
    /// English.
    English,
}

impl Language {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Indonesian, Self::English];

    /// The ISO 639-1 code, as in settings and file names.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Indonesian => "id",
            Self::English => "en",
        }
    }
}

/// Where the gateway is in its own life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stage {
    /// It opens the store and the port.
    #[default]
    Starting,
    /// It works.
    Running,
    /// It erases everything.
    Erasing,
}

/// The network.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Network {
    /// Not known yet. Nothing is said about it.
    #[default]
    Unknown,
    /// No address but loopback.
    Down,
    /// These addresses, the one to show first.
    Up(Vec<IpAddr>),
}

/// The disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Disk {
    /// There is room.
    #[default]
    Fine,
    /// There is little room. Round `free` (to 10 MB, say), because each value is drawn.
    NearlyFull {
        /// Bytes that are left.
        free: u64,
    },
}

/// An update that is being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Update {
    /// How much of it, 0 to 100.
    pub percent: u8,
}

/// Why a session is not connected, where the panel has no screen of its own for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// WhatsApp could not be reached, or the connection broke. The session dials again by itself.
    Network,
    /// WhatsApp locked the account: the phone says what to do.
    AccountLocked,
    /// WhatsApp refused the log-in with this code.
    Refused(u16),
    /// The server asks for restarts without end.
    RestartLoop,
    /// The store could not be read or written.
    Store,
}

/// Where a session is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionState {
    /// Dialling, logging in, or waiting to dial again.
    Connecting,
    /// A QR code waits for a phone.
    Qr {
        /// The whole text, `ref,noise,identity,adv,client`.
        text: String,
        /// When WhatsApp stops to take it.
        expires: Instant,
    },
    /// An eight-character code waits to be typed into a phone.
    PairingCode {
        /// The code, with or without its dash.
        code: String,
        /// When WhatsApp stops to take it.
        expires: Instant,
    },
    /// All QR codes ran out; somebody has to ask for new ones.
    Exhausted,
    /// Logged in.
    Online,
    /// Not connected.
    Disconnected(Trouble),
    /// Banned for a while.
    Banned {
        /// When it ends, if that is known.
        until: Option<SystemTime>,
    },
    /// The phone removed this device.
    LoggedOut,
    /// Another client uses the same credentials.
    Conflict,
    /// WhatsApp no longer takes this version.
    Outdated,
}

/// One session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionView {
    /// Its id.
    pub id: SessionId,
    /// The account's name on WhatsApp, or the session's own name; may be empty.
    pub name: String,
    /// The phone number, digits only, once it is paired.
    pub number: Option<String>,
    /// Where it is.
    pub state: SessionState,
    /// Messages that wait to be sent.
    pub queue: u64,
    /// When the last message went out or came in.
    pub last_message: Option<SystemTime>,
}

/// All that the panel may show.
///
/// A new view is compared with the one before: what changes only [`SessionView::queue`], [`SessionView::last_message`],
/// [`View::traffic`] or the text of a code is drawn if the screen is on, and does not wake it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct View {
    /// The language of the screen.
    pub language: Language,
    /// Where the gateway is in its own life.
    pub stage: Stage,
    /// The network.
    pub network: Network,
    /// The web page's address as a browser takes it, `http://kurir.local/`; `None` if nobody on the network can reach it.
    pub web_url: Option<String>,
    /// The sessions, in the order in which they take turns.
    pub sessions: Vec<SessionView>,
    /// The disk.
    pub disk: Disk,
    /// Whether the clock has been set since the start.
    pub clock_set: bool,
    /// An update that is being written.
    pub update: Option<Update>,
    /// Something that a person has to know and correct, in the screen's language where possible: an error in the boot
    /// configuration. At most about 80 characters are shown, the rest is cut.
    pub notice: Option<String>,
    /// The one-time code that claims the box, until it is claimed.
    pub claim_code: Option<String>,
    /// SHA-256 of the HTTPS certificate, hexadecimal, with or without colons.
    pub fingerprint: Option<String>,
    /// Messages sent and received since the start, of all sessions. Each change lets the LED flicker.
    pub traffic: u64,
    /// Local time minus UTC, in seconds.
    pub utc_offset: i32,
}
