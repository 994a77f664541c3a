//! Which message a caller means: one of ours by either of its ids, a received one by its event's id, or any by its
//! WhatsApp id and its chat.

use axum::http::StatusCode;

use super::Failure;
use crate::api::Shared;
use crate::api::params::{ParamError, Params};
use crate::api::phone::{self, Recipient};
use crate::api::send::Target;
use crate::inbox::{self, Event, event_id};
use crate::outbox::{Message, Target as About};
use crate::session::Session;

/// How the parameters are called that say more of a message.
pub(super) struct Names {
    /// Its chat.
    pub(super) chat: &'static str,
    /// Its author, in a group.
    pub(super) sender: &'static str,
    /// Whether this account wrote it.
    pub(super) from_me: &'static str,
}

/// As they are called where the message itself is what a request is about.
pub(super) const NAMES: Names = Names { chat: "chat", sender: "sender", from_me: "from_me" };

/// An earlier message.
pub(super) struct Referred {
    /// The chat it is in.
    pub(super) chat: Target,
    /// It, as others refer to it.
    pub(super) about: About,
    /// What we know of it.
    pub(super) known: Known,
}

/// What is known of an earlier message.
pub(super) enum Known {
    /// We sent it.
    Sent(Box<Message>),
    /// WhatsApp delivered it to us.
    Received(Box<Event>),
    /// No more than the caller says.
    Nothing,
}

/// The names under which WhatsApp delivered a message: its chat, and in a group its author. Both are part of the
/// event's id, so of somebody's two names the one that makes this id is the one that was used.
pub(super) fn delivered(event: &Event, message_id: &str) -> Option<(String, Option<String>)> {
    let chat = event.chat_id.clone()?;
    let person = &event.person;
    let phone = person.phone.as_ref().map(|phone| format!("{phone}@s.whatsapp.net"));
    let names: Vec<String> = person.lid.clone().into_iter().chain(phone).collect();
    let session = event.origin.session.as_str();
    if chat.ends_with("@g.us") {
        let is_it = |name: &&String| event_id(session, &["message", &chat, name, message_id]) == event.id;
        let author = names.iter().find(is_it).or(names.first()).cloned();
        return Some((chat, author));
    }
    let is_it = |name: &&String| event_id(session, &["message", name, name, message_id]) == event.id;
    let raw = names.iter().find(is_it).cloned();
    Some((raw.unwrap_or(chat), None))
}

/// The WhatsApp id of the message that an event told of, and whether this account wrote it.
pub(super) fn message_of(event: &Event) -> Option<(&str, bool)> {
    match &event.body {
        inbox::Body::Message(message) => Some((&message.message_id, message.from_me)),
        _ => None,
    }
}

/// Whether this can be a WhatsApp message id at all.
fn is_message_id(id: &str) -> bool {
    (4..=128).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b':' | b'-' | b'_' | b'@'))
}

fn unknown(field: &str) -> Failure {
    let message = format!(
        "{field}: there is no such message; name it by the id that it was accepted or reported under, or add its chat"
    );
    Failure::new(StatusCode::NOT_FOUND, message)
}

impl Referred {
    /// Whether it is in the chat with this JID, which may be either name of a person.
    pub(super) fn is_in(&self, chat: &str) -> bool {
        let private = !self.chat.jid().ends_with("@g.us");
        let lid = match &self.known {
            Known::Received(event) if private => event.person.lid.as_deref(),
            _ => None,
        };
        self.chat.jid() == chat || lid == Some(chat)
    }
}

