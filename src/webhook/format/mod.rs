//! How an event reads in each format. Pure.

mod fonnte;
mod kurir;
mod mpwa;
mod reply;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::inbox::{Body, Event};

pub use kurir::{event as kurir_event, gap as kurir_gap};
pub(super) use reply::MAX_ANSWER;
pub use reply::{Answer, answer};

/// In which format a webhook wants its events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Our own: everything there is, as JSON.
    #[default]
    Kurir,
    /// Fonnte's.
    Fonnte,
    /// The `api_key` format's; the answer may hold a reply.
    Mpwa,
}

impl Format {
    /// From what an application wrote.
    pub fn parse(text: &str) -> Option<Format> {
        match text.trim().to_ascii_lowercase().as_str() {
            "kurir" | "json" => Some(Format::Kurir),
            "fonnte" => Some(Format::Fonnte),
            "mpwa" | "api_key" => Some(Format::Mpwa),
            _ => None,
        }
    }

    /// As applications write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Kurir => "kurir",
            Format::Fonnte => "fonnte",
            Format::Mpwa => "mpwa",
        }
    }
}

/// What an event does not know of itself.
#[derive(Clone, Debug, Default)]
pub struct Context {
    /// The session's own phone number.
    pub device: String,
    /// The link to the event's file.
    pub media_url: Option<String>,
    /// For a receipt, the outbox's numbers of the messages it is about, where the outbox knows them.
    pub outbox_ids: Vec<(String, u64)>,
    /// The picture itself, Base64, for the format that carries it.
    pub image: Option<String>,
}

/// The bodies to post for an event: none if the format has no word for it, several where it has one for each message of
/// a receipt.
pub fn render(format: Format, event: &Event, context: &Context) -> Vec<Value> {
    match format {
        Format::Kurir => vec![kurir::event(event, context.media_url.as_deref())],
        Format::Fonnte => fonnte::event(event, context),
        Format::Mpwa => mpwa::event(event, context).into_iter().collect(),
    }
}

/// What shows of a message where there is only a text: the text, or what stands for it.
fn shown(event: &Event) -> String {
    match &event.body {
        Body::Message(message) => message.text.clone().unwrap_or_default(),
        Body::Reaction(reaction) => reaction.emoji.clone(),
        Body::PollVote(vote) => vote.options.join(", "),
        _ => String::new(),
    }
}

/// Phone number, or the LID where the number is not known.
fn author(event: &Event) -> String {
    event.person.phone.clone().or_else(|| event.person.lid.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
