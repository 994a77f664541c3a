//! Media that a phone sends.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wacore::download::MediaType;
use waproto::buffa::MessageField;
use waproto::whatsapp as wa;

use super::MediaRef;

/// A file that a phone is told to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutgoingMedia {
    /// As what.
    pub kind: OutgoingKind,
    /// Its type, for instance `image/png`.
    pub mime: String,
    /// Its bytes.
    pub data: Bytes,
    /// The text below it; audio and stickers have none.
    pub caption: Option<String>,
    /// The name of a document.
    pub filename: Option<String>,
}

/// As what a file is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutgoingKind {
    /// A picture.
    Image,
    /// A film.
    Video,
    /// Audio to play.
    Audio,
    /// A voice note: audio that was recorded in the chat.
    Ptt,
    /// A file.
    Document,
    /// A sticker.
    Sticker,
}

impl OutgoingKind {
    /// Which keys it is encrypted with.
    pub fn media_type(self) -> MediaType {
        match self {
            Self::Image => MediaType::Image,
            Self::Video => MediaType::Video,
            Self::Audio | Self::Ptt => MediaType::Audio,
            Self::Document => MediaType::Document,
            Self::Sticker => MediaType::Sticker,
        }
    }
}

impl OutgoingMedia {
    /// The message that carries the file, which is on the media host as `media` says. `timestamp` is when the media key
    /// was made, in seconds since 1970.
    pub fn message(&self, media: MediaRef, timestamp: i64) -> wa::Message {
        let MediaRef { direct_path, media_key, file_sha256, file_enc_sha256, file_length, .. } = media;
        let mimetype = Some(self.mime.clone());
        let caption = self.caption.clone();
        let media_key_timestamp = Some(timestamp);
        // The message types have these fields in common, and no type for them.
        macro_rules! medium {
            ($message:ident { $($field:ident: $value:expr),* $(,)? }) => {
                MessageField::some(wa::message::$message {
                    direct_path,
                    media_key,
                    file_sha256,
                    file_enc_sha256,
                    file_length,
                    mimetype,
                    media_key_timestamp,
                    $($field: $value,)*
                    ..Default::default()
                })
            };
        }
        let mut message = wa::Message::default();
        match self.kind {
            OutgoingKind::Image => message.image_message = medium!(ImageMessage { caption: caption }),
            OutgoingKind::Video => message.video_message = medium!(VideoMessage { caption: caption }),
            OutgoingKind::Audio => message.audio_message = medium!(AudioMessage { ptt: Some(false) }),
            OutgoingKind::Ptt => message.audio_message = medium!(AudioMessage { ptt: Some(true) }),
            OutgoingKind::Sticker => message.sticker_message = medium!(StickerMessage {}),
            OutgoingKind::Document => {
                let file_name = self.filename.clone();
                let document = medium!(DocumentMessage { caption: caption, file_name: file_name });
                if self.caption.is_none() {
                    message.document_message = document;
                } else {
                    // Older clients know no caption here; newer ones wrap a captioned document, so that those say so.
                    let inner = wa::Message { document_message: document, ..Default::default() };
                    let inner = wa::message::FutureProofMessage { message: MessageField::some(inner) };
                    message.document_with_caption_message = MessageField::some(inner);
                }
            }
        }
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::describe::describe;

    #[test]
    fn each_kind_reads_back_as_it_was_meant() {
        for (kind, shown, ptt) in [
            (OutgoingKind::Image, "image", None),
            (OutgoingKind::Video, "video", None),
            (OutgoingKind::Audio, "audio", Some(false)),
            (OutgoingKind::Ptt, "audio", Some(true)),
            (OutgoingKind::Document, "document", None),
            (OutgoingKind::Sticker, "sticker", None),
        ] {
            let outgoing = OutgoingMedia {
                kind,
                mime: "a/b".into(),
                data: Bytes::from_static(b"data"),
                caption: Some("look".into()),
                filename: Some("f.pdf".into()),
            };
            let media = MediaRef {
                media_type: kind.media_type(),
                direct_path: Some("/v/1".into()),
                media_key: Some(vec![1; 32]),
                file_sha256: Some(vec![2; 32]),
                file_enc_sha256: Some(vec![3; 32]),
                file_length: Some(4),
            };
            let described = describe(&outgoing.message(media.clone(), 1_700_000_000)).unwrap();
            assert_eq!((described.kind, described.ptt), (shown, ptt));
            assert_eq!(described.mime.as_deref(), Some("a/b"));
            assert_eq!(described.media, Some(media));
            let has_caption = matches!(shown, "image" | "video" | "document");
            assert_eq!(described.caption.as_deref(), has_caption.then_some("look"), "{kind:?}");
            assert_eq!(described.filename.is_some(), shown == "document");
        }
    }
}
