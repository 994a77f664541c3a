//! `cargo bench --bench gateway`: the gateway as its own release process, with WhatsApp's place taken by `whatsapp-sim`
//! in this one, and what it costs. Prints one table; docs/performance.md explains it.
//!
//! `cargo bench --bench gateway -- start load slow memory files` names the parts to run; without names, all of them.
//! With KURIR_BENCH_PROGRAM it measures that gateway, an older build say, instead of the one built with it.

#[path = "gateway/files.rs"]
mod files;
#[path = "gateway/load.rs"]
mod load;
#[path = "gateway/process.rs"]
mod process;

use std::time::Duration;

use anyhow::{Context, ensure};
use load::{Figures, Load};
use process::Gateway;
use whatsapp_sim::{Sim, SimConfig};

/// Starts that the median is taken of.
const STARTS: usize = 11;
/// Messages of one caller, and of 64.
const MESSAGES: [(usize, usize); 2] = [(1, 300), (64, 4096)];
/// The same on the slow store.
const SLOW_MESSAGES: [(usize, usize); 2] = [(1, 60), (64, 2048)];
/// What an SD card's sync takes.
const SLOW_SYNC: Duration = Duration::from_millis(10);
/// Messages that come one by one, and the time between them: each pays its commits alone.
const LONE: (usize, Duration) = (12, Duration::from_millis(700));
/// Paired sessions whose memory is looked at.
const SESSIONS: [usize; 3] = [1, 10, 50];
/// Until a gateway with nothing to do has finished what it does after connecting.
const IDLE: Duration = Duration::from_secs(2);

/// The rows of the table.
#[derive(Default)]
struct Table(Vec<[String; 3]>);

impl Table {
    fn row(&mut self, what: impl Into<String>, result: impl Into<String>, aim: impl Into<String>) {
        self.0.push([what.into(), result.into(), aim.into()]);
    }

    fn print(&self) {
        let width = |column: usize| self.0.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths = [width(0), width(1), width(2)];
        for (index, [what, result, aim]) in self.0.iter().enumerate() {
            println!("| {what:<0$} | {result:<1$} | {aim:<2$} |", widths[0], widths[1], widths[2]);
            if index == 0 {
                println!(
                    "|{:-<1$}|{2:-<3$}|{4:-<5$}|",
                    "",
                    widths[0] + 2,
                    "",
                    widths[1] + 2,
                    "",
                    widths[2] + 2
                );
            }
        }
    }
}

fn main() -> anyhow::Result<()> {
    // cargo passes `--bench`.
    let parts: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with("--")).collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|p| p == part);
    // The test server gets threads of its own, so that callers which wait do not hold it up.
    let server = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let sim = server.block_on(Sim::start(SimConfig::default())).context("whatsapp-sim")?;
    let callers = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut table = Table::default();
    let cores = std::thread::available_parallelism()?;
    table.row(format!("{cores} cores, {}", std::env::consts::ARCH), "result", "aim");
    callers.block_on(async {
        load::add_recipients(&sim).await?;
        for index in 0..SESSIONS[2] {
            sim.add_phone(&load::office(index), "Kantor").await?;
        }
        if wanted("start") {
            start(&sim, &mut table).await?;
        }
        if wanted("load") {
            throughput(&sim, Duration::ZERO, &MESSAGES, &mut table).await?;
        }
        if wanted("slow") {
            throughput(&sim, SLOW_SYNC, &SLOW_MESSAGES, &mut table).await?;
        }
        if wanted("memory") {
            memory(&sim, &mut table).await?;
        }
        if wanted("files") {
            // Each part links the first phone once more, and a phone has four linked devices at most.
            sim.remove_phone(&load::office(0)).await?;
            sim.add_phone(&load::office(0), "Kantor").await?;
            large_files(&sim, &mut table).await?;
        }
        anyhow::Ok(())
    })?;
    let stats = sim.stats();
    ensure!(stats.violations.is_empty(), "the test server complains: {:#?}", stats.violations);
    table.print();
    Ok(())
}

async fn start(sim: &Sim, table: &mut Table) -> anyhow::Result<()> {
    let mut empty = Vec::new();
    for _ in 0..STARTS {
        let folder = tempfile::tempdir()?;
        let gateway = Gateway::start(folder.path(), &sim.ws_url(), Duration::ZERO).await?;
        empty.push(gateway.started_in);
        gateway.stop().await?;
    }
    let folder = tempfile::tempdir()?;
    let gateway = Gateway::start(folder.path(), &sim.ws_url(), Duration::ZERO).await?;
    load::pair_first(&gateway, sim).await?;
    gateway.stop().await?;
    let mut paired = Vec::new();
    for _ in 0..STARTS {
        let gateway = Gateway::start(folder.path(), &sim.ws_url(), Duration::ZERO).await?;
        paired.push(gateway.started_in);
        gateway.connected(1).await?;
        gateway.stop().await?;
    }
    for (what, mut times) in [("an empty folder", empty), ("one paired session", paired)] {
        times.sort();
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let (median, worst) = (ms(times[STARTS / 2]), ms(times[STARTS - 1]));
        let result = format!("{median:.0} ms, worst {worst:.0} ms");
        table.row(format!("start to listening, {what} (median of {STARTS})"), result, "150 ms");
    }
    Ok(())
}

