use axum::http::header::CONTENT_LENGTH;
use bytes::Bytes;
use futures_util::stream;
use serde_json::Value;
use tower::ServiceExt;
use wacore::download::MediaType;

use super::super::{MediaRef, decrypt, encrypt};
use super::*;
use crate::faults::Fault;
use crate::stats::Violation;

struct Host {
    host: MediaHost,
    auth: String,
    file: Bytes,
    media: MediaRef,
    token: String,
}

impl Host {
    fn new() -> Self {
        let store = Arc::new(MediaStore::new(1 << 20));
        let auth = store.issue_auth("4915550001:1@s.whatsapp.net");
        let encrypted = encrypt(&[42; 1_000], MediaType::Image).unwrap();
        let token = token_of(&encrypted.file);
        let host = MediaHost {
            store,
            faults: Arc::default(),
            counters: Arc::default(),
            url: "http://127.0.0.1:1".to_owned(),
        };
        Self { host, auth, file: encrypted.file, media: encrypted.media, token }
    }

    async fn send(&self, method: &str, uri: &str, body: Body) -> (StatusCode, Bytes) {
        let request = Request::builder().method(method).uri(uri).body(body).unwrap();
        self.request(request).await
    }

    async fn request(&self, request: Request) -> (StatusCode, Bytes) {
        let response = self.host.clone().router().oneshot(request).await.unwrap();
        let status = response.status();
        (status, axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap())
    }

    fn upload_uri(&self, more: &str) -> String {
        let Self { token, auth, .. } = self;
        format!("/mms/image/{token}?auth={auth}&token={token}{more}")
    }

    async fn upload(&self, more: &str, body: impl Into<Body>) -> (StatusCode, Value) {
        let (status, body) = self.send("POST", &self.upload_uri(more), body.into()).await;
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    fn fault(&self, json: &str) {
        self.host.faults.lock().unwrap().add(serde_json::from_str::<Fault>(json).unwrap(), Instant::now());
    }

    fn violations(&self) -> Vec<Violation> {
        self.host.counters.snapshot().violations
    }
}

#[tokio::test]
async fn a_file_goes_up_and_comes_down() {
    let host = Host::new();
    let (status, answer) = host.upload("", host.file.clone()).await;
    assert_eq!(status, 200);
    let path = answer["direct_path"].as_str().unwrap();
    assert_eq!(answer["url"], format!("http://127.0.0.1:1{path}"));

    // As whatsapp-rust asks, as whatsmeow does, and with nothing but the signed path.
    let Host { auth, token, .. } = &host;
    for more in [&format!("?auth={auth}&token={token}"), &format!("&hash={token}%3D&mms-type=image"), ""] {
        let (status, file) = host.send("GET", &format!("{path}{more}"), Body::empty()).await;
        assert_eq!(status, 200, "{more}");
        assert_eq!(decrypt(&file, &host.media).unwrap(), [42; 1_000]);
    }
    let stats = host.host.counters.snapshot();
    assert_eq!((stats.uploads, stats.downloads, stats.violations), (1, 3, vec![]));
}

#[tokio::test]
async fn an_upload_that_broke_off_is_resumed() {
    let host = Host::new();
    let (status, _) = host.upload("&resume=1", Body::empty()).await;
    assert_eq!(status, 404);

    let broken = Body::from_stream(stream::iter([
        Ok(host.file.slice(..100)),
        Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)),
    ]));
    assert_eq!(host.upload("", broken).await.0, 400);
    let (status, answer) = host.upload("&resume=1", Body::empty()).await;
    assert_eq!((status, &answer["resume"]), (StatusCode::OK, &Value::from("100")));

    let (status, answer) = host.upload("&file_offset=100", host.file.slice(100..)).await;
    assert_eq!(status, 200);
    let (_, again) = host.upload("&resume=1", Body::empty()).await;
    assert_eq!(again["resume"], "complete");
    assert_eq!(again["direct_path"], answer["direct_path"]);
    assert_eq!(host.violations(), []);
}

