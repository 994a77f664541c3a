//! The control API over real HTTP, with a whatsapp-rust client on the other side.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::common::{Client, PATIENCE};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use wacore::download::MediaType;
use wacore::net::{HttpClient, HttpRequest, HttpResponse, StreamingHttpResponse, UploadBody};
use wacore::store::InMemoryBackend;
use whatsapp_rust::http::UreqHttpClient;
use whatsapp_rust::media::{
    AudioOptions, DocumentOptions, ImageOptions, audio_message, document_message, image_message,
};
use whatsapp_rust::types::events::Event;
use whatsapp_rust::types::presence::ReceiptType;
use whatsapp_rust::{Jid, UploadOptions};
use whatsapp_sim::identity::Identity;
use whatsapp_sim::{Sim, SimConfig, control};

const ANNA: &str = "4915550001";
const BORIS: &str = "4915550002";

/// A server, its control API, and two phones.
struct World {
    sim: Sim,
    addr: SocketAddr,
    /// The URLs that the client has asked the media host for.
    asked: Arc<Mutex<Vec<String>>>,
}

impl World {
    async fn start() -> Self {
        Self::of(crate::common::sim().await).await
    }

    async fn of(sim: Sim) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(control::serve(listener, sim.clone()));
        let world = Self { sim, addr, asked: Arc::default() };
        for (number, name) in [(ANNA, "Anna"), (BORIS, "Boris")] {
            world.post("/phones", json!({"number": number, "name": name})).await;
        }
        world
    }

    async fn send(&self, method: &str, path: &str, body: &str) -> (u16, Vec<u8>) {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: sim\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let split = answer.windows(4).position(|end| end == b"\r\n\r\n").expect("an answer has headers");
        let status = std::str::from_utf8(&answer[9..12]).unwrap().parse().unwrap();
        (status, answer.split_off(split + 4))
    }

    async fn json(&self, method: &str, path: &str, body: &str) -> Value {
        let (status, answer) = self.send(method, path, body).await;
        assert_eq!(status, 200, "{method} {path}: {}", String::from_utf8_lossy(&answer));
        serde_json::from_slice(&answer).unwrap()
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        self.json("POST", path, &body.to_string()).await
    }

    async fn inbox(&self, number: &str, count: usize) -> Vec<Value> {
        let path = format!("/phones/{number}/inbox?count={count}&wait={}", PATIENCE.as_secs());
        let items = self.json("GET", &path, "").await;
        items.as_array().unwrap().clone()
    }

    async fn stats(&self) -> Value {
        self.json("GET", "/stats", "").await
    }

    async fn fault(&self, fault: Value) {
        self.post("/faults", fault).await;
    }

    async fn client(&self) -> Client {
        let backend = Arc::new(InMemoryBackend::new());
        let server = self.sim.http_url();
        let http = Plain { http: UreqHttpClient::new(), server, asked: Arc::clone(&self.asked) };
        let mut client =
            Client::start_with(&self.sim, backend, |builder| builder.with_http_client(http)).await;
        let qr = client.qr().await;
        self.post(&format!("/phones/{ANNA}/scan"), json!({"qr": qr})).await;
        client.connected().await;
        client
    }
}

/// The client hard-codes `https:` for media hosts, and the server speaks `http:` here, whatever its name.
struct Plain {
    http: UreqHttpClient,
    server: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Plain {
    fn plain(&self, mut request: HttpRequest) -> HttpRequest {
        self.asked.lock().unwrap().push(request.url.clone());
        if let Some((_, path)) = request.url.strip_prefix("https://").and_then(|rest| rest.split_once('/')) {
            request.url = format!("{}/{path}", self.server);
        }
        request
    }
}

#[async_trait::async_trait]
impl HttpClient for Plain {
    async fn execute(&self, request: HttpRequest) -> anyhow::Result<HttpResponse> {
        self.http.execute(self.plain(request)).await
    }

    fn supports_streaming(&self) -> bool {
        true
    }

    fn execute_streaming(&self, request: HttpRequest) -> anyhow::Result<StreamingHttpResponse> {
        self.http.execute_streaming(self.plain(request))
    }

