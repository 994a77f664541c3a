//! A strict WhatsApp server with phones.

pub mod describe;
pub mod faults;
pub mod inbox;
pub mod media;
pub mod stats;
pub mod tls;
