//! API keys: made here, shown once, kept as a hash, compared in constant time.
//!
//! A key is 32 random bytes in base 62, so an ordinary SHA-256 protects it: there is nothing to guess that a slow
//! password hash would slow down.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use redb::{ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tokio::sync::watch;

use crate::clock::now_ms;
use crate::ids;
use crate::session::Session;
use crate::store::tables::Table;
use crate::store::{Store, StoreError, json, to_the_end};

/// Keys. Key: the key's id. Value: [`KeyRecord`] as JSON.
const KEYS: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("api_keys");
/// The table of this module.
pub const TABLES: &[Table] = &[Table::of::<&'static str>("api_keys")];

/// Keys that one box may have.
pub const MAX_KEYS: usize = 1_000;
/// The account of keys that were made without naming one, and of the box's first session.
pub const DEFAULT_ACCOUNT: &str = "main";
/// The id of the administrator's key from the configuration.
const PRESET: &str = "preset";
/// Longest key that is looked at; longer ones are wrong.
const MAX_KEY: usize = 256;

/// Wrong keys from one address before it is made to wait.
const FREE_FAILURES: u32 = 10;
/// Longest wait after further wrong keys.
const MAX_PENALTY: Duration = Duration::from_secs(60);
/// Addresses whose wrong keys are counted; beyond it the oldest are forgotten.
const MAX_ADDRESSES: usize = 1_024;

/// A key as it is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeyRecord {
    /// Eight hexadecimal digits, for people to tell keys apart.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// The account whose sessions it may use.
    pub account: String,
    /// Whether it may do everything.
    pub admin: bool,
    /// What else it may and may not do.
    #[serde(flatten)]
    pub rules: KeyRules,
    /// Whether it was made by logging in with the password; the oldest of these make room for new ones.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub login: bool,
    /// SHA-256 of the key, hexadecimal.
    hash: String,
    /// Unix milliseconds.
    pub created_at_ms: i64,
}

/// What a key may and may not do besides its account's sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRules {
    /// A device token: the id of the one session that it may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Whether `/send` and the rest of Fonnte's API answer 200 to every request, for clients that raise on all else.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fonnte_always_200: bool,
    /// Requests per minute, instead of the configured limit; 0: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_per_minute: Option<u32>,
    /// Number checks per month, instead of the configured limit; 0: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks_per_month: Option<u32>,
}

/// Who is asking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The key's id; `preset` for the administrator key from the configuration.
    pub key_id: String,
    /// The account whose sessions it may use.
    pub account: String,
    /// Whether it may do everything.
    pub admin: bool,
    /// What else the key may and may not do.
    pub rules: KeyRules,
}

impl Caller {
    /// Whether this caller may use everything of the account `owner`. A device token may not.
    pub fn may_use(&self, owner: &str) -> bool {
        self.rules.session.is_none() && (self.admin || self.account == owner)
    }

    /// Whether this caller may use this session.
    pub fn may_use_session(&self, session: &Session) -> bool {
        match &self.rules.session {
            Some(id) => id == session.id(),
            None => self.may_use(session.owner()),
        }
    }
}

/// Why a caller is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// No key was given.
    Missing,
    /// It is not one of ours.
    Wrong,
    /// Too many wrong keys came from this address; try again after this long.
    TooMany(Duration),
    /// The key made all the requests that it may make in this minute; try again after this long.
    Limited(Duration),
}

/// Why a key could not be made or removed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The box has enough of them.
    #[error("there are already {MAX_KEYS} keys; remove one first")]
    TooMany,
    /// The name does not fit.
    #[error("the key's name must have 1 to 60 characters")]
    Name,
    /// The account's name does not fit.
    #[error("the account must have 1 to 60 letters, digits, - or _")]
    Account,
    /// A device token cannot do everything.
    #[error("a key for one session cannot be an administrator's; leave one of the two out")]
    AdminToken,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

struct Failures {
    count: u32,
    last: Instant,
}

/// Every key of the box. Cheap to clone.
#[derive(Clone)]
pub struct Keys {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    preset: Option<[u8; 32]>,
    // Few and small: all are in memory, so that checking one reads no disk.
    known: RwLock<Vec<(KeyRecord, [u8; 32])>>,
    failures: Mutex<HashMap<IpAddr, Failures>>,
    /// Whether there is any key; whoever waits for the first one hears of it.
    any: watch::Sender<bool>,
}

