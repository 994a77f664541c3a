//! Everything the server knows: accounts, their devices, groups and open connections. Plain data under one mutex that
//! is held briefly; nothing here waits, encrypts or decrypts.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node, Server};

use crate::appstate::AppState;
use crate::conn::Control;
use crate::keys::{DeviceAddr, KeyStore, SignedKey};
use crate::phone::Phone;
use crate::queue::{Class, Queue};

/// Message ids remembered per connection, to notice a repeat.
const MAX_RECENT_IDS: usize = 8_192;
/// The part of a connection's channel that may be filled with what can wait; the rest is for answers. As many answers as there are
/// unconfirmed stanzas in the sockets' buffers may be due at once, and these hold thousands.
const SHARE: usize = 8;
/// Linked devices an account may have, as WhatsApp allows.
pub(crate) const MAX_LINKED: usize = 4;

pub(crate) type ConnId = u64;

/// What a connection's writer is told.
#[derive(Debug)]
pub(crate) enum Out {
    Node(Node),
    /// Send what is queued, then close.
    Close,
}

#[derive(Default)]
pub(crate) struct World {
    pub(crate) accounts: BTreeMap<Arc<str>, Account>,
    lids: HashMap<Arc<str>, Arc<str>>,
    pub(crate) groups: BTreeMap<Arc<str>, Group>,
    pub(crate) clients: HashMap<ConnId, Client>,
    next_conn: ConnId,
    next_id: u64,
    changes: u64,
}

/// A phone number and everything that belongs to it.
pub(crate) struct Account {
    pub(crate) number: Arc<str>,
    pub(crate) lid: Arc<str>,
    pub(crate) name: String,
    pub(crate) about: String,
    pub(crate) phone: Arc<Phone>,
    pub(crate) linked: BTreeMap<u16, Linked>,
    pub(crate) next_device: u16,
    pub(crate) next_key_index: u32,
    /// `raw_id` of the account's ADV lists.
    pub(crate) adv_id: u32,
    pub(crate) adv_changed: u64,
    pub(crate) app_state: AppState,
}

/// A linked device.
pub(crate) struct Linked {
    pub(crate) keys: KeyStore,
    pub(crate) noise: [u8; 32],
    pub(crate) key_index: u32,
    /// `ADVSignedDeviceIdentity` with the device's own signature, as bundles carry it.
    pub(crate) identity: Vec<u8>,
    pub(crate) queue: Queue,
    pub(crate) online: Option<ConnId>,
    /// It has said that its user is there.
    pub(crate) available: bool,
    /// When it was linked, on the server's count of device list changes.
    pub(crate) since: u64,
    /// On the same count, when it last asked for (or was told) the device list of an account.
    pub(crate) informed: HashMap<Arc<str>, u64>,
    /// It has asked for its backlog (`<active/>`), so new stanzas go out at once when the backlog is empty.
    pub(crate) flow: Flow,
}

/// Whether new stanzas for a device go out at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    /// Not connected, or connected and passive: everything waits.
    Held,
    /// The backlog goes out in batches; `announced` is what the preview said.
    Draining { announced: usize },
    /// At once.
    Live,
}

pub(crate) struct Group {
    pub(crate) jid: Jid,
    pub(crate) subject: String,
    pub(crate) owner: Arc<str>,
    pub(crate) created: u64,
    /// Phone numbers; the value says whether the member is an admin.
    pub(crate) members: BTreeMap<Arc<str>, bool>,
    /// Its id and text.
    pub(crate) description: Option<(String, String)>,
    pub(crate) announce: bool,
    pub(crate) locked: bool,
    pub(crate) invite: String,
}

/// An open connection.
pub(crate) struct Client {
    pub(crate) tx: mpsc::Sender<Out>,
    /// Reader and writer end when this is dropped.
    pub(crate) control: watch::Sender<Control>,
    pub(crate) stage: Stage,
    /// It reads more slowly than stanzas come: those that must be confirmed wait in the device's queue.
    pub(crate) behind: Arc<AtomicBool>,
    /// Messages acknowledged on this connection.
    pub(crate) acked: RecentIds,
    /// Requests received on this connection.
    pub(crate) asked: RecentIds,
}

