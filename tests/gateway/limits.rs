//! What a key, an address and an account may do, in every dialect's own words.

use std::net::SocketAddr;

use crate::support::files::form;
use crate::support::{CUSTOMER, NOBODY, OFFICE, Office, request};
use hyper::HeaderMap;
use kurir::api::keys::KeyRules;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

/// Where a dialect looks for the key.
#[derive(Clone, Copy, Debug)]
enum Key {
    Query(&'static str),
    Header,
    Plain,
    Bearer,
}

/// One call of each dialect: what errors look like there, as the fields that an error has and their values where these
/// are always the same.
struct Call {
    method: &'static str,
    path: String,
    key: Key,
    error: Value,
    /// The field with the text for people.
    text: &'static str,
}

fn calls(session: &str) -> Vec<Call> {
    let call =
        |method, path: &str, key, error, text| Call { method, path: path.to_owned(), key, error, text };
    let mpwa = || json!({"status": false});
    let fonnte = || json!({"status": false, "Status": false});
    let sessions = || json!({"success": false, "error": "Too Many Requests"});
    vec![
        call("GET", "/info-devices", Key::Query("api_key"), mpwa(), "msg"),
        call("GET", "/send-message", Key::Query("api_key"), mpwa(), "msg"),
        call("POST", "/send", Key::Plain, fonnte(), "reason"),
        call("GET", "/send", Key::Query("token"), fonnte(), "reason"),
        call("POST", "/device", Key::Bearer, fonnte(), "reason"),
        call("POST", "/api/send-message", Key::Bearer, json!({}), "error"),
        call("POST", "/api/send-media", Key::Bearer, json!({}), "error"),
        call("GET", "/api/status", Key::Bearer, json!({}), "error"),
        call("GET", &format!("/api/devices/{session}/wa-groups"), Key::Bearer, json!({}), "error"),
        call("POST", "/api/send-message", Key::Header, json!({"success": false}), "error"),
        call("GET", "/api/message-status/x", Key::Header, json!({"success": false}), "error"),
        call("GET", "/api/sessions", Key::Header, sessions(), "message"),
        call("POST", &format!("/api/sessions/{session}/send"), Key::Header, sessions(), "message"),
        call("POST", "/api/number-checker", Key::Header, sessions(), "message"),
        call("GET", "/api/v1/webhooks", Key::Header, sessions(), "message"),
        call("GET", "/api/v1/requests", Key::Header, sessions(), "message"),
    ]
}

/// The call from another loopback address, which counts as another client: status, headers and body.
async fn from(source: &str, address: SocketAddr, call: &Call, key: &str) -> (u16, HeaderMap, Value) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let (path, header) = match call.key {
        Key::Query(name) => (format!("{}?{}", call.path, form(&[(name, key)])), String::new()),
        Key::Header => (call.path.clone(), format!("x-api-key: {key}\r\n")),
        Key::Plain => (call.path.clone(), format!("authorization: {key}\r\n")),
        Key::Bearer => (call.path.clone(), format!("authorization: Bearer {key}\r\n")),
    };
    let head = format!(
        "{} {path} HTTP/1.1\r\nhost: kurir\r\n{header}content-length: 0\r\nconnection: close\r\n\r\n",
        call.method
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}"));
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (name.parse::<hyper::header::HeaderName>().unwrap(), value.parse().unwrap()));
    (
        status,
        HeaderMap::from_iter(headers),
        serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {answer}")),
    )
}

