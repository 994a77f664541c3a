//! Every operation, called so that it succeeds and so that it fails.

use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use kurir::api::keys::DEFAULT_ACCOUNT;
use kurir::config::Config;
use kurir::outbox::Progress;
use kurir::session::Session;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use whatsapp_sim::media::{OutgoingKind, OutgoingMedia};

use super::reader::{Key, Reader, Sends, query};
use super::schema;
use crate::support::files::{form, multipart, sample, serve_samples};
use crate::support::updates::Publisher;
use crate::support::{CUSTOMER, NOBODY, OFFICE, Office, PATIENCE, request, wait_for};

const NEW_PHONE: &str = "6281100000009";

/// An office, and somebody who tries everything that it offers.
pub(crate) struct Tour {
    pub(crate) office: Office,
    pub(crate) session: Session,
    pub(crate) reader: Reader,
    /// The address of sample files.
    pub(crate) files: String,
    publisher: Publisher,
}

impl Tour {
    async fn begin() -> Tour {
        let mut publisher = None;
        let (office, session) = Office::paired_with(|config: &mut Config| {
            publisher = Some(Publisher::of(config));
            config.allow_private_fetch = vec!["127.0.0.0/8".parse().unwrap()];
            // Whoever cancels a message of the paced queue has time to.
            config.queue_delay = Duration::from_secs(3600);
            config.webhook_retry = Duration::from_millis(20);
            config.listen_https = Some("127.0.0.1:0".parse().unwrap());
        })
        .await;
        office.sim.add_phone(NEW_PHONE, "Telepon baru").await.unwrap();
        let reader = Reader::at(office.gateway.address()).await;
        let files = serve_samples(&["photo.jpg", "stiker.webp"]).await;
        Tour { office, session, reader, files: format!("http://{files}"), publisher: publisher.unwrap() }
    }

