//! Second thoughts: a message that is not to be sent after all, or after all.

use std::sync::atomic::Ordering;

use super::course::Messages;
use super::record::{self, Afterwards, Message, Progress};
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
    /// Its file is no longer kept.
    FileGone,
}

/// What the store made of the wish to try again.
enum Again {
    Queued(Box<Message>),
    /// Somebody was quicker.
    NotFailed,
    Unknown,
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
                record::settle(txn, seq, Afterwards::Drop, |message| {
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
                    self.let_go(&file).await;
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
    /// tried at once. The file of a failed message is kept for three days, unless newer files need its room.
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
        let file = message.file_id().map(str::to_owned);
        let limit = self.shared.settings.queue_limit;
        if lane.depth.fetch_add(1, Ordering::Relaxed) >= limit {
            lane.depth.fetch_sub(1, Ordering::Relaxed);
            return Err(AcceptError::QueueFull { limit });
        }
        let again = self.requeue(seq, file.as_deref()).await;
        match again {
            Ok(Again::Queued(message)) => {
                lane.order(Order::Requeued(message));
                return Ok(Retried::Done);
            }
            _ => lane.depth.fetch_sub(1, Ordering::Relaxed),
        };
        Ok(match again? {
            // It is in the queue by now.
            Again::Queued(_) | Again::NotFailed => Retried::Done,
            Again::Unknown => Retried::Unknown,
            Again::FileGone => Retried::FileGone,
        })
    }

    /// Makes a failed message a waiting one.
    async fn requeue(&self, seq: u64, file: Option<&str>) -> Result<Again, StoreError> {
        let claimed = match file {
            Some(file) => match self.reclaim(file).await {
                Some(claimed) => Some((file.to_owned(), claimed)),
                None => return Ok(Again::FileGone),
            },
            None => None,
        };
        let now = now_ms();
        let wanted = file.map(str::to_owned);
        let written = self
            .shared
            .store
            .write(move |txn| {
                let found = Messages::open_in(txn)?.get(seq)?;
                match found {
                    None => return Ok(Again::Unknown),
                    Some(message) if message.progress != Progress::Failed => return Ok(Again::NotFailed),
                    Some(_) => {}
                }
                if let Some(file) = &wanted
                    && !record::reuse_file(txn, file)?
                {
                    return Ok(Again::FileGone);
                }
                let message = record::update(txn, seq, |message| {
                    message.progress = Progress::Pending;
                    message.attempts = 0;
                    message.error = None;
                    message.not_before_ms = None;
                    message.retried_at_ms = Some(now);
                    message.clone()
                })?;
                Ok(message.map_or(Again::Unknown, |message| Again::Queued(Box::new(message))))
            })
            .await;
        if let Some((file, claimed)) = claimed
            && !matches!(written, Ok(Again::Queued(_)))
        {
            self.decide_on(&file, &claimed).await;
        }
        written
    }
}
