//! Our own format: everything the journal knows of an event, in one shape for all kinds.

use serde_json::{Value, json};

use crate::inbox::{Body, Event};

/// An event as webhooks and the event stream give it. `media_url`: the link to its file.
pub fn event(event: &Event, media_url: Option<&str>) -> Value {
    let mut data = match &event.body {
        Body::Message(message) => json!(message),
        Body::Receipt(receipt) => json!(receipt),
        Body::PollVote(vote) => json!(vote),
        Body::Reaction(reaction) => json!(reaction),
        Body::Group(change) => json!(change),
        Body::Session(state) => json!(state),
    };
    if let (Some(url), Some(media)) = (media_url, data.get_mut("media")) {
        media["url"] = json!(url);
    }
    json!({
        "id": event.id,
        "seq": event.seq,
        "type": event.kind().as_str(),
        "session": event.origin.session,
        "chat_id": event.chat_id,
        "phone": event.person.phone,
        "lid": event.person.lid,
        "from_me": event.from_me(),
        "offline": event.offline,
        "timestamp_ms": event.at_ms,
        "recorded_at_ms": event.recorded_at_ms,
        "data": data,
    })
}

/// The consumer missed events from `first` to `last`, which are no longer kept. Sequence numbers count the events of all
/// sessions, so not every one of them would have been the consumer's.
pub fn gap(first: u64, last: u64) -> Value {
    json!({
        "type": "gap",
        "seq": last,
        "data": {
            "first_seq": first,
            "last_seq": last,
            "message": "Events in this range are no longer kept; some of them may have been yours.",
        },
    })
}
