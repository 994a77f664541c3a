//! The task of one webhook: reads the journal from its cursor and delivers.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::AsyncReadExt;
use tokio::sync::watch;
use ureq::Agent;

use super::deliver::{self, Reply};
use super::format::{self, Answer, Context, Format};
use super::record::{self, Attempt, Change, Dead, Hook};
use super::schedule::{Effect, Lane, Outcome, Step};
use super::{Entry, Shared, Wish, sign};
use crate::clock::{ClockState, now_ms};
use crate::ids;
use crate::inbox::{Body, Event, Kind};
use crate::media;
use crate::outbox::{Body as OutBody, Context as OutContext, Draft, Options, Reference, Target};
use crate::store::StoreError;

/// Events read from the journal at once.
const PAGE: usize = 32;
/// Events passed over after which the cursor is stored although nothing was delivered.
const IDLE_STRIDE: u64 = 500;
/// Pause after the store failed.
const STORE_PAUSE: Duration = Duration::from_secs(5);
/// Largest picture that goes inside a body, in bytes.
const MAX_INLINE: u64 = 2 * 1024 * 1024;

/// What is next for the receiver.
enum Work {
    Event(Box<Event>),
    Gap(u64, u64),
}

struct Worker {
    shared: Arc<Shared>,
    entry: Arc<Entry>,
    agent: Agent,
    lane: Lane,
    cursor: u64,
    /// The cursor as the store has it.
    stored: u64,
    page: std::collections::VecDeque<Event>,
}

/// Runs until the webhook is deleted (the task is aborted) or the gateway closes.
pub(super) async fn run(shared: Arc<Shared>, entry: Arc<Entry>) {
    let no = entry.hook.borrow().no;
    let (cursor, parked) = loop {
        match record::standing(&shared.store, no) {
            Ok(standing) => break standing,
            Err(StoreError::Closed) => return,
            Err(e) => log::error!("webhook {no}: its place cannot be read: {e}"),
        }
        tokio::time::sleep(STORE_PAUSE).await;
    };
    let agent = deliver::agent(&shared.fetch);
    let lane = Lane::new(shared.settings.retry_base, shared.settings.give_up, parked);
    let page = std::collections::VecDeque::new();
    let mut worker = Worker { shared, entry, agent, lane, cursor, stored: cursor, page };
    while let Err(e) = worker.work().await {
        if matches!(e, StoreError::Closed) {
            return;
        }
        log::error!("webhook {no}: {e}");
        tokio::time::sleep(STORE_PAUSE).await;
    }
}

impl Worker {
    async fn work(&mut self) -> Result<(), StoreError> {
        let entry = Arc::clone(&self.entry);
        let shared = Arc::clone(&self.shared);
        let mut head = shared.inbox.head();
        let mut changes = entry.hook.subscribe();
        let mut clock = shared.clock.clone();
        let mut known = *clock.borrow();
        loop {
            let state = *clock.borrow_and_update();
            if state.is_set() && known == ClockState::Doubtful {
                self.lane.clock_was_set(now_ms());
            }
            known = state;
            let hook = changes.borrow_and_update().clone();
            if head.borrow_and_update().is_none() {
                return self.store_cursor().await;
            }
            for wish in entry.take_wishes() {
                self.grant(&hook, wish).await?;
            }
            self.publish();
            let now = now_ms();
            // The signature's time and the receiver's certificate need a clock that can be right.
            let waits = !hook.enabled || state == ClockState::Unset;
            let step = if waits { Step::Rest(i64::MAX) } else { self.lane.next(now) };
            let wait = match step {
                Step::Parked(seq) => {
                    match self.shared.inbox.get(seq)? {
                        Some(event) => self.attempt(&hook, Work::Event(Box::new(event))).await?,
                        None => self.forget(&hook, seq).await?,
                    }
                    continue;
                }
                Step::Next(until) => match self.find(&hook)? {
                    Some(work) => {
                        self.attempt(&hook, work).await?;
                        continue;
                    }
                    None => until,
                },
                Step::Rest(until) => Some(until),
            };
            if self.cursor - self.stored >= IDLE_STRIDE {
                self.store_cursor().await?;
            }
            let resting = matches!(step, Step::Rest(_));
            tokio::select! {
                () = sleep_until(wait) => {}
                () = entry.wake.notified() => {}
                _ = changes.changed() => self.lane.wake(),
                Ok(()) = clock.changed() => {}
                changed = wait_for_more(&mut head, resting) => if !changed { return self.store_cursor().await },
            }
        }
    }

