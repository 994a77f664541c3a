//! Every parameter of every endpoint of the dialects, missing, of the wrong type, oversized and hostile: the answer is the
//! dialect's own error, names the parameter, and nothing is kept.

use serde_json::{Map, Value, json};

use super::desk::Desk;
use crate::support::{Answer, CUSTOMER, OFFICE, request};

/// What a parameter takes, and so what it must not take.
#[derive(Clone, Copy)]
enum Kind {
    /// A phone number.
    Phone,
    /// A text of so many characters at most.
    Text(usize),
    /// A truth value.
    Flag,
    /// A whole number within these.
    Number(i64, i64),
    /// Degrees.
    Degrees,
    /// A URL.
    Url,
    /// A list of texts.
    List,
    /// One of a few words.
    Word,
    /// The number or id of something that is there.
    Id,
    /// Any text: only its type can be wrong.
    Type,
}

impl Kind {
    fn bad(self) -> Vec<Value> {
        let hostile =
            ["../../etc/passwd", "' OR 1=1 --", "\u{202e}abc", "x\r\nX-Evil: 1", "{{7*7}}", "\u{0}"];
        let containers = [json!({"$ne": 1}), json!([[1]])];
        let mut bad: Vec<Value> = match self {
            Kind::Phone => vec![
                json!("budi"),
                json!("12"),
                json!("9".repeat(70_000)),
                json!(1e300),
                json!(-5),
                json!(true),
            ],
            Kind::Text(most) => {
                return [vec![json!("x".repeat(most + 1)), json!(true)], containers.to_vec()].concat();
            }
            Kind::Flag => vec![json!("maybe"), json!(7), json!("1".repeat(70_000))],
            Kind::Number(least, most) => {
                vec![
                    json!("banyak"),
                    json!(least - 1),
                    json!(most + 1),
                    json!("9".repeat(70_000)),
                    json!("1e400"),
                    json!(true),
                ]
            }
            Kind::Degrees => {
                vec![json!("utara"), json!(1_000), json!("NaN"), json!("inf"), json!("9".repeat(70_000))]
            }
            Kind::Url => {
                let inside = [
                    "http://127.0.0.1:1/a.png",
                    "http://[::1]/",
                    "http://169.254.169.254/",
                    "file:///etc/passwd",
                ];
                let mut bad: Vec<Value> = inside.iter().map(|url| json!(url)).collect();
                bad.extend([
                    json!("nonsense"),
                    json!("javascript:alert(1)"),
                    json!(format!("http://x/{}", "a".repeat(200_000))),
                ]);
                bad
            }
            Kind::List => vec![json!({"a": 1}), json!([[1]]), json!([{}])],
            Kind::Word => vec![json!("hologram"), json!("x".repeat(70_000))],
            Kind::Id => vec![json!("x"), json!("9".repeat(70_000)), json!(-1)],
            Kind::Type => vec![json!(true)],
        };
        if !matches!(self, Kind::List) {
            bad.extend(containers);
        }
        if !matches!(self, Kind::List | Kind::Type) {
            bad.extend(hostile.map(Value::from));
        }
        bad
    }
}

/// An endpoint and a request that is right, with its parameters.
struct Endpoint {
    path: &'static str,
    good: Value,
    fields: Vec<Field>,
}

/// A parameter.
struct Field {
    name: &'static str,
    kind: Kind,
    required: bool,
    /// What its error says: its name, mostly.
    word: &'static str,
}

impl Field {
    /// Its error tells what is wrong in other words.
    fn unnamed(self) -> Field {
        Field { word: "", ..self }
    }
}

fn required(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, required: true, word: name }
}

fn optional(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, required: false, word: name }
}

/// Fails unless it is the dialect's error.
type Check = fn(&str, &Answer) -> String;

async fn try_all(
    desk: &Desk,
    endpoints: Vec<Endpoint>,
    send: impl AsyncFn(&str, &Value) -> Answer,
    check: Check,
) {
    for Endpoint { path, good, fields } in endpoints {
        for Field { name, kind, required, word } in fields {
            let mut tries: Vec<Map<String, Value>> = Vec::new();
            for bad in kind.bad() {
                let mut body = good.as_object().unwrap().clone();
                body.insert(name.to_owned(), bad);
                tries.push(body);
            }
            if required {
                for nothing in [None, Some(Value::Null), Some(json!("")), Some(json!(" \n"))] {
                    let mut body = good.as_object().unwrap().clone();
                    body.remove(name);
                    body.extend(nothing.map(|nothing| (name.to_owned(), nothing)));
                    tries.push(body);
                }
            }
            for body in tries {
                let shown: String =
                    format!("{path} {name}: {:?}", body.get(name)).chars().take(160).collect();
                let answer = send(path, &Value::Object(body)).await;
                assert!((400..500).contains(&answer.status), "{shown}: {answer:?}");
                let message = check(&shown, &answer);
                assert!(message.contains(word), "{shown}: \"{message}\" does not say \"{word}\"");
                assert!(message.len() < 600, "{shown}: an error of {} bytes", message.len());
                assert!(!message.contains(&desk.office.key), "{shown}: the key is in {message}");
                desk.assert_nothing_kept(&shown);
            }
        }
    }
}

