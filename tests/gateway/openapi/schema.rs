//! Whether a JSON value is what a schema of the document says, more strictly than JSON Schema: a field that the schema
//! does not name is wrong, and so is a keyword that this check does not know.

use serde_json::{Map, Value};

/// Keywords that say nothing of which values are right.
const SILENT: [&str; 7] =
    ["description", "title", "example", "examples", "default", "contentMediaType", "deprecated"];

/// `Err`: where and why the value is not what the schema says.
pub(crate) fn check(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    check_at(document, schema, value, "$")
}

fn check_at(document: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let Some(schema) = schema.as_object() else { return Err(format!("{at}: {schema} is no schema")) };
    if let Some(target) = schema.get("$ref") {
        let pointer =
            target.as_str().and_then(|target| target.strip_prefix('#')).ok_or("a foreign reference")?;
        let found = document.pointer(pointer).ok_or_else(|| format!("{target} leads nowhere"))?;
        return check_at(document, found, value, at);
    }
    for (keyword, says) in schema {
        let wrong = |why: &str| Err(format!("{at}: {value} {why} ({keyword}: {says})"));
        match keyword.as_str() {
            keyword if SILENT.contains(&keyword) => {}
            "type" => {
                let kinds: Vec<&str> = match says {
                    Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
                    kind => kind.as_str().into_iter().collect(),
                };
                if !kinds.iter().any(|kind| is(value, kind)) {
                    return wrong("is of another type");
                }
            }
            "enum" => {
                if !says.as_array().is_some_and(|known| known.contains(value)) {
                    return wrong("is none of these");
                }
            }
            "oneOf" | "anyOf" => {
                let tried: Vec<_> = says
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|one| check_at(document, one, value, at))
                    .collect();
                let fitting = tried.iter().filter(|result| result.is_ok()).count();
                if fitting == 0 {
                    let why: Vec<String> = tried.into_iter().filter_map(Result::err).collect();
                    return Err(format!("{at}: {value} fits no shape: {}", why.join("; ")));
                }
                if keyword == "oneOf" && fitting > 1 {
                    return wrong("fits more than one shape");
                }
            }
            "properties" | "required" | "additionalProperties" | "propertyNames" => {}
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    check_at(document, says, item, &format!("{at}[{index}]"))?;
                }
            }
            "format" => check_format(says.as_str().unwrap_or_default(), value, at)?,
            "pattern" => {
                if let Value::String(text) = value
                    && !alternatives(says)?.contains(&text.as_str())
                {
                    return wrong("does not match");
                }
            }
            "minimum" | "maximum" => {
                if let (Some(number), Some(limit)) = (value.as_f64(), says.as_f64())
                    && ((keyword == "minimum" && number < limit) || (keyword == "maximum" && number > limit))
                {
                    return wrong("is beyond the limit");
                }
            }
            "minLength" | "maxLength" | "minItems" | "maxItems" => {
                let length = match value {
                    Value::String(text) if keyword.ends_with("Length") => text.chars().count(),
                    Value::Array(items) if keyword.ends_with("Items") => items.len(),
                    _ => continue,
                };
                let limit = says.as_u64().and_then(|limit| usize::try_from(limit).ok()).ok_or("no limit")?;
                if (keyword.starts_with("min") && length < limit)
                    || (keyword.starts_with("max") && length > limit)
                {
                    return wrong("is too short or too long");
                }
            }
            unknown => return Err(format!("{at}: this check does not know {unknown}")),
        }
    }
    match value {
        Value::Object(fields) => check_fields(document, schema, fields, at),
        _ => Ok(()),
    }
}

fn check_fields(
    document: &Value,
    schema: &Map<String, Value>,
    fields: &Map<String, Value>,
    at: &str,
) -> Result<(), String> {
    for name in schema.get("required").and_then(Value::as_array).into_iter().flatten() {
        if !fields.contains_key(name.as_str().unwrap_or_default()) {
            return Err(format!("{at}: {name} is missing"));
        }
    }
    // An object of which nothing is said may hold anything.
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return Ok(()) };
    for (name, value) in fields {
        let Some(property) = properties.get(name) else {
            return Err(format!("{at}: {name} is not described"));
        };
        check_at(document, property, value, &format!("{at}.{name}"))?;
    }
    Ok(())
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}

fn check_format(format: &str, value: &Value, at: &str) -> Result<(), String> {
    let right = match (format, value) {
        (_, Value::Null) => true,
        ("int32", value) => {
            value.as_i64().is_some_and(|n| i32::try_from(n).is_ok() || u32::try_from(n).is_ok())
        }
        ("int64", value) => value.is_i64() || value.is_u64(),
        ("double", value) => value.is_number(),
        ("date-time", Value::String(text)) => chrono::DateTime::parse_from_rfc3339(text).is_ok(),
        ("uri", Value::String(text)) => text.contains("://"),
        _ => return Err(format!("{at}: {value}: this check does not know the format {format}")),
    };
    if right { Ok(()) } else { Err(format!("{at}: {value} is no {format}")) }
}

/// The texts that `^(a|b)$` or `^a$` takes; answers have no other patterns.
fn alternatives(pattern: &Value) -> Result<Vec<&str>, String> {
    let inner = pattern.as_str().and_then(|p| p.strip_prefix('^')?.strip_suffix('$'));
    let inner = inner.ok_or_else(|| format!("this check does not know the pattern {pattern}"))?;
    let inner = inner.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')).unwrap_or(inner);
    if inner.contains(['[', '\\', '*', '+', '?', '.']) {
        return Err(format!("this check does not know the pattern {pattern}"));
    }
    Ok(inner.split('|').collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn wrong_values_are_refused() {
        let document = json!({"components": {"schemas": {"Id": {"type": "string", "pattern": "^(a|b)$"}}}});
        let schema = json!({
            "type": "object", "required": ["id"],
            "properties": {
                "id": {"$ref": "#/components/schemas/Id"},
                "n": {"type": ["integer", "null"], "format": "int32", "minimum": 1},
                "list": {"type": "array", "maxItems": 1, "items": {"type": "string"}},
                "either": {"oneOf": [{"type": "string"}, {"type": "integer"}]},
                "at": {"type": "string", "format": "date-time"},
            },
        });
        for right in [
            json!({"id": "a"}),
            json!({"id": "b", "n": null, "list": ["x"], "either": 1, "at": "2026-11-21T08:00:00.000Z"}),
        ] {
            assert_eq!(check(&document, &schema, &right), Ok(()));
        }
        for wrong in [
            json!({}),
            json!([]),
            json!({"id": "c"}),
            json!({"id": 1}),
            json!({"id": "a", "more": 1}),
            json!({"id": "a", "n": 0}),
            json!({"id": "a", "n": 1.5}),
            json!({"id": "a", "list": ["x", "y"]}),
            json!({"id": "a", "list": [1]}),
            json!({"id": "a", "either": true}),
            json!({"id": "a", "at": "yesterday"}),
        ] {
            assert!(check(&document, &schema, &wrong).is_err(), "{wrong}");
        }
        assert!(check(&document, &json!({"type": "string", "unheard": 1}), &json!("x")).is_err());
        assert!(check(&document, &json!({"$ref": "#/nowhere"}), &json!("x")).is_err());
    }
}
