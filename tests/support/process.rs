//! The program as its own process.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "helpers of tests, outside the functions that clippy knows as tests")]

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Output, Stdio};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use whatsapp_sim::Sim;

use super::support::PATIENCE;

/// The administrator's key of every process started here.
pub const KEY: &str = "preset-admin-key-of-a-test";

/// A running `kurir serve`. Killed when dropped.
pub struct Process {
    pub child: Child,
    pub address: SocketAddr,
    stderr: JoinHandle<String>,
    stdout: JoinHandle<String>,
}

/// `kurir` with these arguments, a data folder, and nothing else of this process's environment that it would read.
pub fn kurir(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kurir"));
    command.args(arguments);
    prepared(command, folder)
}

fn prepared(mut command: Command, folder: &Path) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KURIR_") {
            command.env_remove(name);
        }
    }
    command
        .env("KURIR_DATA_DIR", folder)
        .env("KURIR_BOARD", "none")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Runs a command that ends by itself.
pub async fn run(command: &mut Command) -> Output {
    tokio::time::timeout(PATIENCE, command.output()).await.expect("the command does not end").unwrap()
}

impl Process {
    /// `kurir serve`, once it listens.
    pub async fn serve(folder: &Path, sim: &Sim, environment: &[(&str, &str)]) -> Process {
        Process::start(kurir(folder, &["serve"]), sim, environment).await
    }

    /// The program with these arguments, once it listens.
    pub async fn serve_with(
        folder: &Path,
        arguments: &[&str],
        sim: &Sim,
        environment: &[(&str, &str)],
    ) -> Process {
        Process::start(kurir(folder, arguments), sim, environment).await
    }

    /// As [`Process::serve`], started by another program, which gets the gateway's path as its last argument.
    pub async fn serve_through(
        program: &[&str],
        folder: &Path,
        sim: &Sim,
        environment: &[(&str, &str)],
    ) -> Process {
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).arg(env!("CARGO_BIN_EXE_kurir"));
        Process::start(prepared(command, folder), sim, environment).await
    }

    async fn start(mut command: Command, sim: &Sim, environment: &[(&str, &str)]) -> Process {
        let mut child = command
            .env("KURIR_LISTEN", "127.0.0.1:0")
            .env("KURIR_WHATSAPP_URL", sim.ws_url())
            .env("KURIR_ADMIN_KEY", KEY)
            .envs(environment.iter().copied())
            .spawn()
            .unwrap();
        let mut pipe = child.stderr.take().unwrap();
        let stderr = tokio::spawn(async move {
            let mut text = String::new();
            let _ = pipe.read_to_string(&mut text).await;
            text
        });
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut text = String::new();
        let address = loop {
            let line = lines.next_line().await.unwrap().expect("the gateway ended before it listened");
            text = text + &line + "\n";
            if let Some((_, address)) = line.split_once("http://") {
                break address.parse().unwrap();
            }
        };
        // Something has to read on, or the process blocks on a full pipe.
        let stdout = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                text = text + &line + "\n";
            }
            text
        });
        Process { child, address, stderr, stdout }
    }

    /// `kill -9`.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Asks it to stop, and returns what it had printed on standard output and standard error, and whether it ended well.
    pub async fn stop(mut self) -> (String, String, bool) {
        let pid = self.child.id().unwrap().to_string();
        assert!(std::process::Command::new("kill").arg(&pid).status().unwrap().success());
        let ended =
            tokio::time::timeout(PATIENCE, self.child.wait()).await.expect("it does not stop").unwrap();
        (self.stdout.await.unwrap(), self.stderr.await.unwrap(), ended.success())
    }
}
