//! A client that speaks the protocol by hand, so that tests can do wrong what a library would do right.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_websockets::{ClientBuilder, MaybeTlsStream, Message, WebSocketStream};
use wacore::companion_reg::CompanionWebClientType;
use wacore::messages::MessageUtils;
use wacore::pair::{DeviceState, PairUtils};
use wacore::prekeys::PreKeyUtils;
use wacore_binary::builder::NodeBuilder;
use wacore_binary::consts::WA_CONN_HEADER;
use wacore_binary::{Jid, Node, OwnedNodeRef};
use wacore_libsignal::protocol::{KeyPair, PrivateKey};
use wacore_noise::framing::{FrameDecoder, encode_frame};
use wacore_noise::{NoiseCipher, XxHandshakeState};
use waproto::buffa::{Message as _, MessageField};
use waproto::whatsapp as wa;

use crate::Sim;
use crate::keys::{Bundle, DeviceAddr, SignedKey};
use crate::phone::signal::{PhoneBundle, Signal};
use crate::stanza::{array32, attr, attr_string, be_uint, bytes, child, child_bytes, children, jid_attr};

pub(crate) struct RawClient {
    pub(crate) signal: Signal,
    pub(crate) keys: PhoneBundle,
    noise: KeyPair,
    pub(crate) jid: Jid,
    identity: Vec<u8>,
    wire: Wire,
    next: u32,
}

pub(crate) struct Wire {
    ws: WebSocketStream<MaybeTlsStream<TcpStream>>,
    decoder: FrameDecoder,
    read: NoiseCipher,
    write: NoiseCipher,
    received: u32,
    pub(crate) sent: u32,
}

impl Wire {
    pub(crate) async fn open(sim: &Sim, noise: &KeyPair, payload: wa::ClientPayload) -> Self {
        let url = sim.ws_url();
        let (mut ws, _) =
            ClientBuilder::new().uri(&url).expect("is a URL").connect().await.expect("connects");
        let mut state =
            XxHandshakeState::new(noise.clone(), payload.encode_to_vec(), &WA_CONN_HEADER).expect("starts");
        let hello = encode_frame(&state.build_client_hello().expect("hello"), Some(&WA_CONN_HEADER));
        ws.send(Message::binary(hello.expect("fits"))).await.expect("sends");
        let mut decoder = FrameDecoder::new();
        let hello = loop {
            if let Some(frame) = decoder.decode_frame() {
                break frame;
            }
            let message = ws.next().await.expect("answers").expect("answers");
            decoder.feed(message.as_payload());
        };
        let finish = state.read_server_hello_and_build_client_finish(&hello).expect("is signed");
        ws.send(Message::binary(encode_frame(&finish, None).expect("fits"))).await.expect("sends");
        let outcome = state.finish().expect("finishes");
        let (read, write) = (outcome.read_cipher, outcome.write_cipher);
        Self { ws, decoder, read, write, received: 0, sent: 0 }
    }

    pub(crate) async fn send(&mut self, node: &Node) {
        let plain = wacore_binary::marshal(node).expect("encodes");
        let sealed = self.write.encrypt_with_counter(self.sent, &plain).expect("seals");
        self.sent += 1;
        let frame = encode_frame(&sealed, None).expect("fits");
        self.ws.send(Message::binary(Bytes::from(frame))).await.expect("sends");
    }

    /// The next stanza, or `None` when the server has closed.
    pub(crate) async fn recv(&mut self) -> Option<Node> {
        let next = async {
            loop {
                if let Some(mut frame) = self.decoder.decode_frame() {
                    self.read.decrypt_in_place_with_counter(self.received, &mut frame).expect("opens");
                    self.received += 1;
                    let plain = wacore_binary::util::unpack_bytes(frame).expect("unpacks");
                    return Some(OwnedNodeRef::new(plain).expect("decodes").to_owned_node());
                }
                match self.ws.next().await {
                    Some(Ok(message)) if message.is_binary() => self.decoder.feed(message.as_payload()),
                    Some(Ok(message)) if !message.is_close() => {}
                    _ => return None,
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), next).await.expect("the server goes on")
    }
}

impl RawClient {
    /// Connects unpaired and acknowledges the QR references, of which it returns the first.
    pub(crate) async fn register(sim: &Sim) -> (Self, String) {
        Self::register_with(sim, |_| {}).await
    }

    pub(crate) async fn register_with(
        sim: &Sim,
        tamper: impl FnOnce(&mut wa::client_payload::DevicePairingRegistrationData),
    ) -> (Self, String) {
        let mut signal = Signal::generate();
        let keys = signal.bundle();
        let noise = KeyPair::generate(&mut rand::rng());
        let mut data = wa::client_payload::DevicePairingRegistrationData {
            e_regid: Some(keys.registration_id.to_be_bytes().to_vec()),
            e_keytype: Some(vec![5]),
            e_ident: Some(keys.identity.to_vec()),
            e_skey_id: Some(keys.signed.0.to_be_bytes()[1..].to_vec()),
            e_skey_val: Some(keys.signed.1.to_vec()),
            e_skey_sig: Some(keys.signed.2.clone()),
            ..Default::default()
        };
        tamper(&mut data);
        let payload =
            wa::ClientPayload { device_pairing_data: MessageField::some(data), ..Default::default() };
        let wire = Wire::open(sim, &noise, payload).await;
        let mut client =
            Self { signal, keys, noise, jid: Jid::default(), identity: Vec::new(), wire, next: 0 };
        let Some(first) = client.wire.recv().await else { return (client, String::new()) };
        let reference = first
            .get_optional_child_by_tag(&["pair-device", "ref"])
            .map(|reference| String::from_utf8_lossy(bytes(reference)).into_owned())
            .unwrap_or_default();
        (client, reference)
    }

