//! The client version: looked up, remembered, looked up again when WhatsApp calls it outdated.

use kurir::session::{Reason, Status};
use serde_json::json;
use whatsapp_sim::{Sim, SimConfig};

use super::proxy::Proxy;
use super::steps::{fault, let_in, works};
use super::support::{OFFICE, Office, wait_for};

const NEWER: u32 = 1_990_000_000;

async fn office(revision: Option<u32>) -> (Office, Proxy) {
    let sim = Sim::start(SimConfig::default()).await.unwrap();
    let address = sim.ws_url().trim_start_matches("ws://").trim_end_matches("/ws/chat").parse().unwrap();
    let proxy = Proxy::start(address, revision).await;
    let url = proxy.ws_url();
    (Office::open_beside(sim, |config| config.whatsapp_url = Some(url)).await, proxy)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_version_is_asked_for_once_and_remembered_over_a_restart() {
    let (office, proxy) = office(Some(NEWER)).await;
    let session = office.pair(OFFICE).await;
    let id = session.id().to_owned();
    works(&office, &session, "halo").await;
    drop(session);
    assert_eq!(proxy.asked(), 1);
    let office = office.restart().await;
    let session = office.gateway.registry().get(&id).unwrap();
    wait_for(&session, |s| s.status == Status::Connected).await;
    assert_eq!(proxy.asked(), 1, "a day passes until it is asked for again");
    // Now it is too old: it is asked for again, and the session comes back by itself.
    proxy.set_revision(Some(NEWER + 1));
    fault(&office, json!({"kind": "client-outdated", "device": OFFICE, "count": 1}));
    fault(&office, json!({"kind": "drop"}));
    let outdated = wait_for(&session, |s| s.reason == Reason::ClientOutdated).await;
    assert!(outdated.paired);
    wait_for(&session, |s| s.status == Status::Connected).await;
    assert_eq!(proxy.asked(), 2);
    works(&office, &session, "sesudah").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_answer_the_built_in_version_is_used_and_the_next_need_asks_again() {
    let (office, proxy) = office(None).await;
    let session = office.pair(OFFICE).await;
    works(&office, &session, "halo").await;
    assert_eq!(proxy.asked(), 1, "several dials, one question");
    // Meanwhile the answer would come; a first failure must not stand in its way.
    proxy.set_revision(Some(NEWER));
    fault(&office, json!({"kind": "client-outdated", "device": OFFICE, "count": 1}));
    fault(&office, json!({"kind": "drop"}));
    wait_for(&session, |s| s.reason == Reason::ClientOutdated).await;
    wait_for(&session, |s| s.status == Status::Connected).await;
    assert_eq!(proxy.asked(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_stays_outdated_is_not_dialled_in_a_loop() {
    let (office, proxy) = office(Some(NEWER)).await;
    let session = office.pair(OFFICE).await;
    fault(&office, json!({"kind": "client-outdated", "device": OFFICE}));
    fault(&office, json!({"kind": "drop"}));
    let long = |s: &kurir::session::Snapshot| {
        let pause = s.retry_at.and_then(|at| at.duration_since(std::time::SystemTime::now()).ok());
        s.reason == Reason::ClientOutdated && pause.is_some_and(|p| p.as_secs() > 300)
    };
    let outdated = wait_for(&session, long).await;
    assert!(outdated.paired && outdated.status == Status::Connecting);
    assert!(proxy.asked() <= 2, "{} questions", proxy.asked());
    let_in(&office, &session).await;
    works(&office, &session, "sesudah").await;
}
