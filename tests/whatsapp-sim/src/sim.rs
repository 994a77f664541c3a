//! The handle that tests and programs hold.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::watch;
use waproto::whatsapp as wa;

use crate::appstate::AppState;
use crate::error::SimError;
use crate::faults::Fault;
use crate::groups::GroupChange;
use crate::identity::Identity;
use crate::inbox::InboxItem;
use crate::keys::DeviceAddr;
use crate::media::{self, OutgoingMedia};
use crate::phone::{Phone, PhoneReceipt};
use crate::reading::plain_receipt;
use crate::server::{self, Server};
use crate::stats::Stats;
use crate::tls::Tls;
use crate::typing::Typing;
use crate::world::{Account, lid_of};

/// How a server is set up.
#[derive(Debug, Clone)]
pub struct SimConfig {
    /// Where to listen; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// QR references a client is given at a time. WhatsApp gives 6.
    pub qr_refs: usize,
    /// The version that `/sw.js` names: the last number of `2.3000.N`.
    pub client_revision: u32,
    /// Bytes of media that are kept; older files give way to newer ones.
    pub media_bytes: usize,
    /// Whether the port also takes TLS, under an authority of its own: see [`Sim::tls_authority`].
    pub tls: bool,
    /// In WhatsApp's place: TLS under its names, and these keys. A client reaches it if the names lead here and the port is 443.
    pub identity: Option<Arc<Identity>>,
}

impl Default for SimConfig {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 0).into(),
            qr_refs: 6,
            client_revision: 1_026_000_000,
            media_bytes: 512 << 20,
            tls: false,
            identity: None,
        }
    }
}

/// A phone that was added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhoneInfo {
    /// Its number: digits.
    pub number: String,
    /// Its LID, as a JID.
    pub lid: String,
}

/// A group, as its members see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupView {
    /// Its name.
    pub name: String,
    /// Its description.
    pub description: Option<String>,
    /// The number of whoever made it.
    pub owner: String,
    /// Numbers; the value says whether the member is an admin.
    pub members: BTreeMap<String, bool>,
    /// Only admins may write.
    pub announce: bool,
    /// Only admins may change name and description.
    pub locked: bool,
    /// The code of its invite link.
    pub invite: String,
}

/// A running server. Cheap to clone; the server stops when the last clone is dropped or on [`shutdown`](Self::shutdown).
#[derive(Clone)]
pub struct Sim {
    inner: Arc<Inner>,
}

struct Inner {
    server: Arc<Server>,
    stop: watch::Sender<bool>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

impl Sim {
    /// Starts a server.
    ///
    /// # Errors
    ///
    /// [`SimError::Listen`] if the address cannot be listened on, [`SimError::Tls`] if no certificate can be made.
    pub async fn start(config: SimConfig) -> Result<Self, SimError> {
        let listen = |source| SimError::Listen { addr: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let addr = listener.local_addr().map_err(listen)?;
        let server = Arc::new(Server::new(config, addr)?);
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(server::accept(Arc::clone(&server), listener, server.web(), stopped));
        Ok(Self { inner: Arc::new(Inner { server, stop }) })
    }

    #[cfg(test)]
    pub(crate) fn server(&self) -> &Arc<Server> {
        &self.inner.server
    }

    /// Stops the server: connections end and the port is closed, also while other clones exist.
    pub fn shutdown(&self) {
        self.inner.stop.send_replace(true);
    }

    /// Where clients connect.
    pub fn ws_url(&self) -> String {
        format!("ws://{}/ws/chat", self.inner.server.addr)
    }

    /// Where media and `/sw.js` (the client version) are.
    pub fn http_url(&self) -> String {
        format!("http://{}", self.inner.server.addr)
    }

    /// The public key that signs the server's Noise certificates.
    pub fn noise_root(&self) -> [u8; 32] {
        self.inner.server.keys.root()
    }

    /// The certificate of the authority to trust for TLS, in PEM; `None` without [`SimConfig::tls`].
    pub fn tls_authority(&self) -> Option<&str> {
        self.inner.server.tls.as_ref().map(Tls::authority)
    }

    /// Registers a number and puts a phone behind it.
    ///
    /// # Errors
    ///
    /// [`SimError::Number`] or [`SimError::PhoneExists`].
    pub async fn add_phone(&self, number: &str, name: &str) -> Result<PhoneInfo, SimError> {
        if !(5..=20).contains(&number.len()) || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(SimError::Number(number.to_owned()));
        }
        let lid = lid_of(number);
        let phone = Arc::new(Phone::new(number, &lid));
        let now = Server::now();
        let app_state = AppState::new(name, i64::try_from(now).unwrap_or(i64::MAX), &mut rand::rng());
        let account = Account {
            number: Arc::clone(&phone.number),
            lid: Arc::clone(&phone.lid),
            name: name.to_owned(),
            about: "Hey there! I am using WhatsApp.".to_owned(),
            phone,
            linked: Default::default(),
            next_device: 0,
            next_key_index: 0,
            adv_id: rand::random::<u32>() >> 1,
            adv_changed: now,
            app_state,
        };
        let mut world = self.inner.server.world();
        if world.accounts.contains_key(number) {
            return Err(SimError::PhoneExists(number.to_owned()));
        }
        world.add(account);
        Ok(PhoneInfo { number: number.to_owned(), lid: format!("{lid}@lid") })
    }

