//! The `api_key` format: incoming messages only, with small pictures inside.

use serde_json::{Value, json};

use super::{Context, author, shown};
use crate::inbox::{Body, Event};

pub(super) fn event(event: &Event, context: &Context) -> Option<Value> {
    let Body::Message(message) = &event.body else { return None };
    if message.from_me || matches!(message.kind.as_str(), "edit" | "revoke" | "unsupported") {
        return None;
    }
    let group = event.chat_id.as_deref().filter(|chat| chat.ends_with("@g.us"));
    Some(json!({
        "device": context.device,
        "message": shown(event),
        "bufferImage": context.image,
        "from": group.map_or_else(|| author(event), str::to_owned),
        "name": message.name,
        "participant": group.map(|_| author(event)),
        "type": message.kind,
        "msgid": message.message_id,
        "url": context.media_url,
        "timestamp": event.at_ms / 1000,
    }))
}
