//! Who may do what.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use super::desk::{Desk, Shape};
use crate::support::{CUSTOMER, OFFICE, request};

const JSON: (&str, &str) = ("content-type", "application/json");

/// Dialect 4's endpoints of one session.
pub(super) const SESSION_ENDPOINTS: &[(&str, &str)] = &[
    ("GET", ""),
    ("DELETE", ""),
    ("GET", "/qr"),
    ("POST", "/pair-code"),
    ("POST", "/reconnect"),
    ("POST", "/send"),
    ("POST", "/send-media"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_or_wrong_key_is_refused_everywhere() {
    let desk = Desk::open().await;
    let address = desk.office.gateway.address();
    let good = desk.office.key.clone();
    let removed = desk.office.gateway.keys().create("gone", "main", false).await.unwrap();
    let id = desk.office.gateway.keys().list().into_iter().find(|k| k.name == "gone").unwrap().id;
    assert!(desk.office.gateway.keys().remove(&id).await.unwrap());
    let long = "k".repeat(5_000);
    let longer = format!("{good}x");
    let wrong: &[Option<&str>] = &[
        None,
        Some(""),
        Some("   "),
        Some("wrong"),
        Some(&removed),
        Some(&good[..good.len() - 1]),
        Some(&longer),
        Some("' OR 1=1 --"),
        Some(&long),
    ];
    let mut endpoints = vec![("GET".to_owned(), "/api/sessions".to_owned())];
    endpoints.push(("POST".into(), "/api/sessions".into()));
    for (method, end) in SESSION_ENDPOINTS {
        endpoints.push(((*method).into(), desk.path(end)));
        endpoints.push(((*method).into(), format!("/api/sessions/no-such-session{end}")));
    }
    let body = json!({"sessionName": "x", "to": CUSTOMER, "message": "x", "phone": OFFICE}).to_string();
    for (method, path) in &endpoints {
        for key in wrong {
            let mut headers = vec![JSON];
            headers.extend(key.map(|k| ("x-api-key", k)));
            let answer = request(address, method, path, &headers, body.clone()).await.unwrap();
            let what = format!("{method} {path} with {key:?}");
            Shape::Sessions.refused(&what, &answer, 401, &["API key"]);
            // A right key in between keeps the count of wrong ones down, which another test is about.
            assert_eq!(desk.office.call("GET", "/api/sessions", None).await.status, 200);
        }
    }
    for path in ["/send-message", "/send-media"] {
        for key in wrong {
            let mut body = json!({"sender": OFFICE, "number": CUSTOMER, "message": "x", "media_type": "image", "url": "http://example.com/"});
            if let Some(key) = key {
                body["api_key"] = json!(key);
            }
            let answer = desk.office.post(path, body).await;
            let what = format!("POST {path} with {key:?}");
            Shape::Mpwa.refused(&what, &answer, 400, &["Invalid api_key or sender,please check again"]);
            assert_eq!(desk.office.call("GET", "/api/sessions", None).await.status, 200);
        }
        let query = format!("{path}?sender={OFFICE}&number={CUSTOMER}&message=x");
        let answer = request(address, "GET", &query, &[("x-api-key", &good)], "").await.unwrap();
        Shape::Mpwa.refused("the key in the wrong place", &answer, 400, &["api_key"]);
    }
    for path in ["/healthz", "/readyz"] {
        let answer = request(address, "GET", path, &[], "").await.unwrap();
        assert_eq!(answer.status, 200, "no key is needed for {path}");
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(!text.contains(OFFICE) && !text.contains(desk.session.id()), "{text}");
    }
    desk.assert_nothing_kept("wrong keys");
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_another_account_is_403_and_stays_as_it_is() {
    let desk = Desk::open().await;
    let address = desk.office.gateway.address();
    let other = desk.office.gateway.keys().create("clinic", "clinic", false).await.unwrap();
    let body = json!({"to": CUSTOMER, "message": "x", "phone": OFFICE}).to_string();
    for (method, end) in SESSION_ENDPOINTS {
        let headers = [("x-api-key", other.as_str()), JSON];
        let answer = request(address, method, &desk.path(end), &headers, body.clone()).await.unwrap();
        Shape::Sessions.refused(&format!("{method} {end}"), &answer, 403, &["another account"]);
    }
    let counts = request(address, "GET", "/api/sessions?list=1", &[("x-api-key", &other)], "").await.unwrap();
    assert_eq!((&counts.json()["counts"]["total"], &counts.json()["sessions"]), (&json!(0), &json!([])));
    for path in ["/send-message", "/send-media"] {
        let body = json!({"api_key": other, "sender": OFFICE, "number": CUSTOMER, "message": "x", "media_type": "image", "url": "http://example.com/"});
        let answer = desk.office.post(path, body).await;
        Shape::Mpwa.refused(path, &answer, 400, &["Invalid api_key or sender,please check again"]);
    }
    desk.assert_nothing_kept("another account");
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_accounts_may_pair_one_number_and_each_sends_with_its_own() {
    let desk = Desk::open().await;
    let registry = desk.office.gateway.registry();
    let other = desk.office.gateway.keys().create("clinic", "clinic", false).await.unwrap();
    let second = registry.create("Klinik", "clinic").await.unwrap();
    desk.office.scan(&second, OFFICE).await;
    for key in [desk.office.key.clone(), other] {
        let body = json!({"api_key": key, "sender": OFFICE, "number": CUSTOMER, "message": "halo"});
        let answer = desk.office.post("/send-message", body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    desk.office.sim.inbox(CUSTOMER, 2, crate::support::PATIENCE).await.unwrap();
}

/// A request from another loopback address, which counts as another client.
async fn from(source: &str, address: SocketAddr, path: &str, key: &str) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{source}:0").parse().unwrap()).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nhost: kurir\r\nx-api-key: {key}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_tries_many_keys_is_made_to_wait_and_nobody_else_is() {
    let desk = Desk::open().await;
    let address = desk.office.gateway.address();
    for _ in 0..10 {
        assert!(from("127.0.0.9", address, "/api/sessions", "guess").await.starts_with("HTTP/1.1 401"));
    }
    let answer = from("127.0.0.9", address, "/api/sessions", "guess").await;
    assert!(answer.starts_with("HTTP/1.1 429") && answer.contains("retry-after: "), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    assert_eq!((&body["success"], &body["error"]), (&json!(false), &json!("Too Many Requests")));
    let answer = from("127.0.0.9", address, "/send-message?api_key=guess", "").await;
    assert!(answer.starts_with("HTTP/1.1 429") && answer.contains("retry-after: "), "{answer}");
    assert!(answer.contains("{\"msg\":\"Too many wrong keys"), "{answer}");
    // One application with a wrong key must not lock out the others on its machine.
    let answer = from("127.0.0.9", address, "/api/sessions", &desk.office.key).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = from("127.0.0.9", address, "/api/sessions", "guess").await;
    assert!(answer.starts_with("HTTP/1.1 429"), "{answer}");
    desk.close().await;
}
