//! Settings: `kurir.toml`, then `KURIR_*` in the environment, then the documented defaults.
//!
//! Every setting is one row in `settings/`: its key (the environment variable is `KURIR_` and the key in capitals),
//! its default, its explanation, and how it is read and written. The same rows read the file, read the environment and
//! print the commented configuration of `kurir config`.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::clock::built;
use crate::media::Cidr;
use crate::panel::Language;
use crate::update::board::{MOUNTED, SlotPaths};

mod settings;

/// Where a package's configuration file is.
pub const PACKAGED_FILE: &str = "/etc/kurir/kurir.toml";
/// Beside the configuration file: what `kurir preset` found wrong, one problem a line.
pub(crate) const NOTICES_FILE: &str = "preset-errors";
/// Where a package's service keeps its data.
const PACKAGED_DATA_DIR: &str = "/var/lib/kurir";

/// All settings, checked.
#[derive(Clone)]
pub struct Config {
    /// Where the store, the media of queued messages and the control socket live.
    pub data_dir: PathBuf,
    /// Address of the HTTP API.
    pub listen: SocketAddr,
    /// Address of the API over HTTPS; `None`: no HTTPS.
    pub listen_https: Option<SocketAddr>,
    /// What the box is called; `None`: `kurir-` and four digits of its hardware address.
    pub host_name: Option<String>,
    /// Whether the host name is announced by multicast DNS.
    pub mdns: bool,
    /// The first slot's partitions; empty: this box has no slots.
    pub update_slot_a: SlotPaths,
    /// The second slot's partitions.
    pub update_slot_b: SlotPaths,
    /// The firmware's file that says which slot starts.
    pub update_autoboot: Option<PathBuf>,
    /// The file with the key that updates are checked with.
    pub update_key: Option<PathBuf>,
    /// Log filter, in `env_logger`'s syntax.
    pub log: String,
    /// A preset administrator key. Kept out of the store and out of every print-out.
    pub admin_key: Option<String>,
    /// Private address ranges that media URLs may point into.
    pub allow_private_fetch: Vec<Cidr>,
    /// Country code that replaces a leading `0` in a phone number; empty: none does.
    pub country_code: String,
    /// Pause between two sends of one session.
    pub send_delay: Duration,
    /// Random extra on top of `send_delay`, at most this.
    pub send_jitter: Duration,
    /// Sends of one session that may wait for WhatsApp's acknowledgement at once (to different chats).
    pub send_parallel: usize,
    /// Attempts after which a message counts as failed.
    pub send_attempts: u32,
    /// Age after which a message that could not be sent counts as failed.
    pub send_max_age: Duration,
    /// Requests per minute and API key; 0: any number.
    pub key_rate_per_minute: u32,
    /// Number checks per month and API key; 0: any number.
    pub number_checks_per_month: u32,
    /// Pause between two messages of dialect 3's queue.
    pub queue_delay: Duration,
    /// Random extra on top of `queue_delay`, at most this.
    pub queue_jitter: Duration,
    /// What dialect 3's `main` stands for.
    pub main_number: Option<String>,
    /// Whom dialect 3's queue may write to; `None`: everybody.
    pub queue_allow: Option<Vec<String>>,
    /// The address at which people reach the box.
    pub public_url: Option<String>,
    /// Messages per session and day to numbers that never wrote to it; 0: any number.
    pub stranger_daily_cap: u32,
    /// Pause between two messages to such numbers; zero: none.
    pub stranger_delay: Duration,
    /// Messages that one session may have waiting; a further one is refused with 429.
    pub queue_limit: usize,
    /// Days for which finished messages stay readable.
    pub history_days: u32,
    /// Events that the journal keeps.
    pub journal_events: u64,
    /// Bytes of events that the journal keeps.
    pub journal_bytes: u64,
    /// Days for which the journal keeps an event.
    pub journal_days: u32,
    /// Days for which received media are kept here.
    pub received_media_days: u32,
    /// Bytes that received media may take here.
    pub received_media_bytes: u64,
    /// The first pause after a webhook failed; it doubles from there.
    pub webhook_retry: Duration,
    /// Requests that the request log keeps; 0: there is none.
    pub request_log_rows: u64,
    /// Bytes that the request log keeps.
    pub request_log_bytes: u64,
    /// Days for which the request log keeps a request.
    pub request_log_days: u32,
    /// Bytes of one body that the request log keeps; 0: no bodies.
    pub request_log_body: usize,
    /// HTTP connections at once.
    pub max_connections: usize,
    /// HTTP connections at once from one address.
    pub max_connections_per_address: usize,
    /// Bytes that the media of queued messages may take on disk.
    pub media_quota: u64,
    /// The front panel: `auto`, a profile's name, or a file.
    pub board: String,
    /// Where a box without a display prints its claim code; `None`: on standard error.
    pub console: Option<PathBuf>,
    /// Language of the front panel.
    pub panel_language: Language,
    /// What a person has to correct in the boot configuration: the lines of `preset-errors` beside the configuration file.
    pub notices: Vec<String>,
    /// Where to connect instead of WhatsApp (Cargo feature `sim` only).
    pub whatsapp_url: Option<String>,
    /// Delay added to each sync of the store (Cargo feature `sim` only): an SD card, for the benchmark.
    pub sync_delay: Duration,
    /// Time limits that no setting changes.
    pub limits: Limits,
    /// Where the image says which slot runs; no setting changes it.
    pub slot_file: PathBuf,
}

