//! Pairing that does not go as it should, and what survives it.

use std::time::Duration;

use kurir::session::{Reason, Status};
use serde_json::{Value, json};
use whatsapp_sim::{Sim, SimConfig};

use super::process::{KEY, Process};
use super::steps::{fault, works};
use super::support::{CUSTOMER, NOBODY, OFFICE, Office, PATIENCE, request, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn five_restarts_in_a_row_keep_it_paired() {
    let (office, session) = Office::paired().await;
    let id = session.id().to_owned();
    drop(session);
    let mut office = office;
    for round in 0..5 {
        office = office.restart().await;
        let session = office.gateway.registry().get(&id).unwrap();
        // Every other time it is stopped again before it could log in.
        if round % 2 == 0 {
            wait_for(&session, |s| s.status == Status::Connected).await;
            works(&office, &session, &format!("putaran {round}")).await;
        }
        let now = session.snapshot();
        assert!(now.paired && now.qr.is_none() && now.number.as_deref() == Some(OFFICE), "{now:?}");
    }
    office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pairing_survives_a_kill_at_the_moment_of_its_success() {
    let sim = Sim::start(SimConfig::default()).await.unwrap();
    sim.add_phone(OFFICE, "Kantor").await.unwrap();
    for round in 0..5 {
        let folder = tempfile::tempdir().unwrap();
        let process = Process::serve(folder.path(), &sim, &[("KURIR_LOG", "warn")]).await;
        let get = async |process: &Process, path: &str| {
            request(process.address, "GET", path, &[("x-api-key", KEY)], "").await.unwrap()
        };
        let list = get(&process, "/api/sessions?list=1").await.json();
        let id = list["sessions"][0]["id"].as_str().unwrap().to_owned();
        let qr = get(&process, &format!("/api/sessions/{id}/qr")).await.json();
        // Returns when the phone shows the device as linked.
        sim.scan(OFFICE, qr["qr"].as_str().unwrap()).await.unwrap();
        process.kill().await;
        let process = Process::serve(folder.path(), &sim, &[("KURIR_LOG", "warn")]).await;
        // Answers with a code, or that there is none because the session is connected.
        let answer = get(&process, &format!("/api/sessions/{id}/qr")).await;
        let body: Value = answer.json();
        assert!(answer.status == 400 || answer.status == 503, "round {round}: a new QR is shown: {body}");
        let shown = get(&process, &format!("/api/sessions/{id}")).await.json();
        assert_eq!(
            (&shown["session"]["status"], &shown["session"]["phone_number"]),
            (&json!("connected"), &json!(OFFICE)),
            "round {round}"
        );
        process.kill().await;
        sim.unlink(OFFICE).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_pairing_code_says_so_and_the_qr_goes_on() {
    let office = Office::open().await;
    let session = office.gateway.registry().create("Kasir", "main").await.unwrap();
    let path = format!("/api/sessions/{}/pair-code", session.id());
    let refused = office.call("POST", &path, Some(json!({"phone": NOBODY}))).await;
    assert_eq!(refused.status, 502, "{refused:?}");
    let body = refused.json();
    assert_eq!((&body["success"], &body["error"]), (&json!(false), &json!("Bad Gateway")));
    assert!(body["message"].as_str().unwrap().contains("pairing code"), "{body}");
    // A code that was typed wrongly pairs nobody; a fresh one does.
    let answer = office.call("POST", &path, Some(json!({"phone": OFFICE}))).await.json();
    let code = answer["code"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
    let wrong: String = code.chars().rev().collect();
    if wrong != code {
        assert!(office.sim.pair_code(OFFICE, &wrong).await.is_err());
        assert!(!session.snapshot().paired);
    }
    let answer = office.call("POST", &path, Some(json!({"phone": OFFICE}))).await.json();
    let code = answer["code"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
    office.sim.pair_code(OFFICE, &code).await.unwrap();
    wait_for(&session, |s| s.status == Status::Connected).await;
    works(&office, &session, "halo").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pairing_that_is_cut_off_shows_a_fresh_qr() {
    let office = Office::open().await;
    let session = office.gateway.registry().create("Kasir", "main").await.unwrap();
    let first = wait_for(&session, |s| s.qr.is_some()).await.qr.unwrap().text;
    fault(&office, json!({"kind": "drop"}));
    wait_for(&session, |s| s.qr.is_none()).await;
    assert!(office.sim.scan(OFFICE, &first).await.is_err(), "the old code is dead");
    let second = wait_for(&session, |s| s.qr.is_some()).await.qr.unwrap().text;
    assert_ne!(first, second);
    office.scan(&session, OFFICE).await;
    works(&office, &session, "halo").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_phones_that_scan_one_code_pair_one_of_them() {
    let office = Office::open().await;
    let session = office.gateway.registry().create("Kasir", "main").await.unwrap();
    let qr = wait_for(&session, |s| s.qr.is_some()).await.qr.unwrap().text;
    let (one, two) = tokio::join!(office.sim.scan(OFFICE, &qr), office.sim.scan(CUSTOMER, &qr));
    assert!(one.is_ok() != two.is_ok(), "{one:?} {two:?}");
    let connected = wait_for(&session, |s| s.status == Status::Connected).await;
    assert_eq!(connected.number.as_deref(), Some(if one.is_ok() { OFFICE } else { CUSTOMER }));
}

/// On one thread, so that the clock can be moved while a code is shown.
#[tokio::test]
async fn codes_that_nobody_scans_run_out_and_a_press_shows_fresh_ones() {
    let config = SimConfig { qr_refs: 1, ..SimConfig::default() };
    let office = Office::open_on(config, |_| {}).await;
    let session = office.gateway.registry().create("Kasir", "main").await.unwrap();
    let mut last = None;
    for _ in 0..3 {
        let shown =
            wait_for(&session, |s| s.qr.is_some() && s.qr.as_ref().map(|q| &q.text) != last.as_ref()).await;
        last = shown.qr.map(|q| q.text);
        // A set of one code lasts a minute.
        pass(Duration::from_secs(61)).await;
    }
    let over = wait_for(&session, |s| s.status == Status::Disconnected).await;
    assert_eq!((over.reason, over.qr, over.retry_at), (Reason::QrExhausted, None, None));
    let path = format!("/api/sessions/{}", session.id());
    let answer = office.call("GET", &format!("{path}/qr"), None).await;
    assert_eq!(answer.status, 400);
    assert!(answer.json()["message"].as_str().unwrap().contains("reconnect"), "{answer:?}");
    let dials = office.sim.stats().connections.total;
    assert_eq!(dials, 3, "three sets, and then nobody dials");
    assert_eq!(office.call("POST", &format!("{path}/reconnect"), None).await.status, 200);
    office.scan(&session, OFFICE).await;
    tokio::time::timeout(PATIENCE, works(&office, &session, "halo")).await.unwrap();
}

/// Moves the clock, which only a test on one thread can.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_pairing_code_outlives_the_qr_codes_beside_it() {
    let office = Office::open_on(SimConfig { qr_refs: 1, ..SimConfig::default() }, |_| {}).await;
    let session = office.gateway.registry().create("Kasir", "main").await.unwrap();
    wait_for(&session, |s| s.qr.is_some()).await;
    let code = session.pair_code(OFFICE).await.unwrap();
    wait_for(&session, |s| s.pair_code.is_some()).await;
    pass(Duration::from_secs(61)).await;
    let left = wait_for(&session, |s| s.qr.is_none()).await;
    assert_eq!((left.status, left.pair_code.map(|c| c.text)), (Status::Qr, Some(code.clone())));
    office.sim.pair_code(OFFICE, &code).await.unwrap();
    wait_for(&session, |s| s.status == Status::Connected).await;
    works(&office, &session, "halo").await;
}