    /// The next event that the webhook wants.
    fn find(&mut self, hook: &Hook) -> Result<Option<Work>, StoreError> {
        loop {
            while let Some(event) = self.page.front() {
                if hook.wants(event) {
                    return Ok(Some(Work::Event(Box::new(event.clone()))));
                }
                self.cursor = event.seq;
                self.page.pop_front();
            }
            let page = self.shared.inbox.page(self.cursor, PAGE)?;
            if let Some((first, last)) = page.gap {
                return Ok(Some(Work::Gap(first, last)));
            }
            if page.events.is_empty() {
                return Ok(None);
            }
            self.page = page.events.into();
        }
    }

    fn pass(&mut self, seq: u64) -> Option<u64> {
        if self.page.front().is_some_and(|event| event.seq == seq) {
            self.page.pop_front();
        }
        if seq <= self.cursor {
            return None;
        }
        (self.cursor, self.stored) = (seq, seq);
        Some(seq)
    }

    async fn attempt(&mut self, hook: &Hook, work: Work) -> Result<(), StoreError> {
        let (seq, id, kind, recorded_ms, bodies) = match &work {
            Work::Event(event) => {
                let bodies = self.bodies(hook, event).await;
                let bodies = bodies.iter().map(|body| body.to_string().into_bytes()).collect();
                (event.seq, event.id.clone(), event.kind().as_str(), event.recorded_at_ms, bodies)
            }
            Work::Gap(first, last) => {
                log::warn!(
                    "webhook {}: events {first} to {last} are gone before it could take them",
                    hook.no
                );
                let bodies: Vec<Vec<u8>> = match hook.format {
                    Format::Kurir => vec![format::kurir_gap(*first, *last).to_string().into_bytes()],
                    Format::Fonnte | Format::Mpwa => Vec::new(),
                };
                (*last, format!("gap-{last}"), "gap", now_ms(), bodies)
            }
        };
        let attempt = self.lane.attempts(seq) + 1;
        if bodies.is_empty() {
            // The format has no word for it: no delivery, no log.
            self.lane.forget(seq);
            let unpark = (seq <= self.cursor).then_some(seq);
            if unpark.is_some() || matches!(work, Work::Gap(..)) {
                let cursor = self.pass(seq);
                record::record(&self.shared.store, hook.no, Change { cursor, unpark, ..Change::default() })
                    .await?;
            } else {
                self.page.pop_front();
                self.cursor = seq;
            }
            return Ok(());
        }
        let at_ms = now_ms();
        let mut reply = None;
        for body in bodies {
            let answer = self.call(hook, &id, kind, attempt, body).await;
            let delivered = answer.outcome == Outcome::Delivered;
            reply = Some(answer);
            if !delivered {
                break;
            }
        }
        let Some(reply) = reply else { return Ok(()) };
        if reply.outcome == Outcome::Delivered
            && hook.format == Format::Mpwa
            && let Work::Event(event) = &work
        {
            self.answer(hook, event, &reply.body).await;
        }
        let was_parked = seq <= self.cursor;
        let effect = self.lane.settle(seq, recorded_ms, reply.outcome, now_ms(), ids::roll());
        self.count(&reply);
        let mut change = Change::default();
        let result = match effect {
            Effect::Done => "delivered",
            Effect::Parked(parked) => {
                change.park = Some((seq, parked));
                "retry"
            }
            Effect::Held => "retry",
            Effect::Dead { attempts, first_ms } => {
                let error = reply.error.clone().unwrap_or_default();
                let kind = kind.to_owned();
                let dead = Dead { event: id.clone(), kind, attempts, first_ms, at_ms: now_ms(), error };
                log::warn!("webhook {}: an event was given up after {attempts} attempts", hook.no);
                change.dead = Some((seq, dead));
                "dead"
            }
        };
        if was_parked && change.park.is_none() {
            change.unpark = Some(seq);
        }
        if result != "retry" || change.park.is_some() {
            change.cursor = self.pass(seq);
        }
        change.log = Some(Attempt {
            at_ms,
            seq,
            event: id,
            kind: kind.to_owned(),
            attempt,
            status: reply.status,
            took_ms: u64::try_from(reply.took.as_millis()).unwrap_or(u64::MAX),
            result: result.to_owned(),
            error: reply.error,
        });
        record::record(&self.shared.store, hook.no, change).await
    }

