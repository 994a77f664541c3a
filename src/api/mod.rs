//! The HTTP side: the accept loop, and one file per dialect.

pub mod serve;
