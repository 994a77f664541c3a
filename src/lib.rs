//! Kurir
pub mod api;
pub mod media;
