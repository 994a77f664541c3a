//! What the media host keeps: whole files, the beginnings of uploads that broke off, and the tokens it gave out.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

/// How long a token from [`MediaStore::issue_auth`] is good. WhatsApp's last some hours.
pub const AUTH_TTL: Duration = Duration::from_secs(6 * 3600);

/// Tokens, broken-off uploads and paths of evicted files that are remembered; the oldest gives way.
const MAX_AUTHS: usize = 4_096;
const MAX_PARTIAL: usize = 256;
const MAX_EVICTED: usize = 16_384;

/// Why the host refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The file would not fit even into an empty store.
    #[error("it is larger than the media host's {0} bytes")]
    TooLarge(usize),
    /// No such file, ever.
    #[error("no such file")]
    Unknown,
    /// It was here and has given way to newer ones.
    #[error("the file has given way to newer ones")]
    Evicted,
    /// An upload continues beyond what was received before.
    #[error("cannot continue at byte {offset}: {have} bytes were received")]
    Gap {
        /// Where it continues.
        offset: u64,
        /// How many bytes there are.
        have: u64,
    },
    /// The bytes do not hash to the token that the client chose.
    #[error("the file's SHA-256 is not the one in the URL")]
    Hash,
}

/// The media host's files. Bounded: the oldest file gives way to a new one.
#[derive(Debug)]
pub struct MediaStore {
    // A std mutex: never held across an await.
    state: Mutex<State>,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    /// By token.
    files: HashMap<String, File>,
    /// Tokens of `files`, oldest first.
    order: VecDeque<String>,
    /// Direct path (without its query) to token.
    paths: HashMap<String, String>,
    evicted: Remembered,
    /// Beginnings of uploads by token, oldest first; few, so a list does.
    partial: VecDeque<(String, Vec<u8>)>,
    /// Bytes in `files` and `partial`, and those in uploads that are running.
    bytes: usize,
    auths: VecDeque<Auth>,
}

#[derive(Debug)]
struct File {
    kind: String,
    path: String,
    /// The query of the direct path: WhatsApp's signed paths have one, and clients append to it.
    query: String,
    bytes: Bytes,
}

#[derive(Debug)]
struct Auth {
    token: String,
    who: String,
    expires: Instant,
}

#[derive(Debug, Default)]
struct Remembered {
    set: HashSet<String>,
    order: VecDeque<String>,
}

impl Remembered {
    fn insert(&mut self, path: String) {
        if self.set.insert(path.clone()) {
            self.order.push_back(path);
        }
        if self.order.len() > MAX_EVICTED
            && let Some(oldest) = self.order.pop_front()
        {
            self.set.remove(&oldest);
        }
    }
}

impl Default for MediaStore {
    /// 512 MiB.
    fn default() -> Self {
        Self::new(512 << 20)
    }
}

impl MediaStore {
    /// A store that keeps at most `max_bytes`.
    pub fn new(max_bytes: usize) -> Self {
        Self { state: Mutex::default(), max_bytes }
    }

    /// A token for `who` (a device's JID) to upload with, for the `media_conn` answer. It is good for [`AUTH_TTL`].
    pub fn issue_auth(&self, who: &str) -> String {
        let token = format!("sim-{}", random_hex());
        let mut state = self.state();
        if state.auths.len() == MAX_AUTHS {
            state.auths.pop_front();
        }
        let expires = Instant::now() + AUTH_TTL;
        state.auths.push_back(Auth { token: token.clone(), who: who.to_owned(), expires });
        token
    }

    /// To whom a token was given, and whether it is still good.
    pub fn auth(&self, token: &str) -> Option<(String, bool)> {
        let state = self.state();
        let auth = state.auths.iter().rev().find(|auth| auth.token == token)?;
        Some((auth.who.clone(), Instant::now() < auth.expires))
    }

    /// The direct path of a file that was uploaded whole, by its token.
    pub fn find(&self, token: &str) -> Option<String> {
        self.state().files.get(token).map(File::direct_path)
    }

    /// How many bytes of an upload that broke off are here.
    pub fn received(&self, token: &str) -> u64 {
        let state = self.state();
        state.partial.iter().find(|(t, _)| t == token).map_or(0, |(_, bytes)| bytes.len() as u64)
    }

    /// A file by its direct path, with or without query: the kind it was uploaded as, and its bytes.
    pub fn by_path(&self, direct_path: &str) -> Result<(String, Bytes), StoreError> {
        let (path, query) = direct_path.split_once('?').unwrap_or((direct_path, ""));
        let state = self.state();
        let Some(token) = state.paths.get(path) else {
            return Err(if state.evicted.set.contains(path) {
                StoreError::Evicted
            } else {
                StoreError::Unknown
            });
        };
        let file = state.files.get(token).ok_or(StoreError::Unknown)?;
        // A path whose signature was changed is not one that the host gave out.
        if query.is_empty() || query.starts_with(&file.query) {
            Ok((file.kind.clone(), file.bytes.clone()))
        } else {
            Err(StoreError::Unknown)
        }
    }

