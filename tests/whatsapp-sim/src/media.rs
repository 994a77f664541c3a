//! The media host: encrypted files that clients and phones upload and download.
//!
//! A file is encrypted with AES-256-CBC under keys derived from a random media key and the kind of file, and ends with
//! the first ten bytes of an HMAC. The host sees only that; who has the message has the key.

mod http;
mod outgoing;
mod store;

use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use wacore::download::{DownloadUtils, Downloadable, MediaDecryptionError, MediaType};

pub use http::MediaHost;
pub use outgoing::{OutgoingKind, OutgoingMedia};
pub use store::{AUTH_TTL, MediaStore, Receiving, StoreError};

/// Where a message's medium is, and what is needed to decrypt and check it: the message's own fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaRef {
    /// Which keys are derived from the media key.
    pub media_type: MediaType,
    /// The path on the media host.
    pub direct_path: Option<String>,
    /// 32 bytes.
    pub media_key: Option<Vec<u8>>,
    /// SHA-256 of the plain file.
    pub file_sha256: Option<Vec<u8>>,
    /// SHA-256 of the encrypted file with its MAC.
    pub file_enc_sha256: Option<Vec<u8>>,
    /// The plain file's length in bytes.
    pub file_length: Option<u64>,
}

/// Why a message's medium cannot be shown. Each but the first is the sender's mistake.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MediaError {
    /// The host had it once.
    #[error("the media host no longer keeps the file at {0}")]
    Gone(String),
    /// The message lacks a field.
    #[error("the message has no {0}")]
    Missing(&'static str),
    /// A field has another length than it must.
    #[error("the message's {field} has {len} bytes, not 32")]
    FieldLength {
        /// Which field.
        field: &'static str,
        /// Its length.
        len: usize,
    },
    /// The path is not one that the host gave out.
    #[error("nothing was uploaded to {0}")]
    NotUploaded(String),
    /// The file was uploaded as a medium of another kind.
    #[error("the message says it is `{said}`, but it was uploaded as `{uploaded}`")]
    OtherKind {
        /// The message's kind.
        said: &'static str,
        /// The kind in the upload's path.
        uploaded: String,
    },
    /// The encrypted file is another one than the message says.
    #[error("the file has the encrypted SHA-256 {is}, the message says {said}")]
    EncryptedHash {
        /// What the message says, in hex.
        said: String,
        /// What it is, in hex.
        is: String,
    },
    /// The MAC at the end of the file is wrong.
    #[error("the file's MAC is wrong: it was not encrypted with this media key for a file of this kind")]
    Mac,
    /// The file is too short, or does not decrypt.
    #[error("the file does not decrypt: {0}")]
    Cipher(String),
    /// The decrypted file is another one than the message says.
    #[error("the decrypted file has the SHA-256 {is}, the message says {said}")]
    PlainHash {
        /// What the message says, in hex.
        said: String,
        /// What it is, in hex.
        is: String,
    },
    /// The decrypted file has another length than the message says.
    #[error("the decrypted file has {is} bytes, the message says {said}")]
    Length {
        /// What the message says.
        said: u64,
        /// What it is.
        is: u64,
    },
    /// The file could not be encrypted or kept.
    #[error("the file cannot be stored: {0}")]
    Store(String),
}

impl MediaError {
    /// Whether the sender of the message is to blame.
    pub fn is_violation(&self) -> bool {
        !matches!(self, Self::Gone(_) | Self::Store(_))
    }
}

impl MediaRef {
    /// The medium of a message.
    pub fn of(message: &impl Downloadable) -> Self {
        Self {
            media_type: message.app_info(),
            direct_path: message.direct_path().map(str::to_owned),
            media_key: message.media_key().map(<[u8]>::to_vec),
            file_sha256: message.file_sha256().map(<[u8]>::to_vec),
            file_enc_sha256: message.file_enc_sha256().map(<[u8]>::to_vec),
            file_length: message.file_length(),
        }
    }
}

