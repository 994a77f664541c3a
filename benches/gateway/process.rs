//! The gateway as its own process, seen from outside.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use kurir::api::control;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// The administrator key that every gateway of the benchmark is given.
pub(crate) const KEY: &str = "benchmark-admin-key";
/// Longest that any single thing may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A gateway on a data folder.
pub(crate) struct Gateway {
    child: Child,
    pub(crate) address: SocketAddr,
    control: std::path::PathBuf,
    /// From the start of the process to its first answer.
    pub(crate) started_in: Duration,
}

impl Gateway {
    /// Starts it and waits until `/healthz` answers.
    pub(crate) async fn start(
        folder: &Path,
        whatsapp_url: &str,
        sync_delay: Duration,
    ) -> anyhow::Result<Gateway> {
        let started = Instant::now();
        let program = std::env::var_os("KURIR_BENCH_PROGRAM");
        let mut child = Command::new(program.unwrap_or_else(|| env!("CARGO_BIN_EXE_kurir").into()))
            .arg("serve")
            .env("KURIR_DATA_DIR", folder)
            .env("KURIR_LISTEN", "127.0.0.1:0")
            .env("KURIR_WHATSAPP_URL", whatsapp_url)
            .env("KURIR_ADMIN_KEY", KEY)
            // The files that it is sent links to.
            .env("KURIR_ALLOW_PRIVATE_FETCH", "127.0.0.0/8")
            .env("KURIR_SYNC_DELAY_MS", sync_delay.as_millis().to_string())
            .env("KURIR_LOG", std::env::var("KURIR_LOG").unwrap_or_else(|_| "warn".into()))
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("the gateway did not start")?;
        let stdout = child.stdout.take().context("no stdout")?;
        let mut lines = BufReader::new(stdout).lines();
        let address = loop {
            let line = tokio::time::timeout(PATIENCE, lines.next_line()).await??;
            let line = line.context("the gateway ended before it listened")?;
            if let Some((_, address)) = line.split_once("http://") {
                break address.parse()?;
            }
        };
        let mut gateway =
            Gateway { child, address, control: folder.join("control.sock"), started_in: Duration::ZERO };
        let (status, _) = gateway.connect().await?.call("GET", "/healthz", Bytes::new()).await?;
        ensure!(status == 200, "/healthz answered {status}");
        gateway.started_in = started.elapsed();
        // Something has to read on, or the process blocks on a full pipe.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(gateway)
    }

    /// A kept connection to the API.
    pub(crate) async fn connect(&self) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Connection { sender })
    }

    /// What `kurir status` shows.
    pub(crate) async fn status(&self) -> anyhow::Result<Value> {
        Ok(control::call(&self.control, "GET", "/status", None).await?)
    }

    /// Waits until so many sessions are connected.
    pub(crate) async fn connected(&self, count: usize) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.status().await?["counts"]["connected"].as_u64() != Some(count as u64) {
            ensure!(Instant::now() < deadline, "{count} sessions did not connect in time");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Waits until nothing is queued and the store has written nothing for half a second; returns its counts.
    pub(crate) async fn settled(&self) -> anyhow::Result<StoreCounts> {
        let deadline = Instant::now() + PATIENCE;
        let mut last = StoreCounts::default();
        let mut since = Instant::now();
        loop {
            let status = self.status().await?;
            let sessions = status["sessions"].as_array().context("no sessions in the status")?;
            let queued: u64 = sessions.iter().filter_map(|s| s["queued"].as_u64()).sum();
            let counts = StoreCounts::from(&status);
            if queued > 0 || counts != last {
                last = counts;
                since = Instant::now();
            } else if since.elapsed() > Duration::from_millis(500) {
                return Ok(counts);
            }
            ensure!(Instant::now() < deadline, "{queued} messages are still queued");
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// User and system time used so far (proc(5), `stat`, fields 14 and 15; 100 ticks a second on every Linux port).
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()?))?;
        let (_, fields) = stat.rsplit_once(')').context("no fields")?;
        let ticks: u64 =
            fields.split_whitespace().skip(11).take(2).filter_map(|f| f.parse::<u64>().ok()).sum();
        Ok(Duration::from_millis(ticks * 10))
    }

    /// What it holds of the machine's memory.
    pub(crate) fn memory(&self) -> anyhow::Result<Memory> {
        let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid()?))?;
        let field = |name: &str| -> anyhow::Result<u64> {
            let line = rollup.lines().find_map(|line| line.strip_prefix(name)).context("no such field")?;
            line.split_whitespace().next().and_then(|kib| kib.parse().ok()).context("no number")
        };
        Ok(Memory { rss: field("Rss:")?, pss: field("Pss:")?, anonymous: field("Anonymous:")? })
    }

    /// What it holds now, in KiB; from here on its peak is counted anew (proc(5), `clear_refs`).
    pub(crate) fn reset_peak(&self) -> anyhow::Result<u64> {
        std::fs::write(format!("/proc/{}/clear_refs", self.pid()?), "5")?;
        self.status_field("VmRSS:")
    }

    /// The most that it held since [`reset_peak`](Self::reset_peak), in KiB.
    pub(crate) fn peak(&self) -> anyhow::Result<u64> {
        self.status_field("VmHWM:")
    }

    fn status_field(&self, name: &str) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)).context("no such field")?;
        line.split_whitespace().next().and_then(|kib| kib.parse().ok()).context("no number")
    }

    fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().context("the gateway has ended")
    }

    /// Ends it as systemd does, and waits until it is gone.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let pid = self.pid()?.to_string();
        let asked = Command::new("kill").args(["-TERM", &pid]).status().await?;
        ensure!(asked.success(), "kill failed");
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await??;
        ensure!(ended.success(), "the gateway ended with {ended}");
        Ok(())
    }
}

