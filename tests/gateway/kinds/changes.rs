//! Reactions, edits and deletions, by every name that a message has, through the outbox like any message.

use kurir::outbox::Progress;
use serde_json::{Value, json};

use super::desk::Desk;
use crate::support::{CUSTOMER, OFFICE, Office, wait_for};
use kurir::session::Status;

const OTHER: &str = "6281200000003";

/// Waits until WhatsApp has the change that this call made.
async fn made(desk: &Desk, method: &str, end: &str, body: Value) -> Value {
    let message = desk.ok(method, end, 202, body).await["message"].clone();
    desk.office.reached(message["id"].as_str().unwrap(), Progress::Sent).await;
    message
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_ours_is_edited_reacted_to_and_deleted() {
    let desk = Desk::open().await;
    let sent = desk.send(json!({"to": CUSTOMER, "text": "Harga 10.000"})).await;
    let id = sent["message_id"].as_str().unwrap();
    desk.shown(CUSTOMER, id).await;
    let ours = format!("/messages/{}", sent["id"].as_str().unwrap());
    let whatsapps = format!("/messages/{id}");

    let edit = made(&desk, "PATCH", &ours, json!({"text": "Harga 12.000"})).await;
    assert_eq!(edit["type"], json!("edit"));
    let edited = |items: &[whatsapp_sim::inbox::InboxItem]| {
        items.iter().find(|i| i.id == id && i.edited.as_deref() == Some("Harga 12.000")).map(drop)
    };
    desk.until(CUSTOMER, edited).await;
    made(
        &desk,
        "PATCH",
        &whatsapps,
        json!({"text": "Harga 13.000 @081200000002", "mentions": ["081200000002"]}),
    )
    .await;
    let edited = |items: &[whatsapp_sim::inbox::InboxItem]| {
        items.iter().find(|i| i.kind == "edit" && !i.mentions.is_empty()).cloned()
    };
    let shown = desk.until(CUSTOMER, edited).await;
    assert_eq!(
        (shown.quoted.as_deref(), shown.text.as_deref()),
        (Some(id), Some("Harga 13.000 @6281200000002"))
    );

    let reaction = made(&desk, "POST", &format!("{ours}/reaction"), json!({"emoji": "👍"})).await;
    assert_eq!(reaction["type"], json!("reaction"));
    let with = |emoji: Option<&'static str>| {
        let id = id.to_owned();
        move |items: &[whatsapp_sim::inbox::InboxItem]| {
            let item = items.iter().find(|item| item.id == id)?;
            (item.reactions.get(OFFICE).map(String::as_str) == emoji).then_some(())
        }
    };
    desk.until(CUSTOMER, with(Some("👍"))).await;
    made(&desk, "DELETE", &format!("{whatsapps}/reaction"), json!(null)).await;
    desk.until(CUSTOMER, with(None)).await;

    made(&desk, "DELETE", &ours, json!(null)).await;
    let revoked = |items: &[whatsapp_sim::inbox::InboxItem]| {
        items.iter().find(|item| item.id == id && item.revoked).map(drop)
    };
    desk.until(CUSTOMER, revoked).await;
    desk.office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_received_message_is_reacted_to_by_its_event_and_by_its_whatsapp_id() {
    let desk = Desk::open().await;
    desk.office.sim.add_phone(OTHER, "Pak Budi").await.unwrap();
    let (event, id) = desk.receive(CUSTOMER, OFFICE, "Pesan 2 kopi").await;
    made(&desk, "POST", &format!("/messages/{}/reaction", event.id), json!({"emoji": "☕"})).await;
    let by_hand = json!({"emoji": "✅", "chat": CUSTOMER});
    made(&desk, "POST", &format!("/messages/{id}/reaction"), by_hand).await;
    let shown = desk
        .until(CUSTOMER, |items| {
            let found: Vec<_> = items.iter().filter(|item| item.kind == "reaction").cloned().collect();
            (found.len() == 2).then_some(found)
        })
        .await;
    for (item, emoji) in shown.iter().zip(["☕", "✅"]) {
        assert_eq!((item.quoted.as_deref(), item.text.as_deref()), (Some(id.as_str()), Some(emoji)));
    }
    // In a group, where the author is part of the message's key and the test server looks at it.
    let group = desk.group(&[CUSTOMER, OTHER]).await;
    let (event, id) = desk.receive(OTHER, &group, "Setuju?").await;
    made(&desk, "POST", &format!("/messages/{}/reaction", event.id), json!({"emoji": "👍"})).await;
    let by_hand = json!({"emoji": "🙏", "chat": group, "sender": OTHER});
    made(&desk, "POST", &format!("/messages/{id}/reaction"), by_hand).await;
    let on_it = |items: &[whatsapp_sim::inbox::InboxItem]| {
        items
            .iter()
            .find(|item| item.id == id && item.reactions.get(OFFICE).is_some_and(|e| e == "🙏"))
            .map(drop)
    };
    desk.until(CUSTOMER, on_it).await;
    desk.office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_groups_message_is_edited_and_deleted_under_the_groups_own_names() {
    let desk = Desk::open().await;
    let group = desk.group(&[CUSTOMER]).await;
    let id = desk.delivered(CUSTOMER, json!({"to": group, "text": "Rapat jam 9"})).await;
    made(&desk, "PATCH", &format!("/messages/{id}"), json!({"text": "Rapat jam 10"})).await;
    made(&desk, "POST", &format!("/messages/{id}/reaction"), json!({"emoji": "⏰"})).await;
    made(&desk, "DELETE", &format!("/messages/{id}"), json!(null)).await;
    let all = |items: &[whatsapp_sim::inbox::InboxItem]| {
        let item = items.iter().find(|item| item.id == id)?;
        (item.revoked && item.edited.as_deref() == Some("Rapat jam 10") && item.reactions.len() == 1)
            .then_some(())
    };
    desk.until(CUSTOMER, all).await;
    desk.office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_phone_wrote_can_be_changed_and_what_others_wrote_cannot() {
    let desk = Desk::open().await;
    let (own, id) = desk.receive(OFFICE, CUSTOMER, "dari telepon").await;
    made(&desk, "PATCH", &format!("/messages/{}", own.id), json!({"text": "dari kantor"})).await;
    let edited = |items: &[whatsapp_sim::inbox::InboxItem]| {
        items.iter().find(|i| i.id == id && i.edited.as_deref() == Some("dari kantor")).map(drop)
    };
    desk.until(CUSTOMER, edited).await;
    let (theirs, their_id) = desk.receive(CUSTOMER, OFFICE, "punya saya").await;
    for (method, body) in [("PATCH", json!({"text": "x"})), ("DELETE", json!({}))] {
        let answer = desk.call(method, &format!("/messages/{}", theirs.id), Some(body.clone())).await;
        assert_eq!(answer.status, 409, "{answer:?}");
        let mut by_hand = body;
        by_hand["chat"] = json!(CUSTOMER);
        by_hand["from_me"] = json!(false);
        let answer = desk.call(method, &format!("/messages/{their_id}"), Some(by_hand)).await;
        assert_eq!(answer.status, 409, "{answer:?}");
    }
    desk.office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_was_accepted_survives_a_restart_and_happens_once() {
    let desk = Desk::open().await;
    let id = desk.delivered(CUSTOMER, json!({"to": CUSTOMER, "text": "awal"})).await;
    // WhatsApp keeps its acks for itself, so that the edit is on its way when the gateway goes down.
    desk.office.sim.fault(serde_json::from_value(json!({"kind": "no-ack"})).unwrap());
    let edit = desk.ok("PATCH", &format!("/messages/{id}"), 202, json!({"text": "akhir"})).await;
    let edit_id = edit["message"]["message_id"].as_str().unwrap().to_owned();
    let Desk { office, session } = desk;
    let session_id = session.id().to_owned();
    drop(session);
    office.sim.inbox(CUSTOMER, 2, crate::support::PATIENCE).await.unwrap();
    office.sim.clear_faults();
    let office: Office = office.restart().await;
    let session = office.gateway.registry().get(&session_id).unwrap();
    wait_for(&session, |s| s.status == Status::Connected).await;
    office.reached(&edit_id, Progress::Sent).await;
    let shown = office.sim.inbox(CUSTOMER, 2, crate::support::PATIENCE).await.unwrap();
    let edits: Vec<_> = shown.iter().filter(|item| item.kind == "edit").map(|item| &item.id).collect();
    assert_eq!(edits, [&edit_id]);
    assert_eq!(shown[0].edited.as_deref(), Some("akhir"));
}