    /// Keeps a whole file and returns its direct path.
    pub fn put(&self, kind: &str, bytes: Bytes) -> Result<String, StoreError> {
        let mut state = self.state();
        state.make_room(bytes.len(), self.max_bytes)?;
        state.bytes += bytes.len();
        Ok(state.keep(token_of(&bytes), kind, bytes))
    }

    /// Begins to receive an upload, or continues one that broke off, at `offset`. What is received is kept if the
    /// upload breaks off.
    pub fn receive(self: &Arc<Self>, token: &str, offset: u64) -> Result<Receiving, StoreError> {
        let mut state = self.state();
        let index = state.partial.iter().position(|(t, _)| t == token);
        let mut bytes =
            index.and_then(|index| state.partial.remove(index)).map(|(_, b)| b).unwrap_or_default();
        let have = bytes.len();
        if offset > have as u64 {
            if have > 0 {
                state.partial.push_back((token.to_owned(), bytes));
            }
            return Err(StoreError::Gap { offset, have: have as u64 });
        }
        // Not beyond `have`, so it fits.
        bytes.truncate(offset as usize);
        state.bytes -= have - bytes.len();
        Ok(Receiving { store: Arc::clone(self), token: token.to_owned(), bytes })
    }

    /// Each change of the state is complete before anything that could panic.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An upload while its body arrives. Dropped before [`Receiving::finish`], it keeps what has arrived.
#[derive(Debug)]
pub struct Receiving {
    store: Arc<MediaStore>,
    token: String,
    bytes: Vec<u8>,
}

impl Receiving {
    /// Takes the next bytes of the body.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), StoreError> {
        let mut state = self.store.state();
        if self.bytes.len() + chunk.len() > self.store.max_bytes {
            return Err(StoreError::TooLarge(self.store.max_bytes));
        }
        state.make_room(chunk.len(), self.store.max_bytes)?;
        state.bytes += chunk.len();
        drop(state);
        self.bytes.extend_from_slice(chunk);
        Ok(())
    }

    /// How many bytes have arrived, those of earlier attempts included.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing has arrived.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The body is complete. Keeps the file and returns its direct path, unless its hash is not the token; then nothing
    /// is kept.
    pub fn finish(mut self, kind: &str) -> Result<String, StoreError> {
        let bytes = std::mem::take(&mut self.bytes);
        let right = token_of(&bytes) == self.token;
        let mut state = self.store.state();
        if !right {
            state.bytes -= bytes.len();
            return Err(StoreError::Hash);
        }
        Ok(state.keep(self.token.clone(), kind, bytes.into()))
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        if self.bytes.is_empty() {
            return;
        }
        let mut state = self.store.state();
        if state.partial.len() == MAX_PARTIAL {
            state.drop_oldest_partial();
        }
        state.partial.push_back((std::mem::take(&mut self.token), std::mem::take(&mut self.bytes)));
    }
}

impl State {
    fn make_room(&mut self, more: usize, max_bytes: usize) -> Result<(), StoreError> {
        while self.bytes + more > max_bytes {
            // Uploads that broke off long ago go first: nobody has a message that needs them.
            if self.partial.is_empty() {
                let Some(token) = self.order.pop_front() else {
                    return Err(StoreError::TooLarge(max_bytes));
                };
                if let Some(file) = self.files.remove(&token) {
                    self.bytes -= file.bytes.len();
                    self.paths.remove(&file.path);
                    self.evicted.insert(file.path);
                }
            } else {
                self.drop_oldest_partial();
            }
        }
        Ok(())
    }

    fn drop_oldest_partial(&mut self) {
        if let Some((_, bytes)) = self.partial.pop_front() {
            self.bytes -= bytes.len();
        }
    }

    /// `bytes` are counted already. A file that is here already stays, with its path.
    fn keep(&mut self, token: String, kind: &str, bytes: Bytes) -> String {
        if let Some(file) = self.files.get(&token) {
            self.bytes -= bytes.len();
            return file.direct_path();
        }
        let file = File {
            kind: kind.to_owned(),
            path: format!("/v/t62.7118-24/{}.enc", random_hex()),
            query: format!("ccb=11-4&oh={}&oe=7FFFFFFF&_nc_sid=5e03e0", random_hex()),
            bytes,
        };
        let direct_path = file.direct_path();
        self.paths.insert(file.path.clone(), token.clone());
        self.order.push_back(token.clone());
        self.files.insert(token, file);
        direct_path
    }
}

