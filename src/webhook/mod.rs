//! Events out: signed, retried for a day, in order, never lost while the journal has them.
//!
//! Each webhook has a cursor in the journal and a task of its own, with one call under way at a time, so a receiver
//! that is slow or down delays nobody else. The number of webhooks bounds the calls at once.

mod deliver;
pub mod format;
mod links;
mod record;
pub mod schedule;
pub mod sign;
mod worker;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::clock::{ClockState, now_ms};
use crate::config::Config;
use crate::ids;
use crate::inbox::{Inbox, Kind};
use crate::media::{FetchError, FetchPolicy, Spool, check_link};
use crate::outbox::Outbox;
use crate::session::{Received, Registry};
use crate::store::{Store, StoreError};

pub use format::Format;
pub use links::Links;
pub use record::{Attempt, Dead, Hook, TABLES};

/// Webhooks that one box may have; each may have one call, and so one thread, under way.
pub const MAX_HOOKS: usize = 64;
/// Seconds that a receiver may take, at most.
pub const MAX_TIMEOUT_S: u32 = 60;
/// Wishes that may wait for one webhook's task.
const MAX_WISHES: usize = 64;

/// How webhooks are delivered.
#[derive(Clone, Debug)]
pub struct WebhookSettings {
    /// The first pause after a failure; it doubles from there.
    pub retry_base: Duration,
    /// How long an event is tried before it goes to the dead letters.
    pub give_up: Duration,
    /// Where applications reach this box, for links to media.
    pub public_url: Option<String>,
    /// How long links to media work.
    pub link_age: Duration,
}

impl WebhookSettings {
    /// From the configuration.
    pub fn from_config(config: &Config) -> WebhookSettings {
        WebhookSettings {
            retry_base: config.webhook_retry,
            give_up: config.limits.webhook_give_up,
            public_url: config.public_url.clone(),
            link_age: Duration::from_secs(u64::from(config.received_media_days) * 24 * 3600),
        }
    }
}

/// What a webhook is to be.
#[derive(Clone, Debug)]
pub struct HookDraft {
    /// The account that owns it.
    pub account: String,
    /// Only this session's events.
    pub session: Option<String>,
    /// The receiver.
    pub url: String,
    /// In which format.
    pub format: Format,
    /// Only these kinds; empty: all.
    pub events: Vec<Kind>,
    /// Also what the account itself wrote.
    pub from_me: bool,
    /// Seconds that the receiver may take.
    pub timeout_s: u32,
}

/// What to change of a webhook; `None` leaves it.
#[derive(Clone, Debug, Default)]
pub struct HookChange {
    /// The receiver.
    pub url: Option<String>,
    /// In which format.
    pub format: Option<Format>,
    /// Which kinds.
    pub events: Option<Vec<Kind>>,
    /// Whether also what the account itself wrote.
    pub from_me: Option<bool>,
    /// Whether it delivers.
    pub enabled: Option<bool>,
    /// Seconds that the receiver may take.
    pub timeout_s: Option<u32>,
    /// Make a new secret.
    pub rotate_secret: bool,
}

/// Why a webhook was not made or changed.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    /// The box has enough of them.
    #[error("this box already has {MAX_HOOKS} webhooks; delete one first")]
    TooMany,
    /// The receiver cannot be called.
    #[error("{0}")]
    Url(#[from] FetchError),
    /// The time does not fit.
    #[error("timeout_s must be 1 to {MAX_TIMEOUT_S}")]
    Timeout,
    /// The store failed.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// How a webhook is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Everything up to here was delivered, set aside, given up or not wanted.
    pub cursor: u64,
    /// Events set aside.
    pub parked: usize,
    /// Since when nothing was delivered although it was tried, Unix milliseconds.
    pub failing_since_ms: Option<i64>,
    /// Deliveries since the start.
    pub delivered: u64,
    /// Failed attempts since the start.
    pub failed: u64,
    /// The last attempt's HTTP status.
    pub last_status: Option<u16>,
    /// Why the last attempt failed.
    pub last_error: Option<String>,
    /// When the last attempt ended, Unix milliseconds.
    pub last_ms: Option<i64>,
}

/// What somebody asks a webhook's task to do.
enum Wish {
    /// Deliver these events again.
    Events(Vec<u64>),
    /// Go back (or on) to this event.
    From(u64),
}

/// One webhook and what its task shares with others.
struct Entry {
    hook: watch::Sender<Hook>,
    standing: watch::Sender<Standing>,
    wishes: Mutex<Vec<Wish>>,
    wake: Notify,
}

impl Entry {
    fn new(hook: Hook) -> Entry {
        Entry {
            hook: watch::Sender::new(hook),
            standing: watch::Sender::default(),
            wishes: Mutex::default(),
            wake: Notify::new(),
        }
    }

