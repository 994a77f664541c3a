//! Dialect 2, `fonnte` and `waapi`: every request of the document and the rest of Fonnte's API, and what the far phone
//! shows then.

use crate::support::files::{form, multipart, sample, serve_samples};
use crate::support::{Answer, CUSTOMER, NOBODY, OFFICE, Office, PATIENCE, request, wait_for};
use kurir::api::keys::KeyRules;
use kurir::outbox::Progress;
use kurir::session::{Session, Status};
use serde_json::{Value, json};
use whatsapp_sim::inbox::InboxItem;

const OTHER: &str = "6281200000003";

/// An office with a device token.
struct Desk {
    office: Office,
    session: Session,
    token: String,
}

impl Desk {
    async fn open() -> Desk {
        let (office, session) =
            Office::paired_with(|config| config.allow_private_fetch = vec!["127.0.0.0/8".parse().unwrap()])
                .await;
        office.sim.add_phone(OTHER, "Pak Budi").await.unwrap();
        let token = office.token(&session).await;
        Desk { office, session, token }
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        let headers = [("authorization", self.token.as_str()), ("content-type", "application/json")];
        request(self.office.gateway.address(), "POST", path, &headers, body.to_string()).await.unwrap()
    }

    async fn bearer(&self, method: &str, path: &str, body: Value) -> Answer {
        let bearer = format!("Bearer {}", self.token);
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let body = if method == "GET" { String::new() } else { body.to_string() };
        request(self.office.gateway.address(), method, path, &headers, body).await.unwrap()
    }

    /// Accepted by `/send`; the ids.
    async fn send(&self, body: Value) -> Vec<u64> {
        let answer = self.post("/send", body.clone()).await;
        assert_eq!(answer.status, 200, "{body}: {answer:?}");
        ids(&answer.json())
    }

    async fn arrived(&self, number: &str, count: usize) -> Vec<InboxItem> {
        let inbox = self.office.sim.inbox(number, count, PATIENCE).await.unwrap();
        assert_eq!(inbox.len(), count, "{inbox:#?}");
        inbox
    }

    fn progress(&self, seq: u64) -> Progress {
        self.office.gateway.outbox().find_seq(seq).unwrap().unwrap().progress
    }
}

