//! Messages: from a linked device to everybody it is for, and from a phone likewise.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::time::{Instant, sleep};
use wacore::messages::MessageUtils;
use wacore::send::stanza_type_from_message;
use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, JidExt, Node, Server as JidServer};
use waproto::whatsapp as wa;

use crate::error::SimError;
use crate::faults::{AckFault, DeviceRef};
use crate::keys::DeviceAddr;
use crate::pairing::fresh_message_id;
use crate::phone::{Copy, Phone};
use crate::queue::Class;
use crate::server::Server;
use crate::stanza::{attr, attr_string, bytes, child, children, jid_attr};
use crate::world::{Account, ConnId, World};

/// What a stanza says about a message, apart from its encrypted content.
#[derive(Clone)]
pub(crate) struct Header {
    pub(crate) id: String,
    pub(crate) sender: DeviceAddr,
    /// The stanza's `type`.
    pub(crate) kind: String,
    pub(crate) t: u64,
    /// For a direct message, the JID it was written to.
    pub(crate) to: Jid,
    pub(crate) group: Option<Arc<str>>,
    /// For a message sent again to an own device, whom it had been written to.
    pub(crate) recipient: Option<Jid>,
    pub(crate) edit: Option<String>,
    pub(crate) category: Option<String>,
    /// The sender's `ADVSignedDeviceIdentity`, where one was sent.
    pub(crate) identity: Option<Vec<u8>>,
    pub(crate) meta: Option<Node>,
    /// Addressed by LID.
    pub(crate) lid: bool,
}

impl Header {
    pub(crate) fn new(id: &str, sender: &DeviceAddr, to: Jid, kind: &str) -> Self {
        Self {
            id: id.to_owned(),
            sender: sender.clone(),
            kind: kind.to_owned(),
            t: Server::now(),
            to,
            group: None,
            recipient: None,
            edit: None,
            category: None,
            identity: None,
            meta: None,
            lid: false,
        }
    }
}

/// One encrypted copy on its way.
pub(crate) struct Parcel {
    pub(crate) to: DeviceAddr,
    pub(crate) enc: Vec<Node>,
}

impl Server {
    /// A `<message>` from a linked device.
    pub(crate) fn message(self: &Arc<Self>, conn: ConnId, sender: &DeviceAddr, node: &Node) {
        self.counters.message();
        let id = attr_string(node, "id");
        let Some(to) = jid_attr(node, "to").filter(|_| !id.is_empty()) else {
            return self.wrong(sender, "a message without id or recipient");
        };
        let device = DeviceRef { number: &sender.user, device: sender.device };
        let fault = self.faults().on_message(device, Instant::now());
        let repeated = self.world().clients.get(&conn).is_some_and(|client| client.acked.contains(&id));
        if repeated && !is_resend(node) {
            self.wrong(
                sender,
                format!("message {id} was sent again on a connection that had acknowledged it"),
            );
        }
        let mut ack = NodeBuilder::new("ack")
            .attr("class", "message")
            .attr("id", id.clone())
            .attr("from", to.clone())
            .attr("t", Self::now());
        let routed = match fault.deliver {
            true => Some(self.plan(sender, &to, &id, node)),
            false => None,
        };
        let mut parcels = Vec::new();
        match (routed, fault.ack) {
            (_, AckFault::Error(error)) => ack = ack.attr("error", error),
            (Some(Ok(plan)), _) => {
                if let Some(phash) = &plan.phash {
                    ack = ack.attr("phash", phash.clone());
                }
                parcels.push(plan);
            }
            (Some(Err(error)), _) => ack = ack.attr("error", error),
            (None, _) => {}
        }
        if !fault.drop {
            match fault.ack {
                AckFault::Now | AckFault::Error(_) => self.acknowledge(conn, &id, ack.build()),
                AckFault::Never => {}
                AckFault::After(time) => {
                    let (server, id, ack) = (Arc::clone(self), id.clone(), ack.build());
                    tokio::spawn(async move {
                        sleep(time).await;
                        server.acknowledge(conn, &id, ack);
                    });
                }
            }
        }
        for plan in parcels {
            self.dispatch(&plan.header, plan.parcels);
        }
        if fault.drop {
            self.world().close(conn);
        }
    }

    fn acknowledge(&self, conn: ConnId, id: &str, ack: Node) {
        let mut world = self.world();
        // What was refused may be tried again under the same id.
        if let Some(client) = world.clients.get_mut(&conn)
            && attr(&ack, "error").is_none()
        {
            client.acked.insert(id);
        }
        world.send(conn, ack);
    }

