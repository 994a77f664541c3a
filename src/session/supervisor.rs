//! Carries out what [`State`](super::state::State) decides: builds and stops clients, waits, wipes credentials, and
//! publishes what is known.

mod credentials;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::{mpsc, oneshot, watch};
use whatsapp_rust::pair_code::PairCodeOptions;
use whatsapp_rust::{Client, NodeFilter};

use super::acks::Acks;
use super::driver::{ClientSetup, Run, Signal, save_device};
use super::record::SessionRecord;
use super::registry::PairCodeError;
use super::state::{Effect, Event, Phase, State};
use super::{PairingCode, Reason, ReceiptEvent, Snapshot, Status, Versions};
use super::{inbound, network};
use crate::clock::{ClockState, now_ms};
use crate::ids;
use crate::store::Store;

/// Life-deciding events of one client; a handful in its whole life.
const SIGNALS: usize = 64;

/// What a person or an application wants of a session.
pub(super) enum Command {
    /// Dial now, or show fresh QR codes.
    Reconnect,
    /// Unlink, forget, pair again.
    Repair,
    /// Get a pairing code for this phone number.
    PairCode { phone: String, reply: oneshot::Sender<Result<String, PairCodeError>> },
    /// End, keeping the credentials.
    Stop,
    /// Unlink, forget, end.
    Delete,
    /// Show that commands are still taken.
    Ping(oneshot::Sender<()>),
    /// Take nothing more until the other end is dropped: how a test makes a supervisor hang.
    #[cfg(feature = "sim")]
    Stall(oneshot::Receiver<()>),
}

type PairCodeReply = (String, oneshot::Sender<Result<String, PairCodeError>>);

/// The task of one session.
pub(super) struct Supervisor {
    record: SessionRecord,
    state: State,
    store: Store,
    setup: ClientSetup,
    versions: Arc<Versions>,
    receipts: mpsc::Sender<ReceiptEvent>,
    acks: Acks,
    commands: mpsc::Receiver<Command>,
    snapshot: watch::Sender<Snapshot>,
    client: watch::Sender<Option<Arc<Client>>>,
    run: Option<Run>,
    /// A channel per run, so that no word of an earlier client is taken for the present one's.
    signals: (mpsc::Sender<Signal>, mpsc::Receiver<Signal>),
    qr: Option<PairingCode>,
    pair_code: Option<PairingCode>,
    /// All QR codes were shown, but the client stays for the pairing code that somebody may be typing.
    waiting_for_code: bool,
    /// A pairing code that was asked for before a client could ask for it.
    wanted_code: Option<PairCodeReply>,
    refresh_version: bool,
    had_network: bool,
    deleting: bool,
    finished: bool,
}

impl Supervisor {
    #[allow(clippy::type_complexity, reason = "two watch ends for the one caller")]
    pub(super) fn new(
        record: SessionRecord,
        store: Store,
        setup: ClientSetup,
        versions: Arc<Versions>,
        receipts: mpsc::Sender<ReceiptEvent>,
        acks: Acks,
        commands: mpsc::Receiver<Command>,
    ) -> (Supervisor, watch::Receiver<Snapshot>, watch::Receiver<Option<Arc<Client>>>) {
        let state = State::new(record.paired);
        let (snapshot, snapshots) = watch::channel(Snapshot {
            status: Status::Connecting,
            reason: Reason::None,
            paired: record.paired,
            qr: None,
            pair_code: None,
            number: record.number.clone(),
            lid: record.lid.clone(),
            push_name: record.push_name.clone(),
            retry_at: None,
            banned_until: None,
        });
        let (client, clients) = watch::channel(None);
        let supervisor = Supervisor {
            record,
            state,
            store,
            setup,
            versions,
            receipts,
            acks,
            commands,
            snapshot,
            client,
            run: None,
            signals: mpsc::channel(SIGNALS),
            qr: None,
            pair_code: None,
            waiting_for_code: false,
            wanted_code: None,
            refresh_version: false,
            had_network: true,
            deleting: false,
            finished: false,
        };
        (supervisor, snapshots, clients)
    }

