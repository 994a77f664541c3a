//! Whatever comes in: an answer, never a failure of ours, never a key in it.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::response::Parts;
use axum::http::{HeaderName, HeaderValue, Method, Request, Response, Uri};
use http_body_util::BodyExt;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::{Map, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tower::ServiceExt;

use super::desk::Desk;
use crate::support::{CUSTOMER, NOBODY, OFFICE, PATIENCE, request};

/// One gateway for all cases: what one case breaks, the next one sees.
struct Stage {
    runtime: Runtime,
    desk: Desk,
    router: Router,
    unpaired: String,
    admin: String,
    /// The gateway's description of itself, and every method and path in it.
    document: Value,
    operations: Vec<(&'static str, String)>,
}

/// Requests thrown at each operation.
const CASES: u32 = 10;

static STAGE: LazyLock<Arc<Stage>> = LazyLock::new(|| {
    let runtime = Runtime::new().unwrap();
    let (desk, unpaired, admin) = runtime.block_on(async {
        let desk = Desk::open_with(|config| {
            config.limits.fetch_total = Duration::from_secs(1);
            config.limits.fetch_stall = Duration::from_millis(500);
        })
        .await;
        let unpaired = desk.office.gateway.registry().create("Baru", "main").await.unwrap();
        let admin = desk.office.gateway.keys().create("reader", "main", true).await.unwrap();
        (desk, unpaired.id().to_owned(), admin)
    });
    let router = desk.office.gateway.router();
    let mut stage =
        Stage { runtime, desk, router, unpaired, admin, document: Value::Null, operations: Vec::new() };
    stage.document = stage.ask("/openapi.json");
    stage.operations = operations(&stage.document);
    Arc::new(stage)
});

fn operations(document: &Value) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            if item.get(method.to_lowercase()).is_some() {
                found.push((method, path.clone()));
            }
        }
    }
    found
}

impl Stage {
    /// A GET with the administrator's key.
    fn ask(&self, path: &str) -> Value {
        let request =
            Request::builder().uri(path).header("x-api-key", &self.admin).body(Body::empty()).unwrap();
        let bytes = self.runtime.block_on(async {
            let answer = self.router.clone().oneshot(request).await.unwrap();
            assert_eq!(answer.status().as_u16(), 200, "{path}");
            to_bytes(answer.into_body(), 10_000_000).await.unwrap()
        });
        serde_json::from_slice(&bytes).unwrap()
    }

    /// Whether the document has this type, other than JSON, among the operation's answers of this status.
    fn may_answer(&self, operation: Option<&(&'static str, String)>, status: u16, kind: &str) -> bool {
        let Some((method, path)) = operation else { return false };
        let answer = &self.document["paths"][path][method.to_lowercase()]["responses"][status.to_string()];
        kind != "application/json" && answer["content"].get(kind).is_some()
    }
}

/// Texts that have broken programs before, and some that are right. `KEY` stands for the key.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just(CUSTOMER.to_owned()),
        2 => Just(OFFICE.to_owned()),
        1 => Just(NOBODY.to_owned()),
        3 => Just("KEY".to_owned()),
        1 => prop::sample::select(vec![
            "", " ", "\0", "0", "-1", "true", "null", "../../etc/passwd", "%00", "%", "\r\nX-Evil: 1", "\u{202e}", "👋",
            "https://", "http://127.0.0.1/", "http://[::1]/", "file:///etc/passwd", "image", "audio", "vn",
            "120363041234567890@g.us", "1@lid", "@", "status@broadcast", "99999999999999999999", "1e400", "NaN",
        ])
        .prop_map(str::to_owned),
        2 => ".{0,40}",
        1 => (1usize..70_000, any::<char>()).prop_map(|(n, c)| c.to_string().repeat(n)),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        6 => text().prop_map(Value::String),
        1 => any::<bool>().prop_map(Value::Bool),
        1 => any::<i64>().prop_map(Value::from),
        1 => any::<f64>().prop_map(Value::from),
        1 => Just(Value::Null),
    ];
    leaf.prop_recursive(3, 8, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((".{0,6}", inner), 0..4)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// Mostly what would be right, with something wrong in it.
fn fields() -> impl Strategy<Value = Map<String, Value>> {
    let right = [
        ("api_key", "KEY"),
        ("sender", OFFICE),
        ("number", CUSTOMER),
        ("message", "halo"),
        ("media_type", "image"),
        ("url", "http://127.0.0.1/a.png"),
        ("to", CUSTOMER),
        ("sessionName", "Toko"),
        ("media", "halo"),
        ("target", CUSTOMER),
        ("name", "Menu"),
        ("type", "document"),
    ];
    let names = prop::sample::select(vec![
        "api_key",
        "sender",
        "number",
        "message",
        "media_type",
        "url",
        "caption",
        "ppt",
        "ptt",
        "to",
        "skipValidation",
        "sessionName",
        "media",
        "target",
        "schedule",
        "delay",
        "countryCode",
        "location",
        "choices",
        "select",
        "pollname",
        "data",
        "sequence",
        "inboxid",
        "duration",
        "recipients",
        "reference_id",
        "option",
        "latitude",
        "longitude",
        "phone",
        "button",
        "list",
        "sections",
        "msgid",
        "full",
        "id",
        "type",
        "whatsapp",
        "sessionId",
        "phoneNumbers",
        "text",
        "emoji",
        "chat",
        "from_me",
        "state",
        "duration_s",
        "messages",
        "reply_to",
        "mentions",
        "preview",
        "send_at_ms",
        "poll",
        "contact",
        "participants",
        "action",
        "description",
        "link",
        "queue_allow",
        "main_number",
        "stranger_daily_cap",
        "",
    ]);
    (prop::bool::weighted(0.9), prop::collection::vec((names, prop::option::weighted(0.9, value())), 0..3))
        .prop_map(move |(begin, changes)| {
            let mut fields = Map::new();
            if begin {
                fields.extend(right.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))));
            }
            for (name, value) in changes {
                match value {
                    Some(value) => fields.insert(name.to_owned(), value),
                    None => fields.remove(name),
                };
            }
            fields
        })
}

