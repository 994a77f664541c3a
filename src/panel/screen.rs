//! What is on the screen, as plain data: two equal screens have equal pixels.

use std::{net::IpAddr, time::SystemTime};

use super::view::{Language, Trouble};

/// How bright the screen is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backlight {
    /// The panel is off.
    Off,
    /// Enough to read it in a room.
    Dim,
    /// All it can, for a camera.
    Bright,
}

impl Backlight {
    /// The brightness for [`kurir_board::Display::set_brightness`]. An OLED's wear grows with its light, and about a
    /// quarter of the range is easy to read indoors.
    pub const fn level(self) -> u8 {
        match self {
            Self::Off => 0,
            Self::Dim => 64,
            Self::Bright => 255,
        }
    }

    /// Whether the panel is on.
    pub const fn is_on(self) -> bool {
        !matches!(self, Self::Off)
    }
}

/// Which session a screen is about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Label {
    /// The name; may be empty.
    pub name: String,
    /// The phone number, digits only.
    pub number: Option<String>,
}

/// Which page of how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageNumber {
    /// From 1.
    pub page: usize,
    /// How many.
    pub of: usize,
}

/// What a held button is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// One session.
    Session(Label),
    /// All sessions, this many; 0 if there is none.
    All(usize),
}

/// What a release of the held button would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// Nothing at all.
    Nothing,
    /// Connect anew.
    Redial,
    /// Ask for new QR codes.
    FreshQr,
    /// Begin with a first session.
    NewSession,
    /// Unlink from WhatsApp and pair again.
    Unlink,
    /// Erase everything.
    Erase,
}

/// What a button does if it is held for longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// What a release will do then.
    pub then: Release,
    /// In how many seconds, rounded up.
    pub seconds: u64,
}

/// What is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Nothing.
    Blank,
    /// The gateway starts.
    Starting,
    /// Everything is being erased.
    Erasing,
    /// An update is being written.
    Updating {
        /// 0 to 100.
        percent: u8,
    },
    /// An error in the boot configuration.
    Notice {
        /// What it says.
        text: String,
    },
    /// The one-time code that claims the box.
    Claim {
        /// The code.
        code: String,
        /// Where to type it in.
        url: Option<String>,
    },
    /// There is no network.
    NoNetwork,
    /// There is no session.
    NoSession,
    /// A pairing code to scan. Where it does not fit, the web page's address is shown instead.
    Qr {
        /// Which session.
        label: Label,
        /// The text of the code.
        text: String,
        /// Seconds left.
        seconds: u64,
        /// The web page, which shows the same code.
        url: Option<String>,
    },
    /// A code to type into the phone.
    PairingCode {
        /// Which session.
        label: Label,
        /// The code.
        code: String,
        /// Seconds left.
        seconds: u64,
    },
    /// The session connects, or waits for a code.
    Connecting {
        /// Which session.
        label: Label,
    },
    /// The session is online.
    Online {
        /// Which session.
        label: Label,
        /// Where the box is on the network.
        address: Option<String>,
        /// Messages that wait.
        queue: u64,
        /// When the last message went out or came in.
        last_message: Option<SystemTime>,
    },
    /// The codes ran out.
    Exhausted {
        /// Which session.
        label: Label,
    },
    /// The session is not connected.
    Disconnected {
        /// Which session.
        label: Label,
        /// Why.
        trouble: Trouble,
    },
    /// The account is banned for a while.
    Banned {
        /// Which session.
        label: Label,
        /// Until when.
        until: Option<SystemTime>,
    },
    /// The phone removed this device.
    LoggedOut {
        /// Which session.
        label: Label,
    },
    /// Another client uses the same credentials.
    Conflict {
        /// Which session.
        label: Label,
    },
    /// WhatsApp no longer takes this version.
    Outdated {
        /// Which session.
        label: Label,
    },
    /// There is little room on the disk.
    DiskNearlyFull {
        /// Bytes left.
        free: u64,
    },
    /// The clock is not set.
    ClockNotSet,
    /// Where the box is on the network.
    Address {
        /// The web page.
        url: Option<String>,
        /// The addresses.
        addresses: Vec<IpAddr>,
    },
    /// The HTTPS certificate's fingerprint.
    Fingerprint {
        /// SHA-256, hexadecimal.
        sha256: String,
    },
    /// A button is held.
    Hold {
        /// What a release does now.
        release: Release,
        /// What comes next, if anything.
        pending: Option<Pending>,
        /// How far it is to the last threshold, 0 to 100.
        percent: u8,
        /// About what.
        target: Target,
    },
    /// A button was held, and this has begun.
    Done {
        /// What.
        action: Release,
        /// About what.
        target: Target,
    },
}

impl Body {
    /// A word for it, in kebab-case: names of pictures, and what the log says.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Blank => "blank",
            Self::Starting => "starting",
            Self::Erasing => "erasing",
            Self::Updating { .. } => "updating",
            Self::Notice { .. } => "notice",
            Self::Claim { .. } => "claim",
            Self::NoNetwork => "no-network",
            Self::NoSession => "no-session",
            Self::Qr { .. } => "qr",
            Self::PairingCode { .. } => "pairing-code",
            Self::Connecting { .. } => "connecting",
            Self::Online { .. } => "online",
            Self::Exhausted { .. } => "exhausted",
            Self::Disconnected { .. } => "disconnected",
            Self::Banned { .. } => "banned",
            Self::LoggedOut { .. } => "logged-out",
            Self::Conflict { .. } => "conflict",
            Self::Outdated { .. } => "outdated",
            Self::DiskNearlyFull { .. } => "disk-nearly-full",
            Self::ClockNotSet => "clock-not-set",
            Self::Address { .. } => "address",
            Self::Fingerprint { .. } => "fingerprint",
            Self::Hold { .. } => "hold",
            Self::Done { .. } => "done",
        }
    }
}

/// All that determines the pixels of a panel of some size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Screen {
    /// What is shown.
    pub body: Body,
    /// In which language.
    pub language: Language,
    /// Local time minus UTC, in seconds, for the times that are shown.
    pub utc_offset: i32,
    /// Which page of how many, where there are several.
    pub page: Option<PageNumber>,
    /// By how many pixels the text is moved to the right and down, 0 or 1 each, against burn-in. A QR stays.
    pub shift: (u8, u8),
}

impl Screen {
    /// `body` alone, in `language`.
    pub const fn of(body: Body, language: Language) -> Self {
        Self { body, language, utc_offset: 0, page: None, shift: (0, 0) }
    }
}
