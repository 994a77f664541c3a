//! Log-ins that the server refuses.

use std::time::Duration;

use kurir::outbox::Progress;
use kurir::session::{Reason, Status};
use serde_json::json;

use super::steps::{dials, fault, let_in, shown, taken, works};
use super::support::{CUSTOMER, OFFICE, Office, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn a_ban_is_sat_out_without_a_dial_and_ends_by_itself() {
    let (office, session) = Office::paired().await;
    works(&office, &session, "sebelum").await;
    fault(&office, json!({"kind": "ban", "number": OFFICE, "code": 103, "expire_s": 4}));
    let banned = wait_for(&session, |s| s.reason == Reason::Banned && s.status == Status::Disconnected).await;
    assert!(banned.paired && banned.banned_until.is_some() && banned.retry_at.is_some());
    let during = dials(&office);
    let id = taken(&office, &session, CUSTOMER, "selama").await;
    session.reconnect().await;
    let shown_as = office.call("GET", &format!("/api/sessions/{}", session.id()), None).await.json();
    assert_eq!(shown_as["session"]["reason"], "banned");
    assert!(shown_as["session"]["banned_until"].is_string(), "{shown_as}");
    let back = wait_for(&session, |s| s.status == Status::Connected).await;
    assert_eq!((back.banned_until, back.reason), (None, Reason::None));
    assert_eq!(dials(&office), during + 1, "nobody dialled during the ban");
    office.reached(&id, Progress::Delivered).await;
    assert_eq!(shown(&office, CUSTOMER, "selama").await, 1);
    office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_says_what_it_is_and_only_a_log_out_costs_the_credentials() {
    let (office, session) = Office::paired().await;
    for (reason, expected, status, paired) in [
        (503, Reason::Refused(503), Status::Connecting, true),
        (500, Reason::Refused(500), Status::Connecting, true),
        (402, Reason::Refused(402), Status::Connecting, true),
        (400, Reason::Refused(400), Status::Connecting, true),
        (418, Reason::Refused(418), Status::Connecting, true),
        (403, Reason::AccountLocked, Status::Disconnected, true),
        (401, Reason::LoggedOut, Status::Disconnected, false),
        (406, Reason::LoggedOut, Status::Disconnected, false),
    ] {
        fault(&office, json!({"kind": "failure", "device": OFFICE, "reason": reason}));
        fault(&office, json!({"kind": "drop"}));
        let refused =
            wait_for(&session, |s| s.reason == expected && s.status == status && s.paired == paired).await;
        if status == Status::Connecting {
            let waiting = wait_for(&session, |s| s.retry_at.is_some()).await;
            let pause =
                waiting.retry_at.unwrap().duration_since(std::time::SystemTime::now()).unwrap_or_default();
            assert!(pause > Duration::from_secs(4), "{reason}: tried again after {pause:?}");
        } else {
            assert_eq!(refused.retry_at, None, "{reason}");
        }
        if paired {
            let_in(&office, &session).await;
        } else {
            office.sim.clear_faults();
            session.reconnect().await;
            office.scan(&session, OFFICE).await;
        }
        works(&office, &session, &format!("sesudah {reason}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limited_log_in_waits_long() {
    let (office, session) = Office::paired().await;
    fault(&office, json!({"kind": "rate-limit", "device": OFFICE}));
    fault(&office, json!({"kind": "drop"}));
    let limited = wait_for(&session, |s| s.reason == Reason::Refused(429) && s.retry_at.is_some()).await;
    let pause = limited.retry_at.unwrap().duration_since(std::time::SystemTime::now()).unwrap_or_default();
    assert!(limited.paired && pause > Duration::from_secs(20), "{pause:?}");
    let_in(&office, &session).await;
    works(&office, &session, "sesudah").await;
}
