//! Faults that a test asks the server for, and which of them applies to what happens next. Pure: the caller brings the
//! clock and carries out the answer.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// Faults kept at a time; the oldest gives way.
const MAX_ACTIVE: usize = 256;

/// Something that goes wrong on purpose, as `POST /faults` takes it: `{"kind":"slow-ack","ms":500,"count":3}`.
///
/// Where a fault has a `device`, it is a number (`"4915550001"`: every device of that account) or one device
/// (`"4915550001:1"`, with or without `@s.whatsapp.net`); without it, the fault applies to everybody. Where it has a
/// `count`, it ends after that many times; otherwise it stays until the faults are cleared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// The open connections break without a word: now, or after `after_ms`, or once `after_messages` messages more
    /// have been received on one of them (that one breaks before the last of these is acknowledged, though it is
    /// delivered).
    Drop {
        /// Whose.
        #[serde(default)]
        device: Option<Target>,
        /// How long from now, in milliseconds.
        #[serde(default)]
        after_ms: Option<u64>,
        /// After how many messages; takes the place of `after_ms`.
        #[serde(default)]
        after_messages: Option<u32>,
    },
    /// The open connections stay open, but the server neither reads from nor writes to them.
    Stall {
        /// Whose.
        #[serde(default)]
        device: Option<Target>,
        /// For how long, in milliseconds.
        for_ms: u64,
    },
    /// New WebSocket connections are answered with an HTTP error.
    Refuse {
        /// The HTTP status; 503 if absent.
        #[serde(default)]
        status: Option<u16>,
        /// For how long, in milliseconds.
        #[serde(default)]
        for_ms: Option<u64>,
        /// How many times.
        #[serde(default)]
        count: Option<u32>,
    },
    /// The open connections get `<stream:error code=…/>` and are closed.
    StreamError {
        /// Whose.
        #[serde(default)]
        device: Option<Target>,
        /// The `code` attribute. With `conflict`, may be absent.
        #[serde(default)]
        code: Option<u16>,
        /// The `type` of a `<conflict/>` child: `replaced` or `device_removed`.
        #[serde(default)]
        conflict: Option<String>,
    },
    /// The account is temporarily banned: its connections end, and log-ins are answered with
    /// `<failure reason="402" code=… expire=…/>` until the ban is over.
    Ban {
        /// Whose.
        number: Target,
        /// WhatsApp's reason, 101 to 106.
        code: u16,
        /// How long the ban lasts, in seconds.
        expire_s: u64,
    },
    /// Messages are taken, and delivered unless `deliver` is false, but never acknowledged.
    NoAck {
        /// Whose.
        #[serde(default)]
        device: Option<Target>,
        /// How many messages.
        #[serde(default)]
        count: Option<u32>,
        /// Whether the recipient gets the message all the same; true if absent.
        #[serde(default)]
        deliver: Option<bool>,
    },
    /// Messages are delivered at once and acknowledged late.
    SlowAck {
        /// Whose.
        #[serde(default)]
        device: Option<Target>,
        /// By how much, in milliseconds.
        ms: u64,
        /// How many messages.
        #[serde(default)]
        count: Option<u32>,
    },
    /// Messages are answered with an ack that carries an error, and not delivered.
    Nack {
        /// Whose.
        #[serde(default)]
        device: Option<Target>,
        /// The ack's `error` attribute.
        error: u16,
        /// How many messages.
        #[serde(default)]
        count: Option<u32>,
    },
    /// Log-ins are answered with `<failure reason=…/>`.
    Failure {
        /// Whose.
        #[serde(default)]
        device: Option<Target>,
        /// The `reason` attribute.
        reason: u16,
        /// How many log-ins.
        #[serde(default)]
        count: Option<u32>,
    },
    /// Log-ins are answered with `<failure reason="405"/>`: the client's version is too old.
    ClientOutdated {
        /// Whose.
        #[serde(default)]
        device: Option<Target>,
        /// How many log-ins.
        #[serde(default)]
        count: Option<u32>,
    },
    /// Log-ins are answered with `<stream:error code="429"/>`.
    RateLimit {
        /// Whose.
        #[serde(default)]
        device: Option<Target>,
        /// How many log-ins.
        #[serde(default)]
        count: Option<u32>,
    },
    /// Log-ins succeed and are followed at once by `<stream:error code="515"/>`.
    #[serde(rename = "repeat-515")]
    Repeat515 {
        /// Whose.
        #[serde(default)]
        device: Option<Target>,
        /// How many log-ins.
        #[serde(default)]
        count: Option<u32>,
    },
    /// The media host answers uploads and downloads with an HTTP error.
    Media {
        /// The HTTP status. 401 and 403 make a client ask for a new token.
        status: u16,
        /// For uploads, after how many bytes of the body. They are kept, so that the upload can be resumed.
        #[serde(default)]
        after_bytes: Option<u64>,
        /// How many requests.
        #[serde(default)]
        count: Option<u32>,
    },
}

