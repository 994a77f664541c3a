//! Kurir: a WhatsApp gateway appliance.

pub mod api;
pub mod store;
