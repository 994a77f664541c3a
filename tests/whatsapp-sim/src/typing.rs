//! Typing and presence: what is seen at once or never.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, JidExt, Node, Server as JidServer};

use crate::error::SimError;
use crate::keys::DeviceAddr;
use crate::phone::Phone;
use crate::server::Server;
use crate::stanza::{attr, children, jid_attr};
use crate::world::{ConnId, World};

/// Somebody types, or has stopped, as a phone sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Typing {
    /// Who: digits.
    pub from: String,
    /// Where: digits, or a group's JID.
    pub chat: String,
    /// `composing`, `recording` or `paused`.
    pub state: String,
}

impl Server {
    /// `<presence>`: whether a device is in use decides whether the phone rings, so it is kept.
    pub(crate) fn presence(&self, conn: ConnId, addr: &DeviceAddr, node: &Node) {
        let kind = attr(node, "type").unwrap_or_else(|| "available".into());
        let mut world = self.world();
        match &*kind {
            "available" | "unavailable" => {
                let nameless = kind == "available" && attr(node, "name").is_none_or(|name| name.is_empty());
                if let Some(device) = world.linked_mut(addr) {
                    device.available = kind == "available";
                }
                drop(world);
                if nameless {
                    self.wrong(addr, "presence available without a name");
                }
            }
            "subscribe" => {
                let Some(to) = jid_attr(node, "to") else {
                    drop(world);
                    return self.wrong(addr, "presence subscribe without a recipient");
                };
                let answer = NodeBuilder::new("presence").attr("from", to).attr("type", "unavailable");
                world.send(conn, answer.attr("last", "deny").build());
            }
            "unsubscribe" => {}
            other => {
                drop(world);
                self.wrong(addr, format!("presence of the unknown type {other:?}"));
            }
        }
    }

    /// `<chatstate>` from a linked device.
    pub(crate) fn chatstate(&self, addr: &DeviceAddr, node: &Node) {
        let child = children(node).first();
        let state = match child.map(|child| (&*child.tag, attr(child, "media"))) {
            Some(("composing", None)) => "composing",
            Some(("composing", Some(media))) if media == "audio" => "recording",
            Some(("paused", None)) => "paused",
            _ => return self.wrong(addr, "a chatstate that is neither composing, recording nor paused"),
        };
        let Some(to) = jid_attr(node, "to") else {
            return self.wrong(addr, "a chatstate without a recipient");
        };
        self.show_typing(addr, &to, state);
    }

    /// Passes typing on to the other party's phone and connected devices.
    fn show_typing(&self, from: &DeviceAddr, to: &Jid, state: &str) {
        let mut world = self.world();
        let (phones, conns) = match to.is_group() {
            true => match world.groups.get(to.to_string().as_str()) {
                Some(group) => audience(&world, group.members.keys().filter(|member| **member != from.user)),
                None => return,
            },
            false => match world.account_of(to) {
                Some(account) => audience(&world, std::iter::once(&account.number)),
                None => return,
            },
        };
        let Some(own) = world.account(from) else { return };
        let author = if to.server == JidServer::Pn { own.pn(0) } else { own.lid(0) };
        let mut composing = NodeBuilder::new(if state == "paused" { "paused" } else { "composing" });
        if state == "recording" {
            composing = composing.attr("media", "audio");
        }
        let mut stanza = NodeBuilder::new("chatstate");
        stanza = match to.is_group() {
            true => stanza.attr("from", to.clone()).attr("participant", author),
            false => stanza.attr("from", author),
        };
        let stanza = stanza.children([composing.build()]).build();
        for conn in conns {
            world.send(conn, stanza.clone());
        }
        let chat = if to.is_group() { to.to_string() } else { from.user.to_string() };
        drop(world);
        for phone in phones {
            let typing = Typing { from: from.user.to_string(), chat: chat.clone(), state: state.to_owned() };
            phone.note_typing(typing);
        }
    }

    /// A phone types.
    pub(crate) fn phone_types(&self, number: &str, to: &str, state: &str) -> Result<(), SimError> {
        let phone = self.phone(number)?;
        let jid: Jid = match to.contains('@') {
            true => to.parse().map_err(|_| SimError::NoRecipient(to.to_owned()))?,
            false => Jid::pn(to),
        };
        self.show_typing(&phone.addr(), &jid, state);
        Ok(())
    }
}

/// The phones and the open connections of some accounts.
fn audience<'a>(
    world: &World,
    numbers: impl Iterator<Item = &'a Arc<str>>,
) -> (Vec<Arc<Phone>>, Vec<ConnId>) {
    let (mut phones, mut conns) = (Vec::new(), Vec::new());
    for account in numbers.filter_map(|number| world.accounts.get(number)) {
        phones.push(Arc::clone(&account.phone));
        conns.extend(account.linked.values().filter_map(|device| device.online));
    }
    (phones, conns)
}
