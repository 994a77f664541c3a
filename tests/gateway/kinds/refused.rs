//! Bad input, on every endpoint: missing, of the wrong type, too large, hostile. It is refused by name, and changes
//! nothing.

use std::time::Duration;

use serde_json::{Value, json};

use super::desk::Desk;
use crate::support::{Answer, CUSTOMER, NOBODY, OFFICE};

/// Fails unless this is an error of Kurir's own shape whose message says `names`.
fn refused(what: &str, answer: &Answer, status: u16, names: &str) {
    assert_eq!(answer.status, status, "{what}: {answer:?}");
    let body = answer.json();
    assert_eq!(body["success"], json!(false), "{what}: {body}");
    let message = body["message"].as_str().unwrap_or_else(|| panic!("{what}: {body}"));
    assert!(message.contains(names), "{what}: \"{message}\" does not say \"{names}\"");
    assert!(body["error"].is_string(), "{what}: {body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_request_names_its_field_and_changes_nothing() {
    let desk = Desk::open().await;
    let group = desk.group(&[CUSTOMER]).await;
    let sent = desk.send(json!({"to": CUSTOMER, "text": "asli"})).await;
    let id = sent["id"].as_str().unwrap();
    let long = "x".repeat(65_537);
    let text = |more: Value| {
        let mut body = json!({"to": CUSTOMER, "text": "a"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let place = |place: Value| json!({"to": CUSTOMER, "location": place});
    let contact = |contact: Value| json!({"to": CUSTOMER, "contact": contact});
    let poll = |poll: Value| json!({"to": CUSTOMER, "poll": poll});
    let media = |media: Value| json!({"to": CUSTOMER, "media": media});
    let many: Vec<String> = (0..300).map(|n| format!("628120001{n:04}")).collect();
    let messages: Vec<(Value, u16, &str)> = vec![
        (json!({}), 400, "to is required"),
        (json!({"to": CUSTOMER}), 400, "text"),
        (json!({"text": "a"}), 400, "to"),
        (json!({"to": [1], "text": "a"}), 400, "to"),
        (json!({"to": "budi", "text": "a"}), 400, "to"),
        (json!({"to": "status@broadcast", "text": "a"}), 400, "to"),
        (json!({"to": NOBODY, "text": "a"}), 400, "not registered"),
        (text(json!({"text": {}})), 400, "text"),
        (text(json!({"text": "  "})), 400, "text"),
        (text(json!({"text": long})), 400, "65536"),
        (text(json!({"type": "carrier-pigeon"})), 400, "type"),
        (text(json!({"type": "image"})), 400, "media is required"),
        (text(json!({"type": "poll"})), 400, "poll is required"),
        (text(json!({"type": 5.5})), 400, "type"),
        (text(json!({"location": {"latitude": 1, "longitude": 1}})), 400, "text"),
        (json!({"to": CUSTOMER, "location": {}, "poll": {}}), 400, "one of"),
        (text(json!({"mentions": ["all"]})), 400, "group"),
        (text(json!({"mention_all": "maybe"})), 400, "mention_all"),
        (text(json!({"mentions": [[1]]})), 400, "mentions"),
        (text(json!({"mentions": ["budi"]})), 400, "mentions"),
        (text(json!({"mentions": many})), 400, "mentions"),
        (text(json!({"mentions": [group]})), 400, "mentions"),
        (text(json!({"reply_to": "../../etc/passwd"})), 404, "reply_to"),
        (text(json!({"reply_to": {}})), 400, "reply_to"),
        (json!({"to": group, "text": "a", "reply_to": "3EB0FFFFFFFFFFFFFFFFFF"}), 400, "sender"),
        (json!({"to": group, "text": "a", "reply_to": id}), 400, "another chat"),
        (text(json!({"preview": "maybe"})), 400, "preview"),
        (text(json!({"reference": "x".repeat(201)})), 400, "reference"),
        (text(json!({"send_at_ms": "besok"})), 400, "send_at_ms"),
        (text(json!({"send_at_ms": i64::MAX})), 400, "send_at_ms"),
        (text(json!({"typing_s": 3600})), 400, "typing_s"),
        (place(json!("di sini")), 400, "location"),
        (place(json!({"latitude": 91, "longitude": 0})), 400, "latitude"),
        (place(json!({"latitude": 0, "longitude": "NaN"})), 400, "longitude"),
        (place(json!({"latitude": 0})), 400, "longitude"),
        (place(json!({"latitude": 0, "longitude": 0, "name": "x".repeat(300)})), 400, "name"),
        (contact(json!({"phone": CUSTOMER})), 400, "name"),
        (contact(json!({"name": "Budi"})), 400, "phone"),
        (contact(json!({"name": "Budi", "phone": "budi"})), 400, "phone"),
        (contact(json!({"name": "Budi", "vcard": "hello"})), 400, "vcard"),
        (contact(json!({"name": ["Budi"], "phone": CUSTOMER})), 400, "name"),
        (poll(json!({"name": "?", "options": ["satu"]})), 400, "options"),
        (poll(json!({"name": "?", "options": ["a", "a"]})), 400, "options"),
        (poll(json!({"options": ["a", "b"]})), 400, "name"),
        (poll(json!({"name": "?", "options": {"a": 1}})), 400, "options"),
        (poll(json!({"name": "?", "options": ["a", "b"], "multiple": "maybe"})), 400, "multiple"),
        (media(json!({})), 400, "media"),
        (media(json!("x")), 400, "media"),
        (media(json!({"url": "http://127.0.0.1/x", "data": "AAAA"})), 400, "media"),
        (media(json!({"url": "http://127.0.0.1/x"})), 400, "url"),
        (media(json!({"url": "file:///etc/passwd"})), 400, "url"),
        (media(json!({"url": 5})), 400, "url"),
        (media(json!({"data": "%%%"})), 400, "Base64"),
        (media(json!({"data": "AAAA", "filename": {}})), 400, "filename"),
    ];
    for (body, status, names) in messages {
        let answer = desk.call("POST", "/messages", Some(body.clone())).await;
        let shown: String = body.to_string().chars().take(200).collect();
        refused(&shown, &answer, status, names);
    }
    let message = format!("/messages/{id}");
    let reaction = format!("{message}/reaction");
    let unknown = "/messages/3EB0FFFFFFFFFFFFFFFFFF";
    let others: Vec<(&str, String, Value, u16, &str)> = vec![
        ("GET", unknown.into(), json!({}), 404, "not found"),
        ("POST", format!("{unknown}/retry"), json!({}), 404, "not found"),
        ("POST", format!("{message}/retry"), json!({}), 409, "sent"),
        ("PATCH", unknown.into(), json!({"text": "a"}), 404, "message"),
        ("PATCH", unknown.into(), json!({"text": "a", "chat": "budi"}), 400, "chat"),
        ("PATCH", message.clone(), json!({}), 400, "text is required"),
        ("PATCH", message.clone(), json!({"text": []}), 400, "text"),
        ("PATCH", message.clone(), json!({"text": long}), 400, "65536"),
        ("PATCH", message.clone(), json!({"text": "a", "mentions": ["all"]}), 400, "group"),
        ("DELETE", unknown.into(), json!({}), 404, "message"),
        ("DELETE", "/messages/%00%ff".into(), json!({}), 404, "ession"),
        ("POST", reaction.clone(), json!({}), 400, "emoji is required"),
        ("POST", reaction.clone(), json!({"emoji": "ok"}), 400, "emoji"),
        ("POST", reaction.clone(), json!({"emoji": 5}), 400, "emoji"),
        ("POST", reaction.clone(), json!({"emoji": "👍".repeat(50)}), 400, "emoji"),
        ("POST", format!("{unknown}/reaction"), json!({"emoji": "👍"}), 404, "message"),
        ("POST", format!("{unknown}/reaction"), json!({"emoji": "👍", "chat": group}), 400, "sender"),
        (
            "POST",
            format!("{unknown}/reaction"),
            json!({"emoji": "👍", "chat": group, "sender": group}),
            400,
            "sender",
        ),
        ("POST", format!("/chats/{CUSTOMER}/typing"), json!({"state": "sleeping"}), 400, "state"),
        ("POST", format!("/chats/{CUSTOMER}/typing"), json!({"state": {}}), 400, "state"),
        ("POST", format!("/chats/{CUSTOMER}/typing"), json!({"duration_s": 61}), 400, "duration_s"),
        ("POST", format!("/chats/{CUSTOMER}/typing"), json!({"duration_s": "x"}), 400, "duration_s"),
        ("POST", "/chats/budi/typing".into(), json!({}), 400, "chat"),
        ("POST", format!("/chats/{NOBODY}/typing"), json!({}), 400, "not registered"),
        ("POST", format!("/chats/{CUSTOMER}/read"), json!({"messages": {}}), 400, "messages"),
        ("POST", format!("/chats/{CUSTOMER}/read"), json!({"messages": ["a b"]}), 400, "messages"),
        ("POST", format!("/chats/{group}/read"), json!({"messages": ["3EB0FF"]}), 400, "sender"),
        ("POST", "/chats/status@broadcast/read".into(), json!({}), 400, "chat"),
        ("POST", "/groups".into(), json!({}), 400, "name is required"),
        ("POST", "/groups".into(), json!({"name": "x".repeat(101)}), 400, "name"),
        ("POST", "/groups".into(), json!({"name": " "}), 400, "name"),
        (
            "POST",
            "/groups".into(),
            json!({"name": "A", "description": "x".repeat(2_049)}),
            400,
            "description",
        ),
        ("POST", "/groups".into(), json!({"name": "A", "participants": ["budi"]}), 400, "participants"),
        ("POST", "/groups".into(), json!({"name": "A", "participants": many}), 400, "participants"),
        ("POST", "/groups".into(), json!({"name": "A", "participants": [group]}), 400, "participants"),
        ("POST", "/groups/join".into(), json!({}), 400, "link is required"),
        ("POST", "/groups/join".into(), json!({"link": "https://example.com/x"}), 400, "link"),
        ("GET", "/groups/budi".into(), json!({}), 404, "Group not found"),
        ("GET", "/groups/..%2f..%2fetc".into(), json!({}), 404, "Group not found"),
        ("PATCH", format!("/groups/{group}"), json!({}), 400, "required"),
        ("PATCH", format!("/groups/{group}"), json!({"locked": "maybe"}), 400, "locked"),
        ("POST", format!("/groups/{group}/participants"), json!({"participants": [OFFICE]}), 400, "action"),
        (
            "POST",
            format!("/groups/{group}/participants"),
            json!({"action": "kick", "participants": [OFFICE]}),
            400,
            "action",
        ),
        ("POST", format!("/groups/{group}/participants"), json!({"action": "add"}), 400, "participants"),
        ("PATCH", "/settings".into(), json!({"send_delay_ms": "5"}), 400, "send_delay_ms"),
        ("PATCH", "/settings".into(), json!({"queue_allow": 5}), 400, "queue_allow"),
    ];
    for (method, end, body, status, names) in others {
        let answer = desk.call(method, &end, Some(body.clone())).await;
        let shown: String = format!("{method} {end} {body}").chars().take(200).collect();
        refused(&shown, &answer, status, names);
    }
    let broken =
        desk.office.call("PATCH", &format!("/api/v1/sessions/{}/settings", desk.session.id()), None).await;
    assert_eq!(broken.status, 200, "an empty change changes nothing");
    assert_eq!(broken.json()["own"], json!([]));
    assert_eq!(desk.office.gateway.outbox().depth(desk.session.no()), 0);
    let shown = desk.office.sim.inbox(CUSTOMER, 1, Duration::ZERO).await.unwrap();
    assert_eq!(shown.len(), 1, "{shown:#?}");
    assert_eq!((shown[0].edited.as_deref(), shown[0].revoked, shown[0].reactions.len()), (None, false, 0));
    assert!(desk.office.sim.typing(CUSTOMER).await.unwrap().is_empty());
    assert_eq!(desk.office.sim.group(&group).unwrap().members.len(), 2);
    desk.office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_wants_a_key_of_the_sessions_owner() {
    let desk = Desk::open().await;
    let stranger = desk.office.gateway.keys().create("lain", "lain", false).await.unwrap();
    let other = desk.office.gateway.registry().create("Dua", "main").await.unwrap();
    let token = desk.office.token(&other).await;
    let ends = [
        ("POST", "/messages"),
        ("GET", "/messages/3EB0"),
        ("PATCH", "/messages/3EB0"),
        ("DELETE", "/messages/3EB0"),
        ("POST", "/messages/3EB0/retry"),
        ("POST", "/messages/3EB0/reaction"),
        ("DELETE", "/messages/3EB0/reaction"),
        ("POST", "/chats/6281200000002/typing"),
        ("POST", "/chats/6281200000002/read"),
        ("GET", "/groups"),
        ("POST", "/groups"),
        ("POST", "/groups/join"),
        ("GET", "/groups/1@g.us"),
        ("PATCH", "/groups/1@g.us"),
        ("GET", "/groups/1@g.us/participants"),
        ("POST", "/groups/1@g.us/participants"),
        ("GET", "/groups/1@g.us/invite"),
        ("DELETE", "/groups/1@g.us/invite"),
        ("POST", "/groups/1@g.us/leave"),
        ("GET", "/settings"),
        ("PATCH", "/settings"),
    ];
    for (method, end) in ends {
        let path = format!("/api/v1/sessions/{}{end}", desk.session.id());
        for (key, status) in [("", 401), (stranger.as_str(), 403), (token.as_str(), 403)] {
            let headers = [("x-api-key", key), ("content-type", "application/json")];
            let headers = if key.is_empty() { &headers[1..] } else { &headers[..] };
            let address = desk.office.gateway.address();
            let answer = crate::support::request(address, method, &path, headers, "{}").await.unwrap();
            refused(&format!("{method} {end}"), &answer, status, "");
        }
        let nowhere = format!("/api/v1/sessions/nowhere{end}");
        let answer = desk.office.call(method, &nowhere, None).await;
        refused(&format!("{method} {nowhere}"), &answer, 404, "Session not found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_sessions_at_once_cannot_pass_the_limit() {
    let desk = Desk::open().await;
    let registry = desk.office.gateway.registry().clone();
    for n in registry.list().len()..kurir::session::registry::MAX_SESSIONS - 2 {
        registry.create(&format!("S{n}"), "main").await.unwrap();
    }
    let tries: Vec<_> = (0..8)
        .map(|n| {
            let registry = registry.clone();
            tokio::spawn(async move { registry.create(&format!("T{n}"), "main").await.is_ok() })
        })
        .collect();
    let mut made = 0;
    for one in tries {
        made += usize::from(one.await.unwrap());
    }
    assert_eq!((made, registry.list().len()), (2, kurir::session::registry::MAX_SESSIONS));
}
