//! A box without an owner: what can be reached, who becomes the owner, and what is left closed.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside the functions that clippy knows as tests")]

#[path = "support/process.rs"]
mod process;
mod support;

use std::net::SocketAddr;
use std::process::Stdio;

use process::{kurir, run};
use serde_json::{Value, json};
use support::files::form;
use support::{Answer, Office, PATIENCE, request};
use tokio::io::{AsyncBufReadExt, BufReader};
use whatsapp_sim::{Sim, SimConfig};

const PASSWORD: &str = "rahasia kantor";

/// A gateway that the network can reach, and that nobody owns.
struct NewBox {
    // Holds the folder and the test server.
    office: Office,
    address: SocketAddr,
}

impl NewBox {
    async fn open() -> NewBox {
        let office = Office::open_unowned(|config| config.listen = "0.0.0.0:0".parse().unwrap()).await;
        let address = SocketAddr::from(([127, 0, 0, 1], office.gateway.address().port()));
        NewBox { office, address }
    }

    fn code(&self) -> Option<String> {
        self.office.gateway.claim().code().borrow().clone()
    }

    async fn get(&self, path: &str) -> Answer {
        request(self.address, "GET", path, &[], "").await.unwrap()
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        let headers = [("content-type", "application/json")];
        request(self.address, "POST", path, &headers, body.to_string()).await.unwrap()
    }

