//! What is in the fields, and which sessions and paths are meant.

use serde_json::{Value, json};

use super::desk::{Desk, Shape};
use super::keys::SESSION_ENDPOINTS;
use crate::support::{CUSTOMER, NOBODY, OFFICE, Office, request, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn dialect_4_names_the_field_that_is_wrong() {
    let desk = Desk::open().await;
    let cases: &[(Value, &[&str])] = &[
        (json!({}), &["Phone number and message are required"]),
        (json!({"to": CUSTOMER}), &["Phone number and message are required"]),
        (json!({"message": "x"}), &["Phone number and message are required"]),
        (json!({"to": null, "message": null}), &["Phone number and message are required"]),
        (json!({"to": CUSTOMER, "message": ""}), &["message", "empty"]),
        (json!({"to": CUSTOMER, "message": " \n\t\u{a0} "}), &["message", "empty"]),
        (json!({"to": CUSTOMER, "message": "x".repeat(4_097)}), &["message", "4097", "4096"]),
        (json!({"to": CUSTOMER, "message": "👋".repeat(4_097)}), &["message", "4097", "4096"]),
        (json!({"to": CUSTOMER, "message": ["x"]}), &["message must be a text"]),
        (json!({"to": CUSTOMER, "message": {"text": "x"}}), &["message must be a text"]),
        (json!({"to": CUSTOMER, "message": true}), &["message must be a text"]),
        (json!({"to": [CUSTOMER], "message": "x"}), &["to must be a text"]),
        (json!({"to": "", "message": "x"}), &["to ", "empty"]),
        (json!({"to": "   ", "message": "x"}), &["to ", "empty"]),
        (json!({"to": "budi", "message": "x"}), &["to ", "not a phone number"]),
        (json!({"to": "62812abc", "message": "x"}), &["to ", "not a phone number"]),
        (json!({"to": "+", "message": "x"}), &["to ", "not a phone number"]),
        (json!({"to": "123", "message": "x"}), &["to ", "3 digits"]),
        (json!({"to": "1".repeat(16), "message": "x"}), &["to ", "16 digits"]),
        (json!({"to": "1".repeat(900_000), "message": "x"}), &["to ", "digits"]),
        (json!({"to": "٠٨١٢٣٤٥٦٧٨٩", "message": "x"}), &["to ", "not a phone number"]),
        (json!({"to": "628120000000\u{0}2", "message": "x"}), &["to ", "not a phone number"]),
        (json!({"to": "\u{202e}2000000021826", "message": "x"}), &["to ", "not a phone number"]),
        (json!({"to": format!("{CUSTOMER}\r\nX-Evil: 1"), "message": "x"}), &["to ", "not a phone number"]),
        (json!({"to": "status@broadcast", "message": "x"}), &["to ", "not a chat"]),
        (json!({"to": "../../etc/passwd@g.us", "message": "x"}), &["to ", "not a chat"]),
        (json!({"to": "@s.whatsapp.net", "message": "x"}), &["to ", "empty"]),
        (
            json!({"to": CUSTOMER, "message": "x", "skipValidation": "perhaps"}),
            &["skipValidation", "true or false"],
        ),
        (json!({"to": CUSTOMER, "message": "x", "skipValidation": 2}), &["skipValidation", "true or false"]),
        (json!({"to": CUSTOMER, "message": "x", "skipValidation": []}), &["skipValidation", "true or false"]),
    ];
    for (body, names) in cases {
        let what: String = body.to_string().chars().take(200).collect();
        Shape::Sessions.refused(&what, &desk.post("/send", body.clone()).await, 400, names);
        desk.assert_nothing_kept(&what);
    }
    let unregistered = desk.post("/send", json!({"to": NOBODY, "message": "x"})).await;
    assert_eq!(unregistered.status, 400);
    assert_eq!(unregistered.json()["error"], "Invalid WhatsApp Number");
    desk.assert_nothing_kept("unregistered");
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dialect_1_names_the_field_that_is_wrong() {
    let desk = Desk::open().await;
    let long = "x".repeat(65_537);
    let cases: &[(&str, Value, u16, &[&str])] = &[
        ("/send-message", json!({}), 400, &["Invalid parameters!", "message is required"]),
        ("/send-message", json!({"message": ""}), 400, &["message is required"]),
        ("/send-message", json!({"message": " \n"}), 400, &["message is required"]),
        ("/send-message", json!({"message": ["x"]}), 400, &["message must be a text"]),
        ("/send-message", json!({"message": long}), 400, &["message has 65537 characters"]),
        ("/send-message", json!({"message": "x", "number": null}), 400, &["number is required"]),
        ("/send-message", json!({"message": "x", "number": "budi"}), 400, &["number is not a phone number"]),
        ("/send-message", json!({"message": "x", "number": 12}), 400, &["number has 2 digits"]),
        ("/send-message", json!({"message": "x", "number": 1e300}), 400, &["number"]),
        ("/send-message", json!({"message": "x", "number": {}}), 400, &["number must be a text"]),
        ("/send-message", json!({"message": "x", "number": NOBODY}), 400, &["number", "not registered"]),
        ("/send-message", json!({"message": "x", "number": "x@newsletter"}), 400, &["number is not a chat"]),
        ("/send-message", json!({"message": "x", "sender": null}), 400, &["sender is required"]),
        ("/send-message", json!({"message": "x", "sender": "kasir"}), 400, &["sender is not a phone number"]),
        ("/send-message", json!({"message": "x", "sender": [1]}), 400, &["sender must be a text"]),
        ("/send-message", json!({"message": "x", "sender": CUSTOMER}), 400, &["Invalid api_key or sender"]),
        ("/send-message", json!({"message": "x", "api_key": {"$ne": 1}}), 400, &["api_key must be a text"]),
        ("/send-media", json!({}), 400, &["media_type is required"]),
        ("/send-media", json!({"media_type": "image"}), 400, &["url is required"]),
        ("/send-media", json!({"media_type": "image", "url": ""}), 400, &["url is required"]),
        ("/send-media", json!({"media_type": "image", "url": 7}), 400, &["url"]),
        (
            "/send-media",
            json!({"media_type": "hologram", "url": "http://example.com/"}),
            400,
            &["media_type `hologram`"],
        ),
        (
            "/send-media",
            json!({"media_type": ["image"], "url": "http://example.com/"}),
            400,
            &["media_type must be"],
        ),
        (
            "/send-media",
            json!({"media_type": "audio", "url": "http://example.com/", "ppt": "perhaps"}),
            400,
            &["ppt must be"],
        ),
        (
            "/send-media",
            json!({"media_type": "image", "url": "http://example.com/", "caption": "x".repeat(4_097)}),
            400,
            &["caption has 4097"],
        ),
        (
            "/send-media",
            json!({"media_type": "image", "url": "http://example.com/", "caption": {}}),
            400,
            &["caption must be"],
        ),
        (
            "/send-media",
            json!({"media_type": "image", "url": "http://example.com/", "number": NOBODY}),
            400,
            &["number", "not registered"],
        ),
    ];
    for (path, fields, status, names) in cases {
        let what: String = format!("{path} {fields}").chars().take(200).collect();
        Shape::Mpwa.refused(&what, &desk.mpwa(path, fields.clone()).await, *status, names);
        desk.assert_nothing_kept(&what);
    }
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dialect_1_answers_a_get_as_it_answers_a_post_and_a_head_sends_nothing() {
    let desk = Desk::open().await;
    let address = desk.office.gateway.address();
    let key = desk.office.key.clone();
    let cases = [
        ("", 400, "api_key"),
        ("api_key=wrong", 400, "api_key"),
        ("api_key=KEY", 400, "sender is required"),
        ("api_key=KEY&sender=6281100000001", 400, "number is required"),
        (
            "api_key=KEY&sender=6281100000001&number=budi&message=x&media_type=image&url=http://a.b",
            400,
            "number is not",
        ),
        ("api_key=KEY&sender=%ff%fe&number=6281200000002&message=x", 400, "sender is not"),
        (
            "api_key=KEY&sender=6281100000001&number=6281200000002&message=&media_type=&url=",
            400,
            " is required",
        ),
        ("api_key=KEY&sender=6281100000001&number=6281200000002&message=%20&media_type=%00&url=x", 400, "me"),
        (
            "api_key=KEY&sender=6281100000001&number=6281299999999&message=x&media_type=image&url=http://a.b",
            400,
            "not registered",
        ),
    ];
    for path in ["/send-message", "/send-media"] {
        for (query, status, says) in cases {
            let query = format!("{path}?{}", query.replace("KEY", &key));
            let answer = request(address, "GET", &query, &[], "").await.unwrap();
            Shape::Mpwa.refused(&query, &answer, status, &[says]);
        }
        let right = format!(
            "{path}?api_key={key}&sender={OFFICE}&number={CUSTOMER}&message=x&media_type=image&url=x"
        );
        let answer = request(address, "HEAD", &right, &[], "").await.unwrap();
        assert_eq!((answer.status, answer.body.len()), (405, 0), "{path}");
        assert_eq!(answer.headers["allow"], "GET,POST");
    }
    desk.assert_nothing_kept("GET and HEAD");
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_do_not_parse_say_so() {
    let desk = Desk::open().await;
    let json_type = "application/json";
    let broken: &[(&str, &[u8])] = &[
        (json_type, b"not json"),
        (json_type, b"{\"to\":"),
        (json_type, b"{\"to\":\"628\xff\"}"),
        (json_type, b"{\"to\":\"\\ud800\"}"),
        (json_type, b"[1,2]"),
        (json_type, b"\"text\""),
        (json_type, b"42"),
        (json_type, b"{}{}"),
        ("multipart/form-data", b"--B\r\n\r\n--B--"),
        ("multipart/form-data; boundary=B", b"--B\r\nContent-Disposition: form-data; name=\"to\"\r\n\r\n628"),
        ("multipart/form-data; boundary=B", b"nothing of the kind"),
        (
            "multipart/form-data; boundary=B",
            b"--B\r\nContent-Disposition: form-data; name=\"to\"\r\n\r\n\xff\xfe\r\n--B--\r\n",
        ),
    ];
    let nested = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep: Vec<(&str, &[u8])> = [broken.to_vec(), vec![(json_type, nested.as_bytes())]].concat();
    let mut posts = vec!["/api/sessions".to_owned()];
    posts.extend(["/send", "/pair-code"].map(|end| desk.path(end)));
    for (content_type, body) in &deep {
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        for path in &posts {
            let answer = desk.raw(path, content_type, *body).await;
            Shape::Sessions.refused(&format!("{path} {content_type} {shown}"), &answer, 400, &[]);
        }
        for path in ["/send-message", "/send-media"] {
            let answer = desk.raw(path, content_type, *body).await;
            let names = ["Invalid parameters!"];
            Shape::Mpwa.refused(&format!("{path} {content_type} {shown}"), &answer, 400, &names);
        }
    }
    let answer =
        desk.raw(&desk.path("/send"), json_type, b"{\"to\": \"628\",\n  \"message\" }".as_slice()).await;
    Shape::Sessions.refused("where", &answer, 400, &["not valid JSON", "line 2"]);
    desk.assert_nothing_kept("broken bodies");
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dialect_4_takes_forms_as_well() {
    let desk = Desk::open().await;
    let form = format!("to={CUSTOMER}&message=satu&skipValidation=true");
    let multipart = format!(
        "--B\r\nContent-Disposition: form-data; name=\"to\"\r\n\r\n{CUSTOMER}\r\n--B\r\n\
         Content-Disposition: form-data; name=\"message\"\r\n\r\ndua\r\n--B--\r\n"
    );
    let path = desk.path("/send");
    for (content_type, body) in
        [("application/x-www-form-urlencoded", form), ("multipart/form-data; boundary=B", multipart)]
    {
        let answer = desk.raw(&path, content_type, body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let number: u64 = CUSTOMER.parse().unwrap();
    assert_eq!(
        desk.post("/send", json!({"to": number, "message": 3})).await.status,
        200,
        "numbers are texts"
    );
    let inbox = desk.office.sim.inbox(CUSTOMER, 3, crate::support::PATIENCE).await.unwrap();
    let texts: Vec<_> = inbox.iter().map(|m| m.text.as_deref().unwrap()).collect();
    assert_eq!(texts, ["satu", "dua", "3"]);
    let created =
        desk.raw("/api/sessions", "application/x-www-form-urlencoded", "sessionName=Toko+Dua").await;
    let id = created.json()["sessionId"].as_str().unwrap().to_owned();
    assert_eq!(desk.office.gateway.registry().get(&id).unwrap().name(), "Toko Dua");
}

#[tokio::test(flavor = "multi_thread")]
async fn session_names_are_checked() {
    let office = Office::open().await;
    let mut bad = vec![json!({}), json!({"sessionName": null}), json!({"name": "x"})];
    for name in
        ["", "  ", "a\u{0}b", "line\nbreak", "\u{1b}[31mred", "tab\tname", &"x".repeat(101), &"é".repeat(101)]
    {
        bad.push(json!({"sessionName": name}));
    }
    bad.extend([
        json!({"sessionName": ["x"]}),
        json!({"sessionName": {"a": 1}}),
        json!({"sessionName": true}),
    ]);
    bad.push(json!({"sessionName": "x".repeat(1_000_000)}));
    for body in bad {
        let what: String = body.to_string().chars().take(100).collect();
        let answer = office.call("POST", "/api/sessions", Some(body)).await;
        Shape::Sessions.refused(&what, &answer, 400, &["sessionName"]);
    }
    assert!(office.gateway.registry().list().is_empty());
    for name in ["é".repeat(100).as_str(), "<script>alert(1)</script>", "../../etc", "مكتب", "👨‍👩‍👧"]
    {
        let answer = office.call("POST", "/api/sessions", Some(json!({"sessionName": name}))).await;
        assert_eq!(answer.status, 200, "{name}");
        let id = answer.json()["sessionId"].as_str().unwrap().to_owned();
        let shown = office.call("GET", &format!("/api/sessions/{id}"), None).await.json();
        assert_eq!(shown["session"]["name"], name, "comes back as it was given");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_sessions_are_404_however_they_are_spelt() {
    let desk = Desk::open().await;
    let long = "a".repeat(5_000);
    let own = desk.session.id();
    let ids: Vec<String> = vec![
        "abc-123-def-456".into(),
        "0".into(),
        "%00".into(),
        "..%2f..%2fetc%2fpasswd".into(),
        "%2e%2e".into(),
        "%F0%9F%91%8B".into(),
        "%E2%80%AE".into(),
        "%ff%fe".into(),
        "%zz".into(),
        "%0d%0aX-Evil:%201".into(),
        format!("{own}%00"),
        format!("{own}%20"),
        own.to_uppercase(),
        long,
    ];
    for id in &ids {
        for (method, end) in SESSION_ENDPOINTS {
            let path = format!("/api/sessions/{id}{end}");
            let body = json!({"to": CUSTOMER, "message": "x", "phone": OFFICE});
            let answer = desk.office.call(method, &path, Some(body)).await;
            let what: String = format!("{method} {path}").chars().take(100).collect();
            Shape::Sessions.refused(&what, &answer, 404, &["Session not found"]);
            assert!(answer.headers.get("x-evil").is_none());
        }
    }
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_not_paired_takes_no_message() {
    let desk = Desk::open().await;
    let id = desk.office.gateway.registry().create("Baru", "main").await.unwrap().id().to_owned();
    let path = format!("/api/sessions/{id}/send");
    let answer = desk.office.call("POST", &path, Some(json!({"to": CUSTOMER, "message": "x"}))).await;
    Shape::Sessions.refused("not paired", &answer, 400, &["not paired", "QR"]);
    let body = "--B\r\nContent-Disposition: form-data; name=\"to\"\r\n\r\n6281200000002\r\n--B\r\n\
        Content-Disposition: form-data; name=\"media\"; filename=\"a.txt\"\r\n\r\nhalo\r\n--B--\r\n";
    let path = format!("/api/sessions/{id}/send-media");
    let answer = desk.raw(&path, "multipart/form-data; boundary=B", body).await;
    Shape::Sessions.refused("not paired", &answer, 400, &["not paired", "QR"]);
    for phone in [json!(null), json!(""), json!("budi"), json!(["62"]), json!("123")] {
        let path = format!("/api/sessions/{id}/pair-code");
        let answer = desk.office.call("POST", &path, Some(json!({"phone": phone}))).await;
        Shape::Sessions.refused(&format!("phone {phone}"), &answer, 400, &["phone"]);
    }
    let answer = desk.post("/pair-code", json!({"phone": OFFICE})).await;
    Shape::Sessions.refused("paired already", &answer, 400, &["already paired"]);
    let answer = desk.office.call("GET", &desk.path("/qr"), None).await;
    Shape::Sessions.refused("no QR while connected", &answer, 400, &["already connected"]);
    desk.assert_nothing_kept("not paired");
    // A session whose phone removed it is as if never paired, in both dialects.
    desk.office.sim.unlink(OFFICE).await.unwrap();
    wait_for(&desk.session, |s| !s.paired && s.number.is_none()).await;
    let answer = desk.post("/send", json!({"to": CUSTOMER, "message": "x"})).await;
    Shape::Sessions.refused("logged out", &answer, 400, &["not paired"]);
    let answer = desk.mpwa("/send-message", json!({"message": "x"})).await;
    Shape::Mpwa.refused("logged out", &answer, 400, &["Invalid api_key or sender"]);
    desk.assert_nothing_kept("logged out");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_methods_are_405_and_unknown_paths_404() {
    let desk = Desk::open().await;
    let wrong = [
        ("PUT", "/api/sessions".to_owned()),
        ("DELETE", "/api/sessions".into()),
        ("POST", desk.path("")),
        ("POST", desk.path("/qr")),
        ("GET", desk.path("/send")),
        ("GET", desk.path("/send-media")),
        ("DELETE", desk.path("/reconnect")),
        ("PUT", "/send-message".into()),
        ("DELETE", "/send-media".into()),
        ("POST", "/healthz".into()),
        ("PATCH", "/readyz".into()),
        ("OPTIONS", "/api/sessions".into()),
        ("BREW", "/api/sessions".into()),
    ];
    for (method, path) in &wrong {
        let answer = desk.office.call(method, path, None).await;
        assert_eq!(answer.status, 405, "{method} {path}");
        assert!(answer.headers.get("allow").is_some(), "{method} {path}: {:?}", answer.headers);
        let body = answer.json();
        assert_eq!((&body["success"], &body["status"]), (&json!(false), &json!(false)), "{body}");
        assert_eq!(
            (&body["error"], &body["msg"]),
            (&json!("Method Not Allowed"), &body["message"]),
            "{body}"
        );
    }
    let secret = desk.office.key.clone();
    for path in [
        "/api",
        "/api/",
        "/api/sessions/",
        "/send-message/",
        "/send_message",
        "/..%2fhealthz",
        "/%ff",
        "//",
        &desk.path("/sends"),
        &format!("/send-message/{secret}"),
        &format!("/{}", "a/".repeat(2_000)),
    ] {
        let answer = desk.office.call("GET", path, None).await;
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
        let body = answer.json();
        assert_eq!((&body["success"], &body["status"]), (&json!(false), &json!(false)), "{body}");
        assert_eq!((&body["error"], &body["msg"]), (&json!("Not Found"), &body["message"]), "{body}");
        assert!(!body.to_string().contains(&secret), "{body}");
    }
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_strange_but_legal_arrives_as_it_is() {
    let desk = Desk::open().await;
    let texts = [
        "a\u{0}b",
        "\u{202e}right to left\u{202c}",
        "مرحبا بكم",
        "👨‍👩‍👧‍👦🏴󠁧󠁢󠁥󠁮󠁧󠁿",
        "z̴͖̅a̶l̷g̸o̵",
        "<b>&amp;</b> %41 + {number} \\u0041",
        "\r\nline one\r\nline two\r\n",
        &"語".repeat(4_096),
    ];
    for text in texts {
        let answer = desk.post("/send", json!({"to": CUSTOMER, "message": text})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let inbox = desk.office.sim.inbox(CUSTOMER, texts.len(), crate::support::PATIENCE).await.unwrap();
    let got: Vec<_> = inbox.iter().map(|m| m.text.as_deref().unwrap()).collect();
    assert_eq!(got, texts);
    // Of a field that comes twice the last one counts, and a body before the query.
    let address = desk.office.gateway.address();
    let key = &desk.office.key;
    let path = format!(
        "/send-message?api_key={key}&sender={OFFICE}&number={NOBODY}&number={CUSTOMER}&message=dari+query"
    );
    let headers = [("content-type", "application/json")];
    let body = "{\"message\":\"satu\",\"message\":\"dua\"}";
    assert_eq!(request(address, "POST", &path, &headers, body).await.unwrap().status, 200);
    let inbox = desk.office.sim.inbox(CUSTOMER, texts.len() + 1, crate::support::PATIENCE).await.unwrap();
    assert_eq!(inbox.last().unwrap().text.as_deref(), Some("dua"));
    desk.office.assert_no_violations();
}