/// Decrypts `file`, the encrypted bytes of `media`, and checks everything the message says about it: both hashes, the
/// MAC and the length.
pub fn decrypt(file: &[u8], media: &MediaRef) -> Result<Vec<u8>, MediaError> {
    let said = bytes32(&media.file_enc_sha256, "fileEncSha256")?;
    let is: [u8; 32] = Sha256::digest(file).into();
    if said != is {
        return Err(MediaError::EncryptedHash { said: hex::encode(said), is: hex::encode(is) });
    }
    let key = bytes32(&media.media_key, "mediaKey")?;
    let plain = DownloadUtils::verify_and_decrypt(file, &key, media.media_type).map_err(|e| match e {
        MediaDecryptionError::InvalidMac => MediaError::Mac,
        other => MediaError::Cipher(other.to_string()),
    })?;
    let said = bytes32(&media.file_sha256, "fileSha256")?;
    let is: [u8; 32] = Sha256::digest(&plain).into();
    if said != is {
        return Err(MediaError::PlainHash { said: hex::encode(said), is: hex::encode(is) });
    }
    let said = media.file_length.ok_or(MediaError::Missing("fileLength"))?;
    let is = plain.len() as u64;
    if said != is {
        return Err(MediaError::Length { said, is });
    }
    Ok(plain)
}

fn bytes32(field: &Option<Vec<u8>>, name: &'static str) -> Result<[u8; 32], MediaError> {
    let bytes = field.as_deref().ok_or(MediaError::Missing(name))?;
    bytes.try_into().map_err(|_| MediaError::FieldLength { field: name, len: bytes.len() })
}

/// An encrypted file, and what a message must say about it; `direct_path` is not known yet.
#[derive(Debug)]
pub struct Encrypted {
    /// The encrypted bytes with their MAC.
    pub file: Bytes,
    /// The message's fields.
    pub media: MediaRef,
}

/// Encrypts `plain` under a new media key.
pub fn encrypt(plain: &[u8], media_type: MediaType) -> Result<Encrypted, MediaError> {
    let encrypted =
        wacore::upload::encrypt_media(plain, media_type).map_err(|e| MediaError::Store(e.to_string()))?;
    let media = MediaRef {
        media_type,
        direct_path: None,
        media_key: Some(encrypted.media_key.to_vec()),
        file_sha256: Some(encrypted.file_sha256.to_vec()),
        file_enc_sha256: Some(encrypted.file_enc_sha256.to_vec()),
        file_length: Some(plain.len() as u64),
    };
    Ok(Encrypted { file: encrypted.data_to_upload.into(), media })
}

/// Fetches a message's medium from the host and decrypts it, as the phone that received the message does.
pub async fn open(store: &Arc<MediaStore>, media: MediaRef) -> Result<Bytes, MediaError> {
    let store = Arc::clone(store);
    // A few hundred megabytes a second: too long for a thread that has sockets to serve.
    tokio::task::spawn_blocking(move || open_blocking(&store, &media).map(Bytes::from))
        .await
        .map_err(|e| MediaError::Store(e.to_string()))?
}

/// As [`open`], on the caller's thread.
pub fn open_blocking(store: &MediaStore, media: &MediaRef) -> Result<Vec<u8>, MediaError> {
    let path = media.direct_path.clone().ok_or(MediaError::Missing("directPath"))?;
    let (kind, file) = match store.by_path(&path) {
        Ok(found) => found,
        Err(StoreError::Evicted) => return Err(MediaError::Gone(path)),
        Err(_) => return Err(MediaError::NotUploaded(path)),
    };
    if kind != media.media_type.mms_type() {
        return Err(MediaError::OtherKind { said: media.media_type.mms_type(), uploaded: kind });
    }
    decrypt(&file, media)
}

