//! The wall clock: as it is stored and shown, and whether it can be right.
//!
//! A Raspberry Pi has no clock that runs without power. It starts at some time in the past and is right once a time
//! server has answered. Until then every TLS certificate looks as if it were from the future, so nobody dials WhatsApp:
//! [`Clock`] says when the time is plausible.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat, Utc};
use tokio::sync::watch;

mod hold;
mod step;

use hold::Hold;
pub use hold::{ClockState, built};

/// How often a clock that is not set is looked at besides when it is stepped: a time server that agrees with it steps
/// nothing.
const LOOK: Duration = Duration::from_secs(10);
/// The same, once sessions dial anyway.
const LOOK_LATER: Duration = Duration::from_secs(60);
/// How often the time is kept, so that the box starts at a later one next time.
const KEEP: Duration = Duration::from_secs(6 * 3600);
/// systemd-timesyncd makes this file once a server has answered (systemd-timesyncd.service(8)).
const SYNCHRONIZED: &str = "/run/systemd/timesync/synchronized";

/// Unix milliseconds.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Watches whether the clock can be right.
pub struct Clock {
    state: watch::Sender<ClockState>,
    hold: Hold,
    kept: PathBuf,
}

fn shown(time: SystemTime) -> String {
    DateTime::<Utc>::from(time).to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn synchronized() -> bool {
    Path::new(SYNCHRONIZED).exists()
}

impl Clock {
    /// `earliest`: no time before this can be right; with it counts the last time that was kept in the data folder.
    /// `patience`: how long sessions wait for a time server before they dial with the clock as it is.
    pub fn open(data_dir: &Path, earliest: SystemTime, patience: Duration) -> Clock {
        let kept = data_dir.join("clock");
        let last = std::fs::metadata(&kept).and_then(|file| file.modified()).ok();
        let hold = Hold::new(earliest, last, Instant::now() + patience);
        let wall = SystemTime::now();
        let state = hold.look(wall, synchronized(), Instant::now());
        if state == ClockState::Unset {
            log::warn!(
                "the clock says {}, which is before {}: sessions wait for a time server, at most {} s",
                shown(wall),
                shown(hold.floor()),
                patience.as_secs()
            );
        }
        Clock { state: watch::Sender::new(state), hold, kept }
    }

    /// The state, and changes of it.
    pub fn watch(&self) -> watch::Receiver<ClockState> {
        self.state.subscribe()
    }

    /// Watches until `stop` becomes true.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let work = async {
            self.until_set().await;
            loop {
                self.keep();
                tokio::time::sleep(KEEP).await;
            }
        };
        tokio::select! {
            // The guard that `wait_for` returns must not live across an await.
            () = async { let _ = stop.wait_for(|stop| *stop).await; } => {}
            () = work => {}
        }
        if self.state.borrow().is_set() {
            self.keep();
        }
    }

    async fn until_set(&self) {
        let mut steps = step::Steps::new(self.hold.floor());
        loop {
            let (wall, now) = (SystemTime::now(), Instant::now());
            let state = self.hold.look(wall, synchronized(), now);
            self.publish(state, wall);
            let pause = match state {
                ClockState::Set => return,
                ClockState::Unset => LOOK.min(self.hold.left(now)),
                ClockState::Doubtful => LOOK_LATER,
            };
            tokio::select! {
                () = steps.next() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn publish(&self, state: ClockState, wall: SystemTime) {
        let before = self.state.send_replace(state);
        match state {
            _ if before == state => {}
            ClockState::Set => log::info!("the clock is set: {}", shown(wall)),
            ClockState::Doubtful => log::warn!(
                "no time server has set the clock, which says {}: sessions dial all the same. WhatsApp's certificate \
                 may look invalid until the clock is right",
                shown(wall)
            ),
            ClockState::Unset => {}
        }
    }

    /// The file's time is the time that is kept: changing it can be cut by no power cut.
    fn keep(&self) {
        let options = std::fs::OpenOptions::new().create(true).append(true).open(&self.kept);
        if let Err(e) = options.and_then(|file| file.set_modified(SystemTime::now())) {
            log::debug!("the time cannot be kept in {}: {e}", self.kept.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    async fn stopped(clock: Clock) {
        let (stop, stopping) = watch::channel(true);
        clock.run(stopping).await;
        drop(stop);
    }

    #[tokio::test]
    async fn a_time_that_was_kept_is_the_earliest_next_time() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::open(dir.path(), built(), HOUR);
        assert_eq!(*clock.watch().borrow(), ClockState::Set);
        stopped(clock).await;
        let kept = std::fs::metadata(dir.path().join("clock")).unwrap().modified().unwrap();
        assert!(SystemTime::now().duration_since(kept).unwrap() < HOUR);
        // As if the box had been on an hour from now, and its clock had been lost since.
        let file = std::fs::OpenOptions::new().append(true).open(dir.path().join("clock")).unwrap();
        file.set_modified(SystemTime::now() + HOUR).unwrap();
        let clock = Clock::open(dir.path(), built(), HOUR);
        assert_eq!(*clock.watch().borrow(), ClockState::Unset);
        stopped(clock).await;
        let after = file.metadata().unwrap().modified().unwrap();
        assert!(after > SystemTime::now() + HOUR / 2, "a clock that is not set is not kept");
    }

    #[tokio::test]
    async fn it_is_set_the_moment_the_time_is_plausible() {
        let dir = tempfile::tempdir().unwrap();
        let soon = SystemTime::now() + Duration::from_millis(700);
        let clock = Clock::open(dir.path(), soon, HOUR);
        let mut state = clock.watch();
        let (_stop, stopping) = watch::channel(false);
        tokio::spawn(clock.run(stopping));
        let began = Instant::now();
        tokio::time::timeout(LOOK, state.wait_for(|state| state.is_set())).await.unwrap().unwrap();
        assert!(SystemTime::now() >= soon && began.elapsed() < LOOK / 2, "told by the kernel, not by a look");
    }

    #[tokio::test]
    async fn without_a_time_server_it_is_doubtful_in_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::open(dir.path(), SystemTime::now() + HOUR, Duration::from_millis(300));
        let mut state = clock.watch();
        let (_stop, stopping) = watch::channel(false);
        tokio::spawn(clock.run(stopping));
        let doubtful = state.wait_for(|state| *state == ClockState::Doubtful);
        tokio::time::timeout(LOOK, doubtful).await.unwrap().unwrap();
    }
}
