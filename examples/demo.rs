//! Kurir's main job, end to end, on one machine and without WhatsApp: `cargo run --example demo`.
//!
//! Starts the test server with two phones and a gateway on an empty data folder; shows the pairing QR; lets the first
//! phone scan it; sends a text and a picture through the HTTP API; and prints what the second phone decrypted.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use kurir::api::keys::DEFAULT_ACCOUNT;
use kurir::api::qr;
use kurir::config::Config;
use kurir::gateway::Gateway;
use kurir::outbox::Progress;
use kurir::session::Status;
use serde_json::{Value, json};
use whatsapp_sim::{Sim, SimConfig};

const OFFICE: &str = "6281100000001";
const CUSTOMER: &str = "6281200000002";
const PATIENCE: Duration = Duration::from_secs(60);

/// Prints how long each step took.
struct Steps(Instant);

impl Steps {
    fn done(&mut self, what: &str) {
        println!("  {:>7.1} ms  {what}", self.0.elapsed().as_secs_f64() * 1000.0);
        self.0 = Instant::now();
    }
}

/// A picture made here: a PNG of 64 by 64 pixels.
fn picture() -> anyhow::Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, 64, 64);
    encoder.set_color(png::ColorType::Rgb);
    let pixels: Vec<u8> = (0..64u8).flat_map(|y| (0..64u8).flat_map(move |x| [x * 4, y * 4, 128])).collect();
    encoder.write_header()?.write_image_data(&pixels)?;
    Ok(out)
}

async fn post(url: String, key: &str, content_type: &str, body: Vec<u8>) -> anyhow::Result<Value> {
    let (key, content_type) = (key.to_owned(), content_type.to_owned());
    let answer = tokio::task::spawn_blocking(move || -> anyhow::Result<String> {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build().into();
        let mut response = agent
            .post(&url)
            .header("x-api-key", &key)
            .header("content-type", &content_type)
            .send(&body[..])?;
        Ok(response.body_mut().read_to_string()?)
    });
    Ok(serde_json::from_str(&answer.await??)?)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    kurir::log::init("warn");
    println!("Kurir demo: everything below runs on this machine; nothing reaches WhatsApp.\n");
    let mut steps = Steps(Instant::now());

    let sim = Sim::start(SimConfig::default()).await?;
    sim.add_phone(OFFICE, "Kantor").await?;
    sim.add_phone(CUSTOMER, "Ibu Sari").await?;
    steps.done("test server and two phones started");

    let folder = tempfile::tempdir()?;
    let config = Config {
        data_dir: folder.path().to_owned(),
        listen: "127.0.0.1:0".parse()?,
        whatsapp_url: Some(sim.ws_url()),
        ..Config::default()
    };
    let gateway = Gateway::start(&config).await?;
    let key = gateway.keys().create("demo", DEFAULT_ACCOUNT, false).await?;
    let base = format!("http://{}", gateway.address());
    steps.done("gateway listening");

    let session = gateway.registry().create("Kasir", DEFAULT_ACCOUNT).await?;
    let mut changes = session.watch();
    let shown = tokio::time::timeout(PATIENCE, changes.wait_for(|s| s.qr.is_some()))
        .await
        .context("no QR came")??;
    let code = shown.qr.clone().context("no QR came")?.text;
    drop(shown);
    println!("{}", qr::terminal(&code)?);
    steps.done("pairing QR shown");

    sim.scan(OFFICE, &code).await?;
    let connected = changes.wait_for(|s| s.status == Status::Connected);
    tokio::time::timeout(PATIENCE, connected).await.context("the session did not connect")??;
    steps.done("phone scanned it, session paired and connected");

    let text =
        json!({"api_key": key, "sender": OFFICE, "number": CUSTOMER, "message": "Pesanan Anda sudah siap."});
    let answer =
        post(format!("{base}/send-message"), &key, "application/json", text.to_string().into_bytes()).await?;
    steps.done(&format!("POST /send-message answered {answer}"));
    let inbox = sim.inbox(CUSTOMER, 1, PATIENCE).await?;
    let message = inbox.first().context("the phone got no message")?;
    ensure!(
        message.text.as_deref() == Some("Pesanan Anda sudah siap."),
        "the phone decrypted something else"
    );
    steps.done(&format!("the customer's phone decrypted: {:?}", message.text.as_deref().unwrap_or_default()));

    let image = picture()?;
    let mut body = Vec::new();
    for (name, value) in [("to", CUSTOMER), ("message", "Foto barang")] {
        body.extend(
            format!("--demo\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").bytes(),
        );
    }
    body.extend(b"--demo\r\nContent-Disposition: form-data; name=\"media\"; filename=\"barang.png\"\r\n\r\n");
    body.extend(&image);
    body.extend(b"\r\n--demo--\r\n");
    let url = format!("{base}/api/sessions/{}/send-media", session.id());
    let answer = post(url, &key, "multipart/form-data; boundary=demo", body).await?;
    steps.done(&format!("POST send-media answered {answer}"));
    let id = answer["messageId"].as_str().context("no message id")?.to_owned();
    let inbox = sim.inbox(CUSTOMER, 2, PATIENCE).await?;
    let received = inbox.iter().find(|m| m.id == id).context("the phone got no picture")?;
    ensure!(sim.media(CUSTOMER, &id).await?.as_ref() == image, "the phone decrypted another picture");
    steps.done(&format!(
        "the customer's phone downloaded and decrypted the picture: {} bytes, {}, {:?}",
        received.size.unwrap_or_default(),
        received.mime.as_deref().unwrap_or_default(),
        received.caption.as_deref().unwrap_or_default()
    ));

    sim.read(CUSTOMER, &id).await?;
    let reached = tokio::time::timeout(PATIENCE, gateway.outbox().reached(&id, Progress::Read));
    reached.await.context("no read receipt came")??;
    steps.done("the gateway knows that the picture was read");

    let stats = sim.stats();
    ensure!(stats.violations.is_empty(), "the test server noticed protocol mistakes: {:?}", stats.violations);
    gateway.shutdown().await;
    steps.done("gateway closed");
    println!("\nDone. The test server noticed no mistake in {} stanzas.", stats.stanzas.received);
    Ok(())
}
