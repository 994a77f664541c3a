//! What a client does wrong is noticed, and named.

use wacore_binary::Jid;
use wacore_binary::builder::NodeBuilder;
use waproto::buffa::Message as _;
use waproto::whatsapp as wa;

use crate::raw_client::RawClient;
use crate::stanza::{attr, bytes, child, jid_attr};
use crate::{Sim, SimConfig, SimError};

const ANNA: &str = "4915550001";
const BORIS: &str = "4915550002";

async fn sim() -> Sim {
    let sim = Sim::start(SimConfig::default()).await.expect("starts");
    sim.add_phone(ANNA, "Anna").await.expect("adds");
    sim.add_phone(BORIS, "Boris").await.expect("adds");
    sim
}

/// The one violation there is.
fn violation(sim: &Sim) -> String {
    let mut violations = sim.stats().violations;
    assert_eq!(violations.len(), 1, "{violations:?}");
    violations.remove(0).what
}

/// Anna's client, in session with both phones.
async fn client(sim: &Sim) -> RawClient {
    let mut client = RawClient::paired(sim, ANNA).await;
    for number in [ANNA, BORIS] {
        client.devices(number).await;
        client.meet(&Jid::pn(number)).await;
    }
    assert_eq!(sim.stats().violations, []);
    client
}

/// Sends one message with a copy for each phone and waits for its ack.
async fn send(client: &mut RawClient, id: &str) -> wacore_binary::Node {
    let copies = vec![client.copy(&Jid::pn(BORIS), "hello"), client.copy(&Jid::pn(ANNA), "hello")];
    let message = client.message(id, &Jid::pn(BORIS), copies);
    client.send(&message).await;
    client.until("ack").await
}

#[tokio::test]
async fn a_correct_client_does_nothing_wrong() {
    let sim = sim().await;
    let mut client = client(&sim).await;
    for id in ["A1", "A2"] {
        let ack = send(&mut client, id).await;
        assert_eq!((attr(&ack, "error"), attr(&ack, "phash")), (None, None));
    }
    let shown = sim.inbox(BORIS, 2, std::time::Duration::from_secs(30)).await.expect("has a phone");
    assert_eq!(shown.len(), 2);
    assert_eq!(sim.stats().violations, []);
}

#[tokio::test]
async fn lids_address_the_same_accounts() {
    let sim = sim().await;
    let mut client = client(&sim).await;
    let (anna, boris) = (Jid::lid(crate::lid_of(ANNA)), Jid::lid(crate::lid_of(BORIS)));
    let mut reader = RawClient::paired(&sim, BORIS).await;
    let linked = boris.with_device(reader.jid.device);
    for jid in [&boris, &linked] {
        client.meet(jid).await;
    }
    let mut copies = vec![client.copy(&Jid::pn(ANNA), "hello")];
    for jid in [&boris, &linked] {
        copies.push(client.copy(jid, "hello"));
    }
    let message = client.message("A1", &boris, copies);
    client.send(&message).await;
    let ack = client.until("ack").await;
    assert_eq!((attr(&ack, "error"), attr(&ack, "phash")), (None, None));
    let receipt = client.until("receipt").await;
    assert_eq!(jid_attr(&receipt, "from"), Some(boris.clone()));
    let message = reader.until("message").await;
    assert_eq!(jid_attr(&message, "from"), Some(anna.with_device(client.jid.device)));
    assert_eq!(jid_attr(&message, "sender_pn"), Some(Jid::pn(ANNA)));
    let enc = child(&message, "enc").expect("is encrypted");
    let sender = crate::keys::DeviceAddr::new(&anna.user, client.jid.device);
    let opened = reader.signal.decrypt(&sender, &attr(enc, "type").unwrap_or_default(), bytes(enc));
    assert!(opened.is_ok());
    assert_eq!(sim.stats().violations, []);
}