    fn take_wishes(&self) -> Vec<Wish> {
        std::mem::take(&mut *self.wishes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// `false`: too many wait already.
    fn wish(&self, wish: Wish) -> bool {
        let mut wishes = self.wishes.lock().unwrap_or_else(PoisonError::into_inner);
        let room = wishes.len() < MAX_WISHES;
        if room {
            wishes.push(wish);
        }
        drop(wishes);
        self.wake.notify_one();
        room
    }
}

/// The parts that webhooks need.
pub struct Parts {
    /// The store.
    pub store: Store,
    /// The journal.
    pub inbox: Inbox,
    /// The send queue, for answers and for the numbers of messages.
    pub outbox: Outbox,
    /// The sessions.
    pub registry: Registry,
    /// Where files of answers arrive.
    pub spool: Spool,
    /// Which addresses may be called.
    pub fetch: FetchPolicy,
    /// Received media.
    pub received: Received,
    /// Whether the clock can be right.
    pub clock: watch::Receiver<ClockState>,
}

struct Shared {
    store: Store,
    inbox: Inbox,
    outbox: Outbox,
    registry: Registry,
    spool: Spool,
    fetch: FetchPolicy,
    received: Received,
    clock: watch::Receiver<ClockState>,
    links: Links,
    settings: WebhookSettings,
    // Held for map operations only.
    hooks: RwLock<BTreeMap<u32, Arc<Entry>>>,
    changes: watch::Sender<u64>,
}

/// Every webhook of the box. Cheap to clone.
#[derive(Clone)]
pub struct Webhooks {
    shared: Arc<Shared>,
}

impl Webhooks {
    /// Loads the webhooks.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub async fn open(parts: Parts, settings: WebhookSettings) -> Result<Webhooks, StoreError> {
        let Parts { store, inbox, outbox, registry, spool, fetch, received, clock } = parts;
        let key = record::link_key(&store).await?;
        let seconds = i64::try_from(settings.link_age.as_secs()).unwrap_or(i64::MAX / 4);
        let links = Links::new(key, settings.public_url.as_deref(), seconds);
        let hooks = record::load_all(&store)?;
        let hooks = hooks.into_iter().map(|hook| (hook.no, Arc::new(Entry::new(hook)))).collect();
        let shared = Shared {
            store,
            inbox,
            outbox,
            registry,
            spool,
            fetch,
            received,
            clock,
            links,
            settings,
            hooks: RwLock::new(hooks),
            changes: watch::Sender::new(0),
        };
        Ok(Webhooks { shared: Arc::new(shared) })
    }

    /// Runs a task for every webhook. Ends when the journal closes.
    pub async fn run(self) {
        let mut tasks: HashMap<u32, JoinHandle<()>> = HashMap::new();
        let mut changes = self.shared.changes.subscribe();
        let mut head = self.shared.inbox.head();
        loop {
            changes.borrow_and_update();
            let entries = self.entries();
            tasks.retain(|no, task| {
                let stays = entries.contains_key(no);
                if !stays {
                    task.abort();
                }
                stays
            });
            for (no, entry) in entries {
                tasks.entry(no).or_insert_with(|| tokio::spawn(worker::run(Arc::clone(&self.shared), entry)));
            }
            tokio::select! {
                _ = changes.changed() => {}
                _ = head.wait_for(Option::is_none) => break,
            }
        }
        for task in tasks.into_values() {
            // A call that is under way is cut off here; it is made again after the start.
            if tokio::time::timeout(Duration::from_secs(2), task).await.is_err() {
                log::debug!("a webhook's call was cut off");
            }
        }
    }

    fn entries(&self) -> BTreeMap<u32, Arc<Entry>> {
        self.shared.hooks.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn entry(&self, id: &str) -> Option<Arc<Entry>> {
        self.entries().into_values().find(|entry| entry.hook.borrow().id == id)
    }

    /// All webhooks, oldest first, each with how it is doing.
    pub fn list(&self) -> Vec<(Hook, Standing)> {
        let entries = self.entries().into_values();
        entries.map(|entry| (entry.hook.borrow().clone(), entry.standing.borrow().clone())).collect()
    }

    /// The webhook with this id.
    pub fn get(&self, id: &str) -> Option<(Hook, Standing)> {
        let entry = self.entry(id)?;
        let hook = entry.hook.borrow().clone();
        let standing = entry.standing.borrow().clone();
        Some((hook, standing))
    }

    /// Makes a webhook. It gets what happens from now on.
    ///
    /// # Errors
    /// [`HookError`]; then there is none.
    pub async fn create(&self, draft: HookDraft) -> Result<Hook, HookError> {
        let url = check_link(&draft.url, &self.shared.fetch)?;
        if !(1..=MAX_TIMEOUT_S).contains(&draft.timeout_s) {
            return Err(HookError::Timeout);
        }
        if self.entries().len() >= MAX_HOOKS {
            return Err(HookError::TooMany);
        }
        let (id, secret, created_at_ms) = (ids::uuid(), new_secret(), now_ms());
        let newest = self.shared.inbox.newest()?;
        let hook = record::create(&self.shared.store, newest, move |no| Hook {
            no,
            id: id.clone(),
            account: draft.account.clone(),
            session: draft.session.clone(),
            url: url.clone(),
            format: draft.format,
            events: draft.events.clone(),
            from_me: draft.from_me,
            enabled: true,
            timeout_s: draft.timeout_s,
            secret: secret.clone(),
            created_at_ms,
        })
        .await?;
        let entry = Arc::new(Entry::new(hook.clone()));
        self.shared.hooks.write().unwrap_or_else(PoisonError::into_inner).insert(hook.no, entry);
        self.shared.changes.send_modify(|n| *n += 1);
        Ok(hook)
    }

    /// Changes a webhook. `None`: there is none with this id.
    ///
    /// # Errors
    /// [`HookError`]; then it is as before.
    pub async fn change(&self, id: &str, change: HookChange) -> Result<Option<Hook>, HookError> {
        let Some(entry) = self.entry(id) else { return Ok(None) };
        let mut hook = entry.hook.borrow().clone();
        if let Some(url) = change.url {
            hook.url = check_link(&url, &self.shared.fetch)?;
        }
        if let Some(timeout_s) = change.timeout_s {
            if !(1..=MAX_TIMEOUT_S).contains(&timeout_s) {
                return Err(HookError::Timeout);
            }
            hook.timeout_s = timeout_s;
        }
        hook.format = change.format.unwrap_or(hook.format);
        hook.events = change.events.unwrap_or(hook.events);
        hook.from_me = change.from_me.unwrap_or(hook.from_me);
        hook.enabled = change.enabled.unwrap_or(hook.enabled);
        if change.rotate_secret {
            hook.secret = new_secret();
        }
        record::update(&self.shared.store, hook.clone()).await?;
        entry.hook.send_replace(hook.clone());
        Ok(Some(hook))
    }

    /// Deletes a webhook and all that waits for it. `false`: there is none.
    ///
    /// # Errors
    /// The store failed; then it is as before.
    pub async fn delete(&self, id: &str) -> Result<bool, HookError> {
        let Some(entry) = self.entry(id) else { return Ok(false) };
        let no = entry.hook.borrow().no;
        record::delete(&self.shared.store, no).await?;
        self.shared.hooks.write().unwrap_or_else(PoisonError::into_inner).remove(&no);
        self.shared.changes.send_modify(|n| *n += 1);
        Ok(true)
    }

    /// Waits until what the tasks have recorded so far can be read.
    async fn settled(&self) -> Result<(), StoreError> {
        self.shared.store.write_if(|_| Ok(((), false))).await
    }

    /// The newest attempts of a webhook, newest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn attempts(&self, hook: &Hook, most: usize) -> Result<Vec<Attempt>, StoreError> {
        self.settled().await?;
        record::log(&self.shared.store, hook.no, most)
    }

    /// The events that were given up, newest first, with their sequence numbers.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn dead(&self, hook: &Hook) -> Result<Vec<(u64, Dead)>, StoreError> {
        self.settled().await?;
        record::dead(&self.shared.store, hook.no)
    }

