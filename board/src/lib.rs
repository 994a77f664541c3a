//! The front panel of a Kurir box: a display, two buttons and an LED.
//!
//! This crate knows nothing of WhatsApp. The gateway decides what is shown and what a press means
//! (`kurir::panel`); this crate says how a picture, a press and a light reach the hardware.
//!
//! Three small traits are the border: [`Display`] takes [`Frame`]s, [`Buttons`] gives [`Edge`]s, [`Led`] takes a level.

mod board;
mod buttons;
mod display;
pub mod drivers;
mod error;
mod frame;
mod led;
pub mod memory;
mod picture;
pub mod profile;
pub mod selftest;
pub mod sim;
pub mod virtual_ssd1306;

pub use board::{Board, open_buttons, open_display, open_led};
pub use buttons::{Button, Buttons, Edge, Motion};
pub use display::{Depth, Display, FLUSH_LIMIT, Panel};
pub use error::PartError;
pub use frame::Frame;
pub use led::{Dimming, Led, duty};
pub use picture::png;
