//! How a box gets its owner: nobody has a key for a new box, so whoever reads the one-time code off its screen sets a
//! password and gets the first administrator's key. `docs/decisions/0011-claim.md` says why it is done this way.
//!
//! A box that listens beyond loopback and has no owner answers nothing but the claim ([`gate`]).

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use redb::{ReadableTable, TableDefinition};
use tokio::sync::{Semaphore, watch};

use super::keys::{KeyError, Keys};
use crate::store::tables::Table;
use crate::store::{Store, StoreError, json, to_the_end};

mod attempts;
mod code;
mod page;
mod password;
mod routes;

use attempts::{Attempts, Charge};
use code::Code;
use password::PasswordHash;
pub(super) use routes::{gate, routes};

/// The owner. Key: `password`. Value: its hash and costs as JSON.
const OWNER: TableDefinition<'static, &'static str, &'static [u8]> = TableDefinition::new("owner");
/// The table of this module.
pub const TABLES: &[Table] = &[Table::of::<&'static str>("owner")];
const PASSWORD: &str = "password";

/// Administrator's keys got by logging in that one box keeps; the oldest goes for a new one.
const MAX_LOGIN_KEYS: usize = 8;
/// Passwords that may wait for being hashed, one at a time.
const HASHES: usize = 4;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClaimError {
    #[error(
        "This box has an owner already. Log in with the password, or run `kurir key new --admin` on the box"
    )]
    Claimed,
    #[error(
        "This box listens on itself only, so it needs no claim: run `kurir key new --name NAME --admin` on it"
    )]
    Local,
    #[error("The code is not the one on the box's screen")]
    WrongCode,
    #[error("The password is not valid")]
    WrongPassword,
    #[error("This box has no password: run `kurir key new --name NAME --admin` on it")]
    NoPassword,
    #[error("Too many wrong attempts; wait and try again")]
    TooMany(Duration),
    #[error("Too many people log in at this moment; try again")]
    Busy,
    #[error(transparent)]
    Unfit(#[from] password::Unfit),
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// The box's owner, or the code by which it gets one. Cheap to clone.
#[derive(Clone)]
pub struct Claim {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    keys: Keys,
    /// Whether others than this machine can reach the API.
    exposed: bool,
    password: RwLock<Option<PasswordHash>>,
    // Held for looking at one attempt, never across an await.
    desk: Mutex<Desk>,
    shown: watch::Sender<Option<String>>,
    waiting: Semaphore,
    hashing: Semaphore,
}

#[derive(Default)]
struct Desk {
    code: Option<Code>,
    codes: Attempts,
    passwords: Attempts,
}

impl Claim {
    /// Reads whether there is an owner. A box that has none and is `exposed` beyond loopback gets a code; the code lives
    /// in memory, so each start makes a new one.
    pub fn open(store: Store, keys: Keys, exposed: bool) -> Result<Claim, StoreError> {
        let password = store.read(|txn| match txn.open_table(OWNER)?.get(PASSWORD)? {
            Some(row) => Ok(Some(json::decode("owner", row.value())?)),
            None => Ok(None),
        })?;
        let inner = Inner {
            store,
            keys,
            exposed,
            password: RwLock::new(password),
            desk: Mutex::default(),
            shown: watch::Sender::new(None),
            waiting: Semaphore::new(HASHES),
            hashing: Semaphore::new(1),
        };
        let claim = Claim { inner: Arc::new(inner) };
        claim.refresh();
        Ok(claim)
    }

    /// Whether the box has an owner: somebody has a key or knows the password.
    pub fn is_claimed(&self) -> bool {
        self.inner.keys.any() || self.has_password()
    }

    /// Whether nothing but the claim may be answered.
    pub fn is_closed(&self) -> bool {
        self.inner.exposed && !self.is_claimed()
    }

    /// Whether somebody can log in with a password.
    pub fn has_password(&self) -> bool {
        self.inner.password.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// The code to show on the box's screen, as `ACEF-3467`, while there is one.
    pub fn code(&self) -> watch::Receiver<Option<String>> {
        self.inner.shown.subscribe()
    }

    /// Follows keys that are made or removed elsewhere, until `stop` becomes true: `kurir key new` claims a box as well.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut any = self.inner.keys.watch_any();
        loop {
            self.refresh();
            tokio::select! {
                // The guard that `wait_for` returns must not live across an await.
                () = async { let _ = stop.wait_for(|stop| *stop).await; } => return,
                changed = any.changed() => if changed.is_err() { return },
            }
        }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.inner.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a code if one is needed and none is there; takes it away when it is not needed any more.
    fn refresh(&self) {
        let mut desk = self.desk();
        match (self.is_closed(), &desk.code) {
            (true, None) => self.show(&mut desk, Some(Code::random())),
            (false, Some(_)) => self.show(&mut desk, None),
            _ => {}
        }
    }

    fn show(&self, desk: &mut Desk, code: Option<Code>) {
        self.inner.shown.send_replace(code.as_ref().map(Code::shown));
        desk.code = code;
    }

    /// Looks at a code that somebody typed.
    fn check_code(&self, typed: &str, from: IpAddr, now: Instant) -> Result<(), ClaimError> {
        let mut desk = self.desk();
        let charge = desk.codes.charge(from, now);
        if let Charge::Wait(wait) = charge {
            return Err(ClaimError::TooMany(wait));
        }
        if desk.code.as_ref().is_some_and(|code| code.is(typed)) {
            desk.codes.right(from);
            return Ok(());
        }
        if charge == Charge::Last && desk.code.is_some() {
            log::warn!(
                "{} wrong claim codes: the screen shows a new one, and nobody may claim the box for {} s",
                attempts::BUDGET,
                attempts::PAUSE.as_secs()
            );
            self.show(&mut desk, Some(Code::random()));
        }
        Err(ClaimError::WrongCode)
    }

    /// Makes the one with the code the owner.
    async fn claim(&self, typed: &str, password: &str, from: IpAddr) -> Result<String, ClaimError> {
        if self.is_claimed() {
            return Err(ClaimError::Claimed);
        }
        if !self.inner.exposed {
            return Err(ClaimError::Local);
        }
        // Before the code, so that the answer does not tell whether the code was right.
        password::check(password)?;
        self.check_code(typed, from, Instant::now())?;
        let hash = self.hash(password).await?;
        let row = json::encode("owner", &hash).map_err(KeyError::from)?;
        let claim = self.clone();
        let claimed = to_the_end::<_, KeyError>(async move {
            let first = claim.inner.keys.create_first("owner", move |txn| {
                let mut owner = txn.open_table(OWNER)?;
                if owner.get(PASSWORD)?.is_some() {
                    return Ok(false);
                }
                owner.insert(PASSWORD, row.as_slice())?;
                Ok(true)
            });
            let key = first.await?;
            if key.is_some() {
                *claim.inner.password.write().unwrap_or_else(PoisonError::into_inner) = Some(hash);
                claim.refresh();
                log::info!("this box has an owner now: it was claimed from {from}");
            }
            Ok(key)
        });
        claimed.await?.ok_or(ClaimError::Claimed)
    }

    /// A new administrator's key for whoever knows the password.
    async fn log_in(&self, password: &str, from: IpAddr) -> Result<String, ClaimError> {
        self.check_password(password, from).await?;
        let key = self.inner.keys.create_login("login", MAX_LOGIN_KEYS).await?;
        log::info!("somebody logged in with the password from {from}");
        Ok(key)
    }

    /// Whether this is the owner's password. Attempts are limited.
    pub(super) async fn check_password(&self, password: &str, from: IpAddr) -> Result<(), ClaimError> {
        let known = self.inner.password.read().unwrap_or_else(PoisonError::into_inner).clone();
        let known = known.ok_or(ClaimError::NoPassword)?;
        if let Charge::Wait(wait) = self.desk().passwords.charge(from, Instant::now()) {
            return Err(ClaimError::TooMany(wait));
        }
        // One that nobody can have set needs no hashing.
        let candidate = password.to_owned();
        let right = password::check(password).is_ok() && self.slowly(move || known.is_of(&candidate)).await?;
        if !right {
            return Err(ClaimError::WrongPassword);
        }
        self.desk().passwords.right(from);
        Ok(())
    }

    /// Sets or changes the password.
    async fn set_password(&self, password: &str) -> Result<(), ClaimError> {
        password::check(password)?;
        let hash = self.hash(password).await?;
        let row = json::encode("owner", &hash).map_err(KeyError::from)?;
        let inner = Arc::clone(&self.inner);
        let stored = to_the_end::<_, KeyError>(async move {
            let stored = inner.store.write(move |txn| {
                txn.open_table(OWNER)?.insert(PASSWORD, row.as_slice())?;
                Ok(())
            });
            stored.await?;
            *inner.password.write().unwrap_or_else(PoisonError::into_inner) = Some(hash);
            Ok(())
        });
        Ok(stored.await?)
    }

    async fn hash(&self, password: &str) -> Result<PasswordHash, ClaimError> {
        let password = password.to_owned();
        self.slowly(move || PasswordHash::of(&password)).await
    }

    /// Runs one hashing at a time, because each takes 19 MiB.
    async fn slowly<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ClaimError> {
        let _place = self.inner.waiting.try_acquire().map_err(|_| ClaimError::Busy)?;
        // Closed never.
        let _turn = self.inner.hashing.acquire().await.map_err(|_| ClaimError::Busy)?;
        tokio::task::spawn_blocking(work).await.map_err(|_| ClaimError::Busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreOptions;

    fn here(n: u8) -> IpAddr {
        [192, 168, 1, n].into()
    }

    fn open(dir: &tempfile::TempDir, exposed: bool) -> (Claim, Keys) {
        let tables = [TABLES, super::super::keys::TABLES].concat();
        let options = StoreOptions { tables, ..StoreOptions::default() };
        let store = Store::open(&dir.path().join("s.redb"), &options).unwrap();
        let keys = Keys::open(store.clone(), None).unwrap();
        (Claim::open(store, keys.clone(), exposed).unwrap(), keys)
    }

    fn shown(claim: &Claim) -> Option<String> {
        claim.code().borrow().clone()
    }

    #[tokio::test]
    async fn of_many_who_claim_at_once_exactly_one_becomes_the_owner() {
        let dir = tempfile::tempdir().unwrap();
        let (claim, keys) = open(&dir, true);
        let code = shown(&claim).unwrap();
        let claims = (0..4).map(|n| {
            let (claim, code) = (claim.clone(), code.clone());
            tokio::spawn(async move { claim.claim(&code, &format!("password {n}"), here(n)).await })
        });
        let mut winners = Vec::new();
        for (n, claimed) in futures_util::future::join_all(claims).await.into_iter().enumerate() {
            match claimed.unwrap() {
                Ok(key) => winners.push((n, key)),
                Err(e) => assert!(matches!(e, ClaimError::Claimed), "{e}"),
            }
        }
        assert_eq!((winners.len(), keys.list().len()), (1, 1));
        let (n, key) = winners.remove(0);
        assert!(keys.check(Some(&key), here(1), Instant::now()).unwrap().admin);
        assert_eq!(shown(&claim), None, "the code is used up");
        assert!(claim.log_in(&format!("password {n}"), here(9)).await.is_ok(), "the winner's password");
        let other = claim.log_in(&format!("password {}", (n + 1) % 4), here(9)).await;
        assert!(matches!(other, Err(ClaimError::WrongPassword)));
        drop((claim, keys));
        let (claim, _) = open(&dir, true);
        assert!(claim.is_claimed() && shown(&claim).is_none());
        let file = std::fs::read(dir.path().join("s.redb")).unwrap();
        assert!(!file.windows(9).any(|w| w.starts_with(b"password ")), "a password itself is in the file");
    }

    #[tokio::test]
    async fn a_claim_whose_connection_closes_is_carried_out() {
        let dir = tempfile::tempdir().unwrap();
        let (claim, keys) = open(&dir, true);
        let code = shown(&claim).unwrap();
        // As long as the disk takes, and longer than this test waits for it.
        let busy = claim.inner.store.clone();
        let (began, begun) = tokio::sync::oneshot::channel();
        let (go_on, gone_on) = std::sync::mpsc::channel::<()>();
        let mut began = Some(began);
        let before = tokio::spawn(async move {
            let write = busy.write(move |_| {
                if let Some(began) = began.take() {
                    began.send(()).unwrap();
                    gone_on.recv().unwrap();
                }
                Ok(())
            });
            write.await
        });
        begun.await.unwrap();
        let mut cut = Box::pin(claim.claim(&code, "password", here(1)));
        while claim.inner.store.stats().queued == 0 {
            tokio::select! {
                biased;
                _ = &mut cut => panic!("the store is busy"),
                () = tokio::time::sleep(Duration::from_millis(1)) => {}
            }
        }
        let mut codes = claim.code();
        // The connection is gone.
        drop(cut);
        go_on.send(()).unwrap();
        before.await.unwrap().unwrap();
        tokio::time::timeout(Duration::from_secs(10), codes.wait_for(Option::is_none))
            .await
            .unwrap()
            .unwrap();
        assert!(claim.is_claimed());
        assert_eq!(keys.list().len(), 1);
        claim.log_in("password", here(1)).await.unwrap();
    }

    #[tokio::test]
    async fn a_code_that_is_guessed_at_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (claim, _) = open(&dir, true);
        let (code, now) = (shown(&claim).unwrap(), Instant::now());
        for n in 0..attempts::BUDGET {
            assert_eq!(shown(&claim), Some(code.clone()), "after {n} wrong ones");
            let wrong = claim.check_code("AAAA-AAAA", here(u8::try_from(n).unwrap()), now);
            assert!(matches!(wrong, Err(ClaimError::WrongCode)));
        }
        let next = shown(&claim).unwrap();
        assert_ne!(next, code);
        assert!(matches!(claim.check_code(&next, here(99), now), Err(ClaimError::TooMany(_))));
        let later = now + attempts::PAUSE;
        assert!(
            matches!(claim.check_code(&code, here(99), later), Err(ClaimError::WrongCode)),
            "the old one"
        );
        assert!(claim.check_code(&next, here(99), later).is_ok());
    }

    #[tokio::test]
    async fn a_code_comes_and_goes_with_the_keys_and_a_restart_makes_another() {
        let dir = tempfile::tempdir().unwrap();
        let (claim, keys) = open(&dir, true);
        let first = shown(&claim).unwrap();
        let (stop, stopping) = watch::channel(false);
        let following = tokio::spawn(claim.clone().run(stopping));
        let mut codes = claim.code();
        keys.create("till", "main", false).await.unwrap();
        codes.wait_for(Option::is_none).await.unwrap();
        assert!(!claim.is_closed(), "whoever can run `kurir key new` owns the box");
        let id = keys.list()[0].id.clone();
        keys.remove(&id).await.unwrap();
        let again = codes.wait_for(Option::is_some).await.unwrap().clone().unwrap();
        assert!(again != first && claim.is_closed());
        stop.send(true).unwrap();
        following.await.unwrap();
        drop((claim, keys));
        let (claim, _) = open(&dir, true);
        assert_ne!(shown(&claim).unwrap(), again);
    }

    #[tokio::test]
    async fn a_box_that_listens_on_itself_only_has_no_code() {
        let dir = tempfile::tempdir().unwrap();
        let (claim, _) = open(&dir, false);
        assert!(shown(&claim).is_none() && !claim.is_closed() && !claim.is_claimed());
        assert!(matches!(claim.claim("", "long enough", here(1)).await, Err(ClaimError::Local)));
        assert!(matches!(claim.log_in("long enough", here(1)).await, Err(ClaimError::NoPassword)));
    }

    #[tokio::test]
    async fn logging_in_keeps_the_newest_keys_only_and_a_new_password_replaces_the_old() {
        let dir = tempfile::tempdir().unwrap();
        let (claim, keys) = open(&dir, false);
        let made = keys.create("login", "main", true).await.unwrap();
        claim.set_password("first password").await.unwrap();
        let mut got = Vec::new();
        for _ in 0..=MAX_LOGIN_KEYS {
            got.push(claim.log_in("first password", here(1)).await.unwrap());
        }
        let now = Instant::now();
        assert!(keys.check(Some(&got[0]), here(1), now).is_err(), "the oldest made room");
        assert!(got[1..].iter().all(|key| keys.check(Some(key), here(1), now).is_ok()));
        assert!(
            keys.check(Some(&made), here(1), now).is_ok(),
            "a key of that name that was made otherwise stays"
        );
        claim.set_password("second password").await.unwrap();
        assert!(matches!(claim.log_in("first password", here(1)).await, Err(ClaimError::WrongPassword)));
        assert!(claim.log_in("second password", here(1)).await.is_ok());
        assert!(matches!(claim.set_password("short").await, Err(ClaimError::Unfit(_))));
    }
}
