//! A box without an owner: what can be reached, who becomes the owner, and what is left closed.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::process::{kurir, run};
use crate::support::files::form;
use crate::support::{Answer, Office, PATIENCE, request};
use kurir::api::Place;
use kurir::config::Config;
use kurir::panel::run::{Health, Parts, Shown};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::net::unix::pipe;
use tokio::sync::watch;
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

/// A pipe stands for the serial line: what is written can be awaited.
struct Console {
    path: PathBuf,
    lines: Lines<BufReader<pipe::Receiver>>,
}

impl Console {
    fn make(folder: &Path) -> Console {
        let path = folder.join("console");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        // Open for writing as well, or it would end with its first writer.
        let pipe = pipe::OpenOptions::new().read_write(true).open_receiver(&path).unwrap();
        Console { path, lines: BufReader::new(pipe).lines() }
    }

    /// The next line that is not empty: each of ours begins on a line of its own.
    async fn next(&mut self) -> String {
        let next = async {
            loop {
                let line = self.lines.next_line().await.unwrap().unwrap();
                if !line.is_empty() {
                    return line;
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.expect("nothing on the console")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_display_the_code_and_the_address_are_on_the_console_and_nowhere_else() {
    let sim = Sim::start(SimConfig::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut console = Console::make(folder.path());
    let mut child = kurir(folder.path(), &["serve"])
        .env("KURIR_LISTEN", "0.0.0.0:0")
        .env("KURIR_HOST_NAME", "kurir-a1b2")
        .env("KURIR_CONSOLE", &console.path)
        .env("KURIR_WHATSAPP_URL", sim.ws_url())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut stderr = child.stderr.take().unwrap();
    let printed = console.next().await;
    let (code, url) = printed.strip_prefix("Kurir: claim code ").unwrap().split_once(", ").unwrap();
    assert!(code.len() == 9 && code.as_bytes()[4] == b'-', "{printed}");
    let first = stdout.next_line().await.unwrap().unwrap();
    let port = first.rsplit_once(':').unwrap().1.to_owned();
    assert_eq!(url, format!("http://kurir-a1b2.local:{port}/"));
    let address: SocketAddr = format!("127.0.0.1:{port}").parse().unwrap();
    let body = json!({"code": code, "password": PASSWORD}).to_string();
    let headers = [("content-type", "application/json")];
    let answer = request(address, "POST", "/api/v1/claim", &headers, body).await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    child.kill().await.unwrap();
    let mut said = first;
    while let Some(line) = stdout.next_line().await.unwrap() {
        said += &line;
    }
    stderr.read_to_string(&mut said).await.unwrap();
    assert!(!said.contains(code), "{said}");
}

#[tokio::test]
async fn each_new_code_is_on_the_console_and_none_while_a_display_shows_it() {
    let folder = tempfile::tempdir().unwrap();
    let console = Console::make(folder.path());
    let (code, codes) = watch::channel(Some("DDDD-4444".to_owned()));
    let (addresses, known) = watch::channel(vec!["192.168.1.9".parse().unwrap()]);
    let http = "0.0.0.0:80".parse().unwrap();
    let place = Place { host: "kurir-a1b2".into(), http, https: None, announced: false, addresses: known };
    let none =
        kurir::panel::run::nothing(&Parts::open(&Config { board: "none".into(), ..Config::default() }));
    let works = Shown { display: Health::Works, ..none.clone() };
    let (panel, shown) = watch::channel(works);
    let (stop, stopping) = watch::channel(false);
    let run = tokio::spawn(kurir::console::run(console.path.clone(), codes, shown, place, stopping));
    // It has looked at the first code, and has nothing to print.
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
    code.send_replace(Some("AAAA-2222".into()));
    panel.send_replace(none);
    let mut console = console;
    assert_eq!(console.next().await, "Kurir: claim code AAAA-2222, http://192.168.1.9/");
    code.send_replace(Some("CCCC-3333".into()));
    assert_eq!(console.next().await, "Kurir: claim code CCCC-3333, http://192.168.1.9/");
    addresses.send_replace(vec!["192.168.1.10".parse().unwrap()]);
    assert_eq!(console.next().await, "Kurir: claim code CCCC-3333, http://192.168.1.10/");
    code.send_replace(None);
    stop.send(true).unwrap();
    run.await.unwrap();
}

/// As when the kernel has much to say on a slow serial line. Time stands still but for what is waited for.
#[tokio::test(start_paused = true)]
async fn a_console_that_is_full_gets_the_code_once_it_takes_something() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("console");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap();
    let mut pipe = OpenOptions::new().read(true).write(true).custom_flags(flags).open(&path).unwrap();
    while pipe.write(b"[    1.000000] the kernel has something to say\n").is_ok() {}
    let (_code, codes) = watch::channel(Some("DDDD-4444".to_owned()));
    let (_addresses, known) = watch::channel(vec!["192.168.1.9".parse().unwrap()]);
    let http = "0.0.0.0:80".parse().unwrap();
    let place = Place { host: "kurir-a1b2".into(), http, https: None, announced: false, addresses: known };
    let none =
        kurir::panel::run::nothing(&Parts::open(&Config { board: "none".into(), ..Config::default() }));
    let (_panel, shown) = watch::channel(none);
    let (stop, stopping) = watch::channel(false);
    let run = tokio::spawn(kurir::console::run(path, codes, shown, place, stopping));
    // Several tries later.
    tokio::time::sleep(Duration::from_secs(100)).await;
    let mut printed = String::new();
    for _ in 0..100 {
        let mut some = [0; 4096];
        while let Ok(length) = pipe.read(&mut some) {
            printed += std::str::from_utf8(&some[..length]).unwrap();
        }
        if printed.contains("Kurir: ") {
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(printed.ends_with("\nKurir: claim code DDDD-4444, http://192.168.1.9/\n"), "{printed}");
    stop.send(true).unwrap();
    run.await.unwrap();
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
                tokio::time::sleep(Duration::from_millis(100)).await;
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

/// `curl -d '{…}'` calls it a form.
#[tokio::test(flavor = "multi_thread")]
async fn json_that_is_called_a_form_is_taken_as_json() {
    let new = NewBox::open().await;
    let post = async |path: &str, body: Value| {
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        request(new.address, "POST", path, &headers, body.to_string()).await.unwrap()
    };
    let wrong = post("/api/v1/claim", json!({"code": "AAAA-AAAA", "password": PASSWORD})).await;
    assert_eq!((wrong.status, wrong.json()["success"].as_bool()), (403, Some(false)), "{}", wrong.json());
    let claimed = post("/api/v1/claim", json!({"code": new.code(), "password": PASSWORD})).await;
    assert_eq!(claimed.status, 200, "{}", claimed.json());
    assert!(claimed.json()["key"].is_string());
    let logged_in = post("/api/v1/login", json!({"password": PASSWORD})).await;
    assert_eq!(logged_in.status, 200, "{}", logged_in.json());
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
