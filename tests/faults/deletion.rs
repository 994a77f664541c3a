//! Sessions that go while there is something to do.

use kurir::outbox::Progress;
use kurir::session::Status;
use serde_json::json;

use super::steps::{cut_off, failed, fault, send, shown, taken, works};
use super::support::{CUSTOMER, OFFICE, Office, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_session_takes_its_queue_with_it() {
    let (office, session) = Office::paired().await;
    works(&office, &session, "sebelum").await;
    cut_off(&office, &session).await;
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(taken(&office, &session, CUSTOMER, &format!("antre {n}")).await);
    }
    let path = format!("/api/sessions/{}", session.id());
    assert_eq!(office.call("DELETE", &path, None).await.status, 200);
    assert_eq!(office.call("DELETE", &path, None).await.status, 404);
    assert_eq!(send(&office, &session, CUSTOMER, "terlambat").await.status, 404);
    for id in &ids {
        let message = failed(&office, id).await;
        assert_eq!(message.error.as_deref(), Some("the session was deleted"));
    }
    office.sim.clear_faults();
    // The number can be paired again, and nothing of the old queue comes out of it, not even after a restart.
    let office = office.restart().await;
    let again = office.pair(OFFICE).await;
    works(&office, &again, "sesudah").await;
    for n in 0..5 {
        assert_eq!(shown(&office, CUSTOMER, &format!("antre {n}")).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_accepted_for_a_session_that_is_being_deleted() {
    let office = Office::open().await;
    for round in 0..5 {
        let session = office.pair(OFFICE).await;
        works(&office, &session, &format!("putaran {round}")).await;
        fault(&office, json!({"kind": "no-ack", "deliver": false}));
        let path = format!("/api/sessions/{}", session.id());
        let sends = async {
            let mut taken = Vec::new();
            for n in 0.. {
                let answer = send(&office, &session, CUSTOMER, &format!("balapan {round} {n}")).await;
                if answer.status != 200 {
                    assert_eq!(answer.status, 404, "{answer:?}");
                    break;
                }
                taken.push(answer.json()["messageId"].as_str().unwrap().to_owned());
            }
            taken
        };
        let (deleted, taken) = tokio::join!(office.call("DELETE", &path, None), sends);
        assert_eq!(deleted.status, 200);
        // Whatever was accepted has an end.
        for id in taken {
            failed(&office, &id).await;
        }
        office.sim.clear_faults();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_deleted_in_bounded_time_while_its_server_is_silent() {
    let (office, session) = Office::paired().await;
    fault(&office, json!({"kind": "stall", "for_ms": 600_000}));
    let id = taken(&office, &session, CUSTOMER, "ke dalam sunyi").await;
    let path = format!("/api/sessions/{}", session.id());
    let deletion = office.call("DELETE", &path, None);
    let deleted = tokio::time::timeout(std::time::Duration::from_secs(40), deletion).await;
    assert_eq!(deleted.expect("the deletion hangs").status, 200);
    failed(&office, &id).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_one_session_leaves_the_others_alone() {
    const BRANCH: &str = "6281500000005";
    let (office, first) = Office::paired().await;
    office.sim.add_phone(BRANCH, "Cabang").await.unwrap();
    let second = office.pair(BRANCH).await;
    let id = taken(&office, &second, CUSTOMER, "dari cabang").await;
    assert_eq!(office.call("DELETE", &format!("/api/sessions/{}", first.id()), None).await.status, 200);
    office.reached(&id, Progress::Delivered).await;
    assert_eq!(wait_for(&second, |_| true).await.status, Status::Connected);
    works(&office, &second, "masih ada").await;
}