    fn state(&self) -> DeviceState {
        let private = PrivateKey::deserialize(&self.signal.identity_private()).expect("is a key");
        let public = private.public_key().expect("has a public key");
        DeviceState {
            identity_key: KeyPair::new(public, private),
            noise_key: self.noise.clone(),
            adv_secret_key: [9; 32],
        }
    }

    pub(crate) fn qr(&self, reference: &str) -> String {
        PairUtils::make_qr_data(&self.state(), reference, CompanionWebClientType::Chrome)
    }

    /// Answers `pair-success`; `tamper` may spoil the signed identity. Returns once the server has closed.
    pub(crate) async fn sign(&mut self, tamper: impl FnOnce(&mut wa::ADVSignedDeviceIdentity)) {
        let iq = self.until("iq").await;
        let success = child(&iq, "pair-success").expect("is a pair-success");
        let (signed, key_index) =
            PairUtils::do_pair_crypto(&self.state(), child_bytes(success, "device-identity"))
                .expect("verifies");
        self.jid =
            child(success, "device").and_then(|device| jid_attr(device, "jid")).expect("names the device");
        let mut identity = wa::ADVSignedDeviceIdentity::decode_from_slice(&signed).expect("decodes");
        tamper(&mut identity);
        self.identity = identity.encode_to_vec();
        let answer =
            PairUtils::build_pair_success_response(&attr_string(&iq, "id"), self.identity.clone(), key_index);
        self.wire.send(&answer).await;
    }

    /// Pairs, logs in, uploads prekeys and goes active.
    pub(crate) async fn paired(sim: &Sim, number: &str) -> Self {
        let (mut client, reference) = Self::register(sim).await;
        let qr = client.qr(&reference);
        let (scanned, ()) = tokio::join!(sim.scan(number, &qr), client.sign(|_| {}));
        scanned.expect("pairs");
        assert_eq!(attr(&client.until("stream:error").await, "code").as_deref(), Some("515"));
        client.log_in(sim).await;
        client.upload(5).await;
        client.active().await;
        client
    }

    pub(crate) async fn log_in(&mut self, sim: &Sim) {
        assert_eq!(self.log_in_again(sim).await.tag, "success");
    }

    /// Logs in on a new connection and returns the first stanza.
    pub(crate) async fn log_in_again(&mut self, sim: &Sim) -> Node {
        let payload = wa::ClientPayload {
            username: self.jid.user.parse().ok(),
            device: Some(self.jid.device.into()),
            ..Default::default()
        };
        self.wire = Wire::open(sim, &self.noise, payload).await;
        self.recv().await.expect("answers")
    }

    pub(crate) async fn active(&mut self) {
        let id = self.ask("passive", "set", [NodeBuilder::new("active").build()]).await;
        self.answer(&id).await;
        loop {
            // The backlog of a fresh device is its app state key.
            let node = self.recv().await.expect("the server goes on");
            if child(&node, "offline").is_some() {
                return;
            }
            self.confirm(&node).await;
        }
    }

    /// Confirms a stanza as a correct client does.
    pub(crate) async fn confirm(&mut self, node: &Node) {
        let reply = match &*node.tag {
            "message" => NodeBuilder::new("receipt"),
            "receipt" | "notification" => {
                let ack = NodeBuilder::new("ack").attr("class", node.tag.to_string());
                match attr(node, "type") {
                    Some(kind) => ack.attr("type", kind.into_owned()),
                    None => ack,
                }
            }
            _ => return,
        };
        let reply = reply.attr("id", attr_string(node, "id")).attr("to", attr_string(node, "from")).build();
        self.wire.send(&reply).await;
    }

    pub(crate) async fn upload(&mut self, count: usize) {
        let keys: Vec<(u32, [u8; 32])> = (0..count).map(|_| self.signal.bundle().one_time).collect();
        let content = self.upload_nodes(&keys, &self.keys.signed.2.clone());
        let id = self.ask("encrypt", "set", content).await;
        assert_eq!(attr(&self.answer(&id).await, "type").as_deref(), Some("result"));
    }

    pub(crate) fn upload_nodes(&self, keys: &[(u32, [u8; 32])], signature: &[u8]) -> Vec<Node> {
        PreKeyUtils::build_upload_prekeys_request(
            self.keys.registration_id,
            &self.keys.identity,
            self.keys.signed.0,
            &self.keys.signed.1,
            signature,
            keys.iter().map(|(id, key)| (*id, key.as_slice())),
        )
    }

