//! Kurir
pub mod api;
