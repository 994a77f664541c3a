//! From what is stored to what WhatsApp takes: uploads the file, where there is one, and fills the protobuf message.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use wacore::download::MediaType;
use wacore::upload::{EncryptedMediaInfo, UploadSource, encrypt_media_streaming};
use waproto::whatsapp as wa;
use whatsapp_rust::Client;
use whatsapp_rust::buffa::MessageField;
use whatsapp_rust::media::{
    AudioOptions, DocumentOptions, ImageOptions, VideoOptions, audio_message, document_message,
    image_message, video_message,
};
use whatsapp_rust::upload::UploadResponse;

use super::record::Content;
use crate::media::MediaKind;
use crate::store::account::OwnSecrets;

/// Why a message could not be built.
#[derive(Debug, thiserror::Error)]
pub(super) enum BuildError {
    /// The kept file is gone or unreadable: trying again does not help.
    #[error("the file of this message cannot be read any more: {0}")]
    File(std::io::Error),
    /// The upload failed; it may succeed later.
    #[error("the upload to WhatsApp failed: {0}")]
    Upload(String),
}

impl BuildError {
    pub(super) fn is_final(&self) -> bool {
        matches!(self, BuildError::File(_))
    }
}

/// The encrypted copy of a file, removed with this value.
struct Encrypted {
    path: tempfile::TempPath,
    len: u64,
}

impl UploadSource for Encrypted {
    fn len(&self) -> u64 {
        self.len
    }

    fn reader_from(&self, offset: u64) -> std::io::Result<Box<dyn Read + Send>> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(offset))?;
        Ok(Box::new(file))
    }
}

fn encrypt(
    plain: &Path,
    folder: &Path,
    media: MediaType,
) -> std::io::Result<(Encrypted, EncryptedMediaInfo)> {
    let target = tempfile::Builder::new().prefix("upload-").tempfile_in(folder)?;
    let reader = BufReader::new(File::open(plain)?);
    let info = encrypt_media_streaming(reader, BufWriter::new(target.as_file()), media)
        .map_err(std::io::Error::other)?;
    let len = target.as_file().metadata()?.len();
    Ok((Encrypted { path: target.into_temp_path(), len }, info))
}

/// Builds the message. `file`: the kept file; `scratch`: where its encrypted copy may lie.
pub(super) async fn message(
    client: &Client,
    content: &Content,
    file: PathBuf,
    scratch: PathBuf,
) -> Result<wa::Message, BuildError> {
    let (media, mime, filename, caption, dimensions) = match content {
        Content::Text { body } => {
            return Ok(wa::Message { conversation: Some(body.clone()), ..wa::Message::default() });
        }
        Content::Media { media, mime, filename, caption, dimensions, .. } => {
            (*media, mime.clone(), filename.clone(), caption.clone(), *dimensions)
        }
    };
    let media_type = match media {
        MediaKind::Image => MediaType::Image,
        MediaKind::Video => MediaType::Video,
        MediaKind::Audio | MediaKind::Voice => MediaType::Audio,
        MediaKind::Document => MediaType::Document,
        MediaKind::Sticker => MediaType::Sticker,
    };
    let (encrypted, info) = tokio::task::spawn_blocking(move || encrypt(&file, &scratch, media_type))
        .await
        .map_err(|e| BuildError::Upload(e.to_string()))?
        .map_err(BuildError::File)?;
    let upload = client
        .upload_stream(encrypted, info, media_type)
        .await
        .map_err(|e| BuildError::Upload(format!("{e:#}")))?;
    let mimetype = Some(mime);
    Ok(match media {
        MediaKind::Image => {
            let mut message =
                image_message(upload, ImageOptions { caption, mimetype, ..ImageOptions::default() });
            if let (Some((width, height)), Some(image)) = (dimensions, message.image_message.as_option_mut())
            {
                image.width = Some(width);
                image.height = Some(height);
            }
            message
        }
        MediaKind::Video => {
            video_message(upload, VideoOptions { caption, mimetype, ..VideoOptions::default() })
        }
        MediaKind::Audio | MediaKind::Voice => audio_message(
            upload,
            AudioOptions { mimetype, ptt: Some(media == MediaKind::Voice), ..AudioOptions::default() },
        ),
        MediaKind::Document => document_message(
            upload,
            DocumentOptions {
                title: Some(filename.clone()),
                file_name: Some(filename),
                caption,
                mimetype,
                ..DocumentOptions::default()
            },
        ),
        MediaKind::Sticker => sticker_message(upload, mimetype, dimensions),
    })
}

/// Gives the message the secret that the account's store knows to make again.
pub(super) fn with_secret(mut message: wa::Message, client: &Client, message_id: &str) -> wa::Message {
    let device = client.persistence_manager().get_device_snapshot();
    let secret = OwnSecrets::of(&device).of_message(message_id);
    message.message_context_info = MessageField::some(wa::MessageContextInfo {
        message_secret: Some(secret.to_vec()),
        ..wa::MessageContextInfo::default()
    });
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
