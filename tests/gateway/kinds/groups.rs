//! Groups, as the test server and other members know them.

use kurir::inbox::{Body, Event, Kind};
use serde_json::{Value, json};

use super::desk::Desk;
use crate::support::{CUSTOMER, NOBODY, OFFICE};

const OTHER: &str = "6281200000003";
const THIRD: &str = "6281200000004";

async fn open() -> Desk {
    let desk = Desk::open().await;
    desk.office.sim.add_phone(OTHER, "Pak Budi").await.unwrap();
    desk.office.sim.add_phone(THIRD, "Bu Tini").await.unwrap();
    desk
}

fn actions(events: &[Event], group: &str) -> Vec<String> {
    let of_group = events.iter().filter(|event| event.chat_id.as_deref() == Some(group));
    of_group
        .filter_map(|event| match &event.body {
            Body::Group(change) => Some(change.action.clone()),
            _ => None,
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_made_looked_at_changed_and_left() {
    let desk = open().await;
    // Another office, whose journal tells what members are told.
    let other = desk.office.pair(OTHER).await;
    let body =
        json!({"name": "Gudang", "description": "Stok", "participants": ["081200000002", OTHER, NOBODY]});
    let made = desk.ok("POST", "/groups", 201, body).await;
    let id = made["group"]["id"].as_str().unwrap().to_owned();
    let done: Vec<_> = made["results"].as_array().unwrap().iter().map(|r| r["done"].clone()).collect();
    assert_eq!(done, [json!(true), json!(true), json!(false)], "{made}");
    let seen = desk.office.sim.group(&id).unwrap();
    assert_eq!(
        (seen.name.as_str(), seen.description.as_deref(), seen.owner.as_str()),
        ("Gudang", Some("Stok"), OFFICE)
    );
    assert_eq!(seen.members.keys().collect::<Vec<_>>(), [OFFICE, CUSTOMER, OTHER]);

    let listed = desk.ok("GET", "/groups", 200, Value::Null).await;
    let group = &listed["groups"][0];
    assert_eq!((&group["id"], &group["name"], &group["size"]), (&json!(id), &json!("Gudang"), &json!(3)));
    assert_eq!((&group["own_role"], &group["description"]), (&json!("superadmin"), &json!("Stok")));
    // With and without the server's name.
    for name in [id.as_str(), id.trim_end_matches("@g.us")] {
        let shown = desk.ok("GET", &format!("/groups/{name}"), 200, Value::Null).await["group"].clone();
        assert_eq!(shown["participants"].as_array().unwrap().len(), 3);
    }
    let people = desk.ok("GET", &format!("/groups/{id}/participants"), 200, Value::Null).await;
    let people = people["participants"].as_array().unwrap().clone();
    let of = |number: &str| people.iter().find(|p| p["phone"] == json!(number)).unwrap();
    assert_eq!((&of(OFFICE)["role"], &of(OTHER)["role"]), (&json!("superadmin"), &json!("member")));
    assert_eq!(of(OTHER)["lid"], json!(format!("{}@lid", whatsapp_sim::lid_of(OTHER))));

    let change = json!({"name": "Gudang Barat", "description": "", "announcement": true, "locked": true});
    let shown = desk.ok("PATCH", &format!("/groups/{id}"), 200, change).await["group"].clone();
    let facts = [&shown["name"], &shown["description"], &shown["announcement"], &shown["locked"]];
    assert_eq!(facts, [&json!("Gudang Barat"), &Value::Null, &json!(true), &json!(true)]);
    let seen = desk.office.sim.group(&id).unwrap();
    assert_eq!(
        (seen.name.as_str(), seen.description, seen.announce, seen.locked),
        ("Gudang Barat", None, true, true)
    );

    desk.ok("POST", &format!("/groups/{id}/leave"), 200, Value::Null).await;
    assert!(!desk.office.sim.group(&id).unwrap().members.contains_key(OFFICE));
    assert_eq!(desk.ok("GET", "/groups", 200, Value::Null).await["groups"], json!([]));
    let gone = desk.call("GET", &format!("/groups/{id}"), None).await;
    assert_eq!(gone.status, 403, "{gone:?}");
    assert_eq!(desk.call("POST", &format!("/groups/{id}/leave"), None).await.status, 403);

    // The other member's session was told of each step.
    let mut count = 1;
    loop {
        let found = desk.events(Kind::Group, count).await;
        let theirs: Vec<Event> = found.iter().filter(|e| e.origin.session == other.id()).cloned().collect();
        let told = actions(&theirs, &id);
        if told.iter().any(|action| action == "remove") {
            for action in ["create", "subject", "announcement", "locked"] {
                assert!(told.iter().any(|told| told == action), "{action} in {told:?}");
            }
            break;
        }
        count = found.len() + 1;
    }
    desk.office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn participants_come_go_and_become_admins_and_each_has_its_own_answer() {
    let desk = open().await;
    let made = desk.ok("POST", "/groups", 201, json!({"name": "Tim", "participants": [CUSTOMER]})).await;
    let id = made["group"]["id"].as_str().unwrap().to_owned();
    let path = format!("/groups/{id}/participants");
    let change = |action: &'static str, people: Value| json!({"action": action, "participants": people});
    let results = |answer: &Value| -> Vec<(Value, Value)> {
        answer["results"].as_array().unwrap().iter().map(|r| (r["done"].clone(), r["code"].clone())).collect()
    };
    let added = desk.ok("POST", &path, 200, change("add", json!([OTHER, CUSTOMER, NOBODY]))).await;
    let ok = (json!(true), Value::Null);
    assert_eq!(
        results(&added),
        [ok.clone(), (json!(false), json!(409)), (json!(false), json!(404))],
        "{added}"
    );
    let lid = format!("{}@lid", whatsapp_sim::lid_of(OTHER));
    let promoted = desk.ok("POST", &path, 200, change("promote", json!([lid]))).await;
    assert_eq!(results(&promoted), std::slice::from_ref(&ok));
    assert_eq!(desk.office.sim.group(&id).unwrap().members.get(OTHER), Some(&true));
    desk.ok("POST", &path, 200, change("demote", json!([OTHER]))).await;
    assert_eq!(desk.office.sim.group(&id).unwrap().members.get(OTHER), Some(&false));
    let removed = desk.ok("POST", &path, 200, change("remove", json!([CUSTOMER, THIRD]))).await;
    assert_eq!(results(&removed), [ok, (json!(false), json!(404))], "{removed}");
    let members = desk.office.sim.group(&id).unwrap().members;
    assert!(members.contains_key(OTHER) && !members.contains_key(CUSTOMER));
    // Whoever was removed reads nothing that is written afterwards.
    let sent = desk.delivered(OTHER, json!({"to": id, "text": "kita berdua"})).await;
    let theirs = desk.office.sim.inbox(CUSTOMER, 0, std::time::Duration::ZERO).await.unwrap();
    assert!(theirs.iter().all(|item| item.id != sent));
    desk.office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_link_is_shown_replaced_and_joined_by() {
    let desk = open().await;
    let other = desk.office.pair(OTHER).await;
    let made =
        desk.ok("POST", "/groups", 201, json!({"name": "Pelanggan", "participants": [CUSTOMER]})).await;
    let id = made["group"]["id"].as_str().unwrap().to_owned();
    let path = format!("/groups/{id}/invite");
    let first = desk.ok("GET", &path, 200, Value::Null).await;
    assert_eq!(first["code"], json!(desk.office.sim.group(&id).unwrap().invite));
    let second = desk.ok("DELETE", &path, 200, Value::Null).await;
    assert_ne!(first["link"], second["link"]);
    assert_eq!(second["code"], json!(desk.office.sim.group(&id).unwrap().invite));
    let join = format!("/api/v1/sessions/{}/groups/join", other.id());
    let old = desk.office.call("POST", &join, Some(json!({"link": first["link"]}))).await;
    assert_eq!(old.status, 400, "{old:?}");
    let new = desk.office.call("POST", &join, Some(json!({"link": second["link"]}))).await;
    assert_eq!(
        (new.status, &new.json()["id"], &new.json()["joined"]),
        (200, &json!(id), &json!(true)),
        "{new:?}"
    );
    assert!(desk.office.sim.group(&id).unwrap().members.contains_key(OTHER));
    desk.office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_no_admin_is_told_so_and_a_session_that_is_away_too() {
    let desk = open().await;
    let group = desk.group(&[CUSTOMER]).await;
    for (method, end, body) in [
        ("POST", "/participants", json!({"action": "add", "participants": [OTHER]})),
        ("PATCH", "", json!({"announcement": true})),
        ("DELETE", "/invite", json!({})),
    ] {
        let answer = desk.call(method, &format!("/groups/{group}{end}"), Some(body)).await;
        assert_eq!(answer.status, 403, "{method} {end}: {answer:?}");
        assert!(answer.json()["message"].as_str().unwrap().contains("admin"), "{answer:?}");
    }
    assert!(!desk.office.sim.group(&group).unwrap().members.contains_key(OTHER));
    let unknown = desk.call("GET", "/groups/120363000000000000@g.us", None).await;
    assert_eq!(unknown.status, 404, "{unknown:?}");
    let unpaired = desk.office.gateway.registry().create("Baru", "main").await.unwrap();
    let path = format!("/api/v1/sessions/{}/groups", unpaired.id());
    let away = desk.office.call("GET", &path, None).await;
    assert_eq!((away.status, away.headers.contains_key("retry-after")), (503, true), "{away:?}");
}