#[tokio::test]
async fn a_phone_sends_again_what_a_client_cannot_read() {
    let sim = sim().await;
    let mut client = client(&sim).await;
    let id = sim.send_text(BORIS, ANNA, "hello").await.expect("sends");
    let message = client.until("message").await;
    let keys = client.signal.bundle();
    let retry = NodeBuilder::new("retry").attr("v", "1").attr("id", id.clone()).attr("count", "1").build();
    let registration =
        NodeBuilder::new("registration").bytes(keys.registration_id.to_be_bytes().to_vec()).build();
    let keys = crate::keys::Bundle::from(keys).nodes().into_iter().filter(|node| node.tag != "registration");
    let receipt = NodeBuilder::new("receipt")
        .attr("to", attr(&message, "from").unwrap_or_default().into_owned())
        .attr("id", id.clone())
        .attr("type", "retry")
        .children([retry, registration, NodeBuilder::new("keys").children(keys).build()])
        .build();
    client.send(&receipt).await;
    let again = client.until("message").await;
    let enc = child(&again, "enc").expect("is encrypted");
    assert_eq!(
        (attr(&again, "id").as_deref(), attr(enc, "count").as_deref()),
        (Some(id.as_str()), Some("1"))
    );
    let boris = crate::keys::DeviceAddr::new(BORIS, 0);
    let opened = client.signal.decrypt(&boris, "pkmsg", bytes(enc)).expect("decrypts");
    let read = wa::Message::decode_from_slice(&opened.plaintext).expect("decodes");
    assert_eq!(read.conversation.as_deref(), Some("hello"));
    assert_eq!(sim.stats().violations, []);
}

#[tokio::test]
async fn a_forged_device_signature() {
    let sim = sim().await;
    let (mut client, reference) = RawClient::register(&sim).await;
    let qr = client.qr(&reference);
    let forge = |identity: &mut wa::ADVSignedDeviceIdentity| {
        identity.device_signature = identity.account_signature.clone();
    };
    let (scanned, ()) = tokio::join!(sim.scan(ANNA, &qr), client.sign(forge));
    assert!(matches!(scanned, Err(SimError::PairingRefused(_))), "{scanned:?}");
    assert_eq!(violation(&sim), "pair-device-sign: the device signature does not verify");
}

#[tokio::test]
async fn a_forged_prekey_signature_at_registration() {
    let sim = sim().await;
    RawClient::register_with(&sim, |data| data.e_skey_sig = Some(vec![7; 64])).await;
    assert_eq!(violation(&sim), "registration: the signed prekey's signature does not verify");
}

#[tokio::test]
async fn a_forged_prekey_signature_in_an_upload() {
    let sim = sim().await;
    let mut client = client(&sim).await;
    let content = client.upload_nodes(&[], &[7; 64]);
    let id = client.ask("encrypt", "set", content).await;
    assert_eq!(attr(&client.answer(&id).await, "type").as_deref(), Some("error"));
    assert_eq!(violation(&sim), "prekeys: the signature of signed prekey 1 does not verify");
}

#[tokio::test]
async fn a_prekey_uploaded_again_after_its_use() {
    let sim = sim().await;
    let mut client = client(&sim).await;
    let key = client.signal.bundle().one_time;
    let signature = client.keys.signed.2.clone();
    let content = client.upload_nodes(&[key], &signature);
    let id = client.ask("encrypt", "set", content.clone()).await;
    client.answer(&id).await;
    // Somebody takes all of its keys.
    for n in 0..6 {
        let number = format!("49155510{n:02}");
        sim.add_phone(&number, "X").await.expect("adds");
        sim.send_text(&number, ANNA, "hi").await.expect("sends");
    }
    let id = client.ask("encrypt", "set", content).await;
    client.answer(&id).await;
    let expected = format!("prekeys: one-time prekey {} was uploaded again after its use", key.0);
    assert_eq!(violation(&sim), expected);
}

#[tokio::test]
async fn a_one_time_prekey_used_twice() {
    let sim = sim().await;
    let mut client = client(&sim).await;
    send(&mut client, "A1").await;
    let mut other = RawClient::paired(&sim, ANNA).await;
    let bundle = other.meet(&Jid::pn(BORIS)).await;
    let copy = other.copy(&Jid::pn(BORIS), "first");
    let message = other.message("B1", &Jid::pn(BORIS), vec![copy]);
    other.send(&message).await;
    other.until("ack").await;
    // A second session from the same bundle.
    let addr = crate::keys::DeviceAddr::new(BORIS, 0);
    other.signal.forget_session(&addr);
    other.signal.start_session(&addr, &bundle.to_signal(0).expect("is a bundle")).expect("starts");
    let copy = other.copy(&Jid::pn(BORIS), "second");
    let message = other.message("B2", &Jid::pn(BORIS), vec![copy]);
    other.send(&message).await;
    let receipt = loop {
        let receipt = other.until("receipt").await;
        if attr(&receipt, "type").as_deref() == Some("retry") {
            break receipt;
        }
        other.confirm(&receipt).await;
    };
    assert!(child(&receipt, "keys").is_some());
    let id = bundle.one_time.map(|key| key.0).unwrap_or_default();
    let expected = format!("message B2: pkmsg does not decrypt: one-time prekey {id} was used a second time");
    assert_eq!(violation(&sim), expected);
}

