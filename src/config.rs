//! Settings: `kurir.toml`, then `KURIR_*` in the environment, then the documented defaults.
//!
//! Every setting is one row of [`SETTINGS`]: its key (the environment variable is `KURIR_` and the key in capitals),
//! its default, its explanation, and how it is read and written. The same rows read the file, read the environment and
//! print the commented configuration of `kurir config`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::media::Cidr;

/// All settings, checked.
#[derive(Clone)]
pub struct Config {
    /// Where the store, the media of queued messages and the control socket live.
    pub data_dir: PathBuf,
    /// Address of the HTTP API.
    pub listen: SocketAddr,
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
    /// HTTP connections at once.
    pub max_connections: usize,
    /// HTTP connections at once from one address.
    pub max_connections_per_address: usize,
    /// Bytes that the media of queued messages may take on disk.
    pub media_quota: u64,
    /// Where to connect instead of WhatsApp (Cargo feature `sim` only).
    pub whatsapp_url: Option<String>,
    /// Delay added to each sync of the store (Cargo feature `sim` only): an SD card, for the benchmark.
    pub sync_delay: Duration,
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
    #[error("the configuration file {path} is not valid TOML: {detail}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line and reason.
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
    #[error("{origin}: {key} = \"{value}\": {reason}")]
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

struct Setting {
    key: &'static str,
    default: &'static str,
    doc: &'static str,
    secret: bool,
    set: fn(&mut Config, &str) -> Result<(), String>,
    get: fn(&Config) -> String,
}

fn parse<T: std::str::FromStr>(text: &str) -> Result<T, String>
where
    T::Err: std::fmt::Display,
{
    text.trim().parse().map_err(|e: T::Err| e.to_string())
}

fn bounded<T>(text: &str, range: std::ops::RangeInclusive<T>) -> Result<T, String>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display,
    T::Err: std::fmt::Display,
{
    let value: T = parse(text).map_err(|e| format!("a whole number is needed ({e})"))?;
    if range.contains(&value) {
        Ok(value)
    } else {
        Err(format!("must be from {} to {}", range.start(), range.end()))
    }
}

fn only_with_sim<T>(text: &str, value: impl FnOnce(&str) -> Result<T, String>) -> Result<T, String> {
    if cfg!(feature = "sim") {
        value(text)
    } else {
        Err("this build talks to WhatsApp only; the test server needs a build with the Cargo feature `sim`"
            .into())
    }
}

const SETTINGS: &[Setting] = &[
    Setting {
        key: "data_dir",
        default: "kurir-data",
        doc: "Folder of the store, of queued media and of the control socket.",
        secret: false,
        set: |c, v| {
            if v.trim().is_empty() {
                return Err("must not be empty".into());
            }
            c.data_dir = PathBuf::from(v);
            Ok(())
        },
        get: |c| c.data_dir.display().to_string(),
    },
    Setting {
        key: "listen",
        default: "127.0.0.1:8080",
        doc: "Address and port of the HTTP API. Beyond loopback only once an API key exists.",
        secret: false,
        set: |c, v| {
            c.listen =
                parse(v).map_err(|_| "an address and port is needed, such as 0.0.0.0:8080".to_owned())?;
            Ok(())
        },
        get: |c| c.listen.to_string(),
    },
    Setting {
        key: "log",
        default: "info",
        doc: "What is logged: error, warn, info, debug, or per part as in \"info,kurir::outbox=debug\".\nPhone numbers are masked and message texts left out unless debug is on.",
        secret: false,
        set: |c, v| {
            c.log = v.trim().to_owned();
            Ok(())
        },
        get: |c| c.log.clone(),
    },
    Setting {
        key: "admin_key",
        default: "",
        doc: "A preset administrator key of 16 characters or more. Better: `kurir key new --admin`, which stores only a hash.",
        secret: true,
        set: |c, v| {
            c.admin_key = match v.trim() {
                "" => None,
                key if key.len() < 16 => return Err("must have 16 characters or more".into()),
                key => Some(key.to_owned()),
            };
            Ok(())
        },
        get: |c| c.admin_key.clone().unwrap_or_default(),
    },
    Setting {
        key: "allow_private_fetch",
        default: "",
        doc: "Private address ranges that media URLs may point into, as a comma list: 192.168.1.0/24,10.0.0.5/32.\nWithout it, Kurir fetches from public addresses only.",
        secret: false,
        set: |c, v| {
            c.allow_private_fetch = Cidr::parse_list(v).map_err(|e| e.to_string())?;
            Ok(())
        },
        get: |c| c.allow_private_fetch.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
    },
    Setting {
        key: "country_code",
        default: "62",
        doc: "Country code that replaces a leading 0 in a phone number. 0: leave numbers as they are.",
        secret: false,
        set: |c, v| {
            let code = v.trim();
            if code.is_empty() || code.len() > 3 || !code.bytes().all(|b| b.is_ascii_digit()) {
                return Err("one to three digits are needed, such as 62".into());
            }
            c.country_code = if code == "0" { String::new() } else { code.to_owned() };
            Ok(())
        },
        get: |c| if c.country_code.is_empty() { "0".into() } else { c.country_code.clone() },
    },
    Setting {
        key: "send_delay_ms",
        default: "0",
        doc: "Pause between two sends of one session, in milliseconds. 5000 is prudent for numbers that never wrote to you.",
        secret: false,
        set: |c, v| {
            c.send_delay = Duration::from_millis(bounded(v, 0..=3_600_000)?);
            Ok(())
        },
        get: |c| c.send_delay.as_millis().to_string(),
    },
    Setting {
        key: "send_jitter_ms",
        default: "0",
        doc: "Random extra pause on top of send_delay_ms, in milliseconds.",
        secret: false,
        set: |c, v| {
            c.send_jitter = Duration::from_millis(bounded(v, 0..=3_600_000)?);
            Ok(())
        },
        get: |c| c.send_jitter.as_millis().to_string(),
    },
    Setting {
        key: "send_parallel",
        default: "32",
        doc: "Messages of one session that may wait for WhatsApp's acknowledgement at once. One chat is always in order.",
        secret: false,
        set: |c, v| {
            c.send_parallel = bounded(v, 1..=256)?;
            Ok(())
        },
        get: |c| c.send_parallel.to_string(),
    },
    Setting {
        key: "send_attempts",
        default: "8",
        doc: "Attempts after which a message counts as failed.",
        secret: false,
        set: |c, v| {
            c.send_attempts = bounded(v, 1..=100)?;
            Ok(())
        },
        get: |c| c.send_attempts.to_string(),
    },
    Setting {
        key: "send_max_age_s",
        default: "86400",
        doc: "Age in seconds after which a message that could not be sent counts as failed.",
        secret: false,
        set: |c, v| {
            c.send_max_age = Duration::from_secs(bounded(v, 10..=2_592_000)?);
            Ok(())
        },
        get: |c| c.send_max_age.as_secs().to_string(),
    },
    Setting {
        key: "queue_limit",
        default: "20000",
        doc: "Messages that one session may have waiting; a further one is answered with 429.",
        secret: false,
        set: |c, v| {
            c.queue_limit = bounded(v, 1..=1_000_000)?;
            Ok(())
        },
        get: |c| c.queue_limit.to_string(),
    },
    Setting {
        key: "history_days",
        default: "30",
        doc: "Days for which finished messages stay readable.",
        secret: false,
        set: |c, v| {
            c.history_days = bounded(v, 1..=3650)?;
            Ok(())
        },
        get: |c| c.history_days.to_string(),
    },
    Setting {
        key: "journal_events",
        default: "100000",
        doc: "Events (messages, receipts, votes, …) that are kept for webhooks and GET /api/v1/events.",
        secret: false,
        set: |c, v| {
            c.journal_events = bounded(v, 100..=10_000_000)?;
            Ok(())
        },
        get: |c| c.journal_events.to_string(),
    },
    Setting {
        key: "journal_mb",
        default: "64",
        doc: "Megabytes of events that are kept; the oldest go first.",
        secret: false,
        set: |c, v| {
            c.journal_bytes = bounded::<u64>(v, 1..=100_000)? * 1024 * 1024;
            Ok(())
        },
        get: |c| (c.journal_bytes / (1024 * 1024)).to_string(),
    },
    Setting {
        key: "journal_days",
        default: "30",
        doc: "Days for which events are kept.",
        secret: false,
        set: |c, v| {
            c.journal_days = bounded(v, 1..=3650)?;
            Ok(())
        },
        get: |c| c.journal_days.to_string(),
    },
    Setting {
        key: "max_connections",
        default: "256",
        doc: "HTTP connections at once.",
        secret: false,
        set: |c, v| {
            c.max_connections = bounded(v, 4..=65_536)?;
            Ok(())
        },
        get: |c| c.max_connections.to_string(),
    },
    Setting {
        key: "max_connections_per_address",
        default: "96",
        doc: "HTTP connections at once from one address, so that one client cannot take them all.",
        secret: false,
        set: |c, v| {
            c.max_connections_per_address = bounded(v, 1..=65_536)?;
            Ok(())
        },
        get: |c| c.max_connections_per_address.to_string(),
    },
    Setting {
        key: "media_quota_mb",
        default: "512",
        doc: "Megabytes that the media of queued messages may take on disk.",
        secret: false,
        set: |c, v| {
            c.media_quota = bounded::<u64>(v, 1..=1_000_000)? * 1024 * 1024;
            Ok(())
        },
        get: |c| (c.media_quota / (1024 * 1024)).to_string(),
    },
    Setting {
        key: "whatsapp_url",
        default: "",
        doc: "Where to connect instead of WhatsApp: the test server's ws:// address. Only in a build with the Cargo feature `sim`.",
        secret: false,
        set: |c, v| {
            c.whatsapp_url = match v.trim() {
                "" => None,
                url => only_with_sim(url, |url| {
                    if url.starts_with("ws://") || url.starts_with("wss://") {
                        Ok(Some(url.to_owned()))
                    } else {
                        Err("a ws:// or wss:// address is needed".into())
                    }
                })?,
            };
            Ok(())
        },
        get: |c| c.whatsapp_url.clone().unwrap_or_default(),
    },
    Setting {
        key: "sync_delay_ms",
        default: "0",
        doc: "Delay added to each sync of the store, to stand for an SD card. Only in a build with the Cargo feature `sim`.",
        secret: false,
        set: |c, v| {
            c.sync_delay = match v.trim() {
                "0" => Duration::ZERO,
                ms => only_with_sim(ms, |ms| Ok(Duration::from_millis(bounded(ms, 0..=1000)?)))?,
            };
            Ok(())
        },
        get: |c| c.sync_delay.as_millis().to_string(),
    },
];

impl Default for Config {
    fn default() -> Config {
        let mut config = Config {
            data_dir: PathBuf::new(),
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            log: String::new(),
            admin_key: None,
            allow_private_fetch: Vec::new(),
            country_code: String::new(),
            send_delay: Duration::ZERO,
            send_jitter: Duration::ZERO,
            send_parallel: 0,
            send_attempts: 0,
            send_max_age: Duration::ZERO,
            queue_limit: 0,
            history_days: 0,
            journal_events: 0,
            journal_bytes: 0,
            journal_days: 0,
            max_connections: 0,
            max_connections_per_address: 0,
            media_quota: 0,
            whatsapp_url: None,
            sync_delay: Duration::ZERO,
        };
        for setting in SETTINGS {
            (setting.set)(&mut config, setting.default)
                .expect("each default passes its own check, as a test shows");
        }
        config
    }
}

impl Config {
    /// Reads the file (where there is one) and then the environment.
    ///
    /// The file is the one named by `file` (`--config`), else by `KURIR_CONFIG`, else `kurir.toml` in the data folder.
    /// A file that was named must exist.
    pub fn load(file: Option<&Path>, env: impl Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        // The data folder decides where the file is, so its variable is looked at first.
        if let Some(dir) = env("KURIR_DATA_DIR") {
            config.set("data_dir", &dir, "KURIR_DATA_DIR")?;
        }
        let named = file.map(Path::to_owned).or_else(|| env("KURIR_CONFIG").map(PathBuf::from));
        let path = named.clone().unwrap_or_else(|| config.data_dir.join("kurir.toml"));
        match std::fs::read_to_string(&path) {
            Ok(text) => config.apply_toml(&text, &path)?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && named.is_none() => {}
            Err(source) => return Err(ConfigError::Read { path, source }),
        }
        for setting in SETTINGS {
            let variable = format!("KURIR_{}", setting.key.to_uppercase());
            if let Some(value) = env(&variable) {
                config.set(setting.key, &value, &variable)?;
            }
        }
        Ok(config)
    }

