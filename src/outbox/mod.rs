//! The durable send queue: accept, pace, send, confirm.
//!
//! Accepting writes the message with its WhatsApp id to the store and only then answers. One pump per session sends
//! what waits, in order per chat; `Sent` is recorded when WhatsApp's server acknowledged the message, and receipts
//! carry it on to `Delivered` and `Read`. A crash at any moment leads at worst to a resend under the same id, which the
//! recipient's phone shows once.

mod build;
mod pump;
mod record;
pub mod schedule;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redb::ReadableTable;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use crate::clock::now_ms;
use crate::config::Config;
use crate::ids;
use crate::media::{Fetched, MediaKind, Spool, SpoolError};
use crate::session::{ReceiptEvent, ReceiptKind, Registry, Session};
use crate::store::{Store, StoreError, json};

pub use record::{Content, Message, Progress, TABLES};
use schedule::Pace;

/// Receipts taken into one write.
const RECEIPT_BATCH: usize = 256;
/// Old messages removed in one write.
const PRUNE_BATCH: usize = 500;
/// How often old messages are looked for.
const PRUNE_EVERY: Duration = Duration::from_secs(6 * 3600);

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
            history: Duration::from_secs(u64::from(config.history_days) * 24 * 3600),
            ack_timeout: config.limits.ack,
        }
    }
}

/// A message to be accepted.
pub struct Draft {
    /// The chat's JID.
    pub to: String,
    /// Whether WhatsApp said that the number is registered.
    pub checked: bool,
    /// What to send.
    pub body: Body,
}

/// What a draft carries.
pub enum Body {
    /// A text.
    Text(String),
    /// A file.
    Media {
        /// The file.
        file: Fetched,
        /// How it is shown.
        media: MediaKind,
        /// The text below it.
        caption: Option<String>,
    },
}

/// What was promised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Stable integer.
    pub seq: u64,
    /// UUID.
    pub id: String,
    /// The WhatsApp message id.
    pub message_id: String,
    /// Unix milliseconds.
    pub accepted_at_ms: i64,
}

/// Why a message was not accepted; nothing of it is kept.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The session's queue is full.
    #[error("this session already has {limit} messages waiting; try again later")]
    QueueFull {
        /// The limit.
        limit: usize,
    },
    /// The file could not be kept.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a session's pump and its callers share.
#[derive(Default)]
struct Lane {
    /// Messages accepted and neither sent nor failed.
    depth: AtomicUsize,
    wake: Notify,
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
    // Held for map operations only.
    lanes: Mutex<HashMap<u32, Arc<Lane>>>,
}

impl Outbox {
    /// Reads what waits, and removes kept files that no waiting message needs.
    pub fn open(store: Store, spool: Spool, settings: OutboxSettings) -> Result<Outbox, StoreError> {
        let mut lanes: HashMap<u32, Arc<Lane>> = HashMap::new();
        let mut needed = std::collections::HashSet::new();
        store.read(|txn| {
            let queue = txn.open_table(record::QUEUE)?;
            let messages = txn.open_table(record::MESSAGES)?;
            for row in queue.iter()? {
                let (key, _) = row?;
                let Some(seq) = record::seq_of_queue_key(key.value()) else { continue };
                let Some(row) = messages.get(seq)? else { continue };
                let message: Message = json::decode("outbox", row.value())?;
                lanes.entry(message.session_no).or_default().depth.fetch_add(1, Ordering::Relaxed);
                if matches!(message.content, Content::Media { .. }) {
                    needed.insert(message.id);
                }
            }
            Ok(())
        })?;
        match spool.sweep(|id| needed.contains(id)) {
            Ok(0) => {}
            Ok(count) => log::info!("removed {count} files that no message needs any more"),
            Err(e) => log::warn!("cannot look for files that no message needs: {e}"),
        }
        Ok(Outbox { shared: Arc::new(Shared { store, spool, settings, lanes: Mutex::new(lanes) }) })
    }

    fn lane(&self, session_no: u32) -> Arc<Lane> {
        let mut lanes = self.shared.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(lanes.entry(session_no).or_default())
    }

    /// Messages of this session that are accepted and neither sent nor failed.
    pub fn depth(&self, session_no: u32) -> usize {
        self.lane(session_no).depth.load(Ordering::Relaxed)
    }

