//! Linking a device: the QR is scanned (or the code entered), the phone signs, the client signs back, 515.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::{Duration, timeout};
use wacore_binary::Node;
use wacore_binary::builder::NodeBuilder;

use crate::adv::{self, Qr};
use crate::error::SimError;
use crate::faults::StreamError;
use crate::keys::{DeviceAddr, KeyStore};
use crate::login::stream_error;
use crate::phone::Phone;
use crate::queue::{Class, Queue};
use crate::server::Server;
use crate::stanza::{SERVER, attr, attr_u64, bytes, child, iq_error, iq_result};
use crate::world::{ConnId, Flow, Linked, MAX_LINKED, Registering, Signing, Stage, World};

/// How long a client may take to sign what the phone sent.
const SIGN_TIME: Duration = Duration::from_secs(30);

fn registering(world: &mut World, conn: ConnId) -> Option<&mut Registering> {
    match &mut world.clients.get_mut(&conn)?.stage {
        Stage::Registering(registering) => Some(registering),
        _ => None,
    }
}

impl Server {
    /// The phone scans a QR; returns once the client has signed and been told to log in.
    pub(crate) async fn scan(self: &Arc<Self>, number: &str, qr: &str) -> Result<(), SimError> {
        let qr = Qr::parse(qr)?;
        let phone = self.phone(number)?;
        let conn = {
            let mut world = self.world();
            let conns: Vec<ConnId> = world.clients.keys().copied().collect();
            let found = conns.into_iter().find(|conn| {
                registering(&mut world, *conn).is_some_and(|client| client.refs.contains(&qr.reference))
            });
            let conn = found.ok_or(SimError::QrExpired)?;
            let Some(client) = registering(&mut world, conn) else { return Err(SimError::QrExpired) };
            if client.noise != qr.noise || client.identity != qr.identity {
                drop(world);
                self.counters
                    .violation("registering client", "the QR's keys are not those of the connection");
                return Err(SimError::QrKeys);
            }
            // A reference serves once.
            client.refs.remove(&qr.reference);
            conn
        };
        self.sign(conn, &phone, &qr.secret).await
    }

    /// Signs the client behind `conn` as a device of `phone` and waits for its signature.
    pub(crate) async fn sign(
        self: &Arc<Self>,
        conn: ConnId,
        phone: &Arc<Phone>,
        secret: &[u8; 32],
    ) -> Result<(), SimError> {
        let (done, signed) = oneshot::channel();
        let number = &phone.number;
        let (device, key_index, adv_id, companion) = {
            let mut world = self.world();
            let companion = registering(&mut world, conn).ok_or(SimError::QrExpired)?.identity;
            let account =
                world.accounts.get_mut(number).ok_or_else(|| SimError::NoPhone(number.to_string()))?;
            if account.linked.len() >= MAX_LINKED {
                return Err(SimError::TooManyLinked(number.to_string(), MAX_LINKED));
            }
            account.next_device += 1;
            account.next_key_index += 1;
            (account.next_device, account.next_key_index, account.adv_id, companion)
        };
        let identity =
            adv::sign_device(&mut phone.state().signal, adv_id, Self::now(), key_index, &companion, secret);
        {
            let mut world = self.world();
            let iq_id = world.fresh_id();
            let Some(account) = world.accounts.get(number) else {
                return Err(SimError::NoPhone(number.to_string()));
            };
            let children = vec![
                NodeBuilder::new("device-identity").bytes(identity.container).build(),
                NodeBuilder::new("platform").attr("name", "android").build(),
                NodeBuilder::new("device")
                    .attr("jid", account.pn(device))
                    .attr("lid", account.lid(device))
                    .build(),
            ];
            let iq = NodeBuilder::new("iq")
                .attr("from", SERVER)
                .attr("type", "set")
                .attr("xmlns", "md")
                .attr("id", iq_id.clone())
                .children([NodeBuilder::new("pair-success").children(children).build()])
                .build();
            let client = registering(&mut world, conn).ok_or(SimError::QrExpired)?;
            client.signing = Some(Signing {
                iq_id,
                number: Arc::clone(number),
                details: identity.details,
                device,
                key_index,
                done,
            });
            world.send(conn, iq);
        }
        match timeout(SIGN_TIME, signed).await {
            Ok(Ok(result)) => result.map_err(SimError::PairingRefused),
            Ok(Err(_)) => {
                Err(SimError::PairingRefused("the client disconnected before it signed".to_owned()))
            }
            Err(_) => Err(SimError::PairingRefused(format!(
                "the client did not sign within {} s",
                SIGN_TIME.as_secs()
            ))),
        }
    }