/// A fault that can never do what it says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` is {value}, it must be {must}")]
pub struct FaultError {
    field: &'static str,
    value: String,
    must: &'static str,
}

impl Fault {
    /// Whether the values make sense together.
    pub fn check(&self) -> Result<(), FaultError> {
        let error =
            |field, value: &dyn ToString, must| Err(FaultError { field, value: value.to_string(), must });
        let (Self::NoAck { count, .. }
        | Self::SlowAck { count, .. }
        | Self::Nack { count, .. }
        | Self::Failure { count, .. }
        | Self::ClientOutdated { count, .. }
        | Self::RateLimit { count, .. }
        | Self::Repeat515 { count, .. }
        | Self::Media { count, .. }
        | Self::Refuse { count, .. }
        | Self::Drop { after_messages: count, .. }) = self
        else {
            return match self {
                Self::StreamError { code: None, conflict: None, .. } => {
                    error("code", &"absent", "there, unless `conflict` is")
                }
                _ => Ok(()),
            };
        };
        if *count == Some(0) {
            return error("count", &0, "1 or more, or absent");
        }
        if let Self::Media { status, .. } | Self::Refuse { status: Some(status), .. } = self
            && !(400..=599).contains(status)
        {
            return error("status", status, "an HTTP error, 400 to 599");
        }
        Ok(())
    }
}

/// Whom a fault applies to: an account, or one of its devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Target {
    number: String,
    device: Option<u16>,
}

/// A fault names nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no device: give a number (`4915550001`) or a number and a device (`4915550001:1`)")]
pub struct TargetError(String);

impl TryFrom<String> for Target {
    type Error = TargetError;

    fn try_from(text: String) -> Result<Self, TargetError> {
        let bare = text.strip_suffix("@s.whatsapp.net").unwrap_or(&text);
        let (number, device) = match bare.split_once(':') {
            Some((number, device)) => match device.parse() {
                Ok(device) => (number, Some(device)),
                Err(_) => return Err(TargetError(text)),
            },
            None => (bare, None),
        };
        if number.is_empty() || number.len() > 20 || !number.bytes().all(|b| b.is_ascii_digit()) {
            return Err(TargetError(text));
        }
        Ok(Self { number: number.to_owned(), device })
    }
}

impl From<Target> for String {
    fn from(target: Target) -> Self {
        match target.device {
            Some(device) => format!("{}:{device}", target.number),
            None => target.number,
        }
    }
}

impl Target {
    /// Whether the device `device` of the account `number` (digits) is meant.
    pub fn matches(&self, number: &str, device: u16) -> bool {
        self.number == number && self.device.is_none_or(|d| d == device)
    }
}

/// One linked device, as the server knows it after log-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceRef<'a> {
    /// The account's number, digits only.
    pub number: &'a str,
    /// The device's index; the phone itself is 0.
    pub device: u16,
}

/// What to do at once to the connections that are open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveFault {
    /// To whom; nobody named means every connection, also one that is not logged in.
    pub target: Option<Target>,
    /// What.
    pub action: LiveAction,
}

impl LiveFault {
    /// Whether a connection is meant; `device` is `None` while it has not logged in.
    pub fn applies_to(&self, device: Option<DeviceRef<'_>>) -> bool {
        applies(&self.target, device)
    }
}

/// What happens to an open connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LiveAction {
    /// Close the socket without a word once this time has passed.
    Drop(Duration),
    /// Neither read nor write for this long.
    Stall(Duration),
    /// Send a stream error and close.
    StreamError(StreamError),
}

