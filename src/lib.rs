//! Kurir: a WhatsApp gateway that ships as a plug-in office appliance.
//!
//! The parts, lowest first; imports go up this list and never down: [`store`], then [`media`] and [`inbox`], then
//! [`session`] and [`outbox`], then [`webhook`], then [`api`], then [`gateway`], which builds them all and is the only
//! one that knows them all.

pub mod api;
mod clock;
pub mod config;
pub mod gateway;
mod ids;
pub mod inbox;
pub mod log;
pub mod media;
pub mod notify;
pub mod outbox;
pub mod session;
pub mod store;
pub mod watchdog;
pub mod webhook;
