//! `usync`: who is on WhatsApp, with which LID and which devices.

use std::sync::Arc;

use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node, Server as JidServer};

use crate::adv;
use crate::keys::DeviceAddr;
use crate::pairing::device_hash;
use crate::server::Server;
use crate::stanza::{attr_string, bytes, child, children, iq_error, iq_result, jid_attr};
use crate::world::Account;

/// Users that may be asked for in one request.
const MAX_USERS: usize = 2_000;

pub(super) fn get(server: &Server, addr: &DeviceAddr, iq: &Node) -> Node {
    let Some(usync) = child(iq, "usync") else { return iq_error(iq, 400, "bad-request") };
    let protocols: Vec<String> =
        child(usync, "query").map(children).unwrap_or_default().iter().map(|p| p.tag.to_string()).collect();
    let users = child(usync, "list").map(children).unwrap_or_default();
    if users.len() > MAX_USERS {
        server.wrong(addr, format!("asked for more than {MAX_USERS} users at once"));
        return iq_error(iq, 400, "bad-request");
    }
    let answers: Vec<Node> = users.iter().map(|user| answer(server, addr, user, &protocols)).collect();
    let result = NodeBuilder::new("result")
        .children(protocols.into_iter().map(|protocol| NodeBuilder::new_dynamic(protocol).build()))
        .build();
    let usync = NodeBuilder::new("usync")
        .attr("sid", attr_string(usync, "sid"))
        .attr("mode", attr_string(usync, "mode"))
        .attr("context", attr_string(usync, "context"))
        .attr("index", "0")
        .attr("last", "true")
        .children([result, NodeBuilder::new("list").children(answers).build()])
        .build();
    iq_result(iq, [usync])
}

fn answer(server: &Server, addr: &DeviceAddr, user: &Node, protocols: &[String]) -> Node {
    let written = child(user, "contact")
        .map(|contact| String::from_utf8_lossy(bytes(contact)).into_owned())
        .filter(|written| !written.is_empty());
    let asked = jid_attr(user, "jid").or_else(|| jid_attr(user, "pn_jid")).or_else(|| {
        let digits: String = written.as_deref()?.chars().filter(char::is_ascii_digit).collect();
        Some(Jid::pn(digits))
    });
    let Some(asked) = asked else {
        server.wrong(addr, "usync: a user without jid and without number");
        return NodeBuilder::new("user").build();
    };
    let found = {
        let world = server.world();
        world.account_of(&asked).map(|account| {
            let valid: Vec<u32> = account.linked.values().map(|device| device.key_index).collect();
            let list = (account.adv_id, account.adv_changed, account.next_key_index, valid);
            (Arc::clone(&account.phone), list)
        })
    };
    let Some((phone, (adv_id, changed, current, valid))) = found else {
        return unknown(&asked, written.as_deref(), protocols);
    };
    // The list is signed with the phone's key, outside of the world's lock.
    let signed = (!valid.is_empty()).then(|| {
        let mut state = phone.state();
        (changed, adv::key_index_list(&mut state.signal, adv_id, changed, current, valid))
    });
    let mut world = server.world();
    let Some(account) = world.accounts.get(&phone.number) else {
        return unknown(&asked, written.as_deref(), protocols);
    };
    let nodes: Vec<Node> = protocols
        .iter()
        .filter_map(|protocol| match protocol.as_str() {
            "contact" => Some(contact("in", written.as_deref())),
            "lid" => Some(NodeBuilder::new("lid").attr("val", account.lid(0)).build()),
            "status" => {
                let about = NodeBuilder::new("status").attr("t", Server::now());
                Some(about.string_content(account.about.as_str()).build())
            }
            "devices" => Some(devices(account, signed.as_ref())),
            _ => None,
        })
        .collect();
    let mut node = NodeBuilder::new("user").attr("jid", asked.to_non_ad()).children(nodes);
    if asked.server == JidServer::Lid {
        node = node.attr("pn_jid", account.pn(0));
    }
    if protocols.iter().any(|protocol| protocol == "devices") {
        world.inform(addr, &phone.number);
    }
    node.build()
}

fn devices(account: &Account, signed: Option<&(u64, Vec<u8>)>) -> Node {
    let list = account.devices().map(|device| {
        let mut node = NodeBuilder::new("device").attr("id", device.device);
        if let Some(linked) = account.linked.get(&device.device) {
            node = node.attr("key-index", linked.key_index);
        }
        node.build()
    });
    let mut parts =
        vec![NodeBuilder::new("device-list").attr("hash", device_hash(account)).children(list).build()];
    if let Some((changed, bytes)) = signed {
        parts.push(NodeBuilder::new("key-index-list").attr("ts", *changed).bytes(bytes.clone()).build());
    }
    NodeBuilder::new("devices").children(parts).build()
}

fn unknown(asked: &Jid, written: Option<&str>, protocols: &[String]) -> Node {
    let contact = protocols.iter().filter(|protocol| *protocol == "contact").map(|_| contact("out", written));
    NodeBuilder::new("user").attr("jid", asked.to_non_ad()).children(contact).build()
}

fn contact(kind: &'static str, written: Option<&str>) -> Node {
    let node = NodeBuilder::new("contact").attr("type", kind);
    match written {
        Some(written) => node.string_content(written).build(),
        None => node.build(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stanza::attr;

    #[test]
    fn a_number_that_is_not_registered_is_out() {
        let node = unknown(&Jid::pn("49"), Some("+49"), &["contact".to_owned(), "lid".to_owned()]);
        let contact = child(&node, "contact").expect("a contact");
        assert_eq!(attr(contact, "type").as_deref(), Some("out"));
        assert_eq!(children(&node).len(), 1);
    }
}
