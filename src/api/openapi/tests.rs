use std::collections::BTreeSet;

use super::*;

fn document() -> Value {
    describe()
}

/// As `openapi.json`: an operation or a type to a line, so that a change of one is a change of one line.
fn in_lines(document: &Value) -> String {
    fn fields(value: &Value, depth: usize, text: &mut String) {
        let Some(object) = value.as_object().filter(|_| depth > 0) else {
            text.push_str(&value.to_string());
            return;
        };
        text.push_str("{\n");
        for (at, (name, value)) in object.iter().enumerate() {
            text.push_str(if at > 0 { ",\n" } else { "" });
            text.push_str(&format!("{}:", Value::from(name.as_str())));
            let paths = name == "paths" || name == "components";
            fields(value, if depth == ALL { 2 * usize::from(paths) } else { depth - 1 }, text);
        }
        text.push_str("\n}");
    }
    const ALL: usize = 3;
    let mut text = String::new();
    fields(document, ALL, &mut text);
    text.push('\n');
    text
}

#[test]
fn what_is_served_is_what_the_handlers_say() {
    let made = in_lines(&document());
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/src/api/openapi/openapi.json");
    if std::env::var_os("KURIR_WRITE_OPENAPI").is_some() {
        std::fs::write(file, &made).unwrap();
        return;
    }
    let differs = made.as_bytes() != served().0;
    assert!(!differs, "{file} is out of date: KURIR_WRITE_OPENAPI=1 cargo test --lib openapi writes it anew");
    assert_eq!(serde_json::from_str::<Value>(&made).unwrap(), document());
}

/// Every operation: method, path, what it says.
fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            found.push((method.as_str(), path.as_str(), operation));
        }
    }
    found
}

fn filled(text: &Value) -> bool {
    text.as_str().is_some_and(|text| !text.trim().is_empty())
}

#[test]
fn every_operation_says_what_integrators_need() {
    let document = document();
    let schemes = document["components"]["securitySchemes"].as_object().unwrap();
    let tags: BTreeSet<&str> =
        document["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        let at = format!("{method} {path}");
        assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{at}: its operationId is another's");
        assert!(filled(&operation["summary"]), "{at} has no summary");
        for tag in operation["tags"].as_array().unwrap() {
            assert!(tags.contains(tag.as_str().unwrap()), "{at}: {tag} is no dialect");
        }
        for way in operation["security"].as_array().expect(&at) {
            assert!(way.as_object().unwrap().keys().all(|key| schemes.contains_key(key)), "{at}: {way}");
        }
        let named: BTreeSet<&str> =
            path.split('{').skip(1).filter_map(|part| part.split('}').next()).collect();
        let mut described = BTreeSet::new();
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            assert!(filled(&parameter["description"]), "{at}: {parameter}");
            assert!(parameter["schema"].is_object(), "{at}: {parameter}");
            if parameter["in"] == "path" {
                described.insert(parameter["name"].as_str().unwrap());
            }
        }
        assert_eq!(described, named, "{at}: parameters in the path");
        assert!(method != "get" || operation.get("requestBody").is_none(), "{at} has a body");
        let answers = operation["responses"].as_object().unwrap();
        assert!(answers.keys().any(|status| status.starts_with('2')), "{at} never succeeds");
        for (status, answer) in answers {
            assert!(filled(&answer["description"]), "{at}: {status}");
            if status.starts_with('3') {
                continue;
            }
            let forms = answer["content"].as_object().unwrap_or_else(|| panic!("{at}: {status} has no body"));
            for form in forms.values() {
                let shown = form.get("example").is_some() || form.get("examples").is_some();
                assert!(form["schema"].is_object() && shown, "{at}: {status}: {form}");
            }
        }
    }
    assert!(ids.len() > 60, "only {} operations", ids.len());
}

/// Types without a comment on a field, and fields that are only named again.
#[test]
fn every_parameter_and_field_is_explained_or_plain() {
    /// Fields that say everything by their name.
    const PLAIN: [&str; 24] = [
        "name",
        "message",
        "status",
        "media",
        "webhook",
        "session",
        "counts",
        "summary",
        "info",
        "data",
        "total",
        "connected",
        "connecting",
        "disconnected",
        "id",
        "msg",
        "key",
        "device",
        "devices",
        "enabled",
        "standing",
        "format",
        "sent_at",
        "read_at",
    ];
    let document = document();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        if !name.ends_with("Error") {
            let untagged = schema.get("oneOf").is_some();
            assert!(untagged || filled(&schema["description"]), "{name} has no comment");
        }
        let is_request = operations(&document).iter().any(|(_, _, operation)| {
            let content = operation["requestBody"]["content"].as_object();
            content.is_some_and(|forms| {
                forms.values().any(|form| form["schema"]["$ref"] == format!("#/components/schemas/{name}"))
            })
        });
        for (field, property) in schema["properties"].as_object().into_iter().flatten() {
            let typed = property.get("$ref").is_some() || property.get("oneOf").is_some();
            let explained = filled(&property["description"]) || typed;
            assert!(
                explained || !is_request || PLAIN.contains(&field.as_str()),
                "{name}.{field} has no comment"
            );
        }
    }
}

#[test]
fn every_reference_leads_somewhere() {
    fn walk(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                if let Some(Value::String(target)) = object.get("$ref") {
                    found.push(target.clone());
                }
                object.values().for_each(|value| walk(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| walk(value, found)),
            _ => {}
        }
    }
    let document = document();
    let mut found = Vec::new();
    walk(&document, &mut found);
    assert!(found.len() > 100);
    for target in found {
        let pointer = target.strip_prefix('#').expect("references stay inside");
        assert!(document.pointer(pointer).is_some(), "{target}");
    }
}

/// A GET has no body, so it takes in the query what the POST of the same handler takes in its body.
#[test]
fn a_get_takes_in_its_query_what_a_post_takes_in_its_body() {
    let document = document();
    let get = &document["paths"]["/send-poll"]["get"]["parameters"];
    let names: Vec<&str> = get.as_array().unwrap().iter().map(|p| p["name"].as_str().unwrap()).collect();
    for name in ["api_key", "sender", "number", "name", "option[]", "countable"] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    let forms = document["paths"]["/send-poll"]["post"]["requestBody"]["content"].as_object().unwrap();
    assert_eq!(forms.len(), 3, "{forms:?}");
    let example = &forms["application/json"]["example"];
    assert_eq!(example["option"], serde_json::json!(["Senin", "Selasa"]), "{example}");
    assert!(example.get("msgid").is_none(), "what has no example is not in it: {example}");
}

/// The document stays in memory once somebody has asked for it, and is sent over slow networks.
#[test]
fn the_document_is_of_a_bearable_size() {
    let size = served().0.len();
    assert!(size < 512 * 1024, "{size} bytes");
}
