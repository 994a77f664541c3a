//! What single commands do beyond calling the library.

pub(crate) mod preset;
pub(crate) mod release;
pub(crate) mod show;
pub(crate) mod status;
pub(crate) mod update;
