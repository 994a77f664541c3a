use proptest::prelude::*;
use serde_json::json;

use super::*;

const KEY: &str = "kurir_0123456789abcdefABCDEF";

#[test]
fn a_key_is_taken_out_wherever_it_stands_and_the_rest_stays() {
    let preset = "preset admin+key/0001";
    let redactor = Redactor::new([preset.to_owned()]);
    for (path, query, shown) in [
        ("/send-message", Some("api_key=x&number=628"), "/send-message?api_key=***&number=628"),
        ("/send", Some("t%6Fken=x&a"), "/send?t%6Fken=***&a"),
        ("/api/sessions/kurir_0123456789abcdefABCDEF/send", None, "/api/sessions/***/send"),
        ("/api/sessions/kurir%5f0123456789abcdef", None, "/api/sessions/***"),
        ("/a", Some("message=preset+admin%2Bkey/0001"), "/a?message=***"),
        ("/preset%20admin+key/0001", None, "/***"),
        ("/a", Some("kurir_0123456789abcdef"), "/a?***"),
        (
            "/send-media",
            Some("url=http://x/?token=y"),
            "/send-media?url=http%3A%2F%2Fx%2F%3Ftoken%3D%2A%2A%2A",
        ),
        ("/api/sessions", Some("list=1"), "/api/sessions?list=1"),
        ("/a", Some("x=%25%36%62urir_0123456789abcdef"), "/a?x=***"),
    ] {
        assert_eq!(redactor.url(path, query), shown, "{path} {query:?}");
    }
    let body = json!({
        "api_key": "abc", "message": format!("lihat {KEY}, ya"), "to": "628123", "secretary": "Ibu Sari",
        "key": {"id": "3EB0", "fromMe": true}, "token": ["a"], "countryCode": "62",
        "media": {"data": "aGFsbw==", "mimetype": "text/plain"}, "file": "data:text/plain;base64,aGFsbw==",
        "qrCode": "data:image/png;base64,iVBORw0KGgo", "webhook": {"secret": "whsec_0123456789abcdef"},
        "data": "[{\"target\":\"628\",\"message\":\"\\u006burir_0123456789abcdefABCD\"}]",
        "url": "https://x/a.png?sig=abc&w=5", KEY: 1, "long": "x ".repeat(600),
    });
    assert_eq!(
        redactor.value(body),
        json!({
            "api_key": "***", "message": "lihat ***, ya", "to": "628123", "secretary": "Ibu Sari",
            "key": {"id": "3EB0", "fromMe": true}, "token": "***", "countryCode": "62",
            "media": {"data": "(8 bytes)", "mimetype": "text/plain"}, "file": "(31 bytes)",
            "qrCode": "***", "webhook": {"secret": "***"}, "data": "***",
            "url": "https://x/a.png?sig=***&w=5", "***": 1, "long": "(1200 bytes)",
        })
    );
}

#[test]
fn what_stands_where_a_key_should_is_looked_for_everywhere_else() {
    let mut redactor = Redactor::default();
    redactor.learn_query("a=1&api%5Fkey=rahasia+sekali%21");
    redactor.learn_value(&json!({"x": [{"token": "sandi-rumah-0001"}]}));
    let body = json!({"message": "rahasia sekali! dan sandi-rumah-0001"});
    assert_eq!(redactor.value(body), json!({"message": "*** dan ***"}));
}

/// A way in which somebody could write the key down.
fn written(key: &str, how: usize) -> String {
    let percent: String = key.bytes().map(|b| format!("%{b:02X}")).collect();
    match how {
        0 => key.to_owned(),
        1 => utf8_percent_encode(key, NON_ALPHANUMERIC).to_string(),
        2 => percent,
        3 => utf8_percent_encode(&percent, NON_ALPHANUMERIC).to_string(),
        4 => key.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect(),
        5 => key.replace(' ', "+"),
        _ => key.replace('/', "\\/"),
    }
}

/// Every form in which a reader of the log could find the key again.
fn readings(text: &str) -> Vec<String> {
    let mut forms = vec![text.to_owned()];
    for _ in 0..3 {
        let last = forms.last().cloned().unwrap_or_default();
        forms.push(unescaped(&decoded(&last)));
        forms.push(decoded(&last.replace('+', " ")));
    }
    forms
}

fn strings(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::String(text) => out.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| strings(item, out)),
        Value::Object(object) => object.iter().for_each(|(name, value)| {
            out.push(name.clone());
            strings(value, out);
        }),
        other => out.push(other.to_string()),
    }
}

fn key() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "kurir_[0-9A-Za-z]{43}",
        2 => "[!-~]([ -~]{6,38})[!-~]",
        1 => "[a-zé👋%\\\\+/&=]{8,16}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn no_key_comes_through(
        key in key(),
        how in 0usize..7,
        (before, after) in ("[ -~]{0,12}", "[ -~]{0,12}"),
        place in 0usize..8,
        name in "[a-z_]{1,8}",
    ) {
        prop_assume!(key.trim() == key);
        let text = format!("{before}{}{after}", written(&key, how));
        let redactor = Redactor::new([key.clone()]);
        let mut found = Vec::new();
        match place {
            0 => found.push(redactor.url(&format!("/{text}"), None)),
            1 => found.push(redactor.url("/a", Some(&text))),
            2 => found.push(redactor.url("/a", Some(&format!("{name}={text}")))),
            3 => found.push(redactor.url("/a", Some(&format!("{text}={name}")))),
            4 => strings(&redactor.value(json!({name: text})), &mut found),
            5 => strings(&redactor.value(json!({text: [1, {"a": name}]})), &mut found),
            6 => strings(&redactor.value(json!([[text], {"media": {"data": name, "url": text}}])), &mut found),
            _ => found.push(redactor.text(&text)),
        }
        for shown in &found {
            for form in readings(shown) {
                prop_assert!(!form.contains(&key), "{key:?} in {form:?}");
            }
        }
    }

    #[test]
    fn nothing_makes_it_panic(path in "\\PC{0,80}", query in proptest::option::of("\\PC{0,120}"), text in "\\PC{0,80}") {
        let mut redactor = Redactor::new([text.clone()]);
        redactor.learn_query(query.as_deref().unwrap_or_default());
        let _ = redactor.url(&path, query.as_deref());
        let _ = redactor.value(json!({text: path, "data": query}));
    }
}