/// The text for people, where the answer has exactly these fields besides it.
fn fields_of(what: &str, answer: &Answer, text: &str, others: &[&str]) -> String {
    let body = answer.json();
    let object = body.as_object().unwrap_or_else(|| panic!("{what}: {body}"));
    let mut expected: Vec<&str> = [&[text], others].concat();
    expected.sort_unstable();
    let mut names: Vec<&str> = object.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, expected, "{what}: {body}");
    assert!(
        body.get("success").or(body.get("status")).is_none_or(|flag| *flag == json!(false)),
        "{what}: {body}"
    );
    body[text].as_str().unwrap_or_else(|| panic!("{what}: {body}")).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_dialect_1() {
    let desk = Desk::open().await;
    let number = || required("number", Kind::Phone);
    let endpoints = vec![
        Endpoint {
            path: "/send-message",
            good: json!({"number": CUSTOMER, "message": "a"}),
            fields: vec![number(), required("message", Kind::Text(65_536)), optional("full", Kind::Flag)],
        },
        Endpoint {
            path: "/send-media",
            good: json!({"number": CUSTOMER, "media_type": "image", "url": "http://example.com/a.png"}),
            fields: vec![
                required("media_type", Kind::Word),
                required("url", Kind::Url),
                optional("caption", Kind::Text(4_096)),
                optional("ppt", Kind::Flag),
            ],
        },
        Endpoint {
            path: "/send-poll",
            good: json!({"number": CUSTOMER, "name": "a", "option": ["b", "c"]}),
            fields: vec![number(), required("name", Kind::Text(255)), required("option", Kind::List)],
        },
        Endpoint {
            path: "/send-location",
            good: json!({"number": CUSTOMER, "latitude": 1, "longitude": 2}),
            fields: vec![number(), required("latitude", Kind::Degrees), required("longitude", Kind::Degrees)],
        },
        Endpoint {
            path: "/send-vcard",
            good: json!({"number": CUSTOMER, "name": "a", "phone": CUSTOMER}),
            fields: vec![number(), required("phone", Kind::Phone)],
        },
        Endpoint {
            path: "/send-sticker",
            good: json!({"number": CUSTOMER}),
            fields: vec![required("url", Kind::Url)],
        },
        Endpoint { path: "/check-number", good: json!({"number": CUSTOMER}), fields: vec![number()] },
    ];
    let send = async |path: &str, body: &Value| {
        let mut body = body.clone();
        body["api_key"] = json!(desk.office.key);
        body["sender"] = json!(OFFICE);
        desk.office.post(path, body).await
    };
    try_all(&desk, endpoints, send, |what, answer| fields_of(what, answer, "msg", &["status"])).await;
    desk.close().await;
}