    async fn call(&self, hook: &Hook, id: &str, kind: &str, attempt: u32, body: Vec<u8>) -> Reply {
        let at_s = now_ms() / 1000;
        let headers = vec![
            (sign::HEADER, sign::signature(&hook.secret, at_s, &body)),
            ("x-kurir-event", kind.to_owned()),
            ("x-kurir-delivery", id.to_owned()),
            ("x-kurir-webhook", hook.id.clone()),
            ("x-kurir-attempt", attempt.to_string()),
        ];
        let timeout = Duration::from_secs(hook.timeout_s.into());
        let wants_answer = hook.format == Format::Mpwa;
        deliver::post(&self.agent, hook.url.clone(), headers, body, timeout, wants_answer).await
    }

    /// The event in the webhook's format.
    async fn bodies(&self, hook: &Hook, event: &Event) -> Vec<serde_json::Value> {
        let shared = &self.shared;
        let session = shared.registry.get(&event.origin.session);
        let mut context = Context {
            device: session.as_ref().and_then(|s| s.snapshot().number).unwrap_or_default(),
            media_url: event.media.as_ref().map(|_| shared.links.link(&event.id, now_ms() / 1000)),
            ..Context::default()
        };
        if let (Format::Fonnte, Body::Receipt(receipt)) = (hook.format, &event.body) {
            for id in &receipt.message_ids {
                match shared.outbox.find(id) {
                    Ok(Some(message)) => context.outbox_ids.push((id.clone(), message.seq)),
                    Ok(None) => {}
                    Err(e) => log::warn!("webhook {}: {e}", hook.no),
                }
            }
        }
        if hook.format == Format::Mpwa && event.kind() == Kind::Media {
            context.image = self.picture(event).await;
        }
        format::render(hook.format, event, &context)
    }

    /// A small picture, Base64. None is no error: the link is in the body as well.
    async fn picture(&self, event: &Event) -> Option<String> {
        let Body::Message(message) = &event.body else { return None };
        let small = event.media.as_ref().is_some_and(|media| media.length <= MAX_INLINE);
        if message.kind != "image" || !small {
            return None;
        }
        let session = self.shared.registry.get(&event.origin.session)?;
        let file = match self.shared.received.file(event, Some(&session)).await {
            Ok((file, _)) => file,
            Err(e) => {
                log::info!("session {}: a picture is not in its webhook: {e}", session.no());
                return None;
            }
        };
        let mut bytes = Vec::new();
        tokio::fs::File::from_std(file).take(MAX_INLINE).read_to_end(&mut bytes).await.ok()?;
        Some(STANDARD.encode(bytes))
    }

