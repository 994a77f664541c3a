//! Typing and reading, as the far phone notices them.

use serde_json::{Value, json};
use whatsapp_sim::Typing;

use super::desk::Desk;
use crate::support::{CUSTOMER, OFFICE, PATIENCE};

/// Waits until this phone has seen these signs of typing.
async fn typing(desk: &Desk, number: &str, wanted: &[&str]) -> Vec<Typing> {
    let mut noticed = desk.office.sim.noticed(number).unwrap();
    let seen = tokio::time::timeout(PATIENCE, async {
        loop {
            noticed.borrow_and_update();
            let seen = desk.office.sim.typing(number).await.unwrap();
            let states: Vec<&str> = seen.iter().map(|typing| typing.state.as_str()).collect();
            if states == wanted {
                return seen;
            }
            assert!(seen.len() < wanted.len(), "{seen:?}");
            noticed.changed().await.unwrap();
        }
    });
    seen.await.unwrap_or_else(|_| panic!("{number} never saw {wanted:?}"))
}

/// Waits until the phone has got a read receipt for its message.
async fn read(desk: &Desk, number: &str, id: &str) {
    let mut noticed = desk.office.sim.noticed(number).unwrap();
    let told = tokio::time::timeout(PATIENCE, async {
        loop {
            noticed.borrow_and_update();
            let receipts = desk.office.sim.receipts(number, id).await.unwrap();
            if receipts.iter().any(|receipt| receipt.kind == "read" && receipt.from.starts_with(OFFICE)) {
                return;
            }
            noticed.changed().await.unwrap();
        }
    });
    told.await.unwrap_or_else(|_| panic!("{id} was never read"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_side_sees_us_type_record_and_stop() {
    let desk = Desk::open().await;
    let path = format!("/chats/{CUSTOMER}/typing");
    desk.ok("POST", &path, 200, json!(null)).await;
    desk.ok("POST", &path, 200, json!({"state": "recording"})).await;
    desk.ok("POST", &path, 200, json!({"state": "paused"})).await;
    let seen = typing(&desk, CUSTOMER, &["composing", "recording", "paused"]).await;
    assert_eq!((seen[0].from.as_str(), seen[0].chat.as_str()), (OFFICE, OFFICE));
    // It ends by itself where a time was given.
    desk.ok("POST", &path, 200, json!({"duration_s": 1})).await;
    typing(&desk, CUSTOMER, &["composing", "recording", "paused", "composing", "paused"]).await;
    let group = desk.group(&[CUSTOMER]).await;
    desk.ok("POST", &format!("/chats/{group}/typing"), 200, json!({"state": "composing"})).await;
    let seen =
        typing(&desk, CUSTOMER, &["composing", "recording", "paused", "composing", "paused", "composing"]);
    assert_eq!(seen.await[5].chat, group);
    desk.office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_marked_as_read_by_event_by_id_or_all_of_a_chat() {
    let desk = Desk::open().await;
    let (event, first) = desk.receive(CUSTOMER, OFFICE, "satu").await;
    let (_, second) = desk.receive(CUSTOMER, OFFICE, "dua").await;
    let path = format!("/chats/{CUSTOMER}/read");
    let answer = desk.ok("POST", &path, 200, json!({"messages": [event.id]})).await;
    assert_eq!(answer["read"], json!(1));
    read(&desk, CUSTOMER, &first).await;
    let not_yet = desk.office.sim.receipts(CUSTOMER, &second).await.unwrap();
    assert!(not_yet.iter().all(|receipt| receipt.kind != "read"), "{not_yet:?}");
    desk.ok("POST", &path, 200, json!({"messages": [second]})).await;
    read(&desk, CUSTOMER, &second).await;
    let (_, third) = desk.receive(CUSTOMER, OFFICE, "tiga").await;
    // Our own are nothing that we could read.
    desk.receive(OFFICE, CUSTOMER, "jawaban dari telepon").await;
    let group = desk.group(&[CUSTOMER]).await;
    let (_, in_group) = desk.receive(CUSTOMER, &group, "ke grup").await;
    assert_eq!(desk.ok("POST", &path, 200, json!({})).await["read"], json!(3));
    read(&desk, CUSTOMER, &third).await;
    let answer = desk.ok("POST", &format!("/chats/{group}/read"), 200, Value::Null).await;
    assert_eq!(answer["read"], json!(1));
    read(&desk, CUSTOMER, &in_group).await;
    let (_, again) = desk.receive(CUSTOMER, &group, "lagi").await;
    let body = json!({"messages": [again], "sender": CUSTOMER});
    desk.ok("POST", &format!("/chats/{group}/read"), 200, body).await;
    read(&desk, CUSTOMER, &again).await;
    desk.office.assert_no_violations();
}
