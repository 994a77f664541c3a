//! `kurir update`: writes an update, tries it, and keeps it if it is healthy. Runs as root, beside the gateway.

use std::fs::File;
use std::io::{BufReader, IsTerminal, Read};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use kurir::api::control;
use kurir::config::Config;
use kurir::update::board::{Firmware, Partitions, RecordFile};
use kurir::update::intake::{take_received, version_of};
use kurir::update::lock::{self, LOCK};
use kurir::update::{
    Outcome, PIECE, Record, Rules, Stage, Trial, Verdict, commit, give_up, install, known, refused, start,
    try_once,
};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// How often the health of a system on trial is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// How long the port may take to answer.
const ANSWER: Duration = Duration::from_secs(5);
/// Longest silence of the server that an update is fetched from.
const STALL: Duration = Duration::from_secs(60);
/// How long a restart takes to end this process.
const RESTART: Duration = Duration::from_secs(120);
/// Time for the whole fetch: 500 MB at 2 Mbit/s.
const FETCH: Duration = Duration::from_secs(2000);

fn firmware(config: &Config) -> anyhow::Result<Firmware> {
    let file =
        config.update_autoboot.clone().context("this box cannot be updated: update_autoboot is not set")?;
    Firmware::new(file, &config.update_slot_a, &config.update_slot_b).map_err(anyhow::Error::msg)
}

fn record_file(config: &Config) -> RecordFile {
    RecordFile(config.update_record_path())
}

/// Checks and writes the update from a file or a URL; then restarts into it, unless `stay`.
pub(crate) fn from(config: &Config, source: &str, stay: bool) -> anyhow::Result<Option<Restart>> {
    let lock = lock()?;
    let rules = rules(config)?;
    write(config, open(source)?, &rules)?;
    if stay {
        println!("`kurir update --try` restarts the box into it.");
        return Ok(None);
    }
    restart(config, lock).map(Some)
}

/// The same with the update that came over the network, if one did; a unit runs this.
pub(crate) fn received(config: &Config) -> anyhow::Result<Option<Restart>> {
    // If it is refused because of another one, that shows here first: a unit that fails at once is soon not started any more.
    let lock = lock::wait(Path::new(LOCK)).with_context(no_lock)?;
    let taken = take_received(&config.data_dir).context("the update that came over the network");
    let Some(mut file) = taken? else {
        println!("No update has come over the network.");
        return Ok(None);
    };
    let rules = rules(config)?;
    let version = version_of(&mut file, &rules.key)?;
    if let Err(e) = write(config, BufReader::with_capacity(PIECE, file), &rules) {
        // Whoever sent it looks there.
        refused(&mut record_file(config), version, e.to_string())?;
        return Err(e);
    }
    restart(config, lock).map(Some)
}

fn no_lock() -> String {
    format!("{LOCK} (only root updates the box)")
}

/// Nobody else changes anything meanwhile.
fn lock() -> anyhow::Result<File> {
    let taken = lock::take(Path::new(LOCK)).with_context(no_lock)?;
    taken.context("another update is being written; wait for it")
}

fn rules(config: &Config) -> anyhow::Result<Rules> {
    let key_file = config.update_key.clone().context("this box cannot be updated: update_key is not set")?;
    Ok(Rules::of_this_box(&key_file)?)
}

fn write(config: &Config, update: impl Read, rules: &Rules) -> anyhow::Result<()> {
    let mut disk = Partitions::new(config.update_slot_a.clone(), config.update_slot_b.clone())
        .map_err(anyhow::Error::msg)?;
    let mut firmware = firmware(config)?;
    let show = std::io::stderr().is_terminal();
    let progress = |done: u64, total: u64| {
        if show {
            eprint!("\r{} of {} MB written", done >> 20, total >> 20);
        }
    };
    let written = install(update, rules, &mut disk, &mut firmware, &mut record_file(config), progress);
    if show {
        eprintln!();
    }
    println!("Version {} is written and checked.", written?.version);
    Ok(())
}

/// Restarts into what was written before.
pub(crate) fn restart_into(config: &Config) -> anyhow::Result<Restart> {
    restart(config, lock()?)
}

fn restart(config: &Config, lock: File) -> anyhow::Result<Restart> {
    let mut firmware = firmware(config)?;
    try_once(&mut firmware, &mut record_file(config))?;
    println!(
        "The box restarts into it, and keeps it if it is healthy for a minute; otherwise it goes back by itself."
    );
    Ok(Restart(lock))
}