    pub(crate) fn key(&self) -> Key<'_> {
        Key::Header(&self.office.key)
    }

    /// A path of `sessions`, this one's.
    fn path(&self, end: &str) -> String {
        format!("/api/sessions/{}{end}", self.session.id())
    }

    /// As GET with the fields in the query, and as POST with the fields as JSON.
    async fn both(&self, path: &str, fields: Value, status: u16) -> Value {
        let target = format!("{path}?{}", query(&fields));
        self.reader.call(&format!("GET {path}"), &target, Key::None, Sends::Nothing, status).await;
        self.reader.call(&format!("POST {path}"), path, Key::None, fields, status).await.json()
    }

    async fn mpwa(&self) {
        let own = json!({"api_key": self.office.key, "sender": OFFICE});
        let with = |fields: Value| {
            let mut all = own.clone();
            all.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            all
        };
        let (photo, sticker) = (format!("{}/photo.jpg", self.files), format!("{}/stiker.webp", self.files));
        let sent = |path: &'static str, fields: Value| {
            let fields = with(fields);
            async move {
                self.both(path, fields.clone(), 200).await;
                let mut full = fields.clone();
                full["full"] = json!(1);
                let answer = self.both(path, full.clone(), 200).await;
                assert!(answer["data"]["key"]["id"].is_string(), "{answer}");
                full["number"] = json!(format!("{CUSTOMER}|{OFFICE}"));
                assert_eq!(self.both(path, full, 200).await["data"].as_array().unwrap().len(), 2);
                let mut nobody = fields;
                nobody["number"] = json!("12");
                self.both(path, nobody, 400).await;
            }
        };
        sent("/send-message", json!({"number": CUSTOMER, "message": "halo", "footer": "Toko"})).await;
        sent("/send-media", json!({"number": CUSTOMER, "media_type": "image", "url": photo, "caption": "x"}))
            .await;
        sent("/send-sticker", json!({"number": CUSTOMER, "url": sticker})).await;
        sent(
            "/send-poll",
            json!({"number": CUSTOMER, "name": "Kapan?", "option": ["Senin", "Selasa"], "countable": "1"}),
        )
        .await;
        sent(
            "/send-location",
            json!({"number": CUSTOMER, "latitude": "-7.98", "longitude": "112.6", "name": "Toko"}),
        )
        .await;
        sent("/send-vcard", json!({"number": CUSTOMER, "name": "Ibu Sari", "phone": CUSTOMER})).await;
        sent("/send-button", json!({"number": CUSTOMER, "message": "Jadi?", "button": ["Ya", "Tidak"]}))
            .await;
        sent(
            "/send-list",
            json!({"number": CUSTOMER, "message": "Menu", "list": ["Soto", "Rawon"], "title": "Hari ini"}),
        )
        .await;
        self.both(
            "/send-media",
            with(json!({"number": CUSTOMER, "media_type": "image", "url": format!("{}/page", self.files)})),
            400,
        )
        .await;

        for (number, exists) in [(CUSTOMER, true), (NOBODY, false)] {
            let answer = self.both("/check-number", with(json!({"number": number})), 200).await;
            assert_eq!(answer["msg"]["exists"], exists, "{answer}");
        }
        self.both("/check-number", with(json!({"number": "x"})), 400).await;

        let key = &self.office.key;
        for name in ["Bekas", "Bekas kedua"] {
            let fields = json!({"api_key": key, "device": name, "force": "true"});
            assert_eq!(self.both("/generate-qr", fields, 200).await["status"], "qrcode");
        }
        let answer = self.both("/generate-qr", json!({"api_key": key, "device": OFFICE}), 200).await;
        assert_eq!(answer["msg"], "Device already connected!");
        self.both("/generate-qr", json!({"api_key": key, "device": "tidak ada"}), 400).await;
        assert_eq!(
            self.both("/info-devices", json!({"api_key": key}), 200).await["info"].as_array().unwrap().len(),
            3
        );
        self.both("/info-devices", json!({"api_key": key, "number": OFFICE}), 200).await;
        self.both("/info-devices", json!({"api_key": key, "number": NOBODY}), 404).await;
        let answer = self.both("/logout-device", json!({"api_key": key, "device": "Bekas"}), 200).await;
        assert_eq!(answer["status"], false, "it is not paired");
        self.both("/logout-device", json!({"api_key": key, "device": "tidak ada"}), 400).await;
        for (method, name) in [("GET", "Bekas"), ("POST", "Bekas kedua")] {
            let target = format!("/delete-device?{}", query(&json!({"api_key": key, "device": name})));
            self.reader
                .call(&format!("{method} /delete-device"), &target, Key::None, Sends::Nothing, 200)
                .await;
            self.reader
                .call(&format!("{method} /delete-device"), &target, Key::None, Sends::Nothing, 400)
                .await;
        }
    }

    async fn fonnte(&self) {
        let reader = &self.reader;
        let token = self.office.token(&self.session).await;
        let own = Key::Bearer(&token);
        let post = |path: &'static str, fields: Value, status| {
            let own = Key::Bearer(&token);
            async move { reader.call(&format!("POST {path}"), path, own, fields, status).await.json() }
        };
        let target =
            format!("/send?{}", query(&json!({"token": token, "target": CUSTOMER, "message": "halo"})));
        reader.call("GET /send", &target, Key::None, Sends::Nothing, 200).await;
        reader.call("GET /send", "/send?target=1", own, Sends::Nothing, 400).await;
        let several = json!({"target": format!("{CUSTOMER},{NOBODY}"), "message": "Halo", "choices": "a,b", "pollname": "p"});
        assert_eq!(post("/send", several, 200).await["id"].as_array().unwrap().len(), 4);
        let parts = multipart(
            &[("target", CUSTOMER), ("message", "file")],
            Some(("file", "a.pdf", &sample("a.pdf"))),
        );
        reader
            .call("POST /send", "/send", own, Sends::Bytes("multipart/form-data; boundary=B", parts), 200)
            .await;
        post("/send", json!({"target": CUSTOMER}), 400).await;
        post("/send", json!({"target": CUSTOMER, "url": "http://127.0.0.1:1/x"}), 502).await;
        for path in ["/device", "/get-devices"] {
            post(path, json!({}), 200).await;
        }
        let unknown = json!({"device": "tidak ada"});
        // A token means its own device; one that it may not use is not there for it.
        for path in ["/device", "/fetch-group", "/get-whatsapp-group", "/disconnect", "/qr"] {
            post(path, unknown.clone(), 404).await;
        }
        assert_eq!(post("/qr", json!({}), 200).await["reason"], "device already connect");
        assert_eq!(
            post("/validate", json!({"target": format!("{CUSTOMER},{NOBODY}")}), 200).await["not_registered"],
            json!([NOBODY])
        );
        post("/validate", json!({"target": ","}), 400).await;
        post("/fetch-group", json!({}), 200).await;
        post("/get-whatsapp-group", json!({}), 200).await;
        let later = json!({"target": CUSTOMER, "message": "nanti", "followup": 3600});
        let id = post("/send", later, 200).await["id"][0].clone();
        assert_eq!(post("/status", json!({"id": id}), 200).await["message_status"], "waiting");
        post("/delete-message", json!({"id": id}), 200).await;
        post("/delete-message", json!({"id": id}), 409).await;
        post("/delete-message", json!({"id": "999999"}), 404).await;
        post("/status", json!({"id": "x"}), 404).await;
        let answer = post("/status", json!({"id": id}), 200).await;
        assert_eq!(
            (answer["message_status"].as_str(), answer["reason"].is_string()),
            (Some("invalid"), true)
        );
        post("/typing", json!({"target": CUSTOMER, "duration": 1}), 200).await;
        post("/typing", json!({"target": CUSTOMER, "duration": 99}), 400).await;

        let fresh = self.office.gateway.registry().create("Baru", DEFAULT_ACCOUNT).await.unwrap();
        wait_for(&fresh, |s| s.qr.is_some()).await;
        let device = fresh.id();
        let key = Key::Bearer(&self.office.key);
        assert!(
            reader.call("POST /qr", "/qr", key, json!({"device": device}), 200).await.json()["url"]
                .is_string()
        );
        let code = json!({"device": device, "type": "code", "whatsapp": NEW_PHONE});
        assert!(reader.call("POST /qr", "/qr", key, code, 200).await.json()["code"].is_string());
        let answer =
            reader.call("POST /disconnect", "/disconnect", key, json!({"device": device}), 200).await;
        assert_eq!(answer.json()["status"], false, "it is not paired");
        self.office.gateway.registry().delete(device).await.unwrap();
    }

    async fn waapi_and_waya(&self) {
        let (reader, key) = (&self.reader, Key::Bearer(&self.office.key));
        let (text, media) = ("POST /api/send-message", "POST /api/send-media");
        let (text_path, media_path) = ("/api/send-message", "/api/send-media");
        reader.call(text, text_path, key, json!({"to": CUSTOMER, "message": "halo"}), 200).await;
        reader.call(text, text_path, key, json!({"to": CUSTOMER}), 400).await;
        reader
            .call(text, text_path, key, json!({"to": CUSTOMER, "message": "x", "deviceId": "tidak ada"}), 404)
            .await;
        let photo = json!({"to": CUSTOMER, "url": format!("{}/photo.jpg", self.files), "caption": "x"});
        reader.call(media, media_path, key, photo, 200).await;
        reader
            .call(media, media_path, key, json!({"to": CUSTOMER, "url": "x", "type": "hologram"}), 400)
            .await;
        reader.call("GET /api/status", "/api/status", key, Sends::Nothing, 200).await;
        let members = [OFFICE.to_owned(), CUSTOMER.to_owned()];
        self.office.sim.create_group("Toko", CUSTOMER, &members).await.unwrap();
        let groups = "GET /api/devices/{id}/wa-groups";
        let answer =
            reader.call(groups, &format!("/api/devices/{OFFICE}/wa-groups"), key, Sends::Nothing, 200).await;
        assert_eq!(answer.json()["groups"][0]["name"], "Toko");
        reader.call(groups, "/api/devices/tidak-ada/wa-groups", key, Sends::Nothing, 404).await;

        let key = self.key();
        let queued =
            |fields: Value| async move { reader.call(text, text_path, self.key(), fields, 200).await.json() };
        let first = queued(json!({"number": CUSTOMER, "message": "satu", "reference_id": "INV-1"})).await;
        assert_eq!(
            queued(json!({"number": CUSTOMER, "message": "satu", "reference_id": "INV-1"})).await["id"],
            first["id"]
        );
        reader.call(text, text_path, key, json!({"number": CUSTOMER}), 400).await;
        reader
            .call(
                text,
                text_path,
                key,
                Sends::Bytes(
                    "application/x-www-form-urlencoded",
                    form(&[("number", "main"), ("message", "x")]).into(),
                ),
                400,
            )
            .await;
        let two =
            queued(json!({"recipients": [CUSTOMER, OFFICE], "message": "dua", "reference_id": "INV-2"}))
                .await;
        let status = "GET /api/message-status/{id}";
        for id in [first["id"].as_str().unwrap(), two["ids"][1].as_str().unwrap(), "INV-2"] {
            let answer =
                reader.call(status, &format!("/api/message-status/{id}"), key, Sends::Nothing, 200).await;
            assert_eq!(answer.json().get("messages").is_some(), id == "INV-2");
        }
        reader.call(status, "/api/message-status/tidak-ada", key, Sends::Nothing, 404).await;
        let last = two["ids"][1].as_str().unwrap();
        let (cancel, retry) = ("POST /api/message-status/{id}/cancel", "POST /api/message-status/{id}/retry");
        reader.call(cancel, &format!("/api/message-status/{last}/cancel"), key, Sends::Nothing, 200).await;
        reader.call(cancel, &format!("/api/message-status/{last}/cancel"), key, Sends::Nothing, 409).await;
        reader.call(cancel, "/api/message-status/tidak-ada/cancel", key, Sends::Nothing, 404).await;
        reader.call(retry, &format!("/api/message-status/{last}/retry"), key, Sends::Nothing, 200).await;
        reader.call(retry, "/api/message-status/tidak-ada/retry", key, Sends::Nothing, 404).await;
        self.office.reached(first["id"].as_str().unwrap(), Progress::Sent).await;
        let sent = first["id"].as_str().unwrap();
        reader.call(retry, &format!("/api/message-status/{sent}/retry"), key, Sends::Nothing, 409).await;
    }

    async fn sessions(&self) {
        let (reader, key) = (&self.reader, self.key());
        let (counts, make) = ("GET /api/sessions", "POST /api/sessions");
        reader.call(counts, "/api/sessions", key, Sends::Nothing, 200).await;
        let listed = reader.call(counts, "/api/sessions?list=1", key, Sends::Nothing, 200).await;
        assert!(!listed.json()["sessions"].as_array().unwrap().is_empty());
        let made =
            reader.call(make, "/api/sessions", key, json!({"sessionName": "Gudang"}), 200).await.json();
        reader.call(make, "/api/sessions", key, json!({}), 400).await;
        let token = self.office.token(&self.session).await;
        reader.call(make, "/api/sessions", Key::Header(&token), json!({"sessionName": "x"}), 403).await;
        let fresh = format!("/api/sessions/{}", made["sessionId"].as_str().unwrap());
        let stranger = self.office.gateway.keys().create("other", "other", false).await.unwrap();
        let none = "/api/sessions/tidak-ada";
        for (end, method, fields) in [
            ("", "GET", None),
            ("/qr", "GET", None),
            ("/pair-code", "POST", Some(json!({"phone": NEW_PHONE}))),
            ("/reconnect", "POST", None),
            ("/tokens", "POST", Some(json!({"name": "kasir"}))),
            ("", "DELETE", None),
        ] {
            let operation = format!("{method} /api/sessions/{{id}}{end}");
            let sends = || fields.clone().map_or(Sends::Nothing, Sends::Json);
            reader.call(&operation, &format!("{none}{end}"), key, sends(), 404).await;
            reader.call(&operation, &format!("{fresh}{end}"), Key::Header(&stranger), sends(), 403).await;
            reader.call(&operation, &format!("{fresh}{end}"), key, sends(), 200).await;
        }
        reader.call("GET /api/sessions/{id}", &self.path(""), key, Sends::Nothing, 200).await;
        reader.call("GET /api/sessions/{id}/qr", &self.path("/qr"), key, Sends::Nothing, 400).await;
        let send = "POST /api/sessions/{id}/send";
        let path = self.path("/send");
        reader.call(send, &path, key, json!({"to": CUSTOMER, "message": "halo"}), 200).await;
        reader.call(send, &path, key, json!({"to": CUSTOMER}), 400).await;
        let refused =
            reader.call(send, &path, key, json!({"to": NOBODY, "message": "halo"}), 400).await.json();
        assert_eq!(refused["phoneNumber"], NOBODY);
        let (send, path) = ("POST /api/sessions/{id}/send-media", self.path("/send-media"));
        let kind = "multipart/form-data; boundary=B";
        let parts =
            multipart(&[("to", CUSTOMER), ("message", "x")], Some(("media", "a.pdf", &sample("a.pdf"))));
        reader.call(send, &path, key, Sends::Bytes(kind, parts), 200).await;
        reader.call(send, &path, key, Sends::Bytes(kind, multipart(&[("to", CUSTOMER)], None)), 400).await;
        let (check, path) = ("POST /api/number-checker", "/api/number-checker");
        let numbers = json!({"sessionId": self.session.id(), "phoneNumbers": [CUSTOMER, NOBODY]});
        reader.call(check, path, key, numbers, 200).await;
        reader.call(check, path, key, json!({"sessionId": self.session.id()}), 400).await;
        let many: Vec<String> = (0..100).map(|n| format!("62812{n:08}")).collect();
        let limited = self.office.gateway.keys();
        let rules = kurir::api::keys::KeyRules { checks_per_month: Some(1), ..Default::default() };
        let poor = limited.create_with("poor", DEFAULT_ACCOUNT, false, rules).await.unwrap();
        let numbers = json!({"sessionId": self.session.id(), "phoneNumbers": many});
        assert_eq!(reader.call(check, path, Key::Header(&poor), numbers, 429).await.json()["limit"], 1);
    }

    async fn kurir(&self) {
        let (reader, key) = (&self.reader, self.key());
        let (list, make) = ("GET /api/v1/webhooks", "POST /api/v1/webhooks");
        // Nobody is there, so that there is something to show of failures.
        let new = json!({"url": "http://127.0.0.1:1/hook", "events": ["message", "media"], "timeout_s": 1});
        let made = reader.call(make, "/api/v1/webhooks", key, new, 201).await.json();
        reader.call(make, "/api/v1/webhooks", key, json!({"url": 1}), 400).await;
        reader.call(list, "/api/v1/webhooks", key, Sends::Nothing, 200).await;
        let hook = format!("/api/v1/webhooks/{}", made["webhook"]["id"].as_str().unwrap());
        let picture = OutgoingMedia {
            kind: OutgoingKind::Image,
            mime: "image/jpeg".into(),
            data: Bytes::from_static(b"\xff\xd8\xff\xe0 bukti"),
            caption: Some("bukti".into()),
            filename: None,
        };
        self.office.sim.send_media(CUSTOMER, OFFICE, picture).await.unwrap();
        let event = self.events().await;
        let stranger = self.office.gateway.keys().create("third", "third", false).await.unwrap();
        let none = "/api/v1/webhooks/tidak-ada";
        for (method, end, fields) in [
            ("GET", "", None),
            ("PATCH", "", Some(json!({"from_me": true}))),
            ("POST", "/rotate-secret", None),
            ("GET", "/deliveries", None),
            ("GET", "/dead", None),
            ("POST", "/replay", Some(json!({"event": event}))),
            ("POST", "/replay", Some(json!({"from_seq": 1}))),
            ("POST", "/replay", Some(json!({"dead": true}))),
            ("DELETE", "/dead", None),
            ("DELETE", "", None),
        ] {
            let operation = format!("{method} /api/v1/webhooks/{{id}}{end}");
            let sends = || fields.clone().map_or(Sends::Nothing, Sends::Json);
            reader.call(&operation, &format!("{none}{end}"), key, sends(), 404).await;
            reader.call(&operation, &format!("{hook}{end}"), Key::Header(&stranger), sends(), 403).await;
            if end == "/replay" {
                reader.call(&operation, &format!("{hook}{end}"), key, json!({}), 400).await;
            }
            let answer = reader.call(&operation, &format!("{hook}{end}"), key, sends(), 200).await.json();
            if end == "/deliveries" {
                assert!(answer["deliveries"].is_array(), "{answer}");
            }
        }
        let (list, show) = ("GET /api/v1/requests", "GET /api/v1/requests/{id}");
        let rows =
            reader.call(list, "/api/v1/requests?status=2xx&limit=5", key, Sends::Nothing, 200).await.json();
        reader.call(list, "/api/v1/requests?limit=0", key, Sends::Nothing, 400).await;
        let row = format!("/api/v1/requests/{}", rows["requests"][0]["id"]);
        reader.call(show, &row, key, Sends::Nothing, 200).await;
        reader.call(show, &row, Key::Header(&stranger), Sends::Nothing, 404).await;
        let file = "GET /api/v1/media/{event}";
        let answer = reader.call(file, &format!("/api/v1/media/{event}"), key, Sends::Nothing, 200).await;
        assert_eq!(answer.body, Bytes::from_static(b"\xff\xd8\xff\xe0 bukti"));
        reader.call(file, "/api/v1/media/tidak-ada", key, Sends::Nothing, 404).await;
    }

    /// Reads the stream from its beginning up to an event with a file, whose id it returns.
    async fn events(&self) -> String {
        let operation = "GET /api/v1/events";
        self.reader.call(operation, "/api/v1/events?types=x", self.key(), Sends::Nothing, 400).await;
        let stream = TcpStream::connect(self.office.gateway.address()).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = hyper::Request::builder().uri("/api/v1/events?after=0").header("host", "kurir");
        let request = request.header("x-api-key", &self.office.key).body(Empty::<Bytes>::new()).unwrap();
        let (head, mut body) = sender.send_request(request).await.unwrap().into_parts();
        let answer = crate::support::Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body: Bytes::new(),
        };
        self.reader.check(operation, &answer);
        let line = &self.reader.content(operation, 200, Some("text/event-stream")).unwrap()["schema"];
        let (mut text, mut kinds) = (String::new(), Vec::new());
        let found = tokio::time::timeout(PATIENCE, async {
            loop {
                let frame = body.frame().await.expect("the stream ended").unwrap();
                text.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap());
                while let Some((block, rest)) = text.split_once("\n\n") {
                    let data = block.lines().find_map(|line| line.strip_prefix("data: ")).map(str::to_owned);
                    text = rest.to_owned();
                    let Some(data) = data else { continue };
                    let event: Value = serde_json::from_str(&data).unwrap();
                    schema::check(&self.reader.document, line, &event)
                        .unwrap_or_else(|why| panic!("an event: {why}"));
                    kinds.push(event["type"].as_str().unwrap().to_owned());
                    if event["type"] == "media" {
                        return event["id"].as_str().unwrap().to_owned();
                    }
                }
            }
        });
        let found = found.await.expect("no event with a file came");
        assert!(kinds.contains(&"session".to_owned()) && kinds.contains(&"receipt".to_owned()), "{kinds:?}");
        connection.abort();
        found
    }

    async fn machines(&self) {
        for operation in ["GET /healthz", "GET /readyz", "GET /metrics", "GET /openapi.json", "GET /docs"] {
            let path = operation.split(' ').nth(1).unwrap();
            self.reader.call(operation, path, Key::None, Sends::Nothing, 200).await;
        }
        self.reader.call("GET /docs/{file}", "/docs/app.js", Key::None, Sends::Nothing, 200).await;
        self.reader.call("GET /docs/{file}", "/docs/app.css", Key::None, Sends::Nothing, 404).await;
        let panel = "GET /api/v1/panel.png";
        self.reader.call(panel, "/api/v1/panel.png?scale=2", self.key(), Sends::Nothing, 200).await;
        let token = self.office.token(&self.session).await;
        self.reader.call(panel, "/api/v1/panel.png", Key::Header(&token), Sends::Nothing, 403).await;
        let address = self.office.gateway.address();
        let passed_on = [("x-forwarded-for", "10.0.0.1"), ("x-api-key", self.office.key.as_str())];
        let answer = request(address, "GET", "/metrics", &passed_on, "").await.unwrap();
        assert_eq!(answer.status, 403);
        self.reader.check("GET /metrics", &answer);
    }

    /// Who owns the box, and its certificate.
    async fn owner(&self) {
        let reader = &self.reader;
        reader.call("GET /", "/", Key::None, Sends::Nothing, 200).await;
        let admin = self.office.gateway.keys().create("owner", DEFAULT_ACCOUNT, true).await.unwrap();
        let admin = Key::Header(&admin);
        // Nobody but this machine reaches the box, so there is nothing to claim; tests/claim.rs claims one.
        let claim = json!({"code": "ABCD-2345", "password": "rahasia sekali"});
        reader.call("POST /api/v1/claim", "/api/v1/claim", Key::None, claim, 409).await;
        let (set, log_in) = ("PUT /api/v1/password", "POST /api/v1/login");
        let password = json!({"password": "rahasia sekali"});
        reader.call(log_in, "/api/v1/login", Key::None, password.clone(), 409).await;
        reader.call(set, "/api/v1/password", self.key(), password.clone(), 403).await;
        reader.call(set, "/api/v1/password", admin, password.clone(), 200).await;
        reader.call(log_in, "/api/v1/login", Key::None, password, 200).await;
        let path = "/api/v1/certificate";
        for method in ["GET", "PUT", "DELETE"] {
            reader.call(&format!("{method} {path}"), path, self.key(), json!({}), 403).await;
        }
        reader.call(&format!("GET {path}"), path, admin, Sends::Nothing, 200).await;
        reader.call(&format!("DELETE {path}"), path, admin, Sends::Nothing, 200).await;
        let made = rcgen::generate_simple_self_signed(vec!["kurir.local".to_owned()]).unwrap();
        let own = json!({"certificate": made.cert.pem(), "key": made.signing_key.serialize_pem()});
        reader.call(&format!("PUT {path}"), path, admin, own, 200).await;
        self.updates(admin).await;
    }

    async fn updates(&self, admin: Key<'_>) {
        let (reader, path) = (&self.reader, "/api/v1/update");
        let (show, put, post) = ("GET /api/v1/update", "PUT /api/v1/update", "POST /api/v1/update");
        reader.call("GET /update", "/update", Key::None, Sends::Nothing, 200).await;
        reader.call(show, path, self.key(), Sends::Nothing, 403).await;
        reader.call(show, path, admin, Sends::Nothing, 200).await;
        let update = self.publisher.pack("900.0.0", &[("boot", b"boot"), ("root", b"root")]);
        let file = |bytes: &[u8]| Sends::Bytes("application/octet-stream", bytes.to_vec());
        reader.call(put, path, self.key(), file(&update), 403).await;
        reader.call(put, path, admin, file(b"no update"), 400).await;
        reader.call(put, path, admin, file(&update), 202).await;
        reader.call(show, path, admin, Sends::Nothing, 200).await;
        let send = async |password: &str, status| {
            let parts = multipart(&[("password", password)], Some(("file", "kurir.update", &update)));
            let sends = Sends::Bytes("multipart/form-data; boundary=B", parts);
            reader.call(post, path, Key::None, sends, status).await
        };
        send("not the password", 401).await;
        send("rahasia sekali", 202).await;
    }

    /// Every operation that needs a key, without one.
    async fn without_a_key(&self) {
        for (operation, described) in self.reader.operations() {
            let ways = described["security"].as_array().unwrap();
            if ways.iter().any(|way| way.as_object().unwrap().is_empty()) {
                continue;
            }
            let path = operation.split(' ').nth(1).unwrap().replace(['{', '}'], "");
            // Dialect `mpwa` has no other status for it.
            let status = if described["responses"].get("401").is_some() { 401 } else { 400 };
            self.reader.call(&operation, &path, Key::None, Sends::Nothing, status).await;
        }
    }

    /// What unlinks the session, at last.
    async fn end(&self) {
        let fields = json!({"api_key": self.office.key, "device": OFFICE});
        self.reader.call("POST /logout-device", "/logout-device", Key::None, fields, 200).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_is_described_and_answers_as_described() {
    let tour = Tour::begin().await;
    tour.fonnte().await;
    tour.waapi_and_waya().await;
    tour.mpwa().await;
    // By now there is something in the journal.
    tour.kurir().await;
    tour.chats().await;
    tour.sessions().await;
    tour.machines().await;
    tour.owner().await;
    tour.without_a_key().await;
    tour.end().await;
    let mut unseen = tour.reader.unseen();
    // It takes a box without an owner that others can reach: tests/claim.rs.
    unseen.retain(|what| what != "POST /api/v1/claim was not called so that it succeeds");
    assert!(unseen.is_empty(), "{unseen:#?}");

    // The router's own word for the routes that were called.
    let metrics = request(tour.office.gateway.address(), "GET", "/metrics", &[], "").await.unwrap();
    let metrics = String::from_utf8(metrics.body.to_vec()).unwrap();
    let called: Vec<&str> = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("kurir_http_requests_total{route=\"")?.split('"').next())
        .collect();
    assert!(called.len() > 100, "{called:?}");
    let known: Vec<String> = tour.reader.operations().into_iter().map(|(name, _)| name).collect();
    for route in called {
        assert!(known.iter().any(|name| name == route), "{route} is not in the document");
    }
}
