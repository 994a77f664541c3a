//! A large file by each way into the gateway, and what it does to the gateway's memory.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use kurir::api::serve::{ServeLimits, serve};
use serde_json::json;
use whatsapp_sim::Sim;

use crate::load;
use crate::process::{Gateway, KEY};

/// A phone that nobody else writes to, so that its messages can be counted.
const RECIPIENT: &str = "6281399999999";
/// Bytes of the file that is measured, and of one before it that warms up what any file needs.
pub(crate) const SIZES: [usize; 2] = [2_000_000, 50_000_000];
const PATIENCE: Duration = Duration::from_secs(120);

/// How a file comes in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Way {
    Multipart,
    Base64,
    Url,
}

/// What the larger file did.
pub(crate) struct Sent {
    pub(crate) way: Way,
    /// KiB before, and at the peak.
    pub(crate) memory: (u64, u64),
    /// Until the answer, and until the phone had it.
    pub(crate) times: (Duration, Duration),
}

/// Sends files of both sizes in each way, and waits for each on the phone.
pub(crate) async fn send_all(gateway: &Gateway, sim: &Sim, session: &str) -> anyhow::Result<Vec<Sent>> {
    sim.add_phone(RECIPIENT, "Arsip").await?;
    let (mut count, mut all) = (0, Vec::new());
    for size in SIZES {
        for way in [Way::Multipart, Way::Base64, Way::Url] {
            let file = file(size);
            let (path, kind, body) = request(session, way, &file).await?;
            let before = gateway.reset_peak()?;
            let began = Instant::now();
            let (status, answer) = gateway.connect().await?.call_with("POST", &path, kind, body).await?;
            ensure!(status == 200, "{way:?}: {status}: {}", String::from_utf8_lossy(&answer));
            let answered = began.elapsed();
            count += 1;
            let got = sim.inbox(RECIPIENT, count, PATIENCE).await?.pop().context("no message")?;
            ensure!(got.size == Some(size as u64), "{way:?}: {:?} bytes arrived", got.size);
            if size == SIZES[1] {
                let memory = (before, gateway.peak()?);
                all.push(Sent { way, memory, times: (answered, began.elapsed()) });
            }
        }
    }
    Ok(all)
}

async fn request(session: &str, way: Way, file: &Bytes) -> anyhow::Result<(String, &'static str, Bytes)> {
    Ok(match way {
        Way::Multipart => {
            let to = format!("--B\r\nContent-Disposition: form-data; name=\"to\"\r\n\r\n{RECIPIENT}\r\n");
            let head = "--B\r\nContent-Disposition: form-data; name=\"media\"; filename=\"a.pdf\"\r\n\r\n";
            let body = [to.as_bytes(), head.as_bytes(), file, b"\r\n--B--\r\n"].concat();
            let path = format!("/api/sessions/{session}/send-media");
            (path, "multipart/form-data; boundary=B", body.into())
        }
        Way::Base64 => {
            let media = json!({"data": STANDARD.encode(file), "filename": "a.pdf"});
            let body = json!({"number": RECIPIENT, "media": media}).to_string();
            ("/api/send-message".to_owned(), "application/json", body.into())
        }
        Way::Url => {
            let file = file.clone();
            let router = axum::Router::new().route("/a.pdf", get(move || async move { file }));
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
            let url = format!("http://{}/a.pdf", listener.local_addr()?);
            tokio::spawn(serve(listener, router, ServeLimits::default(), None, std::future::pending()));
            let body = json!({"api_key": KEY, "sender": load::office(0), "number": RECIPIENT,
                "media_type": "pdf", "url": url});
            ("/send-media".to_owned(), "application/json", body.to_string().into())
        }
    })
}

/// A PDF that does not compress.
fn file(size: usize) -> Bytes {
    let mut file = b"%PDF-1.7\n".to_vec();
    let mut state = 1_u32;
    while file.len() < size {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        file.extend(state.to_le_bytes());
    }
    file.truncate(size);
    file.into()
}
