//! Parameters that are more than one text: lists, nested fields, numbers, files.

use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use serde_json::{Map, Value};

use super::{MAX_BODY, MAX_FIELDS, ParamError, Params, multipart_error};
use crate::api::parts::Parts;
use crate::api::request_log::{note_body, note_file};
use crate::api::send::spool_failed;
use crate::media::{Fetched, MAX_MEDIA, Spool};

impl Params {
    /// Parameters that are already an object, such as one of several requests in a list.
    pub(in crate::api) fn from_object(fields: Map<String, Value>) -> Params {
        Params { fields, files: Vec::new() }
    }

    /// As [`Params::read`]; files of a multipart body are streamed into the spool.
    pub(in crate::api) async fn read_with_files(
        request: Request,
        spool: &Spool,
    ) -> Result<Params, ParamError> {
        let content_type =
            request.headers().get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
        if !content_type.trim().to_ascii_lowercase().starts_with("multipart/form-data") {
            return Params::read(request).await;
        }
        let mut params = Params::default();
        if let Some(query) = request.uri().query() {
            params.add_form(query.as_bytes())?;
        }
        let mut parts = Parts::of(request).await.map_err(|e| ParamError::Body(e.body_text()))?;
        let broken = |e| multipart_error(&e, MAX_MEDIA as usize);
        let mut left = MAX_BODY;
        while let Some(mut field) = parts.next().await.map_err(broken)? {
            // One without a name is read to its end all the same, and kept under none.
            let name = field.name().unwrap_or_default().to_owned();
            if let Some(filename) = field.file_name().map(str::to_owned) {
                if params.files.len() >= MAX_FILES {
                    return Err(ParamError::Body(format!("more than {MAX_FILES} files")));
                }
                let taken = spool.from_stream(field, Some(filename), MAX_MEDIA).await;
                let file = taken.map_err(|e| {
                    let (status, reason) = spool_failed(&e);
                    ParamError::File { status, reason }
                })?;
                params.files.push((name, file));
                continue;
            }
            let mut bytes = Vec::new();
            while let Some(chunk) = field.chunk().await.map_err(broken)? {
                left = left.checked_sub(chunk.len()).ok_or(ParamError::TooLarge(MAX_BODY))?;
                bytes.extend_from_slice(&chunk);
            }
            let text = String::from_utf8(bytes)
                .map_err(|_| ParamError::Body("a multipart field is not UTF-8 text".into()))?;
            params.insert_form(&name, text)?;
        }
        note_body(&params.fields);
        params.files.iter().for_each(|(name, file)| note_file(name, &file.filename, file.size));
        Ok(params)
    }

    /// The uploaded file of this name.
    pub(in crate::api) fn take_file(&mut self, field: &str) -> Option<Fetched> {
        let index = self.files.iter().position(|(name, _)| name == field)?;
        Some(self.files.swap_remove(index).1)
    }

    /// A form's pair: `name[]` and `name[0]` are items of a list, `name[key]` a field of an object, as PHP writes them.
    pub(super) fn insert_form(&mut self, key: &str, value: String) -> Result<(), ParamError> {
        let value = Value::String(value);
        let nested = key.strip_suffix(']').and_then(|key| key.split_once('['));
        let Some((base, inner)) =
            nested.filter(|(base, inner)| !base.is_empty() && !inner.contains(['[', ']']))
        else {
            return self.insert(key.to_owned(), value);
        };
        let is_item = inner.bytes().all(|b| b.is_ascii_digit());
        let size = match self.fields.get(base) {
            Some(Value::Array(items)) => items.len(),
            Some(Value::Object(object)) => object.len(),
            _ => 0,
        };
        if size >= MAX_ITEMS {
            return Err(ParamError::Body(format!("more than {MAX_ITEMS} items in one list")));
        }
        match self.fields.get_mut(base) {
            Some(Value::Array(items)) if is_item => items.push(value),
            Some(Value::Object(object)) if !is_item => {
                object.insert(inner.to_owned(), value);
            }
            _ if is_item => self.insert(base.to_owned(), Value::Array(vec![value]))?,
            _ => {
                let object = Map::from_iter([(inner.to_owned(), value)]);
                self.insert(base.to_owned(), Value::Object(object))?;
            }
        }
        Ok(())
    }

    /// The parameter as it came.
    pub(in crate::api) fn value(&self, field: &str) -> Option<&Value> {
        self.fields.get(field).filter(|value| !value.is_null())
    }

    /// Whether the parameter is there and says something.
    pub(in crate::api) fn has(&self, field: &str) -> bool {
        match self.value(field) {
            None => false,
            Some(Value::String(s)) => !s.trim().is_empty(),
            Some(_) => true,
        }
    }

