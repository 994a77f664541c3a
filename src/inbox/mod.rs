//! What arrives: messages, receipts, votes, reactions, group changes and session states, as one durable journal.
//!
//! An event has a stable id and a sequence number that counts up by one, so a consumer needs to remember one number to
//! go on where it was. The journal is bounded by number, bytes and age; a consumer that is further behind is told of
//! the gap. Messages are written before WhatsApp learns that we have them ([`Inbox::append`]); what WhatsApp does not
//! repeat anyhow is gathered and written a moment later ([`Inbox::append_soon`]).

mod event;
mod index;
mod record;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redb::{ReadableTable, ReadableTableMetadata, WriteTransaction};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::clock::now_ms;
use crate::config::Config;
use crate::store::{Store, StoreError, json};

pub use event::{
    Body, Contact, Event, GroupChange, Kind, Location, Media, MediaRef, Message, Origin, Person, Poll,
    PollVote, Quoted, Reaction, Receipt, SessionState, event_id,
};
pub use record::{PollSecret, TABLES, remember_poll};

/// Events that may wait to be gathered; further ones are dropped and counted.
const SOON: usize = 4096;
/// How long events are gathered while the store is busy, so that a flood of receipts touches few pages.
const GATHER: Duration = Duration::from_millis(200);
/// How long they are gathered otherwise: an ack and the receipt after it go with the commit of the client's session.
const GATHER_QUIET: Duration = Duration::from_millis(15);
/// The store is busy from so many commits a second on.
const BUSY: u64 = 10;
/// Most events in one write.
const BATCH: usize = 500;
/// How often old events are looked for.
const PRUNE_EVERY: Duration = Duration::from_secs(3600);
/// A known peer's row is written again only when it is older than this.
const PEER_STEP_MS: i64 = 24 * 3600 * 1000;
/// Most people remembered as having written; beyond it new ones are not.
const MOST_PEERS: u64 = 200_000;

/// How much the journal keeps. The first limit that is reached counts.
#[derive(Clone, Copy, Debug)]
pub struct InboxSettings {
    /// Events.
    pub events: u64,
    /// Bytes of events.
    pub bytes: u64,
    /// Age.
    pub age: Duration,
}

impl InboxSettings {
    /// From the configuration.
    pub fn from_config(config: &Config) -> InboxSettings {
        InboxSettings {
            events: config.journal_events,
            bytes: config.journal_bytes,
            age: Duration::from_secs(u64::from(config.journal_days) * 24 * 3600),
        }
    }
}

/// A part of the journal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// Events that the reader missed because they are no longer kept: first and last sequence number.
    pub gap: Option<(u64, u64)>,
    /// Events in their order.
    pub events: Vec<Event>,
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Inbox {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    settings: InboxSettings,
    /// The newest sequence number; `None` once the gateway is closing.
    head: watch::Sender<Option<u64>>,
    soon: mpsc::Sender<Event>,
    dropped: AtomicU64,
}

/// What [`Inbox::append_soon`] took and [`Inbox::run`] writes.
pub struct Soon(mpsc::Receiver<Event>);

