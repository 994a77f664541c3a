//! Kurir's own API below `/api/v1/sessions/{id}`: every kind of message and what becomes of it, chats, groups, and each
//! session's settings, looked at on the far phone.

mod changes;
mod chats;
mod desk;
mod groups;
mod refused;
mod sending;
mod settings;