#[tokio::test]
async fn each_mistake_in_an_upload_is_refused_and_recorded() {
    let host = Host::new();
    let Host { auth, token, file, .. } = &host;
    let other = token_of(b"other");
    for (method, uri, body, status, what) in [
        ("POST", format!("/mms/image/{token}?token={token}"), file, 401, "without `auth`"),
        ("POST", format!("/mms/image/{token}?auth=sim-forged"), file, 401, "never given out"),
        ("PUT", host.upload_uri(""), file, 405, "PUT"),
        ("POST", format!("/mms/pictures/{token}?auth={auth}"), file, 404, "`pictures`"),
        ("POST", format!("/mms/image/abc?auth={auth}"), file, 400, "no SHA-256"),
        (
            "POST",
            format!("/mms/image/{token}?auth={auth}&token={other}"),
            file,
            400,
            "not the one in its path",
        ),
        ("POST", format!("/mms/image/{other}?auth={auth}"), file, 400, "not the one in the URL"),
        ("POST", host.upload_uri("&file_offset=7"), file, 416, "byte 7: 0 bytes"),
        ("POST", host.upload_uri("&file_offset=x"), file, 400, "`x`"),
        ("POST", host.upload_uri(""), &Bytes::new(), 400, "without a body"),
        ("POST", host.upload_uri(""), &file.slice(1..), 400, "no encrypted file"),
    ] {
        let before = host.violations().len();
        let (is, body) = host.send(method, &uri, Body::from(body.clone())).await;
        assert_eq!(is, status, "{method} {uri}: {body:?}");
        let violations = host.violations();
        assert_eq!(violations.len(), before + 1, "{method} {uri}");
        assert!(violations[before].what.contains(what), "{}", violations[before].what);
    }
    assert_eq!(host.host.store.find(token), None);
    assert_eq!(host.violations().last().unwrap().who, "4915550001:1@s.whatsapp.net");
}

#[tokio::test]
async fn a_body_shorter_than_announced_is_refused() {
    let host = Host::new();
    let request = Request::post(host.upload_uri(""))
        .header(CONTENT_LENGTH, host.file.len() + 16)
        .body(Body::from(host.file.clone()))
        .unwrap();
    assert_eq!(host.request(request).await.0, 400);
    assert!(host.violations()[0].what.contains("Content-Length"));
}

#[tokio::test]
async fn a_download_of_nothing_or_with_a_wrong_hash_is_refused() {
    let host = Host::new();
    let (_, answer) = host.upload("", host.file.clone()).await;
    let path = answer["direct_path"].as_str().unwrap();
    let other = token_of(b"other");
    for (uri, status) in [
        ("/v/t62.7118-24/none.enc".to_owned(), 404),
        (path.replace("&oh=", "&oh=0"), 404),
        (format!("{path}&hash={other}"), 403),
        (format!("{path}?auth=sim-forged"), 401),
    ] {
        let before = host.violations().len();
        assert_eq!(host.send("GET", &uri, Body::empty()).await.0, status, "{uri}");
        assert_eq!(host.violations().len(), before + 1, "{uri}");
    }
}

#[tokio::test]
async fn a_fault_lets_the_client_resume() {
    let host = Host::new();
    host.fault(r#"{"kind":"media","status":503,"after_bytes":64,"count":1}"#);
    assert_eq!(host.upload("", host.file.clone()).await.0, 503);
    assert_eq!(host.upload("&resume=1", Body::empty()).await.1["resume"], "64");
    assert_eq!(host.upload("&file_offset=64", host.file.slice(64..)).await.0, 200);

    host.fault(r#"{"kind":"media","status":401,"count":1}"#);
    let path = host.host.store.find(&host.token).unwrap();
    assert_eq!(host.send("GET", &path, Body::empty()).await.0, 401);
    assert_eq!(host.send("GET", &path, Body::empty()).await.0, 200);
    assert_eq!(host.violations(), []);
}

#[tokio::test]
async fn a_file_larger_than_the_store_is_refused_as_such() {
    let mut host = Host::new();
    host.host.store = Arc::new(MediaStore::new(500));
    host.auth = host.host.store.issue_auth("x");
    assert_eq!(host.upload("", host.file.clone()).await.0, 413);
}

#[test]
fn a_query_is_decoded() {
    let query = Query::of(Some("a=1%2F2&b=%zz&c&d=x%3Dy?e=5&f=%e2%82"));
    assert_eq!(query.get("a"), Some("1/2"));
    assert_eq!(query.get("b"), Some("%zz"));
    assert_eq!(query.get("c"), Some(""));
    assert_eq!(query.get("d"), Some("x=y"));
    assert_eq!(query.get("e"), Some("5"));
    assert_eq!(query.get("f"), Some("\u{fffd}"));
    assert_eq!(query.get("g"), None);
}
