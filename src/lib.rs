//! Kurir: a WhatsApp gateway appliance.

pub mod api;
pub mod media;
pub mod store;
