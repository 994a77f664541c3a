use proptest::prelude::*;

use super::*;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Fingers on the buttons, and all that came out.
struct Bench {
    start: Instant,
    now: Instant,
    presses: Presses,
    meant: Vec<Gesture>,
}

impl Bench {
    fn new(held: &[Button]) -> Self {
        let start = Instant::now();
        Self { start, now: start, presses: Presses::new(held), meant: Vec::new() }
    }

    /// Lets time pass until `at` after the start, waking at each deadline as the panel does.
    fn until(&mut self, at: Duration) {
        let until = (self.start + at).max(self.now);
        while let Some(due) = self.presses.deadline().filter(|d| *d <= until) {
            assert!(due >= self.now, "a deadline in the past is never met");
            self.now = due;
            let before = self.presses.deadline();
            self.meant.extend(self.presses.pass(due));
            assert_ne!(self.presses.deadline(), before, "woken for nothing");
        }
        self.now = until;
    }

    /// An edge at `at` that is delivered `late`.
    fn edge(&mut self, button: Button, motion: Motion, at: Duration, late: Duration) {
        self.until(at + late);
        let edge = Edge { button, motion, at: self.start + at };
        self.meant.extend(self.presses.edge(edge, self.now));
    }

    fn press(&mut self, button: Button, from: u64, to: u64) {
        self.edge(button, Motion::Pressed, ms(from), ms(0));
        self.edge(button, Motion::Released, ms(to), ms(0));
    }

    fn meant(mut self) -> Vec<Gesture> {
        self.until(ms(10_000_000));
        self.meant
    }
}

fn after_hold(button: Button, held: u64) -> Vec<Gesture> {
    let mut bench = Bench::new(&[]);
    bench.press(button, 1000, 1000 + held);
    bench.meant()
}

#[test]
fn each_length_of_a_hold_has_one_meaning() {
    use Button::{Reconnect, Reset};
    for (button, held, expected) in [
        (Reconnect, 29, None),
        (Reconnect, 30, Some(Gesture::Tap(Reconnect))),
        (Reconnect, 1999, Some(Gesture::Tap(Reconnect))),
        (Reconnect, 2000, Some(Gesture::Held(Reconnect, Step::First))),
        (Reconnect, 59_999, Some(Gesture::Held(Reconnect, Step::First))),
        (Reconnect, 60_000, None),
        (Reset, 4999, Some(Gesture::Tap(Reset))),
        (Reset, 5000, Some(Gesture::Held(Reset, Step::First))),
        (Reset, 11_999, Some(Gesture::Held(Reset, Step::First))),
        (Reset, 12_000, Some(Gesture::Held(Reset, Step::Second))),
        (Reset, 59_999, Some(Gesture::Held(Reset, Step::Second))),
        (Reset, 60_000, None),
        (Reset, 600_000, None),
    ] {
        assert_eq!(after_hold(button, held), Vec::from_iter(expected), "{button} for {held} ms");
    }
}

#[test]
fn nothing_is_meant_before_the_release() {
    let mut bench = Bench::new(&[]);
    bench.edge(Button::Reset, Motion::Pressed, ms(0), ms(0));
    bench.until(ms(59_000));
    assert_eq!(bench.meant, []);
    bench.edge(Button::Reset, Motion::Released, ms(59_000), ms(0));
    bench.until(ms(59_049));
    assert_eq!(bench.meant, [], "it has to stay up");
    bench.until(ms(59_050));
    assert_eq!(bench.meant, [Gesture::Held(Button::Reset, Step::Second)]);
}

#[test]
fn a_button_that_is_down_at_power_on_means_nothing_until_it_was_released() {
    for glitch in [false, true] {
        let mut bench = Bench::new(&[Button::Reset]);
        if glitch {
            // The contact opens for a moment: that is no release.
            bench.edge(Button::Reset, Motion::Released, ms(3000), ms(0));
            bench.edge(Button::Reset, Motion::Pressed, ms(3020), ms(0));
        }
        bench.edge(Button::Reset, Motion::Released, ms(20_000), ms(0));
        bench.press(Button::Reset, 21_000, 27_000);
        assert_eq!(bench.meant(), [Gesture::Held(Button::Reset, Step::First)], "only the later hold");
    }
}

#[test]
fn a_bounce_begins_the_hold_anew_and_makes_no_tap() {
    let mut bench = Bench::new(&[]);
    bench.press(Button::Reset, 0, 4900);
    bench.press(Button::Reset, 4920, 6000);
    assert_eq!(bench.meant(), [], "neither 6 s nor a tap");
    let mut bench = Bench::new(&[]);
    for i in 0..2000 {
        bench.press(Button::Reconnect, i * 60, i * 60 + 40);
    }
    assert_eq!(bench.meant(), [], "a contact that chatters for two minutes");
}

#[test]
fn both_buttons_together_mean_nothing_until_both_were_released() {
    let mut bench = Bench::new(&[]);
    bench.edge(Button::Reset, Motion::Pressed, ms(0), ms(0));
    bench.press(Button::Reconnect, 1000, 4000);
    bench.edge(Button::Reset, Motion::Released, ms(13_000), ms(0));
    bench.press(Button::Reconnect, 14_000, 17_000);
    assert_eq!(bench.meant(), [Gesture::Held(Button::Reconnect, Step::First)]);
}

