//! The command line, nothing else.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};
use kurir::api::control::{self, ControlError, NewKey};
use kurir::api::keys::{DEFAULT_ACCOUNT, KeyRules, Keys};
use kurir::board_command;
use kurir::config::{Config, PACKAGED_FILE};
use kurir::gateway::{self, Gateway};
use kurir::notify::ServiceManager;
use kurir::store::erase::Progress;
use kurir::store::{OpenError, Store};
use kurir::update::Version;
use kurir::update::release::Release;
use kurir::watchdog::Watchdog;
use serde_json::Value;

mod cli;
mod package_files;

const VERSION: &str = if cfg!(feature = "sim") {
    concat!(
        env!("CARGO_PKG_VERSION"),
        " (feature sim: WhatsApp's certificate chain is not checked; never release this)"
    )
} else {
    env!("CARGO_PKG_VERSION")
};

/// A WhatsApp gateway for the office network.
#[derive(Parser)]
#[command(name = "kurir", version = VERSION)]
struct Arguments {
    /// The configuration file; without it, kurir.toml in the data folder.
    #[arg(long, global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway.
    Serve,
    /// Print the commented configuration with the values in force.
    Config,
    /// Make, list and remove API keys.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Write a signed update into the slot that does not run, and restart into it; the box goes back by itself if it
    /// is not healthy. Without an argument: what became of the last one.
    Update {
        /// The update file, or its http:// or https:// address.
        source: Option<String>,
        /// Only write it.
        #[arg(long, requires = "source")]
        no_restart: bool,
        /// Restart into what was written before.
        #[arg(long = "try", conflicts_with = "source")]
        try_it: bool,
        /// After a start: keep the system that is on trial once it was healthy for a minute. A unit runs this.
        #[arg(long, conflicts_with_all = ["source", "try_it"])]
        confirm: bool,
        /// The update that came over the network. A unit runs this.
        #[arg(long, conflicts_with_all = ["source", "try_it", "confirm"])]
        received: bool,
    },
    /// Print the state of the running gateway.
    Status {
        /// As JSON, for programs.
        #[arg(long)]
        json: bool,
    },
    /// List the boards and print how the one in use is wired; `test` tries each part.
    Board {
        #[command(subcommand)]
        command: Option<BoardCommand>,
    },
    /// Unlink every device from WhatsApp and erase everything: sessions, messages, files, keys and settings.
    Erase {
        /// Do it. Nothing can be brought back.
        #[arg(long)]
        yes: bool,
    },
    /// Take over kurir.toml from the card's first partition: the settings of the network and of the gateway. A unit of the
    /// image runs this at each start, before the network is up.
    Preset {
        /// The person's file; it need not exist.
        #[arg(long, default_value = "/boot/kurir/kurir.toml")]
        from: PathBuf,
        /// The image's own settings.
        #[arg(long, default_value = PACKAGED_FILE)]
        base: PathBuf,
        /// The folder below which everything is written.
        #[arg(long, default_value = "/run")]
        into: PathBuf,
    },
    /// Make the key pair that updates are signed with: the secret key's file, if it is not there yet, and the public key
    /// printed.
    #[command(hide = true)]
    UpdateKey {
        /// The file of the secret key.
        secret: PathBuf,
    },
    /// Pack and sign an update.
    #[command(hide = true)]
    UpdatePack {
        /// The file of the secret key.
        #[arg(long)]
        key: PathBuf,
        /// The update's version, such as 1.2.3.
        #[arg(long)]
        version: Version,
        /// The kind of box that it is for: arm64, armhf or amd64.
        #[arg(long)]
        board: String,
        /// A partition's name and the file with its contents, NAME=FILE; once for each.
        #[arg(long = "part", required = true)]
        parts: Vec<String>,
        /// The file to write.
        out: PathBuf,
    },
    /// Write what a package holds beside the program: manual page, shell completions, configuration file.
    #[command(hide = true)]
    PackageFiles {
        /// The folder, made if it is missing.
        folder: PathBuf,
    },
}

