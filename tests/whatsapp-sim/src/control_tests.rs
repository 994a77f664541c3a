use tower::ServiceExt;

use super::*;
use crate::SimConfig;

struct Control(Router);

impl Control {
    async fn start() -> Self {
        Self(router(Sim::start(SimConfig::default()).await.unwrap()))
    }

    async fn send(&self, method: &str, uri: &str, body: impl Into<Body>) -> (StatusCode, Value) {
        let request = Request::builder().method(method).uri(uri).body(body.into()).unwrap();
        let response = self.0.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_else(|e| panic!("{method} {uri}: {e}: {body:?}")))
    }

    async fn post(&self, uri: &str, body: Value) -> (StatusCode, Value) {
        self.send("POST", uri, body.to_string()).await
    }
}

const ANNA: &str = "4915550001";

#[tokio::test]
async fn phones_come_and_go() {
    let control = Control::start().await;
    let (status, phone) = control.post("/phones", json!({"number": ANNA, "name": "Anna"})).await;
    assert_eq!((status, &phone["number"]), (StatusCode::OK, &json!(ANNA)));
    assert!(phone["lid"].as_str().unwrap().ends_with("@lid"), "{phone}");
    assert_eq!(control.send("GET", "/phones/4915550001/inbox", "").await, (StatusCode::OK, json!([])));

    let (status, error) = control.post("/phones", json!({"number": ANNA, "name": "Anna"})).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(error["error"].as_str().unwrap().contains(ANNA), "{error}");

    assert_eq!(control.send("DELETE", "/phones/4915550001", "").await, (StatusCode::OK, json!({})));
    assert_eq!(control.send("DELETE", "/phones/4915550001", "").await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn every_mistake_has_its_status_and_names_itself() {
    let control = Control::start().await;
    control.post("/phones", json!({"number": ANNA, "name": "Anna"})).await;
    let anna = |path: &str| format!("/phones/{ANNA}/{path}");
    let medium =
        |data: &str| json!({"to": "1", "media": {"kind": "image", "mime": "image/png", "data": data}});
    for (uri, body, status, names) in [
        ("/phones".into(), json!({"name": "x"}), 400, "number"),
        ("/phones".into(), json!({"number": "+49 155", "name": "x"}), 400, "+49 155"),
        ("/phones".into(), json!({"number": "4915550002", "nmae": "x"}), 400, "nmae"),
        ("/phones/4915559999/unlink".into(), json!({}), 404, "4915559999"),
        (anna("scan"), json!({"qr": "not,a,qr"}), 400, "QR"),
        (anna("scan"), json!({}), 400, "qr"),
        (anna("pair-code"), json!({"code": "ABCD1234"}), 409, ANNA),
        (anna("unlink"), json!({}), 409, ANNA),
        (anna("send"), json!({"to": "4915559999", "text": "x"}), 400, "4915559999"),
        (anna("send"), json!({"to": ANNA}), 400, "either"),
        (anna("send"), json!({"to": ANNA, "text": "x", "media": medium("eA==")["media"]}), 400, "either"),
        (anna("send"), medium("%"), 400, "base64"),
        (anna("send"), medium(""), 400, "0 bytes"),
        (anna("send"), json!({"to": ANNA, "media": {"kind": "scent"}}), 400, "scent"),
        (anna("read"), json!({"id": "3EB0"}), 404, "3EB0"),
        ("/groups".into(), json!({"name": "g", "owner": "4915559999", "members": []}), 404, "4915559999"),
        ("/faults".into(), json!({"kind": "flood"}), 400, "flood"),
        ("/faults".into(), json!({"kind": "no-ack", "count": 0}), 400, "count"),
        ("/nothing".into(), json!({}), 404, "/nothing"),
        ("/stats".into(), json!({}), 405, "POST"),
    ] {
        let uri: String = uri;
        let (is, answer) = control.post(&uri, body.clone()).await;
        assert_eq!(is, status, "{uri} {body}: {answer}");
        let error = answer["error"].as_str().unwrap_or_else(|| panic!("{uri} {body}: {answer}"));
        assert!(error.contains(names), "{uri} {body}: {error}");
    }
    for (uri, status, names) in [
        ("/phones/4915559999/inbox".to_owned(), 404, "4915559999"),
        (anna("inbox?wait=-1"), 400, "wait"),
        (anna("inbox?wait=601"), 400, "wait"),
        (anna("inbox?count=x"), 400, "count"),
        (anna("inbox?cuont=1"), 400, "cuont"),
        (anna("media/3EB0"), 404, "3EB0"),
    ] {
        let (is, answer) = control.send("GET", &uri, "").await;
        assert_eq!(is, status, "{uri}: {answer}");
        assert!(answer["error"].as_str().unwrap().contains(names), "{uri}: {answer}");
    }
}

#[tokio::test]
async fn bodies_are_bounded() {
    let control = Control::start().await;
    let too_large = vec![b' '; MAX_BODY + 1];
    assert_eq!(control.send("POST", "/phones", too_large).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    let (status, answer) = control.send("POST", "/phones", "{").await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(answer["error"].is_string());
}

#[tokio::test]
async fn stats_and_faults_answer() {
    let control = Control::start().await;
    let (status, stats) = control.send("GET", "/stats", "").await;
    assert_eq!((status, &stats["violations"]), (StatusCode::OK, &json!([])));
    assert_eq!(control.post("/faults", json!({"kind": "refuse"})).await, (StatusCode::OK, json!({})));
    assert_eq!(control.send("DELETE", "/faults", "").await, (StatusCode::OK, json!({})));
}