pub(crate) enum Stage {
    Registering(Box<Registering>),
    LoggedIn(DeviceAddr),
    /// Paired, refused or replaced: only the closing of the socket is awaited.
    Ending,
}

/// A client that shows QR codes or has asked for a pairing code.
pub(crate) struct Registering {
    pub(crate) noise: [u8; 32],
    pub(crate) identity: [u8; 32],
    pub(crate) registration_id: u32,
    pub(crate) signed: SignedKey,
    pub(crate) refs: HashSet<String>,
    pub(crate) code: Option<CodePairing>,
    pub(crate) signing: Option<Signing>,
}

/// A pairing by code that a client has started.
pub(crate) struct CodePairing {
    pub(crate) number: String,
    pub(crate) reference: String,
    pub(crate) wrapped_ephemeral: Vec<u8>,
    /// Where `companion_finish` goes.
    pub(crate) finish: Option<oneshot::Sender<Node>>,
}

/// A `pair-success` that the client has still to sign.
pub(crate) struct Signing {
    pub(crate) iq_id: String,
    pub(crate) number: Arc<str>,
    pub(crate) details: Vec<u8>,
    pub(crate) device: u16,
    pub(crate) key_index: u32,
    pub(crate) done: oneshot::Sender<Result<(), String>>,
}

#[derive(Default)]
pub(crate) struct RecentIds {
    set: HashSet<String>,
    order: VecDeque<String>,
}

impl RecentIds {
    pub(crate) fn contains(&self, id: &str) -> bool {
        self.set.contains(id)
    }

    /// Returns whether the id is new.
    pub(crate) fn insert(&mut self, id: &str) -> bool {
        let new = self.set.insert(id.to_owned());
        if new {
            self.order.push_back(id.to_owned());
            if self.order.len() > MAX_RECENT_IDS
                && let Some(old) = self.order.pop_front()
            {
                self.set.remove(&old);
            }
        }
        new
    }
}

/// The user part of the LID that a server gives a number: fifteen digits, the same on every run.
pub fn lid_of(number: &str) -> String {
    let hash: [u8; 32] = Sha256::digest(number.as_bytes()).into();
    let seed = hash[..8].iter().fold(0_u64, |value, byte| (value << 8) | u64::from(*byte));
    (100_000_000_000_000 + seed % 899_999_999_999_999).to_string()
}

impl Account {
    pub(crate) fn pn(&self, device: u16) -> Jid {
        Jid::pn_device(&*self.number, device)
    }

    pub(crate) fn lid(&self, device: u16) -> Jid {
        Jid::lid_device(&*self.lid, device)
    }

    pub(crate) fn device(&self, device: u16) -> DeviceAddr {
        DeviceAddr { user: Arc::clone(&self.number), device }
    }

    /// The phone and every linked device.
    pub(crate) fn devices(&self) -> impl Iterator<Item = DeviceAddr> + '_ {
        std::iter::once(0).chain(self.linked.keys().copied()).map(|device| self.device(device))
    }

    pub(crate) fn has_device(&self, device: u16) -> bool {
        device == 0 || self.linked.contains_key(&device)
    }
}

impl World {
    pub(crate) fn open(
        &mut self,
        tx: mpsc::Sender<Out>,
        control: watch::Sender<Control>,
        behind: Arc<AtomicBool>,
    ) -> ConnId {
        self.next_conn += 1;
        let client = Client {
            tx,
            control,
            stage: Stage::Ending,
            behind,
            acked: RecentIds::default(),
            asked: RecentIds::default(),
        };
        self.clients.insert(self.next_conn, client);
        self.next_conn
    }

    pub(crate) fn close(&mut self, conn: ConnId) {
        let Some(client) = self.clients.remove(&conn) else { return };
        if let Stage::LoggedIn(addr) = client.stage
            && let Some(device) = self.linked_mut(&addr)
            && device.online == Some(conn)
        {
            device.online = None;
            device.available = false;
            device.flow = Flow::Held;
            device.queue.reconnected();
        }
    }

    /// A stanza id of the server's own.
    pub(crate) fn fresh_id(&mut self) -> String {
        self.next_id += 1;
        format!("{:010}-{}", self.next_id, self.next_id % 7 + 1)
    }

    /// Counts a change of some account's device list.
    pub(crate) fn changed(&mut self) -> u64 {
        self.changes += 1;
        self.changes
    }

