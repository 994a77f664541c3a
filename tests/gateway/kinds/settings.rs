//! Each session's own settings: they count, they last, and another session does not feel them.

use std::time::{Duration, Instant};

use kurir::outbox::Progress;
use serde_json::{Value, json};

use super::desk::Desk;
use crate::support::{CUSTOMER, OFFICE, PATIENCE};

const OTHER: &str = "6281200000003";

#[tokio::test(flavor = "multi_thread")]
async fn they_are_shown_changed_reset_and_survive_a_restart() {
    let desk = Desk::open_with(|config| config.queue_delay = Duration::from_millis(700)).await;
    let second = desk.office.gateway.registry().create("Dua", "main").await.unwrap();
    let shown = desk.ok("GET", "/settings", 200, Value::Null).await;
    let defaults = json!({
        "send_delay_ms": 0, "send_jitter_ms": 0, "queue_delay_ms": 700, "queue_jitter_ms": 1000,
        "main_number": null, "queue_allow": "*", "stranger_daily_cap": 0, "stranger_delay_ms": 0,
    });
    assert_eq!((&shown["settings"], &shown["own"]), (&defaults, &json!([])));
    let change = json!({"queue_delay_ms": 1, "main_number": "081200000002", "queue_allow": [CUSTOMER], "stranger_daily_cap": 5});
    let changed = desk.ok("PATCH", "/settings", 200, change).await;
    assert_eq!(changed["settings"]["main_number"], json!(CUSTOMER), "as WhatsApp writes it");
    assert_eq!(changed["own"], json!(["main_number", "queue_allow", "queue_delay_ms", "stranger_daily_cap"]));
    let reset = desk.ok("PATCH", "/settings", 200, json!({"stranger_daily_cap": null})).await;
    assert_eq!(reset["settings"]["stranger_daily_cap"], json!(0));
    let path = format!("/api/v1/sessions/{}/settings", second.id());
    assert_eq!(desk.office.call("GET", &path, None).await.json()["settings"], defaults, "another session");

    let Desk { office, session } = desk;
    let path = format!("/api/v1/sessions/{}/settings", session.id());
    drop(session);
    let office = office.restart().await;
    assert_eq!(office.call("GET", &path, None).await.json(), reset);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_main_number_and_the_allow_list_are_the_sessions_own() {
    let desk = Desk::open_with(|config| {
        config.main_number = Some(OTHER.to_owned());
        config.queue_delay = Duration::from_millis(1);
        config.queue_jitter = Duration::ZERO;
    })
    .await;
    desk.office.sim.add_phone(OTHER, "Pak Budi").await.unwrap();
    let send = |to: &str| json!({"number": to, "message": "Hello!"});
    desk.ok("PATCH", "/settings", 200, json!({"main_number": CUSTOMER, "queue_allow": [CUSTOMER]})).await;
    let answer = desk.office.call("POST", "/api/send-message", Some(send("main"))).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    desk.office.sim.inbox(CUSTOMER, 1, PATIENCE).await.unwrap();
    let refused = desk.office.call("POST", "/api/send-message", Some(send(OTHER))).await;
    assert_eq!(refused.status, 403, "{refused:?}");
    desk.ok("PATCH", "/settings", 200, json!({"main_number": null, "queue_allow": "*"})).await;
    let answer = desk.office.call("POST", "/api/send-message", Some(send("main"))).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(desk.office.sim.inbox(OTHER, 1, PATIENCE).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn pauses_count_at_once_and_for_their_session_only() {
    let desk = Desk::open().await;
    desk.office.sim.add_phone(OTHER, "Kantor 2").await.unwrap();
    let second = desk.office.pair(OTHER).await;
    desk.ok("PATCH", "/settings", 200, json!({"send_delay_ms": 3_600_000})).await;
    desk.send(json!({"to": CUSTOMER, "text": "satu"})).await;
    let held = desk.ok("POST", "/messages", 202, json!({"to": CUSTOMER, "text": "dua"})).await;
    let held = held["message"]["id"].as_str().unwrap().to_owned();
    // The other session does not wait.
    let path = format!("/api/v1/sessions/{}/messages", second.id());
    for text in ["a", "b", "c"] {
        let answer = desk.office.call("POST", &path, Some(json!({"to": CUSTOMER, "text": text}))).await;
        desk.office.reached(answer.json()["message"]["id"].as_str().unwrap(), Progress::Sent).await;
    }
    let waiting = desk.office.gateway.outbox().find(&held).unwrap().unwrap();
    assert_eq!(waiting.progress, Progress::Pending);
    // A shorter pause frees what waits for the longer one.
    let began = Instant::now();
    desk.ok("PATCH", "/settings", 200, json!({"send_delay_ms": null})).await;
    desk.office.reached(&held, Progress::Sent).await;
    assert!(began.elapsed() < PATIENCE);
}

#[tokio::test(flavor = "multi_thread")]
async fn care_with_strangers_is_the_sessions_own_and_changes_of_a_message_are_no_messages() {
    let desk = Desk::open().await;
    desk.ok("PATCH", "/settings", 200, json!({"stranger_daily_cap": 2})).await;
    let message = json!({"to": CUSTOMER, "text": "halo"});
    let first = desk.send(message.clone()).await;
    let id = first["message_id"].as_str().unwrap();
    desk.ok("PATCH", &format!("/messages/{id}"), 202, json!({"text": "halo!"})).await;
    desk.ok("POST", &format!("/messages/{id}/reaction"), 202, json!({"emoji": "👍"})).await;
    desk.send(message.clone()).await;
    let answer = desk.call("POST", "/messages", Some(message.clone())).await;
    assert_eq!((answer.status, answer.headers.contains_key("retry-after")), (429, true), "{answer:?}");
    desk.receive(CUSTOMER, OFFICE, "ya?").await;
    desk.send(message).await;
}
