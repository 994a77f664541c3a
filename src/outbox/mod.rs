//! The durable send queue: accept, pace, send, confirm.
//!
//! Accepting writes the message with its WhatsApp id to the store and only then answers. One pump per session sends
//! what waits, in order per chat; `Sent` is recorded when WhatsApp's server acknowledged the message, and receipts
//! carry it on to `Delivered` and `Read`. A crash at any moment leads at worst to a resend under the same id, which the
//! recipient's phone shows once.

mod accept;
mod attempt;
mod build;
mod content;
mod course;
mod files;
mod message_id;
mod orders;
mod pump;
mod record;
mod run;
pub mod schedule;
mod settings;
mod strangers;
mod upload;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Notify;

use crate::config::Config;
use crate::media::{Previews, Spool};
use crate::store::{Store, StoreError};

pub use accept::{AcceptError, Accepted, Batch, Body, Draft, Options};
pub use content::{Content, Context, Target, vcard};
use course::Messages;
use message_id::MessageIds;
pub use orders::{Cancelled, Retried};
pub use record::{Message, Progress, Reference, TABLES};
use schedule::Pace;
pub use settings::{Allow, SessionSettings};
pub use strangers::{Acquaintance, StrangerSettings};
use upload::Uploads;

/// Limits and pacing.
#[derive(Clone, Copy, Debug)]
pub struct OutboxSettings {
    /// Pacing of each session.
    pub pace: Pace,
    /// Attempts after which a message counts as failed.
    pub attempts: u32,
    /// Age after which a message counts as failed.
    pub max_age: Duration,
    /// Messages that one session may have waiting.
    pub queue_limit: usize,
    /// Age after which a finished message is forgotten.
    pub history: Duration,
    /// How long to wait for the server's ack before sending again.
    pub ack_timeout: Duration,
    /// Limits for messages to numbers that never wrote to us.
    pub strangers: StrangerSettings,
}

impl OutboxSettings {
    /// From the configuration.
    pub fn from_config(config: &Config) -> OutboxSettings {
        OutboxSettings {
            pace: Pace {
                delay: config.send_delay,
                jitter: config.send_jitter,
                parallel: config.send_parallel,
            },
            attempts: config.send_attempts,
            max_age: config.send_max_age,
            queue_limit: config.queue_limit,
            strangers: StrangerSettings {
                daily_cap: config.stranger_daily_cap,
                delay: config.stranger_delay,
            },
            history: Duration::from_secs(u64::from(config.history_days) * 24 * 3600),
            ack_timeout: config.limits.ack,
        }
    }
}

/// What a session's pump and its callers share.
struct Lane {
    /// Messages accepted and neither sent nor failed.
    depth: AtomicUsize,
    wake: Notify,
    /// When the next scheduled message is due, Unix milliseconds; `i64::MAX`: none is. Never later than the truth.
    next_due: AtomicI64,
    /// Messages that somebody is sending or cancelling. Held for set operations only, as is `orders`.
    claims: Mutex<HashSet<u64>>,
    orders: Mutex<Vec<Order>>,
}

impl Default for Lane {
    fn default() -> Lane {
        Lane {
            depth: AtomicUsize::new(0),
            wake: Notify::new(),
            // The pump's first look at the store corrects it.
            next_due: AtomicI64::new(0),
            claims: Mutex::default(),
            orders: Mutex::default(),
        }
    }
}