fn body() -> impl Strategy<Value = (Option<&'static str>, Vec<u8>)> {
    let types = || {
        prop::option::of(prop::sample::select(vec![
            "application/json",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=B",
            "multipart/form-data",
            "text/plain",
            "application/octet-stream",
            "",
        ]))
    };
    let json = fields().prop_map(|f| Value::Object(f).to_string().into_bytes());
    let form = fields().prop_map(|f| {
        let pairs: Vec<(String, String)> = f
            .into_iter()
            .map(|(k, v)| (k, v.as_str().map_or_else(|| v.to_string(), str::to_owned)))
            .collect();
        serde_urlencoded::to_string(pairs).unwrap().into_bytes()
    });
    let multipart = fields().prop_map(|f| {
        let mut body = Vec::new();
        for (name, value) in f {
            let file = if name == "media" { "; filename=\"../a.png\"" } else { "" };
            let head = format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
            body.extend([head.as_bytes(), value.as_str().unwrap_or("1").as_bytes(), b"\r\n"].concat());
        }
        [body, b"--B--\r\n".to_vec()].concat()
    });
    let junk = prop::collection::vec(any::<u8>(), 0..400);
    prop_oneof![
        4 => json.prop_map(|b| (Some("application/json"), b)),
        2 => form.prop_map(|b| (Some("application/x-www-form-urlencoded"), b)),
        2 => multipart.prop_map(|b| (Some("multipart/form-data; boundary=B"), b)),
        2 => (types(), junk),
        1 => (types(), fields().prop_map(|f| Value::Object(f).to_string().into_bytes())),
    ]
}

/// What stands for a place in a path. `ID` stands for the paired session's id, `NEW` for the unpaired one's.
fn place() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => prop::sample::select(vec![
            "ID", "ID", "NEW", CUSTOMER, "120363041234567890@g.us", "3EB0FFFFFFFFFFFFFFFFFF", "1", "app.js",
            "%F0%9F%91%8B", "%00%ff", "%2e%2e%2f", "none", "KEY",
        ])
        .prop_map(str::to_owned),
        1 => "[a-zA-Z0-9%._~-]{1,20}",
    ]
}

fn query() -> impl Strategy<Value = String> {
    fields().prop_map(|f| {
        let pairs: Vec<(String, String)> =
            f.into_iter().map(|(k, v)| (k, v.as_str().unwrap_or("1").chars().take(300).collect())).collect();
        serde_urlencoded::to_string(pairs).unwrap()
    })
}