    /// Takes a number off WhatsApp: its linked devices are logged out.
    ///
    /// # Errors
    ///
    /// [`SimError::NoPhone`].
    pub async fn remove_phone(&self, number: &str) -> Result<(), SimError> {
        let server = &self.inner.server;
        server.phone(number)?;
        for device in server.linked(number) {
            server.remove_device(&device, false);
        }
        server.world().remove(number);
        Ok(())
    }

    /// The phone scans a pairing QR; returns once the client has signed and been told to log in (515).
    ///
    /// # Errors
    ///
    /// If the QR is none, is no longer shown, or the client does not complete the pairing.
    pub async fn scan(&self, number: &str, qr: &str) -> Result<(), SimError> {
        self.inner.server.scan(number, qr).await
    }

    /// The phone enters a pairing code; returns as [`scan`](Self::scan) does.
    ///
    /// # Errors
    ///
    /// If no client waits for a code for this number, the code is wrong, or the client does not complete the pairing.
    pub async fn pair_code(&self, number: &str, code: &str) -> Result<(), SimError> {
        self.inner.server.pair_code(number, code).await
    }

    /// The phone unlinks all of its linked devices.
    ///
    /// # Errors
    ///
    /// [`SimError::NoPhone`], or [`SimError::NotLinked`] if there is none.
    pub async fn unlink(&self, number: &str) -> Result<(), SimError> {
        let server = &self.inner.server;
        server.phone(number)?;
        let devices = server.linked(number);
        if devices.is_empty() {
            return Err(SimError::NotLinked(number.to_owned()));
        }
        for device in devices {
            server.remove_device(&device, false);
        }
        Ok(())
    }

    /// The phone's list of linked devices, by their numbers.
    ///
    /// # Errors
    ///
    /// [`SimError::NoPhone`].
    pub fn linked(&self, number: &str) -> Result<Vec<u16>, SimError> {
        let server = &self.inner.server;
        server.phone(number)?;
        Ok(server.linked(number).into_iter().map(|device| device.device).collect())
    }

    /// What the phone shows, once `count` messages have arrived or `wait` is over.
    ///
    /// # Errors
    ///
    /// [`SimError::NoPhone`].
    pub async fn inbox(
        &self,
        number: &str,
        count: usize,
        wait: Duration,
    ) -> Result<Vec<InboxItem>, SimError> {
        let phone = self.inner.server.phone(number)?;
        Ok(phone.inbox.wait_for(count, wait).await)
    }

    /// The phone sends a text; `to` is a number or a group's JID. Returns the message id.
    ///
    /// # Errors
    ///
    /// [`SimError::NoPhone`], [`SimError::NoRecipient`], [`SimError::NotMember`] or [`SimError::Encrypt`].
    pub async fn send_text(&self, number: &str, to: &str, text: &str) -> Result<String, SimError> {
        let message = wa::Message { conversation: Some(text.to_owned()), ..Default::default() };
        self.inner.server.send(number, to, &message)
    }

    /// The phone sends any message: a poll, a vote, a reaction, an edit; `to` as with [`send_text`](Self::send_text).
    /// Returns the message id.
    ///
    /// # Errors
    ///
    /// As `send_text`.
    pub async fn send(&self, number: &str, to: &str, message: &wa::Message) -> Result<String, SimError> {
        self.inner.server.send(number, to, message)
    }