/// A POST with the key in `Authorization`.
async fn authorized(desk: &Desk, scheme: &str, path: &str, body: &Value) -> Answer {
    let value = format!("{scheme}{}", desk.office.key);
    let headers = [("authorization", value.as_str()), ("content-type", "application/json")];
    request(desk.office.gateway.address(), "POST", path, &headers, body.to_string()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fonntes_api() {
    let desk = Desk::open().await;
    let endpoints = vec![
        Endpoint {
            path: "/send",
            good: json!({"target": CUSTOMER, "message": "a"}),
            fields: vec![
                required("target", Kind::Phone),
                required("message", Kind::Text(60_000)),
                optional("url", Kind::Url).unnamed(),
                optional("schedule", Kind::Word),
                optional("delay", Kind::Word),
                optional("followup", Kind::Word),
                optional("countryCode", Kind::Word),
                optional("location", Kind::Word),
                optional("typing", Kind::Flag),
                optional("connectOnly", Kind::Flag),
                optional("preview", Kind::Flag),
                optional("sequence", Kind::Flag),
                optional("data", Kind::Word),
            ],
        },
        Endpoint {
            path: "/validate",
            good: json!({"target": CUSTOMER}),
            fields: vec![required("target", Kind::Type)],
        },
        Endpoint { path: "/status", good: json!({"id": 1}), fields: vec![required("id", Kind::Id)] },
        Endpoint { path: "/delete-message", good: json!({"id": 1}), fields: vec![required("id", Kind::Id)] },
        Endpoint {
            path: "/typing",
            good: json!({"target": CUSTOMER}),
            fields: vec![
                required("target", Kind::Phone),
                optional("duration", Kind::Number(0, 60)),
                optional("stop", Kind::Flag),
            ],
        },
    ];
    let send = async |path: &str, body: &Value| authorized(&desk, "", path, body).await;
    let others = |what: &str, answer: &Answer| {
        fields_of(what, answer, "reason", &["Status", "detail", "requestid", "status"])
    };
    try_all(&desk, endpoints, send, others).await;
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_waapi() {
    let desk = Desk::open().await;
    let endpoints = vec![
        Endpoint {
            path: "/api/send-message",
            good: json!({"to": CUSTOMER, "message": "a"}),
            fields: vec![
                required("to", Kind::Phone),
                required("message", Kind::Text(65_536)),
                optional("deviceId", Kind::Type),
            ],
        },
        Endpoint {
            path: "/api/send-media",
            good: json!({"to": CUSTOMER, "url": "http://example.com/a.png"}),
            fields: vec![
                required("to", Kind::Phone),
                required("url", Kind::Url).unnamed(),
                optional("caption", Kind::Text(4_096)),
                optional("type", Kind::Word),
            ],
        },
    ];
    let send = async |path: &str, body: &Value| authorized(&desk, "Bearer ", path, body).await;
    try_all(&desk, endpoints, send, |what, answer| fields_of(what, answer, "error", &[])).await;
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_dialect_3() {
    let desk = Desk::open().await;
    let endpoints = vec![Endpoint {
        path: "/api/send-message",
        good: json!({"number": CUSTOMER, "message": "a"}),
        fields: vec![
            required("number", Kind::Phone),
            required("message", Kind::Text(65_536)),
            optional("recipients", Kind::List),
            optional("media", Kind::List),
            optional("reference_id", Kind::Text(200)),
            optional("sessionId", Kind::Type),
        ],
    }];
    let send = async |path: &str, body: &Value| desk.office.call("POST", path, Some(body.clone())).await;
    try_all(&desk, endpoints, send, |what, answer| fields_of(what, answer, "error", &["success"])).await;
    desk.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_dialect_4_and_of_our_own_routes() {
    let desk = Desk::open().await;
    let session = desk.session.id().to_owned();
    let send_path: &'static str = Box::leak(desk.path("/send").into_boxed_str());
    let pair_path: &'static str = Box::leak(desk.path("/pair-code").into_boxed_str());
    let token_path: &'static str = Box::leak(desk.path("/tokens").into_boxed_str());
    let endpoints = vec![
        Endpoint {
            path: send_path,
            good: json!({"to": CUSTOMER, "message": "a"}),
            fields: vec![
                optional("to", Kind::Phone),
                optional("message", Kind::Text(4_096)),
                optional("skipValidation", Kind::Flag),
            ],
        },
        Endpoint { path: pair_path, good: json!({}), fields: vec![required("phone", Kind::Phone)] },
        Endpoint {
            path: token_path,
            good: json!({}),
            fields: vec![optional("name", Kind::Text(60)), optional("fonnte_always_200", Kind::Flag)],
        },
        Endpoint {
            path: "/api/sessions",
            good: json!({}),
            fields: vec![required("sessionName", Kind::Type)],
        },
        Endpoint {
            path: "/api/number-checker",
            good: json!({"sessionId": session, "phoneNumbers": [CUSTOMER]}),
            fields: vec![required("sessionId", Kind::Type), optional("phoneNumbers", Kind::List)],
        },
        Endpoint {
            path: "/api/v1/webhooks",
            good: json!({"url": "http://example.com/"}),
            fields: vec![
                optional("url", Kind::Url).unnamed(),
                optional("session", Kind::Id).unnamed(),
                optional("format", Kind::Word),
                optional("events", Kind::List),
                optional("from_me", Kind::Flag),
                optional("timeout_s", Kind::Number(1, 60)),
            ],
        },
    ];
    let send = async |path: &str, body: &Value| desk.office.call("POST", path, Some(body.clone())).await;
    let check = |what: &str, answer: &Answer| fields_of(what, answer, "message", &["error", "success"]);
    try_all(&desk, endpoints, send, check).await;
    assert_eq!(desk.office.call("GET", "/api/v1/webhooks", None).await.json()["webhooks"], json!([]));
    assert_eq!(desk.office.gateway.registry().list().len(), 1, "no session was made");
    desk.close().await;
}
