//! The LED: one table of patterns. The names are those of the README and the status API.

use std::time::Duration;

use kurir_board::Dimming;

/// How often a breathing light takes a new level. 25 a second looks smooth.
const BREATH_STEP: Duration = Duration::from_millis(40);
/// The level of [`Light::Steady`]: half as bright as it can be, so that it does not light the room.
const STEADY: u8 = 128;
/// The darkest level of a breath: it never looks off.
const BREATH_LOW: u8 = 16;

/// What the LED says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// The gateway starts, or writes an update.
    Starting,
    /// There is no network.
    NoNetwork,
    /// A QR or pairing code waits for a phone.
    WaitingForScan,
    /// A session connects.
    Connecting,
    /// Every session is online.
    Online,
    /// A message went out or came in.
    Traffic,
    /// Somebody has to do something; the screen says what.
    NeedsAttention,
    /// A button is held, and a release does nothing yet.
    Hold,
    /// A button is held, and a release connects anew, or unlinks.
    HoldAct,
    /// A button is held, and a release erases everything.
    HoldErase,
    /// Everything is being erased.
    Erasing,
}

/// The shape of a pattern, for both kinds of LED.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Light {
    /// On.
    Steady,
    /// From dark to bright and back in this time; on and off for half of it each where the LED cannot dim.
    Breath(Duration),
    /// This many flashes of `on`, `off` apart, then dark for `pause` (instead of the last `off`).
    Flashes {
        /// How many.
        count: u32,
        /// How long each.
        on: Duration,
        /// How long between two.
        off: Duration,
        /// How long after the last.
        pause: Duration,
    },
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// What it says.
    pub pattern: Pattern,
    /// Its name, kebab-case.
    pub name: &'static str,
    /// What the LED does.
    pub light: Light,
    /// The same in words, for people.
    pub looks: &'static str,
    /// What it means, in words, for people.
    pub means: &'static str,
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn flashes(count: u32, on: u64, off: u64, pause: u64) -> Light {
    Light::Flashes { count, on: ms(on), off: ms(off), pause: ms(pause) }
}

/// Every pattern, in the order of [`Pattern`].
pub const TABLE: [Row; 11] = [
    Row {
        pattern: Pattern::Starting,
        name: "starting",
        light: Light::Breath(ms(2000)),
        looks: "breathes, or blinks once in two seconds",
        means: "Kurir starts, or writes an update",
    },
    Row {
        pattern: Pattern::NoNetwork,
        name: "no-network",
        light: flashes(2, 150, 150, 1550),
        looks: "two flashes, then a pause",
        means: "there is no network",
    },
    Row {
        pattern: Pattern::WaitingForScan,
        name: "waiting-for-scan",
        light: Light::Breath(ms(1000)),
        looks: "breathes or blinks once a second",
        means: "a code on the screen waits for your phone",
    },
    Row {
        pattern: Pattern::Connecting,
        name: "connecting",
        light: flashes(1, 200, 0, 300),
        looks: "blinks twice a second",
        means: "it connects to WhatsApp",
    },
    Row {
        pattern: Pattern::Online,
        name: "online",
        light: Light::Steady,
        looks: "steady",
        means: "all is well",
    },
    Row {
        pattern: Pattern::Traffic,
        name: "traffic",
        light: flashes(1, 60, 0, 60),
        looks: "flickers for a moment, then steady",
        means: "a message goes out or comes in",
    },
    Row {
        pattern: Pattern::NeedsAttention,
        name: "needs-attention",
        light: flashes(3, 150, 150, 1250),
        looks: "three flashes, then a pause",
        means: "somebody has to do something: look at the screen",
    },
    Row {
        pattern: Pattern::Hold,
        name: "hold",
        light: flashes(1, 250, 0, 250),
        looks: "blinks twice a second, evenly",
        means: "a button is held; letting it go now does nothing",
    },
    Row {
        pattern: Pattern::HoldAct,
        name: "hold-act",
        light: flashes(1, 100, 0, 100),
        looks: "blinks five times a second",
        means: "letting it go now connects anew (Reconnect) or unlinks (Reset)",
    },
    Row {
        pattern: Pattern::HoldErase,
        name: "hold-erase",
        light: flashes(1, 50, 0, 50),
        looks: "blinks ten times a second",
        means: "letting it go now erases everything",
    },
    Row {
        pattern: Pattern::Erasing,
        name: "erasing",
        light: flashes(5, 50, 50, 500),
        looks: "bursts of five fast flashes",
        means: "everything is being erased: do not unplug",
    },
];