#[derive(Subcommand, Clone, Copy)]
enum BoardCommand {
    /// Show a picture, blink the LED, and wait for each button.
    Test,
}

/// What the process does when its command is done.
enum End {
    /// Ends.
    Exit,
    /// Begins again, as a process that has seen nothing of what was.
    Restart(Anew),
}

/// Why it begins again.
enum Anew {
    Erased,
    Tried,
}

impl std::fmt::Display for Anew {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Anew::Erased => "everything is erased",
            Anew::Tried => "the trial of the update is over",
        })
    }
}

/// The program cannot be started again: sysexits.h, EX_TEMPFAIL. Whoever supervises it starts it.
const AGAIN: u8 = 75;

#[derive(Subcommand)]
enum KeyCommand {
    /// Make a key and print it once.
    New {
        /// What it is for, such as the name of the application.
        #[arg(long)]
        name: String,
        /// The account whose sessions it may use.
        #[arg(long, default_value = DEFAULT_ACCOUNT)]
        account: String,
        /// It may use every account's sessions.
        #[arg(long)]
        admin: bool,
        /// A device token: it may use only the session with this id.
        #[arg(long, conflicts_with = "admin")]
        session: Option<String>,
        /// Fonnte's API answers 200 to this key whatever happens, for clients that raise on all else.
        #[arg(long)]
        fonnte_always_200: bool,
        /// Requests per minute, instead of key_rate_per_minute; 0: any number.
        #[arg(long)]
        rate: Option<u32>,
        /// Number checks per month, instead of number_checks_per_month; 0: any number.
        #[arg(long)]
        checks: Option<u32>,
    },
    /// List the keys, without the keys themselves.
    List,
    /// Remove a key by its id.
    Remove {
        /// The id that `kurir key list` shows.
        id: String,
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(End::Exit) => ExitCode::SUCCESS,
        Ok(End::Restart(anew)) => {
            // The same program with the same arguments, also if its file was replaced since.
            let mut arguments = std::env::args_os();
            let mut again = std::process::Command::new("/proc/self/exe");
            if let Some(name) = arguments.next() {
                again.arg0(name);
            }
            let error = again.args(arguments).exec();
            eprintln!("kurir: {anew}; start it again ({error})");
            ExitCode::from(AGAIN)
        }
        Err(e) => {
            eprintln!("kurir: {}", one_line(&e));
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes, without those that the error's own text holds already.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain().map(ToString::to_string).filter(|cause| !cause.is_empty()) {
        if line.is_empty() {
            line = cause;
        } else if !line.contains(&cause) {
            line = format!("{line}: {cause}");
        }
    }
    line.replace('\n', " ")
}

/// A variable that is not UTF-8 is not dropped: whatever reads it finds a bad value, and names it.
fn environment(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

fn run(arguments: Arguments) -> anyhow::Result<End> {
    match &arguments.command {
        Command::UpdateKey { secret } => {
            cli::release::key(secret)?;
            return Ok(End::Exit);
        }
        Command::UpdatePack { key, version, board, parts, out } => {
            cli::release::pack(&Release { key, version: *version, board, parts }, out)?;
            return Ok(End::Exit);
        }
        _ => {}
    }
    // Before any other settings are looked at: it makes them.
    if let Command::Preset { from, base, into } = &arguments.command {
        kurir::log::init("warn");
        cli::preset::run(from, base, into)?;
        return Ok(End::Exit);
    }
    let config = Config::load(arguments.config.as_deref(), environment)?;
    if matches!(arguments.command, Command::Config) {
        print!("{}", config.to_commented_toml());
        return Ok(End::Exit);
    }
    if let Command::PackageFiles { folder } = &arguments.command {
        package_files::write(Arguments::command(), folder)?;
        return Ok(End::Exit);
    }
    kurir::log::init(&config.log);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 4)))
        .max_blocking_threads(32)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let end = runtime.block_on(async {
        match arguments.command {
            Command::Serve => return serve(&config).await,
            Command::Key(command) => key(&config, command).await?,
            Command::Update { confirm: true, .. } => cli::update::confirm(&config).await?,
            Command::Update { try_it: true, .. } => cli::update::restart_into(&config)?.over().await?,
            // Both read, write and fetch without awaiting.
            Command::Update { received: true, .. } => {
                let config = config.clone();
                let restart = tokio::task::spawn_blocking(move || cli::update::received(&config)).await??;
                until(restart).await?;
            }
            Command::Update { source: Some(source), no_restart, .. } => {
                let config = config.clone();
                let write = move || cli::update::from(&config, &source, no_restart);
                until(tokio::task::spawn_blocking(write).await??).await?;
            }
            Command::Update { source: None, .. } => cli::update::show(&config)?,
            Command::Status { json } => status(&config, json).await?,
            Command::Board { command: None } => board_command::show(&config, &mut std::io::stdout())?,
            Command::Board { command: Some(BoardCommand::Test) } => {
                board_command::test(&config, &mut std::io::stdout()).await?;
            }
            Command::Erase { yes } => erase(&config, yes).await?,
            // Done above, without a runtime.
            Command::Config
            | Command::PackageFiles { .. }
            | Command::Preset { .. }
            | Command::UpdateKey { .. }
            | Command::UpdatePack { .. } => {}
        }
        Ok(End::Exit)
    });
    // A display that hangs on its bus holds a thread for as long.
    runtime.shutdown_timeout(Duration::from_secs(1));
    end
}

