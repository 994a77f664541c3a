//! What a process writes into its log.

use serde_json::json;
use whatsapp_sim::{Sim, SimConfig};

use crate::process::{KEY, Process};
use crate::support::{CUSTOMER, NOBODY, OFFICE, PATIENCE, request};

#[tokio::test(flavor = "multi_thread")]
async fn the_log_at_its_default_level_holds_no_number_no_text_and_no_key() {
    const TEXT: &str = "rahasia: kode Anda";
    let sim = Sim::start(SimConfig::default()).await.unwrap();
    sim.add_phone(OFFICE, "Kantor Pusat").await.unwrap();
    let lid = sim.add_phone(CUSTOMER, "Ibu Sari").await.unwrap().lid;
    let folder = tempfile::tempdir().unwrap();
    let process = Process::serve(folder.path(), &sim, &[]).await;
    let headers = [("x-api-key", KEY), ("content-type", "application/json")];
    let call = async |method: &str, path: &str, body: serde_json::Value| {
        request(process.address, method, path, &headers, body.to_string()).await.unwrap().json()
    };
    let list = call("GET", "/api/sessions?list=1", json!(null)).await;
    let id = list["sessions"][0]["id"].as_str().unwrap().to_owned();
    let qr = call("GET", &format!("/api/sessions/{id}/qr"), json!(null)).await;
    let qr = qr["qr"].as_str().unwrap().to_owned();
    sim.scan(OFFICE, &qr).await.unwrap();
    let send = format!("/api/sessions/{id}/send");
    // Before and after it is connected; to somebody, nobody, and with a wrong key.
    for to in [CUSTOMER, NOBODY, "not-a-number"] {
        call("POST", &send, json!({"to": to, "message": TEXT})).await;
    }
    let sent = loop {
        let answer = call("POST", &send, json!({"to": CUSTOMER, "message": TEXT})).await;
        if answer["success"] == true {
            break answer["messageId"].as_str().unwrap().to_owned();
        }
    };
    sim.inbox(CUSTOMER, 1, PATIENCE).await.unwrap();
    sim.send_text(CUSTOMER, OFFICE, "balasan rahasia").await.unwrap();
    let wrong =
        format!("/send-message?api_key={KEY}x&sender={OFFICE}&number={CUSTOMER}&message={}", "rahasia");
    request(process.address, "GET", &wrong, &[], "").await.unwrap();
    let by_url = json!({"api_key": KEY, "sender": OFFICE, "number": CUSTOMER, "media_type": "image", "url": "http://127.0.0.1/?token=rahasia"});
    call("POST", "/send-media", by_url).await;
    // Things that are worth a line: a refused message, a lost connection, a log-out.
    sim.fault(serde_json::from_value(json!({"kind": "nack", "error": 403, "count": 1})).unwrap());
    call("POST", &send, json!({"to": CUSTOMER, "message": TEXT})).await;
    sim.fault(serde_json::from_value(json!({"kind": "stream-error", "code": 503})).unwrap());
    call("POST", &send, json!({"to": CUSTOMER, "message": TEXT})).await;
    sim.unlink(OFFICE).await.unwrap();
    loop {
        let shown = call("GET", &format!("/api/sessions/{id}"), json!(null)).await;
        if shown["session"]["reason"] == "logged_out" {
            break;
        }
    }
    let (stdout, stderr, well) = process.stop().await;
    assert!(well, "{stderr}");
    assert!(stderr.contains("session 1: connected"), "the log says what happens:\n{stderr}");
    assert!(stderr.contains("logged_out"), "{stderr}");
    let lid = lid.trim_end_matches("@lid");
    for secret in [OFFICE, CUSTOMER, NOBODY, lid, TEXT, "rahasia", KEY, &qr, "Sari", "Kantor", &sent] {
        assert!(!stderr.contains(secret), "the log holds {secret}:\n{stderr}");
        assert!(!stdout.contains(secret), "standard output holds {secret}:\n{stdout}");
    }
}
