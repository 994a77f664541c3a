//! Whatever a client sends, the server goes on.

use std::sync::Arc;

use proptest::prelude::*;
use tokio::sync::{mpsc, watch};
use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, Node};

use crate::conn::Control;
use crate::keys::{DeviceAddr, KeyStore, SignedKey};
use crate::phone::signal::Signal;
use crate::queue::Queue;
use crate::server::Server;
use crate::world::{ConnId, Flow, Linked, Registering, Stage};
use crate::{Sim, SimConfig};

const ANNA: &str = "4915550001";
const BORIS: &str = "4915550002";

const TAGS: [&str; 9] =
    ["iq", "message", "receipt", "ack", "ib", "presence", "chatstate", "notification", "x"];
const INNER: [&str; 40] = [
    "participants",
    "to",
    "enc",
    "device-identity",
    "list",
    "item",
    "retry",
    "registration",
    "keys",
    "identity",
    "key",
    "skey",
    "id",
    "value",
    "signature",
    "type",
    "rotate",
    "count",
    "digest",
    "usync",
    "query",
    "user",
    "contact",
    "devices",
    "lid",
    "status",
    "sync",
    "collection",
    "patch",
    "active",
    "create",
    "participant",
    "add",
    "remove",
    "leave",
    "group",
    "subject",
    "remove-companion-device",
    "offline_batch",
    "link_code_companion_reg",
];
const KEYS: [&str; 20] = [
    "id",
    "type",
    "to",
    "xmlns",
    "jid",
    "class",
    "participant",
    "count",
    "v",
    "name",
    "version",
    "stage",
    "recipient",
    "edit",
    "category",
    "phash",
    "addressing_mode",
    "code",
    "subject",
    "media",
];
const VALUES: [&str; 32] = [
    "",
    "1",
    "2",
    "get",
    "set",
    "result",
    "text",
    "encrypt",
    "usync",
    "w:g2",
    "w:sync:app:state",
    "passive",
    "md",
    "w:m",
    "status",
    "pkmsg",
    "msg",
    "skmsg",
    "retry",
    "read",
    "message",
    "s.whatsapp.net",
    "4915550001@s.whatsapp.net",
    "4915550002@s.whatsapp.net",
    "4915550001:1@s.whatsapp.net",
    "4915550002:99@s.whatsapp.net",
    "120363000000000000@g.us",
    "critical_block",
    "companion_hello",
    "companion_finish",
    "@",
    "18446744073709551616",
];

fn node(tags: &'static [&'static str], depth: u32) -> BoxedStrategy<Node> {
    let attrs =
        prop::collection::vec((prop::sample::select(&KEYS[..]), prop::sample::select(&VALUES[..])), 0..6);
    let tag = prop::sample::select(tags);
    let leaf = prop::option::of(prop::collection::vec(any::<u8>(), 0..70));
    let children = match depth {
        0 => Just(Vec::new()).boxed(),
        _ => prop::collection::vec(node(&INNER, depth - 1), 0..4).boxed(),
    };
    (tag, attrs, leaf, children)
        .prop_map(|(tag, attrs, leaf, children)| {
            let mut node = NodeBuilder::new(tag);
            for (key, value) in attrs {
                node = node.attr(key, value);
            }
            match leaf {
                Some(bytes) if children.is_empty() => node.bytes(bytes).build(),
                _ => node.children(children).build(),
            }
        })
        .boxed()
}

fn keys() -> KeyStore {
    let bundle = Signal::generate().bundle();
    let (id, public, signature) = bundle.signed;
    KeyStore::new(bundle.registration_id, bundle.identity, SignedKey { id, public, signature })
}

/// A connection without a socket; what it is sent is thrown away.
fn connection(server: &Arc<Server>, stage: Stage) -> (ConnId, mpsc::Receiver<crate::world::Out>) {
    let (tx, rx) = mpsc::channel(1_000);
    let mut world = server.world();
    let conn = world.open(tx, watch::channel(Control::default()).0, Arc::default());
    if let Some(client) = world.clients.get_mut(&conn) {
        client.stage = stage;
    }
    (conn, rx)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_stanza_stops_the_server(stanzas in prop::collection::vec(node(&TAGS, 3), 1..20), paired: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let sim = Sim::start(SimConfig::default()).await.expect("starts");
            sim.add_phone(ANNA, "Anna").await.expect("adds");
            sim.add_phone(BORIS, "Boris").await.expect("adds");
            sim.create_group("Office", ANNA, &[BORIS.to_owned()]).await.expect("makes a group");
            let server = sim.server();
            let stage = match paired {
                true => Stage::LoggedIn(DeviceAddr::new(ANNA, 1)),
                false => Stage::Registering(Box::new(Registering {
                    noise: [1; 32],
                    identity: [5; 32],
                    registration_id: 7,
                    signed: SignedKey { id: 1, public: [6; 32], signature: Vec::new() },
                    refs: Default::default(),
                    code: None,
                    signing: None,
                })),
            };
            let (conn, mut rx) = connection(server, stage);
            if let Some(account) = server.world().accounts.get_mut(ANNA) {
                account.linked.insert(1, Linked {
                    keys: keys(),
                    noise: [1; 32],
                    key_index: 1,
                    identity: Vec::new(),
                    since: 0,
                    informed: Default::default(),
                    queue: Queue::default(),
                    online: Some(conn),
                    available: false,
                    flow: Flow::Live,
                });
            }
            for stanza in &stanzas {
                server.stanza(conn, stanza);
                while rx.try_recv().is_ok() {}
            }
            // It still does what it is there for.
            let id = sim.send_text(ANNA, BORIS, "alive").await.expect("sends");
            let shown = sim.inbox(BORIS, 1, std::time::Duration::ZERO).await.expect("has a phone");
            assert!(shown.iter().any(|item| item.id == id));
            assert_eq!(server.world().resolve(&Jid::pn(ANNA)).map(|addr| addr.device), Some(0));
        });
    }
}
