//! A strict WhatsApp server with phones, for tests, demos and benchmarks.
//!
//! [`Sim::start`] opens a port on which any WhatsApp Web client can pair, log in, send and receive. Phones are added
//! with [`Sim::add_phone`]; they hold real Signal keys, decrypt what they get and show it in an inbox. What a client does
//! wrong is recorded in [`Sim::stats`].

mod adv;
mod appstate;
mod conn;
pub mod control;
pub mod describe;
mod devices;
mod error;
pub mod faults;
#[cfg(test)]
mod fuzz_tests;
mod groups;
pub mod identity;
pub mod inbox;
mod iq;
mod keys;
mod link_code;
mod login;
pub mod media;
mod noise;
mod pairing;
mod phone;
mod queue;
#[cfg(test)]
mod raw_client;
mod reading;
mod receipts;
mod routing;
mod server;
mod sim;
mod stanza;
pub mod stats;
#[cfg(test)]
mod strict_tests;
pub mod tls;
mod typing;
mod web;
mod world;

pub use adv::QrError;
pub use error::SimError;
pub use groups::GroupChange;
pub use phone::PhoneReceipt;
pub use sim::{GroupView, PhoneInfo, Sim, SimConfig};
pub use typing::Typing;
pub use world::lid_of;
