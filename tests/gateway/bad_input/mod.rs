//! Bad input, on every endpoint there is: each answer has the dialect's own error shape and names the field and the
//! reason, comes within a bounded time, and leaves nothing in the outbox.

mod any_input;
mod command_line;
mod connections;
mod desk;
mod every_field;
mod fields;
mod keys;
mod log;
mod media;
mod sizes;
mod urls;