    /// A list of texts; one text is a list of one. A text that is a JSON array is that array.
    pub(in crate::api) fn list(&self, field: &'static str) -> Result<Vec<String>, ParamError> {
        let wrong = ParamError::Type { field, wanted: "a list of texts" };
        let parsed;
        let items = match self.value(field) {
            None => return Ok(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(Value::String(s)) if s.trim_start().starts_with('[') => match serde_json::from_str(s) {
                Ok(Value::Array(items)) => {
                    parsed = items;
                    &parsed
                }
                _ => return Ok(vec![s.clone()]),
            },
            Some(Value::String(s)) if s.trim().is_empty() => return Ok(Vec::new()),
            Some(Value::String(s)) => return Ok(vec![s.clone()]),
            Some(Value::Number(n)) => return Ok(vec![n.to_string()]),
            Some(_) => return Err(wrong),
        };
        if items.len() > MAX_ITEMS {
            return Err(ParamError::Value { field, reason: format!("has more than {MAX_ITEMS} items") });
        }
        items
            .iter()
            .map(|item| match item {
                Value::String(s) => Ok(s.clone()),
                Value::Number(n) => Ok(n.to_string()),
                _ => Err(wrong.clone()),
            })
            .collect()
    }

    /// A whole number, also as text. Absent and blank are `None`.
    pub(in crate::api) fn integer(&self, field: &'static str) -> Result<Option<i64>, ParamError> {
        let wrong = ParamError::Type { field, wanted: "a whole number" };
        match self.value(field) {
            None => Ok(None),
            Some(Value::Number(n)) => n.as_i64().map(Some).ok_or(wrong),
            Some(Value::String(s)) if s.trim().is_empty() => Ok(None),
            Some(Value::String(s)) => s.trim().parse().map(Some).map_err(|_| wrong),
            // What a form's check box or a PHP client makes of an unset number.
            Some(Value::Bool(false)) => Ok(None),
            Some(_) => Err(wrong),
        }
    }

    /// A number within bounds that must be there.
    pub(in crate::api) fn decimal(&self, field: &'static str, most: f64) -> Result<f64, ParamError> {
        let text = self.required(field)?;
        let reason = || format!("must be a number from -{most} to {most}");
        let number: f64 = text.trim().parse().map_err(|_| ParamError::Value { field, reason: reason() })?;
        if number.is_finite() && number.abs() <= most {
            Ok(number)
        } else {
            Err(ParamError::Value { field, reason: reason() })
        }
    }

    /// As [`Params::flag`], but true where it is absent.
    pub(in crate::api) fn flag_or_true(&self, field: &'static str) -> Result<bool, ParamError> {
        if self.has(field) { self.flag(field) } else { Ok(true) }
    }
}

/// Files of one request that are kept while it is handled.
const MAX_FILES: usize = 4;
/// Items of one list.
const MAX_ITEMS: usize = 1_000;

const _: () = assert!(MAX_FIELDS < MAX_ITEMS);

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use serde_json::json;

    use super::*;

    async fn form(body: &str) -> Params {
        let request = Request::builder().uri("/").body(Body::from(body.to_owned())).unwrap();
        Params::read(request).await.unwrap()
    }

    #[tokio::test]
    async fn lists_come_in_every_spelling() {
        for body in [
            "option[]=a&option[]=b",
            "option%5B0%5D=a&option%5B1%5D=b",
            r#"{"option":["a","b"]}"#,
            r#"option=["a","b"]"#,
        ] {
            assert_eq!(form(body).await.list("option").unwrap(), ["a", "b"], "{body}");
        }
        assert_eq!(form("option=a").await.list("option").unwrap(), ["a"]);
        assert_eq!(form(r#"{"option":[1,"b"]}"#).await.list("option").unwrap(), ["1", "b"]);
        assert!(form(r#"{"option":[[1]]}"#).await.list("option").is_err());
        assert!(form(r#"{"option":{"a":1}}"#).await.list("option").is_err());
        assert_eq!(
            form("media[url]=http://x&media[filename]=y").await.value("media"),
            Some(&json!({"url": "http://x", "filename": "y"}))
        );
    }

    #[tokio::test]
    async fn numbers_are_read_from_texts_and_bounded() {
        let params = form("a=12&b=x&c=&lat=-7.98&far=200&nan=NaN").await;
        assert_eq!(
            (params.integer("a"), params.integer("c"), params.integer("d")),
            (Ok(Some(12)), Ok(None), Ok(None))
        );
        assert!(params.integer("b").is_err());
        assert_eq!(params.decimal("lat", 90.0), Ok(-7.98));
        assert!(params.decimal("far", 180.0).is_err() && params.decimal("nan", 90.0).is_err());
        assert!(params.flag_or_true("gone").unwrap() && params.flag_or_true("c").unwrap());
    }

    #[tokio::test]
    async fn a_list_does_not_grow_without_bound() {
        let body: String = (0..1_100).map(|n| format!("o[]={n}&")).collect();
        let request = Request::builder().uri("/").body(Body::from(body)).unwrap();
        assert!(Params::read(request).await.is_err());
    }
}
