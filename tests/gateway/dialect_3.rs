//! Dialect 3, `waya`: every request of its document, the queue behind it, and what the far phone shows then.

use std::time::Duration;

use crate::support::files::{form, multipart, sample, serve_samples};
use crate::support::{Answer, CUSTOMER, NOBODY, OFFICE, Office, PATIENCE, request, wait_for};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kurir::config::Config;
use kurir::outbox::Progress;
use serde_json::{Value, json};

const OTHER: &str = "6281200000003";

/// No pause in the queue: tests of something else do not wait for it.
fn quick(config: &mut Config) {
    config.queue_delay = Duration::from_millis(1);
    config.queue_jitter = Duration::ZERO;
    config.allow_private_fetch = vec!["127.0.0.0/8".parse().unwrap()];
    config.main_number = Some(CUSTOMER.to_owned());
}

async fn send(office: &Office, body: Value) -> Answer {
    office.call("POST", "/api/send-message", Some(body)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_texts_of_the_document() {
    let (office, _session) = Office::paired_with(quick).await;
    office.sim.add_phone(OTHER, "Pak Budi").await.unwrap();
    let members = [OFFICE.to_owned(), CUSTOMER.to_owned()];
    let group = office.sim.create_group("Toko", OTHER, &members).await.unwrap();
    let cases = [
        (json!({"number": CUSTOMER, "message": "Hello!"}), 1),
        (json!({"recipients": [CUSTOMER, OTHER], "message": "Hello everyone!"}), 2),
        (json!({"recipients": [group], "message": "Hello group!"}), 1),
        (json!({"recipients": [CUSTOMER, OTHER, group], "message": "Hello!"}), 3),
        (json!({"number": "main", "message": "Hello!"}), 1),
    ];
    for (body, count) in cases {
        let answer = send(&office, body.clone()).await;
        let json = answer.json();
        assert_eq!(
            (answer.status, &json["success"], &json["reference_id"]),
            (200, &json!(true), &Value::Null),
            "{json}"
        );
        let ids = json["ids"].as_array().unwrap();
        assert_eq!((ids.len(), &ids[0]), (count, &json["id"]), "{body}");
        for id in ids {
            office.reached(id.as_str().unwrap(), Progress::Sent).await;
        }
    }
    let texts: Vec<_> = office
        .sim
        .inbox(CUSTOMER, 6, PATIENCE)
        .await
        .unwrap()
        .into_iter()
        .map(|m| (m.chat, m.text.unwrap()))
        .collect();
    let from_office = |text: &str| (OFFICE.to_owned(), text.to_owned());
    let in_group = |text: &str| (group.clone(), text.to_owned());
    for expected in
        [from_office("Hello!"), from_office("Hello everyone!"), in_group("Hello group!"), in_group("Hello!")]
    {
        assert!(texts.contains(&expected), "{expected:?} in {texts:?}");
    }
    assert_eq!(texts.len(), 6);
    assert_eq!(office.sim.inbox(OTHER, 4, PATIENCE).await.unwrap().len(), 4);
    office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_media_of_the_document() {
    let (office, _session) = Office::paired_with(quick).await;
    let address = serve_samples(&["photo.jpg"]).await;
    let url = format!("http://{address}/photo.jpg");
    let pdf = sample("document.pdf");
    for body in [
        json!({"number": CUSTOMER, "message": "Check this image!", "media": {"url": url}}),
        json!({"number": CUSTOMER, "message": "Here is the document",
            "media": {"data": STANDARD.encode(&pdf), "mimetype": "application/pdf", "filename": "document.pdf"}}),
        json!({"number": CUSTOMER, "media": {"url": url}}),
    ] {
        let answer = send(&office, body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        office.reached(answer.json()["id"].as_str().unwrap(), Progress::Sent).await;
    }
    let got = office.sim.inbox(CUSTOMER, 3, PATIENCE).await.unwrap();
    assert_eq!((got[0].kind.as_str(), got[0].caption.as_deref()), ("image", Some("Check this image!")));
    assert_eq!((got[1].kind.as_str(), got[1].caption.as_deref()), ("document", Some("Here is the document")));
    assert_eq!(
        (got[1].filename.as_deref(), got[1].mime.as_deref()),
        (Some("document.pdf"), Some("application/pdf"))
    );
    assert_eq!(office.sim.media(CUSTOMER, &got[1].id).await.unwrap(), pdf);
    assert_eq!((got[2].kind.as_str(), got[2].caption.as_deref().unwrap_or_default()), ("image", ""));
    office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_and_a_large_base64_file_are_taken_too() {
    let (office, _session) = Office::paired_with(quick).await;
    let address = office.gateway.address();
    let urlencoded =
        [("x-api-key", office.key.as_str()), ("content-type", "application/x-www-form-urlencoded")];
    let fields = form(&[("number", CUSTOMER), ("message", "dari formulir")]);
    let answer = request(address, "POST", "/api/send-message", &urlencoded, fields).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    office.sim.inbox(CUSTOMER, 1, PATIENCE).await.unwrap();
    let body =
        multipart(&[("number", CUSTOMER), ("message", "unggah")], Some(("media", "a.pdf", &sample("a.pdf"))));
    let headers = [("x-api-key", office.key.as_str()), ("content-type", "multipart/form-data; boundary=B")];
    let answer = request(address, "POST", "/api/send-message", &headers, body).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    office.sim.inbox(CUSTOMER, 2, PATIENCE).await.unwrap();
    let mut big = b"%PDF-1.7\n".to_vec();
    big.extend((0..5_000_000u32).map(|n| (n.wrapping_mul(7919) >> 5) as u8));
    let data = format!("data:application/pdf;base64,{}", STANDARD.encode(&big));
    let answer =
        send(&office, json!({"number": CUSTOMER, "media": {"data": data, "filename": "besar.pdf"}})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let got = office.sim.inbox(CUSTOMER, 3, PATIENCE).await.unwrap();
    assert_eq!(got[1].caption.as_deref(), Some("unggah"));
    assert_eq!(got[2].filename.as_deref(), Some("besar.pdf"));
    assert_eq!(office.sim.media(CUSTOMER, &got[2].id).await.unwrap(), big);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_answers_to_both_ids_and_goes_on_to_read() {
    let (office, _session) = Office::paired_with(quick).await;
    let body = json!({"number": CUSTOMER, "message": "Hello!", "reference_id": "order-12345"});
    let first = send(&office, body.clone()).await.json();
    assert_eq!((&first["reference_id"], first["status"].as_str()), (&json!("order-12345"), Some("pending")));
    let id = first["id"].as_str().unwrap();
    let message = office.reached(id, Progress::Delivered).await;
    for path in [format!("/api/message-status/{id}"), "/api/message-status/order-12345".to_owned()] {
        let answer = office.call("GET", &path, None).await;
        assert_eq!(answer.status, 200);
        let status = answer.json();
        for (field, value) in [
            ("id", json!(id)),
            ("reference_id", json!("order-12345")),
            ("number", json!(CUSTOMER)),
            ("chatId", json!(format!("{CUSTOMER}@c.us"))),
            ("message", json!("Hello!")),
            ("status", json!("sent")),
            ("error", Value::Null),
            ("createdAt", json!(message.accepted_at_ms)),
            ("sentAt", json!(message.sent_at_ms)),
            ("readAt", Value::Null),
        ] {
            assert_eq!(status[field], value, "{field}");
        }
        assert!(status["deliveredAt"].is_i64());
    }
    office.sim.read(CUSTOMER, &message.message_id).await.unwrap();
    office.reached(id, Progress::Read).await;
    let status = office.call("GET", "/api/message-status/order-12345", None).await.json();
    assert!(status["readAt"].is_i64(), "{status}");
    let again = send(&office, body).await.json();
    assert_eq!((&again["id"], again["status"].as_str()), (&first["id"], Some("sent")), "the first result");
    assert_eq!(office.sim.inbox(CUSTOMER, 1, PATIENCE).await.unwrap().len(), 1, "and no second message");
    let other = office.gateway.keys().create("clinic", "clinic", false).await.unwrap();
    let headers = [("x-api-key", other.as_str())];
    for path in [format!("/api/message-status/{id}"), "/api/message-status/order-12345".to_owned()] {
        let answer = request(office.gateway.address(), "GET", &path, &headers, "").await.unwrap();
        assert_eq!((answer.status, answer.json()["success"].clone()), (404, json!(false)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_with_one_reference_make_one_message() {
    let (office, _session) = Office::paired_with(quick).await;
    let body = json!({"number": CUSTOMER, "message": "sekali", "reference_id": "r1"});
    let answers = futures_util::future::join_all((0..8).map(|_| send(&office, body.clone()))).await;
    let ids: std::collections::HashSet<String> =
        answers.iter().map(|answer| answer.json()["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 1);
    office.reached(ids.iter().next().unwrap(), Progress::Delivered).await;
    assert_eq!(office.sim.inbox(CUSTOMER, 1, PATIENCE).await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_keeps_its_pause_and_other_dialects_do_not_wait_for_it() {
    let pause = Duration::from_millis(300);
    let (office, _session) = Office::paired_with(|config| {
        quick(config);
        config.queue_delay = pause;
        config.queue_jitter = Duration::from_millis(50);
    })
    .await;
    office.sim.add_phone(OTHER, "Pak Budi").await.unwrap();
    let queued = send(&office, json!({"recipients": [CUSTOMER, OTHER], "message": "antre"})).await.json();
    let second = office.reached(queued["ids"][1].as_str().unwrap(), Progress::Sent).await;
    let waited = second.sent_at_ms.unwrap() - second.accepted_at_ms;
    assert!(waited >= 300, "the second came {waited} ms after both were taken");

    let (office, session) = Office::paired_with(|config| {
        quick(config);
        config.queue_delay = Duration::from_secs(3600);
    })
    .await;
    office.sim.add_phone(OTHER, "Pak Budi").await.unwrap();
    let queued = send(&office, json!({"recipients": [CUSTOMER, OTHER], "message": "antre"})).await.json();
    let path = format!("/api/sessions/{}/send", session.id());
    let direct = office.call("POST", &path, Some(json!({"to": OTHER, "message": "segera"}))).await.json();
    office.reached(direct["messageId"].as_str().unwrap(), Progress::Sent).await;
    let second = office.gateway.outbox().find(queued["ids"][1].as_str().unwrap()).unwrap().unwrap();
    assert_eq!(second.progress, Progress::Pending);
    assert_eq!(office.sim.inbox(OTHER, 1, PATIENCE).await.unwrap()[0].text.as_deref(), Some("segera"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_message_can_be_cancelled_and_tried_again() {
    let (office, session) = Office::paired_with(|config| {
        quick(config);
        config.queue_delay = Duration::from_secs(3600);
    })
    .await;
    office.sim.add_phone(OTHER, "Pak Budi").await.unwrap();
    let queued =
        send(&office, json!({"recipients": [CUSTOMER, OTHER], "message": "antre", "reference_id": "r"}))
            .await
            .json();
    let (first, second) = (queued["ids"][0].as_str().unwrap(), queued["ids"][1].as_str().unwrap());
    office.reached(first, Progress::Sent).await;
    assert_eq!(office.gateway.outbox().depth(session.no()), 1);
    let cancel = format!("/api/message-status/{second}/cancel");
    assert_eq!(
        office.call("POST", &cancel, None).await.json(),
        json!({"success": true, "cancelled": [second]})
    );
    let status = office.call("GET", &format!("/api/message-status/{second}"), None).await.json();
    assert_eq!((status["status"].as_str(), status["error"].as_str()), (Some("failed"), Some("cancelled")));
    let again = office.call("POST", &cancel, None).await;
    assert_eq!((again.status, again.json()["success"].clone()), (409, json!(false)));
    let sent = office.call("POST", &format!("/api/message-status/{first}/cancel"), None).await;
    assert_eq!(sent.status, 409);
    let retry = office.call("POST", &format!("/api/message-status/{second}/retry"), None).await;
    assert_eq!(retry.json(), json!({"success": true, "retried": [second]}));
    let status = office.call("GET", &format!("/api/message-status/{second}"), None).await.json();
    assert_eq!((status["status"].as_str(), status["error"].clone()), (Some("pending"), Value::Null));
    // Its turn is an hour away; after a restart the lane begins anew, and it is first in it.
    let office = office.restart().await;
    office.reached(second, Progress::Delivered).await;
    assert_eq!(office.sim.inbox(OTHER, 1, PATIENCE).await.unwrap()[0].text.as_deref(), Some("antre"));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_those_on_the_allow_list_are_written_to() {
    let (office, session) = Office::paired_with(|config| {
        quick(config);
        config.queue_allow = Some(vec!["0812-0000-0002".into()]);
    })
    .await;
    assert_eq!(send(&office, json!({"number": CUSTOMER, "message": "boleh"})).await.status, 200);
    let refused = send(&office, json!({"recipients": [CUSTOMER, NOBODY], "message": "tidak"})).await;
    assert_eq!((refused.status, refused.json()["success"].clone()), (403, json!(false)));
    let inbox = office.sim.inbox(CUSTOMER, 1, PATIENCE).await.unwrap();
    office.reached(&inbox[0].id, Progress::Sent).await;
    assert_eq!(office.gateway.outbox().depth(session.no()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_dialects_share_a_path_and_the_header_decides() {
    let (office, session) = Office::paired_with(quick).await;
    let token = office.token(&session).await;
    let bearer = format!("Bearer {token}");
    let address = office.gateway.address();
    let body = json!({"number": CUSTOMER, "to": CUSTOMER, "message": "sama"}).to_string();
    let third =
        request(address, "POST", "/api/send-message", &[("x-api-key", &token)], body.clone()).await.unwrap();
    let second = request(address, "POST", "/api/send-message", &[("authorization", &bearer)], body.clone())
        .await
        .unwrap();
    assert_eq!((third.status, third.json()["status"].as_str()), (200, Some("pending")));
    assert_eq!(
        (second.status, second.json()["message"].as_str()),
        (200, Some("Message dispatched successfully"))
    );
    assert_eq!(office.sim.inbox(CUSTOMER, 2, PATIENCE).await.unwrap().len(), 2);
    let third =
        request(address, "POST", "/api/send-message", &[("x-api-key", "wrong")], body.clone()).await.unwrap();
    assert_eq!((third.status, third.json()), (401, json!({"success": false, "error": "Invalid API key"})));
    let second = request(address, "POST", "/api/send-message", &[("authorization", "wrong")], body.clone())
        .await
        .unwrap();
    assert_eq!((second.status, second.json()), (401, json!({"error": "Unauthorized: Invalid API Key."})));
    let neither = request(address, "POST", "/api/send-message", &[], body).await.unwrap();
    assert_eq!(neither.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_while_offline_is_kept_and_sent_later() {
    let (office, session) = Office::paired_with(quick).await;
    office.sim.fault(serde_json::from_value(json!({"kind": "refuse"})).unwrap());
    office.sim.fault(serde_json::from_value(json!({"kind": "drop"})).unwrap());
    wait_for(&session, |s| s.status == kurir::session::Status::Connecting).await;
    let answer = send(&office, json!({"number": CUSTOMER, "message": "nanti"})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    office.sim.clear_faults();
    session.reconnect().await;
    assert_eq!(office.sim.inbox(CUSTOMER, 1, PATIENCE).await.unwrap()[0].text.as_deref(), Some("nanti"));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_gets_this_dialects_error() {
    let (office, session) = Office::paired_with(|config| {
        quick(config);
        config.main_number = None;
    })
    .await;
    for (body, word) in [
        (json!({}), "number"),
        (json!({"number": CUSTOMER}), "message"),
        (json!({"number": [1], "message": "a"}), "number"),
        (json!({"number": "budi", "message": "a"}), "number"),
        (json!({"number": NOBODY, "message": "a"}), "registered"),
        (json!({"number": "main", "message": "a"}), "main"),
        (json!({"recipients": [], "message": "a"}), "recipients"),
        (json!({"recipients": {"a": 1}, "message": "a"}), "recipients"),
        (json!({"recipients": [[CUSTOMER]], "message": "a"}), "recipients"),
        (json!({"number": CUSTOMER, "message": {"a": 1}}), "message"),
        (json!({"number": CUSTOMER, "message": "x".repeat(70_000)}), "message"),
        (json!({"number": CUSTOMER, "message": "a", "reference_id": "r".repeat(300)}), "reference_id"),
        (json!({"number": CUSTOMER, "media": "x"}), "media"),
        (json!({"number": CUSTOMER, "media": {}}), "media"),
        (json!({"number": CUSTOMER, "media": {"url": 1}}), "media.url"),
        (json!({"number": CUSTOMER, "media": {"url": "file:///etc/passwd"}}), ""),
        (json!({"number": CUSTOMER, "media": {"data": "!!!!"}}), ""),
        (json!({"number": CUSTOMER, "media": {"data": "!".repeat(900_000)}}), "media.data"),
        (json!({"number": CUSTOMER, "message": "a", "sessionId": "abc"}), "Device"),
    ] {
        let answer = send(&office, body.clone()).await;
        let json = answer.json();
        let error = json["error"].as_str().unwrap_or_default();
        let shown: String = body.to_string().chars().take(100).collect();
        assert!((400..500).contains(&answer.status), "{shown}: {answer:?}");
        assert!(json["success"] == false && error.contains(word), "{shown}: {json}");
    }
    let headers = [("x-api-key", office.key.as_str())];
    for body in ["", "{", "[1]", "\"a\"", "null"] {
        let answer =
            request(office.gateway.address(), "POST", "/api/send-message", &headers, body).await.unwrap();
        assert_eq!((answer.status, answer.json()["success"].clone()), (400, json!(false)), "{body}");
    }
    for path in ["/api/message-status/nope", "/api/message-status/%00", "/api/message-status/%ff"] {
        let answer = office.call("GET", path, None).await;
        assert_eq!((answer.status, answer.json()["success"].clone()), (404, json!(false)), "{path}");
    }
    assert_eq!(office.gateway.outbox().depth(session.no()), 0, "nothing of it was accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daily_cap_for_strangers_refuses_what_is_beyond_it() {
    let (office, session) = Office::paired_with(|config| {
        quick(config);
        config.stranger_daily_cap = 2;
    })
    .await;
    office.sim.add_phone(OTHER, "Pak Budi").await.unwrap();
    assert_eq!(send(&office, json!({"recipients": [CUSTOMER, OTHER], "message": "a"})).await.status, 200);
    let refused = send(&office, json!({"number": CUSTOMER, "message": "b"})).await;
    assert_eq!((refused.status, refused.json()["success"].clone()), (429, json!(false)));
    assert!(refused.json()["error"].as_str().unwrap().contains("stranger_daily_cap"), "{refused:?}");
    assert!(refused.headers.contains_key("retry-after"));
    let group = office.sim.create_group("Toko", OTHER, &[OFFICE.to_owned()]).await.unwrap();
    assert_eq!(send(&office, json!({"number": group, "message": "grup"})).await.status, 200);
    let got = office.sim.inbox(OTHER, 2, PATIENCE).await.unwrap();
    assert_eq!(got.len(), 2);
    for item in got {
        office.reached(&item.id, Progress::Sent).await;
    }
    assert!(office.gateway.outbox().depth(session.no()) <= 1);
}
