//! Puts the document together: what the handlers say, and what their dialects share. Pure.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use utoipa::openapi::{RefOr, Schema};

use super::{DIALECTS, Described, Dialect};

const ABOUT: &str = "\
Kurir is a small box on the office network that gives every application there a WhatsApp number. It speaks the formats \
of gateways that offices already use, so an application moves over by changing its base URL. Choose one dialect and stay \
with it; all of them reach the same sessions.

**Phone numbers** are digits with the country code. `+`, spaces, dashes and parentheses are ignored, and a leading `0` \
becomes the box's own country code (62 unless it was changed). `…@g.us` is a group.

**200 means kept**: the message is on the box's disk and will be sent, once, even if the power fails now. Whether it was \
sent, delivered and read is told by webhooks, the event stream and the dialect's own status call.

**Parameters** come in the query, as JSON, as a form or as multipart wherever an operation shows more than one form. \
Unknown ones are ignored; booleans may also be `\"true\"`, `\"1\"` and `1`, numbers may be texts.

**Keys** belong to an account and may use its sessions; a device token is a key for one session. `kurir key new` makes \
them. Answers carry `RateLimit-Limit`, `RateLimit-Remaining` and `RateLimit-Reset` where a key has a limit.";

/// The forms in which a body may come.
const JSON: &str = "application/json";
/// What a browser shows.
const PAGE: &str = "text/html";
const FORMS: [&str; 2] = ["application/x-www-form-urlencoded", "multipart/form-data"];

/// The whole document.
pub(super) fn build(described: Vec<Described>, schemas: BTreeMap<String, RefOr<Schema>>) -> Value {
    let mut components = match value(schemas) {
        Value::Object(schemas) => schemas,
        _ => Map::new(),
    };
    // The journal keeps no link to a file: it is added when the event is shown.
    if let Some(file) = components.get_mut("EventMedia").and_then(|media| media.get_mut("properties")) {
        file["url"] = json!({
            "type": "string",
            "description": "Leads to the file, without a key, as long as the box keeps it: treat it as a secret.",
            "example": "http://kurir.local:8080/api/v1/media/b6d0…?until=1732795200&sig=…",
        });
    }
    for dialect in DIALECTS {
        let (name, schema) = (dialect.error)();
        components.insert(name, value(schema));
    }
    components.values_mut().for_each(tidy);
    let mut paths = Map::new();
    for Described { dialects, paths: own } in described {
        let Value::Object(own) = value(own) else { continue };
        for (path, item) in own {
            let Value::Object(methods) = item else { continue };
            for (method, operation) in methods {
                let Value::Object(operation) = operation else { continue };
                let operation = complete(&path, &method, operation, dialects, &components);
                let item = paths.entry(path.clone()).or_insert_with(|| json!({}));
                item[&method] = Value::Object(operation);
            }
        }
    }
    let tags: Vec<Value> =
        DIALECTS.iter().map(|d| json!({"name": d.tag, "description": d.about, "x-keys": d.keys})).collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Kurir",
            "summary": "A WhatsApp gateway for an office network",
            "description": ABOUT,
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "/", "description": "The box that this document came from"}],
        "tags": tags,
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": keys(), "headers": headers()},
    })
}

/// A type that is written where it is used comes beside what is said of it there, and that claims to be an object. Both
/// become one.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::Array(parts)) = fields.remove("allOf") {
                for part in parts {
                    let Value::Object(mut part) = part else { continue };
                    if fields.contains_key("type") {
                        part.remove("type");
                    }
                    fields.extend(part);
                }
            }
            fields.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

fn value(described: impl serde::Serialize) -> Value {
    serde_json::to_value(described).expect("a description is plain data with text keys")
}

/// Where a key is read from.
fn keys() -> Value {
    json!({
        "ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key",
            "description": "A key or a device token."},
        "ApiKeyParameter": {"type": "apiKey", "in": "query", "name": "api_key",
            "description": "A key or a device token as the parameter `api_key`, in the query or in the body."},
        "Bearer": {"type": "http", "scheme": "bearer",
            "description": "A key or a device token in `Authorization: Bearer …`."},
        "Token": {"type": "apiKey", "in": "header", "name": "Authorization",
            "description": "A device token, or the key of an account with one device, with or without `Bearer` before it."},
        "TokenParameter": {"type": "apiKey", "in": "query", "name": "token",
            "description": "The same as the parameter `token`, in the query or in the body, for clients that cannot set a header."},
    })
}

