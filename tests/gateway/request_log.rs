//! The request log: who reads what, and what never gets into it.

use crate::support::files::{form, multipart, sample};
use crate::support::{Answer, CUSTOMER, NOBODY, OFFICE, Office, PATIENCE, request};
use kurir::session::Session;
use serde_json::{Value, json};

async fn get(office: &Office, key: &str, path: &str) -> Answer {
    request(office.gateway.address(), "GET", path, &[("x-api-key", key)], "").await.unwrap()
}

/// What a key reads of the log, newest first.
async fn log(office: &Office, key: &str, query: &str) -> Vec<Value> {
    let answer = get(office, key, &format!("/api/v1/requests{query}")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["requests"].as_array().unwrap().clone()
}

async fn detail(office: &Office, key: &str, row: &Value) -> Value {
    let answer = get(office, key, &format!("/api/v1/requests/{}", row["id"])).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["request"].clone()
}

/// The same message in each dialect's way; the URLs as the log should show them, oldest first.
async fn send_everywhere(office: &Office, session: &Session, token: &str) -> Vec<String> {
    let (address, key) = (office.gateway.address(), office.key.as_str());
    let json = ("content-type", "application/json");
    let mut shown = Vec::new();
    let query = form(&[("api_key", key), ("sender", OFFICE), ("number", CUSTOMER), ("message", "halo")]);
    let answer = request(address, "GET", &format!("/send-message?{query}"), &[], "").await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    shown.push(format!("/send-message?api_key=***&sender={OFFICE}&number={CUSTOMER}&message=halo"));

    let body = json!({"api_key": key, "sender": OFFICE, "number": CUSTOMER, "message": "halo"}).to_string();
    assert_eq!(request(address, "POST", "/send-message", &[json], body).await.unwrap().status, 200);
    shown.push("/send-message".into());

    let body = form(&[("target", CUSTOMER), ("message", "halo"), ("token", token)]);
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(request(address, "POST", "/send", &headers, body).await.unwrap().status, 200);
    shown.push("/send".into());

    let bearer = format!("Bearer {token}");
    let body = json!({"to": CUSTOMER, "message": format!("halo {token}")}).to_string();
    let headers = [("authorization", bearer.as_str()), json];
    assert_eq!(request(address, "POST", "/api/send-message", &headers, body).await.unwrap().status, 200);
    shown.push("/api/send-message".into());

    let path = format!("/api/sessions/{}/send-media", session.id());
    let headers = [("x-api-key", key), ("content-type", "multipart/form-data; boundary=B")];
    let body =
        multipart(&[("to", CUSTOMER), ("message", "nota")], Some(("media", "a.pdf", &sample("a.pdf"))));
    assert_eq!(request(address, "POST", &path, &headers, body).await.unwrap().status, 200);
    shown.push(path);
    shown
}

#[tokio::test(flavor = "multi_thread")]
async fn every_dialects_requests_are_shown_to_their_owner_without_keys_and_files() {
    let (office, session) = Office::paired().await;
    let token = office.token(&session).await;
    let mut urls = send_everywhere(&office, &session, &token).await;
    office.sim.inbox(CUSTOMER, urls.len(), PATIENCE).await.unwrap();
    let rows = log(&office, &office.key, "").await;
    urls.insert(0, format!("/api/sessions/{}/tokens", session.id()));
    let shown: Vec<&str> = rows.iter().rev().map(|row| row["url"].as_str().unwrap()).collect();
    assert_eq!(shown, urls);
    for row in &rows {
        assert_eq!(
            (&row["statusCode"], &row["ip"], &row["account"]),
            (&json!(200), &json!("127.0.0.1"), &json!("main"))
        );
        assert!(row["createdAt"].as_i64().unwrap() > 1_600_000_000_000 && row["duration"].is_u64(), "{row}");
    }
    let mut details = Vec::new();
    for row in rows.iter().rev() {
        let shown = detail(&office, &office.key, row).await;
        let text = shown.to_string();
        assert!(!text.contains(&office.key) && !text.contains(&token), "{text}");
        assert!(!text.contains("kurir_"), "{text}");
        details.push(shown);
    }
    assert_eq!(
        (&details[0]["method"], &details[0]["resBody"]),
        (&json!("POST"), &json!({"success": true, "token": "***"}))
    );
    assert_eq!((&details[1]["method"], &details[1]["reqBody"]), (&json!("GET"), &Value::Null));
    let sent = json!({"status": true, "msg": "Message sent successfully!"});
    assert_eq!(details[1]["resBody"], sent);
    let body = json!({"api_key": "***", "sender": OFFICE, "number": CUSTOMER, "message": "halo"});
    assert_eq!((&details[2]["reqBody"], &details[2]["resBody"]), (&body, &sent));
    assert_eq!(details[2]["reqHeaders"]["content-type"], "application/json");
    assert_eq!(details[3]["reqBody"], json!({"target": CUSTOMER, "message": "halo", "token": "***"}));
    assert_eq!(details[4]["reqBody"], json!({"to": CUSTOMER, "message": "halo ***"}));
    assert_eq!(details[4]["reqHeaders"]["authorization"], "***");
    let size = sample("a.pdf").len();
    let upload = json!({"to": CUSTOMER, "message": "nota", "media": format!("(file a.pdf, {size} bytes)")});
    assert_eq!(details[5]["reqBody"], upload);
    office.assert_no_violations();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_its_accounts_own_and_an_administrator_sees_all() {
    let (office, session) = Office::paired().await;
    let keys = office.gateway.keys();
    let clinic = keys.create("clinic", "clinic", false).await.unwrap();
    let admin = keys.create("admin", "main", true).await.unwrap();
    let token = office.token(&session).await;
    get(&office, &clinic, "/api/sessions").await;
    get(&office, &token, "/api/sessions?list=1").await;
    // Somebody mistyped a key, and put it into the body and the path as well.
    let wrong = format!("{clinic}x");
    let body = json!({"to": CUSTOMER, "message": wrong}).to_string();
    let path = format!("/api/sessions/{wrong}/send");
    let answer =
        request(office.gateway.address(), "POST", &path, &[("x-api-key", &wrong)], body).await.unwrap();
    assert_eq!(answer.status, 401);
    let urls = |rows: &[Value]| -> Vec<String> {
        rows.iter().map(|row| row["url"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(urls(&log(&office, &clinic, "").await), ["/api/sessions"]);
    assert_eq!(urls(&log(&office, &token, "").await), ["/api/sessions?list=1"]);
    let own = log(&office, &office.key, "").await;
    assert_eq!(
        urls(&own),
        ["/api/sessions?list=1".to_owned(), format!("/api/sessions/{}/tokens", session.id())]
    );
    let all = log(&office, &admin, "").await;
    assert_eq!(urls(&all)[0], "/api/sessions/***/send");
    assert_eq!((all.len(), &all[0]["account"], &all[0]["statusCode"]), (4, &Value::Null, &json!(401)));
    let shown = detail(&office, &admin, &all[0]).await;
    assert_eq!((&shown["reqBody"], shown["reqHeaders"]["x-api-key"].as_str()), (&Value::Null, Some("***")));
    assert!(!shown.to_string().contains(&wrong), "{shown}");
    for (key, row) in [(&clinic, &own[0]), (&token, &own[1]), (&office.key, &all[0])] {
        let answer = get(&office, key, &format!("/api/v1/requests/{}", row["id"])).await;
        assert_eq!((answer.status, answer.json()["success"].clone()), (404, json!(false)));
    }
    assert_eq!(get(&office, "wrong", "/api/v1/requests").await.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_filtered_read_in_pages_and_survives_a_restart() {
    let (office, session) = Office::paired().await;
    let send = format!("/api/sessions/{}/send", session.id());
    for to in [CUSTOMER, NOBODY, "x", CUSTOMER] {
        office.call("POST", &send, Some(json!({"to": to, "message": "halo"}))).await;
    }
    office.call("GET", "/api/sessions", None).await;
    office.call("GET", "/nowhere", None).await;
    drop(session);
    let office = office.restart().await;
    let key = office.key.clone();
    let codes = async |query: &str| -> Vec<u64> {
        log(&office, &key, query).await.iter().map(|row| row["statusCode"].as_u64().unwrap()).collect()
    };
    assert_eq!(codes("").await, [200, 200, 400, 400, 200], "what has no key's owner is an administrator's");
    assert_eq!(codes("?method=get").await, [200]);
    assert_eq!(codes("?status=4xx").await, [400, 400]);
    assert_eq!(codes("?status=200&url=/send").await, [200, 200]);
    assert_eq!(codes("?until=1000").await, [0; 0]);
    assert_eq!(codes("?since=1000&limit=2").await, [200, 200]);
    let mut before = String::new();
    let mut pages = Vec::new();
    loop {
        let page = get(&office, &key, &format!("/api/v1/requests?limit=2{before}")).await.json();
        pages.push(page["requests"].as_array().unwrap().len());
        match page["next"].as_u64() {
            Some(next) => before = format!("&before={next}"),
            None => break,
        }
    }
    assert_eq!(pages, [2, 2, 1]);
    for query in
        ["?limit=0", "?limit=201", "?limit=x", "?before=-1", "?status=9xx", "?status=abc", "?since=x"]
    {
        let answer = get(&office, &key, &format!("/api/v1/requests{query}")).await;
        let field = query[1..].split('=').next().unwrap();
        let message = answer.json()["message"].as_str().unwrap().to_owned();
        assert!(answer.status == 400 && message.contains(field), "{query}: {answer:?}");
    }
    assert_eq!(get(&office, &key, "/api/v1/requests/x").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn logging_costs_no_commit_of_its_own_per_request() {
    let office = Office::open().await;
    let commits = async || {
        let text = request(office.gateway.address(), "GET", "/metrics", &[], "").await.unwrap().body;
        let text = String::from_utf8(text.to_vec()).unwrap();
        let row = text.lines().find_map(|line| line.strip_prefix("kurir_store_commits_total ")).unwrap();
        row.parse::<u64>().unwrap()
    };
    let before = commits().await;
    for _ in 0..60 {
        assert_eq!(office.call("GET", "/api/sessions", None).await.status, 200);
    }
    let after = commits().await;
    assert!(after - before < 10, "{} commits for 60 requests that write nothing", after - before);
    assert_eq!(log(&office, &office.key, "?limit=200").await.len(), 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_log_where_it_is_switched_off_and_no_bodies_where_they_are() {
    let office = Office::open_with(|config| config.request_log_rows = 0).await;
    let answer = get(&office, &office.key, "/api/v1/requests").await;
    let message = answer.json()["message"].as_str().unwrap().to_owned();
    assert!(answer.status == 404 && message.contains("request_log_rows"), "{message}");

    let office = Office::open_with(|config| config.request_log_body = 0).await;
    office.call("POST", "/api/sessions", Some(json!({"sessionName": "Toko"}))).await;
    let rows = log(&office, &office.key, "").await;
    let shown = detail(&office, &office.key, &rows[0]).await;
    assert_eq!((&shown["reqBody"], &shown["resBody"]), (&Value::Null, &Value::Null));
}
