//! `/openapi.json` says what the gateway does: each route is in it and is called here, and what it answers, when it
//! succeeds and when it fails, is what the served document says.

mod calls;
mod chats;
mod page;
mod reader;
mod schema;
