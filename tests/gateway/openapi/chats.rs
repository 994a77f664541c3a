//! What is under `/api/v1/sessions`.

use kurir::outbox::Progress;
use serde_json::{Value, json};

use super::calls::Tour;
use super::reader::{Key, Sends};
use crate::support::files::{multipart, sample};
use crate::support::{CUSTOMER, NOBODY, OFFICE};

const OTHER: &str = "6281200000003";

impl Tour {
    /// An operation below the paired session; `end` with its places filled.
    async fn below(&self, method: &str, shape: &str, end: &str, fields: Value, status: u16) -> Value {
        let operation = format!("{method} /api/v1/sessions/{{id}}{shape}");
        let path = format!("/api/v1/sessions/{}{end}", self.session.id());
        let sends = if fields.is_null() { Sends::Nothing } else { Sends::Json(fields) };
        self.reader.call(&operation, &path, self.key(), sends, status).await.json()
    }

    /// An operation on somebody else's session, and on none.
    async fn not_ours(&self, stranger: &str, method: &str, shape: &str, end: &str) {
        let operation = format!("{method} /api/v1/sessions/{{id}}{shape}");
        let path = format!("/api/v1/sessions/{}{end}", self.session.id());
        self.reader.call(&operation, &path, Key::Header(stranger), json!({}), 403).await;
        let nowhere = format!("/api/v1/sessions/nowhere{end}");
        self.reader.call(&operation, &nowhere, self.key(), json!({}), 404).await;
    }

    pub(crate) async fn chats(&self) {
        let create = |fields: Value| self.below("POST", "/messages", "/messages", fields, 202);
        let made =
            create(json!({"to": CUSTOMER, "text": "halo", "reference": "R-1"})).await["message"].clone();
        assert_eq!(
            create(json!({"to": CUSTOMER, "text": "halo", "reference": "R-1"})).await["repeated"],
            true
        );
        create(json!({"to": CUSTOMER, "location": {"latitude": -7.9, "longitude": 112.6, "name": "Toko"}}))
            .await;
        create(json!({"to": CUSTOMER, "contact": {"name": "Ibu Sari", "phone": CUSTOMER}})).await;
        create(json!({"to": CUSTOMER, "poll": {"name": "Kapan?", "options": ["Senin", "Selasa"]}})).await;
        create(json!({"to": CUSTOMER, "media": {"url": format!("{}/photo.jpg", self.files)}, "text": "x"}))
            .await;
        let parts = multipart(&[("to", CUSTOMER)], Some(("media", "a.pdf", &sample("a.pdf"))));
        let path = format!("/api/v1/sessions/{}/messages", self.session.id());
        let file = Sends::Bytes("multipart/form-data; boundary=B", parts);
        self.reader.call("POST /api/v1/sessions/{id}/messages", &path, self.key(), file, 202).await;
        self.below("POST", "/messages", "/messages", json!({"to": CUSTOMER}), 400).await;
        self.below("POST", "/messages", "/messages", json!({"to": NOBODY, "text": "x"}), 400).await;

        let id = made["id"].as_str().unwrap();
        self.office.reached(id, Progress::Sent).await;
        let (one, at) = ("/messages/{message}", format!("/messages/{id}"));
        self.below("GET", one, &at, Value::Null, 200).await;
        self.below("GET", one, "/messages/tidak-ada", Value::Null, 404).await;
        self.below("PATCH", one, &at, json!({"text": "halo lagi"}), 202).await;
        self.below("PATCH", one, &at, json!({}), 400).await;
        let (reaction, on) = ("/messages/{message}/reaction", format!("/messages/{id}/reaction"));
        self.below("POST", reaction, &on, json!({"emoji": "👍"}), 202).await;
        self.below("POST", reaction, &on, json!({"emoji": "ya"}), 400).await;
        self.below("DELETE", reaction, &on, Value::Null, 202).await;
        self.below("DELETE", one, &at, Value::Null, 202).await;
        let later =
            create(json!({"to": CUSTOMER, "text": "nanti", "send_at_ms": chrono::Utc::now().timestamp_millis() + 3_600_000})).await;
        let later = later["message"]["id"].as_str().unwrap().to_owned();
        let (retry, again) = ("/messages/{message}/retry", format!("/messages/{later}/retry"));
        self.below("DELETE", one, &format!("/messages/{later}"), Value::Null, 200).await;
        self.below("POST", retry, &again, Value::Null, 200).await;
        self.below("POST", retry, &format!("{at}/retry"), Value::Null, 409).await;

        let (typing, read) = ("/chats/{chat}/typing", "/chats/{chat}/read");
        self.below("POST", typing, &format!("/chats/{CUSTOMER}/typing"), json!({"duration_s": 1}), 200).await;
        self.below("POST", typing, &format!("/chats/{CUSTOMER}/typing"), json!({"state": "x"}), 400).await;
        self.below("POST", read, &format!("/chats/{CUSTOMER}/read"), Value::Null, 200).await;
        self.below("POST", read, &format!("/chats/{CUSTOMER}/read"), json!({"messages": ["x"]}), 400).await;

        let settings = "/settings";
        let shown = self.below("GET", settings, settings, Value::Null, 200).await;
        assert_eq!(shown["own"], json!([]));
        let change = json!({"queue_allow": [CUSTOMER], "stranger_daily_cap": 900});
        self.below("PATCH", settings, settings, change, 200).await;
        let back = json!({"queue_allow": null, "stranger_daily_cap": null});
        assert_eq!(self.below("PATCH", settings, settings, back, 200).await, shown);
        self.below("PATCH", settings, settings, json!({"queue_delay_ms": "x"}), 400).await;
        self.groups().await;

        let stranger = self.office.gateway.keys().create("fourth", "fourth", false).await.unwrap();
        for (name, operation) in self.reader.operations() {
            let (method, path) = name.split_once(' ').unwrap();
            let Some(shape) = path.strip_prefix("/api/v1/sessions/{id}") else { continue };
            if operation["responses"].get("403").is_some() && operation["responses"].get("404").is_some() {
                self.not_ours(&stranger, method, shape, &shape.replace(['{', '}'], "")).await;
            }
        }
    }