    /// Notes that a device now knows the device list of `account`.
    pub(crate) fn inform(&mut self, addr: &DeviceAddr, account: &Arc<str>) {
        let now = self.changes;
        if let Some(device) = self.linked_mut(addr) {
            device.informed.insert(Arc::clone(account), now);
        }
    }

    /// Whether `addr` had been told of `target` before it wrote.
    pub(crate) fn knew(&self, addr: &DeviceAddr, target: &DeviceAddr) -> bool {
        let since = match self.account(target).and_then(|account| account.linked.get(&target.device)) {
            Some(linked) => linked.since,
            None => 0,
        };
        let device = self.account(addr).and_then(|account| account.linked.get(&addr.device));
        device.and_then(|device| device.informed.get(&target.user)).is_some_and(|informed| since <= *informed)
    }

    pub(crate) fn add(&mut self, account: Account) {
        self.lids.insert(Arc::clone(&account.lid), Arc::clone(&account.number));
        self.accounts.insert(Arc::clone(&account.number), account);
    }

    pub(crate) fn remove(&mut self, number: &str) -> Option<Account> {
        let account = self.accounts.remove(number)?;
        self.lids.remove(&account.lid);
        for group in self.groups.values_mut() {
            group.members.remove(number);
        }
        Some(account)
    }

    /// The account a user JID names, by number or LID.
    pub(crate) fn account_of(&self, jid: &Jid) -> Option<&Account> {
        match jid.server {
            Server::Pn | Server::Legacy => self.accounts.get(jid.user.as_str()),
            Server::Lid => self.accounts.get(self.lids.get(jid.user.as_str())?),
            _ => None,
        }
    }

    /// The device a JID names, whether or not it exists.
    pub(crate) fn resolve(&self, jid: &Jid) -> Option<DeviceAddr> {
        self.account_of(jid).map(|account| account.device(jid.device))
    }

    pub(crate) fn account(&self, addr: &DeviceAddr) -> Option<&Account> {
        self.accounts.get(&addr.user)
    }

    pub(crate) fn linked_mut(&mut self, addr: &DeviceAddr) -> Option<&mut Linked> {
        self.accounts.get_mut(&addr.user)?.linked.get_mut(&addr.device)
    }

    pub(crate) fn logged_in(&self, conn: ConnId) -> Option<DeviceAddr> {
        match &self.clients.get(&conn)?.stage {
            Stage::LoggedIn(addr) => Some(addr.clone()),
            _ => None,
        }
    }

    /// Queues a stanza on a connection that need not be confirmed. A client that does not read loses its connection.
    pub(crate) fn send(&mut self, conn: ConnId, node: Node) {
        self.out(conn, Out::Node(node));
    }