#[test]
fn a_stuck_button_does_not_disable_the_other_one() {
    let mut bench = Bench::new(&[]);
    bench.edge(Button::Reset, Motion::Pressed, ms(0), ms(0));
    bench.press(Button::Reconnect, 70_000, 73_000);
    assert_eq!(bench.meant(), [Gesture::Held(Button::Reconnect, Step::First)]);
}

#[test]
fn edges_that_come_late_count_from_when_they_happened() {
    let mut bench = Bench::new(&[]);
    bench.edge(Button::Reset, Motion::Pressed, ms(0), ms(0));
    bench.edge(Button::Reset, Motion::Released, ms(4900), ms(800));
    assert_eq!(bench.meant(), [Gesture::Tap(Button::Reset)]);
    // Three at once, after a display that blocked for two seconds.
    let mut bench = Bench::new(&[]);
    bench.edge(Button::Reconnect, Motion::Pressed, ms(0), ms(5000));
    bench.edge(Button::Reconnect, Motion::Released, ms(2500), ms(2500));
    bench.edge(Button::Reconnect, Motion::Pressed, ms(3000), ms(2000));
    assert_eq!(bench.meant, [Gesture::Held(Button::Reconnect, Step::First)]);
}

/// An edge as a bad contact or a bad finger makes it: which button, which motion, how long after the last.
type Move = (bool, bool, u64);

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let pause = prop_oneof![0..60u64, 30..3000u64, 1900..2200u64, 4900..13_000u64, 50_000..70_000u64];
    prop::collection::vec((any::<bool>(), any::<bool>(), pause), 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whatever_the_contacts_do_only_a_whole_clean_hold_acts(moves in moves(), held in 0..4usize, late in 0..200u64) {
        let held: Vec<Button> = Button::ALL.into_iter().enumerate()
            .filter(|(i, _)| held >> i & 1 == 1).map(|(_, b)| b).collect();
        let mut bench = Bench::new(&held);
        let mut down: Vec<Button> = held.clone();
        // Each button's real contact times: closed at, opened at.
        let mut closed: [Option<u64>; 2] = [None; 2];
        let mut spans: Vec<(Button, u64, u64)> = Vec::new();
        let mut edges: Vec<(Button, Motion, u64)> = Vec::new();
        let mut at = 0;
        for (second, pressed, pause) in moves {
            at += pause;
            let (button, motion) = (
                if second { Button::Reset } else { Button::Reconnect },
                if pressed { Motion::Pressed } else { Motion::Released },
            );
            bench.edge(button, motion, ms(at), ms(late));
            match motion {
                Motion::Pressed if !down.contains(&button) => {
                    down.push(button);
                    closed[index(button)] = Some(at);
                }
                Motion::Released if down.contains(&button) => {
                    down.retain(|b| *b != button);
                    if let Some(from) = closed[index(button)].take() {
                        spans.push((button, from, at));
                    }
                }
                _ => continue,
            }
            edges.push((button, motion, at));
        }
        let meant = bench.meant();
        prop_assert!(meant.len() <= spans.len());
        // Each act has a span of its own, in the same order, that was long enough, not too long, and really over.
        let mut rest = spans.iter();
        for gesture in &meant {
            let found = rest.by_ref().find(|(button, from, to)| {
                let again = edges.iter().find(|(b, m, t)| b == button && *m == Motion::Pressed && t >= to && t > from);
                let stays_up = again.is_none_or(|(_, _, t)| ms(t - to) >= SETTLE);
                let other_came = edges.iter().enumerate().any(|(i, (b, m, t))| {
                    let before = edges[..i].iter().rfind(|(x, _, _)| x == b);
                    let clean = before.is_none_or(|(_, _, up)| ms(t - up) >= SETTLE);
                    b != button && *m == Motion::Pressed && clean && t > from && t < to
                });
                let length = ms(to - from);
                let right = match gesture {
                    Gesture::Tap(b) => b == button && length >= TAP && step_after(*b, length) == Step::Early,
                    Gesture::Held(b, step) => b == button && length < STUCK_AFTER && step_after(*b, length) == *step,
                };
                right && stays_up && !other_came
            });
            prop_assert!(found.is_some(), "{:?} of {:?} from {:?}", gesture, meant, spans);
        }
    }

    #[test]
    fn a_clean_hold_after_any_mess_means_what_its_length_says(moves in moves(), held in 0..59_000u64) {
        let mut bench = Bench::new(&[]);
        let mut at = 0;
        for (second, pressed, pause) in moves {
            at += pause;
            let button = if second { Button::Reset } else { Button::Reconnect };
            bench.edge(button, if pressed { Motion::Pressed } else { Motion::Released }, ms(at), ms(0));
        }
        for button in Button::ALL {
            bench.edge(button, Motion::Released, ms(at + 1), ms(0));
        }
        at += 1000;
        bench.until(ms(at));
        let before = bench.meant.len();
        bench.press(Button::Reset, at, at + held);
        let meant = bench.meant();
        let expected = match step_after(Button::Reset, ms(held)) {
            Step::Early if ms(held) < TAP => None,
            Step::Early => Some(Gesture::Tap(Button::Reset)),
            step => Some(Gesture::Held(Button::Reset, step)),
        };
        prop_assert_eq!(&meant[before..], Vec::from_iter(expected));
    }
}
