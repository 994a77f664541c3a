//! A box whose clock is wrong at power-on: nobody dials until it can be right, or has been waited for long enough.

use std::time::{Duration, SystemTime};

use crate::receiver::{Receiver, hook, near, ok};
use crate::support::{CUSTOMER, OFFICE, Office, PATIENCE, request, wait_for};
use kurir::clock::ClockState;
use kurir::session::{Reason, Status};
use serde_json::json;

const HOUR: Duration = Duration::from_secs(3600);

async fn clock_of(office: &Office) -> String {
    let answer = request(office.gateway.address(), "GET", "/readyz", &[], "").await.unwrap();
    assert_eq!(answer.status, 200, "messages are accepted all the same");
    answer.json()["clock"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_wait_until_the_clock_is_set_and_connect_at_once_then() {
    let right = SystemTime::now() + Duration::from_secs(3);
    let office = Office::open_with(|config| {
        config.limits.clock_earliest = right;
        config.limits.clock_patience = HOUR;
    })
    .await;
    assert_eq!(clock_of(&office).await, "not set");
    let session = office.gateway.registry().create("Kasir", "main").await.unwrap();
    let held = wait_for(&session, |s| s.reason == Reason::Clock).await;
    assert_eq!(held.status, Status::Connecting);
    session.reconnect().await;
    let shown = wait_for(&session, |s| s.qr.is_some()).await;
    assert!(SystemTime::now() >= right, "dialled too early");
    assert_eq!(shown.reason, Reason::None);
    assert_eq!(*office.gateway.clock().borrow(), ClockState::Set);
    assert_eq!(clock_of(&office).await, "set");
    office.scan(&session, OFFICE).await;
    office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_time_server_sessions_dial_in_the_end() {
    let office = Office::open_with(|config| {
        config.limits.clock_earliest = SystemTime::now() + HOUR;
        config.limits.clock_patience = Duration::from_secs(1);
    })
    .await;
    let session = office.gateway.registry().create("Kasir", "main").await.unwrap();
    wait_for(&session, |s| s.qr.is_some()).await;
    assert_eq!(clock_of(&office).await, "doubtful");
    assert!(!office.config.data_dir.join("clock").exists(), "a doubtful time is not kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_waits_for_the_clock_can_be_deleted_and_the_gateway_stops() {
    let office = Office::open_with(|config| config.limits.clock_earliest = SystemTime::now() + HOUR).await;
    let registry = office.gateway.registry();
    let session = registry.create("Kasir", "main").await.unwrap();
    let other = registry.create("Klinik", "main").await.unwrap();
    wait_for(&session, |s| s.reason == Reason::Clock).await;
    wait_for(&other, |s| s.reason == Reason::Clock).await;
    assert!(tokio::time::timeout(PATIENCE, registry.delete(session.id())).await.unwrap().unwrap());
    tokio::time::timeout(PATIENCE, office.gateway.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_wait_until_the_clock_is_set() {
    let right = SystemTime::now() + Duration::from_secs(3);
    let office = Office::open_with(|config| {
        near(config);
        config.limits.clock_earliest = right;
        config.limits.clock_patience = HOUR;
    })
    .await;
    let mut receiver = Receiver::start(ok).await;
    hook(&office, json!({"url": receiver.url(), "events": ["session"]})).await;
    let session = office.gateway.registry().create("Kasir", "main").await.unwrap();
    wait_for(&session, |s| s.reason == Reason::Clock).await;
    let mut head = office.gateway.inbox().head();
    tokio::time::timeout(PATIENCE, head.wait_for(|newest| *newest > Some(0))).await.unwrap().unwrap();
    assert!(SystemTime::now() < right, "there is an event to be delivered by now");
    let call = receiver.next().await;
    assert!(SystemTime::now() >= right, "called too early");
    assert_eq!(call.header("x-kurir-attempt"), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_media_link_over_https_says_that_the_clock_is_not_set() {
    let (mut office, session) = Office::paired_with(near).await;
    office.config.limits.clock_earliest = SystemTime::now() + HOUR;
    let path = format!("/api/v1/sessions/{}/messages", session.id());
    let office = office.restart().await;
    let send = async |url: &str| {
        let body = json!({"to": CUSTOMER, "media": {"url": url}});
        office.call("POST", &path, Some(body)).await
    };
    let held = send("https://127.0.0.1:1/a.png").await;
    assert_eq!(held.status, 503, "{held:?}");
    assert!(held.headers.contains_key("retry-after"), "{held:?}");
    assert!(held.json()["message"].as_str().unwrap().contains("clock is not set"), "{held:?}");
    // Without TLS it is tried, and nobody answers there.
    assert_eq!(send("http://127.0.0.1:1/a.png").await.status, 502);
}