    async fn groups(&self) {
        self.office.sim.add_phone(OTHER, "Pak Budi").await.unwrap();
        let new = json!({"name": "Gudang", "description": "Stok", "participants": [CUSTOMER, NOBODY]});
        let made = self.below("POST", "/groups", "/groups", new, 201).await;
        let group = made["group"]["id"].as_str().unwrap();
        self.below("POST", "/groups", "/groups", json!({}), 400).await;
        self.below("GET", "/groups", "/groups", Value::Null, 200).await;
        let (one, at) = ("/groups/{group}", format!("/groups/{group}"));
        self.below("GET", one, &at, Value::Null, 200).await;
        self.below("GET", one, "/groups/tidak-ada", Value::Null, 404).await;
        self.below("PATCH", one, &at, json!({"announcement": true, "description": ""}), 200).await;
        self.below("PATCH", one, &at, json!({}), 400).await;
        let (people, whom) = ("/groups/{group}/participants", format!("{at}/participants"));
        self.below("GET", people, &whom, Value::Null, 200).await;
        let add = json!({"action": "add", "participants": [OTHER, NOBODY]});
        self.below("POST", people, &whom, add, 200).await;
        self.below("POST", people, &whom, json!({"action": "sing", "participants": [OTHER]}), 400).await;
        let (invite, link) = ("/groups/{group}/invite", format!("{at}/invite"));
        self.below("GET", invite, &link, Value::Null, 200).await;
        self.below("DELETE", invite, &link, Value::Null, 200).await;
        self.below("POST", "/groups/{group}/leave", &format!("{at}/leave"), Value::Null, 200).await;
        self.below("POST", "/groups/{group}/leave", &format!("{at}/leave"), Value::Null, 403).await;
        let join = ("/groups/join", "/groups/join");
        let members = [OFFICE.to_owned(), CUSTOMER.to_owned()];
        let theirs = self.office.sim.create_group("Pelanggan", CUSTOMER, &members).await.unwrap();
        let code = self.office.sim.group(&theirs).unwrap().invite;
        self.below("POST", "/groups/{group}/leave", &format!("/groups/{theirs}/leave"), Value::Null, 200)
            .await;
        self.below("POST", join.0, join.1, json!({"link": code}), 200).await;
        self.below("POST", join.0, join.1, json!({"link": "https://example.com/x"}), 400).await;
    }
}