    /// Runs until the session is stopped or deleted.
    pub(super) async fn run(mut self) {
        let ban_left = self
            .record
            .banned_until_ms
            .and_then(|until| u64::try_from(until - now_ms()).ok())
            .filter(|left| *left > 0)
            .map(Duration::from_millis);
        let mut clock = self.setup.clock.clone();
        if *clock.borrow_and_update() == ClockState::Unset {
            self.state.hold();
        }
        // Nothing that can be set is left to wait for.
        let mut clock_moves = !clock.borrow().is_set();
        self.take(Event::Start { ban_left }).await;
        while !self.finished {
            let deadline = self.state.deadline().map(tokio::time::Instant::from_std);
            let timer = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let lost_network =
                matches!(self.state.phase, Phase::Waiting { .. }) && self.state.reason == Reason::Network;
            let probe = async {
                if lost_network {
                    tokio::time::sleep(network::PROBE_EVERY).await;
                } else {
                    std::future::pending::<()>().await;
                }
            };
            let code_left = self.waiting_for_code.then(|| {
                let expires = self.pair_code.as_ref().map(|code| code.expires);
                expires.and_then(|at| at.duration_since(SystemTime::now()).ok()).unwrap_or_default()
            });
            let code_over = async {
                match code_left {
                    Some(left) => tokio::time::sleep(left).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => self.command(command).await,
                    // Every handle is gone: nobody can stop this session any more, so it stops itself.
                    None => self.take(Event::Stop).await,
                },
                Some(signal) = self.signals.1.recv() => self.signal(signal).await,
                () = timer => self.take(Event::Timer).await,
                () = code_over => {
                    self.waiting_for_code = false;
                    self.take(Event::QrExhausted).await;
                }
                () = probe => self.probe_network().await,
                changed = clock.changed(), if clock_moves => {
                    let state = *clock.borrow_and_update();
                    clock_moves = changed.is_ok() && !state.is_set();
                    if state != ClockState::Unset {
                        self.take(Event::ClockReady).await;
                    }
                    if state.is_set() {
                        // Whoever dialled with a wrong clock failed for it.
                        self.take(Event::NetworkUp).await;
                    }
                }
            }
        }
    }

