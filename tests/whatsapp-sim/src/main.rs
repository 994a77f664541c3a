//! The test server as a program.

use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::{Parser, Subcommand};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use whatsapp_sim::identity::Identity;
use whatsapp_sim::{Sim, SimConfig, control};

/// A WhatsApp server with phones, for tests, demos and benchmarks.
///
/// The first line on stdout is JSON: `ws`, where clients connect; `control`, where the phones are operated; and
/// `noise_root`, the root of the server's certificate chain in base64. It runs until SIGTERM or SIGINT.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    /// Where clients connect; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,

    /// Where the control API listens; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    control: SocketAddr,

    /// Also take TLS (https, wss) on the port of --listen; `tls_ca` in the first line is the authority to trust, in PEM.
    #[arg(long)]
    tls: bool,

    /// In WhatsApp's place, for a program of `rekey`: TLS under WhatsApp's names, with the keys that it has left in FILE. The
    /// names have to lead to --listen, whose port has to be 443.
    #[arg(long, value_name = "FILE")]
    as_whatsapp: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Copies a gateway's released program, with the two public keys by which it knows WhatsApp replaced by a test server's.
    Rekey {
        /// The test server's keys, as --as-whatsapp has them; made where there are none.
        #[arg(value_name = "KEYS")]
        keys: PathBuf,
        /// The program.
        program: PathBuf,
        /// Where its copy goes; a file there is replaced.
        copy: PathBuf,
    },
}

fn rekey(keys: &Path, program: &Path, copy: &Path) -> anyhow::Result<()> {
    let identity = Identity::kept_in(keys)?;
    let read = std::fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    let rekeyed = identity.rekey(&read).with_context(|| program.display().to_string())?;
    let permissions = std::fs::metadata(program)
        .with_context(|| format!("cannot read {}", program.display()))?
        .permissions();
    let write = || {
        // Another file, not other bytes in the one that may be running.
        match std::fs::remove_file(copy) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        std::fs::write(copy, rekeyed)?;
        std::fs::set_permissions(copy, permissions)
    };
    write().with_context(|| format!("cannot write {}", copy.display()))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    let args = Args::parse();
    if let Some(Command::Rekey { keys, program, copy }) = &args.command {
        return rekey(keys, program, copy);
    }

    let identity = match &args.as_whatsapp {
        Some(_) if args.listen.port() != 443 => {
            anyhow::bail!("--as-whatsapp: clients come to port 443; --listen is {}", args.listen)
        }
        Some(keys) => Some(Arc::new(
            Identity::read(keys)
                .context("--as-whatsapp: `whatsapp-sim rekey` or `image/build --sim` makes the keys")?,
        )),
        None => None,
    };

    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let control = TcpListener::bind(args.control)
        .await
        .with_context(|| format!("cannot listen on {} for the control API (--control)", args.control))?;
    let control_url = format!("http://{}", control.local_addr().context("the control API has no address")?);
    let sim = Sim::start(SimConfig { listen: args.listen, tls: args.tls, identity, ..SimConfig::default() })
        .await?;

    let mut first_line = json!({
        "ws": sim.ws_url(),
        "control": control_url,
        "noise_root": BASE64_STANDARD.encode(sim.noise_root()),
    });
    if let Some(authority) = sim.tls_authority() {
        first_line["tls_ca"] = authority.into();
    }
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{first_line}").and_then(|()| stdout.flush()).context("cannot write to stdout")?;

    tokio::select! {
        served = control::serve(control, sim.clone()) => served.context("the control API ended")?,
        _ = terminate.recv() => log::info!("SIGTERM"),
        _ = interrupt.recv() => log::info!("SIGINT"),
    }
    sim.shutdown();
    Ok(())
}