impl Shared {
    /// The message that `id`, from the parameter `field`, means. One that we know nothing of needs its chat in the
    /// parameters, and in a group its author unless it is ours. `own`: whether it is ours where the caller does not say.
    pub(super) async fn referred(
        &self,
        session: &Session,
        field: &'static str,
        id: &str,
        params: &Params,
        names: &Names,
        own: bool,
    ) -> Result<Referred, Failure> {
        let id = id.trim();
        if !is_message_id(id) {
            return Err(unknown(field));
        }
        if let Some(message) = self.outbox.find(id)?.filter(|message| message.session_no == session.no()) {
            let text = message.content.text().map(str::to_owned);
            let about = About { id: message.message_id.clone(), from_me: true, author: None, text };
            return Ok(Referred { chat: Target::of(&message), about, known: Known::Sent(Box::new(message)) });
        }
        let event = if id.len() == 32 { self.inbox.find(id)? } else { None };
        if let Some(event) = event.filter(|event| event.origin.session_no == session.no()) {
            let (Some((message_id, from_me)), Some((_, author))) =
                (message_of(&event), delivered(&event, message_of(&event).map_or("", |(id, _)| id)))
            else {
                return Err(Failure::bad(format!("{field}: this event is not a message")));
            };
            let text = match &event.body {
                inbox::Body::Message(message) => message.text.clone(),
                _ => None,
            };
            let author = author.filter(|_| !from_me);
            let about = About { id: message_id.to_owned(), from_me, author, text };
            let chat = Target::known(event.chat_id.clone().unwrap_or_default());
            return Ok(Referred { chat, about, known: Known::Received(Box::new(event)) });
        }
        let Some(chat) = params.text(names.chat)? else { return Err(unknown(field)) };
        let chat = self.target(session, names.chat, &chat, true).await?;
        let from_me = if params.has(names.from_me) { params.flag(names.from_me)? } else { own };
        let mut author = None;
        if chat.jid().ends_with("@g.us") && !from_me {
            author = Some(self.author(session, params, names.sender).await?);
        }
        let about = About { id: id.to_owned(), from_me, author, text: None };
        Ok(Referred { chat, about, known: Known::Nothing })
    }

    /// The JID of somebody who wrote in a group, as the parameter `field` names them.
    pub(super) async fn author(
        &self,
        session: &Session,
        params: &Params,
        field: &'static str,
    ) -> Result<String, Failure> {
        let wrong = |reason: String| Failure::from(ParamError::Value { field, reason });
        let text = params.required(field)?;
        match phone::recipient(&text, &self.country_code).map_err(|e| wrong(e.to_string()))? {
            Recipient::Jid(jid) if jid.ends_with("@lid") => Ok(jid),
            Recipient::Jid(_) => Err(wrong("is not a person".into())),
            Recipient::Number(number) => {
                Ok(self.target(session, field, &number, true).await?.jid().to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inbox::{Body, Origin, Person};

    fn event(chat: &str, raw_chat: &str, raw_sender: &str) -> Event {
        Event {
            seq: 1,
            id: event_id("s", &["message", raw_chat, raw_sender, "M1"]),
            origin: Origin { session_no: 1, session: "s".into(), account: "a".into() },
            at_ms: 0,
            recorded_at_ms: 0,
            offline: false,
            chat_id: Some(chat.into()),
            person: Person { phone: Some("62811".into()), lid: Some("77@lid".into()) },
            body: Body::Message(Box::default()),
            media: None,
        }
    }

    #[test]
    fn the_names_that_whatsapp_used_are_found_again() {
        const PHONE: &str = "62811@s.whatsapp.net";
        for raw in ["77@lid", PHONE] {
            assert_eq!(delivered(&event(PHONE, raw, raw), "M1"), Some((raw.into(), None)));
            let in_group = delivered(&event("1@g.us", "1@g.us", raw), "M1");
            assert_eq!(in_group, Some(("1@g.us".into(), Some(raw.into()))));
        }
        assert_eq!(delivered(&event(PHONE, "x@lid", "x@lid"), "M1"), Some((PHONE.into(), None)));
    }

    #[test]
    fn only_what_can_be_a_message_id_is_one() {
        assert!(is_message_id("3EB0A1B2C3D4E5F60718") && is_message_id("0190-uuid"));
        for bad in ["", "abc", "a b c d", "../../etc", "3EB0\n3EB0", &"A".repeat(200)] {
            assert!(!is_message_id(bad), "{bad:?}");
        }
    }
}
