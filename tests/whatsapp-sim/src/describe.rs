//! What a WhatsApp message is to the person who reads it.

use serde::{Deserialize, Serialize};
use waproto::whatsapp as wa;
use waproto::whatsapp::message::protocol_message::Type as ProtocolType;

use crate::media::MediaRef;

/// Wrappers inside each other that are opened; WhatsApp nests two or three.
const MAX_WRAPPERS: usize = 10;

/// A message's content. Fields as in [`InboxItem`](crate::inbox::InboxItem).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Described {
    /// What it is.
    pub kind: &'static str,
    /// For a text or an edit the text, for a reaction the emoji (empty: taken back), for a location
    /// `LATITUDE,LONGITUDE` and its name and address on further lines, for contacts their vCards, for a poll the
    /// question and the options on a line each.
    pub text: Option<String>,
    /// The caption of a medium.
    pub caption: Option<String>,
    /// The type of a medium.
    pub mime: Option<String>,
    /// The file name of a document.
    pub filename: Option<String>,
    /// Whether audio is a voice note.
    pub ptt: Option<bool>,
    /// How long audio or video plays.
    pub seconds: Option<u32>,
    /// The waveform of a voice note.
    pub waveform: Option<Vec<u8>>,
    /// Width and height of what is seen, in pixels.
    pub dimensions: Option<(u32, u32)>,
    /// The small picture inside the message.
    pub thumbnail: Option<Vec<u8>>,
    /// The id of the message this one refers to.
    pub quoted: Option<String>,
    /// For a reaction, an edit or a revoke, the key of the message it is about.
    pub about: Option<wa::MessageKey>,
    /// JIDs of those whom the text mentions.
    pub mentions: Vec<String>,
    /// Whether it mentions everybody in the group.
    pub mention_all: bool,
    /// What is shown of the text's link.
    pub preview: Option<LinkPreview>,
    /// Where the medium is and how to decrypt it.
    pub media: Option<MediaRef>,
    /// For a message that a linked device of the same account sent: the JID it went to.
    pub destination: Option<String>,
}

/// What a text shows of its link.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkPreview {
    /// The link, as it stands in the text.
    pub link: String,
    /// The page's title.
    pub title: Option<String>,
    /// The page's description.
    pub description: Option<String>,
    /// The size of the JPEG thumbnail, in bytes.
    pub thumbnail: Option<usize>,
}

/// What `message` shows to its reader, or `None` if it shows nothing: a sender key, an app-state key and other messages
/// between programs. Ephemeral, view-once, captioned-document, edit and own-device wrappers are opened.
pub fn describe(message: &wa::Message) -> Option<Described> {
    let (message, destination) = open_wrappers(message);
    let mut described = content(message)?;
    described.destination = destination;
    Some(described)
}