/// A key that is made but not stored yet.
struct Fresh {
    key: String,
    record: KeyRecord,
    digest: [u8; 32],
}

fn fresh(name: &str, account: &str, admin: bool, rules: KeyRules) -> Result<Fresh, KeyError> {
    if admin && rules.session.is_some() {
        return Err(KeyError::AdminToken);
    }
    let name = name.trim();
    if name.is_empty() || name.chars().count() > 60 || name.chars().any(char::is_control) {
        return Err(KeyError::Name);
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if account.is_empty() || account.len() > 60 || !account.chars().all(plain) {
        return Err(KeyError::Account);
    }
    let key = format!("kurir_{}", base62(&ids::random::<32>()));
    let digest = hash(&key);
    let record = KeyRecord {
        id: hex::encode(ids::random::<4>()),
        name: name.to_owned(),
        account: account.to_owned(),
        admin,
        rules,
        login: false,
        hash: hex::encode(digest),
        created_at_ms: now_ms(),
    };
    Ok(Fresh { key, record, digest })
}

fn hash(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

impl Keys {
    /// Reads the keys. `preset`: the administrator key of the configuration.
    pub fn open(store: Store, preset: Option<&str>) -> Result<Keys, StoreError> {
        let known = store.read(|txn| {
            let mut known = Vec::new();
            for row in txn.open_table(KEYS)?.iter()? {
                let record: KeyRecord = json::decode("api_keys", row?.1.value())?;
                let mut digest = [0; 32];
                if hex::decode_to_slice(&record.hash, &mut digest).is_ok() {
                    known.push((record, digest));
                }
            }
            Ok(known)
        })?;
        let any = watch::Sender::new(preset.is_some() || !known.is_empty());
        let preset = preset.map(hash);
        let shared = Shared { store, preset, known: RwLock::new(known), failures: Mutex::default(), any };
        Ok(Keys { shared: Arc::new(shared) })
    }

    /// Whether there is any key at all.
    pub fn any(&self) -> bool {
        self.shared.preset.is_some() || !self.read().is_empty()
    }

    /// Whether there is any key, and when that changes.
    pub fn watch_any(&self) -> watch::Receiver<bool> {
        self.shared.any.subscribe()
    }

    /// All keys; their hashes stay here.
    pub fn list(&self) -> Vec<KeyRecord> {
        self.read().iter().map(|(record, _)| record.clone()).collect()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Vec<(KeyRecord, [u8; 32])>> {
        self.shared.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a key and returns it. Nothing can show it again.
    pub async fn create(&self, name: &str, account: &str, admin: bool) -> Result<String, KeyError> {
        self.create_with(name, account, admin, KeyRules::default()).await
    }

    /// As [`Keys::create`], with rules.
    pub async fn create_with(
        &self,
        name: &str,
        account: &str,
        admin: bool,
        rules: KeyRules,
    ) -> Result<String, KeyError> {
        let fresh = fresh(name, account, admin, rules)?;
        if self.read().len() >= MAX_KEYS {
            return Err(KeyError::TooMany);
        }
        let key = self.insert(fresh, |_| Ok(true)).await?;
        Ok(key.expect("the condition is always true"))
    }

    /// The first key of the box, an administrator's, made together with what `beside` writes. `None`: somebody was
    /// faster, or `beside` returned `false`; then nothing is changed.
    pub(super) async fn create_first(
        &self,
        name: &str,
        mut beside: impl FnMut(&WriteTransaction) -> Result<bool, StoreError> + Send + 'static,
    ) -> Result<Option<String>, KeyError> {
        if self.any() {
            return Ok(None);
        }
        let fresh = fresh(name, DEFAULT_ACCOUNT, true, KeyRules::default())?;
        // Memory may lag behind the store, so the store decides.
        self.insert(fresh, move |txn| Ok(txn.open_table(KEYS)?.is_empty()? && beside(txn)?)).await
    }

    /// An administrator's key for somebody who knows the password. At most `most` such keys are kept.
    pub(super) async fn create_login(&self, name: &str, most: usize) -> Result<String, KeyError> {
        let mut fresh = fresh(name, DEFAULT_ACCOUNT, true, KeyRules::default())?;
        fresh.record.login = true;
        let mut earlier: Vec<KeyRecord> = self.list().into_iter().filter(|key| key.login).collect();
        earlier.sort_by_key(|key| key.created_at_ms);
        let excess = (earlier.len() + 1).saturating_sub(most);
        for key in earlier.iter().take(excess) {
            self.remove(&key.id).await?;
        }
        if self.read().len() >= MAX_KEYS {
            return Err(KeyError::TooMany);
        }
        let key = self.insert(fresh, |_| Ok(true)).await?;
        Ok(key.expect("the condition is always true"))
    }

    /// Stores the key if `condition` holds, in one transaction with what `condition` writes.
    async fn insert(
        &self,
        fresh: Fresh,
        mut condition: impl FnMut(&WriteTransaction) -> Result<bool, StoreError> + Send + 'static,
    ) -> Result<Option<String>, KeyError> {
        let Fresh { key, record, digest } = fresh;
        let value = json::encode("api_keys", &record)?;
        let id = record.id.clone();
        let shared = Arc::clone(&self.shared);
        to_the_end(async move {
            let stored = shared.store.write(move |txn| {
                if !condition(txn)? {
                    return Ok(false);
                }
                txn.open_table(KEYS)?.insert(id.as_str(), value.as_slice())?;
                Ok(true)
            });
            if !stored.await? {
                return Ok(None);
            }
            shared.known.write().unwrap_or_else(PoisonError::into_inner).push((record, digest));
            shared.any.send_if_modified(|any| !std::mem::replace(any, true));
            Ok(Some(key))
        })
        .await
    }

    /// Removes a key by its id. `false`: there is none.
    pub async fn remove(&self, id: &str) -> Result<bool, KeyError> {
        let (keys, id) = (self.clone(), id.to_owned());
        to_the_end(async move {
            let stored = id.clone();
            let removed = keys
                .shared
                .store
                .write(move |txn| Ok(txn.open_table(KEYS)?.remove(stored.as_str())?.is_some()));
            let found = removed.await?;
            keys.shared
                .known
                .write()
                .unwrap_or_else(PoisonError::into_inner)
                .retain(|(record, _)| record.id != id);
            let any = keys.any();
            keys.shared.any.send_if_modified(|known| std::mem::replace(known, any) != any);
            Ok(found)
        })
        .await
    }

    /// Who holds this key. Wrong keys are counted per address and slowed down. A key that was made here passes all the
    /// same, because several applications may share an address and it cannot be guessed; the preset one, which somebody
    /// thought of, has to wait.
    pub fn check(&self, key: Option<&str>, from: IpAddr, now: Instant) -> Result<Caller, Denied> {
        let key = key.map(str::trim).filter(|key| !key.is_empty());
        let found = key.filter(|key| key.len() <= MAX_KEY).and_then(|key| self.find(key));
        if let Some(wait) = self.penalty(from, now) {
            return found.filter(|caller| caller.key_id != PRESET).ok_or(Denied::TooMany(wait));
        }
        if key.is_none() {
            return Err(Denied::Missing);
        }
        match found {
            Some(caller) => {
                self.failures().remove(&from);
                Ok(caller)
            }
            None => {
                self.count_failure(from, now);
                Err(Denied::Wrong)
            }
        }
    }

    /// Compares with every key, so that the time taken does not depend on which one matches.
    fn find(&self, key: &str) -> Option<Caller> {
        let digest = hash(key);
        let mut found = None;
        if let Some(preset) = &self.shared.preset
            && bool::from(preset.ct_eq(&digest))
        {
            found = Some(Caller {
                key_id: PRESET.into(),
                account: DEFAULT_ACCOUNT.into(),
                admin: true,
                rules: KeyRules::default(),
            });
        }
        for (record, known) in self.read().iter() {
            if bool::from(known.ct_eq(&digest)) {
                found = Some(Caller {
                    key_id: record.id.clone(),
                    account: record.account.clone(),
                    admin: record.admin,
                    rules: record.rules.clone(),
                });
            }
        }
        found
    }

    fn failures(&self) -> std::sync::MutexGuard<'_, HashMap<IpAddr, Failures>> {
        self.shared.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn penalty(&self, from: IpAddr, now: Instant) -> Option<Duration> {
        let failures = self.failures();
        let f = failures.get(&from)?;
        let over = f.count.checked_sub(FREE_FAILURES)?;
        let pause = Duration::from_secs(1 << over.min(6)).min(MAX_PENALTY);
        pause.checked_sub(now.saturating_duration_since(f.last)).filter(|left| !left.is_zero())
    }

    fn count_failure(&self, from: IpAddr, now: Instant) {
        let mut failures = self.failures();
        if failures.len() >= MAX_ADDRESSES && !failures.contains_key(&from) {
            let oldest = failures.iter().min_by_key(|(_, f)| f.last).map(|(address, _)| *address);
            oldest.map(|address| failures.remove(&address));
        }
        let f = failures.entry(from).or_insert(Failures { count: 0, last: now });
        f.count = f.count.saturating_add(1);
        f.last = now;
    }
}

/// Base 62, most significant digit first.
fn base62(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut number = bytes.to_vec();
    let mut text = Vec::new();
    while number.iter().any(|b| *b != 0) {
        let mut rest = 0u32;
        for byte in &mut number {
            let value = rest * 256 + u32::from(*byte);
            *byte = u8::try_from(value / 62).expect("the rest is below 62, so the quotient fits a byte");
            rest = value % 62;
        }
        text.push(char::from(DIGITS[rest as usize]));
    }
    text.iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreOptions;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn open(dir: &tempfile::TempDir) -> Keys {
        let options = StoreOptions { tables: TABLES.to_vec(), ..StoreOptions::default() };
        let store = Store::open(&dir.path().join("s.redb"), &options).unwrap();
        Keys::open(store, Some("preset-admin-key-0001")).unwrap()
    }

    #[tokio::test]
    async fn a_key_opens_its_own_account_and_survives_a_restart_as_a_hash() {
        let dir = tempfile::tempdir().unwrap();
        let keys = open(&dir);
        let key = keys.create("till", "shop", false).await.unwrap();
        let now = Instant::now();
        drop(keys);
        let keys = open(&dir);
        let caller = keys.check(Some(&key), HERE, now).unwrap();
        assert!(caller.may_use("shop") && !caller.may_use("clinic") && !caller.admin);
        assert!(keys.check(Some("preset-admin-key-0001"), HERE, now).unwrap().may_use("clinic"));
        assert_eq!(keys.check(None, HERE, now), Err(Denied::Missing));
        assert_eq!(keys.check(Some(&key[1..]), HERE, now), Err(Denied::Wrong));
        let file = std::fs::read(dir.path().join("s.redb")).unwrap();
        assert!(!file.windows(key.len()).any(|w| w == key.as_bytes()), "the key itself is in the file");
        let id = keys.list()[0].id.clone();
        assert!(keys.remove(&id).await.unwrap());
        assert_eq!(keys.check(Some(&key), HERE, now), Err(Denied::Wrong));
    }

    #[tokio::test]
    async fn guessing_is_slowed_down_per_address() {
        let dir = tempfile::tempdir().unwrap();
        let keys = open(&dir);
        let mut now = Instant::now();
        for _ in 0..FREE_FAILURES {
            assert_eq!(keys.check(Some("nope"), HERE, now), Err(Denied::Wrong));
        }
        assert!(matches!(keys.check(Some("nope"), HERE, now), Err(Denied::TooMany(_))));
        let other: IpAddr = "10.0.0.9".parse().unwrap();
        assert!(keys.check(Some("preset-admin-key-0001"), other, now).is_ok());
        now += Duration::from_secs(2);
        assert!(keys.check(Some("preset-admin-key-0001"), HERE, now).is_ok(), "the wait ends");
        assert_eq!(
            keys.check(Some("nope"), HERE, now),
            Err(Denied::Wrong),
            "and a right key clears the count"
        );
    }

    #[test]
    fn base62_counts_like_any_positional_system() {
        assert_eq!(
            (base62(&[0]), base62(&[61]), base62(&[62]), base62(&[1, 0])),
            (String::new(), "z".into(), "10".into(), "48".into())
        );
    }
}
