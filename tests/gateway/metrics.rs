//! The box in numbers.

use crate::support::{CUSTOMER, OFFICE, Office, PATIENCE, request};

#[tokio::test(flavor = "multi_thread")]
async fn the_numbers_move_with_what_happens_and_are_not_for_everybody() {
    let (office, session) = Office::paired().await;
    let path = format!("/api/sessions/{}/send", session.id());
    let body = serde_json::json!({"to": CUSTOMER, "message": "halo"});
    let id = office.call("POST", &path, Some(body)).await.json()["messageId"].as_str().unwrap().to_owned();
    office.reached(&id, kurir::outbox::Progress::Sent).await;
    office.sim.send_text(CUSTOMER, OFFICE, "halo juga").await.unwrap();
    office.sim.inbox(CUSTOMER, 1, PATIENCE).await.unwrap();
    let address = office.gateway.address();
    // The journal gathers for a moment, and a receipt may be recorded before the send's own end: ask until both show.
    let counted = async {
        loop {
            let answer = request(address, "GET", "/metrics", &[], "").await.unwrap();
            assert_eq!(answer.status, 200);
            let text = String::from_utf8(answer.body.to_vec()).unwrap();
            let has = |row: &str| text.lines().any(|line| line == row);
            if !has("kurir_journal_seq 0") && has("kurir_sends_total{result=\"sent\"} 1") {
                return text;
            }
        }
    };
    let text = tokio::time::timeout(PATIENCE, counted).await.expect("the numbers never moved");
    for row in [
        "kurir_sessions{state=\"connected\"} 1",
        "kurir_sends_total{result=\"sent\"} 1",
        "kurir_http_requests_total{route=\"POST /api/sessions/{id}/send\",status=\"200\"} 1",
        "kurir_store_read_only 0",
        "kurir_store_read_whole 0",
        &format!("kurir_outbox_depth{{session=\"{}\"}} 0", session.id()),
        &format!("kurir_outbox_oldest_seconds{{session=\"{}\"}} 0", session.id()),
    ] {
        assert!(text.lines().any(|line| line == row), "no {row} in\n{text}");
    }
    for name in [
        "kurir_memory_resident_bytes ",
        "kurir_disk_free_bytes ",
        "kurir_journal_seq ",
        "kurir_store_opening_seconds ",
    ] {
        let row =
            text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}"));
        assert!(row.parse::<f64>().unwrap() > 0.0, "{name}{row}");
    }
    // A proxy on the same machine speaks for somebody else.
    let through_proxy = [("x-forwarded-for", "203.0.113.9")];
    assert_eq!(request(address, "GET", "/metrics", &through_proxy, "").await.unwrap().status, 401);
    let with_key = [("x-forwarded-for", "203.0.113.9"), ("x-api-key", office.key.as_str())];
    assert_eq!(request(address, "GET", "/metrics", &with_key, "").await.unwrap().status, 403);
    let admin = office.gateway.keys().create("admin", "main", true).await.unwrap();
    let with_admin = [("x-forwarded-for", "203.0.113.9"), ("x-api-key", admin.as_str())];
    assert_eq!(request(address, "GET", "/metrics", &with_admin, "").await.unwrap().status, 200);
}