fn open_wrappers(mut message: &wa::Message) -> (&wa::Message, Option<String>) {
    let mut destination = None;
    for _ in 0..MAX_WRAPPERS {
        if let Some(sent) = message.device_sent_message.as_option()
            && let Some(inner) = sent.message.as_option()
        {
            destination.clone_from(&sent.destination_jid);
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
    (message, destination)
}

fn content(message: &wa::Message) -> Option<Described> {
    if let Some(text) = &message.conversation {
        return Some(Described { kind: "text", text: Some(text.clone()), ..Described::default() });
    }
    if let Some(m) = message.extended_text_message.as_option() {
        let preview = m.matched_text.as_ref().map(|link| LinkPreview {
            link: link.clone(),
            title: m.title.clone(),
            description: m.description.clone(),
            thumbnail: m.jpeg_thumbnail.as_ref().map(Vec::len),
        });
        let said = Described { kind: "text", text: m.text.clone(), preview, ..Described::default() };
        return Some(in_context(said, m.context_info.as_option()));
    }
    media(message).or_else(|| reference(message)).or_else(|| data(message)).or_else(|| unknown(message))
}

/// Adds what a message's context says.
fn in_context(described: Described, context: Option<&wa::ContextInfo>) -> Described {
    let Some(context) = context else { return described };
    Described {
        quoted: context.stanza_id.clone(),
        mentions: context.mentioned_jid.clone(),
        mention_all: context.non_jid_mentions.is_some_and(|count| count > 0),
        ..described
    }
}

fn media(message: &wa::Message) -> Option<Described> {
    if let Some(m) = message.image_message.as_option() {
        let said = Described {
            kind: "image",
            caption: m.caption.clone(),
            mime: m.mimetype.clone(),
            dimensions: m.width.zip(m.height),
            thumbnail: m.jpeg_thumbnail.clone(),
            media: Some(MediaRef::of(m)),
            ..Described::default()
        };
        return Some(in_context(said, m.context_info.as_option()));
    }
    if let Some(m) = message.video_message.as_option().or(message.ptv_message.as_option()) {
        let said = Described {
            kind: "video",
            caption: m.caption.clone(),
            mime: m.mimetype.clone(),
            seconds: m.seconds,
            dimensions: m.width.zip(m.height),
            thumbnail: m.jpeg_thumbnail.clone(),
            media: Some(MediaRef::of(m)),
            ..Described::default()
        };
        return Some(in_context(said, m.context_info.as_option()));
    }
    if let Some(m) = message.audio_message.as_option() {
        let said = Described {
            kind: "audio",
            mime: m.mimetype.clone(),
            ptt: Some(m.ptt.unwrap_or(false)),
            seconds: m.seconds,
            waveform: m.waveform.clone(),
            media: Some(MediaRef::of(m)),
            ..Described::default()
        };
        return Some(in_context(said, m.context_info.as_option()));
    }
    if let Some(m) = message.document_message.as_option() {
        let said = Described {
            kind: "document",
            caption: m.caption.clone(),
            mime: m.mimetype.clone(),
            filename: m.file_name.clone().or_else(|| m.title.clone()),
            media: Some(MediaRef::of(m)),
            ..Described::default()
        };
        return Some(in_context(said, m.context_info.as_option()));
    }
    if let Some(m) = message.sticker_message.as_option() {
        let said = Described {
            kind: "sticker",
            mime: m.mimetype.clone(),
            dimensions: m.width.zip(m.height),
            media: Some(MediaRef::of(m)),
            ..Described::default()
        };
        return Some(in_context(said, m.context_info.as_option()));
    }
    None
}

/// Messages that are about another message.
fn reference(message: &wa::Message) -> Option<Described> {
    if let Some(m) = message.reaction_message.as_option() {
        let about = m.key.as_option().cloned();
        let quoted = about.as_ref().and_then(|key| key.id.clone());
        let text = Some(m.text.clone().unwrap_or_default());
        return Some(Described { kind: "reaction", text, quoted, about, ..Described::default() });
    }
    if let Some(m) = message.poll_update_message.as_option() {
        let quoted = m.poll_creation_message_key.as_option().and_then(|key| key.id.clone());
        return Some(Described { kind: "poll-vote", quoted, ..Described::default() });
    }
    let m = message.protocol_message.as_option()?;
    let about = m.key.as_option().cloned();
    let quoted = about.as_ref().and_then(|key| key.id.clone());
    match m.r#type? {
        ProtocolType::REVOKE => Some(Described { kind: "revoke", quoted, about, ..Described::default() }),
        ProtocolType::MESSAGE_EDIT => {
            let (edited, _) = open_wrappers(m.edited_message.as_option()?);
            let new = content(edited).unwrap_or_default();
            Some(Described { kind: "edit", quoted, about, ..new })
        }
        _ => None,
    }
}

/// Messages whose content is data of their own, shown here as text.
fn data(message: &wa::Message) -> Option<Described> {
    let (kind, text, context) = if let Some(m) = message.location_message.as_option() {
        let place = [m.name.as_deref(), m.address.as_deref()];
        ("location", location(m.degrees_latitude, m.degrees_longitude, &place), m.context_info.as_option())
    } else if let Some(m) = message.live_location_message.as_option() {
        let place = [m.caption.as_deref()];
        ("location", location(m.degrees_latitude, m.degrees_longitude, &place), m.context_info.as_option())
    } else if let Some(m) = message.contact_message.as_option() {
        ("contact", m.vcard.clone().unwrap_or_default(), m.context_info.as_option())
    } else if let Some(m) = message.contacts_array_message.as_option() {
        let cards: Vec<&str> = m.contacts.iter().filter_map(|contact| contact.vcard.as_deref()).collect();
        ("contact", cards.join("\n"), m.context_info.as_option())
    } else {
        let polls = [
            &message.poll_creation_message,
            &message.poll_creation_message_v2,
            &message.poll_creation_message_v3,
            &message.poll_creation_message_v5,
            &message.poll_creation_message_v6,
        ];
        let m = polls.into_iter().find_map(|poll| poll.as_option())?;
        let options = m.options.iter().filter_map(|option| option.option_name.as_deref());
        let lines: Vec<&str> = m.name.as_deref().into_iter().chain(options).collect();
        ("poll", lines.join("\n"), m.context_info.as_option())
    };
    Some(in_context(Described { kind, text: Some(text), ..Described::default() }, context))
}

fn location(latitude: Option<f64>, longitude: Option<f64>, place: &[Option<&str>]) -> String {
    let mut text = format!("{},{}", latitude.unwrap_or_default(), longitude.unwrap_or_default());
    for line in place.iter().flatten() {
        text.push('\n');
        text.push_str(line);
    }
    text
}

/// A message that a phone shows and this module has no words for must not vanish from the inbox.
fn unknown(message: &wa::Message) -> Option<Described> {
    let mut rest = message.clone();
    // What accompanies messages, and is no content of its own.
    rest.sender_key_distribution_message.take();
    rest.fast_ratchet_key_sender_key_distribution_message.take();
    rest.message_context_info.take();
    rest.protocol_message.take();
    // Not compared with a default message: a field that is set and empty is equal to one that is absent.
    (waproto::codec::message_encoded_len(&rest) > 0)
        .then(|| Described { kind: "unknown", ..Described::default() })
}

#[cfg(test)]
mod tests {
    use wacore::download::MediaType;
    use waproto::buffa::MessageField;

    use super::*;

    fn image(caption: &str) -> wa::Message {
        wa::Message {
            image_message: MessageField::some(wa::message::ImageMessage {
                mimetype: Some("image/png".into()),
                caption: Some(caption.into()),
                direct_path: Some("/v/1".into()),
                media_key: Some(vec![7; 32]),
                file_length: Some(9),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn future_proof(message: wa::Message) -> MessageField<wa::message::FutureProofMessage> {
        MessageField::some(wa::message::FutureProofMessage { message: MessageField::some(message) })
    }

    fn key(id: &str) -> MessageField<wa::MessageKey> {
        MessageField::some(wa::MessageKey { id: Some(id.into()), ..Default::default() })
    }

    fn replying_to(id: &str) -> MessageField<wa::ContextInfo> {
        MessageField::some(wa::ContextInfo { stanza_id: Some(id.into()), ..Default::default() })
    }

    #[test]
    fn both_forms_of_text() {
        let plain = wa::Message { conversation: Some("hello".into()), ..Default::default() };
        let described = describe(&plain).unwrap();
        assert_eq!(
            (described.kind, described.text.as_deref(), described.quoted),
            ("text", Some("hello"), None)
        );

        let reply = wa::Message {
            extended_text_message: MessageField::some(wa::message::ExtendedTextMessage {
                text: Some("yes".into()),
                context_info: replying_to("3EB0"),
                ..Default::default()
            }),
            ..Default::default()
        };
        let described = describe(&reply).unwrap();
        assert_eq!(described.text.as_deref(), Some("yes"));
        assert_eq!(described.quoted.as_deref(), Some("3EB0"));
    }

    #[test]
    fn wrappers_are_opened_in_any_nesting() {
        let view_once =
            wa::Message { view_once_message_v2: future_proof(image("once")), ..Default::default() };
        let ephemeral = wa::Message { ephemeral_message: future_proof(view_once), ..Default::default() };
        let own = wa::Message {
            device_sent_message: MessageField::some(wa::message::DeviceSentMessage {
                destination_jid: Some("4915550002@s.whatsapp.net".into()),
                message: MessageField::some(ephemeral),
                ..Default::default()
            }),
            ..Default::default()
        };
        let described = describe(&own).unwrap();
        assert_eq!(described.kind, "image");
        assert_eq!(described.caption.as_deref(), Some("once"));
        assert_eq!(described.destination.as_deref(), Some("4915550002@s.whatsapp.net"));
        let media = described.media.unwrap();
        assert_eq!((media.media_type, media.file_length), (MediaType::Image, Some(9)));
        assert_eq!(media.media_key, Some(vec![7; 32]));
    }

    #[test]
    fn wrappers_without_end_are_given_up() {
        let mut message = image("deep");
        for _ in 0..MAX_WRAPPERS + 5 {
            message = wa::Message { ephemeral_message: future_proof(message), ..Default::default() };
        }
        assert_eq!(describe(&message).unwrap().kind, "unknown");
    }

    #[test]
    fn a_captioned_document_and_a_voice_note() {
        let document = wa::Message {
            document_message: MessageField::some(wa::message::DocumentMessage {
                file_name: Some("bill.pdf".into()),
                mimetype: Some("application/pdf".into()),
                caption: Some("for June".into()),
                ..Default::default()
            }),
            ..Default::default()
        };
        let wrapped =
            wa::Message { document_with_caption_message: future_proof(document), ..Default::default() };
        let described = describe(&wrapped).unwrap();
        assert_eq!((described.kind, described.filename.as_deref()), ("document", Some("bill.pdf")));
        assert_eq!(described.caption.as_deref(), Some("for June"));

        let voice = wa::Message {
            audio_message: MessageField::some(wa::message::AudioMessage {
                ptt: Some(true),
                seconds: Some(4),
                ..Default::default()
            }),
            ..Default::default()
        };
        let described = describe(&voice).unwrap();
        assert_eq!((described.kind, described.ptt, described.seconds), ("audio", Some(true), Some(4)));
    }

    #[test]
    fn messages_about_another_message_name_it() {
        let reaction = wa::Message {
            reaction_message: MessageField::some(wa::message::ReactionMessage {
                key: key("3EB0AA"),
                text: Some("👍".into()),
                ..Default::default()
            }),
            ..Default::default()
        };
        let described = describe(&reaction).unwrap();
        assert_eq!((described.kind, described.text.as_deref()), ("reaction", Some("👍")));
        assert_eq!(described.quoted.as_deref(), Some("3EB0AA"));

        let protocol = |r#type, edited_message| wa::Message {
            protocol_message: MessageField::some(wa::message::ProtocolMessage {
                key: key("3EB0AA"),
                r#type: Some(r#type),
                edited_message,
                ..Default::default()
            }),
            ..Default::default()
        };
        let revoke = describe(&protocol(ProtocolType::REVOKE, MessageField::none())).unwrap();
        assert_eq!((revoke.kind, revoke.quoted.as_deref()), ("revoke", Some("3EB0AA")));

        let new = wa::Message { conversation: Some("better".into()), ..Default::default() };
        let edit = protocol(ProtocolType::MESSAGE_EDIT, MessageField::some(new));
        let edit = wa::Message { edited_message: future_proof(edit), ..Default::default() };
        let edit = describe(&edit).unwrap();
        assert_eq!((edit.kind, edit.text.as_deref()), ("edit", Some("better")));
        assert_eq!(edit.quoted.as_deref(), Some("3EB0AA"));
    }

    #[test]
    fn location_contact_and_poll_are_text() {
        let location = wa::Message {
            location_message: MessageField::some(wa::message::LocationMessage {
                degrees_latitude: Some(-6.2),
                degrees_longitude: Some(106.8),
                name: Some("Office".into()),
                ..Default::default()
            }),
            ..Default::default()
        };
        assert_eq!(describe(&location).unwrap().text.as_deref(), Some("-6.2,106.8\nOffice"));

        let option = |name: &str| wa::message::poll_creation_message::Option {
            option_name: Some(name.into()),
            ..Default::default()
        };
        let poll = wa::Message {
            poll_creation_message_v3: MessageField::some(wa::message::PollCreationMessage {
                name: Some("Lunch?".into()),
                options: vec![option("Rice"), option("Noodles")],
                ..Default::default()
            }),
            ..Default::default()
        };
        let described = describe(&poll).unwrap();
        assert_eq!((described.kind, described.text.as_deref()), ("poll", Some("Lunch?\nRice\nNoodles")));

        let contact = wa::Message {
            contact_message: MessageField::some(wa::message::ContactMessage {
                vcard: Some("BEGIN:VCARD\nEND:VCARD".into()),
                ..Default::default()
            }),
            ..Default::default()
        };
        assert_eq!(describe(&contact).unwrap().kind, "contact");
    }

    #[test]
    fn what_programs_tell_each_other_is_not_shown() {
        assert_eq!(describe(&wa::Message::default()), None);
        let sender_key = wa::Message {
            sender_key_distribution_message: MessageField::some(Default::default()),
            message_context_info: MessageField::some(Default::default()),
            ..Default::default()
        };
        assert_eq!(describe(&sender_key), None);
        let key_share = wa::Message {
            protocol_message: MessageField::some(wa::message::ProtocolMessage {
                r#type: Some(ProtocolType::APP_STATE_SYNC_KEY_SHARE),
                ..Default::default()
            }),
            ..Default::default()
        };
        assert_eq!(describe(&key_share), None);
    }

    #[test]
    fn a_kind_without_words_is_still_shown() {
        let invite = wa::Message {
            group_invite_message: MessageField::some(Default::default()),
            ..Default::default()
        };
        assert_eq!(describe(&invite).unwrap().kind, "unknown");
    }
}