    pub(crate) fn out(&mut self, conn: ConnId, out: Out) {
        let Some(client) = self.clients.get(&conn) else { return };
        match client.tx.try_send(out) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                log::warn!("a client has stopped reading: its connection is closed");
                self.close(conn);
            }
            // The writer has found the socket closed.
            Err(mpsc::error::TrySendError::Closed(_)) => self.close(conn),
        }
    }

    /// Sends the last stanza of a connection and ends it.
    pub(crate) fn end(&mut self, conn: ConnId, last: Node) {
        self.send(conn, last);
        self.out(conn, Out::Close);
    }

    /// Hands a stanza to a linked device, now or when it comes back; it stays owed until confirmed.
    pub(crate) fn deliver(&mut self, addr: &DeviceAddr, class: Class, node: Node) {
        let id = crate::stanza::attr_string(&node, "id");
        let Some(device) = self.linked_mut(addr) else { return };
        let conn = match (device.flow, device.online) {
            (Flow::Live, Some(conn)) => Some(conn),
            _ => None,
        };
        let conn = conn.filter(|conn| self.keeps_up(*conn));
        let Some(device) = self.linked_mut(addr) else { return };
        device.queue.push(class, id, node.clone(), conn.map(|_| Instant::now()));
        if let Some(conn) = conn {
            self.send(conn, node);
        }
    }

    /// Whether a connection has room for another stanza that can also wait.
    fn keeps_up(&self, conn: ConnId) -> bool {
        let Some(client) = self.clients.get(&conn) else { return false };
        if room(&client.tx) == 0 {
            client.behind.store(true, Ordering::Relaxed);
        }
        !client.behind.load(Ordering::Relaxed)
    }

    /// A connection that was behind has written much of what it had: it gets more.
    pub(crate) fn catch_up(&mut self, conn: ConnId) {
        let Some(addr) = self.logged_in(conn) else { return };
        let Some(client) = self.clients.get(&conn) else { return };
        let (room, behind) = (room(&client.tx), Arc::clone(&client.behind));
        let Some(device) = self.linked_mut(&addr) else { return };
        let stanzas = device.queue.send(room, Instant::now());
        if device.queue.backlog().total() == 0 {
            behind.store(false, Ordering::Relaxed);
        }
        for stanza in stanzas {
            self.send(conn, stanza);
        }
    }

    /// Continues a backlog: the next `count` stanzas, and the end marker once nothing is left.
    pub(crate) fn drain(&mut self, addr: &DeviceAddr, count: usize) {
        /// WhatsApp Web asks for 200.
        const MAX_BATCH: usize = 1_000;
        let count = count.min(MAX_BATCH);
        let Some(device) = self.linked_mut(addr) else { return };
        let (Flow::Draining { announced }, Some(conn)) = (device.flow, device.online) else { return };
        let mut stanzas = device.queue.send(count, Instant::now());
        let done = device.queue.backlog().total() == 0;
        if done {
            device.flow = Flow::Live;
        }
        for stanza in &mut stanzas {
            stanza.attrs.insert("offline", "1");
        }
        for stanza in stanzas {
            self.send(conn, stanza);
        }
        if done {
            let marker = NodeBuilder::new("offline").attr("count", announced).build();
            let ib = NodeBuilder::new("ib").attr("from", crate::stanza::SERVER).children([marker]).build();
            self.send(conn, ib);
        }
    }

    /// A device has gone active: it is told what waits for it, and gets the first of it.
    pub(crate) fn go_active(&mut self, addr: &DeviceAddr) {
        /// WhatsApp sends a few stanzas unasked; the client asks for the rest.
        const PRIMER: usize = 5;
        let Some(device) = self.linked_mut(addr) else { return };
        let Some(conn) = device.online else { return };
        if device.flow != Flow::Held {
            return;
        }
        let backlog = device.queue.backlog();
        device.flow = Flow::Draining { announced: backlog.total() };
        if backlog.total() > 0 {
            let preview = NodeBuilder::new("offline_preview")
                .attr("count", backlog.total())
                .attr("message", backlog.messages)
                .attr("receipt", backlog.receipts)
                .attr("notification", backlog.notifications)
                .attr("call", backlog.calls)
                .attr("appdata", 0)
                .build();
            let ib = NodeBuilder::new("ib").attr("from", crate::stanza::SERVER).children([preview]).build();
            self.send(conn, ib);
        }
        self.drain(addr, PRIMER);
    }

    /// The devices that a message from `sender` to `recipient` must reach: all of the recipient's and all of the
    /// sender's own others.
    pub(crate) fn fanout(&self, sender: &DeviceAddr, recipient: &str) -> Vec<DeviceAddr> {
        let mut devices: Vec<DeviceAddr> =
            self.accounts.get(recipient).map(|account| account.devices().collect()).unwrap_or_default();
        if *sender.user != *recipient
            && let Some(own) = self.account(sender)
        {
            devices.extend(own.devices());
        }
        devices.retain(|device| device != sender);
        devices
    }
}

/// How many stanzas that can wait a channel takes.
fn room(tx: &mpsc::Sender<Out>) -> usize {
    let queued = tx.max_capacity() - tx.capacity();
    (tx.max_capacity() / SHARE).saturating_sub(queued)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lids_are_fifteen_digits_and_stable() {
        let lid = lid_of("4915550001");
        assert_eq!(lid.len(), 15);
        assert_eq!(lid, lid_of("4915550001"));
        assert_ne!(lid, lid_of("4915550002"));
    }

    #[test]
    fn recent_ids_are_bounded() {
        let mut ids = RecentIds::default();
        for n in 0..=MAX_RECENT_IDS {
            ids.insert(&n.to_string());
        }
        assert!(!ids.contains("0"));
        assert!(ids.contains("1"));
        assert_eq!(ids.set.len(), MAX_RECENT_IDS);
    }
}
