//! Kurir
