//! Builds the parts, connects them and runs them until shutdown: the only place that knows them all.

use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::api::serve::ServeLimits;
use crate::api::{self, ApiSettings, control, keys, keys::Keys, limits};
use crate::config::Config;
use crate::inbox::{self, Inbox, InboxSettings};
use crate::media::{FetchPolicy, Spool, SpoolError};
use crate::outbox::{self, Outbox, OutboxSettings};
use crate::session::registry::RegistryError;
use crate::session::{self, ClientSetup, Received, ReceivedError, Registry, WhatsAppHttp};
use crate::store::{OpenError, Store, StoreError, StoreOptions};
use crate::watchdog::Watchdog;
use crate::webhook::{self, WebhookSettings, Webhooks};

/// Receipts that may wait for the store.
const RECEIPTS: usize = 4096;
/// How long the parts get to close at shutdown.
const SHUTDOWN: Duration = Duration::from_secs(20);

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder could not be made.
    #[error("cannot create the data folder {path}: {source}; choose another with KURIR_DATA_DIR")]
    DataDir {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The store could not be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] StoreError),
    /// The sessions could not be loaded.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The media folder could not be used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// The folder of received files could not be used.
    #[error(transparent)]
    Received(#[from] ReceivedError),
    /// The control socket could not be made.
    #[error(transparent)]
    Control(#[from] control::ControlError),
    /// The port could not be bound.
    #[error(
        "cannot listen on {address}: {source}; is another program using the port? KURIR_LISTEN chooses another"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The API would be open to the network, and nobody has a key.
    #[error(
        "listening on {address} needs an API key first: run `kurir key new --name NAME --admin`, or listen on 127.0.0.1"
    )]
    NoKey {
        /// The address.
        address: SocketAddr,
    },
}

/// A running gateway.
pub struct Gateway {
    address: SocketAddr,
    api: api::Api,
    stop: watch::Sender<bool>,
    tasks: Vec<(&'static str, JoinHandle<()>)>,
}

/// How the store is opened: by the gateway, and by commands that run without one.
pub fn store_options(config: &Config) -> StoreOptions {
    let tables =
        [session::TABLES, inbox::TABLES, outbox::TABLES, keys::TABLES, limits::TABLES, webhook::TABLES]
            .concat();
    StoreOptions { sync_delay: config.sync_delay, tables, ..StoreOptions::default() }
}

/// Makes the data folder, readable for its owner only.
pub fn create_data_dir(config: &Config) -> Result<(), StartError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&config.data_dir)
        .map_err(|source| StartError::DataDir { path: config.data_dir.clone(), source })
}

impl Gateway {
    /// Starts every part. The port answers when this returns.
    pub async fn start(config: &Config) -> Result<Gateway, StartError> {
        create_data_dir(config)?;
        let store = Store::open(&config.store_path(), &store_options(config))?;
        let keys = Keys::open(store.clone(), config.admin_key.as_deref())?;
        if !config.listen.ip().is_loopback() && !keys.any() {
            return Err(StartError::NoKey { address: config.listen });
        }
        let listener = TcpListener::bind(config.listen)
            .await
            .map_err(|source| StartError::Listen { address: config.listen, source })?;
        let address =
            listener.local_addr().map_err(|source| StartError::Listen { address: config.listen, source })?;
        let control_socket = control::bind(&config.control_path())?;
        let spool = Spool::open_with(&config.data_dir, config.media_quota)?;
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
        };
        let registry = Registry::open(store.clone(), setup, receipts)?;

        let received = Received::open(
            &config.data_dir,
            config.received_media_bytes,
            Duration::from_secs(u64::from(config.received_media_days) * 24 * 3600),
        )?;
        let mut fetch = FetchPolicy::new(config.allow_private_fetch.clone());
        (fetch.total, fetch.stall) = (config.limits.fetch_total, config.limits.fetch_stall);
        let parts = webhook::Parts {
            store: store.clone(),
            inbox: inbox.clone(),
            outbox: outbox.clone(),
            registry: registry.clone(),
            spool: spool.clone(),
            fetch: fetch.clone(),
            received: received.clone(),
        };
        let webhooks = Webhooks::open(parts, WebhookSettings::from_config(config)).await?;
        let api = Arc::new(api::Shared {
            settings: ApiSettings::from_config(config),
            rates: limits::Rates::default(),
            checks: limits::Checks::new(store.clone()),
            store,
            keys,
            registry: registry.clone(),
            outbox: outbox.clone(),
            inbox: inbox.clone(),
            webhooks: webhooks.clone(),
            received,
            requests: api::metrics::Requests::default(),
            streams: api::events::Streams::default(),
            spool,
            fetch,
            country_code: config.country_code.clone(),
            data_dir: config.data_dir.clone(),
        });
        let (stop, stopping) = watch::channel(false);
        let limits = ServeLimits {
            connections: config.max_connections,
            per_peer: config.max_connections_per_address,
            // A file of 50 MB as Base64, and what stands around it.
            body_hard: 72 * 1024 * 1024,
            header: config.limits.http_head,
            body_window: config.limits.http_body,
            ..ServeLimits::default()
        };
        let mut stop_serving = stopping.clone();
        let serve = api::serve::serve(listener, api::router(Arc::clone(&api)), limits, None, async move {
            let _ = stop_serving.wait_for(|stop| *stop).await;
        });
        let tasks = vec![
            ("api", tokio::spawn(serve)),
            ("control socket", tokio::spawn(control::serve(control_socket, Arc::clone(&api), stopping))),
            ("webhooks", tokio::spawn(webhooks.run())),
            ("journal", tokio::spawn(inbox.run(soon))),
            ("outbox", tokio::spawn(outbox.run(registry, receipt_queue))),
        ];
        log::info!("listening on {address}");
        Ok(Gateway { address, api, stop, tasks })
    }

    /// Where the HTTP API answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The API without the accept loop before it.
    pub fn router(&self) -> axum::Router {
        api::router(Arc::clone(&self.api))
    }

    /// What shows that every part makes progress.
    pub fn watchdog(&self) -> Watchdog {
        let tasks = self.tasks.iter().map(|(name, task)| (*name, task.abort_handle())).collect();
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

    /// Finishes the requests under way, closes every session's connection (credentials are kept) and the store.
    pub async fn shutdown(self) {
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
            let store = self.api.store.clone();
            // Whoever still holds a clone gets errors from now on; the file is free for the next process.
            if let Err(e) = tokio::task::spawn_blocking(move || store.close()).await {
                log::error!("store: ended badly: {e}");
            }
        };
        if tokio::time::timeout(SHUTDOWN, close).await.is_err() {
            log::warn!("some parts did not close within {} s", SHUTDOWN.as_secs());
        }
    }
}
