//! A strict WhatsApp server with phones.
