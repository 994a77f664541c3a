//! Pairing, and what can end it, through the real port with the test server's phones.

use std::time::Duration;

use crate::support::{CUSTOMER, OFFICE, Office, decode_png, wait_for};
use kurir::session::{Reason, Status};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_created_shown_paired_counted_and_deleted_over_http() {
    let office = Office::open().await;
    let created =
        office.call("POST", "/api/sessions", Some(json!({"sessionName": "My Business Account"}))).await;
    assert_eq!(created.status, 200);
    let id = created.json()["sessionId"].as_str().unwrap().to_owned();

    let shown = office.call("GET", &format!("/api/sessions/{id}/qr"), None).await.json();
    assert!(shown["qrCode"].as_str().unwrap().starts_with("data:image/png;base64,iVBORw0KGgo"), "{shown}");
    let text = decode_png(shown["qrCode"].as_str().unwrap());
    assert_eq!(Some(text.as_str()), shown["qr"].as_str(), "the picture is the code");
    let counts = office.call("GET", "/api/sessions", None).await.json();
    assert_eq!(
        counts["counts"],
        json!({"total": 1, "connected": 0, "connecting": 0, "qr": 1, "disconnected": 0})
    );

    office.sim.scan(OFFICE, &text).await.unwrap();
    let session = office.gateway.registry().get(&id).unwrap();
    wait_for(&session, |s| s.status == Status::Connected).await;
    let shown = office.call("GET", &format!("/api/sessions/{id}"), None).await.json();
    assert_eq!(shown["session"]["status"], "connected");
    assert_eq!(shown["session"]["isConnected"], true);
    assert_eq!(shown["session"]["phone_number"], OFFICE);
    assert_eq!(shown["session"]["name"], "My Business Account");
    assert_eq!(office.call("GET", &format!("/api/sessions/{id}/qr"), None).await.status, 400);

    let deleted = office.call("DELETE", &format!("/api/sessions/{id}"), None).await;
    assert_eq!((deleted.status, deleted.json()["success"].clone()), (200, json!(true)));
    assert_eq!(office.call("GET", &format!("/api/sessions/{id}"), None).await.status, 404);
    office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_eight_character_code_pairs_as_well() {
    let office = Office::open().await;
    let created = office.call("POST", "/api/sessions", Some(json!({"sessionName": "Kasir"}))).await.json();
    let id = created["sessionId"].as_str().unwrap();
    let answer =
        office.call("POST", &format!("/api/sessions/{id}/pair-code"), Some(json!({"phone": OFFICE}))).await;
    let code = answer.json()["code"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned();
    assert_eq!(code.len(), 8);
    office.sim.pair_code(OFFICE, &code).await.unwrap();
    let session = office.gateway.registry().get(id).unwrap();
    let snapshot = wait_for(&session, |s| s.status == Status::Connected).await;
    assert_eq!(snapshot.number.as_deref(), Some(OFFICE));
    office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paired_session_comes_back_by_itself_after_a_restart() {
    let (office, session) = Office::paired().await;
    let id = session.id().to_owned();
    let office = office.restart().await;
    let session = office.gateway.registry().get(&id).unwrap();
    let snapshot = wait_for(&session, |s| s.status == Status::Connected).await;
    assert_eq!(snapshot.number.as_deref(), Some(OFFICE));
    assert!(snapshot.qr.is_none());
    office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_out_from_the_phone_wipes_and_waits_for_a_new_pairing() {
    let (office, session) = Office::paired().await;
    office.sim.unlink(OFFICE).await.unwrap();
    let snapshot = wait_for(&session, |s| s.status == Status::Disconnected).await;
    assert_eq!((snapshot.reason, snapshot.paired, snapshot.number), (Reason::LoggedOut, false, None));
    let answer = office.call("POST", &format!("/api/sessions/{}/reconnect", session.id()), None).await;
    assert_eq!(answer.status, 200);
    office.scan(&session, OFFICE).await;
    office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reconnection_over_http_unlinks_the_device_and_pairs_anew() {
    let (office, session) = Office::paired().await;
    office.call("POST", &format!("/api/sessions/{}/reconnect", session.id()), None).await;
    wait_for(&session, |s| s.status == Status::Qr && s.qr.is_some()).await;
    office.scan(&session, CUSTOMER).await;
    assert_eq!(session.snapshot().number.as_deref(), Some(CUSTOMER));
    office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_is_dialled_again_and_credentials_are_kept() {
    let (office, session) = Office::paired().await;
    let connections = office.sim.stats().connections.total;
    office.sim.fault(serde_json::from_value(json!({"kind": "drop"})).unwrap());
    wait_for(&session, |s| s.status == Status::Connecting).await;
    office.sim.clear_faults();
    let snapshot = wait_for(&session, |s| s.status == Status::Connected).await;
    assert!(snapshot.paired);
    assert!(office.sim.stats().connections.total > connections);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ban_is_shown_with_its_end_and_survives_a_restart() {
    let (office, session) = Office::paired().await;
    let fault = json!({"kind": "ban", "number": OFFICE, "code": 101, "expire_s": 3600});
    office.sim.fault(serde_json::from_value(fault).unwrap());
    office.sim.fault(serde_json::from_value(json!({"kind": "drop"})).unwrap());
    let banned = wait_for(&session, |s| s.reason == Reason::Banned).await;
    let until = banned.banned_until.unwrap();
    let left = until.duration_since(std::time::SystemTime::now()).unwrap();
    assert!(left > Duration::from_secs(3500) && left <= Duration::from_secs(3600), "{left:?}");
    let id = session.id().to_owned();
    drop(session);
    let office = office.restart().await;
    let dials = office.sim.stats().connections.total;
    let session = office.gateway.registry().get(&id).unwrap();
    let again = wait_for(&session, |s| s.reason == Reason::Banned).await;
    assert!(again.paired && again.status == Status::Disconnected);
    assert_eq!(office.sim.stats().connections.total, dials, "a banned account is not dialled");
}