    async fn call(&self, key: &str, method: &str, path: &str, body: Value) -> Answer {
        let headers = [("x-api-key", key), ("content-type", "application/json")];
        request(self.address, method, path, &headers, body.to_string()).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_the_claim_is_reachable_until_somebody_reads_the_code_off_the_screen() {
    let new = NewBox::open().await;
    for path in
        ["/readyz", "/metrics", "/api/sessions", "/send-message?api_key=x&number=1", "/nothing", "/docs"]
    {
        let answer = new.get(path).await;
        assert_eq!(answer.status, 403, "{path}");
        assert!(answer.json()["message"].as_str().unwrap().contains("/api/v1/claim"), "{path}");
    }
    for path in ["/send", "/api/sessions", "/api/v1/login", "/api/v1/webhooks", "/healthz", "/"] {
        assert_eq!(new.post(path, json!({})).await.status, 403, "POST {path}");
    }
    assert_eq!(new.get("/healthz").await.status, 200);
    let page = new.get("/").await;
    let html = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(page.status == 200 && html.contains("name=\"code\"") && html.contains("layarnya"), "{html}");
    assert!(!html.contains(&new.code().unwrap()), "the code is on the screen only");
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'none'"), "{policy}");

    let code = new.code().unwrap();
    let claimed = new.post("/api/v1/claim", json!({"code": code.to_lowercase(), "password": PASSWORD})).await;
    assert_eq!(claimed.status, 200, "{claimed:?}");
    assert_eq!(claimed.headers["cache-control"], "no-store");
    let key = claimed.json()["key"].as_str().unwrap().to_owned();
    assert_eq!(new.code(), None);
    let sessions = new.call(&key, "GET", "/api/sessions", json!({})).await;
    assert_eq!(sessions.status, 200, "{sessions:?}");
    assert_eq!(new.get("/readyz").await.status, 200);
    assert_eq!(new.get("/api/sessions").await.status, 401, "open now, but only with a key");
    let again = new.post("/api/v1/claim", json!({"code": code, "password": "another password"})).await;
    assert_eq!(again.status, 409, "{again:?}");
    assert!(!new.get("/").await.body.windows(11).any(|w| w == b"name=\"code\""));

    // The owner stays the owner.
    let NewBox { office, .. } = new;
    let office = office.restart().await;
    let new = NewBox { address: ([127, 0, 0, 1], office.gateway.address().port()).into(), office };
    assert_eq!(new.code(), None);
    assert_eq!(new.call(&key, "GET", "/api/sessions", json!({})).await.status, 200);
    let login = new.post("/api/v1/login", json!({"password": PASSWORD})).await;
    let other = login.json()["key"].as_str().unwrap().to_owned();
    assert_ne!(other, key);
    assert_eq!(new.call(&other, "GET", "/api/sessions", json!({})).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_claims_change_nothing_and_are_slowed_down() {
    let new = NewBox::open().await;
    let code = new.code().unwrap();
    for (body, says) in [
        (json!({}), "code"),
        (json!({"code": code}), "password"),
        (json!({"code": code, "password": "short"}), "8 to 128"),
        (json!({"code": code, "password": 12345678}), "password"),
        (json!({"code": "", "password": PASSWORD}), "code"),
        (json!([code, PASSWORD]), "object"),
    ] {
        let answer = new.post("/api/v1/claim", body.clone()).await;
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.json()["message"].as_str().unwrap().contains(says), "{body}: {answer:?}");
    }
    let long = request(new.address, "POST", "/api/v1/claim", &[], vec![b' '; 20_000]).await.unwrap();
    assert_eq!(long.status, 413);
    // However slow this machine is: the waits double, so that one of them is long enough to be met.
    let mut wrong = 0;
    let wait = loop {
        let answer = new.post("/api/v1/claim", json!({"code": "AAAAAAAA", "password": PASSWORD})).await;
        match answer.status {
            403 => wrong += 1,
            429 => {
                let wait: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
                if wait >= 4 {
                    break wait;
                }
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            other => panic!("{other}: {answer:?}"),
        }
    };
    assert!(wrong >= 5 && wait <= 61, "{wrong} wrong ones, then {wait} s");
    let slowed = new.post("/api/v1/claim", json!({"code": code, "password": PASSWORD})).await;
    assert_eq!(slowed.status, 429, "even the right one has to wait: {slowed:?}");
    assert_eq!(new.code().unwrap(), code);
    assert!(new.office.gateway.keys().list().is_empty());
    assert_eq!(new.get("/api/sessions").await.status, 403, "still closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_gets_pages_instead_of_json() {
    let new = NewBox::open().await;
    let code = new.code().unwrap();
    let send = async |code: &str, password: &str| {
        let headers = [("content-type", "application/x-www-form-urlencoded; charset=utf-8")];
        let body = form(&[("code", code), ("password", password)]);
        let answer = request(new.address, "POST", "/api/v1/claim", &headers, body).await.unwrap();
        assert_eq!(answer.headers["content-type"], "text/html; charset=utf-8");
        (answer.status, String::from_utf8(answer.body.to_vec()).unwrap())
    };
    let (status, page) = send("<b>wrong</b>", PASSWORD).await;
    assert!(status == 403 && page.contains("role=\"alert\"") && page.contains("name=\"code\""), "{page}");
    assert!(!page.contains("<b>wrong") && !page.contains(PASSWORD));
    let (status, page) = send(&code, PASSWORD).await;
    assert_eq!(status, 200, "{page}");
    let key = page.split("<code>").nth(1).unwrap().split('<').next().unwrap().to_owned();
    assert_eq!(new.call(&key, "GET", "/api/sessions", json!({})).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_administrator_changes_the_password_and_guessing_it_is_slowed_down() {
    let office = Office::open().await;
    assert_eq!(office.post("/api/v1/login", json!({"password": PASSWORD})).await.status, 409, "none is set");
    let set = office.call("PUT", "/api/v1/password", Some(json!({"password": PASSWORD}))).await;
    assert_eq!(set.status, 403, "{set:?}");
    let admin = office.gateway.keys().create("admin", "main", true).await.unwrap();
    let headers = [("x-api-key", admin.as_str()), ("content-type", "application/json")];
    let put = async |body: Value| {
        request(office.gateway.address(), "PUT", "/api/v1/password", &headers, body.to_string())
            .await
            .unwrap()
    };
    assert_eq!(put(json!({"password": "short"})).await.status, 400);
    assert_eq!(put(json!({"password": PASSWORD})).await.status, 200);
    assert_eq!(
        office.post("/api/v1/login?password=rahasia%20kantor", json!({})).await.status,
        400,
        "not in URLs"
    );
    let mut statuses = Vec::new();
    while !statuses.contains(&429) && statuses.len() < 20 {
        statuses.push(office.post("/api/v1/login", json!({"password": "guess 123"})).await.status);
    }
    assert!(statuses.len() > 5 && statuses[..5] == [401; 5], "{statuses:?}");
    assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_shows_the_code_once_and_a_key_made_on_the_box_claims_it() {
    let sim = Sim::start(SimConfig::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut child = kurir(folder.path(), &["serve"])
        .env("KURIR_LISTEN", "0.0.0.0:0")
        .env("KURIR_WHATSAPP_URL", sim.ws_url())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
    let port = loop {
        let line = stdout.next_line().await.unwrap().unwrap();
        if let Some((_, address)) = line.split_once("http://") {
            break address.parse::<SocketAddr>().unwrap().port();
        }
    };
    tokio::spawn(async move { while let Ok(Some(_)) = stdout.next_line().await {} });
    let code = tokio::time::timeout(PATIENCE, async {
        loop {
            let line = stderr.next_line().await.unwrap().expect("the gateway ended");
            if let Some((_, code)) = line.split_once("Claim code: ") {
                break code.to_owned();
            }
        }
    });
    let code = code.await.unwrap();
    let rest = tokio::spawn(async move {
        let mut text = String::new();
        while let Ok(Some(line)) = stderr.next_line().await {
            text = text + &line + "\n";
        }
        text
    });
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let status = async || request(address, "GET", "/api/sessions", &[], "").await.unwrap().status;
    assert_eq!(status().await, 403);
    let made = run(&mut kurir(folder.path(), &["key", "new", "--name", "Kasir"])).await;
    assert!(made.status.success(), "{made:?}");
    assert_eq!(status().await, 401, "the door is open, for those with a key");
    let body = json!({"code": code, "password": PASSWORD}).to_string();
    let claim = request(address, "POST", "/api/v1/claim", &[], body).await.unwrap();
    assert_eq!(claim.status, 409, "the code is of no use any more: {claim:?}");
    child.kill().await.unwrap();
    let rest = rest.await.unwrap();
    assert!(!rest.contains(&code), "shown once: {rest}");
}