async fn until(restart: Option<cli::update::Restart>) -> anyhow::Result<()> {
    match restart {
        Some(restart) => restart.over().await,
        None => Ok(()),
    }
}

async fn serve(config: &Config) -> anyhow::Result<End> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let manager = ServiceManager::from_env(|name| std::env::var_os(name))?;
    let gateway = Gateway::start(config).await?;
    if gateway.registry().list().is_empty() {
        let first = gateway::FIRST_SESSION;
        gateway.registry().create(first.name, first.account).await?;
    }
    // A panel in the terminal has the QR code and all the rest on it already.
    let prints = !gateway.panel_takes_terminal();
    if prints {
        println!("Kurir {VERSION} is listening on http://{}", gateway.address());
        // With a console of its own, the code belongs there and in no log.
        if gateway.claim().is_closed() && config.console.is_some() {
            println!("This box has no owner yet; its claim code is on its screen or its console.");
        } else if gateway.claim().is_closed() {
            tokio::spawn(cli::show::claim(gateway.claim().code(), gateway.shown()));
        } else if !gateway.claim().is_claimed() {
            println!("No API key exists yet: run `kurir key new --name NAME` in another terminal.");
        }
        for session in gateway.registry().list() {
            tokio::spawn(cli::show::pairing(session));
        }
    }
    let watchdog = gateway.watchdog();
    manager.ready(&watchdog.status());
    let watched = async {
        watchdog.run(&manager).await;
        std::future::pending::<()>().await;
    };
    let end = tokio::select! {
        _ = terminate.recv() => End::Exit,
        _ = tokio::signal::ctrl_c() => End::Exit,
        () = gateway.erase_asked() => End::Restart(Anew::Erased),
        () = gateway.trial_over() => End::Restart(Anew::Tried),
        () = watched => End::Exit,
    };
    // It holds the store and the sessions.
    drop(watchdog);
    if let End::Restart(Anew::Erased) = end {
        let progress = Progress::default();
        let erased = gateway.erase(&progress);
        Watchdog::while_it_goes_on(&manager, "Erasing everything", progress.watch(), erased).await?;
        println!("Everything is erased. Starting as new.");
        return Ok(end);
    }
    manager.stopping();
    if prints {
        println!("Stopping.");
    }
    gateway.shutdown().await;
    Ok(end)
}

