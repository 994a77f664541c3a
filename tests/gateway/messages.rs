//! An application's request becomes a message on the far phone: both dialects, texts and media.

use crate::support::{CUSTOMER, NOBODY, OFFICE, Office, PATIENCE, request, wait_for};
use kurir::outbox::Progress;
use kurir::session::Status;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn dialect_1_sends_a_text_by_get_json_and_form() {
    let (office, _session) = Office::paired().await;
    let address = office.gateway.address();
    let query = format!(
        "/send-message?api_key={}&sender={OFFICE}&number={CUSTOMER}&message=Hello%20World",
        office.key
    );
    let by_get = request(address, "GET", &query, &[], "").await.unwrap();
    let body = json!({"api_key": office.key, "sender": OFFICE, "number": format!("+{CUSTOMER}"), "message": "Halo 👋"});
    let by_json = office.post("/send-message", body).await;
    let form = format!("api_key={}&sender={OFFICE}&number=081200000002&message=dari+formulir", office.key);
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let by_form = request(address, "POST", "/send-message", &headers, form).await.unwrap();
    for answer in [by_get, by_json, by_form] {
        assert_eq!(
            (answer.status, answer.json()),
            (200, json!({"status": true, "msg": "Message sent successfully!"}))
        );
    }
    let inbox = office.sim.inbox(CUSTOMER, 3, PATIENCE).await.unwrap();
    let texts: Vec<_> = inbox.iter().map(|m| m.text.as_deref().unwrap()).collect();
    assert_eq!(
        texts,
        ["Hello World", "Halo 👋", "dari formulir"],
        "in the order in which they were accepted"
    );
    assert!(inbox.iter().all(|m| m.from.starts_with(OFFICE) && m.kind == "text"), "{inbox:?}");
    office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn dialect_4_sends_a_text_whose_state_goes_on_to_read() {
    let (office, session) = Office::paired().await;
    let path = format!("/api/sessions/{}/send", session.id());
    let answer = office
        .call("POST", &path, Some(json!({"to": CUSTOMER, "message": "Hello from WhatsApp API!"})))
        .await;
    let body = answer.json();
    assert_eq!((answer.status, body["success"].clone()), (200, json!(true)), "{body}");
    let id = body["messageId"].as_str().unwrap().to_owned();
    let inbox = office.sim.inbox(CUSTOMER, 1, PATIENCE).await.unwrap();
    assert_eq!(
        (inbox[0].id.as_str(), inbox[0].text.as_deref()),
        (id.as_str(), Some("Hello from WhatsApp API!"))
    );
    office.reached(&id, Progress::Delivered).await;
    office.sim.read(CUSTOMER, &id).await.unwrap();
    let message = office.reached(&id, Progress::Read).await;
    assert!(
        message.sent_at_ms.is_some() && message.delivered_at_ms.is_some() && message.read_at_ms.is_some()
    );
    office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unregistered_number_is_refused_and_nothing_enters_the_outbox() {
    let (office, session) = Office::paired().await;
    let path = format!("/api/sessions/{}/send", session.id());
    let answer = office.call("POST", &path, Some(json!({"to": NOBODY, "message": "?"}))).await;
    assert_eq!(answer.status, 400);
    assert_eq!(
        answer.json(),
        json!({"success": false, "error": "Invalid WhatsApp Number", "phoneNumber": NOBODY,
            "message": "The phone number is not registered on WhatsApp."})
    );
    let body = json!({"api_key": office.key, "sender": OFFICE, "number": NOBODY, "message": "?"});
    let answer = office.post("/send-message", body).await;
    assert_eq!((answer.status, answer.json()["status"].clone()), (400, json!(false)));
    assert_eq!(office.gateway.outbox().depth(session.no()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_taken_while_offline_goes_out_after_the_reconnection() {
    let (office, session) = Office::paired().await;
    let path = format!("/api/sessions/{}/send", session.id());
    let before = office.call("POST", &path, Some(json!({"to": CUSTOMER, "message": "sebelum"}))).await.json();
    office.reached(before["messageId"].as_str().unwrap(), Progress::Sent).await;
    office.sim.fault(serde_json::from_value(json!({"kind": "refuse"})).unwrap());
    office.sim.fault(serde_json::from_value(json!({"kind": "drop"})).unwrap());
    wait_for(&session, |s| s.status == Status::Connecting).await;
    let answer = office.call("POST", &path, Some(json!({"to": CUSTOMER, "message": "selama"}))).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(office.gateway.outbox().depth(session.no()), 1);
    office.sim.clear_faults();
    session.reconnect().await;
    let inbox = office.sim.inbox(CUSTOMER, 2, PATIENCE).await.unwrap();
    assert_eq!(inbox[1].text.as_deref(), Some("selama"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ack_that_never_comes_leads_to_a_resend_that_the_phone_shows_once() {
    let (office, session) = Office::paired().await;
    office.sim.fault(serde_json::from_value(json!({"kind": "no-ack", "count": 1})).unwrap());
    let path = format!("/api/sessions/{}/send", session.id());
    let answer = office.call("POST", &path, Some(json!({"to": CUSTOMER, "message": "sekali"}))).await.json();
    let id = answer["messageId"].as_str().unwrap();
    office.sim.inbox(CUSTOMER, 1, PATIENCE).await.unwrap();
    // The connection breaks before the ack: the same message goes out again on the next one.
    office.sim.fault(serde_json::from_value(json!({"kind": "drop"})).unwrap());
    wait_for(&session, |s| s.status == Status::Connecting).await;
    office.reached(id, Progress::Sent).await;
    let inbox = office.sim.inbox(CUSTOMER, 1, PATIENCE).await.unwrap();
    assert_eq!(inbox.iter().filter(|m| m.text.as_deref() == Some("sekali")).count(), 1);
}
