//! The life of one session as a pure state machine: `step(state, event, now) -> effects`.
//!
//! One client run is one connection: whatsapp-rust's own reconnection is switched off, so that every decision to dial,
//! wait, pair or give up is taken here, where it can be tested without a network.

use std::time::{Duration, Instant};

use super::status::{Reason, Status};

/// A dialled client that has shown neither a QR, a log-in nor an end after this long is hung up.
/// Longer than whatsapp-rust's own wait for the first app state (190 s).
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(240);
/// A connection that lasted this long resets the back-off.
pub const STABLE_AFTER: Duration = Duration::from_secs(30);
/// Longest pause between two dials after a lost network.
pub const BACKOFF_CAP: Duration = Duration::from_secs(300);
/// Pause after another client took over this device's connection.
pub const CONFLICT_PAUSE: Duration = Duration::from_secs(60);
/// Pause after WhatsApp refused the client's version, if no newer one is known.
pub const OUTDATED_PAUSE: Duration = Duration::from_secs(600);
/// Sets of QR codes shown in a row (one set is six codes, 160 s) before somebody has to ask for more.
pub const QR_SETS: u32 = 3;
/// Restarts that the server may ask for (515) at once, and the window in which they are counted.
pub const RESTART_BURST: usize = 3;
/// See [`RESTART_BURST`].
pub const RESTART_WINDOW: Duration = Duration::from_secs(60);

/// Where the session is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not dialling until somebody asks.
    Idle,
    /// Dials again at this time.
    Waiting {
        /// When.
        until: Instant,
        /// Whether a returning network or a request to reconnect cuts the wait short (not during a ban).
        skippable: bool,
    },
    /// Would dial, but the clock is not set: [`Event::ClockReady`] dials.
    Held,
    /// A client runs, not logged in yet.
    Dialing {
        /// When it is given up.
        give_up: Instant,
    },
    /// A client runs and shows QR codes.
    Pairing,
    /// The phone accepted the device; the server will end this connection with a 515.
    Paired,
    /// Logged in.
    Connected {
        /// Since when.
        since: Instant,
    },
    /// The client is being stopped; what comes next is in `after`.
    Stopping {
        /// What to do when it has stopped.
        after: After,
    },
    /// Ended for good.
    Stopped,
}

/// What follows once a client has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Dial at once.
    Dial,
    /// Forget the credentials, then dial to pair again.
    WipeAndDial,
    /// Forget the credentials, then wait for somebody.
    WipeAndIdle,
    /// Wait for somebody, credentials kept.
    Idle,
    /// Dial after this long.
    Wait {
        /// How long.
        pause: Duration,
        /// See [`Phase::Waiting`].
        skippable: bool,
    },
    /// End.
    Stop,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The gateway started, or the session was created. `ban_left`: what is left of a ban known from before.
    Start {
        /// Remaining ban.
        ban_left: Option<Duration>,
    },
    /// A QR code is shown.
    Qr,
    /// All codes of a set were shown.
    QrExhausted,
    /// The phone accepted the device.
    PairSuccess,
    /// Logged in.
    Connected,
    /// The server or the phone removed this device.
    LoggedOut,
    /// The account is locked.
    AccountLocked,
    /// Another connection took over.
    Replaced,
    /// Banned for this long.
    Banned(Duration),
    /// The client's version is too old.
    Outdated,
    /// The log-in was refused with another code.
    Refused(u16),
    /// The server asked to slow down (429).
    TooMany,
    /// The client's run ended, for whatever reason.
    Ended,
    /// The store failed while the client was built or wiped.
    StoreFailed,
    /// The time in [`State::deadline`] came.
    Timer,
    /// The clock is set, or has been waited for long enough.
    ClockReady,
    /// A route to the outside came back.
    NetworkUp,
    /// Somebody asked to dial now, or for fresh QR codes.
    Reconnect,
    /// Somebody asked to unlink this device and pair again.
    Repair,
    /// The gateway is stopping, or the session was deleted.
    Stop,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Build a client and run it.
    Dial,
    /// Stop the running client.
    HangUp,
    /// Tell the server that this device is gone, then stop the running client.
    LogOut,
    /// Forget the credentials.
    Wipe,
    /// Fetch the current client version before the next dial.
    RefreshVersion,
    /// Remember the ban's length.
    RememberBan(Duration),
    /// End the session's task.
    Finish,
}

