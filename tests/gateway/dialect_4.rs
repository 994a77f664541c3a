//! Dialect 4, `sessions`: every request of its document, and what the far phone shows then.

use crate::support::files::{multipart, sample};
use crate::support::{CUSTOMER, NOBODY, Office, PATIENCE, request};
use kurir::api::keys::KeyRules;
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_the_document() {
    let (office, session) = Office::paired().await;
    let id = session.id();
    let counts = office.call("GET", "/api/sessions", None).await.json();
    let expected = json!({"total": 1, "connected": 1, "connecting": 0, "qr": 0, "disconnected": 0});
    assert_eq!((counts["success"].clone(), counts["counts"].clone()), (json!(true), expected));
    let body = json!({"to": CUSTOMER, "message": "Hello from WhatsApp API!"});
    let sent = office.call("POST", &format!("/api/sessions/{id}/send"), Some(body)).await.json();
    assert_eq!(
        sent,
        json!({"success": true, "messageId": sent["messageId"], "message": "Message sent successfully"})
    );
    let inbox = office.sim.inbox(CUSTOMER, 1, PATIENCE).await.unwrap();
    assert_eq!(
        (inbox[0].text.as_deref(), json!(inbox[0].id)),
        (Some("Hello from WhatsApp API!"), sent["messageId"].clone())
    );
    let body = json!({"sessionId": id, "phoneNumbers": [CUSTOMER, NOBODY, "bukan nomor"]});
    let checked = office.call("POST", "/api/number-checker", Some(body)).await;
    assert_eq!(checked.status, 200);
    assert_eq!(
        checked.json(),
        json!({"success": true, "message": "Number check completed",
        "summary": {"total": 3, "valid": 1, "invalid": 2},
        "results": [
            {"phoneNumber": CUSTOMER, "isValid": true, "status": "valid"},
            {"phoneNumber": NOBODY, "isValid": false, "status": "invalid"},
            {"phoneNumber": "bukan nomor", "isValid": false, "status": "invalid"},
        ]})
    );
    office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_type_of_the_document_arrives_as_what_it_is() {
    let (office, session) = Office::paired().await;
    let path = format!("/api/sessions/{}/send-media", session.id());
    let headers = [("x-api-key", office.key.as_str()), ("content-type", "multipart/form-data; boundary=B")];
    let types = [
        ("image", "jpg jpeg png gif webp"),
        ("video", "mp4 avi mov mkv webm"),
        ("audio", "mp3 wav ogg m4a aac"),
        ("document", "pdf doc docx xls xlsx"),
    ];
    for (kind, extensions) in types {
        for extension in extensions.split(' ') {
            let name = format!("contoh.{extension}");
            let file = sample(&name);
            let fields = [("to", CUSTOMER), ("message", "Check this out!")];
            let body = multipart(&fields, Some(("media", &name, &file)));
            let answer = request(office.gateway.address(), "POST", &path, &headers, body).await.unwrap();
            assert_eq!(answer.status, 200, "{name}: {answer:?}");
            let json = answer.json();
            assert_eq!(json["message"], "Media sent successfully");
            let id = json["messageId"].as_str().unwrap();
            office.reached(id, kurir::outbox::Progress::Delivered).await;
            let got = office.sim.inbox(CUSTOMER, 1, PATIENCE).await.unwrap();
            let got = got.iter().find(|item| item.id == id).unwrap();
            assert_eq!((got.kind.as_str(), got.size), (kind, Some(file.len() as u64)), "{name}: {got:?}");
            assert_eq!(office.sim.media(CUSTOMER, id).await.unwrap(), file, "{name}");
            if kind != "audio" {
                assert_eq!(got.caption.as_deref(), Some("Check this out!"), "{name}");
            }
            if kind == "document" {
                assert_eq!(got.filename.as_deref(), Some(name.as_str()));
            }
        }
    }
    office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_monthly_limit_of_number_checks_holds_over_a_restart() {
    let (office, session) = Office::paired_with(|config| config.number_checks_per_month = 3).await;
    let id = session.id().to_owned();
    let body = |numbers: &[&str]| Some(json!({"sessionId": id, "phoneNumbers": numbers}));
    assert_eq!(office.call("POST", "/api/number-checker", body(&[CUSTOMER, NOBODY])).await.status, 200);
    drop(session);
    let office = office.restart().await;
    let session = office.gateway.registry().get(&id).unwrap();
    crate::support::wait_for(&session, |s| s.status == kurir::session::Status::Connected).await;
    let answer = office.call("POST", "/api/number-checker", body(&[CUSTOMER, NOBODY])).await;
    let json = answer.json();
    assert_eq!(answer.status, 429);
    assert_eq!((&json["success"], &json["error"]), (&json!(false), &json!("Number check limit reached")));
    assert_eq!((&json["limit"], &json["used"], &json["remaining"]), (&json!(3), &json!(2), &json!(1)));
    assert!(answer.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 0);
    assert_eq!(
        office.call("POST", "/api/number-checker", body(&[CUSTOMER])).await.status,
        200,
        "what is left"
    );
    let many: Vec<String> = (0..101).map(|n| format!("62812{n:08}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(office.call("POST", "/api/number-checker", body(&many)).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_its_requests_per_minute_and_is_told_so() {
    let office = Office::open_with(|config| config.key_rate_per_minute = 2).await;
    let first = office.call("GET", "/api/sessions", None).await;
    assert_eq!(
        (first.status, &first.headers["ratelimit-limit"], &first.headers["ratelimit-remaining"]),
        (200, &"2".parse().unwrap(), &"1".parse().unwrap())
    );
    office.call("GET", "/api/sessions", None).await;
    let third = office.call("GET", "/api/sessions", None).await;
    assert_eq!((third.status, third.json()["error"].clone()), (429, json!("Too Many Requests")));
    let wait: u64 = third.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=61).contains(&wait) && third.headers["ratelimit-remaining"] == "0");
    let rules = KeyRules { rate_per_minute: Some(0), ..KeyRules::default() };
    let free = office.gateway.keys().create_with("free", "main", false, rules).await.unwrap();
    for _ in 0..5 {
        let headers = [("x-api-key", free.as_str())];
        let answer = request(office.gateway.address(), "GET", "/api/sessions", &headers, "").await.unwrap();
        assert!(answer.status == 200 && !answer.headers.contains_key("ratelimit-limit"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_token_is_for_its_own_session_only() {
    let (office, session) = Office::paired().await;
    let other = office.gateway.registry().create("Gudang", "main").await.unwrap();
    let token = office.token(&session).await;
    let call = |method: &'static str, path: String, body: &'static str| {
        let (address, token) = (office.gateway.address(), token.clone());
        async move { request(address, method, &path, &[("x-api-key", token.as_str())], body).await.unwrap() }
    };
    assert_eq!(call("GET", format!("/api/sessions/{}", session.id()), "").await.status, 200);
    assert_eq!(call("GET", format!("/api/sessions/{}", other.id()), "").await.status, 403);
    assert_eq!(call("POST", "/api/sessions".into(), r#"{"sessionName":"x"}"#).await.status, 403);
    assert_eq!(call("DELETE", format!("/api/sessions/{}", session.id()), "").await.status, 403);
    assert_eq!(call("POST", format!("/api/sessions/{}/tokens", session.id()), "").await.status, 403);
    let listed = call("GET", "/api/sessions?list=1".into(), "").await.json();
    assert_eq!(listed["counts"]["total"], 1);
    let foreign = office.gateway.keys().create("clinic", "clinic", false).await.unwrap();
    let path = format!("/api/sessions/{}/tokens", session.id());
    let headers = [("x-api-key", foreign.as_str())];
    let answer = request(office.gateway.address(), "POST", &path, &headers, "").await.unwrap();
    assert_eq!(answer.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_numbers_to_check_get_this_dialects_error() {
    let (office, session) = Office::paired().await;
    for (body, status, word) in [
        (json!({}), 400, "sessionId"),
        (json!({"sessionId": session.id()}), 400, "phoneNumbers"),
        (json!({"sessionId": session.id(), "phoneNumbers": {}}), 400, "phoneNumbers"),
        (json!({"sessionId": session.id(), "phoneNumbers": [[1]]}), 400, "phoneNumbers"),
        (json!({"sessionId": "abc", "phoneNumbers": ["62"]}), 404, "Session"),
        (json!({"sessionId": [1], "phoneNumbers": ["62"]}), 400, "sessionId"),
    ] {
        let answer = office.call("POST", "/api/number-checker", Some(body.clone())).await;
        let json = answer.json();
        assert_eq!((answer.status, &json["success"]), (status, &json!(false)), "{body}: {json}");
        assert!(json["message"].as_str().unwrap().contains(word), "{body}: {json}");
    }
}
