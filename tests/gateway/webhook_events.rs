//! What happens in groups, polls and reactions reaches receivers of every format; what is given up waits to be sent
//! again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::receiver::{Receiver, hook, near, ok};
use crate::support::{CUSTOMER, OFFICE, Office, PATIENCE};
use crate::votes::key;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde_json::{Value, json};
use waproto::buffa::MessageField;
use waproto::whatsapp as wa;
use whatsapp_sim::{GroupChange, lid_of};

const OTHER: &str = "6281200000003";

fn lid(number: &str) -> String {
    format!("{}@lid", lid_of(number))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phones_change_of_a_group_reaches_a_receiver_with_everybodys_names() {
    let (office, session) = Office::paired_with(near).await;
    office.sim.add_phone(OTHER, "Pak Budi").await.unwrap();
    let mut ours = Receiver::start(ok).await;
    hook(&office, json!({"url": ours.url(), "events": ["group"]})).await;
    // Neither of these formats has a word for a change of a group: what they get next is the message after it.
    let (mut fonnte, mut mpwa) = (Receiver::start(ok).await, Receiver::start(ok).await);
    hook(&office, json!({"url": fonnte.url(), "format": "fonnte", "events": ["group", "message"]})).await;
    hook(&office, json!({"url": mpwa.url(), "format": "mpwa", "events": ["group", "message"]})).await;
    let group = office.sim.create_group("Gudang", CUSTOMER, &[OFFICE.into()]).await.unwrap();
    let created = ours.next().await.json();
    assert_eq!(
        (created["data"]["action"].as_str(), created["chat_id"].as_str()),
        (Some("create"), Some(group.as_str()))
    );
    let person = |number: &str| json!({"phone": number, "lid": lid(number)});
    for (change, action, participants, text) in [
        (GroupChange::Add(vec![OTHER.into()]), "add", json!([person(OTHER)]), Value::Null),
        (GroupChange::Promote(vec![OTHER.into()]), "promote", json!([person(OTHER)]), Value::Null),
        (GroupChange::Demote(vec![OTHER.into()]), "demote", json!([person(OTHER)]), Value::Null),
        (GroupChange::Subject("Gudang 2".into()), "subject", Value::Null, json!("Gudang 2")),
        (GroupChange::Description("Stok harian".into()), "description", Value::Null, json!("Stok harian")),
        (GroupChange::Remove(vec![OTHER.into()]), "remove", json!([person(OTHER)]), Value::Null),
    ] {
        office.sim.change_group(CUSTOMER, &group, change).await.unwrap();
        let body = ours.next().await.json();
        assert_eq!((&body["type"], &body["data"]["action"]), (&json!("group"), &json!(action)), "{body}");
        assert_eq!((&body["chat_id"], &body["session"]), (&json!(group), &json!(session.id())), "{body}");
        assert_eq!(
            (&body["phone"], &body["lid"]),
            (&json!(CUSTOMER), &json!(lid(CUSTOMER))),
            "who did it: {body}"
        );
        let named = body["data"].get("participants").cloned().unwrap_or_default();
        let named = if named == json!([]) { Value::Null } else { named };
        assert_eq!((named, body["data"]["text"].clone()), (participants, text), "{action}: {body}");
    }
    // A member that is no administrator changes nothing, and nobody is told.
    office.sim.change_group(OFFICE, &group, GroupChange::Remove(vec![CUSTOMER.into()])).await.unwrap_err();
    office.sim.send_text(CUSTOMER, &group, "selesai").await.unwrap();
    let body = fonnte.next().await.json();
    assert_eq!(
        (&body["message"], &body["sender"], &body["member"]),
        (&json!("selesai"), &json!(group), &json!(CUSTOMER))
    );
    let body = mpwa.next().await.json();
    assert_eq!(
        (&body["message"], &body["from"], &body["participant"]),
        (&json!("selesai"), &json!(group), &json!(CUSTOMER))
    );
    office.assert_no_violations();
}

/// Sends a poll from the gateway, and a vote in it from the customer's phone.
async fn vote(office: &Office, choice: &str) -> String {
    let body = json!({"api_key": office.key, "sender": OFFICE, "number": CUSTOMER, "name": "Jam berapa?",
        "option": ["08.00", "09.00"], "countable": "1"});
    assert_eq!(office.post("/send-poll", body).await.status, 200);
    let poll_id = office.sim.inbox(CUSTOMER, 1, PATIENCE).await.unwrap()[0].id.clone();
    let sent = office.gateway.outbox().find(&poll_id).unwrap().unwrap();
    let kurir::outbox::Content::Poll { secret, .. } = sent.content else { panic!("{sent:?}") };
    let secret = hex::decode(secret).unwrap();
    let vote = crate::votes::vote(&poll_id, &secret, OFFICE, CUSTOMER, choice);
    office.sim.send(CUSTOMER, OFFICE, &vote).await.unwrap();
    poll_id
}

#[tokio::test(flavor = "multi_thread")]
async fn votes_and_reactions_reach_receivers_in_the_formats_that_know_them() {
    let (office, _session) = Office::paired_with(near).await;
    let kinds = json!(["poll_vote", "reaction", "message"]);
    let (mut ours, mut fonnte, mut mpwa) =
        (Receiver::start(ok).await, Receiver::start(ok).await, Receiver::start(ok).await);
    for (receiver, format) in [(&ours, "kurir"), (&fonnte, "fonnte"), (&mpwa, "mpwa")] {
        hook(&office, json!({"url": receiver.url(), "format": format, "events": kinds})).await;
    }
    let poll_id = vote(&office, "09.00").await;
    let body = ours.next().await.json();
    assert_eq!((&body["type"], &body["data"]["poll_id"]), (&json!("poll_vote"), &json!(poll_id)), "{body}");
    assert_eq!(
        (&body["data"]["poll_name"], &body["data"]["options"]),
        (&json!("Jam berapa?"), &json!(["09.00"]))
    );
    assert_eq!((&body["phone"], &body["lid"]), (&json!(CUSTOMER), &json!(lid(CUSTOMER))));
    let body = fonnte.next().await.json();
    assert_eq!(
        (&body["pollname"], &body["choices"], &body["sender"]),
        (&json!("Jam berapa?"), &json!("09.00"), &json!(CUSTOMER))
    );

    let reaction =
        wa::message::ReactionMessage { key: key(&poll_id), text: Some("🙏".into()), ..Default::default() };
    let reaction = wa::Message { reaction_message: MessageField::some(reaction), ..Default::default() };
    office.sim.send(CUSTOMER, OFFICE, &reaction).await.unwrap();
    let body = ours.next().await.json();
    assert_eq!(
        (&body["type"], &body["data"]["emoji"], &body["data"]["target"]),
        (&json!("reaction"), &json!("🙏"), &json!(poll_id))
    );
    assert_eq!(
        (&body["phone"], &body["chat_id"]),
        (&json!(CUSTOMER), &json!(format!("{CUSTOMER}@s.whatsapp.net")))
    );
    // The other formats know no reactions, and the `api_key` format no votes: their next call is the text.
    office.sim.send_text(CUSTOMER, OFFICE, "terima kasih").await.unwrap();
    assert_eq!(ours.next().await.text(), "terima kasih");
    assert_eq!(fonnte.next().await.json()["message"], "terima kasih");
    assert_eq!(mpwa.next().await.json()["message"], "terima kasih");
    office.assert_no_violations();
}

/// Asks until the webhook has this many dead letters.
async fn dead(office: &Office, path: &str, count: usize) -> Vec<Value> {
    let asked = async {
        loop {
            let letters = office.call("GET", &format!("{path}/dead"), None).await.json()["dead"].clone();
            let letters = letters.as_array().unwrap().clone();
            if letters.len() == count {
                return letters;
            }
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| panic!("never {count} dead letters"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_to_the_end_goes_to_the_dead_letters_and_can_be_sent_again() {
    let (office, _session) = Office::paired_with(|config| {
        near(config);
        // What is a day otherwise.
        config.limits.webhook_give_up = Duration::from_millis(200);
    })
    .await;
    let mended = Arc::new(AtomicBool::new(false));
    let works = Arc::clone(&mended);
    let mut receiver = Receiver::start(move |call| {
        let refuses = call.text() == "sulit" && !works.load(Ordering::Relaxed);
        if refuses { StatusCode::BAD_REQUEST } else { StatusCode::OK }.into_response()
    })
    .await;
    let (id, _) = hook(&office, json!({"url": receiver.url(), "events": ["message"]})).await;
    let path = format!("/api/v1/webhooks/{id}");
    for text in ["sulit", "mudah"] {
        office.sim.send_text(CUSTOMER, OFFICE, text).await.unwrap();
    }
    let letter = dead(&office, &path, 1).await.remove(0);
    assert_eq!((&letter["kind"], &letter["error"]), (&json!("message"), &json!("the receiver answered 400")));
    let attempts = letter["attempts"].as_u64().unwrap();
    assert!(attempts > 1, "{letter}");
    let mut calls = Vec::new();
    while calls.len() as u64 <= attempts {
        calls.push(receiver.next().await);
    }
    let refused = calls.iter().filter(|call| call.text() == "sulit").count() as u64;
    assert_eq!((refused, calls.len() as u64 - refused), (attempts, 1), "the other was delivered beside it");
    let log = office.call("GET", &format!("{path}/deliveries"), None).await.json();
    let results = |wanted: &str| {
        let rows = log["deliveries"].as_array().unwrap().iter();
        rows.filter(|row| row["result"] == wanted).cloned().collect::<Vec<_>>()
    };
    assert_eq!((results("dead").len(), results("delivered").len()), (1, 1), "{log}");
    assert_eq!(results("retry").len() as u64, attempts - 1, "{log}");
    assert_eq!(
        (&results("dead")[0]["event"], &results("dead")[0]["status"]),
        (&letter["event"], &json!(400))
    );

    // Dead letters outlive the gateway.
    let office = office.restart().await;
    assert_eq!(dead(&office, &path, 1).await[0]["event"], letter["event"]);
    mended.store(true, Ordering::Relaxed);
    let answer = office.call("POST", &format!("{path}/replay"), Some(json!({"dead": true}))).await;
    assert_eq!((answer.status, answer.json()["replayed"].clone()), (200, json!(1)));
    let call = receiver.next().await;
    assert_eq!(
        (call.text().as_str(), json!(call.header("x-kurir-delivery"))),
        ("sulit", letter["event"].clone())
    );
    dead(&office, &path, 0).await;
    let removed = office.call("DELETE", &format!("{path}/dead"), None).await.json();
    assert_eq!(removed, json!({"success": true, "removed": 0}));
}