/// A kept HTTP connection.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    /// One request; the answer's status and body.
    pub(crate) async fn call(
        &mut self,
        method: &str,
        path: &str,
        body: Bytes,
    ) -> anyhow::Result<(u16, Bytes)> {
        self.call_with(method, path, "application/json", body).await
    }

    /// The same with another content type.
    pub(crate) async fn call_with(
        &mut self,
        method: &str,
        path: &str,
        content_type: &str,
        body: Bytes,
    ) -> anyhow::Result<(u16, Bytes)> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "kurir")
            .header("x-api-key", KEY)
            .header("content-type", content_type)
            .body(Full::new(body))?;
        self.sender.ready().await?;
        let (head, body) = self.sender.send_request(request).await?.into_parts();
        Ok((head.status.as_u16(), body.collect().await?.to_bytes()))
    }

    /// One request that has to succeed.
    pub(crate) async fn json(&mut self, method: &str, path: &str, body: Value) -> anyhow::Result<Value> {
        let bytes = if body.is_null() { Bytes::new() } else { body.to_string().into() };
        let (status, body) = self.call(method, path, bytes).await?;
        ensure!(status == 200, "{method} {path}: {status}: {}", String::from_utf8_lossy(&body));
        Ok(serde_json::from_slice(&body)?)
    }

    /// Sends a text and returns its message id.
    pub(crate) async fn send(&mut self, session: &str, to: &str, text: &str) -> anyhow::Result<String> {
        let path = format!("/api/sessions/{session}/send");
        let answer = self.json("POST", &path, json!({"to": to, "message": text})).await?;
        Ok(answer["messageId"].as_str().context("no messageId")?.to_owned())
    }
}

/// What the store has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StoreCounts {
    pub(crate) commits: u64,
    pub(crate) syncs: u64,
    pub(crate) bytes_written: u64,
}

impl StoreCounts {
    fn from(status: &Value) -> StoreCounts {
        let count = |name: &str| status["store_counts"][name].as_u64().unwrap_or(0);
        StoreCounts {
            commits: count("commits"),
            syncs: count("syncs"),
            bytes_written: count("bytes_written"),
        }
    }
}

impl std::ops::Sub for StoreCounts {
    type Output = StoreCounts;

    fn sub(self, before: StoreCounts) -> StoreCounts {
        StoreCounts {
            commits: self.commits - before.commits,
            syncs: self.syncs - before.syncs,
            bytes_written: self.bytes_written - before.bytes_written,
        }
    }
}

/// KiB, from `smaps_rollup`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) rss: u64,
    pub(crate) pss: u64,
    pub(crate) anonymous: u64,
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mb = |kib: u64| kib as f64 * 1024.0 / 1e6;
        let (rss, pss, anonymous) = (mb(self.rss), mb(self.pss), mb(self.anonymous));
        write!(f, "{rss:.1} MB resident, {pss:.1} MB Pss, {anonymous:.1} MB anonymous")
    }
}
