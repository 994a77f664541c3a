//! When what is delivered to one webhook. Pure.
//!
//! Events go out one after the other in the journal's order. While the receiver cannot be reached, the event in front
//! is held and everything waits behind it: nothing overtakes, nothing is lost. An event that a working receiver refuses
//! is set aside and tried again by itself, so that it does not hold up the others.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Longest pause between two attempts.
pub const MAX_PAUSE: Duration = Duration::from_secs(3600);
/// Most events that are set aside; beyond it a refused event holds up the others.
pub const MAX_PARKED: usize = 1_000;
/// Attempts after which an event that only ever times out is set aside.
const SLOW_ATTEMPTS: u32 = 3;
/// Refusals in a row after which the receiver is given a rest.
const FREE_REFUSALS: u32 = 3;
/// Longest rest of a receiver that answers.
const MAX_REST: Duration = Duration::from_secs(60);

/// The pause after the `attempt`th failure: doubling from `base`, between three and five quarters of that by `roll`
/// (0..1), so that receivers that failed together are not called together.
pub fn retry_pause(base: Duration, attempt: u32, roll: f64) -> Duration {
    let doubled = base.saturating_mul(1 << attempt.saturating_sub(1).min(20));
    doubled.min(MAX_PAUSE).mul_f64(0.75 + 0.5 * roll.clamp(0.0, 1.0))
}

/// An event that was set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parked {
    /// Attempts so far; 0 for one that is to be sent again on request.
    pub attempts: u32,
    /// When its first attempt failed, Unix milliseconds.
    pub first_ms: i64,
    /// When the next is due, Unix milliseconds.
    pub next_ms: i64,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver took it.
    Delivered,
    /// The receiver answered, but not that it took it.
    Refused,
    /// The receiver did not answer in time.
    Slow,
    /// The receiver cannot be reached, or says that it is busy; with the pause it asked for.
    Down(Option<Duration>),
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Try this event that was set aside.
    Parked(u64),
    /// Try the next event of the journal. If there is none, wait for one, or until this time (Unix milliseconds).
    Next(Option<i64>),
    /// Wait until then, Unix milliseconds.
    Rest(i64),
}

/// What an attempt leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It is finished; go past it.
    Done,
    /// It is set aside; go past it.
    Parked(Parked),
    /// It stays in front.
    Held,
    /// It is given up; go past it.
    Dead {
        /// Attempts made.
        attempts: u32,
        /// When the first failed, Unix milliseconds.
        first_ms: i64,
    },
}

/// The state of one webhook's deliveries.
#[derive(Clone, Debug)]
pub struct Lane {
    base: Duration,
    give_up: Duration,
    parked: BTreeMap<u64, Parked>,
    /// Failures since the last success.
    failures: u32,
    failing_since: Option<i64>,
    rest_until: Option<i64>,
    /// The event in front and its failed attempts.
    front: (u64, u32),
}

impl Lane {
    /// A lane with the events that were set aside earlier. `base`: the first pause. `give_up`: how long an event is
    /// tried before it goes to the dead letters.
    pub fn new(base: Duration, give_up: Duration, parked: BTreeMap<u64, Parked>) -> Lane {
        Lane { base, give_up, parked, failures: 0, failing_since: None, rest_until: None, front: (0, 0) }
    }

    /// Events that are set aside.
    pub fn parked(&self) -> usize {
        self.parked.len()
    }

    /// Attempts made for this event so far.
    pub fn attempts(&self, seq: u64) -> u32 {
        match self.parked.get(&seq) {
            Some(parked) => parked.attempts,
            None if self.front.0 == seq => self.front.1,
            None => 0,
        }
    }

    /// Since when nothing was delivered although it was tried, Unix milliseconds.
    pub fn failing_since(&self) -> Option<i64> {
        self.failing_since
    }