    /// Removes the dead letters. Returns how many there were.
    ///
    /// # Errors
    /// The store failed.
    pub async fn bury(&self, hook: &Hook) -> Result<usize, StoreError> {
        record::bury(&self.shared.store, hook.no, None).await
    }

    /// Delivers all dead letters again. Returns how many; they count as dead until then no longer.
    ///
    /// # Errors
    /// The store failed.
    pub async fn revive(&self, hook: &Hook) -> Result<usize, StoreError> {
        let Some(entry) = self.entry(&hook.id) else { return Ok(0) };
        let mut seqs: Vec<u64> = self.dead(hook).await?.into_iter().map(|(seq, _)| seq).collect();
        seqs.sort_unstable();
        if seqs.is_empty() || !entry.wish(Wish::Events(seqs.clone())) {
            return Ok(0);
        }
        record::bury(&self.shared.store, hook.no, Some(seqs)).await
    }

    /// Delivers one event again. `false`: too much was asked for already.
    pub fn again(&self, hook: &Hook, seq: u64) -> bool {
        self.entry(&hook.id).is_some_and(|entry| entry.wish(Wish::Events(vec![seq])))
    }

    /// Goes back to this event and delivers everything from there. `false`: too much was asked for already.
    pub fn again_from(&self, hook: &Hook, seq: u64) -> bool {
        self.entry(&hook.id).is_some_and(|entry| entry.wish(Wish::From(seq)))
    }

    /// Links to received media.
    pub fn links(&self) -> &Links {
        &self.shared.links
    }
}

fn new_secret() -> String {
    format!("whsec_{}", hex::encode(ids::random::<32>()))
}
