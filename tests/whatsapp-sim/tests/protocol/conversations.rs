//! Several linked devices, typing, retries, changes of groups, and broken connections.

use std::sync::Arc;

use crate::common::{Client, PATIENCE, acked, receipt, sim};
use whatsapp_rust::types::events::Event;
use whatsapp_rust::types::presence::{ChatPresence, ReceiptType};
use whatsapp_rust::waproto::whatsapp as wa;
use whatsapp_rust::{GroupCreateOptions, GroupParticipantOptions, Jid};
use whatsapp_sim::Sim;
use whatsapp_sim::faults::Fault;

const ANNA: &str = "4915550001";
const BORIS: &str = "4915550002";
const CARLA: &str = "4915550003";

async fn with_phones() -> Sim {
    let sim = sim().await;
    for (number, name) in [(ANNA, "Anna"), (BORIS, "Boris"), (CARLA, "Carla")] {
        sim.add_phone(number, name).await.expect("adds");
    }
    sim
}

async fn paired(sim: &Sim, number: &str) -> Client {
    let mut client = Client::fresh(sim).await;
    client.pair(sim, number).await;
    client
}

async fn text(client: &mut Client, id: &str) -> (String, Jid) {
    client
        .event("message", |event| match event {
            Event::Messages(batch) => {
                let message = batch.messages.iter().find(|message| message.info.id == id)?;
                Some((message.message.conversation.clone()?, message.info.source.chat.clone()))
            }
            _ => None,
        })
        .await
}

