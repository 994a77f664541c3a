//! What a client that has finished its handshake gets: success, QR references, or a refusal.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::Instant;
use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder;
use waproto::whatsapp as wa;

use crate::faults::{DeviceRef, LoginFault, StreamError};
use crate::keys::{DeviceAddr, SignedKey};
use crate::server::Server;
use crate::stanza::{SERVER, array32, be_uint};
use crate::world::{ConnId, Flow, Registering, Stage};

impl Server {
    /// A client has finished its handshake: its log-in or registration is answered.
    pub(crate) fn greet(
        self: &Arc<Self>,
        conn: ConnId,
        client_static: [u8; 32],
        payload: &wa::ClientPayload,
        peer: SocketAddr,
    ) {
        let who = payload.username.map(|number| DeviceAddr {
            user: number.to_string().into(),
            device: payload.device.and_then(|device| u16::try_from(device).ok()).unwrap_or(0),
        });
        let named = who.as_ref().map(|addr| DeviceRef { number: &addr.user, device: addr.device });
        let fault = self.faults().on_login(named, Instant::now());
        match &fault {
            Some(LoginFault::Failure { reason, code, expire_s }) => {
                return self.world().end(conn, failure(*reason, *code, *expire_s));
            }
            Some(LoginFault::StreamError(error)) => return self.world().end(conn, stream_error(error)),
            Some(LoginFault::AfterSuccess(_)) | None => {}
        }
        match who {
            Some(addr) => self.log_in(conn, addr, client_static),
            None => self.register(conn, client_static, payload, peer),
        }
        if let Some(LoginFault::AfterSuccess(error)) = fault {
            self.world().end(conn, stream_error(&error));
        }
    }

    fn log_in(&self, conn: ConnId, addr: DeviceAddr, client_static: [u8; 32]) {
        let mut world = self.world();
        let known = world.linked_mut(&addr).map(|device| (device.noise == client_static, device.online));
        let old = match known {
            Some((true, old)) => old,
            Some((false, _)) => {
                world.end(conn, failure(401, None, None));
                drop(world);
                return self.wrong(&addr, "logged in with a Noise key other than the paired one");
            }
            None => return world.end(conn, failure(401, None, None)),
        };
        if let Some(old) = old {
            let replaced = StreamError { code: None, conflict: Some("replaced".to_owned()) };
            if let Some(client) = world.clients.get_mut(&old) {
                client.stage = Stage::Ending;
            }
            world.end(old, stream_error(&replaced));
        }
        let Some(lid) = world.account(&addr).map(|account| account.lid(addr.device)) else { return };
        if let Some(device) = world.linked_mut(&addr) {
            device.online = Some(conn);
            device.flow = Flow::Held;
            device.available = false;
            device.queue.reconnected();
        }
        if let Some(client) = world.clients.get_mut(&conn) {
            client.stage = Stage::LoggedIn(addr);
        }
        let success = NodeBuilder::new("success").attr("t", Self::now()).attr("lid", lid).build();
        world.send(conn, success);
    }

    fn register(&self, conn: ConnId, noise: [u8; 32], payload: &wa::ClientPayload, peer: SocketAddr) {
        let mut world = self.world();
        let parsed =
            payload.device_pairing_data.as_option().ok_or("a payload with neither user nor pairing data");
        let registering = match parsed.and_then(|data| registering(data, noise)) {
            Ok(registering) => registering,
            Err(what) => {
                world.end(conn, failure(400, None, None));
                drop(world);
                return self.counters.violation(peer.to_string(), format!("registration: {what}"));
            }
        };
        let mut registering = Box::new(registering);
        let refs: Vec<String> = (0..self.config.qr_refs).map(|_| fresh_reference()).collect();
        registering.refs.extend(refs.iter().cloned());
        if let Some(client) = world.clients.get_mut(&conn) {
            client.stage = Stage::Registering(registering);
        }
        let refs = refs.into_iter().map(|text| NodeBuilder::new("ref").bytes(text.into_bytes()).build());
        let id = world.fresh_id();
        let iq = NodeBuilder::new("iq")
            .attr("from", SERVER)
            .attr("type", "set")
            .attr("xmlns", "md")
            .attr("id", id)
            .children([NodeBuilder::new("pair-device").children(refs).build()])
            .build();
        world.send(conn, iq);
    }
}

fn registering(
    data: &wa::client_payload::DevicePairingRegistrationData,
    noise: [u8; 32],
) -> Result<Registering, &'static str> {
    let registration_id =
        data.e_regid.as_deref().and_then(be_uint).ok_or("no registration id of up to 4 bytes")?;
    let identity = data.e_ident.as_deref().and_then(array32).ok_or("no identity key of 32 bytes")?;
    if data.e_keytype.as_deref() != Some(&[5]) {
        return Err("the key type is not 5");
    }
    let id = data.e_skey_id.as_deref().and_then(be_uint).ok_or("no signed prekey id")?;
    let public = data.e_skey_val.as_deref().and_then(array32).ok_or("no signed prekey of 32 bytes")?;
    let signature = data.e_skey_sig.as_deref().unwrap_or_default();
    let signed = SignedKey::verified(&identity, id, public, signature)
        .map_err(|_| "the signed prekey's signature does not verify")?;
    Ok(Registering {
        noise,
        identity,
        registration_id,
        signed,
        refs: Default::default(),
        code: None,
        signing: None,
    })
}

/// A reference as WhatsApp puts it into a QR: no comma may occur in it.
pub(crate) fn fresh_reference() -> String {
    use base64::Engine;
    let random: [u8; 48] = rand::random();
    format!("2@{}", base64::prelude::BASE64_STANDARD.encode(random))
}

pub(crate) fn failure(reason: u16, code: Option<u16>, expire_s: Option<u64>) -> Node {
    let mut node = NodeBuilder::new("failure").attr("reason", reason).attr("location", "sim");
    if let Some(code) = code {
        node = node.attr("code", code);
    }
    if let Some(expire) = expire_s {
        node = node.attr("expire", expire);
    }
    node.build()
}

pub(crate) fn stream_error(error: &StreamError) -> Node {
    let mut node = NodeBuilder::new("stream:error");
    if let Some(code) = error.code {
        node = node.attr("code", code);
    }
    if let Some(conflict) = &error.conflict {
        node = node.children([NodeBuilder::new("conflict").attr("type", conflict.clone()).build()]);
    }
    node.build()
}