impl Pattern {
    /// Its row.
    pub const fn row(self) -> &'static Row {
        &TABLE[self as usize]
    }

    /// Its name, kebab-case: the same in the code, the README and the status API.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// The level for [`kurir_board::Led::set`], `elapsed` after the pattern began. Levels are as the eye sees them; the
    /// LED's driver makes the duty cycle (see [`kurir_board::duty`]).
    pub fn level(self, dimming: Dimming, elapsed: Duration) -> u8 {
        match (self.row().light, dimming) {
            (Light::Steady, Dimming::Pwm) => STEADY,
            (Light::Steady, Dimming::OnOff) => 255,
            (Light::Breath(period), Dimming::Pwm) => breath(elapsed, period),
            (Light::Breath(period), Dimming::OnOff) => {
                if modulo(elapsed, period) < period / 2 {
                    255
                } else {
                    0
                }
            }
            (Light::Flashes { count, on, off, pause }, _) => {
                let within = modulo(elapsed, flashes_period(count, on, off, pause));
                let lit = within < (on + off) * count && modulo(within, on + off) < on;
                if lit { 255 } else { 0 }
            }
        }
    }

    /// How long after `elapsed` the level may be another; `None` if never, so that a steady light costs nothing.
    pub fn changes_in(self, dimming: Dimming, elapsed: Duration) -> Option<Duration> {
        match (self.row().light, dimming) {
            (Light::Steady, _) => None,
            (Light::Breath(_), Dimming::Pwm) => Some(BREATH_STEP - modulo(elapsed, BREATH_STEP)),
            (Light::Breath(period), Dimming::OnOff) => Some(period / 2 - modulo(elapsed, period / 2)),
            (Light::Flashes { count, on, off, pause }, _) => {
                let period = flashes_period(count, on, off, pause);
                let within = modulo(elapsed, period);
                let last_off = (on + off) * (count - 1) + on;
                if within >= last_off {
                    return Some(period - within);
                }
                let beat = modulo(within, on + off);
                Some(if beat < on { on - beat } else { on + off - beat })
            }
        }
    }
}

/// What the LED shows, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal {
    /// The pattern.
    pub pattern: Pattern,
    /// When it began: the pattern runs from there, so that it does not stumble when something else is drawn.
    pub since: tokio::time::Instant,
}

fn flashes_period(count: u32, on: Duration, off: Duration, pause: Duration) -> Duration {
    on * count + off * (count - 1) + pause
}

fn modulo(elapsed: Duration, period: Duration) -> Duration {
    Duration::from_nanos((elapsed.as_nanos() % period.as_nanos().max(1)) as u64)
}