    /// Who gets what of a message. The error is the ack's error code.
    fn plan(&self, sender: &DeviceAddr, to: &Jid, id: &str, node: &Node) -> Result<Plan, u16> {
        let mut header = Header {
            recipient: jid_attr(node, "recipient"),
            edit: attr(node, "edit").map(|edit| edit.into_owned()),
            category: attr(node, "category").map(|category| category.into_owned()),
            identity: child(node, "device-identity").map(|identity| bytes(identity).to_vec()),
            meta: child(node, "meta").cloned(),
            lid: to.server == JidServer::Lid,
            ..Header::new(id, sender, to.clone(), &attr(node, "type").unwrap_or_default())
        };
        if header.kind.is_empty() {
            self.wrong(sender, format!("message {id} has no type"));
        }
        if to.is_group() {
            return self.plan_group(header, node);
        }
        if to.is_status_broadcast() {
            return Ok(Plan { header, parcels: Vec::new(), phash: None });
        }
        let world = self.world();
        let Some(recipient) = world.account_of(to).map(|account| Arc::clone(&account.number)) else {
            return Err(404);
        };
        header.to.device = 0;
        let Some(participants) = child(node, "participants") else {
            // Straight to one device: a peer message, a resend, or the only device there is.
            let parcel = Parcel { to: DeviceAddr { user: recipient, device: to.device }, enc: encs(node) };
            let problem = self.check_encs(&parcel.enc);
            drop(world);
            if let Some(problem) = problem {
                self.wrong(sender, format!("message {id}: {problem}"));
                return Err(479);
            }
            return Ok(Plan { header, parcels: vec![parcel], phash: None });
        };
        let mut problems = Vec::new();
        let parcels = self.parcels(&world, participants, &mut problems);
        let reached: HashSet<&DeviceAddr> = parcels.iter().map(|parcel| &parcel.to).collect();
        let expected = world.fanout(sender, &recipient);
        let mut phash = None;
        for missing in expected.iter().filter(|device| !reached.contains(device)) {
            if world.knew(sender, missing) {
                problems.push(format!("device {missing} is left out"));
            }
            phash = Some(());
        }
        for parcel in &parcels {
            if parcel.to.user != recipient && parcel.to.user != sender.user {
                problems.push(format!("a copy for {}, who is not in this chat", parcel.to));
            }
        }
        let phash = phash.and_then(|()| phash_of(&world, &expected, header.lid));
        drop(world);
        for problem in problems {
            self.wrong(sender, format!("message {id}: {problem}"));
        }
        Ok(Plan { header, parcels, phash })
    }

    /// The copies in `<participants>`.
    pub(crate) fn parcels(
        &self,
        world: &World,
        participants: &Node,
        problems: &mut Vec<String>,
    ) -> Vec<Parcel> {
        let mut parcels = Vec::new();
        for to in children(participants).iter().filter(|node| node.tag == "to") {
            let Some(addr) = jid_attr(to, "jid").and_then(|jid| world.resolve(&jid)) else {
                problems.push("a copy for a device that was never known".to_owned());
                continue;
            };
            let enc = encs(to);
            problems.extend(self.check_encs(&enc));
            parcels.push(Parcel { to: addr, enc });
        }
        parcels
    }

    pub(crate) fn check_encs(&self, encs: &[Node]) -> Option<String> {
        if encs.is_empty() {
            return Some("no <enc>".to_owned());
        }
        encs.iter().find_map(|enc| {
            let kind = attr(enc, "type").unwrap_or_default();
            if attr(enc, "v").as_deref() != Some("2") {
                return Some(format!("<enc> with v={:?}", attr(enc, "v")));
            }
            if !matches!(&*kind, "pkmsg" | "msg" | "skmsg") {
                return Some(format!("<enc> with type={kind:?}"));
            }
            bytes(enc).is_empty().then(|| "an empty <enc>".to_owned())
        })
    }

    /// Delivers the copies: linked devices get a stanza, phones open theirs at once.
    pub(crate) fn dispatch(&self, header: &Header, parcels: Vec<Parcel>) {
        let mut phones = Vec::new();
        {
            let mut world = self.world();
            for parcel in parcels {
                let Some(account) = world.account(&parcel.to) else { continue };
                if parcel.to.is_phone() {
                    phones.push((Arc::clone(&account.phone), parcel));
                    continue;
                }
                // A device that was unlinked a moment ago gets nothing, and nobody is to blame.
                if !account.has_device(parcel.to.device) {
                    continue;
                }
                let Some(from) = world.account(&header.sender) else { continue };
                let stanza = stanza_for(from, header, &parcel);
                world.deliver(&parcel.to, Class::Message, stanza);
            }
        }
        for (phone, parcel) in phones {
            self.to_phone(&phone, header, &parcel);
        }
    }

