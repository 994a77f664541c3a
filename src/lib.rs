//! Kurir: a WhatsApp gateway appliance.

pub mod store;