/// Time limits that are the same on every box, as fields so that tests can make them short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a message waits for WhatsApp's acknowledgement before it is sent again.
    pub ack: Duration,
    /// Time for the whole download of a media URL.
    pub fetch_total: Duration,
    /// Longest silence of the server that a media URL points to.
    pub fetch_stall: Duration,
    /// Time for the head of an HTTP request, and for how long an idle connection is kept.
    pub http_head: Duration,
    /// Longest silence within the body of an HTTP request.
    pub http_body: Duration,
    /// No time before this can be right.
    pub clock_earliest: SystemTime,
    /// How long sessions wait for a time server.
    pub clock_patience: Duration,
    /// How long an event is offered to a webhook's receiver before it goes to the dead letters.
    pub webhook_give_up: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            ack: Duration::from_secs(30),
            fetch_total: Duration::from_secs(120),
            fetch_stall: Duration::from_secs(20),
            http_head: Duration::from_secs(10),
            http_body: Duration::from_secs(10),
            clock_earliest: built(),
            clock_patience: Duration::from_secs(300),
            webhook_give_up: Duration::from_secs(24 * 3600),
        }
    }
}

/// What is wrong with a setting, and where it was set.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file exists but cannot be read.
    #[error("cannot read the configuration file {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("the configuration file {path} is not valid TOML: line {line}: {detail}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The reason, in one line. The text itself is not repeated: a key may stand in it.
        detail: String,
    },
    /// A key that no setting has.
    #[error("{origin}: there is no setting named \"{key}\"; `kurir config` lists them all")]
    UnknownKey {
        /// The file or variable.
        origin: String,
        /// The key.
        key: String,
    },
    /// A value that the setting does not take.
    #[error("{origin}: {key} = {value:?}: {reason}")]
    Value {
        /// The file or variable.
        origin: String,
        /// The key.
        key: &'static str,
        /// The value as given; never a secret's.
        value: String,
        /// What the setting takes.
        reason: String,
    },
}

/// Why a single setting is not taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// No setting has this key.
    Unknown,
    /// What the setting takes.
    Value(String),
}

/// Lines of `preset-errors` that are read, and bytes of it.
const NOTICES: (usize, u64) = (50, 16 * 1024);

/// What `kurir preset` found wrong at this start; nothing, if there is no such file.
fn notices_beside(config_file: &Path) -> Vec<String> {
    let mut text = Vec::new();
    let read = File::open(config_file.with_file_name(NOTICES_FILE))
        .and_then(|file| file.take(NOTICES.1).read_to_end(&mut text));
    if read.is_err() {
        return Vec::new();
    }
    let lines = String::from_utf8_lossy(&text);
    let lines = lines.lines().map(|line| line.replace(char::is_control, " ").trim().to_owned());
    lines.filter(|line| !line.is_empty()).take(NOTICES.0).collect()
}