/// Encrypts a file and puts it on the host, as a phone that sends it does.
pub async fn put(
    store: &Arc<MediaStore>,
    plain: Bytes,
    media_type: MediaType,
) -> Result<MediaRef, MediaError> {
    let store = Arc::clone(store);
    let task = tokio::task::spawn_blocking(move || {
        let Encrypted { file, mut media } = encrypt(&plain, media_type)?;
        let path = store.put(media_type.mms_type(), file).map_err(|e| MediaError::Store(e.to_string()))?;
        media.direct_path = Some(path);
        Ok(media)
    });
    task.await.map_err(|e| MediaError::Store(e.to_string()))?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encrypted(plain: &[u8]) -> (Vec<u8>, MediaRef) {
        let Encrypted { file, media } = encrypt(plain, MediaType::Image).unwrap();
        (file.to_vec(), media)
    }

    /// Another file under the same keys: the message says its hash.
    fn with_hash_of(file: &[u8], media: &MediaRef) -> MediaRef {
        MediaRef { file_enc_sha256: Some(Sha256::digest(file).to_vec()), ..media.clone() }
    }

    #[test]
    fn every_byte_of_the_file_is_covered_by_the_hash_and_by_the_mac() {
        let (file, media) = encrypted(b"a picture of a box");
        assert_eq!(decrypt(&file, &media).unwrap(), b"a picture of a box");
        for index in 0..file.len() {
            let mut tampered = file.clone();
            tampered[index] ^= 1;
            assert!(
                matches!(decrypt(&tampered, &media), Err(MediaError::EncryptedHash { .. })),
                "byte {index}"
            );
            let media = with_hash_of(&tampered, &media);
            assert_eq!(decrypt(&tampered, &media), Err(MediaError::Mac), "byte {index}");
        }
    }

    #[test]
    fn keys_for_another_kind_of_file_are_noticed() {
        let (file, media) = encrypted(b"not a video");
        let media = MediaRef { media_type: MediaType::Video, ..media };
        assert_eq!(decrypt(&file, &media), Err(MediaError::Mac));
    }

    #[test]
    fn what_the_message_says_of_the_plain_file_must_be_true() {
        let (file, media) = encrypted(b"twelve bytes");
        let wrong_hash = MediaRef { file_sha256: Some(vec![0; 32]), ..media.clone() };
        assert!(matches!(decrypt(&file, &wrong_hash), Err(MediaError::PlainHash { .. })));
        let wrong_length = MediaRef { file_length: Some(11), ..media.clone() };
        assert_eq!(decrypt(&file, &wrong_length), Err(MediaError::Length { said: 11, is: 12 }));
        let no_length = MediaRef { file_length: None, ..media.clone() };
        assert_eq!(decrypt(&file, &no_length), Err(MediaError::Missing("fileLength")));
        let short_key = MediaRef { media_key: Some(vec![1; 16]), ..media };
        assert_eq!(decrypt(&file, &short_key), Err(MediaError::FieldLength { field: "mediaKey", len: 16 }));
    }

    #[test]
    fn a_file_that_ends_too_early_does_not_decrypt() {
        let (file, media) = encrypted(b"short");
        for len in [0, 5, 10] {
            let media = with_hash_of(&file[..len], &media);
            assert!(matches!(decrypt(&file[..len], &media), Err(MediaError::Cipher(_) | MediaError::Mac)));
        }
    }

    proptest! {
        #[test]
        fn what_was_encrypted_decrypts(plain in proptest::collection::vec(any::<u8>(), 0..200)) {
            let (file, media) = encrypted(&plain);
            prop_assert_eq!(file.len(), wacore::upload::encrypted_len(plain.len()));
            prop_assert_eq!(decrypt(&file, &media).unwrap(), plain);
        }
    }

    #[tokio::test]
    async fn a_phones_file_is_put_and_opened() {
        let store = Arc::new(MediaStore::new(1 << 20));
        let plain = Bytes::from_static(b"hello");
        let media = put(&store, plain.clone(), MediaType::Audio).await.unwrap();
        assert_eq!(open(&store, media.clone()).await.unwrap(), plain);

        let other_kind = MediaRef { media_type: MediaType::Document, ..media.clone() };
        let error = open(&store, other_kind).await.unwrap_err();
        assert_eq!(error, MediaError::OtherKind { said: "document", uploaded: "audio".into() });
        let elsewhere = MediaRef { direct_path: Some("/v/t62.7118-24/none.enc".into()), ..media };
        assert!(matches!(open(&store, elsewhere).await, Err(MediaError::NotUploaded(_))));
    }
}