impl Inbox {
    /// Opens the journal.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn open(store: Store, settings: InboxSettings) -> Result<(Inbox, Soon), StoreError> {
        let newest = store.read(|txn| Ok(record::size(&txn.open_table(record::META)?)?.next - 1))?;
        let (soon, queue) = mpsc::channel(SOON);
        let head = watch::Sender::new(Some(newest));
        let shared = Shared { store, settings, head, soon, dropped: AtomicU64::new(0) };
        Ok((Inbox { shared: Arc::new(shared) }, Soon(queue)))
    }

    /// Writes events and returns once they are on disk. Events that are in the journal already are passed over.
    /// Returns how many were new.
    ///
    /// # Errors
    /// As [`Store::write`]; then none is kept.
    pub async fn append(&self, events: Vec<Event>) -> Result<usize, StoreError> {
        self.write(events, false).await
    }

    async fn write(&self, mut events: Vec<Event>, is_patient: bool) -> Result<usize, StoreError> {
        let now = now_ms();
        let mut rows = Vec::with_capacity(events.len());
        let mut peers = Vec::new();
        for event in &mut events {
            event.recorded_at_ms = now;
            rows.push(record::Row::new(event)?);
            if let Body::Message(message) = &event.body
                && !message.from_me
                && !message.is_group
            {
                let names = [event.person.phone.as_deref(), event.person.lid_user()];
                let no = event.origin.session_no;
                peers.extend(names.into_iter().flatten().map(|name| record::session_key(no, name)));
            }
        }
        drop(events);
        let settings = self.shared.settings;
        let write = move |txn: &WriteTransaction| {
            let (size, new) = record::insert(txn, &rows)?;
            if new.is_empty() {
                return Ok(((0, size.next - 1), false));
            }
            let mut table = txn.open_table(record::PEERS)?;
            for key in &peers {
                let known =
                    table.get(key.as_slice())?.map(|row| row.value().try_into().map(i64::from_le_bytes));
                let young = matches!(known, Some(Ok(at)) if now.saturating_sub(at) < PEER_STEP_MS);
                if !young && (known.is_some() || table.len()? < MOST_PEERS) {
                    table.insert(key.as_slice(), now.to_le_bytes().as_slice())?;
                }
            }
            drop(table);
            // In the same commit, and in batches: a removal for each event would touch twice the pages.
            let first = record::first(txn)?.unwrap_or(size.next);
            let slack = (settings.events / 16).min(BATCH as u64);
            if size.next - first > settings.events + slack || size.bytes > settings.bytes {
                let low = settings.bytes - settings.bytes / 16;
                record::prune(txn, 2 * BATCH, |seq, now, _| {
                    Ok(size.next - seq > settings.events || now.bytes > low)
                })?;
            }
            Ok(((new.len(), size.next - 1), true))
        };
        let store = &self.shared.store;
        let (new, newest) =
            if is_patient { store.write_patiently(write).await? } else { store.write_if(write).await? };
        self.publish(newest);
        Ok(new)
    }

    fn publish(&self, newest: u64) {
        self.shared.head.send_if_modified(|head| match head {
            Some(head) if *head < newest => {
                *head = newest;
                true
            }
            _ => false,
        });
    }

    /// Takes an event to be written within a moment. It never waits: beyond [`SOON`] waiting events this one is dropped
    /// and counted.
    pub fn append_soon(&self, event: Event) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.shared.soon.try_send(event) {
            let dropped = self.shared.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            if dropped.is_power_of_two() {
                log::warn!("journal: {dropped} events dropped; the store is too slow");
            }
        }
    }

    /// The newest sequence number, as it changes; `None` once the gateway is closing.
    pub fn head(&self) -> watch::Receiver<Option<u64>> {
        self.shared.head.subscribe()
    }

    /// The newest sequence number.
    pub fn newest(&self) -> Result<u64, StoreError> {
        self.shared.store.read(|txn| Ok(record::size(&txn.open_table(record::META)?)?.next - 1))
    }

    /// Sequence numbers of the oldest event kept and of the next one to come, and the bytes between.
    pub fn span(&self) -> Result<(u64, u64, u64), StoreError> {
        self.shared.store.read(|txn| {
            let size = record::size(&txn.open_table(record::META)?)?;
            let first = txn.open_table(record::JOURNAL)?.first()?.map_or(size.next, |(key, _)| key.value());
            Ok((first, size.next, size.bytes))
        })
    }

    /// Up to `most` events after `after`.
    pub fn page(&self, after: u64, most: usize) -> Result<Page, StoreError> {
        self.shared.store.read(|txn| {
            let journal = txn.open_table(record::JOURNAL)?;
            let next = record::size(&txn.open_table(record::META)?)?.next;
            let first = journal.first()?.map_or(next, |(key, _)| key.value());
            let wanted = after.saturating_add(1);
            let gap = (wanted < first).then(|| (wanted, first - 1));
            let mut events = Vec::new();
            for row in journal.range(wanted..)?.take(most) {
                let (key, value) = row?;
                events.push(record::decode(key.value(), value.value())?);
            }
            Ok(Page { gap, events })
        })
    }

    /// The event with this id.
    pub fn find(&self, id: &str) -> Result<Option<Event>, StoreError> {
        self.shared.store.read(|txn| {
            let journal = txn.open_table(record::JOURNAL)?;
            let index = txn.open_table(index::TABLE)?;
            let Some(seq) = record::seq_of(&journal, &index, id)? else { return Ok(None) };
            let row = journal.get(seq)?;
            row.map(|row| record::decode(seq, row.value())).transpose()
        })
    }

    /// The event with this sequence number.
    pub fn get(&self, seq: u64) -> Result<Option<Event>, StoreError> {
        self.shared.store.read(|txn| {
            let row = txn.open_table(record::JOURNAL)?.get(seq)?;
            row.map(|row| record::decode(seq, row.value())).transpose()
        })
    }

    /// When this phone number (digits) or LID last wrote to the session in a private chat, in Unix milliseconds, exact
    /// to a day. `None`: never, as far as is known.
    pub fn last_from(&self, session_no: u32, phone_or_lid: &str) -> Result<Option<i64>, StoreError> {
        let name = phone_or_lid.split('@').next().unwrap_or_default();
        let key = record::session_key(session_no, name);
        self.shared.store.read(|txn| {
            let row = txn.open_table(record::PEERS)?.get(key.as_slice())?;
            Ok(row.and_then(|row| row.value().try_into().ok()).map(i64::from_le_bytes))
        })
    }

    /// Remembers a poll, so that its votes can be read.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub async fn remember_poll(
        &self,
        session_no: u32,
        message_id: &str,
        poll: PollSecret,
    ) -> Result<(), StoreError> {
        let message_id = message_id.to_owned();
        let write = self.shared.store.write(move |txn| remember_poll(txn, session_no, &message_id, &poll));
        write.await
    }

    /// A poll that was remembered.
    pub fn poll(&self, session_no: u32, message_id: &str) -> Result<Option<PollSecret>, StoreError> {
        let key = record::session_key(session_no, message_id);
        self.shared.store.read(|txn| {
            let row = txn.open_table(record::POLLS)?.get(key.as_slice())?;
            row.map(|row| json::decode("journal_polls", row.value())).transpose()
        })
    }

    /// Forgets what a deleted session remembered of people and polls. Its events stay until they are old.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub async fn forget_session(&self, session_no: u32) -> Result<(), StoreError> {
        let write = self.shared.store.write(move |txn| {
            for table in [record::PEERS, record::POLLS] {
                let from = session_no.to_be_bytes();
                let mut table = txn.open_table(table)?;
                match session_no.checked_add(1).map(u32::to_be_bytes) {
                    Some(to) => table.retain_in(from.as_slice()..to.as_slice(), |_, _| false)?,
                    None => table.retain_in(from.as_slice().., |_, _| false)?,
                }
            }
            Ok(())
        });
        write.await
    }

    /// Writes what [`Inbox::append_soon`] takes, and forgets old events. Ends after [`Inbox::close`], with everything
    /// written that came before it.
    pub async fn run(self, soon: Soon) {
        let Soon(mut queue) = soon;
        let mut prune = tokio::time::interval(PRUNE_EVERY);
        let mut batch = Vec::new();
        let mut last = (Instant::now(), 0);
        loop {
            let closing = tokio::select! {
                _ = queue.recv_many(&mut batch, BATCH) => {
                    let window = if self.is_busy(&mut last) { GATHER } else { GATHER_QUIET };
                    tokio::select! {
                        () = tokio::time::sleep(window) => false,
                        () = closed(self.head()) => true,
                    }
                }
                _ = prune.tick() => {
                    self.prune().await;
                    false
                }
                () = closed(self.head()) => true,
            };
            while let Ok(event) = queue.try_recv() {
                batch.push(event);
            }
            while !batch.is_empty() {
                let rest = batch.split_off(batch.len().min(BATCH));
                let events = std::mem::replace(&mut batch, rest);
                if let Err(e) = self.write(events, !closing).await {
                    log::warn!("journal: events could not be recorded: {e}");
                }
            }
            if closing {
                return;
            }
        }
    }

    /// Whether the store has committed often since `last`, which becomes now.
    fn is_busy(&self, last: &mut (Instant, u64)) -> bool {
        let now = (Instant::now(), self.shared.store.stats().commits);
        let (before, commits) = std::mem::replace(last, now);
        let millis = u64::try_from(now.0.duration_since(before).as_millis()).unwrap_or(u64::MAX);
        (now.1 - commits).saturating_mul(1000) >= millis.saturating_mul(BUSY)
    }

    /// Ends [`Inbox::run`] and every reader that waits for [`Inbox::head`].
    pub fn close(&self) {
        self.shared.head.send_replace(None);
    }

    async fn prune(&self) {
        let age = i64::try_from(self.shared.settings.age.as_millis()).unwrap_or(i64::MAX);
        let before = now_ms().saturating_sub(age);
        loop {
            let write = self.shared.store.write_if(move |txn| {
                let removed = record::prune(txn, BATCH, |seq, _, row| {
                    Ok(record::decode(seq, row)?.recorded_at_ms < before)
                })?;
                Ok((removed, removed > 0))
            });
            match write.await {
                Ok(BATCH) => {}
                Ok(_) => return,
                Err(e) => return log::warn!("journal: old events could not be removed: {e}"),
            }
        }
    }
}

/// Waits for [`Inbox::close`].
async fn closed(mut head: watch::Receiver<Option<u64>>) {
    // An error means that the journal is gone, which ends its readers just so.
    let _ = head.wait_for(Option::is_none).await;
}
