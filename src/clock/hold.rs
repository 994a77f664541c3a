//! Whether the clock can be right, as pure logic.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// 1 January 2026, in Unix seconds: what builds count as made on that do not say when they were.
const THIS_YEAR: u64 = 1_767_225_600;
/// A kept time this long after the build is nonsense of a broken clock: 30 years.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// When this program was built: `SOURCE_DATE_EPOCH` (Unix seconds) at compile time, which a release sets. No clock that
/// is before it can be right.
pub fn built() -> SystemTime {
    let said = option_env!("SOURCE_DATE_EPOCH").and_then(|seconds| seconds.trim().parse().ok());
    UNIX_EPOCH + Duration::from_secs(said.unwrap_or(THIS_YEAR).max(THIS_YEAR))
}

/// What is known of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockState {
    /// It is certainly wrong; nobody dials.
    Unset,
    /// It is certainly wrong, and no time server has answered for too long; sessions dial all the same.
    Doubtful,
    /// It can be right.
    Set,
}

impl ClockState {
    /// Whether the clock can be right.
    pub fn is_set(self) -> bool {
        self == ClockState::Set
    }

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            ClockState::Unset => "not set",
            ClockState::Doubtful => "doubtful",
            ClockState::Set => "set",
        }
    }
}

/// What decides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hold {
    floor: SystemTime,
    give_up: Instant,
}

impl Hold {
    /// `kept`: the last time at which this box's clock was set.
    pub(super) fn new(earliest: SystemTime, kept: Option<SystemTime>, give_up: Instant) -> Hold {
        let sane = kept.filter(|kept| *kept < earliest + FAR);
        Hold { floor: sane.map_or(earliest, |kept| kept.max(earliest)), give_up }
    }

    /// No time before this can be right.
    pub(super) fn floor(&self) -> SystemTime {
        self.floor
    }

    /// What is left of the patience.
    pub(super) fn left(&self, now: Instant) -> Duration {
        self.give_up.saturating_duration_since(now)
    }

    /// `synchronized`: a time server has set the clock, so that it is right whatever was kept.
    pub(super) fn look(&self, wall: SystemTime, synchronized: bool, now: Instant) -> ClockState {
        if synchronized || wall >= self.floor {
            ClockState::Set
        } else if now >= self.give_up {
            ClockState::Doubtful
        } else {
            ClockState::Unset
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[test]
    fn a_clock_before_the_build_or_the_last_run_is_wrong_until_patience_ends() {
        let (build, start) = (built(), Instant::now());
        let hold = Hold::new(build, Some(build + DAY), start + DAY);
        assert_eq!(hold.look(UNIX_EPOCH, false, start), ClockState::Unset);
        assert_eq!(hold.look(build + DAY / 2, false, start), ClockState::Unset, "before it was last on");
        assert_eq!(hold.look(build + DAY, false, start), ClockState::Set);
        assert_eq!(hold.look(UNIX_EPOCH, true, start), ClockState::Set, "a time server knows best");
        assert_eq!(hold.look(UNIX_EPOCH, false, start + DAY), ClockState::Doubtful);
        assert_eq!(hold.look(build + 2 * DAY, false, start + DAY), ClockState::Set);
        assert_eq!((hold.left(start), hold.left(start + 2 * DAY)), (DAY, Duration::ZERO));
    }

    #[test]
    fn a_kept_time_counts_only_if_it_is_later_and_makes_sense() {
        let (build, start) = (built(), Instant::now());
        for (kept, floor) in [
            (None, build),
            (Some(UNIX_EPOCH), build),
            (Some(build + DAY), build + DAY),
            (Some(build + FAR), build),
        ] {
            assert_eq!(Hold::new(build, kept, start).floor(), floor, "{kept:?}");
        }
    }

    #[test]
    fn this_machine_runs_after_this_build() {
        assert!(SystemTime::now() > built());
    }
}
