//! What is kept for a device that is away, what is sent again, and groups.

use crate::common::{Client, PATIENCE, acked, sim};
use whatsapp_rust::Jid;
use whatsapp_rust::types::events::Event;
use whatsapp_rust::types::presence::ReceiptType;
use whatsapp_rust::waproto::whatsapp as wa;
use whatsapp_sim::faults::Fault;

const ANNA: &str = "4915550001";
const BORIS: &str = "4915550002";
const CARLA: &str = "4915550003";

async fn text(client: &mut Client, id: &str) -> String {
    client
        .event("message", |event| match event {
            Event::Messages(batch) => {
                let message = batch.messages.iter().find(|message| message.info.id == id)?;
                message.message.conversation.clone()
            }
            _ => None,
        })
        .await
}

fn fault(json: &str) -> Fault {
    serde_json::from_str(json).expect("is a fault")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_wait_for_a_device_that_is_away() {
    let sim = sim().await;
    sim.add_phone(ANNA, "Anna").await.expect("adds");
    sim.add_phone(BORIS, "Boris").await.expect("adds");
    let mut client = Client::fresh(&sim).await;
    client.pair(&sim, ANNA).await;
    let Client { handle, backend, .. } = client;
    handle.shutdown().await;
    let mut ids = Vec::new();
    for n in 0..30 {
        ids.push(sim.send_text(BORIS, ANNA, &format!("number {n}")).await.expect("sends"));
    }
    let mut client = Client::start(&sim, backend).await;
    let total = client
        .event("preview", |event| match event {
            Event::OfflineSyncPreview(preview) => Some(preview.messages),
            _ => None,
        })
        .await;
    assert_eq!(total, 30);
    // A backlog arrives in batches.
    let mut got = Vec::new();
    while got.len() < ids.len() {
        let more = client.event("messages", |event| match event {
            Event::Messages(batch) => Some(std::sync::Arc::clone(&batch.messages)),
            _ => None,
        });
        for message in more.await.iter() {
            got.push((message.info.id.clone(), message.message.conversation.clone().unwrap_or_default()));
        }
    }
    got.sort_by_key(|(id, _)| ids.iter().position(|known| known == id));
    let expected: Vec<_> = ids.iter().cloned().zip((0..30).map(|n| format!("number {n}"))).collect();
    assert_eq!(got, expected);
    client.connected().await;
    let receipts = sim.receipts(BORIS, &ids[29]).await.expect("sent");
    assert!(receipts.iter().any(|receipt| receipt.from == format!("{ANNA}:0")));
    assert_eq!(sim.stats().violations, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_that_lost_its_sessions_gets_the_message_once_more() {
    let sim = sim().await;
    sim.add_phone(ANNA, "Anna").await.expect("adds");
    sim.add_phone(BORIS, "Boris").await.expect("adds");
    let mut client = Client::fresh(&sim).await;
    client.pair(&sim, ANNA).await;
    let api = client.handle.client();
    // A session in both directions, so that what follows is no pkmsg.
    let sent = api.send_text(&Jid::pn(BORIS), "one").await.expect("sends");
    acked(&mut client, &sent.message_id).await;
    let id = sim.send_text(BORIS, ANNA, "two").await.expect("sends");
    assert_eq!(text(&mut client, &id).await, "two");
    sim.lose_sessions(BORIS, ANNA).await.expect("loses");
    let sent = api.send_text(&Jid::pn(BORIS), "three").await.expect("sends");
    let inbox = sim.inbox(BORIS, 2, PATIENCE).await.expect("has a phone");
    assert_eq!(inbox[1].text.as_deref(), Some("three"));
    assert_eq!(inbox[1].id, sent.message_id);
    assert_eq!(sim.stats().violations, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acks_may_be_withheld_and_the_repeat_is_shown_once() {
    let sim = sim().await;
    sim.add_phone(ANNA, "Anna").await.expect("adds");
    sim.add_phone(BORIS, "Boris").await.expect("adds");
    let mut client = Client::fresh(&sim).await;
    client.pair(&sim, ANNA).await;
    let api = client.handle.client();
    sim.fault(fault(r#"{"kind":"no-ack","count":1}"#));
    let options = |id: &str| whatsapp_rust::SendOptions::default().with_message_id(id);
    let message = |text: &str| wa::Message { conversation: Some(text.to_owned()), ..Default::default() };
    let id = "3EB0AAAAAAAAAAAAAAAAAA";
    for _ in 0..2 {
        api.send_message_with_options(Jid::pn(BORIS), message("again"), options(id)).await.expect("sends");
    }
    acked(&mut client, id).await;
    let sent = api.send_text(&Jid::pn(BORIS), "after").await.expect("sends");
    acked(&mut client, &sent.message_id).await;
    let inbox = sim.inbox(BORIS, 2, PATIENCE).await.expect("has a phone");
    let texts: Vec<&str> = inbox.iter().filter_map(|item| item.text.as_deref()).collect();
    assert_eq!(texts, ["again", "after"]);
    let stats = sim.stats();
    // Once for the far phone, once for the own one's copy.
    assert_eq!(stats.duplicates, 2);
    assert_eq!(stats.violations, []);

    // An id that was acknowledged may not come again on the same connection.
    api.send_message_with_options(Jid::pn(BORIS), message("again"), options(id)).await.expect("sends");
    acked(&mut client, id).await;
    assert_eq!(sim.stats().violations.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_written_to_and_read_from() {
    let sim = sim().await;
    for (number, name) in [(ANNA, "Anna"), (BORIS, "Boris"), (CARLA, "Carla")] {
        sim.add_phone(number, name).await.expect("adds");
    }
    let mut client = Client::fresh(&sim).await;
    client.pair(&sim, ANNA).await;
    let members = [ANNA.to_owned(), CARLA.to_owned()];
    let group = sim.create_group("Office", BORIS, &members).await.expect("makes a group");
    let jid: Jid = group.parse().expect("is a JID");
    let api = client.handle.client();
    let listed = api.groups().get_participating().await.expect("lists");
    let metadata = listed.get(&jid).expect("is listed");
    assert_eq!((metadata.subject.as_str(), metadata.participants.len()), ("Office", 3));

    for text in ["first", "second"] {
        let sent = api.send_text(&jid, text).await.expect("sends");
        acked(&mut client, &sent.message_id).await;
    }
    for number in [BORIS, CARLA, ANNA] {
        let inbox = sim.inbox(number, 2, PATIENCE).await.expect("has a phone");
        let shown: Vec<_> = inbox.iter().map(|item| (item.chat.as_str(), item.text.as_deref())).collect();
        assert_eq!(shown, [(group.as_str(), Some("first")), (group.as_str(), Some("second"))], "{number}");
        assert_eq!(inbox[0].from, ANNA);
    }
    let inbox = sim.inbox(CARLA, 2, PATIENCE).await.expect("has a phone");
    sim.read(CARLA, &inbox[1].id).await.expect("reads");
    client
        .event("read receipt", |event| match event {
            Event::Receipt(receipt) => (receipt.r#type == ReceiptType::Read
                && receipt.message_ids.contains(&inbox[1].id))
            .then_some(()),
            _ => None,
        })
        .await;

    for text_sent in ["third", "fourth"] {
        let id = sim.send_text(CARLA, &group, text_sent).await.expect("sends");
        assert_eq!(text(&mut client, &id).await, text_sent);
    }
    assert_eq!(sim.stats().violations, []);
}
