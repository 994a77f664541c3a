//! What phones send is in the event journal: every kind, with both names of its author, once, and also when it was sent
//! while the gateway was away.

use crate::support::{CUSTOMER, OFFICE, Office, PATIENCE, wait_for};
use crate::votes::{key, vote};
use kurir::inbox::{Body, Event, Kind, Message};
use kurir::outbox::Content;
use kurir::session::Status;
use serde_json::json;
use waproto::buffa::MessageField;
use waproto::whatsapp as wa;
use whatsapp_sim::media::{OutgoingKind, OutgoingMedia};

/// Waits until the journal holds `count` events of this kind.
async fn events(office: &Office, kind: Kind, count: usize) -> Vec<Event> {
    let inbox = office.gateway.inbox();
    let mut head = inbox.head();
    let waited = tokio::time::timeout(PATIENCE, async {
        loop {
            head.borrow_and_update();
            let found: Vec<Event> =
                inbox.page(0, 10_000).unwrap().events.into_iter().filter(|e| e.kind() == kind).collect();
            if found.len() >= count {
                return found;
            }
            head.changed().await.unwrap();
        }
    });
    let found = waited.await.unwrap_or_else(|_| panic!("never {count} of {kind:?}"));
    assert_eq!(found.len(), count, "{found:?}");
    found
}

