//! Takes keys and files out of what the request log keeps. Pure.
//!
//! A key is recognised by where it stands (a parameter that is called so), by being the one that the request was made
//! with, and by its shape; each also where it is percent-encoded or escaped as in JSON. What cannot be cut out cleanly
//! goes as a whole.

use std::borrow::Cow;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::{Map, Value};

/// What stands for something that was taken out.
pub(super) const HIDDEN: &str = "***";
/// Shortest presented key that is looked for everywhere. A shorter one is no key of ours (a preset one has 16
/// characters at least), and would take harmless text out with it.
const MIN_KEY: usize = 8;
/// Longest text that is kept, in bytes; of a longer one only the length.
const MAX_TEXT: usize = 1_024;
/// Longest run of Base64 that is kept: more is a file.
const MAX_BASE64: usize = 200;
/// Longest URL that is kept, in bytes.
const MAX_URL: usize = 1_024;
/// How often something is decoded in search of a key.
const DECODINGS: usize = 3;
/// How our keys and our webhooks' secrets begin, and how many letters and digits have to follow.
const SHAPES: [&str; 2] = ["kurir_", "whsec_"];
const SHAPE_REST: usize = 16;

/// Whether a parameter of this name holds a secret.
fn is_secret(name: &str) -> bool {
    let plain: String =
        name.chars().filter(|c| c.is_ascii_alphanumeric()).map(|c| c.to_ascii_lowercase()).collect();
    matches!(
        plain.as_str(),
        "key" | "sig" | "signature" | "pass" | "passwd" | "pwd" | "qr" | "qrcode" | "code"
    ) || ["apikey", "adminkey", "token", "secret", "password", "authorization"]
        .iter()
        .any(|end| plain.ends_with(end))
}

/// Takes out keys: see the module.
#[derive(Debug, Default)]
pub(super) struct Redactor {
    keys: Vec<String>,
}

impl Redactor {
    /// Looks for these keys too, besides what looks like one.
    pub(super) fn new(presented: impl IntoIterator<Item = String>) -> Redactor {
        let mut redactor = Redactor::default();
        presented.into_iter().for_each(|key| redactor.learn(&key));
        redactor
    }

    fn learn(&mut self, key: &str) {
        let key = key.trim();
        if key.len() >= MIN_KEY && !self.keys.iter().any(|known| known == key) {
            self.keys.push(key.to_owned());
        }
    }

    /// Looks from now on for what stands in a query where a key should.
    pub(super) fn learn_query(&mut self, query: &str) {
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            if is_secret(&decoded(name)) {
                self.learn(&decoded(value).replace('+', " "));
                self.learn(&decoded(value));
            }
        }
    }

    /// Looks from now on for what stands in a body where a key should.
    pub(super) fn learn_value(&mut self, value: &Value) {
        match value {
            Value::Object(object) => {
                for (name, value) in object {
                    match value {
                        Value::String(text) if is_secret(name) => self.learn(text),
                        value => self.learn_value(value),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.learn_value(item)),
            _ => {}
        }
    }

    /// Path and query. What was changed may be encoded otherwise than it came.
    pub(super) fn url(&self, path: &str, query: Option<&str>) -> String {
        let segments: Vec<&str> =
            path.split('/').map(|segment| if self.hides(segment) { HIDDEN } else { segment }).collect();
        let mut url = segments.join("/");
        if let Some(query) = query {
            let pairs: Vec<String> = query.split('&').map(|pair| self.pair(pair)).collect();
            url.push('?');
            url.push_str(&pairs.join("&"));
        }
        if self.hides(&url) {
            // A key with a slash or an ampersand in it, not encoded.
            return format!("/{HIDDEN}");
        }
        if url.len() > MAX_URL {
            let mut end = MAX_URL;
            while !url.is_char_boundary(end) {
                end -= 1;
            }
            url.truncate(end);
            url.push('…');
        }
        url
    }

    fn pair(&self, pair: &str) -> String {
        let Some((name, value)) = pair.split_once('=') else {
            return if self.hides(pair) { HIDDEN.to_owned() } else { pair.to_owned() };
        };
        let name = if self.hides(name) { HIDDEN } else { name };
        if is_secret(&decoded(name)) {
            return format!("{name}={HIDDEN}");
        }
        let plain = decoded(value);
        let shown = self.text(&plain);
        match shown == plain && !self.hides(value) {
            true => format!("{name}={value}"),
            false if shown == plain => format!("{name}={HIDDEN}"),
            false => format!("{name}={}", utf8_percent_encode(&shown, NON_ALPHANUMERIC)),
        }
    }

    /// A body, or a part of one.
    pub(super) fn value(&self, value: Value) -> Value {
        self.within(value, false)
    }

    /// `media`: it is what the field `media` holds.
    fn within(&self, value: Value, media: bool) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(&text)),
            Value::Array(items) => items.into_iter().map(|item| self.within(item, media)).collect(),
            Value::Object(object) => self.object(object, media),
            Value::Number(number) if self.hides(&number.to_string()) => HIDDEN.into(),
            other => other,
        }
    }

    fn object(&self, object: Map<String, Value>, media: bool) -> Value {
        let file = media || object.contains_key("mimetype") || object.contains_key("filename");
        let mut shown = Map::new();
        for (name, value) in object {
            let shown_name = self.text(&name);
            let value = match value {
                // A message's key, of the `api_key` format, is no secret.
                Value::Object(inner) if name == "key" => self.object(inner, false),
                _ if is_secret(&name) => HIDDEN.into(),
                Value::String(data) if name == "data" && file => removed(&data).into(),
                value => self.within(value, name == "media"),
            };
            shown.insert(shown_name, value);
        }
        Value::Object(shown)
    }

    /// A text without keys, or what it was if it is a file or too long.
    pub(super) fn text(&self, text: &str) -> String {
        if is_file(text) || text.len() > MAX_TEXT {
            return removed(text);
        }
        let mut shown = Cow::Borrowed(text);
        for key in &self.keys {
            if shown.contains(key.as_str()) {
                shown = Cow::Owned(shown.replace(key.as_str(), HIDDEN));
            }
        }
        if let Some(cut) = without_shapes(&shown) {
            shown = Cow::Owned(cut);
        }
        if shown.contains("://")
            && let Some(cut) = without_assigned(&shown)
        {
            shown = Cow::Owned(cut);
        }
        if self.hides(&shown) { HIDDEN.to_owned() } else { shown.into_owned() }
    }

    /// Whether a key is in the text, as it is or in any way encoded.
    fn hides(&self, text: &str) -> bool {
        let mut form = Cow::Borrowed(text);
        for _ in 0..DECODINGS {
            if self.shows(&form) {
                return true;
            }
            let next = unescaped(&decoded(&form));
            if next == form {
                return false;
            }
            form = Cow::Owned(next);
        }
        self.shows(&form)
    }

    fn shows(&self, text: &str) -> bool {
        let spaced = |text: &str| text.replace('+', " ");
        self.keys.iter().any(|key| text.contains(key.as_str()) || spaced(text).contains(&spaced(key)))
            || without_shapes(text).is_some()
    }
}