impl File {
    fn direct_path(&self) -> String {
        format!("{}?{}", self.path, self.query)
    }
}

/// The token in a file's upload URL: its SHA-256 in URL-safe base64.
pub(super) fn token_of(file: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(file))
}

fn random_hex() -> String {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system has random numbers");
    hex::encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(max_bytes: usize) -> Arc<MediaStore> {
        Arc::new(MediaStore::new(max_bytes))
    }

    #[test]
    fn an_upload_that_broke_off_continues_where_it_was() {
        let store = store(1_000);
        let token = token_of(b"0123456789");
        let mut first = store.receive(&token, 0).unwrap();
        first.push(b"0123").unwrap();
        drop(first);
        assert_eq!(store.received(&token), 4);
        assert_eq!(store.find(&token), None);

        let gap = store.receive(&token, 5).map(drop);
        assert_eq!(gap, Err(StoreError::Gap { offset: 5, have: 4 }));
        assert_eq!(store.received(&token), 4, "a wrong offset spoils nothing");

        let mut second = store.receive(&token, 4).unwrap();
        second.push(b"456789").unwrap();
        let path = second.finish("image").unwrap();
        assert_eq!(store.find(&token), Some(path.clone()));
        assert_eq!(store.by_path(&path), Ok(("image".to_owned(), Bytes::from_static(b"0123456789"))));
        assert_eq!(store.received(&token), 0);
        assert_eq!(store.state().bytes, 10);
    }

    #[test]
    fn a_file_must_hash_to_its_token() {
        let store = store(1_000);
        let mut receiving = store.receive(&token_of(b"one"), 0).unwrap();
        receiving.push(b"two").unwrap();
        assert_eq!(receiving.finish("image"), Err(StoreError::Hash));
        assert_eq!(store.received(&token_of(b"one")), 0);
        assert_eq!(store.state().bytes, 0);
    }

    #[test]
    fn the_oldest_file_gives_way() {
        let store = store(10);
        let first = store.put("image", Bytes::from_static(b"aaaa")).unwrap();
        let second = store.put("image", Bytes::from_static(b"bbbb")).unwrap();
        let third = store.put("image", Bytes::from_static(b"cccc")).unwrap();
        assert_eq!(store.by_path(&first), Err(StoreError::Evicted));
        assert!(store.by_path(&second).is_ok() && store.by_path(&third).is_ok());
        assert_eq!(store.put("image", Bytes::from_static(&[0; 11])), Err(StoreError::TooLarge(10)));
        assert_eq!(store.by_path("/v/other"), Err(StoreError::Unknown));
    }

    #[test]
    fn a_running_upload_counts_and_cannot_grow_beyond_the_store() {
        let store = store(10);
        let mut receiving = store.receive(&token_of(b"x"), 0).unwrap();
        receiving.push(&[0; 8]).unwrap();
        assert_eq!(receiving.push(&[0; 3]), Err(StoreError::TooLarge(10)));
        assert_eq!(store.put("image", Bytes::from_static(b"abc")), Err(StoreError::TooLarge(10)));
        drop(receiving);
        assert!(store.put("image", Bytes::from_static(b"abc")).is_ok(), "what broke off gives way");
    }

    #[test]
    fn the_same_file_twice_is_kept_once() {
        let store = store(100);
        let first = store.put("image", Bytes::from_static(b"aaaa")).unwrap();
        assert_eq!(store.put("image", Bytes::from_static(b"aaaa")).unwrap(), first);
        assert_eq!(store.state().bytes, 4);
    }

    #[test]
    fn a_path_is_good_with_its_own_signature_only() {
        let store = store(100);
        let path = store.put("image", Bytes::from_static(b"aaaa")).unwrap();
        assert!(store.by_path(&format!("{path}?auth=a&token=t")).is_ok());
        assert!(store.by_path(&format!("{path}&hash=h&mms-type=image")).is_ok());
        let forged = path.replace("&oh=", "&oh=0");
        assert_eq!(store.by_path(&forged), Err(StoreError::Unknown));
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_ends_with_its_time() {
        let store = store(100);
        let token = store.issue_auth("4915550001:1@s.whatsapp.net");
        assert_eq!(store.auth(&token), Some(("4915550001:1@s.whatsapp.net".to_owned(), true)));
        assert_eq!(store.auth("sim-other"), None);
        tokio::time::advance(AUTH_TTL).await;
        assert_eq!(store.auth(&token).map(|(_, good)| good), Some(false));
    }
}
