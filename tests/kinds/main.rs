//! Kurir's own API below `/api/v1/sessions/{id}`: every kind of message and what becomes of it, chats, groups, and each
//! session's settings, looked at on the far phone.
#![allow(clippy::unwrap_used, reason = "helpers of tests, outside the functions that clippy knows as tests")]

mod changes;
mod chats;
mod desk;
mod groups;
mod refused;
mod sending;
mod settings;
#[path = "../support/mod.rs"]
mod support;
