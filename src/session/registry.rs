//! Every session of the box, by id and by number.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use whatsapp_rust::Client;

use super::acks::Acks;
use super::driver::ClientSetup;
use super::record::{self, SessionRecord};
use super::supervisor::{Command, Supervisor};
use super::{ReceiptEvent, Snapshot, Status, Versions};
use crate::clock::now_ms;
use crate::store::{Store, StoreError};

/// Sessions that one box may have: about 1 MB of memory each.
pub const MAX_SESSIONS: usize = 100;
/// Length of a session's name.
pub const MAX_NAME: usize = 100;
/// How long a request for a pairing code waits until a client can ask for one.
const PAIR_CODE_TIMEOUT: Duration = Duration::from_secs(45);

/// Why a session could not be created, changed or removed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The box is full.
    #[error("this box already has {MAX_SESSIONS} sessions; delete one first")]
    TooMany,
    /// The name does not fit.
    #[error("sessionName must have 1 to {MAX_NAME} characters")]
    Name,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why there is no pairing code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PairCodeError {
    /// The session is connected.
    #[error("the session is already paired; delete the session or reconnect it to pair another phone")]
    AlreadyPaired,
    /// WhatsApp or the client refused.
    #[error("WhatsApp gave no pairing code: {0}")]
    Refused(String),
    /// WhatsApp could not be reached in time.
    #[error("WhatsApp could not be reached within {} s; check the network and try again", PAIR_CODE_TIMEOUT.as_secs())]
    Timeout,
}

/// A handle to one session. Cheap to clone.
#[derive(Clone)]
pub struct Session {
    inner: Arc<Inner>,
}

struct Inner {
    no: u32,
    id: String,
    name: String,
    owner: String,
    created_at_ms: i64,
    store: Store,
    acks: Acks,
    snapshot: watch::Receiver<Snapshot>,
    client: watch::Receiver<Option<Arc<Client>>>,
    commands: mpsc::Sender<Command>,
}

impl Session {
    /// Its number inside this box.
    pub fn no(&self) -> u32 {
        self.inner.no
    }

    /// Its id towards applications.
    pub fn id(&self) -> &str {
        &self.inner.id
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The account that owns it.
    pub fn owner(&self) -> &str {
        &self.inner.owner
    }

    /// Unix milliseconds.
    pub fn created_at_ms(&self) -> i64 {
        self.inner.created_at_ms
    }

    /// What is known of it now.
    pub fn snapshot(&self) -> Snapshot {
        self.inner.snapshot.borrow().clone()
    }

    /// Changes of what is known.
    pub fn watch(&self) -> watch::Receiver<Snapshot> {
        self.inner.snapshot.clone()
    }

    /// The logged-in client, while there is one.
    pub fn client(&self) -> Option<Arc<Client>> {
        self.inner.client.borrow().clone()
    }

    /// Changes of the logged-in client.
    pub fn watch_client(&self) -> watch::Receiver<Option<Arc<Client>>> {
        self.inner.client.clone()
    }

    /// Who waits for server acks.
    pub fn acks(&self) -> &Acks {
        &self.inner.acks
    }

    pub(super) fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Dials now, or shows fresh QR codes. Credentials are kept.
    pub async fn reconnect(&self) {
        // Fails only when the session's task has ended, and then there is nothing to reconnect.
        let _ = self.inner.commands.send(Command::Reconnect).await;
    }

    /// Unlinks the device, forgets the credentials and starts a new pairing.
    pub async fn pair_again(&self) {
        let _ = self.inner.commands.send(Command::Repair).await;
    }

    /// Whether the session's task still takes commands; answered from its own loop, so a task that hangs gives no
    /// answer. `false`: the task has ended.
    pub async fn ping(&self) -> bool {
        let (reply, answer) = oneshot::channel();
        self.inner.commands.send(Command::Ping(reply)).await.is_ok() && answer.await.is_ok()
    }

    /// Makes the session's task hang until the returned end is dropped. For tests of those who watch it.
    #[cfg(feature = "sim")]
    pub async fn stall(&self) -> oneshot::Sender<()> {
        let (end, until) = oneshot::channel();
        let _ = self.inner.commands.send(Command::Stall(until)).await;
        end
    }

    /// An eight-character code to type into the phone with this number (digits with country code).
    pub async fn pair_code(&self, phone: &str) -> Result<String, PairCodeError> {
        let (reply, answer) = oneshot::channel();
        let command = Command::PairCode { phone: phone.to_owned(), reply };
        if self.inner.commands.send(command).await.is_err() {
            return Err(PairCodeError::Refused("the session was deleted".into()));
        }
        match tokio::time::timeout(PAIR_CODE_TIMEOUT, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(PairCodeError::Refused("the pairing was interrupted".into())),
            Err(_) => Err(PairCodeError::Timeout),
        }
    }
}

/// See the module.
#[derive(Clone)]
pub struct Registry {
    shared: Arc<Shared>,
}

struct Entry {
    session: Session,
    task: JoinHandle<()>,
}

struct Shared {
    store: Store,
    setup: ClientSetup,
    versions: Arc<Versions>,
    receipts: mpsc::Sender<ReceiptEvent>,
    // Held for map operations only.
    sessions: RwLock<BTreeMap<u32, Entry>>,
    /// Counts up with every session created or deleted.
    changes: watch::Sender<u64>,
    /// One creation at a time, so that several at once cannot pass the limit together.
    creating: tokio::sync::Mutex<()>,
}

impl Registry {
    /// Loads the sessions and starts each.
    pub fn open(
        store: Store,
        setup: ClientSetup,
        receipts: mpsc::Sender<ReceiptEvent>,
    ) -> Result<Registry, RegistryError> {
        let versions = Arc::new(Versions::new(store.clone(), setup.whatsapp_url.as_deref()));
        let records = record::load_all(&store)?;
        let shared = Shared {
            store,
            setup,
            versions,
            receipts,
            sessions: RwLock::default(),
            changes: watch::Sender::new(0),
            creating: tokio::sync::Mutex::default(),
        };
        let registry = Registry { shared: Arc::new(shared) };
        for record in records {
            registry.start(record);
        }
        Ok(registry)
    }

