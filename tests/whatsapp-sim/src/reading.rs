//! A phone gets a message: it is opened, shown, and answered with a receipt.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node};

use crate::describe::{Described, describe};
use crate::inbox::InboxItem;
use crate::keys::{Bundle, DeviceAddr};
use crate::media::{self, MediaRef};
use crate::phone::{Envelope, Opening, Phone, PhoneReceipt, SenderFacts};
use crate::queue::Class;
use crate::routing::{Header, Parcel};
use crate::server::Server;
use crate::stanza::{attr, bytes};
use crate::world::World;

impl Server {
    /// Opens a copy on a phone.
    pub(crate) fn to_phone(&self, phone: &Arc<Phone>, header: &Header, parcel: &Parcel) {
        let (facts, informed) = {
            let world = self.world();
            let informed = header.sender.is_phone() || world.knew(&header.sender, &phone.addr());
            let device = world.account(&header.sender).and_then(|own| own.linked.get(&header.sender.device));
            let facts = device.map(|device| SenderFacts {
                registration_id: device.keys.registration_id,
                identity: device.keys.identity,
            });
            (facts, informed)
        };
        let mut shown = None;
        for enc in &parcel.enc {
            let kind = attr(enc, "type").unwrap_or_default();
            let envelope = Envelope {
                id: &header.id,
                sender: &header.sender,
                kind: &kind,
                body: bytes(enc),
                group: header.group.as_deref(),
                informed,
                device_identity: header.identity.is_some(),
            };
            let (opening, wrong) = phone.open(&envelope, facts.as_ref());
            for what in wrong {
                self.wrong(&header.sender, what);
            }
            match opening {
                Opening::Message(message) => {
                    self.answer_device(phone, header, &message);
                    shown = shown.or(self.show(phone, header, *message));
                }
                Opening::Retry { count, registration_id, bundle, error, .. } => {
                    log::debug!("a phone asks for message {} again: {error}", header.id);
                    let receipt = retry_receipt(header, count, registration_id, &bundle);
                    self.receipt_from_phone(phone, header, receipt);
                    return;
                }
                Opening::GivenUp { error } => {
                    log::debug!("a phone gives message {} up: {error}", header.id);
                    return;
                }
            }
        }
        // Messages between an account's own devices get no tick.
        if header.sender.user != phone.number {
            let receipt = plain_receipt(&header.id, None);
            self.receipt_from_phone(phone, header, receipt);
        }
        if shown == Some(false) {
            self.counters.duplicate();
        }
    }

    /// A linked device of the phone's own account asks for the key to the app state.
    fn answer_device(&self, phone: &Arc<Phone>, header: &Header, message: &waproto::whatsapp::Message) {
        let asks =
            message.protocol_message.as_option().is_some_and(|it| it.app_state_sync_key_request.is_set());
        if !asks {
            return;
        }
        if header.sender.user == phone.number && !header.sender.is_phone() {
            self.share_app_state_key(phone, &header.sender);
        } else {
            self.wrong(&header.sender, "asked a phone of another account for its app state key");
        }
    }

    /// Shows a message in the phone's inbox. `None`: nothing to show; else whether it was new.
    fn show(&self, phone: &Arc<Phone>, header: &Header, message: waproto::whatsapp::Message) -> Option<bool> {
        let described = describe(&message)?;
        let own = header.sender.user == phone.number;
        let number = |jid: &Jid| self.world().account_of(jid).map(|account| account.number.to_string());
        let chat = match (&header.group, &described.destination, &header.recipient) {
            (Some(group), ..) => group.to_string(),
            (None, Some(_), _) if !own => {
                let what = format!("message {}: a DeviceSentMessage for somebody else", header.id);
                self.wrong(&header.sender, what);
                return None;
            }
            (None, Some(destination), _) => {
                let jid: Option<Jid> = destination.parse().ok();
                jid.as_ref().and_then(number).unwrap_or_else(|| destination.clone())
            }
            // Sent again to an own device, such a message is not wrapped; its stanza says where it went.
            (None, None, Some(recipient)) if own => number(recipient)?,
            (None, None, _) => {
                if own && header.category.is_none() {
                    let what = format!("message {}: the own phone's copy is no DeviceSentMessage", header.id);
                    self.wrong(&header.sender, what);
                }
                header.sender.user.to_string()
            }
        };
        if !header.sender.is_phone()
            && let Some(what) = self.misses_its_message(phone, header, &chat, &described)
        {
            self.wrong(&header.sender, format!("message {}: {what}", header.id));
        }
        let medium = described.media.as_ref().and_then(|media| self.fetch(phone, header, media));
        let from = header.sender.user.to_string();
        let item = InboxItem::new(&header.id, from, chat, header.t, &described, medium);
        Some(phone.inbox.push(item, described.media))
    }

