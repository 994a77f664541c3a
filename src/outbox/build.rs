//! From what is stored to what WhatsApp takes: has the file uploaded, where there is one, and fills the protobuf
//! message.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use wacore::reporting_token::should_include_reporting_token;
use wacore::types::message::AddressingMode;
use waproto::whatsapp as wa;
use whatsapp_rust::buffa::MessageField;
use whatsapp_rust::media::{
    AudioOptions, DocumentOptions, ImageOptions, VideoOptions, audio_message, document_message,
    image_message, video_message,
};
use whatsapp_rust::upload::UploadResponse;
use whatsapp_rust::wacore_binary::JidExt;
use whatsapp_rust::{Client, Jid};

use super::Outbox;
use super::content::{Content, Context, Target};
use super::record::Message;
use super::upload::Uploaded;
use crate::clock::now_ms;
use crate::media::{MediaKind, Preview};
use crate::store::account::OwnSecrets;

/// Why a message could not be built.
#[derive(Debug, thiserror::Error)]
pub(super) enum BuildError {
    /// The kept file is gone or unreadable: trying again does not help.
    // The kind alone: callers see this, and the system's text may name the box's folders.
    #[error("the file of this message cannot be read any more: {}", .0.kind())]
    File(std::io::Error),
    /// The stored content is not what WhatsApp takes: trying again does not help.
    #[error("the message cannot be built: {0}")]
    Content(&'static str),
    /// The group could not be asked for; it may succeed later.
    #[error("the group cannot be asked for: {0}")]
    Group(String),
    /// The upload failed; it may succeed later.
    #[error("the upload to WhatsApp failed: {0}")]
    Upload(String),
}

impl BuildError {
    pub(super) fn is_final(&self) -> bool {
        matches!(self, BuildError::File(_) | BuildError::Content(_))
    }
}

/// Builds the message, with its file uploaded where it has one.
pub(super) async fn message(
    client: &Client,
    outbox: &Outbox,
    message: &Message,
    to: &Jid,
    preview: Option<Preview>,
) -> Result<wa::Message, BuildError> {
    let context = context_info(client, &message.context, to).await?;
    let Content::Media { media, .. } = &message.content else {
        let shown = match preview {
            Some(preview) => Shown::Preview(preview),
            None if message.context.no_preview => Shown::NoPreview,
            None => Shown::AsItIs,
        };
        return plain(client, &message.content, context, shown, to).await;
    };
    let uploaded = outbox.shared.uploads.get(client, &outbox.shared.spool, message, *media).await?;
    let mut built = with_file(&message.content, uploaded)?;
    if let Some(context) = context {
        attach(&mut built, context);
    }
    Ok(built)
}

/// What a text's link is shown as.
enum Shown {
    /// As the recipient's app likes.
    AsItIs,
    /// Without a preview.
    NoPreview,
    /// With this one.
    Preview(Preview),
}

/// The messages that need no upload.
async fn plain(
    client: &Client,
    content: &Content,
    context: Option<wa::ContextInfo>,
    shown: Shown,
    to: &Jid,
) -> Result<wa::Message, BuildError> {
    let mut message = wa::Message::default();
    match content {
        Content::Text { body } => message = text(body, context, shown),
        Content::Poll { name, options, selectable, secret } => {
            let poll = wa::message::PollCreationMessage {
                name: Some(name.clone()),
                options: options
                    .iter()
                    .map(|option| wa::message::poll_creation_message::Option {
                        option_name: Some(option.clone()),
                        ..Default::default()
                    })
                    .collect(),
                selectable_options_count: Some(*selectable),
                poll_content_type: Some(wa::message::PollContentType::TEXT),
                context_info: field(context),
                ..Default::default()
            };
            // As WhatsApp Web does: version 3 for a single choice, version 1 for several.
            if *selectable == 1 {
                message.poll_creation_message_v3 = MessageField::some(poll);
            } else {
                message.poll_creation_message = MessageField::some(poll);
            }
            let secret =
                hex::decode(secret).map_err(|_| BuildError::Content("the poll's secret is damaged"))?;
            message.message_context_info = MessageField::some(wa::MessageContextInfo {
                message_secret: Some(secret),
                ..Default::default()
            });
        }
        Content::Location { latitude, longitude, name, address } => {
            message.location_message = MessageField::some(wa::message::LocationMessage {
                degrees_latitude: Some(*latitude),
                degrees_longitude: Some(*longitude),
                name: name.clone(),
                address: address.clone(),
                context_info: field(context),
                ..Default::default()
            });
        }
        Content::Contact { name, vcard } => {
            message.contact_message = MessageField::some(wa::message::ContactMessage {
                display_name: Some(name.clone()),
                vcard: Some(vcard.clone()),
                context_info: field(context),
                ..Default::default()
            });
        }
        Content::Reaction { target, emoji } => {
            let author = target.author.clone().filter(|_| to.is_group() && !target.from_me);
            let key = key(to, target.from_me, &target.id, author);
            message = wacore::proto_helpers::build_reaction_message(key, emoji.clone(), now_ms());
        }
        Content::Edit { target, body } => {
            let own = if to.is_group() { Some(own_jid(client, to).await?) } else { None };
            let new = text(body, context, Shown::AsItIs);
            message.protocol_message = MessageField::some(wa::message::ProtocolMessage {
                key: MessageField::some(key(to, true, target, own)),
                r#type: Some(wa::message::protocol_message::Type::MESSAGE_EDIT),
                edited_message: MessageField::some(new),
                timestamp_ms: Some(now_ms()),
                ..Default::default()
            });
        }
        Content::Delete { target } => {
            message.protocol_message = MessageField::some(wa::message::ProtocolMessage {
                key: MessageField::some(key(to, true, target, None)),
                r#type: Some(wa::message::protocol_message::Type::REVOKE),
                ..Default::default()
            });
        }
        Content::Media { .. } => return Err(BuildError::Content("a file needs an upload")),
    }
    Ok(message)
}

fn text(body: &str, context: Option<wa::ContextInfo>, shown: Shown) -> wa::Message {
    if context.is_none() && matches!(shown, Shown::AsItIs) {
        return wa::Message { conversation: Some(body.to_owned()), ..wa::Message::default() };
    }
    let mut extended = wa::message::ExtendedTextMessage {
        text: Some(body.to_owned()),
        context_info: field(context),
        ..Default::default()
    };
    match shown {
        Shown::AsItIs => {}
        Shown::NoPreview => {
            extended.preview_type = Some(wa::message::extended_text_message::PreviewType::NONE);
        }
        Shown::Preview(preview) => {
            extended.matched_text = Some(preview.link);
            extended.title = Some(preview.title);
            extended.description = preview.description;
            extended.jpeg_thumbnail = preview.thumbnail;
            extended.preview_type = Some(wa::message::extended_text_message::PreviewType::NONE);
        }
    }
    wa::Message { extended_text_message: MessageField::some(extended), ..wa::Message::default() }
}

fn field<T: Default>(value: Option<T>) -> MessageField<T> {
    value.map_or_else(MessageField::none, MessageField::some)
}

fn key(to: &Jid, from_me: bool, id: &str, participant: Option<String>) -> wa::MessageKey {
    wa::MessageKey {
        remote_jid: Some(to.to_string()),
        from_me: Some(from_me),
        id: Some(id.to_owned()),
        participant,
    }
}

/// The name under which a group knows us: groups that address by LID do so for us too.
async fn own_jid(client: &Client, group: &Jid) -> Result<String, BuildError> {
    let info = client.groups().query_info(group).await.map_err(|e| BuildError::Group(e.to_string()))?;
    let own = match info.addressing_mode {
        AddressingMode::Lid => client.lid(),
        AddressingMode::Pn => client.pn(),
    };
    let own = own.ok_or_else(|| BuildError::Group("the session has no address yet".into()))?;
    Ok(own.to_non_ad_string())
}

async fn context_info(
    client: &Client,
    context: &Context,
    to: &Jid,
) -> Result<Option<wa::ContextInfo>, BuildError> {
    let mention_all = context.mention_all && to.is_group();
    if context.quoted.is_none() && context.mentions.is_empty() && !mention_all {
        return Ok(None);
    }
    let mut info = wa::ContextInfo { mentioned_jid: context.mentions.clone(), ..wa::ContextInfo::default() };
    if mention_all {
        // The mark that new apps know, and every member by name for those that do not know it.
        info.non_jid_mentions = Some(1);
        let own = own_jid(client, to).await?;
        let group = client.groups().query_info(to).await.map_err(|e| BuildError::Group(e.to_string()))?;
        let members = group.participants.iter().map(Jid::to_non_ad_string).filter(|jid| *jid != own);
        let new: Vec<String> = members.filter(|jid| !context.mentions.contains(jid)).collect();
        info.mentioned_jid.extend(new);
    }
    if let Some(Target { id, from_me, author, text }) = &context.quoted {
        let writer = match (to.is_group(), *from_me) {
            (true, true) => Some(own_jid(client, to).await?),
            (true, false) => None,
            (false, true) => client.pn().map(|jid| jid.to_non_ad_string()),
            (false, false) => Some(to.to_non_ad_string()),
        };
        info.stanza_id = Some(id.clone());
        info.participant = author.clone().or(writer);
        // The recipient's app shows its own copy of the quoted message; this is for one that has none.
        let text = text.clone().unwrap_or_default();
        info.quoted_message =
            MessageField::some(wa::Message { conversation: Some(text), ..wa::Message::default() });
    }
    Ok(Some(info))
}

/// Adds what a file's message refers to.
fn attach(message: &mut wa::Message, context: wa::ContextInfo) {
    let context = MessageField::some(context);
    if let Some(m) = message.image_message.as_option_mut() {
        m.context_info = context;
    } else if let Some(m) = message.video_message.as_option_mut() {
        m.context_info = context;
    } else if let Some(m) = message.audio_message.as_option_mut() {
        m.context_info = context;
    } else if let Some(m) = message.document_message.as_option_mut() {
        m.context_info = context;
    } else if let Some(m) = message.sticker_message.as_option_mut() {
        m.context_info = context;
    }
}

/// The message of a file that is uploaded.
fn with_file(content: &Content, uploaded: Uploaded) -> Result<wa::Message, BuildError> {
    let Content::Media { media, mime, filename, caption, dimensions, seconds, waveform, .. } = content else {
        return Err(BuildError::Content("it has no file"));
    };
    let Uploaded { upload, thumbnail } = uploaded;
    let (mimetype, caption, seconds) = (Some(mime.clone()), caption.clone(), *seconds);
    let (width, height) = (dimensions.map(|d| d.0), dimensions.map(|d| d.1));
    Ok(match media {
        MediaKind::Image => {
            let options =
                ImageOptions { caption, mimetype, jpeg_thumbnail: thumbnail, ..ImageOptions::default() };
            let mut message = image_message(upload, options);
            if let Some(image) = message.image_message.as_option_mut() {
                (image.width, image.height) = (width, height);
            }
            message
        }
        MediaKind::Video => {
            let options =
                VideoOptions { caption, mimetype, duration_seconds: seconds, ..VideoOptions::default() };
            let mut message = video_message(upload, options);
            if let Some(video) = message.video_message.as_option_mut() {
                (video.width, video.height) = (width, height);
            }
            message
        }
        MediaKind::Audio | MediaKind::Voice => {
            let waveform = waveform.as_deref().and_then(|text| STANDARD.decode(text).ok());
            let ptt = Some(*media == MediaKind::Voice);
            let options = AudioOptions {
                mimetype,
                ptt,
                duration_seconds: seconds,
                waveform,
                ..AudioOptions::default()
            };
            audio_message(upload, options)
        }
        MediaKind::Document => document_message(
            upload,
            DocumentOptions {
                title: Some(filename.clone()),
                file_name: Some(filename.clone()),
                caption,
                mimetype,
                ..DocumentOptions::default()
            },
        ),
        MediaKind::Sticker => sticker_message(upload, mimetype, *dimensions),
    })
}

/// Gives a message that whatsapp-rust would give a random secret the one that the account's store can make again.
pub(super) fn with_secret(mut message: wa::Message, client: &Client, message_id: &str) -> wa::Message {
    if message.protocol_message.is_set() || !should_include_reporting_token(&message) {
        return message;
    }
    let mut context = message.message_context_info.take().unwrap_or_default();
    context.message_secret.get_or_insert_with(|| {
        let device = client.persistence_manager().get_device_snapshot();
        OwnSecrets::of(&device).of_message(message_id).to_vec()
    });
    message.message_context_info = MessageField::some(context);
    message
}

fn sticker_message(
    upload: UploadResponse,
    mimetype: Option<String>,
    dimensions: Option<(u32, u32)>,
) -> wa::Message {
    wa::Message {
        sticker_message: MessageField::some(wa::message::StickerMessage {
            url: Some(upload.url),
            direct_path: Some(upload.direct_path),
            media_key: Some(upload.media_key.to_vec()),
            file_sha256: Some(upload.file_sha256.to_vec()),
            file_enc_sha256: Some(upload.file_enc_sha256.to_vec()),
            file_length: Some(upload.file_length),
            media_key_timestamp: Some(upload.media_key_timestamp),
            mimetype,
            width: dimensions.map(|d| d.0),
            height: dimensions.map(|d| d.1),
            ..wa::message::StickerMessage::default()
        }),
        ..wa::Message::default()
    }
}
