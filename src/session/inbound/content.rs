//! What a WhatsApp message is to whoever reads it. Pure.

use wacore::proto_helpers::MessageExt;
use waproto::whatsapp as wa;
use waproto::whatsapp::message::protocol_message::Type as ProtocolType;

use crate::inbox::{Contact, Location, Media, MediaRef, Message, Poll, Quoted};

/// Wrappers inside each other that are opened; WhatsApp nests two or three.
const MAX_WRAPPERS: usize = 8;
/// Longest text kept, in bytes. WhatsApp's own limit is 65,536 characters; only a hostile sender exceeds it.
const MAX_TEXT: usize = 256 * 1024;
/// Longest of what is shorter by nature: names, MIME types, addresses.
const MAX_SHORT: usize = 1024;
/// Most contacts, options or mentions of one message.
const MAX_LIST: usize = 256;

/// What a message says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Content {
    /// Something to read, see or hear.
    Message(Box<Message>, Option<MediaRef>),
    /// A reaction to the message with this id; no emoji takes it back.
    Reaction { target: String, emoji: String },
    /// A vote, still encrypted.
    Vote(Vote),
}

/// An encrypted vote.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Vote {
    pub(super) poll_id: String,
    /// Who made the poll, as far as the vote says so; in a private chat it does not.
    pub(super) creator: Option<String>,
    pub(super) payload: Vec<u8>,
    pub(super) iv: Vec<u8>,
}

/// What `message` says, or `None` if that is nothing for people: keys, settings, and other words between programs.
pub(super) fn content(message: &wa::Message) -> Option<Content> {
    let view_once = message.is_view_once();
    let message = open(message);
    if let Some(reaction) = message.reaction_message.as_option() {
        let target = reaction.key.as_option()?.id.clone()?;
        let emoji = short(reaction.text.as_deref().unwrap_or_default());
        return Some(Content::Reaction { target, emoji });
    }
    if let Some(update) = message.poll_update_message.as_option() {
        let key = update.poll_creation_message_key.as_option()?;
        let vote = update.vote.as_option()?;
        return Some(Content::Vote(Vote {
            poll_id: key.id.clone()?,
            creator: key.participant.clone(),
            payload: vote.enc_payload.clone()?,
            iv: vote.enc_iv.clone()?,
        }));
    }
    let (mut said, media) = say(message)?;
    said.view_once |= view_once;
    Some(Content::Message(Box::new(said), media))
}

/// The innermost message.
fn open(mut message: &wa::Message) -> &wa::Message {
    for _ in 0..MAX_WRAPPERS {
        if let Some(inner) = message.device_sent_message.as_option().and_then(|m| m.message.as_option()) {
            message = inner;
            continue;
        }
        let wrapper = [
            &message.ephemeral_message,
            &message.view_once_message,
            &message.view_once_message_v2,
            &message.view_once_message_v2_extension,
            &message.document_with_caption_message,
            &message.edited_message,
            &message.group_mentioned_message,
            &message.lottie_sticker_message,
            &message.poll_creation_message_v4,
            &message.spoiler_message,
        ];
        match wrapper.into_iter().find_map(|wrapper| wrapper.as_option()?.message.as_option()) {
            Some(inner) => message = inner,
            None => break,
        }
    }
    message
}

fn say(message: &wa::Message) -> Option<(Message, Option<MediaRef>)> {
    if let Some(text) = message.conversation.as_deref().filter(|text| !text.is_empty()) {
        return Some((plain("text", Some(text), None), None));
    }
    if let Some(m) = message.extended_text_message.as_option() {
        return Some((plain("text", m.text.as_deref(), m.context_info.as_option()), None));
    }
    if let Some((said, media)) = file(message) {
        return Some((said, Some(media)));
    }
    if let Some(said) = data(message).or_else(|| answer(message)) {
        return Some((said, None));
    }
    if let Some(m) = message.protocol_message.as_option() {
        let target = m.key.as_option().and_then(|key| key.id.clone());
        return match m.r#type {
            Some(ProtocolType::REVOKE) => Some((Message { target, ..plain("revoke", None, None) }, None)),
            Some(ProtocolType::MESSAGE_EDIT) => {
                let (new, media) = say(open(m.edited_message.as_option()?))?;
                Some((Message { kind: "edit".into(), target, ..new }, media))
            }
            _ => None,
        };
    }
    shows_something_else(message).then(|| (plain("unsupported", None, None), None))
}

