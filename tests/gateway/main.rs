//! The gateway through its real port, with the test server for WhatsApp: what it answers, and what the phones received.
//!
//! One program for all of these, because each costs some ten seconds to link. Apart are the tests that start themselves again, measure
//! memory or time, or keep the machine busy.
#![allow(clippy::unwrap_used, reason = "helpers of tests, outside the functions that clippy knows as tests")]

#[path = "../support/process.rs"]
mod process;
#[path = "../support/receiver.rs"]
mod receiver;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/votes.rs"]
mod votes;

mod bad_input;
mod claim;
mod clock;
mod desk;
mod device_fields;
mod dialect_1;
mod dialect_2;
mod dialect_3;
mod dialect_4;
mod dialects_doc;
mod events;
mod full_disk;
mod https;
mod inbound;
mod kinds;
mod limits;
mod media;
mod messages;
mod metrics;
mod openapi;
mod pairing;
mod panel;
mod preset;
mod request_log;
mod service;
mod trial;
mod update;
mod update_network;
mod voice;
mod webhook_events;
mod webhooks;
