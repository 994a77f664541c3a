//! Sends what one session has waiting.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinSet;
use whatsapp_rust::{Client, Jid, SendOptions};

use super::record::{self, Message, Progress};
use super::schedule::{Next, Schedule, refusal_is_final, retry_pause};
use super::{Content, Outbox, build};
use crate::clock::now_ms;
use crate::ids;
use crate::session::{Ack, Lookup, Session};
use crate::store::{StoreError, json};

/// Messages known in memory; the rest waits in the store.
const WINDOW: usize = 256;
/// While nothing can be sent, how often messages that grew too old are looked for.
const AGE_CHECK: Duration = Duration::from_secs(60);
/// Pause after the store failed.
const STORE_PAUSE: Duration = Duration::from_secs(5);

/// Pause after an attempt that a broken connection ended; the client is usually gone before it is over.
const BROKEN_PAUSE: Duration = Duration::from_secs(1);

/// How an attempt ended.
enum Outcome {
    /// WhatsApp's server acknowledged it.
    Sent,
    /// It will never go out.
    Failed(String),
    /// To be tried again. Not `counted` when the connection broke, which says nothing of the message.
    Again { error: String, counted: bool },
    /// It was finished meanwhile, or is gone.
    Gone,
}

struct Flight {
    message: Option<Message>,
    outcome: Outcome,
}

pub(super) async fn run(outbox: Outbox, session: Session) {
    let mut clients = session.watch_client();
    let lane = outbox.lane(session.no());
    let mut schedule = Schedule::new(outbox.shared.settings.pace);
    let mut flights: JoinSet<Flight> = JoinSet::new();
    // Kept here and not in the attempt, so that one that panics does not leave its chat blocked.
    let mut aboard: HashMap<tokio::task::Id, (u64, String)> = HashMap::new();
    let mut cursor = 0;
    // Whether the store may hold messages beyond the cursor.
    let mut more = true;
    loop {
        if more && schedule.len() < WINDOW {
            match load(&outbox, session.no(), cursor, WINDOW - schedule.len()) {
                Ok(found) => {
                    more = found.len() >= WINDOW - schedule.len();
                    for (seq, chat) in found {
                        cursor = seq;
                        schedule.push(seq, chat);
                    }
                }
                Err(e) => {
                    log::error!("session {}: its queue cannot be read: {e}", session.no());
                    tokio::time::sleep(STORE_PAUSE).await;
                    continue;
                }
            }
        }
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
                expire(&outbox, &session, &mut schedule).await;
                wake_at = Some(Instant::now() + AGE_CHECK);
            }
            None => {}
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
                        (e.id(), Flight { message: None, outcome })
                    }
                };
                if let Some((seq, chat)) = aboard.remove(&id) {
                    land(&outbox, &session, &mut schedule, seq, chat, flight).await;
                }
            }
            () = lane.wake.notified() => more = true,
            changed = clients.changed() => if changed.is_err() { return },
            () = timer => {}
        }
    }
}

fn load(outbox: &Outbox, session_no: u32, after: u64, most: usize) -> Result<Vec<(u64, String)>, StoreError> {
    outbox.shared.store.read(|txn| {
        let queue = txn.open_table(record::QUEUE)?;
        let messages = txn.open_table(record::MESSAGES)?;
        let from = record::queue_key(session_no, after + 1);
        let to = record::queue_key(session_no, u64::MAX);
        let mut found = Vec::new();
        for row in queue.range(from.as_slice()..=to.as_slice())?.take(most) {
            let Some(seq) = record::seq_of_queue_key(row?.0.value()) else { continue };
            if let Some(row) = messages.get(seq)? {
                let message: Message = json::decode("outbox", row.value())?;
                found.push((seq, message.to));
            }
        }
        Ok(found)
    })
}

fn read(outbox: &Outbox, seq: u64) -> Result<Option<Message>, StoreError> {
    outbox.shared.store.read(|txn| {
        let row = txn.open_table(record::MESSAGES)?.get(seq)?;
        row.map(|row| json::decode("outbox", row.value())).transpose()
    })
}

