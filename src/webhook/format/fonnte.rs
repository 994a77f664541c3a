//! Fonnte's format: one body for a message, one for each message of a receipt, one for a connection.

use serde_json::{Value, json};

use super::{Context, author, shown};
use crate::inbox::{Body, Event, Message, SessionState};

pub(super) fn event(event: &Event, context: &Context) -> Vec<Value> {
    if event.from_me() {
        return Vec::new();
    }
    match &event.body {
        Body::Message(message) if matches!(message.kind.as_str(), "edit" | "revoke" | "unsupported") => {
            Vec::new()
        }
        Body::Message(message) => vec![incoming(event, Some(message), context)],
        Body::PollVote(_) => vec![incoming(event, None, context)],
        Body::Receipt(receipt) => {
            let state = if receipt.status == "delivered" { "delivered" } else { "read" };
            let status = |(message_id, id): &(String, u64)| {
                json!({
                    "device": context.device,
                    "id": id.to_string(),
                    "stateid": message_id,
                    "status": "sent",
                    "state": state,
                })
            };
            context.outbox_ids.iter().map(status).collect()
        }
        Body::Session(state) => connection(event, state, context).into_iter().collect(),
        Body::Reaction(_) | Body::Group(_) => Vec::new(),
    }
}

fn incoming(event: &Event, message: Option<&Message>, context: &Context) -> Value {
    let group = event.chat_id.as_deref().filter(|chat| chat.ends_with("@g.us"));
    let media = message.and_then(|m| m.media.as_ref());
    let location = message.and_then(|m| m.location.as_ref());
    let (poll_name, choices, name) = match &event.body {
        Body::PollVote(vote) => {
            (vote.poll_name.clone().unwrap_or_default(), vote.options.join(","), vote.name.clone())
        }
        Body::Message(m) => (String::new(), String::new(), m.name.clone()),
        _ => Default::default(),
    };
    let filename = media.map(|media| {
        let named = media.filename.clone();
        named.unwrap_or_else(|| format!("{}.{}", event.id, extension(&media.mime)))
    });
    let extension = filename.as_deref().and_then(|name| name.rsplit_once('.')).map(|(_, ending)| ending);
    json!({
        "device": context.device,
        "sender": group.map_or_else(|| author(event), str::to_owned),
        "message": shown(event),
        "text": "",
        "member": group.map(|_| author(event)).unwrap_or_default(),
        "name": name,
        "location": location.map(|l| format!("{},{}", l.latitude, l.longitude)).unwrap_or_default(),
        "pollname": poll_name,
        "choices": choices,
        "timestamp": event.at_ms / 1000,
        "inboxid": event.seq,
        "url": context.media_url.as_deref().unwrap_or_default(),
        "filename": filename.as_deref().unwrap_or_default(),
        "extension": extension.unwrap_or_default(),
    })
}

/// A file name's ending for a MIME type, as far as phones send them.
pub(super) fn extension(mime: &str) -> &'static str {
    match mime.split(';').next().unwrap_or_default().trim() {
        "image/jpeg" => "jpg",
        "image/png" => "png",
        "image/webp" => "webp",
        "image/gif" => "gif",
        "video/mp4" => "mp4",
        "video/3gpp" => "3gp",
        "audio/ogg" => "ogg",
        "audio/mpeg" => "mp3",
        "audio/mp4" | "audio/aac" => "m4a",
        "application/pdf" => "pdf",
        "application/zip" => "zip",
        "text/plain" => "txt",
        _ => "bin",
    }
}

fn connection(event: &Event, state: &SessionState, context: &Context) -> Option<Value> {
    let status = match state.status.as_str() {
        "connected" => "connect",
        // On the way: every reconnection passes here, and Fonnte's receivers know two states.
        "connecting" => return None,
        _ => "disconnect",
    };
    let device = state.number.clone().unwrap_or_else(|| context.device.clone());
    let mut body = json!({"device": device, "status": status, "timestamp": event.at_ms / 1000});
    if status == "disconnect" {
        body["reason"] = json!(state.reason);
    }
    Some(body)
}
