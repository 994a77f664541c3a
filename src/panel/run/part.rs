//! A part that may fail and come back: what is said of it, and when it is tried again.

use std::time::Duration;

use kurir_board::PartError;
use tokio::time::Instant;

/// The first pause after a failure; it doubles from there.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Longest pause. A loose wire is mended by a person, who then presses a button, and that tries at once.
const LAST_RETRY: Duration = Duration::from_secs(60);

/// How a part is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Health {
    /// The board has no such part.
    #[default]
    None,
    /// It works, as far as is known.
    Works,
    /// It failed, or was not found. The log says why.
    Fails,
}

impl Health {
    /// The word in the status API.
    pub fn as_str(self) -> &'static str {
        match self {
            Health::None => "none",
            Health::Works => "works",
            Health::Fails => "fails",
        }
    }
}

/// Says each trouble once, and when to try again.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    failures: u32,
    retry: Option<Instant>,
}

impl Trouble {
    /// A part that was missing when the board was opened, which has been said.
    pub(super) fn missing(now: Instant) -> Trouble {
        Trouble { failures: 1, retry: Some(now + FIRST_RETRY) }
    }

    /// It failed. The first time in a row it is logged, with what happens next.
    pub(super) fn failed(&mut self, error: &PartError, now: Instant) {
        if self.failures == 0 {
            log::warn!("panel: {error}; it is tried again from time to time, and the rest runs on");
        } else {
            log::debug!("panel: {error}");
        }
        let pause = FIRST_RETRY.saturating_mul(1 << self.failures.min(10)).min(LAST_RETRY);
        self.failures = self.failures.saturating_add(1);
        self.retry = Some(now + pause);
    }

    /// It works, which is logged if it did not before.
    pub(super) fn works(&mut self, part: &str) {
        if std::mem::take(&mut self.failures) > 0 {
            log::info!("panel: {part}: it works again");
        }
        self.retry = None;
    }

    /// Failures in a row.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// Resolves when the part is to be tried again; never if it works.
    pub(super) async fn retry(&self) {
        match self.retry {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_pause_doubles_up_to_a_minute_and_ends_with_success() {
        let mut trouble = Trouble::default();
        let error = PartError::Closed { part: "display".into(), place: "nowhere".into() };
        let mut pauses = Vec::new();
        for _ in 0..8 {
            trouble.failed(&error, Instant::now());
            let before = Instant::now();
            trouble.retry().await;
            pauses.push(before.elapsed().as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        trouble.works("display");
        assert_eq!(trouble.failures(), 0);
        assert!(tokio::time::timeout(Duration::from_secs(3600), trouble.retry()).await.is_err());
    }
}
