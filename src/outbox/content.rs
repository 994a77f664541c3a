//! What a message carries, and what it refers to.

use serde::{Deserialize, Serialize};

use crate::media::MediaKind;

/// What is to be sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Content {
    /// A text.
    Text {
        /// The text, as it is.
        body: String,
    },
    /// A file, kept in the media folder under the message's UUID until it is sent.
    Media {
        /// How it is shown.
        media: MediaKind,
        /// Its MIME type.
        mime: String,
        /// Its name, shown with documents.
        filename: String,
        /// The text below it.
        caption: Option<String>,
        /// Bytes.
        size: u64,
        /// Pixels, of an image or a film.
        #[serde(default)]
        dimensions: Option<(u32, u32)>,
        /// How long a sound or a film is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        seconds: Option<u32>,
        /// Of a voice note: 64 levels of 0 to 100, in Base64.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        waveform: Option<String>,
    },
    /// A question with options to tap.
    Poll {
        /// The question.
        name: String,
        /// The options, 2 to 12 different ones.
        options: Vec<String>,
        /// How many may be chosen.
        selectable: u32,
        /// 32 bytes in hexadecimal that votes are encrypted with; fixed, so that a resend is the same poll.
        secret: String,
    },
    /// A place.
    Location {
        /// Degrees north.
        latitude: f64,
        /// Degrees east.
        longitude: f64,
        /// Its name.
        #[serde(default)]
        name: Option<String>,
        /// Its address.
        #[serde(default)]
        address: Option<String>,
    },
    /// A contact card.
    Contact {
        /// The name shown.
        name: String,
        /// The card (RFC 2426).
        vcard: String,
    },
    /// An emoji on an earlier message; empty takes it back.
    Reaction {
        /// The message.
        target: Target,
        /// The emoji.
        emoji: String,
    },
    /// A new text for an earlier message of ours.
    Edit {
        /// The WhatsApp message id.
        target: String,
        /// The new text.
        body: String,
    },
    /// Takes an earlier message of ours back, for everyone.
    Delete {
        /// The WhatsApp message id.
        target: String,
    },
}

impl Content {
    /// The text that people see, where there is one: of a text, below a file, a poll's question.
    pub fn text(&self) -> Option<&str> {
        match self {
            Content::Text { body } | Content::Edit { body, .. } => Some(body),
            Content::Media { caption, .. } => caption.as_deref(),
            Content::Poll { name, .. } | Content::Contact { name, .. } => Some(name),
            Content::Location { name, .. } => name.as_deref(),
            Content::Reaction { emoji, .. } => Some(emoji),
            Content::Delete { .. } => None,
        }
    }
}

/// An earlier message of the same chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The WhatsApp message id.
    pub id: String,
    /// Whether it is ours.
    pub from_me: bool,
    /// Who wrote it: a JID. Needed in groups.
    #[serde(default)]
    pub author: Option<String>,
    /// What it said, as far as we know.
    #[serde(default)]
    pub text: Option<String>,
}

/// What a message refers to besides its content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Context {
    /// The message that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quoted: Option<Target>,
    /// JIDs of those whose `@number` in the text is a mention.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mentions: Vec<String>,
    /// Whether everybody in the group is mentioned.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mention_all: bool,
    /// Whether the recipient's app is told to show no preview of a link.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_preview: bool,
    /// Whether the page behind the text's first link is asked for a preview before the message is sent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub preview: bool,
}

impl Context {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Context::default()
    }
}

/// A card (vCard 3.0) with one number, as WhatsApp's own apps write it. `phone`: digits with country code.
pub fn vcard(name: &str, phone: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '\\' | ',' | ';' => {
                escaped.push('\\');
                escaped.push(c);
            }
            '\r' | '\n' => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    format!(
        "BEGIN:VCARD\nVERSION:3.0\nN:;{escaped};;;\nFN:{escaped}\nTEL;type=CELL;waid={phone}:+{phone}\nEND:VCARD"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_break_out_of_its_card() {
        let card = vcard("Budi; S\nTEL:1,2\\", "6281");
        assert_eq!(card.lines().count(), 6, "{card}");
        assert!(card.contains(r"FN:Budi\; S TEL:1\,2\\") && card.contains("waid=6281:+6281"), "{card}");
    }

    #[test]
    fn every_kind_survives_the_store() {
        let target = Target { id: "3EB0".into(), from_me: false, author: None, text: None };
        for content in [
            Content::Poll {
                name: "?".into(),
                options: vec!["a".into(), "b".into()],
                selectable: 1,
                secret: "00".into(),
            },
            Content::Location { latitude: -7.983_908, longitude: 112.621_391, name: None, address: None },
            Content::Contact { name: "Budi".into(), vcard: vcard("Budi", "62") },
            Content::Reaction { target, emoji: "👍".into() },
            Content::Edit { target: "3EB0".into(), body: "baru".into() },
            Content::Delete { target: "3EB0".into() },
        ] {
            let text = serde_json::to_string(&content).unwrap();
            assert_eq!(serde_json::from_str::<Content>(&text).unwrap(), content, "{text}");
        }
    }
}