    /// Sets an event aside that is to be sent (again) on request. `false`: there is no room.
    pub fn request(&mut self, seq: u64, now: i64) -> bool {
        if self.parked.len() >= MAX_PARKED && !self.parked.contains_key(&seq) {
            return false;
        }
        self.parked.insert(seq, Parked { attempts: 0, first_ms: now, next_ms: now });
        true
    }

    /// Forgets an event that was set aside.
    pub fn forget(&mut self, seq: u64) {
        self.parked.remove(&seq);
    }

    /// Forgets the rest that the receiver was given: somebody says that it is back.
    pub fn wake(&mut self) {
        self.rest_until = None;
    }

    /// The clock was wrong when attempts failed, and is right from now on: what failed is tried at once, and its time
    /// before it is given up begins anew.
    pub fn clock_was_set(&mut self, now: i64) {
        (self.failing_since, self.rest_until) = (None, None);
        for parked in self.parked.values_mut() {
            (parked.first_ms, parked.next_ms) = (now, now);
        }
    }

    /// What to do now.
    pub fn next(&self, now: i64) -> Step {
        if let Some(until) = self.rest_until.filter(|until| *until > now) {
            return Step::Rest(until);
        }
        match self.parked.iter().min_by_key(|(seq, parked)| (parked.next_ms, **seq)) {
            Some((seq, parked)) if parked.next_ms <= now => Step::Parked(*seq),
            Some((_, parked)) => Step::Next(Some(parked.next_ms)),
            None => Step::Next(None),
        }
    }

    /// Takes how an attempt ended. `recorded_ms`: when the event happened.
    pub fn settle(&mut self, seq: u64, recorded_ms: i64, outcome: Outcome, now: i64, roll: f64) -> Effect {
        if outcome == Outcome::Delivered {
            (self.failures, self.failing_since, self.rest_until) = (0, None, None);
            self.parked.remove(&seq);
            return Effect::Done;
        }
        self.failures = self.failures.saturating_add(1);
        let failing_since = *self.failing_since.get_or_insert(now);
        self.rest_until = self.rest(outcome, now, roll);
        if let Some(parked) = self.parked.get_mut(&seq) {
            parked.attempts = parked.attempts.saturating_add(1);
            if now.saturating_sub(parked.first_ms) >= ms(self.give_up) {
                let Parked { attempts, first_ms, .. } = *parked;
                self.parked.remove(&seq);
                return Effect::Dead { attempts, first_ms };
            }
            parked.next_ms = now.saturating_add(ms(retry_pause(self.base, parked.attempts, roll)));
            return Effect::Parked(parked.clone());
        }
        if self.front.0 != seq {
            self.front = (seq, 0);
        }
        self.front.1 = self.front.1.saturating_add(1);
        let attempts = self.front.1;
        let first_ms = recorded_ms.max(failing_since);
        if now.saturating_sub(first_ms) >= ms(self.give_up) {
            return Effect::Dead { attempts, first_ms };
        }
        let aside = match outcome {
            Outcome::Refused => true,
            Outcome::Slow => attempts >= SLOW_ATTEMPTS,
            Outcome::Down(_) | Outcome::Delivered => false,
        };
        if !aside {
            return Effect::Held;
        }
        if self.parked.len() >= MAX_PARKED {
            // Without this, a receiver that answers everything with an error would be called without a pause.
            let pause = ms(retry_pause(self.base, self.failures, roll));
            self.rest_until = Some(now.saturating_add(pause));
            return Effect::Held;
        }
        let next_ms = now.saturating_add(ms(retry_pause(self.base, attempts, roll)));
        let parked = Parked { attempts, first_ms: now, next_ms };
        self.parked.insert(seq, parked.clone());
        Effect::Parked(parked)
    }

