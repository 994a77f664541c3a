//! What the formats of others show of a device beside its state: where its events go, and where the box is.

use crate::support::{OFFICE, Office, request};
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn a_devices_webhook_and_the_boxes_address_are_shown() {
    let (office, session) =
        Office::paired_with(|config| config.public_url = Some("https://kurir.example".into())).await;
    let (address, key) = (office.gateway.address(), office.key.clone());
    let info = async || {
        let path = format!("/info-devices?api_key={key}");
        request(address, "GET", &path, &[], "").await.unwrap().json()["info"][0]["webhook"].clone()
    };
    let status = async || {
        let bearer = format!("Bearer {key}");
        request(address, "GET", "/api/status", &[("authorization", &bearer)], "").await.unwrap().json()
    };
    assert_eq!(info().await, Value::Null);
    let shown = status().await;
    assert_eq!(shown["publicUrl"], "https://kurir.example");
    assert_eq!(
        (&shown["devices"][0]["webhookUrl"], &shown["devices"][0]["phoneNumber"]),
        (&json!(""), &json!(OFFICE))
    );
    let hook = async |body: Value| {
        let answer = office.call("POST", "/api/v1/webhooks", Some(body)).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()["webhook"]["id"].as_str().unwrap().to_owned()
    };
    hook(json!({"url": "https://example.com/kurir"})).await;
    hook(json!({"url": "https://example.com/semua", "format": "mpwa"})).await;
    assert_eq!(info().await, "https://example.com/semua", "the account's, in this format");
    let own =
        hook(json!({"url": "https://example.com/kasir", "format": "mpwa", "session": session.id()})).await;
    assert_eq!(info().await, "https://example.com/kasir", "the device's own goes first");
    assert_eq!(status().await["devices"][0]["webhookUrl"], "https://example.com/kasir");
    let path = format!("/api/v1/webhooks/{own}");
    assert_eq!(office.call("PATCH", &path, Some(json!({"enabled": false}))).await.status, 200);
    assert_eq!(info().await, "https://example.com/semua", "one that is switched off is not shown");
}
