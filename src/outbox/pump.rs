//! Sends what one session has waiting.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::attempt::{Flight, Outcome, fly, time_left, too_late};
use super::course::{self, Messages};
use super::record::{self, Afterwards, Message, Progress, Queue};
use super::schedule::{Next, Schedule, retry_pause};
use super::{Lane, Order, Outbox};
use crate::clock::now_ms;
use crate::ids;
use crate::session::Session;
use crate::store::StoreError;

/// Messages known in memory; the rest waits in the store.
const WINDOW: usize = 256;
/// The same for messages of the slow lane.
const SLOW_WINDOW: usize = 32;
/// While nothing can be sent, how often at least the clock is looked at: it may have been set.
const AGE_CHECK: Duration = Duration::from_secs(60);
/// Pause after the store failed.
const STORE_PAUSE: Duration = Duration::from_secs(5);

/// Pause after an attempt that a broken connection ended; the client is usually gone before it is over.
const BROKEN_PAUSE: Duration = Duration::from_secs(1);

/// How far into one lane's queue the pump has read.
struct Reader {
    table: Queue,
    cursor: u64,
    /// Whether the store may hold messages beyond the cursor.
    more: bool,
}

impl Reader {
    fn new(table: Queue) -> Reader {
        Reader { table, cursor: 0, more: true }
    }

    /// Reads at most `most` further messages into the schedule.
    fn read(
        &mut self,
        outbox: &Outbox,
        session_no: u32,
        most: usize,
        schedule: &mut Schedule,
    ) -> Result<(), StoreError> {
        let found = outbox.shared.store.read(|txn| {
            let queue = txn.open_table(self.table)?;
            let messages = Messages::open(txn)?;
            let from = record::queue_key(session_no, self.cursor + 1);
            let to = record::queue_key(session_no, u64::MAX);
            let mut found = Vec::new();
            for row in queue.range(from.as_slice()..=to.as_slice())?.take(most) {
                let Some(seq) = record::seq_of_queue_key(row?.0.value()) else { continue };
                if let Some(message) = messages.get(seq)? {
                    found.push((seq, message.to, Duration::from_millis(message.pause_ms.into())));
                }
            }
            Ok(found)
        })?;
        self.more = found.len() >= most;
        for (seq, chat, pause) in found {
            self.cursor = seq;
            schedule.push_slow(seq, chat, pause);
        }
        Ok(())
    }

    /// A message came into the queue that may lie before the cursor.
    fn insert(&mut self, message: Message, schedule: &mut Schedule) {
        if message.seq > self.cursor {
            self.more = true;
        } else {
            let pause = Duration::from_millis(message.pause_ms.into());
            schedule.push_slow(message.seq, message.to, pause);
        }
    }
}

/// What the pump knows of the messages that wait.
struct Waiting {
    schedule: Schedule,
    quick: Reader,
    slow: Reader,
}

impl Waiting {
    fn insert(&mut self, message: Message) {
        let reader = if message.pause_ms > 0 { &mut self.slow } else { &mut self.quick };
        reader.insert(message, &mut self.schedule);
    }

    fn read(&mut self, outbox: &Outbox, session_no: u32) -> Result<(), StoreError> {
        let slow = if self.slow.more { self.schedule.slow_len() } else { 0 };
        if self.quick.more && self.schedule.len() - slow < WINDOW {
            let most = WINDOW - (self.schedule.len() - slow);
            self.quick.read(outbox, session_no, most, &mut self.schedule)?;
        }
        if self.slow.more && slow < SLOW_WINDOW {
            self.slow.read(outbox, session_no, SLOW_WINDOW - slow, &mut self.schedule)?;
        }
        Ok(())
    }

    /// Moves the messages whose time has come into the queue.
    async fn promote(&mut self, outbox: &Outbox, session_no: u32, lane: &Lane) -> Result<(), StoreError> {
        let now = now_ms();
        if lane.next_due.load(Ordering::Relaxed) > now || self.schedule.len() >= 2 * WINDOW {
            return Ok(());
        }
        // Reset before the look, so that one accepted meanwhile is not overlooked.
        lane.next_due.store(i64::MAX, Ordering::Relaxed);
        let written = outbox
            .shared
            .store
            .write_if(move |txn| {
                let messages = record::promote(txn, session_no, now, WINDOW)?;
                let next = record::next_due(txn, session_no)?;
                let changed = !messages.is_empty();
                Ok(((messages, next), changed))
            })
            .await;
        match written {
            Ok((messages, next)) => {
                lane.next_due.fetch_min(next.unwrap_or(i64::MAX), Ordering::Relaxed);
                for message in messages {
                    self.insert(message);
                }
                Ok(())
            }
            Err(e) => {
                lane.next_due.store(0, Ordering::Relaxed);
                Err(e)
            }
        }
    }
}