fn message(event: &Event) -> &Message {
    match &event.body {
        Body::Message(message) => message,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_is_recorded_with_both_names_of_its_author_before_whatsapp_is_told() {
    let (office, session) = Office::paired().await;
    let id = office.sim.send_text(CUSTOMER, OFFICE, "Masih buka?").await.unwrap();
    let event = events(&office, Kind::Message, 1).await.remove(0);
    let said = message(&event);
    assert_eq!((said.message_id.as_str(), said.text.as_deref()), (id.as_str(), Some("Masih buka?")));
    assert_eq!((said.kind.as_str(), said.from_me, said.is_group), ("text", false, false));
    assert_eq!(said.name, "Ibu Sari");
    assert_eq!(event.origin.session, session.id());
    assert_eq!(event.person.phone.as_deref(), Some(CUSTOMER));
    assert!(event.person.lid.as_deref().is_some_and(|lid| lid.ends_with("@lid")), "{event:?}");
    assert_eq!(event.chat_id.as_deref(), Some(format!("{CUSTOMER}@s.whatsapp.net").as_str()));
    assert!(!event.offline && event.at_ms > 1_600_000_000_000);
    let inbox = office.gateway.inbox();
    for name in [CUSTOMER, event.person.lid.as_deref().unwrap()] {
        assert!(inbox.last_from(session.no(), name).unwrap().is_some(), "{name}");
    }
    office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_while_the_gateway_is_away_is_recorded_once_after_it_returns_and_marked() {
    let (office, _session) = Office::paired().await;
    office.sim.send_text(CUSTOMER, OFFICE, "sebelum").await.unwrap();
    events(&office, Kind::Message, 1).await;
    let Office { sim, gateway, key, config, folder } = office;
    gateway.shutdown().await;
    let mut sent = Vec::new();
    for n in 0..30 {
        sent.push(sim.send_text(CUSTOMER, OFFICE, &format!("selama {n}")).await.unwrap());
    }
    let gateway = kurir::gateway::Gateway::start(&config).await.unwrap();
    let office = Office { sim, gateway, key, config, folder };
    let found = events(&office, Kind::Message, 31).await;
    assert!(!found[0].offline);
    assert!(found[1..].iter().all(|event| event.offline), "{found:?}");
    let ids: Vec<_> = found[1..].iter().map(|event| message(event).message_id.clone()).collect();
    assert_eq!(ids, sent, "in the order in which they were sent");
    let next = office.sim.send_text(CUSTOMER, OFFICE, "sesudah").await.unwrap();
    let found = events(&office, Kind::Message, 32).await;
    assert_eq!((message(&found[31]).message_id.clone(), found[31].offline), (next, false));
    office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_file_is_recorded_with_what_its_sender_says_of_it() {
    let (office, _session) = Office::paired().await;
    let kinds = [
        (OutgoingKind::Image, "image"),
        (OutgoingKind::Video, "video"),
        (OutgoingKind::Audio, "audio"),
        (OutgoingKind::Ptt, "voice"),
        (OutgoingKind::Document, "document"),
        (OutgoingKind::Sticker, "sticker"),
    ];
    for (kind, _) in kinds {
        let media = OutgoingMedia {
            kind,
            mime: "application/pdf".into(),
            data: bytes::Bytes::from_static(b"isi berkas"),
            caption: Some("lihat ini".into()),
            filename: Some("nota.pdf".into()),
        };
        office.sim.send_media(CUSTOMER, OFFICE, media).await.unwrap();
    }
    let found = events(&office, Kind::Media, kinds.len()).await;
    for (event, (_, kind)) in found.iter().zip(kinds) {
        let said = message(event);
        assert_eq!(said.kind, kind);
        assert_eq!(said.media.as_ref().unwrap().size, Some(10));
        assert!(event.media.is_some());
        let captioned = matches!(kind, "image" | "video" | "document");
        assert_eq!(said.text.as_deref(), captioned.then_some("lihat ini"), "{kind}");
    }
    office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn reactions_edits_and_revokes_point_at_their_message() {
    let (office, _session) = Office::paired().await;
    let id = office.sim.send_text(CUSTOMER, OFFICE, "salah ketik").await.unwrap();
    let reaction =
        wa::message::ReactionMessage { key: key(&id), text: Some("🙏".into()), ..Default::default() };
    let reaction = wa::Message { reaction_message: MessageField::some(reaction), ..Default::default() };
    office.sim.send(CUSTOMER, OFFICE, &reaction).await.unwrap();
    let new = wa::Message { conversation: Some("benar".into()), ..Default::default() };
    let edit = wa::message::ProtocolMessage {
        key: key(&id),
        r#type: Some(wa::message::protocol_message::Type::MESSAGE_EDIT),
        edited_message: MessageField::some(new),
        ..Default::default()
    };
    let edit = wa::Message { protocol_message: MessageField::some(edit), ..Default::default() };
    office.sim.send(CUSTOMER, OFFICE, &edit).await.unwrap();
    let found = events(&office, Kind::Reaction, 1).await;
    let Body::Reaction(reaction) = &found[0].body else { panic!() };
    assert_eq!((reaction.target.as_str(), reaction.emoji.as_str()), (id.as_str(), "🙏"));
    let found = events(&office, Kind::Message, 2).await;
    let edit = message(&found[1]);
    assert_eq!((edit.kind.as_str(), edit.target.as_deref()), ("edit", Some(id.as_str())));
    assert_eq!(edit.text.as_deref(), Some("benar"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vote_is_recorded_with_the_name_of_what_was_chosen() {
    let (office, _session) = Office::paired().await;
    let secret = vec![9; 32];
    let options = ["nasi", "mie"].map(|name| wa::message::poll_creation_message::Option {
        option_name: Some(name.into()),
        ..Default::default()
    });
    let poll = wa::Message {
        poll_creation_message_v3: MessageField::some(wa::message::PollCreationMessage {
            name: Some("Makan apa?".into()),
            options: options.to_vec(),
            selectable_options_count: Some(1),
            ..Default::default()
        }),
        message_context_info: MessageField::some(wa::MessageContextInfo {
            message_secret: Some(secret.clone()),
            ..Default::default()
        }),
        ..Default::default()
    };
    let poll_id = office.sim.send(CUSTOMER, OFFICE, &poll).await.unwrap();
    let found = events(&office, Kind::Message, 1).await;
    assert_eq!(message(&found[0]).poll.as_ref().unwrap().options, ["nasi", "mie"]);
    let vote = vote(&poll_id, &secret, CUSTOMER, CUSTOMER, "mie");
    office.sim.send(CUSTOMER, OFFICE, &vote).await.unwrap();
    let found = events(&office, Kind::PollVote, 1).await;
    let Body::PollVote(vote) = &found[0].body else { panic!() };
    assert_eq!((vote.poll_id.as_str(), vote.options.as_slice()), (poll_id.as_str(), &["mie".to_owned()][..]));
    assert_eq!((vote.poll_name.as_deref(), vote.undecrypted), (Some("Makan apa?"), false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vote_in_a_poll_of_ours_is_read_too() {
    let (office, _session) = Office::paired().await;
    let body = json!({"api_key": office.key, "sender": OFFICE, "number": CUSTOMER, "name": "Jam berapa?",
        "option": ["08.00", "09.00"], "countable": "1"});
    let answer = office.post("/send-poll", body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let shown = office.sim.inbox(CUSTOMER, 1, PATIENCE).await.unwrap();
    let poll_id = shown[0].id.clone();
    let sent = office.gateway.outbox().find(&poll_id).unwrap().unwrap();
    let Content::Poll { secret, .. } = sent.content else { panic!("{sent:?}") };
    let secret = hex::decode(secret).unwrap();
    let vote = vote(&poll_id, &secret, OFFICE, CUSTOMER, "09.00");
    office.sim.send(CUSTOMER, OFFICE, &vote).await.unwrap();
    let found = events(&office, Kind::PollVote, 1).await;
    let Body::PollVote(vote) = &found[0].body else { panic!() };
    assert_eq!(vote.options, ["09.00"], "{vote:?}");
    assert_eq!(vote.poll_name.as_deref(), Some("Jam berapa?"));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_wrote_to_us_is_no_stranger_to_the_outbox() {
    let (office, session) = Office::paired_with(|config| config.stranger_daily_cap = 1).await;
    let path = format!("/api/sessions/{}/send", session.id());
    let body = Some(json!({"to": CUSTOMER, "message": "halo"}));
    assert_eq!(office.call("POST", &path, body.clone()).await.status, 200);
    assert_eq!(office.call("POST", &path, body.clone()).await.status, 429, "the second of the day");
    office.sim.send_text(CUSTOMER, OFFICE, "ya?").await.unwrap();
    events(&office, Kind::Message, 1).await;
    assert_eq!(office.call("POST", &path, body).await.status, 200, "they wrote to us");
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_groups_and_states_are_recorded_too() {
    let (office, session) = Office::paired().await;
    let path = format!("/api/sessions/{}/send", session.id());
    let answer = office.call("POST", &path, Some(json!({"to": CUSTOMER, "message": "halo"}))).await.json();
    let id = answer["messageId"].as_str().unwrap().to_owned();
    office.sim.inbox(CUSTOMER, 1, PATIENCE).await.unwrap();
    // The two receipts may overtake each other on their way.
    events(&office, Kind::Receipt, 1).await;
    office.sim.read(CUSTOMER, &id).await.unwrap();
    let receipts = events(&office, Kind::Receipt, 2).await;
    for (event, wanted) in receipts.iter().zip(["delivered", "read"]) {
        let Body::Receipt(receipt) = &event.body else { panic!() };
        assert_eq!((receipt.status.as_str(), receipt.message_ids.as_slice()), (wanted, &[id.clone()][..]));
        assert_eq!(event.person.phone.as_deref(), Some(CUSTOMER));
        assert_eq!(event.chat_id.as_deref(), Some(format!("{CUSTOMER}@s.whatsapp.net").as_str()));
    }
    let group = office.sim.create_group("Gudang", CUSTOMER, &[OFFICE.into()]).await.unwrap();
    let sent = office.sim.send_text(CUSTOMER, &group, "ke grup").await.unwrap();
    let found = events(&office, Kind::Message, 1).await;
    let said = message(&found[0]);
    assert_eq!((said.message_id.as_str(), said.is_group), (sent.as_str(), true));
    assert_eq!(found[0].chat_id.as_deref(), Some(group.as_str()));
    assert_eq!(found[0].person.phone.as_deref(), Some(CUSTOMER), "{:?}", found[0]);

    office.sim.unlink(OFFICE).await.unwrap();
    wait_for(&session, |s| !s.paired || s.status != Status::Connected).await;
    let inbox = office.gateway.inbox();
    let mut head = inbox.head();
    tokio::time::timeout(PATIENCE, async {
        loop {
            head.borrow_and_update();
            let states: Vec<String> = inbox
                .page(0, 10_000)
                .unwrap()
                .events
                .into_iter()
                .filter_map(|event| match event.body {
                    Body::Session(state) => Some(state.status),
                    _ => None,
                })
                .collect();
            let connected = states.iter().position(|s| s == "connected");
            if connected.is_some_and(|at| states[at + 1..].iter().any(|s| s != "connected")) {
                return;
            }
            head.changed().await.unwrap();
        }
    })
    .await
    .expect("the log-out was never recorded");
}