/// `<stream:error>`: its `code`, and the `type` of its `<conflict/>` child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamError {
    /// The `code` attribute.
    pub code: Option<u16>,
    /// The `type` of the `<conflict/>` child.
    pub conflict: Option<String>,
}

/// How a log-in is answered instead of a plain `<success/>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginFault {
    /// `<failure reason=… code=… expire=…/>`, then close.
    Failure {
        /// The `reason` attribute.
        reason: u16,
        /// The `code` attribute, of a ban.
        code: Option<u16>,
        /// The `expire` attribute: how many seconds the ban still lasts.
        expire_s: Option<u64>,
    },
    /// `<stream:error code=…/>` in place of success, then close.
    StreamError(StreamError),
    /// `<success/>`, then `<stream:error code=…/>`, then close.
    AfterSuccess(StreamError),
}

/// What becomes of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageFault {
    /// Whether the recipient gets it.
    pub deliver: bool,
    /// How it is acknowledged.
    pub ack: AckFault,
    /// Whether the connection breaks after delivery and before the ack.
    pub drop: bool,
}

/// How a message is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckFault {
    /// At once, as it should be.
    Now,
    /// After this time.
    After(Duration),
    /// Never.
    Never,
    /// At once, with this `error`.
    Error(u16),
}

/// A media request that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaFault {
    /// The HTTP status.
    pub status: u16,
    /// How many bytes of an upload's body are taken before.
    pub after_bytes: u64,
}

/// The faults in force.
#[derive(Debug, Default)]
pub struct Faults {
    active: Vec<Active>,
}

#[derive(Debug)]
struct Active {
    fault: Fault,
    /// How many times more; `None` is without end.
    left: Option<u32>,
    /// When it ends by itself.
    until: Option<Instant>,
}

impl Faults {
    /// Puts `fault` in force. Returns what has to be done to the open connections at once.
    pub fn add(&mut self, fault: Fault, now: Instant) -> Option<LiveFault> {
        let live = live_fault(&fault);
        let (left, until) = match &fault {
            Fault::Drop { after_messages: Some(n), .. } => (Some((*n).max(1)), None),
            // These strike the connections that are open now and leave nothing behind.
            Fault::Drop { .. } | Fault::Stall { .. } | Fault::StreamError { .. } => return live,
            Fault::Refuse { for_ms, count, .. } => {
                (*count, for_ms.and_then(|ms| now.checked_add(Duration::from_millis(ms))))
            }
            Fault::Ban { expire_s, .. } => (None, now.checked_add(Duration::from_secs(*expire_s))),
            Fault::NoAck { count, .. }
            | Fault::SlowAck { count, .. }
            | Fault::Nack { count, .. }
            | Fault::Failure { count, .. }
            | Fault::ClientOutdated { count, .. }
            | Fault::RateLimit { count, .. }
            | Fault::Repeat515 { count, .. }
            | Fault::Media { count, .. } => (*count, None),
        };
        if self.active.len() == MAX_ACTIVE {
            self.active.remove(0);
        }
        self.active.push(Active { fault, left, until });
        live
    }

    /// Ends every fault.
    pub fn clear(&mut self) {
        self.active.clear();
    }

    /// A WebSocket connection arrives: the HTTP status to refuse it with, if it is refused.
    pub fn on_connect(&mut self, now: Instant) -> Option<u16> {
        self.take(now, |active, _| match &active.fault {
            Fault::Refuse { status, .. } => Some(status.unwrap_or(503)),
            _ => None,
        })
    }