async fn erase(config: &Config, yes: bool) -> anyhow::Result<()> {
    anyhow::ensure!(
        yes,
        "this unlinks every device and erases all sessions, messages, files and keys in {}; `kurir erase --yes` does it",
        config.data_dir.display()
    );
    match control::call(&config.control_path(), "POST", "/erase", None).await {
        Ok(_) => {
            println!("The running gateway erases everything and starts as new.");
            return Ok(());
        }
        // Nobody listens there: no gateway runs.
        Err(ControlError::Socket { .. }) => {}
        Err(e) => return Err(e.into()),
    }
    anyhow::ensure!(config.data_dir.is_dir(), "there is nothing in {}", config.data_dir.display());
    // Also a store that cannot be read is to go, but not one that somebody uses.
    if let Err(e @ OpenError::InUse { .. }) =
        Store::open(&config.store_path(), &gateway::store_options(config))
    {
        return Err(e.into());
    }
    gateway::erase_data_dir(config)?;
    println!(
        "Everything in {} is erased. The phone still lists the device: remove it there.",
        config.data_dir.display()
    );
    Ok(())
}

/// The keys of the store, if no gateway runs; `None`: one does.
fn offline_keys(config: &Config) -> anyhow::Result<Option<Keys>> {
    gateway::create_data_dir(config)?;
    match gateway::open_offline(config) {
        Ok(store) => Ok(Some(Keys::open(store, None)?)),
        Err(OpenError::InUse { .. }) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

async fn key(config: &Config, command: KeyCommand) -> anyhow::Result<()> {
    let socket = config.control_path();
    let offline = offline_keys(config)?;
    match command {
        KeyCommand::New { name, account, admin, session, fonnte_always_200, rate, checks } => {
            let rules =
                KeyRules { session, fonnte_always_200, rate_per_minute: rate, checks_per_month: checks };
            let key = match &offline {
                Some(_) if rules.session.is_some() => {
                    anyhow::bail!(
                        "a key for one session needs the running gateway; start `kurir serve` first"
                    )
                }
                Some(keys) => keys.create_with(&name, &account, admin, rules).await?,
                None => {
                    let new = serde_json::to_value(NewKey { name, account, admin, rules })?;
                    let answer = control::call(&socket, "POST", "/keys", Some(new)).await?;
                    answer["key"].as_str().context("the running gateway gave no key")?.to_owned()
                }
            };
            println!("{key}");
            eprintln!("This key is shown once. Keep it safe; Kurir stores only a hash of it.");
        }
        KeyCommand::List => {
            let rows = match &offline {
                Some(keys) => control::describe(keys),
                None => control::call(&socket, "GET", "/keys", None).await?,
            };
            for row in rows.as_array().into_iter().flatten() {
                let text = |field: &str| row[field].as_str().unwrap_or_default().to_owned();
                let kind = match (&row["admin"], &row["session"]) {
                    (Value::Bool(true), _) => "admin",
                    (_, Value::String(_)) => "token",
                    _ => "",
                };
                println!(
                    "{}  {:<12} {:<5} {} {}",
                    text("id"),
                    text("account"),
                    kind,
                    text("name"),
                    text("session")
                );
            }
        }
        KeyCommand::Remove { id } => {
            // What is no id at all would not survive as a part of the path below.
            anyhow::ensure!(
                !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric()),
                "there is no key {id:?}"
            );
            match &offline {
                Some(keys) => anyhow::ensure!(keys.remove(&id).await?, "there is no key {id}"),
                None => {
                    control::call(&socket, "DELETE", &format!("/keys/{id}"), None).await?;
                }
            }
            println!("Removed {id}.");
        }
    }
    Ok(())
}

async fn status(config: &Config, json: bool) -> anyhow::Result<()> {
    let answer: Value = control::call(&config.control_path(), "GET", "/status", None)
        .await
        .context("is the gateway running? (`kurir serve`)")?;
    if json {
        println!("{}", serde_json::to_string_pretty(&answer)?);
    } else {
        print!("{}", cli::status::text(&answer));
    }
    Ok(())
}