    /// Sends what the receiver answered.
    async fn answer(&self, hook: &Hook, event: &Event, body: &[u8]) {
        let Some(answer) = format::answer(body) else { return };
        let Some(session) = self.shared.registry.get(&event.origin.session) else { return };
        let Some(to) = event.chat_id.clone() else { return };
        let Body::Message(asked) = &event.body else { return };
        let quoted = match &answer {
            Answer::Text { quoted, .. } | Answer::Media { quoted, .. } => *quoted,
        };
        let quoted = quoted.then(|| Target {
            id: asked.message_id.clone(),
            from_me: false,
            author: event.person.chat_id(),
            text: asked.text.clone(),
        });
        let body = match answer {
            Answer::Text { text, .. } => OutBody::Text(text),
            Answer::Media { kind, url, caption, filename, .. } => {
                match media::fetch(&url, &self.shared.fetch, &self.shared.spool).await {
                    Ok(mut file) => {
                        if let Some(filename) = filename {
                            file.filename = filename;
                        }
                        OutBody::Media { file, media: kind, caption }
                    }
                    Err(e) => {
                        log::warn!("webhook {}: its answer was not sent: {e}", hook.no);
                        return;
                    }
                }
            }
        };
        let options =
            Options { context: OutContext { quoted, ..OutContext::default() }, ..Options::default() };
        // A call that is made again after a crash, and answered again, sends no second message.
        let reference =
            Reference { account: hook.account.clone(), id: format!("webhook {} {}", hook.id, event.id) };
        let drafts = vec![Draft { to, checked: true, body, options }];
        if let Err(e) = self.shared.outbox.accept_batch(&session, drafts, Some(reference)).await {
            log::warn!("webhook {}: its answer was not sent: {e}", hook.no);
        }
    }

    /// An event that was set aside and that the journal no longer has.
    async fn forget(&mut self, hook: &Hook, seq: u64) -> Result<(), StoreError> {
        self.lane.forget(seq);
        let log = Attempt {
            at_ms: now_ms(),
            seq,
            event: String::new(),
            kind: "gap".into(),
            attempt: 0,
            status: None,
            took_ms: 0,
            result: "gap".into(),
            error: Some("the event is no longer kept".into()),
        };
        let change = Change { unpark: Some(seq), log: Some(log), ..Change::default() };
        record::record(&self.shared.store, hook.no, change).await
    }

    async fn grant(&mut self, hook: &Hook, wish: Wish) -> Result<(), StoreError> {
        match wish {
            Wish::Events(seqs) => {
                let now = now_ms();
                for seq in seqs {
                    // What lies ahead of the cursor comes by itself.
                    if seq > self.cursor || !self.lane.request(seq, now) {
                        continue;
                    }
                    let parked = super::schedule::Parked { attempts: 0, first_ms: now, next_ms: now };
                    let change = Change { park: Some((seq, parked)), ..Change::default() };
                    record::record(&self.shared.store, hook.no, change).await?;
                }
            }
            Wish::From(seq) => {
                self.page.clear();
                self.cursor = seq.saturating_sub(1);
                self.store_cursor().await?;
            }
        }
        self.lane.wake();
        Ok(())
    }

    async fn store_cursor(&mut self) -> Result<(), StoreError> {
        if self.cursor == self.stored {
            return Ok(());
        }
        let no = self.entry.hook.borrow().no;
        self.stored = self.cursor;
        record::record(&self.shared.store, no, Change { cursor: Some(self.cursor), ..Change::default() })
            .await
    }

    fn count(&self, reply: &Reply) {
        self.entry.standing.send_modify(|standing| {
            match reply.outcome {
                Outcome::Delivered => standing.delivered += 1,
                _ => standing.failed += 1,
            }
            standing.last_status = reply.status;
            standing.last_error.clone_from(&reply.error);
            standing.last_ms = Some(now_ms());
        });
    }

    fn publish(&self) {
        let (cursor, parked, failing_since) = (self.cursor, self.lane.parked(), self.lane.failing_since());
        self.entry.standing.send_modify(|standing| {
            (standing.cursor, standing.parked, standing.failing_since_ms) = (cursor, parked, failing_since);
        });
    }
}

async fn sleep_until(at_ms: Option<i64>) {
    match at_ms.filter(|at| *at < i64::MAX) {
        Some(at) => {
            let left = u64::try_from(at.saturating_sub(now_ms())).unwrap_or(0);
            tokio::time::sleep(Duration::from_millis(left + 1)).await;
        }
        None => std::future::pending().await,
    }
}

/// Waits for the journal to grow, or only for its end while nothing would be sent anyhow. `false`: it has ended.
async fn wait_for_more(head: &mut watch::Receiver<Option<u64>>, resting: bool) -> bool {
    if resting {
        // An error means that the journal is gone.
        let _ = head.wait_for(Option::is_none).await;
        return false;
    }
    head.changed().await.is_ok()
}
