//! Somebody who sends nonsense, and looks whether any of it got through.

use std::time::Duration;

use hyper::StatusCode;
use serde_json::{Value, json};

pub(crate) use crate::desk::Desk;
use crate::support::{Answer, CUSTOMER, OFFICE, PATIENCE, request};

/// The error shapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Dialect 1.
    Mpwa,
    /// Dialect 4.
    Sessions,
}

impl Shape {
    /// Fails unless the answer is this dialect's error with this status, and its message contains every one of `names`.
    pub(crate) fn refused(self, what: &str, answer: &Answer, status: u16, names: &[&str]) {
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        let body = answer.json();
        let message = match self {
            Shape::Mpwa => {
                let msg = body["msg"].as_str().unwrap_or_else(|| panic!("{what}: {body}")).to_owned();
                assert_eq!(body, json!({"status": false, "msg": msg}), "{what}");
                msg
            }
            Shape::Sessions => {
                let message = body["message"].as_str().unwrap_or_else(|| panic!("{what}: {body}")).to_owned();
                let error = StatusCode::from_u16(status).unwrap().canonical_reason().unwrap();
                assert_eq!(body, json!({"success": false, "error": error, "message": message}), "{what}");
                message
            }
        };
        for name in names {
            assert!(message.contains(name), "{what}: \"{message}\" does not say \"{name}\"");
        }
    }
}

impl Desk {
    /// The path of one of the paired session's endpoints.
    pub(crate) fn path(&self, end: &str) -> String {
        format!("/api/sessions/{}{end}", self.session.id())
    }

    /// A POST in dialect 4, with the key.
    pub(crate) async fn post(&self, end: &str, body: Value) -> Answer {
        self.office.call("POST", &self.path(end), Some(body)).await
    }

    /// A POST in dialect 1: `fields` over a request that would be right.
    pub(crate) async fn mpwa(&self, path: &str, fields: Value) -> Answer {
        let mut body = json!({"api_key": self.office.key, "sender": OFFICE, "number": CUSTOMER});
        for (name, value) in fields.as_object().unwrap() {
            body[name] = value.clone();
        }
        self.office.post(path, body).await
    }

    /// A POST of these bytes under this content type, with the key in the header.
    pub(crate) async fn raw(&self, path: &str, content_type: &str, body: impl Into<Vec<u8>>) -> Answer {
        let headers = [("x-api-key", self.office.key.as_str()), ("content-type", content_type)];
        let answer = request(self.office.gateway.address(), "POST", path, &headers, body.into());
        tokio::time::timeout(PATIENCE, answer).await.expect("no answer in time").unwrap()
    }

    /// Fails if anything waits to be sent, or a file of it was kept.
    pub(crate) fn assert_nothing_kept(&self, what: &str) {
        for session in self.office.gateway.registry().list() {
            assert_eq!(self.office.gateway.outbox().depth(session.no()), 0, "{what}: in the outbox");
        }
        for folder in ["media", "spool"] {
            let path = self.office.folder.path().join(folder);
            let Ok(entries) = std::fs::read_dir(&path) else { continue };
            let files: Vec<_> = entries
                .filter_map(Result::ok)
                .filter(|e| e.file_type().is_ok_and(|t| t.is_file()))
                .map(|e| e.path())
                .collect();
            assert!(files.is_empty(), "{what}: {files:?}");
        }
    }

    /// Sends one good message, and fails unless it is the only one that the phone ever got.
    pub(crate) async fn close(self) {
        let last = "the one good message";
        let answer = self.post("/send", json!({"to": CUSTOMER, "message": last})).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let id = answer.json()["messageId"].as_str().unwrap().to_owned();
        self.office.reached(&id, kurir::outbox::Progress::Delivered).await;
        let inbox = self.office.sim.inbox(CUSTOMER, 1, Duration::ZERO).await.unwrap();
        let texts: Vec<_> = inbox.iter().map(|m| m.text.as_deref()).collect();
        assert_eq!(texts, [Some(last)]);
        self.office.assert_no_violations();
    }
}
