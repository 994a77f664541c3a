//! Pure: what a terminal sends when keys are pressed, as presses and releases of buttons.
//!
//! | key | does |
//! |---|---|
//! | `c` | the button *reconnect*, for as long as the key is held |
//! | `r` | the button *reset*, for as long as the key is held |
//! | `C`, `R` | press and keep pressed; the same key again releases |
//! | `p` | save the picture as PNG |
//! | `q`, Ctrl-C | end the program |
//!
//! A classic terminal says nothing when a key is released. Two ways around it:
//!
//! - Terminals with the Kitty keyboard protocol (kitty, foot, WezTerm, Ghostty, Alacritty, Konsole) do say it when asked.
//!   Hold times are then exact.
//! - In all others the keyboard's own repetition tells: a key that is held repeats, after up to [`FIRST_REPEAT`], and
//!   then every few tens of milliseconds. A key that stops repeating for [`NEXT_REPEAT`] was released when it was last
//!   seen. A key that never repeated was a tap, and is given [`TAP`]. So a release is delivered late, but with its own
//!   time; two taps within [`FIRST_REPEAT`] count as one press; and where the keyboard does not repeat at all, only the
//!   capital letters can hold.

use std::time::Duration;

use tokio::time::Instant;

use crate::{Button, Edge, Motion};

/// The longest that a keyboard waits before a held key repeats (X11's default is 660 ms, the Linux console's 250 ms).
pub const FIRST_REPEAT: Duration = Duration::from_millis(800);
/// The longest between two repetitions of a held key, with some patience for a slow connection.
pub const NEXT_REPEAT: Duration = Duration::from_millis(250);
/// How long a key was held that did not repeat.
pub const TAP: Duration = Duration::from_millis(100);

/// What a key did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// A button moved.
    Edge(Edge),
    /// Save the picture.
    Save,
    /// End the program.
    Quit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    Up,
    /// The terminal will say when it is released.
    Told,
    /// Kept pressed by a capital letter.
    Latched,
    /// Pressed at the first time, last seen at the second.
    Repeating(Instant, Instant),
}

/// The state of the keyboard, as far as the terminal tells.
#[derive(Debug)]
pub struct Keys {
    // Bytes of an escape sequence that is not complete.
    pending: Vec<u8>,
    holds: [Hold; 2],
}

impl Default for Keys {
    fn default() -> Self {
        Self { pending: Vec::new(), holds: [Hold::Up; 2] }
    }
}

/// Longest escape sequence that is waited for. Longer ones are pasted nonsense.
const SEQUENCE: usize = 32;

impl Keys {
    /// Takes what the terminal sent at `now`.
    pub fn feed(&mut self, bytes: &[u8], now: Instant) -> Vec<Act> {
        let mut acts = self.expire(now);
        for &byte in bytes {
            self.byte(byte, now, &mut acts);
        }
        acts
    }

    /// When [`Keys::expire`] has something to say, if no further byte comes.
    pub fn deadline(&self) -> Option<Instant> {
        self.holds.iter().filter_map(Self::release_seen).min()
    }

    /// Releases the keys that have stopped repeating by `now`.
    pub fn expire(&mut self, now: Instant) -> Vec<Act> {
        let mut acts = Vec::new();
        for button in Button::ALL {
            let hold = &mut self.holds[button as usize];
            if let Hold::Repeating(pressed, last) = *hold
                && Self::release_seen(hold).is_some_and(|at| at <= now)
            {
                *hold = Hold::Up;
                let at = if last == pressed { pressed + TAP } else { last };
                acts.push(Act::Edge(Edge { button, motion: Motion::Released, at }));
            }
        }
        acts
    }

    fn release_seen(hold: &Hold) -> Option<Instant> {
        match hold {
            Hold::Repeating(pressed, last) => {
                Some(*last + if last == pressed { FIRST_REPEAT } else { NEXT_REPEAT })
            }
            _ => None,
        }
    }

    fn byte(&mut self, byte: u8, now: Instant, acts: &mut Vec<Act>) {
        match (self.pending.as_slice(), byte) {
            ([], 0x1B) => self.pending.push(byte),
            ([], _) => self.plain(byte, now, acts),
            // Escape alone, then something else.
            ([0x1B], 0x1B) => {}
            ([0x1B], b'[') => self.pending.push(byte),
            ([0x1B], _) => {
                self.pending.clear();
                self.plain(byte, now, acts);
            }
            (_, 0x40..=0x7E) => {
                let sequence = std::mem::take(&mut self.pending);
                if byte == b'u' {
                    self.told(&sequence[2..], now, acts);
                }
            }
            (pending, _) if pending.len() >= SEQUENCE => self.pending.clear(),
            _ => self.pending.push(byte),
        }
    }

