//! The media host: encrypted files that clients and phones upload and download.

use wacore::download::{Downloadable, MediaType};

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
