//! Which message goes next, and when: pure, so that pacing and order are tested without a clock or a network.
//!
//! Messages of one chat leave in the order in which they were accepted, one at a time; different chats do not wait for
//! each other. A message that has to be tried again holds its own chat only.
//!
//! Messages with a pause of their own form a slow lane: one at a time, in order, each that long after the one before.
//! The others do not wait for that lane, not even those of the same chat.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

/// First pause after a failed attempt; doubled each time.
const RETRY_FIRST: Duration = Duration::from_secs(2);
/// Longest pause between two attempts.
const RETRY_CAP: Duration = Duration::from_secs(300);

/// Pacing of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Pause between two sends.
    pub delay: Duration,
    /// Random extra, at most this.
    pub jitter: Duration,
    /// Sends in flight at once.
    pub parallel: usize,
}

struct Waiting {
    seq: u64,
    chat: String,
    not_before: Option<Instant>,
    /// Zero: not of the slow lane.
    pause: Duration,
}

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// Send this message to this chat.
    Send(u64, String),
    /// Nothing before this time.
    At(Instant),
    /// Nothing until a message comes or a send ends.
    Idle,
}

/// The messages of one session that are known in memory.
pub struct Schedule {
    pace: Pace,
    waiting: VecDeque<Waiting>,
    busy: HashSet<String>,
    in_flight: usize,
    next_send: Option<Instant>,
    /// The slow lane's message in flight: its chat and its pause.
    slow_flight: Option<(String, Duration)>,
    last_slow: Option<Instant>,
}

impl Schedule {
    /// An empty schedule.
    pub fn new(pace: Pace) -> Schedule {
        Schedule {
            pace,
            waiting: VecDeque::new(),
            busy: HashSet::new(),
            in_flight: 0,
            next_send: None,
            slow_flight: None,
            last_slow: None,
        }
    }

    /// Changes the pacing. A shorter pause counts at once, a longer one after the next message.
    pub fn set_pace(&mut self, pace: Pace, now: Instant) {
        if pace != self.pace {
            self.pace = pace;
            self.next_send = self.next_send.map(|at| at.min(now + pace.delay + pace.jitter));
        }
    }

    /// Messages waiting, not counting those in flight.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What waits, oldest first.
    pub fn waiting(&self) -> Vec<(u64, String)> {
        let mut all: Vec<_> = self.waiting.iter().map(|w| (w.seq, w.chat.clone())).collect();
        all.sort_unstable();
        all
    }

    /// Messages of the slow lane waiting, not counting one in flight.
    pub fn slow_len(&self) -> usize {
        self.waiting.iter().filter(|w| !w.pause.is_zero()).count()
    }

    /// Drops a waiting message. Whether it was there.
    pub fn forget(&mut self, seq: u64) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|w| w.seq != seq);
        self.waiting.len() < before
    }

    /// A message that waits for its next attempt need not wait any longer.
    pub fn hurry(&mut self, seq: u64) {
        if let Some(w) = self.waiting.iter_mut().find(|w| w.seq == seq) {
            w.not_before = None;
        }
    }

    /// Messages in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Adds a message behind all others.
    pub fn push(&mut self, seq: u64, chat: String) {
        self.push_slow(seq, chat, Duration::ZERO);
    }

    /// Adds a message behind all others, to the slow lane unless `pause` is zero.
    pub fn push_slow(&mut self, seq: u64, chat: String, pause: Duration) {
        self.waiting.push_back(Waiting { seq, chat, not_before: None, pause });
    }

    /// What to do now. After `Send`, the message is in flight until [`Schedule::done`] or [`Schedule::again`].
    pub fn next(&mut self, now: Instant, roll: f64) -> Next {
        if self.in_flight >= self.pace.parallel || self.waiting.is_empty() {
            return Next::Idle;
        }
        if let Some(at) = self.next_send.filter(|at| *at > now) {
            return Next::At(at);
        }
        let mut earliest: Option<Instant> = None;
        let mut passed: HashSet<&str> = HashSet::new();
        let mut found = None;
        let mut slow_held = self.slow_flight.is_some();
        for (index, w) in self.waiting.iter().enumerate() {
            let slow = !w.pause.is_zero();
            if slow && slow_held {
                continue;
            }
            if self.busy.contains(&w.chat) || passed.contains(w.chat.as_str()) {
                // Its turn in the slow lane stays its own while its chat is busy.
                slow_held |= slow;
                continue;
            }
            if slow
                && w.not_before.is_none_or(|at| at <= now)
                && let Some(at) = self.last_slow.map(|last| last + w.pause).filter(|at| *at > now)
            {
                earliest = Some(earliest.map_or(at, |e| e.min(at)));
                slow_held = true;
                continue;
            }
            match w.not_before {
                Some(at) if at > now => {
                    earliest = Some(earliest.map_or(at, |e| e.min(at)));
                    passed.insert(&w.chat);
                }
                _ => {
                    found = Some(index);
                    break;
                }
            }
        }
        match found.and_then(|index| self.waiting.remove(index)) {
            Some(w) => {
                let pause = self.pace.delay + self.pace.jitter.mul_f64(roll.clamp(0.0, 1.0));
                self.next_send = (!pause.is_zero()).then(|| now + pause);
                self.busy.insert(w.chat.clone());
                self.in_flight += 1;
                if !w.pause.is_zero() {
                    self.last_slow = Some(now);
                    self.slow_flight = Some((w.chat.clone(), w.pause));
                }
                Next::Send(w.seq, w.chat)
            }
            None => earliest.map_or(Next::Idle, Next::At),
        }
    }

    /// The message in flight to `chat` is finished, well or badly.
    pub fn done(&mut self, chat: &str) {
        if self.busy.remove(chat) {
            self.in_flight -= 1;
        }
        if self.slow_flight.as_ref().is_some_and(|(slow, _)| slow == chat) {
            self.slow_flight = None;
        }
    }

    /// The message in flight to `chat` is to be tried again after `pause`, before any other to that chat.
    pub fn again(&mut self, seq: u64, chat: String, pause: Duration, now: Instant) {
        let slow = self.slow_flight.as_ref().filter(|(slow, _)| *slow == chat);
        let own_pause = slow.map_or(Duration::ZERO, |(_, pause)| *pause);
        self.done(&chat);
        self.waiting.push_front(Waiting { seq, chat, not_before: Some(now + pause), pause: own_pause });
    }
}