/// Kinds that a phone shows and that are not taken apart here.
fn shows_something_else(message: &wa::Message) -> bool {
    message.template_message.is_set()
        || message.list_message.is_set()
        || message.buttons_message.is_set()
        || message.interactive_message.is_set()
        || message.product_message.is_set()
        || message.order_message.is_set()
        || message.invoice_message.is_set()
        || message.group_invite_message.is_set()
        || message.event_message.is_set()
        || message.send_payment_message.is_set()
        || message.request_payment_message.is_set()
}

fn plain(kind: &str, text: Option<&str>, context: Option<&wa::ContextInfo>) -> Message {
    let mut message = Message {
        kind: kind.into(),
        text: text.filter(|text| !text.is_empty()).map(|text| cut(text, MAX_TEXT)),
        ..Message::default()
    };
    let Some(context) = context else { return message };
    message.forwarded = context.is_forwarded == Some(true);
    message.mentions = context.mentioned_jid.iter().take(MAX_LIST).map(|jid| short(jid)).collect();
    message.quoted = context.stanza_id.as_deref().map(|id| Quoted {
        message_id: short(id),
        sender: context.participant.as_deref().map(short),
        text: context.quoted_message.as_option().and_then(words),
    });
    message
}

/// The words of a message that is quoted.
fn words(quoted: &wa::Message) -> Option<String> {
    let quoted = open(quoted);
    let text = quoted.text_content().or_else(|| quoted.get_caption());
    text.filter(|text| !text.is_empty()).map(|text| cut(text, 4 * MAX_SHORT))
}

fn file(message: &wa::Message) -> Option<(Message, MediaRef)> {
    // The message types have these fields in common, and no type for them.
    macro_rules! file {
        ($m:ident, $keys:literal) => {
            MediaRef {
                direct_path: $m.direct_path.clone().filter(|path| path.len() <= 8 * MAX_SHORT)?,
                media_key: hex::encode($m.media_key.as_deref()?),
                sha256: hex::encode($m.file_sha256.as_deref()?),
                enc_sha256: hex::encode($m.file_enc_sha256.as_deref()?),
                length: $m.file_length.unwrap_or(0),
                keys: $keys.into(),
            }
        };
    }
    let about = |mime: &Option<String>, size: Option<u64>| Media {
        mime: short(mime.as_deref().unwrap_or("application/octet-stream")),
        size,
        ..Media::default()
    };
    if let Some(m) = message.image_message.as_option() {
        let said = plain("image", m.caption.as_deref(), m.context_info.as_option());
        let media = Media { width: m.width, height: m.height, ..about(&m.mimetype, m.file_length) };
        let view_once = m.view_once == Some(true);
        return Some((Message { media: Some(media), view_once, ..said }, file!(m, "image")));
    }
    if let Some(m) = message.video_message.as_option().or(message.ptv_message.as_option()) {
        let said = plain("video", m.caption.as_deref(), m.context_info.as_option());
        let media = Media {
            width: m.width,
            height: m.height,
            seconds: m.seconds,
            ..about(&m.mimetype, m.file_length)
        };
        let view_once = m.view_once == Some(true);
        return Some((Message { media: Some(media), view_once, ..said }, file!(m, "video")));
    }
    if let Some(m) = message.audio_message.as_option() {
        let kind = if m.ptt == Some(true) { "voice" } else { "audio" };
        let said = plain(kind, None, m.context_info.as_option());
        let media = Media { seconds: m.seconds, ..about(&m.mimetype, m.file_length) };
        let view_once = m.view_once == Some(true);
        return Some((Message { media: Some(media), view_once, ..said }, file!(m, "audio")));
    }
    if let Some(m) = message.document_message.as_option() {
        let said = plain("document", m.caption.as_deref(), m.context_info.as_option());
        let filename = m.file_name.as_deref().or(m.title.as_deref()).map(short);
        let media = Media { filename, ..about(&m.mimetype, m.file_length) };
        return Some((Message { media: Some(media), ..said }, file!(m, "document")));
    }
    let m = message.sticker_message.as_option()?;
    let said = plain("sticker", None, m.context_info.as_option());
    let media = Media { width: m.width, height: m.height, ..about(&m.mimetype, m.file_length) };
    Some((Message { media: Some(media), ..said }, file!(m, "sticker")))
}

