//! The box on the office's network: what it is called, which addresses it has, and how others find it by name.

mod address;
mod mdns;
mod name;

pub use address::Addresses;
pub use mdns::{Announcement, Mdns};
pub use name::{await_hardware, host_name, is_label};
