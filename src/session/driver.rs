//! Runs one whatsapp-rust client for one connection and turns its events into ours.
//!
//! Events are taken inline on whatsapp-rust's dispatch path and put into bounded channels without waiting: the few that
//! decide a session's life into one, receipts into another (so that a flood of receipts cannot push out a log-out), and
//! acks straight to whoever waits for them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use wacore::store::device::DevicePropsOverride;
use wacore::store::error::StoreError;
use wacore::types::events::{ConnectFailureReason, Event, EventHandler, EventInterest, EventKind};
use whatsapp_rust::bot::Bot;
use whatsapp_rust::transport::TokioWebSocketTransportFactory;
use whatsapp_rust::{CacheConfig, CacheEntryConfig, Client, RawNodeLease, TokioRuntime};

use super::ReceiptEvent;
use super::acks::{Ack, Acks};
use super::http::WhatsAppHttp;
use super::inbound::{self, Inbound};
use super::transport::{LateClient, Sockets};
use crate::clock::ClockState;
use crate::inbox::{Inbox, Origin};
use crate::store::account::AccountStore;

/// Prekeys kept at the server. whatsapp-rust's 812 are written to flash at every pairing; an office's box meets far
/// fewer new devices between two log-ins, and the server says when they run low.
const PREKEYS: usize = 200;
/// How long a client gets to flush and close before it is cut off.
const HANG_UP_TIMEOUT: Duration = Duration::from_secs(15);

/// What a client tells its supervisor.
#[derive(Clone, Debug)]
pub(super) enum Signal {
    Qr {
        code: String,
        ttl: Duration,
    },
    /// `code_open`: an eight-character code still waits for its phone, so the client stays.
    QrExhausted {
        code_open: bool,
    },
    PairCode {
        code: String,
        ttl: Duration,
    },
    PairCodeOver {
        error: Option<String>,
    },
    PairSuccess,
    PairError(String),
    Connected,
    Name(String),
    LoggedOut,
    AccountLocked,
    Replaced,
    Banned(Duration),
    Outdated,
    Refused(u16),
    TooMany,
    Ended,
}

/// What all clients share.
#[derive(Clone)]
pub struct ClientSetup {
    /// The test server's address, in a build for tests.
    pub whatsapp_url: Option<String>,
    /// The HTTP client for media.
    pub http: WhatsAppHttp,
    /// Where events go.
    pub inbox: Inbox,
    /// Whether the clock can be right: nobody dials before.
    pub clock: watch::Receiver<ClockState>,
}

/// A running client.
pub(super) struct Run {
    pub(super) client: Arc<Client>,
    task: JoinHandle<()>,
}

impl Run {
    /// Builds a client on the account's store and starts its one connection. `Signal::Ended` is its last word.
    pub(super) async fn start(
        setup: &ClientSetup,
        account: AccountStore,
        version: (u32, u32, u32),
        signals: mpsc::Sender<Signal>,
        receipts: mpsc::Sender<ReceiptEvent>,
        acks: Acks,
        origin: Origin,
    ) -> Result<Run, String> {
        let mut transport = TokioWebSocketTransportFactory::new();
        if let Some(url) = &setup.whatsapp_url {
            transport = transport.with_url(url.clone());
        }
        let session_no = origin.session_no;
        let inbound = Inbound::new(setup.inbox.clone(), account.clone(), origin);
        let late_client = LateClient::default();
        let transport = Sockets { inner: transport, client: Arc::clone(&late_client) };
        let tap = Tap {
            signals: signals.clone(),
            receipts,
            acks: acks.clone(),
            inbound: inbound.clone(),
            client: Arc::clone(&late_client),
            session_no,
            dropped: AtomicU64::new(0),
        };
        let bot = Bot::builder()
            .with_backend(account.clone())
            .with_transport_factory(transport)
            .with_http_client(setup.http.clone())
            .with_runtime(TokioRuntime)
            .with_version(version)
            .with_device_props(DevicePropsOverride::new().with_os("Kurir"))
            .with_wanted_pre_key_count(PREKEYS)
            .with_cache_config(caches(account))
            .with_event_handler(tap)
            .with_inbound_durability_hook(inbound)
            .skip_history_sync()
            .build()
            .await
            .map_err(|e| e.to_string())?;
        let client = bot.client();
        // Set once, here.
        let _ = late_client.set(Arc::downgrade(&client));
        // One run is one connection; when to dial again is the supervisor's decision.
        client.enable_auto_reconnect.store(false, Ordering::Relaxed);
        let lease: RawNodeLease = client.acquire_raw_node_forwarding();
        let handle = bot.spawn();
        let ended = Arc::clone(&client);
        let task = tokio::spawn(async move {
            handle.await;
            drop(lease);
            // A run that ends by itself (a 515, a lost network) leaves what changed last, such as a pairing, to a
            // background saver that ends with it.
            ended.disconnect().await;
            if let Err(e) = save_device(&ended).await {
                log::error!("session {session_no}: its device cannot be written: {e}");
            }
            acks.abandon_all();
            // The receiver lives as long as the session; if it is gone, nobody needs to know.
            let _ = signals.send(Signal::Ended).await;
        });
        Ok(Run { client, task })
    }

    /// Closes the connection; the run ends by itself then. Cut off if it does not.
    pub(super) fn hang_up(&self, log_out: bool, signals: mpsc::Sender<Signal>) {
        let client = Arc::clone(&self.client);
        let abort = self.task.abort_handle();
        tokio::spawn(async move {
            let stop = async {
                if log_out {
                    client.logout().await;
                } else {
                    client.disconnect().await;
                }
            };
            if tokio::time::timeout(HANG_UP_TIMEOUT, stop).await.is_err() && !abort.is_finished() {
                abort.abort();
                let _ = signals.send(Signal::Ended).await;
            }
        });
    }
}

