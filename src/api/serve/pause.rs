//! What the accept loop does when the process is out of file descriptors.

use std::io;
use std::time::Duration;

/// First and longest pause after `accept` fails for want of a resource.
const ACCEPT_PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// How long to wait after a failed `accept`. Out of file descriptors or memory, the next call fails at once too:
/// without a pause the loop would spin, and fill the log.
#[derive(Default)]
pub(super) struct AcceptPause(Option<Duration>);

impl AcceptPause {
    pub(super) fn after(&mut self, e: &io::Error) -> Option<Duration> {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
        // The client left before we got to it: nothing is wrong here.
        if matches!(e.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted) {
            return None;
        }
        let pause = match self.0 {
            None => {
                log::error!(
                    "no new HTTP connections for the moment: accept failed: {e}; trying again, logged once. \
                     If this stays, raise the limit on open files (LimitNOFILE)"
                );
                ACCEPT_PAUSE.0
            }
            Some(last) => (last * 2).min(ACCEPT_PAUSE.1),
        };
        self.0 = Some(pause);
        Some(pause)
    }

    pub(super) fn over(&mut self) {
        if self.0.take().is_some() {
            log::info!("HTTP connections are accepted again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_grows_to_its_bound_and_starts_over() {
        let mut pause = AcceptPause::default();
        let e = io::Error::from_raw_os_error(24);
        let pauses: Vec<_> = (0..7).filter_map(|_| pause.after(&e)).map(|p| p.as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 400, 800, 1000, 1000]);
        assert_eq!(pause.after(&io::ErrorKind::ConnectionAborted.into()), None);
        pause.over();
        assert_eq!(pause.after(&e), Some(ACCEPT_PAUSE.0));
    }
}