    /// Keeps a message. When this returns `Ok`, no crash loses it.
    pub async fn accept(&self, session: &Session, draft: Draft) -> Result<Accepted, AcceptError> {
        let lane = self.lane(session.no());
        let limit = self.shared.settings.queue_limit;
        // Counted before the write, so that many callers at once cannot overrun the limit together.
        if lane.depth.fetch_add(1, Ordering::Relaxed) >= limit {
            lane.depth.fetch_sub(1, Ordering::Relaxed);
            return Err(AcceptError::QueueFull { limit });
        }
        let result = self.keep(session, draft).await;
        match &result {
            Ok(_) => lane.wake.notify_one(),
            Err(_) => {
                lane.depth.fetch_sub(1, Ordering::Relaxed);
            }
        }
        result
    }

    async fn keep(&self, session: &Session, draft: Draft) -> Result<Accepted, AcceptError> {
        let id = ids::uuid();
        let content = match draft.body {
            Body::Text(body) => Content::Text { body },
            Body::Media { file, media, caption } => {
                let content = Content::Media {
                    media,
                    mime: file.mime.to_owned(),
                    filename: file.filename.clone(),
                    caption,
                    size: file.size,
                    dimensions: file.dimensions,
                };
                // The file is on disk before the message that needs it.
                file.persist(&id).await?;
                content
            }
        };
        let is_media = matches!(content, Content::Media { .. });
        let mut message = Message {
            seq: 0,
            id: id.clone(),
            session_no: session.no(),
            message_id: ids::message_id(),
            from: session.snapshot().number,
            to: draft.to,
            checked: draft.checked,
            content,
            progress: Progress::Pending,
            attempts: 0,
            accepted_at_ms: now_ms(),
            sent_at_ms: None,
            delivered_at_ms: None,
            read_at_ms: None,
            error: None,
        };
        let written = self
            .shared
            .store
            .write(move |txn| {
                // The newest row is never pruned, so a number never comes twice.
                message.seq = txn.open_table(record::MESSAGES)?.last()?.map_or(0, |(key, _)| key.value()) + 1;
                record::insert(txn, &message)?;
                Ok(Accepted {
                    seq: message.seq,
                    id: message.id.clone(),
                    message_id: message.message_id.clone(),
                    accepted_at_ms: message.accepted_at_ms,
                })
            })
            .await;
        if written.is_err() && is_media {
            self.remove_file(&id).await;
        }
        Ok(written?)
    }

