//! What goes on beside the pumps: receipts are taken, deleted sessions' queues closed, old messages forgotten.

use std::collections::{HashMap, HashSet};
use std::sync::PoisonError;
use std::time::Duration;

use redb::ReadableTable;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::course::{self, Messages};
use super::record::{self, Afterwards, Progress};
use super::{Outbox, pump, settings};
use crate::clock::now_ms;
use crate::session::{self, ReceiptEvent, Registry};

/// Receipts taken into one write.
const RECEIPT_BATCH: usize = 256;
/// Old messages removed in one write.
const PRUNE_BATCH: usize = 500;
/// How often old messages are looked for.
const PRUNE_EVERY: Duration = Duration::from_secs(6 * 3600);

impl Outbox {
    /// Runs a pump for every session, takes receipts, and forgets old messages. Ends when `receipts` closes.
    pub async fn run(self, registry: Registry, mut receipts: mpsc::Receiver<ReceiptEvent>) {
        let mut pumps: HashMap<u32, JoinHandle<()>> = HashMap::new();
        let mut changes = registry.changes();
        let mut prune = tokio::time::interval(PRUNE_EVERY);
        let mut batch = Vec::with_capacity(RECEIPT_BATCH);
        // Sessions that have messages and may be gone: deleted just now, or before a crash that came too soon.
        let mut leaving: HashSet<u32> =
            self.shared.lanes.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect();
        loop {
            changes.borrow_and_update();
            let sessions = registry.list();
            let here = |no: &u32| sessions.iter().any(|s| s.no() == *no);
            for (no, pump) in pumps.extract_if(|no, _| !here(no)) {
                pump.abort();
                leaving.insert(no);
            }
            leaving.retain(|no| !here(no));
            for no in leaving.iter().copied().collect::<Vec<_>>() {
                if self.abandon(no).await {
                    leaving.remove(&no);
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
                _ = prune.tick() => {
                    self.prune().await;
                    self.prune_files().await;
                }
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
                    let Some(seq) = this.shared.message_ids.seq(id) else { continue };
                    let settled = record::settle(txn, seq, Afterwards::Keep, |message| {
                        if message.session_no == receipt.session_no && message.message_id == *id {
                            course::received(message, receipt, now_ms());
                        }
                    })?;
                    // A receipt that came before its message's ack was recorded, or whose ack a crash swallowed.
                    if let Some(settled) = settled {
                        if let Some(file) = settled.file {
                            this.freed().insert(file);
                        }
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

    /// If the session was deleted, what it had waiting will never be sent. `false`: it was not, or not yet. At shutdown
    /// sessions leave the registry as well, and what they have waiting is for the next start.
    async fn abandon(&self, session_no: u32) -> bool {
        let write = self.shared.store.write_if(move |txn| {
            if session::is_stored(txn, session_no)? {
                return Ok((None, false));
            }
            let mut files = Vec::new();
            for seq in record::unfinished_in(txn, session_no)? {
                let settled = record::settle(txn, seq, Afterwards::Drop, |message| {
                    message.progress = Progress::Failed;
                    message.error = Some("the session was deleted".into());
                })?;
                files.extend(settled.and_then(|settled| settled.file));
            }
            txn.open_table(record::SENT)?.remove(session_no)?;
            settings::forget(txn, session_no)?;
            Ok((Some(files), true))
        });
        match write.await {
            Ok(Some(files)) => {
                self.shared.lanes.lock().unwrap_or_else(PoisonError::into_inner).remove(&session_no);
                self.shared.own.write().unwrap_or_else(PoisonError::into_inner).remove(&session_no);
                for id in files {
                    self.let_go(&id).await;
                }
                true
            }
            Ok(None) => false,
            Err(e) => {
                log::error!("session {session_no}: its queue could not be closed: {e}");
                false
            }
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
                    let messages = Messages::open_in(txn)?;
                    let newest = messages.rows.last()?.map_or(0, |(key, _)| key.value());
                    for row in messages.rows.range(..newest)? {
                        let (seq, row) = row?;
                        let message = messages.decode(seq.value(), row.value())?;
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