    fn supports_upload_streaming(&self) -> bool {
        true
    }

    fn execute_upload(
        &self,
        request: HttpRequest,
        body: UploadBody,
        len: u64,
    ) -> anyhow::Result<HttpResponse> {
        self.http.execute_upload(self.plain(request), body, len)
    }
}

async fn say(client: &Client, text: &str) -> String {
    client.handle.client().send_text(&Jid::pn(BORIS), text).await.expect("sends").message_id
}

/// The ack of a message: its error.
async fn ack(client: &mut Client, id: &str) -> Option<String> {
    client
        .event("server ack", |event| match event {
            Event::ServerAck(ack) if ack.id == id => Some(ack.error.as_ref().map(ToString::to_string)),
            _ => None,
        })
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_is_operated_over_http() {
    let world = World::start().await;
    let mut client = world.client().await;

    let id = say(&client, "hello Boris").await;
    let inbox = world.inbox(BORIS, 1).await;
    assert_eq!(inbox.len(), 1);
    assert_eq!(
        (&inbox[0]["id"], &inbox[0]["kind"], &inbox[0]["text"], &inbox[0]["from"], &inbox[0]["caption"]),
        (&json!(id), &json!("text"), &json!("hello Boris"), &json!(ANNA), &Value::Null)
    );
    world.post(&format!("/phones/{BORIS}/read"), json!({"id": id})).await;
    client
        .event("read receipt", |event| match event {
            Event::Receipt(receipt) => {
                (receipt.r#type == ReceiptType::Read && receipt.message_ids.contains(&id)).then_some(())
            }
            _ => None,
        })
        .await;

    let answer =
        world.post(&format!("/phones/{BORIS}/send"), json!({"to": ANNA, "text": "hello Anna"})).await;
    let got = client
        .event("message", |event| match event {
            Event::Messages(batch) => {
                let message =
                    batch.messages.iter().find(|message| answer["id"] == message.info.id.as_str())?;
                message.message.conversation.clone()
            }
            _ => None,
        })
        .await;
    assert_eq!(got, "hello Anna");

    let stats = world.stats().await;
    assert_eq!((&stats["messages"], &stats["duplicates"]), (&json!(1), &json!(0)));
    assert_eq!(stats["connections"]["now"], 1);
    assert_eq!(stats["violations"], json!([]));

    world.post(&format!("/phones/{ANNA}/unlink"), json!({})).await;
    client.event("log-out", |event| matches!(event, Event::LoggedOut(_)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_made_and_written_to() {
    let world = World::start().await;
    let client = world.client().await;
    let group = world.post("/groups", json!({"name": "Box", "owner": ANNA, "members": [BORIS]})).await;
    let jid: Jid = group["id"].as_str().unwrap().parse().unwrap();
    let sent = client.handle.client().send_text(&jid, "hello all").await.expect("sends");
    let inbox = world.inbox(BORIS, 1).await;
    assert_eq!((&inbox[0]["id"], &inbox[0]["chat"]), (&json!(sent.message_id), &group["id"]));
    assert_eq!((&inbox[0]["from"], &inbox[0]["text"]), (&json!(ANNA), &json!("hello all")));
    assert_eq!(world.stats().await["violations"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_inbox_answers_when_its_wait_is_over() {
    let world = World::start().await;
    let started = Instant::now();
    let items = world.json("GET", &format!("/phones/{BORIS}/inbox?count=1&wait=0.2"), "").await;
    assert_eq!(items, json!([]));
    assert!(started.elapsed() >= Duration::from_millis(200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn media_goes_both_ways() {
    let world = World::start().await;
    let mut client = world.client().await;
    let wa = client.handle.client();

    // Over the size from which the client asks whether it can resume.
    let voice: Vec<u8> = (0..6_000_000_u32).map(|n| (n % 251) as u8).collect();
    for (data, kind) in [(b"a small picture".to_vec(), MediaType::Image), (voice, MediaType::Audio)] {
        let sha256 = hex::encode(Sha256::digest(&data));
        let upload = wa.upload(data.clone(), kind, UploadOptions::new()).await.expect("uploads");
        let message = match kind {
            MediaType::Image => image_message(
                upload,
                ImageOptions {
                    caption: Some("look".into()),
                    mimetype: Some("image/png".into()),
                    ..Default::default()
                },
            ),
            _ => audio_message(
                upload,
                AudioOptions { ptt: Some(true), duration_seconds: Some(7), ..Default::default() },
            ),
        };
        let sent = wa.send_message(&Jid::pn(BORIS), message).await.expect("sends");
        let inbox = world.inbox(BORIS, if kind == MediaType::Image { 1 } else { 2 }).await;
        let item = inbox.last().unwrap();
        assert_eq!(item["id"], sent.message_id);
        assert_eq!((&item["sha256"], &item["size"]), (&json!(sha256), &json!(data.len())));
        if kind == MediaType::Image {
            assert_eq!((&item["kind"], &item["caption"]), (&json!("image"), &json!("look")));
            assert_eq!((&item["mime"], &item["ptt"]), (&json!("image/png"), &Value::Null));
        } else {
            assert_eq!(
                (&item["kind"], &item["ptt"], &item["seconds"]),
                (&json!("audio"), &json!(true), &json!(7))
            );
        }
        let (status, bytes) =
            world.send("GET", &format!("/phones/{BORIS}/media/{}", sent.message_id), "").await;
        assert_eq!((status, bytes.len()), (200, data.len()));
        assert!(bytes == data, "the phone has the file that was sent");
    }

    let picture = b"Boris's picture".to_vec();
    let media = json!({
        "kind": "image", "mime": "image/jpeg", "data": BASE64_STANDARD.encode(&picture), "caption": "mine",
    });
    let answer = world.post(&format!("/phones/{BORIS}/send"), json!({"to": ANNA, "media": media})).await;
    let image = client
        .event("image", |event| match event {
            Event::Messages(batch) => {
                let message =
                    batch.messages.iter().find(|message| answer["id"] == message.info.id.as_str())?;
                message.message.image_message.as_option().cloned()
            }
            _ => None,
        })
        .await;
    assert_eq!(image.caption.as_deref(), Some("mine"));
    assert_eq!(wa.download(&image).await.expect("downloads"), picture);

    let stats = world.stats().await;
    assert_eq!((&stats["uploads"], &stats["downloads"]), (&json!(2), &json!(1)));
    assert_eq!(stats["violations"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_whatsapps_place_it_tells_clients_whatsapps_media_host() {
    let identity = Some(Arc::new(Identity::generate().unwrap()));
    let config = SimConfig { identity, ..SimConfig::default() };
    let world = World::of(Sim::start(config).await.unwrap()).await;
    let client = world.client().await;
    client
        .handle
        .client()
        .upload(vec![7; 500], MediaType::Image, UploadOptions::new())
        .await
        .expect("uploads");
    let asked = world.asked.lock().unwrap().clone();
    let theirs = |url: &String| url.starts_with("https://mmg.whatsapp.net/");
    assert!(!asked.is_empty() && asked.iter().all(theirs), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_medium_that_cannot_be_opened_is_held_against_its_sender() {
    let world = World::start().await;
    let client = world.client().await;
    let wa = client.handle.client();
    let mut upload = wa.upload(vec![1; 500], MediaType::Image, UploadOptions::new()).await.expect("uploads");
    upload.media_key = [0; 32];
    let sent = wa.send_message(&Jid::pn(BORIS), image_message(upload, ImageOptions::default())).await;
    let id = sent.expect("sends").message_id;
    let inbox = world.inbox(BORIS, 1).await;
    assert_eq!((&inbox[0]["kind"], &inbox[0]["sha256"]), (&json!("image"), &Value::Null));
    let (status, answer) = world.send("GET", &format!("/phones/{BORIS}/media/{id}"), "").await;
    assert_eq!(status, 404, "{}", String::from_utf8_lossy(&answer));

    // Two phones got it: Boris's and Anna's own.
    world.inbox(ANNA, 1).await;
    let stats = world.stats().await;
    let violations = stats["violations"].as_array().unwrap();
    assert_eq!(violations.len(), 2, "{violations:?}");
    for violation in violations {
        assert!(violation["who"].as_str().unwrap().starts_with(ANNA), "{violation}");
        let what = violation["what"].as_str().unwrap();
        assert!(what.contains(&id) && what.contains("MAC is wrong"), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_upload_is_resumed_by_the_client() {
    let world = World::start().await;
    let client = world.client().await;
    world.fault(json!({"kind": "media", "status": 401, "after_bytes": 5_300_000, "count": 1})).await;
    let data = vec![9; 6_000_000];
    let wa = client.handle.client();
    let upload = wa.upload(data.clone(), MediaType::Document, UploadOptions::new()).await;
    let upload = upload.expect("uploads on the second attempt");
    let asked = world.asked.lock().unwrap().clone();
    assert!(asked.iter().any(|url| url.ends_with("&file_offset=5300000")), "{asked:?}");
    let document = document_message(upload, DocumentOptions::default());
    let sent = wa.send_message(&Jid::pn(BORIS), document).await.expect("sends");
    let inbox = world.inbox(BORIS, 1).await;
    assert_eq!((&inbox[0]["id"], &inbox[0]["size"]), (&json!(sent.message_id), &json!(data.len())));
    let stats = world.stats().await;
    assert_eq!((&stats["uploads"], &stats["violations"]), (&json!(1), &json!([])));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acks_are_lost_late_or_negative() {
    let world = World::start().await;
    let mut client = world.client().await;

    world.fault(json!({"kind": "no-ack", "device": ANNA, "count": 1})).await;
    let unacked = say(&client, "never acknowledged").await;
    let next = say(&client, "acknowledged").await;
    // Acks come in order: had there been one for the first, it would have come before.
    client
        .event("server ack", |event| match event {
            Event::ServerAck(ack) if ack.id == unacked => panic!("the ack should have been lost"),
            Event::ServerAck(ack) if ack.id == next => Some(()),
            _ => None,
        })
        .await;
    assert_eq!(world.inbox(BORIS, 2).await.len(), 2, "both were delivered");

    world.fault(json!({"kind": "slow-ack", "ms": 400, "count": 1})).await;
    let started = Instant::now();
    let slow = say(&client, "late").await;
    assert_eq!(ack(&mut client, &slow).await, None);
    assert!(started.elapsed() >= Duration::from_millis(400));

    world.fault(json!({"kind": "nack", "error": 479, "count": 1})).await;
    let refused = say(&client, "refused").await;
    assert_eq!(ack(&mut client, &refused).await.as_deref(), Some("479"));
    let last = say(&client, "last").await;
    assert_eq!(ack(&mut client, &last).await, None);
    let texts: Vec<Value> = world.inbox(BORIS, 4).await.iter().map(|item| item["text"].clone()).collect();
    assert_eq!(texts, ["never acknowledged", "acknowledged", "late", "last"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_break_and_come_back() {
    let world = World::start().await;
    let mut client = world.client().await;

    // While the client is away, new connections are refused once.
    world.fault(json!({"kind": "refuse", "count": 1})).await;
    world.fault(json!({"kind": "drop", "device": format!("{ANNA}:1")})).await;
    client.event("disconnected", |event| matches!(event, Event::Disconnected(_)).then_some(())).await;
    client.connected().await;

    // Delivered, never acknowledged, and the connection gone: the resend uses the same id and is shown once.
    world.fault(json!({"kind": "drop", "device": ANNA, "after_messages": 1})).await;
    let wa = client.handle.client();
    let sent = wa.send_text(&Jid::pn(BORIS), "once").await.expect("sends");
    client.event("disconnected", |event| matches!(event, Event::Disconnected(_)).then_some(())).await;
    client.connected().await;
    let options = whatsapp_rust::SendOptions::default().with_message_id(&sent.message_id);
    let text = waproto::whatsapp::Message { conversation: Some("once".into()), ..Default::default() };
    wa.send_message_with_options(&Jid::pn(BORIS), text, options).await.expect("sends again");
    assert_eq!(ack(&mut client, &sent.message_id).await, None);
    assert_eq!(world.inbox(BORIS, 1).await.len(), 1);
    // Boris's phone, and Anna's own, which gets a copy of what her linked device sends.
    assert_eq!(world.stats().await["duplicates"], 2);

    let started = Instant::now();
    world.fault(json!({"kind": "stall", "for_ms": 600})).await;
    let id = say(&client, "stalled").await;
    assert_eq!(ack(&mut client, &id).await, None);
    assert!(started.elapsed() >= Duration::from_millis(600), "{:?}", started.elapsed());

    world.fault(json!({"kind": "stream-error", "device": ANNA, "code": 515})).await;
    client.connected().await;
    world.fault(json!({"kind": "stream-error", "conflict": "replaced"})).await;
    client.event("replaced", |event| matches!(event, Event::StreamReplaced(_)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_ins_are_refused() {
    let world = World::start().await;
    let mut client = world.client().await;
    world.fault(json!({"kind": "ban", "number": ANNA, "code": 101, "expire_s": 3600})).await;
    let expire = client
        .event("ban", |event| match event {
            Event::TemporaryBan(ban) => Some(ban.expire),
            _ => None,
        })
        .await;
    assert!(
        expire <= chrono::Duration::seconds(3600) && expire > chrono::Duration::seconds(3500),
        "{expire:?}"
    );
    world.json("DELETE", "/faults", "").await;

    let Client { backend, .. } = client;
    world.fault(json!({"kind": "client-outdated", "count": 1})).await;
    let mut client = Client::start(&world.sim, Arc::clone(&backend)).await;
    client.event("outdated", |event| matches!(event, Event::ClientOutdated(_)).then_some(())).await;

    world.fault(json!({"kind": "repeat-515", "device": ANNA, "count": 2})).await;
    let before = world.stats().await["connections"]["total"].as_u64().unwrap();
    let mut client = Client::start(&world.sim, Arc::clone(&backend)).await;
    client.connected().await;
    let connections = world.stats().await["connections"]["total"].as_u64().unwrap() - before;
    assert_eq!(connections, 3, "two were told to come again");

    world.fault(json!({"kind": "failure", "device": ANNA, "reason": 503, "count": 1})).await;
    world.fault(json!({"kind": "drop", "after_ms": 20})).await;
    client.event("disconnected", |event| matches!(event, Event::Disconnected(_)).then_some(())).await;
    client.connected().await;

    world.fault(json!({"kind": "rate-limit", "count": 1})).await;
    world.fault(json!({"kind": "drop"})).await;
    for _ in 0..2 {
        client
            .event("disconnected", |event| match event {
                Event::Connected(_) => panic!("a log-in should have been answered with 429"),
                Event::Disconnected(_) => Some(()),
                _ => None,
            })
            .await;
    }
}

/// The program itself: its first line, its control API, and its end.
#[tokio::test]
async fn the_program_says_where_it_is_and_ends_on_sigterm() {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_whatsapp-sim"))
        .args(["--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--tls"])
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.unwrap().unwrap().unwrap();
    let first: Value = serde_json::from_str(&line).unwrap();
    assert!(first["ws"].as_str().unwrap().starts_with("ws://127.0.0.1:"), "{line}");
    assert!(first["ws"].as_str().unwrap().ends_with("/ws/chat"), "{line}");
    assert_eq!(BASE64_STANDARD.decode(first["noise_root"].as_str().unwrap()).unwrap().len(), 32);
    assert!(first["tls_ca"].as_str().unwrap().starts_with("-----BEGIN CERTIFICATE-----"), "{line}");
    let addr = first["control"].as_str().unwrap().strip_prefix("http://").unwrap().parse().unwrap();

    let world = World { sim: crate::common::sim().await, addr, asked: Arc::default() };
    let phone = world.post("/phones", json!({"number": ANNA, "name": "Anna"})).await;
    assert_eq!(phone["number"], ANNA);

    let pid = child.id().unwrap().to_string();
    assert!(tokio::process::Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
    let status = tokio::time::timeout(PATIENCE, child.wait()).await.unwrap().unwrap();
    assert!(status.success(), "{status}");
}