    /// The message with this UUID or WhatsApp message id.
    pub fn find(&self, id: &str) -> Result<Option<Message>, StoreError> {
        self.shared.store.read(|txn| {
            let seq = match txn.open_table(record::BY_ID)?.get(id)? {
                Some(row) => row.value().try_into().ok(),
                None => txn
                    .open_table(record::BY_MESSAGE_ID)?
                    .get(id)?
                    .and_then(|row| row.value().try_into().ok()),
            };
            let Some(seq) = seq.map(u64::from_le_bytes) else { return Ok(None) };
            let row = txn.open_table(record::MESSAGES)?.get(seq)?;
            row.map(|row| json::decode("outbox", row.value())).transpose()
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

    /// Runs a pump for every session, takes receipts, and forgets old messages. Ends when `receipts` closes.
    pub async fn run(self, registry: Registry, mut receipts: mpsc::Receiver<ReceiptEvent>) {
        let mut pumps: HashMap<u32, JoinHandle<()>> = HashMap::new();
        let mut changes = registry.changes();
        let mut prune = tokio::time::interval(PRUNE_EVERY);
        let mut batch = Vec::with_capacity(RECEIPT_BATCH);
        loop {
            changes.borrow_and_update();
            let sessions = registry.list();
            let gone: Vec<u32> =
                pumps.keys().copied().filter(|no| !sessions.iter().any(|s| s.no() == *no)).collect();
            for no in gone {
                if let Some(pump) = pumps.remove(&no) {
                    pump.abort();
                    self.abandon(no).await;
                }
            }
            for session in sessions {
                pumps.entry(session.no()).or_insert_with(|| tokio::spawn(pump::run(self.clone(), session)));
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { break },
                taken = receipts.recv_many(&mut batch, RECEIPT_BATCH) => {
                    if taken == 0 {
                        break;
                    }
                    self.take_receipts(std::mem::take(&mut batch)).await;
                }
                _ = prune.tick() => self.prune().await,
            }
        }
        for pump in pumps.into_values() {
            pump.abort();
        }
    }

    async fn take_receipts(&self, batch: Vec<ReceiptEvent>) {
        let this = self.clone();
        let write = self.shared.store.write_soon(move |txn| {
            for receipt in &batch {
                for id in &receipt.message_ids {
                    let seq = txn
                        .open_table(record::BY_MESSAGE_ID)?
                        .get(id.as_str())?
                        .and_then(|row| row.value().try_into().ok())
                        .map(u64::from_le_bytes);
                    let Some(seq) = seq else { continue };
                    let was_pending = record::update(txn, seq, |message| {
                        let was_pending = message.progress == Progress::Pending;
                        if message.session_no == receipt.session_no {
                            apply_receipt(message, receipt);
                        }
                        was_pending && message.progress != Progress::Pending
                    })?;
                    // A receipt for a message whose ack we never saw: after a crash between the two.
                    if was_pending == Some(true) {
                        this.lane(receipt.session_no).wake.notify_one();
                    }
                }
            }
            Ok(())
        });
        if let Err(e) = write.await {
            log::warn!("receipts could not be recorded: {e}");
        }
    }

    /// The session was deleted: what it had waiting will never be sent.
    async fn abandon(&self, session_no: u32) {
        self.shared.lanes.lock().unwrap_or_else(PoisonError::into_inner).remove(&session_no);
        let write = self.shared.store.write(move |txn| {
            let mut waiting = Vec::new();
            let from = record::queue_key(session_no, 0);
            let to = record::queue_key(session_no, u64::MAX);
            for row in txn.open_table(record::QUEUE)?.range(from.as_slice()..=to.as_slice())? {
                waiting.extend(record::seq_of_queue_key(row?.0.value()));
            }
            let mut files = Vec::new();
            for seq in waiting {
                let file = record::update(txn, seq, |message| {
                    message.progress = Progress::Failed;
                    message.error = Some("the session was deleted".into());
                    message.id.clone()
                })?;
                files.extend(file);
            }
            Ok(files)
        });
        match write.await {
            Ok(files) => {
                for id in files {
                    self.remove_file(&id).await;
                }
            }
            Err(e) => log::error!("session {session_no}: its queue could not be closed: {e}"),
        }
    }

    /// Removes a kept file. One that stays is found by the next start.
    async fn remove_file(&self, id: &str) {
        if let Err(e) = self.shared.spool.remove(id).await {
            log::warn!("{e}");
        }
    }

    /// Forgets finished messages that are older than the history.
    async fn prune(&self) {
        let history = i64::try_from(self.shared.settings.history.as_millis()).unwrap_or(i64::MAX);
        let before = now_ms().saturating_sub(history);
        loop {
            let write = self.shared.store.write(move |txn| {
                let mut old = Vec::new();
                {
                    let messages = txn.open_table(record::MESSAGES)?;
                    let newest = messages.last()?.map_or(0, |(key, _)| key.value());
                    for row in messages.range(..newest)? {
                        let message: Message = json::decode("outbox", row?.1.value())?;
                        if message.accepted_at_ms >= before || old.len() >= PRUNE_BATCH {
                            break;
                        }
                        if message.progress != Progress::Pending {
                            old.push(message);
                        }
                    }
                }
                for message in &old {
                    record::remove(txn, message)?;
                }
                Ok(old.len())
            });
            match write.await {
                Ok(removed) if removed == PRUNE_BATCH => {}
                Ok(_) => return,
                Err(e) => return log::warn!("old messages could not be removed: {e}"),
            }
        }
    }
}

fn apply_receipt(message: &mut Message, receipt: &ReceiptEvent) {
    let at = Some(receipt.at_ms);
    message.sent_at_ms = message.sent_at_ms.or(at);
    message.delivered_at_ms = message.delivered_at_ms.or(at);
    let progress = match receipt.kind {
        ReceiptKind::Delivered => Progress::Delivered,
        ReceiptKind::Read | ReceiptKind::Played => {
            message.read_at_ms = message.read_at_ms.or(at);
            Progress::Read
        }
    };
    message.progress = message.progress.max(progress);
}