/// Fails unless this is the dialect's 429.
fn assert_refused(call: &Call, (status, headers, body): &(u16, HeaderMap, Value), word: &str) {
    let what = format!("{} {} {:?}: {body}", call.method, call.path, call.key);
    assert_eq!(*status, 429, "{what}");
    for (field, value) in call.error.as_object().unwrap() {
        assert_eq!(&body[field], value, "{what}");
    }
    assert!(body[call.text].as_str().unwrap_or_default().contains(word), "{what}");
    let wait: u64 = headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=61).contains(&wait), "{what}: {wait}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keys_requests_per_minute_are_limited_and_told_in_every_dialect() {
    let office = Office::open().await;
    let session = office.gateway.registry().create("Kasir", "main").await.unwrap();
    for call in calls(session.id()) {
        let rules = KeyRules { rate_per_minute: Some(2), ..KeyRules::default() };
        let key = office.gateway.keys().create_with("two", "main", false, rules).await.unwrap();
        for left in ["1", "0"] {
            let (status, headers, body) = from("127.0.0.1", office.gateway.address(), &call, &key).await;
            assert_ne!(status, 429, "{}: {body}", call.path);
            assert_eq!(
                (&headers["ratelimit-limit"], &headers["ratelimit-remaining"]),
                (&"2".parse().unwrap(), &left.parse().unwrap())
            );
            let reset: u64 = headers["ratelimit-reset"].to_str().unwrap().parse().unwrap();
            assert!((1..=60).contains(&reset), "{reset}");
            assert_eq!(headers["ratelimit-policy"], "\"requests\";q=2;w=60");
            assert_eq!(headers["ratelimit"], format!("\"requests\";r={left};t={reset}"));
        }
        let refused = from("127.0.0.1", office.gateway.address(), &call, &key).await;
        assert_refused(&call, &refused, "requests");
        assert_eq!(refused.1["ratelimit-remaining"], "0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_answer_of_200_whatever_happens_has_the_limit_in_it_too() {
    let office = Office::open().await;
    let session = office.gateway.registry().create("Kasir", "main").await.unwrap();
    let rules = KeyRules {
        session: Some(session.id().to_owned()),
        fonnte_always_200: true,
        rate_per_minute: Some(1),
        ..KeyRules::default()
    };
    let token = office.gateway.keys().create_with("lenient", "main", false, rules).await.unwrap();
    let headers = [("authorization", token.as_str())];
    for left in ["0", "0"] {
        let answer = request(office.gateway.address(), "POST", "/device", &headers, "").await.unwrap();
        assert_eq!(answer.headers["ratelimit-remaining"], left);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_guesses_keys_is_slowed_down_in_every_dialect_and_a_right_key_is_not() {
    let office = Office::open().await;
    let session = office.gateway.registry().create("Kasir", "main").await.unwrap();
    for (index, call) in calls(session.id()).iter().enumerate() {
        let source = format!("127.0.1.{}", index + 1);
        for _ in 0..10 {
            let (status, _, body) = from(&source, office.gateway.address(), call, "guess").await;
            // The `api_key` format says 400 for a wrong key.
            let expected = if call.text == "msg" { 400 } else { 401 };
            assert_eq!(status, expected, "{} {}: {body}", call.method, call.path);
        }
        // The first wait is short, and over when the machine is busy; each further one is twice as long.
        let mut refused = from(&source, office.gateway.address(), call, "guess").await;
        for _ in 0..5 {
            if refused.0 == 429 {
                break;
            }
            refused = from(&source, office.gateway.address(), call, "guess").await;
        }
        assert_refused(call, &refused, "wrong");
        let (status, _, _) = from(&source, office.gateway.address(), call, &office.key).await;
        assert!(status != 429 && status != 401, "{} {}: {status}", call.method, call.path);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_months_number_checks_are_told_beside_the_minutes_requests() {
    let (office, session) = Office::paired_with(|config| {
        config.key_rate_per_minute = 600;
        config.number_checks_per_month = 3;
    })
    .await;
    let token = office.token(&session).await;
    let policy = "\"requests\";q=600;w=60, \"number-checks\";q=3";
    let check = async |key: &str, numbers: &[&str]| {
        let body = json!({"sessionId": session.id(), "phoneNumbers": numbers}).to_string();
        let headers = [("x-api-key", key), ("content-type", "application/json")];
        request(office.gateway.address(), "POST", "/api/number-checker", &headers, body).await.unwrap()
    };
    let answer = check(&office.key, &[CUSTOMER, NOBODY]).await;
    assert_eq!((answer.status, answer.headers["ratelimit-policy"].to_str().unwrap()), (200, policy));
    let shown = answer.headers["ratelimit"].to_str().unwrap();
    assert!(shown.contains(", \"number-checks\";r=1;t="), "{shown}");
    assert_eq!(answer.headers["ratelimit-limit"], "600");
    let answer = check(&office.key, &[CUSTOMER, NOBODY]).await;
    assert_eq!((answer.status, &answer.headers["ratelimit-limit"]), (429, &"3".parse().unwrap()));
    assert_eq!(
        (&answer.headers["ratelimit-remaining"], answer.json()["remaining"].clone()),
        (&"1".parse().unwrap(), json!(1))
    );
    let reset: u64 = answer.headers["ratelimit-reset"].to_str().unwrap().parse().unwrap();
    let wait: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!(wait >= reset && wait <= 31 * 24 * 3600 + 1, "{wait} {reset}");
    // The other two ways to check numbers count the same month, each key its own.
    let headers = [("authorization", token.as_str())];
    let body = form(&[("target", &format!("{CUSTOMER},{NOBODY}"))]);
    let answer = request(office.gateway.address(), "POST", "/validate", &headers, body).await.unwrap();
    assert!(answer.headers["ratelimit"].to_str().unwrap().contains("\"number-checks\";r=1"), "{answer:?}");
    let query = form(&[("api_key", &token), ("sender", OFFICE), ("number", CUSTOMER)]);
    let path = format!("/check-number?{query}");
    let answer = request(office.gateway.address(), "GET", &path, &[], "").await.unwrap();
    assert!(answer.headers["ratelimit"].to_str().unwrap().contains("\"number-checks\";r=0"), "{answer:?}");
    let answer = request(office.gateway.address(), "GET", &path, &[], "").await.unwrap();
    assert_eq!((answer.status, answer.json()["status"].clone()), (429, json!(false)));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_accounts_device_is_403_in_the_dialects_that_say_so() {
    let (office, session) = Office::paired().await;
    let id = session.id();
    let key = office.gateway.keys().create("clinic", "clinic", false).await.unwrap();
    let bearer = format!("Bearer {key}");
    let (api_key, authorization) = (("x-api-key", key.as_str()), ("authorization", bearer.as_str()));
    let json = ("content-type", "application/json");
    let path = |end: &str| format!("/api/sessions/{id}{end}");
    let to = json!({"to": CUSTOMER, "message": "a", "phone": OFFICE});
    for (method, path, header, body, shape) in [
        ("GET", path(""), api_key, json!({}), "sessions"),
        ("DELETE", path(""), api_key, json!({}), "sessions"),
        ("GET", path("/qr"), api_key, json!({}), "sessions"),
        ("POST", path("/pair-code"), api_key, to.clone(), "sessions"),
        ("POST", path("/reconnect"), api_key, json!({}), "sessions"),
        ("POST", path("/send"), api_key, to.clone(), "sessions"),
        ("POST", path("/send-media"), api_key, to.clone(), "sessions"),
        ("POST", path("/tokens"), api_key, json!({}), "sessions"),
        (
            "POST",
            "/api/number-checker".into(),
            api_key,
            json!({"sessionId": id, "phoneNumbers": [CUSTOMER]}),
            "sessions",
        ),
        (
            "POST",
            "/api/v1/webhooks".into(),
            api_key,
            json!({"url": "http://example.com/", "session": id}),
            "sessions",
        ),
        (
            "POST",
            "/api/send-message".into(),
            api_key,
            json!({"number": CUSTOMER, "message": "a", "sessionId": id}),
            "waya",
        ),
        (
            "POST",
            "/api/send-message".into(),
            authorization,
            json!({"to": CUSTOMER, "message": "a", "deviceId": id}),
            "waapi",
        ),
        (
            "POST",
            "/api/send-media".into(),
            authorization,
            json!({"to": CUSTOMER, "url": "http://example.com/", "deviceId": id}),
            "waapi",
        ),
        ("GET", format!("/api/devices/{id}/wa-groups"), authorization, json!({}), "waapi"),
        (
            "POST",
            "/send".into(),
            authorization,
            json!({"target": CUSTOMER, "message": "a", "device": id}),
            "fonnte",
        ),
        ("POST", "/disconnect".into(), authorization, json!({"device": id}), "fonnte"),
    ] {
        let body = if method == "GET" { String::new() } else { body.to_string() };
        let answer = request(office.gateway.address(), method, &path, &[header, json], body).await.unwrap();
        let body = answer.json();
        let what = format!("{method} {path}: {body}");
        assert_eq!(answer.status, 403, "{what}");
        match shape {
            "sessions" => {
                assert_eq!(
                    (&body["success"], &body["error"]),
                    (&json!(false), &json!("Forbidden")),
                    "{what}"
                );
            }
            "waya" => assert!(body["success"] == false && body["error"].is_string(), "{what}"),
            "waapi" => assert_eq!(body.as_object().unwrap().keys().collect::<Vec<_>>(), ["error"], "{what}"),
            _ => assert!(body["status"] == false && body["reason"].is_string(), "{what}"),
        }
    }
    assert_eq!(office.gateway.outbox().depth(session.no()), 0);
    assert!(session.snapshot().paired, "nothing happened to it");
}
