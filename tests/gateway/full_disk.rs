//! The disk is full: nothing is accepted that cannot be kept, every dialect says why, and when there is room again the
//! gateway goes on by itself.

use std::net::SocketAddr;

use crate::process::{KEY, Process};
use crate::support::files::{multipart, sample};
use crate::support::{Answer, CUSTOMER, OFFICE, PATIENCE};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Bytes;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};
use whatsapp_sim::{Sim, SimConfig};

/// How large a file the process may write: the kernel refuses every write beyond it, as it does on a full disk.
fn set_room(process: &Process, bytes: Option<u64>) {
    let pid = Pid::from_raw(process.child.id().unwrap().cast_signed());
    prlimit(pid, Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
}

/// A request whose answer must not tell where the box keeps things.
async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
    let answer = crate::support::request(address, method, path, headers, body).await?;
    let text = String::from_utf8_lossy(&answer.body);
    for name in ["kurir.redb", "/media", "/spool"] {
        assert!(!text.contains(name), "{method} {path} names {name}: {text}");
    }
    Ok(answer)
}

async fn call(address: SocketAddr, method: &str, path: &str, body: Value) -> Answer {
    let headers = [("x-api-key", KEY), ("content-type", "application/json")];
    let body = if body.is_null() { String::new() } else { body.to_string() };
    request(address, method, path, &headers, body).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_507_in_every_dialect_and_over_when_there_is_room() {
    let sim = Sim::start(SimConfig::default()).await.unwrap();
    sim.add_phone(OFFICE, "Kantor").await.unwrap();
    sim.add_phone(CUSTOMER, "Ibu Sari").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    // The signal that comes with a refused write would end the process; who ignores it gets the error alone.
    let process =
        Process::serve_through(&["sh", "-c", "trap '' XFSZ; exec \"$0\" serve"], folder.path(), &sim, &[])
            .await;
    let address = process.address;
    let list = call(address, "GET", "/api/sessions?list=1", Value::Null).await.json();
    let id = list["sessions"][0]["id"].as_str().unwrap().to_owned();
    let qr = call(address, "GET", &format!("/api/sessions/{id}/qr"), Value::Null).await.json();
    sim.scan(OFFICE, qr["qr"].as_str().unwrap()).await.unwrap();
    let send = format!("/api/sessions/{id}/send");
    let connected = async {
        loop {
            let shown = call(address, "GET", &format!("/api/sessions/{id}"), Value::Null).await.json();
            if shown["session"]["isConnected"] == true {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, connected).await.unwrap();
    let sent = call(address, "POST", &send, json!({"to": CUSTOMER, "message": "sebelum"})).await;
    assert_eq!(sent.status, 200, "{sent:?}");
    sim.inbox(CUSTOMER, 1, PATIENCE).await.unwrap();

    set_room(&process, Some(0));
    let bearer = format!("Bearer {KEY}");
    let json_type = ("content-type", "application/json");
    let plain = request(
        address,
        "POST",
        &send,
        &[("x-api-key", KEY), json_type],
        json!({"to": CUSTOMER, "message": "a"}).to_string(),
    )
    .await
    .unwrap();
    let body = plain.json();
    assert_eq!(
        (plain.status, &body["success"], &body["error"]),
        (507, &json!(false), &json!("Insufficient Storage")),
        "{body}"
    );
    assert!(body["message"].as_str().unwrap().contains("free some space"), "{body}");
    let upload = multipart(&[("to", CUSTOMER)], Some(("media", "a.pdf", &sample("a.pdf"))));
    let headers = [("x-api-key", KEY), ("content-type", "multipart/form-data; boundary=B")];
    let answer = request(address, "POST", &format!("{send}-media"), &headers, upload).await.unwrap();
    assert_eq!((answer.status, answer.json()["success"].clone()), (507, json!(false)), "{answer:?}");
    let words = answer.json()["message"].as_str().unwrap().to_owned();
    assert!(words.contains("free some space"), "{words}");
    // The file itself finds no room, not only the message that needs it.
    let inline = json!({"to": CUSTOMER, "media": {"data": STANDARD.encode(sample("a.pdf"))}});
    let inline = call(address, "POST", &format!("/api/v1/sessions/{id}/messages"), inline).await;
    assert_eq!(inline.status, 507, "{inline:?}");
    let token = call(address, "POST", &format!("/api/sessions/{id}/tokens"), json!({"name": "kasir"})).await;
    assert_eq!(token.status, 507, "{token:?}");
    let made = call(address, "POST", "/api/sessions", json!({"sessionName": "Gudang"})).await;
    assert_eq!((made.status, made.json()["success"].clone()), (507, json!(false)), "{made:?}");
    let body = json!({"api_key": KEY, "sender": OFFICE, "number": CUSTOMER, "message": "a"}).to_string();
    let mpwa = request(address, "POST", "/send-message", &[json_type], body).await.unwrap();
    assert_eq!((mpwa.status, mpwa.json()["status"].clone()), (507, json!(false)), "{mpwa:?}");
    assert!(mpwa.json()["msg"].as_str().unwrap().contains("free some space"), "{mpwa:?}");
    let body = json!({"target": CUSTOMER, "message": "a"}).to_string();
    let fonnte = request(address, "POST", "/send", &[("authorization", KEY), json_type], body).await.unwrap();
    assert_eq!((fonnte.status, fonnte.json()["status"].clone()), (507, json!(false)), "{fonnte:?}");
    let body = json!({"to": CUSTOMER, "message": "a"}).to_string();
    let waapi = request(address, "POST", "/api/send-message", &[("authorization", &bearer), json_type], body)
        .await
        .unwrap();
    assert!(
        waapi.status == 507 && waapi.json()["error"].as_str().unwrap().contains("free some space"),
        "{waapi:?}"
    );
    let waya = call(address, "POST", "/api/send-message", json!({"number": CUSTOMER, "message": "a"})).await;
    assert_eq!((waya.status, waya.json()["success"].clone()), (507, json!(false)), "{waya:?}");
    let hook = call(address, "POST", "/api/v1/webhooks", json!({"url": "http://example.com/"})).await;
    assert_eq!((hook.status, hook.json()["success"].clone()), (507, json!(false)), "{hook:?}");

    let ready = call(address, "GET", "/readyz", Value::Null).await;
    assert_eq!((ready.status, ready.json()["store"].clone()), (503, json!("read-only")), "{ready:?}");
    // What only reads goes on.
    assert_eq!(call(address, "GET", "/healthz", Value::Null).await.status, 200);
    assert_eq!(call(address, "GET", "/api/sessions", Value::Null).await.status, 200);
    assert_eq!(call(address, "GET", "/api/v1/webhooks", Value::Null).await.json()["webhooks"], json!([]));

    set_room(&process, None);
    let again = async {
        loop {
            let answer = call(address, "POST", &send, json!({"to": CUSTOMER, "message": "sesudah"})).await;
            if answer.status == 200 {
                return;
            }
            assert_eq!(answer.status, 507, "{answer:?}");
        }
    };
    tokio::time::timeout(PATIENCE, again).await.expect("it never accepted again");
    assert_eq!(call(address, "GET", "/readyz", Value::Null).await.status, 200);
    let texts: Vec<_> =
        sim.inbox(CUSTOMER, 2, PATIENCE).await.unwrap().into_iter().filter_map(|item| item.text).collect();
    assert_eq!(texts, ["sebelum", "sesudah"], "what was refused was not sent either");
    let (_, stderr, well) = process.stop().await;
    assert!(well, "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    // The owner of the box needs it.
    let store = folder.path().join("kurir.redb");
    assert!(stderr.contains(store.to_str().unwrap()), "the log does not name the store: {stderr}");
}