    /// The phone encrypts and uploads a file and sends it; `to` as with [`send_text`](Self::send_text). Returns the
    /// message id.
    ///
    /// # Errors
    ///
    /// As `send_text`, and [`SimError::Upload`] if the media host cannot keep the file.
    pub async fn send_media(&self, number: &str, to: &str, media: OutgoingMedia) -> Result<String, SimError> {
        let server = &self.inner.server;
        server.phone(number)?;
        let uploaded = media::put(&server.media, media.data.clone(), media.kind.media_type()).await;
        let uploaded = uploaded.map_err(|source| SimError::Upload { number: number.to_owned(), source })?;
        let timestamp = i64::try_from(Server::now()).unwrap_or(i64::MAX);
        server.send(number, to, &media.message(uploaded, timestamp))
    }

    /// The decrypted medium of a message that the phone shows.
    ///
    /// # Errors
    ///
    /// [`SimError::NoPhone`], [`SimError::NoMessage`], or [`SimError::Media`] if the message has no medium or it cannot
    /// be opened.
    pub async fn media(&self, number: &str, id: &str) -> Result<Bytes, SimError> {
        let server = &self.inner.server;
        let phone = server.phone(number)?;
        let no_message = || SimError::NoMessage { number: number.to_owned(), id: id.to_owned() };
        let unopened = |why: String| SimError::Media { number: number.to_owned(), id: id.to_owned(), why };
        let medium = phone.inbox.media(id).ok_or_else(no_message)?;
        let medium = medium.ok_or_else(|| unopened("it has no medium".to_owned()))?;
        media::open(&server.media, medium).await.map_err(|e| unopened(e.to_string()))
    }

    /// The phone reads a message: its sender gets a read receipt.
    ///
    /// # Errors
    ///
    /// [`SimError::NoPhone`] or [`SimError::NoMessage`].
    pub async fn read(&self, number: &str, id: &str) -> Result<(), SimError> {
        self.inner.server.tick(number, id, "read")
    }

    /// The phone plays a voice note or video: its sender gets a played receipt.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub async fn play(&self, number: &str, id: &str) -> Result<(), SimError> {
        self.inner.server.tick(number, id, "played")
    }

    /// The phone types (`composing`), records (`recording`) or stops (`paused`) in a chat.
    ///
    /// # Errors
    ///
    /// [`SimError::NoPhone`] or [`SimError::NoRecipient`].
    pub async fn type_in(&self, number: &str, to: &str, state: &str) -> Result<(), SimError> {
        self.inner.server.phone_types(number, to, state)
    }

    /// The last signs of typing that the phone has seen, oldest first.
    ///
    /// # Errors
    ///
    /// [`SimError::NoPhone`].
    pub async fn typing(&self, number: &str) -> Result<Vec<Typing>, SimError> {
        Ok(self.inner.server.phone(number)?.typing())
    }

    /// Changes with each sign of typing and each receipt that the phone gets: when to look at [`typing`](Self::typing)
    /// and [`receipts`](Self::receipts) again.
    ///
    /// # Errors
    ///
    /// [`SimError::NoPhone`].
    pub fn noticed(&self, number: &str) -> Result<watch::Receiver<u64>, SimError> {
        Ok(self.inner.server.phone(number)?.noticed.subscribe())
    }

    /// Whether any linked device of the account has said that its user is there. While one has, WhatsApp keeps the phone
    /// from notifying.
    ///
    /// # Errors
    ///
    /// [`SimError::NoPhone`].
    pub async fn available(&self, number: &str) -> Result<bool, SimError> {
        let world = self.inner.server.world();
        let account = world.accounts.get(number).ok_or_else(|| SimError::NoPhone(number.to_owned()))?;
        Ok(account.linked.values().any(|device| device.available))
    }

    /// The receipts the phone has got for a message it sent.
    ///
    /// # Errors
    ///
    /// [`SimError::NoPhone`], or [`SimError::NoMessage`] if the phone sent no such message.
    pub async fn receipts(&self, number: &str, id: &str) -> Result<Vec<PhoneReceipt>, SimError> {
        let phone = self.inner.server.phone(number)?;
        let no_message = || SimError::NoMessage { number: number.to_owned(), id: id.to_owned() };
        phone.receipts(id).ok_or_else(no_message)
    }