    /// A device logs in. `device` is `None` for a client that registers, which only faults for everybody apply to.
    pub fn on_login(&mut self, device: Option<DeviceRef<'_>>, now: Instant) -> Option<LoginFault> {
        let stream_error = |code| StreamError { code: Some(code), conflict: None };
        let failure = |reason| LoginFault::Failure { reason, code: None, expire_s: None };
        self.take(now, |active, now| {
            let (target, answer) = match &active.fault {
                Fault::Ban { number, code, .. } => {
                    if !device.is_some_and(|d| number.matches(d.number, d.device)) {
                        return None;
                    }
                    let left =
                        active.until.map_or(0, |until| until.saturating_duration_since(now).as_millis());
                    let expire_s = Some(left.div_ceil(1_000) as u64);
                    return Some(LoginFault::Failure { reason: 402, code: Some(*code), expire_s });
                }
                Fault::Failure { device, reason, .. } => (device, failure(*reason)),
                Fault::ClientOutdated { device, .. } => (device, failure(405)),
                Fault::RateLimit { device, .. } => (device, LoginFault::StreamError(stream_error(429))),
                Fault::Repeat515 { device, .. } => (device, LoginFault::AfterSuccess(stream_error(515))),
                _ => return None,
            };
            applies(target, device).then_some(answer)
        })
    }

    /// A device sends a message.
    pub fn on_message(&mut self, device: DeviceRef<'_>, now: Instant) -> MessageFault {
        let drop = self.count_down_to_drop(device);
        let (deliver, ack) = self
            .take(now, |active, _| {
                let (target, answer) = match &active.fault {
                    Fault::NoAck { device, deliver, .. } => {
                        (device, (deliver.unwrap_or(true), AckFault::Never))
                    }
                    Fault::SlowAck { device, ms, .. } => {
                        (device, (true, AckFault::After(Duration::from_millis(*ms))))
                    }
                    Fault::Nack { device, error, .. } => (device, (false, AckFault::Error(*error))),
                    _ => return None,
                };
                applies(target, Some(device)).then_some(answer)
            })
            .unwrap_or((true, AckFault::Now));
        MessageFault { deliver, ack, drop }
    }

    /// An upload or download arrives at the media host.
    pub fn on_media(&mut self, now: Instant) -> Option<MediaFault> {
        self.take(now, |active, _| match &active.fault {
            Fault::Media { status, after_bytes, .. } => {
                Some(MediaFault { status: *status, after_bytes: after_bytes.unwrap_or(0) })
            }
            _ => None,
        })
    }

    /// The first fault in force for which `pick` has an answer is used up by one.
    fn take<T>(&mut self, now: Instant, pick: impl Fn(&Active, Instant) -> Option<T>) -> Option<T> {
        self.active.retain(|active| active.until.is_none_or(|until| now < until) && active.left != Some(0));
        let (index, answer) =
            self.active.iter().enumerate().find_map(|(index, active)| Some((index, pick(active, now)?)))?;
        if let Some(left) = &mut self.active[index].left {
            *left -= 1;
        }
        Some(answer)
    }

    /// Unlike the other faults, a drop after N messages strikes at the last count, not at each.
    fn count_down_to_drop(&mut self, device: DeviceRef<'_>) -> bool {
        let mut drop = false;
        for active in &mut self.active {
            let Fault::Drop { device: target, .. } = &active.fault else { continue };
            if let Some(left) = &mut active.left
                && *left > 0
                && applies(target, Some(device))
            {
                *left -= 1;
                drop |= *left == 0;
            }
        }
        drop
    }
}

fn applies(target: &Option<Target>, device: Option<DeviceRef<'_>>) -> bool {
    match target {
        None => true,
        Some(target) => device.is_some_and(|d| target.matches(d.number, d.device)),
    }
}

fn live_fault(fault: &Fault) -> Option<LiveFault> {
    let (target, action) = match fault {
        Fault::Drop { after_messages: Some(_), .. } => return None,
        Fault::Drop { device, after_ms, .. } => {
            (device.clone(), LiveAction::Drop(Duration::from_millis(after_ms.unwrap_or(0))))
        }
        Fault::Stall { device, for_ms } => {
            (device.clone(), LiveAction::Stall(Duration::from_millis(*for_ms)))
        }
        Fault::StreamError { device, code, conflict } => {
            let error = StreamError { code: *code, conflict: conflict.clone() };
            (device.clone(), LiveAction::StreamError(error))
        }
        // The client learns of the ban when it comes back.
        Fault::Ban { number, .. } => (Some(number.clone()), LiveAction::Drop(Duration::ZERO)),
        _ => return None,
    };
    Some(LiveFault { target, action })
}

#[cfg(test)]
#[path = "faults_tests.rs"]
mod tests;