impl Lane {
    /// Takes a message for sending or cancelling. `false`: somebody else has it.
    fn claim(&self, seq: u64) -> bool {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner).insert(seq)
    }

    fn release(&self, seq: u64) {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner).remove(&seq);
    }

    fn is_claimed(&self, seq: u64) -> bool {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner).contains(&seq)
    }

    fn order(&self, order: Order) {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).push(order);
        self.wake.notify_one();
    }

    fn take_orders(&self) -> Vec<Order> {
        std::mem::take(&mut *self.orders.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a pump is told of single messages.
enum Order {
    /// It is not to be sent; the store knows.
    Cancelled(u64),
    /// It is to be sent after all; the store knows.
    Requeued(Box<Message>),
    /// Its next attempt need not wait.
    Hurry(u64),
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Outbox {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    spool: Spool,
    settings: OutboxSettings,
    message_ids: MessageIds,
    counts: Counts,
    uploads: Uploads,
    /// Files that a receipt made unneeded before the send's own end was recorded, which removes them. What a crash
    /// leaves is found by the next start.
    freed: Mutex<HashSet<String>>,
    /// Held while it is decided what becomes of a file: a message that is tried again must not lose it at that moment.
    files: tokio::sync::Mutex<()>,
    // Held for map operations only.
    lanes: Mutex<HashMap<u32, Arc<Lane>>>,
    /// Whether a chat ever wrote to us, as far as whoever sets this knows.
    acquaintance: OnceLock<Acquaintance>,
    /// Makes link previews, once somebody has set it.
    previews: OnceLock<Previews>,
    /// What sessions do otherwise than the settings say. Held for map operations only.
    own: RwLock<HashMap<u32, SessionSettings>>,
    /// Changes of `own`, one at a time.
    changing: tokio::sync::Mutex<()>,
}

/// Ends of attempts since the start.
#[derive(Default)]
struct Counts {
    sent: AtomicU64,
    failed: AtomicU64,
    retried: AtomicU64,
}

/// How many attempts ended how since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sends {
    /// WhatsApp's server took the message.
    pub sent: u64,
    /// The message was given up.
    pub failed: u64,
    /// The message is tried again.
    pub retried: u64,
}

impl Outbox {
    /// How many attempts ended how since the start.
    pub fn sends(&self) -> Sends {
        let counts = &self.shared.counts;
        Sends {
            sent: counts.sent.load(Ordering::Relaxed),
            failed: counts.failed.load(Ordering::Relaxed),
            retried: counts.retried.load(Ordering::Relaxed),
        }
    }

    /// Since when the first message in the session's queue has been waiting, Unix milliseconds.
    pub fn oldest_ms(&self, session_no: u32) -> Result<Option<i64>, StoreError> {
        self.shared.store.read(|txn| {
            let messages = Messages::open(txn)?;
            let mut oldest = None;
            for queue in [record::QUEUE, record::PACED] {
                let (from, to) = (record::queue_key(session_no, 0), record::queue_key(session_no, u64::MAX));
                let queue = txn.open_table(queue)?;
                let Some(row) = queue.range(from.as_slice()..=to.as_slice())?.next() else { continue };
                let Some(seq) = record::seq_of_queue_key(row?.0.value()) else { continue };
                let since = messages.get(seq)?.map(|message| message.waiting_since_ms());
                oldest = match (oldest, since) {
                    (Some(a), Some(b)) => Some(i64::min(a, b)),
                    (a, b) => a.or(b),
                };
            }
            Ok(oldest)
        })
    }

    /// Reads what waits, and removes kept files that no waiting message needs.
    pub fn open(store: Store, spool: Spool, settings: OutboxSettings) -> Result<Outbox, StoreError> {
        // Filled anew where the store asks for a second reading.
        let mut lanes: HashMap<u32, Arc<Lane>> = HashMap::new();
        let mut needed = HashSet::new();
        let (message_ids, own, spare) = store.read(|txn| {
            lanes.clear();
            let messages = Messages::open(txn)?;
            for seq in record::unfinished(txn, None)? {
                let Some(message) = messages.get(seq)? else { continue };
                lanes.entry(message.session_no).or_default().depth.fetch_add(1, Ordering::Relaxed);
                needed.extend(message.file_id().map(str::to_owned));
            }
            let spare = record::spare_files(&txn.open_table(record::FILES)?)?;
            Ok((record::message_ids(txn)?, settings::load(txn)?, spare))
        })?;
        spool.adopt_spare(spare.iter().filter(|id| !needed.contains(*id)));
        match spool.sweep(|id| needed.contains(id) || spare.iter().any(|spare| spare == id)) {
            Ok(0) => {}
            Ok(count) => log::info!("removed {count} files that no message needs any more"),
            Err(e) => log::warn!("cannot look for files that no message needs: {e}"),
        }
        Ok(Outbox {
            shared: Arc::new(Shared {
                store,
                spool,
                settings,
                message_ids,
                counts: Counts::default(),
                uploads: Uploads::default(),
                freed: Mutex::default(),
                files: tokio::sync::Mutex::default(),
                lanes: Mutex::new(lanes),
                acquaintance: OnceLock::new(),
                previews: OnceLock::new(),
                own: RwLock::new(own.into_iter().collect()),
                changing: tokio::sync::Mutex::default(),
            }),
        })
    }

    /// Tells the outbox how to know who wrote to us. Until then, everybody is a stranger.
    pub fn set_acquaintance(&self, acquaintance: Acquaintance) {
        if self.shared.acquaintance.set(acquaintance).is_err() {
            log::error!("the outbox was told twice how to know who wrote to us");
        }
    }

    /// Tells the outbox who makes link previews. Until then, there are none.
    pub fn set_previews(&self, previews: Previews) {
        if self.shared.previews.set(previews).is_err() {
            log::error!("the outbox was told twice who makes link previews");
        }
    }

    fn lane(&self, session_no: u32) -> Arc<Lane> {
        let mut lanes = self.shared.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(lanes.entry(session_no).or_default())
    }

    /// Messages of this session that are accepted and neither sent nor failed.
    pub fn depth(&self, session_no: u32) -> usize {
        self.lane(session_no).depth.load(Ordering::Relaxed)
    }

    /// Messages that the session has sent in its life.
    pub fn sent_count(&self, session_no: u32) -> Result<u64, StoreError> {
        self.shared.store.read(|txn| {
            let row = txn.open_table(record::SENT)?.get(session_no)?;
            Ok(row.and_then(|row| row.value().try_into().ok()).map_or(0, u64::from_le_bytes))
        })
    }

    /// Whether the message is on its way right now.
    pub fn is_sending(&self, message: &Message) -> bool {
        message.progress == Progress::Pending && self.lane(message.session_no).is_claimed(message.seq)
    }

    /// The message with this number.
    pub fn find_seq(&self, seq: u64) -> Result<Option<Message>, StoreError> {
        self.shared.store.read(|txn| Messages::open(txn)?.get(seq))
    }

    /// The messages that were last accepted under this reference, in the order of their recipients.
    pub fn find_reference(&self, reference: &Reference) -> Result<Vec<Message>, StoreError> {
        self.shared.store.read(|txn| {
            let messages = Messages::open(txn)?;
            let referred = record::refer(&txn.open_table(record::REFERENCES)?, reference)?;
            let seqs = referred.map(|referred| referred.seqs).unwrap_or_default();
            seqs.into_iter().filter_map(|seq| messages.get(seq).transpose()).collect()
        })
    }

    /// The message with this UUID or WhatsApp message id.
    pub fn find(&self, id: &str) -> Result<Option<Message>, StoreError> {
        self.shared.store.read(|txn| {
            let by_id = txn.open_table(record::BY_ID)?.get(id)?;
            let seq = match by_id {
                Some(row) => row.value().try_into().ok().map(u64::from_le_bytes),
                None => self.shared.message_ids.seq(id),
            };
            let Some(seq) = seq else { return Ok(None) };
            let message = Messages::open(txn)?.get(seq)?;
            Ok(message.filter(|message| message.id == id || message.message_id == id))
        })
    }

    /// Waits until the message has come at least this far, or has failed. `None`: there is no such message.
    pub async fn reached(&self, id: &str, progress: Progress) -> Result<Option<Message>, StoreError> {
        let mut commits = self.shared.store.commits();
        loop {
            commits.borrow_and_update();
            match self.find(id)? {
                Some(message) if message.progress < progress && message.progress != Progress::Failed => {}
                found => return Ok(found),
            }
            if commits.changed().await.is_err() {
                return Err(StoreError::Closed);
            }
        }
    }
}
