//! Sessions and messages under every fault that the test server can make.
#![allow(clippy::unwrap_used, reason = "helpers of tests, outside the functions that clippy knows as tests")]

#[path = "../support/mod.rs"]
mod support;

#[path = "../support/process.rs"]
mod process;

mod connection;
mod crowd;
mod deletion;
mod login;
mod messages;
mod pairing;
mod proxy;
mod steps;
mod version;
