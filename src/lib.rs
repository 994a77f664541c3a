//! Kurir: a WhatsApp gateway that ships as a plug-in office appliance.
//!
//! The parts, lowest first; imports go up this list and never down: [`store`], [`clock`] and [`lan`], then [`media`] and
//! [`inbox`], then [`session`] and [`outbox`], then [`webhook`] and [`panel`], then [`api`], then [`gateway`], which
//! builds them all and is the only one that knows them all.

pub mod api;
pub mod board_command;
pub mod clock;
pub mod config;
pub mod console;
mod files;
pub mod gateway;
mod ids;
pub mod inbox;
pub mod lan;
pub mod log;
pub mod media;
pub mod notify;
pub mod outbox;
pub mod panel;
pub mod preset;
pub mod session;
pub mod store;
pub mod update;
pub mod watchdog;
pub mod webhook;
