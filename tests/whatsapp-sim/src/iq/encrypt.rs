//! `encrypt`: prekeys.

use wacore::prekeys::compute_key_bundle_digest;
use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder;

use crate::keys::{DeviceAddr, KeyStore, SignedKey};
use crate::server::Server;
use crate::stanza::{child, children, iq_error, iq_result, jid_attr};

/// Devices whose keys may be asked for in one request.
const MAX_USERS: usize = 2_000;

/// Upload (`<list>`) or rotation (`<rotate>`).
pub(super) fn set(server: &Server, addr: &DeviceAddr, iq: &Node) -> Node {
    let mut world = server.world();
    let Some(device) = world.linked_mut(addr) else { return iq_error(iq, 401, "not-authorized") };
    let result = match child(iq, "rotate") {
        Some(rotate) => match child(rotate, "skey") {
            Some(skey) => SignedKey::parse(&device.keys.identity, skey).map(|signed| {
                device.keys.signed = signed;
                Vec::new()
            }),
            None => return iq_error(iq, 400, "bad-request"),
        },
        None => device.keys.upload(iq),
    };
    drop(world);
    match result {
        Ok(again) => {
            for id in again {
                server.wrong(addr, format!("prekeys: one-time prekey {id} was uploaded again after its use"));
            }
            iq_result(iq, [])
        }
        Err(error) => {
            server.wrong(addr, format!("prekeys: {error}"));
            iq_error(iq, 406, "not-acceptable")
        }
    }
}

/// `<key>` (bundles of others), `<count>` or `<digest>` (of one's own).
pub(super) fn get(server: &Server, addr: &DeviceAddr, iq: &Node) -> Node {
    if let Some(asked) = child(iq, "key") {
        return iq_result(iq, [bundles(server, addr, asked)]);
    }
    let mut world = server.world();
    let Some(device) = world.linked_mut(addr) else { return iq_error(iq, 401, "not-authorized") };
    if child(iq, "count").is_some() {
        return iq_result(iq, [NodeBuilder::new("count").attr("value", device.keys.count()).build()]);
    }
    if child(iq, "digest").is_some() {
        return match device.keys.count() {
            0 => iq_error(iq, 404, "item-not-found"),
            _ => iq_result(iq, [digest(&device.keys)]),
        };
    }
    iq_error(iq, 400, "bad-request")
}

/// What the server holds for a device, with a hash that the device compares with its own.
fn digest(keys: &KeyStore) -> Node {
    let publics: Vec<&[u8]> = keys.publics().map(|key| key.as_slice()).collect();
    let hash =
        compute_key_bundle_digest(&keys.identity, &keys.signed.public, &keys.signed.signature, &publics);
    let three = |id: u32| id.to_be_bytes()[1..].to_vec();
    let ids = keys.ids().map(|id| NodeBuilder::new("id").bytes(three(id)).build());
    NodeBuilder::new("digest")
        .children([
            NodeBuilder::new("registration").bytes(keys.registration_id.to_be_bytes().to_vec()).build(),
            NodeBuilder::new("type").bytes(vec![5]).build(),
            NodeBuilder::new("identity").bytes(keys.identity.to_vec()).build(),
            keys.signed.node(),
            NodeBuilder::new("list").children(ids).build(),
            NodeBuilder::new("hash").bytes(hash).build(),
        ])
        .build()
}

fn bundles(server: &Server, addr: &DeviceAddr, asked: &Node) -> Node {
    if children(asked).len() > MAX_USERS {
        server.wrong(addr, format!("asked for the keys of more than {MAX_USERS} devices at once"));
    }
    let users = children(asked).iter().take(MAX_USERS).filter_map(|user| jid_attr(user, "jid"));
    let mut answers = Vec::new();
    for jid in users {
        let device = {
            let world = server.world();
            world
                .resolve(&jid)
                .filter(|device| world.account(device).is_some_and(|own| own.has_device(device.device)))
        };
        let bundle = device.and_then(|device| server.bundles(&[device]).pop());
        let user = NodeBuilder::new("user").attr("jid", jid);
        answers.push(match bundle {
            Some((_, bundle)) => user.attr("type", "result").children(bundle.nodes()).build(),
            None => {
                let error =
                    NodeBuilder::new("error").attr("code", 406).attr("text", "not-acceptable").build();
                user.children([error]).build()
            }
        });
    }
    NodeBuilder::new("list").children(answers).build()
}
