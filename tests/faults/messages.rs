//! Messages whose acks do not come, or say no.

use std::time::Duration;

use kurir::outbox::Progress;
use serde_json::json;

use super::steps::{cut_off, failed, fault, let_in, send, shown, taken, works};
use super::support::{CUSTOMER, OFFICE, Office, PATIENCE, request, wait_for};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
async fn a_final_refusal_fails_the_message_with_its_reason_and_the_next_one_goes() {
    let (office, session) = Office::paired().await;
    fault(&office, json!({"kind": "nack", "error": 403, "count": 1}));
    let id = taken(&office, &session, CUSTOMER, "ditolak").await;
    let message = failed(&office, &id).await;
    assert_eq!(message.error.as_deref(), Some("WhatsApp refused the message (code 403)"));
    works(&office, &session, "diterima").await;
    assert_eq!(shown(&office, CUSTOMER, "ditolak").await, 0);
    assert_eq!(office.gateway.outbox().depth(session.no()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_is_not_final_is_tried_again_under_the_same_id() {
    let (office, session) = Office::paired().await;
    for code in [479, 503] {
        fault(&office, json!({"kind": "nack", "error": code, "count": 1}));
        let text = format!("setelah {code}");
        let id = taken(&office, &session, CUSTOMER, &text).await;
        let message = office.reached(&id, Progress::Delivered).await;
        assert_eq!(
            (message.attempts, message.error),
            (1, None),
            "one attempt was counted, and its error is history"
        );
        let inbox = office.sim.inbox(CUSTOMER, 1, PATIENCE).await.unwrap();
        let ids: Vec<_> = inbox.iter().filter(|m| m.text.as_deref() == Some(&text)).map(|m| &m.id).collect();
        assert_eq!(ids, [&id]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_refused_each_time_is_given_up_after_the_limit() {
    let (office, session) = Office::paired_with(|config| config.send_attempts = 2).await;
    fault(&office, json!({"kind": "nack", "error": 503}));
    let id = taken(&office, &session, CUSTOMER, "tidak akan sampai").await;
    let message = failed(&office, &id).await;
    let error = message.error.unwrap();
    assert!(error.contains("given up after 2 attempts") && error.contains("code 503"), "{error}");
    office.sim.clear_faults();
    works(&office, &session, "yang berikutnya").await;
    assert_eq!(office.gateway.outbox().depth(session.no()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_lost_before_its_ack_is_sent_again_under_the_same_id() {
    let (office, session) = Office::paired_with(|config| config.limits.ack = SECOND).await;
    fault(&office, json!({"kind": "no-ack", "count": 1, "deliver": false}));
    let id = taken(&office, &session, CUSTOMER, "dua kali").await;
    office.reached(&id, Progress::Delivered).await;
    assert_eq!(shown(&office, CUSTOMER, "dua kali").await, 1);
    assert!(office.sim.stats().messages >= 2, "it went out twice");
    office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_arrived_without_an_ack_is_shown_once() {
    let (office, session) = Office::paired_with(|config| config.limits.ack = SECOND).await;
    fault(&office, json!({"kind": "no-ack", "count": 1}));
    let id = taken(&office, &session, CUSTOMER, "sekali").await;
    // The recipient's own receipt says more than the ack would have.
    let message = office.reached(&id, Progress::Delivered).await;
    assert!(message.sent_at_ms.is_some());
    works(&office, &session, "yang berikutnya").await;
    assert_eq!(shown(&office, CUSTOMER, "sekali").await, 1);
    assert_eq!(office.gateway.outbox().depth(session.no()), 0);
    office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ack_that_is_late_costs_a_resend_that_the_phone_hides() {
    let (office, session) = Office::paired_with(|config| config.limits.ack = SECOND).await;
    fault(&office, json!({"kind": "slow-ack", "ms": 1_500, "count": 1}));
    fault(&office, json!({"kind": "no-ack", "count": 1, "device": OFFICE, "deliver": false}));
    for text in ["lambat", "hilang"] {
        let id = taken(&office, &session, CUSTOMER, text).await;
        office.reached(&id, Progress::Delivered).await;
        assert_eq!(shown(&office, CUSTOMER, text).await, 1);
    }
    works(&office, &session, "cepat").await;
    office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_grew_too_old_while_offline_fails_in_time() {
    let (office, session) = Office::paired_with(|config| config.send_max_age = 3 * SECOND).await;
    works(&office, &session, "sebelum").await;
    cut_off(&office, &session).await;
    let began = std::time::Instant::now();
    let id = taken(&office, &session, CUSTOMER, "terlalu tua").await;
    let message = failed(&office, &id).await;
    assert_eq!(message.error.as_deref(), Some("not sent within 3 s"));
    assert!(began.elapsed() < 30 * SECOND, "it took {:?}", began.elapsed());
    assert_eq!(office.gateway.outbox().depth(session.no()), 0);
    let_in(&office, &session).await;
    works(&office, &session, "sesudah").await;
    assert_eq!(shown(&office, CUSTOMER, "terlalu tua").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_could_not_be_checked_is_checked_before_it_is_sent() {
    let (office, session) = Office::paired().await;
    cut_off(&office, &session).await;
    let nobody = taken(&office, &session, super::support::NOBODY, "ke siapa").await;
    let somebody = taken(&office, &session, CUSTOMER, "ke pelanggan").await;
    let_in(&office, &session).await;
    let message = failed(&office, &nobody).await;
    assert_eq!(message.error.as_deref(), Some("the number is not on WhatsApp"));
    office.reached(&somebody, Progress::Delivered).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_while_offline_survives_a_restart_and_arrives_in_order() {
    let (office, session) = Office::paired().await;
    works(&office, &session, "sebelum").await;
    cut_off(&office, &session).await;
    let texts: Vec<String> = (0..20).map(|n| format!("antre {n}")).collect();
    for text in &texts {
        taken(&office, &session, CUSTOMER, text).await;
    }
    let id = session.id().to_owned();
    drop(session);
    let office = office.restart().await;
    let session = office.gateway.registry().get(&id).unwrap();
    assert_eq!(office.gateway.outbox().depth(session.no()), texts.len());
    let_in(&office, &session).await;
    let inbox = office.sim.inbox(CUSTOMER, texts.len() + 1, PATIENCE).await.unwrap();
    let got: Vec<_> = inbox[1..].iter().map(|m| m.text.clone().unwrap()).collect();
    assert_eq!(got, texts);
    office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_while_receipts_come_is_no_deletion() {
    const BRANCH: &str = "6281500000005";
    let (office, session) = Office::paired().await;
    office.sim.add_phone(BRANCH, "Cabang").await.unwrap();
    let branch = office.pair(BRANCH).await;
    works(&office, &branch, "dari cabang").await;
    fault(&office, json!({"kind": "refuse"}));
    fault(&office, json!({"kind": "drop", "device": OFFICE}));
    wait_for(&session, |s| s.status == kurir::session::Status::Connecting).await;
    let waiting = taken(&office, &session, CUSTOMER, "menunggu").await;
    // Sends whose acks do not come, so that the shutdown finds the branch busy, and receipts on their way.
    for n in 0..50 {
        taken(&office, &branch, CUSTOMER, &format!("cabang {n}")).await;
    }
    let (number, branch) = (session.no(), branch.no());
    drop(session);
    let office = office.restart().await;
    assert_eq!(office.gateway.outbox().depth(number), 1);
    office.sim.clear_faults();
    office.reached(&waiting, Progress::Delivered).await;
    let wanted = 52;
    let inbox = office.sim.inbox(CUSTOMER, wanted, PATIENCE).await.unwrap();
    assert_eq!(inbox.len(), wanted, "session {branch} lost something");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_429_until_there_is_room() {
    let (office, session) = Office::paired_with(|config| config.queue_limit = 3).await;
    works(&office, &session, "sebelum").await;
    cut_off(&office, &session).await;
    for n in 0..3 {
        taken(&office, &session, CUSTOMER, &format!("antre {n}")).await;
    }
    let refused = send(&office, &session, CUSTOMER, "terlalu banyak").await;
    assert_eq!(refused.status, 429);
    let body = refused.json();
    assert_eq!(body["error"], "Too Many Requests");
    assert!(body["message"].as_str().unwrap().contains("3 messages waiting"), "{body}");
    assert!(refused.headers.contains_key("retry-after"), "{:?}", refused.headers);
    let body = json!({"api_key": office.key, "sender": OFFICE, "number": CUSTOMER, "message": "x"});
    let refused = office.post("/send-message", body).await;
    assert_eq!((refused.status, &refused.json()["status"]), (429, &json!(false)));
    assert!(refused.headers.contains_key("retry-after"), "{:?}", refused.headers);
    let_in(&office, &session).await;
    office.sim.inbox(CUSTOMER, 4, PATIENCE).await.unwrap();
    works(&office, &session, "ada tempat lagi").await;
    assert_eq!(shown(&office, CUSTOMER, "terlalu banyak").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_between_message_and_ack_loses_and_doubles_nothing() {
    let (office, session) = Office::paired().await;
    works(&office, &session, "sebelum").await;
    fault(&office, json!({"kind": "drop", "after_messages": 3}));
    let texts: Vec<String> = (0..6).map(|n| format!("putus {n}")).collect();
    for text in &texts {
        taken(&office, &session, CUSTOMER, text).await;
    }
    let inbox = office.sim.inbox(CUSTOMER, texts.len() + 1, PATIENCE).await.unwrap();
    let got: Vec<_> = inbox[1..].iter().map(|m| m.text.clone().unwrap()).collect();
    assert_eq!(got, texts);
}

#[tokio::test(flavor = "multi_thread")]
async fn media_host_errors_are_tried_again() {
    let (office, session) = Office::paired().await;
    for status in [503, 401] {
        fault(&office, json!({"kind": "media", "status": status, "count": 1}));
        let body = format!(
            "--B\r\nContent-Disposition: form-data; name=\"to\"\r\n\r\n{CUSTOMER}\r\n--B\r\n\
             Content-Disposition: form-data; name=\"media\"; filename=\"nota-{status}.txt\"\r\n\r\nhalo {status}\r\n--B--\r\n"
        );
        let headers =
            [("x-api-key", office.key.as_str()), ("content-type", "multipart/form-data; boundary=B")];
        let path = format!("/api/sessions/{}/send-media", session.id());
        let answer = request(office.gateway.address(), "POST", &path, &headers, body).await.unwrap();
        let id = answer.json()["messageId"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned();
        office.reached(&id, Progress::Delivered).await;
        assert_eq!(&office.sim.media(CUSTOMER, &id).await.unwrap()[..], format!("halo {status}").as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn delivered_read_and_played_are_remembered_with_their_times() {
    let (office, session) = Office::paired().await;
    let id = taken(&office, &session, CUSTOMER, "dibaca").await;
    let delivered = office.reached(&id, Progress::Delivered).await;
    assert!(
        delivered.sent_at_ms.is_some()
            && delivered.delivered_at_ms.is_some()
            && delivered.read_at_ms.is_none()
    );
    office.sim.read(CUSTOMER, &id).await.unwrap();
    let read = office.reached(&id, Progress::Read).await;
    assert!(read.read_at_ms >= read.delivered_at_ms);

    let mut ogg = b"OggS\0\x02\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\x01\x13OpusHead\x01\x01\x38\x01\x80\xbb\0\0\0\0\0".to_vec();
    ogg.resize(500, 0);
    let head = format!(
        "--B\r\nContent-Disposition: form-data; name=\"to\"\r\n\r\n{CUSTOMER}\r\n--B\r\n\
         Content-Disposition: form-data; name=\"media\"; filename=\"suara.ogg\"\r\n\r\n"
    );
    let body = [head.as_bytes(), &ogg, b"\r\n--B--\r\n"].concat();
    let headers = [("x-api-key", office.key.as_str()), ("content-type", "multipart/form-data; boundary=B")];
    let path = format!("/api/sessions/{}/send-media", session.id());
    let answer = request(office.gateway.address(), "POST", &path, &headers, body).await.unwrap();
    let id = answer.json()["messageId"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned();
    office.reached(&id, Progress::Delivered).await;
    let inbox = office.sim.inbox(CUSTOMER, 2, PATIENCE).await.unwrap();
    assert_eq!(inbox[1].kind, "audio");
    office.sim.play(CUSTOMER, &id).await.unwrap();
    office.reached(&id, Progress::Read).await;
    office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_that_come_while_offline_are_taken_after_the_reconnection() {
    let (office, session) = Office::paired().await;
    let id = taken(&office, &session, CUSTOMER, "dibaca nanti").await;
    office.reached(&id, Progress::Delivered).await;
    cut_off(&office, &session).await;
    office.sim.read(CUSTOMER, &id).await.unwrap();
    let_in(&office, &session).await;
    office.reached(&id, Progress::Read).await;
    wait_for(&session, |s| s.paired).await;
}