/// An operation with everything that its dialects know of it.
fn complete(
    path: &str,
    method: &str,
    mut operation: Map<String, Value>,
    dialects: &[&Dialect],
    components: &Map<String, Value>,
) -> Map<String, Value> {
    operation.insert("operationId".into(), json!(operation_id(path, method)));
    operation.insert("tags".into(), dialects.iter().map(|d| d.tag).collect());
    if !operation.contains_key("security") {
        let keys = dialects.iter().flat_map(|d| d.keys.iter());
        let keys: Vec<Value> = keys.map(|key| json!({*key: []})).collect();
        operation.insert("security".into(), if keys.is_empty() { json!([{}]) } else { json!(keys) });
    }
    if method == "get" {
        body_to_query(&mut operation, components);
    } else if operation.contains_key("requestBody") && dialects.iter().any(|d| d.forms) {
        add_forms(&mut operation);
    }
    if let Some(content) = operation.get_mut("requestBody").and_then(|body| body.get_mut("content")) {
        add_examples(content, components);
    }
    complete_answers(&mut operation, dialects, components);
    operation
}

/// `getApiSessionsIdQr`.
fn operation_id(path: &str, method: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.fold(method.to_owned(), |mut id, word| {
        id.push_str(&word[..1].to_ascii_uppercase());
        id.push_str(&word[1..]);
        id
    })
}

/// What a POST takes in its body, the GET of the same handler takes in its query.
fn body_to_query(operation: &mut Map<String, Value>, components: &Map<String, Value>) {
    let Some(body) = operation.remove("requestBody") else { return };
    let schema = resolve(&body["content"][JSON]["schema"], components);
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    let parameters = operation.entry("parameters").or_insert_with(|| json!([]));
    let (Some(parameters), Some(properties)) = (parameters.as_array_mut(), schema["properties"].as_object())
    else {
        return;
    };
    for (name, property) in properties {
        let mut property = property.clone();
        let about = property.as_object_mut().and_then(|property| property.remove("description"));
        // A query has no null: what is not said is left out.
        let kind =
            property["type"].as_array().and_then(|kinds| kinds.iter().find(|kind| *kind != "null")).cloned();
        if let Some(kind) = kind {
            property["type"] = kind;
        }
        let list = property["type"] == "array";
        let mut parameter = json!({
            "name": if list { format!("{name}[]") } else { name.clone() },
            "in": "query",
            "required": required.contains(&json!(name)),
            "description": about,
            "schema": property,
        });
        let example = parameter["schema"].as_object_mut().and_then(|schema| schema.remove("example"));
        if let Some(example) = example {
            parameter["example"] = example;
        }
        parameters.push(parameter);
    }
}

/// The same body as a form and as multipart.
fn add_forms(operation: &mut Map<String, Value>) {
    let Some(content) = operation["requestBody"]["content"].as_object_mut() else { return };
    let Some(json) = content.get(JSON).cloned() else { return };
    for form in FORMS {
        content.entry(form).or_insert_with(|| json.clone());
    }
}

/// An example for each form of a body or an answer that has none.
fn add_examples(content: &mut Value, components: &Map<String, Value>) {
    let Some(forms) = content.as_object_mut() else { return };
    for form in forms.values_mut() {
        if form.get("example").is_none() && form.get("examples").is_none() && form.get("schema").is_some() {
            form["example"] = example(&form["schema"], components, DEPTH);
        }
    }
}

/// Deepest nesting of an example; types of ours do not contain themselves.
const DEPTH: usize = 8;

/// A value that fits a schema: its own example, or one put together from its parts'. Fields that need not be there are
/// in it if they have an example.
fn example(schema: &Value, components: &Map<String, Value>, depth: usize) -> Value {
    let schema = resolve(schema, components);
    if let Some(example) =
        schema.get("example").or_else(|| schema["examples"].get(0)).or_else(|| schema.get("const"))
    {
        return example.clone();
    }
    if let Some(first) = schema["enum"].get(0) {
        return first.clone();
    }
    if depth == 0 {
        return Value::Null;
    }
    if let Some(variants) = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array()) {
        let first = variants.iter().find(|variant| variant["type"] != "null");
        return first.map_or(Value::Null, |variant| example(variant, components, depth - 1));
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().find(|kind| *kind != "null").cloned().unwrap_or_default(),
        kind => kind.clone(),
    };
    match kind.as_str() {
        Some("object") => {
            let required = schema["required"].as_array();
            let is_required = |name: &str| required.is_some_and(|names| names.iter().any(|n| n == name));
            let properties = schema["properties"].as_object();
            let shown = properties
                .into_iter()
                .flatten()
                .filter(|(name, property)| is_required(name) || has_example(property));
            Value::Object(shown.map(|(name, p)| (name.clone(), example(p, components, depth - 1))).collect())
        }
        Some("array") => json!([example(&schema["items"], components, depth - 1)]),
        Some("integer" | "number") => json!(0),
        Some("boolean") => json!(true),
        Some("string") => json!(""),
        _ => Value::Null,
    }
}

fn has_example(property: &Value) -> bool {
    property.get("example").is_some() || property.get("examples").is_some()
}

/// The schema that a reference leads to.
fn resolve<'a>(schema: &'a Value, components: &'a Map<String, Value>) -> &'a Value {
    let name = schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/components/schemas/"));
    name.and_then(|name| components.get(name)).unwrap_or(schema)
}

