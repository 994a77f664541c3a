//! Builds the parts, connects them and runs them until shutdown: the only place that knows them all.

mod erasing;
mod error;
mod panel;
mod trial;
mod updates;

use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::api::claim::{self, Claim};
use crate::api::request_log::{self, RequestLog, RequestLogSettings};
use crate::api::serve::{Places, ServeLimits};
use crate::api::tls::Certificates;
use crate::api::{self, ApiSettings, Place, control, keys, keys::Keys, limits};
use crate::clock::{Clock, ClockState};
use crate::config::Config;
use crate::console;
use crate::inbox::{self, Inbox, InboxSettings};
use crate::lan::{self, Addresses, Announcement, Mdns};
use crate::media::{FetchPolicy, Previews, Spool};
use crate::outbox::{self, Outbox, OutboxSettings};
use crate::panel::run::{FirstSession, Parts, Shown};
use crate::panel::watch::Facts;
use crate::session::{self, ClientSetup, Received, Registry, WhatsAppHttp};
use crate::store::erase;
use crate::store::{Store, StoreOptions};
use crate::watchdog::Watchdog;
use crate::webhook::{self, WebhookSettings, Webhooks};
pub use erasing::erase_data_dir;
pub use error::StartError;
use panel::{Panel, tell_panel};
use trial::Rehearsal;
pub use trial::open_offline;

/// Receipts that may wait for the store.
const RECEIPTS: usize = 4096;
/// How long the parts get to close at shutdown.
const SHUTDOWN: Duration = Duration::from_secs(20);
/// What the buttons may order before the first order is carried out.
const ORDERS: usize = 8;

/// The session of a box that has none, when a button or a first start asks for one.
pub const FIRST_SESSION: FirstSession = FirstSession { name: "Kurir", account: keys::DEFAULT_ACCOUNT };

/// A running gateway.
pub struct Gateway {
    address: SocketAddr,
    https_address: Option<SocketAddr>,
    api: api::Api,
    stop: watch::Sender<bool>,
    tasks: Vec<(&'static str, JoinHandle<()>)>,
    panel: Panel,
    facts: watch::Sender<Facts>,
    data_dir: PathBuf,
    rehearsal: Option<Rehearsal>,
}

/// How the store is opened: by the gateway, and by commands that run without one.
pub fn store_options(config: &Config) -> StoreOptions {
    let tables = [
        session::TABLES,
        inbox::TABLES,
        outbox::TABLES,
        keys::TABLES,
        claim::TABLES,
        limits::TABLES,
        webhook::TABLES,
        request_log::TABLES,
    ]
    .concat();
    StoreOptions { sync_delay: config.sync_delay, tables, ..StoreOptions::default() }
}

/// Makes the data folder, readable for its owner only, and finishes an erasure that a crash interrupted.
pub fn create_data_dir(config: &Config) -> Result<(), StartError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&config.data_dir)
        .map_err(|source| StartError::DataDir { path: config.data_dir.clone(), source })?;
    erase::resume(&config.data_dir, erasing::KEPT)?;
    Ok(())
}

async fn listen(wanted: SocketAddr, setting: &'static str) -> Result<(TcpListener, SocketAddr), StartError> {
    let error = |source| StartError::Listen { setting, address: wanted, source };
    let listener = TcpListener::bind(wanted).await.map_err(error)?;
    let address = listener.local_addr().map_err(error)?;
    Ok((listener, address))
}