    /// What is wrong with a reaction, an edit or a revoke, as far as the phone knows the message that it is about.
    fn misses_its_message(
        &self,
        phone: &Phone,
        header: &Header,
        chat: &str,
        described: &Described,
    ) -> Option<String> {
        let key = described.about.as_ref()?;
        let kind = described.kind;
        let (Some(id), Some(from_me)) = (&key.id, key.from_me) else {
            return Some(format!("a {kind} whose key is not complete"));
        };
        let taken_back = kind == "reaction" && described.text.as_deref() == Some("");
        let expected = match kind {
            "edit" => Some("1"),
            "revoke" if from_me => Some("7"),
            "revoke" => Some("8"),
            _ if taken_back => Some("7"),
            _ => None,
        };
        if header.edit.as_deref() != expected {
            return Some(format!("a {kind} whose stanza has edit={:?} instead of {expected:?}", header.edit));
        }
        let author = match phone.inbox.get(id) {
            Some(item) if item.chat != chat => return Some(format!("a {kind} of a message of another chat")),
            Some(item) => item.from,
            None if phone.sent_message(id).is_some() => phone.number.to_string(),
            None => return None,
        };
        let own = *author == *header.sender.user;
        if from_me != own {
            return Some(format!("a {kind} with from_me={from_me} of a message that {author} wrote"));
        }
        if matches!(kind, "edit" | "revoke") && !own {
            return Some(format!("a {kind} of a message that {author} wrote"));
        }
        if header.group.is_some() && !own {
            let named: Option<Jid> = key.participant.as_ref().and_then(|name| name.parse().ok());
            let named = named.and_then(|jid| Some(self.world().account_of(&jid)?.number.to_string()));
            if named.as_ref() != Some(&author) {
                return Some(format!("a {kind} that names {named:?} as the author of {author}'s message"));
            }
        }
        None
    }

    /// The phone downloads a message's medium and decrypts it: its size and its SHA-256.
    fn fetch(&self, phone: &Phone, header: &Header, media: &MediaRef) -> Option<(u64, [u8; 32])> {
        // A repeat is not shown, so nothing is downloaded for it.
        if phone.inbox.get(&header.id).is_some() {
            return None;
        }
        match media::open_blocking(&self.media, media) {
            Ok(plain) => Some((plain.len() as u64, Sha256::digest(&plain).into())),
            Err(error) if error.is_violation() => {
                self.wrong(&header.sender, format!("message {}: {error}", header.id));
                None
            }
            Err(error) => {
                log::warn!("message {}: {error}", header.id);
                None
            }
        }
    }

    /// Sends a receipt of a phone to the sender of a message: its linked devices, or its phone.
    pub(crate) fn receipt_from_phone(&self, phone: &Arc<Phone>, header: &Header, receipt: Node) {
        let retry = attr(&receipt, "type").as_deref() == Some("retry");
        let mut world = self.world();
        if header.sender.is_phone() {
            let sender = world.account(&header.sender).map(|account| Arc::clone(&account.phone));
            drop(world);
            if let Some(sender) = sender {
                let kind = attr(&receipt, "type").map_or("delivered".to_owned(), |kind| kind.into_owned());
                sender.note_receipt(&header.id, PhoneReceipt { from: phone.addr().to_string(), kind });
            }
            return;
        }
        // A retry concerns the device that encrypted; ticks concern the whole account.
        let targets = match retry {
            true => vec![header.sender.clone()],
            false => linked_devices(&world, &header.sender),
        };
        let node = address_receipt(&world, receipt, &phone.addr(), header.group.as_deref(), header.lid);
        let Some(node) = node else { return };
        for target in targets {
            world.deliver(&target, Class::Receipt, node.clone());
        }
    }
}

impl Server {
    /// Sends a receipt of a phone to every device of an account, its phone included.
    pub(crate) fn receipt_to_account(
        &self,
        phone: &Arc<Phone>,
        account: &str,
        group: Option<&str>,
        id: &str,
        receipt: Node,
    ) {
        let kind = attr(&receipt, "type").map_or("delivered".to_owned(), |kind| kind.into_owned());
        let sender = {
            let mut world = self.world();
            let author = DeviceAddr::new(account, 0);
            let Some(node) = address_receipt(&world, receipt, &phone.addr(), group, group.is_some()) else {
                return;
            };
            for target in linked_devices(&world, &author) {
                world.deliver(&target, Class::Receipt, node.clone());
            }
            world.account(&author).map(|account| Arc::clone(&account.phone))
        };
        if let Some(sender) = sender {
            sender.note_receipt(id, PhoneReceipt { from: phone.addr().to_string(), kind });
        }
    }

