//! One endpoint, every kind.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kurir::config::Config;
use kurir::inbox::{Body, Kind};
use kurir::outbox::{Content, Progress};
use serde_json::json;
use waproto::buffa::MessageField;
use waproto::whatsapp as wa;

use super::desk::Desk;
use crate::support::files::{multipart, sample, serve_samples};
use crate::support::{CUSTOMER, OFFICE, PATIENCE, request};

const OTHER: &str = "6281200000003";

/// Pages and files of this machine may be fetched.
fn near(config: &mut Config) {
    config.allow_private_fetch = vec!["127.0.0.0/8".parse().unwrap()];
}

fn pn(number: &str) -> String {
    format!("{number}@s.whatsapp.net")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_message_is_shown_as_what_it_is() {
    let desk = Desk::open_with(near).await;
    let address = serve_samples(&["photo.png", "s.webp"]).await;
    let vcard = "BEGIN:VCARD\nVERSION:3.0\nFN:Pak Budi\nEND:VCARD";
    let cases = [
        (json!({"text": "Halo"}), "text", Some("Halo")),
        (json!({"type": "text", "text": "Halo lagi"}), "text", Some("Halo lagi")),
        (json!({"media": {"url": format!("http://{address}/photo.png")}, "text": "lihat"}), "image", None),
        (
            json!({"type": "document", "media": {"data": STANDARD.encode(sample("a.pdf")), "filename": "nota.pdf"}}),
            "document",
            None,
        ),
        (json!({"type": "sticker", "media": {"url": format!("http://{address}/s.webp")}}), "sticker", None),
        (
            json!({"location": {"latitude": -6.2, "longitude": 106.8, "name": "Kantor", "address": "Jl. A"}}),
            "location",
            Some("-6.2,106.8\nKantor\nJl. A"),
        ),
        (json!({"contact": {"name": "Pak Budi", "vcard": vcard}}), "contact", Some(vcard)),
        (json!({"poll": {"name": "Jam?", "options": ["08", "09"]}}), "poll", Some("Jam?\n08\n09")),
    ];
    for (mut body, kind, text) in cases {
        body["to"] = json!(CUSTOMER);
        let message = desk.send(body.clone()).await;
        let id = message["message_id"].as_str().unwrap();
        let shown = desk.shown(CUSTOMER, id).await;
        assert_eq!((shown.kind.as_str(), shown.text.as_deref()), (kind, text), "{body}");
        assert_eq!((&message["to"], &message["type"]), (&json!(pn(CUSTOMER)), &json!(kind)));
        // Both ids find it again.
        for id in [id, message["id"].as_str().unwrap()] {
            let found = desk.ok("GET", &format!("/messages/{id}"), 200, json!(null)).await;
            assert_eq!(found["message"]["message_id"], message["message_id"]);
        }
    }
    let image = desk.until(CUSTOMER, |items| items.iter().find(|i| i.kind == "image").cloned()).await;
    assert_eq!(image.caption.as_deref(), Some("lihat"));
    let document = desk.until(CUSTOMER, |items| items.iter().find(|i| i.kind == "document").cloned()).await;
    assert_eq!(document.filename.as_deref(), Some("nota.pdf"));
    assert_eq!(desk.office.sim.media(CUSTOMER, &document.id).await.unwrap(), sample("a.pdf"));
    desk.office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contact_by_number_and_a_form_with_a_file() {
    let desk = Desk::open().await;
    let body = json!({"to": CUSTOMER, "contact": {"name": "Budi", "phone": "0812-0000-0003"}});
    let id = desk.delivered(CUSTOMER, body).await;
    assert!(desk.shown(CUSTOMER, &id).await.text.unwrap().contains("waid=6281200000003"));
    let path = format!("/api/v1/sessions/{}/messages", desk.session.id());
    let headers =
        [("x-api-key", desk.office.key.as_str()), ("content-type", "multipart/form-data; boundary=B")];
    let body = multipart(&[("to", CUSTOMER), ("text", "ini")], Some(("media", "a.pdf", &sample("a.pdf"))));
    let answer = request(desk.office.gateway.address(), "POST", &path, &headers, body).await.unwrap();
    assert_eq!(answer.status, 202, "{answer:?}");
    let id = answer.json()["message"]["message_id"].as_str().unwrap().to_owned();
    let shown = desk.shown(CUSTOMER, &id).await;
    assert_eq!((shown.filename.as_deref(), shown.caption.as_deref()), (Some("a.pdf"), Some("ini")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_quotes_its_message_and_a_mention_names_people() {
    let desk = Desk::open().await;
    desk.office.sim.add_phone(OTHER, "Pak Budi").await.unwrap();
    let group = desk.group(&[CUSTOMER, OTHER]).await;
    // One of ours, by either id.
    let first = desk.send(json!({"to": CUSTOMER, "text": "Jadi datang?"})).await;
    for id in [&first["id"], &first["message_id"]] {
        let id = desk.delivered(CUSTOMER, json!({"to": CUSTOMER, "text": "?", "reply_to": id})).await;
        let shown = desk.shown(CUSTOMER, &id).await;
        assert_eq!(shown.quoted.as_deref(), first["message_id"].as_str());
    }
    // A received one, by its event's id and by its WhatsApp id.
    let (event, asked) = desk.receive(CUSTOMER, OFFICE, "Buka jam berapa?").await;
    for id in [&event.id, &asked] {
        let id = desk.delivered(CUSTOMER, json!({"to": CUSTOMER, "text": "Jam 8", "reply_to": id})).await;
        assert_eq!(desk.shown(CUSTOMER, &id).await.quoted.as_ref(), Some(&asked));
    }
    // People, however their number is written; the text names them as WhatsApp looks for them.
    let body = json!({"to": group, "text": "@081200000003 dan @6281200000002", "mentions": ["081200000003", CUSTOMER]});
    let id = desk.delivered(CUSTOMER, body).await;
    let shown = desk.shown(CUSTOMER, &id).await;
    assert_eq!(shown.text.as_deref(), Some("@6281200000003 dan @6281200000002"));
    assert_eq!((shown.mentions, shown.mention_all), (vec![pn(OTHER), pn(CUSTOMER)], false));
    // Everybody: marked, and each by name, but not ourselves.
    for body in [json!({"mentions": ["all"]}), json!({"mention_all": true})] {
        let mut message = json!({"to": group, "text": "@all rapat"});
        message.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
        let id = desk.delivered(OTHER, message).await;
        let shown = desk.shown(OTHER, &id).await;
        assert!(shown.mention_all);
        let mut named = shown.mentions.clone();
        named.sort();
        let mut expected = [CUSTOMER, OTHER].map(|n| format!("{}@lid", whatsapp_sim::lid_of(n)));
        expected.sort();
        assert_eq!(named, expected);
    }
    desk.office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_in_a_group_names_the_author_that_whatsapp_named() {
    let desk = Desk::open().await;
    let group = desk.group(&[CUSTOMER]).await;
    let (event, asked) = desk.receive(CUSTOMER, &group, "Siapa jaga?").await;
    let id = desk.delivered(CUSTOMER, json!({"to": group, "text": "Saya", "reply_to": event.id})).await;
    assert_eq!(desk.shown(CUSTOMER, &id).await.quoted, Some(asked));
    let sent = desk.office.gateway.outbox().find(&id).unwrap().unwrap();
    let author = sent.context.quoted.unwrap().author.unwrap();
    assert_eq!(author, format!("{}@lid", whatsapp_sim::lid_of(CUSTOMER)));
    desk.office.assert_no_violations();
}

/// A page with a picture, one that never answers, and how often the page was asked for.
async fn pages() -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let page = move || {
        count.fetch_add(1, Ordering::Relaxed);
        async {
            let html = "<html><head><title>bukan</title><meta property='og:title' content='Kopi &amp; Teh'>
                <meta property='og:description' content='Biji pilihan'><meta property='og:image' content='/k.png'>
                </head><body></body></html>";
            ([(CONTENT_TYPE, "text/html; charset=utf-8")], html)
        }
    };
    let picture = || async { ([(CONTENT_TYPE, "image/png")], sample("k.png")) };
    let never = || async { std::future::pending::<()>().await };
    let router = Router::new()
        .route("/kopi", get(page))
        .route("/k.png", get(picture))
        .route("/lambat", get(never))
        .route("/kosong", get(|| async { ([(CONTENT_TYPE, "text/html")], "<p>tanpa judul") }));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (address, asked)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_gets_its_preview_and_a_bad_page_fails_nothing() {
    let desk = Desk::open_with(near).await;
    let (address, asked) = pages().await;
    let link = format!("http://{address}/kopi");
    for _ in 0..2 {
        let body = json!({"to": CUSTOMER, "text": format!("Baru: {link}."), "preview": true});
        let id = desk.delivered(CUSTOMER, body).await;
        let shown = desk.shown(CUSTOMER, &id).await;
        let preview = shown.preview.unwrap();
        assert_eq!(preview.link, link, "as it stands in the text");
        assert_eq!(preview.title.as_deref(), Some("Kopi & Teh"));
        assert_eq!(preview.description.as_deref(), Some("Biji pilihan"));
        assert!(preview.thumbnail.is_some_and(|bytes| bytes > 100), "{preview:?}");
        assert_eq!(shown.text, Some(format!("Baru: {link}.")));
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1, "remembered");
    // Not asked for: the page is left alone.
    let other = format!("{link}?sekali=1");
    let id = desk.delivered(CUSTOMER, json!({"to": CUSTOMER, "text": other})).await;
    assert_eq!(desk.shown(CUSTOMER, &id).await.preview, None);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    for bad in ["lambat", "kosong", "tidak-ada"] {
        let began = Instant::now();
        let body = json!({"to": CUSTOMER, "text": format!("http://{address}/{bad}"), "preview": true});
        let id = desk.delivered(CUSTOMER, body).await;
        assert_eq!(desk.shown(CUSTOMER, &id).await.preview, None, "{bad}");
        assert!(began.elapsed() < Duration::from_secs(20), "{bad} took {:?}", began.elapsed());
    }
    // Fonnte has it on unless told otherwise.
    let token = desk.office.token(&desk.session).await;
    for (fields, previewed) in [(json!({}), true), (json!({"preview": false}), false)] {
        let mut body =
            json!({"token": token, "target": CUSTOMER, "message": format!("{link} fonnte {previewed}")});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let answer = desk.office.post("/send", body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let text = format!("{link} fonnte {previewed}");
        let find = |items: &[whatsapp_sim::inbox::InboxItem]| {
            items.iter().find(|item| item.text.as_deref() == Some(text.as_str())).cloned()
        };
        assert_eq!(desk.until(CUSTOMER, find).await.preview.is_some(), previewed);
    }
    desk.office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_is_not_fetched_from_the_office_network_unless_its_owner_lets_it() {
    let desk = Desk::open().await;
    let (address, asked) = pages().await;
    let body = json!({"to": CUSTOMER, "text": format!("http://{address}/kopi"), "preview": true});
    let id = desk.delivered(CUSTOMER, body).await;
    assert_eq!(desk.shown(CUSTOMER, &id).await.preview, None);
    assert_eq!(asked.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_is_voted_in_and_the_vote_comes_back_by_name() {
    let desk = Desk::open().await;
    let body =
        json!({"to": CUSTOMER, "poll": {"name": "Makan?", "options": ["nasi", "mie"], "multiple": true}});
    let poll_id = desk.delivered(CUSTOMER, body).await;
    let sent = desk.office.gateway.outbox().find(&poll_id).unwrap().unwrap();
    let Content::Poll { secret, selectable, .. } = sent.content else { panic!("{sent:?}") };
    assert_eq!(selectable, 2);
    let chosen = [wacore::poll::compute_option_hash("mie").to_vec()];
    let (payload, iv) = wacore::poll::encrypt_poll_vote_with_secret(
        &chosen,
        &hex::decode(secret).unwrap(),
        &poll_id,
        &pn(OFFICE),
        &pn(CUSTOMER),
    )
    .unwrap();
    let vote = wa::message::PollUpdateMessage {
        poll_creation_message_key: MessageField::some(wa::MessageKey {
            id: Some(poll_id.clone()),
            ..Default::default()
        }),
        vote: MessageField::some(wa::message::PollEncValue {
            enc_payload: Some(payload),
            enc_iv: Some(iv.to_vec()),
        }),
        ..Default::default()
    };
    let vote = wa::Message { poll_update_message: MessageField::some(vote), ..Default::default() };
    desk.office.sim.send(CUSTOMER, OFFICE, &vote).await.unwrap();
    let found = desk.events(Kind::PollVote, 1).await;
    let Body::PollVote(vote) = &found[0].body else { panic!() };
    assert_eq!((vote.poll_id.as_str(), vote.options.as_slice()), (poll_id.as_str(), &["mie".to_owned()][..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reference_is_one_message_and_a_scheduled_one_can_be_taken_out() {
    let desk = Desk::open().await;
    let body = json!({"to": CUSTOMER, "text": "sekali", "reference": "faktur-7"});
    let first = desk.ok("POST", "/messages", 202, body.clone()).await;
    let again = desk.ok("POST", "/messages", 202, body).await;
    assert_eq!((&first["repeated"], &again["repeated"]), (&json!(false), &json!(true)));
    assert_eq!(first["message"]["message_id"], again["message"]["message_id"]);
    let soon = chrono::Utc::now().timestamp_millis() + 3_600_000;
    let later = json!({"to": CUSTOMER, "text": "nanti", "send_at_ms": soon});
    let later = desk.ok("POST", "/messages", 202, later).await["message"].clone();
    assert_eq!((&later["status"], &later["send_at_ms"]), (&json!("pending"), &json!(soon)));
    let path = format!("/messages/{}", later["id"].as_str().unwrap());
    let gone = desk.ok("DELETE", &path, 200, json!(null)).await;
    assert_eq!((&gone["cancelled"], &gone["message"]["status"]), (&json!(true), &json!("failed")));
    // Second thoughts about the second thought.
    desk.ok("POST", &format!("{path}/retry"), 200, json!(null)).await;
    desk.office.reached(later["id"].as_str().unwrap(), Progress::Sent).await;
    let shown = desk.office.sim.inbox(CUSTOMER, 2, PATIENCE).await.unwrap();
    let texts: Vec<_> = shown.iter().map(|item| item.text.as_deref().unwrap()).collect();
    assert_eq!(texts, ["sekali", "nanti"]);
}