/// A method and a route at which there may be nothing, or nothing for this method; and the route with its places filled.
fn elsewhere() -> impl Strategy<Value = ((&'static str, String), String)> {
    let methods = vec!["POST", "POST", "POST", "GET", "GET", "PATCH", "PUT", "HEAD", "BREW"];
    let known = STAGE.operations.iter().map(|(_, path)| path.clone()).collect::<Vec<_>>();
    let route = prop_oneof![
        4 => prop::sample::select(known),
        2 => "/api/sessions/[a-zA-Z0-9%._~-]{0,20}(/[a-z-]{0,12})?",
        2 => "/[a-zA-Z0-9%?&=/._~-]{0,60}",
        1 => Just("/KEY".to_owned()),
        1 => Just("/api/sessions/KEY/send".to_owned()),
    ];
    (prop::sample::select(methods), route, place()).prop_map(|(method, route, place)| {
        let operation = (method, route);
        let path = spared(&operation, filled(&operation.1, &[place]));
        (operation, path)
    })
}

/// A path of the document with these in its places; the last one fills the rest.
fn filled(path: &str, places: &[String]) -> String {
    let mut parts = Vec::new();
    let mut places = places.iter();
    let mut last = "none";
    for part in path.split('/') {
        if part.starts_with('{') {
            last = places.next().map_or(last, String::as_str);
            parts.push(last);
        } else {
            parts.push(part);
        }
    }
    parts.join("/")
}

/// What is left out of the places and added to the query, so that the session which all cases use stays as it is.
fn spared(operation: &(&'static str, String), path: String) -> String {
    match (operation.0, operation.1.as_str()) {
        ("DELETE", "/api/sessions/{id}") => path.replace("ID", "none").replace("NEW", "none"),
        ("POST", "/api/sessions/{id}/reconnect") => path.replace("ID", "NEW"),
        (_, "/logout-device" | "/disconnect") => path + "?device=NEW",
        (_, "/delete-device") => path + "?device=none",
        _ => path,
    }
}

/// A request without its path.
type Rest = ((Option<&'static str>, Vec<u8>), &'static str, Option<(String, String)>);

fn rest() -> impl Strategy<Value = Rest> {
    let keyed = vec!["", "x-api-key", "x-api-key", "authorization", "authorization", "bearer"];
    let names = prop_oneof![3 => "[a-z-]{1,12}", 1 => prop::sample::select(vec!["last-event-id", "if-none-match", "range"]).prop_map(str::to_owned)];
    (body(), prop::sample::select(keyed), prop::option::of((names, "[ -~]{0,40}")))
}

/// The beginning of a body: a stream of events has no end.
async fn read(answer: Response<Body>) -> (Parts, Bytes) {
    let (head, mut body) = answer.into_parts();
    let is_stream = head.headers.get("content-type").is_some_and(|kind| kind == "text/event-stream");
    if is_stream {
        let first = tokio::time::timeout(PATIENCE, body.frame()).await.expect("the stream says nothing");
        return (head, first.unwrap().unwrap().into_data().unwrap());
    }
    (head, to_bytes(body, 10_000_000).await.unwrap())
}

/// Sends it. `path`: as in the document, if it is one of its operations.
fn try_out(
    operation: Option<&(&'static str, String)>,
    method: &str,
    path: &str,
    rest: Rest,
) -> Result<(), TestCaseError> {
    let ((content_type, body), keyed, header) = rest;
    let stage = Arc::clone(&STAGE);
    let key = stage.desk.office.key.clone();
    let fill = |text: &str| {
        text.replace("KEY", &key).replace("ID", stage.desk.session.id()).replace("NEW", &stage.unpaired)
    };
    let Ok(uri) = fill(path).parse::<Uri>() else { return Ok(()) };
    let body = match String::from_utf8(body) {
        // A name is shown as it was given, whatever somebody gives as a name.
        Ok(text) if path.starts_with("/api/sessions") && !path.contains("/ID") => text.into_bytes(),
        Ok(text) if path.contains("/groups") => text.into_bytes(),
        Ok(text) => fill(&text).into_bytes(),
        Err(e) => e.into_bytes(),
    };
    let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(uri);
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    request = match keyed {
        "" => request,
        "bearer" => request.header("authorization", format!("Bearer {key}")),
        name => request.header(name, &key),
    };
    if let Some((name, value)) = header
        && let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(&value))
    {
        request = request.header(name, value);
    }
    let request = request.body(Body::from(body)).unwrap();
    let (head, answer) = stage.runtime.block_on(async {
        let answer = tokio::time::timeout(PATIENCE, stage.router.clone().oneshot(request));
        read(answer.await.expect("no answer in time").unwrap()).await
    });
    let status = head.status.as_u16();
    let kind = head.headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().to_owned();
    let head = format!("{:?}", head.headers);
    let text = String::from_utf8_lossy(&answer);
    prop_assert!(status < 500 || matches!(status, 502..=504), "{status}: {text}");
    prop_assert!(!text.contains(&key) && !head.contains(&key), "the key is in the answer: {text}");
    prop_assert!(!head.contains("x-evil"), "{head}");
    if method != "HEAD" && status != 304 && !stage.may_answer(operation, status, &kind) {
        prop_assert!(
            serde_json::from_slice::<Value>(&answer).is_ok(),
            "{method} {path}: {status}, {kind} is not JSON: {text}"
        );
    }
    // What the log has of it: by an administrator's key, because not everything has an owner.
    let newest = stage.ask("/api/v1/requests?limit=1");
    if let Some(id) = newest["requests"][0]["id"].as_u64() {
        let shown = stage.ask(&format!("/api/v1/requests/{id}")).to_string();
        let plain =
            serde_urlencoded::from_str::<Vec<(String, String)>>(&format!("x={}", shown.replace('+', "%2B")));
        let plain = plain.map(|pairs| format!("{pairs:?}")).unwrap_or_default();
        prop_assert!(!shown.contains(&key) && !plain.contains(&key), "the key is in the log: {shown}");
    }
    // Wrong keys add up to a pause, which would hide everything behind it.
    let from_here = stage.runtime.block_on(stage.router.clone().oneshot(
        Request::builder().uri("/api/sessions").header("x-api-key", &key).body(Body::empty()).unwrap(),
    ));
    prop_assert_eq!(from_here.unwrap().status().as_u16(), 200);
    Ok(())
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(ProptestConfig {
        cases,
        max_shrink_iters: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })
}

/// The routes are those of the gateway's own description, in which every route is: a new one is thrown at from its first
/// day.
#[test]
fn every_answer_of_every_route_is_an_answer() {
    assert!(STAGE.operations.len() > 90, "{:?}", STAGE.operations);
    for special in ["/api/v1/events", "/metrics", "/docs", "/api/v1/panel.png"] {
        assert!(STAGE.operations.iter().any(|(_, path)| path == special), "{special} is not described");
    }
    for operation in &STAGE.operations {
        let places = prop::collection::vec(place(), 1..3);
        let case = (places, prop::option::weighted(0.4, query()), rest());
        let run = runner(CASES).run(&case, |(places, query, rest)| {
            let mut path = spared(operation, filled(&operation.1, &places));
            if let Some(query) = query {
                path += if path.contains('?') { "&" } else { "?" };
                path += &query;
            }
            try_out(Some(operation), operation.0, &path, rest)
        });
        run.unwrap_or_else(|e| panic!("{} {}: {e}", operation.0, operation.1));
    }
}

#[test]
fn every_answer_elsewhere_is_an_answer() {
    let run = runner(300).run(&(elsewhere(), rest()), |((operation, path), rest)| {
        let route = operation.1.split('?').next().unwrap_or_default();
        let described = STAGE.operations.iter().find(|known| known.0 == operation.0 && known.1 == route);
        try_out(described, operation.0, &path, rest)
    });
    run.unwrap_or_else(|e| panic!("{e}"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes_on_the_port_never_stop_it(
        begin in prop::sample::select(vec!["", "GET ", "POST /send-message HTTP/1.1\r\n", "POST /api/sessions HTTP/1.1\r\nhost: x\r\n"]),
        bytes in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let stage = Arc::clone(&STAGE);
        let address = stage.desk.office.gateway.address();
        let status = stage.runtime.block_on(async {
            let mut stream = TcpStream::connect(address).await.unwrap();
            // The server may close first.
            let _ = stream.write_all(begin.as_bytes()).await;
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
            let mut answer = Vec::new();
            let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
            let _ = read.expect("the server does not close");
            request(address, "GET", "/healthz", &[], "").await.unwrap().status
        });
        prop_assert_eq!(status, 200);
    }
}