/// Ends when the parts are to.
async fn stopped(mut stop: watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// What is announced to the network: nothing, if nobody there could connect.
fn announcement(
    config: &Config,
    host: &str,
    http: SocketAddr,
    https: Option<SocketAddr>,
) -> Option<Announcement> {
    if !config.mdns || http.ip().is_loopback() {
        return None;
    }
    let https = https.filter(|address| !address.ip().is_loopback()).map(|address| address.port());
    let address = Some(http.ip()).filter(|address| !address.is_unspecified());
    Some(Announcement { host: host.to_owned(), http: http.port(), https, address, loopback: false })
}

impl Gateway {
    /// Starts every part, and the panel that the settings name. The port answers when this returns.
    pub async fn start(config: &Config) -> Result<Gateway, StartError> {
        Gateway::start_with(config, Parts::open(config)).await
    }

    /// Starts every part, with this panel. The port answers when this returns.
    pub async fn start_with(config: &Config, parts: Parts) -> Result<Gateway, StartError> {
        let addresses = parts.addresses.clone();
        let (orders, ordered) = mpsc::channel(ORDERS);
        let mut panel = Panel::start(config, parts, orders);
        create_data_dir(config)?;
        let (store, rehearsal) = trial::open_store(config)?;
        let keys = Keys::open(store.clone(), config.admin_key.as_deref())?;
        let beyond_loopback = |address: &SocketAddr| !address.ip().is_loopback();
        let exposed =
            beyond_loopback(&config.listen) || config.listen_https.is_some_and(|a| beyond_loopback(&a));
        let claim = Claim::open(store.clone(), keys.clone(), exposed)?;
        let (listener, address) = listen(config.listen, "KURIR_LISTEN").await?;
        let host = lan::host_name(config.host_name.as_deref(), &config.data_dir);
        let lan_addresses = Addresses::default();
        let shown_addresses = match addresses {
            Some(addresses) => watch::channel(addresses).1,
            None => lan_addresses.watch(),
        };
        let https = match config.listen_https {
            Some(wanted) => {
                let (listener, address) = listen(wanted, "KURIR_LISTEN_HTTPS").await?;
                let named: Vec<String> =
                    lan_addresses.watch().borrow().iter().map(ToString::to_string).collect();
                Some((listener, address, Certificates::open(&config.data_dir, &host, &named)?))
            }
            None => None,
        };
        let https_address = https.as_ref().map(|(_, address, _)| *address);
        let certificates = https.as_ref().map(|(_, _, certificates)| certificates.clone());
        let clock = Clock::open(&config.data_dir, config.limits.clock_earliest, config.limits.clock_patience);
        // Whatever would leave the box waits for the clock; in a rehearsal it never comes.
        let dial = match rehearsal {
            Some(_) => watch::channel(ClockState::Unset).1,
            None => clock.watch(),
        };
        let mut notices = config.notices.clone();
        notices.extend(rehearsal.as_ref().map(|_| trial::notice(config.panel_language)));
        let mdns = announcement(config, &host, address, https_address).and_then(|a| Mdns::start(&a));
        let place = Place {
            host,
            http: address,
            https: https_address,
            announced: mdns.is_some(),
            addresses: lan_addresses.watch(),
        };
        let control_socket = control::bind(&config.control_path())?;
        let spool = Spool::open_with(&config.data_dir, config.media_quota)?;
        let updates = updates::intake(config, &spool);
        let outbox = Outbox::open(store.clone(), spool.clone(), OutboxSettings::from_config(config))?;

        let (receipts, receipt_queue) = mpsc::channel(RECEIPTS);
        let url = config.whatsapp_url.as_deref();
        let (inbox, soon) = Inbox::open(store.clone(), InboxSettings::from_config(config))?;
        let journal = inbox.clone();
        // A store that cannot be read makes a stranger of everybody: the careful side.
        outbox.set_acquaintance(Arc::new(move |session_no, chat| {
            journal
                .last_from(session_no, chat)
                .unwrap_or_else(|e| {
                    log::warn!("session {session_no}: who wrote to it cannot be read: {e}");
                    None
                })
                .is_some()
        }));
        let setup = ClientSetup {
            whatsapp_url: config.whatsapp_url.clone(),
            http: WhatsAppHttp::new(url),
            inbox: inbox.clone(),
            clock: dial.clone(),
        };
        let registry = Registry::open(store.clone(), setup, receipts)?;

        let received = Received::open(
            &config.data_dir,
            config.received_media_bytes,
            Duration::from_secs(u64::from(config.received_media_days) * 24 * 3600),
        )?;
        let mut fetch = FetchPolicy::new(config.allow_private_fetch.clone());
        (fetch.total, fetch.stall) = (config.limits.fetch_total, config.limits.fetch_stall);
        fetch.clock = Some(dial.clone());
        outbox.set_previews(Previews::new(&fetch, spool.clone()));
        let parts = webhook::Parts {
            store: store.clone(),
            inbox: inbox.clone(),
            outbox: outbox.clone(),
            registry: registry.clone(),
            spool: spool.clone(),
            fetch: fetch.clone(),
            received: received.clone(),
            clock: dial,
        };
        let webhooks = Webhooks::open(parts, WebhookSettings::from_config(config)).await?;
        let request_log = RequestLog::new(store.clone(), RequestLogSettings::from_config(config));
        let erase = watch::Sender::new(false);
        let api = Arc::new(api::Shared {
            panel: panel.shown.clone(),
            erase: erase.clone(),
            settings: ApiSettings::from_config(config),
            rates: limits::Rates::default(),
            checks: limits::Checks::new(store.clone()),
            store,
            keys,
            claim: claim.clone(),
            certificates,
            updates,
            place,
            clock: clock.watch(),
            registry: registry.clone(),
            outbox: outbox.clone(),
            inbox: inbox.clone(),
            webhooks: webhooks.clone(),
            received,
            request_log: request_log.clone(),
            requests: api::metrics::Requests::default(),
            streams: api::events::Streams::default(),
            spool,
            fetch,
            country_code: config.country_code.clone(),
            data_dir: config.data_dir.clone(),
            notices: notices.clone(),
            rehearsal: rehearsal.is_some(),
        });
        let facts = watch::Sender::new(Facts {
            web_url: config.public_url.clone(),
            notice: crate::panel::watch::notice(&notices),
            ..Facts::default()
        });
        let sources = crate::panel::watch::Sources {
            registry: registry.clone(),
            outbox: outbox.clone(),
            inbox: inbox.clone(),
            store: api.store.clone(),
            facts: facts.subscribe(),
            addresses: shown_addresses,
            data_dir: config.data_dir.clone(),
            listen: address,
            language: config.panel_language,
        };
        let carry_out = crate::panel::run::carry_out(registry.clone(), FIRST_SESSION, ordered, erase);
        panel.beside = vec![
            tokio::spawn(crate::panel::watch::run(sources, panel.view.clone())),
            tokio::spawn(carry_out),
        ];
        let (stop, stopping) = watch::channel(false);
        let limits = ServeLimits {
            connections: config.max_connections,
            per_peer: config.max_connections_per_address,
            // A file of 50 MB as Base64, and what stands around it.
            body_hard: 72 * 1024 * 1024,
            large: Some(api::LARGE_BODY),
            header: config.limits.http_head,
            body_window: config.limits.http_body,
            ..ServeLimits::default()
        };
        let places = Places::new(&limits);
        let serve = |listener, tls| {
            let (router, limits) = (api::router(Arc::clone(&api)), limits.clone());
            let stopped = stopped(stopping.clone());
            tokio::spawn(api::serve::serve_among(listener, router, limits, places.clone(), tls, stopped))
        };
        let mut tasks = vec![("api", serve(listener, None))];
        if let Some((listener, address, certificates)) = https {
            tasks.push(("https", serve(listener, Some(certificates.server_config()?))));
            log::info!("listening on {address} for HTTPS");
        }
        if let Some(mdns) = mdns {
            tasks.push(("mdns", tokio::spawn(mdns.run(lan_addresses.watch(), stopping.clone()))));
        }
        let shown = tell_panel(
            facts.clone(),
            claim.code(),
            api.certificates.clone(),
            clock.watch(),
            stopping.clone(),
        );
        if let Some(console) = config.console.clone() {
            let (code, shown, place) = (claim.code(), api.panel.clone(), api.place.clone());
            tasks
                .push(("console", tokio::spawn(console::run(console, code, shown, place, stopping.clone()))));
        }
        let delivering = match rehearsal {
            Some(_) => tokio::spawn(stopped(stopping.clone())),
            None => tokio::spawn(webhooks.run()),
        };
        tasks.extend([
            ("facts", tokio::spawn(shown)),
            ("addresses", tokio::spawn(lan_addresses.run(stopping.clone()))),
            ("clock", tokio::spawn(clock.run(stopping.clone()))),
            ("request log", tokio::spawn(request_log.run(stopping.clone()))),
            (
                "control socket",
                tokio::spawn(control::serve(control_socket, Arc::clone(&api), stopping.clone())),
            ),
            ("claim", tokio::spawn(claim.run(stopping))),
            ("webhooks", delivering),
            ("journal", tokio::spawn(inbox.run(soon))),
            ("outbox", tokio::spawn(outbox.run(registry, receipt_queue))),
        ]);
        log::info!("listening on {address}");
        Ok(Gateway {
            address,
            https_address,
            api,
            stop,
            tasks,
            panel,
            facts,
            data_dir: config.data_dir.clone(),
            rehearsal,
        })
    }

    /// Where the HTTP API answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the HTTPS API answers, if it does.
    pub fn https_address(&self) -> Option<SocketAddr> {
        self.https_address
    }

    /// The HTTPS certificate; `None`: HTTPS is off.
    pub fn certificates(&self) -> Option<&Certificates> {
        self.api.certificates.as_ref()
    }

    /// What the box is called and where it is reached.
    pub fn place(&self) -> &Place {
        &self.api.place
    }

    /// Whether the clock can be right, and changes of it.
    pub fn clock(&self) -> watch::Receiver<ClockState> {
        self.api.clock.clone()
    }

    /// The API without the accept loop before it.
    pub fn router(&self) -> axum::Router {
        api::router(Arc::clone(&self.api))
    }

    /// Resolves when the trial of an update is over that the gateway was started for with a copy of the store; it has to be
    /// started anew then. Where there is none, never.
    pub async fn trial_over(&self) {
        match &self.rehearsal {
            Some(rehearsal) => rehearsal.over().await,
            None => std::future::pending().await,
        }
    }

    /// What shows that every part makes progress.
    pub fn watchdog(&self) -> Watchdog {
        // The rest can be missing: the box serves without a name on the network, too.
        let vital = |name: &str| matches!(name, "api" | "webhooks" | "journal" | "outbox");
        let tasks = self.tasks.iter().filter(|(name, _)| vital(name));
        let tasks = tasks.map(|(name, task)| (*name, task.abort_handle())).collect();
        Watchdog::new(self.api.store.clone(), self.api.registry.clone(), tasks)
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.api.store
    }

    /// The sessions.
    pub fn registry(&self) -> &Registry {
        &self.api.registry
    }

    /// The API keys.
    pub fn keys(&self) -> &Keys {
        &self.api.keys
    }

    /// The owner, or the code by which the box gets one.
    pub fn claim(&self) -> &Claim {
        &self.api.claim
    }

    /// The webhooks.
    pub fn webhooks(&self) -> &Webhooks {
        &self.api.webhooks
    }

    /// The event journal.
    pub fn inbox(&self) -> &Inbox {
        &self.api.inbox
    }

    /// The send queue.
    pub fn outbox(&self) -> &Outbox {
        &self.api.outbox
    }

    /// What the panel shows besides the parts' own state: an address with a name, a notice, the code that claims the box.
    pub fn facts(&self) -> &watch::Sender<Facts> {
        &self.facts
    }

    /// What the panel shows, as it changes.
    pub fn shown(&self) -> watch::Receiver<Shown> {
        self.panel.shown.clone()
    }

    /// Whether the panel has taken the terminal, so that nothing should be printed.
    pub fn panel_takes_terminal(&self) -> bool {
        self.panel.takes_terminal
    }

    /// Finishes the requests under way, closes every session's connection (credentials are kept) and the store.
    pub async fn shutdown(self) {
        self.stop_parts().await.close().await;
    }

    async fn stop_parts(mut self) -> Panel {
        // It reads the store, which is closed below.
        self.panel.stop_watching();
        // Nobody is left to tell if the receivers are gone.
        let _ = self.stop.send(true);
        let close = async {
            self.api.registry.shutdown().await;
            // After the sessions, whose last words it takes.
            self.api.inbox.close();
            for (name, task) in self.tasks {
                if name == "outbox" {
                    // It ends with the last session's receipts; nothing it could still do would be kept.
                    task.abort();
                }
                match task.await {
                    Err(e) if !e.is_cancelled() => log::error!("{name}: ended badly: {e}"),
                    _ => {}
                }
            }
            if let Err(e) = self.api.request_log.flush().await {
                log::warn!("request log: its last rows were not written: {e}");
            }
            let store = self.api.store.clone();
            // Whoever still holds a clone gets errors from now on; the file is free for the next process.
            if let Err(e) = tokio::task::spawn_blocking(move || store.close()).await {
                log::error!("store: ended badly: {e}");
            }
        };
        if tokio::time::timeout(SHUTDOWN, close).await.is_err() {
            log::warn!("some parts did not close within {} s", SHUTDOWN.as_secs());
        }
        self.panel
    }
}