    /// A device cannot read a message and asks its author for it once more.
    pub(crate) fn retry_asked(&self, from: &DeviceAddr, author: &DeviceAddr, to: &Jid, receipt: &Node) {
        let id = attr(receipt, "id").unwrap_or_default();
        let lid = to.server == wacore_binary::Server::Lid;
        if !author.is_phone() {
            let mut world = self.world();
            let group = wacore_binary::JidExt::is_group(to).then(|| to.to_string());
            let mut stanza = receipt.clone();
            stanza.attrs = Default::default();
            stanza.attrs.insert("id", id.into_owned());
            stanza.attrs.insert("type", "retry");
            stanza.attrs.insert("t", Self::now());
            if let Some(stanza) = address_receipt(&world, stanza, from, group.as_deref(), lid) {
                world.deliver(author, Class::Receipt, stanza);
            }
            return;
        }
        let Ok(phone) = self.phone(&author.user) else { return };
        let Some((message, destination)) = phone.sent_message(&id) else {
            return log::debug!("a retry for a message the phone does not remember");
        };
        let count = receipt
            .get_optional_child("retry")
            .and_then(|retry| crate::stanza::attr_u64(retry, "count"))
            .and_then(|count| u8::try_from(count).ok())
            .unwrap_or(1);
        // Keys in the request are newer than those the server holds.
        let bundle = crate::keys::bundle_from_retry(receipt)
            .map(|bundle| (from.clone(), bundle))
            .or_else(|| self.bundles(std::slice::from_ref(from)).pop());
        let copy = phone.compose(|| phone.seal_again(&message, &destination, from, bundle, count));
        match copy {
            Ok((copy, group)) => {
                let kind = wacore::send::stanza_type_from_message(&message).to_owned();
                let direct = match &destination {
                    crate::phone::Destination::Direct(number) => Jid::pn(&**number),
                    crate::phone::Destination::Group(_) => to.clone(),
                };
                let header = Header { group, lid, ..Header::new(&id, author, direct, &kind) };
                self.dispatch(&header, vec![crate::routing::parcel(copy)]);
            }
            Err(error) => log::warn!("a message cannot be encrypted again: {error}"),
        }
    }
}

pub(crate) fn linked_devices(world: &World, of: &DeviceAddr) -> Vec<DeviceAddr> {
    let account = world.account(of);
    account.map(|account| account.devices().filter(|device| !device.is_phone()).collect()).unwrap_or_default()
}

/// `<receipt id t [type]/>`, not yet addressed.
pub(crate) fn plain_receipt(id: &str, kind: Option<&str>) -> Node {
    let mut node = NodeBuilder::new("receipt").attr("id", id).attr("t", Server::now());
    if let Some(kind) = kind {
        node = node.attr("type", kind);
    }
    node.build()
}

/// Adds `from` (and `participant`, in a group): the device the receipt is from.
pub(crate) fn address_receipt(
    world: &World,
    mut receipt: Node,
    from: &DeviceAddr,
    group: Option<&str>,
    lid: bool,
) -> Option<Node> {
    let account = world.account(from)?;
    let retry = attr(&receipt, "type").as_deref() == Some("retry");
    // Ticks name the person, retries the device.
    let device = if retry { from.device } else { 0 };
    let author = if lid { account.lid(device) } else { account.pn(device) };
    match group {
        Some(group) => {
            receipt.attrs.insert("from", group.parse::<Jid>().ok()?);
            receipt.attrs.insert("participant", author);
        }
        None => receipt.attrs.insert("from", author),
    }
    Some(receipt)
}

fn retry_receipt(header: &Header, count: u8, registration_id: u32, bundle: &Bundle) -> Node {
    let mut receipt = plain_receipt(&header.id, Some("retry"));
    let retry = NodeBuilder::new("retry")
        .attr("v", "1")
        .attr("id", header.id.clone())
        .attr("t", header.t)
        .attr("count", count)
        .build();
    let registration = NodeBuilder::new("registration").bytes(registration_id.to_be_bytes().to_vec()).build();
    let keys = bundle.nodes().into_iter().filter(|node| node.tag != "registration");
    let keys = NodeBuilder::new("keys").children(keys).build();
    receipt.content = Some(wacore_binary::NodeContent::Nodes(vec![retry, registration, keys]));
    receipt
}