    /// A phone sends a message to a number.
    pub(crate) fn send_direct(
        &self,
        phone: &Arc<Phone>,
        to: &Arc<str>,
        message: &wa::Message,
    ) -> Result<String, SimError> {
        let id = fresh_message_id();
        let own = phone.addr();
        phone.compose(|| {
            let targets = self.world().fanout(&own, to);
            let encrypt = || {
                let missing = phone.without_session(&targets);
                phone.start_sessions(self.bundles(&missing))?;
                phone.seal_direct(&id, message, to, &targets)
            };
            let copies = encrypt().map_err(|error| SimError::Encrypt {
                number: phone.number.to_string(),
                to: to.to_string(),
                why: error.to_string(),
            })?;
            let header = Header::new(&id, &own, Jid::pn(&**to), stanza_type_from_message(message));
            self.dispatch(&header, copies.into_iter().map(parcel).collect());
            Ok(id.clone())
        })
    }
}

/// Who gets which part of a message, and the hash of the devices it should have reached if it did not reach all.
pub(crate) struct Plan {
    pub(crate) header: Header,
    pub(crate) parcels: Vec<Parcel>,
    pub(crate) phash: Option<String>,
}

pub(crate) fn parcel(copy: Copy) -> Parcel {
    let mut enc = NodeBuilder::new("enc").attr("v", "2").attr("type", copy.kind);
    if let Some(count) = copy.retry {
        enc = enc.attr("count", count);
    }
    Parcel { to: copy.to, enc: vec![enc.bytes(copy.body).build()] }
}

pub(crate) fn encs(node: &Node) -> Vec<Node> {
    node.get_children_by_tag("enc").cloned().collect()
}

/// A message that is sent again because its recipient asked for it carries the count of the request.
fn is_resend(node: &Node) -> bool {
    let counted = |enc: &Node| enc.attrs.contains_key("count");
    node.get_children_by_tag("enc").any(counted)
        || child(node, "participants")
            .is_some_and(|to| children(to).iter().any(|to| to.get_children_by_tag("enc").any(counted)))
}

pub(crate) fn phash_of(world: &World, devices: &[DeviceAddr], lid: bool) -> Option<String> {
    let jids: Vec<Jid> = devices
        .iter()
        .filter_map(|device| {
            let account = world.account(device)?;
            Some(if lid { account.lid(device.device) } else { account.pn(device.device) })
        })
        .collect();
    MessageUtils::participant_list_hash(&jids).ok()
}

/// The stanza that carries a copy to a linked device.
fn stanza_for(from: &Account, header: &Header, parcel: &Parcel) -> Node {
    let device = header.sender.device;
    let (author, alternate) = match header.lid {
        true => (from.lid(device), from.pn(device)),
        false => (from.pn(device), from.lid(device)),
    };
    let mut node = NodeBuilder::new("message")
        .attr("id", header.id.clone())
        .attr("type", header.kind.clone())
        .attr("t", header.t)
        .attr("notify", from.name.clone());
    if let Some(group) = &header.group {
        node = node
            .attr("from", group.parse::<Jid>().unwrap_or_default())
            .attr("participant", author)
            .attr(if header.lid { "participant_pn" } else { "participant_lid" }, alternate)
            .attr("addressing_mode", if header.lid { "lid" } else { "pn" });
    } else {
        node = node
            .attr("from", author)
            .attr(if header.lid { "sender_pn" } else { "sender_lid" }, alternate.to_non_ad());
        if parcel.to.user == header.sender.user && header.category.is_none() {
            node = node.attr("recipient", header.recipient.as_ref().unwrap_or(&header.to).clone());
        }
    }
    if let Some(edit) = &header.edit {
        node = node.attr("edit", edit.clone());
    }
    if let Some(category) = &header.category {
        node = node.attr("category", category.clone());
    }
    let prekey = parcel.enc.iter().any(|enc| attr(enc, "type").as_deref() == Some("pkmsg"));
    let mut content = parcel.enc.clone();
    if let Some(identity) = header.identity.as_ref().filter(|_| prekey) {
        content.push(NodeBuilder::new("device-identity").bytes(identity.clone()).build());
    }
    content.extend(header.meta.clone());
    node.children(content).build()
}