/// A raised cosine in what the eye sees: it lingers at both ends, as breath does.
fn breath(elapsed: Duration, period: Duration) -> u8 {
    let step = BREATH_STEP.as_nanos();
    let within = modulo(elapsed, period).as_nanos() / step * step;
    let turn = within as f64 / period.as_nanos() as f64;
    let height = (1.0 - (turn * std::f64::consts::TAU).cos()) / 2.0;
    let low = f64::from(BREATH_LOW);
    (low + height * (255.0 - low)).round() as u8
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use kurir_board::duty;
    use proptest::prelude::*;

    use super::*;

    const LEDS: [Dimming; 2] = [Dimming::Pwm, Dimming::OnOff];

    /// How often the LED lights up in ten seconds.
    fn flashes_in_ten_seconds(pattern: Pattern) -> usize {
        let lit = |t: u64| pattern.level(Dimming::OnOff, ms(t)) > 0;
        (1..10_000).filter(|&t| lit(t) && !lit(t - 1)).count() + usize::from(lit(0))
    }

    #[test]
    fn the_table_is_in_order_and_its_names_and_looks_are_its_own() {
        for (i, row) in TABLE.iter().enumerate() {
            assert_eq!(row.pattern as usize, i, "{}", row.name);
            assert!(row.name.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{}", row.name);
        }
        let distinct = |f: fn(&Row) -> String| TABLE.iter().map(f).collect::<HashSet<_>>().len();
        assert_eq!(distinct(|r| r.name.into()), TABLE.len());
        assert_eq!(distinct(|r| format!("{:?}", r.light)), TABLE.len(), "two patterns look the same");
    }

    #[test]
    fn a_hold_gets_faster_at_each_threshold() {
        let [hold, act, erase] =
            [Pattern::Hold, Pattern::HoldAct, Pattern::HoldErase].map(flashes_in_ten_seconds);
        assert_eq!((hold, act, erase), (20, 50, 100));
    }

    #[test]
    fn what_is_well_is_steady_and_never_wakes_anybody() {
        for led in LEDS {
            assert_eq!(Pattern::Online.changes_in(led, ms(12_345)), None);
            assert!(Pattern::Online.level(led, ms(12_345)) > 0);
        }
    }

    #[test]
    fn flashes_are_counted_as_their_words_say() {
        assert_eq!(flashes_in_ten_seconds(Pattern::NoNetwork), 10, "two in two seconds");
        assert_eq!(flashes_in_ten_seconds(Pattern::NeedsAttention), 15, "three in two seconds");
        assert_eq!(flashes_in_ten_seconds(Pattern::Starting), 5);
        assert_eq!(flashes_in_ten_seconds(Pattern::WaitingForScan), 10);
        assert_eq!(flashes_in_ten_seconds(Pattern::Connecting), 20);
    }

    #[test]
    fn a_breath_rises_and_falls_once_and_its_light_is_smooth_to_the_eye() {
        let levels: Vec<_> =
            (0..=50).map(|i| Pattern::Starting.level(Dimming::Pwm, BREATH_STEP * i)).collect();
        assert_eq!(levels[0], BREATH_LOW);
        assert_eq!(levels[25], 255);
        assert!(levels[..26].is_sorted() && levels[25..].is_sorted_by(|a, b| a >= b), "{levels:?}");
        assert!(levels.windows(2).all(|w| w[0].abs_diff(w[1]) < 20), "{levels:?}");
        // Halfway to the eye is far less than half of the light.
        let half = Pattern::Starting.level(Dimming::Pwm, ms(480));
        assert!((110..160).contains(&half), "{half}");
        assert!(duty(half, 1000) < 300, "{}", duty(half, 1000));
    }

    proptest! {
        #[test]
        fn the_level_changes_only_when_it_was_said_to(at in 0..20_000u64, which in 0..TABLE.len(), led in 0..2usize) {
            let (pattern, led, at) = (TABLE[which].pattern, LEDS[led], ms(at));
            let now = pattern.level(led, at);
            match pattern.changes_in(led, at) {
                None => prop_assert_eq!(pattern.level(led, at + ms(777_777)), now),
                Some(wait) => {
                    prop_assert!(wait > Duration::ZERO && wait <= Duration::from_secs(2));
                    for part in 0..10 {
                        prop_assert_eq!(pattern.level(led, at + wait * part / 10), now, "{}", pattern.name());
                    }
                    if led == Dimming::OnOff {
                        prop_assert_ne!(pattern.level(led, at + wait), now, "{}: woken for nothing", pattern.name());
                    }
                }
            }
        }
    }
}
