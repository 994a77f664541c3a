//! What the fingers mean: edges of the two buttons become taps and holds.
//!
//! A hold is decided when the button comes up and stays up, by the edges' own times. So an act needs one contact that
//! was closed without a break for long enough, and not for so long that the button must be stuck. Both buttons together,
//! and a button that was down at power-on, mean nothing until they were released.

use std::time::Duration;

use kurir_board::{Button, Edge, Motion};
use tokio::time::Instant;

/// Reconnect, held for this long, connects anew.
pub const REDIAL_AFTER: Duration = Duration::from_secs(2);
/// Reset, held for this long, unlinks from WhatsApp.
pub const UNLINK_AFTER: Duration = Duration::from_secs(5);
/// Reset, held for this long, erases everything.
pub const ERASE_AFTER: Duration = Duration::from_secs(12);
/// A button that is down for this long is stuck, or something leans on it: it means nothing.
pub const STUCK_AFTER: Duration = Duration::from_secs(60);
/// A released contact that closes again within this time has bounced. A person takes longer between two presses.
pub(super) const SETTLE: Duration = Duration::from_millis(50);
/// A tap is down for at least this long; the fastest finger takes about 50 ms.
pub(super) const TAP: Duration = Duration::from_millis(30);

/// How far a hold has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// Not far enough for anything.
    Early,
    /// Far enough for the button's first meaning.
    First,
    /// Far enough for its second.
    Second,
}

/// When a button's hold reaches its first and its second step.
pub(super) const fn thresholds(button: Button) -> (Duration, Option<Duration>) {
    match button {
        Button::Reconnect => (REDIAL_AFTER, None),
        Button::Reset => (UNLINK_AFTER, Some(ERASE_AFTER)),
    }
}

/// The step of a hold of this length.
pub(super) fn step_after(button: Button, held: Duration) -> Step {
    match thresholds(button) {
        (_, Some(second)) if held >= second => Step::Second,
        (first, _) if held >= first => Step::First,
        _ => Step::Early,
    }
}

/// What a button meant, once it was released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gesture {
    /// A short press.
    Tap(Button),
    /// A hold that had reached this step, [`Step::First`] or [`Step::Second`].
    Held(Button, Step),
}

/// A button that is down and may still mean something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Holding {
    pub(super) button: Button,
    pub(super) since: Instant,
    /// Whether it has not bounced.
    pub(super) clean: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Contact {
    Up,
    /// Down; `clean` unless it bounced on the way.
    Down {
        since: Instant,
        clean: bool,
    },
    /// Up for a moment; it counts once it has stayed up until `settled`.
    Settling {
        since: Instant,
        released: Instant,
        settled: Instant,
        clean: bool,
    },
    /// Down, and without meaning until it is released.
    Void,
    /// Up after [`Contact::Void`]; a bounce leads back there.
    VoidReleased {
        released: Instant,
    },
}

/// Both buttons.
#[derive(Debug, Clone)]
pub(super) struct Presses {
    contacts: [Contact; 2],
}

const fn index(button: Button) -> usize {
    match button {
        Button::Reconnect => 0,
        Button::Reset => 1,
    }
}

impl Presses {
    /// The buttons at power-on, of which `held` are down.
    pub(super) fn new(held: &[Button]) -> Self {
        Self { contacts: Button::ALL.map(|b| if held.contains(&b) { Contact::Void } else { Contact::Up }) }
    }

    /// Takes an edge. What it means comes out of [`Presses::pass`] later, unless the edges came so late that the next
    /// press is already there.
    pub(super) fn edge(&mut self, edge: Edge, now: Instant) -> Option<Gesture> {
        let mut gesture = None;
        let bounced = |released: Instant| edge.at.saturating_duration_since(released) < SETTLE;
        let contact = &mut self.contacts[index(edge.button)];
        match (edge.motion, *contact) {
            (Motion::Pressed, Contact::Up) => *contact = Contact::Down { since: edge.at, clean: true },
            (Motion::Pressed, Contact::Settling { released, .. }) if bounced(released) => {
                *contact = Contact::Down { since: edge.at, clean: false };
            }
            (Motion::Pressed, Contact::Settling { since, released, clean, .. }) => {
                gesture = meaning(edge.button, released.saturating_duration_since(since), clean);
                *contact = Contact::Down { since: edge.at, clean: true };
            }
            (Motion::Pressed, Contact::VoidReleased { released }) if bounced(released) => {
                *contact = Contact::Void;
            }
            (Motion::Pressed, Contact::VoidReleased { .. }) => {
                *contact = Contact::Down { since: edge.at, clean: true };
            }
            (Motion::Released, Contact::Down { since, clean }) => {
                // An edge that is delivered late may have a sibling behind it: the wait begins now.
                let settled = edge.at.max(now) + SETTLE;
                *contact = Contact::Settling { since, released: edge.at, settled, clean };
            }
            (Motion::Released, Contact::Void) => *contact = Contact::VoidReleased { released: edge.at },
            // Motions alternate; one that does not is no news.
            (Motion::Pressed, Contact::Down { .. } | Contact::Void)
            | (Motion::Released, Contact::Up | Contact::Settling { .. } | Contact::VoidReleased { .. }) => {}
        }
        if self.contacts.iter().all(|c| matches!(c, Contact::Down { .. })) {
            // A box on its face, or a hand around it.
            self.void();
        }
        gesture
    }

    /// Lets time pass until `now`; what a button meant, if it was released and has settled.
    pub(super) fn pass(&mut self, now: Instant) -> Option<Gesture> {
        let mut gesture = None;
        for button in Button::ALL {
            let contact = &mut self.contacts[index(button)];
            match *contact {
                Contact::Down { since, .. } if now.saturating_duration_since(since) >= STUCK_AFTER => {
                    *contact = Contact::Void;
                }
                Contact::Settling { since, released, settled, clean } if now >= settled => {
                    *contact = Contact::Up;
                    let meant = meaning(button, released.saturating_duration_since(since), clean);
                    gesture = gesture.or(meant);
                }
                _ => {}
            }
        }
        gesture
    }

    /// The button that is down and may still mean something. The other one does not then.
    pub(super) fn holding(&self) -> Option<Holding> {
        Button::ALL.into_iter().find_map(|button| match self.contacts[index(button)] {
            Contact::Down { since, clean } => Some(Holding { button, since, clean }),
            _ => None,
        })
    }

    /// When [`Presses::pass`] has something to do; the thresholds of a hold are not among it.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let due = |contact: &Contact| match *contact {
            Contact::Down { since, .. } => Some(since + STUCK_AFTER),
            Contact::Settling { settled, .. } => Some(settled),
            Contact::Up | Contact::Void | Contact::VoidReleased { .. } => None,
        };
        self.contacts.iter().filter_map(due).min()
    }

    /// What is down now means nothing until it is released.
    pub(super) fn void(&mut self) {
        for contact in &mut self.contacts {
            match contact {
                Contact::Down { .. } => *contact = Contact::Void,
                Contact::Settling { released, .. } => {
                    *contact = Contact::VoidReleased { released: *released };
                }
                Contact::Up | Contact::Void | Contact::VoidReleased { .. } => {}
            }
        }
    }
}

fn meaning(button: Button, held: Duration, clean: bool) -> Option<Gesture> {
    if held >= STUCK_AFTER {
        return None;
    }
    match step_after(button, held) {
        Step::Early if clean && held >= TAP => Some(Gesture::Tap(button)),
        Step::Early => None,
        step => Some(Gesture::Held(button, step)),
    }
}

#[cfg(test)]
mod tests;
