//! Somebody who calls the gateway with the document at hand.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Mutex;

use serde_json::Value;

use super::schema;
use crate::support::{Answer, request};

/// How a call brings its key.
#[derive(Clone, Copy)]
pub(crate) enum Key<'a> {
    /// Not in a header.
    None,
    /// `X-API-Key`.
    Header(&'a str),
    /// `Authorization`.
    Bearer(&'a str),
}

/// What a call sends.
pub(crate) enum Sends {
    /// No body.
    Nothing,
    /// A JSON body.
    Json(Value),
    /// A body of this type.
    Bytes(&'static str, Vec<u8>),
}

impl From<Value> for Sends {
    fn from(value: Value) -> Sends {
        Sends::Json(value)
    }
}

/// Fields as a query string, lists as `name[]`.
pub(crate) fn query(fields: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut pairs = Vec::new();
    for (name, value) in fields.as_object().unwrap() {
        match value {
            Value::Array(items) => pairs.extend(items.iter().map(|item| (format!("{name}[]"), text(item)))),
            value => pairs.push((name.clone(), text(value))),
        }
    }
    serde_urlencoded::to_string(pairs).unwrap()
}

/// See the module.
pub(crate) struct Reader {
    address: SocketAddr,
    pub(crate) document: Value,
    /// Operations and whether they succeeded.
    seen: Mutex<BTreeSet<(String, bool)>>,
}

impl Reader {
    /// With the document that this gateway serves.
    pub(crate) async fn at(address: SocketAddr) -> Reader {
        let answer = request(address, "GET", "/openapi.json", &[], "").await.unwrap();
        assert_eq!(answer.status, 200, "it needs no key");
        Reader { address, document: answer.json(), seen: Mutex::default() }
    }

    /// Every operation, as `METHOD /path`.
    pub(crate) fn operations(&self) -> Vec<(String, &Value)> {
        let paths = self.document["paths"].as_object().unwrap();
        let all = paths.iter().flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().iter();
            methods.map(move |(method, operation)| (format!("{} {path}", method.to_uppercase()), operation))
        });
        all.collect()
    }

    /// Calls `METHOD /path/{with}/{places}`, `target` being the path and query to ask for, and fails unless the answer
    /// has this status and is as the document says.
    pub(crate) async fn call(
        &self,
        operation: &str,
        target: &str,
        key: Key<'_>,
        sends: impl Into<Sends>,
        status: u16,
    ) -> Answer {
        let method = operation.split(' ').next().unwrap();
        let mut headers = Vec::new();
        let bearer;
        match key {
            Key::None => {}
            Key::Header(key) => headers.push(("x-api-key", key)),
            Key::Bearer(key) => {
                bearer = format!("Bearer {key}");
                headers.push(("authorization", bearer.as_str()));
            }
        }
        let body = match sends.into() {
            Sends::Nothing => Vec::new(),
            Sends::Json(value) => {
                headers.push(("content-type", "application/json"));
                value.to_string().into_bytes()
            }
            Sends::Bytes(kind, bytes) => {
                headers.push(("content-type", kind));
                bytes
            }
        };
        let answer = request(self.address, method, target, &headers, body).await.unwrap();
        assert_eq!(answer.status, status, "{operation}: {answer:?}");
        self.check(operation, &answer);
        answer
    }

    /// Fails unless the document has this answer of this operation.
    pub(crate) fn check(&self, operation: &str, answer: &Answer) {
        let kind = answer.headers.get("content-type").map(|kind| kind.to_str().unwrap());
        let content = self.content(operation, answer.status, kind);
        if let Some(content) = content
            && kind.is_some_and(|kind| kind.starts_with("application/json"))
            && content.get("schema").is_some()
        {
            let result = schema::check(&self.document, &content["schema"], &answer.json());
            result.unwrap_or_else(|why| panic!("{operation} answers {}: {why}", answer.status));
        }
        self.seen.lock().unwrap().insert((operation.to_owned(), answer.status < 400));
    }

    /// What the document says of an answer of this type.
    pub(crate) fn content(&self, operation: &str, status: u16, kind: Option<&str>) -> Option<&Value> {
        let operations = self.operations();
        let found = operations.iter().find(|(name, _)| name == operation);
        let (_, described) = found.unwrap_or_else(|| panic!("{operation} is not in the document"));
        let answer = described["responses"].get(status.to_string());
        let answer = answer.unwrap_or_else(|| panic!("{operation}: {status} is not in the document"));
        let Some(content) = answer["content"].as_object() else {
            assert_eq!(kind, None, "{operation}: {status} has a body that is not in the document");
            return None;
        };
        let plain = kind.unwrap_or_default().split(';').next().unwrap_or_default();
        let found = content.iter().find(|(known, _)| *known == plain || *known == "*/*");
        Some(found.unwrap_or_else(|| panic!("{operation}: {status} is {kind:?}, not {content:?}")).1)
    }

    /// Operations that were not seen to succeed, or not to fail although they can.
    pub(crate) fn unseen(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        let mut missing = Vec::new();
        for (name, operation) in self.operations() {
            let can_fail =
                operation["responses"].as_object().unwrap().keys().any(|status| status.starts_with('4'));
            for (succeeds, wanted) in [(true, true), (false, can_fail)] {
                if wanted && !seen.contains(&(name.clone(), succeeds)) {
                    missing.push(format!(
                        "{name} was not called so that it {}",
                        if succeeds { "succeeds" } else { "fails" }
                    ));
                }
            }
        }
        missing
    }
}
