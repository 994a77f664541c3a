//! Connections that end, and what the session makes of it.

use std::time::{Duration, SystemTime};

use kurir::outbox::Progress;
use kurir::session::{Reason, Status};
use serde_json::json;

use super::steps::{cut_off, dials, fault, let_in, shown, taken, works};
use super::support::{CUSTOMER, OFFICE, Office, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_end_a_connection_is_named_keeps_the_credentials_and_comes_back() {
    let (office, session) = Office::paired().await;
    for (end, reason, least) in [
        (json!({"kind": "drop"}), Reason::Network, 0),
        (json!({"kind": "drop", "device": OFFICE}), Reason::Network, 0),
        (json!({"kind": "stream-error", "code": 503}), Reason::Network, 0),
        (json!({"kind": "stream-error", "code": 515}), Reason::Network, 0),
        (json!({"kind": "stream-error", "code": 429}), Reason::Refused(429), 20),
        (json!({"kind": "stream-error", "code": 409}), Reason::Conflict, 50),
        (json!({"kind": "stream-error", "conflict": "replaced"}), Reason::Conflict, 50),
    ] {
        let before = dials(&office);
        fault(&office, end.clone());
        let ended = wait_for(&session, |s| s.status == Status::Connecting && s.retry_at.is_some()).await;
        assert_eq!((&ended.reason, ended.paired), (&reason, true), "{end}");
        let pause = ended.retry_at.unwrap().duration_since(SystemTime::now()).unwrap_or_default();
        assert!(pause >= Duration::from_secs(least), "{end}: dials again after {pause:?}");
        if least == 0 {
            wait_for(&session, |s| s.status == Status::Connected).await;
        } else {
            let_in(&office, &session).await;
        }
        assert_eq!(session.snapshot().reason, Reason::None, "{end}");
        assert_eq!(dials(&office), before + 1, "{end}: one dial was enough");
        works(&office, &session, &end.to_string()).await;
    }
    office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_device_is_logged_out_and_its_credentials_are_gone() {
    let (office, session) = Office::paired().await;
    for end in [
        json!({"kind": "stream-error", "conflict": "device_removed"}),
        json!({"kind": "stream-error", "code": 401, "conflict": "device_removed"}),
        json!({"kind": "stream-error", "code": 401}),
        json!({"kind": "stream-error", "code": 516}),
    ] {
        fault(&office, end.clone());
        let out = wait_for(&session, |s| s.status == Status::Disconnected && !s.paired).await;
        assert_eq!((out.reason, out.number, out.retry_at), (Reason::LoggedOut, None, None), "{end}");
        // The phone still lists it, and has room for four.
        office.sim.unlink(OFFICE).await.unwrap();
        session.reconnect().await;
        office.scan(&session, OFFICE).await;
        works(&office, &session, &end.to_string()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusing_server_is_asked_again_and_a_message_waits_for_it() {
    let (office, session) = Office::paired().await;
    works(&office, &session, "sebelum").await;
    let before = dials(&office);
    fault(&office, json!({"kind": "refuse", "count": 1}));
    fault(&office, json!({"kind": "drop"}));
    wait_for(&session, |s| s.status == Status::Connecting).await;
    let id = taken(&office, &session, CUSTOMER, "selama").await;
    // By itself, though the first dial fails.
    office.reached(&id, Progress::Delivered).await;
    assert_eq!(shown(&office, CUSTOMER, "selama").await, 1);
    assert_eq!(dials(&office), before + 1, "refused connections do not count");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_repeats_515_is_not_dialled_in_a_tight_loop() {
    let (office, session) = Office::paired().await;
    let before = dials(&office);
    let mut changes = session.watch();
    fault(&office, json!({"kind": "repeat-515", "device": OFFICE}));
    fault(&office, json!({"kind": "drop"}));
    let mut last = None;
    let mut pauses = Vec::new();
    while pauses.len() < 4 {
        let waiting = changes.wait_for(|s| s.retry_at.is_some() && s.retry_at != last);
        let next = tokio::time::timeout(super::support::PATIENCE, waiting).await.unwrap().unwrap().clone();
        assert!(next.paired);
        last = next.retry_at;
        pauses.push(next.retry_at.unwrap().duration_since(SystemTime::now()).unwrap_or_default());
    }
    // The four pauses follow four ended connections, so three dials lie between them.
    assert!(dials(&office) <= before + 4, "{} dials for {pauses:?}", dials(&office) - before);
    assert!(pauses[3] > pauses[0] * 2, "the pauses grow: {pauses:?}");
    let_in(&office, &session).await;
    works(&office, &session, "sesudah").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_dead_without_a_word_is_noticed() {
    let (office, session) = Office::paired().await;
    works(&office, &session, "sebelum").await;
    let mut changes = session.watch();
    fault(&office, json!({"kind": "stall", "for_ms": 600_000}));
    let id = taken(&office, &session, CUSTOMER, "selama").await;
    // whatsapp-rust pings each 15 to 30 s and waits 20 s for the answer.
    let noticed = changes.wait_for(|s| s.status == Status::Connecting);
    let noticed = tokio::time::timeout(Duration::from_secs(120), noticed).await;
    noticed.expect("the dead connection was not noticed").unwrap();
    office.reached(&id, Progress::Delivered).await;
    assert_eq!(shown(&office, CUSTOMER, "selama").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_to_reconnect_again_and_again_leads_to_one_connection() {
    let (office, session) = Office::paired().await;
    for _ in 0..20 {
        session.reconnect().await;
    }
    cut_off(&office, &session).await;
    for _ in 0..20 {
        session.reconnect().await;
    }
    let_in(&office, &session).await;
    works(&office, &session, "akhirnya").await;
    assert_eq!(office.sim.stats().connections.now, 1);
    office.assert_no_violations();
}