/// The whole state.
#[derive(Clone, Debug)]
pub struct State {
    /// Where the session is.
    pub phase: Phase,
    /// Why it is not connected.
    pub reason: Reason,
    /// Whether there are credentials.
    pub paired: bool,
    /// Dials in a row that did not become a stable connection.
    pub attempts: u32,
    qr_sets: u32,
    restarts: Vec<Instant>,
    hold: bool,
}

impl State {
    /// A session that has not started.
    pub fn new(paired: bool) -> State {
        State {
            phase: Phase::Idle,
            reason: Reason::None,
            paired,
            attempts: 0,
            qr_sets: 0,
            restarts: Vec::new(),
            hold: false,
        }
    }

    /// The clock is not set: nothing is dialled before [`Event::ClockReady`].
    pub fn hold(&mut self) {
        self.hold = true;
    }

    /// The state as applications see it.
    pub fn status(&self) -> Status {
        match self.phase {
            Phase::Idle | Phase::Stopped => Status::Disconnected,
            Phase::Waiting { skippable: false, .. } => Status::Disconnected,
            Phase::Waiting { .. }
            | Phase::Held
            | Phase::Dialing { .. }
            | Phase::Paired
            | Phase::Stopping { .. } => Status::Connecting,
            Phase::Pairing => Status::Qr,
            Phase::Connected { .. } => Status::Connected,
        }
    }

