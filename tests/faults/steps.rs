//! What these tests do again and again.

use kurir::outbox::{Message, Progress};
use kurir::session::{Session, Snapshot, Status};
use serde_json::{Value, json};

use super::support::{Answer, CUSTOMER, Office, PATIENCE, wait_for};

/// Puts a fault in force.
pub(crate) fn fault(office: &Office, fault: Value) {
    office.sim.fault(serde_json::from_value(fault).unwrap());
}

/// Sends a text in dialect 4.
pub(crate) async fn send(office: &Office, session: &Session, to: &str, message: &str) -> Answer {
    let path = format!("/api/sessions/{}/send", session.id());
    office.call("POST", &path, Some(json!({"to": to, "message": message}))).await
}

/// Sends a text that must be taken, and returns its message id.
pub(crate) async fn taken(office: &Office, session: &Session, to: &str, message: &str) -> String {
    let answer = send(office, session, to, message).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["messageId"].as_str().unwrap().to_owned()
}

/// Cuts the session off: its connections end, and new ones are refused.
pub(crate) async fn cut_off(office: &Office, session: &Session) {
    fault(office, json!({"kind": "refuse"}));
    fault(office, json!({"kind": "drop"}));
    wait_for(session, |s| s.status == Status::Connecting).await;
}

/// Ends every fault and dials at once.
pub(crate) async fn let_in(office: &Office, session: &Session) -> Snapshot {
    office.sim.clear_faults();
    session.reconnect().await;
    wait_for(session, |s| s.status == Status::Connected).await
}

/// Sends a text and waits until a phone has it: the session works.
pub(crate) async fn works(office: &Office, session: &Session, message: &str) {
    let id = taken(office, session, CUSTOMER, message).await;
    office.reached(&id, Progress::Delivered).await;
    assert_eq!(shown(office, CUSTOMER, message).await, 1);
}

/// How often a phone shows this text.
pub(crate) async fn shown(office: &Office, number: &str, text: &str) -> usize {
    let inbox = office.sim.inbox(number, 0, PATIENCE).await.unwrap();
    inbox.iter().filter(|m| m.text.as_deref() == Some(text)).count()
}

/// Waits until the message has failed.
pub(crate) async fn failed(office: &Office, id: &str) -> Message {
    let message = office.reached(id, Progress::Failed).await;
    assert_eq!(message.progress, Progress::Failed, "{message:?}");
    message
}

/// Connections that were ever made.
pub(crate) fn dials(office: &Office) -> u64 {
    office.sim.stats().connections.total
}