    fn apply_toml(&mut self, text: &str, path: &Path) -> Result<(), ConfigError> {
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| ConfigError::Syntax {
            path: path.to_owned(),
            detail: e.to_string(),
        })?;
        for (key, value) in table {
            let text = match value {
                toml::Value::String(s) => s,
                toml::Value::Array(items) => items
                    .iter()
                    .map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))
                    .collect::<Vec<_>>()
                    .join(","),
                other => other.to_string(),
            };
            self.set(&key, &text, &path.display().to_string())?;
        }
        Ok(())
    }

    fn set(&mut self, key: &str, value: &str, origin: &str) -> Result<(), ConfigError> {
        let Some(setting) = SETTINGS.iter().find(|s| s.key == key) else {
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
        for setting in SETTINGS {
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

    /// The store's file.
    pub fn store_path(&self) -> PathBuf {
        self.data_dir.join("kurir.redb")
    }

    /// The socket through which `kurir key` and `kurir status` reach a running gateway.
    pub fn control_path(&self) -> PathBuf {
        self.data_dir.join("control.sock")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(env: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().display().to_string();
        Config::load(None, |key| match key {
            "KURIR_DATA_DIR" => Some(dir.clone()),
            _ => env.iter().find(|(k, _)| *k == key).map(|(_, v)| (*v).to_owned()),
        })
    }

    #[test]
    fn every_default_passes_its_own_check_and_prints_back() {
        let config = Config::default();
        for setting in SETTINGS {
            assert_eq!((setting.get)(&config), setting.default, "{}", setting.key);
        }
    }

    #[test]
    fn the_environment_overrides_and_a_bad_value_names_the_variable() {
        assert_eq!(load(&[("KURIR_LISTEN", "0.0.0.0:80")]).unwrap().listen.port(), 80);
        let error = load(&[("KURIR_LISTEN", "everywhere")]).err().unwrap().to_string();
        assert!(error.contains("KURIR_LISTEN") && error.contains("everywhere"), "{error}");
    }

    #[test]
    fn a_short_admin_key_is_refused_without_being_printed() {
        let error = load(&[("KURIR_ADMIN_KEY", "hunter2")]).err().unwrap().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn the_printed_file_reads_back_to_the_same_values_and_hides_the_key() {
        let config = load(&[
            ("KURIR_SEND_DELAY_MS", "1500"),
            ("KURIR_ALLOW_PRIVATE_FETCH", "10.0.0.0/8,192.168.1.0/24"),
            ("KURIR_ADMIN_KEY", "0123456789abcdef"),
        ])
        .unwrap();
        let printed = config.to_commented_toml();
        assert!(!printed.contains("0123456789abcdef"));
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("kurir.toml");
        std::fs::write(&file, &printed).unwrap();
        let mut again = Config::load(Some(&file), |_| None).unwrap();
        again.admin_key = config.admin_key.clone();
        assert_eq!(again.to_commented_toml(), printed);
    }

    #[test]
    fn a_typo_in_the_file_is_an_error_and_not_a_default() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("kurir.toml");
        std::fs::write(&file, "lisen = \"0.0.0.0:80\"\n").unwrap();
        assert!(matches!(Config::load(Some(&file), |_| None), Err(ConfigError::UnknownKey { .. })));
    }

    #[test]
    fn a_file_that_was_named_must_exist() {
        let missing = Path::new("/nonexistent/kurir.toml");
        assert!(matches!(Config::load(Some(missing), |_| None), Err(ConfigError::Read { .. })));
    }
}