    /// Sends a request and returns its id.
    pub(crate) async fn ask(
        &mut self,
        xmlns: &'static str,
        kind: &'static str,
        content: impl IntoIterator<Item = Node>,
    ) -> String {
        self.next += 1;
        let id = format!("raw-{}", self.next);
        let iq = NodeBuilder::new("iq")
            .attr("xmlns", xmlns)
            .attr("type", kind)
            .attr("to", "s.whatsapp.net")
            .attr("id", id.clone())
            .children(content)
            .build();
        self.wire.send(&iq).await;
        id
    }

    pub(crate) async fn answer(&mut self, id: &str) -> Node {
        loop {
            let node = self.until("iq").await;
            if attr(&node, "id").as_deref() == Some(id) {
                return node;
            }
        }
    }

    pub(crate) async fn send(&mut self, node: &Node) {
        self.wire.send(node).await;
    }

    pub(crate) async fn recv(&mut self) -> Option<Node> {
        self.wire.recv().await
    }

    pub(crate) fn wire(&mut self) -> &mut Wire {
        &mut self.wire
    }

    /// The next stanza with this tag; others are confirmed and passed over.
    pub(crate) async fn until(&mut self, tag: &str) -> Node {
        loop {
            let node = self.recv().await.expect("the server goes on");
            if node.tag == tag {
                return node;
            }
            self.confirm(&node).await;
        }
    }

    /// Fetches a device's keys and starts a session with it.
    pub(crate) async fn meet(&mut self, jid: &Jid) -> Bundle {
        let user = NodeBuilder::new("user").attr("jid", jid.clone()).build();
        let id = self.ask("encrypt", "get", [NodeBuilder::new("key").children([user]).build()]).await;
        let answer = self.answer(&id).await;
        let user = answer.get_optional_child_by_tag(&["list", "user"]).expect("is answered");
        let one_time = child(user, "key")
            .and_then(|key| Some((be_uint(child_bytes(key, "id"))?, array32(child_bytes(key, "value"))?)));
        let identity = array32(child_bytes(user, "identity")).expect("has an identity");
        let bundle = Bundle {
            registration_id: be_uint(child_bytes(user, "registration")).expect("has a registration id"),
            identity,
            signed: SignedKey::parse(&identity, child(user, "skey").expect("has a signed key"))
                .expect("verifies"),
            one_time,
            device_identity: None,
        };
        let addr = addr(jid);
        self.signal
            .start_session(&addr, &bundle.to_signal(jid.device).expect("is a bundle"))
            .expect("starts");
        bundle
    }

    /// `<to>` with an encrypted text for one device; own devices get it wrapped.
    pub(crate) fn copy(&mut self, jid: &Jid, text: &str) -> Node {
        let message = wa::Message { conversation: Some(text.to_owned()), ..Default::default() };
        let message = match jid.user == self.jid.user {
            true => wacore::messages::wrap_device_sent(message, jid.to_string()),
            false => message,
        };
        self.copy_of(jid, &MessageUtils::encode_and_pad(&message))
    }

    pub(crate) fn copy_of(&mut self, jid: &Jid, padded: &[u8]) -> Node {
        let (kind, body) = self.signal.encrypt(&addr(jid), padded).expect("encrypts");
        let enc = NodeBuilder::new("enc").attr("v", "2").attr("type", kind).bytes(body).build();
        NodeBuilder::new("to").attr("jid", jid.clone()).children([enc]).build()
    }

    pub(crate) fn message(&self, id: &str, to: &Jid, copies: Vec<Node>) -> Node {
        NodeBuilder::new("message")
            .attr("to", to.clone())
            .attr("id", id)
            .attr("type", "text")
            .children([
                NodeBuilder::new("participants").children(copies).build(),
                NodeBuilder::new("device-identity").bytes(self.identity.clone()).build(),
            ])
            .build()
    }

    /// The devices of a number, as usync tells them.
    pub(crate) async fn devices(&mut self, number: &str) -> Vec<Jid> {
        let user = NodeBuilder::new("user").attr("jid", Jid::pn(number)).build();
        let query = NodeBuilder::new("query")
            .children([NodeBuilder::new("devices").attr("version", "2").build()])
            .build();
        let usync = NodeBuilder::new("usync")
            .attr("sid", "1")
            .attr("mode", "query")
            .attr("context", "message")
            .attr("index", "0")
            .attr("last", "true")
            .children([query, NodeBuilder::new("list").children([user]).build()])
            .build();
        let id = self.ask("usync", "get", [usync]).await;
        let answer = self.answer(&id).await;
        let list = answer
            .get_optional_child_by_tag(&["usync", "list", "user", "devices", "device-list"])
            .expect("is answered");
        children(list)
            .iter()
            .map(|device| Jid::pn_device(number, attr_string(device, "id").parse().expect("is a number")))
            .collect()
    }
}

fn addr(jid: &Jid) -> DeviceAddr {
    DeviceAddr::new(&jid.user, jid.device)
}
