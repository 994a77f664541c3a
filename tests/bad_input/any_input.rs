//! Whatever comes in: an answer, never a failure of ours, never a key in it.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderName, HeaderValue, Method, Request, Uri};
use proptest::prelude::*;
use serde_json::{Map, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tower::ServiceExt;

use super::desk::Desk;
use super::support::{CUSTOMER, NOBODY, OFFICE, PATIENCE, request};

/// One gateway for all cases: what one case breaks, the next one sees.
struct Stage {
    runtime: Runtime,
    desk: Desk,
    router: Router,
    unpaired: String,
    admin: String,
}

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
    Arc::new(Stage { runtime, desk, router, unpaired, admin })
});

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

/// `ID` stands for the paired session's id, `NEW` for the unpaired one's.
fn path() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "/send-message",
        "/send-media",
        "/api/sessions",
        "/api/sessions?list=1",
        "/api/sessions/ID/send",
        "/api/sessions/ID/send-media",
        "/api/sessions/ID",
        "/api/sessions/NEW",
        "/api/sessions/NEW/send",
        "/api/sessions/NEW/send-media",
        "/api/sessions/NEW/qr",
        "/healthz",
        "/readyz",
        "/api/sessions/ID/tokens",
        "/api/number-checker",
        "/send",
        "/device",
        "/get-devices",
        "/qr",
        "/validate",
        "/fetch-group",
        "/get-whatsapp-group",
        "/delete-message",
        "/status",
        "/typing",
        "/api/send-message",
        "/api/send-media",
        "/api/status",
        "/api/devices/ID/wa-groups",
        "/send-poll",
        "/send-location",
        "/send-vcard",
        "/send-sticker",
        "/send-button",
        "/send-list",
        "/check-number",
        "/generate-qr",
        "/info-devices",
        "/api/sessions/NEW/pair-code",
        "/api/sessions/NEW/reconnect",
        "/logout-device?device=NEW",
        "/delete-device?device=none",
        "/disconnect?device=NEW",
        "/api/v1/webhooks",
        "/api/v1/webhooks/NEW",
        "/api/v1/webhooks/NEW/rotate-secret",
        "/api/v1/webhooks/NEW/deliveries",
        "/api/v1/webhooks/NEW/dead",
        "/api/v1/webhooks/NEW/replay",
        "/api/v1/media/NEW",
        "/api/v1/requests",
        "/api/v1/requests?limit=200",
        "/api/v1/requests/1",
        "/api/message-status/ID",
        "/api/message-status/ID/cancel",
        "/api/message-status/ID/retry",
        "/api/v1/sessions/ID/messages",
        "/api/v1/sessions/NEW/messages",
        "/api/v1/sessions/ID/messages/ID",
        "/api/v1/sessions/ID/messages/%00%ff",
        "/api/v1/sessions/ID/messages/ID/retry",
        "/api/v1/sessions/ID/messages/3EB0FFFFFFFFFFFFFFFFFF/reaction",
        "/api/v1/sessions/ID/messages/3EB0FFFFFFFFFFFFFFFFFF",
        "/api/v1/sessions/ID/chats/6281200000002/typing",
        "/api/v1/sessions/ID/chats/6281200000002/read",
        "/api/v1/sessions/ID/chats/%F0%9F%91%8B/read",
        "/api/v1/sessions/NEW/chats/6281200000002/typing",
        "/api/v1/sessions/ID/groups",
        "/api/v1/sessions/ID/groups/join",
        "/api/v1/sessions/ID/groups/120363041234567890@g.us",
        "/api/v1/sessions/ID/groups/120363041234567890@g.us/participants",
        "/api/v1/sessions/ID/groups/120363041234567890@g.us/invite",
        "/api/v1/sessions/NEW/groups/120363041234567890@g.us/leave",
        "/api/v1/sessions/ID/settings",
    ]);
    let query = fields().prop_map(|f| {
        let pairs: Vec<(String, String)> =
            f.into_iter().map(|(k, v)| (k, v.as_str().unwrap_or("1").chars().take(300).collect())).collect();
        format!("?{}", serde_urlencoded::to_string(pairs).unwrap())
    });
    prop_oneof![
        6 => known.prop_map(str::to_owned),
        2 => ("/(send-message|send-media)", query).prop_map(|(path, query)| path + &query),
        1 => "/api/sessions/[a-zA-Z0-9%._~-]{0,20}(/[a-z-]{0,12})?",
        1 => "/[a-zA-Z0-9%?&=/._~-]{0,60}",
        1 => Just("/KEY".to_owned()),
        1 => Just("/api/sessions/KEY/send".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_answer_is_an_answer(
        method in prop::sample::select(vec!["POST", "POST", "POST", "POST", "POST", "POST", "GET", "GET", "PATCH", "PUT", "HEAD", "BREW"]),
        path in path(),
        (content_type, body) in body(),
        keyed in prop::sample::select(vec!["", "x-api-key", "x-api-key", "authorization", "authorization", "bearer"]),
        header in prop::option::of(("[a-z-]{1,12}", "[ -~]{0,40}")),
    ) {
        let stage = Arc::clone(&STAGE);
        let key = stage.desk.office.key.clone();
        let fill = |text: &str| text.replace("KEY", &key).replace("ID", stage.desk.session.id()).replace("NEW", &stage.unpaired);
        let Ok(uri) = fill(&path).parse::<Uri>() else { return Ok(()) };
        let body = match String::from_utf8(body) {
            // A name is shown as it was given, whatever somebody gives as a name.
            Ok(text) if path.starts_with("/api/sessions") && !path.contains("/ID") => text.into_bytes(),
            Ok(text) if path.contains("/groups") => text.into_bytes(),
            Ok(text) => fill(&text).into_bytes(),
            Err(e) => e.into_bytes(),
        };
        // What only the newer API takes; elsewhere it would remove the session that all cases use.
        let method = match method {
            "PUT" if path.starts_with("/api/v1/sessions/") => "DELETE",
            "BREW" if path.starts_with("/api/v1/sessions/") => "PATCH",
            method => method,
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
        let (status, head, answer) = stage.runtime.block_on(async {
            let answer = tokio::time::timeout(PATIENCE, stage.router.clone().oneshot(request));
            let (head, body) = answer.await.expect("no answer in time").unwrap().into_parts();
            let body: Bytes = to_bytes(body, 10_000_000).await.unwrap();
            (head.status.as_u16(), format!("{:?}", head.headers), body)
        });
        let text = String::from_utf8_lossy(&answer);
        prop_assert!(status < 500 || matches!(status, 502..=504), "{status}: {text}");
        prop_assert!(!text.contains(&key) && !head.contains(&key), "the key is in the answer: {text}");
        prop_assert!(!head.contains("x-evil"), "{head}");
        if method != "HEAD" {
            prop_assert!(serde_json::from_slice::<Value>(&answer).is_ok(), "{status}, not JSON: {text}");
        }
        // What the log has of it: by an administrator's key, because not everything has an owner.
        let newest = stage.ask("/api/v1/requests?limit=1");
        if let Some(id) = newest["requests"][0]["id"].as_u64() {
            let shown = stage.ask(&format!("/api/v1/requests/{id}")).to_string();
            let plain = serde_urlencoded::from_str::<Vec<(String, String)>>(&format!("x={}", shown.replace('+', "%2B")));
            let plain = plain.map(|pairs| format!("{pairs:?}")).unwrap_or_default();
            prop_assert!(!shown.contains(&key) && !plain.contains(&key), "the key is in the log: {shown}");
        }
        // Wrong keys add up to a pause, which would hide everything behind it.
        let from_here = stage.runtime.block_on(stage.router.clone().oneshot(
            Request::builder().uri("/api/sessions").header("x-api-key", &key).body(Body::empty()).unwrap(),
        ));
        prop_assert_eq!(from_here.unwrap().status().as_u16(), 200);
    }
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