    /// When [`Event::Timer`] is wanted.
    pub fn deadline(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting { until, .. } => Some(until),
            Phase::Dialing { give_up } => Some(give_up),
            _ => None,
        }
    }

    /// Whether a client is running.
    fn running(&self) -> bool {
        matches!(
            self.phase,
            Phase::Dialing { .. }
                | Phase::Pairing
                | Phase::Paired
                | Phase::Connected { .. }
                | Phase::Stopping { .. }
        )
    }

    /// Takes one event. `roll` in 0..1 spreads the back-off so that many boxes do not return at once.
    pub fn step(&mut self, event: Event, now: Instant, roll: f64) -> Vec<Effect> {
        if self.phase == Phase::Stopped {
            return Vec::new();
        }
        match event {
            Event::Start { ban_left: Some(left) } => {
                self.reason = Reason::Banned;
                self.phase = Phase::Waiting { until: now + left, skippable: false };
                Vec::new()
            }
            Event::Start { ban_left: None } => self.dial(now),
            Event::Qr => {
                if matches!(self.phase, Phase::Dialing { .. } | Phase::Pairing) {
                    self.phase = Phase::Pairing;
                    self.reason = Reason::None;
                }
                Vec::new()
            }
            Event::PairSuccess => {
                if self.running() && !matches!(self.phase, Phase::Stopping { .. }) {
                    self.phase = Phase::Paired;
                    self.paired = true;
                    self.reason = Reason::None;
                    self.qr_sets = 0;
                }
                Vec::new()
            }
            Event::Connected => {
                if self.running() && !matches!(self.phase, Phase::Stopping { .. }) {
                    self.phase = Phase::Connected { since: now };
                    self.paired = true;
                    self.reason = Reason::None;
                }
                Vec::new()
            }
            Event::QrExhausted => {
                self.qr_sets += 1;
                if self.qr_sets < QR_SETS {
                    self.stop_then(After::Dial, Effect::HangUp)
                } else {
                    self.reason = Reason::QrExhausted;
                    self.stop_then(After::Idle, Effect::HangUp)
                }
            }
            Event::LoggedOut => {
                // A log-out that we asked for ourselves already knows what comes after it.
                if matches!(self.phase, Phase::Stopping { after: After::WipeAndDial | After::Stop }) {
                    return Vec::new();
                }
                self.reason = Reason::LoggedOut;
                self.paired = false;
                self.stop_then(After::WipeAndIdle, Effect::HangUp)
            }
            Event::AccountLocked => {
                self.reason = Reason::AccountLocked;
                self.stop_then(After::Idle, Effect::HangUp)
            }
            Event::Replaced => {
                self.reason = Reason::Conflict;
                self.stop_then(After::Wait { pause: CONFLICT_PAUSE, skippable: true }, Effect::HangUp)
            }
            Event::Banned(left) => {
                self.reason = Reason::Banned;
                // A ban of no length must not become a log-in without a pause.
                let left = left.max(self.backoff(roll));
                self.attempts = self.attempts.saturating_add(1);
                let mut effects = vec![Effect::RememberBan(left)];
                effects.extend(self.stop_then(After::Wait { pause: left, skippable: false }, Effect::HangUp));
                effects
            }
            Event::Outdated => {
                let again = self.reason == Reason::ClientOutdated;
                self.reason = Reason::ClientOutdated;
                let pause = if again { OUTDATED_PAUSE } else { Duration::from_secs(1) };
                let mut effects = vec![Effect::RefreshVersion];
                effects.extend(self.stop_then(After::Wait { pause, skippable: true }, Effect::HangUp));
                effects
            }
            Event::Refused(code) => {
                self.reason = Reason::Refused(code);
                self.attempts = self.attempts.saturating_add(3);
                let pause = self.backoff(roll);
                self.stop_then(After::Wait { pause, skippable: true }, Effect::HangUp)
            }
            Event::TooMany => {
                self.reason = Reason::Refused(429);
                self.attempts = self.attempts.saturating_add(5);
                let pause = self.backoff(roll);
                self.stop_then(After::Wait { pause, skippable: true }, Effect::HangUp)
            }
            Event::StoreFailed => {
                self.reason = Reason::Store;
                let until = now + self.backoff(roll);
                self.attempts = self.attempts.saturating_add(1);
                self.phase = Phase::Waiting { until, skippable: true };
                Vec::new()
            }
            Event::Ended => self.ended(now, roll),
            Event::Timer => match self.phase {
                Phase::Waiting { until, .. } if now >= until => self.dial(now),
                Phase::Dialing { give_up } if now >= give_up => {
                    self.reason = Reason::Network;
                    let pause = self.backoff(roll);
                    self.attempts = self.attempts.saturating_add(1);
                    self.stop_then(After::Wait { pause, skippable: true }, Effect::HangUp)
                }
                _ => Vec::new(),
            },
            Event::ClockReady => {
                self.hold = false;
                if self.phase != Phase::Held {
                    return Vec::new();
                }
                self.reason = Reason::None;
                self.dial(now)
            }
            Event::NetworkUp => match self.phase {
                Phase::Waiting { skippable: true, .. } if self.reason == Reason::Network => {
                    self.attempts = 0;
                    self.dial(now)
                }
                _ => Vec::new(),
            },
            Event::Reconnect => {
                self.qr_sets = 0;
                self.attempts = 0;
                match self.phase {
                    Phase::Idle | Phase::Waiting { skippable: true, .. } => self.dial(now),
                    Phase::Stopping { after: After::Idle | After::Wait { skippable: true, .. } } => {
                        self.phase = Phase::Stopping { after: After::Dial };
                        Vec::new()
                    }
                    // A ban does not end sooner for being asked, and each log-in during one may lengthen it.
                    Phase::Waiting { .. }
                    | Phase::Held
                    | Phase::Paired
                    | Phase::Stopping { .. }
                    | Phase::Stopped => Vec::new(),
                    Phase::Dialing { .. } | Phase::Pairing | Phase::Connected { .. } => {
                        self.stop_then(After::Dial, Effect::HangUp)
                    }
                }
            }
            Event::Repair => {
                self.qr_sets = 0;
                self.attempts = 0;
                self.reason = Reason::None;
                if self.running() {
                    let how = if self.paired { Effect::LogOut } else { Effect::HangUp };
                    self.paired = false;
                    self.stop_then(After::WipeAndDial, how)
                } else {
                    self.paired = false;
                    let mut effects = vec![Effect::Wipe];
                    effects.extend(self.dial(now));
                    effects
                }
            }
            Event::Stop => {
                if self.running() {
                    self.stop_then(After::Stop, Effect::HangUp)
                } else {
                    self.phase = Phase::Stopped;
                    vec![Effect::Finish]
                }
            }
        }
    }

    fn dial(&mut self, now: Instant) -> Vec<Effect> {
        if self.hold {
            self.phase = Phase::Held;
            self.reason = Reason::Clock;
            return Vec::new();
        }
        self.phase = Phase::Dialing { give_up: now + DIAL_TIMEOUT };
        vec![Effect::Dial]
    }

    /// Asks the client to stop; `Ended` carries on with `after`. An ending that was decided before stays, unless the
    /// new one is final.
    fn stop_then(&mut self, after: After, how: Effect) -> Vec<Effect> {
        match self.phase {
            Phase::Stopping { after: After::Stop } => Vec::new(),
            Phase::Stopping { .. }
                if matches!(after, After::Stop | After::WipeAndDial | After::WipeAndIdle) =>
            {
                self.phase = Phase::Stopping { after };
                Vec::new()
            }
            Phase::Stopping { .. } => Vec::new(),
            _ => {
                self.phase = Phase::Stopping { after };
                vec![how]
            }
        }
    }

    fn ended(&mut self, now: Instant, roll: f64) -> Vec<Effect> {
        match self.phase.clone() {
            Phase::Stopping { after } => match after {
                After::Dial => self.dial(now),
                After::WipeAndDial => {
                    let mut effects = vec![Effect::Wipe];
                    effects.extend(self.dial(now));
                    effects
                }
                After::WipeAndIdle => {
                    self.phase = Phase::Idle;
                    vec![Effect::Wipe]
                }
                After::Idle => {
                    self.phase = Phase::Idle;
                    Vec::new()
                }
                After::Wait { pause, skippable } => {
                    self.phase = Phase::Waiting { until: now + pause, skippable };
                    Vec::new()
                }
                After::Stop => {
                    self.phase = Phase::Stopped;
                    vec![Effect::Finish]
                }
            },
            // The 515 that follows a pairing: log in at once, but not for ever at once.
            Phase::Paired => {
                self.restarts.retain(|at| now.duration_since(*at) < RESTART_WINDOW);
                if self.restarts.len() < RESTART_BURST {
                    self.restarts.push(now);
                    self.dial(now)
                } else {
                    self.reason = Reason::RestartLoop;
                    self.wait(now, roll)
                }
            }
            Phase::Connected { since } => {
                if now.duration_since(since) >= STABLE_AFTER {
                    self.attempts = 0;
                }
                self.reason = Reason::Network;
                self.wait(now, roll)
            }
            Phase::Dialing { .. } | Phase::Pairing => {
                self.reason = Reason::Network;
                self.wait(now, roll)
            }
            Phase::Idle | Phase::Waiting { .. } | Phase::Held | Phase::Stopped => Vec::new(),
        }
    }

    fn wait(&mut self, now: Instant, roll: f64) -> Vec<Effect> {
        let pause = self.backoff(roll);
        self.attempts = self.attempts.saturating_add(1);
        self.phase = Phase::Waiting { until: now + pause, skippable: true };
        Vec::new()
    }

    /// 1, 2, 4, 8 … seconds up to [`BACKOFF_CAP`], ±20 %.
    fn backoff(&self, roll: f64) -> Duration {
        let seconds = 2f64.powi(self.attempts.min(16) as i32).min(BACKOFF_CAP.as_secs_f64());
        Duration::from_secs_f64(seconds * (0.8 + 0.4 * roll.clamp(0.0, 1.0)))
    }
}

#[cfg(test)]
mod tests;
