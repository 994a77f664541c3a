//! `kill -9` at random moments during 500 sends: every message that was accepted arrives exactly once.

#![allow(clippy::unwrap_used, reason = "helpers of tests, outside the functions that clippy knows as tests")]

mod support;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use support::{CUSTOMER, OFFICE, PATIENCE, request};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use whatsapp_sim::{Sim, SimConfig};

const MESSAGES: usize = 500;
const CALLERS: usize = 8;
const KILLS: usize = 6;
const KEY: &str = "kill-test-admin-key";

/// The gateway as its own process.
struct Process {
    child: Child,
    address: SocketAddr,
    _lines: tokio::task::JoinHandle<()>,
}

async fn start(folder: &std::path::Path, sim: &Sim) -> Process {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kurir"))
        .arg("serve")
        .env("KURIR_DATA_DIR", folder)
        .env("KURIR_LISTEN", "127.0.0.1:0")
        .env("KURIR_WHATSAPP_URL", sim.ws_url())
        .env("KURIR_ADMIN_KEY", KEY)
        .env("KURIR_LOG", "warn")
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = loop {
        let line = lines.next_line().await.unwrap().expect("the gateway ended before it listened");
        if let Some((_, address)) = line.split_once("http://") {
            break address.parse().unwrap();
        }
    };
    // Something has to read on, or the process blocks on a full pipe.
    let _lines = tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Process { child, address, _lines }
}

async fn get(address: SocketAddr, path: &str) -> serde_json::Value {
    request(address, "GET", path, &[("x-api-key", KEY)], "").await.unwrap().json()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_accepted_message_arrives_exactly_once() {
    let seed: u64 = std::env::var("KILL_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos().into()
    });
    println!("KILL_SEED={seed}");
    let sim = Sim::start(SimConfig::default()).await.unwrap();
    sim.add_phone(OFFICE, "Kantor").await.unwrap();
    sim.add_phone(CUSTOMER, "Ibu Sari").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut process = start(folder.path(), &sim).await;

    let list = get(process.address, "/api/sessions?list=1").await;
    let id = list["sessions"][0]["id"].as_str().unwrap().to_owned();
    let qr = get(process.address, &format!("/api/sessions/{id}/qr")).await;
    sim.scan(OFFICE, qr["qr"].as_str().unwrap()).await.unwrap();

    let (address, watch_address) = tokio::sync::watch::channel(process.address);
    let next = Arc::new(AtomicUsize::new(0));
    let (accept, mut accepted) = tokio::sync::mpsc::unbounded_channel::<String>();
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..CALLERS {
        let (next, accept, mut address, id) =
            (Arc::clone(&next), accept.clone(), watch_address.clone(), id.clone());
        callers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= MESSAGES {
                    return;
                }
                // A caller that got no answer does not know whether its message was taken; it sends another one, which
                // says so, because the first one may arrive as well.
                for attempt in 0.. {
                    let text = format!("pesan {number} percobaan {attempt}");
                    let path = format!("/api/sessions/{id}/send");
                    let body = json!({"to": CUSTOMER, "message": text}).to_string();
                    let now = *address.borrow_and_update();
                    let headers = [("x-api-key", KEY), ("content-type", "application/json")];
                    match request(now, "POST", &path, &headers, body).await {
                        Ok(answer) if answer.status == 200 => {
                            accept.send(text).unwrap();
                            break;
                        }
                        // Not paired yet, or just starting.
                        Ok(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                        Err(_) => {
                            let _ = tokio::time::timeout(PATIENCE, address.changed()).await;
                        }
                    }
                }
            }
        });
    }
    drop(accept);

    let mut texts: Vec<String> = Vec::new();
    let mut random = seed;
    let mut kill_at: Vec<usize> = (0..KILLS)
        .map(|_| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            20 + (random >> 33) as usize % (MESSAGES - 40)
        })
        .collect();
    kill_at.sort_unstable();
    let mut kill_at = kill_at.into_iter().peekable();
    while let Some(text) =
        tokio::time::timeout(PATIENCE * 2, accepted.recv()).await.expect("the callers are stuck")
    {
        texts.push(text);
        if kill_at.next_if(|at| texts.len() >= *at).is_some() {
            // Anywhere in the life of the messages that are under way: a send takes a few milliseconds.
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            tokio::time::sleep(Duration::from_micros((random >> 33) % 10_000)).await;
            process.child.kill().await.unwrap();
            process = start(folder.path(), &sim).await;
            address.send(process.address).unwrap();
        }
    }
    while let Some(caller) = callers.join_next().await {
        caller.unwrap();
    }
    assert_eq!(texts.len(), MESSAGES);

    // Everything accepted arrives; what was cut off may have been taken as well, so more than 500 can be there.
    let mut wanted = texts.len();
    let shown = loop {
        let inbox = sim.inbox(CUSTOMER, wanted, PATIENCE).await.unwrap();
        let mut shown: HashMap<String, usize> = HashMap::new();
        for message in &inbox {
            *shown.entry(message.text.clone().unwrap()).or_default() += 1;
        }
        let missing: Vec<_> = texts.iter().filter(|t| !shown.contains_key(*t)).collect();
        if missing.is_empty() {
            break shown;
        }
        assert!(inbox.len() >= wanted, "{} accepted messages never arrived: {missing:?}", missing.len());
        wanted = inbox.len() + 1;
    };
    let twice: Vec<_> = shown.iter().filter(|(_, count)| **count != 1).collect();
    assert!(twice.is_empty(), "shown more than once: {twice:?}");
    let stats = sim.stats();
    println!("{} messages shown, {} repeats hidden by the phone", shown.len(), stats.duplicates);
    assert!(stats.violations.is_empty(), "{:#?}", stats.violations);
}
