//! Second thoughts: a message that is not to be sent after all, or after all.

use std::sync::atomic::Ordering;

use super::record::{self, Progress};
use super::{AcceptError, Order, Outbox};
use crate::clock::now_ms;
use crate::store::StoreError;

/// What a cancelled message is said to have failed of.
const CANCELLED: &str = "cancelled";

/// What became of the wish to cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// It will not be sent.
    Done,
    /// There is no such message.
    Unknown,
    /// It is on its way right now.
    Sending,
    /// It was over before.
    Finished(Progress),
}

/// What became of the wish to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retried {
    /// It is in the queue.
    Done,
    /// There is no such message.
    Unknown,
    /// It was sent.
    Finished(Progress),
    /// Its file was removed when it failed.
    FileGone,
}

impl Outbox {
    /// Takes a message out of the queue.
    pub async fn cancel(&self, seq: u64) -> Result<Cancelled, StoreError> {
        let Some(message) = self.find_seq(seq)? else { return Ok(Cancelled::Unknown) };
        if message.progress != Progress::Pending {
            return Ok(Cancelled::Finished(message.progress));
        }
        let lane = self.lane(message.session_no);
        if !lane.claim(seq) {
            return Ok(Cancelled::Sending);
        }
        let written = self
            .shared
            .store
            .write(move |txn| {
                record::settle(txn, seq, |message| {
                    if message.progress == Progress::Pending {
                        message.progress = Progress::Failed;
                        message.error = Some(CANCELLED.into());
                    }
                })
            })
            .await;
        if let Ok(Some(_)) = &written {
            lane.order(Order::Cancelled(seq));
        }
        lane.release(seq);
        match written? {
            Some(settled) => {
                if let Some(file) = settled.file {
                    self.remove_file(&file).await;
                }
                Ok(Cancelled::Done)
            }
            // It ended between the two looks.
            None => Ok(match self.find_seq(seq)? {
                Some(message) => Cancelled::Finished(message.progress),
                None => Cancelled::Unknown,
            }),
        }
    }

    /// Puts a failed message back into the queue, under the same WhatsApp id; one that waits for its next attempt is
    /// tried at once.
    pub async fn retry(&self, seq: u64) -> Result<Retried, AcceptError> {
        let Some(message) = self.find_seq(seq)? else { return Ok(Retried::Unknown) };
        let lane = self.lane(message.session_no);
        match message.progress {
            Progress::Pending => {
                lane.order(Order::Hurry(seq));
                return Ok(Retried::Done);
            }
            Progress::Failed => {}
            progress => return Ok(Retried::Finished(progress)),
        }
        if message.file_id().is_some() {
            return Ok(Retried::FileGone);
        }
        let limit = self.shared.settings.queue_limit;
        if lane.depth.fetch_add(1, Ordering::Relaxed) >= limit {
            lane.depth.fetch_sub(1, Ordering::Relaxed);
            return Err(AcceptError::QueueFull { limit });
        }
        let now = now_ms();
        let written = self
            .shared
            .store
            .write(move |txn| {
                record::update(txn, seq, |message| {
                    if message.progress != Progress::Failed {
                        return None;
                    }
                    message.progress = Progress::Pending;
                    message.attempts = 0;
                    message.error = None;
                    message.not_before_ms = None;
                    message.retried_at_ms = Some(now);
                    Some(message.clone())
                })
            })
            .await;
        match written {
            Ok(Some(Some(message))) => {
                lane.order(Order::Requeued(Box::new(message)));
                Ok(Retried::Done)
            }
            other => {
                lane.depth.fetch_sub(1, Ordering::Relaxed);
                // Somebody was quicker, and the message is in the queue by now.
                Ok(if other?.is_some() { Retried::Done } else { Retried::Unknown })
            }
        }
    }
}