/// The answers that every operation has, the error bodies, the headers, and examples.
fn complete_answers(
    operation: &mut Map<String, Value>,
    dialects: &[&Dialect],
    components: &Map<String, Value>,
) {
    let has_key =
        operation["security"].as_array().is_some_and(|keys| keys.iter().any(|key| *key != json!({})));
    let has_body = operation.contains_key("requestBody");
    let has_parameters = operation
        .get("parameters")
        .and_then(Value::as_array)
        .is_some_and(|parameters| parameters.iter().any(|parameter| parameter["in"] == "query"));
    let answers = operation.entry("responses").or_insert_with(|| json!({}));
    let Some(answers) = answers.as_object_mut() else { return };
    let mut shared = Vec::new();
    if has_body || has_parameters {
        shared.push(("400", "A parameter is missing or wrong; the message names it"));
    }
    if has_body {
        shared.push(("408", "The body came too slowly; send it at once"));
        shared.push(("413", "The body is too large: at most 1 MiB without a file"));
    }
    if has_key {
        if dialects.iter().any(|dialect| dialect.wrong_key == StatusCode::UNAUTHORIZED) {
            shared.push(("401", "The key is missing or wrong"));
        }
        if has_body || has_parameters {
            shared.push(("507", "There is no room on the box's disk"));
        }
        shared.push((
            "429",
            "Too many requests of this key, or too many wrong keys from this address; see `Retry-After`",
        ));
        shared.push(("500", "The box's store failed; its log says why"));
    }
    for (status, about) in shared {
        answers.entry(status).or_insert_with(|| json!({"description": about}));
    }
    // What answers a browser's form with a page does so when it fails, too.
    let success = answers.get("200").or_else(|| answers.get("202")).map(|answer| &answer["content"]);
    let page = success.filter(|_| has_body).and_then(|content| content.get(PAGE)).cloned();
    for (status, answer) in answers.iter_mut() {
        if answer.get("$ref").is_some() {
            continue;
        }
        let code = status.parse::<u16>().ok().and_then(|code| StatusCode::from_u16(code).ok());
        let Some(code) = code else { continue };
        let fails = code.is_client_error() || code.is_server_error();
        if fails && answer["content"].as_object().is_none_or(Map::is_empty) {
            answer["content"] = json!({ JSON: error(code, dialects, answer["description"].as_str()) });
            if let Some(page) = &page {
                answer["content"][PAGE] = page.clone();
            }
        }
        if let Some(content) = answer.get_mut("content") {
            add_examples(content, components);
        }
        // Every answer to a key with a limit has them; where it fails for another reason, they are not news.
        let names: &[&str] = match code.as_u16() {
            _ if !has_key => &[],
            429 => &["RateLimit", "RateLimit-Policy", "Retry-After"],
            503 => &["Retry-After"],
            _ if fails => &[],
            _ => &[
                "RateLimit-Limit",
                "RateLimit-Remaining",
                "RateLimit-Reset",
                "RateLimit",
                "RateLimit-Policy",
            ],
        };
        if !names.is_empty() {
            let reference =
                |name: &&str| ((*name).to_owned(), json!({"$ref": format!("#/components/headers/{name}")}));
            answer["headers"] = Value::Object(names.iter().map(reference).collect());
        }
    }
}

/// Headers of answers to requests with a key.
const HEADERS: [(&str, &str, &str); 6] = [
    (
        "RateLimit-Limit",
        "integer",
        "Requests per minute that the key may make. Absent where it has no limit.",
    ),
    ("RateLimit-Remaining", "integer", "Requests that are left of them."),
    ("RateLimit-Reset", "integer", "Seconds until they are whole again."),
    ("RateLimit", "string", "What is left of every limit that the request used: `\"requests\";r=599;t=60`."),
    ("RateLimit-Policy", "string", "Those limits: `\"requests\";q=600;w=60`."),
    ("Retry-After", "integer", "Seconds after which it is worth another try, where that is known."),
];

fn headers() -> Value {
    let header = |(name, kind, about): &(&str, &str, &str)| {
        let header = json!({"description": about, "required": false, "schema": {"type": kind}});
        ((*name).to_owned(), header)
    };
    Value::Object(HEADERS.iter().map(header).collect())
}

/// The error body of the dialects of an operation; either, where there are two.
fn error(code: StatusCode, dialects: &[&Dialect], about: Option<&str>) -> Value {
    let about = about.unwrap_or_default();
    let reference =
        |dialect: &Dialect| json!({"$ref": format!("#/components/schemas/{}", (dialect.error)().0)});
    match dialects {
        [one] => json!({"schema": reference(one), "example": (one.example)(code, about)}),
        several => {
            let schemas: Vec<Value> = several.iter().map(|dialect| reference(dialect)).collect();
            let examples =
                several.iter().map(|d| (d.tag.to_owned(), json!({"value": (d.example)(code, about)})));
            json!({"schema": {"anyOf": schemas}, "examples": examples.collect::<Map<_, _>>()})
        }
    }
}
