//! What can be wrong with a part of the panel, and what to do about it.

use std::time::Duration;

/// A part of the panel that does not work. Every variant names the part and the place (bus and address, chip and
/// line), and says what to do; the gateway logs it once and runs on without the part.
#[derive(Debug, thiserror::Error)]
pub enum PartError {
    /// The device file, the chip or the line does not exist.
    #[error("{part}: there is no {place}; {fix}")]
    Missing {
        /// Which part: `display`, `button reset`, `LED`.
        part: String,
        /// What was looked for: `/dev/i2c-1`, `GPIO line GPIO23`.
        place: String,
        /// What the person can do.
        fix: String,
    },
    /// The device is there, but this user may not use it.
    #[error("{part}: no permission to use {place}; {fix}")]
    Denied {
        /// Which part.
        part: String,
        /// What could not be opened.
        place: String,
        /// What the person can do.
        fix: String,
    },
    /// Somebody else uses the line or the device.
    #[error("{part}: {place} is in use by {user}; {fix}")]
    Taken {
        /// Which part.
        part: String,
        /// What is in use.
        place: String,
        /// Who uses it, as far as the kernel says.
        user: String,
        /// What the person can do.
        fix: String,
    },
    /// The bus works and nobody answers at the address.
    #[error("{part}: nothing answers at {place}; {fix}")]
    NoAnswer {
        /// Which part.
        part: String,
        /// Bus and address.
        place: String,
        /// What the person can do.
        fix: String,
    },
    /// The transfer did not end in time. It may still be stuck in the kernel; the part answers
    /// [`PartError::TimedOut`] at once until it is through.
    #[error("{part}: {place} did not finish within {} ms; check the wiring and the pull-up resistors", after.as_millis())]
    TimedOut {
        /// Which part.
        part: String,
        /// Bus and address.
        place: String,
        /// How long was waited.
        after: Duration,
    },
    /// A frame of another size than the display's, which is a mistake of the caller.
    #[error("{part}: a frame of {width}x{height} pixels was sent to {place}")]
    WrongSize {
        /// Which part.
        part: String,
        /// The display and its size.
        place: String,
        /// Width of the frame, pixels.
        width: u32,
        /// Height of the frame, pixels.
        height: u32,
    },
    /// Anything else the system said.
    #[error("{part}: {place}: {problem}")]
    Failed {
        /// Which part.
        part: String,
        /// Bus and address, chip and line, or file.
        place: String,
        /// The system's words.
        problem: String,
    },
    /// The part is gone for good: its other end was dropped (simulated buttons, a closed terminal).
    #[error("{part}: {place} is closed")]
    Closed {
        /// Which part.
        part: String,
        /// What is closed.
        place: String,
    },
}
