//! whatsapp-rust's storage traits for one account.