pub(super) async fn run(outbox: Outbox, session: Session) {
    let mut clients = session.watch_client();
    let lane = outbox.lane(session.no());
    let mut waiting = Waiting {
        schedule: Schedule::new(outbox.pace(session.no())),
        quick: Reader::new(record::QUEUE),
        slow: Reader::new(record::PACED),
    };
    let mut flights: JoinSet<Flight> = JoinSet::new();
    // Kept here and not in the attempt, so that one that panics does not leave its chat blocked.
    let mut aboard: HashMap<tokio::task::Id, (u64, String)> = HashMap::new();
    loop {
        for order in lane.take_orders() {
            match order {
                Order::Cancelled(seq) => {
                    // One that is in flight lands as gone, and is counted then.
                    let known = waiting.schedule.forget(seq);
                    if known || !aboard.values().any(|(flying, _)| *flying == seq) {
                        lane.depth.fetch_sub(1, Ordering::Relaxed);
                    }
                }
                Order::Requeued(message) => waiting.insert(*message),
                Order::Hurry(seq) => waiting.schedule.hurry(seq),
            }
        }
        let mut gathered = waiting.promote(&outbox, session.no(), &lane).await;
        if gathered.is_ok() {
            gathered = waiting.read(&outbox, session.no());
        }
        if let Err(e) = gathered {
            log::error!("session {}: its queue cannot be read: {e}", session.no());
            tokio::time::sleep(STORE_PAUSE).await;
            continue;
        }
        let schedule = &mut waiting.schedule;
        schedule.set_pace(outbox.pace(session.no()), Instant::now());
        let client = clients.borrow_and_update().clone();
        let mut wake_at = None;
        match &client {
            Some(client) => loop {
                match schedule.next(Instant::now(), ids::roll()) {
                    Next::Send(seq, chat) => {
                        let attempt =
                            fly(outbox.clone(), session.clone(), Arc::clone(client), clients.clone(), seq);
                        aboard.insert(flights.spawn(attempt).id(), (seq, chat));
                    }
                    Next::At(at) => {
                        wake_at = Some(at);
                        break;
                    }
                    Next::Idle => break,
                }
            },
            None if !schedule.is_empty() => {
                let left = expire(&outbox, &session, schedule).await;
                // A little late, so that it is too old then and not just about to be.
                wake_at = left.map(|left| Instant::now() + left.min(AGE_CHECK) + Duration::from_millis(5));
            }
            None => {}
        }
        let due = lane.next_due.load(Ordering::Relaxed);
        if due != i64::MAX {
            // Looked at again in between, because the clock may be set.
            let wait = Duration::from_millis(u64::try_from(due - now_ms()).unwrap_or(0)).min(AGE_CHECK);
            let at = Instant::now() + wait;
            wake_at = Some(wake_at.map_or(at, |wake: Instant| wake.min(at)));
        }
        let timer = async {
            match wake_at {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(landed) = flights.join_next_with_id(), if !flights.is_empty() => {
                let (id, flight) = match landed {
                    Ok((id, flight)) => (id, flight),
                    Err(e) => {
                        log::error!("session {}: an attempt to send panicked", session.no());
                        let outcome = Outcome::Again { error: "an attempt to send panicked".into(), counted: true };
                        (e.id(), Flight { message: None, outcome, claimed: true })
                    }
                };
                if let Some((seq, chat)) = aboard.remove(&id) {
                    land(&outbox, &session, schedule, seq, chat, flight).await;
                }
            }
            () = lane.wake.notified() => (waiting.quick.more, waiting.slow.more) = (true, true),
            changed = clients.changed() => if changed.is_err() { return },
            () = timer => {}
        }
    }
}

/// Records how an attempt ended.
async fn land(
    outbox: &Outbox,
    session: &Session,
    schedule: &mut Schedule,
    seq: u64,
    chat: String,
    flight: Flight,
) {
    let Flight { message, outcome, claimed } = flight;
    let settings = &outbox.shared.settings;
    let lane = outbox.lane(session.no());
    match outcome {
        Outcome::Gone => {
            schedule.done(&chat);
            lane.depth.fetch_sub(1, Ordering::Relaxed);
            lane.release(seq);
        }
        Outcome::Sent => {
            outbox.shared.counts.sent.fetch_add(1, Ordering::Relaxed);
            schedule.done(&chat);
            lane.depth.fetch_sub(1, Ordering::Relaxed);
            let at = now_ms();
            finish(outbox, &lane, seq, message.as_ref(), move |m| {
                course::sent(m, at);
            })
            .await;
        }
        Outcome::Failed(error) => {
            schedule.done(&chat);
            lane.depth.fetch_sub(1, Ordering::Relaxed);
            log::info!("session {}: message {seq} failed: {error}", session.no());
            fail(outbox, &lane, seq, message.as_ref(), error).await;
        }
        Outcome::Again { error, counted } => {
            let before = match &message {
                Some(message) => message.attempts,
                None => outbox.find_seq(seq).ok().flatten().map_or(0, |m| m.attempts),
            };
            let attempts = before + u32::from(counted);
            if attempts >= settings.attempts {
                schedule.done(&chat);
                lane.depth.fetch_sub(1, Ordering::Relaxed);
                log::info!(
                    "session {}: message {seq} failed after {attempts} attempts: {error}",
                    session.no()
                );
                let error = format!("given up after {attempts} attempts: {error}");
                fail(outbox, &lane, seq, message.as_ref(), error).await;
                return;
            }
            outbox.shared.counts.retried.fetch_add(1, Ordering::Relaxed);
            log::debug!("session {}: message {seq} is tried again: {error}", session.no());
            let pause = if counted { retry_pause(attempts, ids::roll()) } else { BROKEN_PAUSE };
            schedule.again(seq, chat, pause, Instant::now());
            if claimed {
                lane.release(seq);
            }
            if counted {
                let write = outbox.shared.store.write_soon(move |txn| {
                    record::update(txn, seq, |m| {
                        m.attempts = attempts;
                        m.error = Some(error.clone());
                    })?;
                    Ok(())
                });
                if let Err(e) = write.await {
                    log::warn!("an attempt could not be recorded: {e}");
                }
            }
        }
    }
}

async fn fail(outbox: &Outbox, lane: &Arc<Lane>, seq: u64, message: Option<&Message>, error: String) {
    outbox.shared.counts.failed.fetch_add(1, Ordering::Relaxed);
    finish(outbox, lane, seq, message, move |m| {
        if m.progress == Progress::Pending {
            m.progress = Progress::Failed;
            m.error = Some(error.clone());
        }
    })
    .await;
}

/// Records a final state. Losing this in a crash costs a resend under the same id, so it does not wait for the disk;
/// but a file is removed only after the disk knows that it is no longer needed. Until it is recorded, nobody else may
/// take the message.
async fn finish(
    outbox: &Outbox,
    lane: &Arc<Lane>,
    seq: u64,
    message: Option<&Message>,
    change: impl Fn(&mut Message) + Send + 'static,
) {
    let store = outbox.shared.store.clone();
    if message.is_none_or(|m| m.file_id().is_none()) {
        let write =
            store.write_soon(move |txn| record::settle(txn, seq, Afterwards::Keep, &change).map(|_| ()));
        if let Err(e) = write.await {
            log::warn!("message {seq}: its state could not be recorded: {e}");
        }
        lane.release(seq);
        return;
    }
    let file = message.and_then(|m| m.file_id().map(str::to_owned));
    let (outbox, lane) = (outbox.clone(), Arc::clone(lane));
    // Not awaited by the pump: the next message need not wait for this one's bookkeeping.
    tokio::spawn(async move {
        let settled = store.write(move |txn| record::settle(txn, seq, Afterwards::Keep, &change)).await;
        lane.release(seq);
        match settled {
            Ok(settled) => {
                // Writes are done in order: a receipt that settled the message first is on the disk by now.
                let freed = file.filter(|file| outbox.freed().remove(file));
                if let Some(file) = settled.and_then(|settled| settled.file).or(freed) {
                    outbox.let_go(&file).await;
                }
            }
            Err(e) => log::warn!("message {seq}: its state could not be recorded: {e}"),
        }
    });
}

/// While the session is offline, gives up what has grown too old. How long until the next message does.
async fn expire(outbox: &Outbox, session: &Session, schedule: &mut Schedule) -> Option<Duration> {
    let max_age = outbox.shared.settings.max_age;
    let mut next: Option<Duration> = None;
    let lane = outbox.lane(session.no());
    for (seq, _) in schedule.waiting() {
        let Ok(Some(message)) = outbox.find_seq(seq) else { continue };
        if message.progress != Progress::Pending {
            schedule.forget(seq);
            lane.depth.fetch_sub(1, Ordering::Relaxed);
        } else if let Some(left) = time_left(&message, max_age) {
            next = Some(next.map_or(left, |next| next.min(left)));
        } else {
            schedule.forget(seq);
            lane.depth.fetch_sub(1, Ordering::Relaxed);
            fail(outbox, &lane, seq, Some(&message), too_late(max_age)).await;
        }
    }
    next
}
