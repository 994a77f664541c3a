//! Dialect 1, `mpwa`: every request of its documents in every form, and what the far phone shows then.

use crate::support::files::{form, multipart, sample, serve_samples};
use crate::support::{Answer, CUSTOMER, NOBODY, OFFICE, Office, PATIENCE, request, wait_for};
use axum::body::Bytes;
use kurir::session::Status;
use serde_json::{Value, json};
use whatsapp_sim::inbox::InboxItem;

const SENT: &str = "Message sent successfully!";

/// The four forms in which the same parameters may come.
async fn in_every_form(office: &Office, path: &str, fields: &[(&str, &str)]) -> Vec<Answer> {
    let address = office.gateway.address();
    let object: serde_json::Map<String, Value> =
        fields.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    let by_get = request(address, "GET", &format!("{path}?{}", form(fields)), &[], "").await.unwrap();
    let by_json = office.post(path, Value::Object(object)).await;
    let urlencoded = [("content-type", "application/x-www-form-urlencoded")];
    let by_form = request(address, "POST", path, &urlencoded, form(fields)).await.unwrap();
    let headers = [("content-type", "multipart/form-data; boundary=B")];
    let by_multipart = request(address, "POST", path, &headers, multipart(fields, None)).await.unwrap();
    vec![by_get, by_json, by_form, by_multipart]
}

async fn arrived(office: &Office, count: usize) -> Vec<InboxItem> {
    let inbox = office.sim.inbox(CUSTOMER, count, PATIENCE).await.unwrap();
    assert_eq!(inbox.len(), count, "{inbox:#?}");
    inbox
}

