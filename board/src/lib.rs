//! The front panel of a Kurir box: a display, two buttons and an LED.
//!
//! This crate knows nothing of WhatsApp. The gateway decides what is shown and what a press means
//! (`kurir::panel`); this crate says how a picture, a press and a light reach the hardware.
