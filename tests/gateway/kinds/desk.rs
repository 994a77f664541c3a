//! An office with a paired session, and its calls to `/api/v1`.

use kurir::inbox::{Body, Event, Kind};
use kurir::outbox::Progress;
use serde_json::{Value, json};
use whatsapp_sim::inbox::InboxItem;

pub(crate) use crate::desk::Desk;
use crate::support::{Answer, OFFICE, PATIENCE};

impl Desk {
    /// A call below the paired session.
    pub(crate) async fn call(&self, method: &str, end: &str, body: Option<Value>) -> Answer {
        let path = format!("/api/v1/sessions/{}{end}", self.session.id());
        self.office.call(method, &path, body).await
    }

    /// A call that must succeed with this status.
    pub(crate) async fn ok(&self, method: &str, end: &str, status: u16, body: Value) -> Value {
        let answer = self.call(method, end, Some(body).filter(|body| !body.is_null())).await;
        assert_eq!(answer.status, status, "{method} {end}: {answer:?}");
        let body = answer.json();
        assert_eq!(body["success"], json!(true), "{body}");
        body
    }

    /// Sends a message and waits until WhatsApp has it: the accepted message.
    pub(crate) async fn send(&self, body: Value) -> Value {
        let message = self.ok("POST", "/messages", 202, body).await["message"].clone();
        self.office.reached(message["id"].as_str().unwrap(), Progress::Sent).await;
        message
    }

    /// Sends a message and waits until this phone shows it: its WhatsApp id.
    pub(crate) async fn delivered(&self, number: &str, body: Value) -> String {
        let message = self.send(body).await;
        let id = message["message_id"].as_str().unwrap().to_owned();
        self.shown(number, &id).await;
        id
    }

    /// The message as this phone shows it, once it does.
    pub(crate) async fn shown(&self, number: &str, id: &str) -> InboxItem {
        self.until(number, |items| items.iter().find(|item| item.id == id).cloned()).await
    }

    /// What this phone shows, once it fits.
    pub(crate) async fn until<T>(&self, number: &str, fits: impl Fn(&[InboxItem]) -> Option<T>) -> T {
        let mut count = 0;
        loop {
            let items = self.office.sim.inbox(number, count, PATIENCE).await.unwrap();
            if let Some(found) = fits(&items) {
                return found;
            }
            assert!(items.len() >= count, "{number} never showed it: {items:#?}");
            count = items.len() + 1;
        }
    }

    /// Waits until the journal holds `count` events of this kind.
    pub(crate) async fn events(&self, kind: Kind, count: usize) -> Vec<Event> {
        let inbox = self.office.gateway.inbox();
        let mut head = inbox.head();
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                head.borrow_and_update();
                let mut found = inbox.page(0, 10_000).unwrap().events;
                found.retain(|event| event.kind() == kind);
                if found.len() >= count {
                    return found;
                }
                head.changed().await.unwrap();
            }
        });
        waited.await.unwrap_or_else(|_| panic!("never {count} of {kind:?}"))
    }

    /// The phone writes to the office: the event of it, and its WhatsApp id.
    pub(crate) async fn receive(&self, from: &str, to: &str, text: &str) -> (Event, String) {
        let id = self.office.sim.send_text(from, to, text).await.unwrap();
        let mut count = 1;
        loop {
            let found = self.events(Kind::Message, count).await;
            count = found.len() + 1;
            let told = |event: &Event| matches!(&event.body, Body::Message(said) if said.message_id == id);
            if let Some(event) = found.into_iter().find(told) {
                return (event, id);
            }
        }
    }

    /// A group of the office (no admin) and these, made by the first of them.
    pub(crate) async fn group(&self, members: &[&str]) -> String {
        let others: Vec<String> = members.iter().chain([&OFFICE]).map(|n| (*n).to_owned()).collect();
        self.office.sim.create_group("Toko", members[0], &others).await.unwrap()
    }
}