    /// A key of a classic terminal.
    fn plain(&mut self, byte: u8, now: Instant, acts: &mut Vec<Act>) {
        match byte {
            b'c' | b'r' => {
                let button = if byte == b'c' { Button::Reconnect } else { Button::Reset };
                match &mut self.holds[button as usize] {
                    Hold::Repeating(_, last) => *last = now,
                    hold @ Hold::Up => {
                        *hold = Hold::Repeating(now, now);
                        acts.push(Act::Edge(Edge { button, motion: Motion::Pressed, at: now }));
                    }
                    Hold::Told | Hold::Latched => {}
                }
            }
            b'C' => self.latch(Button::Reconnect, now, acts),
            b'R' => self.latch(Button::Reset, now, acts),
            b'p' => acts.push(Act::Save),
            b'q' | 0x03 => acts.push(Act::Quit),
            _ => {}
        }
    }

    fn latch(&mut self, button: Button, now: Instant, acts: &mut Vec<Act>) {
        let hold = &mut self.holds[button as usize];
        let motion = match hold {
            Hold::Up => Motion::Pressed,
            Hold::Latched => Motion::Released,
            // Already held by its key, which will release it.
            Hold::Told | Hold::Repeating(..) => return,
        };
        *hold = if motion == Motion::Pressed { Hold::Latched } else { Hold::Up };
        acts.push(Act::Edge(Edge { button, motion, at: now }));
    }

