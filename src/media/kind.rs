//! As which kind of WhatsApp message a file is sent. Pure.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A kind of media message, in WhatsApp's own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MediaKind {
    /// Shown in the chat.
    Image,
    /// Played in the chat.
    Video,
    /// A file with a player.
    Audio,
    /// A voice note: audio with a microphone, as if recorded in the chat.
    Voice,
    /// Any file, with its name.
    Document,
    /// A WebP without a bubble.
    Sticker,
}

impl MediaKind {
    /// Whether WhatsApp shows a caption with it.
    #[must_use]
    pub fn has_caption(self) -> bool {
        matches!(self, Self::Image | Self::Video | Self::Document)
    }

    /// The word for it in events and in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Video => "video",
            Self::Audio => "audio",
            Self::Voice => "voice",
            Self::Document => "document",
            Self::Sticker => "sticker",
        }
    }
}

impl fmt::Display for MediaKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a request asks for: dialect 1's `media_type`, dialect 2's `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the word that is sent for it")]
pub enum MediaType {
    Image,
    Video,
    Audio,
    Voice,
    Sticker,
    Pdf,
    Xls,
    Xlsx,
    Doc,
    Docx,
    Zip,
    Document,
}

const WORDS: &[(&str, MediaType)] = &[
    ("image", MediaType::Image),
    ("video", MediaType::Video),
    ("audio", MediaType::Audio),
    ("voice", MediaType::Voice),
    ("sticker", MediaType::Sticker),
    ("pdf", MediaType::Pdf),
    ("xls", MediaType::Xls),
    ("xlsx", MediaType::Xlsx),
    ("doc", MediaType::Doc),
    ("docx", MediaType::Docx),
    ("zip", MediaType::Zip),
    ("document", MediaType::Document),
    // Other words in use for the same.
    ("file", MediaType::Document),
    ("ptt", MediaType::Voice),
    ("vn", MediaType::Voice),
];

impl MediaType {
    fn word(self) -> &'static str {
        WORDS.iter().find(|(_, media_type)| *media_type == self).map_or("document", |(word, _)| word)
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for MediaType {
    type Err = KindError;

    fn from_str(text: &str) -> Result<Self, KindError> {
        let text = text.trim();
        WORDS
            .iter()
            .find(|(word, _)| word.eq_ignore_ascii_case(text))
            .map(|(_, media_type)| *media_type)
            .ok_or_else(|| KindError::Unknown { media_type: text.chars().take(32).collect() })
    }
}

/// Why a file is not sent as what was asked for.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum KindError {
    /// The word is none of the known ones.
    #[error(
        "media_type `{media_type}` is unknown; use image, video, audio, pdf, xls, xlsx, doc, docx, zip, document or \
         sticker"
    )]
    Unknown {
        /// The word, shortened.
        media_type: String,
    },
    /// The file is something else.
    #[error("media_type is `{asked}`, but the file is {mime}; {advice}")]
    Mismatch {
        /// What was asked for.
        asked: MediaType,
        /// What the file is.
        mime: String,
        /// What would work.
        advice: &'static str,
    },
    /// A voice note was asked for with something that is no audio.
    #[error("ppt asks for a voice note, but media_type is `{asked}`; a voice note needs media_type `audio`")]
    VoiceOfOther {
        /// What was asked for.
        asked: MediaType,
    },
}

/// As what a file of type `mime` is sent when `asked` for (`None`: whatever suits it). `voice` asks for a voice
/// note and applies to audio only.
///
/// A phone shows an image or plays a film only if it is one, so a mismatch there is an error instead of a message
/// that cannot be opened. Any format of the right class is taken: which ones play is the phone's affair and grows
/// with its versions. Between office formats there is no strictness: each arrives as a document with its true type.
///
/// # Errors
/// The file is not what was asked for; the text names the field and what to ask for instead.
pub fn kind_of(asked: Option<MediaType>, voice: bool, mime: &str) -> Result<MediaKind, KindError> {
    use MediaType as T;
    let class = mime.split('/').next().unwrap_or_default();
    let spoken = |kind| if voice { MediaKind::Voice } else { kind };
    let Some(asked) = asked else {
        return Ok(match class {
            // What phones show in the chat; other images would arrive as a grey box.
            "image" if is_shown(mime) => MediaKind::Image,
            "video" => MediaKind::Video,
            "audio" => spoken(MediaKind::Audio),
            _ => MediaKind::Document,
        });
    };
    if voice && !matches!(asked, T::Audio | T::Voice) {
        return Err(KindError::VoiceOfOther { asked });
    }
    let (fits, kind, advice) = match asked {
        T::Image => (
            is_shown(mime),
            MediaKind::Image,
            "an image must be JPEG, PNG, GIF or WebP; anything else can be sent as `document`",
        ),
        T::Video => (class == "video", MediaKind::Video, "send it as what it is, or as `document`"),
        T::Audio => (class == "audio", spoken(MediaKind::Audio), "send it as what it is, or as `document`"),
        T::Voice => (class == "audio", MediaKind::Voice, "a voice note needs an audio file"),
        T::Sticker => (
            mime == "image/webp",
            MediaKind::Sticker,
            "a sticker must be WebP (512 by 512 pixels); convert it, or send it as `image`",
        ),
        T::Pdf => (mime == "application/pdf", MediaKind::Document, "send it as what it is, or as `document`"),
        T::Xls | T::Xlsx | T::Doc | T::Docx => (
            is_office(mime),
            MediaKind::Document,
            "send it as what it is, or as `document`, which takes every file",
        ),
        T::Zip => (is_archive(mime), MediaKind::Document, "send it as what it is, or as `document`"),
        T::Document => (true, MediaKind::Document, ""),
    };
    if fits { Ok(kind) } else { Err(KindError::Mismatch { asked, mime: mime.to_owned(), advice }) }
}

fn is_shown(mime: &str) -> bool {
    matches!(mime, "image/jpeg" | "image/png" | "image/gif" | "image/webp")
}

/// Office files, and the texts that programs export under an office file's name.
fn is_office(mime: &str) -> bool {
    mime.starts_with("application/vnd.openxmlformats-officedocument.")
        || mime.starts_with("application/vnd.oasis.opendocument.")
        || matches!(
            mime,
            "application/msword"
                | "application/vnd.ms-excel"
                | "application/vnd.ms-powerpoint"
                | "application/x-ole-storage"
                | "application/rtf"
                | "text/rtf"
                | "text/csv"
                | "text/plain"
                | "text/xml"
        )
}

/// Archives, and the formats that are ZIP archives themselves.
fn is_archive(mime: &str) -> bool {
    mime.starts_with("application/vnd.openxmlformats-officedocument.")
        || mime.starts_with("application/vnd.oasis.opendocument.")
        || matches!(
            mime,
            "application/zip"
                | "application/epub+zip"
                | "application/vnd.rar"
                | "application/x-rar-compressed"
                | "application/x-7z-compressed"
                | "application/gzip"
                | "application/x-tar"
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DOCX: &str = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";

    fn kind(asked: &str, mime: &str) -> Result<MediaKind, KindError> {
        kind_of(Some(asked.parse()?), false, mime)
    }

    #[test]
    fn what_fits_is_sent_as_asked() {
        for (asked, mime, sent) in [
            ("image", "image/png", MediaKind::Image),
            ("IMAGE ", "image/jpeg", MediaKind::Image),
            ("video", "video/mp4", MediaKind::Video),
            ("video", "video/x-msvideo", MediaKind::Video),
            ("audio", "audio/mpeg", MediaKind::Audio),
            ("voice", "audio/ogg", MediaKind::Voice),
            ("sticker", "image/webp", MediaKind::Sticker),
            ("pdf", "application/pdf", MediaKind::Document),
            ("doc", DOCX, MediaKind::Document),
            ("xls", "text/csv", MediaKind::Document),
            ("zip", "application/zip", MediaKind::Document),
            ("document", "image/png", MediaKind::Document),
            ("file", "application/octet-stream", MediaKind::Document),
        ] {
            assert_eq!(kind(asked, mime), Ok(sent), "{asked} {mime}");
        }
    }

    #[test]
    fn what_does_not_fit_names_the_field_and_what_would() {
        for (asked, mime) in [
            ("image", "application/pdf"),
            ("image", "image/heic"),
            ("video", "image/gif"),
            ("audio", "video/mp4"),
            ("sticker", "image/png"),
            ("pdf", DOCX),
            ("docx", "application/pdf"),
            ("zip", "image/jpeg"),
        ] {
            let text = kind(asked, mime).unwrap_err().to_string();
            assert!(text.contains("media_type") && text.contains(mime) && text.contains(asked), "{text}");
        }
        let text = kind("picture", "image/png").unwrap_err().to_string();
        assert!(text.contains("media_type `picture`") && text.contains("sticker"), "{text}");
        assert!(kind("", "image/png").is_err());
    }

    #[test]
    fn voice_makes_a_voice_note_of_audio_only() {
        assert_eq!(kind_of(Some(MediaType::Audio), true, "audio/mpeg"), Ok(MediaKind::Voice));
        assert_eq!(kind_of(None, true, "audio/ogg"), Ok(MediaKind::Voice));
        assert_eq!(kind_of(None, true, "image/png"), Ok(MediaKind::Image));
        assert!(kind_of(Some(MediaType::Audio), true, "video/mp4").is_err());
        let e = kind_of(Some(MediaType::Image), true, "image/png").unwrap_err();
        assert!(e.to_string().contains("ppt"), "{e}");
    }

    #[test]
    fn unasked_the_content_decides() {
        assert_eq!(kind_of(None, false, "image/webp"), Ok(MediaKind::Image));
        assert_eq!(kind_of(None, false, "image/svg+xml"), Ok(MediaKind::Document));
        assert_eq!(kind_of(None, false, "audio/aac"), Ok(MediaKind::Audio));
        assert_eq!(kind_of(None, false, "video/quicktime"), Ok(MediaKind::Video));
        assert_eq!(kind_of(None, false, "application/zip"), Ok(MediaKind::Document));
    }

    #[test]
    fn every_type_prints_the_word_that_it_parses_from() {
        for (_, media_type) in WORDS {
            assert_eq!(media_type.to_string().parse::<MediaType>().unwrap(), *media_type);
        }
    }

    proptest! {
        #[test]
        fn any_word_and_any_mime(word in ".{0,60}", mime in ".{0,60}", voice: bool) {
            if let Err(e) = word.parse::<MediaType>() {
                prop_assert!(e.to_string().len() < 400);
            }
            for (_, media_type) in WORDS {
                let _ = kind_of(Some(*media_type), voice, &mime);
            }
            prop_assert!(kind_of(None, voice, &mime).is_ok());
        }
    }
}
