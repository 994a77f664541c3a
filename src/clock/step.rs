//! The moment at which somebody sets the clock: the kernel tells it by cancelling a timer (timerfd_create(2),
//! `TFD_TIMER_CANCEL_ON_SET`), so that nothing has to look at the clock all the time.

use std::os::fd::OwnedFd;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;

/// Steps of the clock, and its reaching of a certain time.
pub(super) struct Steps {
    timer: Option<AsyncFd<OwnedFd>>,
    at: SystemTime,
}

impl Steps {
    /// `at`: the time whose coming counts as a step.
    #[allow(deprecated, reason = "an OwnedFd owns what it registers; the replacement is an unsafe function")]
    pub(super) fn new(at: SystemTime) -> Steps {
        let made = || -> std::io::Result<AsyncFd<OwnedFd>> {
            let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
            AsyncFd::new(timerfd_create(TimerfdClockId::Realtime, flags)?)
        };
        let timer = made().map_err(|e| log::debug!("steps of the clock are not noticed at once: {e}")).ok();
        Steps { timer, at }
    }

    /// Resolves when the clock was set, or has come to the time. Never, where the kernel cannot tell.
    pub(super) async fn next(&mut self) {
        let told = match &self.timer {
            Some(timer) => wait(timer, self.at).await,
            None => std::future::pending().await,
        };
        if let Err(e) = told {
            log::debug!("steps of the clock are not noticed at once: {e}");
            self.timer = None;
        }
    }
}

async fn wait(timer: &AsyncFd<OwnedFd>, at: SystemTime) -> std::io::Result<()> {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let once = Timespec { tv_sec: 0, tv_nsec: 0 };
    let value = Timespec::try_from(since).map_err(std::io::Error::other)?;
    let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
    timerfd_settime(timer.get_ref(), flags, &Itimerspec { it_interval: once, it_value: value })?;
    loop {
        let mut ready = timer.readable().await?;
        let mut expirations = [0; 8];
        match rustix::io::read(timer.get_ref(), &mut expirations) {
            Ok(_) | Err(rustix::io::Errno::CANCELED) => return Ok(()),
            Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}