#[tokio::test]
async fn wrong_padding() {
    let sim = sim().await;
    let mut client = client(&sim).await;
    let message = wa::Message { conversation: Some("hello".to_owned()), ..Default::default() };
    let mut padded = message.encode_to_vec();
    padded.extend_from_slice(&[1, 2]);
    let copies = vec![client.copy_of(&Jid::pn(BORIS), &padded), client.copy(&Jid::pn(ANNA), "hello")];
    let message = client.message("A1", &Jid::pn(BORIS), copies);
    client.send(&message).await;
    client.until("ack").await;
    client.until("receipt").await;
    assert!(violation(&sim).contains("padding"), "{}", violation(&sim));
}

#[tokio::test]
async fn a_device_left_out() {
    let sim = sim().await;
    let mut client = client(&sim).await;
    let copy = client.copy(&Jid::pn(BORIS), "hello");
    let message = client.message("A1", &Jid::pn(BORIS), vec![copy]);
    client.send(&message).await;
    let ack = client.until("ack").await;
    assert!(attr(&ack, "phash").is_some_and(|phash| phash.starts_with("2:")));
    assert_eq!(violation(&sim), format!("message A1: device {ANNA}:0 is left out"));
}

#[tokio::test]
async fn a_device_that_the_client_could_not_know_of_is_only_hinted_at() {
    let sim = sim().await;
    let mut client = client(&sim).await;
    let boris = RawClient::paired(&sim, BORIS).await;
    let ack = send(&mut client, "A1").await;
    assert!(attr(&ack, "phash").is_some());
    assert_eq!(sim.stats().violations, []);
    let devices = client.devices(BORIS).await;
    assert_eq!(devices, [Jid::pn(BORIS), boris.jid.clone()]);
}

#[tokio::test]
async fn a_pkmsg_without_device_identity_or_for_another_registration() {
    let sim = sim().await;
    let mut client = client(&sim).await;
    let copies = vec![client.copy(&Jid::pn(BORIS), "hello"), client.copy(&Jid::pn(ANNA), "hello")];
    let mut message = client.message("A1", &Jid::pn(BORIS), copies);
    if let Some(wacore_binary::NodeContent::Nodes(nodes)) = &mut message.content {
        nodes.retain(|node| node.tag != "device-identity");
    }
    client.send(&message).await;
    client.until("ack").await;
    client.until("receipt").await;
    let violations = sim.stats().violations;
    assert_eq!(violations.len(), 2);
    assert!(violations.iter().all(|it| it.what == "message A1: pkmsg without <device-identity>"));
}

#[tokio::test]
async fn frames_out_of_order() {
    let sim = sim().await;
    let mut client = client(&sim).await;
    client.wire().sent += 1;
    client.send(&NodeBuilder::new("presence").attr("type", "unavailable").build()).await;
    while client.recv().await.is_some() {}
    let what = violation(&sim);
    assert!(what.contains("does not decrypt: wrong key or wrong counter"), "{what}");
}

#[tokio::test]
async fn ids_used_twice() {
    let sim = sim().await;
    let mut client = client(&sim).await;
    let ping = NodeBuilder::new("iq").attr("xmlns", "w:p").attr("type", "get").attr("id", "same").build();
    for _ in 0..2 {
        client.send(&ping).await;
        client.answer("same").await;
    }
    assert_eq!(violation(&sim), "iq id same was used twice on one connection");
}

#[tokio::test]
async fn stanzas_that_whatsapp_does_not_know() {
    let sim = sim().await;
    let mut client = client(&sim).await;
    client.send(&NodeBuilder::new("massage").attr("id", "1").build()).await;
    client.send(&NodeBuilder::new("receipt").attr("id", "1").build()).await;
    client.send(&NodeBuilder::new("ack").attr("id", "1").attr("class", "none").build()).await;
    client.ask("w:p", "get", []).await;
    client.until("iq").await;
    let what: Vec<String> = sim.stats().violations.into_iter().map(|violation| violation.what).collect();
    let expected = [
        "a stanza that WhatsApp does not know: <massage>",
        "a receipt without id or recipient",
        "ack 1 with class Some(\"none\")",
    ];
    assert_eq!(what, expected);
}

