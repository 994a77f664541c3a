//! Events reach receivers: signed, in order, once they are back, and no receiver waits for another.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use crate::receiver::{Call, Receiver, hook, near, ok};
use crate::support::{CUSTOMER, OFFICE, Office, PATIENCE, request};
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;
use tokio::net::TcpListener;
use whatsapp_sim::media::{OutgoingKind, OutgoingMedia};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_delivered_signed_and_the_secret_is_shown_once() {
    let (office, session) = Office::paired_with(near).await;
    let mut receiver = Receiver::start(ok).await;
    let (id, secret) = hook(&office, json!({"url": receiver.url(), "events": ["message"]})).await;
    let message_id = office.sim.send_text(CUSTOMER, OFFICE, "halo").await.unwrap();
    let call = receiver.next().await;
    let body = call.json();
    assert_eq!((body["type"].as_str(), body["data"]["text"].as_str()), (Some("message"), Some("halo")));
    assert_eq!(body["data"]["message_id"], message_id.as_str());
    assert_eq!((body["phone"].as_str(), body["session"].as_str()), (Some(CUSTOMER), Some(session.id())));
    assert!(body["lid"].as_str().unwrap().ends_with("@lid"));
    assert_eq!(call.header("x-kurir-delivery"), body["id"].as_str().unwrap());
    let signature = call.header("x-kurir-signature");
    let (at, v1) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{at}.").as_bytes());
    mac.update(&call.body);
    assert_eq!(v1, hex::encode(mac.finalize().into_bytes()));

    let path = format!("/api/v1/webhooks/{id}");
    let shown = office.call("GET", &path, None).await;
    assert_eq!(shown.status, 200);
    assert!(!String::from_utf8_lossy(&shown.body).contains(&secret));
    let listed = office.call("GET", "/api/v1/webhooks", None).await;
    assert!(!String::from_utf8_lossy(&listed.body).contains(&secret));
    assert_eq!(listed.json()["webhooks"].as_array().unwrap().len(), 1);

    let stranger = office.gateway.keys().create("other", "other", false).await.unwrap();
    let headers = [("x-api-key", stranger.as_str())];
    for (method, path) in [("GET", path.as_str()), ("DELETE", &path), ("PATCH", &path)] {
        let answer = request(office.gateway.address(), method, path, &headers, "").await.unwrap();
        assert_eq!(answer.status, 403, "{method}");
    }
    let answer = request(office.gateway.address(), "GET", "/api/v1/webhooks", &headers, "").await.unwrap();
    assert_eq!(answer.json()["webhooks"], json!([]));
    assert_eq!(office.call("DELETE", &path, None).await.status, 200);
    assert_eq!(office.call("GET", &path, None).await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_was_down_gets_everything_in_order() {
    let (office, _session) = Office::paired_with(near).await;
    let receiver = Receiver::start(ok).await;
    hook(&office, json!({"url": receiver.url(), "events": ["message"]})).await;
    let address = receiver.stop().await;
    for n in 0..10 {
        office.sim.send_text(CUSTOMER, OFFICE, &n.to_string()).await.unwrap();
    }
    // It stays down over a restart of the gateway.
    office.gateway.inbox().head().wait_for(|head| head.is_some_and(|seq| seq >= 10)).await.unwrap();
    let office = office.restart().await;
    let mut receiver = Receiver::at(address, ok).await;
    for n in 0..10 {
        assert_eq!(receiver.next().await.text(), n.to_string());
    }
    office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_never_answers_delays_nobody_else() {
    let (office, _session) = Office::paired_with(near).await;
    // A listener whose connections the kernel accepts and nobody reads.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    hook(&office, json!({"url": url, "timeout_s": 60})).await;
    let mut receiver = Receiver::start(ok).await;
    hook(&office, json!({"url": receiver.url(), "events": ["message"]})).await;
    office.sim.send_text(CUSTOMER, OFFICE, "pertama").await.unwrap();
    let (_held, _) = tokio::time::timeout(PATIENCE, silent.accept()).await.unwrap().unwrap();
    for n in 0..5 {
        office.sim.send_text(CUSTOMER, OFFICE, &n.to_string()).await.unwrap();
    }
    assert_eq!(receiver.next().await.text(), "pertama");
    for n in 0..5 {
        assert_eq!(receiver.next().await.text(), n.to_string());
    }
    drop(_held);
    drop(silent);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_refused_is_tried_again_beside_the_others_and_on_request() {
    let (office, _session) = Office::paired_with(near).await;
    let refusals = Arc::new(Mutex::new(3));
    let left = Arc::clone(&refusals);
    let mut receiver = Receiver::start(move |call| {
        let mut left = left.lock().unwrap();
        if call.text() == "sulit" && *left > 0 {
            *left -= 1;
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
        StatusCode::NO_CONTENT.into_response()
    })
    .await;
    let (id, _) = hook(&office, json!({"url": receiver.url(), "events": ["message"]})).await;
    for text in ["sulit", "mudah"] {
        office.sim.send_text(CUSTOMER, OFFICE, text).await.unwrap();
    }
    let mut tries = Vec::new();
    let mut event = String::new();
    while *refusals.lock().unwrap() > 0 || tries.iter().filter(|t| *t == "sulit").count() < 4 {
        let call = receiver.next().await;
        if call.text() == "sulit" {
            event = call.header("x-kurir-delivery").to_owned();
            let before = tries.iter().filter(|t| *t == "sulit").count();
            assert_eq!(call.header("x-kurir-attempt"), (before + 1).to_string());
        }
        tries.push(call.text());
    }
    assert!(tries.iter().position(|t| t == "mudah").unwrap() < tries.len() - 1, "{tries:?}");
    let path = format!("/api/v1/webhooks/{id}");
    let again = office.call("POST", &format!("{path}/replay"), Some(json!({"event": event}))).await;
    assert_eq!(again.status, 200, "{again:?}");
    assert_eq!(receiver.next().await.header("x-kurir-delivery"), event);
    let again = office.call("POST", &format!("{path}/replay"), Some(json!({"from_seq": 1}))).await;
    assert_eq!(again.status, 200);
    assert_eq!([receiver.next().await.text(), receiver.next().await.text()], ["sulit", "mudah"]);
    let log = office.call("GET", &format!("{path}/deliveries"), None).await.json();
    let log = log["deliveries"].as_array().unwrap();
    let failed = log.iter().filter(|a| a["status"] == 500 && a["result"] == "retry").count();
    assert_eq!(failed, 3, "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fonnte_and_mpwa_receivers_get_their_formats_and_mpwas_answer_is_sent() {
    let (office, session) = Office::paired_with(near).await;
    let mut fonnte = Receiver::start(ok).await;
    hook(&office, json!({"url": fonnte.url(), "format": "fonnte", "events": ["message", "receipt"]})).await;
    let picture = {
        let mut bytes = Vec::new();
        let mut png = png::Encoder::new(&mut bytes, 2, 2);
        png.set_color(png::ColorType::Grayscale);
        png.write_header().unwrap().write_image_data(&[0, 80, 160, 255]).unwrap();
        bytes
    };
    let served = picture.clone();
    let files =
        Receiver::start(move |_| ([("content-type", "image/png")], served.clone()).into_response()).await;
    let image_url = format!("http://{}/menu.png", files.address);
    let mut mpwa = Receiver::start(move |call| match call.json()["message"].as_str() {
        Some("menu") => {
            axum::Json(json!({"type": "image", "url": image_url, "caption": "Menu hari ini"})).into_response()
        }
        Some("harga") => axum::Json(json!({"text": "Rp 10.000", "quoted": true})).into_response(),
        _ => "ok".into_response(),
    })
    .await;
    hook(&office, json!({"url": mpwa.url(), "format": "mpwa", "session": session.id()})).await;

    office.sim.send_text(CUSTOMER, OFFICE, "harga").await.unwrap();
    let body = fonnte.next().await.json();
    assert_eq!((body["device"].as_str(), body["sender"].as_str()), (Some(OFFICE), Some(CUSTOMER)));
    assert_eq!((body["message"].as_str(), body["member"].as_str()), (Some("harga"), Some("")));
    let body = mpwa.next().await.json();
    assert_eq!((body["from"].as_str(), body["device"].as_str()), (Some(CUSTOMER), Some(OFFICE)));
    let inbox = office.sim.inbox(CUSTOMER, 1, PATIENCE).await.unwrap();
    assert_eq!(inbox[0].text.as_deref(), Some("Rp 10.000"));
    assert_eq!(inbox[0].quoted.as_deref(), body["msgid"].as_str());
    let status = fonnte.next().await.json();
    let message = office.gateway.outbox().find(&inbox[0].id).unwrap().unwrap();
    assert_eq!(status["id"], message.seq.to_string());
    assert_eq!(
        (status["stateid"].as_str(), status["state"].as_str()),
        (Some(inbox[0].id.as_str()), Some("delivered"))
    );

    office.sim.send_text(CUSTOMER, OFFICE, "menu").await.unwrap();
    let inbox = office.sim.inbox(CUSTOMER, 2, PATIENCE).await.unwrap();
    assert_eq!((inbox[1].kind.clone(), inbox[1].caption.as_deref()), ("image".into(), Some("Menu hari ini")));
    assert_eq!(office.sim.media(CUSTOMER, &inbox[1].id).await.unwrap(), picture);
    office.assert_no_violations();
}

fn image(data: &'static [u8]) -> OutgoingMedia {
    OutgoingMedia {
        kind: OutgoingKind::Image,
        mime: "image/jpeg".into(),
        data: Bytes::from_static(data),
        caption: Some("bukti".into()),
        filename: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_received_file_is_fetched_through_its_link_by_key_and_by_nobody_else() {
    let (office, _session) = Office::paired_with(|config| {
        near(config);
        config.received_media_bytes = 100;
    })
    .await;
    let mut receiver = Receiver::start(ok).await;
    hook(&office, json!({"url": receiver.url(), "events": ["media"]})).await;
    office.sim.send_media(CUSTOMER, OFFICE, image(b"bukan gambar")).await.unwrap();
    let body = receiver.next().await.json();
    let link = body["data"]["media"]["url"].as_str().unwrap().to_owned();
    let address = office.gateway.address();
    for _ in 0..2 {
        let answer = request(address, "GET", &link, &[], "").await.unwrap();
        assert_eq!((answer.status, &answer.body[..]), (200, &b"bukan gambar"[..]));
        assert_eq!(answer.headers["content-type"], "image/jpeg");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    }
    let (path, _) = link.split_once('?').unwrap();
    assert_eq!(office.call("GET", path, None).await.body, b"bukan gambar"[..]);
    let bare = request(address, "GET", path, &[], "").await.unwrap();
    assert_eq!(bare.status, 401);
    let forged = request(address, "GET", &link.replace("sig=", "sig=0"), &[], "").await.unwrap();
    assert_eq!(forged.status, 401);
    let stranger = office.gateway.keys().create("other", "other", false).await.unwrap();
    let answer = request(address, "GET", path, &[("x-api-key", &stranger)], "").await.unwrap();
    assert_eq!(answer.status, 403);
    // Larger than all received files together may be.
    office.sim.send_media(CUSTOMER, OFFICE, image(&[7; 200])).await.unwrap();
    let body = receiver.next().await.json();
    let link = body["data"]["media"]["url"].as_str().unwrap().to_owned();
    assert_eq!(request(address, "GET", &link, &[], "").await.unwrap().status, 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_inside_the_network_needs_the_owners_permission() {
    let office = Office::open().await;
    for url in ["http://127.0.0.1:9/", "http://192.168.1.1/admin", "http://[::1]/", "ftp://x/", "nonsense"] {
        let answer = office.call("POST", "/api/v1/webhooks", Some(json!({"url": url}))).await;
        assert_eq!(answer.status, 400, "{url}");
    }
    for body in [
        json!({}),
        json!({"url": 5}),
        json!({"url": "http://example.com/", "events": ["nope"]}),
        json!({"url": "http://example.com/", "format": "xml"}),
        json!({"url": "http://example.com/", "timeout_s": 0}),
    ] {
        let answer = office.call("POST", "/api/v1/webhooks", Some(body.clone())).await;
        assert_eq!(answer.status, 400, "{body}");
    }
    assert_eq!(office.call("GET", "/api/v1/webhooks", None).await.json()["webhooks"], json!([]));
}

/// The gateway as its own process, killed and not closed.
async fn process(folder: &std::path::Path, sim: &whatsapp_sim::Sim) -> (tokio::process::Child, SocketAddr) {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_kurir"))
        .arg("serve")
        .env("KURIR_DATA_DIR", folder)
        .env("KURIR_LISTEN", "127.0.0.1:0")
        .env("KURIR_WHATSAPP_URL", sim.ws_url())
        .env("KURIR_ADMIN_KEY", "webhook-test-admin-key")
        .env("KURIR_ALLOW_PRIVATE_FETCH", "127.0.0.0/8")
        .env("KURIR_WEBHOOK_RETRY_MS", "20")
        .env("KURIR_LOG", "warn")
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = loop {
        let line = lines.next_line().await.unwrap().expect("the gateway ended before it listened");
        if let Some((_, address)) = line.split_once("http://") {
            break address.parse().unwrap();
        }
    };
    // Something has to read on, or the process blocks on a full pipe.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (child, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_the_journal_and_the_receiver_costs_a_repetition_and_no_event() {
    let sim = whatsapp_sim::Sim::start(whatsapp_sim::SimConfig::default()).await.unwrap();
    sim.add_phone(OFFICE, "Kantor").await.unwrap();
    sim.add_phone(CUSTOMER, "Ibu Sari").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let key = [("x-api-key", "webhook-test-admin-key"), ("content-type", "application/json")];
    let (mut child, address) = process(folder.path(), &sim).await;
    let list = request(address, "GET", "/api/sessions?list=1", &key, "").await.unwrap().json();
    let id = list["sessions"][0]["id"].as_str().unwrap().to_owned();
    let qr = request(address, "GET", &format!("/api/sessions/{id}/qr"), &key, "").await.unwrap().json();
    sim.scan(OFFICE, qr["qr"].as_str().unwrap()).await.unwrap();

    // A receiver that takes the call and does not answer: the journal has the event, the cursor does not.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let receiver_address = silent.local_addr().unwrap();
    let body = json!({"url": format!("http://{receiver_address}/"), "events": ["message"], "timeout_s": 60});
    let made = request(address, "POST", "/api/v1/webhooks", &key, body.to_string()).await.unwrap();
    assert_eq!(made.status, 201, "{made:?}");
    for n in 0..3 {
        sim.send_text(CUSTOMER, OFFICE, &n.to_string()).await.unwrap();
    }
    let (call, _) = tokio::time::timeout(PATIENCE, silent.accept()).await.unwrap().unwrap();
    call.readable().await.unwrap();
    child.kill().await.unwrap();
    drop((call, silent));
    // Sent while nobody is there.
    sim.send_text(CUSTOMER, OFFICE, "3").await.unwrap();
    let mut receiver = Receiver::at(receiver_address, ok).await;
    let (_child, _) = process(folder.path(), &sim).await;
    let mut got = Vec::new();
    let mut ids = std::collections::HashSet::new();
    for _ in 0..4 {
        let call = receiver.next().await;
        assert!(ids.insert(call.header("x-kurir-delivery").to_owned()), "delivered twice after the start");
        got.push(call);
    }
    let texts: Vec<String> = got.iter().map(Call::text).collect();
    assert_eq!(texts, ["0", "1", "2", "3"]);
    assert_eq!(got[3].json()["offline"], true);
}
