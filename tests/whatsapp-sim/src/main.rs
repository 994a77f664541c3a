//! The test server as a program.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use anyhow::Context;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::Parser;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use whatsapp_sim::{Sim, SimConfig, control};

/// A WhatsApp server with phones, for tests, demos and benchmarks.
///
/// The first line on stdout is JSON: `ws`, where clients connect; `control`, where the phones are operated; and
/// `noise_root`, the root of the server's certificate chain in base64. It runs until SIGTERM or SIGINT.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Where clients connect; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,

    /// The address by which clients reach it, where that is another one: 10.0.2.2 for a guest of QEMU's user networking.
    #[arg(long, value_name = "ADDRESS")]
    reached_at: Option<IpAddr>,

    /// Where the control API listens; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    control: SocketAddr,

    /// Also take TLS (https, wss) on the port of --listen; `tls_ca` in the first line is the authority to trust, in PEM.
    #[arg(long)]
    tls: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    let args = Args::parse();

    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let control = TcpListener::bind(args.control)
        .await
        .with_context(|| format!("cannot listen on {} for the control API (--control)", args.control))?;
    let control_url = format!("http://{}", control.local_addr().context("the control API has no address")?);
    let sim = Sim::start(SimConfig {
        listen: args.listen,
        reached_at: args.reached_at,
        tls: args.tls,
        ..SimConfig::default()
    })
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