/// Pause before attempt `attempts + 1`: 2, 4, 8 … seconds up to five minutes, ±20 %.
pub fn retry_pause(attempts: u32, roll: f64) -> Duration {
    let doubled = RETRY_FIRST.saturating_mul(2u32.saturating_pow(attempts.saturating_sub(1).min(16)));
    doubled.min(RETRY_CAP).mul_f64(0.8 + 0.4 * roll.clamp(0.0, 1.0))
}

/// Whether a server's refusal is final. Codes as WhatsApp Web treats them: 4xx say that the same stanza would be
/// refused again, except 408, 421, 429 and 479 (the recipient's device list was out of date; a resend asks afresh).
pub fn refusal_is_final(code: &str) -> bool {
    match code.parse::<u16>() {
        Ok(408 | 421 | 429 | 479) => false,
        Ok(code) => (400..500).contains(&code),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NO_PACE: Pace = Pace { delay: Duration::ZERO, jitter: Duration::ZERO, parallel: 3 };

    fn send(seq: u64, chat: &str) -> Next {
        Next::Send(seq, chat.into())
    }

    #[test]
    fn one_chat_is_in_order_and_another_does_not_wait_for_it() {
        let now = Instant::now();
        let mut s = Schedule::new(NO_PACE);
        for (seq, chat) in [(1, "a"), (2, "a"), (3, "b")] {
            s.push(seq, chat.into());
        }
        assert_eq!(s.next(now, 0.0), send(1, "a"));
        assert_eq!(s.next(now, 0.0), send(3, "b"));
        assert_eq!(s.next(now, 0.0), Next::Idle);
        s.again(1, "a".into(), Duration::from_secs(2), now);
        assert_eq!(s.next(now, 0.0), Next::At(now + Duration::from_secs(2)));
        assert_eq!(
            s.next(now + Duration::from_secs(2), 0.0),
            send(1, "a"),
            "a retry goes before the next of its chat"
        );
        s.done("a");
        assert_eq!(s.next(now, 0.0), send(2, "a"));
    }

    #[test]
    fn the_pause_between_sends_is_kept_with_its_jitter() {
        let now = Instant::now();
        let pace = Pace { delay: Duration::from_secs(5), jitter: Duration::from_secs(2), parallel: 8 };
        let mut s = Schedule::new(pace);
        s.push(1, "a".into());
        s.push(2, "b".into());
        assert_eq!(s.next(now, 0.5), send(1, "a"));
        assert_eq!(s.next(now, 0.5), Next::At(now + Duration::from_secs(6)));
        assert_eq!(s.next(now + Duration::from_secs(6), 0.5), send(2, "b"));
    }

    #[test]
    fn a_shorter_pause_counts_at_once_and_a_longer_one_after_the_next_message() {
        let (now, hour) = (Instant::now(), Duration::from_secs(3600));
        let second = Duration::from_secs(1);
        let mut s = Schedule::new(Pace { delay: hour, ..NO_PACE });
        for chat in ["a", "b", "c"] {
            s.push(1, chat.into());
        }
        assert_eq!(s.next(now, 0.0), send(1, "a"));
        assert_eq!(s.next(now, 0.0), Next::At(now + hour));
        s.set_pace(Pace { delay: second, ..NO_PACE }, now);
        assert_eq!(s.next(now, 0.0), Next::At(now + second));
        s.set_pace(Pace { delay: hour, ..NO_PACE }, now);
        assert_eq!(s.next(now + second, 0.0), send(1, "b"));
        assert_eq!(s.next(now + second, 0.0), Next::At(now + second + hour));
    }

    #[test]
    fn the_slow_lane_is_in_order_with_its_own_pauses_and_holds_nobody_else() {
        let second = Duration::from_secs(1);
        let now = Instant::now();
        let mut s = Schedule::new(NO_PACE);
        for (seq, chat) in [(1, "a"), (2, "b"), (3, "c")] {
            s.push_slow(seq, chat.into(), 5 * second);
        }
        s.push(4, "b".into());
        assert_eq!(s.next(now, 0.0), send(1, "a"));
        assert_eq!(s.next(now, 0.0), send(4, "b"), "another message of that chat does not wait for the lane");
        assert_eq!(s.next(now + 9 * second, 0.0), Next::Idle, "one at a time");
        s.done("b");
        s.again(1, "a".into(), 8 * second, now);
        assert_eq!(s.next(now + 4 * second, 0.0), Next::At(now + 5 * second));
        assert_eq!(s.next(now + 5 * second, 0.0), send(2, "b"), "one in back-off gives way");
        s.done("b");
        assert_eq!(s.next(now + 10 * second, 0.0), send(1, "a"));
        s.done("a");
        assert_eq!(s.slow_len(), 1);
        assert!(s.forget(3) && !s.forget(3) && s.is_empty());
    }

    #[test]
    fn a_message_in_back_off_can_be_hurried() {
        let now = Instant::now();
        let mut s = Schedule::new(NO_PACE);
        s.push(1, "a".into());
        assert_eq!(s.next(now, 0.0), send(1, "a"));
        s.again(1, "a".into(), Duration::from_secs(60), now);
        s.hurry(1);
        assert_eq!(s.next(now, 0.0), send(1, "a"));
    }

    #[test]
    fn retries_back_off_to_five_minutes() {
        let pauses: Vec<_> = (1..12).map(|n| retry_pause(n, 0.5).as_secs()).collect();
        assert_eq!(pauses[..4], [2, 4, 8, 16]);
        assert_eq!(*pauses.last().unwrap(), 300);
    }

    #[test]
    fn a_refusal_that_a_resend_can_cure_is_not_final() {
        assert!(["400", "403", "404", "463"].iter().all(|c| refusal_is_final(c)));
        assert!(!["479", "429", "500", "503", "odd"].iter().any(|c| refusal_is_final(c)));
    }

    proptest! {
        /// Every message is sent once per try, each chat in order, never more in flight than allowed.
        #[test]
        fn order_and_bounds_hold(chats in prop::collection::vec(0u8..4, 1..60), fails in prop::collection::vec(any::<bool>(), 200)) {
            let mut now = Instant::now();
            let mut s = Schedule::new(NO_PACE);
            for (seq, chat) in chats.iter().enumerate() {
                s.push(seq as u64, chat.to_string());
            }
            let mut fails = fails.into_iter();
            let mut flying: Vec<u64> = Vec::new();
            let mut finished: Vec<u64> = Vec::new();
            while finished.len() < chats.len() {
                match s.next(now, 0.0) {
                    Next::Send(seq, _) => {
                        let chat = chats[seq as usize];
                        prop_assert!(flying.iter().all(|other| chats[*other as usize] != chat));
                        flying.push(seq);
                        prop_assert!(flying.len() <= NO_PACE.parallel);
                        continue;
                    }
                    Next::At(at) if flying.is_empty() => { now = at; continue; }
                    _ => {}
                }
                let seq = flying.remove(0);
                let chat = chats[seq as usize].to_string();
                if fails.next().unwrap_or(false) {
                    s.again(seq, chat, Duration::from_secs(1), now);
                } else {
                    s.done(&chat);
                    finished.push(seq);
                }
            }
            for chat in 0u8..4 {
                let of_chat: Vec<_> = finished.iter().filter(|s| chats[**s as usize] == chat).collect();
                prop_assert!(of_chat.is_sorted());
            }
        }
    }
}