/// What was sent before is processed once this is answered: a connection is read in order.
async fn settled(client: &Client) {
    client.handle.client().groups().get_participating().await.expect("is answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn linked_devices_write_to_each_other_and_see_their_own_account() {
    let sim = with_phones().await;
    let mut anna = paired(&sim, ANNA).await;
    let mut second = paired(&sim, ANNA).await;
    let mut boris = paired(&sim, BORIS).await;

    let sent = anna.handle.client().send_text(&Jid::pn(BORIS), "hello").await.expect("sends");
    let id = sent.message_id;
    acked(&mut anna, &id).await;
    assert_eq!(text(&mut boris, &id).await.0, "hello");
    receipt(&mut anna, &id, ReceiptType::Delivered).await;
    let (shown, chat) = text(&mut second, &id).await;
    assert_eq!((shown.as_str(), chat.user.as_str()), ("hello", BORIS));

    boris.handle.client().mark_as_read(&Jid::pn(ANNA), None, &[&id]).await.expect("reads");
    receipt(&mut anna, &id, ReceiptType::Read).await;

    let answer = boris.handle.client().send_text(&Jid::pn(ANNA), "and you?").await.expect("sends");
    assert_eq!(text(&mut anna, &answer.message_id).await.0, "and you?");
    assert_eq!(text(&mut second, &answer.message_id).await.0, "and you?");
    let shown = sim.inbox(ANNA, 2, PATIENCE).await.expect("has a phone");
    assert_eq!(shown[1].text.as_deref(), Some("and you?"));
    assert_eq!(sim.stats().violations, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn typing_presence_and_played_receipts() {
    let sim = with_phones().await;
    let mut client = paired(&sim, ANNA).await;
    let wa = client.handle.client();
    wa.chatstate().send_composing(&Jid::pn(BORIS)).await.expect("types");
    wa.chatstate().send_recording(&Jid::pn(BORIS)).await.expect("records");
    wa.chatstate().send_paused(&Jid::pn(BORIS)).await.expect("stops");
    settled(&client).await;
    let seen = sim.typing(BORIS).await.expect("has a phone");
    let states: Vec<&str> = seen.iter().map(|typing| typing.state.as_str()).collect();
    assert_eq!(states, ["composing", "recording", "paused"]);
    assert_eq!((seen[0].from.as_str(), seen[0].chat.as_str()), (ANNA, ANNA));

    sim.type_in(BORIS, ANNA, "composing").await.expect("types");
    client
        .event("typing", |event| match event {
            Event::ChatPresence(update) => {
                (update.source.chat.user == BORIS && update.state == ChatPresence::Composing).then_some(())
            }
            _ => None,
        })
        .await;

    wa.presence().set_available().await.expect("comes");
    settled(&client).await;
    assert!(sim.available(ANNA).await.expect("has a phone"));
    wa.presence().set_unavailable().await.expect("goes");
    settled(&client).await;
    assert!(!sim.available(ANNA).await.expect("has a phone"));

    let id = sim.send_text(BORIS, ANNA, "listen").await.expect("sends");
    text(&mut client, &id).await;
    wa.mark_as_played(&Jid::pn(BORIS), None, &[&id]).await.expect("plays");
    settled(&client).await;
    let receipts = sim.receipts(BORIS, &id).await.expect("was sent");
    assert!(receipts.iter().any(|receipt| receipt.kind == "played"), "{receipts:?}");
    let sent = wa.send_text(&Jid::pn(BORIS), "heard").await.expect("sends");
    acked(&mut client, &sent.message_id).await;
    sim.play(BORIS, &sent.message_id).await.expect("plays");
    receipt(&mut client, &sent.message_id, ReceiptType::Played).await;
    assert_eq!(sim.stats().violations, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_cannot_read_a_message_gets_it_once_more() {
    let sim = with_phones().await;
    let mut client = paired(&sim, ANNA).await;
    let wa = client.handle.client();
    let sent = wa.send_text(&Jid::pn(BORIS), "one").await.expect("sends");
    acked(&mut client, &sent.message_id).await;
    let id = sim.send_text(BORIS, ANNA, "two").await.expect("sends");
    text(&mut client, &id).await;
    // The client's store forgets the session with Boris's phone while the client is away.
    let Client { handle, backend, .. } = client;
    handle.shutdown().await;
    let lid = sim_lid(BORIS);
    for address in [format!("{lid}@lid.0"), format!("{BORIS}@c.us.0")] {
        backend.delete_session(&address).await.expect("forgets");
    }
    let mut client = Client::start(&sim, Arc::clone(&backend)).await;
    client.connected().await;
    let id = sim.send_text(BORIS, ANNA, "three").await.expect("sends");
    assert_eq!(text(&mut client, &id).await.0, "three");
    assert_eq!(sim.stats().violations, []);
}

/// The LID that the server gives a number.
fn sim_lid(number: &str) -> String {
    whatsapp_sim::lid_of(number)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_made_changed_and_left() {
    let sim = with_phones().await;
    let mut client = paired(&sim, ANNA).await;
    let client_api = client.handle.client();
    let groups = client_api.groups();
    let options = GroupCreateOptions::builder()
        .subject("Plan")
        .participants(vec![
            GroupParticipantOptions::from_phone(Jid::pn(BORIS)),
            GroupParticipantOptions::from_phone(Jid::pn(CARLA)),
        ])
        .build();
    let made = groups.create_group(options).await.expect("makes a group");
    let jid = made.metadata.id.clone();
    assert_eq!(made.metadata.participants.len(), 3);
    let sent = client_api.send_text(&jid, "all three").await.expect("sends");
    acked(&mut client, &sent.message_id).await;
    assert_eq!(sim.inbox(CARLA, 1, PATIENCE).await.expect("has a phone").len(), 1);

    groups.remove_participants(&jid, &[Jid::pn(CARLA)]).await.expect("removes");
    groups
        .set_subject(&jid, wacore::iq::groups::GroupSubject::new("Plan B").expect("fits"))
        .await
        .expect("renames");
    let metadata = groups.get_metadata(&jid).await.expect("asks");
    assert_eq!((metadata.subject.as_str(), metadata.participants.len()), ("Plan B", 2));
    let sent = client_api.send_text(&jid, "the two of us").await.expect("sends");
    acked(&mut client, &sent.message_id).await;
    let shown = sim.inbox(BORIS, 2, PATIENCE).await.expect("has a phone");
    assert_eq!(shown[1].text.as_deref(), Some("the two of us"));
    assert_eq!(sim.inbox(CARLA, 1, PATIENCE).await.expect("has a phone").len(), 1);
    assert!(sim.send_text(CARLA, &jid.to_string(), "and me?").await.is_err());

    groups.add_participants(&jid, &[Jid::pn(CARLA)]).await.expect("adds");
    let sent = client_api.send_text(&jid, "back").await.expect("sends");
    acked(&mut client, &sent.message_id).await;
    let shown = sim.inbox(CARLA, 2, PATIENCE).await.expect("has a phone");
    assert_eq!(shown[1].text.as_deref(), Some("back"));
    let id = sim.send_text(CARLA, &jid.to_string(), "thanks").await.expect("sends");
    assert_eq!(text(&mut client, &id).await.0, "thanks");
    groups.leave(&jid).await.expect("leaves");
    assert!(client_api.groups().get_participating().await.expect("lists").is_empty());
    assert_eq!(sim.stats().violations, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_broken_connection_swallowed_comes_again() {
    let sim = with_phones().await;
    let mut client = paired(&sim, ANNA).await;
    let stall: Fault =
        serde_json::from_str(&format!(r#"{{"kind":"stall","device":"{ANNA}","for_ms":600000}}"#))
            .expect("is a fault");
    let drop: Fault =
        serde_json::from_str(&format!(r#"{{"kind":"drop","device":"{ANNA}"}}"#)).expect("is a fault");
    sim.fault(stall);
    let id = sim.send_text(BORIS, ANNA, "into the void").await.expect("sends");
    sim.fault(drop);
    assert_eq!(text(&mut client, &id).await.0, "into the void");
    let message = wa::Message { conversation: Some("still here".to_owned()), ..Default::default() };
    client.connected().await;
    let sent = client.handle.client().send_message(Jid::pn(BORIS), message).await.expect("sends");
    acked(&mut client, &sent.message_id).await;
    assert_eq!(sim.stats().violations, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_one_device_changes_reach_the_other() {
    let sim = with_phones().await;
    let first = paired(&sim, ANNA).await;
    let mut second = paired(&sim, ANNA).await;
    first.handle.client().chat_actions().pin_chat(&Jid::pn(BORIS)).await.expect("pins");
    second
        .event("pin", |event| match event {
            Event::PinUpdate(pin) => (pin.jid.user == BORIS).then_some(()),
            _ => None,
        })
        .await;
    assert_eq!(sim.stats().violations, []);
}