fn removed(text: &str) -> String {
    format!("({} bytes)", text.len())
}

/// A `data:` URL, or Base64 too long to be anything but a file.
fn is_file(text: &str) -> bool {
    let base64 = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/' | b'=' | b'-' | b'_');
    text.trim_start().starts_with("data:") || (text.len() > MAX_BASE64 && text.bytes().all(base64))
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// With JSON's escapes read: `\u006b` is `k`.
fn unescaped(text: &str) -> String {
    if !text.contains('\\') {
        return text.to_owned();
    }
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut rest = text.chars();
    let mut buffer = [0; 2];
    while let Some(c) = rest.next() {
        if c != '\\' {
            units.extend(c.encode_utf16(&mut buffer).iter());
            continue;
        }
        let code =
            rest.as_str().strip_prefix('u').and_then(|hex| u16::from_str_radix(hex.get(..4)?, 16).ok());
        match code {
            Some(unit) => {
                units.push(unit);
                rest = rest.as_str()[5..].chars();
            }
            None => {
                // `\/` and `\"` stand for what follows; the others are no part of a key.
                if let Some(c) = rest.next() {
                    units.extend(c.encode_utf16(&mut buffer).iter());
                }
            }
        }
    }
    String::from_utf16_lossy(&units)
}

/// The text without what looks like one of our secrets; `None` if nothing does.
fn without_shapes(text: &str) -> Option<String> {
    let mut shown = String::new();
    let mut rest = text;
    while let Some((at, shape)) = SHAPES.iter().filter_map(|shape| Some((rest.find(shape)?, *shape))).min() {
        let after = &rest[at + shape.len()..];
        let length = after.bytes().take_while(u8::is_ascii_alphanumeric).count();
        shown.push_str(&rest[..at]);
        shown.push_str(if length >= SHAPE_REST { HIDDEN } else { shape });
        rest = if length >= SHAPE_REST { &after[length..] } else { after };
    }
    shown.push_str(rest);
    (shown != text).then_some(shown)
}

/// The text, a URL in it, without the values of parameters that are called like secrets; `None` if there are none.
fn without_assigned(text: &str) -> Option<String> {
    let mut shown = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('=') {
        let (before, after) = (&rest[..at], &rest[at + 1..]);
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '%' | '[' | ']');
        let name = &before[before.trim_end_matches(plain).len()..];
        shown.push_str(&rest[..=at]);
        rest = after;
        if is_secret(&decoded(name)) {
            let end = after.find(|c: char| c.is_whitespace() || matches!(c, '&' | '#' | '"' | '\''));
            shown.push_str(HIDDEN);
            rest = &after[end.unwrap_or(after.len())..];
        }
    }
    shown.push_str(rest);
    (shown != text).then_some(shown)
}

#[cfg(test)]
mod tests;
