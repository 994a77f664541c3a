//! The test server and whatsapp-rust's client, in one process.

#[path = "../common/mod.rs"]
mod common;

mod accounts;
mod control;
mod conversations;
mod delivery;
mod pair_and_text;