/// Writes the device row as it is now. The client's own `flush` is not enough: while its background saver is writing,
/// the row no longer counts as changed and `flush` returns at once, so that whoever reads next gets the older row.
pub(super) async fn save_device(client: &Client) -> Result<(), StoreError> {
    let device = client.persistence_manager();
    device.flush().await?;
    device.backend().save(&device.get_device_snapshot()).await
}

/// whatsapp-rust's caches, sized for an office and 512 MB.
fn caches(account: AccountStore) -> CacheConfig {
    let hour = Some(Duration::from_secs(3600));
    CacheConfig {
        lid_pn_cache: CacheEntryConfig::new(None, 10_000),
        device_registry_cache: CacheEntryConfig::new(hour, 2_000),
        session_locks_capacity: 4_000,
        chat_lanes_capacity: 1_000,
        original_message_resolver: Some(Arc::new(account)),
        ..CacheConfig::default()
    }
}

/// Listens on the client's event bus.
struct Tap {
    signals: mpsc::Sender<Signal>,
    receipts: mpsc::Sender<ReceiptEvent>,
    acks: Acks,
    inbound: Inbound,
    /// Weak, because the client holds this.
    client: LateClient,
    session_no: u32,
    dropped: AtomicU64,
}

impl Tap {
    fn tell(&self, signal: Signal) {
        // Closed: the client says something more after its end, which nobody needs to know.
        if let Err(mpsc::error::TrySendError::Full(_)) = self.signals.try_send(signal) {
            log::warn!(
                "session {}: a state change was dropped because the supervisor is too far behind",
                self.session_no
            );
        }
    }
}

impl EventHandler for Tap {
    fn handle_event(&self, event: Arc<Event>) {
        match &*event {
            Event::ServerAck(ack) if ack.class.as_deref().is_none_or(|c| c == "message") => {
                let outcome = match &ack.error {
                    None => Ack::Accepted,
                    Some(code) => Ack::Refused(code.clone()),
                };
                self.acks.resolve(&ack.id, outcome);
            }
            Event::Receipt(receipt) => {
                let Some(kind) = inbound::receipt_kind(receipt) else { return };
                self.inbound.receipt(receipt, kind);
                let event = ReceiptEvent {
                    session_no: self.session_no,
                    kind,
                    message_ids: receipt.message_ids.iter().map(ToString::to_string).collect(),
                    at_ms: receipt.timestamp.timestamp_millis(),
                };
                if self.receipts.try_send(event).is_err() {
                    let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
                    if dropped.is_power_of_two() {
                        log::warn!(
                            "session {}: {dropped} receipts dropped; the store is too slow",
                            self.session_no
                        );
                    }
                }
            }
            Event::Messages(batch) => {
                if let Some(client) = self.client.get().and_then(Weak::upgrade) {
                    self.inbound.unhooked(&client, batch);
                }
            }
            Event::GroupUpdate(update) => self.inbound.group(update),
            Event::PairingQrCode(qr) => self.tell(Signal::Qr { code: qr.code.clone(), ttl: qr.timeout }),
            Event::PairingQrCodesExhausted(codes) => {
                self.tell(Signal::QrExhausted { code_open: !codes.disconnected });
            }
            Event::PairingCode(code) => {
                self.tell(Signal::PairCode { code: code.code.clone(), ttl: code.timeout });
            }
            Event::PairingCodeRefresh(_) => self.tell(Signal::PairCodeOver { error: None }),
            Event::PairingCodeError(e) => self.tell(Signal::PairCodeOver { error: Some(e.error.clone()) }),
            Event::PairSuccess(_) => self.tell(Signal::PairSuccess),
            Event::PairError(e) => self.tell(Signal::PairError(e.error.clone())),
            Event::LoggedOut(out) => self.tell(match out.reason {
                ConnectFailureReason::AccountLocked => Signal::AccountLocked,
                _ => Signal::LoggedOut,
            }),
            Event::StreamReplaced(_) => self.tell(Signal::Replaced),
            Event::TemporaryBan(ban) => {
                self.tell(Signal::Banned(ban.expire.to_std().unwrap_or(Duration::from_secs(3600))));
            }
            Event::ClientOutdated(_) => self.tell(Signal::Outdated),
            Event::ConnectFailure(failure) => {
                self.tell(Signal::Refused(u16::try_from(failure.reason.code()).unwrap_or(0)));
            }
            Event::SelfPushNameUpdated(update) => self.tell(Signal::Name(update.new_name.clone())),
            // whatsapp-rust keeps a 429 on the stream to itself and only lengthens its own back-off, which we do not use.
            Event::RawNode(node) => {
                let node = node.get();
                if node.tag == "stream:error"
                    && node.attrs().optional_string("code").as_deref() == Some("429")
                {
                    self.tell(Signal::TooMany);
                }
            }
            Event::Connected(_) => self.tell(Signal::Connected),
            _ => {}
        }
    }

    fn interest(&self) -> EventInterest {
        EventInterest::of(&[
            EventKind::ServerAck,
            EventKind::Receipt,
            EventKind::Messages,
            EventKind::GroupUpdate,
            EventKind::PairingQrCode,
            EventKind::PairingQrCodesExhausted,
            EventKind::PairingCode,
            EventKind::PairingCodeRefresh,
            EventKind::PairingCodeError,
            EventKind::PairSuccess,
            EventKind::PairError,
            EventKind::Connected,
            EventKind::LoggedOut,
            EventKind::StreamReplaced,
            EventKind::TemporaryBan,
            EventKind::ClientOutdated,
            EventKind::ConnectFailure,
            EventKind::SelfPushNameUpdated,
            EventKind::RawNode,
        ])
    }
}