/// One attempt to send one message.
async fn fly(
    outbox: Outbox,
    session: Session,
    client: Arc<Client>,
    clients: watch::Receiver<Option<Arc<Client>>>,
    seq: u64,
) -> Flight {
    let mut flight = Flight { message: None, outcome: Outcome::Gone };
    match read(&outbox, seq) {
        Ok(Some(message)) => {
            if message.progress == Progress::Pending {
                flight.outcome = attempt(&outbox, &session, &client, clients, &message).await;
            }
            flight.message = Some(message);
        }
        Ok(None) => {}
        Err(e) => flight.outcome = Outcome::Again { error: e.to_string(), counted: false },
    }
    flight
}

async fn attempt(
    outbox: &Outbox,
    session: &Session,
    client: &Arc<Client>,
    mut clients: watch::Receiver<Option<Arc<Client>>>,
    message: &Message,
) -> Outcome {
    let settings = &outbox.shared.settings;
    if too_old(message, settings.max_age) {
        return Outcome::Failed(format!("not sent within {} s", settings.max_age.as_secs()));
    }
    let number = session.snapshot().number;
    if message.from.is_some() && number.is_some() && message.from != number {
        // Whoever asked for it named the old number, or thinks of it.
        return Outcome::Failed("the session was paired with another phone number meanwhile".into());
    }
    let mut to = message.to.clone();
    if !message.checked
        && let Some(number) = to.strip_suffix("@s.whatsapp.net")
    {
        match session.lookup(number).await {
            Ok(Lookup::Registered(jid)) => to = jid,
            Ok(Lookup::Unregistered) => return Outcome::Failed("the number is not on WhatsApp".into()),
            Err(e) => return Outcome::Again { error: e.to_string(), counted: client.is_connected() },
        }
    }
    let Ok(jid) = to.parse::<Jid>() else {
        return Outcome::Failed("the recipient's JID is not valid".into());
    };
    let (file, scratch) = match outbox.shared.spool.path(&message.id) {
        Ok(file) => (file, outbox.shared.spool.scratch().to_owned()),
        Err(e) => return Outcome::Failed(e.to_string()),
    };
    let built = match build::message(client, &message.content, file, scratch).await {
        Ok(built) => built,
        Err(e) if e.is_final() => return Outcome::Failed(e.to_string()),
        Err(e) => return Outcome::Again { error: e.to_string(), counted: client.is_connected() },
    };
    let mut ack = session.acks().expect(&message.message_id);
    let options = SendOptions::default().with_message_id(message.message_id.clone());
    if let Err(e) = client.send_message_with_options(jid, built, options).await {
        return Outcome::Again { error: e.to_string(), counted: client.is_connected() };
    }
    let lost = async {
        // The client is taken away as soon as its connection is given up.
        while clients.changed().await.is_ok() {
            if !clients.borrow_and_update().as_ref().is_some_and(|now| Arc::ptr_eq(now, client)) {
                return;
            }
        }
    };
    tokio::select! {
        ack = ack.wait() => match ack {
            Some(Ack::Accepted) => Outcome::Sent,
            Some(Ack::Refused(code)) if refusal_is_final(&code) => {
                Outcome::Failed(format!("WhatsApp refused the message (code {code})"))
            }
            Some(Ack::Refused(code)) => {
                Outcome::Again { error: format!("WhatsApp refused the message (code {code})"), counted: true }
            }
            None => Outcome::Again { error: "the connection broke before WhatsApp's ack".into(), counted: false },
        },
        () = lost => Outcome::Again { error: "the connection broke before WhatsApp's ack".into(), counted: false },
        () = tokio::time::sleep(settings.ack_timeout) => Outcome::Again {
            error: format!("WhatsApp did not acknowledge within {} s", settings.ack_timeout.as_secs()),
            counted: true,
        },
    }
}

