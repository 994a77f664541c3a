//! Buttons: debounced edges, with the time when each happened.

use std::fmt;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::PartError;

/// A button of the panel, by the word printed beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Button {
    /// Wakes the screen, turns the page, connects anew.
    Reconnect,
    /// Unlinks, erases.
    Reset,
}

impl Button {
    /// All buttons, in the order of the panel.
    pub const ALL: [Self; 2] = [Self::Reconnect, Self::Reset];

    /// The name in profiles and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reconnect => "reconnect",
            Self::Reset => "reset",
        }
    }
}

impl fmt::Display for Button {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a button did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Motion {
    /// It went down.
    Pressed,
    /// It came up.
    Released,
}

/// One debounced change of one button.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// Which button.
    pub button: Button,
    /// What it did.
    pub motion: Motion,
    /// When it happened, which may be a little before it was delivered. Times of one button never go backwards.
    pub at: Instant,
}

/// The panel's buttons.
#[async_trait]
pub trait Buttons: Send {
    /// The buttons that this panel has.
    fn present(&self) -> &[Button];

    /// The buttons that were already down when this was opened. No [`Motion::Pressed`] is delivered for these; their
    /// [`Motion::Released`] is.
    fn held_at_start(&self) -> &[Button];

    /// Waits for the next edge. Cancel safe: an edge is not lost when the future is dropped. Costs nothing while
    /// nobody touches a button. Motions of one button alternate.
    ///
    /// # Errors
    /// [`PartError::Failed`] if the line cannot be read; [`PartError::Closed`] if there will never be another edge.
    async fn next(&mut self) -> Result<Edge, PartError>;
}