/// A restart that was asked for. Until it ends this process nobody may change the record: it would take the trial for one that is over.
pub(crate) struct Restart(#[allow(dead_code, reason = "held, not used")] File);

impl Restart {
    /// Waits for it.
    pub(crate) async fn over(self) -> anyhow::Result<()> {
        tokio::time::sleep(RESTART).await;
        bail!("the box has not restarted within {} s; switch it off and on", RESTART.as_secs());
    }
}

fn open(source: &str) -> anyhow::Result<Box<dyn Read>> {
    if !source.starts_with("http://") && !source.starts_with("https://") {
        let file = File::open(source).with_context(|| format!("the update file {source}"))?;
        return Ok(Box::new(BufReader::with_capacity(PIECE, file)));
    }
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_connect(Some(STALL))
        .timeout_recv_response(Some(STALL))
        .timeout_recv_body(Some(FETCH))
        .build()
        .into();
    let response = agent.get(source).call().with_context(|| format!("fetching the update from {source}"))?;
    Ok(Box::new(response.into_body().into_with_config().limit(u64::MAX).reader()))
}

/// What became of the last update, in a line.
pub(crate) fn show(config: &Config) -> anyhow::Result<()> {
    println!("{}", line(&after_start(config)?));
    Ok(())
}

/// The record, brought up to date unless somebody is changing it.
fn after_start(config: &Config) -> anyhow::Result<Record> {
    Ok(match lock() {
        Ok(_lock) => start(&mut firmware(config)?, &mut record_file(config))?,
        Err(_) => known(&mut record_file(config))?,
    })
}

fn line(record: &Record) -> String {
    match (&record.stage, &record.last) {
        (Stage::Writing { version }, _) => format!("Version {version} is being written."),
        (Stage::Written { version, .. }, _) => {
            format!("Version {version} is written; `kurir update --try` restarts the box into it.")
        }
        (Stage::Trying { version, .. }, _) => format!("Version {version} is on trial."),
        (Stage::GivenUp { version, reason, .. }, _) => {
            format!("Version {version} is given up: {reason}. The box restarts into the version before it.")
        }
        (Stage::Idle, None) => "There was no update yet.".into(),
        (Stage::Idle, Some(Outcome::Committed { version })) => format!("Version {version} is in use."),
        (Stage::Idle, Some(Outcome::RolledBack { version, reason })) => {
            format!("Version {version} was given up: {reason}.")
        }
        (Stage::Idle, Some(Outcome::Failed { version, reason })) => {
            format!("Version {version} was not installed: {reason}.")
        }
    }
}

/// Run once after each start: ends a trial, if this start is one. Where it cannot even do that, the unit that runs it goes
/// back (image/root/usr/lib/kurir/end-trial).
pub(crate) async fn confirm(config: &Config) -> anyhow::Result<()> {
    let (mut boot, mut memory) = (firmware(config)?, record_file(config));
    let record = after_start(config)?;
    println!("{}", line(&record));
    let reason = match record.stage {
        Stage::Trying { .. } => {
            let look = async || health(config).await;
            let ended = ends(look, || commit(&mut boot, &mut memory).map_err(|e| e.to_string())).await;
            let Err(reason) = ended else {
                println!("The new version is healthy and stays.");
                return Ok(());
            };
            // Only the explanation: the box goes back without it as well.
            if let Err(e) = give_up(&mut memory, reason.clone()) {
                eprintln!("why it is given up cannot be kept: {e}");
            }
            reason
        }
        // The restart after it failed, or was cut short.
        Stage::GivenUp { reason, .. } => reason,
        _ => return Ok(()),
    };
    let restarted = std::process::Command::new("systemctl").arg("reboot").status();
    if !restarted.is_ok_and(|status| status.success()) {
        bail!(
            "the new version is given up ({reason}), but the box cannot be restarted; switch it off and on"
        );
    }
    bail!("the new version is given up, the box restarts into the old one: {reason}");
}

/// Looks until the new version is kept, or for too long: then the reason. What cannot be kept is not healthy.
async fn ends(
    look: impl AsyncFn() -> Result<(), String>,
    mut keep: impl FnMut() -> Result<(), String>,
) -> Result<(), String> {
    let now = || Instant::now().into_std();
    let mut trial = Trial::new(now());
    loop {
        let mut verdict = trial.look(look().await, now());
        if verdict == Verdict::Commit {
            let Err(reason) = keep() else { return Ok(()) };
            verdict = trial.look(Err(reason), now());
        }
        match verdict {
            Verdict::GiveUp(reason) => return Err(reason),
            _ => tokio::time::sleep(LOOK).await,
        }
    }
}

/// The service and its store by the control socket, its port by a request.
async fn health(config: &Config) -> Result<(), String> {
    let socket = config.control_path();
    let asked = control::call(&socket, "GET", "/status", None);
    let status: Value = match tokio::time::timeout(ANSWER, asked).await {
        Ok(answer) => answer.map_err(|e| e.to_string())?,
        Err(_) => return Err("the gateway does not answer".into()),
    };
    if status["status"] != "ready" {
        return Err(format!("the gateway is {}, its store {}", status["status"], status["store"]));
    }
    let mut address = config.listen;
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            std::net::Ipv4Addr::LOCALHOST.into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        });
    }
    let request = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
        let mut head = [0; 12];
        stream.read_exact(&mut head).await?;
        Ok::<_, std::io::Error>(head)
    };
    match tokio::time::timeout(ANSWER, request).await {
        Ok(Ok(head)) if head.ends_with(b" 200") => Ok(()),
        Ok(Ok(_)) => Err(format!("{address} answers something else than 200")),
        Ok(Err(e)) => Err(format!("{address}: {e}")),
        Err(_) => Err(format!("{address} does not answer")),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_healthy_version_that_cannot_be_kept_is_given_up() {
        let tries = Cell::new(0);
        let keep = || {
            tries.set(tries.get() + 1);
            Err("autoboot.txt: input/output error".to_owned())
        };
        let reason = ends(async || Ok(()), keep).await.unwrap_err();
        assert!(reason.contains("autoboot.txt"), "{reason}");
        assert!(tries.get() > 1, "it is tried again");
        let mut second = 0;
        let keep = || {
            second += 1;
            if second == 1 { Err("busy".to_owned()) } else { Ok(()) }
        };
        ends(async || Ok(()), keep).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_version_that_is_never_healthy_is_given_up_for_its_last_trouble() {
        let begun = Instant::now();
        let reason = ends(async || Err("port 80: refused".to_owned()), || panic!("kept")).await.unwrap_err();
        assert!(reason.contains("port 80: refused"), "{reason}");
        assert!(begun.elapsed() < Duration::from_secs(310));
    }
}