async fn with_files() -> (Office, kurir::session::Session) {
    Office::paired_with(|config| config.allow_private_fetch = vec!["127.0.0.0/8".parse().unwrap()]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn send_message_in_every_form() {
    let (office, _session) = Office::paired().await;
    let fields = [
        ("api_key", office.key.as_str()),
        ("sender", OFFICE),
        ("number", CUSTOMER),
        ("message", "Hello World"),
    ];
    for answer in in_every_form(&office, "/send-message", &fields).await {
        assert_eq!((answer.status, answer.json()), (200, json!({"status": true, "msg": SENT})));
    }
    for got in arrived(&office, 4).await {
        assert_eq!(
            (got.kind.as_str(), got.text.as_deref(), got.from.as_str()),
            ("text", Some("Hello World"), OFFICE)
        );
    }
    office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn send_media_in_every_form_and_of_every_type() {
    let (office, _session) = with_files().await;
    let names = [
        "image.jpg",
        "video.mp4",
        "audio.mp3",
        "voice.ogg",
        "a.pdf",
        "a.xls",
        "a.xlsx",
        "a.doc",
        "a.docx",
        "a.zip",
        "s.webp",
    ];
    let address = serve_samples(&names).await;
    let url = |name: &str| format!("http://{address}/{name}");
    let image = url("image.jpg");
    let fields = [
        ("api_key", office.key.as_str()),
        ("sender", OFFICE),
        ("number", CUSTOMER),
        ("media_type", "image"),
        ("caption", "Hello World"),
        ("url", image.as_str()),
    ];
    for answer in in_every_form(&office, "/send-media", &fields).await {
        assert_eq!((answer.status, answer.json()), (200, json!({"status": true, "msg": SENT})));
    }
    let whole = u64::try_from(sample("image.jpg").len()).unwrap();
    for got in arrived(&office, 4).await {
        assert_eq!(
            (got.kind.as_str(), got.caption.as_deref(), got.size),
            ("image", Some("Hello World"), Some(whole))
        );
    }
    let mut count = 4;
    for (name, media_type, kind) in [
        ("video.mp4", "video", "video"),
        ("audio.mp3", "audio", "audio"),
        ("a.pdf", "pdf", "document"),
        ("a.xls", "xls", "document"),
        ("a.xlsx", "xlsx", "document"),
        ("a.doc", "doc", "document"),
        ("a.docx", "docx", "document"),
        ("a.zip", "zip", "document"),
        ("image.jpg", "document", "document"),
        ("s.webp", "sticker", "sticker"),
    ] {
        let body = json!({"api_key": office.key, "sender": OFFICE, "number": CUSTOMER, "media_type": media_type, "url": url(name)});
        let answer = office.post("/send-media", body).await;
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
        count += 1;
        let got = arrived(&office, count).await.pop().unwrap();
        assert_eq!(got.kind, kind, "{name}: {got:?}");
        assert_eq!(got.size, Some(sample(name).len() as u64), "{name}");
        if kind == "document" {
            assert_eq!(got.filename.as_deref(), Some(name));
        }
        if kind == "audio" {
            assert_eq!(got.ptt, Some(false));
        }
    }
    office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_a_voice_note_arrives_as_one() {
    let (office, _session) = with_files().await;
    let address = serve_samples(&["voice.ogg"]).await;
    let body = json!({"api_key": office.key, "sender": OFFICE, "number": CUSTOMER, "media_type": "audio",
        "url": format!("http://{address}/voice.ogg"), "ppt": true});
    assert_eq!(office.post("/send-media", body).await.status, 200);
    let got = arrived(&office, 1).await.pop().unwrap();
    assert_eq!((got.kind.as_str(), got.ptt), ("audio", Some(true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_instead_of_a_file_is_refused_and_says_so() {
    let (office, session) = with_files().await;
    let address = serve_samples(&[]).await;
    let body = json!({"api_key": office.key, "sender": OFFICE, "number": CUSTOMER, "media_type": "image",
        "url": format!("http://{address}/page")});
    let answer = office.post("/send-media", body).await;
    let msg = answer.json()["msg"].as_str().unwrap().to_owned();
    assert!((400..500).contains(&answer.status) && msg.contains("direct"), "{msg}");
    assert_eq!(office.gateway.outbox().depth(session.no()), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_numbers_macros_and_a_footer() {
    let (office, _session) = Office::paired().await;
    office.sim.add_phone("6281200000003", "Pak Budi").await.unwrap();
    let body = json!({"api_key": office.key, "sender": OFFICE, "number": format!("{CUSTOMER}|081200000003"),
        "message": "{Halo|Halo} {number}", "footer": "Toko Sari"});
    assert_eq!(office.post("/send-message", body).await.json(), json!({"status": true, "msg": SENT}));
    for number in [CUSTOMER, "6281200000003"] {
        let got = office.sim.inbox(number, 1, PATIENCE).await.unwrap().pop().unwrap();
        assert_eq!(got.text, Some(format!("Halo {number}\n\n_Toko Sari_")));
    }
    let body =
        json!({"api_key": office.key, "sender": OFFICE, "number": format!("{CUSTOMER}|x"), "message": "a"});
    let answer = office.post("/send-message", body).await;
    assert_eq!(answer.status, 400, "one bad number and nothing goes out: {answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_file_goes_to_several_numbers_whole() {
    let (office, _session) = with_files().await;
    office.sim.add_phone("6281200000003", "Pak Budi").await.unwrap();
    let address = serve_samples(&["a.pdf"]).await;
    let body = json!({"api_key": office.key, "sender": OFFICE, "number": format!("{CUSTOMER}|6281200000003"),
        "media_type": "pdf", "url": format!("http://{address}/a.pdf"), "caption": "untuk {number}"});
    assert_eq!(office.post("/send-media", body).await.status, 200);
    for number in [CUSTOMER, "6281200000003"] {
        let got = office.sim.inbox(number, 1, PATIENCE).await.unwrap().pop().unwrap();
        assert_eq!((got.kind.as_str(), got.caption), ("document", Some(format!("untuk {number}"))));
        assert_eq!(office.sim.media(number, &got.id).await.unwrap(), sample("a.pdf"));
        office.reached(&got.id, kurir::outbox::Progress::Sent).await;
    }
    // The file goes with the last message that needs it; that is bookkeeping after the phones have it.
    let media = office.folder.path().join("media");
    let files =
        || std::fs::read_dir(&media).unwrap().filter_map(Result::ok).filter(|e| e.path().is_file()).count();
    let mut commits = 0;
    while files() > 0 {
        tokio::task::yield_now().await;
        commits += 1;
        assert!(commits < 1_000_000, "the file is still there");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn full_answers_with_the_message_and_msgid_quotes_it() {
    let (office, _session) = Office::paired().await;
    let body =
        json!({"api_key": office.key, "sender": OFFICE, "number": CUSTOMER, "message": "pertama", "full": 1});
    let answer = office.post("/send-message", body).await.json();
    let first = arrived(&office, 1).await.pop().unwrap();
    assert_eq!(answer["status"], true);
    assert_eq!(
        answer["data"]["key"],
        json!({"remoteJid": format!("{CUSTOMER}@s.whatsapp.net"), "fromMe": true, "id": first.id})
    );
    assert_eq!(answer["data"]["message"]["extendedTextMessage"]["text"], "pertama");
    assert!(answer["data"]["messageTimestamp"].as_str().unwrap().parse::<u64>().unwrap() > 1_600_000_000);
    let body = json!({"api_key": office.key, "sender": OFFICE, "number": CUSTOMER, "message": "kedua", "msgid": first.id});
    assert_eq!(office.post("/send-message", body).await.status, 200);
    let second = arrived(&office, 2).await.pop().unwrap();
    assert_eq!((second.text.as_deref(), second.quoted), (Some("kedua"), Some(first.id)));
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_places_cards_and_stickers() {
    let (office, _session) = with_files().await;
    let address = serve_samples(&["s.webp"]).await;
    let base = form(&[("api_key", &office.key), ("sender", OFFICE), ("number", CUSTOMER)]);
    let sticker = form(&[("url", &format!("http://{address}/s.webp"))]);
    for (path, query) in [
        ("/send-poll", "name=Makan%20apa%3F&option%5B%5D=Nasi&option%5B%5D=Mie&countable=1"),
        ("/send-location", "latitude=-7.983908&longitude=112.621391"),
        ("/send-vcard", "name=Budi%20S&phone=081200000009"),
        ("/send-sticker", sticker.as_str()),
    ] {
        let answer = request(office.gateway.address(), "GET", &format!("{path}?{base}&{query}"), &[], "")
            .await
            .unwrap();
        assert_eq!((answer.status, answer.json()), (200, json!({"status": true, "msg": SENT})), "{path}");
    }
    let mut got: Vec<(String, Option<String>)> =
        arrived(&office, 4).await.into_iter().map(|item| (item.kind, item.text)).collect();
    got.sort();
    assert_eq!(got[0].0, "contact");
    assert!(got[0].1.as_ref().unwrap().contains("waid=6281200000009:+6281200000009"), "{got:?}");
    assert_eq!(got[1], ("location".into(), Some("-7.983908,112.621391".into())));
    assert_eq!(got[2], ("poll".into(), Some("Makan apa?\nNasi\nMie".into())));
    assert_eq!(got[3].0, "sticker");
    office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn buttons_and_lists_become_numbered_texts_and_say_so() {
    let (office, _session) = Office::paired().await;
    let button = json!({"api_key": office.key, "sender": OFFICE, "number": CUSTOMER, "message": "Setuju?",
        "button": [{"type": "reply", "displayText": "Ya"}, {"type": "reply", "displayText": "Tidak"}]});
    let answer = office.post("/send-button", button).await.json();
    assert!(
        answer["status"] == true && answer["msg"].as_str().unwrap().contains("no longer shows buttons"),
        "{answer}"
    );
    let list = json!({"api_key": office.key, "sender": OFFICE, "number": CUSTOMER, "message": "Pilih", "title": "Menu",
        "buttontext": "Buka", "sections": [{"title": "Makanan", "rows": [{"title": "Nasi"}, {"title": "Mie"}]}]});
    let answer = office.post("/send-list", list).await.json();
    assert!(answer["msg"].as_str().unwrap().contains("no longer shows lists"), "{answer}");
    let texts: Vec<_> = arrived(&office, 2).await.into_iter().filter_map(|item| item.text).collect();
    assert_eq!(texts, ["Setuju?\n\n1. Ya\n2. Tidak", "*Menu*\nPilih\n\n1. Nasi\n2. Mie"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_checked_within_the_months_limit() {
    let (office, _session) = Office::paired_with(|config| config.number_checks_per_month = 2).await;
    let check = |number: &'static str| {
        let fields = form(&[("api_key", &office.key), ("sender", OFFICE), ("number", number)]);
        let address = office.gateway.address();
        async move { request(address, "GET", &format!("/check-number?{fields}"), &[], "").await.unwrap() }
    };
    let exists = json!({"exists": true, "jid": format!("{CUSTOMER}@s.whatsapp.net")});
    assert_eq!(check(CUSTOMER).await.json(), json!({"status": true, "msg": exists}));
    assert_eq!(check(NOBODY).await.json(), json!({"status": true, "msg": {"exists": false, "jid": null}}));
    let third = check(CUSTOMER).await;
    assert_eq!((third.status, third.json()["status"].clone()), (429, json!(false)));
    assert!(third.headers.contains_key("retry-after"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_is_made_shown_logged_out_and_deleted() {
    let office = Office::open().await;
    let base = form(&[("api_key", &office.key)]);
    let get = |path: String| {
        let address = office.gateway.address();
        async move { request(address, "GET", &path, &[], "").await.unwrap() }
    };
    let shown = get(format!("/generate-qr?{base}&device=Kasir&force=true")).await.json();
    assert_eq!(shown["status"], "qrcode");
    assert!(shown["qrcode"].as_str().unwrap().starts_with("data:image/png;base64,iVBORw0KGgo"), "{shown}");
    let session = office.gateway.registry().list().pop().unwrap();
    office.scan(&session, OFFICE).await;
    let again = get(format!("/generate-qr?{base}&device={OFFICE}")).await.json();
    assert_eq!(again, json!({"status": false, "msg": "Device already connected!"}));
    let body = json!({"api_key": office.key, "sender": OFFICE, "number": CUSTOMER, "message": "satu"});
    office.post("/send-message", body).await;
    let sent = arrived(&office, 1).await.pop().unwrap();
    office.reached(&sent.id, kurir::outbox::Progress::Sent).await;
    let info = get(format!("/info-devices?{base}")).await.json();
    let device = &info["info"][0];
    assert_eq!(
        (&device["body"], &device["status"], &device["message_sent"]),
        (&json!(OFFICE), &json!("Connected"), &json!(1))
    );
    let out = get(format!("/logout-device?{base}&sender={OFFICE}")).await.json();
    assert_eq!(out["status"], true, "{out}");
    wait_for(&session, |s| s.status != Status::Connected && !s.paired).await;
    let out = get(format!("/delete-device?{base}&device=Kasir")).await.json();
    assert_eq!(out["status"], true, "{out}");
    assert!(office.gateway.registry().list().is_empty());
    office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_gets_this_dialects_error() {
    let (office, session) = Office::paired().await;
    let ok = json!({"api_key": office.key, "sender": OFFICE, "number": CUSTOMER});
    let long = "x".repeat(70_000);
    let cases = [
        ("/send-message", json!({}), "message"),
        ("/send-message", json!({"message": [1]}), "message"),
        ("/send-message", json!({"message": long}), "message"),
        ("/send-message", json!({"message": "a", "number": "budi"}), "number"),
        ("/send-message", json!({"message": "a", "number": {"a": 1}}), "number"),
        ("/send-message", json!({"message": "a", "number": "|"}), "number"),
        ("/send-message", json!({"message": "a", "msgid": [1]}), "msgid"),
        ("/send-message", json!({"message": "a", "footer": {}}), "footer"),
        ("/send-message", json!({"message": "a", "full": "maybe"}), "full"),
        ("/send-media", json!({"media_type": "image"}), "url"),
        ("/send-media", json!({"media_type": "picture", "url": "http://a"}), "media_type"),
        ("/send-media", json!({"media_type": "image", "url": "file:///etc/passwd"}), ""),
        ("/send-media", json!({"media_type": "image", "url": "http://127.0.0.1:1/a.png"}), ""),
        ("/send-media", json!({"media_type": "audio", "url": "http://a", "ppt": "maybe"}), "ppt"),
        ("/send-poll", json!({"name": "a", "option": ["b"]}), "option"),
        ("/send-poll", json!({"name": "a", "option": ["b", "b"]}), "option"),
        ("/send-poll", json!({"option": ["b", "c"]}), "name"),
        ("/send-location", json!({"latitude": "utara", "longitude": 1}), "latitude"),
        ("/send-location", json!({"latitude": 1, "longitude": 181}), "longitude"),
        ("/send-vcard", json!({"name": "a", "phone": "x"}), "phone"),
        ("/send-sticker", json!({}), "url"),
        ("/send-button", json!({"message": "a"}), "button"),
        ("/send-list", json!({"message": "a", "list": [[[[[["tief"]]]]]]}), "list"),
        ("/check-number", json!({"number": "x"}), "number"),
    ];
    for (path, extra, field) in cases {
        let mut body = ok.clone();
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let answer = office.post(path, body).await;
        let json = answer.json();
        let msg = json["msg"].as_str().unwrap_or_default();
        assert!((400..500).contains(&answer.status), "{path} {extra}: {answer:?}");
        assert!(
            json["status"] == false && msg.contains(field) && !msg.contains(&office.key),
            "{path} {extra}: {json}"
        );
    }
    for (key, sender) in [("wrong", OFFICE), (office.key.as_str(), NOBODY), ("", OFFICE)] {
        let body = json!({"api_key": key, "sender": sender, "number": CUSTOMER, "message": "a"});
        let answer = office.post("/send-message", body).await;
        let refused = json!({"status": false, "msg": "Invalid api_key or sender,please check again"});
        assert_eq!((answer.status, answer.json()), (400, refused));
    }
    let body = Bytes::from_static(b"{\"api_key\":");
    let answer = request(office.gateway.address(), "POST", "/send-message", &[], body).await.unwrap();
    assert_eq!((answer.status, answer.json()["status"].clone()), (400, json!(false)));
    assert_eq!(office.gateway.outbox().depth(session.no()), 0, "nothing of it was accepted");
}