/// Places, contacts and polls.
fn data(message: &wa::Message) -> Option<Message> {
    if let Some(m) = message.location_message.as_option() {
        let location = Location {
            latitude: m.degrees_latitude.unwrap_or(0.0),
            longitude: m.degrees_longitude.unwrap_or(0.0),
            name: m.name.as_deref().map(short),
            address: m.address.as_deref().map(short),
        };
        let said = plain("location", m.comment.as_deref(), m.context_info.as_option());
        return Some(Message { location: Some(location), ..said });
    }
    if let Some(m) = message.live_location_message.as_option() {
        let location = Location {
            latitude: m.degrees_latitude.unwrap_or(0.0),
            longitude: m.degrees_longitude.unwrap_or(0.0),
            ..Location::default()
        };
        let said = plain("location", m.caption.as_deref(), m.context_info.as_option());
        return Some(Message { location: Some(location), ..said });
    }
    let card = |m: &wa::message::ContactMessage| Contact {
        name: short(m.display_name.as_deref().unwrap_or_default()),
        vcard: cut(m.vcard.as_deref().unwrap_or_default(), 16 * MAX_SHORT),
    };
    if let Some(m) = message.contact_message.as_option() {
        let said = plain("contact", None, m.context_info.as_option());
        return Some(Message { contacts: vec![card(m)], ..said });
    }
    if let Some(m) = message.contacts_array_message.as_option() {
        let said = plain("contact", None, m.context_info.as_option());
        return Some(Message { contacts: m.contacts.iter().take(MAX_LIST).map(card).collect(), ..said });
    }
    let polls = [
        &message.poll_creation_message,
        &message.poll_creation_message_v2,
        &message.poll_creation_message_v3,
        &message.poll_creation_message_v5,
        &message.poll_creation_message_v6,
    ];
    let m = polls.into_iter().find_map(|poll| poll.as_option())?;
    let options = m.options.iter().take(MAX_LIST).filter_map(|option| option.option_name.as_deref());
    let poll = Poll {
        name: short(m.name.as_deref().unwrap_or_default()),
        options: options.map(short).collect(),
        selectable: m.selectable_options_count.unwrap_or(0),
    };
    Some(Message { poll: Some(poll), ..plain("poll", m.name.as_deref(), m.context_info.as_option()) })
}

/// What somebody chose from buttons or a list that a business sent: words like any other.
fn answer(message: &wa::Message) -> Option<Message> {
    if let Some(m) = message.buttons_response_message.as_option() {
        let text = match &m.response {
            Some(wa::message::buttons_response_message::Response::SelectedDisplayText(text)) => Some(text),
            None => m.selected_button_id.as_ref(),
        };
        return Some(plain("text", text.map(String::as_str), m.context_info.as_option()));
    }
    if let Some(m) = message.list_response_message.as_option() {
        return Some(plain("text", m.title.as_deref(), m.context_info.as_option()));
    }
    let m = message.template_button_reply_message.as_option()?;
    Some(plain("text", m.selected_display_text.as_deref(), m.context_info.as_option()))
}

fn short(text: &str) -> String {
    cut(text, MAX_SHORT)
}

/// At most `most` bytes of the text, whole characters only.
fn cut(text: &str, most: usize) -> String {
    text[..text.floor_char_boundary(most)].to_owned()
}

#[cfg(test)]
mod tests {
    use whatsapp_rust::buffa::MessageField;

    use super::*;

    fn said(message: &wa::Message) -> Message {
        match content(message) {
            Some(Content::Message(said, _)) => *said,
            other => panic!("{other:?}"),
        }
    }

    fn image() -> wa::message::ImageMessage {
        wa::message::ImageMessage {
            direct_path: Some("/v/1".into()),
            media_key: Some(vec![1; 32]),
            file_sha256: Some(vec![2; 32]),
            file_enc_sha256: Some(vec![3; 32]),
            file_length: Some(9),
            mimetype: Some("image/jpeg".into()),
            caption: Some("lihat".into()),
            width: Some(4),
            height: Some(3),
            ..Default::default()
        }
    }

    fn wrapped(message: wa::Message) -> MessageField<wa::message::FutureProofMessage> {
        MessageField::some(wa::message::FutureProofMessage { message: MessageField::some(message) })
    }

    #[test]
    fn a_text_in_every_wrapper_is_a_text() {
        let text = wa::Message { conversation: Some("halo".into()), ..Default::default() };
        let ephemeral = wa::Message { ephemeral_message: wrapped(text.clone()), ..Default::default() };
        let sent = wa::Message {
            device_sent_message: MessageField::some(wa::message::DeviceSentMessage {
                message: MessageField::some(ephemeral.clone()),
                ..Default::default()
            }),
            ..Default::default()
        };
        for message in [text, ephemeral, sent] {
            assert_eq!(said(&message), plain("text", Some("halo"), None));
        }
    }