async fn throughput(
    sim: &Sim,
    sync_delay: Duration,
    sizes: &[(usize, usize)],
    table: &mut Table,
) -> anyhow::Result<()> {
    let slow = !sync_delay.is_zero();
    let folder = tempfile::tempdir()?;
    let gateway = Gateway::start(folder.path(), &sim.ws_url(), sync_delay).await?;
    let session = load::pair_first(&gateway, sim).await?;
    let mut loads = vec![Load::meet(&gateway, &session).await?];
    for (callers, count) in sizes {
        loads.push(Load::run(&gateway, &session, *callers, *count, Duration::ZERO).await?);
    }
    let memory = gateway.memory()?;
    if !slow {
        loads.push(Load::run(&gateway, &session, 1, LONE.0, LONE.1).await?);
    }
    gateway.stop().await?;
    let aim = |text: &'static str, of: bool| if of { text } else { "" };
    let mut all = load::figures(folder.path(), loads)?.into_iter().skip(1);
    let written = |figures: &Figures| {
        format!(
            "{:.1} KiB, {:.3} fsyncs, {:.3} commits",
            figures.bytes_per_message / 1024.0,
            figures.syncs_per_message,
            figures.commits_per_message
        )
    };
    for figures in all.by_ref().take(sizes.len()) {
        let Figures { callers, answer, ack, .. } = &figures;
        let many = *callers > 1;
        let store = if slow { format!("{} ms syncs, ", sync_delay.as_millis()) } else { String::new() };
        let name = format!("{store}{callers} caller{}", if many { "s" } else { "" });
        table.row(
            format!("accepted, {name} ({} messages)", figures.messages),
            format!(
                "{:.0} /s, answer p50 {:.1} ms, p99 {:.1} ms",
                figures.accepted_per_s, answer.p50, answer.p99
            ),
            aim("1,000 /s", many && !slow),
        );
        table.row(
            format!("acknowledged, {name}"),
            format!(
                "{:.0} /s, accept to ack p50 {:.0} ms, p99 {:.0} ms",
                figures.acknowledged_per_s, ack.p50, ack.p99
            ),
            if slow { aim("200 /s", many) } else { aim("300 /s", many) },
        );
        table.row(
            format!("written per message, {name}"),
            written(&figures),
            aim("8 KiB, 0.2 fsyncs", many && !slow),
        );
        table.row(
            format!("gateway's processor time per message, {name}"),
            format!("{:.2} ms", figures.cpu_per_message.as_secs_f64() * 1e3),
            "",
        );
    }
    for figures in all {
        let name = format!("written per message, one each {} ms", LONE.1.as_millis());
        table.row(name, written(&figures), "");
    }
    if !slow {
        table.row("memory after these messages", memory.to_string(), "");
    }
    Ok(())
}

async fn memory(sim: &Sim, table: &mut Table) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let mut have = 0;
    let mut rss = Vec::new();
    for count in SESSIONS {
        let gateway = Gateway::start(folder.path(), &sim.ws_url(), Duration::ZERO).await?;
        if have == 0 {
            load::pair_first(&gateway, sim).await?;
            have = 1;
        }
        load::pair_up_to(&gateway, sim, have, count).await?;
        have = count;
        tokio::time::sleep(IDLE).await;
        let paired = gateway.memory()?;
        gateway.stop().await?;
        let gateway = Gateway::start(folder.path(), &sim.ws_url(), Duration::ZERO).await?;
        gateway.connected(count).await?;
        tokio::time::sleep(IDLE).await;
        let restarted = gateway.memory()?;
        gateway.stop().await?;
        for (when, memory) in [("just paired", paired), ("restarted", restarted)] {
            let aim = if count == 1 { "20 MB" } else { "" };
            table.row(format!("memory, {count} sessions, {when}"), memory.to_string(), aim);
        }
        rss.push((count, paired.rss, restarted.rss));
    }
    let (few, many) = (rss[0], rss[rss.len() - 1]);
    let each = |few_kib: u64, many_kib: u64| {
        many_kib.saturating_sub(few_kib) as f64 * 1024.0 / 1e6 / (many.0 - few.0) as f64
    };
    table.row(
        "memory, each further session",
        format!("{:.2} MB just paired, {:.2} MB restarted", each(few.1, many.1), each(few.2, many.2)),
        "1 MB",
    );
    Ok(())
}

async fn large_files(sim: &Sim, table: &mut Table) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let gateway = Gateway::start(folder.path(), &sim.ws_url(), Duration::ZERO).await?;
    let session = load::pair_first(&gateway, sim).await?;
    for sent in files::send_all(&gateway, sim, &session).await? {
        let mb = |kib: u64| kib as f64 * 1024.0 / 1e6;
        let (before, peak) = sent.memory;
        table.row(
            format!("memory, {} MB by {:?}", files::SIZES[1] / 1_000_000, sent.way),
            format!(
                "{:.1} MB more than {:.1}; answer after {:.1} s, on the phone after {:.1} s",
                mb(peak.saturating_sub(before)),
                mb(before),
                sent.times.0.as_secs_f64(),
                sent.times.1.as_secs_f64()
            ),
            "8 MB",
        );
    }
    gateway.stop().await
}