#[tokio::test]
async fn a_stanza_that_is_never_confirmed() {
    let sim = sim().await;
    let mut client = client(&sim).await;
    let id = sim.send_text(BORIS, ANNA, "hello").await.expect("sends");
    let message = loop {
        let node = client.recv().await.expect("goes on");
        if node.tag == "message" {
            break node;
        }
    };
    assert_eq!(attr(&message, "id").as_deref(), Some(id.as_str()));
    assert_eq!(sim.stats().violations, []);
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(31)).await;
    assert_eq!(violation(&sim), format!("did not confirm message {id} within 30 s"));
    assert_eq!(sim.stats().violations.len(), 1, "once is enough");
}

#[tokio::test]
async fn a_log_in_with_another_noise_key_and_of_an_unlinked_device() {
    let sim = sim().await;
    let client = client(&sim).await;
    let payload = wa::ClientPayload {
        username: client.jid.user.parse().ok(),
        device: Some(client.jid.device.into()),
        ..Default::default()
    };
    let noise = wacore_libsignal::protocol::KeyPair::generate(&mut rand::rng());
    let mut wire = crate::raw_client::Wire::open(&sim, &noise, payload.clone()).await;
    let failure = wire.recv().await.expect("answers");
    assert_eq!(attr(&failure, "reason").as_deref(), Some("401"));
    assert_eq!(violation(&sim), "logged in with a Noise key other than the paired one");

    sim.unlink(ANNA).await.expect("unlinks");
    let mut wire = crate::raw_client::Wire::open(&sim, &noise, payload).await;
    let failure = wire.recv().await.expect("answers");
    assert_eq!(attr(&failure, "reason").as_deref(), Some("401"));
}

#[tokio::test]
async fn log_ins_are_refused_as_the_fault_says() {
    let sim = sim().await;
    let mut client = client(&sim).await;
    for (fault, tag, key, value) in [
        (r#"{"kind":"rate-limit","count":1}"#, "stream:error", "code", "429"),
        (r#"{"kind":"failure","reason":503,"count":1}"#, "failure", "reason", "503"),
        (r#"{"kind":"repeat-515","count":1}"#, "success", "lid", "LID"),
    ] {
        sim.fault(serde_json::from_str(fault).expect("is a fault"));
        let answer = client.log_in_again(&sim).await;
        assert_eq!(answer.tag, tag);
        match value {
            "LID" => assert_eq!(attr(&client.until("stream:error").await, "code").as_deref(), Some("515")),
            _ => assert_eq!(attr(&answer, key).as_deref(), Some(value)),
        }
        assert!(client.recv().await.is_none(), "the connection ends");
    }
    assert_eq!(client.log_in_again(&sim).await.tag, "success");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_falls_behind_keeps_its_connection() {
    const MESSAGES: usize = 6_000;
    let sim = sim().await;
    let mut client = client(&sim).await;
    let mut ids = std::collections::HashSet::new();
    // More arrives meanwhile than the connection's channel holds.
    let stall = format!(r#"{{"kind":"stall","device":"{ANNA}","for_ms":3000}}"#);
    sim.fault(serde_json::from_str(&stall).expect("is a fault"));
    for _ in 0..MESSAGES {
        ids.insert(sim.send_text(BORIS, ANNA, "hello").await.expect("sends"));
    }
    while !ids.is_empty() {
        let node = client.recv().await.expect("the connection lives");
        if node.tag == "message" {
            ids.remove(&*attr(&node, "id").unwrap_or_default());
        }
        client.confirm(&node).await;
    }
    assert_eq!(sim.stats().violations, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_linked_devices() {
    const DEVICES: usize = 200;
    let sim = sim().await;
    let mut running = tokio::task::JoinSet::new();
    for n in 0..DEVICES {
        let sim = sim.clone();
        running.spawn(async move {
            let number = format!("4917000{n:04}");
            sim.add_phone(&number, "Office").await.expect("adds");
            let mut client = RawClient::paired(&sim, &number).await;
            for to in [number.as_str(), BORIS] {
                client.meet(&Jid::pn(to)).await;
            }
            let copies =
                vec![client.copy(&Jid::pn(BORIS), "hello"), client.copy(&Jid::pn(&*number), "hello")];
            let message = client.message(&format!("M{n}"), &Jid::pn(BORIS), copies);
            client.send(&message).await;
            assert_eq!(attr(&client.until("ack").await, "error"), None);
            client
        });
    }
    let clients = running.join_all().await;
    let shown = sim.inbox(BORIS, DEVICES, std::time::Duration::from_secs(60)).await.expect("has a phone");
    assert_eq!(shown.len(), DEVICES);
    let stats = sim.stats();
    assert_eq!(
        (stats.connections.now, stats.violations.len()),
        (DEVICES as u64, 0),
        "{:?}",
        stats.violations
    );
    drop(clients);
}
