//! A request body that must keep coming.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::StatusCode;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::ServeLimits;

/// Why a body was cut. axum's extractors turn it into a 400; [`Verdict`] lets the accept loop say it right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::api) enum Cut {
    Slow,
    Large,
}

impl Cut {
    /// Whether an error comes from a body that was cut, and why it was.
    pub(in crate::api) fn of(error: &(dyn Error + 'static)) -> Option<Cut> {
        sources(error).find_map(|e| e.downcast_ref::<Cut>()).copied()
    }
}

/// Whether an error is, or comes from, an `E`.
pub(in crate::api) fn has_source<E: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    sources(error).any(|e| e.is::<E>())
}

fn sources<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |e: &&'a (dyn Error + 'static)| (*e).source())
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Slow => "the request's body came too slowly; send it at once",
            Self::Large => "the request's body is too large",
        })
    }
}

impl Error for Cut {}

/// Whether, and why, a request's body was cut; shared with the [`TimedBody`].
#[derive(Clone, Default)]
pub(super) struct Verdict(Arc<AtomicU8>);

impl Verdict {
    pub(super) fn status(&self) -> Option<StatusCode> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            1 => Some(StatusCode::REQUEST_TIMEOUT),
            _ => Some(StatusCode::PAYLOAD_TOO_LARGE),
        }
    }

    fn set(&self, cut: Cut) {
        self.0.store(if cut == Cut::Slow { 1 } else { 2 }, Ordering::Relaxed);
    }
}

/// Counts only the time spent waiting for the client: a handler that is slow to read is not the client's fault.
#[derive(Debug)]
struct Pace {
    window: Duration,
    progress: u64,
    deadline: Duration,
    waited: Duration,
    waited_in_window: Duration,
    bytes_in_window: u64,
    waiting_since: Option<Instant>,
}

impl Pace {
    fn new(window: Duration, progress: u64, deadline: Duration) -> Self {
        Self {
            window,
            progress,
            deadline,
            waited: Duration::ZERO,
            waited_in_window: Duration::ZERO,
            bytes_in_window: 0,
            waiting_since: None,
        }
    }

    fn settle(&mut self, now: Instant) {
        if let Some(since) = self.waiting_since.take() {
            let waited = now.saturating_duration_since(since);
            self.waited += waited;
            self.waited_in_window += waited;
        }
    }

    fn arrived(&mut self, now: Instant, bytes: u64) {
        self.settle(now);
        self.bytes_in_window = self.bytes_in_window.saturating_add(bytes);
    }

    /// Nothing is there yet: until when to wait, or that the waiting is over.
    fn wait(&mut self, now: Instant) -> Result<Instant, Cut> {
        self.settle(now);
        self.waiting_since = Some(now);
        if self.waited >= self.deadline {
            return Err(Cut::Slow);
        }
        if self.waited_in_window >= self.window {
            if self.bytes_in_window < self.progress {
                return Err(Cut::Slow);
            }
            self.waited_in_window = Duration::ZERO;
            self.bytes_in_window = 0;
        }
        Ok(now + (self.window - self.waited_in_window).min(self.deadline - self.waited))
    }
}

/// A body that ends in an error when it comes too slowly or grows too large.
pub(super) struct TimedBody<B> {
    body: B,
    pace: Pace,
    left: u64,
    // Made by the first wait: a body that came with its head never needs one.
    timer: Option<Pin<Box<Sleep>>>,
    verdict: Verdict,
}

impl<B> TimedBody<B> {
    /// `most`: bytes. `deadline`: time spent waiting, in all.
    pub(super) fn new(body: B, limits: &ServeLimits, most: u64, deadline: Duration) -> (Self, Verdict) {
        let verdict = Verdict::default();
        let pace = Pace::new(limits.body_window, limits.body_progress, deadline);
        (Self { body, pace, left: most, timer: None, verdict: verdict.clone() }, verdict)
    }

    fn cut<T>(&self, cut: Cut) -> Poll<Option<Result<T, axum::Error>>> {
        self.verdict.set(cut);
        Poll::Ready(Some(Err(axum::Error::new(cut))))
    }
}

impl<B> Body for TimedBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                let length = match &frame {
                    Some(Ok(frame)) => frame.data_ref().map_or(0, |data| data.len() as u64),
                    _ => 0,
                };
                self.pace.arrived(Instant::now(), length);
                match self.left.checked_sub(length) {
                    Some(left) => self.left = left,
                    None => return self.cut(Cut::Large),
                }
                Poll::Ready(frame.map(|frame| frame.map_err(axum::Error::new)))
            }
            Poll::Pending => loop {
                let until = match self.pace.wait(Instant::now()) {
                    Ok(until) => until,
                    Err(cut) => return self.cut(cut),
                };
                let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
                if timer.deadline() != until {
                    timer.as_mut().reset(until);
                }
                if timer.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn pace() -> Pace {
        Pace::new(10 * SECOND, 100, 60 * SECOND)
    }

    #[test]
    fn silence_is_cut_at_the_window() {
        let mut pace = pace();
        let start = Instant::now();
        assert_eq!(pace.wait(start), Ok(start + 10 * SECOND));
        assert_eq!(pace.wait(start + 3 * SECOND), Ok(start + 10 * SECOND));
        assert_eq!(pace.wait(start + 10 * SECOND), Err(Cut::Slow));
    }

    #[test]
    fn a_trickle_is_cut_though_something_always_comes() {
        let mut pace = pace();
        let start = Instant::now();
        for second in 0..10 {
            pace.wait(start + second * SECOND).unwrap();
            pace.arrived(start + (second + 1) * SECOND, 9);
        }
        assert_eq!(pace.wait(start + 10 * SECOND), Err(Cut::Slow));
    }

    #[test]
    fn a_steady_body_runs_to_the_deadline_and_no_further() {
        let mut pace = pace();
        let start = Instant::now();
        for second in 0..60 {
            pace.wait(start + second * SECOND).unwrap();
            pace.arrived(start + (second + 1) * SECOND, 50);
        }
        assert_eq!(pace.wait(start + 60 * SECOND), Err(Cut::Slow));
    }

    #[test]
    fn a_slow_reader_of_a_quick_body_is_not_cut() {
        let mut pace = pace();
        let start = Instant::now();
        for minute in 0..100 {
            // The bytes are there whenever they are asked for, which is once a minute.
            pace.arrived(start + minute * 60 * SECOND, 1);
        }
        let late = start + 6000 * SECOND;
        assert_eq!(pace.wait(late), Ok(late + 10 * SECOND));
    }
}
