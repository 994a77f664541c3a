//! Runs a blocking driver beside the async code.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use embedded_graphics::prelude::*;
use tokio::task::{self, JoinHandle};

use super::Driver;
use crate::{Display, FLUSH_LIMIT, Frame, Panel, PartError};

/// What the display should show, or does show.
#[derive(Debug, Clone, PartialEq)]
struct State {
    frame: Option<Arc<Frame>>,
    brightness: u8,
    inverted: bool,
    on: bool,
}

/// What a driver's memory and registers hold; `None` if the controller must be set up first.
type Held = Option<State>;

/// A running job: it gives the driver back with its result.
type Job<D> = JoinHandle<(Work<D>, Result<(), PartError>)>;

struct Work<D> {
    driver: D,
    held: Held,
}

/// A [`Display`] that runs its [`Driver`] on tokio's blocking threads, so that a bus that hangs costs one such thread
/// and nothing else. No thread exists while nothing is drawn.
///
/// After an error the controller is set up anew by the next call, and gets the wanted frame, brightness and inversion
/// again: a display that was unplugged comes back by itself. A transfer that is stuck in the kernel cannot be
/// cancelled; until it ends, every call answers [`PartError::TimedOut`] (after its limit) and starts nothing. It does end:
/// Linux gives up on an I2C transfer after about a second (the adapter's timeout), and SPI has no way to wait for a
/// device. A runtime that shuts down waits for it.
///
/// A display that lost its power while nothing was drawn does not say so: [`Display::refresh`] is for that.
pub struct Background<D: Driver> {
    panel: Panel,
    place: String,
    wanted: State,
    limit: Duration,
    // What the driver holds is not to be trusted.
    stale: bool,
    // Exactly one of these two is Some, except inside of `run`.
    idle: Option<Work<D>>,
    busy: Option<Job<D>>,
}

impl<D: Driver> Background<D> {
    /// `driver`, whose calls may take [`FLUSH_LIMIT`].
    pub fn new(driver: D) -> Self {
        let wanted = State { frame: None, brightness: 128, inverted: false, on: true };
        Self {
            panel: driver.panel(),
            place: driver.place().to_owned(),
            wanted,
            limit: FLUSH_LIMIT,
            stale: false,
            idle: Some(Work { driver, held: None }),
            busy: None,
        }
    }

    fn timed_out(&self) -> PartError {
        PartError::TimedOut { part: "display".into(), place: self.place.clone(), after: self.limit }
    }

    /// Makes the display what is wanted. Cancel safe: a dropped call goes on in the background.
    async fn run(&mut self) -> Result<(), PartError> {
        // The result of a call that nobody waited for is of no use: its state is compared below.
        if self.busy.is_some() {
            drop(self.finish().await?);
        }
        let Some(mut work) = self.idle.take() else {
            // The last job panicked and took the driver with it.
            return Err(PartError::Closed { part: "display".into(), place: self.place.clone() });
        };
        if std::mem::take(&mut self.stale) {
            work.held = None;
        }
        if work.held.as_ref() == Some(&self.wanted) {
            self.idle = Some(work);
            return Ok(());
        }
        let wanted = self.wanted.clone();
        self.busy = Some(task::spawn_blocking(move || {
            let result = bring(&mut work.driver, work.held.take(), &wanted);
            if result.is_ok() {
                work.held = Some(wanted);
            }
            (work, result)
        }));
        self.finish().await?
    }

    /// Waits for the running job, at most for the limit. The outer error says that it still runs.
    async fn finish(&mut self) -> Result<Result<(), PartError>, PartError> {
        let Some(job) = &mut self.busy else { return Ok(Ok(())) };
        let Ok(joined) = tokio::time::timeout(self.limit, job).await else { return Err(self.timed_out()) };
        self.busy = None;
        match joined {
            Ok((work, result)) => {
                self.idle = Some(work);
                Ok(result)
            }
            Err(panic) => {
                let (part, place) = ("display".into(), self.place.clone());
                Ok(Err(PartError::Failed { part, place, problem: format!("the driver stopped: {panic}") }))
            }
        }
    }
}

fn bring(driver: &mut impl Driver, held: Held, wanted: &State) -> Result<(), PartError> {
    let fresh = held.is_none();
    if fresh {
        driver.init()?;
    }
    // After `init` the panel is off, and every other register is set below.
    let held = held.unwrap_or(State { frame: None, on: false, ..wanted.clone() });
    if fresh || held.brightness != wanted.brightness {
        driver.set_brightness(wanted.brightness)?;
    }
    if fresh || held.inverted != wanted.inverted {
        driver.set_inverted(wanted.inverted)?;
    }
    match &wanted.frame {
        Some(frame) if held.frame.as_ref() != Some(frame) => driver.show(held.frame.as_deref(), frame)?,
        Some(_) => {}
        // The memory holds noise until something is drawn.
        None if fresh => driver.show(None, &Frame::new(driver.panel().size))?,
        None => {}
    }
    if held.on != wanted.on {
        driver.set_on(wanted.on)?;
    }
    Ok(())
}

#[async_trait]
impl<D: Driver> Display for Background<D> {
    fn panel(&self) -> Panel {
        self.panel
    }

    async fn flush(&mut self, frame: &Frame) -> Result<(), PartError> {
        if frame.size() != self.panel.size {
            return Err(PartError::WrongSize {
                part: "display".into(),
                place: format!("{} of {}x{}", self.place, self.panel.size.width, self.panel.size.height),
                width: frame.size().width,
                height: frame.size().height,
            });
        }
        if self.wanted.frame.as_deref() != Some(frame) {
            self.wanted.frame = Some(Arc::new(frame.clone()));
        }
        self.run().await
    }

    async fn set_brightness(&mut self, level: u8) -> Result<(), PartError> {
        if !self.panel.dims {
            return Ok(());
        }
        self.wanted.brightness = level;
        self.run().await
    }

    async fn set_inverted(&mut self, inverted: bool) -> Result<(), PartError> {
        if !self.panel.inverts {
            return Ok(());
        }
        self.wanted.inverted = inverted;
        self.run().await
    }

    async fn set_on(&mut self, on: bool) -> Result<(), PartError> {
        self.wanted.on = on;
        self.run().await
    }
    async fn refresh(&mut self) -> Result<(), PartError> {
        self.stale = true;
        self.run().await
    }
}