/// A value as the text that a setting is read from.
pub(crate) fn text_of(value: toml::Value) -> String {
    match value {
        toml::Value::String(s) => s,
        toml::Value::Array(items) => items
            .iter()
            .map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))
            .collect::<Vec<_>>()
            .join(","),
        other => other.to_string(),
    }
}

impl Default for Config {
    fn default() -> Config {
        let mut config = Config {
            data_dir: PathBuf::new(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            listen_https: None,
            host_name: None,
            mdns: false,
            update_slot_a: SlotPaths::default(),
            update_slot_b: SlotPaths::default(),
            update_autoboot: None,
            update_key: None,
            log: String::new(),
            admin_key: None,
            allow_private_fetch: Vec::new(),
            country_code: String::new(),
            send_delay: Duration::ZERO,
            send_jitter: Duration::ZERO,
            send_parallel: 0,
            send_attempts: 0,
            send_max_age: Duration::ZERO,
            key_rate_per_minute: 0,
            number_checks_per_month: 0,
            queue_delay: Duration::ZERO,
            queue_jitter: Duration::ZERO,
            main_number: None,
            queue_allow: None,
            public_url: None,
            stranger_daily_cap: 0,
            stranger_delay: Duration::ZERO,
            queue_limit: 0,
            history_days: 0,
            journal_events: 0,
            journal_bytes: 0,
            journal_days: 0,
            received_media_days: 0,
            received_media_bytes: 0,
            request_log_rows: 0,
            request_log_bytes: 0,
            request_log_days: 0,
            request_log_body: 0,
            webhook_retry: Duration::ZERO,
            max_connections: 0,
            max_connections_per_address: 0,
            media_quota: 0,
            board: String::new(),
            console: None,
            panel_language: Language::default(),
            notices: Vec::new(),
            whatsapp_url: None,
            sync_delay: Duration::ZERO,
            limits: Limits::default(),
            slot_file: MOUNTED.into(),
        };
        for setting in settings::all() {
            (setting.set)(&mut config, setting.default)
                .expect("each default passes its own check, as a test shows");
        }
        config
    }
}

impl Config {
    /// Reads the file (where there is one) and then the environment.
    ///
    /// The file is the one named by `file` (`--config`), else by `KURIR_CONFIG`, else `kurir.toml` in the data folder; where
    /// no data folder was named and there is none here, that of an installed package, so that `kurir key new` finds the
    /// service. A file that was named must exist.
    pub fn load(file: Option<&Path>, env: impl Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        // The data folder decides where the file is, so its variable is looked at first.
        if let Some(dir) = env("KURIR_DATA_DIR") {
            config.set("data_dir", &dir, "KURIR_DATA_DIR")?;
        }
        let named = file.map(Path::to_owned).or_else(|| env("KURIR_CONFIG").map(PathBuf::from));
        let installed = || {
            (env("KURIR_DATA_DIR").is_none() && !config.data_dir.exists())
                .then(|| PathBuf::from(PACKAGED_FILE))
                .filter(|file| file.exists())
        };
        let named = named.or_else(installed);
        let path = named.clone().unwrap_or_else(|| config.data_dir.join("kurir.toml"));
        config.notices = notices_beside(&path);
        match std::fs::read_to_string(&path) {
            Ok(text) => config.apply_toml(&text, &path)?,
            // A data folder that cannot be one is told to whoever opens it.
            Err(e)
                if named.is_none() && matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(source) => return Err(ConfigError::Read { path, source }),
        }
        for setting in settings::all() {
            let variable = format!("KURIR_{}", setting.key.to_uppercase());
            if let Some(value) = env(&variable) {
                config.set(setting.key, &value, &variable)?;
            }
        }
        Ok(config)
    }

