//! Messages through a paired gateway, and what became of them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use kurir::config::Config;
use kurir::gateway::store_options;
use kurir::media::Spool;
use kurir::outbox::{Outbox, OutboxSettings, Progress};
use kurir::store::Store;
use serde_json::Value;
use tokio::task::JoinSet;
use whatsapp_sim::Sim;

use crate::process::{Gateway, StoreCounts};

/// Phones that take turns as recipients.
const RECIPIENTS: usize = 64;

/// The number of the phone behind session `index`.
pub(crate) fn office(index: usize) -> String {
    format!("62811{index:08}")
}

fn recipient(index: usize) -> String {
    format!("62812{:08}", index % RECIPIENTS)
}

/// Adds the phones that get messages.
pub(crate) async fn add_recipients(sim: &Sim) -> anyhow::Result<()> {
    for index in 0..RECIPIENTS {
        sim.add_phone(&recipient(index), "Pelanggan").await?;
    }
    Ok(())
}

/// Lets the phone `index` scan the QR of session `id`.
async fn scan(gateway: &Gateway, sim: &Sim, id: &str, index: usize) -> anyhow::Result<()> {
    let qr = gateway.connect().await?.json("GET", &format!("/api/sessions/{id}/qr"), Value::Null).await?;
    sim.scan(&office(index), qr["qr"].as_str().context("no QR")?).await?;
    Ok(())
}

/// Pairs the session that a new gateway makes by itself; returns its id.
pub(crate) async fn pair_first(gateway: &Gateway, sim: &Sim) -> anyhow::Result<String> {
    let list = gateway.connect().await?.json("GET", "/api/sessions?list=1", Value::Null).await?;
    let id = list["sessions"][0]["id"].as_str().context("no first session")?.to_owned();
    scan(gateway, sim, &id, 0).await?;
    gateway.connected(1).await?;
    Ok(id)
}

/// Creates and pairs sessions until there are `count`.
pub(crate) async fn pair_up_to(
    gateway: &Gateway,
    sim: &Sim,
    have: usize,
    count: usize,
) -> anyhow::Result<()> {
    for index in have..count {
        let mut api = gateway.connect().await?;
        let body = serde_json::json!({"sessionName": format!("Kasir {index}")});
        let made = api.json("POST", "/api/sessions", body).await?;
        scan(gateway, sim, made["sessionId"].as_str().context("no session id")?, index).await?;
        gateway.connected(index + 1).await?;
    }
    Ok(())
}

/// One message that was accepted.
struct Answered {
    id: String,
    took: Duration,
}

/// What one load did, up to the moment when the gateway has nothing more to do.
pub(crate) struct Load {
    pub(crate) callers: usize,
    messages: Vec<Answered>,
    began: SystemTime,
    accepting: Duration,
    store: StoreCounts,
    cpu: Duration,
}

impl Load {
    /// `callers` connections, each sending its next message when the last one is answered.
    pub(crate) async fn run(
        gateway: &Gateway,
        session: &str,
        callers: usize,
        count: usize,
    ) -> anyhow::Result<Load> {
        let before = (gateway.settled().await?, gateway.cpu()?);
        let mut connections = Vec::new();
        for _ in 0..callers {
            connections.push(gateway.connect().await?);
        }
        let next = Arc::new(AtomicUsize::new(0));
        let session: Arc<str> = session.into();
        let (began, clock) = (SystemTime::now(), Instant::now());
        let mut tasks = JoinSet::new();
        for mut connection in connections {
            let (next, session) = (Arc::clone(&next), Arc::clone(&session));
            tasks.spawn(async move {
                let mut answered = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return anyhow::Ok(answered);
                    }
                    let text = format!("Pesanan nomor {number} sudah siap diambil. Terima kasih!");
                    let sent = Instant::now();
                    let id = connection.send(&session, &recipient(number), &text).await?;
                    answered.push(Answered { id, took: sent.elapsed() });
                }
            });
        }
        let mut messages = Vec::with_capacity(count);
        while let Some(answered) = tasks.join_next().await {
            messages.extend(answered??);
        }
        let accepting = clock.elapsed();
        let after = gateway.settled().await?;
        Ok(Load {
            callers,
            messages,
            began,
            accepting,
            store: after - before.0,
            cpu: gateway.cpu()? - before.1,
        })
    }

    /// A first message to every recipient, which costs the look-up of a number, of its devices and of its keys.
    pub(crate) async fn meet(gateway: &Gateway, session: &str) -> anyhow::Result<Load> {
        Load::run(gateway, session, 8, RECIPIENTS).await
    }
}

/// A load's figures.
pub(crate) struct Figures {
    pub(crate) callers: usize,
    pub(crate) messages: usize,
    pub(crate) accepted_per_s: f64,
    pub(crate) answer: Spread,
    pub(crate) acknowledged_per_s: f64,
    pub(crate) ack: Spread,
    pub(crate) bytes_per_message: f64,
    pub(crate) syncs_per_message: f64,
    pub(crate) commits_per_message: f64,
    pub(crate) cpu_per_message: Duration,
}

/// Milliseconds.
pub(crate) struct Spread {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Spread {
        values.sort_by(f64::total_cmp);
        let at = |share: f64| values.get(((values.len() - 1) as f64 * share).round() as usize).copied();
        Spread { p50: at(0.5).unwrap_or(0.0), p99: at(0.99).unwrap_or(0.0) }
    }
}

/// Reads from the store of a gateway that has ended when each message was accepted and acknowledged.
pub(crate) fn figures(folder: &Path, loads: Vec<Load>) -> anyhow::Result<Vec<Figures>> {
    let config = Config { data_dir: folder.to_owned(), ..Config::default() };
    let store = Store::open(&config.store_path(), &store_options(&config))?;
    let spool = Spool::open_with(folder, config.media_quota)?;
    let outbox = Outbox::open(store, spool, OutboxSettings::from_config(&config))?;
    loads.into_iter().map(|load| figures_of(&outbox, load)).collect()
}

fn figures_of(outbox: &Outbox, load: Load) -> anyhow::Result<Figures> {
    let (mut waits, mut last) = (Vec::new(), 0);
    for answered in &load.messages {
        let message = outbox.find(&answered.id)?.with_context(|| format!("{} was lost", answered.id))?;
        ensure!(message.progress >= Progress::Sent, "not acknowledged: {message:?}");
        let sent = message.sent_at_ms.with_context(|| format!("no time of the ack: {message:?}"))?;
        waits.push((sent - message.accepted_at_ms) as f64);
        last = last.max(sent);
    }
    let began = load.began.duration_since(UNIX_EPOCH)?.as_secs_f64();
    let count = load.messages.len() as f64;
    Ok(Figures {
        callers: load.callers,
        messages: load.messages.len(),
        accepted_per_s: count / load.accepting.as_secs_f64(),
        answer: Spread::of(load.messages.iter().map(|m| m.took.as_secs_f64() * 1e3).collect()),
        acknowledged_per_s: count / (last as f64 / 1e3 - began),
        ack: Spread::of(waits),
        bytes_per_message: load.store.bytes_written as f64 / count,
        syncs_per_message: load.store.syncs as f64 / count,
        commits_per_message: load.store.commits as f64 / count,
        cpu_per_message: load.cpu.div_f64(count),
    })
}
