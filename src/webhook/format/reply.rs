//! What a receiver of the `api_key` format answers: nothing, or what the bot says.

use serde_json::Value;

use crate::media::MediaKind;

/// Longest answer that is read, in bytes.
pub(crate) const MAX_ANSWER: u64 = 256 * 1024;

/// The bot's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A text.
    Text {
        /// The text.
        text: String,
        /// It answers the message.
        quoted: bool,
    },
    /// A file to fetch.
    Media {
        /// How it is shown.
        kind: MediaKind,
        /// Where it is.
        url: String,
        /// The text below it.
        caption: Option<String>,
        /// A document's name.
        filename: Option<String>,
        /// It answers the message.
        quoted: bool,
    },
}

/// Reads the body of the receiver's HTTP answer. Whatever is not an answer of this format is none: receivers often say
/// just "ok".
pub fn answer(body: &[u8]) -> Option<Answer> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let object = value.as_object()?;
    let text = |field: &str| {
        let text = object.get(field)?.as_str()?;
        (!text.trim().is_empty()).then(|| text.to_owned())
    };
    let quoted = match object.get("quoted") {
        Some(Value::Bool(quoted)) => *quoted,
        Some(Value::Number(n)) => n.as_u64() == Some(1),
        Some(Value::String(s)) => matches!(s.as_str(), "true" | "1"),
        _ => false,
    };
    let kind = match object.get("type").and_then(Value::as_str) {
        Some("image") => Some(MediaKind::Image),
        Some("video") => Some(MediaKind::Video),
        Some("document") => Some(MediaKind::Document),
        Some("audio") if flag(object.get("ptt")) => Some(MediaKind::Voice),
        Some("audio") => Some(MediaKind::Audio),
        Some("sticker") => Some(MediaKind::Sticker),
        _ => None,
    };
    match (kind, url(&value)) {
        (Some(kind), Some(url)) => {
            let caption = text("caption");
            Some(Answer::Media { kind, url, caption, filename: text("filename"), quoted })
        }
        (Some(_), None) => None,
        (None, _) => Some(Answer::Text { text: text("text")?, quoted }),
    }
}

fn flag(value: Option<&Value>) -> bool {
    matches!(value, Some(Value::Bool(true))) || value.and_then(Value::as_u64) == Some(1)
}

/// `"url": "…"`, or as some receivers write it, `"image": {"url": "…"}`.
fn url(value: &Value) -> Option<String> {
    let nested = || {
        ["image", "video", "document", "audio", "sticker"].iter().find_map(|kind| value.get(kind)?.get("url"))
    };
    let url = value.get("url").or_else(nested)?.as_str()?;
    (!url.trim().is_empty()).then(|| url.to_owned())
}