    fn apply_toml(&mut self, text: &str, path: &Path) -> Result<(), ConfigError> {
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| {
            let before = e.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            ConfigError::Syntax {
                path: path.to_owned(),
                line: before.matches('\n').count() + 1,
                detail: e.message().lines().collect::<Vec<_>>().join(", "),
            }
        })?;
        for (key, value) in table {
            self.set(&key, &text_of(value), &path.display().to_string())?;
        }
        Ok(())
    }

    /// Takes one setting, as a line of a configuration file would give it.
    ///
    /// # Errors
    /// [`Refused`]; then nothing has changed.
    pub(crate) fn take(&mut self, key: &str, value: &str) -> Result<(), Refused> {
        let setting = settings::all().find(|s| s.key == key).ok_or(Refused::Unknown)?;
        (setting.set)(self, value).map_err(Refused::Value)
    }

    /// A setting's default, as text; `None`: there is no such setting.
    pub(crate) fn default_of(key: &str) -> Option<&'static str> {
        settings::all().find(|setting| setting.key == key).map(|setting| setting.default)
    }

    /// Every setting's key.
    pub(crate) fn keys() -> impl Iterator<Item = &'static str> {
        settings::all().map(|setting| setting.key)
    }

    fn set(&mut self, key: &str, value: &str, origin: &str) -> Result<(), ConfigError> {
        let Some(setting) = settings::all().find(|s| s.key == key) else {
            return Err(ConfigError::UnknownKey { origin: origin.to_owned(), key: key.to_owned() });
        };
        (setting.set)(self, value).map_err(|reason| ConfigError::Value {
            origin: origin.to_owned(),
            key: setting.key,
            value: if setting.secret { "(hidden)".into() } else { value.to_owned() },
            reason,
        })
    }

    /// The commented configuration file with the values in force; a secret's value is left out.
    pub fn to_commented_toml(&self) -> String {
        let mut out = String::from(
            "# Kurir's settings with the values in force. Each can also be set in the environment: KURIR_ and the key in capitals.\n",
        );
        for setting in settings::all() {
            out.push('\n');
            for line in setting.doc.lines() {
                out.push_str(&format!("# {line}\n"));
            }
            let value = (setting.get)(self);
            let default = if setting.default.is_empty() { "none" } else { setting.default };
            out.push_str(&format!("# Default: {default}\n"));
            if setting.secret && !value.is_empty() {
                out.push_str(&format!("# {} is set; its value is not shown.\n", setting.key));
            } else if value.is_empty() {
                out.push_str(&format!("# {} = \"\"\n", setting.key));
            } else {
                out.push_str(&format!("{} = {}\n", setting.key, toml::Value::String(value)));
            }
        }
        out
    }

    /// The configuration file of a Debian package: every setting commented out, so that a better default reaches those
    /// who did not change it, but for the data folder, which belongs to the service.
    pub fn to_packaged_toml(&self) -> String {
        let mut out = String::from(
            "# Kurir's settings. What is commented out has its default. `systemctl restart kurir` after a change;\n\
             # `kurir config` shows what is in force.\n",
        );
        for setting in settings::all() {
            out.push('\n');
            for line in setting.doc.lines() {
                out.push_str(&format!("# {line}\n"));
            }
            match setting.key {
                "data_dir" => out.push_str(&format!("data_dir = \"{PACKAGED_DATA_DIR}\"\n")),
                key => {
                    let default = toml::Value::String((setting.get)(self));
                    out.push_str(&format!("#{key} = {default}\n"));
                }
            }
        }
        out
    }

    /// The store's file.
    pub fn store_path(&self) -> PathBuf {
        self.data_dir.join("kurir.redb")
    }

    /// The copy of the store that a system on trial works on.
    pub fn trial_path(&self) -> PathBuf {
        self.data_dir.join("trial.redb")
    }

    /// What is known of the last update.
    pub fn update_record_path(&self) -> PathBuf {
        self.data_dir.join("update.json")
    }

    /// The socket through which `kurir key` and `kurir status` reach a running gateway.
    pub fn control_path(&self) -> PathBuf {
        self.data_dir.join("control.sock")
    }
}

#[cfg(test)]
mod tests;