    /// A key in the Kitty protocol: `code;modifiers:event`, where the modifiers are 1 plus a bit field with shift 1 and
    /// control 4, and the event is 1 pressed, 2 repeated, 3 released (see
    /// <https://sw.kovidgoyal.net/kitty/keyboard-protocol/>).
    fn told(&mut self, sequence: &[u8], now: Instant, acts: &mut Vec<Act>) {
        let text = String::from_utf8_lossy(sequence);
        let mut fields = text.split(';').map(|field| field.split(':').map(|n| n.parse::<u32>().ok()));
        let code = fields.next().and_then(|mut f| f.next()).flatten();
        let (modifiers, event) = match fields.next() {
            Some(mut f) => (f.next().flatten().unwrap_or(1), f.next().flatten().unwrap_or(1)),
            None => (1, 1),
        };
        // Without `code` it is the answer to a question about the protocol.
        let Some(key) = code.and_then(|c| u8::try_from(c).ok()) else { return };
        let held = modifiers.wrapping_sub(1);
        let (shift, control) = (held & 1 != 0, held & 4 != 0);
        let button = match key {
            b'c' if !control => Button::Reconnect,
            b'r' if !control => Button::Reset,
            _ if event != 1 => return,
            b'c' => return acts.push(Act::Quit),
            _ => return self.plain(key, now, acts),
        };
        let hold = &mut self.holds[button as usize];
        match (event, *hold) {
            (1, _) if shift => self.latch(button, now, acts),
            (1, Hold::Up) => {
                *hold = Hold::Told;
                acts.push(Act::Edge(Edge { button, motion: Motion::Pressed, at: now }));
            }
            (3, Hold::Told) => {
                *hold = Hold::Up;
                acts.push(Act::Edge(Edge { button, motion: Motion::Released, at: now }));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn edge(button: Button, motion: Motion, at: Instant) -> Act {
        Act::Edge(Edge { button, motion, at })
    }

    #[test]
    fn a_tap_is_short_although_its_release_is_seen_late() {
        let (mut keys, start) = (Keys::default(), Instant::now());
        assert_eq!(keys.feed(b"c", start), [edge(Button::Reconnect, Motion::Pressed, start)]);
        assert_eq!(keys.deadline(), Some(start + FIRST_REPEAT));
        assert_eq!(keys.expire(start + FIRST_REPEAT - MS), []);
        assert_eq!(
            keys.expire(start + FIRST_REPEAT),
            [edge(Button::Reconnect, Motion::Released, start + TAP)]
        );
        assert_eq!(keys.deadline(), None);
    }

    #[test]
    fn a_held_key_is_held_until_it_stops_repeating() {
        let (mut keys, start) = (Keys::default(), Instant::now());
        keys.feed(b"r", start);
        let mut now = start + 500 * MS;
        while now < start + 5000 * MS {
            assert_eq!(keys.feed(b"r", now), []);
            now += 33 * MS;
        }
        let last = now - 33 * MS;
        let acts = keys.expire(last + NEXT_REPEAT);
        assert_eq!(acts, [edge(Button::Reset, Motion::Released, last)]);
        assert!(last - start > 4900 * MS);
    }

    #[test]
    fn a_capital_letter_latches() {
        let (mut keys, start) = (Keys::default(), Instant::now());
        assert_eq!(keys.feed(b"R", start), [edge(Button::Reset, Motion::Pressed, start)]);
        assert_eq!(keys.deadline(), None);
        let later = start + 12_000 * MS;
        assert_eq!(keys.feed(b"R", later), [edge(Button::Reset, Motion::Released, later)]);
    }

    #[test]
    fn a_terminal_that_tells_releases_is_exact() {
        let (mut keys, start) = (Keys::default(), Instant::now());
        // The answer to the question, then a press, two repetitions, a release.
        assert_eq!(keys.feed(b"\x1b[?11u", start), []);
        assert_eq!(keys.feed(b"\x1b[114;1:1u", start), [edge(Button::Reset, Motion::Pressed, start)]);
        assert_eq!(keys.feed(b"\x1b[114;1:2u\x1b[114;1:2u", start + 600 * MS), []);
        assert_eq!(keys.expire(start + 9000 * MS), []);
        let end = start + 5003 * MS;
        // Cut in the middle, as a slow line may do.
        assert_eq!(keys.feed(b"\x1b[114;1", end), []);
        assert_eq!(keys.feed(b":3u", end), [edge(Button::Reset, Motion::Released, end)]);
        assert_eq!(keys.feed(b"\x1b[99;5u", end), [Act::Quit], "Ctrl-C");
        assert_eq!(keys.feed(b"\x1b[112u\x1b[112;1:3u", end), [Act::Save], "p, once");
        let latch = keys.feed(b"\x1b[99;2u\x1b[99;2:3u", end);
        assert_eq!(latch, [edge(Button::Reconnect, Motion::Pressed, end)], "shift latches");
    }

    #[test]
    fn other_keys_do_nothing() {
        let mut keys = Keys::default();
        assert_eq!(keys.feed(b"\x1b[A\x1b[1;5D\x1b[15~xyz \r\x7f\xc3\xa9", Instant::now()), []);
        assert_eq!(keys.feed(b"pq", Instant::now()), [Act::Save, Act::Quit]);
    }

    proptest! {
        /// Whatever is typed or pasted, the motions of a button alternate, its times do not go backwards, and it is not
        /// held for ever except by a latch or by a terminal that promised to tell.
        #[test]
        fn motions_alternate(
            input in prop::collection::vec((prop::collection::vec(prop_oneof![
                Just(b'c'), Just(b'r'), Just(b'C'), Just(b'R'), Just(0x1B), Just(b'['), Just(b';'), Just(b':'),
                Just(b'u'), Just(b'1'), Just(b'3'), Just(b'9'), any::<u8>()], 0..8), 0..1200u64), 0..60),
        ) {
            let (mut keys, mut now) = (Keys::default(), Instant::now());
            let mut acts = Vec::new();
            for (bytes, wait) in input {
                acts.extend(keys.feed(&bytes, now));
                now += Duration::from_millis(wait);
                acts.extend(keys.expire(now));
            }
            acts.extend(keys.expire(now + FIRST_REPEAT));
            prop_assert_eq!(keys.deadline(), None);
            for button in Button::ALL {
                let edges = acts.iter().filter_map(|a| match a {
                    Act::Edge(e) if e.button == button => Some(e),
                    _ => None,
                });
                let mut last: Option<&Edge> = None;
                for edge in edges {
                    let expected = if last.is_some_and(|l| l.motion == Motion::Pressed) { Motion::Released } else { Motion::Pressed };
                    prop_assert_eq!(edge.motion, expected);
                    prop_assert!(last.is_none_or(|l| l.at <= edge.at));
                    last = Some(edge);
                }
            }
        }
    }
}