fn too_old(message: &Message, max_age: Duration) -> bool {
    let age = now_ms().saturating_sub(message.accepted_at_ms);
    u64::try_from(age).is_ok_and(|age| Duration::from_millis(age) > max_age)
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
    let Flight { message, outcome } = flight;
    let settings = &outbox.shared.settings;
    let lane = outbox.lane(session.no());
    match outcome {
        Outcome::Gone => {
            schedule.done(&chat);
            lane.depth.fetch_sub(1, Ordering::Relaxed);
        }
        Outcome::Sent => {
            schedule.done(&chat);
            lane.depth.fetch_sub(1, Ordering::Relaxed);
            let at = now_ms();
            finish(outbox, seq, message.as_ref(), move |m| {
                m.progress = m.progress.max(Progress::Sent);
                // A receipt that was quicker left WhatsApp's time, in whole seconds; this is the box's own.
                m.sent_at_ms = Some(at);
                m.error = None;
            })
            .await;
        }
        Outcome::Failed(error) => {
            schedule.done(&chat);
            lane.depth.fetch_sub(1, Ordering::Relaxed);
            log::info!("session {}: message {seq} failed: {error}", session.no());
            fail(outbox, seq, message.as_ref(), error).await;
        }
        Outcome::Again { error, counted } => {
            let before = match &message {
                Some(message) => message.attempts,
                None => read(outbox, seq).ok().flatten().map_or(0, |m| m.attempts),
            };
            let attempts = before + u32::from(counted);
            if attempts >= settings.attempts {
                schedule.done(&chat);
                lane.depth.fetch_sub(1, Ordering::Relaxed);
                log::info!(
                    "session {}: message {seq} failed after {attempts} attempts: {error}",
                    session.no()
                );
                fail(outbox, seq, message.as_ref(), format!("given up after {attempts} attempts: {error}"))
                    .await;
                return;
            }
            log::debug!("session {}: message {seq} is tried again: {error}", session.no());
            let pause = if counted { retry_pause(attempts, ids::roll()) } else { BROKEN_PAUSE };
            schedule.again(seq, chat, pause, Instant::now());
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

async fn fail(outbox: &Outbox, seq: u64, message: Option<&Message>, error: String) {
    finish(outbox, seq, message, move |m| {
        if m.progress == Progress::Pending {
            m.progress = Progress::Failed;
            m.error = Some(error.clone());
        }
    })
    .await;
}

/// Records a final state. Losing this in a crash costs a resend under the same id, so it does not wait for the disk;
/// but a file is removed only after the disk knows that it is no longer needed.
async fn finish(
    outbox: &Outbox,
    seq: u64,
    message: Option<&Message>,
    change: impl Fn(&mut Message) + Send + 'static,
) {
    let file = message.filter(|m| matches!(m.content, Content::Media { .. })).map(|m| m.id.clone());
    let store = outbox.shared.store.clone();
    match file {
        None => {
            let write = store.write_soon(move |txn| record::update(txn, seq, &change).map(|_| ()));
            if let Err(e) = write.await {
                log::warn!("message {seq}: its state could not be recorded: {e}");
            }
        }
        Some(id) => {
            let outbox = outbox.clone();
            // Not awaited by the pump: the next message need not wait for this one's bookkeeping.
            tokio::spawn(async move {
                match store.write(move |txn| record::update(txn, seq, &change).map(|_| ())).await {
                    Ok(()) => outbox.remove_file(&id).await,
                    Err(e) => log::warn!("message {seq}: its state could not be recorded: {e}"),
                }
            });
        }
    }
}

/// While the session is offline, gives up what has grown too old.
async fn expire(outbox: &Outbox, session: &Session, schedule: &mut Schedule) {
    let max_age = outbox.shared.settings.max_age;
    let lane = outbox.lane(session.no());
    for (seq, _) in schedule.waiting() {
        let Ok(Some(message)) = read(outbox, seq) else { continue };
        if message.progress != Progress::Pending {
            schedule.forget(seq);
            lane.depth.fetch_sub(1, Ordering::Relaxed);
        } else if too_old(&message, max_age) {
            schedule.forget(seq);
            lane.depth.fetch_sub(1, Ordering::Relaxed);
            fail(outbox, seq, Some(&message), format!("not sent within {} s", max_age.as_secs())).await;
        } else {
            // The rest was accepted later.
            break;
        }
    }
}