    fn start(&self, record: SessionRecord) -> Session {
        let shared = &self.shared;
        let acks = Acks::default();
        let (commands, command_queue) = mpsc::channel(16);
        let (supervisor, snapshot, client) = Supervisor::new(
            record.clone(),
            shared.store.clone(),
            shared.setup.clone(),
            Arc::clone(&shared.versions),
            shared.receipts.clone(),
            acks.clone(),
            command_queue,
        );
        let session = Session {
            inner: Arc::new(Inner {
                no: record.no,
                id: record.id,
                name: record.name,
                owner: record.owner,
                created_at_ms: record.created_at_ms,
                store: shared.store.clone(),
                acks,
                snapshot,
                client,
                commands,
            }),
        };
        let task = tokio::spawn(supervisor.run());
        let entry = Entry { session: session.clone(), task };
        shared.sessions.write().unwrap_or_else(PoisonError::into_inner).insert(record.no, entry);
        shared.changes.send_modify(|n| *n += 1);
        session
    }

    /// Creates a session and starts its pairing.
    pub async fn create(&self, name: &str, owner: &str) -> Result<Session, RegistryError> {
        let name = name.trim().to_owned();
        if name.is_empty() || name.chars().count() > MAX_NAME || name.chars().any(char::is_control) {
            return Err(RegistryError::Name);
        }
        let _one_at_a_time = self.shared.creating.lock().await;
        if self.list().len() >= MAX_SESSIONS {
            return Err(RegistryError::TooMany);
        }
        let account = self.shared.store.create_account().await?.id().0;
        let owner = owner.to_owned();
        let id = crate::ids::uuid();
        let created_at_ms = now_ms();
        let record = record::create(&self.shared.store, move |no| SessionRecord {
            no,
            id: id.clone(),
            name: name.clone(),
            owner: owner.clone(),
            account,
            paired: false,
            created_at_ms,
            number: None,
            lid: None,
            push_name: String::new(),
            banned_until_ms: None,
        })
        .await?;
        Ok(self.start(record))
    }

    /// Unlinks the session's device, stops it and forgets everything of it. `false`: there is no such session.
    pub async fn delete(&self, id: &str) -> Result<bool, RegistryError> {
        let no = match self.get(id) {
            Some(session) => session.no(),
            None => return Ok(false),
        };
        let entry = self.shared.sessions.write().unwrap_or_else(PoisonError::into_inner).remove(&no);
        let Some(entry) = entry else { return Ok(false) };
        let _ = entry.session.inner.commands.send(Command::Delete).await;
        if let Err(e) = entry.task.await {
            log::error!("session {no}: its task failed while it was deleted: {e}");
        }
        record::delete(&self.shared.store, no).await?;
        if let Err(e) = self.shared.setup.inbox.forget_session(no).await {
            log::warn!("session {no}: who wrote to it is still remembered: {e}");
        }
        // Told last: whoever hears of it finds no record any more, and knows that it is not a shutdown.
        self.shared.changes.send_modify(|n| *n += 1);
        Ok(true)
    }

    /// All sessions, oldest first.
    pub fn list(&self) -> Vec<Session> {
        let sessions = self.shared.sessions.read().unwrap_or_else(PoisonError::into_inner);
        sessions.values().map(|entry| entry.session.clone()).collect()
    }

    /// The session with this id.
    pub fn get(&self, id: &str) -> Option<Session> {
        self.list().into_iter().find(|s| s.id() == id)
    }

    /// The session with this number inside the box.
    pub fn by_no(&self, no: u32) -> Option<Session> {
        let sessions = self.shared.sessions.read().unwrap_or_else(PoisonError::into_inner);
        sessions.get(&no).map(|entry| entry.session.clone())
    }

    /// The session among those that `fit` that is (or last was) paired with this phone number; a connected one before
    /// others. Several can be: a phone links up to four devices.
    pub fn by_number(&self, number: &str, fit: impl Fn(&Session) -> bool) -> Option<Session> {
        let mut found: Vec<Session> = self
            .list()
            .into_iter()
            .filter(|s| fit(s) && s.snapshot().number.as_deref() == Some(number))
            .collect();
        found.sort_by_key(|s| s.snapshot().status != Status::Connected);
        found.into_iter().next()
    }

    /// Counts up with every session created or deleted.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    /// Closes every connection, keeping the credentials, and waits for it.
    pub async fn shutdown(&self) {
        let entries =
            std::mem::take(&mut *self.shared.sessions.write().unwrap_or_else(PoisonError::into_inner));
        for entry in entries.values() {
            let _ = entry.session.inner.commands.send(Command::Stop).await;
        }
        for (no, entry) in entries {
            if let Err(e) = entry.task.await {
                log::error!("session {no}: its task failed at shutdown: {e}");
            }
        }
    }
}