    fn rest(&self, outcome: Outcome, now: i64, roll: f64) -> Option<i64> {
        let pause = match outcome {
            Outcome::Delivered => return None,
            Outcome::Refused => {
                let over = self.failures.checked_sub(FREE_REFUSALS).filter(|over| *over > 0)?;
                retry_pause(self.base, over, roll).min(MAX_REST)
            }
            Outcome::Slow | Outcome::Down(None) => retry_pause(self.base, self.failures, roll),
            Outcome::Down(Some(asked)) => asked.min(MAX_PAUSE),
        };
        Some(now.saturating_add(ms(pause)))
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BASE: Duration = Duration::from_secs(5);
    const GIVE_UP: Duration = Duration::from_secs(24 * 3600);
    const DAY: i64 = 24 * 3600 * 1000;

    #[test]
    fn failures_by_a_wrong_clock_do_not_count() {
        let mut lane = Lane::new(BASE, GIVE_UP, BTreeMap::new());
        assert!(matches!(lane.settle(1, 0, Outcome::Refused, 0, 0.5), Effect::Parked(_)));
        assert_eq!(lane.settle(2, 0, Outcome::Down(None), 0, 0.5), Effect::Held);
        let right = 300 * DAY;
        lane.clock_was_set(right);
        assert_eq!(lane.next(right), Step::Parked(1));
        assert!(matches!(lane.settle(1, 0, Outcome::Refused, right, 0.5), Effect::Parked(_)));
        assert_eq!(lane.settle(2, 0, Outcome::Down(None), right, 0.5), Effect::Held);
        assert!(matches!(lane.settle(2, 0, Outcome::Down(None), right + DAY, 0.5), Effect::Dead { .. }));
    }

    #[test]
    fn pauses_double_up_to_an_hour_and_are_spread() {
        assert_eq!(retry_pause(BASE, 1, 0.5), BASE);
        assert_eq!(retry_pause(BASE, 4, 0.5), BASE * 8);
        assert_eq!(retry_pause(BASE, 60, 0.5), MAX_PAUSE);
        assert_eq!(retry_pause(BASE, 1, 0.0), BASE.mul_f64(0.75));
        assert_eq!(retry_pause(BASE, 1, 1.0), BASE.mul_f64(1.25));
    }

    #[test]
    fn a_receiver_that_is_down_holds_the_front_until_it_is_back() {
        let mut lane = Lane::new(BASE, GIVE_UP, BTreeMap::new());
        let mut now = 1_000;
        for attempt in 1..10 {
            assert_eq!(lane.next(now), Step::Next(None));
            assert_eq!(lane.settle(7, 500, Outcome::Down(None), now, 0.5), Effect::Held);
            assert_eq!(lane.attempts(7), attempt);
            let Step::Rest(until) = lane.next(now) else { panic!() };
            assert_eq!(until - now, ms(retry_pause(BASE, attempt, 0.5)));
            now = until;
        }
        assert_eq!(lane.settle(7, 500, Outcome::Delivered, now, 0.5), Effect::Done);
        assert_eq!((lane.next(now), lane.failing_since()), (Step::Next(None), None));
    }

    #[test]
    fn what_was_recorded_long_ago_still_gets_its_day() {
        let mut lane = Lane::new(BASE, GIVE_UP, BTreeMap::new());
        let start = 10 * DAY;
        assert_eq!(lane.settle(1, 0, Outcome::Down(None), start, 0.5), Effect::Held);
        assert_eq!(lane.settle(1, 0, Outcome::Down(None), start + DAY - 1, 0.5), Effect::Held);
        let dead = lane.settle(1, 0, Outcome::Down(None), start + DAY, 0.5);
        assert_eq!(dead, Effect::Dead { attempts: 3, first_ms: start });
        // The next one came in the middle of the outage and has its own day.
        let later = start + DAY / 2;
        assert_eq!(lane.settle(2, later, Outcome::Down(None), start + DAY, 0.5), Effect::Held);
    }

    #[test]
    fn a_refused_event_is_set_aside_and_dies_after_a_day_of_its_own() {
        let mut lane = Lane::new(BASE, GIVE_UP, BTreeMap::new());
        let Effect::Parked(parked) = lane.settle(1, 0, Outcome::Refused, 0, 0.5) else { panic!() };
        assert_eq!((parked.attempts, parked.next_ms), (1, 5_000));
        assert_eq!(lane.next(0), Step::Next(Some(5_000)), "the others go on meanwhile");
        assert_eq!(lane.settle(2, 0, Outcome::Delivered, 1, 0.5), Effect::Done);
        assert_eq!(lane.next(5_000), Step::Parked(1));
        assert!(
            matches!(lane.settle(1, 0, Outcome::Refused, 5_000, 0.5), Effect::Parked(p) if p.attempts == 2)
        );
        let dead = lane.settle(1, 0, Outcome::Refused, DAY, 0.5);
        assert_eq!(dead, Effect::Dead { attempts: 3, first_ms: 0 });
        assert_eq!(lane.parked(), 0);
    }

    #[test]
    fn an_event_that_only_one_receiver_chokes_on_does_not_block_it_for_ever() {
        let mut lane = Lane::new(BASE, GIVE_UP, BTreeMap::new());
        assert_eq!(lane.settle(1, 0, Outcome::Slow, 0, 0.5), Effect::Held);
        assert_eq!(lane.settle(1, 0, Outcome::Slow, 0, 0.5), Effect::Held);
        assert!(matches!(lane.settle(1, 0, Outcome::Slow, 0, 0.5), Effect::Parked(_)));
    }

    #[test]
    fn a_pause_that_the_receiver_asks_for_is_kept_but_not_beyond_reason() {
        let mut lane = Lane::new(BASE, GIVE_UP, BTreeMap::new());
        lane.settle(1, 0, Outcome::Down(Some(Duration::from_secs(90))), 0, 0.5);
        assert_eq!(lane.next(0), Step::Rest(90_000));
        lane.settle(1, 0, Outcome::Down(Some(Duration::from_secs(9_000_000))), 90_000, 0.5);
        assert_eq!(lane.next(90_000), Step::Rest(90_000 + ms(MAX_PAUSE)));
        lane.wake();
        assert_eq!(lane.next(90_000), Step::Next(None));
    }

    fn outcomes() -> impl Strategy<Value = Outcome> {
        prop_oneof![
            3 => Just(Outcome::Delivered),
            2 => Just(Outcome::Refused),
            1 => Just(Outcome::Slow),
            2 => Just(Outcome::Down(None)),
            1 => (0u64..10_000).prop_map(|s| Outcome::Down(Some(Duration::from_secs(s)))),
        ]
    }

    proptest! {
        /// However the receiver behaves, every event ends delivered, dead or set aside, none is skipped, none ends
        /// twice, and there is always something to do or to wait for.
        #[test]
        fn no_event_is_lost(script in prop::collection::vec((outcomes(), 0.0f64..1.0), 0..400)) {
            let mut lane = Lane::new(BASE, GIVE_UP, BTreeMap::new());
            let (mut now, mut cursor) = (0i64, 0u64);
            let mut ended = std::collections::BTreeSet::new();
            for (outcome, roll) in script {
                let seq = match lane.next(now) {
                    Step::Rest(until) => { prop_assert!(until > now && until - now <= ms(MAX_PAUSE) * 5 / 4); now = until; continue }
                    Step::Parked(seq) => seq,
                    Step::Next(_) => cursor + 1,
                };
                let was_parked = seq <= cursor;
                match lane.settle(seq, now, outcome, now, roll) {
                    Effect::Done | Effect::Dead { .. } => {
                        prop_assert!(ended.insert(seq), "{seq} ended twice");
                        cursor = cursor.max(seq);
                    }
                    Effect::Parked(parked) => {
                        prop_assert!(parked.next_ms > now);
                        cursor = cursor.max(seq);
                    }
                    Effect::Held => prop_assert!(!was_parked && seq == cursor + 1),
                }
                prop_assert_eq!(ended.len() + lane.parked(), usize::try_from(cursor).unwrap());
                now += 1;
            }
        }
    }
}