    /// A stanza from a client that has not logged in.
    pub(crate) fn registering_stanza(self: &Arc<Self>, conn: ConnId, node: &Node) {
        if node.tag == "ack" {
            // For the notification that a code was typed in.
            return self.counters.ack();
        }
        if node.tag != "iq" {
            return self.counters.violation("registering client", format!("<{}> before pairing", node.tag));
        }
        let kind = attr(node, "type").unwrap_or_default();
        if kind == "result" || kind == "error" {
            let signing = {
                let mut world = self.world();
                let Some(client) = registering(&mut world, conn) else { return };
                let id = attr(node, "id");
                client.signing.take_if(|signing| id.as_deref() == Some(signing.iq_id.as_str()))
            };
            // Anything else confirms `pair-device`, which needs no action.
            if let Some(signing) = signing {
                self.signed(conn, signing, node, &kind);
            }
            return;
        }
        let reply = match attr(node, "xmlns").as_deref() {
            Some("md") => match child(node, "link_code_companion_reg") {
                Some(registration) => return self.link_code(conn, node, registration),
                None => iq_error(node, 400, "bad-request"),
            },
            Some("w:p") => iq_result(node, []),
            other => {
                self.counters.violation("registering client", format!("iq {other:?} before pairing"));
                iq_error(node, 401, "not-authorized")
            }
        };
        self.world().send(conn, reply);
    }

    /// The client's answer to `pair-success`.
    fn signed(self: &Arc<Self>, conn: ConnId, signing: Signing, node: &Node, kind: &str) {
        let refuse = |signing: Signing, why: String| {
            // Whoever waited may have given up by now.
            let _ = signing.done.send(Err(why));
        };
        if kind == "error" {
            let error = child(node, "error");
            let code = error.and_then(|error| attr(error, "code")).unwrap_or_default().into_owned();
            let text = error.and_then(|error| attr(error, "text")).unwrap_or_default().into_owned();
            return refuse(signing, format!("the client answered with error {code} {text}"));
        }
        let returned = node.get_optional_child_by_tag(&["pair-device-sign", "device-identity"]);
        let Some(returned) = returned else {
            self.counters.violation("registering client", "pair-success answered without <device-identity>");
            return refuse(signing, "the client's answer has no device identity".to_owned());
        };
        let Ok(phone) = self.phone(&signing.number) else {
            return refuse(signing, "the phone is gone".to_owned());
        };
        let account_key = phone.state().signal.identity_public();
        let (identity, registration_id, skey, noise) = {
            let mut world = self.world();
            let Some(client) = registering(&mut world, conn) else { return };
            (client.identity, client.registration_id, client.signed.clone(), client.noise)
        };
        let mut problem =
            adv::check_companion(bytes(returned), &signing.details, &identity, &account_key).err();
        if attr_u64(returned, "key-index") != Some(u64::from(signing.key_index)) {
            problem = Some("key-index differs from the one that the phone signed");
        }
        if let Some(problem) = problem {
            self.counters.violation("registering client", format!("pair-device-sign: {problem}"));
            return refuse(signing, problem.to_owned());
        }
        let addr = DeviceAddr { user: Arc::clone(&signing.number), device: signing.device };
        {
            let mut world = self.world();
            let linked = Linked {
                keys: KeyStore::new(registration_id, identity, skey),
                noise,
                key_index: signing.key_index,
                identity: bytes(returned).to_vec(),
                queue: Queue::default(),
                online: None,
                available: false,
                flow: Flow::Held,
                since: 0,
                informed: HashMap::new(),
            };
            let linked = Linked { since: world.changed(), ..linked };
            if let Some(account) = world.accounts.get_mut(&signing.number) {
                account.linked.insert(signing.device, linked);
                account.adv_changed = Self::now();
            }
            if let Some(client) = world.clients.get_mut(&conn) {
                client.stage = Stage::Ending;
            }
            world.end(conn, stream_error(&StreamError { code: Some(515), conflict: None }));
        }
        self.share_app_state_key(&phone, &addr);
        self.device_added(&addr);
        let _ = signing.done.send(Ok(()));
    }

    /// The phone sends a linked device the key to the account's app state.
    pub(crate) fn share_app_state_key(&self, phone: &Arc<Phone>, addr: &DeviceAddr) {
        let share = self.world().account(addr).map(|account| account.app_state.key_share());
        let Some(share) = share else { return };
        let copy = phone.compose(|| {
            let missing = phone.without_session(std::slice::from_ref(addr));
            phone.start_sessions(self.bundles(&missing))?;
            phone.seal_peer(&share, addr)
        });
        let copy = match copy {
            Ok(copy) => copy,
            Err(error) => return log::warn!("the app state key cannot be encrypted: {error}"),
        };
        let mut world = self.world();
        let Some(account) = world.account(addr) else { return };
        let enc = NodeBuilder::new("enc").attr("v", "2").attr("type", copy.kind).bytes(copy.body).build();
        let node = NodeBuilder::new("message")
            .attr("from", account.pn(0))
            .attr("id", fresh_message_id())
            .attr("type", "text")
            .attr("category", "peer")
            .attr("t", Self::now())
            .children([enc])
            .build();
        world.deliver(addr, Class::Message, node);
    }
}

/// The hash over an account's devices that device lists carry.
pub(crate) fn device_hash(account: &crate::world::Account) -> String {
    let jids: Vec<_> = account.devices().map(|device| account.pn(device.device)).collect();
    wacore::messages::MessageUtils::participant_list_hash(&jids).unwrap_or_default()
}

/// A message id in the form phones use.
pub(crate) fn fresh_message_id() -> String {
    let random: [u8; 10] = rand::random();
    format!("3A{}", hex::encode_upper(random))
}
