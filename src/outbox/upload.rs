//! Files on WhatsApp's media servers: encrypted and uploaded once, and named by every message that sends them.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::OnceCell;
use wacore::download::MediaType;
use wacore::upload::{EncryptedMediaInfo, UploadSource, encrypt_media_streaming};
use whatsapp_rust::Client;
use whatsapp_rust::upload::UploadResponse;

use super::build::BuildError;
use super::record::Message;
use crate::media::{MediaKind, Spool, Thumbnail, thumbnail};

/// Uploads remembered; each is at most 20 KiB, with its thumbnail and the hashes that a film is checked by in parts.
const KEPT: usize = 16;
/// How long an upload may be named by further messages. The servers keep files for weeks; what this bounds is how long
/// a file is sent that they lost.
const AGE: Duration = Duration::from_secs(3600);
/// Attempts after which a message has its file uploaded anew.
const DOUBTED: u32 = 2;

/// A file as messages name it.
#[derive(Clone)]
pub(super) struct Uploaded {
    pub(super) upload: UploadResponse,
    /// Of an image.
    pub(super) thumbnail: Option<Thumbnail>,
}

/// The latest uploads. A message to many recipients has one file, and is in flight to several of them at once.
#[derive(Default)]
pub(super) struct Uploads(
    // Held for list operations only; whoever needs a file that another is uploading waits at its cell.
    Mutex<VecDeque<Entry>>,
);

struct Entry {
    session_no: u32,
    file: String,
    media: MediaKind,
    since: Instant,
    cell: Arc<OnceCell<Uploaded>>,
}

impl Uploads {
    /// The upload of a message's file, made now unless there is one.
    pub(super) async fn get(
        &self,
        client: &Client,
        spool: &Spool,
        message: &Message,
        media: MediaKind,
    ) -> Result<Uploaded, BuildError> {
        let file = message.file_id().unwrap_or(&message.id);
        let cell = self.cell(message.session_no, file, media, message.attempts >= DOUBTED);
        let path = spool.path(file).map_err(|_| BuildError::Content("its file has no proper name"))?;
        let uploaded = cell.get_or_try_init(|| upload(client, spool, message, path, media)).await?;
        Ok(uploaded.clone())
    }

    fn cell(&self, session_no: u32, file: &str, media: MediaKind, fresh: bool) -> Arc<OnceCell<Uploaded>> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = entries
            .iter()
            .position(|e| e.session_no == session_no && e.media == media && e.file == file)
            .and_then(|at| entries.remove(at))
            .filter(|e| !fresh && e.since.elapsed() < AGE);
        let entry = found.unwrap_or_else(|| Entry {
            session_no,
            file: file.to_owned(),
            media,
            since: Instant::now(),
            cell: Arc::default(),
        });
        let cell = Arc::clone(&entry.cell);
        // The one used last stands last.
        entries.push_back(entry);
        if entries.len() > KEPT {
            entries.pop_front();
        }
        cell
    }

    /// A file that no message needs any more.
    pub(super) fn forget(&self, file: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|e| e.file != file);
    }
}

async fn upload(
    client: &Client,
    spool: &Spool,
    message: &Message,
    file: PathBuf,
    media: MediaKind,
) -> Result<Uploaded, BuildError> {
    let media_type = match media {
        MediaKind::Image => MediaType::Image,
        MediaKind::Video => MediaType::Video,
        MediaKind::Audio | MediaKind::Voice => MediaType::Audio,
        MediaKind::Document => MediaType::Document,
        MediaKind::Sticker => MediaType::Sticker,
    };
    let thumbnail = match media {
        MediaKind::Image => thumbnail(file.clone(), spool).await,
        _ => None,
    };
    let scratch = spool.scratch().to_owned();
    let (encrypted, info) = tokio::task::spawn_blocking(move || encrypt(&file, &scratch, media_type))
        .await
        .map_err(|e| BuildError::Upload(e.to_string()))?
        .map_err(|e| {
            log::warn!("message {}: its file cannot be read: {e}", message.seq);
            BuildError::File(e)
        })?;
    let upload = client
        .upload_stream(encrypted, info, media_type)
        .await
        .map_err(|e| BuildError::Upload(format!("{e:#}")))?;
    Ok(Uploaded { upload, thumbnail })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_file_has_one_upload_until_it_is_doubted_or_forgotten() {
        let uploads = Uploads::default();
        let cell = |file: &str, fresh| uploads.cell(1, file, MediaKind::Image, fresh);
        let first = cell("a", false);
        assert!(Arc::ptr_eq(&first, &cell("a", false)));
        assert!(!Arc::ptr_eq(&first, &cell("b", false)));
        // Encrypted differently for each, so not the same upload.
        assert!(!Arc::ptr_eq(&first, &uploads.cell(1, "a", MediaKind::Document, false)));
        assert!(!Arc::ptr_eq(&first, &uploads.cell(2, "a", MediaKind::Image, false)));
        let anew = cell("a", true);
        assert!(!Arc::ptr_eq(&first, &anew) && Arc::ptr_eq(&anew, &cell("a", false)));
        uploads.forget("a");
        assert!(!Arc::ptr_eq(&anew, &cell("a", false)));
    }

    #[test]
    fn only_the_latest_are_remembered() {
        let uploads = Uploads::default();
        let cell = |n: usize| uploads.cell(1, &n.to_string(), MediaKind::Image, false);
        let first = cell(0);
        for n in 1..KEPT {
            cell(n);
            assert!(Arc::ptr_eq(&first, &cell(0)));
        }
        (KEPT..2 * KEPT).for_each(|n| drop(cell(n)));
        assert!(!Arc::ptr_eq(&first, &cell(0)));
    }
}