    async fn probe_network(&mut self) {
        let have = network::has_default_route();
        let back = have && !self.had_network;
        self.had_network = have;
        if back {
            self.take(Event::NetworkUp).await;
        }
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::Reconnect => self.take(Event::Reconnect).await,
            Command::Repair => self.take(Event::Repair).await,
            Command::Stop => self.take(Event::Stop).await,
            Command::Delete => {
                self.deleting = true;
                self.take(Event::Stop).await;
            }
            Command::Ping(reply) => {
                let _ = reply.send(());
            }
            #[cfg(feature = "sim")]
            Command::Stall(until) => {
                let _ = until.await;
            }
            Command::PairCode { phone, reply } => {
                if self.record.paired {
                    let _ = reply.send(Err(PairCodeError::AlreadyPaired));
                    return;
                }
                self.wanted_code = Some((phone, reply));
                match self.state.phase {
                    Phase::Pairing => self.ask_pair_code(),
                    Phase::Idle | Phase::Waiting { .. } => self.take(Event::Reconnect).await,
                    _ => {}
                }
            }
        }
    }

    /// Only a client that already shows QR codes can ask for a pairing code.
    fn ask_pair_code(&mut self) {
        let (Some(run), Some((phone, reply))) = (&self.run, self.wanted_code.take()) else { return };
        let client = Arc::clone(&run.client);
        tokio::spawn(async move {
            // Whoever asks again wants a fresh code; the phone accepts only the latest.
            client.cancel_pair_code().await;
            // The server takes names of operating systems only, not the name that the device list shows later.
            let display_os = Some("Linux".to_owned());
            let options = PairCodeOptions { phone_number: phone, display_os, ..PairCodeOptions::default() };
            let answer = client.pair_with_code(options).await;
            let _ = reply.send(answer.map_err(|e| PairCodeError::Refused(e.to_string())));
        });
    }

    async fn signal(&mut self, signal: Signal) {
        let expires = |ttl: Duration| SystemTime::now() + ttl;
        let event = match signal {
            Signal::Qr { code, ttl } => {
                // Whatever was remembered: a client that shows a QR has no credentials.
                self.record.paired = false;
                self.qr = Some(PairingCode { text: code, expires: expires(ttl) });
                self.take(Event::Qr).await;
                return self.ask_pair_code();
            }
            Signal::PairCode { code, ttl } => {
                self.pair_code = Some(PairingCode { text: code, expires: expires(ttl) });
                return self.publish();
            }
            Signal::PairCodeOver { error } => {
                if let Some(error) = error {
                    log::info!("session {}: pairing by code failed: {error}", self.record.no);
                }
                self.pair_code = None;
                return self.publish();
            }
            Signal::PairError(error) => {
                log::warn!("session {}: the phone's pairing was refused: {error}", self.record.no);
                return;
            }
            Signal::Name(name) => {
                self.record.push_name = name;
                self.save().await;
                self.stay_unavailable(true);
                return self.publish();
            }
            Signal::QrExhausted { code_open: true } => {
                self.waiting_for_code = true;
                self.qr = None;
                return self.publish();
            }
            Signal::QrExhausted { code_open: false } => Event::QrExhausted,
            Signal::PairSuccess => {
                // The phone shows the device as linked from now on, so a crash must not lose the credentials.
                if let Some(run) = &self.run
                    && let Err(e) = save_device(&run.client).await
                {
                    log::error!("session {}: its new credentials cannot be written: {e}", self.record.no);
                }
                self.record.paired = true;
                self.save().await;
                Event::PairSuccess
            }
            Signal::Connected => {
                self.connected().await;
                Event::Connected
            }
            Signal::LoggedOut => Event::LoggedOut,
            Signal::AccountLocked => Event::AccountLocked,
            Signal::Replaced => Event::Replaced,
            Signal::Banned(left) => Event::Banned(left),
            Signal::Outdated => Event::Outdated,
            Signal::Refused(code) => Event::Refused(code),
            Signal::TooMany => Event::TooMany,
            Signal::Ended => {
                self.run = None;
                self.signals = mpsc::channel(SIGNALS);
                self.had_network = network::has_default_route();
                Event::Ended
            }
        };
        self.take(event).await;
    }

    /// Learns who the account is and keeps the user's own phone notifying.
    async fn connected(&mut self) {
        let Some(run) = &self.run else { return };
        let client = Arc::clone(&run.client);
        let number = client.pn().map(|jid| jid.user.to_string());
        let lid = client.lid().map(|jid| jid.user.to_string());
        let push_name = client.push_name();
        let changed = self.record.number != number
            || self.record.lid != lid
            || self.record.push_name != push_name
            || !self.record.paired
            || self.record.banned_until_ms.is_some();
        if changed {
            self.record.number = number;
            self.record.lid = lid;
            self.record.push_name = push_name;
            self.record.paired = true;
            self.record.banned_until_ms = None;
            self.save().await;
        }
        self.stay_unavailable(false);
    }

    /// whatsapp-rust announces itself as available at each log-in and at each change of name, and WhatsApp then stops
    /// notifying the user's phone. So it is taken back. `coming`: the announcement is still to be sent.
    fn stay_unavailable(&self, coming: bool) {
        let Some(run) = &self.run else { return };
        let client = Arc::clone(&run.client);
        let no = self.record.no;
        let announced = coming.then(|| client.wait_for_sent_node(NodeFilter::tag("presence")));
        tokio::spawn(async move {
            if let Some(announced) = announced {
                let _ = tokio::time::timeout(Duration::from_secs(30), announced).await;
            }
            if client.push_name().is_empty() {
                return;
            }
            if let Err(e) = client.presence().set_unavailable().await {
                log::debug!("session {no}: cannot stay unavailable: {e}");
            }
        });
    }

    async fn take(&mut self, event: Event) {
        let before = (self.state.status(), self.state.reason.clone());
        let mut effects = self.state.step(event, Instant::now(), ids::roll());
        let mut index = 0;
        while index < effects.len() {
            let effect = effects[index].clone();
            index += 1;
            if let Some(event) = self.carry_out(effect).await {
                effects.extend(self.state.step(event, Instant::now(), ids::roll()));
            }
        }
        let after = (self.state.status(), self.state.reason.clone());
        if after != before {
            inbound::state_changed(&self.setup.inbox, &self.record, after.0, &after.1);
            match after {
                (status, Reason::None) => log::info!("session {}: {}", self.record.no, status.as_str()),
                (status, reason) => {
                    log::info!(
                        "session {}: {} ({}): {}",
                        self.record.no,
                        status.as_str(),
                        reason.code(),
                        reason.advice()
                    );
                }
            }
        }
        self.publish();
    }

    async fn carry_out(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Dial => {
                let refresh = std::mem::take(&mut self.refresh_version);
                let version = self.versions.current(refresh).await;
                let account = match self.account().await {
                    Ok(account) => account,
                    Err(e) => {
                        log::error!("session {}: its credentials cannot be read: {e}", self.record.no);
                        return Some(Event::StoreFailed);
                    }
                };
                let run = Run::start(
                    &self.setup,
                    account,
                    version,
                    self.signals.0.clone(),
                    self.receipts.clone(),
                    self.acks.clone(),
                    inbound::origin(&self.record),
                );
                match run.await {
                    Ok(run) => self.run = Some(run),
                    Err(e) => {
                        log::error!("session {}: cannot start a client: {e}", self.record.no);
                        return Some(Event::StoreFailed);
                    }
                }
            }
            Effect::HangUp | Effect::LogOut => {
                let log_out = effect == Effect::LogOut || (self.deleting && self.record.paired);
                // No application may send on a client that is being stopped.
                self.client.send_if_modified(|c| c.take().is_some());
                if let Some(run) = &self.run {
                    run.hang_up(log_out, self.signals.0.clone());
                }
            }
            Effect::Wipe => {
                if let Err(e) = self.wipe().await {
                    log::error!("session {}: cannot forget the credentials: {e}", self.record.no);
                    return Some(Event::StoreFailed);
                }
            }
            Effect::RefreshVersion => self.refresh_version = true,
            Effect::RememberBan(left) => {
                self.record.banned_until_ms =
                    Some(now_ms().saturating_add(i64::try_from(left.as_millis()).unwrap_or(i64::MAX)));
                self.save().await;
            }
            Effect::Finish => {
                if self.deleting
                    && let Err(e) = self.forget(self.record.account).await
                {
                    log::error!("session {}: cannot remove its credentials: {e}", self.record.no);
                }
                self.finished = true;
            }
        }
        None
    }

    fn publish(&mut self) {
        let status = self.state.status();
        if status != Status::Qr {
            self.qr = None;
            self.pair_code = None;
            self.waiting_for_code = false;
        }
        let ready = status == Status::Connected;
        let client = self.run.as_ref().filter(|_| ready).map(|run| Arc::clone(&run.client));
        self.client.send_if_modified(|current| {
            let same = match (current.as_ref(), client.as_ref()) {
                (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                (None, None) => true,
                _ => false,
            };
            if !same {
                *current = client.clone();
            }
            !same
        });
        let retry_at = match self.state.phase {
            Phase::Waiting { until, .. } => {
                Some(SystemTime::now() + until.saturating_duration_since(Instant::now()))
            }
            _ => None,
        };
        let next = Snapshot {
            status,
            reason: self.state.reason.clone(),
            paired: self.record.paired,
            qr: self.qr.clone(),
            pair_code: self.pair_code.clone(),
            number: self.record.number.clone(),
            lid: self.record.lid.clone(),
            push_name: self.record.push_name.clone(),
            retry_at,
            banned_until: self
                .record
                .banned_until_ms
                .filter(|_| self.state.reason == Reason::Banned)
                .and_then(|ms| u64::try_from(ms).ok())
                .map(|ms| UNIX_EPOCH + Duration::from_millis(ms)),
        };
        self.snapshot.send_if_modified(|current| {
            let changed = *current != next;
            if changed {
                *current = next;
            }
            changed
        });
    }
}