fn ids(answer: &Value) -> Vec<u64> {
    answer["id"].as_array().unwrap().iter().map(|id| id.as_str().unwrap().parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn send_in_every_form_answers_what_both_kinds_of_client_read() {
    let desk = Desk::open().await;
    let address = desk.office.gateway.address();
    let fields = form(&[("target", CUSTOMER), ("message", "halo")]);
    let token = desk.token.as_str();
    let bearer = format!("Bearer {token}");
    let urlencoded = "application/x-www-form-urlencoded";
    let query = format!("/send?token={token}&{fields}");
    let json = json!({"to": CUSTOMER, "message": "halo"}).to_string();
    let parts = multipart(&[("target", CUSTOMER), ("message", "halo")], None);
    let answers = [
        request(
            address,
            "POST",
            "/send",
            &[("authorization", token), ("content-type", "application/json")],
            json,
        )
        .await,
        request(
            address,
            "POST",
            "/send",
            &[("authorization", &bearer), ("content-type", urlencoded)],
            fields,
        )
        .await,
        request(
            address,
            "POST",
            "/send",
            &[("authorization", token), ("content-type", "multipart/form-data; boundary=B")],
            parts,
        )
        .await,
        request(address, "GET", &query, &[], "").await,
    ];
    for answer in answers {
        let answer = answer.unwrap();
        let json = answer.json();
        assert_eq!((answer.status, &json["status"]), (200, &json!(true)), "{json}");
        assert_eq!(json["reason"], "Message sent successfully");
        assert_eq!(
            (&json["detail"], &json["process"]),
            (&json!("success! message in queue"), &json!("pending"))
        );
        assert_eq!(json["target"], json!([CUSTOMER]));
        assert!(ids(&json).len() == 1 && json["requestid"].is_i64(), "{json}");
    }
    for got in desk.arrived(CUSTOMER, 4).await {
        assert_eq!((got.kind.as_str(), got.text.as_deref()), ("text", Some("halo")));
    }
    desk.office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_with_variables_groups_and_a_country_code() {
    let desk = Desk::open().await;
    let members = [OFFICE.to_owned()];
    let group = desk.office.sim.create_group("Toko", OTHER, &members).await.unwrap();
    let body = json!({"target": format!("081200000002|Fonnte|Admin, {OTHER}|Lili|User,{group}"),
        "message": "test message to {name} as {var1}", "delay": "0"});
    let ids = desk.send(body).await;
    assert_eq!(ids.len(), 3);
    assert_eq!(desk.arrived(CUSTOMER, 1).await[0].text.as_deref(), Some("test message to Fonnte as Admin"));
    let got = desk.arrived(OTHER, 2).await;
    let texts: Vec<_> = got.iter().map(|item| item.text.as_deref().unwrap()).collect();
    assert!(
        texts.contains(&"test message to Lili as User")
            && texts.contains(&"test message to {name} as {var1}"),
        "{texts:?}"
    );
    let answer = desk.post("/send", json!({"target": "0812", "message": "a", "countryCode": "0"})).await;
    assert_eq!(answer.status, 400, "without a country code it is too short: {answer:?}");
    desk.send(json!({"target": "0200000002", "message": "kode", "countryCode": "6281"})).await;
    assert_eq!(desk.arrived(CUSTOMER, 2).await[1].text.as_deref(), Some("kode"));
}

#[tokio::test(flavor = "multi_thread")]
async fn files_by_url_and_by_upload_with_a_name() {
    let desk = Desk::open().await;
    let address = serve_samples(&["a.pdf", "foto.png"]).await;
    desk.send(json!({"target": CUSTOMER, "message": "gambar", "url": format!("http://{address}/foto.png")}))
        .await;
    let got = desk.arrived(CUSTOMER, 1).await.pop().unwrap();
    assert_eq!((got.kind.as_str(), got.caption.as_deref()), ("image", Some("gambar")));
    let url = format!("http://{address}/a.pdf");
    desk.send(json!({"target": format!("{CUSTOMER},{OTHER}"), "message": "faktur", "url": url, "filename": "../Faktur 1"})).await;
    for (number, count) in [(CUSTOMER, 2), (OTHER, 1)] {
        let got = desk.arrived(number, count).await.pop().unwrap();
        assert_eq!(
            (got.kind.as_str(), got.filename.as_deref(), got.caption.as_deref()),
            ("document", Some("Faktur 1.pdf"), Some("faktur"))
        );
    }
    let headers =
        [("authorization", desk.token.as_str()), ("content-type", "multipart/form-data; boundary=B")];
    let file = sample("foto.png");
    let body = multipart(&[("target", CUSTOMER), ("message", "unggah")], Some(("file", "lokal.png", &file)));
    let answer = request(desk.office.gateway.address(), "POST", "/send", &headers, body).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let got = desk.arrived(CUSTOMER, 3).await.pop().unwrap();
    assert_eq!((got.kind.as_str(), got.caption.as_deref()), ("image", Some("unggah")));
    assert_eq!(desk.office.sim.media(CUSTOMER, &got.id).await.unwrap(), file);
    desk.office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_places_quotes_and_typing() {
    let desk = Desk::open().await;
    desk.send(
        json!({"target": CUSTOMER, "choices": "Nasi,Mie", "select": "multiple", "pollname": "Makan apa?"}),
    )
    .await;
    assert_eq!(desk.arrived(CUSTOMER, 1).await[0].text.as_deref(), Some("Makan apa?\nNasi\nMie"));
    desk.send(json!({"target": CUSTOMER, "location": "-7.983908, 112.621391"})).await;
    let place = desk.arrived(CUSTOMER, 2).await.pop().unwrap();
    assert_eq!((place.kind.as_str(), place.text.as_deref()), ("location", Some("-7.983908,112.621391")));
    let body = json!({"target": CUSTOMER, "message": "https://example.com", "inboxid": place.id, "preview": false,
        "typing": true, "duration": 1, "buttonJSON": "{}", "templateJSON": "{}", "listJSON": "{}"});
    desk.send(body).await;
    let reply = desk.arrived(CUSTOMER, 3).await.pop().unwrap();
    assert_eq!((reply.text.as_deref(), reply.quoted), (Some("https://example.com"), Some(place.id)));
    let typing = desk.office.sim.typing(CUSTOMER).await.unwrap();
    assert!(typing.iter().any(|t| t.state == "composing" && t.from == OFFICE), "{typing:?}");
    desk.office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_received_message_is_answered_by_its_number_and_its_author_is_no_stranger() {
    let (office, session) = Office::paired_with(|config| config.stranger_daily_cap = 1).await;
    let token = office.token(&session).await;
    let desk = Desk { office, session, token };
    let mut head = desk.office.gateway.inbox().head();
    let asked = desk.office.sim.send_text(CUSTOMER, OFFICE, "ada stok?").await.unwrap();
    let found = |seq: u64| {
        let event = desk.office.gateway.inbox().get(seq).unwrap()?;
        match event.body {
            kurir::inbox::Body::Message(message) if message.message_id == asked => Some(seq),
            _ => None,
        }
    };
    let wait = async {
        loop {
            let newest = desk.office.gateway.inbox().newest().unwrap();
            if let Some(seq) = (0..=newest).find_map(found) {
                return seq;
            }
            head.changed().await.unwrap();
        }
    };
    let inboxid = tokio::time::timeout(PATIENCE, wait).await.unwrap();
    // Three to somebody who wrote to us, though one a day to strangers is allowed.
    for text in ["ada", "masih", "banyak"] {
        desk.send(json!({"target": CUSTOMER, "message": text, "inboxid": inboxid})).await;
    }
    for got in desk.arrived(CUSTOMER, 3).await {
        assert_eq!(got.quoted.as_deref(), Some(asked.as_str()), "{got:?}");
    }
    let unknown = desk.post("/send", json!({"target": CUSTOMER, "message": "a", "inboxid": 999_999})).await;
    assert!(
        unknown.status == 400 && unknown.json()["reason"].as_str().unwrap().contains("inboxid"),
        "{unknown:?}"
    );
    desk.office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn scheduled_messages_wait_survive_a_restart_and_can_be_deleted() {
    let desk = Desk::open().await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let tomorrow = now.as_secs() + 24 * 3600;
    let later = desk.send(json!({"target": CUSTOMER, "message": "besok", "schedule": tomorrow})).await[0];
    let soon = desk.send(json!({"target": CUSTOMER, "message": "sebentar lagi", "followup": 2})).await[0];
    let now = desk.send(json!({"target": CUSTOMER, "message": "sekarang"})).await[0];
    // On a machine that is busy enough the other one may have come by now, after it.
    let got = desk.office.sim.inbox(CUSTOMER, 1, PATIENCE).await.unwrap();
    assert_eq!(got[0].text.as_deref(), Some("sekarang"));
    let status = |id: u64| desk.post("/status", json!({"id": id}));
    let waiting = status(later).await.json();
    assert_eq!(
        (&waiting["status"], &waiting["id"], &waiting["message_status"]),
        (&json!(true), &json!(later), &json!("waiting"))
    );
    assert_eq!(desk.post("/delete-message", json!({"id": now})).await.status, 409);
    let deleted = desk.post("/delete-message", json!({"id": later})).await.json();
    assert_eq!(deleted, json!({"status": true, "detail": format!("message {later} successfully deleted")}));
    assert_eq!(status(later).await.json()["message_status"], "invalid");
    assert_eq!(desk.post("/status", json!({"id": 999_999})).await.json()["reason"], "invalid message id");
    let token = desk.token.clone();
    let office = desk.office.restart().await;
    let session = office.gateway.registry().list().pop().unwrap();
    let desk = Desk { office, session, token };
    assert_eq!(desk.arrived(CUSTOMER, 2).await[1].text.as_deref(), Some("sebentar lagi"));
    let message = desk.office.gateway.outbox().find_seq(soon).unwrap().unwrap();
    desk.office.reached(&message.id, Progress::Sent).await;
    assert_eq!(desk.progress(later), Progress::Failed);
    assert_eq!(desk.office.gateway.outbox().depth(desk.session.no()), 0);
    assert_eq!(desk.post("/status", json!({"id": soon})).await.json()["message_status"], "sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn data_is_many_requests_and_a_sequence_is_in_order() {
    let desk = Desk::open().await;
    let data = json!([
        {"target": CUSTOMER, "message": "satu"},
        {"target": OTHER, "message": "dua", "delay": "0"},
    ]);
    assert_eq!(desk.send(json!({"data": data.to_string()})).await.len(), 2);
    assert_eq!(desk.arrived(CUSTOMER, 1).await[0].text.as_deref(), Some("satu"));
    assert_eq!(desk.arrived(OTHER, 1).await[0].text.as_deref(), Some("dua"));
    let ids = desk.send(json!({"target": format!("{CUSTOMER},{OTHER}"), "message": "urut", "sequence": true, "delay": "1"})).await;
    let mut sent = Vec::new();
    for seq in ids {
        let id = desk.office.gateway.outbox().find_seq(seq).unwrap().unwrap().id;
        let message = desk.office.reached(&id, Progress::Sent).await;
        sent.push(message.sent_at_ms.unwrap() - message.accepted_at_ms);
    }
    assert!(sent[0] < sent[1] && sent[1] >= 1000, "milliseconds after both were taken: {sent:?}");
    let bad = json!({"data": [{"target": CUSTOMER, "message": "a"}, {"target": "x", "message": "b"}]});
    assert_eq!(desk.post("/send", bad).await.status, 400);
    assert_eq!(desk.office.gateway.outbox().depth(desk.session.no()), 0, "none of it was accepted");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offline_device_is_refused_unless_asked_otherwise() {
    let desk = Desk::open().await;
    desk.office.sim.fault(serde_json::from_value(json!({"kind": "refuse"})).unwrap());
    desk.office.sim.fault(serde_json::from_value(json!({"kind": "drop"})).unwrap());
    wait_for(&desk.session, |s| s.status == Status::Connecting).await;
    let refused = desk.post("/send", json!({"target": CUSTOMER, "message": "a"})).await;
    assert_eq!((refused.status, refused.json()["status"].clone()), (503, json!(false)));
    let refused = desk.bearer("POST", "/api/send-message", json!({"to": CUSTOMER, "message": "a"})).await;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.json(), json!({"error": "Failed to send message: Device is not connected"}));
    let groups =
        desk.bearer("GET", &format!("/api/devices/{}/wa-groups", desk.session.id()), Value::Null).await;
    assert_eq!(
        (groups.status, groups.json()),
        (503, json!({"error": "Device is not connected or session not active"}))
    );
    desk.send(json!({"target": CUSTOMER, "message": "nanti", "connectOnly": "false"})).await;
    desk.office.sim.clear_faults();
    desk.session.reconnect().await;
    assert_eq!(desk.arrived(CUSTOMER, 1).await[0].text.as_deref(), Some("nanti"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_of_fonntes_api() {
    let desk = Desk::open().await;
    let device = desk.post("/device", json!({})).await.json();
    assert_eq!(
        (&device["device"], &device["device_status"], &device["status"]),
        (&json!(OFFICE), &json!("connect"), &json!(true))
    );
    assert!(
        ["expired", "messages", "name", "package", "quota"].iter().all(|field| !device[field].is_null()),
        "{device}"
    );
    let devices = desk.post("/get-devices", json!({})).await.json();
    assert_eq!(
        (&devices["connected"], &devices["devices"], &devices["data"][0]["status"]),
        (&json!(1), &json!(1), &json!("connect"))
    );
    let valid = desk
        .post("/validate", json!({"target": format!("{CUSTOMER},{NOBODY}, x"), "countryCode": "62"}))
        .await
        .json();
    assert_eq!(valid, json!({"status": true, "registered": [CUSTOMER], "not_registered": [NOBODY, "x"]}));
    let group = desk.office.sim.create_group("Toko", OTHER, &[OFFICE.to_owned()]).await.unwrap();
    let fetched = desk.post("/fetch-group", json!({})).await.json();
    assert_eq!(fetched, json!({"status": true, "detail": "update whatsapp group list finished"}));
    let groups = desk.post("/get-whatsapp-group", json!({})).await.json();
    assert_eq!(groups, json!({"status": true, "data": [{"id": group, "name": "Toko"}]}));
    let typing = desk.post("/typing", json!({"target": CUSTOMER})).await;
    assert_eq!((typing.status, typing.json()["status"].clone()), (200, json!(true)));
    assert_eq!(desk.post("/typing", json!({"target": CUSTOMER, "stop": true})).await.status, 200);
    let already = desk.post("/qr", json!({"type": "qr"})).await.json();
    assert_eq!(already, json!({"status": false, "reason": "device already connect"}));
    let out = desk.post("/disconnect", json!({})).await.json();
    assert_eq!(out, json!({"status": true, "detail": "device disconnected"}));
    wait_for(&desk.session, |s| !s.paired && s.qr.is_some()).await;
    let out = desk.post("/disconnect", json!({})).await.json();
    assert_eq!(out, json!({"status": false, "detail": "device already disconnected"}));
    let picture = desk.post("/qr", json!({"type": "qr"})).await.json();
    assert!(picture["url"].as_str().unwrap().starts_with("iVBORw0KGgo"), "{picture}");
    let code = desk.post("/qr", json!({"type": "code", "whatsapp": OFFICE})).await.json();
    assert_eq!(code["code"].as_str().map(str::len), Some(8), "{code}");
    desk.office.sim.pair_code(OFFICE, code["code"].as_str().unwrap()).await.unwrap();
    wait_for(&desk.session, |s| s.status == Status::Connected).await;
    desk.office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn waapi_as_in_the_document() {
    let desk = Desk::open().await;
    let answer =
        desk.bearer("POST", "/api/send-message", json!({"to": CUSTOMER, "message": "terstruktur"})).await;
    let json = answer.json();
    let got = desk.arrived(CUSTOMER, 1).await.pop().unwrap();
    assert_eq!(got.text.as_deref(), Some("terstruktur"));
    assert_eq!(
        (answer.status, &json),
        (
            200,
            &json!({"success": true, "message": "Message dispatched successfully", "id": got.id, "to": CUSTOMER,
            "timestamp": json["timestamp"]})
        )
    );
    assert!(json["timestamp"].as_i64().unwrap() > 1_600_000_000);
    let address = serve_samples(&["600x400.png", "film.mp4", "a.pdf"]).await;
    let url = |name: &str| format!("http://{address}/{name}");
    for (index, (body, kind)) in [
        (json!({"to": CUSTOMER, "url": url("600x400.png"), "caption": "lihat"}), "image"),
        (json!({"to": CUSTOMER, "url": url("film.mp4"), "type": "video"}), "video"),
        (json!({"to": CUSTOMER, "url": url("a.pdf"), "type": "document"}), "document"),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = desk.bearer("POST", "/api/send-media", body).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let got = desk.arrived(CUSTOMER, index + 2).await.pop().unwrap();
        let json = answer.json();
        assert_eq!((got.kind.as_str(), json!(got.id)), (kind, json["id"].clone()));
        assert_eq!(json["message"], format!("{kind} message dispatched successfully"));
        desk.office.reached(&got.id, Progress::Sent).await;
    }
    let wrong = desk
        .bearer("POST", "/api/send-media", json!({"to": CUSTOMER, "url": url("a.pdf"), "type": "audio"}))
        .await;
    assert_eq!(wrong.status, 400);
    assert_eq!(wrong.json(), json!({"error": "Unsupported media type. Use: 'image', 'video', 'document'"}));
    let group = desk.office.sim.create_group("Family Group", OTHER, &[OFFICE.to_owned()]).await.unwrap();
    let groups =
        desk.bearer("GET", &format!("/api/devices/{}/wa-groups", desk.session.id()), Value::Null).await;
    assert_eq!(groups.json(), json!({"success": true, "groups": [{"id": group, "name": "Family Group"}]}));
    let status = desk.bearer("GET", "/api/status", Value::Null).await.json();
    let device = &status["devices"][0];
    assert_eq!(
        (&status["publicUrl"], &device["id"], &device["status"]),
        (&Value::Null, &json!(desk.session.id()), &json!("CONNECTED"))
    );
    assert_eq!(
        (&device["authenticated"], &device["hasQr"], &device["qr"]),
        (&json!(true), &json!(false), &Value::Null)
    );
    assert_eq!((&device["phoneNumber"], &device["totalMessagesSent"]), (&json!(OFFICE), &json!(4)));
    for field in ["name", "apiKey", "webhookUrl", "pushName"] {
        assert!(device[field].is_string(), "{field}: {device}");
    }
    desk.office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_accounts_of_others_and_for_clients_that_want_200() {
    let desk = Desk::open().await;
    let address = desk.office.gateway.address();
    let send = |key: String, body: Value| async move {
        request(address, "POST", "/send", &[("authorization", key.as_str())], body.to_string()).await.unwrap()
    };
    let body = json!({"target": CUSTOMER, "message": "a"});
    for key in ["", "wrong", "Bearer wrong"] {
        let answer = send(key.into(), body.clone()).await;
        let json = answer.json();
        assert_eq!((answer.status, &json["status"], &json["Status"]), (401, &json!(false), &json!(false)));
        assert_eq!(json["reason"], "Unauthorized: Invalid API Key.");
    }
    let invalid = request(address, "POST", "/device", &[("authorization", "wrong")], "").await.unwrap();
    assert_eq!((invalid.status, invalid.json()["reason"].clone()), (401, json!("token invalid")));
    assert_eq!(send(desk.office.key.clone(), body.clone()).await.status, 200, "the account's only device");
    let second = desk.office.gateway.registry().create("Gudang", "main").await.unwrap();
    assert_eq!(send(desk.office.key.clone(), body.clone()).await.status, 400, "which one of two?");
    let mut named = body.clone();
    named["device"] = json!(OFFICE);
    assert_eq!(send(desk.office.key.clone(), named).await.status, 200);
    let clinic = desk.office.gateway.keys().create("clinic", "clinic", false).await.unwrap();
    let mut foreign = body.clone();
    foreign["device"] = json!(second.id());
    assert_eq!(send(clinic, foreign).await.status, 403);
    let rules = KeyRules {
        session: Some(desk.session.id().to_owned()),
        fonnte_always_200: true,
        ..KeyRules::default()
    };
    let lenient = desk.office.gateway.keys().create_with("legacy", "main", false, rules).await.unwrap();
    let answer = send(lenient.clone(), json!({"target": "x", "message": "a"})).await;
    assert_eq!((answer.status, answer.json()["status"].clone()), (200, json!(false)));
    assert_eq!(send(lenient, body).await.json()["status"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_gets_this_dialects_error() {
    let desk = Desk::open().await;
    for (path, body, word) in [
        ("/send", json!({}), "target"),
        ("/send", json!({"target": CUSTOMER}), "message"),
        ("/send", json!({"target": [1], "message": "a"}), "target"),
        ("/send", json!({"target": NOBODY, "message": "a"}), "registered"),
        ("/send", json!({"target": CUSTOMER, "message": [1]}), "message"),
        ("/send", json!({"target": CUSTOMER, "message": "x".repeat(60_001)}), "message"),
        ("/send", json!({"target": CUSTOMER, "message": "a", "schedule": "besok"}), "schedule"),
        ("/send", json!({"target": CUSTOMER, "message": "a", "schedule": 99_999_999_999i64}), "schedule"),
        ("/send", json!({"target": CUSTOMER, "message": "a", "delay": "lama"}), "delay"),
        ("/send", json!({"target": CUSTOMER, "message": "a", "followup": "x"}), "followup"),
        ("/send", json!({"target": CUSTOMER, "message": "a", "typing": "x"}), "typing"),
        ("/send", json!({"target": CUSTOMER, "message": "a", "typing": true, "duration": 9999}), "duration"),
        ("/send", json!({"target": CUSTOMER, "message": "a", "countryCode": "abc"}), "countryCode"),
        ("/send", json!({"target": CUSTOMER, "message": "a", "connectOnly": "x"}), "connectOnly"),
        ("/send", json!({"target": CUSTOMER, "message": "a", "preview": "x"}), "preview"),
        ("/send", json!({"target": CUSTOMER, "message": "a", "sequence": "x"}), "sequence"),
        ("/send", json!({"target": CUSTOMER, "location": "sini"}), "location"),
        ("/send", json!({"target": CUSTOMER, "location": "91,0"}), "location"),
        ("/send", json!({"target": CUSTOMER, "message": "a", "choices": "satu"}), "choices"),
        ("/send", json!({"target": CUSTOMER, "message": "a", "choices": "a,b", "select": "x"}), "select"),
        ("/send", json!({"target": CUSTOMER, "url": "file:///etc/passwd"}), ""),
        ("/send", json!({"data": "x"}), "data"),
        ("/send", json!({"data": [1]}), "data"),
        ("/validate", json!({}), "target"),
        ("/qr", json!({"type": "x"}), ""),
        ("/status", json!({}), "id"),
        ("/status", json!({"id": "x"}), "id"),
        ("/delete-message", json!({"id": -1}), "id"),
        ("/typing", json!({"target": "x"}), "target"),
        ("/typing", json!({"target": CUSTOMER, "duration": -1}), "duration"),
    ] {
        let answer = desk.post(path, body.clone()).await;
        let json = answer.json();
        let shown: String = body.to_string().chars().take(100).collect();
        let expected = if path == "/qr" { 200..201 } else { 400..500 };
        assert!(expected.contains(&answer.status), "{path} {shown}: {answer:?}");
        let reason = json["reason"].as_str().unwrap_or_default();
        assert!(json["status"] == false && reason.contains(word), "{path} {shown}: {json}");
    }
    for body in [
        json!({}),
        json!({"to": CUSTOMER}),
        json!({"to": [1], "message": "a"}),
        json!({"to": "x", "message": "a"}),
    ] {
        let answer = desk.bearer("POST", "/api/send-message", body.clone()).await;
        assert!(
            (400..500).contains(&answer.status) && answer.json()["error"].is_string(),
            "{body}: {answer:?}"
        );
    }
    for path in ["/api/devices/nope/wa-groups", "/api/devices/%ff/wa-groups"] {
        assert_eq!(desk.bearer("GET", path, Value::Null).await.status, 404);
    }
    assert_eq!(desk.office.gateway.outbox().depth(desk.session.no()), 0, "nothing of it was accepted");
    // And nothing has come before what is sent now.
    desk.send(json!({"target": CUSTOMER, "message": "yang benar"})).await;
    assert_eq!(desk.arrived(CUSTOMER, 1).await[0].text.as_deref(), Some("yang benar"));
}