    /// The phone loses its Signal sessions with another account's devices, as one restored from a backup does: it asks
    /// for what it then cannot read once more, and that is nobody's fault.
    ///
    /// # Errors
    ///
    /// [`SimError::NoPhone`].
    pub async fn lose_sessions(&self, number: &str, with: &str) -> Result<(), SimError> {
        let server = &self.inner.server;
        let phone = server.phone(number)?;
        server.phone(with)?;
        let mut peers = server.linked(with);
        peers.push(DeviceAddr::new(with, 0));
        phone.lose_sessions(&peers);
        Ok(())
    }

    /// Makes a group; members and owner are numbers of phones. Returns its JID.
    ///
    /// # Errors
    ///
    /// [`SimError::NoPhone`] or [`SimError::GroupTooLarge`].
    pub async fn create_group(
        &self,
        name: &str,
        owner: &str,
        members: &[String],
    ) -> Result<String, SimError> {
        self.inner.server.create_group(name, owner, members)
    }

    /// A phone changes a group: its members, its subject. Every other member's linked devices are told.
    ///
    /// # Errors
    ///
    /// [`SimError::NoPhone`] or [`SimError::GroupRefused`].
    pub async fn change_group(&self, number: &str, jid: &str, change: GroupChange) -> Result<(), SimError> {
        self.inner.server.change_group(number, jid, &change)
    }

    /// A group as the server knows it; `None` if there is none.
    pub fn group(&self, jid: &str) -> Option<GroupView> {
        let world = self.inner.server.world();
        let group = world.groups.get(jid)?;
        Some(GroupView {
            name: group.subject.clone(),
            description: group
                .description
                .as_ref()
                .map(|(_, text)| text.clone())
                .filter(|text| !text.is_empty()),
            owner: group.owner.to_string(),
            members: group.members.iter().map(|(number, admin)| (number.to_string(), *admin)).collect(),
            announce: group.announce,
            locked: group.locked,
            invite: group.invite.clone(),
        })
    }

    /// Puts a fault in force.
    pub fn fault(&self, fault: Fault) {
        self.inner.server.fault(fault);
    }

    /// Ends every fault.
    pub fn clear_faults(&self) {
        self.inner.server.faults().clear();
    }

    /// What the server has counted and noticed so far.
    pub fn stats(&self) -> Stats {
        self.inner.server.note_unconfirmed();
        self.inner.server.counters.snapshot()
    }
}

impl Server {
    pub(crate) fn phone(&self, number: &str) -> Result<Arc<Phone>, SimError> {
        let world = self.world();
        let account = world.accounts.get(number).ok_or_else(|| SimError::NoPhone(number.to_owned()))?;
        Ok(Arc::clone(&account.phone))
    }

    pub(crate) fn linked(&self, number: &str) -> Vec<DeviceAddr> {
        let world = self.world();
        let account = world.accounts.get(number);
        account.map(|own| own.devices().filter(|device| !device.is_phone()).collect()).unwrap_or_default()
    }

    /// A phone sends a message to a number or a group.
    pub(crate) fn send(&self, number: &str, to: &str, message: &wa::Message) -> Result<String, SimError> {
        let phone = self.phone(number)?;
        if to.ends_with("@g.us") {
            return self.send_group(&phone, to, message);
        }
        let digits = to.strip_suffix("@s.whatsapp.net").unwrap_or(to);
        let recipient = self.phone(digits).map_err(|_| SimError::NoRecipient(to.to_owned()))?;
        self.send_direct(&phone, &recipient.number, message)
    }

    /// A phone answers a message with a receipt of the given type.
    fn tick(&self, number: &str, id: &str, kind: &'static str) -> Result<(), SimError> {
        let phone = self.phone(number)?;
        let no_message = || SimError::NoMessage { number: number.to_owned(), id: id.to_owned() };
        let item = phone.inbox.get(id).ok_or_else(no_message)?;
        let group = item.chat.ends_with("@g.us").then_some(item.chat.as_str());
        self.receipt_to_account(&phone, &item.from, group, id, plain_receipt(id, Some(kind)));
        Ok(())
    }
}
