//! Receipts from linked devices.

use std::sync::Arc;

use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, JidExt, Node, Server as JidServer};

use crate::keys::DeviceAddr;
use crate::phone::PhoneReceipt;
use crate::queue::Class;
use crate::reading::{address_receipt, linked_devices};
use crate::server::Server;
use crate::stanza::{attr, attr_string, child, children, jid_attr};
use crate::world::ConnId;

/// The receipt types WhatsApp's clients send.
const KINDS: [&str; 11] = [
    "inactive",
    "sender",
    "peer_msg",
    "hist_sync",
    "read",
    "read-self",
    "played",
    "played-self",
    "retry",
    "enc_rekey_retry",
    "server-error",
];

impl Server {
    /// A `<receipt>` from a linked device.
    pub(crate) fn receipt(self: &Arc<Self>, conn: ConnId, addr: &DeviceAddr, node: &Node) {
        self.counters.receipt();
        let id = attr_string(node, "id");
        let kind = attr(node, "type");
        let Some(to) = jid_attr(node, "to").filter(|_| !id.is_empty()) else {
            return self.wrong(addr, "a receipt without id or recipient");
        };
        if let Some(kind) = kind.as_deref().filter(|kind| !KINDS.contains(kind)) {
            self.wrong(addr, format!("receipt {id} has the unknown type {kind:?}"));
        }
        let mut ack = NodeBuilder::new("ack")
            .attr("class", "receipt")
            .attr("id", id.clone())
            .attr("from", to.clone())
            .attr("t", Self::now());
        if let Some(kind) = &kind {
            ack = ack.attr("type", kind.clone().into_owned());
        }
        let participant = jid_attr(node, "participant");
        if let Some(participant) = &participant {
            ack = ack.attr("participant", participant.clone());
        }
        let mut ids = vec![id.clone()];
        if let Some(list) = child(node, "list") {
            ids.extend(children(list).iter().map(|item| attr_string(item, "id")));
        }
        let retry = kind.as_deref() == Some("retry");
        let author = {
            let mut world = self.world();
            world.send(conn, ack.build());
            if !retry && let Some(device) = world.linked_mut(addr) {
                for id in &ids {
                    device.queue.confirm(Class::Message, id, None);
                    device.queue.confirm(Class::Call, id, None);
                }
            }
            // In a group the receipt names the author; in a direct chat it goes to them.
            world.resolve(participant.as_ref().filter(|_| to.is_group()).unwrap_or(&to))
        };
        if matches!(kind.as_deref(), Some("sender" | "peer_msg" | "hist_sync" | "read-self" | "played-self"))
        {
            return;
        }
        let Some(author) = author else { return };
        if retry {
            return self.retry_asked(addr, &author, &to, node);
        }
        self.pass_receipt(addr, &author, &to, node, &ids);
    }

    /// Passes a tick on to the account that wrote the messages.
    fn pass_receipt(&self, from: &DeviceAddr, author: &DeviceAddr, to: &Jid, node: &Node, ids: &[String]) {
        let kind = attr(node, "type").map(|kind| kind.into_owned());
        let phone = {
            let mut world = self.world();
            let mut stanza =
                NodeBuilder::new("receipt").attr("id", attr_string(node, "id")).attr("t", Self::now());
            if let Some(kind) = &kind {
                stanza = stanza.attr("type", kind.clone());
            }
            if let Some(list) = child(node, "list") {
                stanza = stanza.children([list.clone()]);
            }
            let group = to.is_group().then(|| to.to_string());
            let stanza =
                address_receipt(&world, stanza.build(), from, group.as_deref(), to.server == JidServer::Lid);
            let Some(stanza) = stanza else { return };
            for target in linked_devices(&world, author) {
                world.deliver(&target, Class::Receipt, stanza.clone());
            }
            world.account(author).map(|account| Arc::clone(&account.phone))
        };
        let Some(phone) = phone else { return };
        for id in ids {
            let kind = kind.clone().unwrap_or_else(|| "delivered".to_owned());
            phone.note_receipt(id, PhoneReceipt { from: from.to_string(), kind });
        }
    }
}