    #[test]
    fn a_reply_names_what_it_answers_and_whom_it_mentions() {
        let quoted = wa::Message { conversation: Some("kapan?".into()), ..Default::default() };
        let context = wa::ContextInfo {
            stanza_id: Some("Q1".into()),
            participant: Some("62811@s.whatsapp.net".into()),
            quoted_message: MessageField::some(quoted),
            mentioned_jid: vec!["62812@s.whatsapp.net".into()],
            is_forwarded: Some(true),
            ..Default::default()
        };
        let message = wa::Message {
            extended_text_message: MessageField::some(wa::message::ExtendedTextMessage {
                text: Some("besok".into()),
                context_info: MessageField::some(context),
                ..Default::default()
            }),
            ..Default::default()
        };
        let said = said(&message);
        let quoted = said.quoted.unwrap();
        assert_eq!((quoted.message_id.as_str(), quoted.text.as_deref()), ("Q1", Some("kapan?")));
        assert_eq!(said.mentions, ["62812@s.whatsapp.net"]);
        assert!(said.forwarded && said.text.as_deref() == Some("besok"));
    }

    #[test]
    fn a_file_comes_with_where_it_is_and_one_that_cannot_be_had_is_no_file() {
        let message = wa::Message { image_message: MessageField::some(image()), ..Default::default() };
        let once = wa::Message { view_once_message_v2: wrapped(message.clone()), ..Default::default() };
        for (message, view_once) in [(message, false), (once, true)] {
            let Some(Content::Message(said, Some(media))) = content(&message) else { panic!() };
            assert_eq!((said.kind.as_str(), said.view_once), ("image", view_once));
            let about = said.media.unwrap();
            assert_eq!((about.width, about.size, about.mime.as_str()), (Some(4), Some(9), "image/jpeg"));
            assert_eq!((media.keys.as_str(), media.media_key.len()), ("image", 64));
            assert!(!format!("{media:?}").contains(&media.media_key));
        }
        let keyless = wa::message::ImageMessage { media_key: None, ..image() };
        let message = wa::Message { image_message: MessageField::some(keyless), ..Default::default() };
        assert_eq!(content(&message), None);
    }

    #[test]
    fn edits_revokes_reactions_and_votes_point_at_their_message() {
        let key = |id: &str| MessageField::some(wa::MessageKey { id: Some(id.into()), ..Default::default() });
        let text = wa::Message { conversation: Some("baru".into()), ..Default::default() };
        let edit = wa::Message {
            protocol_message: MessageField::some(wa::message::ProtocolMessage {
                key: key("T"),
                r#type: Some(ProtocolType::MESSAGE_EDIT),
                edited_message: MessageField::some(text),
                ..Default::default()
            }),
            ..Default::default()
        };
        let edit = said(&wa::Message { edited_message: wrapped(edit), ..Default::default() });
        assert_eq!(
            (edit.kind.as_str(), edit.target.as_deref(), edit.text.as_deref()),
            ("edit", Some("T"), Some("baru"))
        );
        let revoke = wa::Message {
            protocol_message: MessageField::some(wa::message::ProtocolMessage {
                key: key("T"),
                r#type: Some(ProtocolType::REVOKE),
                ..Default::default()
            }),
            ..Default::default()
        };
        assert_eq!((said(&revoke).kind.as_str(), said(&revoke).target.as_deref()), ("revoke", Some("T")));
        let reaction = wa::Message {
            reaction_message: MessageField::some(wa::message::ReactionMessage {
                key: key("T"),
                text: Some("👍".into()),
                ..Default::default()
            }),
            ..Default::default()
        };
        let expected = Content::Reaction { target: "T".into(), emoji: "👍".into() };
        assert_eq!(content(&reaction), Some(expected));
    }

    #[test]
    fn words_between_programs_are_nothing_to_tell() {
        let keys = wa::Message {
            protocol_message: MessageField::some(wa::message::ProtocolMessage {
                r#type: Some(ProtocolType::APP_STATE_SYNC_KEY_SHARE),
                ..Default::default()
            }),
            ..Default::default()
        };
        let sender_key = wa::Message {
            sender_key_distribution_message: MessageField::some(Default::default()),
            ..Default::default()
        };
        assert_eq!((content(&keys), content(&sender_key)), (None, None));
        let template =
            wa::Message { template_message: MessageField::some(Default::default()), ..Default::default() };
        assert_eq!(said(&template).kind, "unsupported");
    }

    #[test]
    fn a_text_without_end_is_cut_between_characters() {
        let long = "é".repeat(MAX_TEXT);
        let message = wa::Message { conversation: Some(long), ..Default::default() };
        let text = said(&message).text.unwrap();
        assert!(text.len() <= MAX_TEXT && text.len() >= MAX_TEXT - 1);
    }
}
